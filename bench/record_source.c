#include "bench/publisher.h"

#include "core/check.h"
#include "shard/shard.h"

static void note_trouble(struct publisher *publisher, const char *what, struct slice text)
{
    struct publisher_result *result = publisher->result;
    if (result->trouble[0] == 0) {
        struct buf buf;
        buf_init(&buf, result->trouble, sizeof(result->trouble) - 1);
        buf_put_string(&buf, what);
        buf_put_shown(&buf, text, sizeof(result->trouble) / 2);
    }
}

static void lost(struct publisher_connection *connection, const char *why)
{
    note_trouble(connection->publisher, why, SLICE_NONE);
    stream_close(&connection->stream);
}

/* The next request, or the end. */
static void connection_next(struct publisher_connection *connection)
{
    struct publisher *publisher = connection->publisher;
    const struct publisher_options *options = &publisher->options;
    struct buf head;
    if (publisher->begun == options->requests || publisher->result->trouble[0] != 0) {
        stream_close(&connection->stream);
        return;
    }
    struct slice body = options->batches[publisher->begun++ % options->batch_count];
    buf_init(&head, connection->head, sizeof(connection->head));
    buf_put_string(&head, "POST /publish_log_v2 HTTP/1.1\r\nHost: localhost\r\n"
                          "Content-Type: application/x-ndjson\r\nContent-Length: ");
    buf_put_u64(&head, body.size);
    buf_put_string(&head, "\r\n\r\n");
    CHECK(!head.overflow);
    struct iovec iovecs[] = {{head.data, head.size}, {(void *)(uintptr_t)body.data, body.size}};
    connection->asked = true;
    connection->asked_ns = publisher->shard->now_ns;
    if (publisher->result->first_ns == 0) {
        publisher->result->first_ns = connection->asked_ns;
    }
    response_begin(&connection->response);
    stream_send(&connection->stream, iovecs, COUNT_OF(iovecs));
}

static void connection_answered(struct publisher_connection *connection)
{
    struct publisher *publisher = connection->publisher;
    struct publisher_result *result = publisher->result;
    const struct response *response = &connection->response;
    uint64_t accepted = 0;
    if (response->code != 200 || !response_number(response, "accepted", &accepted) ||
        accepted != publisher->options.batch_records || response->close) {
        note_trouble(publisher, "answer ", slice_make(response->body, response->body_bytes));
    }
    result->accepted += accepted;
    result->last_ns = publisher->alive_ns = publisher->shard->now_ns;
    histogram_record(&result->latency, result->last_ns - connection->asked_ns);
    connection->asked = false;
    connection_next(connection);
}

static void connection_input(struct stream *stream)
{
    struct publisher_connection *connection =
        CONTAINER_OF(stream, struct publisher_connection, stream);
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
    struct publisher_connection *connection =
        CONTAINER_OF(stream, struct publisher_connection, stream);
    if (end != STREAM_OPEN) {
        lost(connection, "no connection");
        return;
    }
    connection_next(connection);
}

static void connection_sent(struct stream *stream, enum stream_end end)
{
    if (end != STREAM_OPEN) {
        lost(CONTAINER_OF(stream, struct publisher_connection, stream), "the connection broke");
        return;
    }
    connection_input(stream);
}

static void connection_released(struct stream *stream)
{
    CONTAINER_OF(stream, struct publisher_connection, stream)->publisher->released++;
}

static const struct stream_user connection_user = {
    .connected = connection_connected,
    .input = connection_input,
    .sent = connection_sent,
    .released = connection_released,
};

void publisher_start(struct publisher *publisher, struct shard *shard,
                     const struct publisher_options *options, struct publisher_result *result)
{
    static const struct endpoint any = {0};
    CHECK(options->connections > 0 && options->connections <= PUBLISHER_CONNECTIONS_MAX);
    *publisher = (struct publisher){
        .shard = shard, .options = *options, .result = result, .alive_ns = shard->now_ns};
    histogram_init(&result->latency);
    for (unsigned i = 0; i < options->connections; i++) {
        struct publisher_connection *connection = &publisher->connections[i];
        connection->publisher = publisher;
        stream_connect(&connection->stream, shard, &connection_user, &options->connect, &any,
                       &options->socket);
    }
}

bool publisher_done(const struct publisher *publisher)
{
    return publisher->released == publisher->options.connections;
}

void publisher_look(struct publisher *publisher, uint64_t silent_ns)
{
    if (publisher->shard->now_ns - publisher->alive_ns <= silent_ns) {
        return;
    }
    note_trouble(publisher, "the server says nothing", SLICE_NONE);
    for (unsigned i = 0; i < publisher->options.connections; i++) {
        stream_close(&publisher->connections[i].stream);
    }
}
