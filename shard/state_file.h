/*
 * A small file of node.state_dir that is read at a start and replaced as a whole, durably, when
 * what it holds has changed; who embeds it knows what stands in it. Its directory is made when it
 * is not there. One file operation at a time, by a worker; while all are busy it waits.
 */
#ifndef RINGPOST_SHARD_STATE_FILE_H
#define RINGPOST_SHARD_STATE_FILE_H

#include "core/logline.h"
#include "shard/shard.h"
#include "shard/work.h"

#define STATE_FILE_PATH_MAX   2112 /* a path of the configuration, and a name */
#define STATE_FILE_ASIDES_MAX 9u   /* kept */

struct state_file {
    struct shard *shard; /* borrowed */
    const char *dir;     /* borrowed: node.state_dir */
    /* From the loop: what was begun has ended; of a read the bytes, else 0, or -errno. */
    void (*done)(struct state_file *file, int64_t result);
    bool unknown; /* the last that could be replaced was not durably: see there */
    struct work_job job;
    struct timer retry;
    const void *data;
    size_t size;
    char path[STATE_FILE_PATH_MAX];
    unsigned asides; /* names that are taken */
    char aside[STATE_FILE_PATH_MAX];
};

/* `done` is set by the owner, who embeds it. */
void state_file_init(struct state_file *file, struct shard *shard, const char *dir,
                     const char *name);
/* The whole file into `data`, the caller's until done; -ENOENT: there is none. */
void state_file_read(struct state_file *file, void *data, size_t capacity);
/*
 * It makes no sense: from now on it has the name `name`.damaged, so that nothing is lost; or, where
 * there is one already, `name`.damaged-2 and so on. The last of STATE_FILE_ASIDES_MAX is replaced.
 */
void state_file_set_aside(struct state_file *file);
/* A line in the log about what came of that: `note`, and where it is now or why it is not. */
void state_file_say_aside(const struct state_file *file, const struct log_sink *log,
                          const char *event, const char *note, int error);
/*
 * `data` stands as it is until done. After a failure the file is what it was, unless `unknown` is
 * set: it has its new bytes, and may get the old ones back in a power cut. So it remains until it
 * is replaced with success.
 */
void state_file_replace(struct state_file *file, const void *data, size_t size);
/* A line about it in the log; `error` 0: without one. */
void state_file_say(const struct state_file *file, const struct log_sink *log, const char *event,
                    const char *note, int error);

#endif
