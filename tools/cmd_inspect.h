/* `ringpost inspect`: one message, some of a queue, or the connections of a ready queue. */
#ifndef RINGPOST_TOOLS_CMD_INSPECT_H
#define RINGPOST_TOOLS_CMD_INSPECT_H

#include "tools/verb_options.h"

#define INSPECT_OPTIONS                                                                            \
    (OPTIONS_COMMON | OPTION_BIT(ID) | OPTION_BIT(QUEUE) | OPTION_BIT(READY_QUEUE) |               \
     OPTION_BIT(BODY) | OPTION_BIT(LIMIT))

/* Returns the exit code. */
int cmd_inspect(const struct verb_options *options);

#endif
