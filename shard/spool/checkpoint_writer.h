/*
 * Writes a checkpoint of one lane into one of its two files, a block a turn, while the lane works.
 * Part of the spool; owned by its shard.
 *
 *   IDLE ──► OPENING ──► CLEARING ──► COPYING ──► SYNCING ──► SYNCED ──► ENDING ──► IDLE
 *            the file,   the old      put, at     all of it   the owner  the new    done
 *            made when   HEAD, away   most once   is stable   finishes   HEAD
 *            missing                  a turn
 *
 * The HEAD goes first and comes last, both durably, and the sync stands between the blocks and the
 * HEAD: at no moment does a HEAD that checks stand before blocks that do not. Whatever goes wrong,
 * the other file is not touched. What was written of a checkpoint that failed is worth nothing; the
 * next one goes to the same file again.
 *
 * Rows may be ahead of the log: what the copy saw may ride on a group that is not stored yet. So
 * the owner waits in SYNCED until the log is durable up to there, and then finishes.
 *
 * With sync = "none" nothing is synced and nothing promised.
 *
 * Callbacks come from the loop, never inside a call. Nothing is in flight when `done` is called.
 */
#ifndef RINGPOST_SHARD_SPOOL_CHECKPOINT_WRITER_H
#define RINGPOST_SHARD_SPOOL_CHECKPOINT_WRITER_H

#include "shard/shard.h"
#include "shard/spool/checkpoint.h"
#include "shard/spool/segment.h"

#define CHECKPOINT_WRITES 3 /* blocks being filled or written at a time */
/* What it takes for its buffers at init and keeps. */
#define CHECKPOINT_WRITER_BYTES                                                                    \
    (CHECKPOINT_HEAD_BYTES + (uint64_t)CHECKPOINT_WRITES * CHECKPOINT_BLOCK_BYTES)

enum checkpoint_state {
    CHECKPOINT_IDLE,
    CHECKPOINT_OPENING,
    CHECKPOINT_CLEARING,
    CHECKPOINT_COPYING,
    CHECKPOINT_SYNCING,
    CHECKPOINT_SYNCED,
    CHECKPOINT_ENDING,
    CHECKPOINT_CLOSING, /* the descriptors, for good */
};

struct checkpoint_writer;

/* One write, gone on with when it was short. */
struct checkpoint_write {
    struct op op;
    struct checkpoint_writer *writer;
    uint8_t *data; /* aligned to a page */
    struct iovec rest;
    uint64_t offset;
    uint32_t bytes;
    uint32_t done;
    unsigned stuck; /* completions in a row that brought nothing */
};

struct checkpoint_writer {
    struct shard *shard;
    const struct spool_options *options; /* borrowed */
    const char *lane_path;               /* borrowed */
    uint64_t uuid;
    uint8_t *memory;                     /* of all that is written */
    struct checkpoint_write page;        /* the first page of block 0 */
    struct checkpoint_write writes[CHECKPOINT_WRITES];
    struct checkpoint_write *filling;    /* null: none */
    struct checkpoint_block block;       /* the one in `filling` */
    struct op sync;
    struct work_job job;
    struct timer retry;                  /* the worker was busy */
    struct deferred deferred;
    int fds[CHECKPOINT_FILES];           /* -1: not open */
    unsigned file;                       /* the one that is written */
    uint32_t generation;
    uint32_t blocks;                     /* begun so far */
    uint64_t rows;
    unsigned flying;                     /* operations and jobs */
    unsigned sync_stuck;
    int error;                           /* it ends with this as soon as nothing is in flight */
    uint8_t state;                       /* enum checkpoint_state */
    bool missing;                        /* there is no such file yet */
    bool doubtful[CHECKPOINT_FILES];     /* it could not be made, and may be there */
    bool exhausted;                      /* `put` has no more */
    char path[SEGMENT_PATH_BYTES + 32];

    /* Set by the owner before the first start. */

    /*
     * Puts entries until the block says it is full or enough was looked at for one turn; called at
     * most once a turn. False: there is no more. True without having put anything is allowed.
     */
    bool (*put)(struct checkpoint_writer *writer, struct checkpoint_block *block);
    /* All entries are on stable storage: checkpoint_writer_finish, now or later. */
    void (*synced)(struct checkpoint_writer *writer);
    /* 0: it stands. Or -errno: of the first operation that failed, or -ECANCELED. */
    void (*done)(struct checkpoint_writer *writer, int error);
    void (*closed)(struct checkpoint_writer *writer);
};

/*
 * `lane_path` is the lane's directory, and stays. The files are opened when they are needed; until
 * then the owner may hand over a descriptor it has, in `fds`, opened for writing, direct.
 */
MUST_USE int checkpoint_writer_init(struct checkpoint_writer *writer, struct shard *shard,
                                    const struct spool_options *options, const char *lane_path,
                                    uint64_t uuid);
/* Frees memory; asks nothing of the ring: idle and closed, or the ring has gone. */
void checkpoint_writer_fini(struct checkpoint_writer *writer);

/* Where `file` stands; until the next call. */
const char *checkpoint_writer_path(struct checkpoint_writer *writer, unsigned file);

/*
 * When idle. `file` is the one whose checkpoint is the older or no good; `generation` is above that
 * of any HEAD that was found in either file, or attempted. What the other file holds is on stable
 * storage: a HEAD found at start counts only after a sync of its file, for a process that was
 * killed may have left one that a power cut would undo. The same goes for the files' names.
 */
void checkpoint_writer_start(struct checkpoint_writer *writer, unsigned file, uint32_t generation);
/*
 * When synced. Version, lane, generation, blocks and rows are filled in here; the positions are
 * those of when it was started.
 */
void checkpoint_writer_finish(struct checkpoint_writer *writer, const struct checkpoint_head *head);
/*
 * At any moment: it ends soon, with -ECANCELED. Too late while the HEAD is being written: `done`
 * tells how that went. Nothing when idle.
 */
void checkpoint_writer_abort(struct checkpoint_writer *writer);
bool checkpoint_writer_idle(const struct checkpoint_writer *writer);

/* When idle, for good: closes the files, then `closed`. */
void checkpoint_writer_close(struct checkpoint_writer *writer,
                             void (*closed)(struct checkpoint_writer *writer));

#endif
