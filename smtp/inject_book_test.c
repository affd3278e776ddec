/* The book of idempotency keys over a disk that refuses: what it says, and what it keeps. */
#include "smtp/inject_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/shards.h"

#define ASKS         20u
#define ANSWER_BYTES (1 * MIB) /* all of them are more than INJECT_ANSWERS_BYTES */
#define MAIL_SHARD   0
#define TSA_SHARD    1

struct asker {
    struct inject_ask ask;
    bool wants;    /* to be sent */
    bool is_home;
    enum inject_ask_task task;
};

static struct sim *sim;
static struct sim_disk *disk;
static struct sim_shards shards;
static struct boot_pages pages;
static struct inject_book book;
static _Atomic uint32_t stop_level;
static bool is_loaded;
static struct timer begin;
static struct asker askers[ASKS];
static struct asker again; /* a repetition */
static uint8_t *answers;   /* ANSWER_BYTES for each, of its own byte */

static void loaded(struct inject_book *ready, struct slice problem)
{
    assert_ptr_equal(ready, &book);
    assert_int_equal(problem.size, 0);
    is_loaded = true;
}

static void said(void *context, struct slice line)
{
    (void)context;
    (void)line;
}

static void home(struct inject_ask *ask)
{
    CONTAINER_OF(ask, struct asker, ask)->is_home = true;
}

static void send_one(struct asker *asker)
{
    if (asker->wants) {
        asker->wants = false;
        inject_ask_send(&asker->ask, &shards.shards[MAIL_SHARD], asker->task);
    }
}

static void send_all(struct timer *timer)
{
    (void)timer;
    for (unsigned i = 0; i < ASKS; i++) {
        send_one(&askers[i]);
    }
    send_one(&again);
}

static void want(struct asker *asker, enum inject_ask_task task)
{
    asker->wants = true;
    asker->is_home = false;
    asker->task = task;
}

static bool has_loaded(void *context)
{
    (void)context;
    return is_loaded;
}

static bool is_idle(void *context)
{
    (void)context;
    return inject_book_idle(&book);
}

/* Sends what is wanted, and looks again in a while. */
static void go(uint64_t ns)
{
    shard_timer_set(&shards.shards[MAIL_SHARD], &begin, 1);
    (void)sim_run_for(sim, ns);
}

static unsigned home_with(enum inject_ask_result result)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ASKS; i++) {
        count += askers[i].is_home && askers[i].ask.result == result;
    }
    return count;
}

