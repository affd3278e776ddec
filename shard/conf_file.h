/*
 * Configuration files from disk, for the mains: the reader that core/conf.h asks for. Boot threads,
 * worker threads and tools; it blocks.
 */
#ifndef RINGPOST_SHARD_CONF_FILE_H
#define RINGPOST_SHARD_CONF_FILE_H

#include "core/conf.h"
#include "core/heap.h"

/* A conf_read; the context is a struct heap, in which the bytes stay. Regular files ≤ 16 MiB that
 * others may not write, nor put another one in their place (G-06). */
bool conf_file_read(void *heap, const char *path, struct slice *bytes_out,
                    struct buf *reason_out);

/* conf_load of `file` (null: defaults) and `sets` from disk, with the system's host name. */
MUST_USE struct conf *conf_file_load(const char *file, const char *const *sets, size_t set_count,
                                     struct conf_messages *messages);

/* The same by a worker: WORK_CONF. */
struct conf_reading {
    const char *file;        /* as above; borrowed, like all here */
    const char *const *sets;
    size_t set_count;
    struct conf_messages messages; /* in: over memory; out: what there is to say */
    struct conf *conf;       /* out, and the caller's; null: there were errors */
};

#endif
