/*
 * How recovery finds rows: by place of the message and index of the recipient, whatever the order
 * in which they came. A table of buckets; a bucket is the rows of one message with 16 neighbouring
 * indices, chained by wheel_next, which no wheel uses yet. So a row costs 13 bytes at most, a
 * message with thousands of recipients is no slower than thousands of messages, and a bucket is
 * compared with its rows only when 32 bits of its hash agree. Rows stand in a short line before
 * they go into the table, while the processor fetches the slots they will need.
 */
#ifndef RINGPOST_SMTP_RECOVERY_INDEX_H
#define RINGPOST_SMTP_RECOVERY_INDEX_H

#include "shard/queue/rows.h"

#define INDEX_BUCKET_ROWS 16u
#define INDEX_QUEUE_ROWS  32u

struct index_slot {
    uint32_t hash;
    uint32_t first; /* handle + 1; 0: empty */
};

struct recovery_index {
    const struct slab *rows;  /* borrowed */
    struct index_slot *slots; /* owned */
    uint32_t slot_count;      /* a power of two */
    uint32_t used;
    uint32_t queued;
    struct index_slot queue[INDEX_QUEUE_ROWS];
};

void recovery_index_init(struct recovery_index *index, const struct slab *rows);
/* Any number of times. */
void recovery_index_fini(struct recovery_index *index);
/* So many rows more will come: room for them at once is cheaper than growing. */
void recovery_index_reserve(struct recovery_index *index, uint32_t rows);
/* By the place and recipient that the row has; it is not in the index. */
void recovery_index_add(struct recovery_index *index, uint32_t handle);
void recovery_index_remove(struct recovery_index *index, uint32_t handle);
/* ROW_NONE: there is no such row. */
uint32_t recovery_index_find(struct recovery_index *index, struct spool_location location,
                             uint16_t recipient);
/* Any row with one of the 16 indices of the bucket. */
uint32_t recovery_index_any(struct recovery_index *index, struct spool_location location,
                            uint32_t bucket);

#endif
