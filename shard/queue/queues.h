/*
 * The queues of one shard.
 *
 *   scheduled queue   one per name (domain today): rows wait in the wheel until they are due, then
 *                     in the due list of their class, in order of their coming
 *   flow              what is due of one queue in one class, in the ring of its ready queue
 *   ready queue       one per (source, site): takes rows off its flows, urgent ones first, by the
 *                     weights of their queues (flows.h)
 *
 * A row is moved, never copied: new → waiting ⇄ due ⇄ hot → held → done. Nothing here knows of
 * messages or connections: the delivery module embeds struct ready_queue in its own struct, is
 * asked where a scheduled queue goes (route), and told when a ready queue has work. All calls on
 * the shard.
 */
#ifndef RINGPOST_SHARD_QUEUE_QUEUES_H
#define RINGPOST_SHARD_QUEUE_QUEUES_H

#include <stdatomic.h>

#include "core/list.h"
#include "shard/queue/flows.h"
#include "shard/queue/hold.h"
#include "shard/queue/names.h"
#include "shard/queue/retry.h"
#include "shard/queue/row_wheel.h"
#include "shard/queue/rows.h"
#include "shard/shard.h"

#define QUEUE_NONE     SLAB_NONE
#define BATCH_ROWS_MAX 100

enum queue_class { QUEUE_BULK, QUEUE_URGENT, QUEUE_CLASSES };

/* What an operator, or a rule, has ordered for a scheduled queue. Its rows become due as ever, but
 * for those that come back to a doomed one: they are due at once. */
enum queue_order {
    QUEUE_RUNS,
    QUEUE_SUSPENDED, /* what is due stays so: no attempt begins */
    QUEUE_SUSPENDED_RULE, /* the same */
    QUEUE_DOOMED,    /* what is due ends without an attempt: queues_take_doomed */
};

/* Embedded in whatever takes rows of a ready queue and sends them: it may not go while it has any.
 * Several of them may take turns at one ready queue. */
struct ready_window {
    uint32_t hot;      /* rows taken and neither put back nor done */
    uint32_t hot_bulk; /* of these, not urgent */
};

/* What is due for one site; embedded in its owner. */
struct ready_queue {
    struct flow_ring rings[QUEUE_CLASSES];
    uint32_t due;           /* rows in their flows */
    uint32_t queues;        /* scheduled queues routed here: it may not go while there are any */
    struct hold_clock hold; /* its owner says what holds it back: hold_clock_set */
};

void ready_queue_init(struct ready_queue *ready, uint64_t now_ns);

enum { QUEUE_MARK_ORDER = 1, QUEUE_MARK_EXPLAIN = 2, QUEUE_MARK_REBIND = 4 };

struct sched_queue {
    struct ready_queue *ready; /* null: not routed; borrowed, counted in ready->queues */
    struct flow flows[QUEUE_CLASSES]; /* due rows; in the rings of `ready` */
    struct list link;          /* in queues->idle while it has no rows; in queues->unrouted while it
                                  runs, has due ones and no route; in queues->doomed while it is
                                  and has due ones */
    void *gate;                /* the user's; null: its rows are asked of nobody */
    bool parked;               /* the gate is shut: it is in no ring, and counts for none */
    bool follows;              /* what holds `ready` back holds it, too */
    uint8_t refusal;           /* enum hold_reason: why it was parked, or has no route */
    uint8_t order;             /* enum queue_order */
    uint8_t marks;             /* of whoever walks over all queues: QUEUE_MARK_… */
    uint32_t number;
    uint32_t rows;             /* all its rows, in whatever state */
    uint32_t waiting;          /* of these, in the wheel */
    uint32_t named;            /* in this checkpoint, the last one; 0: in none (its writer's) */
    struct queue_name name;    /* without bytes: there is no such queue any more */
    struct hold_clock hold;
};

struct queues_user {
    /* Where does this queue go? Called when it has a due row and no route. Null: nowhere now, for
     * that reason; its rows stay due and it is asked again soon. */
    struct ready_queue *(*route)(void *context, struct sched_queue *queue,
                                 enum hold_reason *reason_out);
    /* Rows have become due for this ready queue. */
    void (*work)(void *context, struct ready_queue *ready);
    /* The last scheduled queue routed to it is gone. */
    void (*unused)(void *context, struct ready_queue *ready);
    /*
     * Of a queue with a gate whose turn it is: how many of `count` rows may become hot now; they
     * do. With 0 the queue is parked until queues_release, for that reason. Null when no queue has
     * a gate.
     */
    unsigned (*admit)(void *context, struct sched_queue *queue, unsigned count,
                      enum hold_reason *reason_out);
    /* A queue with a gate is forgotten. */
    void (*forget)(void *context, struct sched_queue *queue);
    /* What has been ordered for queues of this name: one is new. Null: nothing ever is. */
    enum queue_order (*ordered)(void *context, struct slice name);
    /* A doomed queue has due rows. Null as above. */
    void (*doomed)(void *context);
};

/* How many recipients may be queued on the node: one for all its shards. */
struct queues_limit {
    _Alignas(64) _Atomic uint32_t used;
    uint32_t max;
};

struct queues_options {
    uint32_t rows_max;
    uint32_t queues_max;
    uint64_t idle_ns; /* an empty queue is forgotten after this */
    size_t options_bytes; /* of the user, with each queue */
    struct queues_limit *limit; /* borrowed from the node; null: as memory allows */
    const struct queues_user *user;
    void *context;
};

