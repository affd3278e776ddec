#include "smtp/provider_sums.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static uint64_t recipients_of(const struct provider_sums *sums, const char *name)
{
    for (uint32_t i = 0; i < sums->count; i++) {
        if (slice_equal(slice_make(sums->rows[i].name, sums->rows[i].bytes),
                        slice_from_string(name))) {
            return sums->rows[i].recipients;
        }
    }
    return UINT64_MAX;
}

static void recipients_are_summed_by_name_over_all_parts(void **state)
{
    (void)state;
    struct provider_sums one = {0};
    struct provider_sums two = {0};
    provider_sums_add(&one, SLICE("big"), 5);
    provider_sums_add(&one, SLICE_NONE, 7);
    provider_sums_add(&one, SLICE("big"), 1);
    provider_sums_add(&two, SLICE("small"), 0);
    provider_sums_add(&two, SLICE("big"), 10);
    provider_sums_add(&two, SLICE("bigger"), 2);
    provider_sums_merge(&one, &two);
    assert_int_equal(one.count, 3);
    assert_int_equal(recipients_of(&one, "big"), 16);
    assert_int_equal(recipients_of(&one, "small"), 0);
    assert_int_equal(recipients_of(&one, "bigger"), 2);
    assert_int_equal(one.others, 7);
}

static void names_beyond_the_most_are_the_others(void **state)
{
    (void)state;
    struct provider_sums sums = {0};
    char name[16];
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < PROVIDER_SUMS_MAX + 3; i++) {
            snprintf(name, sizeof(name), "p%u", i);
            provider_sums_add(&sums, slice_from_string(name), 1);
        }
    }
    assert_int_equal(sums.count, PROVIDER_SUMS_MAX);
    assert_int_equal(recipients_of(&sums, "p0"), 2);
    assert_int_equal(recipients_of(&sums, "p63"), 2);
    assert_int_equal(sums.others, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recipients_are_summed_by_name_over_all_parts),
        cmocka_unit_test(names_beyond_the_most_are_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
