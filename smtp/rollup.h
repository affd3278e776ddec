/*
 * Blocks of traffic shaping with mx_rollup count for all domains of their domain's site: which that
 * is DNS says, and this asks, in the background, of the site finder. On the TSA shard, one for a
 * node. Until there is an answer a block counts for its own domain alone.
 *
 *   start, set ──► all blocks are asked about, some at once ──► a table (core/shaping.h) ──► mail
 *                  again every ROLLUP_ROUND_S, as far as        if it is another one        shards
 *                  what is known has expired
 *
 * Trouble with DNS is never a no: what was known before stays. A domain that has no site shares
 * none.
 */
#ifndef RINGPOST_SMTP_ROLLUP_H
#define RINGPOST_SMTP_ROLLUP_H

#include "core/shaping.h"
#include "smtp/shard_walk.h"
#include "smtp/site_finder.h"

#define ROLLUP_ROUND_S  30
#define ROLLUP_ASKS_MAX 32u

struct rollup_row;
struct rollup;

struct rollup_ask {
    struct site_ask ask;
    struct rollup *rollup;
    uint32_t block;
    bool out;
};

struct rollup_part {
    struct shard_walk walk;
    struct rollup *rollup;
};

struct rollup {
    struct shard *shard;         /* borrowed, like the next two */
    struct site_finder *finder;
    const struct conf *conf;     /* in force on every shard; null: another one is on its way */
    struct heap heap;            /* of rows */
    struct rollup_row *rows;     /* one for each block */
    uint32_t next;               /* block that is looked at next */
    unsigned asking;             /* asks that are out */
    struct rollup_ask asks[ROLLUP_ASKS_MAX];
    struct timer timer;
    bool started;
    bool stopping;
    unsigned shards;             /* of mail */
    struct rollup_part *parts;   /* one for each of them */
    unsigned out;                /* parts that are not home */
    const struct conf *sent_conf;
    struct shaping_sites *sites; /* in force, or about to be; null: there are none */
    struct shaping_sites *former; /* while parts are out */
    bool changed;                /* while they were: there is another table to be made */
    bool known;                  /* shards have `sites`: it is of the configuration in force */
};

/* Boot. */
void rollup_init(struct rollup *rollup, struct shard *shard, struct boot_pages *pages,
                 struct site_finder *finder, unsigned shards);
void rollup_shard_set(struct rollup *rollup, unsigned index, struct delivery *delivery);
/* Every mail shard is at work, by this configuration. */
void rollup_start(struct rollup *rollup, const struct conf *conf);
/* Another configuration goes to the shards, who know of no sites by it; and when all have it. */
void rollup_pause(struct rollup *rollup);
void rollup_set(struct rollup *rollup, const struct conf *conf);
/* What every mail shard has, or is about to; null: nothing. */
const struct shaping_sites *rollup_sites(const struct rollup *rollup);
/* Before the finder. */
void rollup_stop(struct rollup *rollup);
bool rollup_idle(const struct rollup *rollup);
/* Before the finder, after every mail shard. */
void rollup_fini(struct rollup *rollup);

#endif
