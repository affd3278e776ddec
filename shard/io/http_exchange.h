/*
 * What a handler sees of an HTTP request, and how it answers. A handler runs on the shard that its
 * route names, with the whole body in memory, and answers at once or later; each exchange is
 * answered exactly once, also when nobody hears it any more. After its answer the exchange is not
 * the handler's. All calls on that shard, from the loop.
 */
#ifndef RINGPOST_SHARD_IO_HTTP_EXCHANGE_H
#define RINGPOST_SHARD_IO_HTTP_EXCHANGE_H

#include "core/buf.h"
#include "core/endpoint.h"
#include "shard/io/http_answer.h"
#include "shard/io/http_codec.h"
#include "shard/io/http_query.h"

struct shard;
struct http_exchange;
struct metered;

/* Answers now, or keeps the exchange and answers later. Runs from the loop. */
typedef void http_handle(struct http_exchange *exchange);
/*
 * The client has gone: the answer that is still owed goes nowhere, and may be a short one. Of a
 * client that has sent something ahead it may be noticed only by the answer.
 */
typedef void http_gone(struct http_exchange *exchange);

enum http_where { HTTP_ON_TSA_SHARD, HTTP_ON_MAIL_SHARD };

/*
 * What a request to this route may carry, as a set; anything else is 415, or 413 where nothing may
 * be. Without a body it needs the type, too.
 */
enum http_carries {
    HTTP_CARRIES_NOTHING = 0,
    HTTP_CARRIES_JSON = 1,  /* application/json */
    HTTP_CARRIES_LINES = 2, /* application/x-ndjson: JSON, a document each line */
};

/*
 * GET brings HEAD along, whose answer is cut behind its head; OPTIONS is answered by the server.
 * Of two routes with one path each has methods of its own.
 */
struct http_route {
    const char *path;        /* all of it */
    uint8_t methods;         /* set of enum http_method */
    uint8_t where;           /* enum http_where */
    uint8_t carries;         /* set of enum http_carries */
    uint64_t body_bytes_max; /* decoded; 0: the listener's request_body_limit */
    bool websocket;          /* GET with an Upgrade to it, and nothing else */
    http_handle *handle;
};

/* A request that a handler has, up to its answer. The connection's. */
struct http_exchange {
    const struct http_route *route;
    const struct http_head *head;
    enum http_method method;
    struct slice query;       /* undecoded: http_query_find */
    struct slice body;        /* decoded, whole */
    struct endpoint peer;
    struct shard *shard;      /* borrowed, like all below */
    unsigned listener;       /* the number of the one by which it came */
    void *context;            /* of struct http_options */
    /* The handler's own. */
    http_gone *gone;          /* null: it does not care */
    void *user;
};

/* `type` is constant ("application/json"); `bytes` are copied. Without memory it is 503. */
void http_answer(struct http_exchange *exchange, unsigned status, struct slice type,
                 struct slice bytes);
/*
 * The same with header lines of the handler's own, each with its line end, in place of
 * `Cache-Control: no-store`; at most HTTP_ANSWER_FIELDS_MAX bytes. 304 has neither type nor bytes.
 */
void http_answer_fields(struct http_exchange *exchange, unsigned status, struct slice type,
                        struct slice fields, struct slice bytes);
/* One line for people, as text/plain: what errors are answered with. */
void http_answer_text(struct http_exchange *exchange, unsigned status, struct slice line);
/* 503, and when it may be otherwise. */
void http_answer_later(struct http_exchange *exchange, uint32_t retry_after_s, struct slice line);
/*
 * Memory to write an answer into, of `bytes`; http_answer_written sends it, or 500 when it has
 * overflowed. Null: there is none, and 503 has been answered.
 */
MUST_USE struct buf *http_answer_room(struct http_exchange *exchange, size_t bytes);
void http_answer_written(struct http_exchange *exchange, unsigned status, struct slice type);

/*
 * An answer of unknown length, for as long as it takes. `fill` is called whenever there is room
 * (HTTP_STREAM_BYTES; a slow reader holds that much and no more) and appends to `room`.
 */
#define HTTP_STREAM_BYTES (32 * KIB)
enum http_fill {
    HTTP_FILL_MORE, /* call again when there is room; something was put */
    HTTP_FILL_END,  /* that was all: the answer is whole */
    HTTP_FILL_WAIT, /* there is nothing to say now, and nothing was put: http_answer_more */
    HTTP_FILL_CUT,  /* there is no more, and it is not whole: the connection ends so */
};
typedef enum http_fill http_fill(struct http_exchange *exchange, struct buf *room);
/*
 * True: this is the answer, and the exchange stays the handler's up to END, CUT or `gone`, which
 * then is the last word: the client has gone. False: there is nothing to fill, for the head was all
 * that was wanted, nobody hears, or there was no memory and 503 has been answered; the exchange is
 * the handler's no longer.
 */
MUST_USE bool http_answer_stream(struct http_exchange *exchange, unsigned status,
                                 struct slice type, http_fill *fill);

/*
 * The connection goes on as a WebSocket (RFC 6455), if the handshake is sound: `fill` puts frames
 * as above, or nothing and WAIT; then http_answer_more has it called again. `take` gets all bytes
 * that come. END closes the connection when all is sent; `gone` is the last word as above, also at
 * a stop of the server. False: it was answered otherwise, and is the handler's no longer.
 */
typedef void http_take(struct http_exchange *exchange, struct slice bytes);
MUST_USE bool http_answer_websocket(struct http_exchange *exchange, http_fill *fill,
                                    http_take *take);
/* `fill` has waited for this, of a stream or a WebSocket. From anywhere, while it is the
 * handler's. */
void http_answer_more(struct http_exchange *exchange);
/* Memory of the server for what the handler keeps meanwhile. */
struct metered *http_exchange_memory(struct http_exchange *exchange);

#endif
