#include "smtp/mime_field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static struct slice text_of(const char *text)
{
    return slice_from_string(text);
}

static void assert_text(struct slice slice, const char *expected)
{
    if (!slice_equal(slice, text_of(expected))) {
        fail_msg("'%.*s' is not '%s'", (int)slice.size, (const char *)slice.data, expected);
    }
}

static void fields_are_found_folded_or_not_and_other_lines_passed_over(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *value;
    } expected[] = {
        {"A", "1"}, {"B", "two three"}, {"C", ""}, {"D", "x:y"}, {"E", "e f"}, {"F", "end"},
    };
    struct slice rest = text_of(" lost\r\nA:1\r\nB : two\r\n three\r\nno field\r\n nor this\nC:\n"
                                "D: x:y\nE:\r\n e\r\n\t\r\n f\n: nameless\nna me: x\nF: end");
    struct mime_field field;
    uint8_t memory[64];
    struct buf buf;
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_true(mime_field_next(&rest, &field));
        assert_text(field.name, expected[i].name);
        buf_init(&buf, memory, sizeof(memory));
        mime_put_unfolded(&buf, field.value, sizeof(memory));
        for (size_t at = 0; at < buf.size; at++) {
            memory[at] = memory[at] == '\t' ? ' ' : memory[at];
        }
        if (i == 4) { /* the fold of white space alone is kept as such */
            assert_text(buf_slice(&buf), "e  f");
        } else {
            assert_text(buf_slice(&buf), expected[i].value);
        }
    }
    assert_false(mime_field_next(&rest, &field));
}

static void a_header_ends_at_its_empty_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *header;
        const char *body;
    } rows[] = {
        {"A: 1\r\n\r\nbody", "A: 1\r\n", "body"}, {"A: 1\n\nbody", "A: 1\n", "body"},
        {"\nbody", "", "body"},                   {"A: 1\r\n", "A: 1\r\n", ""},
        {"A: 1\n \n\n", "A: 1\n \n", ""},         {"", "", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice header;
        struct slice body;
        mime_split(text_of(rows[i].text), &header, &body);
        assert_text(header, rows[i].header);
        assert_text(body, rows[i].body);
    }
}

static void unfolded_text_is_cut_where_it_has_to_be(void **state)
{
    (void)state;
    uint8_t memory[16];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    mime_put_unfolded(&buf, text_of("  abc\r\n def \r\n"), 5);
    assert_text(buf_slice(&buf), "abc d");
}

static void types_are_compared_without_their_parameters(void **state)
{
    (void)state;
    assert_true(mime_value_is(text_of(" Multipart/REPORT"), SLICE("multipart/report")));
    assert_true(mime_value_is(text_of("(a (b)) multipart/report(c); x=y"),
                              SLICE("multipart/report")));
    assert_true(mime_value_is(text_of("multipart/report;x=y"), SLICE("multipart/report")));
    assert_false(mime_value_is(text_of("multipart/reports"), SLICE("multipart/report")));
    assert_false(mime_value_is(text_of(""), SLICE("multipart/report")));
}

struct parameter_row {
    const char *value;
    enum mime_found found;
    const char *text;
};

static void check_rows(const struct parameter_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t memory[16];
        struct buf buf;
        buf_init(&buf, memory, sizeof(memory));
        enum mime_found found = mime_parameter(text_of(rows[i].value), SLICE("p"), &buf);
        if (found != rows[i].found || !slice_equal(buf_slice(&buf), text_of(rows[i].text)) ||
            buf.overflow) {
            fail_msg("%s: %d '%.*s'", rows[i].value, found, (int)buf.size,
                     (const char *)buf.data);
        }
    }
}

static void parameters_are_read_in_all_their_forms(void **state)
{
    (void)state;
    static const struct parameter_row rows[] = {
        {"a/b; p=x", MIME_FOUND, "x"},
        {"a/b;P=x;q=y", MIME_FOUND, "x"},
        {"a/b; q=\"; p=no\"; p=\"a; b\" (c)", MIME_FOUND, "a; b"},
        {"a/b (; p=no); p (c) = (d) x", MIME_FOUND, "x"},
        {"a/b;\r\n\tp=\"x y\"", MIME_FOUND, "x y"},
        {"a/b; p=a/b=c?", MIME_FOUND, "a/b=c?"},
        {"a/b; ; q; =z; p=x;", MIME_FOUND, "x"},
        {"a/b; p=", MIME_FOUND, ""},
        {"a/b; p=\"\"", MIME_FOUND, ""},
        {"a/b; p*=utf-8'en'%41%20b", MIME_FOUND, "A b"},
        {"a/b; p*=''b", MIME_FOUND, "b"},
        {"a/b; p*0=a; p*1=b; p*2=\"c d\"", MIME_FOUND, "abc d"},
        {"a/b; p*1=b; p*0=a", MIME_FOUND, "ab"},
        {"a/b; p*0*=us-ascii''%61; p*1=%62; p*2*=%63", MIME_FOUND, "a%62c"},
        {"a/b", MIME_ABSENT, ""},
        {"a/b; q=p=x", MIME_ABSENT, ""},
        {"a/b; pp=x; p", MIME_ABSENT, ""},
        {"", MIME_ABSENT, ""},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void d09_parameters_on_which_readers_differ_are_broken(void **state)
{
    (void)state;
    static const struct parameter_row rows[] = {
        {"a/b; p=x; p=x", MIME_BROKEN, ""},
        {"a/b; p=x; p*=''x", MIME_BROKEN, ""},
        {"a/b; p=x; p*0=x", MIME_BROKEN, ""},
        {"a/b; p*0=x; p=x", MIME_BROKEN, ""},
        {"a/b; p*0=x; p*0=y", MIME_BROKEN, ""},
        {"a/b; p*1=x", MIME_BROKEN, ""},
        {"a/b; p*0=x; p*2=y", MIME_BROKEN, ""},
        {"a/b; p*1000000000=x", MIME_BROKEN, ""},
        {"a/b; p*0=x; p*10=x", MIME_BROKEN, ""},
        {"a/b; p*00=x", MIME_BROKEN, ""},
        {"a/b; p*-1=x", MIME_BROKEN, ""},
        {"a/b; p**=x", MIME_BROKEN, ""},
        {"a/b; p*0=x; p*1*=%41", MIME_BROKEN, ""},
        {"a/b; p*=utf-7''x", MIME_BROKEN, ""},
        {"a/b; p*=x", MIME_BROKEN, ""},
        {"a/b; p*=utf-8'x", MIME_BROKEN, ""},
        {"a/b; p*=''%4", MIME_BROKEN, ""},
        {"a/b; p*=''%zz", MIME_BROKEN, ""},
        {"a/b; p=\"a\\b\"", MIME_BROKEN, ""},
        {"a/b; p=\"x", MIME_BROKEN, ""},
        {"a/b; p=x; q=\"x", MIME_BROKEN, ""},
        {"a/b; p=12345678901234567", MIME_BROKEN, ""},
    };
    check_rows(rows, COUNT_OF(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_folded_or_not_and_other_lines_passed_over),
        cmocka_unit_test(a_header_ends_at_its_empty_line),
        cmocka_unit_test(unfolded_text_is_cut_where_it_has_to_be),
        cmocka_unit_test(types_are_compared_without_their_parameters),
        cmocka_unit_test(parameters_are_read_in_all_their_forms),
        cmocka_unit_test(d09_parameters_on_which_readers_differ_are_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
