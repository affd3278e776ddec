#include "bench/sink.h"

#include <errno.h>
#include <stdlib.h>

#include "core/check.h"

/* How soon to accept again when there was no descriptor. */
#define ACCEPT_AGAIN_NS (10 * NS_PER_MS)

/* --- one connection --------------------------------------------------------------------------- */

static void connection_close(struct sink_connection *connection)
{
    shard_timer_clear(connection->sink->shard, &connection->timer);
    stream_close(&connection->stream);
}

static void connection_send(struct sink_connection *connection)
{
    struct buf *replies = &connection->session.replies;
    struct iovec iovec = {.iov_base = replies->data, .iov_len = replies->size};
    stream_send(&connection->stream, &iovec, 1);
}

static enum sink_want connection_feed(struct sink_connection *connection)
{
    struct stream *stream = &connection->stream;
    connection->session.now_ns = connection->sink->shard->now_ns;
    for (;;) {
        struct slice input = stream_input(stream);
        size_t before = input.size;
        enum sink_want want = sink_session_feed(&connection->session, &input);
        stream_consume(stream, before - input.size);
        bool stuck = want == SINK_FLUSH && connection->session.replies.size > 0;
        if (want == SINK_WAIT || want == SINK_CLOSE || stuck) {
            return want;
        }
        if (stream_input(stream).size == 0) {
            return SINK_INPUT;
        }
    }
}

/* Sends what is to be sent, waits when that is wanted, closes when all is over. */
static void connection_go(struct sink_connection *connection, enum sink_want want)
{
    struct sink *sink = connection->sink;
    if (want == SINK_WAIT) {
        uint64_t wait_ns = connection->session.wait_ms * NS_PER_MS;
        shard_timer_set(sink->shard, &connection->timer, wait_ns);
    } else if (connection->session.replies.size > 0) {
        connection_send(connection);
    } else if (want == SINK_CLOSE || connection->stream.end != STREAM_OPEN) {
        connection_close(connection);
    }
}

static void connection_drive(struct sink_connection *connection)
{
    if (stream_sending(&connection->stream) || timer_is_set(&connection->timer)) {
        return;
    }
    connection_go(connection, connection_feed(connection));
}

static void connection_waited(struct timer *timer)
{
    struct sink_connection *connection = CONTAINER_OF(timer, struct sink_connection, timer);
    if (connection->session.replies.size > 0) {
        connection_send(connection);
        return;
    }
    connection_drive(connection);
}

static void connection_input(struct stream *stream)
{
    connection_drive(CONTAINER_OF(stream, struct sink_connection, stream));
}

/* The final reply went at `ended_ns`, or never will: 0. */
static void connection_note(struct sink_connection *connection, uint64_t ended_ns)
{
    FILE *ledger = connection->sink->ledger;
    struct sink_receipt *receipt = &connection->session.receipt;
    bool due = receipt->due;
    receipt->due = false;
    if (ledger == NULL || !due) {
        return;
    }
    receipt->entry.ended_ns = ended_ns;
    ledger_put_entry(ledger, &receipt->entry);
    struct slice left = slice_make(receipt->rcpts, receipt->rcpts_bytes);
    for (unsigned i = 0; left.size > 0; i++) {
        size_t size = slice_find(left, 0);
        ledger_put_recipient(ledger, i, slice_first(left, size));
        left = slice_skip(left, size + 1);
    }
    ledger_put_end(ledger);
}

static void connection_sent(struct stream *stream, enum stream_end end)
{
    struct sink_connection *connection = CONTAINER_OF(stream, struct sink_connection, stream);
    struct sink *sink = connection->sink;
    buf_reset(&connection->session.replies);
    if (end != STREAM_OPEN) {
        connection_close(connection);
        return;
    }
    if (connection->session.final) {
        connection->session.final = false;
        sink->tally->result->last_ns = sink->shard->now_ns;
        connection_note(connection, sink->shard->now_ns);
    }
    connection_drive(connection);
}

static void connection_connected(struct stream *stream, enum stream_end end)
{
    (void)end;
    CHECK(stream == NULL); /* accepted streams do not connect */
}

static void connection_released(struct stream *stream)
{
    struct sink_connection *connection = CONTAINER_OF(stream, struct sink_connection, stream);
    connection_note(connection, 0);
    list_remove(&connection->link);
    list_push_back(&connection->sink->free, &connection->link);
    connection->sink->open_count--;
}

static const struct stream_user connection_user = {
    .connected = connection_connected,
    .input = connection_input,
    .sent = connection_sent,
    .released = connection_released,
};

/* --- the listener ----------------------------------------------------------------------------- */

static void sink_take(struct sink *sink, int fd)
{
    struct list *node = list_pop_front(&sink->free);
    CHECK(node != NULL);
    struct sink_connection *connection = CONTAINER_OF(node, struct sink_connection, link);
    list_push_back(&sink->open, &connection->link);
    sink->open_count++;
    stream_accept(&connection->stream, sink->shard, &connection_user, fd);
    if (sink->stopping) {
        connection_close(connection);
        return;
    }
    connection_go(connection, sink_session_begin(&connection->session));
}

