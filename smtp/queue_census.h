/*
 * How much waits where: the largest queues of a node by recipients, names merged over shards, and
 * sums of all of them: GET /api/admin/queues/v1, and the queues of /metrics. One per node, on the
 * TSA shard; mail shards look in slices (smtp/shard_walk.h), in bounded memory however many queues
 * there are.
 *
 *   ask ─► each shard: its CENSUS_QUEUES_MAX largest, and sums ─► names, merged
 *       ─► each shard: what it has of each of these names      ─► done: the largest
 *
 * A queue has a part on every shard that took mail for it. Counts of a queue that is told of are
 * those of all its parts, each as of the moment at which it was looked at. A queue that is large
 * only in sum, its parts everywhere below the largest of their shards, can be missed: `missed` says
 * how large such a queue may be. Of ready queues with one name on a shard (sites that were shaped
 * differently) each counts by itself in that.
 */
#ifndef RINGPOST_SMTP_QUEUE_CENSUS_H
#define RINGPOST_SMTP_QUEUE_CENSUS_H

#include "core/distinct.h"
#include "core/htab.h"
#include "shard/boot.h"
#include "smtp/queue_picks.h"
#include "smtp/queue_view.h"
#include "smtp/shard_walk.h"

#define CENSUS_QUEUES_MAX   1000u
#define CENSUS_REQUESTS_MAX 32u                     /* that wait */
#define CENSUS_NAMES_MAX    (2 * CENSUS_QUEUES_MAX) /* that all shards are asked about */
#define CENSUS_SITE_BYTES   464u                    /* of the name of a site */

enum census_kind { CENSUS_SCHEDULED, CENSUS_READY };

/* What one shard, or all of them, have of one name. */
struct census_queue {
    struct slice name;
    uint64_t count;          /* recipients */
    uint64_t due;
    uint64_t connections;    /* of a ready queue */
    uint32_t parts;          /* 0: it is gone */
    uint64_t order;          /* of the part that has waited the longest; the next ones are its */
    enum hold_reason reason;
    uint64_t since_ns;       /* wall clock */
    struct slice site;       /* of a scheduled queue that has a route */
};

/* Good until `done` returns. */
struct census_result {
    const struct census_queue *queues; /* the largest first, then by name */
    uint32_t count;                    /* of these, up to CENSUS_QUEUES_MAX */
    uint64_t missed;                   /* no queue that is not there has more recipients */
    bool stopping;                     /* there is nothing, for the node stops */
    uint64_t queues_all;               /* different names; estimated when `estimated` */
    bool estimated;
    uint64_t recipients_all;
    uint64_t connections_all;
    struct {
        uint64_t queues;               /* parts: each has its own reason */
        uint64_t recipients;
    } sums[HOLD_REASONS_COUNT];
};

/* Embedded in whoever asks. */
struct census_request {
    struct list link;
    enum census_kind kind;
    void (*done)(struct census_request *request, const struct census_result *result);
};

enum census_stage { CENSUS_LOOKING, CENSUS_SORTING, CENSUS_NAMING, CENSUS_RECOUNTING, CENSUS_OVER };

struct queue_census;

/* The TSA shard's; a mail shard's from arrival until it is home. */
struct census_part {
    struct shard_walk walk;
    struct queue_census *census;
    enum census_stage stage;
    uint32_t seen;
    struct census_result sums;         /* of it, what is told of all */
    uint32_t pick_count;
    struct queue_pick picks[CENSUS_QUEUES_MAX];
    struct distinct distinct;
    struct buf names;                  /* of its picks, one behind the other */
    struct buf sites;
    struct census_queue found[CENSUS_NAMES_MAX];
    /* Touched as needed. */
    uint8_t name_memory[CENSUS_QUEUES_MAX * QUEUE_NAME_BYTES_MAX];
    uint8_t site_memory[CENSUS_NAMES_MAX * CENSUS_SITE_BYTES];
};

/* A name that some shards have told of. */
struct census_row {
    struct slice name;     /* in the memory of a part */
    uint64_t count;        /* of what was told */
    uint32_t candidate;    /* its place among those that all shards are asked about; or NONE */
};

struct queue_census {
    struct shard *shard;   /* borrowed */
    unsigned shards;       /* of mail */
    struct census_part *parts;
    struct list waiting;
    struct list current;   /* those that this census is for */
    unsigned waiting_count;
    unsigned out;          /* parts that are not home */
    bool counted;          /* `result` is what `current` is told, one in a turn */
    bool stopping;
    enum census_kind kind;
    struct deferred step;
    struct htab names;     /* rows by name */
    void *slots;
    uint32_t slot_count;
    uint32_t row_count;
    struct census_row *rows;
    uint32_t candidate_count;
    uint64_t missed;       /* no name that is no candidate has more recipients */
    struct queue_pick picks[CENSUS_NAMES_MAX];
    struct census_queue queues[CENSUS_NAMES_MAX];
    struct distinct distinct;
    struct census_result result;
};

/* Are the first `count` the largest of all? */
bool census_is_exact(const struct census_result *result, uint32_t count);

/* Boot; `census` is zero. */
void queue_census_init(struct queue_census *census, struct shard *shard, struct boot_pages *pages,
                       unsigned shards);
void queue_census_shard_set(struct queue_census *census, unsigned index,
                            struct delivery *delivery);
/* False: too many are waiting, and it is not taken. Those that wait for one kind share a census. */
MUST_USE bool queue_census_ask(struct queue_census *census, struct census_request *request);
void queue_census_stop(struct queue_census *census);
/* Nothing is asked for or on its way. */
bool queue_census_idle(const struct queue_census *census);
/* After that: no deferred work of it is left with the shard. */
void queue_census_fini(struct queue_census *census);

/* --- for its parts (queue_census_walk.c) ------------------------------------------------------ */

#define CENSUS_NONE UINT32_MAX

void census_part_init(struct census_part *part, struct queue_census *census,
                      struct delivery *delivery);
/* The first way, or the second. */
void census_part_send(struct census_part *part, enum census_stage stage);
void census_part_home(struct census_part *part);
/* On any shard during the second way, while rows and picks stand still; `queues` do not: what comes
 * home first is added there. CENSUS_NONE: it is no candidate. */
uint32_t queue_census_candidate(const struct queue_census *census, struct slice name);
struct slice queue_census_candidate_name(const struct queue_census *census, uint32_t candidate);
void census_queue_add(struct census_queue *sum, const struct census_queue *part);

#endif
