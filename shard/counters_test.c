#include "shard/counters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void counters_add_up_each_for_itself(void **state)
{
    (void)state;
    struct counters counters = {0};
    counters_add(&counters, COUNTER_commits, 2);
    counters_add(&counters, COUNTER_commits, 3);
    counters_set(&counters, COUNTER_turns, 9);
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        uint64_t expected = i == COUNTER_commits ? 5 : i == COUNTER_turns ? 9 : 0;
        assert_int_equal(counters_get(&counters, (enum counter)i), expected);
    }
}

static void names_are_those_of_the_list(void **state)
{
    (void)state;
    assert_string_equal(counter_name(COUNTER_turns), "turns");
    assert_string_equal(counter_name(COUNTER_lost_wakeups), "lost_wakeups");
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        assert_non_null(counter_name((enum counter)i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_add_up_each_for_itself),
        cmocka_unit_test(names_are_those_of_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
