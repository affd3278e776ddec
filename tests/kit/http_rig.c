#include "tests/kit/http_rig.h"

#include <string.h>

#include "core/check.h"

#define PORT    8000
#define WAIT_NS (60 * NS_PER_S)

/* --- handlers ------------------------------------------------------------------------------- */

/* The shard, the method, the path, and the body in short. */
static void handle_echo(struct http_exchange *exchange)
{
    struct http_told *told = exchange->context;
    uint8_t memory[200];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    told->handled++;
    buf_printf(&text, "%u %s ", exchange->shard->index, http_method_name(exchange->method));
    buf_put(&text, exchange->head->path);
    buf_put_byte(&text, ' ');
    if (exchange->body.size > 64) {
        buf_printf(&text, "#%zu", exchange->body.size);
    } else {
        buf_put(&text, exchange->body);
    }
    buf_put_byte(&text, '\n');
    http_answer(exchange, 200, SLICE("text/plain"), buf_slice(&text));
}

static void later_gone(struct http_exchange *exchange)
{
    ((struct http_told *)exchange->context)->gone++;
}

static void handle_later(struct http_exchange *exchange)
{
    struct http_told *told = exchange->context;
    CHECK(told->kept == NULL);
    told->handled++;
    told->kept = exchange;
    exchange->gone = later_gone;
}

static enum http_fill fill_lines(struct http_exchange *exchange, struct buf *room)
{
    struct http_told *told = exchange->context;
    told->streamed++;
    while (told->lines > 0 && buf_room(room) >= 1000) {
        buf_printf(room, "%0999u\n", told->lines--);
    }
    if (told->lines > 0) {
        return HTTP_FILL_MORE;
    }
    told->kept = NULL;
    return HTTP_FILL_END;
}

static void stream_gone(struct http_exchange *exchange)
{
    struct http_told *told = exchange->context;
    told->gone++;
    if (told->kept == exchange) {
        told->kept = NULL;
    }
}

static void handle_stream(struct http_exchange *exchange)
{
    struct http_told *told = exchange->context;
    exchange->gone = stream_gone;
    if (http_answer_stream(exchange, 200, SLICE("application/x-ndjson"), fill_lines)) {
        told->kept = exchange;
    }
}

/* `lines` of 1,000 bytes in one piece of memory. */
static void handle_large(struct http_exchange *exchange)
{
    struct http_told *told = exchange->context;
    struct buf *room = http_answer_room(exchange, told->lines * 1000 + 1);
    if (room == NULL) {
        return;
    }
    for (unsigned i = told->lines; i > 0; i--) {
        buf_printf(room, "%0999u\n", i);
    }
    http_answer_written(exchange, 200, SLICE("text/plain"));
}

/* What comes goes back, with none of the codec between; "!" is the end. */
static enum http_fill fill_back(struct http_exchange *exchange, struct buf *room)
{
    struct http_told *told = exchange->context;
    if (told->back_bytes == 0) {
        return HTTP_FILL_WAIT;
    }
    buf_put(room, slice_make(told->back, told->back_bytes));
    bool over = told->back[told->back_bytes - 1] == '!';
    told->back_bytes = 0;
    if (over) {
        told->kept = NULL;
    }
    return over ? HTTP_FILL_END : HTTP_FILL_MORE;
}

static void take_back(struct http_exchange *exchange, struct slice bytes)
{
    struct http_told *told = exchange->context;
    CHECK(told->back_bytes + bytes.size <= sizeof(told->back));
    memcpy(told->back + told->back_bytes, bytes.data, bytes.size);
    told->back_bytes += (unsigned)bytes.size;
    http_answer_more(exchange);
}

static void handle_socket(struct http_exchange *exchange)
{
    struct http_told *told = exchange->context;
    told->handled++;
    exchange->gone = stream_gone;
    if (http_answer_websocket(exchange, fill_back, take_back)) {
        told->kept = exchange;
    }
}

