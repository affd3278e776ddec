#include "core/logline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static void keep(void *context, struct slice line)
{
    *(struct slice *)context = line;
}

static void a_line_is_key_and_value_pairs(void **state)
{
    struct logline line;
    struct slice out;
    struct endpoint peer;
    const struct log_sink sink = {keep, &out};
    (void)state;
    assert_true(endpoint_parse(SLICE("[2001:db8::1]:25"), 0, &peer));
    logline_begin(&line, "ready");
    logline_endpoint(&line, "smtp", &peer);
    logline_u64(&line, "queued", 7);
    logline_i64(&line, "error", -5);
    logline_time(&line, "since", 1000 * NS_PER_S);
    logline_string(&line, "version", "0.1");
    logline_string(&line, "empty", "");
    logline_end(&line, &sink);
    assert_true(slice_equal(out, SLICE("event=ready smtp=[2001:db8::1]:25 queued=7 error=-5 "
                                       "since=1970-01-01T00:16:40.000Z version=0.1 empty=\"\"\n")));
}

/* L-series: a value cannot begin another field, another line, or speak to a terminal. */
static void no_value_forges_a_field_or_a_line(void **state)
{
    struct logline line;
    struct slice out;
    const struct log_sink sink = {keep, &out};
    (void)state;
    logline_begin(&line, "x");
    logline_text(&line, "a", SLICE("b c=d\r\n\"\\\x1B]0;\0\x7F\xC2\x9B"));
    logline_end(&line, &sink);
    assert_true(slice_equal(out, SLICE("event=x a=\"b c=d\\x0d\\x0a\\\"\\\\\\x1b]0;\\x00\\x7f"
                                       "\\xc2\\x9b\"\n")));
}

static void a_field_that_does_not_fit_is_left_out_whole(void **state)
{
    static uint8_t large[LOGLINE_BYTES_MAX];
    struct logline line;
    struct slice out;
    const struct log_sink sink = {keep, &out};
    (void)state;
    memset(large, 'a', sizeof(large));
    logline_begin(&line, "x");
    logline_text(&line, "large", slice_make(large, sizeof(large)));
    logline_u64(&line, "n", 1);
    logline_end(&line, &sink);
    assert_true(slice_equal(out, SLICE("event=x n=1\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_key_and_value_pairs),
        cmocka_unit_test(no_value_forges_a_field_or_a_line),
        cmocka_unit_test(a_field_that_does_not_fit_is_left_out_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
