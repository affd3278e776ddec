/*
 * All events, whatever they are, end in conn_drive: it feeds the dialogue, tells the user what it
 * has to know, sends what may be sent, and sets the one deadline anew when there was progress.
 * Bytes of a reply that is not whole are no progress: who drips them has the step's timeout all
 * the same.
 *
 * Calls of the user only change state and ask for a drive in the deferred step of this turn, so
 * that no callback ever comes from inside them.
 */
#include "smtp/client_conn.h"

#include "core/check.h"

/* How long a peer that takes no more bytes may go on speaking: its last words say why. */
#define LAST_WORDS_NS (1 * NS_PER_S)

/* Events told in one go; messages refused without a word to the server could go on without end. */
#define DRIVE_ROUNDS_MAX 32

static void conn_drive(struct client_conn *conn);

/* --- for who watches -------------------------------------------------------------------------- */

static void tell(struct client_conn *conn, enum trace_kind kind, struct slice text, uint64_t bytes)
{
    if (conn->traced != 0) {
        conn->user->said(conn, kind, text, bytes);
    }
}

/* Commands, and content behind them. */
static void tell_output(struct client_conn *conn, const struct iovec *iovecs, unsigned count)
{
    unsigned first = conn->out.size > 0;
    uint64_t bytes = 0;
    if (conn->out.size > 0) {
        conn->user->said(conn, TRACE_WRITE, buf_slice(&conn->out), 0);
    }
    for (unsigned i = first; i < count; i++) {
        bytes += iovecs[i].iov_len;
    }
    if (bytes > 0) {
        struct slice text = slice_make(iovecs[first].iov_base,
                                       MIN_OF(iovecs[first].iov_len, (size_t)TRACE_SNIPPET_MAX));
        size_t line = MIN_OF(slice_find(text, '\n') + 1, text.size);
        conn->user->said(conn, TRACE_WRITE_CONTENT, slice_first(text, line), bytes);
    }
}

/* --- end -------------------------------------------------------------------------------------- */

static void conn_end(struct client_conn *conn)
{
    CHECK(conn->session.transaction == NULL);
    conn->closing = true;
    shard_timer_clear(conn->shard, &conn->timer);
    deferred_cancel(&conn->drive);
    stream_close(&conn->stream);
}

static void conn_released(struct stream *stream)
{
    struct client_conn *conn = CONTAINER_OF(stream, struct client_conn, stream);
    tell(conn, TRACE_CLOSED, SLICE_NONE, 0);
    conn->user->released(conn, conn->session.end);
}

/* --- connect ---------------------------------------------------------------------------------- */

static const char *connect_failure(enum stream_end end)
{
    switch (end) {
    case STREAM_REFUSED:
        return "connection refused";
    case STREAM_UNREACHABLE:
        return "host unreachable";
    case STREAM_TIMEOUT:
        return "connect timed out";
    case STREAM_UNPLUMBED:
        return "the source address is none of this host";
    case STREAM_LOCAL:
        return "no socket";
    case STREAM_OPEN:
    case STREAM_EOF:
    case STREAM_RESET:
        break;
    }
    return "connection reset";
}

static void conn_not_connected(struct client_conn *conn, enum stream_end end)
{
    uint8_t text[160];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    buf_put(&buf, SLICE("Ringpost internal: "));
    buf_put_string(&buf, connect_failure(end));
    buf_put(&buf, SLICE(": "));
    endpoint_put(&buf, &conn->peer);
    conn->connect_end = end;
    tell(conn, TRACE_DIAGNOSTIC, buf_slice(&buf), 0);
    client_session_break(&conn->session, CLIENT_END_CONNECT, "no connection");
    reply_set(&conn->session.failure, 400, (const uint8_t[3]){0}, buf_slice(&buf));
    conn_end(conn);
}

static void conn_connected(struct stream *stream, enum stream_end end)
{
    struct client_conn *conn = CONTAINER_OF(stream, struct client_conn, stream);
    if (conn->closing) {
        return;
    }
    if (end != STREAM_OPEN) {
        conn_not_connected(conn, end);
        return;
    }
    conn->connected = true;
    struct endpoint local;
    if (ring_local(conn->shard->ring, stream->fd, &local) == 0) {
        conn->source = local;
    }
    tell(conn, TRACE_CONNECTED, SLICE_NONE, 0);
    conn_drive(conn);
}

