/*
 * An attempt is one server, by UDP and perhaps by TCP after that. It ends by exchange_leave, which
 * says what comes next; when the last operation is home and the descriptor closed exchange_go does
 * that. Between two attempts nothing is in flight but defer_op, so that an end never comes inside
 * the call that caused it.
 *
 *   RESTING ──► UDP ──► LEAVING ──► RESTING         the next server
 *                          ├──────► UDP              the same one, without EDNS
 *                          ├──────► TCP ──► LEAVING …
 *                          └──────► done
 *
 * The message that is the answer stays where it came (a provided buffer, or `tcp`) until everything
 * is closed, and is read a second time then: the memory for what was read is shared by all
 * exchanges of the shard.
 */
#include "shard/io/dns_exchange.h"

#include <arpa/nameser.h>
#include <errno.h>

#include "core/check.h"

#define PREFIX_BYTES 2
#define STARVED_NS   NS_PER_MS /* how long to wait for provided buffers to come home */

static void exchange_go(struct dns_exchange *exchange);
static void exchange_leave(struct dns_exchange *exchange, enum dns_exchange_next next);
static void query_send(struct dns_exchange *exchange);

static unsigned server_index(const struct dns_exchange *exchange)
{
    return (exchange->first + exchange->begun - 1) % exchange->servers->count;
}

static const struct endpoint *server_of(const struct dns_exchange *exchange)
{
    return &exchange->servers->servers[server_index(exchange)];
}

/* --- the end ---------------------------------------------------------------------------------- */

static void message_read(struct dns_exchange *exchange, struct slice message,
                         struct dns_answer *answer_out)
{
    struct buf memory;
    buf_init(&memory, exchange->servers->memory, DNS_ANSWER_BYTES_MAX);
    bool is_answer =
        dns_answer_read(message, &exchange->question, exchange->id, &memory, answer_out);
    CHECK(is_answer);
    answer_out->secure =
        answer_out->secure && exchange->servers->trusted[server_index(exchange)];
}

static struct slice message_held(const struct dns_exchange *exchange)
{
    const uint8_t *data = exchange->by_tcp
                              ? exchange->tcp
                              : ring_buffer(exchange->shard->ring, exchange->buffer);
    return slice_make(data, exchange->size);
}

/* After `done` the struct is the caller's again: what is given back later is noted before. */
static void exchange_finish(struct dns_exchange *exchange)
{
    struct ring *ring = exchange->shard->ring;
    struct metered *metered = exchange->servers->metered;
    bool holds = exchange->holds;
    uint16_t buffer = exchange->buffer;
    uint8_t *tcp = exchange->tcp;
    struct dns_answer answer = {.status = exchange->trouble,
                                .type = exchange->question.type,
                                .rcode = exchange->trouble_rcode,
                                .left_out = exchange->trouble_left_out};
    if (exchange->cancelled) {
        answer.status = DNS_BUSY;
    } else if (exchange->next == DNS_EXCHANGE_NEXT_ANSWER) {
        exchange->servers->first = server_index(exchange);
        message_read(exchange, message_held(exchange), &answer);
    }
    exchange->done(exchange, &answer);
    if (holds) {
        ring_buffer_give(ring, buffer);
    }
    metered_give(metered, tcp);
}

/* --- trouble ---------------------------------------------------------------------------------- */

/* What a person should hear of several: that a server said no beats that nobody said anything. */
static unsigned weight(enum dns_status status)
{
    switch (status) {
    case DNS_OK:
    case DNS_NO_NAME:
    case DNS_NO_DATA:
        return 0;
    case DNS_TIMEOUT:
        return 1;
    case DNS_BAD_ANSWER:
        return 2;
    case DNS_FAILED:
        return 3;
    case DNS_BUSY:
        return 4;
    }
    return 0;
}

static void trouble_note(struct dns_exchange *exchange, const struct dns_answer *answer)
{
    if (weight(answer->status) >= weight(exchange->trouble)) {
        exchange->trouble = answer->status;
        exchange->trouble_rcode = answer->rcode;
        exchange->trouble_left_out = answer->left_out;
    }
}

