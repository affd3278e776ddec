/*
 * An egress pool at a site: the ready queue of both, and who sends what is due in it: an egress of
 * each source that has work there. Part of delivery, not for other modules. Owned by the delivery's
 * memory; goes when no queue is routed to it any more, the last egress has gone and its cell is
 * home.
 *
 * A source gets its egress there with the first recipient that it is to send, and loses it when it
 * has had nothing to do for a while and holds nothing that is still to be known. What it owes of
 * its turns then stays with the pool, and so does what its site has answered last.
 *
 * Where there is but one source, and no rate at which it may be chosen, that takes what it can.
 * Else what is due is dealt: for each recipient a ticket is drawn, of one row of tickets that all
 * shards share, and the pool's turns (core/turns.h) say whose it is. So shares are exact over the
 * node, to a batch, whatever the shards do. What is dealt stays where it stands, in the flows of
 * the ready queue; a source only has so many of them `owed`, and takes them in their order.
 *
 *   drawn ──► the source takes no turns now ──────────────────────────► the next ticket
 *         ──► owed: at most its window, less what it has hot ──► taken: owed no more
 *
 * A source takes no turns while it is suspended, its address is none of this host, no address of
 * the site is of its family, its rates of selection do not allow it, or its window is full. What
 * it was owed then goes back, but for the last two. For the first three no egress is made.
 *
 * An egress that has just been made is owed its recipients before its cells have come; then it pays
 * their tokens of selection, and what these do not allow goes back to the others.
 */
#ifndef RINGPOST_SMTP_EGRESS_POOL_H
#define RINGPOST_SMTP_EGRESS_POOL_H

#include "core/conf_routes.h"
#include "core/turns.h"
#include "shard/queue/cell_set.h"
#include "smtp/delivery.h"
#include "smtp/egress_hosts.h"

#define EGRESS_LOOKUP_BYTES_MAX 256
#define EGRESS_NAME_BYTES_MAX (CONF_SOURCE_BYTES_MAX + ROUTE_SITE_BYTES_MAX + 16)
#define EGRESS_REFUSAL_BYTES_MAX 250
/* There was no memory: then it is tried again. */
#define EGRESS_AGAIN_NS (100 * NS_PER_MS)

struct egress_pool {
    struct ready_queue ready;
    uint64_t until_ns;                  /* as long as that holds it back; 0: nobody knows */
    struct list link;                   /* in delivery->pool_list */
    struct delivery *delivery;
    const struct pool_options *options; /* borrowed from the snapshot; null: retired */
    const struct path_options *path;    /* of the site, whatever source; held; null: likewise */
    bool listed;                        /* whoever leads there finds it */
    uint64_t identity;                  /* of the route */
    uint64_t shared;                    /* what of the route limits hold for */
    uint16_t port;                      /* of hosts that DNS names */
    struct site *site;                  /* held; null: the route does not come from DNS */
    const struct conf_host *mx_list;    /* with `site`: whose names that is for; borrowed */
    size_t mx_count;                    /* 0: it is for a domain */
    struct egress_hosts hosts;          /* where it leads now */
    uint16_t lookup_bytes;              /* of what DNS is asked for */
    uint8_t lookup[EGRESS_LOOKUP_BYTES_MAX];
    uint16_t domain_bytes;              /* whose path it is, or that of one of several who have */
    uint8_t domain[CONF_DOMAIN_BYTES_MAX]; /* the same one */
    bool dealing;                       /* tickets are drawn */
    struct cell_set set;                /* of one cell: the tickets */
    struct cell_request request;
    struct deferred deal;
    struct timer timer;                 /* when a rate of selection allows the next */
    enum hold_reason refusal;           /* why nothing more is dealt; none: all is, or windows are
                                           full */
    uint64_t refused_until_ns;
    uint32_t moving;                    /* members that nothing holds back */
    uint32_t dealt;                     /* recipients that its members are owed */
    unsigned count;                     /* of members */
    unsigned sole;                      /* who has the first turn: all of it, without tickets */
    unsigned open;                      /* egresses that are not free yet */
    uint16_t name_bytes;
    char name[EGRESS_NAME_BYTES_MAX];   /* "unspecified->mx_list:[127.0.0.1]:2626@smtp_client" */
    uint16_t word_member;               /* who has gone last of those with a last word */
    uint16_t word_bytes;                /* 0: there is none */
    uint8_t word[EGRESS_REFUSAL_BYTES_MAX];
    int8_t debts[TURNS_MEMBERS_MAX];    /* `owed` of those without an egress: 0 or below */
    struct egress *members[TURNS_MEMBERS_MAX]; /* null: it has no egress */
};

