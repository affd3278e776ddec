#include "bench/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/check.h"

void run_init(struct run *run)
{
    static const struct percentiles unknown = {NAN, NAN, NAN, NAN, NAN};
    *run = (struct run){
        .messages = NAN, .seconds = NAN, .rate = NAN, .accept_rate = NAN, .latency_ms = unknown,
        .cpu_source_s = NAN, .cpu_mta_s = NAN, .cpu_sink_s = NAN, .mta_cpu_us_per_message = NAN,
        .rss_peak_bytes = NAN, .enters_per_message = NAN, .mallocs = NAN,
        .mallocs_per_message = NAN,
        .commits = NAN, .commit_messages_p50 = NAN, .commit_messages_max = NAN,
        .commit_ms_p50 = NAN, .commit_ms_p99 = NAN,
    };
}

struct percentiles percentiles_ms(const struct histogram *histogram)
{
    if (histogram->count == 0) {
        return (struct percentiles){NAN, NAN, NAN, NAN, NAN};
    }
    double ms = 1e6;
    return (struct percentiles){
        .p50 = (double)histogram_percentile(histogram, 500) / ms,
        .p90 = (double)histogram_percentile(histogram, 900) / ms,
        .p99 = (double)histogram_percentile(histogram, 990) / ms,
        .p999 = (double)histogram_percentile(histogram, 999) / ms,
        .max = (double)histogram->max / ms,
    };
}

/* --- JSON ------------------------------------------------------------------------------------- */

void report_put_number(struct json *json, const char *key, double value, unsigned decimals)
{
    json_key(json, key);
    json_fixed(json, value, decimals);
}

static void put_text(struct json *json, const char *key, const char *text)
{
    json_key(json, key);
    if (text == NULL) {
        json_null(json);
    } else {
        json_string(json, slice_from_string(text));
    }
}

static void put_latency(struct json *json, const struct percentiles *latency)
{
    json_key(json, "latency_ms");
    json_object(json);
    report_put_number(json, "p50", latency->p50, 3);
    report_put_number(json, "p90", latency->p90, 3);
    report_put_number(json, "p99", latency->p99, 3);
    report_put_number(json, "p999", latency->p999, 3);
    report_put_number(json, "max", latency->max, 3);
    json_object_end(json);
}

static void put_commits(struct json *json, const struct run *run)
{
    report_put_number(json, "commits", run->commits, 0);
    json_key(json, "commit_messages");
    json_object(json);
    report_put_number(json, "p50", run->commit_messages_p50, 0);
    report_put_number(json, "max", run->commit_messages_max, 0);
    json_object_end(json);
    json_key(json, "commit_ms");
    json_object(json);
    report_put_number(json, "p50", run->commit_ms_p50, 3);
    report_put_number(json, "p99", run->commit_ms_p99, 3);
    json_object_end(json);
    put_text(json, "sync", run->sync);
}

void report_put_run(struct json *json, const struct run *run)
{
    json_object(json);
    report_put_number(json, "messages", run->messages, 0);
    report_put_number(json, "seconds", run->seconds, 3);
    report_put_number(json, "rate", run->rate, 1);
    report_put_number(json, "accept_rate", run->accept_rate, 1);
    put_latency(json, &run->latency_ms);
    json_key(json, "cpu_s");
    json_object(json);
    report_put_number(json, "source", run->cpu_source_s, 3);
    report_put_number(json, "mta", run->cpu_mta_s, 3);
    report_put_number(json, "sink", run->cpu_sink_s, 3);
    json_object_end(json);
    report_put_number(json, "mta_cpu_us_per_message", run->mta_cpu_us_per_message, 2);
    report_put_number(json, "rss_peak_bytes", run->rss_peak_bytes, 0);
    report_put_number(json, "enters_per_message", run->enters_per_message, 3);
    report_put_number(json, "mallocs_per_message", run->mallocs_per_message, 3);
    put_commits(json, run);
    json_object_end(json);
}