static void attempt_failed(struct dns_exchange *exchange, enum dns_status status)
{
    exchange->servers->counts.timeouts += status == DNS_TIMEOUT;
    exchange->servers->counts.failures += status != DNS_TIMEOUT;
    trouble_note(exchange, &(struct dns_answer){.status = status});
    exchange_leave(exchange, DNS_EXCHANGE_NEXT_SERVER);
}

/* Nothing of ours is left to ask with: another server would not help. */
static void exchange_short(struct dns_exchange *exchange)
{
    exchange->trouble = DNS_BUSY;
    exchange_leave(exchange, DNS_EXCHANGE_NEXT_END);
}

static bool error_is_ours(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS ||
           error == -EAGAIN || error == -EADDRINUSE;
}

/* --- leaving ---------------------------------------------------------------------------------- */

static void closed(struct op *op)
{
    struct dns_exchange *exchange = CONTAINER_OF(op, struct dns_exchange, close_op);
    exchange->fd = -1;
    exchange_go(exchange);
}

/* Goes on with leaving UDP when the last operation has come home. */
static void udp_join(struct dns_exchange *exchange)
{
    struct ring *ring = exchange->shard->ring;
    bool busy = !op_idle(&exchange->recv_op) || !op_idle(&exchange->send_op);
    if (!op_idle(&exchange->cancel_op) || !op_idle(&exchange->close_op)) {
        return;
    }
    if (busy && !exchange->has_cancelled) {
        exchange->has_cancelled = true;
        ring_cancel(ring, &exchange->cancel_op, exchange->fd);
    }
    if (busy) {
        return;
    }
    ring_close_fd(ring, &exchange->close_op, exchange->fd);
}

static void cancel_done(struct op *op)
{
    udp_join(CONTAINER_OF(op, struct dns_exchange, cancel_op));
}

static void exchange_rest(struct dns_exchange *exchange)
{
    exchange->state = DNS_EXCHANGE_RESTING;
    ring_defer(exchange->shard->ring, &exchange->defer_op);
}

static void exchange_leave(struct dns_exchange *exchange, enum dns_exchange_next next)
{
    enum dns_exchange_state state = exchange->state;
    if (state == DNS_EXCHANGE_LEAVING) {
        return;
    }
    exchange->next = next;
    shard_timer_clear(exchange->shard, &exchange->timeout);
    shard_timer_clear(exchange->shard, &exchange->retry_timer);
    switch (state) {
    case DNS_EXCHANGE_UDP:
        exchange->state = DNS_EXCHANGE_LEAVING;
        udp_join(exchange);
        break;
    case DNS_EXCHANGE_TCP:
        exchange->state = DNS_EXCHANGE_LEAVING;
        stream_close(&exchange->stream);
        break;
    case DNS_EXCHANGE_RESTING:
        if (op_idle(&exchange->defer_op)) {
            exchange_rest(exchange);
        }
        break;
    case DNS_EXCHANGE_LEAVING:
        break;
    }
}

static void timed_out(struct timer *timer)
{
    attempt_failed(CONTAINER_OF(timer, struct dns_exchange, timeout), DNS_TIMEOUT);
}

void dns_exchange_cancel(struct dns_exchange *exchange)
{
    exchange->cancelled = true;
    exchange_leave(exchange, DNS_EXCHANGE_NEXT_END);
}

/* --- an answer -------------------------------------------------------------------------------- */

/*
 * Judges a message. True: it stays, for it is the answer. `cut`: it may have been longer than what
 * could be received.
 */
