/*
 * The two checkpoints of a lane, as a start of the server uses them: the newest one that is whole,
 * then the log from its position on. For tools.
 */
#ifndef RINGPOST_TOOLS_SPOOL_CHECKPOINT_H
#define RINGPOST_TOOLS_SPOOL_CHECKPOINT_H

#include "tools/spool_reader.h"
#include "tools/lane_state.h"

#define SPOOL_CHECKPOINTS 2

struct spool_checkpoint {
    bool there;   /* its head checks: all of it was written */
    bool newer;   /* by a later version: the server does not start */
    bool damaged; /* a block of it does not check */
    uint64_t damage_offset;
    struct checkpoint_head head;
};

/* Where a start takes the log of a lane up. */
struct spool_begin {
    struct spool_checkpoint checkpoints[SPOOL_CHECKPOINTS];
    unsigned newest;              /* the one that counts, or SPOOL_CHECKPOINTS: none */
    struct spool_position begin;  /* sequence 0: all of the log */
    bool outdated;                /* a later checkpoint was durable once, and is gone */
};

/*
 * Reads both, all of both; rows of the one that counts go into `state` (may be null), segments of
 * adopted lanes that it names into the lane's files.
 */
void spool_begin_read(struct spool_lane *lane, struct lane_state *state,
                      struct spool_begin *begin_out);

#endif
