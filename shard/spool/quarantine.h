/*
 * Damaged bytes, copied aside (F-28, F-05): what recovery or a delivery could not use is copied out
 * of its segment into a file of its own under SPOOL/quarantine before the segment is used again,
 * for somebody to look at (docs/operations.md). One range after another, by jobs and reads of the
 * ring, never before the lane takes mail: only a stop waits for it, and what goes wrong with it is
 * a line in the log and no more. Part of the spool.
 *
 * The folder is the spool's. What is in it already is not copied again, and when it is full nothing
 * is until somebody has emptied it: so the same damage, found at every start, costs its room once.
 */
#ifndef RINGPOST_SHARD_SPOOL_QUARANTINE_H
#define RINGPOST_SHARD_SPOOL_QUARANTINE_H

#include "shard/spool/parser.h"
#include "shard/spool/quarantine_name.h"
#include "shard/spool/segment.h"

#define QUARANTINE_FILES_MAX      64  /* in the folder, of any kind; in a race one more a lane */
#define QUARANTINE_FILE_BYTES_MAX MIB /* of a range; the rest is left out */
#define QUARANTINE_WAITING_MAX    32  /* ranges yet to be copied; more are not */

struct quarantine_entry {
    struct log_range range; /* the segment's number as this process has it */
    enum quarantine_reason reason;
    struct segment *segment; /* pinned; null until the lane takes mail */
};

struct quarantine {
    struct shard *shard;
    const struct spool_options *options; /* borrowed */
    struct segments *segments;           /* borrowed */
    struct quarantine_entry waiting[QUARANTINE_WAITING_MAX]; /* the first one is being copied */
    unsigned count;
    bool running;
    uint8_t step;
    uint64_t read_at;  /* where the read begins, at a whole page … */
    uint32_t read_size; /* … and how much it wants */
    uint32_t got;
    unsigned stuck;    /* reads in a row that brought no whole page */
    uint8_t *data;     /* untouched until it is needed */
    char *names;
    struct descriptor_wait wait;
    struct op op;
    struct work_job job;
    struct timer retry;
    char path[SEGMENT_PATH_BYTES];
    /* Set by quarantine_stop: all is copied. From the loop. */
    void (*idle)(struct quarantine *quarantine);
};

MUST_USE int quarantine_init(struct quarantine *quarantine, struct shard *shard,
                             const struct spool_options *options, struct segments *segments);
/* Frees memory. */
void quarantine_fini(struct quarantine *quarantine);
/* A range of a segment of the log, or of one that will be in the log when the lane takes mail. */
void quarantine_put(struct quarantine *quarantine, const struct log_range *range,
                    enum quarantine_reason reason);
/* The lane takes mail, and no segment has left the log yet: what was put is copied from here on. */
void quarantine_run(struct quarantine *quarantine);
/* Nothing more is put; `idle` is called when nothing is under way any more, unless that is so. */
void quarantine_stop(struct quarantine *quarantine, void (*idle)(struct quarantine *quarantine));
bool quarantine_idle(const struct quarantine *quarantine);

#endif
