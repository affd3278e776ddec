/*
 * One connection of an HTTP client: the stream, the codec behind it, timers, the body that gathers
 * and the answer that goes out. One request at a time: what is pipelined behind it waits in the
 * stream, and is read no further, until the answer is out (H-05).
 *
 *   HEAD       between requests, or a head is coming
 *   BODY       its body is coming
 *   HANDLED    a handler has it and owes an answer
 *   ANSWERING  the answer goes out
 *   STREAMING  the same, and `fill` makes it; as a WebSocket `take` gets what comes meanwhile
 *   LEAVING    the request belongs to another shard: the descriptor goes there
 *   ENDING     the last answer is out: what comes is thrown away, for a moment
 *   CLOSED     the stream is closing, or a handler still owes its answer
 *
 * The client has a deadline for a head (from its first byte, or the connection's beginning), for a
 * body (moved on by what comes, at HTTP_BODY_RATE), for each HTTP_SEND_BYTES of an answer, and for
 * idleness (H-06). While a handler thinks, the time is not the client's.
 *
 * Owned by its server's pool; given back when the stream is released and nothing is owed. Idle ones
 * hold no memory beside.
 */
#ifndef RINGPOST_SHARD_IO_HTTP_CONN_H
#define RINGPOST_SHARD_IO_HTTP_CONN_H

#include "shard/io/http_answer.h"
#include "shard/io/http_body.h"
#include "shard/io/http_server.h"
#include "shard/io/stream.h"

#define HTTP_HEAD_NS    (10 * NS_PER_S)
#define HTTP_IDLE_NS    (60 * NS_PER_S)
#define HTTP_BODY_NS    (10 * NS_PER_S) /* the most that a body may be behind its rate */
#define HTTP_BODY_RATE  500u            /* bytes a second */
#define HTTP_WRITE_NS   (30 * NS_PER_S)
#define HTTP_LINGER_NS  (2 * NS_PER_S)
#define HTTP_SEND_BYTES (64 * KIB)
/* Of a body, decoded in one turn. */
#define HTTP_TURN_BYTES (256 * KIB)

/* The head of an answer, and a short body behind it, so that errors need no memory. */
#define HTTP_TEXT_BYTES (HTTP_ANSWER_HEAD_MAX + 256)

/* A connection on its way to another shard. Of the sender's pool; comes home when it is read. */
struct http_transfer {
    struct mail mail;
    struct http_server *from;              /* borrowed, like both below */
    struct http_server *to;
    unsigned listener;         /* number of the one it came to: all shards have the same */
    struct endpoint peer;
    int fd;
    uint8_t *bytes;                        /* that have come; of the sender's metered memory */
    size_t size;
};

enum http_conn_state {
    HTTP_CONN_HEAD,
    HTTP_CONN_BODY,
    HTTP_CONN_HANDLED,
    HTTP_CONN_ANSWERING,
    HTTP_CONN_STREAMING,
    HTTP_CONN_LEAVING,
    HTTP_CONN_ENDING,
    HTTP_CONN_CLOSED,
};

struct http_conn {
    struct stream stream;
    struct http_server *server;            /* borrowed */
    unsigned listener;         /* number of the one it came to */
    struct list link;                      /* in server->idle or server->busy … */
    uint64_t sorted_ns;                    /* … since */
    struct timer timer;
    struct deferred resume;
    uint8_t state;         /* enum http_conn_state */
    bool trusted;
    bool close;            /* after the answer */
    bool owed;             /* a handler has the exchange */
    bool released;         /* the stream is */
    bool served;           /* an answer has gone out: what comes next is not the first request */
    bool decoding;         /* the body has more to decode than a turn's worth */
    bool sending;          /* the answer is, `sent` bytes of its body */
    bool plain;            /* streamed without chunks */
    bool filled;           /* `fill` has ended the answer */
    struct endpoint peer;
    uint64_t deadline_ns;  /* of a body */
    struct http_codec codec;
    struct http_head *head; /* null: none of a request has come */
    struct http_body body;
    size_t piece_left;     /* of the input, bytes of body that wait for the decoder */
    struct http_exchange exchange;
    struct http_transfer *early; /* its bytes come before the stream's; null: all are read */
    size_t early_at;
    struct http_server *destination; /* while LEAVING */
    http_fill *fill;
    http_take *take;       /* of a WebSocket, while STREAMING */
    struct buf answer;     /* over metered memory of its capacity; the body of the answer */
    size_t answer_at;      /* of it, has been sent */
    size_t sent;
    struct buf text;       /* over text_bytes; the head, sent before the body */
    uint8_t text_bytes[HTTP_TEXT_BYTES];
};

/* Of an accepted descriptor, or of one that another shard has sent, whose bytes are read first. */
void http_conn_open(struct http_conn *conn, struct http_server *server,
                    unsigned listener, int fd);
/* Another configuration is in force: may its peer ask? */
void http_conn_renew(struct http_conn *conn);
void http_conn_receive(struct http_conn *conn, struct http_server *server,
                       struct http_transfer *transfer);
/* A stop has begun: between requests it closes now, else after the answer. */
void http_conn_stop(struct http_conn *conn);
/* Now; a handler that owes an answer is told. */
void http_conn_close(struct http_conn *conn);

/* --- for http_exchange ------------------------------------------------------------------------ */

void http_conn_set_state(struct http_conn *conn, enum http_conn_state state);
/* The request is answered: its head and body go. */
void http_conn_forget(struct http_conn *conn);
/* The answer is out. */
void http_conn_answered(struct http_conn *conn);
/* Gives the connection back once nobody holds anything of it. */
void http_conn_join(struct http_conn *conn);

/* --- of the server, for connections ----------------------------------------------------------- */

void http_server_gone(struct http_conn *conn);
/* In the list that its state wants. */
void http_server_sort(struct http_conn *conn, bool idle);
/* Where a route's request is to be handled: this server, another one, or null, none has room. */
struct http_server *http_server_choose(struct http_server *server,
                                       const struct http_route *route);
/* A transfer to be filled, or null. */
struct http_transfer *http_server_transfer(struct http_server *server);
void http_server_send(struct http_transfer *transfer);
/* Its bytes are read: back to the shard that sent it. */
void http_server_send_home(struct http_transfer *transfer, struct shard *shard);

#endif
