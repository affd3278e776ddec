#include "smtp/named_values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void what_was_put_is_read_back_in_its_order(void **state)
{
    (void)state;
    static uint8_t memory[80000];
    static uint8_t long_value[UINT16_MAX];
    const struct named_value values[] = {
        {SLICE("a"), SLICE("1")}, {SLICE(""), SLICE("")}, {SLICE("b\0c"), SLICE("\r\n")},
        {SLICE("long"), {long_value, sizeof(long_value)}}};
    struct named_value value;
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        named_value_put(&buf, values[i].name, values[i].value);
    }
    assert_false(buf.overflow);
    struct slice list = buf_slice(&buf);
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        assert_true(named_value_next(&list, &value));
        assert_true(slice_equal(value.name, values[i].name));
        assert_true(slice_equal(value.value, values[i].value));
    }
    assert_false(named_value_next(&list, &value));
}

/* In memory of its own, so that a look behind it is seen. */
static void a_list_that_was_cut_ends_before_the_cut(void **state)
{
    (void)state;
    uint8_t memory[64];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    named_value_put(&buf, SLICE("name"), SLICE("value"));
    named_value_put(&buf, SLICE("n"), SLICE("v"));
    for (size_t size = 0; size <= buf.size; size++) {
        uint8_t *copy = malloc(size + 1);
        memcpy(copy, memory, size);
        struct slice list = slice_make(copy, size);
        struct named_value value;
        unsigned count = 0;
        while (named_value_next(&list, &value)) {
            count++;
        }
        assert_int_equal(count, size < 12 ? 0 : size < buf.size ? 1 : 2);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_read_back_in_its_order),
        cmocka_unit_test(a_list_that_was_cut_ends_before_the_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
