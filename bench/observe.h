/*
 * What a server takes, as the kernel tells it: disk, memory, descriptors. For runners, not for
 * shards. Works on what changes meanwhile: a file that goes away is left out.
 */
#ifndef RINGPOST_BENCH_OBSERVE_H
#define RINGPOST_BENCH_OBSERVE_H

#include <sys/types.h>

#include "core/base.h"

struct disk_use {
    uint64_t files;
    uint64_t segments;    /* of a spool */
    uint64_t checkpoints; /* of a spool; empty ones do not count */
    uint64_t checkpoint_bytes;
    uint64_t bytes;       /* allocated */
};
/* Of everything under `path`; false when there is no such directory. */
MUST_USE bool disk_use_read(const char *path, struct disk_use *use_out);

/* Makes reads under `path` cold, as far as this process may. */
struct cache_drop {
    uint64_t files; /* told one by one (posix_fadvise) */
    bool kernel;    /* all the page cache of the machine, and directories with it */
};
struct cache_drop cache_drop(const char *path);

struct process_use {
    uint64_t rss_bytes;
    uint64_t descriptors;
    uint64_t cpu_ns; /* of all its threads so far */
};
/* False when there is no such process, or it is not ours to look at. */
MUST_USE bool process_use_read(pid_t pid, struct process_use *use_out);

#endif
