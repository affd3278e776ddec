/*
 * Which files of a lane are open. The open segment and the spares are; of the rest of the log
 * those that are being read, and a few (DESCRIPTORS_KEPT) that were used last: a spool of terabytes
 * holds no more descriptors than a small one, at its start as well. Who reads a segment pins it and
 * asks for it here; it stays open until it is unpinned. Part of the spool's segments; owned by
 * their shard.
 *
 * A file that cannot be opened is tried again for some seconds (another part of the process may
 * have used up all descriptors, F-23) before who waits is told.
 */
#ifndef RINGPOST_SHARD_SPOOL_DESCRIPTORS_H
#define RINGPOST_SHARD_SPOOL_DESCRIPTORS_H

#include "core/list.h"
#include "shard/shard.h"
#include "shard/spool/spool.h"
#include "shard/work.h"

#define DESCRIPTORS_KEPT   64
#define SEGMENT_PATH_BYTES 512

struct segment;
struct segments;

/* Embedded in who waits for a segment's file; all zero before its first use. */
struct descriptor_wait {
    struct list link;
    struct segment *segment;
    bool waiting;
    int error; /* 0, or why it is not open */
    /* From the loop. */
    void (*done)(struct descriptor_wait *wait);
};

struct descriptors {
    struct segments *segments; /* borrowed */
    struct list kept;          /* struct segment: open, of the log; the one used last is last */
    uint32_t kept_count;
    uint32_t kept_max;
    struct list waiting;       /* struct descriptor_wait, in order of arrival */
    struct segment *opening;   /* pinned; null: none */
    unsigned failures;         /* to open it, in a row */
    struct work_job open_job;
    struct work_job close_job;
    struct timer retry;
    char path[SEGMENT_PATH_BYTES + 32];
};

/* Opens a segment's file: `path` as it is borrowed. */
struct work_job descriptors_open_job(const char *path);

void descriptors_init(struct descriptors *descriptors, struct segments *segments);
void descriptors_fini(struct descriptors *descriptors);

/* A segment that is written no more: from here on its file may be closed. */
void descriptors_keep(struct descriptors *descriptors, struct segment *segment);
/* No longer: its descriptor, if there is one, stays as it is. */
void descriptors_forget(struct descriptors *descriptors, struct segment *segment);
/* True: it is open. False: wait->done says so, or that it cannot be opened. It is pinned. */
MUST_USE bool descriptors_use(struct descriptors *descriptors, struct descriptor_wait *wait,
                              struct segment *segment);
/* Whether a file that could not be opened for this reason may be there later. */
bool descriptors_may_pass(int error);
/* Who waits does not want it any more; at any time. */
void descriptors_withdraw(struct descriptor_wait *wait);
/* Closes what is too much; after a pin has gone. */
void descriptors_trim(struct descriptors *descriptors);
/* Nothing is on its way: segments->changed says when it has come home while they are closed. */
bool descriptors_idle(const struct descriptors *descriptors);

#endif