/* --- drive ------------------------------------------------------------------------------------ */

static void conn_feed(struct client_conn *conn)
{
    struct slice input = stream_input(&conn->stream);
    while (input.size > 0) {
        struct slice before = input;
        client_session_feed(&conn->session, &input);
        if (conn->traced != 0 && before.size > input.size) {
            tell(conn, TRACE_READ, slice_first(before, before.size - input.size), 0);
        }
        stream_consume(&conn->stream, before.size - input.size);
        if (input.size > 0) {
            return; /* surplus, or it has to wait */
        }
        input = stream_input(&conn->stream);
    }
    if (conn->stream.end != STREAM_OPEN) {
        const char *cause = conn->stream.end == STREAM_EOF ? "connection closed by the peer"
                                                           : "connection lost";
        tell(conn, TRACE_DIAGNOSTIC, slice_from_string(cause), 0);
        client_session_break(&conn->session, CLIENT_END_BROKEN, cause);
    }
}

static void conn_tell_done(struct client_conn *conn)
{
    struct client_transaction *transaction = conn->session.transaction;
    transaction->done_ns = conn->shard->now_ns;
    client_session_finish(&conn->session);
    conn->transactions++;
    conn->part_told = false;
    conn->idle_told = false;
    conn->user->done(conn, transaction);
}

static void conn_tell_idle(struct client_conn *conn)
{
    conn->idle_told = true;
    conn->greeted = true;
    conn->idle_since_ns = conn->shard->now_ns;
    conn->user->idle(conn);
}

/* Out of time for recipients: the batch is split (C-19). */
static void conn_hurry(struct client_conn *conn)
{
    const struct client_transaction *transaction = conn->session.transaction;
    uint64_t budget_ns = conn->session.options->envelope_budget_ns;
    if (conn->session.state == CLIENT_ENVELOPE && budget_ns > 0 && transaction->mail_sent_ns > 0 &&
        conn->shard->now_ns - transaction->mail_sent_ns >= budget_ns) {
        client_session_hurry(&conn->session);
    }
}

/* Starts a send when there is something to send; true when the user gave a part meanwhile. */
static bool conn_send(struct client_conn *conn)
{
    struct client_session *session = &conn->session;
    if (stream_sending(&conn->stream) || session->send_failed) {
        return false;
    }
    struct iovec iovecs[RING_IOVECS_MAX];
    buf_init(&conn->out, conn->out_bytes, sizeof(conn->out_bytes));
    unsigned count = client_session_output(session, &conn->out, iovecs);
    struct client_transaction *transaction = session->transaction;
    if (transaction != NULL && transaction->sent && transaction->mail_sent_ns == 0) {
        transaction->mail_sent_ns = conn->shard->now_ns;
    }
    if (count > 0) {
        if (conn->traced != 0) {
            tell_output(conn, iovecs, count);
        }
        stream_send(&conn->stream, iovecs, count);
        return false;
    }
    if (!session->part_wanted || conn->part_told) {
        return false;
    }
    conn->part_told = true;
    conn->user->need_part(conn, session->body.part);
    return !session->part_wanted;
}

/* Changes exactly when something has been sent or a reply has been taken. */
static uint64_t progress(const struct client_conn *conn)
{
    const struct client_session *session = &conn->session;
    return (uint64_t)session->state | (uint64_t)session->expected_first << 8 |
           (uint64_t)session->expected_count << 16 | (uint64_t)session->send_failed << 24 |
           (uint64_t)stream_sending(&conn->stream) << 25 |
           (uint64_t)conn->idle_told << 26 | (uint64_t)conn->transactions << 32;
}

