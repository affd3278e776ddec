#include "smtp/server_conn.h"

#include <assert.h>
#include <string.h>

#include "core/check.h"
#include "proxy/proxy_header.h"
#include "smtp/envelope.h"
#include "smtp/queue_of.h"
#include "smtp/server_report.h"
#include "smtp/server_trace.h"

#define PREGREET_NS (20 * NS_PER_MS)
#define DELAY_NS    NS_PER_S
/* How long the last replies may take: a peer that does not read them has no claim on us. */
#define ENDING_NS (10 * NS_PER_S)
/* How long a proxy may take for its header. */
#define PROXY_NS  (5 * NS_PER_S)

static_assert(PROXY_HEADER_BYTES_MAX <= COMMAND_LINE_BYTES_MAX, "a header fits into a line");

static void conn_drive(struct server_conn *conn);
static void conn_disown(struct server_conn *conn);
static void conn_options(struct server_conn *conn);
static void conn_take_header(struct server_conn *conn);

/* --- buffers -------------------------------------------------------------------------------- */

/* Before anything is said. The pool has as many as there may be connections. */
static void buffers_take(struct server_conn *conn)
{
    if (conn->buffers != NULL) {
        return;
    }
    conn->buffers = pool_take(&conn->server->buffers);
    CHECK(conn->buffers != NULL);
    conn->filling = 0;
    buf_init(&conn->replies, conn->buffers->out[0], SERVER_OUT_BYTES);
}

static void buffers_give(struct server_conn *conn)
{
    if (conn->buffers != NULL) {
        pool_give(&conn->server->buffers, conn->buffers);
        conn->buffers = NULL;
        conn->replies = (struct buf){0};
    }
}

/* --- ending --------------------------------------------------------------------------------- */

/* Gives the connection back once nobody holds anything of it. */
static void conn_join(struct server_conn *conn)
{
    if (!conn->released || spill_in_flight(&conn->spill)) {
        return;
    }
    struct server *server = conn->server;
    if (conn->traced != 0) {
        server_trace_end(conn);
    }
    shard_timer_clear(server->shard, &conn->timer);
    deferred_cancel(&conn->resume);
    buffers_give(conn);
    spill_drop(&conn->spill);
    server_report_forget(conn);
    if (conn->host_counted) {
        server_host_give(server->hosts, &conn->peer);
    }
    server_session_fini(&conn->session);
    conf_lease_drop(&conn->lease);
    server_conn_gone(conn);
}

void server_conn_close(struct server_conn *conn)
{
    if (conn->state == CONN_CLOSED) {
        return;
    }
    conn->state = CONN_CLOSED;
    if (conn->ticket != NULL) {
        intake_abandon(conn->ticket);
        conn->ticket = NULL;
    }
    server_report_abandon(conn);
    shard_timer_clear(conn->server->shard, &conn->timer);
    stream_close(&conn->stream);
}

static void conn_flush(struct server_conn *conn)
{
    if (conn->state == CONN_CLOSED || stream_sending(&conn->stream)) {
        return;
    }
    if (conn->replies.size == 0) {
        if (conn->state == CONN_ENDING) {
            server_conn_close(conn);
        } else if (conn->state == CONN_OPEN && conn->line_bytes == 0) {
            buffers_give(conn);
        }
        return;
    }
    const struct iovec iovec = {conn->replies.data, conn->replies.size};
    if (conn->traced != 0) {
        server_trace_write(conn, buf_slice(&conn->replies));
    }
    conn->filling ^= 1;
    buf_init(&conn->replies, conn->buffers->out[conn->filling], SERVER_OUT_BYTES);
    stream_send(&conn->stream, &iovec, 1);
}

static void conn_end(struct server_conn *conn)
{
    conn->state = CONN_ENDING;
    /* What is not read makes the kernel reset the connection, and our last words with it. */
    stream_set_reading(&conn->stream, true);
    shard_timer_set(conn->server->shard, &conn->timer, ENDING_NS);
}

/* Our own last word, e.g. at a timeout. */
static void conn_abort(struct server_conn *conn, struct slice reply)
{
    buffers_take(conn);
    if (buf_room(&conn->replies) >= REPLY_BYTES_MAX) {
        server_session_abort(&conn->session, reply, &conn->replies);
    }
    conn_end(conn);
    conn_flush(conn);
}

