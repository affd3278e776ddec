/*
 * One thread and its ring. The loop of a turn, in this order:
 *
 *   mailboxes, jobs come home    others' requests first: they are bounded and cheap
 *   completions                  callbacks only change state, queue output, submit operations
 *   timers                       after completions: an answer that came in time beats its timeout
 *   deferred work                what callbacks asked for once a turn: flush replies, start the
 *                                commit, start deliveries
 *   mailboxes out                published once, sleepers rung
 *   submit and sleep             one enter; until the next timer, at most 100 ms
 *
 * Everything hangs off the struct; there is no global state, so that the simulator runs many
 * shards, and several nodes, in one thread. A service (spool, queues, SMTP) embeds what it needs of
 * this and holds a borrowed pointer to the shard.
 */
#ifndef RINGPOST_SHARD_SHARD_H
#define RINGPOST_SHARD_SHARD_H

#include "core/base.h"
#include "core/list.h"
#include "core/prng.h"
#include "core/wheel.h"
#include "shard/account.h"
#include "shard/counters.h"
#include "shard/mailbox.h"
#include "shard/ring.h"
#include "shard/work.h"

#define SHARDS_MAX   257 /* the TSA shard included */
#define SLEEP_MS_MAX 100

struct shard;
struct deferred;
typedef void deferred_run(struct deferred *deferred);

/* Work asked for during a turn, done once near its end; asking again is free. */
struct deferred {
    struct list link;
    deferred_run *run;
};

struct shard_options {
    unsigned index;       /* 0 … count - 1; the TSA shard is the last */
    unsigned count;       /* shards of the node, the TSA shard included */
    struct ring *ring;    /* owned from here on */
    struct work *work;    /* borrowed: the node's; null: this node has none */
    struct shard **peers; /* borrowed: the node's `count` of them, complete before the first turn */
    uint64_t memory_limit; /* bytes, of the account; 0: no limit */
};

struct shard {
    unsigned index;
    unsigned count;
    struct ring *ring;
    struct work *work;
    struct shard **peers;
    uint64_t now_ns;       /* monotonic, read once a turn */
    uint64_t wall_ns;      /* wall clock, read once a turn; only for stored or shown values */
    struct wheel timers;
    struct list deferred;
    struct deferred *alarm; /* null: none is set */
    uint64_t alarm_ns;
    struct prng prng;
    struct account memory;
    struct counters counters;
    _Atomic uint32_t asleep; /* 1: whoever sends us something must ring; taken back by who does */
    _Atomic uint64_t turns; /* the watchdog looks at it */
    _Atomic bool publishing; /* mail may lie with others for which no bell has been rung yet */
    uint64_t slept_ns;     /* in all; what else has passed it was busy, or waited for a processor */
    uint64_t lay_down_ns;  /* when the last turn began to sleep; 0: it did not */
    bool stopping;
    bool slept_long;         /* the last sleep was to be as long as may be: no timer was near */
    uint64_t timeouts_seen;  /* of the ring, before that sleep */
    uint64_t rings_seen;
    uint64_t unflushed[SHARDS_MAX / 64 + 1]; /* bit per peer: mail put, not all published */
    struct mailbox *inboxes; /* `count` of them; inboxes[i] is written by peer i alone */
};

MUST_USE int shard_init(struct shard *shard, const struct shard_options *options);
/* All ops idle, all mail home. Closes the ring. */
void shard_fini(struct shard *shard);

/* One turn; sleeps at its end unless `poll`. */
void shard_turn(struct shard *shard, bool poll);

/* Sends `mail` to the shard with that index; it arrives in one of its next turns, in order. */
void shard_send(struct shard *shard, unsigned to, struct mail *mail);

void deferred_init(struct deferred *deferred, deferred_run *run);
/* Runs in this turn's deferred step, or the next one's when asked for from there. */
void shard_defer(struct shard *shard, struct deferred *deferred);
void deferred_cancel(struct deferred *deferred);
/*
 * Defers in the first turn at or after `at_ns`, to which the sleep before it is cut: for what may
 * not be late by a tick of the wheel. A shard has one alarm; it belongs to the spool.
 */
void shard_alarm_set(struct shard *shard, struct deferred *deferred, uint64_t at_ns);
void shard_alarm_clear(struct shard *shard);

void shard_timer_set(struct shard *shard, struct timer *timer, uint64_t after_ns);
void shard_timer_clear(struct shard *shard, struct timer *timer);

#endif
