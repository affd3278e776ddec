#include "shard/watchdog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define STAND (10 * NS_PER_S)

static void only_standing_still_with_cpu_time_is_stuck(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t turns, cpu_ns, now_ns; /* at the second look; the first was 5, 1 s, 1 s */
        bool stuck;
    } rows[] = {
        {"turns went on", 6, 12 * NS_PER_S, 12 * NS_PER_S, false},
        {"stands, burns, not long enough", 5, 10 * NS_PER_S, 11 * NS_PER_S, false},
        {"stands and burns", 5, 12 * NS_PER_S, 12 * NS_PER_S, true},
        {"stands without CPU: stolen or blocked", 5, NS_PER_S, 100 * NS_PER_S, false},
        {"stands, wakes a little", 5, NS_PER_S + NS_PER_MS, 100 * NS_PER_S, false},
        {"thread has ended", 5, 0, 100 * NS_PER_S, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct watch watch = {0};
        assert_false(watch_look(&watch, 5, NS_PER_S, NS_PER_S, STAND));
        if (watch_look(&watch, rows[i].turns, rows[i].cpu_ns, rows[i].now_ns, STAND) !=
            rows[i].stuck) {
            fail_msg("%s", rows[i].name);
        }
    }
}

static void a_turn_starts_the_clock_again(void **state)
{
    (void)state;
    struct watch watch = {0};
    assert_false(watch_look(&watch, 0, 0, NS_PER_S, STAND));
    assert_false(watch_look(&watch, 1, 9 * NS_PER_S, 10 * NS_PER_S, STAND));
    assert_false(watch_look(&watch, 1, 18 * NS_PER_S, 19 * NS_PER_S, STAND));
    assert_true(watch_look(&watch, 1, 20 * NS_PER_S, 21 * NS_PER_S, STAND));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_standing_still_with_cpu_time_is_stuck),
        cmocka_unit_test(a_turn_starts_the_clock_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
