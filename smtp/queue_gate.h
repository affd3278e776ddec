/*
 * The hours of a scheduled queue and its rates: its own, and those that it shares with others of
 * its blocks. A gate stands between the queue and its ready queue: in its hours it lets as many
 * rows through as all rates allow, and is shut until the instant of the next. Hours are those of
 * the wall clock, which is looked at again every minute while they keep the gate shut: it may jump.
 * Part of delivery, not for other modules. Owned by the delivery's pool; goes when its queue is
 * forgotten or the delivery stops, and its cells are home.
 */
#ifndef RINGPOST_SMTP_QUEUE_GATE_H
#define RINGPOST_SMTP_QUEUE_GATE_H

#include "core/conf.h"
#include "shard/queue/cell_set.h"
#include "shard/queue/queues.h"
#include "shard/queue/rates.h"
#include "smtp/limit_view.h"

#define QUEUE_RATES_MAX (1 + CONF_OVERALL_MAX)

struct delivery;

struct queue_gate {
    struct list link;          /* in delivery->gates */
    struct delivery *delivery; /* borrowed */
    struct sched_queue *queue; /* borrowed; null: the gate only waits for its cells */
    struct cell_set set;
    struct rates rates;
    struct timer timer;        /* at the instant at which it opens, or looks at its hours again */
    uint64_t until_ns;         /* at which it opens; 0: it is open, or waits for its cells */
    bool quiet;                /* its hours keep it shut */
    int64_t open_from_s;       /* of the wall clock: it has hours, and they are open … */
    int64_t open_until_s;      /* … up to then */
    uint32_t number;           /* of this gate, not 0: another one of the queue has another */
    struct rate wanted[QUEUE_RATES_MAX]; /* as the cells */
    struct cell_request requests[QUEUE_RATES_MAX];
    struct rate_line lines[QUEUE_RATES_MAX];
};

/* A rate of a queue and whose it is: the parts of its cell's name. */
struct queue_rate {
    const struct rate *rate;
    struct slice scope;
    struct slice name;
    const char *option;
};
/* All rates under which a queue of this name and these options works. */
unsigned queue_rates_of(const struct queue_options *options, struct slice name,
                        struct queue_rate rates_out[QUEUE_RATES_MAX]);

/* The queue is to be routed: its gate stands, when it needs one. False: no memory now. */
MUST_USE bool queue_gate_open(struct delivery *delivery, struct sched_queue *queue);
/* queues_user.admit and .forget. */
unsigned queue_gate_admit(void *context, struct sched_queue *queue, unsigned count,
                          enum hold_reason *reason_out);
void queue_gate_forget(void *context, struct sched_queue *queue);
/* The gate that a queue has now; 0: none. */
uint32_t queue_gate_number(const struct sched_queue *queue);
/* `count` rows that gate `number` let through have not been sent. Nothing when the queue has
 * another gate by now: its rates are not those that were used. */
void queue_gate_refund(struct sched_queue *queue, uint32_t number, unsigned count);
/* Has the queue the gate that these options want? Whatever their hours are: its look at them is
 * queue_gate_renew. */
bool queue_gate_fits(const struct delivery *delivery, const struct sched_queue *queue,
                     const struct queue_options *options);
/* The options of a queue that keeps its gate, if it has one, are new. */
void queue_gate_renew(struct delivery *delivery, struct sched_queue *queue);
/* Number `i` of its rates, below QUEUE_RATES_MAX. False: there is none, or it is not at work. */
MUST_USE bool queue_gate_limit_at(const struct queue_gate *gate, unsigned i,
                                  struct limit_view *view_out);
/* The delivery stops: all gates give their cells back. */
void queue_gates_stop(struct delivery *delivery);

#endif