/* --- time ----------------------------------------------------------------------------------- */

/* What the server would get back by its going: blocks, or a place that others want. */
static bool conn_is_pressed(const struct server_conn *conn)
{
    return conn->server->stressed &&
           (!conn->options.trusted || conn->session.transaction.envelope != NULL);
}

/* The latest deadline that it may have now. */
static uint64_t conn_latest_ns(const struct server_conn *conn)
{
    uint64_t patience_ns = conn->listener->conf->client_timeout_ns;
    if (conn_is_pressed(conn)) {
        patience_ns = MIN_OF(patience_ns, SERVER_STRESSED_S * NS_PER_S);
    }
    return conn->server->shard->now_ns + patience_ns;
}

/* So much content came. */
static void conn_earn(struct server_conn *conn, size_t bytes)
{
    uint64_t latest_ns = conn_latest_ns(conn);
    uint32_t rate = conn->listener->conf->data_rate_min;
    uint64_t earned_ns = rate > 0 ? bytes * NS_PER_S / rate : latest_ns;
    if (bytes > 0) {
        conn->deadline_ns = MIN_OF(conn->deadline_ns + earned_ns, latest_ns);
    }
}

static void conn_arm(struct server_conn *conn)
{
    uint64_t now_ns = conn->server->shard->now_ns;
    uint64_t left_ns = conn->deadline_ns > now_ns ? conn->deadline_ns - now_ns : 0;
    shard_timer_set(conn->server->shard, &conn->timer, left_ns);
}

/* Has it read nothing since the last look, though we have more to say, and holds input? */
static bool conn_is_deaf(struct server_conn *conn)
{
    bool stuck = stream_sending(&conn->stream) && conn->stream.held_count > 0 &&
                 conn->bytes_out_seen == conn->stream.bytes_out;
    conn->bytes_out_seen = stream_sending(&conn->stream) ? conn->stream.bytes_out : UINT64_MAX;
    return stuck;
}

void server_conn_press(struct server_conn *conn)
{
    uint64_t latest_ns = conn_latest_ns(conn);
    bool deaf = conn_is_deaf(conn);
    if (deaf && overload_is(&conn->server->overload, OVERLOAD_BUFFERS)) {
        counters_add(&conn->server->shard->counters, COUNTER_clients_timed_out, 1);
        server_conn_close(conn);
        return;
    }
    if (conn->state == CONN_OPEN && conn->deadline_ns > latest_ns) {
        conn->deadline_ns = latest_ns;
        conn_arm(conn);
    }
}

void server_conn_set_reading(struct server_conn *conn, bool reading)
{
    if (conn->state != CONN_ENDING && conn->state != CONN_CLOSED) {
        stream_set_reading(&conn->stream, reading);
    }
}

/* The clock of the client stands still while it waits for us. */
static void conn_clock(struct server_conn *conn)
{
    uint64_t now_ns = conn->server->shard->now_ns;
    bool waiting = conn->state == CONN_STORING || conn->state == CONN_SPILLING ||
                   conn->state == CONN_DELAYED;
    if (!waiting && conn->waiting_ns > 0) {
        conn->deadline_ns += now_ns - conn->waiting_ns;
        conn->waiting_ns = 0;
    } else if (waiting && conn->waiting_ns == 0) {
        conn->waiting_ns = now_ns;
    }
}

/* --- storing -------------------------------------------------------------------------------- */

static void conn_answer(struct server_conn *conn, struct slice reply)
{
    spill_drop(&conn->spill);
    server_session_committed(&conn->session, reply, &conn->replies);
    conn->state = CONN_OPEN;
    conn->deadline_ns = conn_latest_ns(conn);
    conn->waiting_ns = 0;
    if (conn->server->stopping) {
        server_session_abort(&conn->session, SLICE("421 4.3.2 Shutting down"), &conn->replies);
        conn_end(conn);
    }
}

static void message_done(void *context, struct slice reply)
{
    struct server_conn *conn = context;
    conn->ticket = NULL;
    server_balance_spent(conn, SERVER_MESSAGE_BYTES);
    conn_answer(conn, reply);
    shard_defer(conn->server->shard, &conn->resume);
}

