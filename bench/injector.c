#include "bench/injector.h"

#include <errno.h>
#include <stdlib.h>

#include "core/check.h"

#define RECONNECT_NS (50 * NS_PER_MS)
#define OPENS_MAX    128u /* in a turn: rings have an end */
#define PACE_NS_MIN  (200 * NS_PER_US)
#define PACE_NS_MAX  (10 * NS_PER_MS)

static void connection_next(struct injector_connection *connection);

static void note_trouble(struct injector *injector, const char *what, struct slice text)
{
    struct source_result *result = injector->result;
    if (result->trouble[0] == 0) {
        struct buf buf;
        buf_init(&buf, result->trouble, sizeof(result->trouble) - 1);
        buf_put_string(&buf, what);
        buf_put_shown(&buf, text, sizeof(result->trouble) / 2);
    }
}

static uint64_t due_ns(const struct injector *injector, uint64_t request)
{
    return injector->due_start_ns + request * NS_PER_S / injector->options.rate;
}

/* --- asking ----------------------------------------------------------------------------------- */

static void request_send(struct injector_connection *connection)
{
    struct injector *injector = connection->injector;
    struct buf *recipients = &connection->recipients;
    struct buf head;
    buf_reset(recipients);
    for (uint64_t i = 0; i < connection->count; i++) {
        if (i > 0) {
            buf_put_byte(recipients, ',');
        }
        letter_put_recipient(&injector->letter, connection->number + i, recipients);
    }
    buf_put_string(recipients, LETTER_END);
    buf_init(&head, connection->head, sizeof(connection->head));
    buf_put_string(&head, "POST /api/inject/v1 HTTP/1.1\r\nHost: localhost\r\n"
                          "Content-Type: application/json\r\nContent-Length: ");
    buf_put_u64(&head, injector->letter.request.size + recipients->size);
    buf_put_string(&head, "\r\n\r\n");
    CHECK(!recipients->overflow && !head.overflow);
    struct iovec iovecs[] = {{head.data, head.size},
                             {(void *)(uintptr_t)injector->letter.request.data,
                              injector->letter.request.size},
                             {recipients->data, recipients->size}};
    uint64_t now_ns = injector->shard->now_ns;
    if (injector->result->first_ns == 0) {
        injector->result->first_ns = now_ns;
    }
    if (injector->options.rate == 0) {
        connection->timed_ns = now_ns;
    }
    injector->result->envelopes++;
    connection->state = INJECTOR_ASKED;
    connection->sent = true;
    response_begin(&connection->response);
    stream_send(&connection->stream, iovecs, COUNT_OF(iovecs));
}

/* Takes the next recipients on. */
static void request_begin(struct injector_connection *connection)
{
    struct injector *injector = connection->injector;
    const struct injector_options *options = &injector->options;
    connection->begun = true;
    connection->number = options->first + injector->begun;
    connection->count = MIN_OF(options->per_request, options->recipients - injector->begun);
    if (options->rate > 0) {
        connection->timed_ns = due_ns(injector, injector->begun);
    }
    injector->begun += connection->count;
    request_send(connection);
}

static bool more_to_begin(const struct injector *injector)
{
    return injector->begun < injector->options.recipients && !injector->giving_up;
}

static void connection_close(struct injector_connection *connection)
{
    shard_timer_clear(connection->injector->shard, &connection->timer);
    if (connection->state == INJECTOR_READY) {
        list_remove(&connection->link);
    }
    connection->state = INJECTOR_AWAY;
    stream_close(&connection->stream);
}

/* A request, the ready list, or the end. */
static void connection_next(struct injector_connection *connection)
{
    struct injector *injector = connection->injector;
    if (connection->begun) {
        request_send(connection);
    } else if (!more_to_begin(injector)) {
        connection_close(connection);
    } else if (injector->options.rate == 0) {
        request_begin(connection);
    } else {
        connection->state = INJECTOR_READY;
        list_push_back(&injector->ready, &connection->link);
    }
}

/* The last request was due: what has found no connection is left out. */
static void injector_leave_rest(struct injector *injector)
{
    injector->result->unsent = injector->options.recipients - injector->begun;
    injector->giving_up = true;
    while (!list_empty(&injector->ready)) {
        struct list *node = injector->ready.next;
        connection_close(CONTAINER_OF(node, struct injector_connection, link));
    }
}

