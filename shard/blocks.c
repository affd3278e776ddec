/*
 * Beside the blocks the pool keeps two kinds of notes, in memory of their own in front of them:
 * for every 2 KiB slot the mark of the block that begins there, and for every place where a larger
 * block may lie the number of its parts that are free. So merging never reads a neighbour's header,
 * and a block given twice, or one that never came from here, is caught at once.
 */
#include "shard/blocks.h"

#include "core/check.h"
#include "core/poison.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define CLASS_LAST      (BLOCK_CLASS_COUNT - 1)
#define SLOT_BYTES      (2 * KIB)
#define HUGE_PAGE_BYTES (2ull * MIB)
#define PAGE_BYTES      (4 * KIB)

_Static_assert(offsetof(struct block, data) == BLOCK_HEADER_BYTES, "header as documented");

static const uint32_t class_bytes[BLOCK_CLASS_COUNT] = {2 * KIB, 8 * KIB, 32 * KIB, 256 * KIB};
/* How many blocks of the class below one of this class splits into. */
static const uint8_t class_parts[BLOCK_CLASS_COUNT] = {0, 4, 4, 8};

/* Marks of a slot; free and taken are joined with the class. */
enum { SLOT_INSIDE = 0, SLOT_FREE = 0x40, SLOT_TAKEN = 0x80 };

/*
 * The first region is everybody's, the second the reserve. Sending takes from the first as well and
 * first, so that what it cannot finish (a peer that does not read) stands there, and the reserve is
 * left for the others.
 */
enum { REGION_COMMON, REGION_RESERVE, REGIONS_COUNT };

struct region {
    uint64_t used;
    struct list free_blocks[BLOCK_CLASS_COUNT]; /* most recently given first: it is warm */
    uint32_t free_counts[BLOCK_CLASS_COUNT];
};

/* A door. */
struct block_pool {
    struct block_store *store;
    unsigned regions; /* it opens: the first of them */
};

struct block_store {
    uint8_t *base; /* the first block; aligned to a huge page */
    uint64_t size;
    uint64_t common_size; /* where the reserve begins */
    struct region regions[REGIONS_COUNT];
    uint8_t *slots;                         /* one mark for 2 KiB */
    uint8_t *free_parts[BLOCK_CLASS_COUNT]; /* [class][offset / its bytes]; none for class 0 */
    struct block_pool whole;
    struct block_pool receiving;
    void *map;
    size_t map_bytes;
};

static struct region *region_of(struct block_store *store, uint64_t offset)
{
    return &store->regions[offset < store->common_size ? REGION_COMMON : REGION_RESERVE];
}

/* The next free block of a class, put into the free list; its link alone stays readable. */
static void store_put(struct block_store *store, uint64_t offset, unsigned class_index)
{
    struct block *block = (struct block *)(void *)(store->base + offset);
    struct region *region = region_of(store, offset);
    POISON(block, class_bytes[class_index]);
    UNPOISON(&block->link, sizeof(block->link));
    list_push_front(&region->free_blocks[class_index], &block->link);
    region->free_counts[class_index]++;
    store->slots[offset / SLOT_BYTES] = (uint8_t)(SLOT_FREE | class_index);
}

static void store_unput(struct block_store *store, uint64_t offset, unsigned class_index)
{
    struct block *block = (struct block *)(void *)(store->base + offset);
    list_remove(&block->link);
    region_of(store, offset)->free_counts[class_index]--;
    store->slots[offset / SLOT_BYTES] = SLOT_INSIDE;
}

static uint8_t *store_parts(struct block_store *store, uint64_t offset, unsigned class_index)
{
    return &store->free_parts[class_index][offset / class_bytes[class_index]];
}

/* Touches every page: by one call where the kernel has it, else by hand. */
static void store_populate(uint8_t *at, size_t bytes)
{
#if defined(MADV_POPULATE_WRITE)
    if (madvise(at, bytes, MADV_POPULATE_WRITE) == 0) {
        return;
    }
#endif
    for (size_t i = 0; i < bytes; i += PAGE_BYTES) {
        *(volatile uint8_t *)(at + i) = 0;
    }
}

/* All of it is free; the first `common_size` bytes are everybody's. */
static void store_divide(struct block_store *store, uint64_t common_size)
{
    store->common_size = common_size;
    for (unsigned i = 0; i < REGIONS_COUNT; i++) {
        store->regions[i] = (struct region){0};
        for (unsigned j = 0; j < BLOCK_CLASS_COUNT; j++) {
            list_init(&store->regions[i].free_blocks[j]);
        }
    }
    for (uint64_t offset = store->size; offset > 0; offset -= BLOCK_BYTES_MAX) {
        store_put(store, offset - BLOCK_BYTES_MAX, CLASS_LAST);
    }
}

