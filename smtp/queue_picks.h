/*
 * The first of many by some order, kept in a heap of fixed size while all of them are looked at:
 * how a million queues become the lines that somebody reads. Pure.
 */
#ifndef RINGPOST_SMTP_QUEUE_PICKS_H
#define RINGPOST_SMTP_QUEUE_PICKS_H

#include "core/base.h"

struct queue_pick {
    uint64_t order;     /* the least first; of two the lower number */
    const void *shared; /* of a report: what other shards may have as well; null: nothing */
    uint32_t number;    /* of its kind on its shard */
    uint32_t bytes;     /* of what is written of it; 0: it has gone */
};

/* `picks` has room for `limit` ≥ 1, and is a heap: the last in order stands first. */
void queue_picks_offer(struct queue_pick *picks, uint32_t *count, uint32_t limit,
                       const struct queue_pick *pick);
/* From a heap to their order. */
void queue_picks_sort(struct queue_pick *picks, uint32_t count);

#endif
