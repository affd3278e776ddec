#include "tools/top_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tools/answer.h"

#define PAUSE_NS_MIN (NS_PER_S / 10) /* readings closer than that make no rate */

void top_model_init(struct top_model *model)
{
    *model = (struct top_model){0};
}

/* --- metrics ---------------------------------------------------------------------------------- */

/* {"value":1} or {"value":{"label":{"a":1,"b":2}}}: the sum, or that of one value of the label. */
static bool metric(const struct json_value *answer, const char *name, const char *label,
                   uint64_t *value_out)
{
    const struct json_value *metric = answer_member(answer, name);
    const struct json_value *value = answer_member(metric, "value");
    if (value == NULL) {
        return false;
    }
    *value_out = 0;
    if (value->kind != JSON_OBJECT) {
        *value_out = answer_u64(metric, "value");
        return label == NULL && value->kind == JSON_INTEGER;
    }
    const struct json_value *values = value->size > 0 ? &value->members[0].value : NULL;
    if (label != NULL) {
        *value_out = answer_u64(values, label);
        return values != NULL && answer_member(values, label) != NULL;
    }
    for (uint32_t i = 0; i < answer_count(values) && values->kind == JSON_OBJECT; i++) {
        const struct json_value *one = &values->members[i].value;
        *value_out += one->kind == JSON_INTEGER && one->integer > 0 ? (uint64_t)one->integer : 0;
    }
    return true;
}

static void take_gauges(struct top_model *model, const struct json_value *answer)
{
    static const struct {
        enum top_gauge gauge;
        const char *name;
        const char *label;
    } rows[] = {
        {TOP_CLIENTS, "connection_count", "esmtp_listener"},
        {TOP_SERVERS, "connection_count", "smtp_client"},
        {TOP_SHARDS, "ringpost_shards", NULL},
        {TOP_MEMORY_USED, "memory_usage", NULL},
        {TOP_MEMORY_LIMIT, "memory_limit", NULL},
        {TOP_QUEUED, "scheduled_count_total", NULL},
        {TOP_READY, "ready_count", "smtp_client"},
        {TOP_SPOOL_FREE, "disk_free_percent", "spool"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        model->known[rows[i].gauge] =
            metric(answer, rows[i].name, rows[i].label, &model->gauges[rows[i].gauge]);
    }
}

/* The values of a metric by its one label; null: there are none. */
static const struct json_value *labelled(const struct json_value *answer, const char *name)
{
    const struct json_value *value = answer_member(answer_member(answer, name), "value");
    bool found = value != NULL && value->kind == JSON_OBJECT && value->size > 0 &&
                 value->members[0].value.kind == JSON_OBJECT;
    return found ? &value->members[0].value : NULL;
}

/* Rates only when `sane`: the reading before was of the same threads, so long ago. */
static void take_threads(struct top_model *model, const struct json_value *answer, bool sane,
                         uint64_t passed_ns)
{
    static const char *const names[TOP_RATES] = {
        [TOP_IN] = "ringpost_thread_recipients_received_total",
        [TOP_OUT] = "ringpost_thread_deliveries_total",
        [TOP_DEFERRED] = "ringpost_thread_transient_failures_total",
        [TOP_BOUNCED] = "ringpost_thread_bounces_total",
    };
    const struct json_value *busy = labelled(answer, "ringpost_thread_busy_percent");
    const struct json_value *clients = labelled(answer, "ringpost_thread_clients");
    unsigned count = busy == NULL ? 0 : MIN_OF(answer_count(busy), TOP_THREADS_MAX);
    sane = sane && count == model->thread_count;
    model->thread_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct top_thread *thread = &model->threads[i];
        const struct json_value *key = &busy->members[i].key;
        snprintf(thread->name, sizeof(thread->name), "%.*s", (int)key->size,
                 (const char *)key->text);
        thread->busy_percent = answer_u64(busy, thread->name);
        thread->clients = answer_u64(clients, thread->name);
        for (unsigned rate = 0; rate < TOP_RATES; rate++) {
            uint64_t value = answer_u64(labelled(answer, names[rate]), thread->name);
            uint64_t more = value - MIN_OF(value, thread->counters[rate]);
            thread->rates[rate] = sane ? (double)more * (double)NS_PER_S / (double)passed_ns : 0;
            thread->counters[rate] = value;
        }
    }
}

