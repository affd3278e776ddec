/*
 * HTTP/1.1 of one shard: listeners, connections, and what handlers see of a request.
 *
 * All listeners are the TSA shard's. It answers what belongs to it (probes, metrics, what an
 * operator asks) from connections and memory of its own, however short the mail shards are. A
 * request of a route that belongs to mail shards takes its connection there: at the request's head,
 * with the descriptor and the bytes that have come, by mail, to each mail shard in turn that has
 * room. It stays there until a request on it belongs to the TSA shard, and goes back the same way.
 *
 *     TSA shard      accept ──► head ──► route of ours ──► handler ──► answer ──► next head
 *                                 │                                                  ▲
 *                                 └─ a mail shard's ──► transfer ──┐   ┌── transfer ─┘
 *     mail shards                                        head ◄────┘   │ a route of the TSA shard
 *                                                          └─► handler ─► answer ─► next head
 */
#ifndef RINGPOST_SHARD_IO_HTTP_SERVER_H
#define RINGPOST_SHARD_IO_HTTP_SERVER_H

#include <stdatomic.h>

#include "core/conf.h"
#include "core/pool.h"
#include "shard/boot.h"
#include "shard/io/http_exchange.h"
#include "shard/io/listener.h"
#include "shard/metered.h"
#include "shard/shard.h"

#define HTTP_LISTENERS_MAX CONF_LISTENERS_MAX
#define HTTP_ROUTES_MAX    64

struct http_transfer;
struct http_conn;

struct http_listener {
    struct http_server *server;
    struct listener socket;
};

struct http_options {
    struct shard *shard;              /* borrowed, like all below */
    const struct conf *conf;          /* in force */
    const struct http_route *routes;  /* the same for all shards of a node */
    size_t route_count;               /* ≤ HTTP_ROUTES_MAX */
    void *context;                    /* for handlers */
    struct http_server *tsa;          /* the TSA shard's: itself, or of another shard */
    struct http_server *const *mails; /* `mail_count` of them, those of the mail shards */
    unsigned mail_count;
    uint32_t connections_max;
    uint64_t memory_max;              /* heads, bodies and answers */
    struct boot_pages *pages;
};

struct http_server {
    struct http_options options;
    struct shard *shard;       /* of the options */
    struct pool conns;
    struct pool transfers;     /* that this shard has sent, until they come home */
    struct metered memory;
    struct list idle;          /* struct http_conn between requests, the longest first */
    struct list busy;
    unsigned turn;             /* the mail shard that is next */
    uint32_t strangers;        /* connections from outside trusted_hosts; they never leave */
    bool stopping;
    _Atomic bool takes;        /* connections of other shards; they look at it */
    struct http_listener listeners[HTTP_LISTENERS_MAX];
    unsigned listener_count;
};

/* Boot. */
void http_server_init(struct http_server *server, const struct http_options *options);
/*
 * The TSA shard's: opens the listeners, each by itself alone, and accepts; `bound_out` has a place
 * for each. 0, or a negative errno with the listener that failed in `reason_out`; then those that
 * were opened before it stay open.
 */
MUST_USE int http_server_start(struct http_server *server, struct endpoint *bound_out,
                               struct buf *reason_out);
/* Another configuration is in force, with as many listeners at the same places: for connections
 * that are open as well. What has begun to be answered is. */
void http_server_set_conf(struct http_server *server, const struct conf *conf);
/* Whether connections of other shards are welcome: not while this one is short of something. */
void http_server_set_takes(struct http_server *server, bool takes);
/*
 * Listeners and connections between requests close, a request that has begun ends. http_server_open
 * falls to 0 when all is over; http_server_cut closes what is left at once, but what a handler owes
 * an answer stays until it has given it.
 */
void http_server_stop(struct http_server *server);
void http_server_cut(struct http_server *server);
/* Nothing of it runs any more; what connections still hold of the allocator goes. */
void http_server_fini(struct http_server *server);
/* Bytes in use. */
uint64_t http_server_memory(const struct http_server *server);
/* Connections, listeners and transfers not yet released. */
uint32_t http_server_open(const struct http_server *server);

#endif
