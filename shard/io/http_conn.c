#include "shard/io/http_conn.h"

#include <string.h>

#include "core/check.h"
#include "shard/io/http_reply.h"
#include "shard/io/http_route.h"

/* Room for a head at first, and how much more each time that it is used up. */
#define HEAD_BYTES  (2 * KIB)
#define HEAD_GROWTH 4

/* --- input: what another shard has received, then the stream -------------------------------- */

static struct slice conn_input(const struct http_conn *conn)
{
    if (conn->early != NULL) {
        return slice_make(conn->early->bytes + conn->early_at,
                          conn->early->size - conn->early_at);
    }
    return stream_input(&conn->stream);
}

static void early_give(struct http_conn *conn)
{
    if (conn->early != NULL) {
        http_server_send_home(conn->early, conn->server->shard);
        conn->early = NULL;
    }
}

static void conn_consume(struct http_conn *conn, size_t count)
{
    if (conn->early == NULL) {
        stream_consume(&conn->stream, count);
        return;
    }
    conn->early_at += count;
    if (conn->early_at == conn->early->size) {
        early_give(conn);
    }
}

/* All that has come and is not read yet. */
static size_t conn_unread(struct http_conn *conn)
{
    size_t early = conn->early != NULL ? conn->early->size - conn->early_at : 0;
    return early + stream_held_bytes(&conn->stream);
}

/* --- what a request holds ------------------------------------------------------------------- */

static size_t head_bytes(uint32_t capacity)
{
    return sizeof(struct http_head) + capacity;
}

static void head_give(struct http_conn *conn)
{
    if (conn->head != NULL) {
        metered_give(&conn->server->memory, conn->head);
        conn->head = NULL;
    }
}

/* A first head, or a larger one. False: no memory. */
static bool head_grow(struct http_conn *conn)
{
    struct http_head *old = conn->head;
    uint32_t capacity =
        old == NULL ? HEAD_BYTES : MIN_OF(old->capacity * HEAD_GROWTH, HTTP_HEAD_BYTES_MAX);
    struct http_head *head = metered_take(&conn->server->memory, head_bytes(capacity));
    if (head == NULL) {
        return false;
    }
    if (old == NULL) {
        http_head_init(head, capacity);
    } else {
        http_head_move(head, capacity, old);
        head_give(conn);
    }
    conn->head = head;
    return true;
}

void http_conn_forget(struct http_conn *conn)
{
    http_body_fini(&conn->body);
    head_give(conn);
    conn->decoding = false;
}

static void exchange_reset(struct http_conn *conn)
{
    conn->exchange = (struct http_exchange){.shard = conn->server->shard};
}

static void refuse_no_memory(struct http_conn *conn)
{
    http_refuse(conn, 503, 0, SLICE("Out of memory for HTTP"));
}

/* --- states --------------------------------------------------------------------------------- */

void http_conn_set_state(struct http_conn *conn, enum http_conn_state state)
{
    conn->state = (uint8_t)state;
    http_server_sort(conn, state == HTTP_CONN_HEAD && http_codec_idle(&conn->codec));
    switch (state) {
    case HTTP_CONN_HEAD:
    case HTTP_CONN_BODY:
        stream_set_reading(&conn->stream, true);
        return;
    case HTTP_CONN_HANDLED:
    case HTTP_CONN_LEAVING:
    case HTTP_CONN_CLOSED:
        shard_timer_clear(conn->server->shard, &conn->timer);
        return;
    case HTTP_CONN_ANSWERING:
    case HTTP_CONN_STREAMING:
        return;
    case HTTP_CONN_ENDING:
        /* What is not read makes the kernel reset the connection, and our last words with it. */
        stream_set_reading(&conn->stream, true);
        shard_timer_set(conn->server->shard, &conn->timer, HTTP_LINGER_NS);
        return;
    }
}

void http_conn_join(struct http_conn *conn)
{
    if (!conn->released || conn->owed) {
        return;
    }
    shard_timer_clear(conn->server->shard, &conn->timer);
    deferred_cancel(&conn->resume);
    http_conn_forget(conn);
    http_exchange_fini(conn);
    early_give(conn);
    http_server_gone(conn);
}

