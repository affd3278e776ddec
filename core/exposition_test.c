#include "core/exposition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <string.h>

#include "core/json_read.h"

#define BYTES(text) text, sizeof(text) - 1

static char memory[16384];
static struct buf buf;
static struct exposition exposition;

static void begin(enum exposition_form form, const char *prefix)
{
    buf_init(&buf, memory, sizeof(memory) - 1);
    exposition_begin(&exposition, &buf, form, slice_from_string(prefix));
}

static const char *end(void)
{
    exposition_end(&exposition);
    assert_false(buf.overflow);
    memory[buf.size] = '\0';
    return memory;
}

static const struct metric plain = {"a_total", "counter", "All of it.", NULL};
static const struct metric labelled = {"b", "gauge", "By queue.", "queue"};
static const struct metric timed = {"c_seconds", "histogram", "How long.", NULL};

static void samples_stand_below_their_help_and_type(void **state)
{
    (void)state;
    begin(EXPOSITION_TEXT, "");
    assert_true(exposition_metric(&exposition, &plain));
    exposition_sample(&exposition, SLICE_NONE, 7);
    assert_true(exposition_metric(&exposition, &labelled));
    exposition_sample(&exposition, SLICE("x.test"), 1);
    exposition_sample(&exposition, SLICE("y.test"), UINT64_MAX);
    exposition_rest(&exposition, 3);
    assert_string_equal(end(), "# HELP a_total All of it.\n# TYPE a_total counter\na_total 7\n"
                               "# HELP b By queue.\n# TYPE b gauge\nb{queue=\"x.test\"} 1\n"
                               "b{queue=\"y.test\"} 18446744073709551615\n"
                               "b{queue=\"other\"} 3\n");
}

static void json_has_the_form_of_kumomta(void **state)
{
    (void)state;
    begin(EXPOSITION_JSON, "");
    assert_true(exposition_metric(&exposition, &plain));
    exposition_sample(&exposition, SLICE_NONE, 7);
    assert_true(exposition_metric(&exposition, &labelled));
    exposition_sample(&exposition, SLICE("x.test"), 1);
    exposition_sample(&exposition, SLICE("y.test"), 2);
    assert_string_equal(end(),
                        "{\"a_total\":{\"help\":\"All of it.\",\"type\":\"counter\",\"value\":7},"
                        "\"b\":{\"help\":\"By queue.\",\"type\":\"gauge\",\"value\":{\"queue\":"
                        "{\"x.test\":1,\"y.test\":2}}}}");
}

static void what_does_not_begin_with_the_prefix_is_left_out(void **state)
{
    (void)state;
    begin(EXPOSITION_JSON, "b");
    assert_false(exposition_metric(&exposition, &plain));
    assert_true(exposition_metric(&exposition, &labelled));
    assert_false(exposition_metric(&exposition, &timed));
    assert_string_equal(end(), "{\"b\":{\"help\":\"By queue.\",\"type\":\"gauge\",\"value\":"
                               "{\"queue\":{}}}}");
}

/* No value ends its quotes or its line, and no two become one. */
static void h19_any_bytes_are_a_value_of_a_label_and_two_never_become_one(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        size_t size;
        const char *told;
    } rows[] = {
        {BYTES("a.test"), "a.test"},
        {BYTES("a\"b"), "a\\\"b"},
        {BYTES("a\nb"), "a\\\\x0ab"},
        {BYTES("a\\nb"), "a\\\\\\\\nb"},
        {BYTES("a\\x0ab"), "a\\\\\\\\x0ab"},
        {BYTES("a\0b"), "a\\\\x00b"},
        {BYTES("\x1b[2J"), "\\\\x1b[2J"},
        {BYTES("\x7f"), "\\\\x7f"},
        {BYTES("b\xc3\xbc" "cher"), "b\xc3\xbc" "cher"},
        {BYTES("\xc2\x85"), "\\\\xc2\\\\x85"},
        {BYTES("\xe2\x80\xae"), "\\\\xe2\\\\x80\\\\xae"},
        {BYTES("\xe2\x80\xa8"), "\\\\xe2\\\\x80\\\\xa8"},
        {BYTES("\xe2\x81\xa6"), "\\\\xe2\\\\x81\\\\xa6"},
        {BYTES("\xd8\x9c"), "\\\\xd8\\\\x9c"},
        {BYTES("\xef\xbb\xbf"), "\\\\xef\\\\xbb\\\\xbf"},
        {BYTES("\xe2\x82\xac"), "\xe2\x82\xac"},
        {BYTES("\xff\xfe"), "\\\\xff\\\\xfe"},
        {BYTES("\xc3"), "\\\\xc3"},
        {BYTES("\xed\xa0\x80"), "\\\\xed\\\\xa0\\\\x80"},
        {BYTES("\xc0\xaf"), "\\\\xc0\\\\xaf"},
        {BYTES("other"), "\\\\x6fther"},
        {BYTES("others"), "others"},
        {BYTES("\xe2\x80\x93"), "\xe2\x80\x93"},
        {BYTES(""), ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char wanted[128];
        begin(EXPOSITION_TEXT, "");
        assert_true(exposition_metric(&exposition, &labelled));
        exposition_sample(&exposition, slice_make(rows[i].value, rows[i].size), 1);
        snprintf(wanted, sizeof(wanted), "\nb{queue=\"%s\"} 1\n", rows[i].told);
        if (strstr(end(), wanted) == NULL) {
            fail_msg("row %zu: %s", i, memory);
        }
        assert_true(slice_is_utf8(buf_slice(&buf)));
        for (size_t before = 0; before < i; before++) {
            assert_string_not_equal(rows[before].told, rows[i].told);
        }
        begin(EXPOSITION_JSON, "");
        assert_true(exposition_metric(&exposition, &labelled));
        exposition_sample(&exposition, slice_make(rows[i].value, rows[i].size), 1);
        (void)end();
        struct json_reader *reader = json_reader_open();
        assert_true(json_read(reader, buf_slice(&buf)));
        json_reader_close(reader);
    }
}

