/*
 * Turns between flows: deficit round robin. A flow is what is due of one scheduled queue in one
 * class; its ring, one per class of a ready queue, says whose turn it is.
 *
 * In each round a flow gets credit of its weight, and has its turn when that makes its credit
 * positive: then it takes batches until the credit is used up, the last of them on credit of later
 * rounds. So shares are exact to one batch, whatever batches cost, and a cost need not be known
 * before. Rounds in which nobody would have a turn are not run but counted: credit comes from the
 * difference of round numbers. A flow that is empty keeps its debt, never its credit, and rounds
 * that pass without it pay the debt.
 *
 * All calls take constant time but flow_ring_next, which looks at FLOW_VISITS_MAX flows and a few
 * more when all of them are in debt; over a whole ring the looks add up to one for each credit that
 * was spent. Pure; one thread.
 */
#ifndef RINGPOST_SHARD_QUEUE_FLOWS_H
#define RINGPOST_SHARD_QUEUE_FLOWS_H

#include "core/list.h"
#include "shard/queue/rows.h"

/* What one recipient costs, and so does each 64 KiB of its message; a flow of this weight sends
 * one recipient of a small message a round. */
#define FLOW_COST       100
#define FLOW_WEIGHT     100 /* when nobody says otherwise */
#define FLOW_WEIGHT_MAX 1000
#define FLOW_VISITS_MAX 4096u

struct flow {
    struct list link;    /* in a ring's flows while `due` is not empty and its queue is routed */
    struct row_list due; /* its owner's */
    int32_t credit;
    uint32_t round;      /* in which it got credit last */
    uint32_t weight;     /* 1 … FLOW_WEIGHT_MAX */
};

struct flow_ring {
    struct list flows; /* whose turn it is, or comes next, first */
    uint32_t round;
    uint32_t served;   /* the last round in which a batch was taken */
    uint32_t weight;   /* of all its flows together */
};

void flow_init(struct flow *flow);
void flow_ring_init(struct flow_ring *ring);

/* The flow belongs to this ring from now on: no credit, no debt. It is not in it yet. */
void flow_attach(struct flow *flow, const struct flow_ring *ring);
/* It has something due. Does nothing when it is in the ring. */
void flow_enter(struct flow *flow, struct flow_ring *ring);
/* It has nothing due. Does nothing when it is in no ring; else `ring` is the one. */
void flow_leave(struct flow *flow, struct flow_ring *ring);
/* Its weight from now on. `ring` as above. */
void flow_weigh(struct flow *flow, struct flow_ring *ring, uint32_t weight);

/* Whose turn it is; null: the ring is empty. */
MUST_USE struct flow *flow_ring_next(struct flow_ring *ring);
/* That flow has taken a batch at this cost. */
void flow_spend(struct flow *flow, struct flow_ring *ring, uint32_t cost);

/* Of a batch: recipients of one message of size_64 times 64 bytes. */
uint32_t flow_batch_cost(uint32_t recipients, uint32_t size_64);

#endif
