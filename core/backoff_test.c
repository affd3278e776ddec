#include "core/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* Between half of the pause and all of it, which doubles up to the bound and stays there. */
static void pauses_double_up_to_a_bound_and_a_half_is_random(void **state)
{
    static const struct {
        unsigned failures;
        uint64_t most_ns;
    } rows[] = {{1, 100}, {2, 200}, {3, 400}, {4, 800}, {5, 1000}, {16, 1000}, {4000000000u, 1000}};
    struct prng prng;
    (void)state;
    prng_seed(&prng, 1);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t least_ns = UINT64_MAX;
        uint64_t greatest_ns = 0;
        for (unsigned k = 0; k < 1000; k++) {
            uint64_t ns = backoff_ns(rows[i].failures, 100, 1000, &prng);
            assert_in_range(ns, rows[i].most_ns / 2, rows[i].most_ns);
            least_ns = MIN_OF(least_ns, ns);
            greatest_ns = MAX_OF(greatest_ns, ns);
        }
        assert_true(greatest_ns - least_ns > rows[i].most_ns / 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_double_up_to_a_bound_and_a_half_is_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
