#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>

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

/* What printf makes of it, for every number of digits and for every size of what is hex. */
static void numbers_and_hex_of_every_length_are_as_printf_writes_them(void **state)
{
    (void)state;
    uint8_t memory[96];
    char wanted[96];
    struct buf buf;
    for (uint64_t power = 1, i = 0; i < 20; i++, power *= 10) {
        const uint64_t values[] = {power - 1, power, power + 7, power * 5 / 3};
        for (size_t k = 0; k < COUNT_OF(values); k++) {
            buf_init(&buf, memory, sizeof(memory));
            buf_put_u64(&buf, values[k]);
            buf_put_padded(&buf, values[k], 20);
            snprintf(wanted, sizeof(wanted), "%" PRIu64 "%020" PRIu64, values[k], values[k]);
            assert_true(slice_equal(buf_slice(&buf), slice_from_string(wanted)));
        }
    }
    for (unsigned first = 0; first < 256; first++) {
        uint8_t bytes[19];
        for (size_t size = 0; size <= sizeof(bytes); size++) {
            size_t at = 0;
            for (size_t k = 0; k < size; k++) {
                bytes[k] = (uint8_t)(first + 29 * k);
                at += (size_t)snprintf(wanted + at, sizeof(wanted) - at, "%02x", bytes[k]);
            }
            buf_init(&buf, memory, sizeof(memory));
            buf_put_hex(&buf, slice_make(bytes, size));
            assert_int_equal(buf.size, 2 * size);
            assert_memory_equal(memory, wanted, at);
        }
    }
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

static void what_strangers_write_is_shown_as_printable_ascii(void **state)
{
    uint8_t bytes[32];
    struct buf buf;
    (void)state;
    buf_init(&buf, bytes, sizeof(bytes));
    buf_put_shown(&buf, SLICE("a b\r\n\x7F~\xC3\xA9!"), 9);
    assert_true(slice_equal(buf_slice(&buf), SLICE("a?b" "???" "~" "??")));
    buf_reset(&buf);
    buf_put_hex_upper(&buf, 0xA0);
    buf_put_hex_upper(&buf, 0x0F);
    assert_true(slice_equal(buf_slice(&buf), SLICE("A00F")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_strangers_write_is_shown_as_printable_ascii),
        cmocka_unit_test(writes_numbers_and_hex),
        cmocka_unit_test(numbers_and_hex_of_every_length_are_as_printf_writes_them),
        cmocka_unit_test(overflow_is_sticky_and_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