/* As mail, for those who are in the envelope. */
static void conn_put(struct server_conn *conn, const struct report_rest *rest)
{
    const struct conf_smtp_listener *conf = conn->listener->conf;
    const struct reception reception = {
        .hostname = conf->hostname,
        .hello = server_session_hello(&conn->session),
        .peer = conn->peer,
        .local = conn->local,
        .origin = conn->origin,
        .session = conn->session_id,
        .extended = conn->session.extended,
        .received_header = conf->received_header,
        .trace = conf->trace.supplemental_header ? &conf->trace : NULL,
        .id = rest->has_id ? &rest->id : NULL,
        .others = rest->others,
    };
    const struct intake_owner owner = {.done = message_done, .context = conn};
    struct slice refusal;
    conn->ticket = intake_put(conn->server->intake, &conn->session.transaction, &conn->spill.parts,
                              &reception, &owner, &refusal);
    if (conn->ticket == NULL) {
        conn_answer(conn, refusal);
        return;
    }
    spill_passed(&conn->spill);
}

/* What there was to be logged of it is stored. */
static void conn_put_rest(struct server_conn *conn, const struct report_rest *rest)
{
    uint8_t text[INTAKE_REPLY_BYTES];
    struct buf reply;
    if (conn->session.transaction.recipient_count > 0) {
        conn_put(conn, rest);
        return;
    }
    buf_init(&reply, text, sizeof(text));
    intake_put_reply(&reply, rest->id, rest->others);
    conn_answer(conn, buf_slice(&reply));
}

void server_conn_reported(struct server_conn *conn, const struct report_rest *rest,
                          enum spool_status status)
{
    if (status == SPOOL_STORED) {
        conn_put_rest(conn, rest);
    } else {
        conn_answer(conn, intake_refusal(status));
    }
    shard_defer(conn->server->shard, &conn->resume);
}

static void conn_store(struct server_conn *conn)
{
    struct report_rest rest;
    struct slice refusal;
    conn->state = CONN_STORING;
    switch (server_report_begin(conn, &rest, &refusal)) {
    case SERVER_REPORT_MAIL:
        conn_put_rest(conn, &rest);
        return;
    case SERVER_REPORT_STORING:
        return;
    case SERVER_REPORT_REFUSED:
        conn_answer(conn, refusal);
        return;
    }
    CHECK(false);
}

/* The content is still read to its end, where the message is refused. */
static void spill_failed(struct server_conn *conn)
{
    struct content *content = &conn->session.transaction.content;
    if (conn->session.state == SERVER_COMMITTING) {
        conn_answer(conn, SLICE("452 4.3.1 Insufficient system storage"));
    } else if (content->fault == CONTENT_OK) {
        content->fault = CONTENT_NO_MEMORY;
    }
}

static void piece_done(struct spill *spill, bool kept)
{
    struct server_conn *conn = CONTAINER_OF(spill, struct server_conn, spill);
    if (conn->state == CONN_CLOSED) {
        conn_join(conn);
        return;
    }
    conn->state = CONN_OPEN;
    if (!kept) {
        spill_failed(conn);
    }
    shard_defer(conn->server->shard, &conn->resume);
}

/* --- feeding -------------------------------------------------------------------------------- */

/* Adds bytes of the stream to the incomplete line, up to a line end. False when none came. */
static bool line_grow(struct server_conn *conn)
{
    struct slice input = stream_input(&conn->stream);
    size_t count = slice_find(input, '\n');
    bool whole = count < input.size;
    count = MIN_OF(count + whole, COMMAND_LINE_BYTES_MAX - conn->line_bytes);
    if (count == 0) {
        return false;
    }
    memcpy(conn->buffers->line + conn->line_bytes, input.data, count);
    conn->line_bytes += (uint32_t)count;
    conn->line_whole = whole || conn->line_bytes == COMMAND_LINE_BYTES_MAX;
    stream_consume(&conn->stream, count);
    return true;
}

static enum want conn_feed(struct server_conn *conn, struct slice *input)
{
    const struct server_session *session = &conn->session;
    bool content = session->transaction.content_begun || session->state == SERVER_BDAT;
    size_t bytes = input->size;
    struct buf view = conn->replies;
    view.capacity -= REPLY_BYTES_MAX;
    enum want want = conn->traced != 0 ? server_trace_feed(conn, input, &view)
                                       : server_session_feed(&conn->session, input, &view);
    CHECK(!view.overflow);
    server_balance_spent(conn, bytes - input->size);
    bool answered = view.size > conn->replies.size;
    conn->replies.size = view.size;
    if (content && session->transaction.content_begun) {
        conn_earn(conn, bytes - input->size); /* the replies to chunks give nothing more */
    } else if (answered) {
        conn->deadline_ns = conn_latest_ns(conn);
    } else if (content) {
        conn_earn(conn, bytes - input->size);
    }
    return want;
}