static void push(struct top_model *model, const double rates[TOP_RATES])
{
    bool full = model->history_count == TOP_HISTORY;
    for (unsigned i = 0; i < TOP_RATES; i++) {
        if (full) {
            memmove(model->history[i], model->history[i] + 1,
                    (TOP_HISTORY - 1) * sizeof(double));
        }
        model->history[i][model->history_count - (full ? 1 : 0)] = rates[i];
    }
    model->history_count += full ? 0 : 1;
}

void top_model_take_metrics(struct top_model *model, const struct json_value *answer,
                            uint64_t now_ns)
{
    static const char *const names[TOP_RATES] = {
        [TOP_IN] = "total_messages_received",
        [TOP_OUT] = "total_messages_delivered",
        [TOP_DEFERRED] = "total_messages_transfail",
        [TOP_BOUNCED] = "total_messages_fail",
    };
    uint64_t counters[TOP_RATES] = {0};
    double rates[TOP_RATES];
    uint64_t passed_ns = now_ns - MIN_OF(now_ns, model->counted_ns);
    bool sane = model->counted;
    for (unsigned i = 0; i < TOP_RATES; i++) {
        (void)metric(answer, names[i], NULL, &counters[i]);
        sane = sane && counters[i] >= model->counters[i]; /* else it has started again */
    }
    take_gauges(model, answer);
    model->news[0] = 0;
    if (sane && passed_ns < PAUSE_NS_MIN) {
        return;
    }
    if (sane) {
        for (unsigned i = 0; i < TOP_RATES; i++) {
            rates[i] = (double)(counters[i] - model->counters[i]) /
                       ((double)passed_ns / (double)NS_PER_S);
        }
        push(model, rates);
    }
    take_threads(model, answer, sane, passed_ns);
    memcpy(model->counters, counters, sizeof(counters));
    model->counted = true;
    model->counted_ns = now_ns;
}

void top_model_lost(struct top_model *model, const char *why, uint64_t now_ns)
{
    if (model->news[0] == 0) {
        model->lost_ns = now_ns;
    }
    model->counted = false;
    snprintf(model->news, sizeof(model->news), "%s", why);
}

/* --- queues ----------------------------------------------------------------------------------- */

static bool contains(struct slice text, const char *part)
{
    size_t size = strlen(part);
    for (size_t at = 0; at + size <= text.size; at++) {
        if (slice_equal_nocase(slice_make(text.data + at, size), slice_make(part, size))) {
            return true;
        }
    }
    return size == 0;
}

const struct json_value *top_model_queue(const struct top_model *model, unsigned row)
{
    CHECK(row < model->row_count);
    return &answer_member(model->listing, "queues")->elements[model->rows[row]];
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? 1 : a > b ? -1 : 0; /* the larger one first */
}

static int compare_texts(struct slice a, struct slice b)
{
    size_t size = MIN_OF(a.size, b.size);
    int order = size > 0 ? memcmp(a.data, b.data, size) : 0;
    return order != 0 ? order : compare_u64(b.size, a.size);
}

/* What is not known is newer than anything. */
static uint64_t since_of(const struct json_value *queue)
{
    uint64_t since_ns = answer_time(queue, "since");
    return since_ns > 0 ? since_ns : UINT64_MAX;
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct top_model *model = context;
    const uint16_t *row_a = a;
    const uint16_t *row_b = b;
    const struct json_value *queues = answer_member(model->listing, "queues");
    const struct json_value *queue_a = &queues->elements[*row_a];
    const struct json_value *queue_b = &queues->elements[*row_b];
    int order = 0;
    switch (model->order) {
    case TOP_BY_COUNT:
    case TOP_ORDERS:
        order = compare_u64(answer_u64(queue_a, "count"), answer_u64(queue_b, "count"));
        break;
    case TOP_BY_DUE:
        order = compare_u64(answer_u64(queue_a, "due"), answer_u64(queue_b, "due"));
        break;
    case TOP_BY_TIME:
        order = compare_u64(since_of(queue_b), since_of(queue_a));
        break;
    case TOP_BY_NAME:
        order = compare_texts(answer_text(queue_a, "name"), answer_text(queue_b, "name"));
        break;
    }
    return order != 0 ? order : (int)*row_a - (int)*row_b; /* the server's: by count */
}

