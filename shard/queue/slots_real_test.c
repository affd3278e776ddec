/*
 * Slots of one cell on real threads and rings: the limit holds at every moment, nobody that waits
 * is forgotten, no slot is lost. Under TSan it shows that flags, tickets and recalls are in order.
 */
#include "shard/queue/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "shard/thread.h"

#define SHARDS    4
#define USERS     2     /* of each shard */
#define GOAL      5000  /* slots that each user has, one after the other */
#define TURNS_MAX 300   /* in a row in which a shard with somebody who waits hears nothing: 30 s */

struct office {
    struct shard shard;
    struct thread thread;
    struct prng prng;
    unsigned silent;
    struct worker {
        struct slot_user slots;
        struct deferred work;
        unsigned had;
        unsigned kept_turns; /* for which it keeps the slot that it has */
    } workers[USERS];
};

static struct office offices[SHARDS];
static struct shard *peers[SHARDS];
static struct cell cell;
static uint32_t limit;
static _Atomic uint32_t holders; /* counted apart from the cell */
static _Atomic uint32_t breaches;
static _Atomic uint32_t finished; /* shards */
static _Atomic bool stalled;

static struct office *office_of(const struct slot_user *user)
{
    return CONTAINER_OF(user->shard, struct office, shard);
}

static void granted(struct slot_user *user)
{
    office_of(user)->silent = 0;
    shard_defer(user->shard, &CONTAINER_OF(user, struct worker, slots)->work);
}

static void give(struct worker *worker)
{
    slot_spare(&worker->slots, false);
    atomic_fetch_sub(&holders, 1);
    slot_give(&worker->slots);
}

/* Has a slot that it only keeps: the deferred that waits for its end finds none. */
static bool asked(struct slot_user *user)
{
    struct worker *worker = CONTAINER_OF(user, struct worker, slots);
    worker->kept_turns = 0;
    give(worker);
    return true;
}

static void worker_take(struct worker *worker)
{
    struct slot_user *user = &worker->slots;
    struct prng *prng = &office_of(user)->prng;
    if (worker->had == GOAL) {
        slot_rest(user);
        return;
    }
    if (prng_chance(prng, 50)) {
        slot_rest(user);
        shard_defer(user->shard, &worker->work);
    } else if (slot_take(user)) {
        worker->had++;
        if (atomic_fetch_add(&holders, 1) >= limit) {
            atomic_fetch_add(&breaches, 1);
        }
        worker->kept_turns = 1 + (unsigned)prng_below(prng, 3);
        slot_spare(user, prng_chance(prng, 300));
        shard_defer(user->shard, &worker->work);
    } else {
        slot_wait(user, prng_chance(prng, 200) ? SLOT_URGENT : SLOT_BULK,
                  1 + (uint32_t)prng_below(prng, 100));
        if (prng_chance(prng, 50)) {
            shard_defer(user->shard, &worker->work);
        }
    }
}

static void worker_run(struct deferred *deferred)
{
    struct worker *worker = CONTAINER_OF(deferred, struct worker, work);
    struct slot_user *user = &worker->slots;
    office_of(user)->silent = 0;
    if (user->held == user->kept) {
        worker_take(worker);
    } else if (--worker->kept_turns > 0 &&
               !slot_must_yield(user, user->class, worker->had < GOAL)) {
        shard_defer(user->shard, deferred);
    } else {
        give(worker);
        shard_defer(user->shard, deferred);
    }
}

static bool office_done(const struct office *office)
{
    for (unsigned i = 0; i < USERS; i++) {
        const struct worker *worker = &office->workers[i];
        if (worker->had < GOAL || worker->slots.held > 0 || slot_mail_out(&worker->slots) ||
            list_linked(&worker->work.link)) {
            return false;
        }
    }
    return true;
}

/* Those that are done still carry the recalls of the others. */
static void office_run(void *context)
{
    struct office *office = context;
    bool said = false;
    for (unsigned i = 0; i < USERS; i++) {
        shard_defer(&office->shard, &office->workers[i].work);
    }
    while (atomic_load(&finished) < SHARDS && !atomic_load(&stalled)) {
        shard_turn(&office->shard, false);
        if (!said && office_done(office)) {
            said = true;
            atomic_fetch_add(&finished, 1);
        } else if (!said && ++office->silent > TURNS_MAX) {
            atomic_store(&stalled, true);
        }
    }
}

static void office_open(struct office *office, unsigned index)
{
    static const struct ring_options options = {
        .submit_entries = 64, .complete_entries = 256, .buffer_count = 8, .buffer_bytes = 4096};
    char text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    struct shard_options shard = {.index = index, .count = SHARDS, .peers = peers};
    assert_int_equal(ring_open(&options, &shard.ring, &reason), 0);
    assert_int_equal(shard_init(&office->shard, &shard), 0);
    prng_seed(&office->prng, index);
    peers[index] = &office->shard;
    for (unsigned i = 0; i < USERS; i++) {
        struct worker *worker = &office->workers[i];
        worker->slots.granted = granted;
        worker->slots.asked = asked;
        worker->slots.limit = limit;
        deferred_init(&worker->work, worker_run);
        slot_user_init(&worker->slots, &office->shard, &cell);
    }
}

