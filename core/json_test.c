#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/json_read.h"

static void strings_are_valid_json_and_safe_to_show(void **state)
{
    const struct {
        struct slice text;
        const char *json;
    } cases[] = {
        {SLICE(""), "\"\""},
        {SLICE("plain text, <a@b>"), "\"plain text, <a@b>\""},
        {SLICE("quote \" back \\ slash /"), "\"quote \\\" back \\\\ slash /\""},
        {SLICE("a\r\nb\tc\b\f"), "\"a\\r\\nb\\tc\\b\\f\""},
        {SLICE("nul\0end"), "\"nul\\u0000end\""},
        {SLICE("\x1B]0;x\x07\x7F"), "\"\\u001b]0;x\\u0007\\u007f\""},
        {SLICE("caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"),
         "\"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80\""},
        {SLICE("c1 \xC2\x9B" "31m"), "\"c1 \\u009b31m\""},
        {SLICE("\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAE\xE2\x81\xA6"),
         "\"\\u2028\\u2029\\u202e\\u2066\""},
        {SLICE("bad \xFF \xC3( \xC0\xAF \xED\xA0\x80"),
         "\"bad \xEF\xBF\xBD \xEF\xBF\xBD( \xEF\xBF\xBD\xEF\xBF\xBD "
         "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {SLICE("cut \xF0\x9F\x98"), "\"cut \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
        {SLICE("%n%s {{x}} \\u000a"), "\"%n%s {{x}} \\\\u000a\""},
    };
    struct json_reader *reader = json_reader_open();
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t bytes[256];
        struct buf buf;
        struct slice back;
        buf_init(&buf, bytes, sizeof(bytes));
        json_put_string(&buf, cases[i].text);
        if (!slice_equal(buf_slice(&buf), slice_from_string(cases[i].json))) {
            fail_msg("case %zu: %.*s", i, (int)buf.size, (const char *)bytes);
        }
        assert_true(json_read(reader, buf_slice(&buf)));
        assert_true(json_read_string(reader, "", &back));
        if (slice_is_utf8(cases[i].text)) {
            assert_true(slice_equal(back, cases[i].text));
        }
    }
    json_reader_close(reader);
}

/* A string is looked through eight bytes at a time: none hides behind, or beside, another. */
static void every_byte_is_escaped_alike_wherever_it_stands(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t alone_bytes[16];
        struct buf alone;
        const uint8_t single = (uint8_t)byte;
        buf_init(&alone, alone_bytes, sizeof(alone_bytes));
        json_put_string(&alone, slice_make(&single, 1));
        struct slice escaped = slice_skip(slice_first(buf_slice(&alone), alone.size - 1), 1);
        for (size_t place = 0; place < 20; place++) {
            uint8_t text[20];
            uint8_t bytes[64];
            uint8_t wanted_bytes[64];
            struct buf buf;
            struct buf wanted;
            memset(text, place % 2 == 0 ? '!' : '~', sizeof(text));
            buf_init(&wanted, wanted_bytes, sizeof(wanted_bytes));
            buf_put_byte(&wanted, '"');
            buf_put(&wanted, slice_make(text, place));
            buf_put(&wanted, escaped);
            buf_put(&wanted, slice_make(text + place + 1, sizeof(text) - place - 1));
            buf_put_byte(&wanted, '"');
            text[place] = single;
            buf_init(&buf, bytes, sizeof(bytes));
            json_put_string(&buf, slice_make(text, sizeof(text)));
            assert_true(slice_equal(buf_slice(&buf), buf_slice(&wanted)));
        }
    }
}

static void nested_values_have_their_commas(void **state)
{
    uint8_t bytes[512];
    struct buf buf;
    struct json json;
    (void)state;
    buf_init(&buf, bytes, sizeof(bytes));
    json_init(&json, &buf);
    json_object(&json);
    json_key(&json, "a");
    json_u64(&json, 18446744073709551615u);
    json_key(&json, "b");
    json_array(&json);
    json_i64(&json, -1);
    json_object(&json);
    json_object_end(&json);
    json_array(&json);
    json_array_end(&json);
    json_bool(&json, true);
    json_null(&json);
    json_array_end(&json);
    json_key(&json, "k");
    json_string(&json, SLICE("v"));
    json_object_end(&json);
    assert_true(slice_equal(buf_slice(&buf),
                            SLICE("{\"a\":18446744073709551615,\"b\":[-1,{},[],true,null],"
                                  "\"k\":\"v\"}")));
}

static void fixed_numbers_are_rounded_and_never_nan(void **state)
{
    static const struct {
        double value;
        unsigned decimals;
        const char *text;
    } cases[] = {
        {0, 0, "0"},          {1.5, 0, "2"},      {0.8344, 3, "0.834"}, {0.9996, 3, "1.000"},
        {-2.25, 2, "-2.25"},  {-0.001, 2, "0.00"}, {123456.789, 1, "123456.8"},
        {1e16, 3, "null"},    {-1e300, 3, "null"}, {0.0 / 1.0, 2, "0.00"},
        {__builtin_nan(""), 2, "null"}, {__builtin_inf(), 2, "null"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t bytes[64];
        struct buf buf;
        struct json json;
        buf_init(&buf, bytes, sizeof(bytes));
        json_init(&json, &buf);
        json_fixed(&json, cases[i].value, cases[i].decimals);
        if (!slice_equal(buf_slice(&buf), slice_from_string(cases[i].text))) {
            fail_msg("case %zu: %.*s", i, (int)buf.size, (const char *)bytes);
        }
    }
}

static void overflow_is_sticky_and_leaves_no_half_escape(void **state)
{
    uint8_t bytes[8];
    struct buf buf;
    (void)state;
    buf_init(&buf, bytes, sizeof(bytes));
    json_put_string(&buf, SLICE("abcd\x01\x01"));
    assert_true(buf.overflow);
    assert_int_equal(buf.size, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_valid_json_and_safe_to_show),
        cmocka_unit_test(every_byte_is_escaped_alike_wherever_it_stands),
        cmocka_unit_test(nested_values_have_their_commas),
        cmocka_unit_test(fixed_numbers_are_rounded_and_never_nan),
        cmocka_unit_test(overflow_is_sticky_and_leaves_no_half_escape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
