/*
 * Sleeping without losing a wake: before it sleeps a shard says so (`asleep` = 1) and looks once
 * more at everything that others may have put; whoever puts something publishes it and then looks
 * at `asleep`. All four are sequentially consistent: one of the two sees the other. The flag stays
 * up until the next turn begins, which on the simulator is when virtual time has come so far.
 */
#include "shard/shard.h"

#include <errno.h>

#include "core/check.h"
#include "shard/boot.h"

/* Mail taken from one peer in one turn; the rest waits for the next, which then does not sleep. */
#define DRAIN_MAX 128
/* How soon to look whether a full mailbox has room again. */
#define OVERFLOW_RETRY_NS (1 * NS_PER_MS)
/* "No limit", small enough to be multiplied by a percentage. */
#define MEMORY_UNLIMITED (1ull << 56)

int shard_init(struct shard *shard, const struct shard_options *options)
{
    CHECK(options->count > 0 && options->count <= SHARDS_MAX && options->index < options->count);
    *shard = (struct shard){
        .index = options->index,
        .count = options->count,
        .ring = options->ring,
        .work = options->work,
        .peers = options->peers,
        .now_ns = ring_monotonic_ns(options->ring),
        .wall_ns = ring_wall_ns(options->ring),
    };
    shard->memory.limit = options->memory_limit > 0 ? options->memory_limit : MEMORY_UNLIMITED;
    shard->inboxes = boot_memory_take(shard->count * sizeof(struct mailbox));
    if (shard->inboxes == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < shard->count; i++) {
        mailbox_init(&shard->inboxes[i]);
    }
    list_init(&shard->deferred);
    wheel_init(&shard->timers, shard->now_ns);
    uint64_t seed = 0;
    ring_entropy(shard->ring, &seed, sizeof(seed));
    prng_seed(&shard->prng, seed);
    return 0;
}

void shard_fini(struct shard *shard)
{
    for (unsigned i = 0; i < shard->count; i++) {
        CHECK(!mailbox_waiting(&shard->inboxes[i]));
    }
    CHECK(list_empty(&shard->deferred));
    ring_close(shard->ring);
    boot_memory_give(shard->inboxes, shard->count * sizeof(struct mailbox));
    *shard = (struct shard){0};
}

/* Has anybody put something for us? */
static bool shard_called(struct shard *shard)
{
    for (unsigned i = 0; i < shard->count; i++) {
        if (mailbox_waiting(&shard->inboxes[i])) {
            return true;
        }
    }
    return shard->work != NULL && work_waiting(shard->work, shard);
}

/* Is anybody between putting something and ringing? Such a thread may have lost its processor. */
static bool anybody_publishes(const struct shard *shard)
{
    for (unsigned i = 0; i < shard->count; i++) {
        if (atomic_load_explicit(&shard->peers[i]->publishing, memory_order_acquire)) {
            return true;
        }
    }
    return shard->work != NULL && work_publishes(shard->work);
}

/* The end of the sleep that the last turn began. */
static void shard_rise(struct shard *shard)
{
    const struct ring_counts *counts = ring_counts(shard->ring);
    /*
     * Looked at before the flag goes down, and whether somebody is about to ring, or has rung,
     * last: what comes just now, after the time ran out, is no loss.
     */
    if (UNLIKELY(shard->slept_long) && counts->timeouts != shard->timeouts_seen &&
        shard_called(shard) && !anybody_publishes(shard) &&
        atomic_load(&counts->rings) == shard->rings_seen) {
        counters_add(&shard->counters, COUNTER_lost_wakeups, 1);
    }
    shard->slept_long = false;
    atomic_store_explicit(&shard->asleep, 0, memory_order_relaxed);
}

static void shard_receive(struct shard *shard)
{
    for (unsigned i = 0; i < shard->count; i++) {
        mailbox_drain(&shard->inboxes[i], shard, DRAIN_MAX);
    }
    if (shard->work != NULL) {
        work_collect(shard->work, shard);
    }
}

static void shard_run_deferred(struct shard *shard)
{
    struct list now;
    list_init(&now);
    list_append_all(&now, &shard->deferred);
    for (struct list *node = list_pop_front(&now); node != NULL; node = list_pop_front(&now)) {
        struct deferred *deferred = CONTAINER_OF(node, struct deferred, link);
        deferred->run(deferred);
    }
}

static void shard_ring_bell(struct shard *peer)
{
    /* The load first: most peers are awake, and an exchange would take their line away. */
    if (atomic_load_explicit(&peer->asleep, memory_order_seq_cst) != 0 &&
        atomic_exchange_explicit(&peer->asleep, 0, memory_order_seq_cst) != 0) {
        ring_wake(peer->ring);
    }
}

