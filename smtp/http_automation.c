#include "smtp/http_automation.h"

#include "core/arena.h"
#include "core/json_member.h"
#include "core/json_value.h"
#include "smtp/node.h"

#define CANCELS_MAX  16u
#define ARENA_BYTES  4096u
#define EFFECT_BYTES 512u /* of one in a list, beside its texts */
#define JSON_TYPE    SLICE("application/json")

struct cancel {
    struct advisor_cancel cancel;
    struct http_exchange *exchange; /* answered once */
    struct http_automation *http;
    uint64_t id;
};

void http_automation_init(struct http_automation *http, struct boot_pages *pages,
                          struct advisor *advisor)
{
    http->advisor = advisor;
    pool_init(&http->cancels,
              boot_pages_take(pages, pool_memory(sizeof(struct cancel), CANCELS_MAX)),
              sizeof(struct cancel), CANCELS_MAX);
}

/* Null: the node is not ready, and the exchange has been answered. */
static struct http_automation *http_of(struct http_exchange *exchange)
{
    struct control *control = exchange->context;
    return http_admin_of(exchange) != NULL ? &control->http_automation : NULL;
}

/* --- status ----------------------------------------------------------------------------------- */

static size_t effect_room(const struct automation_effect *effect)
{
    size_t texts = effect->site.size + effect->source.size + effect->domain.size +
                   effect->tenant.size + effect->campaign.size + effect->name.size +
                   effect->value.size + effect->reason.size;
    return texts * JSON_STRING_GROWTH + 2 * EFFECT_BYTES;
}

static size_t room_wanted(const struct automation *automation)
{
    const struct automation_effect *effect;
    uint32_t cursor = 0;
    size_t bytes = KIB;
    while ((effect = automation_next(automation, &cursor)) != NULL) {
        bytes += effect_room(effect);
    }
    return bytes;
}

static void put_effects(struct buf *buf, const struct advisor *advisor)
{
    const struct automation_effect *effect;
    uint32_t cursor = 0;
    bool first = true;
    buf_put(buf, SLICE("{\"effects\":["));
    while ((effect = automation_next(&advisor->automation, &cursor)) != NULL) {
        buf_put(buf, first ? SLICE_NONE : SLICE(","));
        automation_put_json(buf, "in force", effect, advisor_rule(advisor, effect->rule_hash));
        first = false;
    }
    buf_put(buf, SLICE("]"));
}

static void put_count(struct buf *buf, const char *key, uint64_t count)
{
    buf_printf(buf, ",\"%s\":%llu", key, (unsigned long long)count);
}

void http_automation_status(struct http_exchange *exchange)
{
    const struct http_automation *http = http_of(exchange);
    if (http == NULL) {
        return;
    }
    const struct automation *automation = &http->advisor->automation;
    const struct automation_stats *stats = &automation->stats;
    struct buf *room = http_answer_room(exchange, room_wanted(automation));
    if (room == NULL) {
        return;
    }
    put_effects(room, http->advisor);
    put_count(room, "rules", automation->rules != NULL ? automation->rules->rule_count : 0);
    put_count(room, "records", stats->records);
    put_count(room, "matches", stats->matches);
    put_count(room, "triggered", stats->triggered);
    put_count(room, "refused", stats->refused);
    buf_put(room, SLICE("}\n"));
    http_answer_written(exchange, 200, JSON_TYPE);
}

/* --- cancelling ------------------------------------------------------------------------------- */

/* The id in {"id": N}; 0: there is none. */
static uint64_t id_of(struct slice body)
{
    _Alignas(ARENA_ALIGNMENT) uint8_t memory[ARENA_BYTES];
    struct json_problem problem;
    struct arena arena;
    uint64_t id = 0;
    arena_init(&arena, memory, sizeof(memory));
    struct json_reader *reader = json_reader_open();
    const struct json_value *root = json_value_read(reader, body, &arena, &problem);
    const struct json_value *value =
        root != NULL && root->size == 1 ? json_value_member(root, SLICE("id")) : NULL;
    if (value != NULL && value->kind == JSON_INTEGER && value->integer > 0) {
        id = (uint64_t)value->integer;
    }
    json_reader_close(reader);
    return id;
}

/* Before its answer: the exchange goes with that. */
static void answer(struct cancel *cancel)
{
    struct http_exchange *exchange = cancel->exchange;
    uint64_t id = cancel->id;
    pool_give(&cancel->http->cancels, cancel);
    struct buf *room = http_answer_room(exchange, 64);
    if (room != NULL) {
        buf_printf(room, "{\"id\":%llu}\n", (unsigned long long)id);
        http_answer_written(exchange, 200, JSON_TYPE);
    }
}

static void cancelled(struct advisor_cancel *done)
{
    answer(CONTAINER_OF(done, struct cancel, cancel));
}

void http_automation_cancel(struct http_exchange *exchange)
{
    struct http_automation *http = http_of(exchange);
    if (http == NULL) {
        return;
    }
    uint64_t id = id_of(exchange->body);
    struct cancel *cancel = id > 0 ? pool_take(&http->cancels) : NULL;
    if (cancel == NULL) {
        http_answer_text(exchange, id > 0 ? 503 : 400,
                         id > 0 ? SLICE("too many orders at once")
                                : SLICE("{\"id\": N} is wanted, the number of an effect"));
        return;
    }
    *cancel = (struct cancel){
        .cancel = {.done = cancelled}, .exchange = exchange, .http = http, .id = id};
    if (!advisor_cancel(http->advisor, id, &cancel->cancel)) {
        pool_give(&http->cancels, cancel);
        http_answer_text(exchange, 404, SLICE("no effect has this id now"));
    }
}