static bool message_judge(struct dns_exchange *exchange, struct slice message, bool cut)
{
    struct buf memory;
    struct dns_answer answer;
    buf_init(&memory, exchange->servers->memory, DNS_ANSWER_BYTES_MAX);
    if (!dns_answer_read(message, &exchange->question, exchange->id, &memory, &answer)) {
        exchange->servers->counts.ignored++;
        exchange->ignored++;
        if (exchange->by_tcp || exchange->ignored == DNS_IGNORED_MAX) {
            attempt_failed(exchange, DNS_BAD_ANSWER);
        }
        return false;
    }
    if (!exchange->by_tcp && (answer.truncated || cut)) {
        exchange_leave(exchange, DNS_EXCHANGE_NEXT_TCP);
        return false;
    }
    if (answer.truncated) { /* by TCP, where nothing need be */
        attempt_failed(exchange, DNS_BAD_ANSWER);
        return false;
    }
    if (answer.rcode == ns_r_formerr && !exchange->plain) {
        exchange->servers->plain_until_ns[server_index(exchange)] =
            exchange->shard->now_ns + DNS_PLAIN_NS;
        exchange_leave(exchange, DNS_EXCHANGE_NEXT_PLAIN);
        return false;
    }
    if (answer.status > DNS_NO_DATA) {
        exchange->servers->counts.failures++;
        trouble_note(exchange, &answer);
        exchange_leave(exchange, DNS_EXCHANGE_NEXT_SERVER);
        return false;
    }
    exchange->size = (uint32_t)message.size;
    exchange_leave(exchange, DNS_EXCHANGE_NEXT_ANSWER);
    return true;
}

/* --- UDP -------------------------------------------------------------------------------------- */

static void starved_over(struct timer *timer)
{
    struct dns_exchange *exchange = CONTAINER_OF(timer, struct dns_exchange, retry_timer);
    ring_recv(exchange->shard->ring, &exchange->recv_op, exchange->fd);
}

/* The receive has ended while it is still wanted. */
static void receive_again(struct dns_exchange *exchange, int32_t result)
{
    if (result >= 0 || result == -EINTR || result == -EAGAIN || result == -ECANCELED) {
        ring_recv(exchange->shard->ring, &exchange->recv_op, exchange->fd);
    } else if (result == -ENOBUFS) {
        shard_timer_set(exchange->shard, &exchange->retry_timer, STARVED_NS);
    } else {
        attempt_failed(exchange, DNS_FAILED);
    }
}

static void received(struct op *op)
{
    struct dns_exchange *exchange = CONTAINER_OF(op, struct dns_exchange, recv_op);
    struct ring *ring = exchange->shard->ring;
    int32_t result = op->result;
    bool last = op_idle(op);
    if ((op->flags & OP_BUFFER) != 0) {
        uint16_t buffer = op->buffer;
        struct slice message = slice_make(ring_buffer(ring, buffer), (size_t)result);
        bool cut = (uint32_t)result >= ring_buffer_bytes(ring);
        if (exchange->state == DNS_EXCHANGE_UDP && message_judge(exchange, message, cut)) {
            exchange->holds = true;
            exchange->buffer = buffer;
        } else {
            ring_buffer_give(ring, buffer);
        }
    }
    if (exchange->state == DNS_EXCHANGE_LEAVING) {
        udp_join(exchange);
    } else if (last) {
        receive_again(exchange, result);
    }
}

static void query_sent(struct op *op)
{
    struct dns_exchange *exchange = CONTAINER_OF(op, struct dns_exchange, send_op);
    int32_t result = op->result;
    if (exchange->state == DNS_EXCHANGE_LEAVING) {
        udp_join(exchange);
    } else if (result == -EINTR || result == -EAGAIN) {
        query_send(exchange);
    } else if (result == -ENOBUFS || result == -ENOMEM) {
        exchange_short(exchange);
    } else if (result < 0) {
        attempt_failed(exchange, DNS_FAILED);
    }
}

static void query_send(struct dns_exchange *exchange)
{
    exchange->iovec = (struct iovec){.iov_base = exchange->query + PREFIX_BYTES,
                                     .iov_len = exchange->query_bytes};
    ring_send(exchange->shard->ring, &exchange->send_op, exchange->fd, &exchange->iovec, 1);
}

