#include "bench/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct report *report_of(const double *relay, const double *floor, unsigned count)
{
    struct report *report = calloc(1, sizeof(*report));
    assert_non_null(report);
    static const char *const args[] = {"--rounds", "2"};
    *report = (struct report){.head = {.bench = "relay", .fs = "ext4", .cc = "cubic",
                                       .args = args, .arg_count = 2},
                              .round_count = count};
    for (unsigned i = 0; i < count; i++) {
        struct report_round *round = &report->rounds[i];
        round->with_floor = true;
        round->with_relay = true;
        run_init(&round->floor);
        run_init(&round->relay);
        round->floor.rate = floor[i];
        round->relay.rate = relay[i];
    }
    return report;
}

static void put_or_fail(const struct report *report, struct json_reader *reader)
{
    static uint8_t text[REPORT_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    report_put_json(report, &buf);
    assert_false(buf.overflow);
    assert_int_equal(text[buf.size - 1], '\n');
    assert_true(json_read(reader, buf_slice(&buf)));
}

static void the_json_has_exactly_the_keys_of_the_contract(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        size_t count;
        const char *const keys[20];
    } rows[] = {
        {"", 9, {"bench", "version", "args", "host", "rounds", "ratio_median", "ratio_min",
                 "ratio_max", "ratio_best"}},
        {"/host", 4, {"cpus", "kernel", "fs", "cc"}},
        {"/rounds/0", 3, {"floor", "relay", "ratio"}},
        {"/rounds/0/relay", 14, {"messages", "seconds", "rate", "accept_rate", "latency_ms",
                                 "cpu_s", "mta_cpu_us_per_message", "rss_peak_bytes",
                                 "enters_per_message", "mallocs_per_message", "commits",
                                 "commit_messages", "commit_ms", "sync"}},
        {"/rounds/0/floor", 14, {"messages", "sync"}},
        {"/rounds/0/relay/latency_ms", 5, {"p50", "p90", "p99", "p999", "max"}},
        {"/rounds/0/relay/cpu_s", 3, {"source", "mta", "sink"}},
        {"/rounds/0/relay/commit_messages", 2, {"p50", "max"}},
        {"/rounds/0/relay/commit_ms", 2, {"p50", "p99"}},
    };
    double relay[] = {80};
    double floor[] = {100};
    struct report *report = report_of(relay, floor, 1);
    struct json_reader *reader = json_reader_open();
    put_or_fail(report, reader);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(json_read_count(reader, rows[i].path), rows[i].count);
        for (size_t k = 0; k < COUNT_OF(rows[i].keys) && rows[i].keys[k] != NULL; k++) {
            char path[128];
            struct buf buf;
            buf_init(&buf, path, sizeof(path) - 1);
            buf_printf(&buf, "%s/%s", rows[i].path, rows[i].keys[k]);
            path[buf.size] = 0;
            if (json_read_kind(reader, path) == JSON_ABSENT) {
                fail_msg("%s", path);
            }
        }
    }
    json_reader_close(reader);
    free(report);
}

static void what_is_not_known_is_null(void **state)
{
    (void)state;
    double relay[] = {80};
    double floor[] = {100};
    struct report *report = report_of(relay, floor, 1);
    struct json_reader *reader = json_reader_open();
    report->rounds[0].with_floor = false;
    put_or_fail(report, reader);
    assert_int_equal(json_read_kind(reader, "/rounds/0/floor"), JSON_NULL);
    assert_int_equal(json_read_kind(reader, "/rounds/0/ratio"), JSON_NULL);
    assert_int_equal(json_read_kind(reader, "/rounds/0/relay/mallocs_per_message"), JSON_NULL);
    assert_int_equal(json_read_kind(reader, "/rounds/0/relay/sync"), JSON_NULL);
    assert_int_equal(json_read_kind(reader, "/rounds/0/relay/latency_ms/p99"), JSON_NULL);
    assert_int_equal(json_read_kind(reader, "/ratio_median"), JSON_NULL);
    json_reader_close(reader);
    free(report);
}

static double round_double(const void *round)
{
    return *(const double *)round;
}

static void the_median_of_rounds_is_that_of_what_each_says(void **state)
{
    (void)state;
    static const double rounds[] = {3, 1, 2, 10};
    assert_float_equal(median_of_rounds(rounds, sizeof(rounds[0]), 3, round_double), 2, 1e-9);
    assert_float_equal(median_of_rounds(rounds, sizeof(rounds[0]), 4, round_double), 2.5, 1e-9);
    assert_true(isnan(median_of_rounds(rounds, sizeof(rounds[0]), 0, round_double)));
}

static void the_figure_of_record_is_the_median_of_the_ratios_of_the_rounds(void **state)
{
    (void)state;
    double relay[] = {80, 90, 50, 99};
    double floor[] = {100, 100, 100, 90};
    struct report *report = report_of(relay, floor, 4);
    struct ratios ratios = report_ratios(report);
    assert_float_equal(ratios.median, 0.85, 1e-9);
    assert_float_equal(ratios.min, 0.5, 1e-9);
    assert_float_equal(ratios.max, 1.1, 1e-9);
    assert_float_equal(ratios.best, 0.99, 1e-9);
    report->round_count = 3;
    assert_float_equal(report_ratios(report).median, 0.8, 1e-9);
    report->round_count = 0;
    assert_true(isnan(report_ratios(report).median));
    free(report);
}

static void percentiles_are_milliseconds_within_a_sixteenth_above(void **state)
{
    (void)state;
    struct histogram histogram;
    histogram_init(&histogram);
    assert_true(isnan(percentiles_ms(&histogram).p50));
    for (uint64_t us = 1; us <= 1000; us++) {
        histogram_record(&histogram, us * NS_PER_US);
    }
    struct percentiles p = percentiles_ms(&histogram);
    const double pairs[][2] = {{p.p50, 0.5}, {p.p90, 0.9}, {p.p99, 0.99}, {p.p999, 0.999},
                               {p.max, 1.0}};
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        assert_true(pairs[i][0] >= pairs[i][1] && pairs[i][0] <= pairs[i][1] * 17 / 16);
    }
}

static void the_table_shows_a_dash_for_the_unknown(void **state)
{
    (void)state;
    double relay[] = {80};
    double floor[] = {100};
    struct report *report = report_of(relay, floor, 1);
    char text[4096];
    struct buf buf;
    buf_init(&buf, text, sizeof(text) - 1);
    report_put_table(report, &buf);
    text[buf.size] = 0;
    assert_null(strstr(text, "nan"));
    assert_non_null(strstr(text, " - "));
    assert_non_null(strstr(text, "relay / floor: median 0.800"));
    free(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_json_has_exactly_the_keys_of_the_contract),
        cmocka_unit_test(what_is_not_known_is_null),
        cmocka_unit_test(the_median_of_rounds_is_that_of_what_each_says),
        cmocka_unit_test(the_figure_of_record_is_the_median_of_the_ratios_of_the_rounds),
        cmocka_unit_test(percentiles_are_milliseconds_within_a_sixteenth_above),
        cmocka_unit_test(the_table_shows_a_dash_for_the_unknown),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