static void conn_arm(struct client_conn *conn)
{
    uint64_t mark = progress(conn);
    uint64_t bytes = conn->stream.bytes_out;
    if (mark == conn->progress_mark && bytes == conn->progress_bytes &&
        timer_is_set(&conn->timer)) {
        return;
    }
    conn->progress_mark = mark;
    conn->progress_bytes = bytes;
    bool sending = stream_sending(&conn->stream);
    uint64_t after_ns = client_session_timeout_ns(&conn->session, sending);
    if (conn->session.send_failed) {
        after_ns = LAST_WORDS_NS;
    }
    if (after_ns == 0) {
        shard_timer_clear(conn->shard, &conn->timer);
    } else {
        shard_timer_set(conn->shard, &conn->timer, after_ns);
    }
}

/* The only function that starts I/O while the connection is open. */
static void conn_drive(struct client_conn *conn)
{
    struct client_session *session = &conn->session;
    bool again = true;
    for (unsigned round = 0; again; round++) {
        if (round == DRIVE_ROUNDS_MAX) {
            shard_defer(conn->shard, &conn->drive);
            break;
        }
        again = false;
        if (conn->connected) {
            conn_feed(conn);
        }
        if (session->state == CLIENT_OVER) {
            conn_tell_done(conn);
            again = true;
        } else if (session->state == CLIENT_ENDED) {
            conn_end(conn);
            return;
        } else if (!conn->connected) {
            return;
        } else if (session->state == CLIENT_READY && !conn->idle_told) {
            conn_tell_idle(conn);
            again = true;
        } else {
            conn_hurry(conn);
            again = session->state == CLIENT_OVER || conn_send(conn);
        }
    }
    conn_arm(conn);
}

static void conn_deferred(struct deferred *deferred)
{
    struct client_conn *conn = CONTAINER_OF(deferred, struct client_conn, drive);
    if (!conn->closing) {
        conn_drive(conn);
    }
}

/* --- events ----------------------------------------------------------------------------------- */

static void conn_input(struct stream *stream)
{
    struct client_conn *conn = CONTAINER_OF(stream, struct client_conn, stream);
    if (!conn->closing) {
        conn_drive(conn);
    }
}

static void conn_sent(struct stream *stream, enum stream_end end)
{
    struct client_conn *conn = CONTAINER_OF(stream, struct client_conn, stream);
    if (conn->closing) {
        return;
    }
    if (end == STREAM_OPEN) {
        client_session_sent(&conn->session);
    } else {
        client_session_send_failed(&conn->session);
    }
    conn_drive(conn);
}

/* It does not go away before it has said good-bye. */
static void conn_stay(struct client_conn *conn)
{
    if (conn->detaching) {
        client_conn_attach(conn);
    }
}

static void conn_timeout(struct timer *timer)
{
    struct client_conn *conn = CONTAINER_OF(timer, struct client_conn, timer);
    struct client_session *session = &conn->session;
    if (!conn->connected) {
        conn_not_connected(conn, STREAM_TIMEOUT);
        return;
    }
    conn_stay(conn);
    if (list_linked(&conn->drive.link)) {
        /* It was given something to do in this turn: what the deadline was for is over. */
    } else if (session->state == CLIENT_READY) {
        client_session_quit(session);
    } else if (session->send_failed) {
        client_session_break(session, CLIENT_END_BROKEN, "connection lost");
    } else if (conn->stream.bytes_out == conn->progress_bytes) {
        client_session_break(session, CLIENT_END_TIMEOUT, "timeout");
    }
    conn_drive(conn);
}

/* Not when a reply has begun, or the dialogue went on meanwhile. */
static void conn_detached(struct stream *stream)
{
    struct client_conn *conn = CONTAINER_OF(stream, struct client_conn, stream);
    bool idle = conn->session.state == CLIENT_READY && stream->end == STREAM_OPEN &&
                stream_input(stream).size == 0 && !reply_parser_midway(&conn->session.parser);
    if (!idle) {
        client_conn_attach(conn);
        conn->idle_told = false;
        return;
    }
    shard_timer_clear(conn->shard, &conn->timer);
    deferred_cancel(&conn->drive);
    conn->user->detached(conn);
}

static const struct stream_user stream_user = {
    .connected = conn_connected,
    .input = conn_input,
    .sent = conn_sent,
    .detached = conn_detached,
    .released = conn_released,
};

/* --- calls of the user ------------------------------------------------------------------------ */

