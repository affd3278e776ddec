#include "shard/queue/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#define DAY_NS (86400 * NS_PER_S)

static void assert_ms(const struct hold_clock *clock, enum hold_reason reason, uint64_t now_ns,
                      uint64_t ms)
{
    assert_int_equal(hold_clock_ms(clock, reason, now_ns), ms);
}

static void time_goes_to_the_reason_in_force(void **state)
{
    (void)state;
    struct hold_clock clock;
    hold_clock_init(&clock, HOLD_empty, 5 * NS_PER_S);
    hold_clock_set(&clock, HOLD_not_due, 7 * NS_PER_S);
    hold_clock_set(&clock, HOLD_not_due, 8 * NS_PER_S); /* nothing new: still since 7 */
    assert_int_equal(clock.since_ns, 7 * NS_PER_S);
    hold_clock_set(&clock, HOLD_empty, 10 * NS_PER_S);
    assert_ms(&clock, HOLD_empty, 11 * NS_PER_S, 3000);
    assert_ms(&clock, HOLD_not_due, 11 * NS_PER_S, 3000);
    assert_ms(&clock, HOLD_none, 11 * NS_PER_S, 0);
}

/* Changes apart by fractions of a millisecond lose nothing. */
static void short_times_add_up(void **state)
{
    (void)state;
    struct hold_clock clock;
    uint64_t now_ns = 123456789;
    const uint64_t start_ns = now_ns;
    hold_clock_init(&clock, HOLD_none, now_ns);
    for (unsigned i = 0; i < 10000; i++) {
        now_ns += 300007;
        hold_clock_set(&clock, HOLD_connection_limit, now_ns);
        now_ns += 100003;
        hold_clock_set(&clock, HOLD_none, now_ns);
    }
    uint64_t all = (now_ns - start_ns) / NS_PER_MS;
    uint64_t limit = hold_clock_ms(&clock, HOLD_connection_limit, now_ns);
    assert_in_range(hold_clock_ms(&clock, HOLD_none, now_ns) + limit, all - 1, all);
    assert_in_range(limit, 990, 1010); /* a quarter of 4 s */
}

static void two_years_fit(void **state)
{
    (void)state;
    struct hold_clock clock;
    hold_clock_init(&clock, HOLD_not_due, 0);
    hold_clock_set(&clock, HOLD_none, 790 * DAY_NS);
    assert_ms(&clock, HOLD_not_due, 790 * DAY_NS, 790ull * 86400 * 1000);
}

static void followers_share_what_happens_while_they_follow_and_nothing_else(void **state)
{
    (void)state;
    struct hold_clock lead;
    struct hold_clock early;
    struct hold_clock late;
    /* The leader has had more than 2^32 sixteenths of each before anybody follows. */
    const uint64_t start_ns = 200 * DAY_NS;
    hold_clock_init(&lead, HOLD_none, 0);
    hold_clock_set(&lead, HOLD_message_rate, 100 * DAY_NS);
    hold_clock_init(&early, HOLD_empty, start_ns - NS_PER_S);
    hold_clock_init(&late, HOLD_not_due, start_ns - NS_PER_S);

    hold_clock_follow(&early, &lead, start_ns);
    hold_clock_set(&lead, HOLD_none, start_ns + 3 * NS_PER_S);
    hold_clock_follow(&late, &lead, start_ns + 5 * NS_PER_S);
    hold_clock_set(&lead, HOLD_empty, start_ns + 6 * NS_PER_S); /* holds nobody back */
    assert_int_equal(hold_clock_following(&lead), HOLD_none);
    hold_clock_leave(&early, &lead, HOLD_empty, start_ns + 7 * NS_PER_S);
    assert_int_equal(early.since_ns, start_ns + 7 * NS_PER_S);
    hold_clock_set(&lead, HOLD_message_rate, start_ns + 8 * NS_PER_S);

    const uint64_t now_ns = start_ns + 10 * NS_PER_S;
    static const struct {
        enum hold_reason reason;
        uint64_t early_ms;
        uint64_t late_ms;
    } rows[] = {
        {HOLD_empty, 1000 + 3000, 0},
        {HOLD_not_due, 0, 6000},
        {HOLD_message_rate, 3000, 2000},
        {HOLD_none, 4000, 3000},
        {HOLD_memory, 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_ms(&early, rows[i].reason, now_ns, rows[i].early_ms);
        assert_int_equal(hold_clock_following_ms(&late, &lead, rows[i].reason, now_ns),
                         rows[i].late_ms);
    }
}

static void every_reason_has_a_word_and_a_state(void **state)
{
    (void)state;
    unsigned waiting = 0;
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        assert_true(strlen(hold_name((enum hold_reason)i)) > 0);
        waiting += strcmp(hold_state_name((enum hold_reason)i), "waiting") == 0;
    }
    assert_int_equal(waiting, HOLD_REASONS_COUNT - 4);
    assert_string_equal(hold_state_name(HOLD_suspended_rule), "suspended");
    assert_string_equal(hold_state_name(HOLD_suspended_admin), "suspended");
    assert_string_equal(hold_state_name(HOLD_none), "moving");
    assert_string_equal(hold_state_name(HOLD_empty), "empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_goes_to_the_reason_in_force),
        cmocka_unit_test(short_times_add_up),
        cmocka_unit_test(two_years_fit),
        cmocka_unit_test(followers_share_what_happens_while_they_follow_and_nothing_else),
        cmocka_unit_test(every_reason_has_a_word_and_a_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
