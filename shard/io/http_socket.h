/*
 * A WebSocket (RFC 6455) of an exchange: its frames, its pings, and how it ends. Its user puts and
 * takes messages. A client that does not answer a ping until the next one is gone. On the shard of
 * the exchange.
 */
#ifndef RINGPOST_SHARD_IO_HTTP_SOCKET_H
#define RINGPOST_SHARD_IO_HTTP_SOCKET_H

#include "core/wheel.h"
#include "shard/io/http_exchange.h"
#include "shard/io/websocket.h"

#define HTTP_SOCKET_PING_NS (20 * NS_PER_S)

struct http_socket;

/* All from the loop; the struct is constant. */
struct http_socket_user {
    /* A message has come. */
    void (*text)(struct http_socket *socket, struct slice text);
    /* There is room: as many messages as fit (http_socket_put). */
    void (*fill)(struct http_socket *socket, struct buf *room);
    /* The last word: the connection is over, and the struct the user's again. */
    void (*ended)(struct http_socket *socket);
};

struct http_socket {
    const struct http_socket_user *user;
    struct http_exchange *exchange;   /* null: there is no connection (any more) */
    struct shard *shard;              /* borrowed */
    struct websocket websocket;
    struct timer timer;
    bool closing;                     /* a close is to be sent, with code and words */
    bool ping_due;
    bool ping_out;                    /* no pong has come yet */
    bool pong_due;
    uint8_t pong_bytes;
    uint8_t pong[WEBSOCKET_CONTROL_MAX];
    uint16_t code;
    const char *words;                /* constant */
};

/*
 * `message` is memory for what comes, `bytes` the most that a message may have. False: the exchange
 * was answered otherwise, and `ended` does not follow.
 */
MUST_USE bool http_socket_open(struct http_socket *socket, const struct http_socket_user *user,
                               struct http_exchange *exchange, void *message, size_t bytes);
/* There is something to fill. From anywhere, up to `ended`. */
void http_socket_more(struct http_socket *socket);
/* One message. False: it does not fit, and nothing was put. */
MUST_USE bool http_socket_put(struct http_socket *socket, struct buf *room, struct slice text);
/* Ends it; the first code and words count. `words` are constant. `ended` follows, not from here. */
void http_socket_close(struct http_socket *socket, uint16_t code, const char *words);
/* What a library holds for one that has not ended: of a process that has. Also of zeros. */
void http_socket_fini(struct http_socket *socket);

#endif