/* The handler hears it, while it owes an answer or fills one. */
static void tell_gone(struct http_conn *conn)
{
    bool filling = conn->fill != NULL;
    conn->fill = NULL;
    conn->take = NULL;
    if (!conn->owed && !filling) {
        return;
    }
    if (conn->exchange.gone != NULL) {
        conn->exchange.gone(&conn->exchange);
    }
}

void http_conn_close(struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_CLOSED) {
        return;
    }
    http_conn_set_state(conn, HTTP_CONN_CLOSED);
    stream_close(&conn->stream);
    tell_gone(conn);
}

void http_conn_answered(struct http_conn *conn)
{
    bool whole = conn->codec.state == HTTP_CODEC_ENDED && conn_unread(conn) == 0;
    http_conn_forget(conn);
    exchange_reset(conn);
    conn->fill = NULL;
    conn->take = NULL;
    conn->served = true;
    if (conn->close && whole) {
        http_conn_close(conn);
        return;
    }
    if (conn->close) {
        http_conn_set_state(conn, HTTP_CONN_ENDING);
        stream_consume(&conn->stream, stream_held_bytes(&conn->stream));
        if (conn->stream.end != STREAM_OPEN) {
            http_conn_close(conn); /* nothing more can come */
        }
        return;
    }
    http_codec_init(&conn->codec);
    http_conn_set_state(conn, HTTP_CONN_HEAD);
    shard_timer_set(conn->server->shard, &conn->timer, HTTP_IDLE_NS);
    /* A turn for each request: others have theirs between those that one client sent ahead. */
    shard_defer(conn->server->shard, &conn->resume);
}

/* A request counts where it stays, once. */
static void request_count(const struct http_conn *conn)
{
    counters_add(&conn->server->shard->counters, COUNTER_http_requests,
                 conn->state != HTTP_CONN_LEAVING);
}

/* --- another shard -------------------------------------------------------------------------- */

static void conn_leave(struct http_conn *conn, struct http_server *destination)
{
    conn->destination = destination;
    http_conn_set_state(conn, HTTP_CONN_LEAVING);
    stream_detach(&conn->stream);
}

/* The head, whose bytes are read again there, and everything behind it. */
static void gather(struct http_conn *conn, struct http_transfer *transfer)
{
    struct buf bytes;
    buf_init(&bytes, transfer->bytes, transfer->size);
    buf_put(&bytes, slice_make(conn->head->bytes, conn->head->size));
    for (size_t left = conn_unread(conn); left > 0;) {
        struct slice input = conn_input(conn);
        buf_put(&bytes, input);
        left -= input.size;
        conn_consume(conn, input.size);
    }
    CHECK(!bytes.overflow && bytes.size == transfer->size);
}

static void conn_detached(struct stream *stream)
{
    struct http_conn *conn = CONTAINER_OF(stream, struct http_conn, stream);
    struct http_server *server = conn->server;
    size_t size = conn->head->size + conn_unread(conn);
    if (stream->end > STREAM_EOF) {
        http_conn_close(conn);
        return;
    }
    struct http_transfer *transfer = http_server_transfer(server);
    if (transfer == NULL || (transfer->bytes = metered_take(&server->memory, size)) == NULL) {
        if (transfer != NULL) {
            pool_give(&server->transfers, transfer);
        }
        stream_attach(stream);
        refuse_no_memory(conn);
        request_count(conn);
        return;
    }
    transfer->from = server;
    transfer->to = conn->destination;
    transfer->listener = conn->listener;
    transfer->peer = conn->peer;
    transfer->size = size;
    gather(conn, transfer);
    transfer->fd = stream_leave(stream);
    http_conn_set_state(conn, HTTP_CONN_CLOSED);
    conn->released = true;
    http_server_send(transfer);
    http_conn_join(conn);
}

/* --- requests ------------------------------------------------------------------------------- */