/* One feed. False when there is nothing to feed. */
static bool feed_once(struct server_conn *conn, enum want *want_out)
{
    if (conn->line_bytes > 0) {
        if (!conn->line_whole && !line_grow(conn)) {
            return false;
        }
        uint8_t *line = conn->buffers->line;
        struct slice rest = slice_make(line, conn->line_bytes);
        *want_out = conn_feed(conn, &rest);
        memmove(line, rest.data, rest.size);
        conn->line_bytes = (uint32_t)rest.size;
        conn->line_whole = conn->line_whole && *want_out != WANT_INPUT;
        return true;
    }
    struct slice input = stream_input(&conn->stream);
    if (input.size == 0) {
        return false;
    }
    struct slice rest = input;
    *want_out = conn_feed(conn, &rest);
    stream_consume(&conn->stream, input.size - rest.size);
    if (*want_out == WANT_INPUT && rest.size > 0) {
        return line_grow(conn);
    }
    return true;
}

static enum server_host conn_count_host(struct server_conn *conn)
{
    enum server_host host =
        server_host_take(conn->server->hosts, &conn->peer,
                         conn->listener->conf->connections_per_host_max,
                         conn->server->shard->now_ns);
    conn->host_counted = host == SERVER_HOST_TAKEN;
    if (!conn->host_counted) {
        counters_add(&conn->server->shard->counters, COUNTER_refused_host, 1);
    }
    return host;
}

static struct slice host_refusal(enum server_host host)
{
    return host == SERVER_HOST_MANY
               ? SLICE("421 4.7.0 Too many connections from your address")
               : SLICE("421 4.7.0 Too many new connections from your address");
}

/* It speaks for another client from now on (XCLIENT). False: that one has too many connections. */
static bool conn_introduce(struct server_conn *conn)
{
    const struct xclient_params *client = &conn->session.client;
    if (conn->host_counted) {
        server_host_give(conn->server->hosts, &conn->peer);
        conn->host_counted = false;
    }
    if (conn->origin.port == 0) {
        conn->origin = conn->peer;
    }
    if (client->has_address) {
        conn->peer = (struct endpoint){.port = 0};
        memcpy(conn->peer.address, client->client.address, sizeof(conn->peer.address));
    }
    conn->peer.port = client->has_port ? client->client.port : conn->peer.port;
    if (client->has_local_address) {
        memcpy(conn->local.address, client->local.address, sizeof(conn->local.address));
    }
    conn->local.port = client->has_local_port ? client->local.port : conn->local.port;
    conn_options(conn);
    enum server_host host = conn->options.trusted ? SERVER_HOST_TAKEN : conn_count_host(conn);
    if (host != SERVER_HOST_TAKEN) {
        server_session_abort(&conn->session, host_refusal(host), &conn->replies);
        conn_end(conn);
        return false;
    }
    server_session_introduced(&conn->session, &conn->replies);
    return true;
}

/* What the session wants beside input. False: the connection has to wait for something. */
static bool conn_want(struct server_conn *conn, enum want want)
{
    switch (want) {
    case WANT_INPUT:
        return true;
    case WANT_COMMIT:
        if (spill_last(&conn->spill, &conn->session.transaction.content)) {
            conn->state = CONN_SPILLING;
        } else {
            conn_store(conn);
        }
        return conn->state == CONN_OPEN;
    case WANT_SPILL:
        if (!server_report_keep(conn)) {
            content_drop(&conn->session.transaction.content);
            conn->session.transaction.content.fault = CONTENT_NO_MEMORY;
            return true;
        }
        conn->state = CONN_SPILLING;
        spill_begin(&conn->spill, &conn->session.transaction.content);
        return false;
    case WANT_OUTPUT:
        return false;
    case WANT_CLIENT:
        return conn_introduce(conn);
    case WANT_DELAY:
        conn->state = CONN_DELAYED;
        shard_timer_set(conn->server->shard, &conn->timer, DELAY_NS);
        return false;
    case WANT_CLOSE:
        conn_end(conn);
        return false;
    }
    CHECK(false);
}

