/*
 * The spool of one shard: one lane, an append-only log in pre-zeroed, recycled segments, written by
 * group commit. "Stored" means on stable storage; nobody is told so earlier.
 *
 *   put ──► open group ──► one vectored O_DIRECT + RWF_DSYNC write ──► done of every put, in order
 *
 * Two group buffers: while one commits the other grows; one commit is in flight; no artificial
 * delay. A put that finds no room waits in line for the next group. Rules of recovery, recycling
 * and failure: docs/spool-format.md. Record formats: shard/spool/record.h. Owned by the shard; all
 * calls and callbacks on its thread, callbacks from the loop only.
 *
 * A checkpoint holds the queues as they are at a position of the log; a start reads the newest one
 * and replays the log from there. A segment is used again when none of its messages is live,
 * nothing reads it, it lies before a durable checkpoint, and the events of all that concerns it are
 * durable in the event log.
 */
#ifndef RINGPOST_SHARD_SPOOL_SPOOL_H
#define RINGPOST_SHARD_SPOOL_SPOOL_H

#include <xxhash.h>

#include "core/histogram.h"
#include "core/id.h"
#include "core/list.h"
#include "shard/blocks.h"
#include "shard/spool/checkpoint.h"
#include "shard/spool/house.h"
#include "shard/spool/outcome.h"

/* Envelope, metadata, prepend, dots, cuts, parts of one message; more is refused (SPOOL_FULL). */
#define SPOOL_HEAD_BYTES_MAX (192 * KIB)
/* Of the buffers of reads in flight, as long as a spool runs. */
#define SPOOL_LOADS_BYTES (2ull * MIB)

struct shard;
struct spool;

struct spool_options {
    const char *path;         /* directory of the whole spool; the lane is a directory in it */
    unsigned lane;            /* its id, of the manifest */
    uint32_t epoch;           /* of the manifest */
    const uint16_t *foreign;  /* lanes to be adopted; borrowed until replay.finished */
    unsigned foreign_count;
    bool sync;                /* false: sync = "none", laboratories only */
    uint64_t segment_bytes;   /* 128 MiB; multiple of 4096 */
    uint32_t group_bytes;     /* of one group buffer; ≥ 1 MiB */
    uint64_t free_bytes_min;  /* keep this much free on the file system; 0 = none */
    unsigned free_percent_min;
    uint64_t deadline_ns;     /* store_deadline: later it is SPOOL_LATE, and voided */
    uint64_t compact_after_ns; /* a segment older than that is emptied when little of it lives */
    uint64_t checkpoint_bytes; /* a checkpoint begins after so much log, or 8 × its own size */
    uint32_t files_kept;      /* of the segments that are written no more; 0: DESCRIPTORS_KEPT */
    struct block_pool *pool;  /* borrowed: for spool_load */
    /* One line for the operator (damage, write errors), without its end; may be null. */
    void (*note)(void *context, struct slice line);
    void *note_context;
};

/*
 * Where the rows of a checkpoint come from: whoever keeps the queues. On the shard, a call a turn.
 * Between the turns rows change; what changed is in the log behind the checkpoint's beginning.
 */
struct spool_state {
    void *context;
    /* A checkpoint begins: the next `put` starts with the first row. */
    void (*begin)(void *context);
    /*
     * Puts queues and rows until the block is full or a turn's worth of memory was looked at. True:
     * there is more. A row is left out while its message is not stored.
     */
    bool (*put)(void *context, struct checkpoint_block *block);
    /* Bytes that it would take now, about. */
    uint64_t (*bytes)(void *context);
};

/* --- start: one lane -------------------------------------------------------------------------- */

/* A live or formerly live message found in the log. Slices are borrowed during the call. */
struct spool_found {
    struct spool_location location;
    struct id id;
    uint64_t created_ns;
    uint64_t event_sequence;
    struct spool_location moved_from; /* SPOOL_MESSAGE_MOVED */
    uint64_t body_bytes;
    uint16_t flags; /* SPOOL_MESSAGE_… */
    struct slice envelope;
    struct slice metadata;
};