static void refuse_codec(struct http_conn *conn)
{
    http_refuse(conn, conn->codec.status,
                conn->codec.status == 405 ? HTTP_METHOD_GET | HTTP_METHOD_POST : 0,
                slice_from_string(conn->codec.reason));
}

static void refuse_body(struct http_conn *conn, enum http_body_result result)
{
    switch (result) {
    case HTTP_BODY_OK:
    case HTTP_BODY_AGAIN:
        break;
    case HTTP_BODY_TOO_LARGE:
        http_refuse(conn, 413, 0, SLICE("The body is too large"));
        return;
    case HTTP_BODY_BAD:
        http_refuse(conn, 400, 0, SLICE("The body is not what Content-Encoding says"));
        return;
    case HTTP_BODY_NO_MEMORY:
        refuse_no_memory(conn);
        return;
    }
    CHECK(false);
}

/* Everything is there: the handler's turn. */
static void request_whole(struct http_conn *conn)
{
    enum http_body_result result = http_body_end(&conn->body);
    if (result != HTTP_BODY_OK) {
        refuse_body(conn, result);
        return;
    }
    conn->exchange.body = http_body_slice(&conn->body);
    conn->owed = true;
    http_conn_set_state(conn, HTTP_CONN_HANDLED);
    if (conn_unread(conn) > 0) {
        stream_set_reading(&conn->stream, false);
    }
    conn->exchange.route->handle(&conn->exchange);
}

/* What is in force where it came in. */
static const struct conf_http_listener *conn_conf(const struct http_conn *conn)
{
    return &conn->server->options.conf->http_listeners[conn->listener];
}

/* How much of a body this route takes, and that it fits into what HTTP may hold at all. */
static uint64_t body_bytes_max(const struct http_conn *conn)
{
    const struct http_route *route = conn->exchange.route;
    if (route->carries == HTTP_CARRIES_NOTHING) {
        return 0;
    }
    uint64_t limit =
        route->body_bytes_max > 0 ? route->body_bytes_max : conn_conf(conn)->request_body_limit;
    return MIN_OF(limit, conn->server->memory.limit / 2);
}

static void say_continue(struct http_conn *conn)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iovec = {(void *)(uintptr_t)text, sizeof(text) - 1};
    if (conn->head->expects && conn_unread(conn) == 0) {
        stream_send(&conn->stream, &iovec, 1);
    }
}

static void body_begin(struct http_conn *conn)
{
    const struct http_head *head = conn->head;
    enum http_coding coding = HTTP_IDENTITY;
    struct slice name;
    uint64_t limit = body_bytes_max(conn);
    unsigned codings = http_head_count(head, SLICE("Content-Encoding"));
    if (codings > 0 && (!http_head_field(head, SLICE("Content-Encoding"), &name) ||
                        !http_coding_find(name, &coding))) {
        http_refuse(conn, 415, 0, SLICE("Content-Encoding is gzip, deflate or zstd, once"));
        return;
    }
    if (!http_codec_limit(&conn->codec, limit)) {
        refuse_codec(conn);
        return;
    }
    enum http_body_result result = http_body_begin(&conn->body, &conn->server->memory, coding,
                                                   (size_t)limit, (size_t)head->length);
    if (result != HTTP_BODY_OK) {
        refuse_body(conn, result);
        return;
    }
    http_conn_set_state(conn, HTTP_CONN_BODY);
    conn->deadline_ns = conn->server->shard->now_ns + HTTP_BODY_NS;
    shard_timer_set(conn->server->shard, &conn->timer, HTTP_BODY_NS);
    say_continue(conn);
}

static void request_routed(struct http_conn *conn)
{
    const struct http_route *route = conn->exchange.route;
    struct http_server *there = http_server_choose(conn->server, route);
    if (there == NULL) {
        http_refuse(conn, 503, 0, SLICE("No thread takes this request now"));
        return;
    }
    if (there != conn->server) {
        conn_leave(conn, there);
        return;
    }
    if (!http_type_is_taken(conn->head, route->carries)) {
        http_refuse(conn, 415, 0, SLICE("This Content-Type is not taken here"));
        return;
    }
    body_begin(conn);
}

