/*
 * From the spool to the queues: what a checkpoint and the log behind it say becomes rows again.
 * Rows of the checkpoint come as they were; messages of the log make rows where there are none yet,
 * outcomes settle them. When all is read, what is left goes where it belongs, some thousand rows a
 * turn: those never tried (or whose last attempt left no outcome) are due at once, spread over
 * spool.recovery_spread, or when their message's schedule says; deferred ones keep their due time,
 * clamped to [now, now + max_age]. A row whose segment is not there is dropped, and counted. Runs
 * on the shard, before it serves.
 */
#ifndef RINGPOST_SMTP_RECOVERY_H
#define RINGPOST_SMTP_RECOVERY_H

#include "core/conf.h"
#include "shard/queue/queues.h"
#include "shard/spool/spool.h"
#include "smtp/recovery_index.h"

struct recovery {
    struct shard *shard;    /* borrowed, like conf and queues */
    const struct conf *conf;
    struct queues *queues;
    struct recovery_index index; /* until rows are placed, as are the numbers */
    uint32_t *numbers;      /* owned; of queues: the checkpoint's → ours + 1; 0: not named */
    uint32_t number_count;
    uint32_t unnamed_rows;  /* of queues that the checkpoint does not name: the start fails */
    uint32_t lost_rows;     /* for which there was no memory: the start fails */
    uint32_t missing_rows;  /* dropped: their segment is not there */
    uint64_t recipients;    /* queued when all is done */
    struct spool *spool;    /* borrowed: while rows are placed */
    struct deferred step;
    uint32_t next;          /* handle to be placed next */
    /* All is read: go on with recovery_place, or fail. */
    void (*finished)(struct recovery *recovery, int error, struct slice reason);
    /* Every row is in its place. From the loop. */
    void (*placed)(struct recovery *recovery);
};

/*
 * shard, conf, queues (without a row) and the two callbacks are set by the caller. `replay_out` is
 * for spool_start.
 */
void recovery_init(struct recovery *recovery, struct spool_replay *replay_out);
/*
 * After `finished`, with the spool that found them: rows to their queues, in as many turns as it
 * takes. Rows become due, and their ready queues are told, before it has ended. Frees the index.
 */
void recovery_place(struct recovery *recovery, struct spool *spool);
/* Memory of a recovery that was not placed; any number of times. */
void recovery_fini(struct recovery *recovery);

#endif