struct queues {
    struct shard *shard; /* borrowed */
    const struct queues_user *user;
    void *context;
    struct queues_limit *limit;
    struct slab rows;
    struct slab sched;
    struct row_wheel wheel;
    struct queue_names names;
    struct list idle;     /* empty queues, oldest first */
    struct list unrouted; /* asked for a route again every tick */
    struct list doomed;   /* in turn */
    uint64_t idle_ns;
    struct timer tick;
    struct deferred drain; /* more due rows than one slice */
    uint64_t clock_base_ns; /* wall clock at start less monotonic clock then */
};

MUST_USE int queues_init(struct queues *queues, struct shard *shard,
                         const struct queues_options *options);
void queues_fini(struct queues *queues);

/*
 * Wall-clock time that runs with the monotonic clock from where the wall clock stood at start: due
 * times survive a wall clock that jumps.
 */
uint64_t queues_now_ns(const struct queues *queues);

/* How much more the wall clock shows now than that, to the nearest second. */
int64_t queues_wall_ahead_s(const struct queues *queues);

/* Can `count` more rows be had? Asked before a message is stored, when it can still be refused. */
bool queues_room(const struct queues *queues, uint32_t count);

/* Numbers of queues are below this. */
uint32_t queues_end(const struct queues *queues);
/* The queue with that number; null: there is none. */
struct sched_queue *queues_find(const struct queues *queues, uint32_t number);

/* The number of the queue of that name, made when it is new; QUEUE_NONE: no memory. */
MUST_USE uint32_t queues_name(struct queues *queues, struct slice name);
struct sched_queue *queues_at(const struct queues *queues, uint32_t number);
struct slice sched_queue_name(const struct queues *queues, const struct sched_queue *queue);
/* The user's part, of options_bytes; zero in a new queue. */
static inline void *sched_queue_options(struct sched_queue *queue)
{
    return queue + 1;
}
/* Its share among the queues of the same ready queue and class; FLOW_WEIGHT when never set. */
void sched_queue_weigh(struct sched_queue *queue, uint32_t weight);

/*
 * A new row of a queue, to be filled by the caller and then put somewhere; it keeps its class.
 * ROW_NONE: no memory, or the node has as many as it may.
 */
MUST_USE uint32_t queues_row_new(struct queues *queues, uint32_t queue);
/* The same for a recipient that was taken before the start: the node's limit holds for new ones. */
MUST_USE uint32_t queues_row_again(struct queues *queues, uint32_t queue);
/* New, hot or held → due now, behind the others; `first` puts it before them. */
void queues_row_due(struct queues *queues, uint32_t handle, bool first);
/* New, hot or held → waiting until row.due_s; due when that is over, or the queue is doomed. */
void queues_row_wait(struct queues *queues, uint32_t handle);
/* New, hot or held → gone. */
void queues_row_done(struct queues *queues, uint32_t handle);
/* New or held: it belongs to this queue from now on. */
void queues_row_move(struct queues *queues, uint32_t handle, uint32_t queue);
/* New, waiting, due or hot → held: no attempt begins, and its ready queue does not count it. A new
 * one has its place in the log. */
void queues_row_hold(struct queues *queues, uint32_t handle);

/*
 * Takes up to `limit` due rows for one transaction: the first of the flow whose turn it is, and
 * those behind it that belong to the same message. An urgent flow has the turn while there is one.
 * `hot_max` rows of the window may be hot at once; an eighth of them, at least one, is for urgent
 * ones alone, unless that is one. Returns their count; 0 when nothing is due that may become hot.
 */
unsigned ready_queue_take(struct queues *queues, struct ready_queue *ready,
                          struct ready_window *window, uint32_t hot_max, unsigned limit,
                          uint32_t *handles_out);

/* The first row that it would take now, if the gate of its queue lets it; ROW_NONE: none. */
uint32_t ready_queue_next(struct ready_queue *ready, const struct ready_window *window,
                          uint32_t hot_max);

/* Rows of a queue that are due, in whatever class. */
uint32_t sched_queue_due(const struct sched_queue *queue);
/* Why what is due of it waits, and since when; until when is known to whoever holds it. */
struct hold sched_queue_hold(const struct sched_queue *queue);
/* How long it has been held back for that reason since it was made, or named again after it had
 * been forgotten. */
uint64_t sched_queue_hold_ms(const struct sched_queue *queue, enum hold_reason reason,
                             uint64_t now_ns);
/* The reason for which a parked queue is parked is another one now. */
void queues_refuse(struct queues *queues, struct sched_queue *queue, enum hold_reason reason);
/* The gate of a parked queue is open again: what is due of it goes back into its ring. */
void queues_release(struct queues *queues, struct sched_queue *queue);

/* From now on. What is hot goes on; what comes back of it finds the order. */
void queues_order(struct queues *queues, struct sched_queue *queue, enum queue_order order);
/* The doomed queue whose turn it is; null: none has due rows. */
struct sched_queue *queues_doomed(const struct queues *queues);
/* Up to `limit` of its due rows, all of one message; they are held, and the next queue's turn
 * comes. */
unsigned queues_take_doomed(struct queues *queues, struct sched_queue *queue, unsigned limit,
                            uint32_t *handles_out);

/* Asks for the routes of queues that have none, as the next tick does: there may be some now. */
void queues_ask_routes(struct queues *queues);

/* Undoes the route of a queue (its options changed, or its ready queue goes); what is due in it is
 * routed again at the next tick. What is hot goes on where it is. */
void queues_unroute(struct queues *queues, struct sched_queue *queue);

#endif
