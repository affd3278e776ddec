#include "shard/queue/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define MINUTE (60 * NS_PER_S)
#define DAY    (24 * 60 * MINUTE)

static const uint64_t created = 1700000000 * NS_PER_S;

static void delay_doubles_up_to_the_cap(void **state)
{
    (void)state;
    /* Without jitter: the interval is below 20 s, a twentieth of it below a second's seed step. */
    const struct retry_options options = {
        .interval_ns = 20 * MINUTE, .interval_max_ns = 100 * MINUTE, .age_max_ns = 7 * DAY};
    static const struct {
        unsigned attempts;
        uint64_t minutes;
    } rows[] = {{1, 20}, {2, 40}, {3, 80}, {4, 100}, {5, 100}, {60, 100}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        /* A seed of half the spread is the middle: no jitter. */
        uint32_t due = retry_due_s(&options, created, created, rows[i].attempts, 30 * NS_PER_S);
        assert_int_equal(due, 1700000000 + rows[i].minutes * 60);
    }
}

static void jitter_is_bounded_and_a_function_of_the_seed(void **state)
{
    (void)state;
    const struct retry_options options = {.interval_ns = 20 * MINUTE, .age_max_ns = 7 * DAY};
    uint32_t low = UINT32_MAX;
    uint32_t high = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        uint64_t mixed = seed * 0x9E3779B97F4A7C15ull;
        uint32_t due = retry_due_s(&options, created, created, 1, mixed);
        assert_int_equal(due, retry_due_s(&options, created, created, 1, mixed));
        low = MIN_OF(low, due);
        high = MAX_OF(high, due);
    }
    assert_in_range(low, 1700000000 + 1200 - 30, 1700000000 + 1200 - 25);
    assert_in_range(high, 1700000000 + 1200 + 25, 1700000000 + 1200 + 30);
}

static void last_attempt_comes_just_before_expiry(void **state)
{
    (void)state;
    const struct retry_options options = {.interval_ns = 20 * MINUTE, .age_max_ns = 7 * DAY};
    uint32_t expiry = retry_expiry_s(&options, created);
    assert_int_equal(expiry, 1700000000 + 7 * 24 * 3600);
    uint64_t now = created + 5 * DAY;
    assert_int_equal(retry_due_s(&options, created, now, 10, 0), expiry - 60);
    /* After the last attempt only expiry is left. */
    assert_int_equal(retry_due_s(&options, created, (uint64_t)(expiry - 59) * NS_PER_S, 11, 0),
                     expiry);
}

static void short_lives_keep_a_last_attempt(void **state)
{
    (void)state;
    const struct retry_options options = {.interval_ns = NS_PER_S, .age_max_ns = 10 * NS_PER_S};
    assert_int_equal(retry_due_s(&options, created, created + NS_PER_S / 2, 1, 0), 1700000002);
    assert_int_equal(retry_due_s(&options, created, created + 5 * NS_PER_S, 4, 0), 1700000009);
    assert_int_equal(retry_due_s(&options, created, created + 9 * NS_PER_S, 5, 0), 1700000010);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delay_doubles_up_to_the_cap),
        cmocka_unit_test(jitter_is_bounded_and_a_function_of_the_seed),
        cmocka_unit_test(last_attempt_comes_just_before_expiry),
        cmocka_unit_test(short_lives_keep_a_last_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
