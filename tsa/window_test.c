/* N events within a period: against a list of all of them. */
#include "tsa/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/prng.h"

#define HOUR   (3600 * NS_PER_S)
#define EVENTS 3000

static void the_nth_event_within_the_period_reaches_it(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 16, 17, 1000};
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        struct window window = {0};
        for (uint32_t n = 1; n <= counts[i] + 2; n++) {
            assert_int_equal(window_add(&window, 500 * HOUR + n, counts[i], HOUR),
                             n >= counts[i]);
        }
        /* a period and a span later nothing of it is left */
        assert_int_equal(window_add(&window, 502 * HOUR, counts[i], HOUR), counts[i] == 1);
    }
}

static void an_event_a_whole_period_ago_counts_no_more(void **state)
{
    (void)state;
    struct window window = {0};
    assert_false(window_add(&window, HOUR, 2, HOUR));
    assert_false(window_add(&window, 2 * HOUR, 2, HOUR));
    assert_true(window_add(&window, 3 * HOUR - 1, 2, HOUR));
    assert_true(window_add(&window, 2 * HOUR + 1, 2, HOUR)); /* late, between both */
    assert_false(window_add(&window, 5 * HOUR, 2, HOUR));
}

/* How many of all events are in (from, newest]. */
static uint32_t count_after(const uint64_t *times, size_t size, uint64_t from)
{
    uint32_t count = 0;
    for (size_t i = 0; i < size; i++) {
        count += times[i] > from;
    }
    return count;
}

static void counts_lie_between_the_period_and_a_31st_more(void **state)
{
    (void)state;
    static uint64_t times[EVENTS];
    static const uint32_t counts[] = {1, 3, 16, 17, 40, 200};
    struct prng prng;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        prng_seed(&prng, seed);
        uint32_t count = counts[seed % COUNT_OF(counts)];
        uint64_t slack = count <= WINDOW_EXACT_MAX ? 0 : HOUR / 31 + 32;
        uint64_t newest = 1000 * HOUR;
        unsigned reached = 0;
        struct window window = {0};
        for (size_t i = 0; i < EVENTS; i++) {
            newest += prng_below(&prng, 2 * HOUR / count);
            uint64_t back = prng_below(&prng, 4) == 0 ? prng_below(&prng, HOUR / 31) : 0;
            times[i] = newest - back;
            uint64_t end = window.newest_ns > times[i] ? window.newest_ns : times[i];
            bool got = window_add(&window, times[i], count, HOUR);
            reached += got;
            if (count_after(times, i + 1, end - HOUR) >= count) {
                assert_true(got);
            }
            if (count_after(times, i + 1, end - HOUR - slack) < count) {
                assert_false(got);
            }
        }
        assert_true(reached > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_event_within_the_period_reaches_it),
        cmocka_unit_test(an_event_a_whole_period_ago_counts_no_more),
        cmocka_unit_test(counts_lie_between_the_period_and_a_31st_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
