/*
 * Memory for the many small things of one piece of work (a request, a transaction), given back all
 * at once. It takes from a block that someone else owns and never grows; running out is sticky:
 * take all you need, then ask once. Pure; one thread.
 */
#ifndef RINGPOST_CORE_ARENA_H
#define RINGPOST_CORE_ARENA_H

#include "core/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What arena_take aligns to. */
#define ARENA_ALIGNMENT 8u

struct arena {
    uint8_t *data; /* borrowed, aligned to ARENA_ALIGNMENT */
    size_t size;
    size_t capacity;
    bool overflow;
};

void arena_init(struct arena *arena, void *memory, size_t capacity);

/* `count` elements of `bytes` each, with arbitrary content. Null, and overflow, without room. */
void *arena_take(struct arena *arena, size_t count, size_t bytes);
/* `size` bytes, not aligned: what stands close needs no padding. */
uint8_t *arena_take_bytes(struct arena *arena, size_t size);
/* A copy; SLICE_NONE without room. */
struct slice arena_copy(struct arena *arena, struct slice bytes);

/*
 * Where the arena stands, to return there: what was taken since is gone, and so is an overflow.
 */
static inline size_t arena_mark(const struct arena *arena)
{
    return arena->size;
}
void arena_rewind(struct arena *arena, size_t mark);

#ifdef __cplusplus
}
#endif

#endif
