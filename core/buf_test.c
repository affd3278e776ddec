#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void writes_numbers_and_hex(void **state)
{
    (void)state;
    uint8_t memory[96];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    buf_put_u64(&buf, 0);
    buf_put_byte(&buf, ' ');
    buf_put_u64(&buf, UINT64_MAX);
    buf_put_byte(&buf, ' ');
    buf_put_i64(&buf, INT64_MIN);
    buf_put_byte(&buf, ' ');
    buf_put_padded(&buf, 7, 3);
    buf_put_byte(&buf, ' ');
    buf_put_hex(&buf, SLICE("\x01\xAF"));
    buf_printf(&buf, " %s=%d", "n", 5);
    assert_false(buf.overflow);
    assert_true(slice_equal(
        buf_slice(&buf),
        SLICE("0 18446744073709551615 -9223372036854775808 007 01af n=5")));
}

static void overflow_is_sticky_and_whole(void **state)
{
    (void)state;
    uint8_t memory[4];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    buf_put_string(&buf, "ab");
    buf_put_string(&buf, "cde");
    assert_true(buf.overflow);
    assert_int_equal(buf.size, 2);
    buf_put_string(&buf, "f");
    assert_int_equal(buf.size, 2);
    buf_printf(&buf, "x");
    assert_int_equal(buf.size, 2);
    buf_reset(&buf);
    buf_put_string(&buf, "abcd");
    assert_false(buf.overflow);
    buf_reset(&buf);
    buf_printf(&buf, "abcd");
    assert_true(buf.overflow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_numbers_and_hex),
        cmocka_unit_test(overflow_is_sticky_and_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
