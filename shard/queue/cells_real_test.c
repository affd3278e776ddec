/* One cell, real threads: its limit holds at every moment, and nothing is lost on the way. */
#include "shard/queue/cells.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "core/prng.h"
#include "shard/queue/rates.h"

#define THREADS 4
#define LIMIT   3
#define TAKES   200000 /* of each thread */

static struct cell cell;
static _Atomic uint32_t holders; /* counted apart from the cell */
static _Atomic uint32_t breaches;

/* Until it had its slots: a thread that finds none makes way for those that sleep on theirs. */
static void *hammer(void *context)
{
    (void)context;
    for (unsigned taken = 0; taken < TAKES;) {
        if (!cell_take(&cell, LIMIT)) {
            sched_yield();
            continue;
        }
        taken++;
        if (atomic_fetch_add(&holders, 1) >= LIMIT) {
            atomic_fetch_add(&breaches, 1);
        }
        atomic_fetch_sub(&holders, 1);
        cell_give(&cell);
    }
    return NULL;
}

static void threads_never_hold_more_slots_than_the_limit(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(breaches, 0);
    assert_int_equal(cell.used, 0);
}

/* --- a rate ----------------------------------------------------------------------------------- */

#define RUN_NS (2 * NS_PER_S)

static struct cell rate_cell;
static struct rate rate;
static uint64_t begun_ns;
static _Atomic uint64_t used;

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Counts before it looks at the clock: what it compares with is never later than what it counts. */
static void count(uint32_t some)
{
    uint64_t all = atomic_fetch_add(&used, some) + some;
    if (all > (clock_ns() - begun_ns) / rate.interval_ns + rate.burst) {
        atomic_fetch_add(&breaches, 1);
    }
}

/* As a shard does it: a clock read once a turn, tokens reserved ahead, some given back. */
static void *spend(void *context)
{
    struct rate_line line;
    struct rates rates;
    struct prng prng;
    uint64_t *mine = context;
    prng_seed(&prng, (uint64_t)(uintptr_t)context);
    rates_init(&rates, &line, 1);
    rates_add(&rates, &rate_cell, &rate);
    for (uint64_t now = clock_ns(); now < begun_ns + RUN_NS; now = clock_ns()) {
        uint64_t until = 0;
        uint32_t some = rates_ready(&rates, now, 1 + (uint32_t)prng_below(&prng, 20), &until);
        if (some == 0) {
            sched_yield();
        } else if (prng_chance(&prng, 100)) {
            rates_rest(&rates);
        } else {
            rates_use(&rates, some);
            if (prng_chance(&prng, 100)) {
                rates_refund(&rates, some);
                continue;
            }
            count(some);
            *mine += some;
        }
    }
    rates_rest(&rates);
    return NULL;
}

static void threads_never_use_more_than_the_rate_and_its_burst(void **state)
{
    (void)state;
    static const char *const texts[] = {"1000/s,max_burst=1", "50000/s,max_burst=10", "200/s"};
    for (size_t k = 0; k < COUNT_OF(texts); k++) {
        pthread_t threads[THREADS];
        uint64_t each[THREADS] = {0};
        assert_null(rate_parse(slice_from_string(texts[k]), &rate));
        memset(&rate_cell, 0, sizeof(rate_cell));
        used = 0;
        breaches = 0;
        begun_ns = clock_ns();
        for (unsigned i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, spend, &each[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        assert_int_equal(breaches, 0);
        assert_int_equal(each[0] + each[1] + each[2] + each[3], used);
        /* Not one token was lost: the arrival time is behind us by what was used, at most. */
        uint64_t arrival = rate_cell.arrival_ns;
        assert_true(arrival >= begun_ns + used * rate.interval_ns);
        assert_true(arrival <= clock_ns() + rate.burst * rate.interval_ns);
        assert_true(used > 0);
    }
}

/* Every fourth one is given back at once. */
static void *reserve(void *context)
{
    (void)context;
    for (unsigned i = 0; i < TAKES; i++) {
        struct gcra_grant grant = cell_reserve(&rate_cell, &rate, begun_ns, RATE_ANY_TIME, 2);
        if (i % 4 == 0) {
            cell_refund(&rate_cell, &rate, grant.count);
        }
    }
    return NULL;
}

static void reservations_of_threads_add_up_to_the_last_token(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    assert_null(rate_parse(SLICE("1000/s"), &rate));
    memset(&rate_cell, 0, sizeof(rate_cell));
    begun_ns = clock_ns();
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reserve, NULL), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    uint64_t kept = 2ull * TAKES / 4 * 3 * THREADS;
    assert_int_equal(rate_cell.arrival_ns, begun_ns + kept * rate.interval_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_never_hold_more_slots_than_the_limit),
        cmocka_unit_test(threads_never_use_more_than_the_rate_and_its_burst),
        cmocka_unit_test(reservations_of_threads_add_up_to_the_last_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
