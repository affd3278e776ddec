/*
 * The files of a lane at start: the directory is made and listed, the checkpoints are opened, the
 * first page of every segment is read, one file after another (descriptors.h), and the segments
 * that were ever used become the log, in the order of their numbers. One whose first two pages
 * cannot be read could be any of them: the start fails. Nothing is written. Part of recovery; its
 * memory goes back when that has ended.
 */
#ifndef RINGPOST_SHARD_SPOOL_LANE_FILES_H
#define RINGPOST_SHARD_SPOOL_LANE_FILES_H

#include "shard/spool/checkpoint.h"
#include "shard/spool/record.h"
#include "shard/spool/segment.h"

struct lane_files {
    struct shard *shard;
    struct segments *segments; /* borrowed: the files go into its table */
    int *checkpoint_fds;       /* borrowed: CHECKPOINT_FILES of them, -1 until opened */
    uint64_t uuid;
    bool foreign;              /* a lane to be adopted: nothing is made there, it may be gone */
    uint16_t *order;           /* places of the log's segments in the table, by number */
    uint32_t order_count;
    struct record_segment *headers; /* by place in the table */
    uint8_t *page;             /* for first and last pages */
    uint32_t page_at;          /* the place whose pages are read */
    unsigned tries;            /* to read one of them */
    unsigned unread;           /* of the first two: those that cannot be read */
    struct descriptor_wait wait; /* for its file */
    unsigned opening;          /* a checkpoint file */
    uint8_t step;
    char *names;
    size_t names_at;
    size_t names_size;
    struct work_job job;
    struct timer retry;
    struct op op;
    int error;
    char reason[256];
    /* From the loop; what came of it is in error and reason. */
    void (*done)(struct lane_files *files);
};

/* Boot. 0 or -ENOMEM. */
MUST_USE int lane_files_init(struct lane_files *files, struct shard *shard,
                             struct segments *segments, int *checkpoint_fds);
/* Frees memory. */
void lane_files_fini(struct lane_files *files);

/* Finds all of them and opens the checkpoints, then `done`. */
void lane_files_open(struct lane_files *files, uint64_t uuid, bool foreign,
                     void (*done)(struct lane_files *files));
/* When they are found: reads their first pages, fills `headers` and `order`, then `done`. */
void lane_files_read(struct lane_files *files, void (*done)(struct lane_files *files));

/* The reason of a start that cannot open this file: some of a spool must not be what they are. */
void lane_files_refuse(const char *path, int error, char *reason_out, size_t reason_bytes);

#endif
