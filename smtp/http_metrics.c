#include "smtp/http_metrics.h"

#include <string.h>

#include "core/check.h"
#include "core/json.h"
#include "smtp/node.h"

/* Of an answer. A sample takes some 200 bytes, half of them its help. */
#define METRICS_BYTES (64 * KIB)
#define NAME_BYTES    96
/* Beside the counters. */
#define OTHERS_MAX 16

#define TEXT_TYPE SLICE("text/plain; version=0.0.4; charset=utf-8")
#define JSON_TYPE SLICE("application/json")

/* Samples of one name stand together. */
struct sample {
    const char *name;    /* null: it is that of `counter` */
    const char *service; /* value of the label; null: it has none */
    const char *help;    /* null: what `counter` counts stands beside event=stopped */
    const char *type;
    enum counter counter;
    uint64_t value;
};

struct samples {
    struct sample rows[COUNTERS_COUNT + OTHERS_MAX];
    unsigned count;
};

static void add(struct samples *samples, struct sample sample)
{
    CHECK(samples->count < COUNT_OF(samples->rows));
    samples->rows[samples->count++] = sample;
}

/* --- what there is -------------------------------------------------------------------------- */

/* KumoMTA's, which count a message for each recipient, as our counters of recipients do. */
static void add_known(struct samples *samples, const struct node *node)
{
    static const struct {
        const char *name;
        const char *service;
        const char *help;
        enum counter counter;
    } rows[] = {
        {"total_connection_count", "esmtp_listener", "Connections since the start.",
         COUNTER_connections_in},
        {"total_connection_count", "smtp_client", "Connections since the start.",
         COUNTER_connections_out},
        {"total_connections_denied", "esmtp_listener", "Connections that were refused.",
         COUNTER_connections_refused},
        {"total_messages_received", "esmtp_listener", "Recipients that mail was taken for.",
         COUNTER_recipients_received},
        {"total_messages_delivered", "smtp_client", "Recipients that were delivered.",
         COUNTER_deliveries},
        {"total_messages_transfail", "smtp_client", "Attempts that failed for now.",
         COUNTER_transient_failures},
        {"total_messages_fail", "smtp_client", "Recipients that were given up.", COUNTER_bounces},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        add(samples, (struct sample){
                         .name = rows[i].name,
                         .service = rows[i].service,
                         .help = rows[i].help,
                         .type = "counter",
                         .value = node_counter(node, rows[i].counter),
                     });
    }
}

static void add_gauges(struct samples *samples, const struct node *node)
{
    uint64_t open = 0;
    for (size_t i = 0; i < node->options.conf->smtp_listener_count; i++) {
        open += atomic_load_explicit(&node->slots[i].used, memory_order_relaxed);
    }
    add(samples, (struct sample){.name = "connection_count",
                                 .service = "esmtp_listener",
                                 .help = "Connections of clients that are open.",
                                 .type = "gauge",
                                 .value = open});
    add(samples, (struct sample){.name = "ringpost_ready",
                                 .help = "1: recovered, listening, not stopping.",
                                 .type = "gauge",
                                 .value = node_state(node) == NODE_READY});
    add(samples, (struct sample){.name = "ringpost_shards",
                                 .help = "Threads that carry mail.",
                                 .type = "gauge",
                                 .value = node->shards});
}

static void collect(struct samples *samples, const struct node *node)
{
    samples->count = 0;
    add_known(samples, node);
    add_gauges(samples, node);
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        enum counter counter = (enum counter)i;
        add(samples, (struct sample){.counter = counter,
                                     .type = "counter",
                                     .value = node_counter(node, counter)});
    }
}

static const char *name_of(const struct sample *sample, char *memory)
{
    struct buf name;
    if (sample->name != NULL) {
        return sample->name;
    }
    buf_init(&name, memory, NAME_BYTES);
    buf_put_string(&name, "ringpost_");
    buf_put_string(&name, counter_name(sample->counter));
    buf_put(&name, SLICE("_total\0"));
    CHECK(!name.overflow);
    return memory;
}

