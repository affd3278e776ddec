/*
 * What rules set of the options of paths, on its way to the mail shards (core/shaping.h:
 * overrides). On the TSA shard, which every call is made on. A list never changes; another one goes
 * to all shards by mail, and the one before is freed when all have it.
 */
#ifndef RINGPOST_SMTP_OVERRIDER_H
#define RINGPOST_SMTP_OVERRIDER_H

#include "core/shaping.h"
#include "shard/boot.h"
#include "shard/shard.h"

struct delivery;
struct overrider;

/* What travels to one mail shard. */
struct override_part {
    struct mail mail;
    struct overrider *overrider;                /* borrowed: home */
    struct delivery *delivery;                  /* borrowed: where it goes */
    const struct shaping_overrides *overrides;
};

struct overrider {
    struct shard *shard;                        /* borrowed */
    unsigned shards;                            /* of mail */
    struct override_part *parts;                /* one for each of them */
    struct shaping_overrides *current;          /* all shards have it; null: none */
    struct shaping_overrides *next;             /* on its way, while `out` > 0 */
    unsigned out;                               /* parts that are not home */
    uint64_t changes;                           /* so often was another list asked for, … */
    uint64_t sent;                              /* … as of the one on its way, … */
    uint64_t obeyed;                            /* … and of the one that all have */
    struct deferred step;
    /* A new list of what is to be in force now; null: nothing is. */
    struct shaping_overrides *(*make)(struct overrider *overrider);
    void (*done)(struct overrider *overrider);  /* all shards have it */
};

/* Boot; make and done are set by the caller. */
void overrider_init(struct overrider *overrider, struct shard *shard, struct boot_pages *pages,
                    unsigned shards);
void overrider_shard_set(struct overrider *overrider, unsigned index, struct delivery *delivery);
/* What is to be in force is not what it was: `make` is called from the loop. */
void overrider_changed(struct overrider *overrider);
/* Nothing is on its way. */
bool overrider_idle(const struct overrider *overrider);
/* After every shard has ended. */
void overrider_fini(struct overrider *overrider);

#endif
