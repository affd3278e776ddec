/*
 * The segment files of one lane: which there are, which hold something that is needed, which may be
 * used again, and the making of new ones ahead of need. Part of the spool; owned by its shard.
 *
 *   spare ──► open ──► sealed ──► spare
 *               └────► poisoned ──► set aside (never used again in this life of the process)
 *
 * Segments of adopted lanes (F-27) are sealed ones that stand in another directory under another
 * number; their files are removed when they leave the log.
 *
 * The log is the open segment and all sealed and poisoned ones, in order of their numbers. One of
 * them leaves it, wherever it stands, when nobody needs it: no live row, no piece of a live body,
 * no reader, all of it before a durable checkpoint, and the events of all that concerns it durable
 * in the event log (docs/spool-format.md).
 */
#ifndef RINGPOST_SHARD_SPOOL_SEGMENT_H
#define RINGPOST_SHARD_SPOOL_SEGMENT_H

#include "shard/shard.h"
#include "shard/spool/descriptors.h"
#include "shard/spool/pieces.h"
#include "shard/spool/spool.h"

#define SEGMENTS_MAX       16384 /* files of a lane */
#define SEGMENT_SPARES     2     /* made ahead of need; without space not for messages */
#define SEGMENT_SPARES_MAX 12    /* more are removed, one a second */
#define SEGMENT_FILE_BYTES_MAX (4096ull * MIB) /* more is none of ours */

enum segment_state {
    SEGMENT_SPARE,
    SEGMENT_OPEN,
    SEGMENT_SEALED,
    SEGMENT_POISONED,
    SEGMENT_ASIDE, /* in no use, and not to be used again */
};

struct segment {
    uint32_t number;       /* 0: never used, as far as this process knows */
    uint32_t slot;         /* the file's name */
    uint32_t shift;        /* `number` minus its number in the lane whose records it holds */
    uint16_t lane;         /* whose records it holds, and in whose directory it stands */
    uint32_t live;         /* rows */
    uint32_t rows_total;   /* rows ever stored in it; 0: not known */
    uint64_t live_bytes;   /* of their messages' bodies, each row counted */
    uint32_t pins;         /* reads, and pieces of bodies that no message has taken over */
    uint32_t bodies;       /* live messages elsewhere, pieces of which stand here */
    uint64_t dead_sequence; /* of the group that ended its last row, or one behind it */
    uint64_t sealed_ns;
    uint64_t tried_ns;     /* when it was last emptied as far as that was possible */
    struct list link;      /* the descriptors' own */
    int fd;                /* -1: closed; the open one's never is */
    uint8_t state;         /* enum segment_state */
    bool kept;             /* the descriptors' own */
    bool reusable;         /* as long as the configuration wants segments to be */
    bool blank;            /* found at start, all zero */
    bool gone;             /* the file was removed: the entry is free */
    bool parting;          /* its file is to be removed: that of an adopted lane */
};

/* Places in the table. */
struct segment_list {
    uint16_t *places; /* SEGMENTS_MAX of them */
    uint32_t count;
};

struct segments {
    struct shard *shard;
    const struct spool_options *options; /* borrowed from the spool */
    struct segment *table;
    uint32_t count;
    struct segment_list log;    /* by number */
    struct segment_list spares; /* the first one is used next */
    struct spool_position checkpoint; /* where the newest durable one begins */
    struct spool_position cursor;     /* see spool_cursor_set */
    uint32_t next_number;
    uint32_t next_slot;
    uint64_t reserve_bytes; /* of space, for checkpoints yet to be written */
    bool settled;           /* rows are counted: segments may leave the log */
    bool no_space;          /* no new segment can be made for want of space */
    uint32_t failures;      /* … for another reason, so many times in a row */
    bool making;
    bool closing;
    uint8_t step;
    struct work_job job;
    struct timer retry;
    struct segment *surplus; /* a spare on its way out; null: none */
    struct segment *reopening; /* a spare whose file is being opened */
    uint64_t reopen_ns;      /* none is before; 0: the last one could be opened */
    struct descriptors descriptors;
    uint32_t gone;           /* entries of the table without a file */
    uint32_t parting;        /* entries whose file is to be removed */
    char lane_path[SEGMENT_PATH_BYTES];
    char path[SEGMENT_PATH_BYTES + 32];
    /* A spare has come, space has come or gone. From the loop. */
    void (*changed)(struct segments *segments);
};

