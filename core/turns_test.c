#include "core/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/prng.h"

static const struct {
    uint32_t weights[8];
    size_t count;
    uint64_t turns;
} rows[] = {
    {{1}, 1, 1},
    {{7}, 1, 1},
    {{0, 7}, 2, 1},
    {{1, 1}, 2, 2},
    {{100, 50}, 2, 3},
    {{5, 1, 1}, 3, 7},
    {{0, 3, 0, 6}, 4, 3},
    {{4294967295u, 4294967295u}, 2, 2},
    {{4000000000u, 1000000000u}, 2, 5},
    {{65535, 1}, 2, 65536},
    {{1, 65535}, 2, 65536},
    {{21845, 21845, 21846}, 3, 65536},
    {{3, 5, 7, 11, 13, 17, 19, 23}, 8, 98},
    {{10, 1, 1, 1, 1, 1, 1, 1}, 8, 17},
    {{0, 0}, 2, 0},
    {{0}, 0, 0},
};

/* Counts in any part of the cycle that begins with it. */
static void expect_even(const uint32_t *weights, size_t count, uint64_t turns)
{
    struct heap heap;
    heap_init(&heap);
    uint16_t *cycle = heap_take_array(&heap, (size_t)turns + 1, sizeof(*cycle));
    uint64_t *had = heap_take_array(&heap, count + 1, sizeof(*had));
    double sum = 0;
    turns_fill(weights, count, &heap, cycle);
    for (size_t i = 0; i < count; i++) {
        sum += weights[i];
    }
    for (size_t turn = 0; turn < turns; turn++) {
        assert_in_range(cycle[turn], 0, count - 1);
        had[cycle[turn]]++;
        for (size_t i = 0; i < count; i++) {
            double fair = (double)(turn + 1) * weights[i] / sum;
            assert_true(fair - (double)had[i] < 1 && (double)had[i] - fair < 1);
        }
    }
    for (size_t i = 0; i < count && turns > 0; i++) {
        assert_true((double)had[i] * sum == (double)weights[i] * (double)turns);
    }
    heap_fini(&heap);
}

static void each_member_comes_by_its_weight_and_evenly(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(turns_count(rows[i].weights, rows[i].count), rows[i].turns);
        expect_even(rows[i].weights, rows[i].count, rows[i].turns);
    }
}

static void any_weights_make_an_even_cycle(void **state)
{
    (void)state;
    const char *given = getenv("SEED");
    uint64_t seed = given == NULL ? 7 : strtoull(given, NULL, 10);
    struct prng prng;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    prng_seed(&prng, seed);
    for (unsigned round = 0; round < 500; round++) {
        uint32_t weights[40];
        size_t count = 1 + prng_below(&prng, COUNT_OF(weights));
        for (size_t i = 0; i < count; i++) {
            weights[i] = (uint32_t)prng_below(&prng, prng_below(&prng, 2) ? 4 : 60);
        }
        expect_even(weights, count, turns_count(weights, count));
    }
}

static void the_largest_pool_has_a_cycle(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    uint32_t *weights = heap_take_array(&heap, TURNS_MEMBERS_MAX, sizeof(*weights));
    uint16_t *cycle = heap_take_array(&heap, TURNS_MAX, sizeof(*cycle));
    for (size_t i = 0; i < TURNS_MEMBERS_MAX; i++) {
        weights[i] = i % 2 == 0 ? 127 : 129;
    }
    assert_int_equal(turns_count(weights, TURNS_MEMBERS_MAX), TURNS_MAX);
    turns_fill(weights, TURNS_MEMBERS_MAX, &heap, cycle);
    unsigned first = 0;
    for (size_t i = 0; i < TURNS_MAX; i++) {
        first += cycle[i] == 0;
    }
    assert_int_equal(first, 127);
    heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_member_comes_by_its_weight_and_evenly),
        cmocka_unit_test(any_weights_make_an_even_cycle),
        cmocka_unit_test(the_largest_pool_has_a_cycle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
