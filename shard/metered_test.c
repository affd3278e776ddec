#include "shard/metered.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static void no_more_is_had_than_the_cap(void **state)
{
    (void)state;
    struct metered metered;
    metered_init(&metered, 100);
    void *first = metered_take(&metered, 60);
    assert_non_null(first);
    assert_null(metered_take(&metered, 41));
    void *second = metered_take(&metered, 40);
    assert_non_null(second);
    assert_int_equal(metered.used, 100);
    assert_null(metered_take(&metered, 1));
    metered_give(&metered, first);
    assert_int_equal(metered.used, 40);
    metered_give(&metered, second);
    metered_give(&metered, NULL);
    assert_int_equal(metered.used, 0);
}

static void what_grows_keeps_its_bytes_and_the_cap(void **state)
{
    (void)state;
    struct metered metered;
    metered_init(&metered, 100);
    char *memory = metered_resize(&metered, NULL, 10);
    assert_non_null(memory);
    memcpy(memory, "0123456789", 10);
    assert_null(metered_resize(&metered, memory, 101));
    assert_int_equal(metered.used, 10);
    memory = metered_resize(&metered, memory, 100);
    assert_non_null(memory);
    assert_memory_equal(memory, "0123456789", 10);
    assert_int_equal(metered.used, 100);
    memory = metered_resize(&metered, memory, 5);
    assert_non_null(memory);
    assert_int_equal(metered.used, 5);
    metered_give(&metered, memory);
    assert_int_equal(metered.used, 0);
}

static void a_cap_lowered_below_what_is_used_gives_nothing(void **state)
{
    (void)state;
    struct metered metered;
    metered_init(&metered, 100);
    void *memory = metered_take(&metered, 50);
    assert_non_null(memory);
    metered.limit = 40;
    assert_null(metered_take(&metered, 1));
    assert_null(metered_resize(&metered, memory, 51));
    metered_give(&metered, memory);
}

static void what_is_left_goes_at_the_end(void **state)
{
    (void)state;
    struct metered metered;
    metered_init(&metered, 100);
    assert_non_null(metered_take(&metered, 10));
    assert_non_null(metered_resize(&metered, metered_take(&metered, 10), 20));
    metered_fini(&metered); /* a leak is seen by the sanitizer */
    assert_int_equal(metered.used, 0);
    assert_non_null(metered_take(&metered, 100));
    metered_fini(&metered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_is_had_than_the_cap),
        cmocka_unit_test(what_grows_keeps_its_bytes_and_the_cap),
        cmocka_unit_test(what_is_left_goes_at_the_end),
        cmocka_unit_test(a_cap_lowered_below_what_is_used_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
