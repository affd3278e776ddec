#include "shard/metered.h"

#include <stdlib.h>

#include "core/check.h"

/* Before each piece, so that what an owner leaves behind is found. */
struct chunk {
    struct list link;
    size_t bytes;
    _Alignas(16) uint8_t data[];
};

static struct chunk *chunk_of(void *memory)
{
    return CONTAINER_OF((uint8_t *)memory, struct chunk, data);
}

void metered_init(struct metered *metered, uint64_t limit)
{
    *metered = (struct metered){.limit = limit};
    list_init(&metered->chunks);
}

void metered_fini(struct metered *metered)
{
    struct list *link = list_pop_front(&metered->chunks);
    for (; link != NULL; link = list_pop_front(&metered->chunks)) {
        struct chunk *chunk = CONTAINER_OF(link, struct chunk, link);
        metered_unbook(metered, chunk->bytes);
        free(chunk);
    }
}

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
    struct chunk *chunk = malloc(sizeof(*chunk) + bytes);
    if (chunk == NULL) {
        metered_unbook(metered, bytes);
        return NULL;
    }
    chunk->bytes = bytes;
    list_init(&chunk->link);
    list_push_back(&metered->chunks, &chunk->link);
    return chunk->data;
}

void *metered_resize(struct metered *metered, void *memory, size_t bytes)
{
    if (memory == NULL) {
        return metered_take(metered, bytes);
    }
    struct chunk *chunk = chunk_of(memory);
    size_t old_bytes = chunk->bytes;
    CHECK(bytes > 0);
    if (bytes > old_bytes && !metered_book(metered, bytes - old_bytes)) {
        return NULL;
    }
    list_remove(&chunk->link);
    struct chunk *moved = realloc(chunk, sizeof(*chunk) + bytes);
    struct chunk *kept = moved != NULL ? moved : chunk;
    list_init(&kept->link);
    list_push_back(&metered->chunks, &kept->link);
    if (moved == NULL) {
        metered_unbook(metered, bytes > old_bytes ? bytes - old_bytes : 0);
        return NULL;
    }
    metered_unbook(metered, old_bytes > bytes ? old_bytes - bytes : 0);
    moved->bytes = bytes;
    return moved->data;
}

void metered_give(struct metered *metered, void *memory)
{
    if (memory == NULL) {
        return;
    }
    struct chunk *chunk = chunk_of(memory);
    list_remove(&chunk->link);
    metered_unbook(metered, chunk->bytes);
    free(chunk);
}
