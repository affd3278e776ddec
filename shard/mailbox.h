/*
 * Between two threads: a single-producer single-consumer ring of pointers to structs that travel.
 * The item is embedded in its owner's struct; the receiver reads it, does what it asks and sends it
 * home by the mailbox of the other direction: what is made on a shard dies on it.
 *
 * Ordering is C11 release/acquire on head and tail; the doorbell (ring_wake) only ends a sleep.
 * No wake is lost: a sleeper sets `asleep`, looks again (mailbox_waiting), sleeps; a producer
 * publishes (mailbox_flush), looks at `asleep`. These four accesses are sequentially consistent, so
 * that one of the two sees the other; the price is one fence a batch.
 */
#ifndef RINGPOST_SHARD_MAILBOX_H
#define RINGPOST_SHARD_MAILBOX_H

#include <stdatomic.h>

#include "core/base.h"

#define MAILBOX_CELLS 1024

struct mail;
struct shard;

/* Runs on the receiving shard. */
typedef void mail_arrive(struct shard *receiver, struct mail *mail);

struct mail {
    mail_arrive *arrive;
    struct mail *next; /* the sender's overflow list */
};

struct mailbox {
    _Alignas(64) _Atomic uint32_t tail; /* producer writes */
    uint32_t head_seen;                 /* producer's copy of head */
    uint32_t pending;                   /* put, not yet published */
    struct mail *overflow_first;        /* did not fit; moved in by mailbox_flush, in order */
    struct mail *overflow_last;
    uint32_t overflow_count;
    _Alignas(64) _Atomic uint32_t head; /* consumer writes */
    uint32_t tail_seen;
    _Alignas(64) struct mail *cells[MAILBOX_CELLS];
};

void mailbox_init(struct mailbox *mailbox);
/* Producer. Never fails: what does not fit waits in the overflow list of the producer. */
void mailbox_put(struct mailbox *mailbox, struct mail *mail);
/* Producer, once a turn: publishes; true when anything was published: then look at `asleep`. */
bool mailbox_flush(struct mailbox *mailbox);
/* Producer: does something still wait in the overflow list? Then flush again soon. */
bool mailbox_overflowing(const struct mailbox *mailbox);
/* Consumer: takes at most `limit` and calls arrive for each; returns the count. */
unsigned mailbox_drain(struct mailbox *mailbox, struct shard *receiver, unsigned limit);
/* Consumer: is there anything? Exact also right after `asleep` was set. */
bool mailbox_waiting(const struct mailbox *mailbox);

#endif
