/*
 * One message written again at the end of the log, and those of a mail shard that are: for segments
 * that have to go (smtp/rewrite.h), and for mail that gets another queue (smtp/rebind.h). Its rows
 * are held, so that no attempt begins; it is loaded, written again with the recipients they are of
 * (which keep their index), and when that is stored the rows are at the new place and go back to
 * where they stood. Whatever ends it before leaves everything as it was.
 */
#ifndef RINGPOST_SMTP_REWRITE_JOB_H
#define RINGPOST_SMTP_REWRITE_JOB_H

#include "shard/boot.h"
#include "shard/queue/queues.h"
#include "shard/spool/spool.h"
#include "smtp/message.h"

#define REWRITE_JOBS_MAX 32

struct rewrite_mover;

/* One message being moved. */
struct rewrite_job {
    struct rewrite_mover *mover;
    bool busy;
    struct spool_location from;
    struct row_list rows;    /* held */
    struct spool_load load;  /* the message; then its parts, one after the other */
    struct spool_write write;
    struct spool_message record;
    struct block *envelope;  /* owned: the recipients that are left */
    struct block *metadata;  /* owned: what stands in the new one, where that differs */
    struct chain dots;       /* owned */
    uint32_t parts_stored;   /* the first of load.parts, which name their new places */
    uint64_t bytes;          /* of memory, about */
};

/* Whose messages they are. */
struct rewrite_user {
    /* The new metadata; false: there is no room. Null: it stays as it is. */
    bool (*metadata)(struct rewrite_mover *mover, struct slice before, struct buf *after);
    /* It is stored, its rows are at the new place and still held. Null: nothing. */
    void (*moved)(struct rewrite_mover *mover, struct rewrite_job *job);
    /* Another job may begin. */
    void (*ended)(struct rewrite_mover *mover);
};

struct rewrite_mover {
    const struct rewrite_user *user;
    struct shard *shard;       /* borrowed, like all below */
    struct queues *queues;
    struct messages *messages;
    struct spool *spool;       /* from the moment on when it works */
    uint64_t *indices;         /* a bit for each possible index of a recipient; all zero */
    unsigned in_flight;        /* jobs */
    uint64_t bytes_in_flight;
    uint64_t moved_bytes;      /* of bodies, so far */
    bool stopping;             /* those under way go no further than they must */
    bool rebinds;              /* what is moved is told: SPOOL_MESSAGE_REBOUND */
    struct rewrite_job jobs[REWRITE_JOBS_MAX];
};

/* Of a message of so many bytes: what a job takes of memory, about. */
uint64_t rewrite_job_bytes(uint64_t body_bytes);
/* Boot: all else is the caller's. */
void rewrite_mover_init(struct rewrite_mover *mover, struct boot_pages *pages);
/* Must the next message wait, though there is a free job? */
bool rewrite_mover_short(const struct rewrite_mover *mover, uint64_t bytes);
static inline bool rewrite_mover_full(const struct rewrite_mover *mover)
{
    return mover->in_flight == REWRITE_JOBS_MAX;
}
/* May this row be held: is none of it on its way? */
static inline bool rewrite_row_movable(const struct row *row)
{
    return row->state == ROW_WAITING || row->state == ROW_DUE;
}
/* A job for the message at this place; there is a free one. Its rows follow, at least one. */
struct rewrite_job *rewrite_job_take(struct rewrite_mover *mover, struct spool_location from,
                                     uint64_t bytes);
/* Holds a row of it that is movable. */
void rewrite_job_add(struct rewrite_job *job, uint32_t handle);
void rewrite_job_start(struct rewrite_job *job);

#endif