static void listener_join(struct sink *sink)
{
    if (sink->stopping && op_idle(&sink->accept_op) && op_idle(&sink->cancel_op) &&
        op_idle(&sink->refuse_op) && op_idle(&sink->close_op) && !sink->listener_closed) {
        ring_close_fd(sink->shard->ring, &sink->close_op, sink->listener);
    }
}

static void refused_closed(struct op *op)
{
    listener_join(CONTAINER_OF(op, struct sink, refuse_op));
}

/* All places are taken. A second one in the same turn is only shut down: its descriptor stays. */
static void sink_refuse(struct sink *sink, int fd)
{
    fprintf(stderr, "event=sink_full connections=%u\n", sink->capacity);
    if (op_idle(&sink->refuse_op)) {
        ring_close_fd(sink->shard->ring, &sink->refuse_op, fd);
    } else {
        ring_shutdown(sink->shard->ring, fd);
    }
}

static void listener_closed(struct op *op)
{
    CONTAINER_OF(op, struct sink, close_op)->listener_closed = true;
}

static void listener_cancelled(struct op *op)
{
    listener_join(CONTAINER_OF(op, struct sink, cancel_op));
}

static void listener_again(struct timer *timer)
{
    struct sink *sink = CONTAINER_OF(timer, struct sink, accept_timer);
    if (op_idle(&sink->accept_op)) {
        ring_accept(sink->shard->ring, &sink->accept_op, sink->listener);
    }
}

static void listener_accepted(struct op *op)
{
    struct sink *sink = CONTAINER_OF(op, struct sink, accept_op);
    bool last = (op->flags & OP_MORE) == 0;
    int32_t result = op->result;
    if (result >= 0 && !list_empty(&sink->free)) {
        sink_take(sink, result);
    } else if (result >= 0) {
        sink_refuse(sink, result);
    }
    if (!last) {
        return;
    }
    if (sink->stopping) {
        listener_join(sink);
    } else if (result == -EMFILE || result == -ENFILE) {
        shard_timer_set(sink->shard, &sink->accept_timer, ACCEPT_AGAIN_NS);
    } else {
        ring_accept(sink->shard->ring, &sink->accept_op, sink->listener);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static bool connections_make(struct sink *sink)
{
    sink->connections = calloc(sink->capacity, sizeof(struct sink_connection));
    if (sink->connections == NULL) {
        return false;
    }
    for (unsigned i = 0; i < sink->capacity; i++) {
        struct sink_connection *connection = &sink->connections[i];
        connection->sink = sink;
        connection->session.rules = sink->rules;
        connection->session.tally = sink->tally;
        connection->session.prng = &sink->shard->prng;
        connection->session.maildir = sink->maildir;
        timer_init(&connection->timer, connection_waited);
        if (!sink_session_init(&connection->session)) {
            return false;
        }
        list_push_back(&sink->free, &connection->link);
    }
    return true;
}

int sink_start(struct sink *sink, struct shard *shard, const struct sink_options *options,
               struct endpoint *bound_out)
{
    CHECK(options->connections > 0 && options->connections <= SINK_CONNECTIONS_MAX);
    *sink = (struct sink){
        .shard = shard,
        .rules = options->rules,
        .tally = options->tally,
        .maildir = options->maildir,
        .ledger = options->ledger,
        .socket = options->socket,
        .capacity = options->connections,
    };
    list_init(&sink->open);
    list_init(&sink->free);
    op_init(&sink->accept_op, listener_accepted);
    op_init(&sink->cancel_op, listener_cancelled);
    op_init(&sink->refuse_op, refused_closed);
    op_init(&sink->close_op, listener_closed);
    timer_init(&sink->accept_timer, listener_again);
    if (!connections_make(sink)) {
        sink_fini(sink);
        return -ENOMEM;
    }
    sink->listener = ring_listen(shard->ring, &options->listen, &sink->socket, bound_out);
    if (sink->listener < 0) {
        sink_fini(sink);
        return sink->listener;
    }
    ring_accept(shard->ring, &sink->accept_op, sink->listener);
    return 0;
}

void sink_stop(struct sink *sink)
{
    if (sink->stopping) {
        return;
    }
    sink->stopping = true;
    shard_timer_clear(sink->shard, &sink->accept_timer);
    ring_cancel(sink->shard->ring, &sink->cancel_op, sink->listener);
    for (unsigned i = 0; i < sink->capacity; i++) {
        if (sink->connections[i].stream.user != NULL) {
            connection_close(&sink->connections[i]);
        }
    }
}

bool sink_stopped(const struct sink *sink)
{
    return sink->stopping && sink->listener_closed && sink->open_count == 0;
}

void sink_fini(struct sink *sink)
{
    for (unsigned i = 0; sink->connections != NULL && i < sink->capacity; i++) {
        if (sink->connections[i].session.check.state != NULL) {
            sink_session_fini(&sink->connections[i].session);
        }
    }
    free(sink->connections);
    sink->connections = NULL;
}
