#include "smtp/report_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static void assert_text(struct slice slice, const char *expected)
{
    if (!slice_equal(slice, slice_from_string(expected))) {
        fail_msg("'%.*s' is not '%s'", (int)slice.size, (const char *)slice.data, expected);
    }
}

static void d07_addresses_are_made_alike(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *address;
    } rows[] = {
        {" rfc822; a@b", "a@b"},
        {"RFC822;a@b", "a@b"},
        {"rfc822;<a@b>", "a@b"},
        {"rfc822; < a@b >", "a@b"},
        {"a@b", "a@b"},
        {"<a@b>", "a@b"},
        {"(x) rfc822 (y) ; (z) a@b (w)", "a@b"},
        {"rfc822;\r\n a@b", "a@b"},
        {"rfc822; a@b\r\n (x)", "a@b"},
        {"rfc822; \"a b\"@c", "\"a b\"@c"},
        {"rfc822; \"a (b;\\\" c\"@d", "\"a (b;\\\" c\"@d"},
        {"\"a;b\"@c", "\"a;b\"@c"},
        {"rfc822; a b@c", "a b@c"},
        {"x400; /C=DE/", "/C=DE/"},
        {"utf-8; z\xC3\xB6@b", "z\xC3\xB6@b"},
        {"utf-8; z\\x{F6}\\x{1F600}@b", "z\xC3\xB6\xF0\x9F\x98\x80@b"},
        {"utf-8; \\x{41}\\x{}\\x{1234567}\\x{zz}\\x{F6", "A\\x{}\\x{1234567}\\x{zz}\\x{F6"},
        {"utf-8; \\x{D800}\\x{0}\\x{A}x", "?????x"},
        {"rfc822; \\x{F6}", "\\x{F6}"},
        {"rfc822; \xFF\x01@b", "??@b"},
        {"rfc822;", ""},
        {"", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[64];
        struct buf buf;
        buf_init(&buf, memory, sizeof(memory));
        report_put_address(&buf, slice_from_string(rows[i].value));
        assert_text(buf_slice(&buf), rows[i].address);
    }
}

static void d07_what_is_too_long_is_cut_between_characters(void **state)
{
    (void)state;
    static uint8_t value[10 * KIB];
    static uint8_t memory[2 * REPORT_TEXT_BYTES_MAX];
    for (size_t before = 0; before < 4; before++) {
        struct buf buf;
        memset(value, 'x', before);
        for (size_t i = before; i + 2 <= sizeof(value); i += 2) {
            memcpy(value + i, "\xC3\xB6", 2);
        }
        buf_init(&buf, memory, sizeof(memory));
        report_put_address(&buf, slice_make(value, sizeof(value)));
        assert_int_equal(buf.size, REPORT_TEXT_BYTES_MAX - before % 2);
        assert_true(slice_is_utf8(buf_slice(&buf)));
        assert_memory_equal(memory, value, buf.size);
    }
}

static void texts_stand_on_one_line_without_controls(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *text;
    } rows[] = {
        {" smtp; 550\r\n\t5.1.1 no\r\n ", "smtp; 550 5.1.1 no"},
        {"a\x1B[31m\x7F" "b\r" "c\nd", "a?[31m?b cd"},
        {"\xC3\xA9 \xE2\x82\xAC", "\xC3\xA9 \xE2\x82\xAC"},
        {"\xC3 \xE2\x82\xAC", "? ???"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[64];
        struct buf buf;
        buf_init(&buf, memory, sizeof(memory));
        report_put_text(&buf, slice_from_string(rows[i].value));
        assert_text(buf_slice(&buf), rows[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d07_addresses_are_made_alike),
        cmocka_unit_test(d07_what_is_too_long_is_cut_between_characters),
        cmocka_unit_test(texts_stand_on_one_line_without_controls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