/*
 * Pieces of a body that was refused, or reset by the client. Looked for after every feed: the
 * transaction in hand may be another one already, whose body they must not become.
 */
static void drop_strays(struct server_conn *conn)
{
    const struct transaction *transaction = &conn->session.transaction;
    bool spilled =
        transaction->content_begun && transaction->content.size > transaction->content.body.size;
    if (conn->spill.parts.size > 0 && !spilled) {
        spill_drop(&conn->spill);
    }
    if (!spilled) {
        server_report_forget(conn);
    }
}

/*
 * It is to go to another shard: what comes next is read there, if it is little enough to go along.
 * Replies go out before.
 */
static bool conn_departs(struct server_conn *conn)
{
    bool can = server_session_is_between(&conn->session) && !conn->server->stopping &&
               conn->stream.end == STREAM_OPEN && conn->stream.held_count <= 1 &&
               conn->line_bytes + stream_input(&conn->stream).size <= COMMAND_LINE_BYTES_MAX;
    conn->chosen = can && (conn->chosen || server_balance_choose(conn));
    return conn->chosen;
}

/* The only function that starts I/O in the open state. */
static void conn_drive(struct server_conn *conn)
{
    enum want want = WANT_INPUT;
    buffers_take(conn);
    conn_clock(conn);
    if (conn->state == CONN_OPEN && conn->session.state == SERVER_COMMITTING) {
        conn_store(conn); /* the last part is stored */
    }
    bool more = true;
    while (more && conn->state == CONN_OPEN && !conn_departs(conn) && feed_once(conn, &want)) {
        drop_strays(conn);
        more = conn_want(conn, want);
        server_conn_renew(conn);
    }
    server_conn_renew(conn);
    bool ended = conn->stream.end != STREAM_OPEN && stream_input(&conn->stream).size == 0;
    if (ended && (conn->state == CONN_OPEN || conn->stream.end != STREAM_EOF)) {
        if (conn->stream.end != STREAM_EOF) {
            server_conn_close(conn);
            return;
        }
        conn_end(conn);
    }
    if (conn->state == CONN_OPEN && conn->server->stopping) {
        server_conn_stop(conn);
    }
    conn_clock(conn);
    if (conn->state == CONN_OPEN) {
        conn_arm(conn);
    }
    conn_flush(conn);
    if (conn->state == CONN_OPEN && conn->chosen && !stream_sending(&conn->stream)) {
        conn->state = CONN_LEAVING;
        conn->chosen = false;
        stream_detach(&conn->stream);
    }
}

static void conn_resume(struct deferred *deferred)
{
    struct server_conn *conn = CONTAINER_OF(deferred, struct server_conn, resume);
    if (conn->state != CONN_CLOSED) {
        conn_drive(conn);
    }
}

static void conn_greet(struct server_conn *conn)
{
    bool early = stream_input(&conn->stream).size > 0 || conn->line_bytes > 0;
    buffers_take(conn);
    conn->state = CONN_OPEN;
    conn->deadline_ns = conn_latest_ns(conn);
    (void)conn_want(conn, server_session_greet(&conn->session, early, &conn->replies));
    conn_drive(conn);
}

/* It does not go to another shard after all. */
static void conn_stay(struct server_conn *conn)
{
    conn->state = CONN_OPEN;
    stream_attach(&conn->stream);
}

/* --- events --------------------------------------------------------------------------------- */

static void conn_timer(struct timer *timer)
{
    struct server_conn *conn = CONTAINER_OF(timer, struct server_conn, timer);
    if (conn->state == CONN_LEAVING) {
        conn_stay(conn);
    }
    switch (conn->state) {
    case CONN_PROXY:
        conn_disown(conn);
        return;
    case CONN_PREGREET:
        conn_greet(conn);
        return;
    case CONN_OPEN:
        counters_add(&conn->server->shard->counters, COUNTER_clients_timed_out, 1);
        conn_abort(conn, overload_is(&conn->server->overload, OVERLOAD_READING)
                             ? SLICE("421 4.3.2 Insufficient memory")
                             : SLICE("421 4.4.2 Timed out waiting for you"));
        return;
    case CONN_DELAYED:
        conn->state = CONN_OPEN;
        conn_drive(conn);
        return;
    case CONN_STORING:
    case CONN_SPILLING:
        /* The spool has its own deadline and always answers. */
    case CONN_LEAVING:
        return;
    case CONN_ENDING:
        server_conn_close(conn);
        return;
    case CONN_CLOSED:
    case CONN_AWAY:
        return;
    }
}

