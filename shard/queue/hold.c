/*
 * Following without a copy of the leader's times: they are taken away when it begins and added when
 * it ends, and what is left is how much they have grown. In between the sums are below zero, modulo
 * 2^40, which does not matter.
 */
#include "shard/queue/hold.h"

#define TIME_MASK  ((1ull << 40) - 1)
#define UNIT_NS    (NS_PER_MS / UNITS_A_MS)
#define UNITS_A_MS 16

static_assert(sizeof(struct hold_clock) <= 104, "there are millions");

const char *hold_state_name(enum hold_reason reason)
{
    switch (reason) {
    case HOLD_none:
        return "moving";
    case HOLD_empty:
        return "empty";
    case HOLD_suspended_admin:
    case HOLD_suspended_rule:
        return "suspended";
    case HOLD_not_due:
    case HOLD_quiet_hours:
    case HOLD_connection_limit:
    case HOLD_connection_rate:
    case HOLD_message_rate:
    case HOLD_queue_rate:
    case HOLD_source_rate:
    case HOLD_no_source:
    case HOLD_dns:
    case HOLD_connect_failing:
    case HOLD_remote_slow:
    case HOLD_ready_full:
    case HOLD_spool_unhealthy:
    case HOLD_memory:
    case HOLD_REASONS_COUNT:
        break;
    }
    return "waiting";
}

static uint64_t spent(const struct hold_clock *clock, unsigned reason)
{
    return (uint64_t)clock->high[reason] << 32 | clock->low[reason];
}

static void add(struct hold_clock *clock, unsigned reason, uint64_t units)
{
    uint64_t sum = spent(clock, reason) + units;
    clock->low[reason] = (uint32_t)sum;
    clock->high[reason] = (uint8_t)(sum >> 32);
}

/* Of the reason in force, since it is. */
static uint64_t running(const struct hold_clock *clock, uint64_t now_ns)
{
    return now_ns / UNIT_NS - clock->since_ns / UNIT_NS;
}

static uint64_t spent_by(const struct hold_clock *clock, unsigned reason, uint64_t now_ns)
{
    return spent(clock, reason) + (clock->reason == reason ? running(clock, now_ns) : 0);
}

static uint64_t as_ms(uint64_t units)
{
    return (units & TIME_MASK) / UNITS_A_MS;
}

void hold_clock_init(struct hold_clock *clock, enum hold_reason reason, uint64_t now_ns)
{
    *clock = (struct hold_clock){.reason = (uint8_t)reason, .since_ns = now_ns};
}

void hold_clock_set(struct hold_clock *clock, enum hold_reason reason, uint64_t now_ns)
{
    if (clock->reason == reason) {
        return;
    }
    add(clock, clock->reason, running(clock, now_ns));
    clock->reason = (uint8_t)reason;
    clock->since_ns = now_ns;
}

uint64_t hold_clock_ms(const struct hold_clock *clock, enum hold_reason reason, uint64_t now_ns)
{
    return as_ms(spent_by(clock, reason, now_ns));
}

/* --- following -------------------------------------------------------------------------------- */

/* What the follower calls this reason of its leader's. */
static enum hold_reason as_followed(unsigned reason)
{
    return reason == HOLD_empty ? HOLD_none : (enum hold_reason)reason;
}

enum hold_reason hold_clock_following(const struct hold_clock *lead)
{
    return as_followed(lead->reason);
}

void hold_clock_follow(struct hold_clock *clock, const struct hold_clock *lead, uint64_t now_ns)
{
    add(clock, clock->reason, running(clock, now_ns));
    clock->since_ns = now_ns;
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        uint64_t units = spent_by(lead, i, now_ns);
        if (units > 0) {
            add(clock, as_followed(i), 0 - units);
        }
    }
}

void hold_clock_leave(struct hold_clock *clock, const struct hold_clock *lead,
                      enum hold_reason reason, uint64_t now_ns)
{
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        uint64_t units = spent_by(lead, i, now_ns);
        if (units > 0) {
            add(clock, as_followed(i), units);
        }
    }
    clock->since_ns = now_ns;
    clock->reason = (uint8_t)reason;
}

uint64_t hold_clock_following_ms(const struct hold_clock *clock, const struct hold_clock *lead,
                                 enum hold_reason reason, uint64_t now_ns)
{
    uint64_t units = spent(clock, reason);
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        if (as_followed(i) == reason) {
            units += spent_by(lead, i, now_ns);
        }
    }
    return as_ms(units);
}
