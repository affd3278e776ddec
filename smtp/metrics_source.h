/*
 * What metrics are made of and only other threads know: their memory and times, and how much waits
 * where (smtp/queue_census.h). Collected when somebody asks; those who ask meanwhile share the next
 * collection. One per node, on the TSA shard.
 *
 *   ask ─► each mail shard: figures, providers ─► a census of scheduled queues, one of ready
 *          queues ─► done
 *
 * Free space is as it was found last; each collection asks anew, and waits for no disk.
 */
#ifndef RINGPOST_SMTP_METRICS_SOURCE_H
#define RINGPOST_SMTP_METRICS_SOURCE_H

#include "core/histogram.h"
#include "shard/work.h"
#include "smtp/provider_sums.h"
#include "smtp/queue_census.h"

#define METRICS_REQUESTS_MAX 16u /* that wait */

enum metrics_time {
    METRICS_DELIVERY,        /* nanoseconds: a transaction with a server */
    METRICS_AGE,             /* nanoseconds: of a recipient when delivered */
    METRICS_COMMIT,          /* nanoseconds */
    METRICS_COMMIT_MESSAGES, /* counts */
    METRICS_TIMES,
};

/* Of one mail shard, or of all. */
struct metrics_figures {
    struct account memory;
    struct histogram times[METRICS_TIMES];
};

struct metrics_queue {
    struct slice name;
    uint64_t count;
    uint64_t connections; /* of a ready queue */
};

/* The largest, and what is told of all: as in struct census_result. */
struct metrics_queues {
    uint32_t count;
    struct metrics_queue queues[CENSUS_QUEUES_MAX];
    struct census_result all;
    struct buf names;
    uint8_t memory[CENSUS_QUEUES_MAX * QUEUE_NAME_BYTES_MAX]; /* touched as needed */
};

enum metrics_disk { METRICS_DISK_SPOOL, METRICS_DISK_LOG, METRICS_DISKS };

struct metrics_space {
    const char *path;
    struct work_job job;
    bool known;
    uint64_t bytes_free;
    uint64_t bytes;
    uint64_t inodes_free;
    uint64_t inodes;
};

struct metrics_collection {
    struct metrics_figures figures; /* of mail shards */
    struct provider_sums providers; /* recipients in scheduled queues */
    struct metrics_queues scheduled;
    struct metrics_queues ready;
    struct metrics_space disks[METRICS_DISKS];
};

/* Embedded in whoever asks. */
struct metrics_request {
    struct list link;
    /* From the loop; good until it returns. Null: the node stops. */
    void (*done)(struct metrics_request *request, const struct metrics_collection *collection);
};

struct metrics_source;

struct metrics_part {
    struct shard_walk walk;
    struct metrics_source *source;
    struct metrics_figures figures;
    struct provider_sums providers;
};

struct metrics_source {
    struct shard *shard;         /* borrowed, like the next one */
    struct queue_census *census;
    unsigned shards;             /* of mail */
    struct metrics_part *parts;
    struct list waiting;
    struct list current;
    unsigned waiting_count;
    unsigned out;                /* parts that are not home */
    bool collected;
    bool stopping;
    struct deferred step;
    struct census_request request;
    struct metrics_collection collection;
};

/* Boot; `source` is zero, paths are borrowed. */
void metrics_source_init(struct metrics_source *source, struct shard *shard,
                         struct queue_census *census, struct boot_pages *pages, unsigned shards,
                         const char *const paths[METRICS_DISKS]);
void metrics_source_shard_set(struct metrics_source *source, unsigned index,
                              struct delivery *delivery);
/* False: too many are waiting, and it is not taken. */
MUST_USE bool metrics_source_ask(struct metrics_source *source, struct metrics_request *request);
/* Before the census. */
void metrics_source_stop(struct metrics_source *source);
/* Nothing is asked for or on its way. */
bool metrics_source_idle(const struct metrics_source *source);
/* After that: no deferred work of it is left with the shard. */
void metrics_source_fini(struct metrics_source *source);

#endif