static int set_up(void **state)
{
    (void)state;
    sim = sim_open(&(struct sim_options){.seed = 1});
    disk = sim_disk_open(sim, 256 * MIB);
    sim_shards_boot(&shards, sim_node_open(sim, disk), 2, 16, 4096);
    stop_level = 0;
    is_loaded = false;
    pages = (struct boot_pages){0};
    book = (struct inject_book){
        .log = {.put = said}, .loaded = loaded, .stop_level = &stop_level};
    inject_book_init(&book, &shards.shards[TSA_SHARD], &pages, "state");
    answers = malloc((size_t)ASKS * ANSWER_BYTES);
    assert_non_null(answers);
    timer_init(&begin, send_all);
    inject_book_load(&book);
    assert_true(sim_run_until(sim, has_loaded, NULL, 30 * NS_PER_S));
    for (unsigned i = 0; i < ASKS; i++) {
        memset(answers + i * ANSWER_BYTES, 'a' + (int)i, ANSWER_BYTES);
        askers[i] = (struct asker){
            .ask = {.book = &book, .done = home, .claim = {.key = {.low64 = i + 1}}}};
        askers[i].ask.claim.request.bytes[0] = (uint8_t)(i + 1);
        askers[i].ask.answer = slice_make(answers + i * ANSWER_BYTES, ANSWER_BYTES);
        want(&askers[i], INJECT_ASK_CLAIM);
    }
    go(NS_PER_S);
    assert_int_equal(home_with(INJECT_ASK_DONE), ASKS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sim_disk_failing_set(disk, false, false, false);
    (void)sim_run_for(sim, 5 * NS_PER_S);
    inject_book_stop(&book);
    assert_true(sim_run_until(sim, is_idle, NULL, 30 * NS_PER_S));
    inject_book_fini(&book);
    boot_pages_give(&pages);
    sim_shards_stop(&shards);
    free(answers);
    bool good = !sim_failed(sim);
    sim_close(sim);
    return good ? 0 : 1;
}

/* All answers come while nothing can be written: there is no room for the last ones. */
static unsigned keep_while_the_disk_refuses(void)
{
    sim_disk_failing_set(disk, true, true, false);
    for (unsigned i = 0; i < ASKS; i++) {
        want(&askers[i], INJECT_ASK_KEEP);
    }
    go(3 * NS_PER_S);
    assert_int_equal(home_with(INJECT_ASK_DONE), 0);
    assert_int_equal(book.keys.pool.used, ASKS);
    return home_with(INJECT_ASK_FULL);
}

/* The same request once more. */
static enum inject_ask_result repeat(unsigned i)
{
    again = (struct asker){.ask = {.book = &book, .done = home, .claim = askers[i].ask.claim}};
    want(&again, INJECT_ASK_CLAIM);
    go(NS_PER_S);
    assert_true(again.is_home);
    return again.ask.result;
}

static void release(void)
{
    want(&again, INJECT_ASK_RELEASE);
    go(NS_PER_S);
    assert_true(again.is_home);
}

static void h15_no_answer_is_forgotten_before_it_is_durable(void **state)
{
    (void)state;
    unsigned full = keep_while_the_disk_refuses();
    assert_true(full > 0 && full < ASKS);
    assert_int_equal(book.keys.forgotten, 0);
    sim_disk_failing_set(disk, false, false, false);
    (void)sim_run_for(sim, 5 * NS_PER_S);
    assert_int_equal(home_with(INJECT_ASK_DONE), ASKS - full);
    for (unsigned i = 0; i < ASKS; i++) {
        if (askers[i].ask.result == INJECT_ASK_FULL) {
            want(&askers[i], INJECT_ASK_KEEP);
        }
    }
    go(5 * NS_PER_S);
    assert_int_equal(home_with(INJECT_ASK_DONE), ASKS);
    assert_true(book.keys.forgotten > 0); /* the oldest, which have been told */
    assert_int_equal(repeat(ASKS - 1), INJECT_ASK_ANSWERED);
    assert_true(slice_equal(again.ask.answer, askers[ASKS - 1].ask.answer));
    release();
}

static void h15_no_answer_is_told_before_it_is_durable(void **state)
{
    (void)state;
    assert_int_equal(repeat(0), INJECT_ASK_WORKING);
    sim_disk_failing_set(disk, true, true, false);
    want(&askers[0], INJECT_ASK_KEEP);
    go(3 * NS_PER_S);
    assert_false(askers[0].is_home);
    assert_int_equal(repeat(0), INJECT_ASK_WORKING);
    sim_disk_failing_set(disk, false, false, false);
    (void)sim_run_for(sim, 5 * NS_PER_S);
    assert_true(askers[0].is_home);
    assert_int_equal(repeat(0), INJECT_ASK_ANSWERED);
    release();
}

static void a_stop_waits_for_no_room(void **state)
{
    (void)state;
    unsigned full = keep_while_the_disk_refuses();
    stop_level = 1;
    for (unsigned i = 0; i < ASKS; i++) {
        if (askers[i].is_home) {
            want(&askers[i], INJECT_ASK_KEEP);
        }
    }
    go(3 * NS_PER_S);
    assert_true(full > 0);
    assert_int_equal(home_with(INJECT_ASK_REFUSED), ASKS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(h15_no_answer_is_forgotten_before_it_is_durable, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(h15_no_answer_is_told_before_it_is_durable, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_stop_waits_for_no_room, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
