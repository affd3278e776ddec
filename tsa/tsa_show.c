#include "tsa/tsa_show.h"

#include <assert.h>
#include <string.h>

#include "core/exposition.h"
#include "core/json_member.h"
#include "tsa/tsa.h"

#define JSON_TYPE     SLICE("application/json")
#define STATUS_BYTES  (4 * KIB)
#define METRICS_BYTES (16 * KIB)
#define PREFIX_BYTES  96

/* --- lists ------------------------------------------------------------------------------------ */

typedef void put_list(struct effect_list *list, struct buf *buf);

static void put_suspensions(struct effect_list *list, struct buf *buf)
{
    effect_list_put_suspensions(list, buf);
}

static void put_bounces(struct effect_list *list, struct buf *buf)
{
    effect_list_put_bounces(list, buf);
}

static void answer_list(struct http_exchange *exchange, unsigned forms, put_list *put,
                        struct slice type)
{
    struct tsa *tsa = exchange->context;
    if (!tsa->ready) {
        http_answer_later(exchange, 1, SLICE("starting"));
        return;
    }
    effect_list_take(&tsa->list, &tsa->automation, forms, tsa->shard->wall_ns);
    struct buf *room = http_answer_room(exchange, effect_list_bytes(&tsa->list));
    if (room != NULL) {
        put(&tsa->list, room);
        http_answer_written(exchange, 200, type);
    }
}

void tsa_show_config(struct http_exchange *exchange)
{
    answer_list(exchange, 1u << EFFECT_SETTING, effect_list_put_file, SLICE("application/toml"));
}

void tsa_show_suspensions(struct http_exchange *exchange)
{
    answer_list(exchange, 1u << EFFECT_READY_SUSPENSION | 1u << EFFECT_SCHED_SUSPENSION,
                put_suspensions, JSON_TYPE);
}

void tsa_show_bounces(struct http_exchange *exchange)
{
    answer_list(exchange, 1u << EFFECT_SCHED_BOUNCE, put_bounces, JSON_TYPE);
}

/* --- probes ----------------------------------------------------------------------------------- */

void tsa_show_liveness(struct http_exchange *exchange)
{
    const struct tsa *tsa = exchange->context;
    http_answer_text(exchange, tsa->stopping ? 503 : 200,
                     tsa->stopping ? SLICE("stopping") : SLICE("OK"));
}

void tsa_show_readiness(struct http_exchange *exchange)
{
    const struct tsa *tsa = exchange->context;
    http_answer_text(exchange, tsa_is_open(tsa) ? 200 : 503,
                     tsa_is_open(tsa)  ? SLICE("OK")
                     : tsa->stopping ? SLICE("stopping")
                                       : SLICE("starting"));
}

/* --- figures ---------------------------------------------------------------------------------- */

struct figure {
    const char *key;    /* in the status */
    const char *name;   /* of the metric */
    const char *type;
    const char *help;
    uint64_t value;
};

#define FIGURES 24u

