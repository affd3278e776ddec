/* The parts of delivery that its files share; see smtp/delivery.h. Not for other modules. */
#ifndef RINGPOST_SMTP_EGRESS_H
#define RINGPOST_SMTP_EGRESS_H

#include "shard/queue/hold.h"
#include "smtp/client_conn.h"
#include "smtp/delivery.h"
#include "smtp/egress_limits.h"
#include "smtp/egress_pool.h"

struct transfer;

#define EGRESS_EHLO_BYTES_MAX    256 /* a host name */
#define EGRESS_HOST_BYTES_MAX    255

struct egress {
    struct egress_pool *pool;   /* borrowed: it is there as long as this is */
    struct delivery *delivery;
    uint16_t member;            /* its index there */
    bool moves;                 /* counted in pool->moving */
    bool leaves;                /* it is no member any more, and goes when its cells are home */
    int32_t owed;               /* recipients dealt to it; below 0: it took more than that */
    uint32_t unpaid;            /* of these, dealt before its cells have come */
    struct ready_window window; /* its hot rows */
    struct list link;         /* in delivery->all */
    struct list idle;         /* egress_conn, last used first */
    struct list conns;        /* egress_conn that are not idle */
    uint32_t busy;            /* of these, with a transfer */
    struct list ahead[QUEUE_CLASSES]; /* transfers that have no connection yet, next first */
    uint32_t ahead_count;
    uint32_t ahead_rows;
    struct deferred work;
    const struct path_options *path; /* held; null: it is retired */
    struct client_options client;
    struct egress_limits limits;
    struct endpoint source;   /* where it sends from; zero: wherever */
    struct hold hold;         /* why no more is sent, as the clock, and until when */
    struct hold_clock clock;
    struct timer timer;       /* at the instant at which a rate goes on */
    uint64_t pinned_bytes;    /* its part of delivery->pinned_bytes */
    bool share_full;          /* it waits for some of them */
    uint8_t suspended;        /* enum hold_reason: by whom, and nothing more is sent; or none */
    uint64_t suspended_until_ns;
    uint32_t connections;
    uint32_t away;            /* egress_conn whose connection goes to another shard */
    uint16_t refusal_bytes;
    uint8_t refusal[EGRESS_REFUSAL_BYTES_MAX]; /* the last reply, of a server or of ours, that was
                                                  not for delivery, as far as there is room */
    uint32_t failures;        /* in a row: every host failed */
    uint64_t heard_ns;        /* a server last answered, or began to be waited for */
    uint32_t reach;           /* the pool's hosts that can be reached from its source, a bit each */
    uint16_t remote_port;     /* of the source; 0: that of the hosts */
    uint16_t name_bytes;
    uint16_t source_bytes;    /* of the name: that of the source */
    char name[EGRESS_NAME_BYTES_MAX]; /* "unspecified->mx_list:[127.0.0.1]:2626@smtp_client" */
    uint8_t ehlo_memory[EGRESS_EHLO_BYTES_MAX];
};

/* A connection that broke in a transaction keeps its slot and goes on (egress_break.c). */
enum egress_again { AGAIN_NO, AGAIN_SAME_HOST, AGAIN_NEXT_HOST };

struct egress_conn {
    struct client_conn conn;
    struct egress *egress;      /* borrowed */
    struct transfer *transfer;  /* null: idle, connecting or closing; egress_conn_assign */
    bool used;                  /* has sent something since it came here */
    unsigned tried;             /* hosts before this one */
    uint8_t again;              /* enum egress_again: when it has ended */
    uint32_t spin;              /* where it begins among equal ones */
    uint8_t name_bytes;         /* of the host that is being tried; 0: it has none */
    uint8_t name[EGRESS_HOST_BYTES_MAX];
    struct slot_cargo cargo;    /* while it goes to another shard, which knows the site, too */
};

static inline struct egress_conn *egress_conn_of(struct client_conn *client)
{
    return CONTAINER_OF(client, struct egress_conn, conn);
}

/* Of number `member` of this pool; null: no memory. */
MUST_USE struct egress *egress_new(struct egress_pool *pool, unsigned member);
static inline struct slice egress_source_name(const struct egress *egress)
{
    return slice_make(egress->name, egress->source_bytes);
}
/* Its pool leads elsewhere now. */
void egress_aim(struct egress *egress);
static inline unsigned egress_host_count(const struct egress *egress)
{
    return (unsigned)__builtin_popcount(egress->reach);
}
static inline struct slice egress_conn_host(const struct egress_conn *conn)
{
    return slice_make(conn->name, conn->name_bytes);
}
/* It looks for work when it is kicked, and at its timer's instant. */
void egress_work_init(struct egress *egress);
/* limits.granted: a slot is kept for it. */
void egress_slot_granted(struct egress_limits *limits);
/* Ends it when nothing refers to it any more; the cells go home first. */
void egress_join(struct egress *egress);
/* It has had nothing to do for a while, and there is nothing to be known of it: it goes. */
void egress_rest(struct egress *egress);
/* Is its source's address none of this host? */
bool egress_is_left_out(const struct egress *egress);
/* What its site has answered last that was not for delivery, or why there is none to ask; into
 * `text`, of EGRESS_REFUSAL_BYTES_MAX, or it stands as long as the egress. */
