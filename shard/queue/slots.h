/*
 * The slots of a count (cells.h) among the shards of a node: whoever finds it full waits in line,
 * and a slot that is given up goes by mail to one of those who wait. It is never freed and raced
 * for, and nobody looks again and again.
 *
 *   line    the users on one shard that wait, urgent ones first; while there are any, the shard's
 *           flag is up, in the bitmap of the class of the first
 *   ticket  whoever takes a flag down hands that shard a slot: by a mail of that shard's own, which
 *           it lends with its flag and has back by receiving it
 *   recall  whoever raises a flag asks the holders, one after the other, whether one has a slot
 *           that it does not use; busy ones look at the flags at the end of each transaction
 *
 * Who has the turn: urgent before bulk; of these, after the giving shard in the ring of shards, the
 * first that has less than its share, or else the first.
 *
 * Shares. A user says what it wants as a number (the weights of what it could send). Its quota is
 * limit * demand / the demand of all, and need not be whole: who has a whole slot more than its
 * quota gives one up at the end of a transaction, who has a part of one more when it has had it for
 * SLOT_QUANTUM_NS; so that more shards than slots have them in turn. Who could send bulk mail gives
 * way to who waits with urgent mail at once. A demand is told only while others wait: what nobody
 * waits for costs no more than the count.
 *
 * Cargo. A slot may travel with what it is used for, an idle connection: whoever it is granted to
 * takes both, or neither, and then they go on to the next who waits or home. The cargo is the
 * giver's memory and comes home in any case. It passes to other shards only.
 *
 * No wake is lost. Who waits raises its flag and then tries once more to take a slot; who frees a
 * slot lowers the count and then looks at the flags. These four accesses are sequentially
 * consistent read-modify-writes and loads, so that one of the two sees the other: the slot is taken
 * by who waits, or by who frees it, for who waits. Whoever takes the slot in between began later
 * than the flag was up, and sees it when its transaction ends. A holder asked by a recall answers
 * for what it had then: the mail carries the flag to it, so that it sees the flag from then on, and
 * in its own turn gives up what it no longer uses. A flag is taken by one exchange: a ticket
 * travels once, and its memory is its finder's from that acquire on until its shard receives it.
 * The limit that goes with a flag is written before it is raised.
 *
 * All calls on the user's shard; the bitmaps, demands and counts are what shards share.
 */
#ifndef RINGPOST_SHARD_QUEUE_SLOTS_H
#define RINGPOST_SHARD_QUEUE_SLOTS_H

#include "shard/queue/cells.h"

#define SLOT_QUANTUM_NS (250 * NS_PER_MS)

enum slot_class { SLOT_BULK, SLOT_URGENT, SLOT_CLASSES };

struct slot_user;

/* Embedded in what travels; the giver sets the first, and the rest is between slot_pass and it. */
struct slot_cargo {
    void (*home)(struct slot_cargo *cargo); /* on the giver's shard; not taken: its slot is, too */
    struct mail mail;
    struct slot_user *giver;
    unsigned from;        /* the giver's shard */
    bool taken;
};

/* Whoever on a shard takes slots of a cell. Embedded in its owner, which sets the first four. */
struct slot_user {
    void (*granted)(struct slot_user *user); /* a slot is kept for it: slot_take */
    bool (*asked)(struct slot_user *user); /* can it give up what it does not use? True: it does */
    void *context;
    uint32_t limit;
    struct cell *cell;    /* borrowed */
    struct shard *shard;  /* borrowed */
    struct list waiting;  /* in its shard's line */
    struct list spare;    /* among those of its shard that have something to give up */
    uint32_t demand;      /* as told */
    uint32_t held;        /* slots, with the one that is kept for it */
    uint64_t since_ns;    /* when the last of them came */
    struct slot_cargo *cargo; /* that came with the kept one */
    bool kept;            /* one was handed to it that it has not taken yet */
    uint8_t class;        /* enum slot_class, in which it waits */
};

/* The cell is a count of the registry. */
void slot_user_init(struct slot_user *user, struct shard *shard, struct cell *cell);

/* A slot, while fewer than its limit are used: the one that is kept for it first, without cargo. */
MUST_USE bool slot_take(struct slot_user *user);
/* The kept slot with its cargo, null when none came with it; then slot_unload. */
MUST_USE struct slot_cargo *slot_take_cargo(struct slot_user *user);
/* The cargo has been taken, or goes home with the slot; it is not the caller's any more. */
void slot_unload(struct slot_user *user, struct slot_cargo *cargo, bool taken);
/* A slot with cargo goes to who waits on another shard. False: nobody does. */
MUST_USE bool slot_pass(struct slot_user *user, struct slot_cargo *cargo);
/* A slot that goes with the cargo of another cell's leaves its user, or comes to it. */
void slot_follow(struct slot_user *user, bool comes);
/* To whoever waits, or back to the count. */
void slot_give(struct slot_user *user);
/* The count is full for it: `granted` follows, perhaps at once. `class` and `demand` (≥ 1) are of
 * what it would send; again, when they have changed. */
void slot_wait(struct slot_user *user, enum slot_class class, uint32_t demand);
/* It wants no more: what is kept for it goes on. */
void slot_rest(struct slot_user *user);
/* Does it have slots that it does not use? Then it is asked when others wait. */
void slot_spare(struct slot_user *user, bool spare);
/*
 * At the end of a transaction: should it give up a slot for others? `class` and `demand` are of
 * what it could send next; 0: nothing, and what others wait for is theirs.
 */
MUST_USE bool slot_must_yield(struct slot_user *user, enum slot_class class, uint32_t demand);
/* Is mail of its shard for this cell on its way? Then the cell may not be given back yet. */
bool slot_mail_out(const struct slot_user *user);

/* --- for the registry ------------------------------------------------------------------------- */

uint64_t slots_memory(unsigned shards);
/* Memory aligned to 64. */
void slots_init(struct slots *slots, struct cell *cell, unsigned shards);

#endif
