#include "core/heap.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

#define CHUNK_BYTES (64u * KIB)
#define ALIGNMENT   64u

/* Memory is taken from the front, texts from the back: they need no alignment. */
struct heap_chunk {
    struct heap_chunk *next;
    void *memory; /* as the allocator gave it */
    size_t size;     /* taken from the front */
    size_t capacity; /* what is not taken from the back */
    _Alignas(ALIGNMENT) uint8_t data[];
};

void heap_init(struct heap *heap)
{
    *heap = (struct heap){0};
}

void heap_fini(struct heap *heap)
{
    while (heap->chunks != NULL) {
        struct heap_chunk *chunk = heap->chunks;
        heap->chunks = chunk->next;
        free(chunk->memory);
    }
    heap_init(heap);
}

static struct heap_chunk *chunk_add(struct heap *heap, size_t bytes)
{
    size_t capacity = MAX_OF(bytes, (size_t)CHUNK_BYTES);
    size_t whole = (size_t)align_up(sizeof(struct heap_chunk) + capacity, ALIGNMENT);
    /* Zeroed by the allocator: of a large chunk it knows without touching it. */
    uint8_t *memory = calloc(1, whole + ALIGNMENT);
    CHECK(memory != NULL);
    uintptr_t start = (uintptr_t)align_up((uintptr_t)memory, ALIGNMENT);
    struct heap_chunk *chunk = (struct heap_chunk *)(void *)(memory + (start - (uintptr_t)memory));
    chunk->next = heap->chunks;
    chunk->memory = memory;
    chunk->capacity = capacity;
    heap->chunks = chunk;
    heap->bytes += whole + ALIGNMENT;
    return chunk;
}

static struct heap_chunk *chunk_with(struct heap *heap, size_t bytes)
{
    struct heap_chunk *chunk = heap->chunks;
    bool full = chunk == NULL || bytes > chunk->capacity - chunk->size;
    return full ? chunk_add(heap, bytes) : chunk;
}

void *heap_take(struct heap *heap, size_t bytes)
{
    CHECK(bytes <= SIZE_MAX / 2);
    bytes = (size_t)align_up(MAX_OF(bytes, (size_t)1), ALIGNMENT);
    struct heap_chunk *chunk = chunk_with(heap, bytes);
    void *taken = chunk->data + chunk->size;
    chunk->size += bytes;
    return taken;
}

void *heap_take_array(struct heap *heap, size_t count, size_t bytes)
{
    CHECK(bytes > 0 && count <= SIZE_MAX / 2 / bytes);
    return heap_take(heap, count * bytes);
}

struct slice heap_copy(struct heap *heap, struct slice bytes)
{
    CHECK(bytes.size <= SIZE_MAX / 2);
    struct heap_chunk *chunk = chunk_with(heap, bytes.size + 1);
    chunk->capacity -= bytes.size + 1;
    uint8_t *copy = chunk->data + chunk->capacity;
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return slice_make(copy, bytes.size);
}
