/*
 * Real threads on the protocol of mailbox.h: every actor has mailboxes to and from every other,
 * says "asleep" before it sleeps on its own event descriptor, and is rung only then. A sleep that
 * ends by its own timeout while something waits is a lost wake.
 */
#include "shard/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ACTORS_MAX  3
#define LETTERS     256
#define TIMEOUT_MS  2000

/* The thread sanitizer sees a wrong order in any round; the others have to meet it. */
#if defined(__SANITIZE_THREAD__)
#define ROUNDS 200000
#else
#define ROUNDS 1000000
#endif

struct actor;

struct letter {
    struct mail mail;
    struct actor *home;
    unsigned to;
    uint64_t sequence; /* plain: ordering is the mailbox's business */
};

struct actor {
    unsigned index;
    unsigned count;
    struct actor *actors;
    struct mailbox inboxes[ACTORS_MAX];
    _Atomic uint32_t asleep;
    int bell;
    uint64_t goal;
    uint64_t sent;
    uint64_t back;
    uint64_t seen;
    uint64_t expected[ACTORS_MAX]; /* sequence of the next letter from each */
    uint64_t sleeps;
    uint64_t lost_wakes;
    _Atomic unsigned *finished;
    struct prng prng;
    struct letter letters[ACTORS_MAX][LETTERS];
    unsigned free_counts[ACTORS_MAX];
    struct letter *free[ACTORS_MAX][LETTERS];
};

/* arrive takes a shard; here it is an actor, and only this file looks. */
static struct actor *actor_of(struct shard *receiver)
{
    return (struct actor *)(void *)receiver;
}

static void actor_put(struct actor *from, unsigned to, struct mail *mail)
{
    mailbox_put(&from->actors[to].inboxes[from->index], mail);
}

static void letter_home(struct shard *receiver, struct mail *mail)
{
    struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
    struct actor *actor = actor_of(receiver);
    actor->free[letter->to][actor->free_counts[letter->to]++] = letter;
    actor->back++;
}

static void letter_arrive(struct shard *receiver, struct mail *mail)
{
    struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
    struct actor *actor = actor_of(receiver);
    unsigned from = letter->home->index;
    if (letter->sequence != actor->expected[from]) {
        abort();
    }
    actor->expected[from]++;
    actor->seen++;
    letter->sequence = UINT64_MAX;
    mail->arrive = letter_home;
    actor_put(actor, from, mail);
}

static void actor_send_some(struct actor *actor, uint64_t *sequences)
{
    uint64_t batch = prng_below(&actor->prng, 48);
    for (uint64_t i = 0; i < batch && actor->sent < actor->goal; i++) {
        unsigned to = (unsigned)prng_below(&actor->prng, actor->count);
        if (to == actor->index || actor->free_counts[to] == 0) {
            continue;
        }
        struct letter *letter = actor->free[to][--actor->free_counts[to]];
        letter->mail.arrive = letter_arrive;
        letter->sequence = sequences[to]++;
        actor_put(actor, to, &letter->mail);
        actor->sent++;
    }
}

static void actor_ring(struct actor *peer)
{
    if (atomic_load_explicit(&peer->asleep, memory_order_seq_cst) != 0 &&
        atomic_exchange_explicit(&peer->asleep, 0, memory_order_seq_cst) != 0) {
        uint64_t one = 1;
        if (write(peer->bell, &one, sizeof(one)) != sizeof(one)) {
            abort();
        }
    }
}

static bool actor_called(struct actor *actor)
{
    for (unsigned i = 0; i < actor->count; i++) {
        if (mailbox_waiting(&actor->inboxes[i])) {
            return true;
        }
    }
    return atomic_load(actor->finished) == actor->count;
}

static void actor_sleep(struct actor *actor)
{
    atomic_store_explicit(&actor->asleep, 1, memory_order_seq_cst);
    if (!actor_called(actor)) {
        struct pollfd bell = {.fd = actor->bell, .events = POLLIN};
        actor->sleeps++;
        if (poll(&bell, 1, TIMEOUT_MS) == 0 && actor_called(actor)) {
            actor->lost_wakes++;
        }
    }
    atomic_store_explicit(&actor->asleep, 0, memory_order_relaxed);
    uint64_t rung;
    while (read(actor->bell, &rung, sizeof(rung)) == sizeof(rung)) {
    }
}

static void *actor_run(void *argument)
{
    struct actor *actor = argument;
    uint64_t sequences[ACTORS_MAX] = {0};
    bool finished = false;
    while (atomic_load(actor->finished) < actor->count) {
        for (unsigned i = 0; i < actor->count; i++) {
            mailbox_drain(&actor->inboxes[i], (struct shard *)(void *)actor, 64);
        }
        actor_send_some(actor, sequences);
        bool overflowing = false;
        for (unsigned i = 0; i < actor->count; i++) {
            struct mailbox *outbox = &actor->actors[i].inboxes[actor->index];
            if (mailbox_flush(outbox)) {
                actor_ring(&actor->actors[i]);
            }
            overflowing = overflowing || mailbox_overflowing(outbox);
        }
        if (!finished && actor->back == actor->goal) {
            finished = true;
            atomic_fetch_add(actor->finished, 1);
            for (unsigned i = 0; i < actor->count; i++) {
                actor_ring(&actor->actors[i]);
            }
        }
        bool waits = actor->sent != actor->back && prng_chance(&actor->prng, 500);
        if ((waits || actor->sent == actor->goal) && !overflowing) {
            actor_sleep(actor);
        }
    }
    return NULL;
}