/* Who asks, and for what. */
static void request_begin(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    const struct http_head *head = conn->head;
    conn->exchange = (struct http_exchange){
        .head = head,
        .method = (enum http_method)head->method,
        .query = head->query,
        .peer = conn->peer,
        .shard = server->shard,
        .listener = conn->listener,
        .context = server->options.context,
    };
    conn->close = conn->close || head->close;
    if (!conn->trusted) {
        http_refuse(conn, 403, 0, SLICE("Your address is not in trusted_hosts"));
        return;
    }
    if (!http_host_is_ours(head, conn_conf(conn)->hostname)) {
        http_refuse(conn, 403, 0, SLICE("A foreign Host or Origin"));
        return;
    }
    struct http_found found =
        http_route_find(server->options.routes, server->options.route_count, head);
    conn->exchange.route = found.route;
    if (head->websocket && (found.route == NULL || !found.route->websocket)) {
        http_refuse(conn, 400, 0, SLICE("No other protocol is spoken here"));
    } else if (found.allow == 0) {
        http_refuse(conn, 404, 0, SLICE("There is nothing here"));
    } else if (head->method == HTTP_METHOD_OPTIONS) {
        http_refuse(conn, 204, found.allow, SLICE_NONE);
    } else if (found.route == NULL) {
        http_refuse(conn, 405, found.allow, SLICE("This method is not for this path"));
    } else {
        request_routed(conn);
    }
}

/* --- reading -------------------------------------------------------------------------------- */

/* A body has so much longer as what has come of it takes at the least rate. */
static void body_moves(struct http_conn *conn, size_t bytes)
{
    struct shard *shard = conn->server->shard;
    conn->deadline_ns = MIN_OF(conn->deadline_ns + bytes * NS_PER_S / HTTP_BODY_RATE,
                               shard->now_ns + HTTP_BODY_NS);
    shard_timer_set(shard, &conn->timer,
                    conn->deadline_ns > shard->now_ns ? conn->deadline_ns - shard->now_ns : 0);
}

/* Decodes what the codec has found: `piece_left` bytes at the front of the input, or none. */
static void body_decode(struct http_conn *conn, size_t *budget)
{
    struct slice piece = slice_first(conn_input(conn), conn->piece_left);
    size_t before = conn->body.size;
    enum http_body_result result = http_body_put(&conn->body, &piece, *budget);
    size_t taken = conn->piece_left - piece.size;
    *budget -= MIN_OF(*budget, conn->body.size - before);
    conn->piece_left = piece.size;
    conn->decoding = result == HTTP_BODY_AGAIN;
    if (taken > 0) {
        conn_consume(conn, taken);
    }
    if (result != HTTP_BODY_OK && result != HTTP_BODY_AGAIN) {
        conn_consume(conn, conn->piece_left);
        conn->piece_left = 0;
        refuse_body(conn, result);
    }
}

static void head_comes(struct http_conn *conn, bool began)
{
    if (began && !http_codec_idle(&conn->codec)) {
        http_conn_set_state(conn, HTTP_CONN_HEAD); /* no longer idle */
        if (conn->served) {
            shard_timer_set(conn->server->shard, &conn->timer, HTTP_HEAD_NS);
        }
    }
}

/* One step of the codec. False: nothing more can be done now. */
static bool conn_step(struct http_conn *conn, size_t *budget)
{
    struct slice input = conn_input(conn);
    bool idle = http_codec_idle(&conn->codec);
    enum http_step step;
    struct slice piece;
    if (conn->head == NULL && !head_grow(conn)) {
        refuse_no_memory(conn);
        return true;
    }
    size_t taken = http_codec_feed(&conn->codec, conn->head, input, &step, &piece);
    if (step == HTTP_STEP_BODY) {
        conn->piece_left = piece.size;
        body_moves(conn, piece.size);
        body_decode(conn, budget);
        return true;
    }
    if (taken > 0) {
        conn_consume(conn, taken);
    }
    switch (step) {
    case HTTP_STEP_MORE:
        head_comes(conn, idle);
        return taken > 0;
    case HTTP_STEP_ROOM:
        head_comes(conn, idle);
        if (!head_grow(conn)) {
            refuse_no_memory(conn);
        }
        return true;
    case HTTP_STEP_HEAD:
        request_begin(conn);
        request_count(conn);
        return true;
    case HTTP_STEP_END:
        request_whole(conn);
        return true;
    case HTTP_STEP_REFUSED:
        refuse_codec(conn);
        return true;
    case HTTP_STEP_BODY:
        break;
    }
    CHECK(false);
}

