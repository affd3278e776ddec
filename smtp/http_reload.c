/* POST reload: the order is smtp/reload.h's, and its result is the answer. */
#include "smtp/http_admin.h"

#include "core/check.h"
#include "core/json_member.h"
#include "smtp/node.h"

#define RELOADS_MAX 16u
/* Texts and keys that are longer are cut; changes beyond those that have room are counted. */
#define TEXT_BYTES_MAX 1024u
#define CHANGES_MAX    500u

struct reload_order {
    struct reload_request request;
    struct http_exchange *exchange; /* answered once */
    struct http_admin *http;
};

void http_reload_init(struct http_admin *http, struct boot_pages *pages)
{
    pool_init(&http->reloads,
              boot_pages_take(pages, pool_memory(sizeof(struct reload_order), RELOADS_MAX)),
              sizeof(struct reload_order), RELOADS_MAX);
}

static struct slice cut(struct slice text)
{
    return slice_first(text, MIN_OF(text.size, TEXT_BYTES_MAX));
}

static void put_text(struct json *json, const char *key, struct slice text)
{
    json_key(json, key);
    if (text.data == NULL) {
        json_null(json);
    } else {
        json_string(json, cut(text));
    }
}

static void put_changes(struct json *json, const struct reload_result *result)
{
    json_key(json, "changed");
    json_array(json);
    for (size_t i = 0; i < MIN_OF(result->change_count, CHANGES_MAX); i++) {
        const struct conf_change *change = &result->changes[i];
        json_object(json);
        json_member_text(json, "key", cut(change->key));
        put_text(json, "old", change->old_text);
        put_text(json, "new", change->new_text);
        json_member_word(json, "effect", change->effect == CONF_NOW ? "now" : "restart");
        json_object_end(json);
    }
    json_array_end(json);
}

/* Does a line of FILE:LINE:COLUMN: error: text, or without a place, tell of an error? */
static bool is_error(struct slice line)
{
    struct slice mark = SLICE("error: ");
    for (size_t i = 0; i + mark.size <= line.size; i++) {
        struct slice rest = slice_skip(line, i);
        if (slice_starts_with(rest, mark)) {
            return true;
        }
        if (slice_starts_with(rest, SLICE("note: "))) {
            return false;
        }
    }
    return false;
}

static void put_lines(struct json *json, const struct reload_result *result, bool errors)
{
    struct slice text = result->messages;
    while (text.size > 0) {
        size_t size = slice_find(text, '\n');
        struct slice line = slice_first(text, size);
        if (is_error(line) == errors) {
            json_string(json, cut(line));
        }
        text = slice_skip(text, MIN_OF(size + 1, text.size));
    }
}

static void put_notes(struct json *json, const struct reload_result *result)
{
    uint8_t memory[64];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    json_key(json, "notes");
    json_array(json);
    put_lines(json, result, false);
    if (result->status == RELOAD_APPLIED && result->change_count == 0) {
        json_string(json, SLICE("nothing has changed"));
    }
    if (result->change_count > CHANGES_MAX) {
        buf_put_u64(&buf, result->change_count - CHANGES_MAX);
        buf_put_string(&buf, " more changes are not shown");
        json_string(json, buf_slice(&buf));
    }
    json_array_end(json);
}

static void put_result(struct json *json, const struct reload_result *result)
{
    json_object(json);
    json_key(json, "applied");
    json_bool(json, result->status == RELOAD_APPLIED);
    put_changes(json, result);
    json_key(json, "errors");
    json_array(json);
    put_lines(json, result, true);
    json_array_end(json);
    put_notes(json, result);
    json_object_end(json);
}

static void order_done(struct reload_request *request, const struct reload_result *result)
{
    struct reload_order *order = CONTAINER_OF(request, struct reload_order, request);
    struct http_exchange *exchange = order->exchange;
    pool_give(&order->http->reloads, order);
    if (result->status == RELOAD_STOPPING) {
        http_answer_text(exchange, 503, SLICE("the server is stopping"));
        return;
    }
    size_t bytes = KIB + JSON_STRING_GROWTH * result->messages.size;
    for (size_t i = 0; i < MIN_OF(result->change_count, CHANGES_MAX); i++) {
        const struct conf_change *change = &result->changes[i];
        bytes += 64 + JSON_STRING_GROWTH * (cut(change->key).size + cut(change->old_text).size +
                                            cut(change->new_text).size);
    }
    struct buf *room = http_answer_room(exchange, bytes);
    if (room == NULL) {
        return;
    }
    struct json json;
    json_init(&json, room);
    put_result(&json, result);
    http_answer_written(exchange, result->status == RELOAD_APPLIED ? 200 : 422,
                        SLICE("application/json"));
}

void http_admin_reload(struct http_exchange *exchange)
{
    struct http_admin *http = http_admin_of(exchange);
    if (http == NULL) {
        return;
    }
    struct slice body = slice_trim(exchange->body);
    if (body.size > 0 && !slice_equal(body, SLICE("{}"))) {
        http_answer_text(exchange, 400, SLICE("there is nothing to say: {} or no body"));
        return;
    }
    struct reload_order *order = pool_take(&http->reloads);
    if (order != NULL) {
        *order = (struct reload_order){
            .request = {.done = order_done}, .exchange = exchange, .http = http};
        list_init(&order->request.link);
        struct control *control = exchange->context;
        if (reload_ask(&control->reload, &order->request)) {
            return;
        }
        pool_give(&http->reloads, order);
    }
    http_answer_text(exchange, 503, SLICE("too many orders at once"));
}
