/*
 * A table of fixed-size objects named by 32-bit handles. Address space for `capacity` objects is
 * reserved at boot; memory comes in chunks of 2 MiB, each booked in the shard's memory account
 * before its first object is handed out. The only growing pools of a shard. Freed slots are reused
 * last in, first out; chunks are not given back.
 */
#ifndef RINGPOST_SHARD_QUEUE_SLAB_H
#define RINGPOST_SHARD_QUEUE_SLAB_H

#include "core/base.h"
#include "shard/account.h"

#define SLAB_NONE        UINT32_MAX
#define SLAB_CHUNK_BYTES (2 * MIB)

struct slab {
    struct account *account;        /* borrowed from the shard */
    enum account_consumer consumer;
    uint8_t *memory;                /* owned: the reserved range */
    size_t object_bytes;            /* ≥ 4: a free object holds the next free handle */
    uint32_t capacity;
    uint32_t booked;                /* objects for which memory is booked */
    uint32_t fresh;                 /* objects ever handed out */
    uint32_t free_first;
    uint32_t used;
};

/* Boot. 0 or a negative errno. */
MUST_USE int slab_init(struct slab *slab, struct account *account, enum account_consumer consumer,
                       size_t object_bytes, uint32_t capacity);
void slab_fini(struct slab *slab);

/* A zeroed object's handle, or SLAB_NONE when capacity or account are exhausted. */
MUST_USE uint32_t slab_take(struct slab *slab);
void slab_give(struct slab *slab, uint32_t handle);

static inline void *slab_at(const struct slab *slab, uint32_t handle)
{
    return slab->memory + (size_t)handle * slab->object_bytes;
}

/* How many more objects can surely be taken now. */
uint32_t slab_room(const struct slab *slab);

#endif