static void conn_input(struct stream *stream)
{
    struct server_conn *conn = CONTAINER_OF(stream, struct server_conn, stream);
    if (conn->state == CONN_ENDING || conn->state == CONN_CLOSED) {
        stream_consume(stream, stream_input(stream).size);
        return;
    }
    if (conn->state == CONN_PROXY) {
        conn_take_header(conn);
        return;
    }
    bool broken = conn->stream.end > STREAM_EOF && conn->state != CONN_LEAVING;
    if (conn->state == CONN_OPEN || broken) {
        conn_drive(conn);
    }
}

static void conn_sent(struct stream *stream, enum stream_end end)
{
    struct server_conn *conn = CONTAINER_OF(stream, struct server_conn, stream);
    if (end != STREAM_OPEN) {
        server_conn_close(conn);
        return;
    }
    conn_drive(conn);
}

/* What has come and was not read goes along, in the buffer for lines; false: it is too much. */
static bool conn_pack(struct server_conn *conn)
{
    struct slice input = stream_input(&conn->stream);
    while (input.size > 0 && conn->line_bytes + input.size <= COMMAND_LINE_BYTES_MAX) {
        buffers_take(conn);
        memcpy(conn->buffers->line + conn->line_bytes, input.data, input.size);
        conn->line_bytes += (uint32_t)input.size;
        conn->line_whole = true;
        stream_consume(&conn->stream, input.size);
        input = stream_input(&conn->stream);
    }
    return input.size == 0;
}

/* Nothing is in flight: it goes, unless it has ended, has said too much, or nobody takes it. */
static void conn_detached(struct stream *stream)
{
    struct server_conn *conn = CONTAINER_OF(stream, struct server_conn, stream);
    struct shard *shard = conn->server->shard;
    conn->state = CONN_AWAY;
    shard_timer_clear(shard, &conn->timer);
    deferred_cancel(&conn->resume);
    if (stream->end != STREAM_OPEN || !conn_pack(conn) || !server_balance_send(conn)) {
        conn_stay(conn);
        shard_defer(shard, &conn->resume);
    }
}

static void conn_released(struct stream *stream)
{
    struct server_conn *conn = CONTAINER_OF(stream, struct server_conn, stream);
    conn->released = true;
    conn_join(conn);
}

static const struct stream_user conn_user = {
    .input = conn_input,
    .sent = conn_sent,
    .detached = conn_detached,
    .released = conn_released,
};

/* --- beginning ------------------------------------------------------------------------------ */

static void conn_rejected(void *context, struct slice command, struct slice reply)
{
    struct server_conn *conn = context;
    struct slice envelope = transaction_envelope(&conn->session.transaction);
    struct rejection rejection = {
        .peer = conn->peer,
        .local = conn->local,
        .origin = conn->origin,
        .session = conn->session_id,
        .hello = server_session_hello(&conn->session),
        .command = command,
        .reply = reply,
    };
    struct envelope_cursor cursor;
    if (envelope.size > 0 && !envelope_open(envelope, &rejection.sender, &cursor)) {
        rejection.sender = SLICE_NONE;
    }
    event_tap_reject(conn->server->events, &rejection);
}

static struct verdict conn_sender(void *context, const struct address *sender, uint64_t size_bytes)
{
    struct server_conn *conn = context;
    (void)sender;
    return server_sender_verdict(conn->server, size_bytes);
}

static struct verdict conn_recipient(void *context, const struct address *recipient)
{
    return server_report_recipient(context, recipient);
}

static const struct server_policy conn_policy = {
    .sender = conn_sender,
    .recipient = conn_recipient,
    .rejected = conn_rejected,
};

