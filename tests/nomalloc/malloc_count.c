/*
 * The counting build (preset "nomalloc"): stands before the C library's allocator and counts what
 * threads named shard-… take, library calls included. One line at the end: the constant of boot and
 * replay, and nothing that grows with mail.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static _Atomic uint64_t taken;

static void count_if_shard(void)
{
    char name[16] = "";
    if (prctl(PR_GET_NAME, name) == 0 && strncmp(name, "shard-", 6) == 0) {
        atomic_fetch_add_explicit(&taken, 1, memory_order_relaxed);
    }
}

void *malloc(size_t bytes)
{
    count_if_shard();
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    count_if_shard();
    return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    count_if_shard();
    return __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count_if_shard();
    return __libc_memalign(alignment, bytes);
}

__attribute__((destructor)) static void say_count(void)
{
    fprintf(stderr, "event=mallocs shards=%llu\n", (unsigned long long)atomic_load(&taken));
}