static unsigned figures_of(const struct tsa *tsa, struct figure figures[FIGURES])
{
    const struct automation_stats *stats = &tsa->automation.stats;
    const struct tsa_stats *own = &tsa->stats;
    uint64_t effects = 0;
    uint32_t cursor = 0;
    while (automation_next(&tsa->automation, &cursor) != NULL) {
        effects++;
    }
    const struct figure rows[] = {
        {"rules", "ringpost_tsa_rules", "gauge", "Rules in force.",
         tsa->automation.rules == NULL ? 0 : tsa->automation.rules->rule_count},
        {"effects", "ringpost_tsa_effects", "gauge", "Effects in force.", effects},
        {"effects_max", "ringpost_tsa_effects_max", "gauge", "Effects that there is room for.",
         tsa->automation.effects_max},
        {"counters", "ringpost_tsa_counters", "gauge", "Thresholds that count.",
         tsa->automation.counters_used},
        {"subscribers", "ringpost_tsa_subscribers", "gauge", "Subscribers.",
         tsa->hub.subscribers},
        {"subscribers_lost", "ringpost_tsa_subscribers_lost_total", "counter",
         "Subscribers that were too slow.", tsa->hub.lost},
        {"batches", "ringpost_tsa_batches_total", "counter", "Batches of records.", own->batches},
        {"batches_refused", "ringpost_tsa_batches_refused_total", "counter",
         "Batches that were asked to come again.", own->batches_refused},
        {"records_accepted", "ringpost_tsa_records_accepted_total", "counter",
         "Records that were taken, or tell automation nothing.", own->accepted},
        {"records_rejected", "ringpost_tsa_records_rejected_total", "counter",
         "Records that are none.", own->rejected},
        {"records_judged", "ringpost_tsa_records_judged_total", "counter",
         "Records that rules were asked about.", stats->records},
        {"matches", "ringpost_tsa_matches_total", "counter", "Rules that matched a record.",
         stats->matches},
        {"matches_late", "ringpost_tsa_matches_late_total", "counter",
         "Matches whose effect would be over.", stats->expired},
        {"triggered", "ringpost_tsa_triggered_total", "counter", "Rules that acted.",
         stats->triggered},
        {"reports", "ringpost_tsa_reports_total", "counter",
         "Signed reports that rules were asked about.", stats->reports},
        {"reports_passed", "ringpost_tsa_reports_passed_total", "counter",
         "Signed reports whose reference had counted, or could not.", stats->reports_passed},
        {"unscoped", "ringpost_tsa_unscoped_total", "counter",
         "Actions without a tenant or a site to act on.", stats->unscoped},
        {"over_rules", "ringpost_tsa_over_rules_total", "counter",
         "Records that more rules matched than act.", stats->over_rules},
        {"counters_dropped", "ringpost_tsa_counters_dropped_total", "counter",
         "Thresholds that were forgotten for others.", stats->counters_dropped},
        {"begun", "ringpost_tsa_effects_begun_total", "counter", "Effects that began.",
         stats->changes[AUTOMATION_BEGUN]},
        {"extended", "ringpost_tsa_effects_extended_total", "counter",
         "Effects that were made to end later.", stats->changes[AUTOMATION_EXTENDED]},
        {"refused", "ringpost_tsa_effects_refused_total", "counter",
         "Effects that there was no room for.", stats->changes[AUTOMATION_REFUSED]},
        {"cancelled", "ringpost_tsa_effects_cancelled_total", "counter",
         "Effects that were taken back.", stats->changes[AUTOMATION_CANCELLED]},
        {"expired", "ringpost_tsa_effects_expired_total", "counter",
         "Effects that ended in their time.", stats->changes[AUTOMATION_EXPIRED]},
    };
    static_assert(COUNT_OF(rows) == FIGURES, "there is room for all");
    memcpy(figures, rows, sizeof(rows));
    return COUNT_OF(rows);
}

void tsa_show_status(struct http_exchange *exchange)
{
    const struct tsa *tsa = exchange->context;
    struct figure figures[FIGURES];
    uint8_t memory[STATUS_BYTES];
    struct buf text;
    struct json json;
    buf_init(&text, memory, sizeof(memory));
    json_init(&json, &text);
    json_object(&json);
    json_key(&json, "ready");
    json_bool(&json, tsa_is_open(tsa));
    json_member_id(&json, "epoch", &tsa->hub.options.epoch);
    json_member_u64(&json, "seq", tsa->ready ? tsa->hub.next - 1 : 0);
    for (unsigned i = 0, count = figures_of(tsa, figures); i < count; i++) {
        json_member_u64(&json, figures[i].key, figures[i].value);
    }
    json_object_end(&json);
    http_answer(exchange, 200, JSON_TYPE, buf_slice(&text));
}

static void answer_metrics(struct http_exchange *exchange, enum exposition_form form,
                           struct slice type)
{
    const struct tsa *tsa = exchange->context;
    struct figure figures[FIGURES];
    uint8_t prefix_memory[PREFIX_BYTES];
    struct buf prefix;
    struct exposition to;
    buf_init(&prefix, prefix_memory, sizeof(prefix_memory));
    if (http_query_find(exchange->query, SLICE("prefix"), &prefix) == HTTP_QUERY_BAD) {
        http_answer_text(exchange, 400, SLICE("prefix= wants the beginning of a name"));
        return;
    }
    struct buf *room = http_answer_room(exchange, METRICS_BYTES);
    if (room == NULL) {
        return;
    }
    exposition_begin(&to, room, form, buf_slice(&prefix));
    for (unsigned i = 0, count = figures_of(tsa, figures); i < count; i++) {
        const struct metric metric = {
            .name = figures[i].name, .type = figures[i].type, .help = figures[i].help};
        if (exposition_metric(&to, &metric)) {
            exposition_sample(&to, SLICE_NONE, figures[i].value);
        }
    }
    exposition_end(&to);
    http_answer_written(exchange, 200, type);
}

void tsa_show_metrics(struct http_exchange *exchange)
{
    answer_metrics(exchange, EXPOSITION_TEXT, EXPOSITION_TEXT_TYPE);
}

void tsa_show_metrics_json(struct http_exchange *exchange)
{
    answer_metrics(exchange, EXPOSITION_JSON, JSON_TYPE);
}
