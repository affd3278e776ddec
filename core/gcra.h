/*
 * Rates as KumoMTA writes them, and the generic cell rate algorithm that holds them, in integer
 * nanoseconds. Pure; the state is one number, the arrival time, which the caller keeps (on a node:
 * shard/queue/cells.h, where all threads share it).
 *
 * A rate hands out tokens. The arrival time is when the bucket would be full again; each token
 * moves it on by one interval. A token may be used from its instant on: arrival time after it, less
 * `burst` intervals. So in any time T that begins with no token outstanding at most
 * T / interval + burst tokens are used, whatever is reserved and given back meanwhile. The interval
 * is rounded up: the error is on the strict side, and below a thousandth.
 */
#ifndef RINGPOST_CORE_GCRA_H
#define RINGPOST_CORE_GCRA_H

#include "core/buf.h"

#define RATE_INTERVAL_NS_MIN NS_PER_US                       /* a million a second */
#define RATE_PERIOD_NS_MAX   (366ull * 86400 * NS_PER_S)
#define RATE_SPAN_NS_MAX     (3660ull * 86400 * NS_PER_S)    /* burst * interval */
#define RATE_TEXT_MAX        80
#define RATE_ANY_TIME        ((uint64_t)INT64_MAX)

struct rate {
    uint64_t count; /* 0: there is no rate; nothing else is valid then */
    uint64_t period_ns;
    uint64_t burst; /* ≥ 1 */
    uint64_t interval_ns; /* period / count, rounded up */
    bool burst_given; /* max_burst was written; else burst = count */
    bool local;       /* "local:": never shared with other nodes */
};

/*
 * "[local:]N/[k]PERIOD[,max_burst=B]": N and B decimal, with ',' and '_' anywhere among their
 * digits, k a count of periods, PERIOD one of s sec second m min minute h hr hour d day. Null, or
 * what is wrong with it, for a message.
 */
MUST_USE const char *rate_parse(struct slice text, struct rate *rate_out);
/* In one form for each rate: "100/s", "local:500/d,max_burst=1", "10/90s". */
void rate_put(struct buf *buf, const struct rate *rate);

static inline bool rate_is_set(const struct rate *rate)
{
    return rate->count > 0;
}

/* How long an empty bucket takes to be full. */
static inline uint64_t rate_span_ns(const struct rate *rate)
{
    return rate->burst * rate->interval_ns;
}

/* Tokens reserved together: the i-th (from 0) may be used from first_ns + i * interval on. */
struct gcra_grant {
    int64_t first_ns; /* before zero: long ago */
    uint64_t count;
    uint64_t arrival_ns; /* the new arrival time */
};

/*
 * Reserves up to `want` tokens at `now_ns`; those whose instant comes after `until_ns` (at most
 * RATE_ANY_TIME) are left out. To give k tokens back, subtract k intervals from the arrival time.
 */
struct gcra_grant gcra_reserve(const struct rate *rate, uint64_t arrival_ns, uint64_t now_ns,
                               uint64_t until_ns, uint64_t want);

/* How many of `count` tokens from `first_ns` on may be used at `now_ns`. */
uint64_t gcra_ready(const struct rate *rate, int64_t first_ns, uint64_t count, uint64_t now_ns);

#endif
