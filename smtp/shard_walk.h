/*
 * A look at what a mail shard has, in slices: from the TSA shard by mail, over queues, sites or
 * rows of that shard, some in a turn so that mail goes on, and home with what was found. Embedded
 * in whatever is looked for, once for each mail shard: orders (smtp/admin_walk.h), explanations
 * (smtp/explain.h), the report (smtp/queue_report.h), the census (smtp/queue_census.h) and reloads
 * (smtp/reload_part.h).
 *
 *   shard_walk_send ──► arrive, slice, slice … OVER ──► home
 *   TSA shard           mail shard                      TSA shard
 */
#ifndef RINGPOST_SMTP_SHARD_WALK_H
#define RINGPOST_SMTP_SHARD_WALK_H

#include "shard/mailbox.h"
#include "smtp/delivery.h"

enum walk_slice {
    WALK_GOES_ON, /* in the next turn */
    WALK_RESTS,   /* until shard_walk_resume */
    WALK_OVER,
};

struct shard_walk;

struct shard_walk_kind {
    void (*arrive)(struct shard_walk *walk); /* before the first slice; null: nothing */
    enum walk_slice (*slice)(struct shard_walk *walk);
    void (*home)(struct shard_walk *walk);
};

/* The TSA shard's; the mail shard's from arrival until it is home. */
struct shard_walk {
    const struct shard_walk_kind *kind;
    struct delivery *delivery; /* borrowed: where it goes */
    unsigned registrar;        /* where it comes from */
    uint32_t next;             /* number of the next thing to look at */
    struct mail mail;
    struct deferred step;
};

/* What has numbers on a shard, some of which may be free. */
enum walk_things { WALK_QUEUES, WALK_POOLS, WALK_SITES, WALK_ROWS };

/* `delivery` may follow before it is sent. */
void shard_walk_init(struct shard_walk *walk, const struct shard_walk_kind *kind,
                     struct delivery *delivery);
/* On the TSA shard. */
void shard_walk_send(struct shard_walk *walk, struct shard *shard);
/* On the mail shard: what it rested for has come. */
void shard_walk_resume(struct shard_walk *walk);

/* Numbers of these are below. */
uint32_t walk_things_end(const struct delivery *delivery, enum walk_things things);
/* The next `count` of the numbers below `end`. True: that was the last of them, and the next call
 * begins again. */
bool shard_walk_visit(struct shard_walk *walk, uint32_t end, uint32_t count,
                      void (*visit)(struct shard_walk *walk, uint32_t number));

#endif