struct slice egress_last_word(const struct egress *egress, struct buf *text);
/* May something be dealt to it? */
bool egress_takes_turns(const struct egress *egress);
/* What of it is due and may be taken. */
static inline uint32_t egress_fresh(const struct egress *egress)
{
    return egress_pool_share(egress);
}
/* Work will be looked for at the end of this turn. */
void egress_kick(struct egress *egress);
/* The connection has no transfer any more and may take another. */
void egress_conn_idle(struct egress_conn *conn);
/* What it sends, or is to send from now on; null: nothing. */
void egress_conn_assign(struct egress_conn *conn, struct transfer *transfer);
/* Ten times a second: what waits for memory, slots that it has had long enough. */
void egress_tick(struct egress *egress);
/* No new work; idle connections close, the others when they are idle. */
void egress_stop(struct egress *egress);
void egress_cut(struct egress *egress);
/* The last queue is gone: it goes too, when its connections have. */
void egress_unused(struct egress *egress);
/* Its options stand in another view, unchanged. */
void egress_follow(struct egress *egress, const struct path_options *path);
/* Its options are no longer in force, and no queue is left: what has begun ends as it was. */
void egress_retire(struct egress *egress);

extern const struct client_user egress_client_user;
/* A connection of the pool's, in no list yet; null: no memory. */
MUST_USE struct egress_conn *egress_conn_take(struct egress *egress);

/* Recipients who wait for a connection. */
static inline uint32_t egress_due(const struct egress *egress)
{
    return egress_fresh(egress) + egress->ahead_rows;
}
/* max_ready is the node's window of hot messages; each shard has its share of it. */
uint32_t egress_window(const struct egress *egress);

/*
 * Messages read ahead (egress_ahead.c): the next ones of the ready queue, if they are not in memory
 * anyway. `may_go` recipients are allowed by rates and the site's share of the blocks.
 */
void egress_ahead_read(struct egress *egress, uint32_t may_go);
/* The next of them whose turn it is: urgent ones, and bulk ones while nothing urgent is due. It is
 * the caller's. */
MUST_USE struct transfer *egress_ahead_next(struct egress *egress);
/* The next of a class, whosever turn it is. */
MUST_USE struct transfer *egress_ahead_take(struct egress *egress, enum queue_class class);
/* More than busy connections are to have go back. */
void egress_ahead_trim(struct egress *egress);
/* Is in the lists no more; nothing when it is not in them. */
void egress_ahead_remove(struct transfer *transfer);
/* Goes back. */
void egress_ahead_drop(struct transfer *transfer);
/* What may not go from here any more goes back: an operator has stopped it, or its queue goes
 * elsewhere. */
void egress_ahead_drop_stopped(struct egress *egress);
/* Does what is next of this queue go from here, by orders and routes? */
bool egress_serves(const struct egress *egress, const struct sched_queue *queue);

/* What it would send next. */
enum slot_class egress_class(const struct egress *egress);
/* Of what could be sent; 0: nothing. */
uint32_t egress_weight(const struct egress *egress);
/*
 * Makes way for others, if one should: for another shard that waits for the same site by going
 * there, as it is; for any other site by its end.
 */
bool egress_conn_yield(struct egress_conn *conn);
/* One that is idle makes way. */
bool egress_yield_idle(struct egress *egress);
/* limits.asked: others wait for a slot. */
bool egress_slot_asked(struct egress_limits *limits);
/* A connection has come with a slot: it is idle here. */
void egress_take_cargo(struct egress *egress);
/* What was the connection's is home; it is not, unless nobody took it. */
void egress_cargo_home(struct slot_cargo *cargo);
/*
 * A transaction is over: had the connection broken, recipients who have no answer may go to the
 * next host (try_next_host_on_transport_error). Before their transfer is recorded; the next after
 * it: does the connection go on, and where (reconnect_strategy)? A token of the connection rate is
 * taken for that.
 */
void egress_break_spare(struct egress_conn *conn, struct transfer *transfer);
void egress_break_judge(struct egress_conn *conn);
/* It has ended. True: it is to be opened, with the host that its plan is at now. */
MUST_USE bool egress_break_goes_on(struct egress_conn *conn);
/* Nothing is in flight: it goes, unless nobody waits any more. */
void egress_conn_detached(struct client_conn *client);

/* New transfers may begin. */
bool delivery_may_start(const struct delivery *delivery);
/* A message of so many bytes may be read before it is needed. */
bool delivery_may_read_ahead(const struct delivery *delivery, uint64_t bytes);
/* Memory is short: all that was read ahead goes back, a few thousand messages at most. */
void delivery_drop_ahead(struct delivery *delivery);
void delivery_forget(struct delivery *delivery, struct egress *egress);

#endif