/* "WHO->SITE@smtp_client": of a pool, or of one of its sources. */
void egress_name_put(struct buf *buf, struct slice who, struct slice site);

/* Where the options of a queue lead. */
struct egress_way {
    struct route route;
    const struct pool_options *pool; /* borrowed from the snapshot */
    const struct path_options *path; /* borrowed for the turn */
    struct slice domain;             /* whose path it is; borrowed from queue's name or snapshot */
    const struct queue_options *options; /* the queue's */
    struct site *site;               /* what DNS says; borrowed for the turn; null: not asked */
    struct buf name;
    uint8_t name_memory[EGRESS_NAME_BYTES_MAX];
};
/* False: nowhere now, for that reason. */
MUST_USE bool egress_way_find(struct egress_way *way, struct delivery *delivery,
                              struct sched_queue *queue, enum hold_reason *reason_out);

/* delivery->sites, of pools that are not retired. */
void egress_pools_init(struct delivery *delivery, struct boot_pages *pages);
/* The pool there, with these options and each of its sources with its own; null: there is none
 * yet. */
struct egress_pool *egress_pool_there(struct delivery *delivery, const struct egress_way *way);
/* One, where there is none; null: no memory. */
MUST_USE struct egress_pool *egress_pool_new(struct delivery *delivery,
                                             const struct egress_way *way);

static inline struct egress_pool *egress_pool_of(struct ready_queue *ready)
{
    return CONTAINER_OF(ready, struct egress_pool, ready);
}
static inline struct slice egress_pool_name(const struct egress_pool *pool)
{
    return slice_make(pool->name, pool->name_bytes);
}
/* Of the pool alone. */
struct slice egress_pool_label(const struct egress_pool *pool);

/* A queue comes to it by this way: what DNS says of its domain is what counts from now on. */
void egress_pool_lead(struct egress_pool *pool, const struct egress_way *way);
/* A connection is to be made: by what DNS says now, where no more than addresses have changed. */
void egress_pool_refresh(struct egress_pool *pool);
/* There is work for those who send. */
void egress_pool_kick(struct egress_pool *pool);
/* Who may send has changed: all pools look for work again, in slices. */
void egress_pools_look(struct delivery *delivery);
/* Who may send is the same, but for some of those who have no egress: what is due is dealt anew. */
void egress_pools_deal(struct delivery *delivery);
/* An egress for this member, which has none; null: no memory. */
MUST_USE struct egress *egress_pool_fill(struct egress_pool *pool, unsigned member);
/* "SOURCE->SITE@smtp_client": what the egress of a member is called. */
void egress_pool_member_name(const struct egress_pool *pool, unsigned member, struct buf *buf);
/* The options by which it sends; borrowed for the turn; null: no memory. */
const struct path_options *egress_pool_member_path(const struct egress_pool *pool,
                                                   unsigned member);
/* The first that an operator has suspended; null: none. */
const struct egress *egress_pool_suspended(const struct egress_pool *pool);
/* It deals when it is kicked, if it deals at all (egress_deal.c). */
void egress_deal_init(struct egress_pool *pool);
/* What holds this member back may be another reason now. */
void egress_pool_judge(struct egress_pool *pool, struct egress *egress);
/* A member has looked for work: what is due may want other members now. */
void egress_pool_look(const struct egress *egress);

/* How many recipients of what is due a member may take now, if no batch ends within them. */
uint32_t egress_pool_share(const struct egress *egress);
/* It has taken so many, or gives so many back, which are about to be due again. */
void egress_pool_taken(struct egress *egress, uint32_t count);
void egress_pool_returned(struct egress *egress, uint32_t count);

/* Its cells have come: what it was owed on credit is paid. */
void egress_pool_pay(struct egress *egress);

/* The last queue is gone. */
void egress_pool_unused(struct egress_pool *pool);
/* Every queue has been looked at by this snapshot. With queues its options are those of that,
 * unchanged; else it is retired: no queue comes to it any more, what has begun ends as it was, and
 * nothing is borrowed from the snapshot. */
void egress_pool_renew(struct egress_pool *pool, const struct conf *conf);
/* One of them goes, and is no member any more; then it has gone. */
void egress_pool_part(struct egress *egress);
void egress_pool_left(struct egress_pool *pool);
/* Ends it, when it has no queue and no egress, and its cell is home. */
void egress_pool_join(struct egress_pool *pool);
/* The delivery stops: nothing is dealt any more. */
void egress_pools_stop(struct delivery *delivery);
/* Pools whose cell is not home. */
uint32_t egress_pools_open(const struct delivery *delivery);
/* No timer and no deferred work of them is left. */
void egress_pools_fini(struct delivery *delivery);

#endif
