/* `ringpost events`: the event log, for people or as JSON lines. */
#ifndef RINGPOST_TOOLS_CMD_EVENTS_H
#define RINGPOST_TOOLS_CMD_EVENTS_H

/* Arguments from the verb on; returns the exit code. */
int cmd_events(int count, char **arguments);

#endif
