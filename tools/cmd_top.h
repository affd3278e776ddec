/* `ringpost top`: a running server at work, once a second, until q. */
#ifndef RINGPOST_TOOLS_CMD_TOP_H
#define RINGPOST_TOOLS_CMD_TOP_H

#include "tools/verb_options.h"

#define TOP_OPTIONS                                                                                \
    (OPTIONS_COMMON | OPTION_BIT(READY) | OPTION_BIT(THREADS) | OPTION_BIT(ONCE))

/* Returns the exit code. */
int cmd_top(const struct verb_options *options);

#endif
