#include "core/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void what_is_taken_is_aligned_and_apart(void **state)
{
    _Alignas(ARENA_ALIGNMENT) uint8_t memory[64];
    struct arena arena;
    (void)state;
    arena_init(&arena, memory, sizeof(memory));
    uint8_t *bytes = arena_take_bytes(&arena, 3);
    uint64_t *numbers = arena_take(&arena, 2, sizeof(uint64_t));
    struct slice copy = arena_copy(&arena, SLICE("abc"));
    assert_ptr_equal(bytes, memory);
    assert_ptr_equal(numbers, memory + 8);
    assert_ptr_equal(copy.data, memory + 24);
    assert_true(slice_equal(copy, SLICE("abc")));
    assert_false(arena.overflow);
}

static void running_out_is_sticky_until_a_rewind(void **state)
{
    _Alignas(ARENA_ALIGNMENT) uint8_t memory[64];
    struct arena arena;
    (void)state;
    arena_init(&arena, memory, sizeof(memory));
    assert_non_null(arena_take_bytes(&arena, 20));
    size_t mark = arena_mark(&arena);
    assert_null(arena_take(&arena, 6, 8));
    assert_int_equal(arena.size, 20);
    assert_null(arena_take_bytes(&arena, 1));
    assert_true(slice_equal(arena_copy(&arena, SLICE("x")), SLICE_NONE));
    assert_true(arena.overflow);
    arena_rewind(&arena, mark);
    assert_non_null(arena_take_bytes(&arena, 44));
    assert_null(arena_take_bytes(&arena, 1));
}

static void a_count_that_wraps_is_refused(void **state)
{
    _Alignas(ARENA_ALIGNMENT) uint8_t memory[64];
    struct arena arena;
    (void)state;
    arena_init(&arena, memory, sizeof(memory));
    assert_null(arena_take(&arena, SIZE_MAX / 4, 8));
    arena_rewind(&arena, 0);
    assert_null(arena_take_bytes(&arena, SIZE_MAX));
    arena_rewind(&arena, 0);
    arena.capacity = 62; /* to align is to take, too */
    assert_non_null(arena_take_bytes(&arena, 61));
    assert_null(arena_take(&arena, 0, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_is_aligned_and_apart),
        cmocka_unit_test(running_out_is_sticky_until_a_rewind),
        cmocka_unit_test(a_count_that_wraps_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
