/* Why a queue is not moving, and until when: the words that operators read. */
#ifndef RINGPOST_SHARD_QUEUE_HOLD_H
#define RINGPOST_SHARD_QUEUE_HOLD_H

#include "core/base.h"

#define HOLD_REASONS(X)                                                                            \
    X(none)             /* it moves */                                                             \
    X(empty)                                                                                       \
    X(not_due)                                                                                     \
    X(connection_limit) /* connection_limit, or an additional one */                               \
    X(connection_rate)                                                                             \
    X(message_rate)     /* of the path, or an additional one */                                    \
    X(queue_rate)       /* of the scheduled queue, or of its tenant */                             \
    X(ready_full)                                                                                  \
    X(spool_unhealthy)                                                                             \
    X(memory)

enum hold_reason {
#define HOLD_ENUM(name) HOLD_##name,
    HOLD_REASONS(HOLD_ENUM)
#undef HOLD_ENUM
    HOLD_REASONS_COUNT
};

struct hold {
    enum hold_reason reason;
    uint64_t until_ns; /* monotonic: the instant at which it may go on; 0: nobody knows */
};

static inline const char *hold_name(enum hold_reason reason)
{
    static const char *const names[] = {
#define HOLD_NAME(name) [HOLD_##name] = #name,
        HOLD_REASONS(HOLD_NAME)
#undef HOLD_NAME
    };
    return names[reason];
}

#endif