static void a_histogram_counts_what_is_less_than_each_bound(void **state)
{
    (void)state;
    struct histogram histogram;
    histogram_init(&histogram);
    histogram_record(&histogram, 1000);        /* less than 1024 ns */
    histogram_record(&histogram, 1024);        /* not less */
    histogram_record(&histogram, 3 * NS_PER_S);
    begin(EXPOSITION_TEXT, "");
    assert_true(exposition_metric(&exposition, &timed));
    exposition_histogram(&exposition, SLICE_NONE, &histogram, EXPOSITION_NANOSECONDS, 10, 12);
    assert_string_equal(end(), "# HELP c_seconds How long.\n# TYPE c_seconds histogram\n"
                               "c_seconds_bucket{le=\"0.000001024\"} 1\n"
                               "c_seconds_bucket{le=\"0.000002048\"} 2\n"
                               "c_seconds_bucket{le=\"0.000004096\"} 2\n"
                               "c_seconds_bucket{le=\"+Inf\"} 3\n"
                               "c_seconds_sum 3.000002024\nc_seconds_count 3\n");
    const struct metric counted = {"d", "histogram", "How many.", "service"};
    histogram_init(&histogram);
    histogram_record(&histogram, 1);
    histogram_record(&histogram, 2);
    histogram_record(&histogram, 100);
    begin(EXPOSITION_TEXT, "");
    assert_true(exposition_metric(&exposition, &counted));
    exposition_histogram(&exposition, SLICE("s"), &histogram, EXPOSITION_COUNTS, 1, 2);
    assert_string_equal(end(), "# HELP d How many.\n# TYPE d histogram\n"
                               "d_bucket{service=\"s\",le=\"1\"} 1\n"
                               "d_bucket{service=\"s\",le=\"3\"} 2\n"
                               "d_bucket{service=\"s\",le=\"+Inf\"} 3\n"
                               "d_sum{service=\"s\"} 103\nd_count{service=\"s\"} 3\n");
}

static void a_histogram_tells_its_quantiles_in_json(void **state)
{
    (void)state;
    struct histogram histogram;
    histogram_init(&histogram);
    for (unsigned i = 1; i <= 10; i++) {
        histogram_record(&histogram, i * NS_PER_S);
    }
    begin(EXPOSITION_JSON, "");
    assert_true(exposition_metric(&exposition, &timed));
    exposition_histogram(&exposition, SLICE_NONE, &histogram, EXPOSITION_NANOSECONDS, 32, 33);
    const char *said = end();
    assert_non_null(strstr(said, "\"value\":{\"count\":10,\"sum\":55.000000,\"p50\":5."));
    assert_non_null(strstr(said, "\"p90\":9."));
    assert_non_null(strstr(said, "\"p999\":10.000000,\"buckets\":{\"4.294967296\":4,"
                                 "\"8.589934592\":8}}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_stand_below_their_help_and_type),
        cmocka_unit_test(json_has_the_form_of_kumomta),
        cmocka_unit_test(what_does_not_begin_with_the_prefix_is_left_out),
        cmocka_unit_test(h19_any_bytes_are_a_value_of_a_label_and_two_never_become_one),
        cmocka_unit_test(a_histogram_counts_what_is_less_than_each_bound),
        cmocka_unit_test(a_histogram_tells_its_quantiles_in_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
