#include "shard/metered.h"

#include <stdlib.h>

#include "core/check.h"

bool metered_book(struct metered *metered, size_t bytes)
{
    if (metered->used > metered->limit || bytes > metered->limit - metered->used) {
        return false;
    }
    metered->used += bytes;
    return true;
}

void metered_unbook(struct metered *metered, size_t bytes)
{
    CHECK(metered->used >= bytes);
    metered->used -= bytes;
}

void *metered_take(struct metered *metered, size_t bytes)
{
    CHECK(bytes > 0);
    if (!metered_book(metered, bytes)) {
        return NULL;
    }
    void *memory = malloc(bytes);
    if (memory == NULL) {
        metered_unbook(metered, bytes);
    }
    return memory;
}

void *metered_resize(struct metered *metered, void *memory, size_t old_bytes, size_t new_bytes)
{
    if (memory == NULL) {
        return metered_take(metered, new_bytes);
    }
    CHECK(new_bytes > 0 && metered->used >= old_bytes);
    uint64_t others = metered->used - old_bytes;
    if (new_bytes > old_bytes &&
        (others > metered->limit || new_bytes > metered->limit - others)) {
        return NULL;
    }
    void *moved = realloc(memory, new_bytes);
    if (moved != NULL) {
        metered->used = others + new_bytes;
    }
    return moved;
}

void metered_give(struct metered *metered, void *memory, size_t bytes)
{
    if (memory == NULL) {
        return;
    }
    metered_unbook(metered, bytes);
    free(memory);
}
