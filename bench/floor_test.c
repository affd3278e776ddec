#include "bench/floor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void legs_have_the_bytes_of_the_contract(void **state)
{
    (void)state;
    static const struct {
        enum bench_mode mode;
        unsigned count;
        struct floor_step steps[FLOOR_STEPS_MAX];
    } rows[] = {
        {MODE_PLAIN, 4, {{40, 30}, {40, 30}, {6, 40}, {4099, 40}}},
        {MODE_PIPELINED, 2, {{120, 100}, {4099, 40}}},
        {MODE_BDAT, 1, {{4216, 140}}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct floor_leg leg = floor_leg_of(rows[i].mode, 4096);
        assert_int_equal(leg.count, rows[i].count);
        for (unsigned k = 0; k < leg.count; k++) {
            assert_int_equal(leg.steps[k].ask, rows[i].steps[k].ask);
            assert_int_equal(leg.steps[k].answer, rows[i].steps[k].answer);
        }
        assert_int_equal(leg.before + leg.body + leg.after, leg.steps[leg.count - 1].ask);
        assert_int_equal(leg.body, 4096);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legs_have_the_bytes_of_the_contract),
    };
    return cmocka_run_group_tests_name("floor", tests, NULL, NULL);
}
