#include "core/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void the_vectors_of_the_rfc_are_encoded(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},         {"f", "Zg=="},         {"fo", "Zm8="},
        {"foo", "Zm9v"},  {"foob", "Zm9vYg=="},  {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"}, {"\xFF\xFE\xFD?>", "//79Pz4="},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t bytes[32];
        struct slice text = slice_from_string(cases[i][0]);
        struct buf buf;
        buf_init(&buf, bytes, base64_size(text.size));
        base64_put(&buf, text);
        assert_false(buf.overflow);
        assert_true(slice_equal(buf_slice(&buf), slice_from_string(cases[i][1])));
        assert_true(base64_is_valid(buf_slice(&buf)));
    }
}

static void text_of_others_is_decoded_whatever_stands_between(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},          {"Zg==", "f"},     {"Zm8=", "fo"},           {"Zm9v", "foo"},
        {"Zm9vYmE", "fooba"}, {"//79Pz4=", "\xFF\xFE\xFD?>"}, {" Zm\r\n\t9v-Ym. Fy", "foobar"},
        {"Zg==Zg==", "f"}, {"Z", ""},         {"=Zg", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t bytes[8];
        struct buf buf;
        buf_init(&buf, bytes, sizeof(bytes));
        base64_get(&buf, slice_from_string(cases[i][0]));
        assert_true(slice_equal(buf_slice(&buf), slice_from_string(cases[i][1])));
    }
}

/* The bytes of `whole` in pieces of `piece`. */
static void put_lines(struct buf *buf, struct slice whole, size_t piece)
{
    struct base64_lines lines;
    buf_reset(buf);
    base64_lines_begin(&lines, buf);
    while (whole.size > 0) {
        size_t size = MIN_OF(piece, whole.size);
        base64_lines_put(&lines, slice_first(whole, size));
        whole = slice_skip(whole, size);
    }
    base64_lines_end(&lines);
}

static void lines_are_of_76_characters_whatever_the_pieces(void **state)
{
    static const size_t pieces[] = {1, 2, 3, 5, 57, 1000};
    uint8_t bytes[400];
    uint8_t one[600];
    uint8_t lines[600];
    struct buf whole;
    struct buf buf;
    struct buf again;
    uint8_t again_bytes[600];
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 37);
    }
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        buf_init(&whole, one, sizeof(one));
        base64_put(&whole, slice_make(bytes, size));
        for (size_t i = 0; i < COUNT_OF(pieces); i++) {
            buf_init(&buf, lines, base64_lines_size(size));
            put_lines(&buf, slice_make(bytes, size), pieces[i]);
            assert_false(buf.overflow);
            assert_int_equal(buf.size, base64_lines_size(size));
            assert_true(base64_is_valid(buf_slice(&buf)));
        }
        /* The one line in lines is the same. */
        buf_init(&again, again_bytes, sizeof(again_bytes));
        base64_put_again(&again, buf_slice(&whole));
        assert_true(slice_equal(buf_slice(&again), buf_slice(&buf)));
        for (size_t at = 0; at < buf.size; at += 78) {
            size_t end = MIN_OF(at + 78, buf.size);
            assert_int_equal(lines[end - 2], '\r');
            assert_int_equal(lines[end - 1], '\n');
        }
    }
}

static void what_is_not_base64_is_refused(void **state)
{
    static const char *const good[] = {"", " ", "Zg==", "Z g\r\n=\t=\n", "Zm9v", "+/+/"};
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",  "Zm9",   "=",     "==",   "====",
                                      "Z===", "Zg==Zg==", "Z=g=", "Zh==", "Zm9=", "Zm-_", "Zm9v!",
                                      "Zg==x"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(base64_is_valid(slice_from_string(good[i])));
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (base64_is_valid(slice_from_string(bad[i]))) {
            fail_msg("%s", bad[i]);
        }
    }
    assert_false(base64_is_valid(SLICE("Zm\0v")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc_are_encoded),
        cmocka_unit_test(text_of_others_is_decoded_whatever_stands_between),
        cmocka_unit_test(lines_are_of_76_characters_whatever_the_pieces),
        cmocka_unit_test(what_is_not_base64_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
