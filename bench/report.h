/*
 * What a run gave, as JSON and as lines for people. A value that is not known is NAN and becomes
 * null. Pure but for report_host.
 */
#ifndef RINGPOST_BENCH_REPORT_H
#define RINGPOST_BENCH_REPORT_H

#include "core/histogram.h"
#include "core/json.h"

#define REPORT_ROUNDS_MAX 100
#define REPORT_BYTES_MAX  (1 * MIB)

struct percentiles {
    double p50;
    double p90;
    double p99;
    double p999;
    double max;
};

struct run {
    double messages;
    double seconds;     /* first MAIL sent → last final reply sent by the sink */
    double rate;        /* messages ÷ seconds */
    double accept_rate; /* messages ÷ (first MAIL sent → last 250 read by the source) */
    struct percentiles latency_ms;
    double cpu_source_s;
    double cpu_mta_s;
    double cpu_sink_s;
    double mta_cpu_us_per_message;
    double rss_peak_bytes;
    double enters_per_message;
    double mallocs;     /* of the mail shards, start included; of a build that counts */
    double mallocs_per_message;
    double commits;
    double commit_messages_p50;
    double commit_messages_max;
    double commit_ms_p50;
    double commit_ms_p99;
    const char *sync; /* "dsync" …; null: not known */
};

/* Everything unknown. */
void run_init(struct run *run);
/* Of a histogram of nanoseconds, in milliseconds; unknown when it is empty. */
struct percentiles percentiles_ms(const struct histogram *histogram);
void report_put_run(struct json *json, const struct run *run);

struct report_round {
    bool with_floor;
    bool with_relay;
    bool with_baseline;
    bool with_direct;
    struct run floor;
    struct run relay;
    struct run baseline; /* of another build */
    struct run direct;   /* source to sink, beside the floor */
};

/* What every result begins with. */
struct report_head {
    const char *bench;
    const char *const *args; /* borrowed */
    unsigned arg_count;
    const char *fs; /* type of the file system of --dir */
    const char *cc;
};

/* bench, version, args and host, into an object that has begun. */
void report_put_head(struct json *json, const struct report_head *head);
/* A member; a number that is not known is null. */
void report_put_number(struct json *json, const char *key, double value, unsigned decimals);
/* A cell of a table: right-aligned after a space, "-" when it is not known. */
void report_put_cell(struct buf *buf, double value, int width, int decimals);

struct report {
    struct report_head head;
    unsigned round_count;
    struct report_round rounds[REPORT_ROUNDS_MAX];
};

/* relay ÷ floor of each round that has both. */
struct ratios {
    double median;
    double min;
    double max;
    double best; /* of the relay's best rate to the floor's best rate */
};
struct ratios report_ratios(const struct report *report);
/* new ÷ old, likewise. */
struct ratios report_baseline_ratios(const struct report *report);
void values_sort(double *values, size_t count);
/* Sorts; unknown without values. */
double median_of(double *values, unsigned count);
/* The same of what `value` says of each round; REPORT_ROUNDS_MAX of them at most. */
typedef double round_value(const void *round);
double median_of_rounds(const void *rounds, size_t round_bytes, unsigned count, round_value *value);

/* One object and a line end. */
void report_put_json(const struct report *report, struct buf *buf);
/* A table. */
void report_put_table(const struct report *report, struct buf *buf);

#endif
