/*
 * A pool of objects of one size over memory given at init; it never grows. Exhaustion is ordinary:
 * pool_take returns null. An object also has an index below the capacity, which never changes: a
 * 32-bit handle. Objects never taken are never touched, so that a large pool costs pages only as it
 * fills. Free objects are poisoned in builds with the address sanitizer: those taken once, and as
 * many that never were as a stray access may reach. Pure; one thread.
 */
#ifndef RINGPOST_CORE_POOL_H
#define RINGPOST_CORE_POOL_H

#include "core/base.h"

struct pool {
    uint8_t *objects; /* borrowed */
    uint32_t *links;  /* borrowed; of a free object the next free one, else a mark */
    size_t object_bytes;
    uint32_t capacity;
    uint32_t used;  /* taken and not given back */
    uint32_t fresh; /* objects from here on were never taken */
    uint32_t guarded; /* objects from here on were never poisoned */
    uint32_t free_head;
};

/* Bytes of memory that pool_init wants: objects (each rounded up to 16 bytes) and links. */
uint64_t pool_memory(size_t object_bytes, uint32_t capacity);
/* `memory` is aligned to 16 and outlives the pool. */
void pool_init(struct pool *pool, void *memory, size_t object_bytes, uint32_t capacity);

/* An object with arbitrary content; null when all are taken. */
MUST_USE void *pool_take(struct pool *pool);
void pool_give(struct pool *pool, void *object);

uint32_t pool_index(const struct pool *pool, const void *object);
/* The object with this index, which must be taken. */
void *pool_at(const struct pool *pool, uint32_t index);
/* Is there a taken object with this index? For handles that come from elsewhere. */
bool pool_is_taken(const struct pool *pool, uint32_t index);

#endif
