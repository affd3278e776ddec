/* Places in the log of a lane. */
#ifndef RINGPOST_SHARD_SPOOL_LOCATION_H
#define RINGPOST_SHARD_SPOOL_LOCATION_H

#include "core/base.h"

/* Where a record stands: lane is implied by the log it is found in. */
struct spool_location {
    uint32_t segment;
    uint32_t offset_64; /* in units of 64 bytes */
};

/*
 * A border between groups: those with a lower sequence lie before it; the one with this sequence,
 * if it was written, stands at the place named or begins a later segment. Sequence 0: nowhere.
 */
struct spool_position {
    uint64_t sequence;
    struct spool_location group;
};

#endif
