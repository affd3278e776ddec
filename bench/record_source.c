#include "bench/record_source.h"

#include "core/check.h"
#include "shard/shard.h"

static void note_trouble(struct record_source *source, const char *what, struct slice text)
{
    struct record_source_result *result = source->result;
    if (result->trouble[0] == 0) {
        struct buf buf;
        buf_init(&buf, result->trouble, sizeof(result->trouble) - 1);
        buf_put_string(&buf, what);
        buf_put_shown(&buf, text, sizeof(result->trouble) / 2);
    }
}

static void lost(struct record_source_connection *connection, const char *why)
{
    note_trouble(connection->source, why, SLICE_NONE);
    stream_close(&connection->stream);
}

/* The next request, or the end. */
static void connection_next(struct record_source_connection *connection)
{
    struct record_source *source = connection->source;
    const struct record_source_options *options = &source->options;
    struct buf head;
    if (source->begun == options->requests || source->result->trouble[0] != 0) {
        stream_close(&connection->stream);
        return;
    }
    struct slice body = options->batches[source->begun++ % options->batch_count];
    buf_init(&head, connection->head, sizeof(connection->head));
    buf_put_string(&head, "POST /publish_log_v2 HTTP/1.1\r\nHost: localhost\r\n"
                          "Content-Type: application/x-ndjson\r\nContent-Length: ");
    buf_put_u64(&head, body.size);
    buf_put_string(&head, "\r\n\r\n");
    CHECK(!head.overflow);
    struct iovec iovecs[] = {{head.data, head.size}, {(void *)(uintptr_t)body.data, body.size}};
    connection->asked = true;
    connection->asked_ns = source->shard->now_ns;
    if (source->result->first_ns == 0) {
        source->result->first_ns = connection->asked_ns;
    }
    response_begin(&connection->response);
    stream_send(&connection->stream, iovecs, COUNT_OF(iovecs));
}

static void connection_answered(struct record_source_connection *connection)
{
    struct record_source *source = connection->source;
    struct record_source_result *result = source->result;
    const struct response *response = &connection->response;
    uint64_t accepted = 0;
    if (response->code != 200 || !response_number(response, "accepted", &accepted) ||
        accepted != source->options.batch_records || response->close) {
        note_trouble(source, "answer ", slice_make(response->body, response->body_bytes));
    }
    result->accepted += accepted;
    result->last_ns = source->alive_ns = source->shard->now_ns;
    histogram_record(&result->latency, result->last_ns - connection->asked_ns);
    connection->asked = false;
    connection_next(connection);
}

static void connection_input(struct stream *stream)
{
    struct record_source_connection *connection =
        CONTAINER_OF(stream, struct record_source_connection, stream);
    while (connection->asked && stream_input(stream).size > 0 && !stream_sending(stream)) {
        struct slice input = stream_input(stream);
        size_t before = input.size;
        enum response_status status = response_feed(&connection->response, &input);
        stream_consume(stream, before - input.size);
        if (status == RESPONSE_FAULT) {
            lost(connection, "an answer that is no HTTP");
            return;
        }
        if (status == RESPONSE_WHOLE) {
            connection_answered(connection);
        }
    }
    if (stream->end != STREAM_OPEN && !stream->closing && stream_input(stream).size == 0) {
        lost(connection, "the connection broke");
    }
}

static void connection_connected(struct stream *stream, enum stream_end end)
{
    struct record_source_connection *connection =
        CONTAINER_OF(stream, struct record_source_connection, stream);
    if (end != STREAM_OPEN) {
        lost(connection, "no connection");
        return;
    }
    connection_next(connection);
}

static void connection_sent(struct stream *stream, enum stream_end end)
{
    if (end != STREAM_OPEN) {
        lost(CONTAINER_OF(stream, struct record_source_connection, stream), "the connection broke");
        return;
    }
    connection_input(stream);
}

static void connection_released(struct stream *stream)
{
    CONTAINER_OF(stream, struct record_source_connection, stream)->source->released++;
}

static const struct stream_user connection_user = {
    .connected = connection_connected,
    .input = connection_input,
    .sent = connection_sent,
    .released = connection_released,
};

void record_source_start(struct record_source *source, struct shard *shard,
                         const struct record_source_options *options,
                         struct record_source_result *result)
{
    static const struct endpoint any = {0};
    CHECK(options->connections > 0 && options->connections <= RECORD_SOURCE_CONNECTIONS_MAX);
    *source = (struct record_source){
        .shard = shard, .options = *options, .result = result, .alive_ns = shard->now_ns};
    histogram_init(&result->latency);
    for (unsigned i = 0; i < options->connections; i++) {
        struct record_source_connection *connection = &source->connections[i];
        connection->source = source;
        stream_connect(&connection->stream, shard, &connection_user, &options->connect, &any,
                       &options->socket);
    }
}

bool record_source_done(const struct record_source *source)
{
    return source->released == source->options.connections;
}

void record_source_look(struct record_source *source, uint64_t silent_ns)
{
    if (source->shard->now_ns - source->alive_ns <= silent_ns) {
        return;
    }
    note_trouble(source, "the server says nothing", SLICE_NONE);
    for (unsigned i = 0; i < source->options.connections; i++) {
        stream_close(&source->connections[i].stream);
    }
}