/* The options in force, for its peer. */
static void conn_options(struct server_conn *conn)
{
    const struct server *server = conn->server;
    const struct conf_smtp_listener *conf = conn->listener->conf;
    conf_lease_move(&conn->lease, server->lease);
    conn->options = (struct server_options){
        .hostname = conf->hostname,
        .banner = conf->banner,
        .message_bytes_max = conf->message_bytes_max,
        .recipients_max = conf->recipients_max,
        .messages_max = conf->messages_max,
        .received_max = RECEIVED_FIELDS_MAX,
        .labels = server->conf->queues.labels,
        .header_names = &server->conf->log.headers,
        .xclient = networks_contain(conf->xclient_hosts, conf->xclient_host_count, &conn->speaker),
        .trusted = networks_contain(conf->relay_hosts, conf->relay_host_count, &conn->peer),
        .policy = &conn_policy,
        .policy_context = conn,
    };
}

void server_conn_renew(struct server_conn *conn)
{
    if (conn->lease != conn->server->lease && !server_session_in_transaction(&conn->session)) {
        conn_options(conn);
    }
}

static void conn_init(struct server_conn *conn, struct server *server,
                      const struct server_listener *listener)
{
    *conn = (struct server_conn){.server = server, .listener = listener, .fresh = -1};
    list_init(&conn->link);
    timer_init(&conn->timer, conn_timer);
    deferred_init(&conn->resume, conn_resume);
    spill_init(&conn->spill, server->intake, server->blocks, piece_done);
}

static void conn_begin(struct server_conn *conn, struct server *server,
                       const struct server_listener *listener, int fd)
{
    const struct socket_options sockets = {.congestion = server->conf->node.congestion};
    conn_init(conn, server, listener);
    int error = ring_accepted(server->shard->ring, fd, &sockets, &conn->peer, &conn->local);
    if (error < 0) {
        /* The client has gone already: the first receive will say so. */
        conn->peer = (struct endpoint){0};
    }
    conn->speaker = conn->peer;
    conn->session_id = id_next(server->intake->ids, server->shard->wall_ns);
    conn_options(conn);
    server_session_init(&conn->session, &conn->options, server->blocks,
                        &server->hashes[pool_index(&server->conns, conn)]);
    stream_accept(&conn->stream, server->shard, &conn_user, fd);
}

static void conn_refuse(struct server_conn *conn, struct slice reply)
{
    buffers_take(conn);
    (void)server_session_refuse(&conn->session, reply, &conn->replies);
    conn_end(conn);
    conn_flush(conn);
}

void server_conn_refuse(struct server_conn *conn, struct server *server,
                        const struct server_listener *listener, int fd, struct slice reply)
{
    conn_begin(conn, server, listener, fd);
    server_trace_begin(conn, true);
    conn->refusal = true;
    conn_refuse(conn, reply);
}

/* It is known who the client is. */
static void conn_admit(struct server_conn *conn)
{
    struct server *server = conn->server;
    server_trace_begin(conn, true);
    if (conn->options.trusted) {
        conn_greet(conn);
        return;
    }
    enum server_host host = conn_count_host(conn);
    if (host != SERVER_HOST_TAKEN) {
        conn_refuse(conn, host_refusal(host));
        return;
    }
    conn->state = CONN_PREGREET;
    shard_timer_set(server->shard, &conn->timer, PREGREET_NS);
}

void server_conn_open(struct server_conn *conn, struct server *server,
                      const struct server_listener *listener, int fd)
{
    conn_begin(conn, server, listener, fd);
    if (networks_contain(listener->conf->proxies, listener->conf->proxy_count, &conn->peer)) {
        conn->state = CONN_PROXY;
        shard_timer_set(server->shard, &conn->timer, PROXY_NS);
        return;
    }
    conn_admit(conn);
}

/* --- proxies ---------------------------------------------------------------------------------- */

/* What it said is no header of the PROXY protocol: it gets no answer, for it is no client. */
static void conn_disown(struct server_conn *conn)
{
    counters_add(&conn->server->shard->counters, COUNTER_refused_proxy, 1);
    server_conn_close(conn);
}

