/*
 * A lane at start: the newest checkpoint, then the log from where that begins, all of it read, in
 * order, before anything is written. Part of the spool; its memory goes back when it has ended.
 *
 *   lane_files.h         which files there are, and their order
 *   checkpoint_reader.h  rows of the newest checkpoint
 *   lane_reader.h        the log behind it, into parser.h
 *   recover_replay.h     what they found, told to whoever keeps the queues
 *   recover_secure.h     what of it may not be on stable storage yet is put there
 */
#ifndef RINGPOST_SHARD_SPOOL_RECOVER_H
#define RINGPOST_SHARD_SPOOL_RECOVER_H

#include "shard/spool/adopted.h"
#include "shard/spool/checkpoint_reader.h"
#include "shard/spool/lane_files.h"
#include "shard/spool/lane_reader.h"
#include "shard/spool/quarantine.h"

#define RECOVER_DAMAGES_MAX 32

struct recover_damage {
    uint32_t segment;
    uint64_t offset;
    uint64_t records; /* 0: unknown, whole groups are missing */
    struct log_range range; /* to be copied aside */
};

/* Bytes that stand in a file already, on their way to stable storage. */
struct recover_write {
    int fd;
    uint8_t *data; /* aligned to a page */
    uint64_t offset;
    uint32_t bytes;
    uint32_t done;
    unsigned stuck; /* completions in a row that brought nothing */
    unsigned failures; /* times that it was begun again from its first byte */
    struct iovec rest;
};

struct recover {
    struct shard *shard;
    bool foreign;                 /* a lane to be adopted: nothing is made there */
    uint32_t shift;               /* added to its segment numbers in all that is told */
    struct segments *segments;           /* borrowed */
    const struct spool_options *options; /* borrowed */
    const struct spool_replay *replay;   /* borrowed */
    struct pieces *pieces;               /* borrowed */
    struct quarantine *quarantine;       /* borrowed, set by the owner */
    uint64_t uuid;
    struct spool_recovery counts;
    struct checkpoint_reader checkpoint;
    struct adopted adopted;
    unsigned checkpoint_file;     /* the one that was chosen; CHECKPOINT_FILES: none */
    struct spool_position begin;  /* of the replay */
    struct spool_position cursor; /* of events, as far as is known */
    uint64_t event_next;
    uint64_t sequence_max;  /* of any segment header */
    uint32_t durable_first; /* from groups that count */
    struct lane_files files;
    struct lane_reader reader;
    uint32_t order_at;      /* in files.order: the segment being read, or synced */
    struct segment *used;   /* pinned; null: none */
    struct descriptor_wait wait; /* for its file */
    struct recover_damage damages[RECOVER_DAMAGES_MAX];
    unsigned damage_count;
    struct log_tail tail;   /* bytes 0: no group is in doubt */
    struct recover_write write;
    struct timer retry;     /* of a write that failed */
    uint8_t secure_step;
    struct op op;
    int error;
    char reason[256];
    /* All is read; the outcome is in error, reason, and the fields above. From the loop. */
    void (*done)(struct recover *recover);
};

MUST_USE int recover_init(struct recover *recover, struct shard *shard, struct segments *segments,
                          struct pieces *pieces, const struct spool_options *options,
                          const struct spool_replay *replay);
void recover_start(struct recover *recover, uint64_t uuid,
                   void (*done)(struct recover *recover));
/* Frees memory. */
void recover_fini(struct recover *recover);
/* For the first group to be written. */
uint64_t recover_next_sequence(const struct recover *recover);
uint64_t recover_void_from(const struct recover *recover);
/* For the parts of recovery: the first reason is kept. */
void recover_fail(struct recover *recover, int error, const char *format, ...) PRINTF(3, 4);
/* For the parts of recovery: because this file cannot be opened. */
void recover_open_failed(struct recover *recover, const struct descriptor_wait *wait);
/*
 * For the parts of recovery: the file of this segment, until that of another one is used. True: it
 * is open. False: `open` says so, or with wait->error that it cannot be opened.
 */
MUST_USE bool recover_use(struct recover *recover, struct segment *segment,
                          void (*open)(struct descriptor_wait *wait));
/* For the parts of recovery: it is over, with an error or without. */
void recover_end(struct recover *recover);

#endif
