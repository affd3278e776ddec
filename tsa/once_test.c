#include "tsa/once.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define NOW_NS (1796126400ull * NS_PER_S)

static struct heap heap;
static struct once once;

static int set_up(void **state)
{
    (void)state;
    heap_init(&heap);
    once_init(&once, &heap, 4, 7);
    once_begin(&once, NOW_NS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    heap_fini(&heap);
    return 0;
}

static struct id id_at(uint64_t wall_ns, unsigned number)
{
    struct id_source source;
    id_source_init(&source, (uint16_t)number, 1);
    return id_next(&source, wall_ns);
}

static void d10_a_hundred_thousand_replays_count_once(void **state)
{
    struct id id = id_at(NOW_NS, 1);
    struct id other = id_at(NOW_NS, 2);
    (void)state;
    assert_true(once_take(&once, &id, NOW_NS));
    for (unsigned i = 0; i < 100000; i++) {
        assert_false(once_take(&once, &id, NOW_NS + i * NS_PER_S));
    }
    assert_true(once_take(&once, &other, NOW_NS));
    assert_int_equal(once.count, 2);
    assert_int_equal(once.refused, 0);
}

static void d10_what_is_old_or_of_before_the_start_counts_not_at_all(void **state)
{
    struct id before = id_at(NOW_NS - NS_PER_MS, 1);
    struct id first = id_at(NOW_NS, 1);
    struct id late = id_at(NOW_NS, 2);
    (void)state;
    assert_false(once_take(&once, &before, NOW_NS));
    assert_true(once_take(&once, &first, NOW_NS + ONCE_AGE_NS));
    assert_false(once_take(&once, &late, NOW_NS + ONCE_AGE_NS + NS_PER_MS));
    assert_false(once_take(&once, &first, NOW_NS + ONCE_AGE_NS + NS_PER_MS));
}

/* Rather none than one twice. */
static void d10_without_room_nothing_is_forgotten_that_could_come_again(void **state)
{
    struct id ids[5];
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        ids[i] = id_at(NOW_NS + i * NS_PER_S, i);
        assert_int_equal(once_take(&once, &ids[i], NOW_NS + 5 * NS_PER_S), i < 4);
    }
    assert_int_equal(once.refused, 1);
    for (unsigned i = 0; i < 4; i++) {
        assert_false(once_take(&once, &ids[i], NOW_NS + 5 * NS_PER_S));
    }
    /* The first two are too old to count by now. */
    uint64_t later = NOW_NS + ONCE_AGE_NS + NS_PER_S + NS_PER_MS;
    struct id next = id_at(later, 9);
    assert_true(once_take(&once, &ids[4], later));
    assert_true(once_take(&once, &next, later));
    assert_int_equal(once.count, 4);
    for (unsigned i = 0; i < 5; i++) {
        assert_false(once_take(&once, &ids[i], later));
    }
    assert_false(once_take(&once, &next, later));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(d10_a_hundred_thousand_replays_count_once),
        TEST(d10_what_is_old_or_of_before_the_start_counts_not_at_all),
        TEST(d10_without_room_nothing_is_forgotten_that_could_come_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