static void threads_hand_slots_over_and_nobody_waits_for_ever(void **state)
{
    (void)state;
    uint64_t bytes = align_up(slots_memory(SHARDS), 64);
    for (limit = 1; limit <= 5; limit += 2) {
        memset(offices, 0, sizeof(offices));
        memset(&cell, 0, sizeof(cell));
        cell.slots = aligned_alloc(64, bytes);
        assert_non_null(cell.slots);
        slots_init(cell.slots, &cell, SHARDS);
        finished = 0;
        for (unsigned i = 0; i < SHARDS; i++) {
            office_open(&offices[i], i);
        }
        for (unsigned i = 0; i < SHARDS; i++) {
            const struct thread_options options = {.name = "office"};
            assert_int_equal(
                thread_start(&offices[i].thread, &options, office_run, &offices[i]), 0);
        }
        for (unsigned i = 0; i < SHARDS; i++) {
            thread_join(&offices[i].thread);
        }
        assert_false(stalled);
        assert_int_equal(breaches, 0);
        assert_int_equal(holders, 0);
        assert_int_equal(cell.used, 0);
        for (unsigned i = 0; i < SHARDS; i++) {
            assert_int_equal(
                counters_get(&offices[i].shard.counters, COUNTER_lost_wakeups), 0);
            shard_fini(&offices[i].shard);
        }
        free(cell.slots);
    }
}

/* --- one gives, one waits, at the same moment ------------------------------------------------- */

#define MEETINGS 1500
#define POLLS    200
#define SPINS    2000 /* at the gate, before it lets others have the processor */

static _Atomic uint32_t at_gate;
static _Atomic uint32_t meetings;

static void meet(struct prng *prng, uint32_t meeting)
{
    atomic_fetch_add(&at_gate, 1);
    for (unsigned spins = 1; atomic_load(&at_gate) < 2 * (meeting + 1); spins++) {
        if (spins % SPINS == 0) {
            sched_yield();
        }
        if (atomic_load(&stalled)) {
            return;
        }
    }
    for (volatile uint64_t spin = prng_below(prng, 60); spin > 0; spin--) {
    }
}

static void meeting_granted(struct slot_user *user)
{
    if (!slot_take(user)) {
        atomic_fetch_add(&breaches, 1);
    }
    atomic_fetch_add(&meetings, 1);
}

/* They take turns; nothing else would ever find a flag that was overlooked. */
static void meeting_run(void *context)
{
    struct office *office = context;
    struct slot_user *user = &office->workers[0].slots;
    for (uint32_t i = 0; i < MEETINGS && !atomic_load(&stalled); i++) {
        bool gives = i % 2 == office->shard.index;
        meet(&office->prng, i);
        if (gives) {
            slot_give(user);
        } else {
            slot_wait(user, SLOT_BULK, 1);
        }
        for (unsigned turns = 0; atomic_load(&meetings) <= i && !atomic_load(&stalled); turns++) {
            shard_turn(&office->shard, gives || turns < POLLS); /* then it sleeps, and is woken */
            if (!gives && turns > POLLS + TURNS_MAX) {
                atomic_store(&stalled, true);
            }
        }
    }
    /* Recalls come home. */
    for (unsigned turns = 0; slot_mail_out(user) && turns < TURNS_MAX; turns++) {
        shard_turn(&office->shard, false);
    }
    atomic_fetch_add(&finished, 1);
    while (atomic_load(&finished) < 2) {
        shard_turn(&office->shard, true);
    }
    shard_turn(&office->shard, true);
}

static void a_slot_given_up_while_somebody_begins_to_wait_is_found(void **state)
{
    (void)state;
    memset(offices, 0, sizeof(offices));
    memset(&cell, 0, sizeof(cell));
    cell.slots = aligned_alloc(64, align_up(slots_memory(SHARDS), 64));
    assert_non_null(cell.slots);
    slots_init(cell.slots, &cell, SHARDS);
    finished = 0;
    limit = 1;
    for (unsigned i = 0; i < SHARDS; i++) {
        office_open(&offices[i], i);
    }
    for (unsigned i = 0; i < 2; i++) {
        offices[i].workers[0].slots.granted = meeting_granted;
    }
    assert_true(slot_take(&offices[0].workers[0].slots));
    for (unsigned i = 0; i < 2; i++) {
        const struct thread_options options = {.name = "office"};
        assert_int_equal(
            thread_start(&offices[i].thread, &options, meeting_run, &offices[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        thread_join(&offices[i].thread);
    }
    assert_false(stalled);
    assert_int_equal(breaches, 0);
    assert_int_equal(meetings, MEETINGS);
    assert_int_equal(cell.used, 1);
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_fini(&offices[i].shard);
    }
    free(cell.slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_hand_slots_over_and_nobody_waits_for_ever),
        cmocka_unit_test(a_slot_given_up_while_somebody_begins_to_wait_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
