#include "shard/queue/rates.h"

#include <string.h>

#include "core/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define CELLS 3
#define USERS 4
#define T0    (1000 * NS_PER_S)

static struct cell cells[CELLS];
static struct rate kinds[CELLS];
static struct rate_line lines[USERS][CELLS];
static struct rates users[USERS];

/* `texts` ends with null; every user has all of them. */
static void begin(const char *const *texts)
{
    memset(cells, 0, sizeof(cells));
    for (unsigned u = 0; u < USERS; u++) {
        rates_init(&users[u], lines[u], CELLS);
    }
    for (unsigned i = 0; i < CELLS && texts[i] != NULL; i++) {
        assert_null(rate_parse(slice_from_string(texts[i]), &kinds[i]));
        for (unsigned u = 0; u < USERS; u++) {
            rates_add(&users[u], &cells[i], &kinds[i]);
        }
    }
}

static uint32_t ready(unsigned user, uint64_t now_ns, uint32_t want, uint64_t *until_out)
{
    *until_out = 0;
    return rates_ready(&users[user], now_ns, want, until_out);
}

static void without_a_rate_all_may_go(void **state)
{
    (void)state;
    uint64_t until;
    begin((const char *const[]){NULL});
    assert_int_equal(ready(0, T0, 12345, &until), 12345);
    rates_use(&users[0], 12345);
    rates_refund(&users[0], 1);
    rates_rest(&users[0]);
}

static void what_is_reserved_and_not_used_is_given_back_exactly(void **state)
{
    (void)state;
    uint64_t until;
    begin((const char *const[]){"10/s,max_burst=1", "100/s", NULL});
    assert_int_equal(ready(0, T0, 5, &until), 1);
    assert_int_equal(cells[0].arrival_ns, T0 + 2 * kinds[0].interval_ns);
    assert_int_equal(cells[1].arrival_ns, T0 + 5 * kinds[1].interval_ns);
    rates_use(&users[0], 1);
    rates_rest(&users[0]);
    assert_int_equal(cells[0].arrival_ns, T0 + kinds[0].interval_ns);
    assert_int_equal(cells[1].arrival_ns, T0 + kinds[1].interval_ns);
    rates_refund(&users[0], 1);
    assert_int_equal(cells[0].arrival_ns, T0);
    assert_int_equal(cells[1].arrival_ns, T0);
}

static void waiting_for_a_slow_rate_costs_a_fast_one_a_single_token(void **state)
{
    (void)state;
    uint64_t until;
    begin((const char *const[]){"1/h", "100/s,max_burst=1", NULL});
    assert_int_equal(ready(0, T0, 50, &until), 1);
    rates_use(&users[0], 1);
    assert_int_equal(ready(0, T0, 50, &until), 0);
    assert_int_equal(until, T0 + 3600 * NS_PER_S);
    assert_in_range(cells[1].arrival_ns, T0, T0 + 2 * kinds[1].interval_ns);
    /* An hour later its turn has come; the fast token was stale and is had anew. */
    assert_int_equal(ready(0, until, 50, &until), 1);
    rates_use(&users[0], 1);
    rates_rest(&users[0]);
    assert_in_range(cells[1].arrival_ns, T0 + 3600 * NS_PER_S,
                    T0 + 3600 * NS_PER_S + kinds[1].interval_ns);
}

static void those_who_wait_have_their_turns_in_the_order_of_their_coming(void **state)
{
    (void)state;
    uint64_t until;
    begin((const char *const[]){"1/m", NULL});
    for (unsigned u = 0; u < USERS; u++) {
        assert_int_equal(ready(u, T0 + u, 9, &until), u == 0);
        assert_int_equal(until, u == 0 ? 0 : T0 + u * 60 * NS_PER_S);
    }
    rates_use(&users[0], 1);
    assert_int_equal(ready(0, T0 + 9, 9, &until), 0);
    assert_int_equal(until, T0 + USERS * 60 * NS_PER_S);
    for (unsigned u = 1; u < USERS; u++) {
        assert_int_equal(ready(u, T0 + u * 60 * NS_PER_S - 1, 9, &until), 0);
        assert_int_equal(ready(u, T0 + u * 60 * NS_PER_S, 9, &until), 1);
    }
}

