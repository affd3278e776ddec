/* GET queues: a census (smtp/queue_census.h) as JSON. */
#include "smtp/http_admin.h"

#include "core/check.h"
#include "core/json_member.h"

#define CENSUSES_MAX  16u
#define LIMIT_DEFAULT 100u
/* Of an answer: a queue without its texts, and all the rest. */
#define QUEUE_BYTES 200u
#define REST_BYTES  (4 * KIB)

struct census_question {
    struct census_request request;
    struct http_exchange *exchange; /* answered once */
    struct http_admin *http;
    uint32_t limit;
};

void http_queues_init(struct http_admin *http, struct boot_pages *pages)
{
    pool_init(&http->censuses,
              boot_pages_take(pages, pool_memory(sizeof(struct census_question), CENSUSES_MAX)),
              sizeof(struct census_question), CENSUSES_MAX);
}

static const char *kind_name(enum census_kind kind)
{
    return kind == CENSUS_SCHEDULED ? "scheduled" : "ready";
}

static void put_queue(struct json *json, const struct census_queue *queue)
{
    json_object(json);
    json_key(json, "name");
    json_string(json, queue->name);
    json_member_u64(json, "count", queue->count);
    json_member_u64(json, "due", queue->due);
    json_member_word(json, "state", hold_state_name(queue->reason));
    json_member_word(json, "reason", hold_name(queue->reason));
    json_member_time(json, "since", queue->since_ns);
    json_member_text(json, "site", queue->site);
    json_object_end(json);
}

static void put_sum(struct json *json, const char *key, uint64_t queues, uint64_t count)
{
    json_key(json, key);
    json_object(json);
    json_member_u64(json, "queues", queues);
    json_member_u64(json, "count", count);
    json_object_end(json);
}

/* Of those that are not shown. What moved while all was looked at may make the sums too small. */
static void put_others(struct json *json, const struct census_result *result, uint32_t shown)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < shown; i++) {
        count += result->queues[i].count;
    }
    put_sum(json, "others", result->queues_all - MIN_OF(shown, result->queues_all),
            result->recipients_all - MIN_OF(count, result->recipients_all));
}

static void put_result(struct json *json, enum census_kind kind, uint32_t shown,
                       const struct census_result *result, uint64_t wall_ns)
{
    json_object(json);
    json_member_word(json, "kind", kind_name(kind));
    json_key(json, "queues");
    json_array(json);
    for (uint32_t i = 0; i < shown; i++) {
        put_queue(json, &result->queues[i]);
    }
    json_array_end(json);
    json_key(json, "exact");
    json_bool(json, census_is_exact(result, shown) && !result->estimated);
    json_member_u64(json, "total_queues", result->queues_all);
    json_member_u64(json, "total_count", result->recipients_all);
    put_others(json, result, shown);
    json_key(json, "reasons");
    json_object(json);
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        if (result->sums[i].queues > 0) {
            put_sum(json, hold_name((enum hold_reason)i), result->sums[i].queues,
                    result->sums[i].recipients);
        }
    }
    json_object_end(json);
    json_member_time(json, "now", wall_ns);
    json_object_end(json);
}

static void answer(struct census_question *question, const struct census_result *result)
{
    struct http_exchange *exchange = question->exchange;
    uint32_t shown = MIN_OF(question->limit, result->count);
    size_t bytes = REST_BYTES;
    struct json json;
    for (uint32_t i = 0; i < shown; i++) {
        bytes += QUEUE_BYTES + JSON_STRING_GROWTH * (result->queues[i].name.size +
                                                     result->queues[i].site.size);
    }
    struct buf *room = http_answer_room(exchange, bytes);
    if (room == NULL) {
        return;
    }
    json_init(&json, room);
    put_result(&json, question->request.kind, shown, result, exchange->shard->wall_ns);
    http_answer_written(exchange, 200, SLICE("application/json"));
}

static void question_done(struct census_request *request, const struct census_result *result)
{
    struct census_question *question = CONTAINER_OF(request, struct census_question, request);
    if (result->stopping) {
        http_answer_text(question->exchange, 503, SLICE("the server is stopping"));
    } else {
        answer(question, result);
    }
    pool_give(&question->http->censuses, question);
}

/* False: neither missing nor one of both. */
static bool take_kind(struct http_exchange *exchange, enum census_kind *kind_out)
{
    uint8_t memory[16];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    *kind_out = CENSUS_SCHEDULED;
    switch (http_query_find(exchange->query, SLICE("kind"), &buf)) {
    case HTTP_QUERY_NONE:
        return true;
    case HTTP_QUERY_FOUND:
        *kind_out = slice_equal(buf_slice(&buf), SLICE("ready")) ? CENSUS_READY : CENSUS_SCHEDULED;
        return *kind_out == CENSUS_READY || slice_equal(buf_slice(&buf), SLICE("scheduled"));
    case HTTP_QUERY_BAD:
        return false;
    }
    CHECK(false);
}

void http_admin_queues(struct http_exchange *exchange)
{
    struct http_admin *http = http_admin_of(exchange);
    enum census_kind kind;
    uint32_t limit = LIMIT_DEFAULT;
    if (http == NULL) {
        return;
    }
    if (!take_kind(exchange, &kind)) {
        http_answer_text(exchange, 400, SLICE("kind= wants scheduled or ready"));
        return;
    }
    if (!http_admin_take_limit(exchange, CENSUS_QUEUES_MAX, &limit)) {
        http_answer_text(exchange, 400, SLICE(HTTP_ADMIN_BAD_LIMIT));
        return;
    }
    struct census_question *question = pool_take(&http->censuses);
    if (question == NULL) {
        http_answer_text(exchange, 503, SLICE("too many questions at once"));
        return;
    }
    *question = (struct census_question){.exchange = exchange, .http = http, .limit = limit};
    question->request.kind = kind;
    question->request.done = question_done;
    if (!queue_census_ask(http->census, &question->request)) {
        pool_give(&http->censuses, question);
        http_answer_text(exchange, 503, SLICE("too many questions at once"));
    }
}
