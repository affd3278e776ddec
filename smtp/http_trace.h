/*
 * Tracers over WebSockets, with KumoMTA's paths and events. On the TSA shard.
 *
 *   GET /api/admin/trace-smtp-server/v1, /api/admin/trace-smtp-client/v1
 *
 * The first message is the filter (smtp/trace_filter.h), within HTTP_TRACE_FILTER_NS; every other
 * one is a violation. When all shards trace, a Diagnostic says so. Then a message for each event:
 *
 *   {"conn_meta":{…}, "payload":"Connected" | "Closed" | {"Read":text} | {"Write":text} |
 *    {"AbbreviatedRead" | "AbbreviatedWrite":{"snippet","len"}} |
 *    {"Diagnostic":{"level","message"}}, "when":time}
 *   {"lost":N}   for events that found no room, since the tracer was too slow
 *
 * It ends with the connection, and with a ping that is not answered (shard/io/http_socket.h).
 */
#ifndef RINGPOST_SMTP_HTTP_TRACE_H
#define RINGPOST_SMTP_HTTP_TRACE_H

#include "shard/io/http_socket.h"
#include "smtp/trace.h"

#define HTTP_TRACE_FILTER_NS (10 * NS_PER_S)
#define HTTP_TRACE_BYTES_MAX (8 * KIB) /* of a filter */

struct http_trace {
    struct http_socket socket;
    struct tracer *tracer;          /* the set's */
    enum trace_side side;
    struct timer timer;             /* until the filter has come */
    bool filtered;                  /* the filter has come */
    bool started;                   /* … and been told that it is obeyed */
    uint8_t message[HTTP_TRACE_BYTES_MAX];
};

/* Boot: TRACERS_MAX of them. */
struct http_trace *http_trace_new(struct boot_pages *pages);
/* What a library holds for those that have not ended: of a process that has. */
void http_trace_fini(struct http_trace *all);

/* Handlers: smtp/http_routes.c. */
void http_trace_server(struct http_exchange *exchange);
void http_trace_client(struct http_exchange *exchange);

#endif
