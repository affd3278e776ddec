#include "core/distinct.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <stdlib.h>

#include "core/htab.h"

static struct distinct *distinct;
static struct distinct *other;
static struct htab table; /* its hash */

static int set_up(void **state)
{
    (void)state;
    static struct htab_slot slots[8];
    htab_init(&table, slots, htab_slots_for(1), 1, NULL, NULL);
    distinct = malloc(sizeof(*distinct));
    other = malloc(sizeof(*other));
    distinct_init(distinct);
    distinct_init(other);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(distinct);
    free(other);
    return 0;
}

static void put(struct distinct *to, uint64_t from, uint64_t end)
{
    for (uint64_t i = from; i < end; i++) {
        distinct_put(to, htab_hash(&table, slice_make(&i, sizeof(i))));
    }
}

static void expect_near(const struct distinct *found, uint64_t count, unsigned per_mille)
{
    uint64_t estimate = distinct_estimate(found);
    uint64_t off = count * per_mille / 1000;
    if (estimate + off < count || estimate > count + off) {
        fail_msg("%llu for %llu", (unsigned long long)estimate, (unsigned long long)count);
    }
}

static void what_is_seen_twice_counts_once(void **state)
{
    (void)state;
    static const struct {
        uint64_t count;
        unsigned per_mille;
    } rows[] = {{0, 0}, {1, 0}, {100, 10}, {10000, 5}, {1000000, 4}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        put(distinct, 0, rows[i].count);
        put(distinct, rows[i].count / 2, rows[i].count);
        expect_near(distinct, rows[i].count, rows[i].per_mille);
    }
}

static void what_two_have_seen_counts_once(void **state)
{
    (void)state;
    put(distinct, 0, 60000);
    put(other, 40000, 100000);
    distinct_merge(distinct, other);
    expect_near(distinct, 100000, 5);
}

static void a_full_table_says_a_large_number(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DISTINCT_WORDS; i++) {
        distinct->words[i] = UINT64_MAX;
    }
    assert_true(distinct_estimate(distinct) > 14000000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_seen_twice_counts_once),
        TEST(what_two_have_seen_counts_once),
        TEST(a_full_table_says_a_large_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
