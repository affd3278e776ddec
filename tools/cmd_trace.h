/* `ringpost trace`: live SMTP dialogues of a running server, until Ctrl-C. */
#ifndef RINGPOST_TOOLS_CMD_TRACE_H
#define RINGPOST_TOOLS_CMD_TRACE_H

/* Arguments from the verb on; returns the exit code. */
int cmd_trace(int count, char **arguments);

#endif
