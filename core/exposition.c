#include "core/exposition.h"

#include <string.h>

#include "core/check.h"

#define VALUE_BYTES_MAX 4096 /* of a label's value, as it is told */
#define LE_BYTES        48

/* --- values of labels ------------------------------------------------------------------------- */

static void put_escape(struct buf *buf, uint8_t byte)
{
    if (byte == '\\') {
        buf_put(buf, SLICE("\\\\"));
        return;
    }
    buf_put(buf, SLICE("\\x"));
    buf_put_hex(buf, slice_make(&byte, 1));
}

void exposition_put_value(struct buf *buf, struct slice value)
{
    if (slice_equal(value, EXPOSITION_OTHER)) {
        put_escape(buf, value.data[0]); /* it is no rest, it is called so */
        value = slice_skip(value, 1);
    }
    while (value.size > 0) {
        /* A quote is harmless until it is quoted. */
        size_t size = value.data[0] == '"' ? 1 : json_plain_bytes(value);
        if (size > 0) {
            buf_put(buf, slice_first(value, size));
        } else {
            put_escape(buf, value.data[0]);
        }
        value = slice_skip(value, MAX_OF(size, 1));
    }
}

/* In quotes, as the text format wants it. */
static void put_quoted(struct buf *buf, struct slice told)
{
    buf_put_byte(buf, '"');
    for (size_t i = 0; i < told.size; i++) {
        if (told.data[i] == '"' || told.data[i] == '\\') {
            buf_put_byte(buf, '\\');
        }
        buf_put_byte(buf, told.data[i]);
    }
    buf_put_byte(buf, '"');
}

/* --- metrics ---------------------------------------------------------------------------------- */

void exposition_begin(struct exposition *exposition, struct buf *buf, enum exposition_form form,
                      struct slice prefix)
{
    *exposition = (struct exposition){.buf = buf, .prefix = prefix, .form = form};
    if (form == EXPOSITION_JSON) {
        json_init(&exposition->json, buf);
        json_object(&exposition->json);
    }
}

static void metric_end(struct exposition *exposition)
{
    if (!exposition->open) {
        return;
    }
    exposition->open = false;
    if (exposition->metric.label != NULL) {
        json_object_end(&exposition->json);
        json_object_end(&exposition->json);
    }
    json_object_end(&exposition->json);
}

bool exposition_metric(struct exposition *exposition, const struct metric *metric)
{
    struct json *json = &exposition->json;
    metric_end(exposition);
    if (!slice_starts_with(slice_from_string(metric->name), exposition->prefix)) {
        return false;
    }
    exposition->metric = *metric;
    if (exposition->form == EXPOSITION_TEXT) {
        buf_printf(exposition->buf, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help,
                   metric->name, metric->type);
        return true;
    }
    exposition->open = true;
    json_key(json, metric->name);
    json_object(json);
    json_key(json, "help");
    json_string(json, slice_from_string(metric->help));
    json_key(json, "type");
    json_string(json, slice_from_string(metric->type));
    json_key(json, "value");
    if (metric->label != NULL) {
        json_object(json);
        json_key(json, metric->label);
        json_object(json);
    }
    return true;
}

/* `suffix` of the name, and `le` as a label where it is not empty. */
static void put_text(struct exposition *exposition, const char *suffix, struct slice told,
                     struct slice le)
{
    struct buf *buf = exposition->buf;
    const char *label = exposition->metric.label;
    buf_put_string(buf, exposition->metric.name);
    buf_put_string(buf, suffix);
    if (label != NULL || le.size > 0) {
        buf_put_byte(buf, '{');
    }
    if (label != NULL) {
        buf_put_string(buf, label);
        buf_put_byte(buf, '=');
        put_quoted(buf, told);
    }
    if (le.size > 0) {
        buf_put_string(buf, label != NULL ? ",le=" : "le=");
        put_quoted(buf, le);
    }
    if (label != NULL || le.size > 0) {
        buf_put_byte(buf, '}');
    }
    buf_put_byte(buf, ' ');
}

/* In memory of VALUE_BYTES_MAX. */
static struct slice told_of(struct slice value, uint8_t *memory)
{
    struct buf told;
    buf_init(&told, memory, VALUE_BYTES_MAX);
    exposition_put_value(&told, value);
    CHECK(!told.overflow);
    return buf_slice(&told);
}

static void put_sample(struct exposition *exposition, struct slice told, uint64_t number)
{
    struct json *json = &exposition->json;
    if (exposition->form == EXPOSITION_JSON) {
        if (exposition->metric.label != NULL) {
            json_key_text(json, told);
        }
        json_u64(json, number);
        return;
    }
    put_text(exposition, "", told, SLICE_NONE);
    buf_put_u64(exposition->buf, number);
    buf_put_byte(exposition->buf, '\n');
}

