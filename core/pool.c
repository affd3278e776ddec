#include "core/pool.h"

#include "core/check.h"
#include "core/poison.h"

#define POOL_ALIGN 16
#define LINK_END   UINT32_MAX       /* the last free object */
#define LINK_TAKEN (UINT32_MAX - 1) /* no free object at all */
/* Poisoning all of a pool for ten thousands of objects would cost more than most tests. */
#define GUARD_BYTES (64 * KIB)

static size_t object_stride(size_t object_bytes)
{
    return (size_t)align_up(object_bytes, POOL_ALIGN);
}

uint64_t pool_memory(size_t object_bytes, uint32_t capacity)
{
    return (uint64_t)capacity * (object_stride(object_bytes) + sizeof(uint32_t));
}

/* What comes next is poisoned before anybody can reach it from the objects in use. */
static void pool_guard(struct pool *pool)
{
    uint64_t bytes = (uint64_t)(pool->guarded - pool->fresh) * pool->object_bytes;
    if (pool->guarded == pool->capacity || bytes >= GUARD_BYTES) {
        return;
    }
    uint64_t more = 2 * GUARD_BYTES / pool->object_bytes + 1;
    more = MIN_OF(more, (uint64_t)(pool->capacity - pool->guarded));
    POISON(pool->objects + pool->guarded * pool->object_bytes, more * pool->object_bytes);
    pool->guarded += (uint32_t)more;
}

void pool_init(struct pool *pool, void *memory, size_t object_bytes, uint32_t capacity)
{
    CHECK(object_bytes > 0 && capacity < LINK_TAKEN);
    CHECK((uintptr_t)memory % POOL_ALIGN == 0);
    *pool = (struct pool){
        .objects = (uint8_t *)memory,
        .object_bytes = object_stride(object_bytes),
        .capacity = capacity,
        .free_head = LINK_END,
    };
    size_t objects_bytes = pool->object_bytes * capacity;
    pool->links = (uint32_t *)(void *)(pool->objects + objects_bytes);
    pool_guard(pool);
}

void *pool_take(struct pool *pool)
{
    uint32_t index = pool->free_head;
    if (index != LINK_END) {
        pool->free_head = pool->links[index];
    } else if (pool->fresh < pool->capacity) {
        index = pool->fresh++;
        pool_guard(pool);
    } else {
        return NULL;
    }
    pool->links[index] = LINK_TAKEN;
    pool->used++;
    uint8_t *object = pool->objects + index * pool->object_bytes;
    UNPOISON(object, pool->object_bytes);
    return object;
}

void pool_give(struct pool *pool, void *object)
{
    uint32_t index = pool_index(pool, object);
    CHECK(pool_is_taken(pool, index));
    pool->links[index] = pool->free_head;
    pool->free_head = index;
    pool->used--;
    POISON(object, pool->object_bytes);
}

uint32_t pool_index(const struct pool *pool, const void *object)
{
    CHECK((const uint8_t *)object >= pool->objects);
    size_t offset = (size_t)((const uint8_t *)object - pool->objects);
    CHECK(offset % pool->object_bytes == 0 && offset / pool->object_bytes < pool->capacity);
    return (uint32_t)(offset / pool->object_bytes);
}

void *pool_at(const struct pool *pool, uint32_t index)
{
    CHECK(pool_is_taken(pool, index));
    return pool->objects + index * pool->object_bytes;
}

bool pool_is_taken(const struct pool *pool, uint32_t index)
{
    return index < pool->fresh && pool->links[index] == LINK_TAKEN;
}
