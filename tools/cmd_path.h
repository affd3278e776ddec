/* `ringpost path`: how a domain is delivered to, and where each option of that stands. Reads the
 * configuration; no server has to run. */
#ifndef RINGPOST_TOOLS_CMD_PATH_H
#define RINGPOST_TOOLS_CMD_PATH_H

/* Arguments from the verb on; returns the exit code. */
int cmd_path(int count, char **arguments);

#endif