void exposition_sample(struct exposition *exposition, struct slice value, uint64_t number)
{
    uint8_t memory[VALUE_BYTES_MAX];
    put_sample(exposition, told_of(value, memory), number);
}

void exposition_rest(struct exposition *exposition, uint64_t number)
{
    put_sample(exposition, EXPOSITION_OTHER, number);
}

/* --- histograms ------------------------------------------------------------------------------- */

/* Exact, without zeros at the end. */
static void put_number(struct buf *buf, uint64_t number, enum exposition_unit unit)
{
    uint64_t part = number % NS_PER_S;
    unsigned digits = 9;
    if (unit == EXPOSITION_COUNTS) {
        buf_put_u64(buf, number);
        return;
    }
    buf_put_u64(buf, number / NS_PER_S);
    if (part == 0) {
        return;
    }
    for (; part % 10 == 0; part /= 10) {
        digits--;
    }
    buf_put_byte(buf, '.');
    buf_put_padded(buf, part, digits);
}

/* Counts are whole: what is less than a power of two is at most one less than it. */
static struct slice bound_text(uint8_t *memory, unsigned power, enum exposition_unit unit)
{
    struct buf buf;
    uint64_t bound = 1ull << power;
    buf_init(&buf, memory, LE_BYTES);
    put_number(&buf, unit == EXPOSITION_COUNTS ? bound - 1 : bound, unit);
    CHECK(!buf.overflow);
    return buf_slice(&buf);
}

static void histogram_text(struct exposition *exposition, struct slice told,
                           const struct histogram *histogram, enum exposition_unit unit,
                           unsigned first, unsigned last)
{
    struct buf *buf = exposition->buf;
    uint8_t memory[LE_BYTES];
    for (unsigned power = first; power <= last + 1; power++) {
        bool all = power > last;
        put_text(exposition, "_bucket", told,
                 all ? SLICE("+Inf") : bound_text(memory, power, unit));
        buf_put_u64(buf, all ? histogram->count : histogram_below(histogram, power));
        buf_put_byte(buf, '\n');
    }
    put_text(exposition, "_sum", told, SLICE_NONE);
    put_number(buf, histogram->sum, unit);
    buf_put_byte(buf, '\n');
    put_text(exposition, "_count", told, SLICE_NONE);
    buf_put_u64(buf, histogram->count);
    buf_put_byte(buf, '\n');
}

static void json_number(struct json *json, const char *key, uint64_t number,
                        enum exposition_unit unit)
{
    json_key(json, key);
    if (unit == EXPOSITION_COUNTS) {
        json_u64(json, number);
    } else {
        json_fixed(json, (double)number / (double)NS_PER_S, 6);
    }
}

static void histogram_json(struct exposition *exposition, const struct histogram *histogram,
                           enum exposition_unit unit, unsigned first, unsigned last)
{
    struct json *json = &exposition->json;
    uint8_t memory[LE_BYTES];
    json_object(json);
    json_key(json, "count");
    json_u64(json, histogram->count);
    json_number(json, "sum", histogram->sum, unit);
    json_number(json, "p50", histogram_percentile(histogram, 500), unit);
    json_number(json, "p90", histogram_percentile(histogram, 900), unit);
    json_number(json, "p99", histogram_percentile(histogram, 990), unit);
    json_number(json, "p999", histogram_percentile(histogram, 999), unit);
    json_key(json, "buckets");
    json_object(json);
    for (unsigned power = first; power <= last; power++) {
        json_key_text(json, bound_text(memory, power, unit));
        json_u64(json, histogram_below(histogram, power));
    }
    json_object_end(json);
    json_object_end(json);
}

void exposition_histogram(struct exposition *exposition, struct slice value,
                          const struct histogram *histogram, enum exposition_unit unit,
                          unsigned first, unsigned last)
{
    uint8_t memory[VALUE_BYTES_MAX];
    struct slice told = told_of(value, memory);
    CHECK(strcmp(exposition->metric.type, "histogram") == 0);
    if (exposition->form == EXPOSITION_JSON) {
        if (exposition->metric.label != NULL) {
            json_key_text(&exposition->json, told);
        }
        histogram_json(exposition, histogram, unit, first, last);
    } else {
        histogram_text(exposition, told, histogram, unit, first, last);
    }
}

void exposition_end(struct exposition *exposition)
{
    metric_end(exposition);
    if (exposition->form == EXPOSITION_JSON) {
        json_object_end(&exposition->json);
    }
}
