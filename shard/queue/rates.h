/*
 * The rates under which one user on a shard works, all of them at once: a token of each for every
 * recipient (or connection). Tokens are reserved ahead, so that a thread that wakes late has lost
 * nothing: as many as there is work for, but no more than two and what 32 ms bring, and none beyond
 * the first that is to be had only in more than a second.
 *
 * While the first token of one rate is further away than that, each other rate keeps one reserved
 * token and gives the rest back: waiting for a slow rate costs a fast one nothing, and whoever
 * waits has its turn at a known instant, however many others there are. Tokens that are not used
 * within a second (or their interval) of their instant are given back.
 *
 * In any time T, T / interval + burst tokens are used at most, and those that were reserved before.
 * Embedded in its user; all calls on its shard. The cells are the user's; before they are given
 * back comes rates_clear.
 */
#ifndef RINGPOST_SHARD_QUEUE_RATES_H
#define RINGPOST_SHARD_QUEUE_RATES_H

#include "shard/queue/cells.h"

struct rate_line {
    struct cell *cell;       /* borrowed */
    const struct rate *rate; /* borrowed */
    struct rate_run {
        int64_t first_ns;    /* instant of its first token; the others follow by intervals */
        uint64_t count;
        uint64_t stale_ns;   /* what is left then is given back */
    } runs[2];               /* tokens reserved and not used, oldest first */
};

struct rates {
    struct rate_line *lines; /* borrowed: the user's memory */
    unsigned count;
    unsigned capacity;
};

/* None yet: everything may go. */
void rates_init(struct rates *rates, struct rate_line *lines, unsigned capacity);
void rates_add(struct rates *rates, struct cell *cell, const struct rate *rate);

/*
 * How many of `want` (≥ 1) may go now. When it is 0, `until_out` is the instant of the next: a
 * token of each rate is reserved for it.
 */
MUST_USE uint32_t rates_ready(struct rates *rates, uint64_t now_ns, uint32_t want,
                              uint64_t *until_out);
/* So many have gone, of those that rates_ready said. */
void rates_use(struct rates *rates, uint32_t count);
/* So many that were used have not gone after all. */
void rates_refund(struct rates *rates, uint32_t count);
/* Is a token reserved? */
bool rates_holds(const struct rates *rates);
/* There is no more work: gives back what is reserved. */
void rates_rest(struct rates *rates);
/* The same, and there are no rates any more: their cells go. */
void rates_clear(struct rates *rates);

#endif
