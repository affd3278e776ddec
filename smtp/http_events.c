#include "smtp/http_events.h"

#include <string.h>

#include "core/check.h"
#include "smtp/node.h"

#define STREAM_BYTES (EVENT_READER_CHUNK_BYTES + EVENT_LOG_FLUSH_BYTES)
#define HEAD_BYTES   (EVENT_OFFSET_TEXT_MAX + 16) /* {"offset":"…", */

#define TYPE SLICE("application/x-ndjson")

static void stream_free(struct event_stream *stream)
{
    struct http_events *events = stream->events;
    list_remove(&stream->watch.link);
    deferred_cancel(&stream->step);
    pool_give(&events->streams, stream);
}

/* Its client has gone, or has all: it goes, when its job is home. */
static void stream_forget(struct event_stream *stream)
{
    stream->exchange = NULL;
    if (event_reader_idle(&stream->reader)) {
        shard_defer(stream->events->shard, &stream->step);
    }
}

/* --- records ---------------------------------------------------------------------------------- */

/* Records begin with their type: {"type":"Delivery", */
static bool is_meant(const struct event_stream *stream, struct slice line)
{
    struct slice start = SLICE("{\"type\":\"");
    if (!stream->typed) {
        return line.size > 1 && line.data[0] == '{';
    }
    struct slice type = slice_from_string(event_type_name(stream->type));
    return slice_starts_with(line, start) &&
           slice_starts_with(slice_skip(line, start.size), type) &&
           line.size > start.size + type.size && line.data[start.size + type.size] == '"';
}

static void rest_put(struct event_stream *stream, struct buf *room)
{
    size_t size = MIN_OF(stream->rest.size, buf_room(room));
    buf_put(room, slice_first(stream->rest, size));
    stream->rest = slice_skip(stream->rest, size);
}

/* As many as there are, and room for. */
static void records_put(struct event_stream *stream, struct buf *room)
{
    struct slice line;
    rest_put(stream, room);
    while (stream->rest.size == 0 && buf_room(room) > HEAD_BYTES &&
           event_reader_line(&stream->reader, &line)) {
        if (is_meant(stream, line)) {
            buf_put(room, SLICE("{\"offset\":\""));
            event_offset_put(room, &stream->reader.place);
            buf_put(room, SLICE("\","));
            stream->rest = slice_skip(line, 1);
            rest_put(stream, room);
        }
    }
}

/* Nothing more is to come. */
static bool is_over(const struct event_stream *stream)
{
    return stream->rest.size == 0 && stream->reader.state == EVENT_READER_END &&
           (!stream->follow || stream->events->stopping);
}

static enum http_fill fill(struct http_exchange *exchange, struct buf *room)
{
    struct event_stream *stream = exchange->user;
    records_put(stream, room);
    if (is_over(stream)) {
        stream_forget(stream);
        return HTTP_FILL_END;
    }
    if (stream->reader.state > EVENT_READER_END && stream->rest.size == 0) {
        stream_forget(stream);
        return HTTP_FILL_CUT;
    }
    return room->size > 0 ? HTTP_FILL_MORE : HTTP_FILL_WAIT;
}

/* --- what happens ----------------------------------------------------------------------------- */

static void client_gone(struct http_exchange *exchange)
{
    struct event_stream *stream = exchange->user;
    if (stream->answered) {
        stream_forget(stream);
    } /* else there is an answer owed, which goes nowhere */
}

static void refuse(struct event_stream *stream, unsigned status, struct slice line)
{
    struct http_exchange *exchange = stream->exchange;
    stream_forget(stream);
    http_answer_text(exchange, status, line);
}

static void begin(struct event_stream *stream)
{
    switch (stream->reader.state) {
    case EVENT_READER_READING:
        return;
    case EVENT_READER_LINES:
    case EVENT_READER_END:
        stream->answered = true;
        if (!http_answer_stream(stream->exchange, 200, TYPE, fill)) {
            stream_forget(stream);
        }
        return;
    case EVENT_READER_GONE:
        refuse(stream, 410, SLICE("from= is older than what is kept"));
        return;
    case EVENT_READER_NOWHERE:
        refuse(stream, 400, SLICE("from= is no offset of a record"));
        return;
    case EVENT_READER_FAILED:
        refuse(stream, 503, SLICE("the event log cannot be read now"));
        return;
    }
}

static void step(struct deferred *deferred)
{
    struct event_stream *stream = CONTAINER_OF(deferred, struct event_stream, step);
    if (stream->exchange == NULL) {
        if (event_reader_idle(&stream->reader)) {
            stream_free(stream);
        }
    } else if (!stream->answered) {
        begin(stream);
    } else {
        http_answer_more(stream->exchange);
    }
}

