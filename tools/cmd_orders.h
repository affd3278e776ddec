/* `ringpost suspend`, `bounce`, `flush`, `rebind` and `resume`: orders about queues, and those in
 * force. */
#ifndef RINGPOST_TOOLS_CMD_ORDERS_H
#define RINGPOST_TOOLS_CMD_ORDERS_H

#include "tools/verb_options.h"

#define FLUSH_OPTIONS                                                                              \
    (OPTIONS_COMMON | OPTIONS_CRITERIA | OPTION_BIT(REASON) | OPTION_BIT(DRY_RUN) |                \
     OPTION_BIT(YES))
#define REBIND_OPTIONS                                                                             \
    (FLUSH_OPTIONS | OPTION_BIT(SET) | OPTION_BIT(DATA) | OPTION_BIT(ALWAYS_FLUSH))
#define BOUNCE_OPTIONS  (FLUSH_OPTIONS | OPTION_BIT(DURATION) | OPTION_BIT(LIST))
#define SUSPEND_OPTIONS (BOUNCE_OPTIONS | OPTION_BIT(READY_QUEUE))
#define RESUME_OPTIONS                                                                             \
    (OPTIONS_COMMON | OPTIONS_CRITERIA | OPTION_BIT(READY_QUEUE) | OPTION_BIT(ID) |                \
     OPTION_BIT(DRY_RUN))

/* Return the exit code. */
int cmd_suspend(const struct verb_options *options);
int cmd_bounce(const struct verb_options *options);
int cmd_flush(const struct verb_options *options);
int cmd_rebind(const struct verb_options *options);
int cmd_resume(const struct verb_options *options);

#endif
