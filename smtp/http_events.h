/*
 * GET /api/events/v1?from=OFFSET&type=T&follow=1: the records of the event log as NDJSON, each with
 * its "offset" before the other members. TSA shard.
 *
 *   from     the records behind the one with this offset; "start": all there are; without it: those
 *            from now on
 *   type     only records of this type
 *   follow   1: no end, but that of the client or of the server
 *
 * A record is shown once it stands in its file, durably; offsets outlive a restart. 410 when the
 * file of the offset has been removed; when that happens later the connection ends in the middle of
 * its chunks, and who comes again hears it. A slow reader holds one frame of the log.
 */
#ifndef RINGPOST_SMTP_HTTP_EVENTS_H
#define RINGPOST_SMTP_HTTP_EVENTS_H

#include "core/event.h"
#include "core/pool.h"
#include "shard/boot.h"
#include "shard/io/http_exchange.h"
#include "tsa/event_reader.h"

#define EVENT_STREAMS_MAX 8u

struct http_events;

struct event_stream {
    struct event_reader reader;
    struct http_events *events;
    struct http_exchange *exchange; /* null: the client has gone */
    struct event_watch watch;
    struct deferred step;
    bool follow;
    bool answered;                  /* the stream has begun */
    bool typed;                     /* only records of `type` */
    enum event_type type;
    struct slice rest;              /* of a record: what there was no room for */
};

struct http_events {
    struct shard *shard;            /* borrowed, like the next one */
    struct event_ends *ends;
    struct pool streams;
    uint8_t *memory;                /* of the readers; touched as needed */
    bool stopping;
};

/* Boot. */
void http_events_init(struct http_events *events, struct shard *shard, struct event_ends *ends,
                      struct boot_pages *pages);
/* Streams end with what they have read. */
void http_events_stop(struct http_events *events);
/* There are none. */
bool http_events_idle(const struct http_events *events);

/* Handler: smtp/http_routes.c. */
void http_events_follow(struct http_exchange *exchange);

#endif