struct block_pool *block_pool_open(uint64_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX / 4) {
        errno = EINVAL;
        return NULL;
    }
    uint64_t size = align_up(bytes, BLOCK_BYTES_MAX);
    uint64_t notes = sizeof(struct block_store) + size / SLOT_BYTES;
    for (unsigned i = 1; i < BLOCK_CLASS_COUNT; i++) {
        notes += size / class_bytes[i];
    }
    size_t map_bytes = (size_t)(align_up(notes, PAGE_BYTES) + size + HUGE_PAGE_BYTES);
    void *map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        return NULL;
    }
    struct block_store *store = (struct block_store *)map;
    uintptr_t base = align_up((uintptr_t)map + notes, HUGE_PAGE_BYTES);
    *store = (struct block_store){.size = size, .map = map, .map_bytes = map_bytes};
    store->base = (uint8_t *)map + (base - (uintptr_t)map);
    store->whole = (struct block_pool){.store = store, .regions = REGIONS_COUNT};
    store->receiving = (struct block_pool){.store = store, .regions = REGION_COMMON + 1};
    /* Before the first touch; without huge pages it is the same, only slower. */
    (void)madvise(store->base, size, MADV_HUGEPAGE);
    store_populate(store->base, size);
    uint8_t *note = (uint8_t *)(store + 1);
    store->slots = note;
    note += size / SLOT_BYTES;
    for (unsigned i = 1; i < BLOCK_CLASS_COUNT; i++) {
        store->free_parts[i] = note;
        note += size / class_bytes[i];
    }
    store_divide(store, size);
    return &store->whole;
}

void block_pool_set_reserve(struct block_pool *pool)
{
    struct block_store *store = pool->store;
    uint64_t units = store->size / BLOCK_BYTES_MAX;
    uint64_t reserve =
        MIN_OF(MAX_OF(units / BLOCK_RESERVE_SHARE, (uint64_t)BLOCK_RESERVE_UNITS), units / 2);
    CHECK(block_pool_used(&store->whole) == 0);
    store_divide(store, (units - reserve) * BLOCK_BYTES_MAX);
}

struct block_pool *block_pool_receiving(const struct block_pool *pool)
{
    return &pool->store->receiving;
}

void block_pool_close(struct block_pool *pool)
{
    if (pool != NULL) {
        struct block_store *store = pool->store;
        UNPOISON(store->base, store->size);
        int failed = munmap(store->map, store->map_bytes);
        CHECK(failed == 0);
    }
}

static unsigned class_for(size_t bytes)
{
    unsigned class_index = 0;
    while (class_index < CLASS_LAST && class_bytes[class_index] - BLOCK_HEADER_BYTES < bytes) {
        class_index++;
    }
    return class_index;
}

/* Takes the next block of class `found` and splits it down to `wanted`. */
static struct block *region_take(struct block_store *store, struct region *region, unsigned found,
                                 unsigned wanted)
{
    struct block *block = CONTAINER_OF(region->free_blocks[found].next, struct block, link);
    uint64_t offset = (uint64_t)((uint8_t *)block - store->base);
    store_unput(store, offset, found);
    if (found < CLASS_LAST) {
        (*store_parts(store, offset, found + 1))--;
    }
    for (; found > wanted; found--) {
        uint8_t others = (uint8_t)(class_parts[found] - 1);
        *store_parts(store, offset, found) = others;
        /* Last part first, so that the next block to be taken is the one beside this. */
        for (uint64_t i = others; i > 0; i--) {
            store_put(store, offset + i * class_bytes[found - 1], found - 1);
        }
    }
    store->slots[offset / SLOT_BYTES] = (uint8_t)(SLOT_TAKEN | wanted);
    region->used += class_bytes[wanted];
    UNPOISON(block, class_bytes[wanted]);
    list_init(&block->link);
    block->size = 0;
    block->capacity = class_bytes[wanted] - BLOCK_HEADER_BYTES;
    block->class_index = (uint8_t)wanted;
    return block;
}

struct block *block_take(struct block_pool *pool, size_t bytes)
{
    struct block_store *store = pool->store;
    unsigned wanted = class_for(bytes);
    for (unsigned i = 0; i < pool->regions; i++) {
        struct region *region = &store->regions[i];
        unsigned found = wanted;
        while (found < BLOCK_CLASS_COUNT && list_empty(&region->free_blocks[found])) {
            found++;
        }
        if (found < BLOCK_CLASS_COUNT) {
            return region_take(store, region, found, wanted);
        }
    }
    return NULL;
}

uint64_t block_bytes_for(size_t bytes)
{
    return class_bytes[class_for(bytes)];
}