static bool conn_reads(const struct http_conn *conn)
{
    return conn->state == HTTP_CONN_HEAD || conn->state == HTTP_CONN_BODY;
}

/* Is there anything that the codec or the decoder can go on with? */
static bool conn_has_work(const struct http_conn *conn)
{
    return conn->decoding || conn_input(conn).size > 0 ||
           (conn->state == HTTP_CONN_BODY && conn->codec.state == HTTP_CODEC_ENDED);
}

/* What has come over a WebSocket, frames behind the request included. */
static void conn_take(struct http_conn *conn)
{
    while (conn->take != NULL && conn_input(conn).size > 0) {
        struct slice input = conn_input(conn);
        conn->take(&conn->exchange, input);
        conn_consume(conn, input.size);
    }
}

/* Goes on with whatever the connection waits for, as far as it can be now. */
static void conn_drive(struct http_conn *conn)
{
    size_t budget = HTTP_TURN_BYTES;
    bool more = true;
    while (more && conn_reads(conn) && conn_has_work(conn)) {
        if (budget == 0) {
            shard_defer(conn->server->shard, &conn->resume);
            return;
        }
        if (conn->decoding) {
            body_decode(conn, &budget);
        } else {
            more = conn_step(conn, &budget);
        }
    }
    if (conn_reads(conn) && conn->stream.end != STREAM_OPEN) {
        http_conn_close(conn); /* what has come is read, and no more will */
        return;
    }
    if (conn->state == HTTP_CONN_STREAMING && conn->take == NULL &&
        conn->stream.end != STREAM_OPEN) {
        http_conn_close(conn); /* the client had gone before the answer began */
        return;
    }
    conn_take(conn);
    http_exchange_fill(conn);
}

/* --- events --------------------------------------------------------------------------------- */

static void conn_resume(struct deferred *deferred)
{
    struct http_conn *conn = CONTAINER_OF(deferred, struct http_conn, resume);
    if (conn->state != HTTP_CONN_CLOSED) {
        conn_drive(conn);
    }
}

static void conn_timer(struct timer *timer)
{
    struct http_conn *conn = CONTAINER_OF(timer, struct http_conn, timer);
    counters_add(&conn->server->shard->counters, COUNTER_http_timed_out,
                 conn->state != HTTP_CONN_ENDING);
    switch ((enum http_conn_state)conn->state) {
    case HTTP_CONN_HEAD:
        if (http_codec_idle(&conn->codec)) {
            http_conn_close(conn);
            return;
        }
        http_refuse(conn, 408, 0, SLICE("The request took too long to come"));
        return;
    case HTTP_CONN_BODY:
        http_refuse(conn, 408, 0, SLICE("The body came too slowly"));
        return;
    case HTTP_CONN_ANSWERING:
    case HTTP_CONN_STREAMING:
    case HTTP_CONN_ENDING:
        http_conn_close(conn);
        return;
    case HTTP_CONN_HANDLED:
    case HTTP_CONN_LEAVING:
    case HTTP_CONN_CLOSED:
        return;
    }
}

/* While the connection is busy: is the client still there, and does it send ahead? */
static void conn_watch(struct http_conn *conn)
{
    bool over = conn->state == HTTP_CONN_STREAMING ? conn->stream.end != STREAM_OPEN
                                                   : conn->stream.end > STREAM_EOF;
    if (conn->take != NULL) {
        conn_take(conn);
    }
    if (over) {
        http_conn_close(conn);
    } else if (conn->take == NULL && stream_input(&conn->stream).size > 0) {
        stream_set_reading(&conn->stream, false);
    }
}

