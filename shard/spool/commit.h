/*
 * Group commit. Puts are copied into the open group; as soon as no commit is in flight the group is
 * written with one durable write and the other buffer becomes the open group. Part of the spool.
 *
 * A group begins with RECORD_GROUP_BYTES for its header and is sealed when its commit starts. Its
 * place in the log is chosen then and not before, so that a group whose segment was poisoned under
 * it moves to the next one without being touched.
 */
#ifndef RINGPOST_SHARD_SPOOL_COMMIT_H
#define RINGPOST_SHARD_SPOOL_COMMIT_H

#include "core/histogram.h"
#include "shard/spool/pieces.h"
#include "shard/spool/record.h"
#include "shard/spool/segment.h"

#define COMMIT_GROUPS 2 /* one is filled while the other is written */

struct commit_group {
    uint8_t *memory;     /* aligned to a page */
    uint32_t size;       /* RECORD_GROUP_BYTES when empty */
    uint32_t records;
    uint32_t messages; /* MESSAGE records among them */
    uint64_t sequence;
    uint64_t outcome_ns; /* when its oldest outcome was put; 0: none */
    bool events;         /* holds a record of which there are events */
    bool urgent;         /* holds something that somebody waits for */
    struct list writes;  /* struct spool_write, in order; location.segment = offset in the group */
};

struct commit {
    struct shard *shard;
    const struct spool_options *options; /* borrowed */
    struct segments *segments;           /* borrowed */
    struct pieces *pieces;               /* borrowed */
    uint64_t uuid;
    struct commit_group groups[COMMIT_GROUPS];
    unsigned open;         /* index of the open group; the other one is idle or in flight */
    uint32_t capacity;     /* of a group */
    struct list waiting;   /* puts that found no room */
    uint64_t waiting_bytes;
    struct list refused;   /* answered in the deferred step */
    struct spool_location *voids; /* refused after they had been written */
    uint32_t void_count;
    uint32_t *late;        /* offsets in the group in flight of messages answered meanwhile */
    uint32_t late_count;
    struct segment *segment; /* the open one; null: begin a new one */
    uint64_t used;           /* bytes of it that are written or being written */
    uint64_t next_sequence;
    uint64_t void_from;      /* for the next group's header */
    /* With failures: the first of the groups that failed. Until a later one that voids it is stored
     * a start may find it, so nothing may begin behind it: no checkpoint, no cursor. */
    struct spool_position failed_at;
    uint64_t *event_next;    /* borrowed from the spool */
    uint32_t *boot;          /* the same */
    struct spool_position answering; /* the group whose writes are being answered, or nowhere */
    struct spool_position cursor;    /* events of groups before are durable in the event log */
    uint64_t cursor_told;    /* sequence of the last CURSOR that is stored */
    uint64_t cursor_flying;  /* of the one in the group in flight; 0: none */
    struct spool_position cursor_there; /* that one */
    uint64_t last_events;    /* the last stored group with events */
    bool cursor_due;         /* does not wait for company any more */
    struct timer cursor_timer;
    uint64_t written_bytes;  /* of the log, in this life of the process */
    unsigned failures;       /* commits failed in a row */
    bool broken;             /* two in a row: everything is refused, until a trial succeeds */
    bool trying;             /* the trial is due, or in flight */
    struct timer trial_timer;
    bool rolling;            /* the next group begins a new segment */
    bool running;
    bool in_flight;
    uint64_t started_ns;
    uint8_t *page;           /* a SEGMENT header */
    struct op op;
    struct iovec iovecs[2];  /* what is to be written, in whole */
    struct iovec rest[2];
    uint64_t total;
    uint64_t done;
    uint64_t offset;
    unsigned stuck;          /* writes in a row that brought nothing */
    struct deferred deferred;
    struct timer deadline_timer;
    struct histogram ns;       /* start to end of a commit */
    struct histogram messages; /* in a commit; those without any do not count */
    void (*progress)(struct commit *commit); /* a group is stored, or was not */
    void (*idle)(struct commit *commit); /* while set: called whenever nothing is left to do */
};

MUST_USE int commit_init(struct commit *commit, struct shard *shard,
                         const struct spool_options *options, struct segments *segments,
                         uint64_t uuid);
/* Frees memory. */
void commit_fini(struct commit *commit);
/* After recovery: the next group's sequence, what it voids, and the cursor as the log says;
 * nowhere: there is nothing in the log of which there could be events. */
void commit_run(struct commit *commit, uint64_t sequence, uint64_t void_from,
                struct spool_position cursor);

/* `write` has its kind and `what` set. */
void commit_put(struct commit *commit, struct spool_write *write);
/* Something has changed: a spare has come. */
void commit_poke(struct commit *commit);
/* The first group that is not answered, or the one that is being answered. */
struct spool_position commit_position(const struct commit *commit);
/* See spool_cursor_set. */
void commit_cursor_set(struct commit *commit, struct spool_position cursor);
/* Begins a new segment, if need be with an empty group: what is in the open one may go then. */
void commit_roll(struct commit *commit);
/* Bytes that new messages may still take without a further segment being made. */
uint64_t commit_room(const struct commit *commit);
uint64_t commit_outcome_age_ns(const struct commit *commit);

#endif
