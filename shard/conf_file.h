/*
 * Configuration files from disk, for the mains: the reader that core/conf.h asks for. Boot threads,
 * worker threads and tools; it blocks.
 */
#ifndef RINGPOST_SHARD_CONF_FILE_H
#define RINGPOST_SHARD_CONF_FILE_H

#include "core/conf.h"
#include "core/heap.h"

/*
 * conf_load for `program` of `file` (null: defaults) and `sets` from disk, with the system's host
 * name. What is read are regular files ≤ 16 MiB that others may not write, nor put another one in
 * their place; one that is named in the folder of `file` lies in it, wherever symbolic links lead
 * (G-06).
 */
MUST_USE struct conf *conf_file_load(enum conf_program program, const char *file,
                                     const char *const *sets, size_t set_count,
                                     struct conf_messages *messages);

/* The same by a worker: WORK_CONF. */
struct conf_reading {
    enum conf_program program;
    const char *file;        /* as above; borrowed, like all here */
    const char *const *sets;
    size_t set_count;
    struct conf_messages messages; /* in: over memory; out: what there is to say */
    struct conf *conf;       /* out, and the caller's; null: there were errors */
};

#endif
