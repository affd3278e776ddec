#include "shard/queue/slab.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/check.h"

int slab_init(struct slab *slab, struct account *account, enum account_consumer consumer,
              size_t object_bytes, uint32_t capacity)
{
    CHECK(object_bytes >= sizeof(uint32_t) && capacity < SLAB_NONE);
    *slab = (struct slab){
        .account = account,
        .consumer = consumer,
        .object_bytes = object_bytes,
        .capacity = capacity,
        .free_first = SLAB_NONE,
    };
    size_t bytes = align_up((uint64_t)capacity * object_bytes, SLAB_CHUNK_BYTES);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    /* Chunks are of that size anyway; millions of objects are reached at random. */
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    slab->memory = memory;
    return 0;
}

void slab_fini(struct slab *slab)
{
    if (slab->memory != NULL) {
        size_t bytes = align_up((uint64_t)slab->capacity * slab->object_bytes, SLAB_CHUNK_BYTES);
        munmap(slab->memory, bytes);
        account_give(slab->account, slab->consumer, (uint64_t)slab->booked * slab->object_bytes);
    }
    *slab = (struct slab){0};
}

/* Books the next chunk; false when the account refuses. */
static bool slab_grow(struct slab *slab)
{
    uint32_t more = (uint32_t)(SLAB_CHUNK_BYTES / slab->object_bytes);
    more = MIN_OF(more, slab->capacity - slab->booked);
    if (more == 0 ||
        !account_take(slab->account, slab->consumer, (uint64_t)more * slab->object_bytes)) {
        return false;
    }
    slab->booked += more;
    return true;
}

uint32_t slab_take(struct slab *slab)
{
    uint32_t handle = slab->free_first;
    if (handle != SLAB_NONE) {
        memcpy(&slab->free_first, slab_at(slab, handle), sizeof(uint32_t));
        memset(slab_at(slab, handle), 0, slab->object_bytes);
    } else {
        if (slab->fresh == slab->booked && !slab_grow(slab)) {
            return SLAB_NONE;
        }
        handle = slab->fresh++;
    }
    slab->used++;
    return handle;
}

void slab_give(struct slab *slab, uint32_t handle)
{
    CHECK(handle < slab->fresh && slab->used > 0);
    memcpy(slab_at(slab, handle), &slab->free_first, sizeof(uint32_t));
    slab->free_first = handle;
    slab->used--;
}

uint32_t slab_room(const struct slab *slab)
{
    return slab->booked - slab->used;
}