/* Publishes what was sent in this turn and rings the sleepers; true when some of it has no room. */
static bool shard_publish(struct shard *shard)
{
    bool overflowing = false;
    atomic_store_explicit(&shard->publishing, true, memory_order_relaxed);
    for (unsigned word = 0; word < COUNT_OF(shard->unflushed); word++) {
        for (uint64_t bits = shard->unflushed[word]; bits != 0; bits &= bits - 1) {
            unsigned bit = (unsigned)__builtin_ctzll(bits);
            struct shard *peer = shard->peers[word * 64 + bit];
            struct mailbox *outbox = &peer->inboxes[shard->index];
            if (mailbox_flush(outbox)) {
                shard_ring_bell(peer);
            }
            if (mailbox_overflowing(outbox)) {
                overflowing = true;
            } else {
                shard->unflushed[word] &= ~(1ull << bit);
            }
        }
    }
    atomic_store_explicit(&shard->publishing, false, memory_order_release);
    return overflowing;
}

/* Until when the turn may sleep; 0 when it may not. */
static uint64_t shard_sleep_until(struct shard *shard, bool overflowing)
{
    if (!list_empty(&shard->deferred)) {
        return 0;
    }
    uint64_t longest = shard->now_ns + SLEEP_MS_MAX * NS_PER_MS;
    uint64_t until = MIN_OF(wheel_next_ns(&shard->timers), longest);
    if (shard->alarm != NULL) {
        until = MIN_OF(until, shard->alarm_ns);
    }
    if (overflowing) {
        until = MIN_OF(until, shard->now_ns + OVERFLOW_RETRY_NS);
    }
    const struct ring_counts *counts = ring_counts(shard->ring);
    shard->timeouts_seen = counts->timeouts;
    shard->rings_seen = atomic_load_explicit(&counts->rings, memory_order_relaxed);
    atomic_store_explicit(&shard->asleep, 1, memory_order_seq_cst);
    if (shard_called(shard)) {
        atomic_store_explicit(&shard->asleep, 0, memory_order_relaxed);
        return 0;
    }
    shard->slept_long = until == longest;
    return until;
}

static void shard_count_turn(struct shard *shard)
{
    const struct ring_counts *counts = ring_counts(shard->ring);
    uint64_t turns = atomic_load_explicit(&shard->turns, memory_order_relaxed) + 1;
    atomic_store_explicit(&shard->turns, turns, memory_order_relaxed);
    counters_set(&shard->counters, COUNTER_turns, turns);
    counters_set(&shard->counters, COUNTER_enters, counts->enters);
    counters_set(&shard->counters, COUNTER_cq_overflows, counts->cq_overflows);
}

void shard_turn(struct shard *shard, bool poll)
{
    shard_rise(shard);
    shard->now_ns = ring_monotonic_ns(shard->ring);
    shard->wall_ns = ring_wall_ns(shard->ring);
    if (shard->lay_down_ns > 0) {
        shard->slept_ns += shard->now_ns - shard->lay_down_ns;
    }
    shard_receive(shard);
    ring_dispatch(shard->ring);
    wheel_run(&shard->timers, shard->now_ns);
    if (shard->alarm != NULL && shard->now_ns >= shard->alarm_ns) {
        shard_defer(shard, shard->alarm);
        shard->alarm = NULL;
    }
    shard_run_deferred(shard);
    bool overflowing = shard_publish(shard);
    shard_count_turn(shard);
    uint64_t until_ns = poll ? 0 : shard_sleep_until(shard, overflowing);
    shard->lay_down_ns = until_ns > 0 ? ring_monotonic_ns(shard->ring) : 0;
    ring_turn(shard->ring, until_ns);
}

void shard_send(struct shard *shard, unsigned to, struct mail *mail)
{
    CHECK(to < shard->count);
    mailbox_put(&shard->peers[to]->inboxes[shard->index], mail);
    shard->unflushed[to / 64] |= 1ull << (to % 64);
}

void deferred_init(struct deferred *deferred, deferred_run *run)
{
    deferred->run = run;
    list_init(&deferred->link);
}

void shard_defer(struct shard *shard, struct deferred *deferred)
{
    if (!list_linked(&deferred->link)) {
        list_push_back(&shard->deferred, &deferred->link);
    }
}

void deferred_cancel(struct deferred *deferred)
{
    list_remove(&deferred->link);
}

void shard_alarm_set(struct shard *shard, struct deferred *deferred, uint64_t at_ns)
{
    CHECK(shard->alarm == NULL || shard->alarm == deferred);
    shard->alarm = deferred;
    shard->alarm_ns = at_ns;
}

void shard_alarm_clear(struct shard *shard)
{
    shard->alarm = NULL;
}

void shard_timer_set(struct shard *shard, struct timer *timer, uint64_t after_ns)
{
    timer_set(&shard->timers, timer, shard->now_ns + after_ns);
}

void shard_timer_clear(struct shard *shard, struct timer *timer)
{
    timer_clear(&shard->timers, timer);
}
