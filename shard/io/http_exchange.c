/*
 * Answers. The head stands in `text`, a short body right behind it; a longer one in metered memory,
 * sent HTTP_SEND_BYTES at a time so that each piece has its own deadline. A streamed answer has one
 * piece in memory: chunk size, what `fill` put, line end.
 */
#include "shard/io/http_exchange.h"

#include <string.h>

#include "core/check.h"
#include "shard/io/http_conn.h"
#include "shard/io/http_reply.h"
#include "shard/io/websocket.h"

/* "7fff\r\n" before, "\r\n" and the last chunk behind. */
#define CHUNK_PREFIX_BYTES 8
#define CHUNK_SUFFIX_BYTES 8

#define TEXT_PLAIN SLICE("text/plain; charset=utf-8")

static struct http_conn *conn_of(struct http_exchange *exchange)
{
    return CONTAINER_OF(exchange, struct http_conn, exchange);
}

static void answer_memory_give(struct http_conn *conn)
{
    metered_give(&conn->server->memory, conn->answer.data);
    conn->answer = (struct buf){0};
    conn->answer_at = 0;
}

static bool answer_memory_take(struct http_conn *conn, size_t bytes)
{
    void *memory = metered_take(&conn->server->memory, MAX_OF(bytes, (size_t)1));
    if (memory == NULL) {
        return false;
    }
    buf_init(&conn->answer, memory, MAX_OF(bytes, (size_t)1));
    return true;
}

/* --- the head ------------------------------------------------------------------------------- */

static bool is_old(const struct http_conn *conn)
{
    return conn->head != NULL && conn->codec.state != HTTP_CODEC_HEAD && conn->head->minor == 0;
}

/* What is not read of a request would be taken for the next one. */
static void put_head(struct http_conn *conn, struct http_answer *answer)
{
    conn->close = conn->close || conn->server->stopping || answer->until_close ||
                  conn->codec.state != HTTP_CODEC_ENDED;
    answer->close = conn->close;
    answer->keep_alive = is_old(conn) && !conn->close;
    buf_init(&conn->text, conn->text_bytes, sizeof(conn->text_bytes));
    http_answer_put_head(&conn->text, answer, conn->server->shard->wall_ns);
    CHECK(!conn->text.overflow);
}

/* The whole answer stands in `text` and, unless the head alone is wanted, in conn->answer. */
static void send_whole(struct http_conn *conn)
{
    http_conn_set_state(conn, HTTP_CONN_ANSWERING);
    http_conn_forget(conn);
    http_exchange_send(conn);
}

/* A body as short as this needs no memory. */
static void answer_short(struct http_conn *conn, struct http_answer *answer, struct slice bytes)
{
    answer->length = bytes.size;
    put_head(conn, answer);
    if (conn->exchange.method != HTTP_METHOD_HEAD) {
        buf_put(&conn->text, bytes);
    }
    send_whole(conn);
}

static void answer_line(struct http_conn *conn, struct http_answer *answer, struct slice line)
{
    uint8_t memory[HTTP_TEXT_BYTES - HTTP_ANSWER_HEAD_MAX];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    buf_put(&text, slice_first(line, MIN_OF(line.size, sizeof(memory) - 1)));
    buf_put_byte(&text, '\n');
    answer->type = TEXT_PLAIN;
    answer_short(conn, answer, buf_slice(&text));
}

void http_refuse(struct http_conn *conn, unsigned status, uint8_t allow, struct slice line)
{
    struct http_answer answer = {.status = status, .allow = allow};
    counters_add(&conn->server->shard->counters, COUNTER_http_refused, status >= 400);
    if (status == 204) {
        answer_short(conn, &answer, SLICE_NONE);
    } else {
        answer_line(conn, &answer, line);
    }
}

/* --- of handlers ---------------------------------------------------------------------------- */

/* The exchange is the connection's again. False: nobody hears the answer. */
static bool take_back(struct http_conn *conn)
{
    CHECK(conn->owed);
    conn->owed = false;
    if (conn->state == HTTP_CONN_CLOSED) {
        answer_memory_give(conn);
        http_conn_join(conn);
        return false;
    }
    CHECK(conn->state == HTTP_CONN_HANDLED);
    return true;
}

static void answer_no_memory(struct http_conn *conn)
{
    struct http_answer answer = {.status = 503};
    answer_line(conn, &answer, SLICE("Out of memory for HTTP"));
}

void http_answer(struct http_exchange *exchange, unsigned status, struct slice type,
                 struct slice bytes)
{
    http_answer_fields(exchange, status, type, SLICE_NONE, bytes);
}