void block_give(struct block_pool *pool, struct block *block)
{
    struct block_store *store = pool->store;
    CHECK((uint8_t *)block >= store->base);
    uint64_t offset = (uint64_t)((uint8_t *)block - store->base);
    CHECK(offset < store->size && offset % SLOT_BYTES == 0);
    uint8_t mark = store->slots[offset / SLOT_BYTES];
    CHECK((mark & SLOT_TAKEN) != 0);
    unsigned class_index = mark & (SLOT_FREE - 1);
    CHECK(block->class_index == class_index && !list_linked(&block->link));
    region_of(store, offset)->used -= class_bytes[class_index];
    store_put(store, offset, class_index);
    while (class_index < CLASS_LAST) {
        unsigned above = class_index + 1;
        uint8_t *parts = store_parts(store, offset, above);
        (*parts)++;
        if (*parts < class_parts[above]) {
            return;
        }
        *parts = 0;
        offset -= offset % class_bytes[above];
        for (uint64_t i = 0; i < class_parts[above]; i++) {
            store_unput(store, offset + i * class_bytes[class_index], class_index);
        }
        store_put(store, offset, above);
        class_index = above;
    }
}

uint64_t block_pool_used(const struct block_pool *pool)
{
    uint64_t used = 0;
    for (unsigned i = 0; i < pool->regions; i++) {
        used += pool->store->regions[i].used;
    }
    return used;
}

uint64_t block_pool_size(const struct block_pool *pool)
{
    return pool->regions == REGIONS_COUNT ? pool->store->size : pool->store->common_size;
}

uint32_t block_pool_free_count(const struct block_pool *pool, unsigned class_index)
{
    CHECK(class_index < BLOCK_CLASS_COUNT);
    uint32_t count = 0;
    for (unsigned i = 0; i < pool->regions; i++) {
        count += pool->store->regions[i].free_counts[class_index];
    }
    return count;
}

void chain_init(struct chain *chain)
{
    list_init(&chain->blocks);
    chain->size = 0;
}

void chain_clear(struct chain *chain, struct block_pool *pool)
{
    for (struct list *node; (node = list_pop_front(&chain->blocks)) != NULL;) {
        block_give(pool, CONTAINER_OF(node, struct block, link));
    }
    chain->size = 0;
}

uint64_t chain_block_bytes(const struct chain *chain)
{
    uint64_t bytes = 0;
    for (const struct list *at = chain->blocks.next; at != &chain->blocks; at = at->next) {
        bytes += class_bytes[CONTAINER_OF(at, struct block, link)->class_index];
    }
    return bytes;
}

struct block *chain_last(const struct chain *chain)
{
    return list_empty(&chain->blocks) ? NULL : CONTAINER_OF(chain->blocks.prev, struct block, link);
}

struct block *chain_room(struct chain *chain, struct block_pool *pool, size_t hint)
{
    struct block *last = chain_last(chain);
    if (last != NULL && last->size < last->capacity) {
        return last;
    }
    if (hint == 0 && last != NULL) {
        hint = (size_t)last->capacity + 1;
    }
    for (unsigned class_index = class_for(hint);; class_index--) {
        struct block *block = block_take(pool, class_bytes[class_index] - BLOCK_HEADER_BYTES);
        if (block != NULL) {
            list_push_back(&chain->blocks, &block->link);
            return block;
        }
        if (class_index == 0) {
            return NULL;
        }
    }
}

bool chain_append(struct chain *chain, struct block_pool *pool, struct slice bytes)
{
    while (bytes.size > 0) {
        struct block *block = chain_room(chain, pool, 0);
        if (block == NULL) {
            return false;
        }
        uint32_t size = (uint32_t)MIN_OF(bytes.size, (size_t)(block->capacity - block->size));
        memcpy(block->data + block->size, bytes.data, size);
        block->size += size;
        chain->size += size;
        bytes = slice_skip(bytes, size);
    }
    return true;
}

void chain_move(struct chain *to, struct chain *from)
{
    list_append_all(&to->blocks, &from->blocks);
    to->size += from->size;
    from->size = 0;
}

void chain_copy_out(const struct chain *chain, uint64_t offset, size_t size, void *out)
{
    CHECK(offset <= chain->size && size <= chain->size - offset);
    uint8_t *at = (uint8_t *)out;
    for (struct list *node = chain->blocks.next; size > 0; node = node->next) {
        const struct block *block = CONTAINER_OF(node, struct block, link);
        if (offset >= block->size) {
            offset -= block->size;
            continue;
        }
        size_t part = MIN_OF(size, (size_t)(block->size - offset));
        memcpy(at, block->data + offset, part);
        at += part;
        size -= part;
        offset = 0;
    }
}