static void whoever_wakes_late_has_lost_nothing(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"100/s,max_burst=1", NULL}, {"7/s", NULL}, {"20000/s,max_burst=1", NULL}};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct prng prng;
        uint64_t now = T0;
        uint64_t used = 0;
        uint64_t until;
        prng_seed(&prng, i);
        begin(texts[i]);
        while (now < T0 + 30 * NS_PER_S) {
            uint32_t some = ready(0, now, UINT32_MAX, &until);
            rates_use(&users[0], some);
            used += some;
            if (some > 0) {
                continue;
            }
            now = MAX_OF(now, until) + prng_below(&prng, 8 * NS_PER_MS);
            assert_true(used <= (now - T0) / kinds[0].interval_ns + 1 + kinds[0].burst);
        }
        assert_true(used * 100 >= 99 * (now - T0) / kinds[0].interval_ns);
    }
}

/* Several users of several rates; who holds a token uses it, late, or not at all. */
static void many_users_stay_within_every_rate_and_none_goes_empty(void **state)
{
    (void)state;
    static const char *const texts[][4] = {
        {"100/s,max_burst=1", NULL},
        {"50/s", "900/m,max_burst=1", NULL},
        {"1000/s", "40/s,max_burst=5", "10/s,max_burst=2", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct prng prng;
        uint64_t now = T0;
        uint64_t used[USERS] = {0};
        uint64_t wake[USERS] = {0};
        prng_seed(&prng, i);
        begin(texts[i]);
        while (now < T0 + 60 * NS_PER_S) {
            unsigned u = (unsigned)prng_below(&prng, USERS);
            now += prng_below(&prng, 2 * NS_PER_MS);
            if (now < wake[u]) {
                continue;
            }
            uint32_t some = ready(u, now, 1 + (uint32_t)prng_below(&prng, 40), &wake[u]);
            if (some > 0 && prng_chance(&prng, 50)) {
                rates_rest(&users[u]);
                continue;
            }
            rates_use(&users[u], some);
            used[u] += some;
            uint64_t all = used[0] + used[1] + used[2] + used[3];
            for (unsigned k = 0; k < users[0].count; k++) {
                assert_true(all <= (now - T0) / kinds[k].interval_ns + kinds[k].burst);
            }
        }
        uint64_t all = used[0] + used[1] + used[2] + used[3];
        unsigned slowest = users[0].count - 1;
        assert_true(all * 100 >= 99 * ((now - T0) / kinds[slowest].interval_ns));
        for (unsigned u = 0; u < USERS; u++) {
            assert_true(used[u] * USERS * 2 > all);
        }
    }
}

static void a_token_that_is_not_used_in_time_is_given_back(void **state)
{
    (void)state;
    uint64_t until;
    begin((const char *const[]){"10/s,max_burst=1", NULL});
    assert_int_equal(ready(0, T0, 3, &until), 1);
    /* Busy for a while: both are there, and no more are reserved. */
    assert_int_equal(ready(0, T0 + 900 * NS_PER_MS, 3, &until), 2);
    assert_int_equal(cells[0].arrival_ns, T0 + 2 * kinds[0].interval_ns);
    /* Busy for long: they do not come on top of those of then. */
    assert_int_equal(ready(0, T0 + 5 * NS_PER_S, 3, &until), 1);
    assert_int_equal(cells[0].arrival_ns, T0 + 5 * NS_PER_S + 2 * kinds[0].interval_ns);
}

/* 10/s: a second ahead is full with ten tokens, whoever has them. */
static void nobody_fills_the_horizon_for_the_others(void **state)
{
    (void)state;
    uint64_t used[USERS] = {0};
    uint64_t wake[USERS] = {0};
    begin((const char *const[]){"10/s,max_burst=5", NULL});
    for (uint64_t now = T0; now < T0 + 100 * NS_PER_S; now += NS_PER_MS) {
        for (unsigned u = 0; u < USERS; u++) {
            if (now >= wake[u]) {
                uint32_t some = ready(u, now, 1000, &wake[u]);
                rates_use(&users[u], some);
                used[u] += some;
            }
        }
    }
    for (unsigned u = 0; u < USERS; u++) {
        assert_in_range(used[u], 1000 / USERS / 2, 1000 / USERS * 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_rate_all_may_go),
        cmocka_unit_test(what_is_reserved_and_not_used_is_given_back_exactly),
        cmocka_unit_test(waiting_for_a_slow_rate_costs_a_fast_one_a_single_token),
        cmocka_unit_test(those_who_wait_have_their_turns_in_the_order_of_their_coming),
        cmocka_unit_test(whoever_wakes_late_has_lost_nothing),
        cmocka_unit_test(many_users_stay_within_every_rate_and_none_goes_empty),
        cmocka_unit_test(a_token_that_is_not_used_in_time_is_given_back),
        cmocka_unit_test(nobody_fills_the_horizon_for_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