static void conn_input_comes(struct stream *stream)
{
    struct http_conn *conn = CONTAINER_OF(stream, struct http_conn, stream);
    switch ((enum http_conn_state)conn->state) {
    case HTTP_CONN_HEAD:
    case HTTP_CONN_BODY:
        conn_drive(conn);
        return;
    case HTTP_CONN_HANDLED:
    case HTTP_CONN_ANSWERING:
    case HTTP_CONN_STREAMING:
        conn_watch(conn);
        return;
    case HTTP_CONN_ENDING:
        stream_consume(stream, stream_held_bytes(stream));
        if (stream->end != STREAM_OPEN) {
            http_conn_close(conn);
        }
        return;
    case HTTP_CONN_LEAVING:
    case HTTP_CONN_CLOSED:
        return;
    }
}

static void conn_sent(struct stream *stream, enum stream_end end)
{
    struct http_conn *conn = CONTAINER_OF(stream, struct http_conn, stream);
    if (end != STREAM_OPEN) {
        http_conn_close(conn);
        return;
    }
    if (conn->state == HTTP_CONN_ANSWERING || conn->state == HTTP_CONN_STREAMING) {
        http_exchange_sent(conn);
    }
}

static void conn_released(struct stream *stream)
{
    struct http_conn *conn = CONTAINER_OF(stream, struct http_conn, stream);
    conn->released = true;
    http_conn_join(conn);
}

static const struct stream_user conn_user = {
    .input = conn_input_comes,
    .sent = conn_sent,
    .detached = conn_detached,
    .released = conn_released,
};

/* --- beginning and stop --------------------------------------------------------------------- */

static void conn_begin(struct http_conn *conn, struct http_server *server,
                       unsigned listener, const struct endpoint *peer)
{
    *conn = (struct http_conn){
        .server = server,
        .listener = listener,
        .peer = *peer,
    };
    const struct conf_http_listener *conf = conn_conf(conn);
    conn->trusted = networks_contain(conf->trusted_hosts, conf->trusted_host_count, peer);
    exchange_reset(conn);
    list_init(&conn->link);
    timer_init(&conn->timer, conn_timer);
    deferred_init(&conn->resume, conn_resume);
    http_codec_init(&conn->codec);
    shard_timer_set(server->shard, &conn->timer, HTTP_HEAD_NS);
}

void http_conn_open(struct http_conn *conn, struct http_server *server,
                    unsigned listener, int fd)
{
    const struct socket_options sockets = {.congestion = ""};
    struct endpoint peer;
    struct endpoint local;
    if (ring_accepted(server->shard->ring, fd, &sockets, &peer, &local) < 0) {
        /* The client has gone already: the first receive will say so. */
        peer = (struct endpoint){0};
    }
    conn_begin(conn, server, listener, &peer);
    stream_accept(&conn->stream, server->shard, &conn_user, fd);
    http_server_sort(conn, true);
}

void http_conn_receive(struct http_conn *conn, struct http_server *server,
                       struct http_transfer *transfer)
{
    conn_begin(conn, server, transfer->listener, &transfer->peer);
    conn->early = transfer;
    stream_accept(&conn->stream, server->shard, &conn_user, transfer->fd);
    http_server_sort(conn, false); /* a request of it has come */
    shard_defer(server->shard, &conn->resume);
}

void http_conn_renew(struct http_conn *conn)
{
    const struct conf_http_listener *conf = conn_conf(conn);
    conn->trusted = networks_contain(conf->trusted_hosts, conf->trusted_host_count,
                                     &conn->peer);
}

void http_conn_stop(struct http_conn *conn)
{
    conn->close = true;
    if (conn->take != NULL) {
        http_conn_close(conn); /* it has no end of its own */
    } else if (conn->state == HTTP_CONN_HEAD && http_codec_idle(&conn->codec) &&
        conn_unread(conn) == 0) {
        http_conn_close(conn);
    }
}
