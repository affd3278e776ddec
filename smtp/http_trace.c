#include "smtp/http_trace.h"

#include <string.h>

#include "core/check.h"
#include "core/json_member.h"
#include "shard/boot.h"
#include "smtp/node.h"

struct http_trace *http_trace_new(struct boot_pages *pages)
{
    return boot_pages_take(pages, TRACERS_MAX * sizeof(struct http_trace));
}

void http_trace_fini(struct http_trace *all)
{
    for (unsigned i = 0; i < TRACERS_MAX; i++) {
        websocket_fini(&all[i].websocket);
    }
}

/* --- the end ---------------------------------------------------------------------------------- */

/* The exchange is not ours any more. */
static void finish(struct http_trace *http)
{
    struct tracer *tracer = http->tracer;
    shard_timer_clear(tracer->trace->shard, &http->timer);
    websocket_fini(&http->websocket);
    http->exchange = NULL;
    tracer_stop(tracer);
}

static void gone(struct http_exchange *exchange)
{
    finish(exchange->user);
}

/* The first word counts. */
static void end(struct http_trace *http, uint16_t code, const char *words)
{
    if (!http->ended) {
        http->ended = true;
        http->code = code;
        http->words = words;
    }
    http_answer_more(http->exchange);
}

/* --- out -------------------------------------------------------------------------------------- */

static void put_started(struct http_trace *http, struct buf *room)
{
    uint8_t memory[256];
    struct buf text;
    struct json json;
    buf_init(&text, memory, sizeof(memory));
    json_init(&json, &text);
    json_object(&json);
    json_key(&json, "conn_meta");
    json_object(&json);
    json_object_end(&json);
    json_key(&json, "payload");
    json_object(&json);
    json_key(&json, "Diagnostic");
    json_object(&json);
    json_member_word(&json, "level", "INFO");
    json_member_word(&json, "message", "tracing");
    json_object_end(&json);
    json_object_end(&json);
    json_member_time(&json, "when", http->tracer->trace->shard->wall_ns);
    json_object_end(&json);
    http->started = websocket_put_text(&http->websocket, room, buf_slice(&text));
}

static void put_control(struct http_trace *http, struct buf *room)
{
    if (http->pong_due) {
        http->pong_due = !websocket_put_pong(&http->websocket, room,
                                             slice_make(http->pong, http->pong_bytes));
    }
    if (http->ping_due) {
        http->ping_due = !websocket_put_ping(&http->websocket, room, SLICE_NONE);
    }
    if (http->tracer->state == TRACER_RUNNING && !http->started) {
        put_started(http, room);
    }
}

static enum http_fill fill(struct http_exchange *exchange, struct buf *room)
{
    struct http_trace *http = exchange->user;
    struct slice event;
    if (http->ended) {
        CHECK(websocket_put_close(&http->websocket, room, http->code,
                                  slice_from_string(http->words)));
        finish(http);
        return HTTP_FILL_END;
    }
    put_control(http, room);
    while (tracer_next(http->tracer, &event) &&
           websocket_put_text(&http->websocket, room, event)) {
        tracer_said(http->tracer);
    }
    return room->size > 0 ? HTTP_FILL_MORE : HTTP_FILL_WAIT;
}

static void told(struct tracer *tracer)
{
    struct http_trace *http = tracer->context;
    http_answer_more(http->exchange);
}

/* --- in --------------------------------------------------------------------------------------- */

static void take_filter(struct http_trace *http)
{
    struct tracer *tracer = http->tracer;
    struct arena arena;
    if (http->filtered) {
        end(http, WEBSOCKET_CODE_POLICY, "one filter is all that is taken");
        return;
    }
    arena_init(&arena, tracer->arena, sizeof(tracer->arena));
    const char *wrong = trace_filter_read(&tracer->filter, http->side,
                                          websocket_message(&http->websocket), &arena);
    if (wrong != NULL) {
        end(http, WEBSOCKET_CODE_POLICY, wrong);
    } else if (!tracer_start(tracer, http_exchange_memory(http->exchange))) {
        end(http, WEBSOCKET_CODE_TRY_AGAIN, "out of memory for HTTP");
    } else {
        http->filtered = true;
        shard_timer_set(tracer->trace->shard, &http->timer, HTTP_TRACE_PING_NS);
    }
}

static void take_step(struct http_trace *http, enum websocket_step step)
{
    struct slice control = websocket_control(&http->websocket);
    switch (step) {
    case WEBSOCKET_MORE:
        return;
    case WEBSOCKET_TEXT:
        take_filter(http);
        return;
    case WEBSOCKET_PING: /* of several the last one is answered (RFC 6455 5.5.3) */
        http->pong_due = true;
        http->pong_bytes = (uint8_t)control.size;
        memcpy(http->pong, control.data, control.size);
        http_answer_more(http->exchange);
        return;
    case WEBSOCKET_PONG:
        http->ping_out = false;
        return;
    case WEBSOCKET_CLOSE:
        end(http, WEBSOCKET_CODE_NORMAL, "");
        return;
    case WEBSOCKET_BAD:
        end(http, http->websocket.code, "");
        return;
    }
    CHECK(false);
}

static void take(struct http_exchange *exchange, struct slice bytes)
{
    struct http_trace *http = exchange->user;
    enum websocket_step step = WEBSOCKET_MORE;
    do {
        step = websocket_feed(&http->websocket, &bytes);
        take_step(http, step);
    } while (step != WEBSOCKET_MORE && !http->ended);
}

static void fire(struct timer *timer)
{
    struct http_trace *http = CONTAINER_OF(timer, struct http_trace, timer);
    if (!http->filtered) {
        end(http, WEBSOCKET_CODE_POLICY, "no filter has come");
        return;
    }
    if (http->ping_out) {
        end(http, WEBSOCKET_CODE_GOING_AWAY, "a ping was not answered");
        return;
    }
    http->ping_out = true;
    http->ping_due = true;
    shard_timer_set(http->tracer->trace->shard, timer, HTTP_TRACE_PING_NS);
    http_answer_more(http->exchange);
}

/* --- handlers --------------------------------------------------------------------------------- */

static void begin(struct http_exchange *exchange, enum trace_side side)
{
    struct control *control = exchange->context;
    if (http_admin_of(exchange) == NULL) {
        return;
    }
    struct tracer *tracer = trace_take(&control->trace);
    if (tracer == NULL) {
        http_answer_text(exchange, 503, SLICE("there are as many tracers as there may be"));
        return;
    }
    struct http_trace *http = &control->http_trace[tracer->slot];
    *http = (struct http_trace){.tracer = tracer, .exchange = exchange, .side = side};
    timer_init(&http->timer, fire);
    tracer->told = told;
    tracer->context = http;
    exchange->user = http;
    exchange->gone = gone;
    if (!websocket_init(&http->websocket, WEBSOCKET_SERVER, http->message, sizeof(http->message),
                        0)) {
        finish(http);
        http_answer_text(exchange, 503, SLICE("out of memory for HTTP"));
        return;
    }
    shard_timer_set(exchange->shard, &http->timer, HTTP_TRACE_FILTER_NS);
    if (!http_answer_websocket(exchange, fill, take)) {
        finish(http);
    }
}

void http_trace_server(struct http_exchange *exchange)
{
    begin(exchange, TRACE_SERVER);
}

void http_trace_client(struct http_exchange *exchange)
{
    begin(exchange, TRACE_CLIENT);
}
