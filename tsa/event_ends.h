/*
 * Where the files of an event log end, durably, and who waits for more: what its writer tells its
 * readers (tsa/event_reader.h). Part of the event log, on its shard.
 */
#ifndef RINGPOST_TSA_EVENT_ENDS_H
#define RINGPOST_TSA_EVENT_ENDS_H

#include "core/list.h"
#include "core/logline.h"
#include "tsa/event_retention.h"

/* Files that failed, the newest: what stands behind their durable end stands in another, too. */
#define EVENT_ENDS_FAILED 16u

struct event_watch {
    struct list link;
    void (*news)(struct event_watch *watch); /* more is durable; it may leave, others may not */
};

struct event_end {
    char file[EVENT_FILE_NAME_BYTES + 1];
    uint64_t bytes;
};

struct event_ends {
    const char *path;   /* of the directory; borrowed */
    struct log_sink sink;
    bool open;          /* `last` is being written */
    struct event_end last;
    struct event_end failed[EVENT_ENDS_FAILED];
    unsigned failures;
    struct list watches;
};

void event_ends_init(struct event_ends *ends, const char *path, const struct log_sink *sink);

/* The writer's. A file is begun; more of it is durable; an append has failed; it has ended. */
void event_ends_begin(struct event_ends *ends, struct slice file);
void event_ends_grow(struct event_ends *ends, uint64_t bytes);
void event_ends_fail(struct event_ends *ends);
void event_ends_close(struct event_ends *ends);

/* The readers'. Until list_remove. */
void event_ends_watch(struct event_ends *ends, struct event_watch *watch);
/* How much of a file may be read: of the one being written, and of one that failed, what is
 * durable; of any other all that there is, UINT64_MAX. */
uint64_t event_ends_durable(const struct event_ends *ends, const char *file);
bool event_ends_is_open(const struct event_ends *ends, const char *file);
/* A frame cannot be read. */
void event_ends_say_damage(const struct event_ends *ends, const char *file, uint64_t offset);

#endif
