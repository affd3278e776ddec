/* `ringpost queues`: what stands in the queues, the largest first. */
#ifndef RINGPOST_TOOLS_CMD_QUEUES_H
#define RINGPOST_TOOLS_CMD_QUEUES_H

#include "tools/verb_options.h"

#define QUEUES_OPTIONS (OPTIONS_COMMON | OPTION_BIT(READY) | OPTION_BIT(LIMIT))

/* Returns the exit code. */
int cmd_queues(const struct verb_options *options);

#endif