static void query_make(struct dns_exchange *exchange)
{
    struct buf buf;
    ring_entropy(exchange->shard->ring, &exchange->id, sizeof(exchange->id));
    buf_init(&buf, exchange->query + PREFIX_BYTES, DNS_QUERY_BYTES_MAX);
    exchange->plain =
        exchange->shard->now_ns < exchange->servers->plain_until_ns[server_index(exchange)];
    dns_query_put(&buf, &exchange->question, exchange->id, exchange->plain);
    CHECK(!buf.overflow);
    exchange->query_bytes = (uint16_t)buf.size;
    exchange->query[0] = (uint8_t)(buf.size >> 8);
    exchange->query[1] = (uint8_t)buf.size;
}

static void udp_begin(struct dns_exchange *exchange)
{
    int fd = ring_udp(exchange->shard->ring, server_of(exchange));
    if (fd < 0) {
        if (error_is_ours(fd)) {
            exchange_short(exchange);
        } else {
            attempt_failed(exchange, DNS_FAILED);
        }
        return;
    }
    query_make(exchange);
    exchange->fd = fd;
    exchange->state = DNS_EXCHANGE_UDP;
    exchange->has_cancelled = false;
    exchange->by_tcp = false;
    exchange->servers->counts.queries++;
    ring_recv(exchange->shard->ring, &exchange->recv_op, fd);
    query_send(exchange);
    shard_timer_set(exchange->shard, &exchange->timeout, exchange->servers->timeout_ns);
}

/* --- TCP -------------------------------------------------------------------------------------- */

static struct dns_exchange *exchange_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct dns_exchange, stream);
}

static void tcp_ended(struct dns_exchange *exchange, enum stream_end end)
{
    if (end == STREAM_LOCAL) {
        exchange_short(exchange);
    } else {
        attempt_failed(exchange, DNS_FAILED);
    }
}

static void tcp_connected(struct stream *stream, enum stream_end end)
{
    struct dns_exchange *exchange = exchange_of(stream);
    if (end != STREAM_OPEN) {
        tcp_ended(exchange, end);
        return;
    }
    exchange->iovec = (struct iovec){.iov_base = exchange->query,
                                     .iov_len = PREFIX_BYTES + exchange->query_bytes};
    stream_send(stream, &exchange->iovec, 1);
}

static void tcp_sent(struct stream *stream, enum stream_end end)
{
    if (end != STREAM_OPEN) {
        tcp_ended(exchange_of(stream), end);
    }
}

/* The length before the message (RFC 1035 4.2.2), then memory for it. False: it ends here. */
static bool tcp_prefix_take(struct dns_exchange *exchange, uint8_t byte)
{
    exchange->size = exchange->size << 8 | byte;
    exchange->tcp_prefix++;
    if (exchange->tcp_prefix < PREFIX_BYTES) {
        return true;
    }
    if (exchange->size < DNS_HEAD_BYTES) {
        attempt_failed(exchange, DNS_BAD_ANSWER);
        return false;
    }
    exchange->tcp = metered_take(exchange->servers->metered, exchange->size);
    if (exchange->tcp == NULL) {
        exchange_short(exchange);
        return false;
    }
    return true;
}

static void tcp_take(struct dns_exchange *exchange, struct slice bytes)
{
    while (bytes.size > 0 && exchange->tcp_prefix < PREFIX_BYTES) {
        if (!tcp_prefix_take(exchange, bytes.data[0])) {
            return;
        }
        bytes = slice_skip(bytes, 1);
    }
    size_t count = MIN_OF(bytes.size, (size_t)(exchange->size - exchange->tcp_got));
    if (exchange->tcp != NULL && count > 0) {
        memcpy(exchange->tcp + exchange->tcp_got, bytes.data, count);
        exchange->tcp_got += (uint32_t)count;
    }
    if (exchange->tcp != NULL && exchange->tcp_got == exchange->size) {
        (void)message_judge(exchange, slice_make(exchange->tcp, exchange->size), false);
    }
}