static void put_args(struct json *json, const struct report_head *head)
{
    json_key(json, "args");
    json_array(json);
    for (unsigned i = 0; i < head->arg_count; i++) {
        json_string(json, slice_from_string(head->args[i]));
    }
    json_array_end(json);
}

static void put_host(struct json *json, const struct report_head *head)
{
    struct utsname name;
    json_key(json, "host");
    json_object(json);
    json_key(json, "cpus");
    json_i64(json, sysconf(_SC_NPROCESSORS_ONLN));
    put_text(json, "kernel", uname(&name) == 0 ? name.release : NULL);
    put_text(json, "fs", head->fs);
    put_text(json, "cc", head->cc);
    json_object_end(json);
}

void report_put_head(struct json *json, const struct report_head *head)
{
    put_text(json, "bench", head->bench);
    put_text(json, "version", RINGPOST_VERSION);
    put_args(json, head);
    put_host(json, head);
}

/* `over` ÷ `under` when both were run. */
static double ratio(bool with, const struct run *over, bool with_under, const struct run *under)
{
    return with && with_under ? over->rate / under->rate : NAN;
}

static double round_ratio(const struct report_round *round)
{
    return ratio(round->with_relay, &round->relay, round->with_floor, &round->floor);
}

static double round_baseline_ratio(const struct report_round *round)
{
    return ratio(round->with_relay, &round->relay, round->with_baseline, &round->baseline);
}

static void put_run_or_null(struct json *json, const char *key, bool with, const struct run *run)
{
    json_key(json, key);
    if (with) {
        report_put_run(json, run);
    } else {
        json_null(json);
    }
}

static void put_round(struct json *json, const struct report_round *round)
{
    json_object(json);
    put_run_or_null(json, "floor", round->with_floor, &round->floor);
    put_run_or_null(json, "relay", round->with_relay, &round->relay);
    report_put_number(json, "ratio", round_ratio(round), 4);
    if (round->with_direct) {
        put_run_or_null(json, "direct", true, &round->direct);
    }
    if (round->with_baseline) {
        put_run_or_null(json, "baseline", true, &round->baseline);
        report_put_number(json, "baseline_ratio", round_baseline_ratio(round), 4);
    }
    json_object_end(json);
}

void report_put_json(const struct report *report, struct buf *buf)
{
    struct json json;
    struct ratios ratios = report_ratios(report);
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &report->head);
    json_key(&json, "rounds");
    json_array(&json);
    for (unsigned i = 0; i < report->round_count; i++) {
        put_round(&json, &report->rounds[i]);
    }
    json_array_end(&json);
    report_put_number(&json, "ratio_median", ratios.median, 4);
    report_put_number(&json, "ratio_min", ratios.min, 4);
    report_put_number(&json, "ratio_max", ratios.max, 4);
    report_put_number(&json, "ratio_best", ratios.best, 4);
    if (report->round_count > 0 && report->rounds[0].with_baseline) {
        report_put_number(&json, "baseline_ratio_median", report_baseline_ratios(report).median, 4);
    }
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

/* --- ratios ----------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

void values_sort(double *values, size_t count)
{
    qsort(values, count, sizeof(values[0]), compare);
}

double median_of(double *values, unsigned count)
{
    if (count == 0) {
        return NAN;
    }
    values_sort(values, count);
    double upper = values[count / 2];
    return count % 2 == 1 ? upper : (values[count / 2 - 1] + upper) / 2;
}

double median_of_rounds(const void *rounds, size_t round_bytes, unsigned count, round_value *value)
{
    double values[REPORT_ROUNDS_MAX];
    CHECK(count <= REPORT_ROUNDS_MAX);
    for (unsigned i = 0; i < count; i++) {
        values[i] = value((const uint8_t *)rounds + i * round_bytes);
    }
    return median_of(values, count);
}

static struct ratios ratios_of(const double *over, const double *under, unsigned count)
{
    struct ratios ratios = {.median = NAN, .min = NAN, .max = NAN, .best = NAN};
    double values[REPORT_ROUNDS_MAX];
    double over_best = 0;
    double under_best = 0;
    unsigned known = 0;
    for (unsigned i = 0; i < count; i++) {
        if (over[i] > 0 && under[i] > 0) {
            values[known++] = over[i] / under[i];
            over_best = MAX_OF(over_best, over[i]);
            under_best = MAX_OF(under_best, under[i]);
        }
    }
    if (known > 0) {
        ratios.median = median_of(values, known); /* sorted from here on */
        ratios.min = values[0];
        ratios.max = values[known - 1];
        ratios.best = over_best / under_best;
    }
    return ratios;
}