static void reader_ready(struct event_reader *reader)
{
    struct event_stream *stream = CONTAINER_OF(reader, struct event_stream, reader);
    shard_defer(stream->events->shard, &stream->step);
}

static void log_news(struct event_watch *watch)
{
    struct event_stream *stream = CONTAINER_OF(watch, struct event_stream, watch);
    if (stream->follow && stream->exchange != NULL &&
        stream->reader.state == EVENT_READER_END) {
        event_reader_more(&stream->reader);
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

static const char *take_from(struct http_events *events, struct slice query,
                             struct event_offset *place_out)
{
    uint8_t memory[EVENT_OFFSET_TEXT_MAX];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    switch (http_query_find(query, SLICE("from"), &text)) {
    case HTTP_QUERY_NONE:
        *place_out = event_offset_now(events->ends, events->shard);
        return NULL;
    case HTTP_QUERY_FOUND:
        if (slice_equal(buf_slice(&text), SLICE("start"))) {
            *place_out = (struct event_offset){0};
            return NULL;
        }
        if (event_offset_parse(buf_slice(&text), place_out)) {
            return NULL;
        }
        break;
    case HTTP_QUERY_BAD:
        break;
    }
    return "from= wants an offset, or start";
}

static const char *take_type(struct event_stream *stream, struct slice query)
{
    uint8_t memory[32];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    enum http_query found = http_query_find(query, SLICE("type"), &text);
    stream->typed = found != HTTP_QUERY_NONE;
    if (found == HTTP_QUERY_BAD ||
        (stream->typed && !event_type_parse(buf_slice(&text), &stream->type))) {
        return "type= wants a type of record, such as Delivery";
    }
    return NULL;
}

static const char *take_follow(struct event_stream *stream, struct slice query)
{
    uint8_t memory[8];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    enum http_query found = http_query_find(query, SLICE("follow"), &text);
    stream->follow = found == HTTP_QUERY_FOUND && slice_equal(buf_slice(&text), SLICE("1"));
    if (found == HTTP_QUERY_NONE || stream->follow ||
        (found == HTTP_QUERY_FOUND && slice_equal(buf_slice(&text), SLICE("0")))) {
        return NULL;
    }
    return "follow= wants 0 or 1";
}

static void stream_init(struct event_stream *stream, struct http_events *events,
                        struct http_exchange *exchange)
{
    uint8_t *memory =
        events->memory + (size_t)pool_index(&events->streams, stream) * STREAM_BYTES;
    *stream = (struct event_stream){.events = events, .exchange = exchange};
    stream->reader.shard = events->shard;
    stream->reader.ends = events->ends;
    stream->reader.ready = reader_ready;
    stream->reader.chunk = memory;
    stream->reader.text = memory + EVENT_READER_CHUNK_BYTES;
    stream->watch.news = log_news;
    list_init(&stream->watch.link);
    deferred_init(&stream->step, step);
}

void http_events_follow(struct http_exchange *exchange)
{
    struct http_events *events = &((struct control *)exchange->context)->http_events;
    struct event_stream *stream = events->stopping ? NULL : pool_take(&events->streams);
    struct event_offset place;
    if (stream == NULL) {
        http_answer_text(exchange, 503,
                         events->stopping ? SLICE("the server is stopping")
                                          : SLICE("too many follow the event log"));
        return;
    }
    stream_init(stream, events, exchange);
    const char *fault = take_from(events, exchange->query, &place);
    fault = fault != NULL ? fault : take_type(stream, exchange->query);
    fault = fault != NULL ? fault : take_follow(stream, exchange->query);
    if (fault != NULL) {
        stream_free(stream);
        http_answer_text(exchange, 400, slice_from_string(fault));
        return;
    }
    exchange->user = stream;
    exchange->gone = client_gone;
    event_ends_watch(events->ends, &stream->watch);
    event_reader_start(&stream->reader, &place);
}

void http_events_init(struct http_events *events, struct shard *shard, struct event_ends *ends,
                      struct boot_pages *pages)
{
    events->shard = shard;
    events->ends = ends;
    pool_init(&events->streams,
              boot_pages_take(pages, pool_memory(sizeof(struct event_stream), EVENT_STREAMS_MAX)),
              sizeof(struct event_stream), EVENT_STREAMS_MAX);
    events->memory = boot_pages_take(pages, (uint64_t)EVENT_STREAMS_MAX * STREAM_BYTES);
}

void http_events_stop(struct http_events *events)
{
    if (events->stopping) {
        return;
    }
    events->stopping = true;
    for (uint32_t i = 0; i < events->streams.fresh; i++) {
        if (pool_is_taken(&events->streams, i)) {
            struct event_stream *stream = pool_at(&events->streams, i);
            shard_defer(events->shard, &stream->step);
        }
    }
}

bool http_events_idle(const struct http_events *events)
{
    return events->streams.used == 0;
}