MUST_USE int segments_init(struct segments *segments, struct shard *shard,
                           const struct spool_options *options);
/* Frees memory only: descriptors are closed by segments_close_next, or went with the process. */
void segments_fini(struct segments *segments);

/* The path of a slot's file, in segments->path; of this lane, and of any. */
const char *segments_slot_path(struct segments *segments, uint32_t slot);
const char *segments_file_path(struct segments *segments, const struct segment *segment);
void segment_path_put(const struct segments *segments, const struct segment *segment, char *path,
                      size_t path_bytes);
/* The path of a checkpoint file, the same. */
const char *segments_checkpoint_path(struct segments *segments, unsigned file);
/* The slot that a file name stands for; false: not a segment's. */
MUST_USE bool segment_slot_parse(struct slice name, uint32_t *slot_out);
/* For recovery: takes a file into the table. Null when there are too many. */
struct segment *segments_add(struct segments *segments, uint32_t slot, int fd);
/* For recovery, in order of their numbers. */
void segments_append_log(struct segments *segments, struct segment *segment);
bool segments_foreign(const struct segments *segments, const struct segment *segment);
/*
 * For recovery: a segment of an adopted lane, which has its number, slot, lane and shift already;
 * into the log, by number. Null: too many, or there is one of this number.
 */
MUST_USE struct segment *segments_adopt(struct segments *segments, const struct segment *found);
/* For recovery: a file of an adopted lane that holds nothing, to be removed. Null: too many. */
MUST_USE struct segment *segments_part(struct segments *segments, const struct segment *found);
/* For recovery: an adopted segment that turns out not to be there, though its file may be. */
void segments_disown(struct segments *segments, struct segment *segment, bool file);
/*
 * After recovery, rows counted: the last group of the log had this sequence, `checkpoint` and
 * `cursor` are as found. Finds the spares. From here on segments leave the log.
 */
void segments_settle(struct segments *segments, uint64_t sequence,
                     struct spool_position checkpoint, struct spool_position cursor);

/* Makes spares when there are too few, removes one when there are too many. */
void segments_tend(struct segments *segments);
/* The next segment, now open, numbered and last of the log; the one before it is sealed. */
MUST_USE struct segment *segments_begin(struct segments *segments);
/* Of the log; null when there is none, or it has left the log. */
struct segment *segments_find(const struct segments *segments, uint32_t number);
/* The i-th of the log, by number. */
struct segment *segments_at(const struct segments *segments, uint32_t index);
/* The place in the log of the first one with this number or a higher one. */
uint32_t segments_index(const struct segments *segments, uint32_t number);

/* Rows of a message stored in this segment; `bytes` is the body's, 0 when it stands elsewhere. */
void segment_rows_live(struct segment *segment, uint32_t count, uint64_t bytes);
void segment_rows_dead(struct segment *segment, uint32_t count, uint64_t bytes);
/* The segments in which a live message has pieces. False: one of them is not in the log. */
bool segments_keep_bodies(struct segments *segments, const struct pieces *pieces, uint32_t handle);
void segments_drop_bodies(struct segments *segments, const struct pieces *pieces, uint32_t handle,
                          uint64_t sequence);
/* A pin of this segment is gone. */
void segments_unpin(struct segments *segments, struct segment *segment);
/* Something that kept this segment is gone; `sequence` is the log's position now. */
void segments_eased(struct segments *segments, struct segment *segment, uint64_t sequence);
/* A checkpoint that begins there is durable. */
void segments_checkpointed(struct segments *segments, struct spool_position begin);
void segments_cursor(struct segments *segments, struct spool_position cursor);
/* How many of the log's segments a checkpoint would let go. */
uint32_t segments_waiting(const struct segments *segments);
/* See spool_round_due, spool_victim. */
MUST_USE bool segments_round_due(const struct segments *segments);
MUST_USE bool segments_victim(const struct segments *segments, uint32_t *number_out);

/* The end: begins to close one descriptor; false when all are closed. `closed` from the loop. */
bool segments_close_next(struct segments *segments, void (*closed)(struct segments *segments));

void spool_note(const struct spool_options *options, const char *format, ...) PRINTF(2, 3);

#endif
