#include "smtp/http_trace.h"

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
        http_socket_fini(&all[i].socket);
    }
}

static struct http_trace *trace_of(struct http_socket *socket)
{
    return CONTAINER_OF(socket, struct http_trace, socket);
}

static void ended(struct http_socket *socket)
{
    struct http_trace *http = trace_of(socket);
    shard_timer_clear(http->tracer->trace->shard, &http->timer);
    tracer_stop(http->tracer);
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
    http->started = http_socket_put(&http->socket, room, buf_slice(&text));
}

static void fill(struct http_socket *socket, struct buf *room)
{
    struct http_trace *http = trace_of(socket);
    struct slice event;
    if (http->tracer->state == TRACER_RUNNING && !http->started) {
        put_started(http, room);
    }
    while (tracer_next(http->tracer, &event) && http_socket_put(socket, room, event)) {
        tracer_said(http->tracer);
    }
}

static void told(struct tracer *tracer)
{
    struct http_trace *http = tracer->context;
    http_socket_more(&http->socket);
}

/* --- in --------------------------------------------------------------------------------------- */

static void take_filter(struct http_socket *socket, struct slice text)
{
    struct http_trace *http = trace_of(socket);
    struct tracer *tracer = http->tracer;
    struct arena arena;
    if (http->filtered) {
        http_socket_close(socket, WEBSOCKET_CODE_POLICY, "one filter is all that is taken");
        return;
    }
    arena_init(&arena, tracer->arena, sizeof(tracer->arena));
    const char *wrong = trace_filter_read(&tracer->filter, http->side, text, &arena);
    if (wrong != NULL) {
        http_socket_close(socket, WEBSOCKET_CODE_POLICY, wrong);
    } else if (!tracer_start(tracer, http_exchange_memory(socket->exchange))) {
        http_socket_close(socket, WEBSOCKET_CODE_TRY_AGAIN, "out of memory for HTTP");
    } else {
        http->filtered = true;
        shard_timer_clear(tracer->trace->shard, &http->timer);
    }
}

static void fire(struct timer *timer)
{
    struct http_trace *http = CONTAINER_OF(timer, struct http_trace, timer);
    http_socket_close(&http->socket, WEBSOCKET_CODE_POLICY, "no filter has come");
}

static const struct http_socket_user user = {.text = take_filter, .fill = fill, .ended = ended};

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
    *http = (struct http_trace){.tracer = tracer, .side = side};
    timer_init(&http->timer, fire);
    tracer->told = told;
    tracer->context = http;
    if (!http_socket_open(&http->socket, &user, exchange, http->message, sizeof(http->message))) {
        tracer_stop(tracer);
        return;
    }
    shard_timer_set(exchange->shard, &http->timer, HTTP_TRACE_FILTER_NS);
}

void http_trace_server(struct http_exchange *exchange)
{
    begin(exchange, TRACE_SERVER);
}

void http_trace_client(struct http_exchange *exchange)
{
    begin(exchange, TRACE_CLIENT);
}
