/*
 * Messages written again at the end of the log, so that the segment they stand in may go: one that
 * is poisoned, or an old one with little in it that is alive. One per mail shard.
 *
 *   idle ──► a round is due: a victim ──► scan: its rows, a slice of the slab a turn ──► move ──┐
 *    ▲                       ▲   ▲                                                              │
 *    │                       │   └── the next one, or the next rows of this one ◄───────────────┤
 *    └───────────────────────┴────── rest: as long as nine times the round took ◄── no more ────┘
 *
 * Moving one message is smtp/rewrite_job.h; its rows are due as before, attempts as before. One of
 * which any recipient is on its way, or has an outcome on its way to the disk, is left alone: its
 * turn comes when the segment is looked at again. So is one for which there is no memory or no
 * space now. One that cannot be read stays where it is for good; the spool names it in the log.
 *
 * It waits while deliveries need the memory for messages and while outcomes do not become durable,
 * and does not rest while the spool has no space. Clients cannot hold it up: half of the reserve of
 * blocks, which nothing is received into, is open to it.
 */
#ifndef RINGPOST_SMTP_REWRITE_H
#define RINGPOST_SMTP_REWRITE_H

#include "smtp/rewrite_job.h"

#define REWRITE_ROWS_MAX 16384 /* collected before they are moved */

enum rewrite_stage {
    REWRITE_IDLE, /* asks for a victim when its timer fires */
    REWRITE_SCAN,
    REWRITE_MOVE,
    REWRITE_REST, /* after a round */
};

/* A row of the victim. It may be gone when its turn comes. */
struct rewrite_row {
    uint32_t offset_64;
    uint32_t handle;
};

struct rewrite {
    struct rewrite_mover mover; /* moved_bytes: in this round */
    enum rewrite_stage stage;
    struct timer timer;
    struct deferred step;
    uint32_t victim;
    uint32_t last_victim;
    uint32_t scanned;          /* handles below were looked at */
    struct rewrite_row *rows;  /* REWRITE_ROWS_MAX of them, and as many to sort them with */
    uint32_t rows_max;         /* REWRITE_ROWS_MAX; a test may want fewer at a time */
    uint32_t row_count;
    uint32_t row_next;
    uint64_t work_ns;          /* of this round, up to the last pause */
    uint64_t move_ns;          /* when moving began, or went on */
};

/* Boot; shard, queues and messages of the mover are set by the caller. */
void rewrite_init(struct rewrite *rewrite, struct boot_pages *pages);
/* The spool has begun. */
void rewrite_start(struct rewrite *rewrite, struct spool *spool);
/* No further message; those under way go no further than they must. */
void rewrite_stop(struct rewrite *rewrite);
/* Messages under way. */
uint32_t rewrite_open(const struct rewrite *rewrite);
/* When nothing is open: no timer and no deferred work of it is left with the shard. */
void rewrite_fini(struct rewrite *rewrite);

#endif
