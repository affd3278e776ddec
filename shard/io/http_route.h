/*
 * What a request may do: who is answered at all, and by which route. No connection, no state.
 *
 * A server on a loopback address is reached by every page that a browser shows on that machine.
 * So Host has to be an address or a name of ours, else a name that somebody let point here
 * (DNS rebinding) speaks for its page; and Origin, which browsers send, has to be that Host (H-17).
 */
#ifndef RINGPOST_SHARD_IO_HTTP_ROUTE_H
#define RINGPOST_SHARD_IO_HTTP_ROUTE_H

#include "core/conf.h"
#include "shard/io/http_codec.h"
#include "shard/io/http_exchange.h"

/* Host is an address, localhost or `hostname`, and Origin is absent or the same origin. */
MUST_USE bool http_host_is_ours(const struct http_head *head, struct slice hostname);
/* What the request says that it carries, of enum http_carries; HTTP_CARRIES_NOTHING: none of it. */
enum http_carries http_type_of(const struct http_head *head);
/* Is that what the route takes? Else 415. */
MUST_USE bool http_type_is_taken(const struct http_head *head, uint8_t carries);

struct http_found {
    const struct http_route *route; /* null: none */
    uint8_t allow;                  /* methods of all routes with that path; 0: there is none */
};

/* By the bytes of the whole path: what would only mean it once decoded or tidied is not found. */
struct http_found http_route_find(const struct http_route *routes, size_t count,
                                  const struct http_head *head);

#endif
