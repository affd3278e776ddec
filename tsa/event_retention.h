/*
 * What leaves the event log: whole files, oldest first, when all of their records are older than
 * the retention, or when all files together are larger than they may be. Looked at once a minute
 * and when a file is begun; never the open file, nor the newest. Part of the event log, on its
 * shard; the file calls are jobs of the io worker, one at a time.
 */
#ifndef RINGPOST_TSA_EVENT_RETENTION_H
#define RINGPOST_TSA_EVENT_RETENTION_H

#include "core/heap.h"
#include "core/logline.h"
#include "shard/shard.h"

#define EVENT_FILE_NAME_BYTES 22 /* 20261122-164910.123456 */

struct event_retention_options {
    const char *path; /* of the directory; borrowed */
    uint64_t age_ns;
    uint64_t bytes;   /* of all files; 0: no limit */
    struct log_sink sink;
    struct heap *heap; /* boot */
};

struct event_retention {
    struct shard *shard;
    struct event_retention_options options;
    struct work_job job;
    struct timer timer;
    uint8_t step;
    bool asked;        /* look again when this look has ended */
    bool stopping;
    bool troubled;     /* said */
    char *names;       /* of the files found, in order, EVENT_FILE_NAME_BYTES + 1 each */
    uint32_t count;
    uint32_t at;       /* of which the size is asked, or which is being removed */
    uint32_t border;   /* those below leave */
    uint32_t removed;  /* in this look */
    uint64_t removed_ever;
    uint64_t bytes;    /* of the newer files */
    char open_name[EVENT_FILE_NAME_BYTES + 1];
    char *path;
};

void event_retention_init(struct event_retention *retention, struct shard *shard,
                          const struct event_retention_options *options);
/* The limits from now on. */
static inline void event_retention_set(struct event_retention *retention, uint64_t age_ns,
                                       uint64_t bytes)
{
    retention->options.age_ns = age_ns;
    retention->options.bytes = bytes;
}
/* A file of this name has been begun. */
void event_retention_file(struct event_retention *retention, struct slice name);
/* Begins no job any more. */
void event_retention_stop(struct event_retention *retention);
bool event_retention_idle(const struct event_retention *retention);

/* Is it a name that the event log gives? */
bool event_file_name(struct slice name);

#endif
