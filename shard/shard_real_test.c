/*
 * Shards on real rings and threads: mail there and back with sleeping and waking, timers, deferred
 * work.
 */
#include "shard/shard.h"

#include <stdlib.h>
#include <string.h>

#include "shard/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SHARDS 3

struct office {
    struct shard shard;
    struct thread thread;
    struct timer timer;
    struct deferred deferred;
    struct prng prng;
    uint64_t goal;
    uint64_t sent;
    uint64_t back;
    uint64_t fired;
    uint64_t ran;
    unsigned finished; /* offices that have said so; counted by the first */
    bool said;
    bool sparse; /* one letter at a time, with pauses: everybody sleeps */
    struct letter {
        struct mail mail;
        struct office *home;
        unsigned to;
        bool away;
    } letters[64];
    struct letter news; /* "finished", to the first office; "stop", from it */
};

static struct office *office_of(struct shard *shard)
{
    return CONTAINER_OF(shard, struct office, shard);
}

static void letter_home(struct shard *receiver, struct mail *mail)
{
    struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
    assert_ptr_equal(letter->home, office_of(receiver));
    letter->away = false;
    letter->home->back++;
    shard_defer(receiver, &letter->home->deferred);
}

static void letter_arrive(struct shard *receiver, struct mail *mail)
{
    struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
    assert_int_equal(letter->to, receiver->index);
    mail->arrive = letter_home;
    shard_send(receiver, letter->home->shard.index, mail);
}

static void news_stop(struct shard *receiver, struct mail *mail)
{
    (void)mail;
    receiver->stopping = true;
}

static void news_finished(struct shard *receiver, struct mail *mail)
{
    (void)mail;
    struct office *first = office_of(receiver);
    first->finished++;
    for (unsigned i = 0; first->finished == SHARDS && i < SHARDS; i++) {
        struct letter *news = &office_of(receiver->peers[i])->news;
        news->mail.arrive = news_stop;
        shard_send(receiver, i, &news->mail);
    }
}

static void send_letter(struct office *office, struct letter *letter)
{
    letter->to = (unsigned)prng_below(&office->prng, SHARDS);
    letter->away = true;
    letter->mail.arrive = letter_arrive;
    shard_send(&office->shard, letter->to, &letter->mail);
    office->sent++;
}

static void office_work(struct deferred *deferred)
{
    struct office *office = CONTAINER_OF(deferred, struct office, deferred);
    office->ran++;
    unsigned letters = office->sparse ? 1 : COUNT_OF(office->letters);
    for (unsigned i = 0; i < letters && office->sent < office->goal; i++) {
        if (!office->letters[i].away && !prng_chance(&office->prng, office->sparse ? 500 : 100)) {
            send_letter(office, &office->letters[i]);
        }
    }
    if (office->back == office->goal && !office->said) {
        office->said = true;
        office->news.mail.arrive = news_finished;
        shard_send(&office->shard, 0, &office->news.mail);
    } else if (office->sent == office->back && !timer_is_set(&office->timer)) {
        shard_timer_set(&office->shard, &office->timer, NS_PER_MS);
    }
}

static void office_timer(struct timer *timer)
{
    struct office *office = CONTAINER_OF(timer, struct office, timer);
    office->fired++;
    shard_defer(&office->shard, &office->deferred);
}

static void office_run(void *context)
{
    struct office *office = context;
    shard_defer(&office->shard, &office->deferred);
    while (!office->shard.stopping) {
        shard_turn(&office->shard, false);
    }
}

static void office_open(struct office *office, unsigned index, struct shard **peers)
{
    static const struct ring_options options = {
        .submit_entries = 64, .complete_entries = 256, .buffer_count = 8, .buffer_bytes = 4096};
    char text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    struct shard_options shard = {.index = index, .count = SHARDS, .peers = peers};
    assert_int_equal(ring_open(&options, &shard.ring, &reason), 0);
    assert_int_equal(shard_init(&office->shard, &shard), 0);
    timer_init(&office->timer, office_timer);
    deferred_init(&office->deferred, office_work);
    prng_seed(&office->prng, index);
    for (unsigned i = 0; i < COUNT_OF(office->letters); i++) {
        office->letters[i].home = office;
    }
}

static void exchange(uint64_t goal, bool sparse)
{
    static struct office offices[SHARDS];
    static struct shard *peers[SHARDS];
    memset(offices, 0, sizeof(offices));
    for (unsigned i = 0; i < SHARDS; i++) {
        peers[i] = &offices[i].shard;
        office_open(&offices[i], i, peers);
        offices[i].goal = goal;
        offices[i].sparse = sparse;
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        const struct thread_options options = {.name = "office"};
        assert_int_equal(thread_start(&offices[i].thread, &options, office_run, &offices[i]), 0);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        thread_join(&offices[i].thread);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *shard = &offices[i].shard;
        const struct ring_counts *counts = ring_counts(shard->ring);
        assert_int_equal(offices[i].sent, goal);
        assert_int_equal(offices[i].back, goal);
        assert_int_equal(counters_get(&shard->counters, COUNTER_lost_wakeups), 0);
        assert_int_equal(counts->cq_overflows, 0);
        /* One enter a turn, neither more nor less. */
        assert_int_equal(counts->enters, atomic_load(&shard->turns));
        assert_true(counts->wakes > 0);
        print_message("shard %u: %llu turns, %llu wakes, %llu timeouts, %llu timers\n", i,
                      (unsigned long long)counts->enters, (unsigned long long)counts->wakes,
                      (unsigned long long)counts->timeouts,
                      (unsigned long long)offices[i].fired);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_fini(&offices[i].shard);
    }
}

static void busy_shards_lose_no_mail_and_no_wake(void **state)
{
    (void)state;
    exchange(100000, false);
}

static void sleeping_shards_are_woken_every_time(void **state)
{
    (void)state;
    exchange(500, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_shards_lose_no_mail_and_no_wake),
        cmocka_unit_test(sleeping_shards_are_woken_every_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
