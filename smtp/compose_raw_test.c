#include "smtp/compose_raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define OUTPUT_BYTES (64u * KIB)

struct fixture {
    struct arena scratch;
    struct buf out;
    struct compose_problem problem;
    bool utf8;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    void *scratch = malloc(OUTPUT_BYTES);
    void *out = malloc(OUTPUT_BYTES);
    assert_true(fixture != NULL && scratch != NULL && out != NULL);
    arena_init(&fixture->scratch, scratch, OUTPUT_BYTES);
    buf_init(&fixture->out, out, OUTPUT_BYTES);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    free(fixture->scratch.data);
    free(fixture->out.data);
    free(fixture);
    return 0;
}

static bool put(struct fixture *fixture, struct slice text)
{
    buf_reset(&fixture->out);
    fixture->out.capacity = MIN_OF((size_t)OUTPUT_BYTES, compose_raw_bytes_max(text));
    bool good = compose_raw_put(text, &fixture->scratch, &fixture->out, &fixture->utf8,
                                &fixture->problem);
    assert_false(fixture->out.overflow);
    assert_int_equal(arena_mark(&fixture->scratch), 0);
    assert_true(good || fixture->out.size == 0);
    return good;
}

static void a_message_that_is_given_whole_is_kept_but_for_its_line_ends(void **state)
{
    static const char *const cases[][2] = {
        {"A: b\n\nc\n", "A: b\r\n\r\nc\r\n"},
        {"A: b\r\n\r\nc\r\n", "A: b\r\n\r\nc\r\n"},
        {"A: b\r\rc", "A: b\r\n\r\nc\r\n"},
        {"A: b", "A: b\r\n\r\n"},
        {"A: b\n", "A: b\r\n\r\n"},
        {"A: b\n\n", "A: b\r\n\r\n"},
        {"A: b\n c\n\td\nE:\n\n\n\n.", "A: b\r\n c\r\n\td\r\nE:\r\n\r\n\r\n\r\n.\r\n"},
        {"A:  b   c  \n\nB: d\xC3\xBC\n", "A:  b   c  \r\n\r\nB: d\xC3\xBC\r\n"},
        {"Subject: =?utf-8?q?x?=\n\n", "Subject: =?utf-8?q?x?=\r\n\r\n"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_true(put(fixture, slice_from_string(cases[i][0])));
        if (!slice_equal(buf_slice(&fixture->out), slice_from_string(cases[i][1]))) {
            fail_msg("%zu: %.*s", i, (int)fixture->out.size, (const char *)fixture->out.data);
        }
        assert_false(fixture->utf8);
    }
}

static void h12_header_fields_that_are_not_ascii_are_encoded(void **state)
{
    const struct {
        const char *field;
        const char *encoded;
        bool utf8;
    } cases[] = {
        {"Subject: Gr\xC3\xBC\xC3\x9F" "e to\n you", "Subject: =?utf-8?b?R3LDvMOfZQ==?= to you",
         false},
        {"To: Zo\xC3\xAB Lee <a@b>, c@d", "To: =?utf-8?q?Zo=C3=AB?= Lee <a@b>, c@d", false},
        {"To: \"Zo\xC3\xAB, Lee\" <a@b>,\n\t\"X\" <c@d>",
         "To: =?utf-8?b?Wm/DqywgTGVl?= <a@b>, \"X\" <c@d>", false},
        {"From: \"\xC3\xBC \\\"q\\\\\" <a@b>", "From: =?utf-8?b?w7wgInFc?= <a@b>", false},
        {"Cc: Freunde: \xC3\xBC <a@b>; x@y", "Cc: Freunde: =?utf-8?b?w7w=?= <a@b>; x@y", false},
        {"To: Ann <zo\xC3\xAB@b>", "To: Ann <zo\xC3\xAB@b>", true},
        {"To: zo\xC3\xAB@b", "To: zo\xC3\xAB@b", true},
        {"To: \"zo\xC3\xAB\"@b", "To: \"zo\xC3\xAB\"@b", true},
        {"X-A: \xC3\xBC", "X-A: =?utf-8?b?w7w=?=", false},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t wanted[256];
        struct buf buf;
        buf_init(&buf, wanted, sizeof(wanted));
        buf_put_string(&buf, cases[i].encoded);
        buf_put_string(&buf, "\r\n\r\n");
        assert_true(put(fixture, slice_from_string(cases[i].field)));
        if (!slice_equal(buf_slice(&fixture->out), buf_slice(&buf)) ||
            fixture->utf8 != cases[i].utf8) {
            fail_msg("%s: %.*s", cases[i].field, (int)fixture->out.size,
                     (const char *)fixture->out.data);
        }
    }
}

static void h10_a_header_that_is_malformed_is_refused_with_its_line(void **state)
{
    static char long_line[1100];
    memset(long_line, 'x', sizeof(long_line) - 1);
    memcpy(long_line, "A: b\n\n", 6);
    const char *const cases[][2] = {
        {"", "content: line 1: no header"},
        {"\n", "content: line 1: no header"},
        {"\nA: b\n", "content: line 1: no header"},
        {"A b\n\n", "content: line 1: no header field"},
        {" A: b\n\n", "content: line 1: no header field"},
        {"A: b\nB\n\n", "content: line 2: no header field"},
        {"A: b\n c\nB C: d\n\n", "content: line 3: no header field"},
        {"A: b\n: d\n\n", "content: line 2: no header field"},
        {"A: b\n\xC3\xBC: d\n\n", "content: line 2: no header field"},
        {"A: \xFF\n\n", "content: line 1: not UTF-8"},
        {long_line, "content: line 3: more than 998 bytes"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (put(fixture, slice_from_string(cases[i][0])) ||
            strcmp(fixture->problem.text, cases[i][1]) != 0) {
            fail_msg("%s: %s", cases[i][0], fixture->problem.text);
        }
    }
    /* The longest line that there may be is one byte shorter than the shortest too long. */
    memset(long_line, 'x', 1010);
    memcpy(long_line, "A: b\n\n", 6);
    assert_true(put(fixture, slice_make(long_line, 6 + 998)));
    assert_false(put(fixture, slice_make(long_line, 6 + 999)));
    /* A word that could not be folded stands beside one that is encoded. */
    memset(long_line, 'x', 1010);
    memcpy(long_line, "A: \xC3\xBC ", 6);
    assert_false(put(fixture, slice_make(long_line, 1010)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_that_is_given_whole_is_kept_but_for_its_line_ends),
        TEST(h12_header_fields_that_are_not_ascii_are_encoded),
        TEST(h10_a_header_that_is_malformed_is_refused_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
