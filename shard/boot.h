/*
 * Memory that a thread gets before its loop begins and keeps until it has ended: whole pages,
 * zeroed, never grown. Boot threads, and shards that do not serve yet.
 */
#ifndef RINGPOST_SHARD_BOOT_H
#define RINGPOST_SHARD_BOOT_H

#include "core/base.h"

/* Aligned to a page; null with errno when there is none. */
MUST_USE void *boot_memory_take(uint64_t bytes);
/* The same in huge pages, where there are any: for large tables that are reached at random. */
void *boot_memory_take_huge(uint64_t bytes);
/* Null is nothing. `bytes` as taken. */
void boot_memory_give(void *memory, uint64_t bytes);

/* Many such runs that live equally long, given back together. */
#define BOOT_RUNS_MAX 64

struct boot_pages {
    struct {
        void *memory;
        uint64_t bytes;
    } runs[BOOT_RUNS_MAX];
    unsigned count;
};

/*
 * Zeroed; pages that are never touched cost nothing. Never null: without memory the process ends.
 */
void *boot_pages_take(struct boot_pages *pages, uint64_t bytes);
void boot_pages_give(struct boot_pages *pages);

#endif
