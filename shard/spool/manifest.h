/*
 * The manifest of a spool: a text file of a few lines that says whose it is, and which lane belongs
 * to which shard (docs/spool-format.md). A lane has an id that is given once in a spool's life, so
 * that what a lane left behind is never taken for another one's. Pure codec.
 */
#ifndef RINGPOST_SHARD_SPOOL_MANIFEST_H
#define RINGPOST_SHARD_SPOOL_MANIFEST_H

#include "core/buf.h"

#define MANIFEST_VERSION   2
#define MANIFEST_BYTES_MAX 2048
#define MANIFEST_LANES_MAX 256  /* at a time */
#define MANIFEST_LANE_IDS  4096 /* in a spool's life */

struct manifest {
    uint64_t uuid;  /* never 0 */
    uint32_t epoch; /* how often lanes were adopted */
    uint16_t lane_count;
    uint16_t next_lane; /* the id to be given next */
    uint16_t lanes[MANIFEST_LANES_MAX]; /* by shard */
};

enum manifest_status {
    MANIFEST_GOOD,
    MANIFEST_DAMAGED,
    MANIFEST_OTHER_VERSION, /* `version_out` says which */
};

/* Of a new spool: no lane yet. */
void manifest_init(struct manifest *manifest, uint64_t uuid);
/* Gives new lanes until there are `count`. False: there are no ids left. */
MUST_USE bool manifest_grow(struct manifest *manifest, unsigned count);
/* Is this lane one of a shard's? */
bool manifest_has(const struct manifest *manifest, unsigned lane);

void manifest_put(struct buf *buf, const struct manifest *manifest);
/* Version 1 knew a number of lanes only: their ids were 0 and up. */
MUST_USE enum manifest_status manifest_get(struct slice text, struct manifest *manifest_out,
                                           uint64_t *version_out);

#endif
