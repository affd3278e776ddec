/* `ringpost tsa status` and `ringpost tsa cancel ID`: what rules of automation have in force. */
#ifndef RINGPOST_TOOLS_CMD_TSA_H
#define RINGPOST_TOOLS_CMD_TSA_H

/* Returns the exit code. */
int cmd_tsa(int count, char **arguments);

#endif
