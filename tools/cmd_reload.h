/* `ringpost reload`: the server reads its configuration again, all or nothing. */
#ifndef RINGPOST_TOOLS_CMD_RELOAD_H
#define RINGPOST_TOOLS_CMD_RELOAD_H

#include "tools/verb_options.h"

#define RELOAD_OPTIONS OPTIONS_COMMON

/* Returns the exit code: 3 when the server refuses the configuration. */
int cmd_reload(const struct verb_options *options);

#endif
