#include "core/arena.h"

#include <string.h>

#include "core/check.h"

void arena_init(struct arena *arena, void *memory, size_t capacity)
{
    CHECK((uintptr_t)memory % ARENA_ALIGNMENT == 0);
    *arena = (struct arena){.data = memory, .capacity = capacity};
}

uint8_t *arena_take_bytes(struct arena *arena, size_t size)
{
    if (arena->overflow || size > arena->capacity - arena->size) {
        arena->overflow = true;
        return NULL;
    }
    uint8_t *taken = arena->data + arena->size;
    arena->size += size;
    return taken;
}

void *arena_take(struct arena *arena, size_t count, size_t bytes)
{
    size_t start = (size_t)align_up(arena->size, ARENA_ALIGNMENT);
    size_t size;
    if (arena->overflow || start > arena->capacity ||
        __builtin_mul_overflow(count, bytes, &size)) {
        arena->overflow = true;
        return NULL;
    }
    size_t before = arena->size;
    arena->size = start;
    uint8_t *taken = arena_take_bytes(arena, size);
    if (taken == NULL) {
        arena->size = before;
    }
    return taken;
}

struct slice arena_copy(struct arena *arena, struct slice bytes)
{
    uint8_t *copy = arena_take_bytes(arena, bytes.size);
    if (copy == NULL) {
        return SLICE_NONE;
    }
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return slice_make(copy, bytes.size);
}

void arena_rewind(struct arena *arena, size_t mark)
{
    CHECK(mark <= arena->size);
    arena->size = mark;
    arena->overflow = false;
}
