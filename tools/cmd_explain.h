/* `ringpost explain`: why is this mail not moving? */
#ifndef RINGPOST_TOOLS_CMD_EXPLAIN_H
#define RINGPOST_TOOLS_CMD_EXPLAIN_H

#include "tools/verb_options.h"

#define EXPLAIN_OPTIONS                                                                            \
    (OPTIONS_COMMON | OPTION_BIT(QUEUE) | OPTION_BIT(DOMAIN) | OPTION_BIT(ID))

/* Returns the exit code. */
int cmd_explain(const struct verb_options *options);

#endif
