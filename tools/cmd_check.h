/* `ringpost check`: is a configuration good? Touches nothing. */
#ifndef RINGPOST_TOOLS_CMD_CHECK_H
#define RINGPOST_TOOLS_CMD_CHECK_H

/* Arguments from the verb on; returns the exit code. */
int cmd_check(int count, char **arguments);

#endif
