#include "core/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/poison.h"

struct thing {
    uint64_t number;
    uint8_t text[13];
};

static void takes_all_then_null_then_again_what_was_given(void **state)
{
    (void)state;
    _Alignas(16) uint8_t memory[4 * 32 + 4 * 4];
    assert_int_equal(pool_memory(sizeof(struct thing), 4), sizeof(memory));
    struct pool pool;
    pool_init(&pool, memory, sizeof(struct thing), 4);
    struct thing *things[4];
    for (uint32_t i = 0; i < 4; i++) {
        things[i] = pool_take(&pool);
        assert_non_null(things[i]);
        memset(things[i], (int)i, sizeof(struct thing));
        assert_int_equal((uintptr_t)things[i] % 16, 0);
        assert_int_equal(pool_index(&pool, things[i]), i);
        assert_ptr_equal(pool_at(&pool, i), things[i]);
        assert_int_equal(pool.used, i + 1);
    }
    assert_null(pool_take(&pool));
    pool_give(&pool, things[2]);
    assert_false(pool_is_taken(&pool, 2));
    assert_int_equal(IS_POISONED(things[2]), POISON_IN_FORCE);
    pool_give(&pool, things[0]);
    assert_int_equal(pool.used, 2);
    assert_int_equal(things[1]->text[12], 1);
    assert_int_equal(things[3]->text[12], 3);
    assert_ptr_equal(pool_take(&pool), things[0]);
    assert_ptr_equal(pool_take(&pool), things[2]);
    assert_null(pool_take(&pool));
    UNPOISON(memory, 4 * 32);
}

static void what_comes_next_faults_however_many_are_taken(void **state)
{
    (void)state;
    enum { COUNT = 5000, BYTES = 48 };
    void *memory = aligned_alloc(16, align_up(pool_memory(BYTES, COUNT), 16));
    struct pool pool;
    pool_init(&pool, memory, BYTES, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(IS_POISONED(pool.objects + i * BYTES), POISON_IN_FORCE);
        assert_ptr_equal(pool_take(&pool), pool.objects + i * BYTES);
    }
    assert_null(pool_take(&pool));
    free(memory);
}

static void handles_out_of_range_or_never_taken_are_not_taken(void **state)
{
    (void)state;
    _Alignas(16) uint8_t memory[2 * 16 + 2 * 4 + 8];
    memset(memory, 0xFE, sizeof(memory));
    struct pool pool;
    pool_init(&pool, memory, 1, 2);
    assert_false(pool_is_taken(&pool, 0));
    assert_non_null(pool_take(&pool));
    assert_true(pool_is_taken(&pool, 0));
    assert_false(pool_is_taken(&pool, 1));
    assert_false(pool_is_taken(&pool, 2));
    assert_false(pool_is_taken(&pool, UINT32_MAX));
    UNPOISON(memory, 2 * 16);
}

static void a_pool_of_none_is_always_exhausted(void **state)
{
    (void)state;
    _Alignas(16) uint8_t memory[16];
    struct pool pool;
    pool_init(&pool, memory, 64, 0);
    assert_int_equal(pool_memory(64, 0), 0);
    assert_null(pool_take(&pool));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_all_then_null_then_again_what_was_given),
        cmocka_unit_test(what_comes_next_faults_however_many_are_taken),
        cmocka_unit_test(handles_out_of_range_or_never_taken_are_not_taken),
        cmocka_unit_test(a_pool_of_none_is_always_exhausted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
