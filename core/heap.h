/*
 * Memory that grows from the allocator and is given back all at once: for what is made at boot or
 * at a reload and lives as long as one thing (a configuration, the batches of a shard). Not for a
 * shard at work. One owner, one thread. Without memory the process ends: at boot there is nobody
 * to answer.
 */
#ifndef RINGPOST_CORE_HEAP_H
#define RINGPOST_CORE_HEAP_H

#include "core/slice.h"

struct heap_chunk;

struct heap {
    struct heap_chunk *chunks; /* newest first; owned */
    uint64_t bytes;            /* taken from the allocator */
};

void heap_init(struct heap *heap);
/* Everything that was taken is gone. */
void heap_fini(struct heap *heap);

/* Zeroed, aligned to 64. Never null. */
void *heap_take(struct heap *heap, size_t bytes);
/* `count` elements of `bytes` each. */
void *heap_take_array(struct heap *heap, size_t count, size_t bytes);
/* A copy with a NUL behind its end, which the size does not count. Aligned to nothing: texts stand
 * one behind another. */
struct slice heap_copy(struct heap *heap, struct slice bytes);

#endif