struct ratios report_ratios(const struct report *report)
{
    double relay[REPORT_ROUNDS_MAX];
    double floor[REPORT_ROUNDS_MAX];
    for (unsigned i = 0; i < report->round_count; i++) {
        relay[i] = report->rounds[i].with_relay ? report->rounds[i].relay.rate : NAN;
        floor[i] = report->rounds[i].with_floor ? report->rounds[i].floor.rate : NAN;
    }
    return ratios_of(relay, floor, report->round_count);
}

struct ratios report_baseline_ratios(const struct report *report)
{
    double relay[REPORT_ROUNDS_MAX];
    double baseline[REPORT_ROUNDS_MAX];
    for (unsigned i = 0; i < report->round_count; i++) {
        relay[i] = report->rounds[i].with_relay ? report->rounds[i].relay.rate : NAN;
        baseline[i] = report->rounds[i].with_baseline ? report->rounds[i].baseline.rate : NAN;
    }
    return ratios_of(relay, baseline, report->round_count);
}

/* --- for people ------------------------------------------------------------------------------- */

void report_put_cell(struct buf *buf, double value, int width, int decimals)
{
    if (isfinite(value)) {
        buf_printf(buf, " %*.*f", width, decimals, value);
    } else {
        buf_printf(buf, " %*s", width, "-");
    }
}

static void put_row(struct buf *buf, unsigned round, const char *what, const struct run *run)
{
    buf_printf(buf, "%5u  %-9s", round, what);
    report_put_cell(buf, run->rate, 9, 0);
    report_put_cell(buf, run->latency_ms.p50, 8, 2);
    report_put_cell(buf, run->latency_ms.p99, 8, 2);
    report_put_cell(buf, run->mta_cpu_us_per_message, 8, 1);
    report_put_cell(buf, run->enters_per_message, 8, 2);
    report_put_cell(buf, run->messages / run->commits, 8, 1);
    report_put_cell(buf, run->commit_ms_p50, 8, 3);
}

static void put_ratios(struct buf *buf, const char *name, const struct ratios *ratios)
{
    buf_printf(buf, "%s: median %.3f, min %.3f, max %.3f, best %.3f\n", name, ratios->median,
               ratios->min, ratios->max, ratios->best);
}

void report_put_table(const struct report *report, struct buf *buf)
{
    buf_put_string(buf, "round  what        rate/s   p50 ms   p99 ms  CPU us   enters  "
                        "msg/com   com ms  ratio\n");
    for (unsigned i = 0; i < report->round_count; i++) {
        const struct report_round *round = &report->rounds[i];
        if (round->with_floor) {
            put_row(buf, i + 1, "floor", &round->floor);
            buf_put_string(buf, "\n");
        }
        if (round->with_baseline) {
            put_row(buf, i + 1, "baseline", &round->baseline);
            buf_put_string(buf, "\n");
        }
        if (round->with_direct) {
            put_row(buf, i + 1, "direct", &round->direct);
            buf_put_string(buf, "\n");
        }
        if (round->with_relay) {
            put_row(buf, i + 1, report->head.bench, &round->relay);
            report_put_cell(buf, round_ratio(round), 6, 3);
            buf_put_string(buf, "\n");
        }
    }
    struct ratios ratios = report_ratios(report);
    struct ratios baseline = report_baseline_ratios(report);
    if (isfinite(ratios.median)) {
        put_ratios(buf, "relay / floor", &ratios);
    }
    if (isfinite(baseline.median)) {
        put_ratios(buf, "new / old", &baseline);
    }
}
