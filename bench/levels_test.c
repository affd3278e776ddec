#include "bench/levels.h"

#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SAMPLES 90u

static const struct level_rule rule = {.share = 0.05, .slack = 4};

static struct level level_with(double (*value)(double second))
{
    double seconds[SAMPLES];
    double values[SAMPLES];
    for (unsigned i = 0; i < SAMPLES; i++) {
        seconds[i] = i * 40.0; /* an hour */
        values[i] = value(seconds[i]);
    }
    return level_of(seconds, values, SAMPLES, &rule);
}

static double flat(double second)
{
    (void)second;
    return 100;
}

static double rising(double second)
{
    return 100 + second / 36; /* by 100 an hour */
}

static double rising_within_the_slack(double second)
{
    return 1 + second / 900; /* by 4 an hour, from 1 */
}

static double filling(double second)
{
    return 100 * (1 - exp(-second / 300));
}

static double falling(double second)
{
    return 100 - second / 36;
}

static double sawtooth(double second)
{
    return 100 + fmod(second, 400) / 10;
}

static double known_late(double second)
{
    return second < 1300 ? NAN : 7;
}

static double never_known(double second)
{
    (void)second;
    return INFINITY;
}

static void what_grows_from_the_middle_third_to_the_last_is_not_level(void **state)
{
    (void)state;
    static const struct {
        double (*value)(double second);
        bool known;
        bool level;
    } rows[] = {
        {flat, true, true},     {rising, true, false},   {rising_within_the_slack, true, true},
        {filling, true, true},  {falling, true, true},   {sawtooth, true, true},
        {known_late, true, true}, {never_known, false, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct level level = level_with(rows[i].value);
        assert_int_equal(level.known, rows[i].known);
        assert_int_equal(level.level, rows[i].level);
    }
}

static void assert_near(double value, double wanted)
{
    assert_true(fabs(value - wanted) < 1e-6);
}

static void means_and_slope_are_those_of_the_values_that_are_known(void **state)
{
    (void)state;
    struct level level = level_with(rising);
    assert_near(level.per_hour, 100);
    assert_near(level.first, 100 + 14.5 * 40 / 36);
    assert_near(level.middle, 100 + 44.5 * 40 / 36);
    assert_near(level.last, 100 + 74.5 * 40 / 36);
    level = level_with(known_late);
    assert_true(isnan(level.first));
    assert_near(level.last, 7);
    assert_near(level.per_hour, 0);
    level = level_of(NULL, NULL, 0, &rule);
    assert_true(isnan(level.last) && !level.level);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_grows_from_the_middle_third_to_the_last_is_not_level),
        cmocka_unit_test(means_and_slope_are_those_of_the_values_that_are_known),
    };
    return cmocka_run_group_tests_name("levels", tests, NULL, NULL);
}
