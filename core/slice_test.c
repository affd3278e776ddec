#include "core/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>

static void parse_u64_takes_digits_only(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
        uint64_t value;
    } rows[] = {
        {"0", true, 0},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"+1", false, 0},
        {"-1", false, 0},
        {" 1", false, 0},
        {"0x10", false, 0},
        {"1e3", false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t value = 0;
        assert_int_equal(slice_parse_u64(slice_from_string(rows[i].text), &value), rows[i].valid);
        assert_int_equal(value, rows[i].value);
    }
}

static void utf8_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"", true},           {"plain", true},
        {"\xC3\xA9", true},   {"\xE2\x82\xAC", true},
        {"\xF0\x9F\x98\x80", true},
        {"\xC0\xAF", false},  {"\xE0\x9F\xBF", false},
        {"\xED\xA0\x80", false},
        {"\xF4\x90\x80\x80", false},
        {"\xC3", false},      {"\x80", false},
        {"\xFF", false},      {"a\xE2\x82", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(slice_is_utf8(slice_from_string(rows[i].text)), rows[i].valid);
    }
}

static void trim_and_compare(void **state)
{
    (void)state;
    assert_true(slice_equal(slice_trim(SLICE(" \ta b\t ")), SLICE("a b")));
    assert_true(slice_equal(slice_trim(SLICE("  ")), SLICE("")));
    assert_true(slice_equal_nocase(SLICE("MaIl"), SLICE("mAiL")));
    assert_false(slice_equal_nocase(SLICE("mail"), SLICE("mai")));
    assert_true(slice_starts_with(SLICE("abc"), SLICE("ab")));
    assert_false(slice_starts_with(SLICE("a"), SLICE("ab")));
    assert_true(slice_ends_with(SLICE("abc"), SLICE("bc")));
    assert_int_equal(slice_find(SLICE("abc"), 'c'), 2);
    assert_int_equal(slice_find(SLICE("abc"), 'x'), 3);
    assert_int_equal(slice_find(SLICE_NONE, 'x'), 0);
}

static void slices_are_in_the_order_of_their_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        const char *after;
    } rows[] = {
        {"", "a"},
        {"a", "b"},
        {"ab", "abc"}, /* a beginning of the other */
        {"abc", "b"},
        {"a\x7F", "a\x80"}, /* bytes have no sign */
        {"Z", "a"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice before = slice_from_string(rows[i].before);
        struct slice after = slice_from_string(rows[i].after);
        assert_true(slice_compare(before, after) < 0);
        assert_true(slice_compare(after, before) > 0);
        assert_int_equal(slice_compare(after, after), 0);
    }
    assert_int_equal(slice_compare(SLICE_NONE, SLICE_NONE), 0);
}

static void hexadecimal_digits_have_values_and_nothing_else(void **state)
{
    static const char digits[] = "0123456789abcdef";
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        const char *at = byte == 0 ? NULL : strchr(digits, ascii_lower((uint8_t)byte));
        assert_int_equal(ascii_hex_value((uint8_t)byte), at == NULL ? -1 : (int)(at - digits));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_in_the_order_of_their_bytes),
        cmocka_unit_test(hexadecimal_digits_have_values_and_nothing_else),
        cmocka_unit_test(parse_u64_takes_digits_only),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(trim_and_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
