/*
 * Events read again from the log of a lane: after a crash, and after the feed was full, by the same
 * code. Passes over stretches of groups that are durable and answered; Receptions and AdminRebinds
 * come of MESSAGE records, OOBs and Feedbacks of EVENT records, all others of OUTCOME records,
 * whose message is one just read, one in memory, or loaded (its head alone, up to 32 at a time).
 * Outcomes keep their order, and all but Receptions theirs among them.
 *
 * It stops when the feed has no room and goes on by event_replay_go. A part of the feed's batches
 * is left to the events of what is stored meanwhile.
 */
#ifndef RINGPOST_SMTP_EVENT_REPLAY_H
#define RINGPOST_SMTP_EVENT_REPLAY_H

#include "shard/boot.h"
#include "shard/spool/scan.h"
#include "smtp/event_make.h"
#include "smtp/event_recent.h"
#include "smtp/message.h"

#define EVENT_REPLAY_LOADS 32

/* Where an event stands: group, record, its number in the record. */
struct event_place {
    uint64_t sequence;
    struct spool_location record;
    uint32_t next;
};

/* Events that are with the feed already: of groups from `from` on, before `to`. */
struct event_gap {
    uint64_t from;
    struct event_place to;
};

struct event_replay;

enum event_slot_state { SLOT_WANTED, SLOT_LOADING, SLOT_LOADED, SLOT_LOST };

/* An outcome that waits for its message, or behind one that does. */
struct event_slot {
    struct spool_load load;
    struct event_replay *replay;
    struct spool_position group;
    struct spool_location message;
    uint8_t state; /* enum event_slot_state */
    uint32_t next;
    uint32_t bytes;
    uint8_t *payload; /* OUTCOME_BYTES_MAX */
};

struct event_replay {
    struct shard *shard;
    struct spool *spool;         /* borrowed; null before event_replay_attach */
    struct messages *messages;   /* borrowed */
    const struct event_maker *maker; /* borrowed */
    void (*ended)(struct event_replay *replay); /* a pass is over; from the loop */
    struct scan scan;
    struct event_recent recent;
    bool active;                 /* a pass is under way */
    bool waiting;                /* for room in the feed */
    bool scanned;                /* nothing more comes of this pass */
    struct spool_position group; /* all before it is read */
    struct spool_position to;    /* of this pass */
    uint64_t stored;             /* groups from `begin` on, above this, were not stored */
    uint64_t begin;              /* first group of this life */
    struct event_gap gap;
    bool item_any;               /* `item` is not dealt with yet */
    struct log_item item;
    uint32_t next;               /* of the item's events */
    struct event_slot *slots;    /* EVENT_REPLAY_LOADS; a ring */
    unsigned slot_first;
    unsigned slot_count;
    struct deferred deferred;
    struct timer again;          /* a load found no memory */
    uint64_t damages;            /* places where records were lost */
};

/* Boot. 0 or -ENOMEM. `replay->ended` is set by the caller. */
MUST_USE int event_replay_init(struct event_replay *replay, struct shard *shard,
                               struct messages *messages, const struct event_maker *maker,
                               struct boot_pages *pages);
void event_replay_fini(struct event_replay *replay);
/* The spool has started: its own lane, or one that it adopts. No pass is under way. */
void event_replay_attach(struct event_replay *replay, struct spool *spool, uint64_t uuid);
void event_replay_attach_adopted(struct event_replay *replay, struct spool *spool, uint64_t uuid,
                                 const struct spool_tail *tail);

/*
 * A pass over [from, to), but for the gap; `stored`: the last group of this life of which anything
 * was stored. Not while a pass is under way; ends in `ended`.
 */
void event_replay_start(struct event_replay *replay, struct spool_position from,
                        struct spool_position to, uint64_t stored);
/* There may be room again. */
void event_replay_go(struct event_replay *replay);
/* While a pass is under way: events of all groups before it are with the feed. */
struct spool_position event_replay_position(const struct event_replay *replay);
/* Ends the pass where it is, without `ended`. */
void event_replay_cancel(struct event_replay *replay);
/* Nothing of it is with the ring or the spool. */
bool event_replay_idle(const struct event_replay *replay);
/* Bytes of memory in use: those of a pass. */
uint64_t event_replay_memory(const struct event_replay *replay);

#endif