void client_conn_open(struct client_conn *conn, struct shard *shard,
                      const struct client_user *user, const struct client_target *target)
{
    conn->user = user;
    conn->shard = shard;
    conn->peer = target->peer;
    conn->source = target->source;
    conn->id = target->session;
    conn->connect_end = STREAM_OPEN;
    conn->connected = false;
    conn->greeted = false;
    conn->idle_told = false;
    conn->part_told = false;
    conn->closing = false;
    conn->detaching = false;
    conn->idle_since_ns = 0;
    conn->opened_ns = shard->now_ns;
    conn->progress_mark = 0;
    conn->progress_bytes = 0;
    conn->transactions = 0;
    client_session_init(&conn->session, target->options);
    timer_init(&conn->timer, conn_timeout);
    deferred_init(&conn->drive, conn_deferred);
    shard_timer_set(shard, &conn->timer, target->options->connect_timeout_ns);
    const struct socket_options options = {.congestion = target->congestion};
    stream_connect(&conn->stream, shard, &stream_user, &conn->peer, &conn->source, &options);
}

bool client_conn_is_idle(const struct client_conn *conn)
{
    return !conn->closing && !conn->detaching && conn->idle_told &&
           conn->session.state == CLIENT_READY;
}

void client_conn_send(struct client_conn *conn, struct client_transaction *transaction)
{
    CHECK(client_conn_is_idle(conn));
    bool careful = conn->shard->now_ns - conn->idle_since_ns >= CLIENT_CAREFUL_NS;
    client_session_begin(&conn->session, transaction, careful);
    shard_defer(conn->shard, &conn->drive);
}

void client_conn_part(struct client_conn *conn, const struct chain *chain)
{
    /* The dialogue may have ended while the part was being read. */
    if (conn->closing || !conn->session.part_wanted) {
        return;
    }
    conn->part_told = false;
    client_session_give_part(&conn->session, chain);
    shard_defer(conn->shard, &conn->drive);
}

bool client_conn_may_detach(const struct client_conn *conn)
{
    return client_conn_is_idle(conn) && !stream_sending(&conn->stream);
}

void client_conn_detach(struct client_conn *conn)
{
    CHECK(client_conn_may_detach(conn));
    conn->detaching = true;
    stream_detach(&conn->stream);
}

void client_conn_attach(struct client_conn *conn)
{
    CHECK(conn->detaching && !conn->closing);
    conn->detaching = false;
    stream_attach(&conn->stream);
    shard_defer(conn->shard, &conn->drive);
}

void client_conn_adopt(struct client_conn *conn, struct shard *shard,
                       const struct client_user *user, const struct client_options *options,
                       struct client_conn *from)
{
    conn->user = user;
    conn->shard = shard;
    conn->peer = from->peer;
    conn->source = from->source;
    conn->id = from->id;
    conn->session = from->session;
    conn->session.options = options;
    conn->connect_end = STREAM_OPEN;
    conn->connected = true;
    conn->greeted = true;
    conn->idle_told = true;
    conn->part_told = false;
    conn->closing = false;
    conn->detaching = false;
    /* The clocks of two shards, each read once a turn, may differ by a turn. */
    conn->idle_since_ns = MIN_OF(from->idle_since_ns, shard->now_ns);
    conn->opened_ns = from->opened_ns;
    conn->progress_mark = 0;
    conn->progress_bytes = 0;
    conn->transactions = from->transactions;
    timer_init(&conn->timer, conn_timeout);
    deferred_init(&conn->drive, conn_deferred);
    stream_accept(&conn->stream, shard, &stream_user, stream_leave(&from->stream));
    shard_defer(shard, &conn->drive);
}

void client_conn_close(struct client_conn *conn)
{
    if (conn->closing) {
        return;
    }
    conn_stay(conn);
    client_session_quit(&conn->session);
    shard_defer(conn->shard, &conn->drive);
}

void client_conn_cut(struct client_conn *conn)
{
    if (conn->closing) {
        return;
    }
    conn_stay(conn);
    client_session_break(&conn->session, CLIENT_END_CLOSED, "cut off");
    shard_defer(conn->shard, &conn->drive);
}
