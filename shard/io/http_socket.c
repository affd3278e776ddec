#include "shard/io/http_socket.h"

#include <string.h>

#include "core/check.h"
#include "shard/shard.h"

/* The exchange is not ours any more. */
static void finish(struct http_socket *socket)
{
    shard_timer_clear(socket->shard, &socket->timer);
    websocket_fini(&socket->websocket);
    socket->exchange = NULL;
    socket->user->ended(socket);
}

static void gone(struct http_exchange *exchange)
{
    finish(exchange->user);
}

void http_socket_more(struct http_socket *socket)
{
    http_answer_more(socket->exchange);
}

void http_socket_close(struct http_socket *socket, uint16_t code, const char *words)
{
    if (!socket->closing) {
        socket->closing = true;
        socket->code = code;
        socket->words = words;
    }
    http_answer_more(socket->exchange);
}

/* --- out -------------------------------------------------------------------------------------- */

static void put_control(struct http_socket *socket, struct buf *room)
{
    if (socket->pong_due) {
        socket->pong_due = !websocket_put_pong(&socket->websocket, room,
                                               slice_make(socket->pong, socket->pong_bytes));
    }
    if (socket->ping_due) {
        socket->ping_due = !websocket_put_ping(&socket->websocket, room, SLICE_NONE);
    }
}

bool http_socket_put(struct http_socket *socket, struct buf *room, struct slice text)
{
    return websocket_put_text(&socket->websocket, room, text);
}

static enum http_fill fill(struct http_exchange *exchange, struct buf *room)
{
    struct http_socket *socket = exchange->user;
    if (!socket->closing) {
        put_control(socket, room);
        socket->user->fill(socket, room);
    }
    if (!socket->closing) {
        return room->size > 0 ? HTTP_FILL_MORE : HTTP_FILL_WAIT;
    }
    if (room->size > 0) {
        return HTTP_FILL_MORE; /* what was put before it goes first, so that the close has room */
    }
    CHECK(websocket_put_close(&socket->websocket, room, socket->code,
                              slice_from_string(socket->words)));
    finish(socket);
    return HTTP_FILL_END;
}

/* --- in --------------------------------------------------------------------------------------- */

static void take_step(struct http_socket *socket, enum websocket_step step)
{
    struct slice control = websocket_control(&socket->websocket);
    switch (step) {
    case WEBSOCKET_MORE:
        return;
    case WEBSOCKET_TEXT:
        socket->user->text(socket, websocket_message(&socket->websocket));
        return;
    case WEBSOCKET_PING: /* of several the last one is answered (RFC 6455 5.5.3) */
        socket->pong_due = true;
        socket->pong_bytes = (uint8_t)control.size;
        memcpy(socket->pong, control.data, control.size);
        http_answer_more(socket->exchange);
        return;
    case WEBSOCKET_PONG:
        socket->ping_out = false;
        return;
    case WEBSOCKET_CLOSE:
        http_socket_close(socket, WEBSOCKET_CODE_NORMAL, "");
        return;
    case WEBSOCKET_BAD:
        http_socket_close(socket, socket->websocket.code, "");
        return;
    }
    CHECK(false);
}

static void take(struct http_exchange *exchange, struct slice bytes)
{
    struct http_socket *socket = exchange->user;
    enum websocket_step step = WEBSOCKET_MORE;
    do {
        step = websocket_feed(&socket->websocket, &bytes);
        take_step(socket, step);
    } while (step != WEBSOCKET_MORE && !socket->closing);
}

static void fire(struct timer *timer)
{
    struct http_socket *socket = CONTAINER_OF(timer, struct http_socket, timer);
    if (socket->ping_out) {
        http_socket_close(socket, WEBSOCKET_CODE_GOING_AWAY, "a ping was not answered");
        return;
    }
    socket->ping_out = true;
    socket->ping_due = true;
    shard_timer_set(socket->shard, timer, HTTP_SOCKET_PING_NS);
    http_answer_more(socket->exchange);
}

/* --- life ------------------------------------------------------------------------------------- */

bool http_socket_open(struct http_socket *socket, const struct http_socket_user *user,
                      struct http_exchange *exchange, void *message, size_t bytes)
{
    *socket = (struct http_socket){.user = user, .exchange = exchange, .shard = exchange->shard};
    timer_init(&socket->timer, fire);
    exchange->user = socket;
    exchange->gone = gone;
    if (!websocket_init(&socket->websocket, WEBSOCKET_SERVER, message, bytes, 0)) {
        socket->exchange = NULL;
        http_answer_text(exchange, 503, SLICE("out of memory for HTTP"));
        return false;
    }
    if (!http_answer_websocket(exchange, fill, take)) {
        socket->exchange = NULL;
        websocket_fini(&socket->websocket);
        return false;
    }
    shard_timer_set(socket->shard, &socket->timer, HTTP_SOCKET_PING_NS);
    return true;
}

void http_socket_fini(struct http_socket *socket)
{
    websocket_fini(&socket->websocket);
}