/* What has come is gathered in the buffer for lines; what is behind the header stays there. */
static void conn_take_header(struct server_conn *conn)
{
    struct proxy_header header;
    enum proxy_parse parse = PROXY_MORE;
    buffers_take(conn);
    uint8_t *line = conn->buffers->line;
    while (parse == PROXY_MORE && stream_input(&conn->stream).size > 0) {
        struct slice input = stream_input(&conn->stream);
        size_t count = MIN_OF(input.size, COMMAND_LINE_BYTES_MAX - conn->line_bytes);
        memcpy(line + conn->line_bytes, input.data, count);
        conn->line_bytes += (uint32_t)count;
        stream_consume(&conn->stream, count);
        parse = proxy_header_parse(slice_make(line, conn->line_bytes), &header);
    }
    if (parse == PROXY_BAD || (parse == PROXY_MORE && conn->stream.end != STREAM_OPEN)) {
        conn_disown(conn);
        return;
    }
    if (parse == PROXY_MORE) {
        return;
    }
    conn->line_bytes -= (uint32_t)header.bytes;
    conn->line_whole = conn->line_bytes > 0;
    memmove(line, line + header.bytes, conn->line_bytes);
    if (header.has_addresses) {
        conn->origin = conn->peer;
        conn->peer = header.source;
        conn->local = header.destination;
        conn->speaker = conn->peer;
        conn_options(conn);
    }
    conn_admit(conn);
}

/* --- from shard to shard ---------------------------------------------------------------------- */

void server_conn_carry(struct server_conn *conn, struct server *server,
                       const struct server_listener *listener, int fd)
{
    conn_init(conn, server, listener);
    conn->state = CONN_AWAY;
    conn->fresh = fd;
}

/* The session of `from` is between two transactions, and goes on as if nothing had been. */
static void conn_adopt(struct server_conn *conn, struct server_conn *from)
{
    struct server *server = conn->server;
    conn->state = CONN_OPEN;
    conn->host_counted = from->host_counted;
    conn->deadline_ns = from->deadline_ns;
    conn->peer = from->peer;
    conn->local = from->local;
    conn->speaker = from->speaker;
    conn->origin = from->origin;
    conn->session_id = from->session_id;
    conn_options(conn); /* what is in force here, whatever is there by now */
    server_session_adopt(&conn->session, &from->session, &conn->options, server->blocks,
                         &server->hashes[pool_index(&server->conns, conn)]);
    server_trace_begin(conn, false);
    if (from->line_bytes > 0) {
        buffers_take(conn);
        memcpy(conn->buffers->line, from->buffers->line, from->line_bytes);
        conn->line_bytes = from->line_bytes;
        conn->line_whole = from->line_whole;
    }
    stream_accept(&conn->stream, server->shard, &conn_user, stream_leave(&from->stream));
    shard_defer(server->shard, &conn->resume);
}

void server_conn_receive(struct server_conn *conn, struct server *server,
                         struct server_conn *from)
{
    /* Every shard has the same listeners. */
    const struct server_listener *listener =
        &server->listeners[from->listener - from->server->listeners];
    struct counters *counters = &server->shard->counters;
    if (from->fresh >= 0) {
        counters_add(counters, COUNTER_clients_placed, 1);
        server_conn_open(conn, server, listener, from->fresh);
    } else {
        counters_add(counters, COUNTER_clients_moved, 1);
        conn_init(conn, server, listener);
        conn_adopt(conn, from);
    }
}

void server_conn_return(struct server_conn *conn)
{
    struct server *server = conn->server;
    if (conn->fresh >= 0) {
        server_conn_open(conn, server, conn->listener, conn->fresh);
    } else {
        conn_stay(conn);
        /* Nobody has told it: it was none of those that are open. */
        server_conn_set_reading(conn, !overload_is(&server->overload, OVERLOAD_READING));
        shard_defer(server->shard, &conn->resume);
    }
    if (server->cut) {
        server_conn_close(conn);
    } else if (server->stopping) {
        server_conn_stop(conn);
    }
}

void server_conn_left(struct server_conn *conn)
{
    buffers_give(conn);
    conf_lease_drop(&conn->lease);
    pool_give(&conn->server->conns, conn);
}

void server_conn_stop(struct server_conn *conn)
{
    if (conn->state == CONN_LEAVING) {
        conn_stay(conn);
    }
    switch (conn->state) {
    case CONN_PROXY:
    case CONN_PREGREET:
    case CONN_DELAYED:
        break;
    case CONN_OPEN:
        if (conn->session.transaction.content_begun) {
            return;
        }
        break;
    case CONN_STORING:
    case CONN_SPILLING:
    case CONN_LEAVING:
    case CONN_ENDING:
    case CONN_CLOSED:
    case CONN_AWAY:
        return;
    }
    conn_abort(conn, SLICE("421 4.3.2 Shutting down"));
}
