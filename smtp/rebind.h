/*
 * Queued mail gets another tenant, campaign or class, and with it another queue. One per node, on
 * the TSA shard, which every call is made on and every answer comes from; the work is each mail
 * shard's (rebind_walk.c).
 *
 *   asker ─ rebind_ask ─► every mail shard: a walk over its queues and rows ─► done: the answer
 *
 * A message is written again at the end of the log with metadata that say what is wanted, as
 * smtp/rewrite.h does it, for the recipients that are meant; when that is stored its rows belong to
 * the new queue. So after a crash at any moment a recipient is in the old queue or in the new one,
 * and in the new one once that was answered. Nothing else has to know of it: recovery takes a row's
 * queue from the metadata, and a checkpoint names it.
 *
 * What is being sent meanwhile, or cannot be read or written now, is looked at once more a second
 * later, with what has come until then; what still cannot be moved stays where it is and is counted
 * as left. The MESSAGE that moves recipients is also what their AdminRebind records are made of
 * (smtp/event_make.h): whoever is moved is told of, once, also when a crash comes between.
 *
 * One request is dealt with at a time. Each is a line in the log: event=admin action=rebind
 * reason=….
 */
#ifndef RINGPOST_SMTP_REBIND_H
#define RINGPOST_SMTP_REBIND_H

#include "core/logline.h"
#include "smtp/admin_walk.h"
#include "smtp/metadata.h"
#include "smtp/rewrite_job.h"
#include "smtp/shard_walk.h"

#define REBIND_REQUESTS_MAX 16u /* that wait */
#define REBIND_ROWS_MAX     16384u /* of a shard, collected before they are moved */

enum rebind_status {
    REBIND_DONE,
    REBIND_INVALID,  /* `problem` says why */
    REBIND_STOPPING, /* what was moved is moved */
};

/* Embedded in whoever asks. What it borrows stands until done. */
struct rebind_request {
    struct list link;
    struct admin_criteria criteria;
    struct metadata_change change;
    struct slice reason;    /* not empty */
    bool flush;             /* what is moved is due now */
    bool dry_run;           /* finds, and does nothing */
    bool untold;            /* no AdminRebind record for each recipient */
    void (*done)(struct rebind_request *request); /* from the loop */
    enum rebind_status status;
    const char *problem;
    struct admin_found found; /* queues that are meant and not yet as they are to be */
    uint64_t moved;         /* recipients, durably */
    uint64_t left;          /* recipients that stay where they are */
};

enum rebind_stage { REBIND_QUEUES, REBIND_SCAN, REBIND_MOVE, REBIND_OVER };

struct rebind;

/* A row that is meant. It may be gone when its turn comes. */
struct rebind_row {
    struct spool_location place;
    uint32_t handle;
};

/* On a mail shard. */
struct rebind_part {
    struct shard_walk walk;
    struct rebind *rebind;        /* borrowed, like the next one */
    const struct rebind_request *request;
    enum rebind_stage stage;
    uint8_t pass;
    struct timer pause;           /* while memory, or the spool, has no room */
    bool stopping;                /* the shard is */
    uint32_t scanned;             /* rows below were looked at */
    uint32_t row_count;
    uint32_t row_next;
    struct rebind_row *rows;      /* REBIND_ROWS_MAX of them */
    struct rewrite_mover mover;
    struct admin_found found;
    uint64_t meant;               /* rows that were found */
    uint64_t moved;
};

struct rebind {
    struct shard *shard;         /* borrowed */
    /* The configuration in force; the caller's to set. */
    const struct conf *(*conf)(struct rebind *rebind);
    struct log_sink log;
    unsigned shards;             /* of mail */
    struct rebind_part **parts;  /* theirs, in memory of theirs */
    struct rebind_request *current;
    struct list waiting;
    unsigned waiting_count;
    unsigned out;                /* parts that are not home */
    bool stopping;
    struct deferred step;
};

/* Boot. */
void rebind_init(struct rebind *rebind, struct shard *shard, struct boot_pages *pages,
                 unsigned shards);
void rebind_shard_set(struct rebind *rebind, unsigned index, struct delivery *delivery,
                      struct boot_pages *pages);
/* On the mail shard: its spool works. */
void rebind_shard_start(struct rebind *rebind, unsigned index, struct spool *spool);
/* On the mail shard, when it stops: no further message. */
void rebind_shard_stop(struct rebind *rebind, unsigned index);
/* Messages under way. */
uint32_t rebind_shard_open(const struct rebind *rebind, unsigned index);
/* After that: no timer and no deferred work of it is left with the shard. */
void rebind_shard_fini(struct rebind *rebind, unsigned index);

/* False: too many are waiting, and it is not taken. */
MUST_USE bool rebind_ask(struct rebind *rebind, struct rebind_request *request);
void rebind_stop(struct rebind *rebind);
/* Nothing is asked for or on its way. */
bool rebind_idle(const struct rebind *rebind);
void rebind_fini(struct rebind *rebind);

/* For rebind_walk.c. */
void rebind_part_init(struct rebind_part *part, struct rebind *rebind, struct delivery *delivery,
                      struct boot_pages *pages);
void rebind_part_send(struct rebind_part *part, const struct rebind_request *request);
void rebind_part_home(struct rebind_part *part);

#endif
