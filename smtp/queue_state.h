/*
 * The queues as the source of a checkpoint (shard/spool/spool.h): walks the slab of rows by handle,
 * 2,048 a call, and puts every row whose message is stored, as it is at that moment, with the name
 * of its queue before the first row that refers to it. A row keeps its handle for life, so each
 * stands in a checkpoint once at most; what happens behind the walk is in the log. One per shard.
 */
#ifndef RINGPOST_SMTP_QUEUE_STATE_H
#define RINGPOST_SMTP_QUEUE_STATE_H

#include "shard/queue/queues.h"
#include "shard/spool/spool.h"

struct queue_state {
    struct queues *queues; /* borrowed */
    uint32_t checkpoint;   /* number of the one being written; what sched_queue.named refers to */
    uint32_t next;         /* handle to be looked at next */
};

/* `state_out` is for spool_begin. */
void queue_state_init(struct queue_state *state, struct queues *queues,
                      struct spool_state *state_out);

#endif