/* Finds the rows that are shown, anew. */
static void arrange(struct top_model *model)
{
    const struct json_value *queues = answer_member(model->listing, "queues");
    uint32_t count = queue_rows_count(model->listing);
    model->row_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (contains(answer_text(&queues->elements[i], "name"), model->filter)) {
            model->rows[model->row_count++] = (uint16_t)i;
        }
    }
    qsort_r(model->rows, model->row_count, sizeof(model->rows[0]), compare_rows, model);
    model->top_row = MIN_OF(model->top_row, model->row_count > 0 ? model->row_count - 1 : 0);
}

void top_model_take_queues(struct top_model *model, const struct json_value *answer)
{
    model->listing = answer;
    model->listing_ns = answer_time(answer, "now");
    model->listing_news[0] = 0;
    model->listing_ready = slice_equal(answer_text(answer, "kind"), SLICE("ready"));
    arrange(model);
}

void top_model_no_queues(struct top_model *model, const char *why)
{
    snprintf(model->listing_news, sizeof(model->listing_news), "%s", why);
}

/* --- keys ------------------------------------------------------------------------------------- */

const char *top_model_order_name(enum top_order order)
{
    static const char *const names[TOP_ORDERS] = {"count", "due", "time", "name"};
    return names[order];
}

static void scroll(struct top_model *model, enum top_key key, unsigned rows)
{
    unsigned count = model->by_thread ? model->thread_count : model->row_count;
    unsigned last = count > rows ? count - rows : 0;
    unsigned page = MAX_OF(rows, 1u);
    unsigned top = model->top_row;
    if (key == TOP_KEY_UP) {
        top -= MIN_OF(top, 1u);
    } else if (key == TOP_KEY_DOWN) {
        top += 1;
    } else if (key == TOP_KEY_PAGE_UP) {
        top -= MIN_OF(top, page);
    } else if (key == TOP_KEY_PAGE_DOWN) {
        top += page;
    } else if (key == TOP_KEY_FIRST) {
        top = 0;
    } else if (key == TOP_KEY_LAST) {
        top = last;
    }
    model->top_row = MIN_OF(top, last);
}

static void type(struct top_model *model, enum top_key key, uint8_t byte)
{
    size_t size = strlen(model->filter);
    if (key == TOP_KEY_TEXT && byte >= ' ' && byte != 0x7F && size + 1 < TOP_FILTER_BYTES) {
        model->filter[size] = (char)byte;
        model->filter[size + 1] = 0;
    } else if (key == TOP_KEY_ERASE && size > 0) {
        do { /* a whole character */
            size--;
        } while (size > 0 && ((uint8_t)model->filter[size] & 0xC0) == 0x80);
        model->filter[size] = 0;
    } else if (key == TOP_KEY_ESCAPE) {
        model->filter[0] = 0;
        model->typing = false;
    } else if (key == TOP_KEY_ENTER) {
        model->typing = false;
    }
    model->top_row = 0;
    arrange(model);
}

bool top_model_key(struct top_model *model, enum top_key key, uint8_t byte, unsigned rows)
{
    if (model->typing) {
        type(model, key, byte);
        return true;
    }
    if (key != TOP_KEY_TEXT) {
        if (key == TOP_KEY_ESCAPE) {
            type(model, key, 0);
        }
        scroll(model, key, rows);
        return true;
    }
    switch (byte) {
    case 'q':
        return false;
    case 'k':
        scroll(model, TOP_KEY_UP, rows);
        break;
    case 'j':
        scroll(model, TOP_KEY_DOWN, rows);
        break;
    case '/':
        model->typing = true;
        break;
    case 's':
        model->order = (model->order + 1) % TOP_ORDERS;
        model->top_row = 0;
        arrange(model);
        break;
    case 'r':
        model->ready = !model->ready;
        model->top_row = 0;
        break;
    case 't':
        model->by_thread = !model->by_thread;
        model->top_row = 0;
        break;
    default:
        break;
    }
    return true;
}
