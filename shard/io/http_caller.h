/*
 * Asks one HTTP server, over one connection that stays open as long as both like it. A request is
 * bytes, the answer is shard/io/http_response.h; or the connection becomes that of another protocol
 * (101), and then its stream is the user's. Names are asked for each time a connection is made, and
 * of several addresses the next one is taken after a failure. "localhost" is this host, whatever
 * DNS says (RFC 6761 6.3).
 *
 *   CLOSED ─► RESOLVING ─► CONNECTING ─► ASKING ─► IDLE ─► ASKING …
 *                                           └─► OPEN (upgraded)
 *   from all of them ─► CLOSING ─► CLOSED
 *
 * One deadline covers all of a request. Everything is on the ring, so that a server that hangs
 * holds up nothing but its own caller, and the simulator is all that a test needs. One thread; no
 * allocation.
 */
#ifndef RINGPOST_SHARD_IO_HTTP_CALLER_H
#define RINGPOST_SHARD_IO_HTTP_CALLER_H

#include "core/url.h"
#include "shard/io/http_response.h"
#include "shard/io/resolver.h"
#include "shard/io/stream.h"

#define HTTP_CALLER_ADDRESSES_MAX 8u
#define HTTP_CALLER_BODY_BYTES    (16 * KIB) /* of an answer; the rest is left out */

struct http_caller;

enum http_call_end {
    HTTP_CALL_ANSWERED, /* `response` is whole, whatever its status */
    HTTP_CALL_UPGRADED, /* `stream` is the user's up to http_caller_close */
    HTTP_CALL_NO_ADDRESS,
    HTTP_CALL_REFUSED,  /* nobody there, or no way there */
    HTTP_CALL_TIMEOUT,
    HTTP_CALL_CUT,      /* the connection has ended before the answer did */
    HTTP_CALL_STALE,    /* the same of one that was idle, before the first byte: to be repeated */
    HTTP_CALL_BAD,      /* no HTTP */
};

enum http_caller_state {
    HTTP_CALLER_CLOSED,
    HTTP_CALLER_RESOLVING,
    HTTP_CALLER_CONNECTING,
    HTTP_CALLER_ASKING,
    HTTP_CALLER_IDLE,
    HTTP_CALLER_OPEN,
    HTTP_CALLER_CLOSING,
};

struct http_caller_user {
    /* Once for each request that is not closed, from the loop: its bytes are the user's again. */
    void (*done)(struct http_caller *caller, enum http_call_end end);
    /* Of an open stream, as in struct stream_user; null of callers that never upgrade. */
    void (*input)(struct http_caller *caller);
    void (*sent)(struct http_caller *caller, enum stream_end end);
};

struct http_caller {
    struct shard *shard;              /* borrowed, like the next ones */
    struct resolver *resolver;
    const struct url *url;
    const struct http_caller_user *user; /* constant */
    enum http_caller_state state;
    enum http_call_end end;           /* told when the stream is released */
    bool owed;                        /* `done` is */
    bool waiting;                     /* a request begins when the stream before is released */
    bool reused;
    bool asking;                      /* the resolver is asked */
    uint64_t timeout_ns;
    struct slice head;                /* of the request, borrowed until done, like the next one */
    struct slice body;
    struct stream stream;
    struct timer timer;
    struct resolver_ask ask;
    unsigned address_count;
    unsigned turn;                    /* of addresses */
    struct endpoint addresses[HTTP_CALLER_ADDRESSES_MAX];
    struct http_response response;
    uint8_t body_bytes[HTTP_CALLER_BODY_BYTES];
};

/* shard, resolver, url and user are set. */
void http_caller_init(struct http_caller *caller);
/*
 * `head` ends with its empty line; both are borrowed until done. No request is under way, and the
 * stream is not open.
 */
void http_caller_ask(struct http_caller *caller, struct slice head, struct slice body,
                     uint64_t timeout_ns);
/* Ends what there is; nothing is told any more. From anywhere, any number of times. */
void http_caller_close(struct http_caller *caller);
/* Nothing is in flight, and there is no connection. */
bool http_caller_closed(const struct http_caller *caller);
/* "timed out" …, for logs; constant. */
const char *http_call_end_name(enum http_call_end end);

#endif