static const char *help_of(const struct sample *sample, char *memory)
{
    struct buf help;
    if (sample->help != NULL) {
        return sample->help;
    }
    buf_init(&help, memory, NAME_BYTES);
    buf_put_string(&help, "The counter ");
    buf_put_string(&help, counter_name(sample->counter));
    buf_put(&help, SLICE(" of event=stopped.\0"));
    CHECK(!help.overflow);
    return memory;
}

/* Is row `index` the first of its name? */
static bool begins(const struct samples *samples, unsigned index)
{
    const struct sample *row = &samples->rows[index];
    const char *before = index > 0 ? samples->rows[index - 1].name : NULL;
    return row->name == NULL || before == NULL || strcmp(row->name, before) != 0;
}

static bool is_wanted(const char *name, struct slice prefix)
{
    return slice_starts_with(slice_from_string(name), prefix);
}

/* --- how it is written ---------------------------------------------------------------------- */

static void put_text(struct buf *buf, const struct samples *samples, struct slice prefix)
{
    char memory[NAME_BYTES];
    char help[NAME_BYTES];
    for (unsigned i = 0; i < samples->count; i++) {
        const struct sample *row = &samples->rows[i];
        const char *name = name_of(row, memory);
        if (!is_wanted(name, prefix)) {
            continue;
        }
        if (begins(samples, i)) {
            buf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", name, help_of(row, help), name,
                       row->type);
        }
        buf_put_string(buf, name);
        if (row->service != NULL) {
            buf_printf(buf, "{service=\"%s\"}", row->service);
        }
        buf_put_byte(buf, ' ');
        buf_put_u64(buf, row->value);
        buf_put_byte(buf, '\n');
    }
}

/* {"value":{"service":{"esmtp_listener":1,"smtp_client":2}}}, or {"value":1} without a label. */
static unsigned json_values(struct json *json, const struct samples *samples, unsigned at)
{
    json_key(json, "value");
    if (samples->rows[at].service == NULL) {
        json_u64(json, samples->rows[at].value);
        return at + 1;
    }
    json_object(json);
    json_key(json, "service");
    json_object(json);
    do {
        json_key(json, samples->rows[at].service);
        json_u64(json, samples->rows[at].value);
        at++;
    } while (at < samples->count && !begins(samples, at));
    json_object_end(json);
    json_object_end(json);
    return at;
}

static void put_json(struct buf *buf, const struct samples *samples, struct slice prefix)
{
    struct json json;
    char memory[NAME_BYTES];
    char help[NAME_BYTES];
    unsigned at = 0;
    json_init(&json, buf);
    json_object(&json);
    while (at < samples->count) {
        const struct sample *row = &samples->rows[at];
        const char *name = name_of(row, memory);
        if (!is_wanted(name, prefix)) {
            at++;
            continue;
        }
        json_key(&json, name);
        json_object(&json);
        json_key(&json, "help");
        json_string(&json, slice_from_string(help_of(row, help)));
        json_key(&json, "type");
        json_string(&json, slice_from_string(row->type));
        at = json_values(&json, samples, at);
        json_object_end(&json);
    }
    json_object_end(&json);
}

static void answer(struct http_exchange *exchange, struct slice type,
                   void (*put)(struct buf *buf, const struct samples *samples,
                               struct slice prefix))
{
    const struct node *node = ((struct control *)exchange->context)->node;
    uint8_t memory[NAME_BYTES];
    struct buf prefix;
    struct samples samples;
    buf_init(&prefix, memory, sizeof(memory));
    if (http_query_find(exchange->query, SLICE("prefix"), &prefix) == HTTP_QUERY_BAD) {
        http_answer_text(exchange, 400, SLICE("prefix: malformed, or given twice"));
        return;
    }
    struct buf *room = http_answer_room(exchange, METRICS_BYTES);
    if (room == NULL) {
        return;
    }
    collect(&samples, node);
    put(room, &samples, buf_slice(&prefix));
    http_answer_written(exchange, 200, type);
}

void http_metrics_text(struct http_exchange *exchange)
{
    answer(exchange, TEXT_TYPE, put_text);
}

void http_metrics_json(struct http_exchange *exchange)
{
    answer(exchange, JSON_TYPE, put_json);
}
