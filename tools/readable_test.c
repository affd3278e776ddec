#include "tools/readable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/json.h"

static void counts_are_grouped(void **state)
{
    static const struct {
        uint64_t count;
        const char *text;
    } cases[] = {{0, "0"}, {7, "7"}, {999, "999"}, {1000, "1,000"}, {12345, "12,345"},
                 {999999, "999,999"}, {1234567, "1,234,567"},
                 {UINT64_MAX, "18,446,744,073,709,551,615"}};
    char text[READABLE_BYTES];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_string_equal(readable_count(text, cases[i].count), cases[i].text);
    }
}

static void durations_have_their_two_largest_units(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {{0, "0ms"}, {999, "999ms"}, {1000, "1s"}, {12345, "12s"}, {60000, "1m"},
                 {192000, "3m 12s"}, {3600000, "1h"}, {3661000, "1h 1m"}, {3605000, "1h"},
                 {86400000, "1d"}, {187200000, "2d 4h"}, {UINT64_MAX, "213503982334d 14h"}};
    char text[READABLE_BYTES];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_string_equal(readable_duration(text, cases[i].ms), cases[i].text);
    }
}

static void sizes_and_rates_have_few_digits(void **state)
{
    char text[READABLE_BYTES];
    (void)state;
    assert_string_equal(readable_size(text, 512), "512");
    assert_string_equal(readable_size(text, 1536), "1.5 KiB");
    assert_string_equal(readable_size(text, 3ull << 30), "3.0 GiB");
    assert_string_equal(readable_rate(text, 0), "0.0");
    assert_string_equal(readable_rate(text, 12.34), "12.3");
    assert_string_equal(readable_rate(text, 99.96), "100");
    assert_string_equal(readable_rate(text, 1234.5), "1,235");
}

static const struct {
    const char *text;
    const char *shown;
} poison[] = {
    {"plain", "plain"},
    {"naïve €", "naïve €"},
    {"\x1b]0;owned\x07", "\\u001b]0;owned\\u0007"},
    {"a\r\nb", "a\\r\\nb"},
    {"\xc2\x9b" "31m", "\\u009b31m"},
    {"\xe2\x80\xae" "gpj.exe", "\\u202egpj.exe"},
    {"\xe2\x80\xa8", "\\u2028"},
    {"\x7f", "\\u007f"},
    {"\xff", "\xef\xbf\xbd"},
    {"%n%s {{x}} \";", "%n%s {{x}} \";"},
    {"\"1h\"", "\"1h\""},
    {"\\\"\\u001b\\", "\\\\\"\\\\u001b\\\\"},
};

static void o01_what_reaches_a_terminal_has_its_control_characters_escaped(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(poison); i++) {
        uint8_t bytes[256];
        struct buf buf;
        buf_init(&buf, bytes, sizeof(bytes));
        readable_put(&buf, slice_from_string(poison[i].text));
        buf_put_byte(&buf, 0);
        assert_string_equal((const char *)bytes, poison[i].shown);
    }
}

/* What `write` makes of the text. */
static char *written(void (*write)(FILE *out, struct slice text), struct slice text)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&bytes, &size);
    assert_non_null(out);
    write(out, text);
    assert_int_equal(fclose(out), 0);
    return bytes;
}

static void o01_long_texts_are_escaped_whole(void **state)
{
    enum { SIZE = 5000 };
    char text[SIZE];
    (void)state;
    for (size_t i = 0; i + 1 < SIZE; i += 2) { /* "é", which no piece may cut */
        memcpy(text + i, "\xc3\xa9", 2);
    }
    for (size_t start = 0; start < 2; start++) { /* with a piece that would end inside */
        text[0] = start > 0 ? 'x' : '\xc3';
        struct slice all = slice_make(text, SIZE);
        if (start > 0) {
            memmove(text + 1, text, SIZE - 1);
            text[0] = 'x';
            text[1] = '\xc3';
            all = slice_make(text, SIZE - 1);
        }
        char *shown = written(readable_print, all);
        assert_int_equal(strlen(shown), all.size);
        assert_memory_equal(shown, text, all.size);
        free(shown);
    }
}

static void o01_lines_keep_their_ends_and_tabs_and_nothing_else(void **state)
{
    static const char text[] = "one\ttwo\r\n\x1b[2Jthree\r\n\r\nlast";
    (void)state;
    char *shown = written(readable_lines, slice_from_string(text));
    assert_string_equal(shown, "one\ttwo\n\\u001b[2Jthree\n\nlast\n");
    free(shown);
}

static void o01_json_stays_json_without_controls(void **state)
{
    (void)state;
    char *shown = written(readable_json, SLICE("{\"a\":\"\\n \xc3\xa9 \xc2\x9b\x1b\"}"));
    assert_string_equal(shown, "{\"a\":\"\\n \xc3\xa9 \\u009b\\u001b\"}\n");
    free(shown);
}

static void widths_are_those_of_characters(void **state)
{
    (void)state;
    assert_int_equal(readable_width(SLICE("abc")), 3);
    assert_int_equal(readable_width(SLICE("\xc3\xa9t\xc3\xa9")), 3);
    assert_int_equal(readable_width(SLICE("\xe4\xb8\xad\xe6\x96\x87")), 4); /* two wide ones */
    assert_int_equal(readable_fit(SLICE("\xc3\xa9t\xc3\xa9"), 2), 3);
    assert_int_equal(readable_fit(SLICE("\xe4\xb8\xad\xe6\x96\x87"), 3), 3);
    assert_int_equal(readable_fit(SLICE("abc"), 9), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_grouped),
        cmocka_unit_test(durations_have_their_two_largest_units),
        cmocka_unit_test(sizes_and_rates_have_few_digits),
        cmocka_unit_test(o01_what_reaches_a_terminal_has_its_control_characters_escaped),
        cmocka_unit_test(o01_long_texts_are_escaped_whole),
        cmocka_unit_test(o01_lines_keep_their_ends_and_tabs_and_nothing_else),
        cmocka_unit_test(o01_json_stays_json_without_controls),
        cmocka_unit_test(widths_are_those_of_characters),
    };
    readable_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