/* The checkpoint first, then the log in its order. The receiver keeps the rows. */
struct spool_replay {
    void *context;
    /* A checkpoint that says it has so many rows will be read. */
    void (*checkpoint)(void *context, uint64_t rows);
    /* Of the checkpoint: a queue's number, for the rows behind it; and a row. */
    void (*queue)(void *context, uint32_t number, struct slice name);
    void (*row)(void *context, const struct checkpoint_row *row);
    /*
     * The checkpoint turned out to be damaged: forget what came of it, that is every row of a
     * segment above `segment`; its log is read from the beginning.
     */
    void (*reset)(void *context, uint32_t segment);
    /*
     * A message. Its recipients that are known by this location stay as they are, the others
     * become rows: those that are finished have their outcome behind it in the log. With
     * SPOOL_MESSAGE_MOVED it replaces the one at `moved_from`: rows known by that place, and named
     * in this envelope, are at the new place from now on. False: it makes no sense, and nothing
     * came of it; it is named as damage.
     */
    bool (*message)(void *context, const struct spool_found *found);
    /* The place that counts is `message`: the payload may name it as another lane did. */
    void (*outcome)(void *context, struct spool_location message, struct slice payload);
    /* VOID: the message at this place was never acknowledged and must not be delivered. */
    void (*void_message)(void *context, struct spool_location location);
    /*
     * All of it is read; `error` 0 or -errno with one line in `reason`. The receiver calls
     * spool_row_live for every row that is left, in as many turns as it likes, then spool_begin.
     */
    void (*finished)(void *context, int error, struct slice reason);
};

/* What replay met; damage is named in a log line each, a torn tail is only counted. */
struct spool_recovery {
    uint64_t segments;
    uint64_t bytes;
    uint64_t messages;
    uint64_t outcomes;
    uint64_t rows; /* of the checkpoint */
    uint64_t torn_bytes;
    uint64_t damaged_records;
    bool checkpoint_lost; /* the newest checkpoint of a lane is missing or damaged */
    uint32_t boots_seen; /* largest boot number of any id, see core/id.h */
};

/* Begins replay; asynchronous, ends in replay.finished. Nothing is written before all is read. */
MUST_USE int spool_start(struct shard *shard, const struct spool_options *options,
                         uint64_t spool_uuid, const struct spool_replay *replay,
                         struct spool **spool_out);
/* After replay.finished without an error, all rows told: puts are taken from here on, and segments
 * used again. `state` is copied. */
void spool_begin(struct spool *spool, const struct spool_state *state);
/*
 * Before spool_begin, with lanes to be adopted (F-27): a checkpoint of the next epoch, which counts
 * from the moment on when the manifest has that epoch. `done` from the loop: 0 or -errno.
 */
void spool_adopt(struct spool *spool, const struct spool_state *state,
                 void (*done)(void *context, int error), void *context);
/*
 * What stands behind the cursor of a lane to be adopted: its events may not be in the event log,
 * and have to be before the lane is adopted, for their ids carry its number. Segments have the
 * numbers that the adopting lane gives them, `shift` above those in their records; sequences are
 * the lane's own.
 */
struct spool_tail {
    unsigned lane;
    uint32_t shift;
    struct spool_position from;
    struct spool_position to;
};
/* After replay.finished. Borrowed until spool_close. */
const struct spool_tail *spool_tails(const struct spool *spool, unsigned *count_out);
/* Does it need this file, of an adopted lane? Before spool_begin. */
bool spool_holds(const struct spool *spool, unsigned lane, uint32_t slot);
const struct spool_recovery *spool_recovery(const struct spool *spool);
/* Commits what is open, writes a checkpoint, closes the files, then `stopped(context)`; no put
 * afterwards. */
void spool_stop(struct spool *spool, void (*stopped)(void *context), void *context);
/* After stopped, or after replay.finished with an error. Frees memory; asks nothing of the ring. */
void spool_close(struct spool *spool);

/* --- writing ---------------------------------------------------------------------------------- */

enum spool_status {
    SPOOL_STORED,
    SPOOL_FAILED, /* 451 4.3.0: write error; not live after a restart, unless the lane stays broken
                     until then: only a later group can say so on the disk */
    SPOOL_FULL,   /* 452 4.3.1 */
    SPOOL_LATE,   /* 451 4.3.0: deadline passed; voided */
};

