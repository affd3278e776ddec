#include "core/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void an_empty_histogram_answers_zero(void **state)
{
    (void)state;
    struct histogram histogram;
    histogram_init(&histogram);
    assert_int_equal(histogram_percentile(&histogram, 0), 0);
    assert_int_equal(histogram_percentile(&histogram, 500), 0);
    assert_int_equal(histogram_percentile(&histogram, 1000), 0);
}

static void one_value_is_every_percentile(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 15, 16, 17, 31, 32, 1000, 123456789, 1ull << 40,
                                      UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        struct histogram histogram;
        histogram_init(&histogram);
        histogram_record(&histogram, values[i]);
        assert_int_equal(histogram.max, values[i]);
        assert_int_equal(histogram_percentile(&histogram, 0), values[i]);
        assert_int_equal(histogram_percentile(&histogram, 500), values[i]);
        assert_int_equal(histogram_percentile(&histogram, 1000), values[i]);
    }
}

static void percentiles_are_never_low_and_at_most_a_sixteenth_high(void **state)
{
    (void)state;
    struct histogram histogram;
    histogram_init(&histogram);
    for (uint64_t value = 1; value <= 100000; value++) {
        histogram_record(&histogram, value * 37);
    }
    for (unsigned per_mille = 1; per_mille <= 1000; per_mille++) {
        uint64_t exact = (100000ull * per_mille + 999) / 1000 * 37;
        uint64_t value = histogram_percentile(&histogram, per_mille);
        assert_true(value >= exact);
        assert_true(value <= exact + exact / 16 + 1);
    }
    assert_int_equal(histogram.count, 100000);
}

static void a_merge_is_as_if_all_had_been_recorded_in_one(void **state)
{
    (void)state;
    static struct histogram both;
    static struct histogram one;
    static struct histogram other;
    histogram_init(&both);
    histogram_init(&one);
    histogram_init(&other);
    for (uint64_t value = 1; value < 5000; value++) {
        histogram_record(&both, value * value);
        histogram_record(value % 3 == 0 ? &one : &other, value * value);
    }
    histogram_merge(&one, &other);
    assert_memory_equal(&one, &both, sizeof(both));
}

static void what_is_below_a_power_of_two_is_counted_exactly(void **state)
{
    (void)state;
    struct histogram histogram;
    histogram_init(&histogram);
    for (uint64_t value = 0; value < 5000; value++) {
        histogram_record(&histogram, value);
    }
    for (unsigned power = 0; power <= 12; power++) {
        assert_int_equal(histogram_below(&histogram, power), 1ull << power);
    }
    assert_int_equal(histogram_below(&histogram, 13), 5000);
    assert_int_equal(histogram_below(&histogram, 63), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_answers_zero),
        cmocka_unit_test(one_value_is_every_percentile),
        cmocka_unit_test(percentiles_are_never_low_and_at_most_a_sixteenth_high),
        cmocka_unit_test(what_is_below_a_power_of_two_is_counted_exactly),
        cmocka_unit_test(a_merge_is_as_if_all_had_been_recorded_in_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
