#include "core/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* The reference sequence of xoshiro256** for the state 1, 2, 3, 4. */
static void follows_the_reference_sequence(void **state)
{
    (void)state;
    static const uint64_t expected[] = {
        11520ull, 0ull, 1509978240ull, 1215971899390074240ull, 1216172134540287360ull,
    };
    struct prng prng = {.state = {1, 2, 3, 4}};
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_int_equal(prng_next(&prng), expected[i]);
    }
}

static void same_seed_same_sequence(void **state)
{
    (void)state;
    struct prng a, b, other;
    prng_seed(&a, 7);
    prng_seed(&b, 7);
    prng_seed(&other, 8);
    unsigned equal = 0;
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t value = prng_next(&a);
        assert_int_equal(value, prng_next(&b));
        equal += value == prng_next(&other);
    }
    assert_int_equal(equal, 0);
}

static void below_reaches_every_value_evenly(void **state)
{
    (void)state;
    struct prng prng;
    prng_seed(&prng, 1);
    unsigned hits[7] = {0};
    for (unsigned i = 0; i < 70000; i++) {
        uint64_t value = prng_below(&prng, COUNT_OF(hits));
        assert_true(value < COUNT_OF(hits));
        hits[value]++;
    }
    for (size_t i = 0; i < COUNT_OF(hits); i++) {
        assert_in_range(hits[i], 9500, 10500);
    }
    assert_int_equal(prng_below(&prng, 1), 0);
    uint64_t large = prng_below(&prng, (1ull << 63) + 1);
    assert_true(large <= 1ull << 63);
}

static void chance_is_per_mille(void **state)
{
    (void)state;
    struct prng prng;
    prng_seed(&prng, 2);
    unsigned hits = 0;
    for (unsigned i = 0; i < 100000; i++) {
        assert_false(prng_chance(&prng, 0));
        assert_true(prng_chance(&prng, 1000));
        hits += prng_chance(&prng, 100);
    }
    assert_in_range(hits, 9500, 10500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_reference_sequence),
        cmocka_unit_test(same_seed_same_sequence),
        cmocka_unit_test(below_reaches_every_value_evenly),
        cmocka_unit_test(chance_is_per_mille),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