enum {
    SPOOL_MESSAGE_8BIT = 1,     /* BODY=8BITMIME was given, or the body has 8-bit bytes */
    SPOOL_MESSAGE_SMTPUTF8 = 2, /* the transaction had SMTPUTF8 */
    SPOOL_MESSAGE_PARTS = 4,    /* the body section lists BODY records */
    /* Too many lines begin with a dot: look for them in the body. */
    SPOOL_MESSAGE_DOTS_UNLISTED = 8,
    SPOOL_MESSAGE_MOVED = 16, /* written again: its recipients stood elsewhere before */
    SPOOL_MESSAGE_REBOUND = 32, /* moved, and each of its recipients has an event of that */
};

/* Has each of its recipients an event of its being stored? */
static inline bool spool_message_is_told(uint16_t flags)
{
    return (flags & SPOOL_MESSAGE_MOVED) == 0 || (flags & SPOOL_MESSAGE_REBOUND) != 0;
}

/* One BODY record of a message that is too large for one record. */
struct spool_part {
    struct spool_location location;
    uint32_t size; /* body bytes in it */
    uint32_t reserved;
};

/*
 * Embedded in whoever stores something. From spool_put_… until `done` it, and the memory that was
 * passed, belong to the spool.
 */
struct spool_write {
    void (*done)(struct spool_write *write); /* from the loop, groups in order */
    struct list link;
    enum spool_status status;
    struct spool_location location; /* of the record; valid when stored */
    uint64_t event_sequence;        /* of the first event of this record; valid after the put */
    uint64_t put_ns;
    uint32_t pieces; /* the spool's own, like all below */
    uint8_t kind;
    bool in_flight;
    const void *what; /* struct spool_message, chain or slice */
};

/* A MESSAGE record. All borrowed until done. */
struct spool_message {
    struct id id;
    uint64_t created_ns;
    uint16_t flags;
    uint16_t recipient_count; /* = rows that become live; also its events */
    struct spool_location moved_from; /* SPOOL_MESSAGE_MOVED: no Receptions then */
    struct slice envelope;    /* smtp/envelope.h */
    struct slice metadata;    /* smtp/metadata.h */
    struct slice prepend;     /* trace header fields, sent before the body */
    struct slice cuts;        /* pairs of u32 offset, u32 size: bytes of the body not to be sent */
    const struct chain *body; /* whole body, or null with parts */
    const struct chain *dots;
    const struct spool_part *parts;
    uint32_t part_count;
    uint64_t body_bytes;      /* in parts or chain */
    XXH128_hash_t body_hash;
};

void spool_put_message(struct spool *spool, struct spool_write *write,
                       const struct spool_message *message);
/* A piece of a body too large for one record; orphans are ignored at recovery. */
void spool_put_body(struct spool *spool, struct spool_write *write, const struct chain *piece);
/*
 * A stored piece keeps its segment from being reused until it is dropped: once for every piece,
 * after the `done` of the MESSAGE that lists it, or when there will be none.
 */
void spool_part_drop(struct spool *spool, const struct spool_part *part);
/*
 * An OUTCOME. Rides on the next group; with none open it starts one after 64 KiB or 5 ms.
 * Its event sequence numbers are drawn by spool_event_sequence beforehand: they stand in it.
 */
void spool_put_outcome(struct spool *spool, struct spool_write *write, const struct slice *payload);
/*
 * An EVENT: events of what came as mail and is not kept as mail. The payload begins with struct
 * record_event. Its sequence numbers are drawn beforehand, like an outcome's; like a message it
 * has a client that waits. One that is late may stand in the log all the same.
 */
void spool_put_event(struct spool *spool, struct spool_write *write, const struct slice *payload);
/* Draws `count` event sequence numbers; returns the first. */
uint64_t spool_event_sequence(struct spool *spool, unsigned count);

/* May a message of this size begin? SPOOL_STORED, SPOOL_FULL or SPOOL_FAILED. */
enum spool_status spool_admission(const struct spool *spool, uint64_t size_bytes);
struct segments;
/* The lane's id: a part of every event's id. */
unsigned spool_lane(const struct spool *spool);
/* For shard/spool/scan.c, which reads the log again. */
struct segments *spool_segments(struct spool *spool);

