/*
 * Automation as a service of one shard, without mail: records come in over HTTP from those who send
 * it (tsa/publish.h), the engine judges them, and what it does is told to subscribers (tsa/hub.h)
 * and shown. It makes no threads, and knows no configuration: who has the rules says which groups
 * of them a record meets. One thread.
 */
#ifndef RINGPOST_TSA_TSA_H
#define RINGPOST_TSA_TSA_H

#include "core/pool.h"
#include "shard/boot.h"
#include "shard/shard.h"
#include "tsa/hub.h"
#include "tsa/publish.h"

#define TSA_GROUPS_MAX      64u   /* of rules, of one record */
#define TSA_BATCHES_MAX     64u   /* that are being judged; more are asked to come again */
#define TSA_SUBSCRIBERS_MAX 1024u

/* Groups of the rules in force that a record meets, at most `max`; returns how many. */
typedef uint32_t tsa_groups(void *context, const struct automation_record *record,
                            uint32_t *groups_out, uint32_t max);

struct tsa_options {
    struct shard *shard;          /* borrowed */
    struct boot_pages *pages;
    uint32_t effects_max;
    uint32_t counters_max;
    uint32_t changes_max;         /* of the log for subscribers: tsa/hub.h */
    uint32_t change_bytes_max;
    tsa_groups *groups;
    void (*changed)(void *context); /* tables of the engine have; within a change. Null: nobody
                                       keeps them */
    void *context;                /* of both */
};

struct tsa_stats {
    uint64_t batches;
    uint64_t batches_refused;     /* there were too many */
    uint64_t accepted;            /* records, skipped ones too */
    uint64_t rejected;
};

struct tsa {
    struct tsa_options options;
    struct shard *shard;          /* of the options */
    struct heap heap;
    struct automation automation;
    struct hub hub;
    struct publish publish;
    struct effect_list list;      /* for whoever shows effects, within a call */
    struct pool batches;          /* struct tsa_batch: tsa/tsa_publish.c */
    struct pool subscribers;      /* struct tsa_subscriber: tsa/tsa_subscribe.c */
    struct timer clock;           /* effects end in time */
    bool ready;                   /* there are rules, and what was kept is there again */
    bool stopping;
    struct tsa_stats stats;
};

/* Boot. */
void tsa_init(struct tsa *tsa, const struct tsa_options *options);
/* From now on records are taken. In the loop. */
void tsa_start(struct tsa *tsa);
/* No more records and subscribers are taken; those that are there end with their connections. */
void tsa_stop(struct tsa *tsa);
void tsa_fini(struct tsa *tsa);

/* Does it take records and subscribers? */
bool tsa_is_open(const struct tsa *tsa);
/* One record, without groups. */
void tsa_judge(struct tsa *tsa, struct automation_record *record);

#endif