static void injector_ticked(struct pacer *pacer)
{
    struct injector *injector = CONTAINER_OF(pacer, struct injector, pacer);
    uint64_t now_ns = injector->shard->now_ns;
    if (injector->due_start_ns == 0 || injector->giving_up) {
        return;
    }
    while (!list_empty(&injector->ready) && injector->begun < injector->options.recipients &&
           due_ns(injector, injector->begun) <= now_ns) {
        struct list *node = list_pop_front(&injector->ready);
        request_begin(CONTAINER_OF(node, struct injector_connection, link));
    }
    if (due_ns(injector, injector->options.recipients) <= now_ns ||
        injector->begun == injector->options.recipients) {
        injector_leave_rest(injector);
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

static void request_over(struct injector_connection *connection)
{
    connection->begun = false;
    connection->sent = false;
}

static void request_done(struct injector_connection *connection)
{
    struct injector *injector = connection->injector;
    struct source_result *result = injector->result;
    struct response *response = &connection->response;
    uint64_t now_ns = injector->shard->now_ns;
    uint64_t taken = 0;
    if (response->code != 200 || !response_number(response, "success_count", &taken)) {
        result->odd++;
    }
    if (taken < connection->count) {
        note_trouble(injector, "answer ", slice_make(response->body, response->body_bytes));
        result->failed += connection->count - taken;
    }
    result->accepted += taken;
    result->last_ns = now_ns;
    histogram_record(&result->latency, now_ns - MIN_OF(connection->timed_ns, now_ns));
    request_over(connection);
}

/* 503 with a Retry-After: again after that, unless each is sent but once. */
static void request_shed(struct injector_connection *connection)
{
    struct injector *injector = connection->injector;
    injector->result->shed++;
    connection->sent = false;
    if (injector->options.rate > 0) {
        connection->begun = false;
        return;
    }
    injector->result->tempfails += connection->count;
    connection->state = INJECTOR_PAUSE;
    shard_timer_set(injector->shard, &connection->timer,
                    connection->response.retry_after_s * NS_PER_S);
}

static void connection_answered(struct injector_connection *connection)
{
    struct injector *injector = connection->injector;
    const struct response *response = &connection->response;
    injector->alive_ns = injector->shard->now_ns;
    if (response->code == 503 && response->retry_after_s > 0) {
        request_shed(connection);
    } else {
        request_done(connection);
    }
    if (response->close) {
        connection_close(connection);
    } else if (connection->state == INJECTOR_ASKED) {
        connection_next(connection);
    }
}

/* --- the connection --------------------------------------------------------------------------- */

static void connection_lost(struct injector_connection *connection, const char *why)
{
    if (connection->sent) {
        note_trouble(connection->injector, why, SLICE_NONE);
        connection->injector->result->lost += connection->count;
        request_over(connection);
    }
    connection_close(connection);
}

static void connection_input(struct stream *stream)
{
    struct injector_connection *connection =
        CONTAINER_OF(stream, struct injector_connection, stream);
    while (connection->state == INJECTOR_ASKED && stream_input(stream).size > 0 &&
           !stream_sending(stream)) {
        struct slice input = stream_input(stream);
        size_t before = input.size;
        enum response_status status = response_feed(&connection->response, &input);
        stream_consume(stream, before - input.size);
        if (status == RESPONSE_FAULT) {
            connection_lost(connection, "an answer that is no HTTP");
            return;
        }
        if (status == RESPONSE_WHOLE) {
            connection_answered(connection);
        }
    }
    if (connection->state != INJECTOR_AWAY && stream->end != STREAM_OPEN &&
        stream_input(stream).size == 0) {
        connection_lost(connection, "the connection broke");
    }
}

static void connection_open(struct injector_connection *connection)
{
    static const struct endpoint any = {0};
    struct injector *injector = connection->injector;
    connection->state = INJECTOR_CONNECTING;
    stream_connect(&connection->stream, injector->shard, connection->stream.user,
                   &injector->options.connect, &any, &injector->options.socket);
}

static void connection_timer(struct timer *timer)
{
    struct injector_connection *connection =
        CONTAINER_OF(timer, struct injector_connection, timer);
    if (connection->state == INJECTOR_PAUSE) {
        connection_next(connection);
        return;
    }
    connection->injector->result->reconnects++;
    connection_open(connection);
}

static void connection_connected(struct stream *stream, enum stream_end end)
{
    struct injector_connection *connection =
        CONTAINER_OF(stream, struct injector_connection, stream);
    struct injector *injector = connection->injector;
    if (end != STREAM_OPEN) {
        connection_lost(connection, "no connection");
        return;
    }
    injector->stood++;
    if (injector->stood >= injector->options.connections && injector->due_start_ns == 0) {
        injector->due_start_ns = injector->shard->now_ns + NS_PER_MS;
    }
    connection_next(connection);
}

static void connection_sent(struct stream *stream, enum stream_end end)
{
    if (end != STREAM_OPEN) {
        connection_lost(CONTAINER_OF(stream, struct injector_connection, stream),
                        "the connection broke");
        return;
    }
    connection_input(stream);
}

static void connection_done(struct injector_connection *connection)
{
    struct injector *injector = connection->injector;
    if (connection->begun) {
        injector->result->failed += connection->count;
        request_over(connection);
    }
    connection->state = INJECTOR_DONE;
    injector->done_count++;
    if (injector->done_count == injector->options.connections && injector->pacing) {
        pacer_stop(&injector->pacer);
    }
}

/* The stream is gone: is there more to do, and is the server still there? */
static void connection_released(struct stream *stream)
{
    struct injector_connection *connection =
        CONTAINER_OF(stream, struct injector_connection, stream);
    struct injector *injector = connection->injector;
    bool more = !injector->giving_up && (connection->begun || more_to_begin(injector));
    if (more && !injector_stalled(injector, injector->options.retry_ns)) {
        shard_timer_set(injector->shard, &connection->timer, RECONNECT_NS);
        return;
    }
    injector->giving_up = injector->giving_up || more;
    connection_done(connection);
}

static const struct stream_user connection_user = {
    .connected = connection_connected,
    .input = connection_input,
    .sent = connection_sent,
    .released = connection_released,
};

/* --- life ------------------------------------------------------------------------------------- */

static void injector_open(struct deferred *deferred)
{
    struct injector *injector = CONTAINER_OF(deferred, struct injector, opener);
    unsigned end = MIN_OF(injector->opened + OPENS_MAX, injector->options.connections);
    while (injector->opened < end) {
        connection_open(&injector->connections[injector->opened++]);
    }
    if (injector->opened < injector->options.connections) {
        shard_defer(injector->shard, deferred);
    }
}

static bool injector_make(struct injector *injector)
{
    size_t bytes = (size_t)injector->options.per_request * LETTER_RECIPIENT_BYTES_MAX +
                   sizeof(LETTER_END);
    unsigned count = injector->options.connections;
    injector->connections = calloc(count, sizeof(struct injector_connection));
    injector->recipient_bytes = malloc(count * bytes);
    if (injector->connections == NULL || injector->recipient_bytes == NULL ||
        !letter_init(&injector->letter, injector->options.size)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct injector_connection *connection = &injector->connections[i];
        connection->injector = injector;
        connection->stream.user = &connection_user;
        list_init(&connection->link);
        timer_init(&connection->timer, connection_timer);
        buf_init(&connection->recipients, injector->recipient_bytes + i * bytes, bytes);
    }
    return true;
}

int injector_start(struct injector *injector, struct shard *shard,
                   const struct injector_options *options, struct source_result *result)
{
    CHECK(options->connections > 0 && options->connections <= SOURCE_CONNECTIONS_MAX);
    CHECK(options->per_request > 0 && options->per_request <= INJECTOR_REQUEST_MAX);
    CHECK(options->rate == 0 || options->per_request == 1);
    *injector = (struct injector){
        .shard = shard, .options = *options, .result = result, .alive_ns = shard->now_ns};
    deferred_init(&injector->opener, injector_open);
    list_init(&injector->ready);
    histogram_init(&result->latency);
    if (!injector_make(injector)) {
        injector_fini(injector);
        return -ENOMEM;
    }
    if (options->rate > 0) {
        uint64_t interval_ns = MIN_OF(MAX_OF(NS_PER_S / options->rate, PACE_NS_MIN), PACE_NS_MAX);
        int error = pacer_start(&injector->pacer, shard, interval_ns, injector_ticked);
        if (error != 0) {
            injector_fini(injector);
            return error;
        }
        injector->pacing = true;
    }
    injector_open(&injector->opener);
    return 0;
}

bool injector_stalled(const struct injector *injector, uint64_t silent_ns)
{
    return injector->shard->now_ns - injector->alive_ns > silent_ns;
}

void injector_stop(struct injector *injector)
{
    if (injector->stopping) {
        return;
    }
    injector->stopping = true;
    injector->giving_up = true;
    deferred_cancel(&injector->opener);
    for (unsigned i = 0; i < injector->options.connections; i++) {
        struct injector_connection *connection = &injector->connections[i];
        if (i >= injector->opened) {
            connection_done(connection);
        } else if (timer_is_set(&connection->timer) && connection->state == INJECTOR_AWAY) {
            shard_timer_clear(injector->shard, &connection->timer);
            connection_done(connection);
        } else if (connection->state != INJECTOR_AWAY && connection->state != INJECTOR_DONE) {
            connection_lost(connection, "stopped");
        }
    }
}

bool injector_done(const struct injector *injector)
{
    return injector->done_count == injector->options.connections &&
           (!injector->pacing || injector->pacer.stopped);
}

void injector_fini(struct injector *injector)
{
    free(injector->connections);
    free(injector->recipient_bytes);
    letter_fini(&injector->letter);
    injector->connections = NULL;
    injector->recipient_bytes = NULL;
}