/* Nanoseconds from the start of a commit to its end. */
const struct histogram *spool_commit_ns(const struct spool *spool);
/* Messages made durable by one commit; commits of outcomes alone do not count. */
const struct histogram *spool_commit_messages(const struct spool *spool);
/* Age of the oldest outcome not yet durable; deliveries pause above 1 s. Endless once
 * nothing is stored any more (F-03). */
uint64_t spool_outcome_age_ns(const struct spool *spool);

/* --- liveness --------------------------------------------------------------------------------- */

/*
 * `count` recipients of the message at this place are finished: called after their OUTCOME is
 * stored, or after the MESSAGE that replaces this one. A stored MESSAGE counts its recipients as
 * live by itself. `bytes` is the size of a row: row.size_64 × 64.
 */
void spool_row_dead(struct spool *spool, struct spool_location location, unsigned count,
                    uint64_t bytes);
/* For replay: a row that is live after all was read. False: its segment is not there (it is named
 * in the log): forget the row. */
bool spool_row_live(struct spool *spool, struct spool_location location, uint64_t bytes);

/*
 * Should segments be emptied now, as many as spool_victim names, one after the other and without a
 * rest: one is poisoned, or there is no space, or enough is to be moved for what is moved to stand
 * close together.
 */
MUST_USE bool spool_round_due(const struct spool *spool);
/*
 * The segment whose live messages should be written again elsewhere, so that it may go: poisoned,
 * or the oldest with little that is live. False: none now. Ask again when it has been dealt with;
 * `done` tells that nothing more can be moved from it at the moment.
 */
MUST_USE bool spool_victim(const struct spool *spool, uint32_t *segment_out);
void spool_victim_done(struct spool *spool, uint32_t segment);

/* --- the way of events ------------------------------------------------------------------------ */

/* Everything before it is answered; what is put from now on stands at it or behind it. */
struct spool_position spool_position(const struct spool *spool);
/* In `done` of a stored write: its group. */
struct spool_position spool_answering(const struct spool *spool);
/*
 * The events of all groups before `cursor` are durable in the event log: written to the spool
 * within a second or with the next group. It never goes back.
 */
void spool_cursor_set(struct spool *spool, struct spool_position cursor);
/* After the start: what the log says. */
struct spool_position spool_cursor(const struct spool *spool);
/* Log between the cursor and the end. */
uint64_t spool_backlog_bytes(const struct spool *spool);
/* Bytes of the buffers for commits, reads and checkpoints, the same as long as it runs. */
uint64_t spool_memory(const struct spool *spool);
/* The same of one that is not started yet, with buffers for commits of so many bytes each. */
uint64_t spool_memory_for(uint64_t group_bytes);

/* --- reading ---------------------------------------------------------------------------------- */

enum spool_load_status {
    SPOOL_LOADED,
    SPOOL_LOAD_NO_MEMORY, /* no blocks: try again later */
    SPOOL_LOAD_DAMAGED,   /* checksum or hash wrong, named in the log: never send it */
    SPOOL_LOAD_ERROR,     /* the device refused */
};

/* Reads a MESSAGE back, or one part of it. Embedded; the spool's until `done`. */
struct spool_load {
    void (*done)(struct spool_load *load);
    struct list link;
    struct spool_location location;
    struct spool_location wanted; /* the spool's own */
    bool part;                    /* the spool's own */
    bool head_only;               /* the caller's: no body is read; it stays empty */
    enum spool_load_status status;
    uint16_t flags;
    uint64_t created_ns;
    struct id id;
    uint64_t body_bytes;
    struct block *head;     /* owned by the caller after done: the sections below point into it */
    struct slice envelope;
    struct slice metadata;
    struct slice prepend;
    struct slice dots;      /* u32 little-endian each */
    struct slice cuts;
    const struct spool_part *parts; /* in head */
    uint32_t part_count;
    struct chain body;      /* owned by the caller after done; hash checked; empty with parts */
    XXH128_hash_t body_hash;
    bool in_flight;
};

void spool_load(struct spool *spool, struct spool_load *load, struct spool_location location);
/*
 * One BODY record into load->body (its own checksum is checked); what is in it is given back first.
 * `load` has been through spool_load, and keeps what that brought but for body, hash and length.
 */
void spool_load_part(struct spool *spool, struct spool_load *load, const struct spool_part *part);
/* Gives head and body back. */
void spool_load_drop(struct spool *spool, struct spool_load *load);

#endif
