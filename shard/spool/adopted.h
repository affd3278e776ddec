/*
 * Segments of lanes that were adopted earlier (F-27): a checkpoint names them, they stand in the
 * directories of those lanes. A start takes them into the table and looks at them, before rows find
 * them. One that is not there, or holds something else, is named; its rows are dropped later. Part
 * of recovery.
 */
#ifndef RINGPOST_SHARD_SPOOL_ADOPTED_H
#define RINGPOST_SHARD_SPOOL_ADOPTED_H

#include "shard/spool/segment.h"

struct adopted {
    struct shard *shard;
    struct segments *segments; /* borrowed */
    uint64_t uuid;
    uint32_t at;               /* of the table */
    bool failed;               /* one could not be taken in */
    uint8_t *page;
    struct descriptor_wait wait; /* for its file */
    struct op op;
    /* From the loop; an error with its reason. */
    void (*done)(struct adopted *adopted, int error, const char *reason);
    char reason[SEGMENT_PATH_BYTES + 128];
};

void adopted_init(struct adopted *adopted, struct shard *shard, struct segments *segments);
void adopted_fini(struct adopted *adopted);
/* An entry of a checkpoint. */
void adopted_found(struct adopted *adopted, const struct checkpoint_segment *entry);
/* That checkpoint does not count. */
void adopted_forget(struct adopted *adopted);
/* All of them are known. */
void adopted_open(struct adopted *adopted, uint64_t uuid,
                  void (*done)(struct adopted *adopted, int error, const char *reason));

#endif
