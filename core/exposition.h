/*
 * Samples in the text format of Prometheus (0.0.4), or as JSON in KumoMTA's form. One metric after
 * the other, each with all of its samples; those whose name does not begin with the prefix are left
 * out. Pure; overflow is the buffer's, sticky.
 *
 *   text   # HELP, # TYPE, then name{label="value"} number for each sample
 *   JSON   {"name": {"help", "type", "value": number | {"label": {"value": number}}}}
 *
 * A histogram has buckets at powers of two, counts of what is less; in JSON its value is
 * {"count", "sum", "p50", "p90", "p99", "p999", "buckets": {"le": number}}.
 *
 * Values of labels come from strangers, such as names of queues. What JSON would escape
 * (core/json.h), but for a quote, is written as in C ("\x1b", "\\"): two values never become one,
 * which would be an error for all of the answer.
 */
#ifndef RINGPOST_CORE_EXPOSITION_H
#define RINGPOST_CORE_EXPOSITION_H

#include "core/histogram.h"
#include "core/json.h"

enum exposition_form { EXPOSITION_TEXT, EXPOSITION_JSON };
/* The media type of the text. */
#define EXPOSITION_TEXT_TYPE SLICE("text/plain; version=0.0.4; charset=utf-8")

/* Times are shown in seconds. */
enum exposition_unit { EXPOSITION_COUNTS, EXPOSITION_NANOSECONDS };

struct metric {
    const char *name;
    const char *type;  /* "counter", "gauge", "histogram" */
    const char *help;
    const char *label; /* null: it has none, and one sample */
};

struct exposition {
    struct buf *buf;         /* borrowed, like the next one */
    struct slice prefix;
    enum exposition_form form;
    struct json json;
    struct metric metric;
    bool open;               /* in JSON its value is not ended */
};

/* One value of a label takes at most this many times its bytes. */
#define EXPOSITION_GROWTH 6

void exposition_begin(struct exposition *exposition, struct buf *buf, enum exposition_form form,
                      struct slice prefix);
/* Samples of this metric follow. False: they are not wanted. */
MUST_USE bool exposition_metric(struct exposition *exposition, const struct metric *metric);
/* `value` of its label; empty where it has none. */
void exposition_sample(struct exposition *exposition, struct slice value, uint64_t number);
/* All others together: the value is EXPOSITION_OTHER; a thing of that name is told of otherwise. */
#define EXPOSITION_OTHER SLICE("other")
void exposition_rest(struct exposition *exposition, uint64_t number);
/* Buckets end at 2^first, 2^(first + 1) … 2^last, and at infinity. */
void exposition_histogram(struct exposition *exposition, struct slice value,
                          const struct histogram *histogram, enum exposition_unit unit,
                          unsigned first, unsigned last);
void exposition_end(struct exposition *exposition);

/* A value of a label as it is told: in both forms the same, then quoted as the form wants it. */
void exposition_put_value(struct buf *buf, struct slice value);

#endif