void http_answer_fields(struct http_exchange *exchange, unsigned status, struct slice type,
                        struct slice fields, struct slice bytes)
{
    struct http_conn *conn = conn_of(exchange);
    struct http_answer answer = {
        .status = status, .type = type, .fields = fields, .length = bytes.size};
    if (!take_back(conn)) {
        return;
    }
    if (bytes.size <= HTTP_TEXT_BYTES - HTTP_ANSWER_HEAD_MAX) {
        answer_short(conn, &answer, bytes);
        return;
    }
    if (exchange->method == HTTP_METHOD_HEAD) {
        put_head(conn, &answer);
    } else if (answer_memory_take(conn, bytes.size)) {
        put_head(conn, &answer);
        buf_put(&conn->answer, bytes);
    } else {
        answer_no_memory(conn);
        return;
    }
    send_whole(conn);
}

void http_answer_text(struct http_exchange *exchange, unsigned status, struct slice line)
{
    struct http_conn *conn = conn_of(exchange);
    struct http_answer answer = {.status = status};
    if (take_back(conn)) {
        answer_line(conn, &answer, line);
    }
}

void http_answer_later(struct http_exchange *exchange, uint32_t retry_after_s, struct slice line)
{
    struct http_conn *conn = conn_of(exchange);
    struct http_answer answer = {.status = 503, .retry_after_s = retry_after_s};
    if (take_back(conn)) {
        answer_line(conn, &answer, line);
    }
}

struct buf *http_answer_room(struct http_exchange *exchange, size_t bytes)
{
    struct http_conn *conn = conn_of(exchange);
    CHECK(conn->owed && conn->answer.data == NULL);
    if (answer_memory_take(conn, bytes)) {
        return &conn->answer;
    }
    if (take_back(conn)) {
        answer_no_memory(conn);
    }
    return NULL;
}

void http_answer_written(struct http_exchange *exchange, unsigned status, struct slice type)
{
    struct http_conn *conn = conn_of(exchange);
    struct http_answer answer = {.status = status, .type = type, .length = conn->answer.size};
    bool overflow = conn->answer.overflow;
    if (!take_back(conn)) {
        return;
    }
    if (overflow) {
        answer_memory_give(conn);
        answer.status = 500;
        answer_line(conn, &answer, SLICE("The answer is too large"));
        return;
    }
    put_head(conn, &answer);
    if (exchange->method == HTTP_METHOD_HEAD) {
        answer_memory_give(conn);
    }
    send_whole(conn);
}

/* --- streamed ------------------------------------------------------------------------------- */

bool http_answer_stream(struct http_exchange *exchange, unsigned status, struct slice type,
                        http_fill *fill)
{
    struct http_conn *conn = conn_of(exchange);
    bool old = is_old(conn);
    struct http_answer answer = {
        .status = status, .type = type, .chunked = !old, .until_close = old};
    if (!take_back(conn)) {
        return false;
    }
    if (exchange->method == HTTP_METHOD_HEAD) {
        put_head(conn, &answer);
        send_whole(conn);
        return false;
    }
    if (!answer_memory_take(conn, CHUNK_PREFIX_BYTES + HTTP_STREAM_BYTES + CHUNK_SUFFIX_BYTES)) {
        answer_no_memory(conn);
        return false;
    }
    put_head(conn, &answer);
    conn->fill = fill;
    conn->plain = old;
    conn->filled = false;
    http_conn_set_state(conn, HTTP_CONN_STREAMING);
    shard_timer_set(conn->server->shard, &conn->timer, HTTP_WRITE_NS);
    shard_defer(conn->server->shard, &conn->resume);
    return true;
}

