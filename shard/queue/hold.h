/*
 * Why a queue is not moving, since when, until when, and how long for each reason: the words that
 * operators read. A reason says what the mail that is due waits for; other mail of the same queue
 * may be on its way meanwhile. Pure; one thread.
 */
#ifndef RINGPOST_SHARD_QUEUE_HOLD_H
#define RINGPOST_SHARD_QUEUE_HOLD_H

#include <assert.h>

#include "core/base.h"

#define HOLD_REASONS(X)                                                                            \
    X(none)             /* nothing that is due waits: it moves */                                  \
    X(empty)                                                                                       \
    X(not_due)          /* all of it waits for its time: deferred */                               \
    X(quiet_hours)      /* the queue sends at other hours of the day, or on other days */          \
    X(suspended_admin)  /* by an operator, who said why and until when */                          \
    X(suspended_rule)   /* by a rule of automation, for what servers have answered */              \
    X(connection_limit) /* connection_limit, or an additional one */                               \
    X(connection_rate)                                                                             \
    X(message_rate)     /* of the path, or an additional one */                                    \
    X(queue_rate)       /* of the scheduled queue, or of several */                               \
    X(source_rate)      /* source_selection_rate, or an additional one, of all sources */         \
    X(no_source)        /* no source of the pool can be sent from */                               \
    X(dns)              /* its domain has no servers that may be sent to */                        \
    X(connect_failing)  /* the last connections to all servers failed */                           \
    X(remote_slow)      /* all connections wait for servers that are silent */                     \
    X(ready_full)                                                                                  \
    X(spool_unhealthy)                                                                             \
    X(memory)

enum hold_reason {
#define HOLD_ENUM(name) HOLD_##name,
    HOLD_REASONS(HOLD_ENUM)
#undef HOLD_ENUM
    HOLD_REASONS_COUNT
};

/* Times are monotonic. */
struct hold {
    enum hold_reason reason;
    uint64_t since_ns;
    uint64_t until_ns; /* the instant at which it may go on; 0: nobody knows */
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

/* By an order that has a reason and an end of its own. */
static inline bool hold_is_suspended(enum hold_reason reason)
{
    return reason == HOLD_suspended_admin || reason == HOLD_suspended_rule;
}

/* "moving", "waiting", "suspended" or "empty". */
const char *hold_state_name(enum hold_reason reason);

/*
 * Time by reason, since whoever it belongs to was made. There may be millions of clocks: sixteenths
 * of a millisecond, in 40 bits each, which is two years. Instants are rounded, not durations, so
 * that all reasons together are right to the sixteenth, however often they change.
 */
struct hold_clock {
    uint64_t since_ns;
    uint32_t low[HOLD_REASONS_COUNT]; /* time before since_ns, modulo 2^40 */
    uint8_t high[HOLD_REASONS_COUNT];
    uint8_t reason;                   /* enum hold_reason, in force since then */
};

void hold_clock_init(struct hold_clock *clock, enum hold_reason reason, uint64_t now_ns);
/* Another reason is in force; with the same one nothing changes. */
void hold_clock_set(struct hold_clock *clock, enum hold_reason reason, uint64_t now_ns);
uint64_t hold_clock_ms(const struct hold_clock *clock, enum hold_reason reason, uint64_t now_ns);

/*
 * From now on what holds `lead` back holds the follower, too, until it leaves: as many may follow
 * as there are, and a change of the leader costs none of them anything. What the follower's own
 * clock says meanwhile is only to be asked by hold_clock_following_ms. An empty leader holds nobody
 * back: that counts as none.
 */
void hold_clock_follow(struct hold_clock *clock, const struct hold_clock *lead, uint64_t now_ns);
/* Afterwards `reason` is in force. */
void hold_clock_leave(struct hold_clock *clock, const struct hold_clock *lead,
                      enum hold_reason reason, uint64_t now_ns);
enum hold_reason hold_clock_following(const struct hold_clock *lead);
uint64_t hold_clock_following_ms(const struct hold_clock *clock, const struct hold_clock *lead,
                                 enum hold_reason reason, uint64_t now_ns);

#endif
