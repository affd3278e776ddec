#include "smtp/mime_part.h"

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

#define PARTS_OF_ROW 3

struct parts_row {
    const char *body;
    const char *bodies[PARTS_OF_ROW]; /* of the parts; null: there is none */
    bool cut;                         /* the last one is */
};

static void d01_parts_stand_between_whole_lines_with_the_boundary(void **state)
{
    (void)state;
    static const struct parts_row rows[] = {
        {"pre\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n\r\n--b--\r\npost", {"one", "two\r\n"}, false},
        {"--b\n\none\n--b\n\ntwo\n--b--\n", {"one", "two"}, false},
        {"--b \t\r\n\r\none\r\n--b-- \r\n--b\r\n\r\nno", {"one"}, false},
        {"--b\r\n\r\none\r\n--bb\r\n --b\r\n--b-\r\n-- b\r\n--b",
         {"one\r\n--bb\r\n --b\r\n--b-\r\n-- b", ""},
         true},
        {"--b\r\n\r\none", {"one"}, true},
        {"--b\r\n--b\r\n--b--", {"", ""}, false},
        {"--b--\r\n--b\r\n\r\nno\r\n--b--", {NULL}, false},
        {"--bb\r\n\r\nno\r\n--bb--\r\n", {NULL}, false},
        {"no boundary", {NULL}, false},
        {"", {NULL}, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct mime_parts parts;
        struct mime_part part = {0};
        assert_true(mime_parts_open(&parts, SLICE("multipart/x; boundary=b"),
                                    slice_from_string(rows[i].body)));
        size_t count = 0;
        for (; count < PARTS_OF_ROW && rows[i].bodies[count] != NULL; count++) {
            assert_true(mime_parts_next(&parts, &part));
            assert_text(part.body, rows[i].bodies[count]);
        }
        assert_true(count == 0 || part.cut == rows[i].cut);
        assert_false(mime_parts_next(&parts, &part));
    }
}

static void d01_boundaries_that_are_none(void **state)
{
    (void)state;
#define TEN "0123456789"
    static const struct {
        const char *type;
        bool sound;
    } rows[] = {
        {"multipart/x; boundary=\"" TEN TEN TEN TEN TEN TEN TEN "\"", true},
        {"multipart/x; boundary=\"" TEN TEN TEN TEN TEN TEN TEN "x\"", false},
        {"multipart/x; boundary=\"=_a b?\"", true},
        {"multipart/x; boundary=\"a \"", false},
        {"multipart/x; boundary=\"a\\\"b\"", false},
        {"multipart/x; boundary=\"a\tb\"", false},
        {"multipart/x; boundary=\"\xC3\xA9\"", false},
        {"multipart/x; boundary=\"\"", false},
        {"multipart/x; boundary=", false},
        {"multipart/x; boundary=a; boundary=b", false},
        {"multipart/x", false},
    };
#undef TEN
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct mime_parts parts;
        if (mime_parts_open(&parts, slice_from_string(rows[i].type), SLICE_NONE) !=
            rows[i].sound) {
            fail_msg("%s", rows[i].type);
        }
    }
}

static void d02_there_are_a_hundred_parts_at_most(void **state)
{
    (void)state;
    static uint8_t memory[16 * (MIME_PARTS_MAX + 8)];
    struct buf buf;
    struct mime_parts parts;
    struct mime_part part;
    buf_init(&buf, memory, sizeof(memory));
    for (unsigned i = 0; i < MIME_PARTS_MAX + 5; i++) {
        buf_put(&buf, SLICE("--b\r\n\r\nx\r\n"));
    }
    assert_false(buf.overflow);
    assert_true(mime_parts_open(&parts, SLICE("a/b; boundary=b"), buf_slice(&buf)));
    unsigned count = 0;
    while (mime_parts_next(&parts, &part)) {
        count++;
    }
    assert_int_equal(count, MIME_PARTS_MAX);
}

static void d03_parts_are_decoded_whatever_their_encoding(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        const char *body;
        const char *bytes; /* null: it cannot be decoded */
    } rows[] = {
        {"", "a=3D\r\n", "a=3D\r\n"},
        {"Content-Transfer-Encoding: 7bit\r\n", "a", "a"},
        {"Content-Transfer-Encoding: 8BIT (x)\r\n", "\xC3\xA9", "\xC3\xA9"},
        {"Content-transfer-encoding:\r\n binary\r\n", "a", "a"},
        {"Content-Transfer-Encoding: base64\r\n", "YTog\r\nYg==\r\n", "a: b"},
        {"Content-Transfer-Encoding: Base64\r\n", "YT!og Yg", "a: b"},
        {"Content-Transfer-Encoding: base64\r\n", "", ""},
        {"Content-Transfer-Encoding: quoted-printable\r\n", "a=3D=C3=a9 \t\r\nb=\r\nc\n=",
         "a=\xC3\xA9\nbc\n"},
        {"Content-Transfer-Encoding: quoted-printable\r\n", "=3\r\n=xy\r\na=3", "=3\n=xy\na=3"},
        {"Content-Transfer-Encoding: x-uuencode\r\n", "begin", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[64];
        struct buf scratch;
        struct slice bytes;
        struct mime_part part = {.header = slice_from_string(rows[i].header),
                                 .body = slice_from_string(rows[i].body)};
        buf_init(&scratch, memory, part.body.size);
        bool good = mime_part_decode(&part, &scratch, &bytes);
        assert_int_equal(good, rows[i].bytes != NULL);
        if (good) {
            assert_text(bytes, rows[i].bytes);
        }
    }
}

static void what_does_not_fit_is_not_decoded(void **state)
{
    (void)state;
    uint8_t memory[3];
    struct buf scratch;
    struct slice bytes;
    struct mime_part part = {.header = SLICE("Content-Transfer-Encoding: base64\r\n"),
                             .body = SLICE("YTogYg==")};
    buf_init(&scratch, memory, sizeof(memory));
    assert_false(mime_part_decode(&part, &scratch, &bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d01_parts_stand_between_whole_lines_with_the_boundary),
        cmocka_unit_test(d01_boundaries_that_are_none),
        cmocka_unit_test(d02_there_are_a_hundred_parts_at_most),
        cmocka_unit_test(d03_parts_are_decoded_whatever_their_encoding),
        cmocka_unit_test(what_does_not_fit_is_not_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