static void actor_init(struct actor *actors, unsigned index, unsigned count, uint64_t goal)
{
    struct actor *actor = &actors[index];
    actor->index = index;
    actor->count = count;
    actor->actors = actors;
    actor->goal = goal;
    actor->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(actor->bell >= 0);
    prng_seed(&actor->prng, 1000 + index);
    for (unsigned i = 0; i < count; i++) {
        mailbox_init(&actor->inboxes[i]);
        for (unsigned k = 0; k < LETTERS; k++) {
            actor->letters[i][k] = (struct letter){.home = actor, .to = i};
            actor->free[i][actor->free_counts[i]++] = &actor->letters[i][k];
        }
    }
}

static void exchange(unsigned count, uint64_t goal)
{
    struct actor *actors = aligned_alloc(64, count * sizeof(*actors));
    assert_non_null(actors);
    _Atomic unsigned finished = 0;
    pthread_t threads[ACTORS_MAX];
    for (unsigned i = 0; i < count; i++) {
        actors[i] = (struct actor){.finished = &finished};
        actor_init(actors, i, count, goal);
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, actor_run, &actors[i]), 0);
    }
    uint64_t seen = 0;
    uint64_t sleeps = 0;
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(actors[i].sent, goal);
        assert_int_equal(actors[i].back, goal);
        assert_int_equal(actors[i].lost_wakes, 0);
        for (unsigned k = 0; k < count; k++) {
            assert_int_equal(actors[i].free_counts[k], LETTERS);
        }
        seen += actors[i].seen;
        sleeps += actors[i].sleeps;
        close(actors[i].bell);
    }
    assert_int_equal(seen, goal * count);
    assert_true(sleeps > 0);
    print_message("%u threads, %llu letters there and back, %llu sleeps\n", count,
                  (unsigned long long)seen, (unsigned long long)sleeps);
    free(actors);
}

static void two_threads_lose_no_letter_and_no_wake(void **state)
{
    (void)state;
    exchange(2, ROUNDS);
}

static void three_threads_lose_no_letter_and_no_wake(void **state)
{
    (void)state;
    exchange(3, ROUNDS / 2);
}

/* One publisher and one sleeper, brought to the decisive accesses at the same moment. */
struct meeting {
    struct mailbox box;
    struct mail mail; /* here, not with the publisher: the sleeper may outlive its thread's stack */
    _Alignas(64) _Atomic uint32_t asleep;
    _Alignas(64) _Atomic uint64_t sleeper_round;
    _Alignas(64) _Atomic uint64_t publisher_round;
    uint64_t rounds;
    bool *saw_mail; /* by round: what the sleeper saw */
    bool *saw_sleeper;
};

static void meet(_Atomic uint64_t *mine, _Atomic uint64_t *theirs, uint64_t round)
{
    atomic_store_explicit(mine, round, memory_order_release);
    for (unsigned spins = 1; atomic_load_explicit(theirs, memory_order_acquire) < round; spins++) {
        if (spins % 256 == 0) { /* the other may need this very CPU */
            sched_yield();
        }
    }
}

static void meeting_letter(struct shard *receiver, struct mail *mail)
{
    (void)receiver;
    (void)mail;
}

static void *publisher_run(void *argument)
{
    struct meeting *meeting = argument;
    for (uint64_t round = 1; round <= meeting->rounds; round++) {
        mailbox_put(&meeting->box, &meeting->mail);
        meet(&meeting->publisher_round, &meeting->sleeper_round, 2 * round);
        (void)mailbox_flush(&meeting->box);
        meeting->saw_sleeper[round - 1] =
            atomic_load_explicit(&meeting->asleep, memory_order_seq_cst) != 0;
        meet(&meeting->publisher_round, &meeting->sleeper_round, 2 * round + 1);
    }
    return NULL;
}

static void *sleeper_run(void *argument)
{
    struct meeting *meeting = argument;
    for (uint64_t round = 1; round <= meeting->rounds; round++) {
        meet(&meeting->sleeper_round, &meeting->publisher_round, 2 * round);
        atomic_store_explicit(&meeting->asleep, 1, memory_order_seq_cst);
        meeting->saw_mail[round - 1] = mailbox_waiting(&meeting->box);
        meet(&meeting->sleeper_round, &meeting->publisher_round, 2 * round + 1);
        atomic_store_explicit(&meeting->asleep, 0, memory_order_relaxed);
        mailbox_drain(&meeting->box, NULL, 1);
    }
    return NULL;
}

static void publisher_or_sleeper_sees_the_other(void **state)
{
    (void)state;
    struct meeting *meeting = aligned_alloc(64, sizeof(*meeting));
    assert_non_null(meeting);
    *meeting = (struct meeting){
        .mail = {.arrive = meeting_letter},
        .rounds = ROUNDS,
        .saw_mail = calloc(ROUNDS, sizeof(bool)),
        .saw_sleeper = calloc(ROUNDS, sizeof(bool)),
    };
    assert_true(meeting->saw_mail != NULL && meeting->saw_sleeper != NULL);
    mailbox_init(&meeting->box);
    pthread_t publisher, sleeper;
    assert_int_equal(pthread_create(&publisher, NULL, publisher_run, meeting), 0);
    assert_int_equal(pthread_create(&sleeper, NULL, sleeper_run, meeting), 0);
    assert_int_equal(pthread_join(publisher, NULL), 0);
    assert_int_equal(pthread_join(sleeper, NULL), 0);
    unsigned missed = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        missed += !meeting->saw_mail[i] && !meeting->saw_sleeper[i];
    }
    assert_int_equal(missed, 0);
    free(meeting->saw_mail);
    free(meeting->saw_sleeper);
    free(meeting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publisher_or_sleeper_sees_the_other),
        cmocka_unit_test(two_threads_lose_no_letter_and_no_wake),
        cmocka_unit_test(three_threads_lose_no_letter_and_no_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
