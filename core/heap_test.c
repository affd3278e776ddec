#include "core/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static void what_is_taken_is_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    struct heap heap;
    uint8_t *last = NULL;
    heap_init(&heap);
    for (size_t bytes = 1; bytes < 3000; bytes += 37) {
        uint8_t *taken = heap_take(&heap, bytes);
        assert_int_equal((uintptr_t)taken % 64, 0);
        for (size_t i = 0; i < bytes; i++) {
            assert_int_equal(taken[i], 0);
        }
        assert_ptr_not_equal(taken, last);
        memset(taken, 0xA5, bytes);
        last = taken;
    }
    heap_fini(&heap);
    assert_int_equal(heap.bytes, 0);
}

static void more_than_a_chunk_is_taken_whole(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    uint8_t *large = heap_take_array(&heap, 3, 100000);
    memset(large, 1, 300000);
    uint8_t *small = heap_take(&heap, 10);
    memset(small, 2, 10);
    assert_int_equal(large[299999], 1);
    heap_fini(&heap);
}

/* They come from the other end of what memory is taken from. */
static void many_copies_end_with_their_nuls_and_lie_apart_from_memory(void **state)
{
    (void)state;
    struct heap heap;
    char *copies[5000];
    unsigned *numbers[5000];
    heap_init(&heap);
    for (unsigned i = 0; i < 5000; i++) {
        char text[80];
        int size = snprintf(text, sizeof(text), "%0*u", 1 + (int)(i % 60), i);
        copies[i] = (char *)(uintptr_t)heap_copy(&heap, slice_make(text, (size_t)size)).data;
        numbers[i] = heap_take(&heap, sizeof(**numbers) * (1 + i % 40));
        assert_int_equal((uintptr_t)numbers[i] % 64, 0);
        memset(numbers[i], 0xFF, sizeof(**numbers) * (1 + i % 40));
        *numbers[i] = i;
    }
    for (unsigned i = 0; i < 5000; i++) {
        char text[80];
        snprintf(text, sizeof(text), "%0*u", 1 + (int)(i % 60), i);
        assert_string_equal(copies[i], text);
        assert_int_equal(*numbers[i], i);
    }
    heap_fini(&heap);
}

static void a_copy_ends_with_a_nul(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    struct slice copy = heap_copy(&heap, SLICE("abc"));
    assert_true(slice_equal(copy, SLICE("abc")));
    assert_int_equal(copy.data[3], 0);
    assert_int_equal(heap_copy(&heap, SLICE_NONE).size, 0);
    heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_is_zeroed_aligned_and_apart),
        cmocka_unit_test(more_than_a_chunk_is_taken_whole),
        cmocka_unit_test(many_copies_end_with_their_nuls_and_lie_apart_from_memory),
        cmocka_unit_test(a_copy_ends_with_a_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
