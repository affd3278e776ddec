/*
 * What there is to say of a queue or a limit: found here, whoever asks (the report of SIGUSR1,
 * smtp/explain.h). Things have numbers on their shard, some of which may be free. Part of delivery,
 * not for other modules; all calls on the shard, and what is borrowed stands until its next turn.
 */
#ifndef RINGPOST_SMTP_QUEUE_VIEW_H
#define RINGPOST_SMTP_QUEUE_VIEW_H

#include "smtp/delivery.h"
#include "smtp/limit_view.h"

/* Of the order in which things are told, the least first: what waits, or is used up, the longest
 * before the others; then what moves, or is in use; then the rest. */
#define VIEW_ORDER_BUSY (1ull << 62)
#define VIEW_ORDER_REST (2ull << 62)

struct queue_view {
    struct slice name;
    struct slice site;   /* of a scheduled queue that has a route */
    struct hold hold;    /* until when: after queue_view_complete */
    struct slice detail; /* the same: what an operator has said who holds it back, or bounces it */
    uint64_t recipients;
    uint32_t due;
    uint32_t connections; /* of a ready queue */
    const struct sched_queue *scheduled; /* null: it is a ready queue */
    const struct egress_pool *pool;      /* of a scheduled one where it goes; null: nowhere */
    const struct egress *egress;         /* of a ready queue */
};

/* False: there is none with that number. */
MUST_USE bool queue_view_scheduled(const struct delivery *delivery, uint32_t number,
                                   struct queue_view *view_out);
MUST_USE bool queue_view_ready(const struct delivery *delivery, uint32_t number,
                               struct queue_view *view_out);
/* What takes a look at all orders. */
void queue_view_complete(const struct delivery *delivery, struct queue_view *view);
uint64_t queue_view_order(const struct queue_view *view);
/* How long it has been held back for that reason. */
uint64_t queue_view_ms(const struct queue_view *view, enum hold_reason reason, uint64_t now_ns);
/* The next of those that send what is due in it; null: there is no other. `*next` begins as 0. */
const struct egress *queue_view_sender(const struct queue_view *view, unsigned *next);
/* Of a ready queue with that number; null: there is none. */
const struct egress *queue_view_egress(const struct delivery *delivery, uint32_t number);

/* Number `i`, below EGRESS_CELLS_MAX, of a site; it has a name. */
MUST_USE bool limit_view_site(const struct egress *egress, unsigned i,
                              struct limit_view *limit_out);

struct limit_use {
    uint64_t used;     /* slots taken, or how much of the burst is */
    uint64_t until_ns; /* when whoever comes now would have his turn; 0: at once, or by a slot */
    bool full;
};
struct limit_use limit_view_use(const struct limit_view *limit, uint64_t now_ns);
/* "40", "500/d,max_burst=1". */
void limit_view_put(struct buf *buf, const struct limit_view *limit);

#endif