/* RFC 6455 4.2 */
static bool put_handshake(struct http_conn *conn)
{
    struct slice key;
    struct slice version;
    uint8_t accept[WEBSOCKET_ACCEPT_BYTES];
    const struct http_head *head = conn->head;
    if (!head->websocket || !http_head_field(head, SLICE("Sec-WebSocket-Key"), &key) ||
        !websocket_key_is_sound(key) ||
        !http_head_field(head, SLICE("Sec-WebSocket-Version"), &version) ||
        !slice_equal(version, SLICE("13"))) {
        return false;
    }
    websocket_accept(key, accept);
    buf_init(&conn->text, conn->text_bytes, sizeof(conn->text_bytes));
    buf_put(&conn->text, SLICE("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               "Connection: Upgrade\r\nSec-WebSocket-Accept: "));
    buf_put(&conn->text, slice_make(accept, sizeof(accept)));
    buf_put(&conn->text, SLICE("\r\n\r\n"));
    CHECK(!conn->text.overflow);
    return true;
}

bool http_answer_websocket(struct http_exchange *exchange, http_fill *fill, http_take *take)
{
    struct http_conn *conn = conn_of(exchange);
    struct http_answer answer = {.status = 400};
    if (!take_back(conn)) {
        return false;
    }
    if (!put_handshake(conn)) {
        answer_line(conn, &answer, SLICE("A WebSocket of version 13 is wanted here"));
        return false;
    }
    if (!answer_memory_take(conn, CHUNK_PREFIX_BYTES + HTTP_STREAM_BYTES + CHUNK_SUFFIX_BYTES)) {
        answer_no_memory(conn);
        return false;
    }
    conn->fill = fill;
    conn->take = take;
    conn->plain = true;
    conn->filled = false;
    conn->close = true;
    http_conn_set_state(conn, HTTP_CONN_STREAMING);
    stream_set_reading(&conn->stream, true);
    http_exchange_send(conn);
    shard_defer(conn->server->shard, &conn->resume); /* what has come behind the request */
    return true;
}

void http_answer_more(struct http_exchange *exchange)
{
    struct http_conn *conn = conn_of(exchange);
    shard_defer(conn->server->shard, &conn->resume);
}

struct metered *http_exchange_memory(struct http_exchange *exchange)
{
    return &conn_of(exchange)->server->memory;
}

/* Frames what `fill` has put behind the place for the chunk's size. */
static void wrap(struct http_conn *conn, struct slice put)
{
    uint8_t memory[CHUNK_PREFIX_BYTES];
    struct buf prefix;
    struct buf suffix;
    buf_init(&prefix, memory, sizeof(memory));
    buf_init(&suffix, conn->answer.data + CHUNK_PREFIX_BYTES + put.size, CHUNK_SUFFIX_BYTES);
    if (put.size > 0 && !conn->plain) {
        buf_printf(&prefix, "%zx\r\n", put.size);
        buf_put(&suffix, SLICE("\r\n"));
    }
    if (conn->filled && !conn->plain) {
        buf_put(&suffix, SLICE("0\r\n\r\n"));
    }
    CHECK(!prefix.overflow && !suffix.overflow);
    conn->answer_at = CHUNK_PREFIX_BYTES - prefix.size;
    memcpy(conn->answer.data + conn->answer_at, prefix.data, prefix.size);
    conn->answer.size = CHUNK_PREFIX_BYTES + put.size + suffix.size;
}

/* False: the connection is closed. */
static bool fill_once(struct http_conn *conn)
{
    struct buf room;
    buf_init(&room, conn->answer.data + CHUNK_PREFIX_BYTES, HTTP_STREAM_BYTES);
    enum http_fill result = conn->fill(&conn->exchange, &room);
    CHECK(!room.overflow);
    switch (result) {
    case HTTP_FILL_MORE:
        CHECK(room.size > 0);
        break;
    case HTTP_FILL_END:
        conn->filled = true;
        conn->fill = NULL;
        conn->take = NULL;
        break;
    case HTTP_FILL_WAIT:
        CHECK(room.size == 0);
        break;
    case HTTP_FILL_CUT:
        conn->fill = NULL; /* whoever fills knows that it is over */
        http_conn_close(conn);
        return false;
    }
    wrap(conn, buf_slice(&room));
    return true;
}

static void finish(struct http_conn *conn)
{
    http_exchange_fini(conn);
    http_conn_answered(conn);
}

void http_exchange_fill(struct http_conn *conn)
{
    if (conn->state != HTTP_CONN_STREAMING || conn->fill == NULL ||
        stream_sending(&conn->stream)) {
        return; /* the end of what is being sent, be it 100 Continue, calls again */
    }
    if (!fill_once(conn)) {
        return;
    }
    http_exchange_send(conn);
    if (conn->filled && !conn->sending) {
        finish(conn); /* there was nothing left to send */
    }
}

/* --- sending -------------------------------------------------------------------------------- */

void http_exchange_send(struct http_conn *conn)
{
    struct iovec iovecs[2];
    unsigned count = 0;
    if (stream_sending(&conn->stream)) {
        /* 100 Continue: its end calls again, and may be long in coming. */
        shard_timer_set(conn->server->shard, &conn->timer, HTTP_WRITE_NS);
        return;
    }
    if (conn->text.size > 0) {
        iovecs[count++] = (struct iovec){conn->text.data, conn->text.size};
    }
    conn->sent = MIN_OF(conn->answer.size - conn->answer_at, (size_t)HTTP_SEND_BYTES);
    if (conn->sent > 0) {
        iovecs[count++] = (struct iovec){conn->answer.data + conn->answer_at, conn->sent};
    }
    if (count > 0) {
        conn->sending = true;
        stream_send(&conn->stream, iovecs, count);
        shard_timer_set(conn->server->shard, &conn->timer, HTTP_WRITE_NS);
    }
}

void http_exchange_sent(struct http_conn *conn)
{
    if (conn->sending) {
        conn->sending = false;
        conn->text.size = 0;
        conn->answer_at += conn->sent;
        shard_timer_clear(conn->server->shard, &conn->timer);
    }
    if (conn->text.size > 0 || conn->answer_at < conn->answer.size) {
        http_exchange_send(conn);
        return;
    }
    if (conn->state == HTTP_CONN_STREAMING && !conn->filled) {
        http_exchange_fill(conn);
        return;
    }
    finish(conn);
}

void http_exchange_fini(struct http_conn *conn)
{
    answer_memory_give(conn);
    conn->text.size = 0;
}