#define ROUTE(at, method, shard, carried, function)                                                \
    {.path = at, .methods = HTTP_METHOD_##method, .where = HTTP_ON_##shard##_SHARD,                \
     .carries = HTTP_CARRIES_##carried, .handle = function}

static const struct http_route routes[] = {
    ROUTE("/tsa", GET, TSA, NOTHING, handle_echo),
    ROUTE("/tsa", POST, TSA, JSON, handle_echo),
    ROUTE("/tree/x", GET, TSA, NOTHING, handle_echo),
    ROUTE("/mail", POST, MAIL, JSON, handle_echo),
    {
        .path = "/small",
        .methods = HTTP_METHOD_POST,
        .carries = HTTP_CARRIES_JSON,
        .body_bytes_max = 10,
        .handle = handle_echo,
    },
    ROUTE("/later", GET, TSA, NOTHING, handle_later),
    ROUTE("/mail/later", GET, MAIL, NOTHING, handle_later),
    ROUTE("/stream", GET, TSA, NOTHING, handle_stream),
    ROUTE("/large", GET, TSA, NOTHING, handle_large),
    {
        .path = "/socket",
        .methods = HTTP_METHOD_GET,
        .websocket = true,
        .handle = handle_socket,
    },
};

/* --- the rig -------------------------------------------------------------------------------- */

static void server_open(struct http_rig *rig, unsigned index)
{
    const struct http_options options = {
        .shard = &rig->shards.shards[index],
        .conf = &rig->conf,
        .routes = routes,
        .route_count = COUNT_OF(routes),
        .context = &rig->told[index],
        .tsa = &rig->servers[RIG_TSA],
        .mails = rig->mails,
        .mail_count = RIG_MAILS,
        .connections_max = RIG_CONNS,
        .memory_max = RIG_MEMORY,
        .pages = &rig->pages,
    };
    http_server_init(&rig->servers[index], &options);
    http_server_set_takes(&rig->servers[index], true);
}

void http_rig_open(struct http_rig *rig, struct sim *sim)
{
    memset(rig, 0, sizeof(*rig));
    rig->sim = sim;
    rig->node = sim_node_open(sim, NULL);
    sim_shards_boot(&rig->shards, rig->node, RIG_MAILS + 1, 64, 16 * KIB);
    CHECK(network_parse(SLICE("10.0.0.0/24"), &rig->trusted));
    rig->listener = (struct conf_http_listener){
        .listen = sim_node_endpoint(rig->node, PORT),
        .hostname = SLICE("mta.test"),
        .trusted_hosts = &rig->trusted,
        .trusted_host_count = 1,
        .request_body_limit = RIG_BODY,
    };
    rig->conf.http_listeners = &rig->listener;
    rig->conf.http_listener_count = 1;
    for (unsigned i = 0; i <= RIG_MAILS; i++) {
        server_open(rig, i);
        if (i < RIG_MAILS) {
            rig->mails[i] = &rig->servers[i];
        }
    }
    struct buf reason;
    uint8_t memory[100];
    buf_init(&reason, memory, sizeof(memory));
    CHECK(http_server_start(&rig->servers[RIG_TSA], &rig->at, &reason) == 0);
}

void http_rig_answer(struct http_rig *rig, unsigned shard, const char *text)
{
    struct http_exchange *exchange = rig->told[shard].kept;
    rig->told[shard].kept = NULL;
    http_answer(exchange, 200, SLICE("text/plain"), slice_from_string(text));
}

uint64_t http_rig_counter(const struct http_rig *rig, unsigned shard, enum counter counter)
{
    return counters_get(&rig->shards.shards[shard].counters, counter);
}

static bool all_over(void *context)
{
    const struct http_rig *rig = context;
    uint64_t left = 0;
    for (unsigned i = 0; i <= RIG_MAILS; i++) {
        left += http_server_open(&rig->servers[i]) + http_server_memory(&rig->servers[i]);
    }
    return left == 0;
}

bool http_rig_stop(struct http_rig *rig)
{
    for (unsigned i = 0; i <= RIG_MAILS; i++) {
        http_server_stop(&rig->servers[i]);
        http_server_cut(&rig->servers[i]);
        if (rig->told[i].kept != NULL) {
            http_rig_answer(rig, i, "");
        }
    }
    if (!sim_run_until(rig->sim, all_over, rig, WAIT_NS)) {
        sim_fail(rig->sim, "HTTP does not stop");
    }
    sim_shards_stop(&rig->shards);
    boot_pages_give(&rig->pages);
    return !sim_failed(rig->sim);
}
