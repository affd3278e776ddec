/*
 * Live messages whose body stands in BODY records, and the segments that these keep. A message
 * keeps the segment in which it stands by its rows; one with pieces keeps others as well, and this
 * table remembers which, by the message's location. One entry per such message, none for others.
 * Part of the spool; owned by its shard; its memory grows within the account (shard/queue/slab.h).
 */
#ifndef RINGPOST_SHARD_SPOOL_PIECES_H
#define RINGPOST_SHARD_SPOOL_PIECES_H

#include "shard/queue/slab.h"
#include "shard/spool/checkpoint.h"

#define PIECES_NONE          SLAB_NONE
#define PIECES_SEGMENTS_MAX  4096u /* of one message */

struct pieces {
    struct slab nodes;
    uint32_t *buckets; /* owned: first entry by hash of location */
    uint32_t count;    /* entries that have a place */
};

/* Boot. 0 or a negative errno. */
MUST_USE int pieces_init(struct pieces *pieces, struct account *account);
void pieces_fini(struct pieces *pieces);

/* An entry without segments of which the place is not known yet. PIECES_NONE: no memory. */
MUST_USE uint32_t pieces_new(struct pieces *pieces);
/* It keeps this segment, too; once is enough. False: no memory, or more than there may be. */
MUST_USE bool pieces_add(struct pieces *pieces, uint32_t handle, uint32_t segment);
/* Gives it back, whether it has a place or not. */
void pieces_give(struct pieces *pieces, uint32_t handle);
/* Its message stands here and has so many rows. There is no other entry of that place. */
void pieces_place(struct pieces *pieces, uint32_t handle, struct spool_location location,
                  uint32_t rows);
/* PIECES_NONE: the message at this place has no pieces. */
uint32_t pieces_find(const struct pieces *pieces, struct spool_location location);
/* Rows of the entry; the caller counts. */
uint32_t *pieces_rows(struct pieces *pieces, uint32_t handle);

/* Copies the numbers of its segments, at most PIECES_SEGMENTS_MAX; returns their count. */
uint32_t pieces_segments(const struct pieces *pieces, uint32_t handle, uint32_t *segments_out);
/* The next entry with a place at or behind `handle`; PIECES_NONE at the end. */
uint32_t pieces_walk(const struct pieces *pieces, uint32_t handle);
struct spool_location pieces_location(const struct pieces *pieces, uint32_t handle);

#endif
