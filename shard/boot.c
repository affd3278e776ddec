#include "shard/boot.h"

#include <sys/mman.h>

#include "core/check.h"
#include "core/poison.h"

#define PAGE_BYTES 4096u

void *boot_memory_take(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void *boot_memory_take_huge(uint64_t bytes)
{
    void *memory = boot_memory_take(bytes);
    if (memory != NULL) {
        (void)madvise(memory, bytes, MADV_HUGEPAGE);
    }
    return memory;
}

/*
 * Pools in a run have poisoned what is free; whoever maps these addresses next must not find that.
 * Of a large run the sanitizer's notes go by the page: those it never touched are not touched now.
 */
static void unpoison(uint8_t *memory, uint64_t bytes)
{
#if POISON_IN_FORCE
    size_t scale = 0;
    size_t offset = 0;
    __asan_get_shadow_mapping(&scale, &offset);
    uint64_t step = (uint64_t)PAGE_BYTES << scale; /* what a page of notes tells of */
    uintptr_t begin = (uintptr_t)align_up((uintptr_t)memory, step);
    uintptr_t end = ((uintptr_t)memory + bytes) & ~(uintptr_t)(step - 1);
    uint8_t *notes = (uint8_t *)(begin >> scale) + offset;
    if (begin < end && madvise(notes, (end - begin) >> scale, MADV_DONTNEED) == 0) {
        UNPOISON(memory, begin - (uintptr_t)memory);
        UNPOISON((uint8_t *)end, align_up((uintptr_t)memory + bytes - end, 8));
        return;
    }
#endif
    UNPOISON(memory, align_up(bytes, 8));
}

void boot_memory_give(void *memory, uint64_t bytes)
{
    if (memory != NULL) {
        unpoison(memory, bytes);
        CHECK(munmap(memory, bytes) == 0);
    }
}

void *boot_pages_take(struct boot_pages *pages, uint64_t bytes)
{
    CHECK(pages->count < BOOT_RUNS_MAX);
    void *memory = boot_memory_take(bytes);
    CHECK(memory != NULL);
    pages->runs[pages->count].memory = memory;
    pages->runs[pages->count].bytes = bytes;
    pages->count++;
    return memory;
}

void boot_pages_give(struct boot_pages *pages)
{
    for (unsigned i = 0; i < pages->count; i++) {
        boot_memory_give(pages->runs[i].memory, pages->runs[i].bytes);
    }
    *pages = (struct boot_pages){0};
}