static void tcp_input(struct stream *stream)
{
    struct dns_exchange *exchange = exchange_of(stream);
    struct slice input = stream_input(stream);
    while (exchange->state == DNS_EXCHANGE_TCP && input.size > 0) {
        tcp_take(exchange, input);
        if (exchange->state == DNS_EXCHANGE_TCP) { /* closed, it gives all of it back itself */
            stream_consume(stream, input.size);
        }
        input = stream_input(stream);
    }
    if (exchange->state == DNS_EXCHANGE_TCP && stream->end != STREAM_OPEN) {
        tcp_ended(exchange, stream->end);
    }
}

static void tcp_released(struct stream *stream)
{
    exchange_go(exchange_of(stream));
}

static void tcp_begin(struct dns_exchange *exchange)
{
    static const struct stream_user user = {.connected = tcp_connected,
                                            .input = tcp_input,
                                            .sent = tcp_sent,
                                            .released = tcp_released};
    static const struct endpoint any = {0};
    static const struct socket_options options = {.congestion = ""};
    exchange->state = DNS_EXCHANGE_TCP;
    exchange->by_tcp = true;
    exchange->size = 0;
    exchange->tcp_got = 0;
    exchange->tcp_prefix = 0;
    exchange->servers->counts.queries++;
    exchange->servers->counts.streams++;
    query_make(exchange);
    stream_connect(&exchange->stream, exchange->shard, &user, server_of(exchange), &any,
                   &options);
    shard_timer_set(exchange->shard, &exchange->timeout, exchange->servers->timeout_ns);
}

/* --- from attempt to attempt ------------------------------------------------------------------ */

static void attempt_begin(struct dns_exchange *exchange)
{
    const struct dns_servers *servers = exchange->servers;
    if (exchange->begun == servers->attempts * servers->count) {
        exchange->next = DNS_EXCHANGE_NEXT_END;
        exchange_finish(exchange);
        return;
    }
    exchange->begun++;
    exchange->ignored = 0;
    udp_begin(exchange);
}

/* Nothing is in flight. From the loop. */
static void exchange_go(struct dns_exchange *exchange)
{
    exchange->state = DNS_EXCHANGE_RESTING;
    bool ends = exchange->cancelled || exchange->next == DNS_EXCHANGE_NEXT_ANSWER ||
                exchange->next == DNS_EXCHANGE_NEXT_END;
    if (ends) {
        exchange_finish(exchange);
        return;
    }
    metered_give(exchange->servers->metered, exchange->tcp);
    exchange->tcp = NULL;
    if (exchange->next == DNS_EXCHANGE_NEXT_TCP) {
        exchange->next = DNS_EXCHANGE_NEXT_SERVER;
        tcp_begin(exchange);
    } else if (exchange->next == DNS_EXCHANGE_NEXT_PLAIN) {
        exchange->next = DNS_EXCHANGE_NEXT_SERVER;
        udp_begin(exchange);
    } else {
        attempt_begin(exchange);
    }
}

static void rested(struct op *op)
{
    exchange_go(CONTAINER_OF(op, struct dns_exchange, defer_op));
}

void dns_exchange_start(struct dns_exchange *exchange, struct shard *shard,
                        struct dns_servers *servers, const struct dns_question *question,
                        dns_exchange_done *done)
{
    CHECK(servers->count > 0 && servers->attempts > 0);
    exchange->shard = shard;
    exchange->servers = servers;
    exchange->question = *question;
    exchange->done = done;
    exchange->next = DNS_EXCHANGE_NEXT_SERVER;
    exchange->trouble = DNS_TIMEOUT;
    exchange->trouble_rcode = 0;
    exchange->trouble_left_out = 0;
    exchange->begun = 0;
    exchange->first = servers->first % servers->count;
    exchange->cancelled = false;
    exchange->by_tcp = false;
    exchange->holds = false;
    exchange->tcp = NULL;
    exchange->fd = -1;
    op_init(&exchange->recv_op, received);
    op_init(&exchange->send_op, query_sent);
    op_init(&exchange->cancel_op, cancel_done);
    op_init(&exchange->close_op, closed);
    op_init(&exchange->defer_op, rested);
    timer_init(&exchange->timeout, timed_out);
    timer_init(&exchange->retry_timer, starved_over);
    exchange_rest(exchange);
}
