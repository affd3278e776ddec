/*
 * An egress pool at a site: the ready queue of both, and who sends what is due in it: one egress
 * for each source of the pool. Part of delivery, not for other modules. Owned by the delivery's
 * memory; goes when no queue is routed to it any more and the last egress has gone.
 */
#ifndef RINGPOST_SMTP_EGRESS_POOL_H
#define RINGPOST_SMTP_EGRESS_POOL_H

#include "smtp/delivery.h"
#include "smtp/route.h"

#define EGRESS_MEMBERS_MAX 1

struct egress_pool {
    struct ready_queue ready;
    uint64_t until_ns;               /* as long as that holds it back; 0: nobody knows */
    struct delivery *delivery;
    const struct path_options *path; /* of the site, borrowed from the snapshot; null: retired */
    uint64_t identity;               /* of the route */
    unsigned count;                  /* of members */
    unsigned open;                   /* of these, not gone yet */
    uint16_t name_bytes;
    char name[ROUTE_SITE_BYTES_MAX + 32]; /* "unspecified->mx_list:[127.0.0.1]:2626@smtp_client" */
    struct egress *members[EGRESS_MEMBERS_MAX]; /* null: gone */
};

/* Where the options of a queue lead. */
struct egress_way {
    struct route route;
    const struct path_options *path; /* borrowed from the snapshot */
    struct buf name;
    uint8_t name_memory[ROUTE_SITE_BYTES_MAX + 32];
};
/* False: nowhere now, for that reason. */
MUST_USE bool egress_way_find(struct egress_way *way, const struct delivery *delivery,
                              struct sched_queue *queue, enum hold_reason *reason_out);

/* delivery->sites, of pools that are not retired. */
void egress_pools_init(struct delivery *delivery, struct boot_pages *pages);
/* The pool there; null: there is none yet. */
struct egress_pool *egress_pool_there(const struct delivery *delivery,
                                      const struct egress_way *way);
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

/* There is work for those who send. */
void egress_pool_kick(struct egress_pool *pool);
/* The first that an operator has suspended; null: none. */
const struct egress *egress_pool_suspended(const struct egress_pool *pool);
/* What holds one of them back may be another reason now. */
void egress_pool_judge(struct egress_pool *pool);
/* The last queue is gone. */
void egress_pool_unused(struct egress_pool *pool);
/* Its options are those of this snapshot, unchanged; else it is retired: no queue comes to it any
 * more, what has begun ends as it was, and nothing is borrowed from the snapshot. */
void egress_pool_renew(struct egress_pool *pool, const struct conf *conf);
/* One of them has gone; so has the pool, when it was the last. */
void egress_pool_left(struct egress_pool *pool, struct egress *egress);

#endif
