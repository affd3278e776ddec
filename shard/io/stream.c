/*
 * The slots of a stream and who ends what:
 *
 *   recv    multishot; ends by itself (no buffers, end of stream, error) or by our cancel, and
 *           begins again when the stream is neither ended, paused, starved nor closing
 *   send    connect first, then sends; a short or interrupted one goes on with the rest
 *   cancel  while open: of the receive, to pause; while closing: once, for everything
 *   close   last of all; its callback is the release
 *   defer   tells from the loop what needs no operation: no socket to connect, nothing to detach
 *
 * Every callback looks at `closing` first, and join alone ends a closing stream. User callbacks may
 * close the stream, but its memory stays until `released`, which comes from a callback of its own.
 */
#include "shard/io/stream.h"

#include <errno.h>

#include "core/check.h"
#include "shard/shard.h"

/* How long to wait for provided buffers to come home. */
#define STARVED_NS (1 * NS_PER_MS)

static enum stream_end end_of(int32_t result)
{
    switch (-result) {
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN:
    case ESHUTDOWN:
        return STREAM_RESET;
    case ECONNREFUSED:
        return STREAM_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case EACCES:
    case EPERM:
        return STREAM_UNREACHABLE;
    case ETIMEDOUT:
        return STREAM_TIMEOUT;
    default:
        return STREAM_LOCAL;
    }
}

/* --- input ------------------------------------------------------------------------------------ */

static void stream_receive(struct stream *stream)
{
    bool ended = stream->closing || stream->end != STREAM_OPEN;
    bool waits = stream->connecting || stream->detaching || stream->paused || stream->stopped ||
                 stream->starved;
    if (ended || waits || !op_idle(&stream->recv_op)) {
        return;
    }
    ring_recv(stream->shard->ring, &stream->recv_op, stream->fd);
}

/* Closes the peer's window, or opens it again. */
static void stream_regulate(struct stream *stream)
{
    const struct ring *ring = stream->shard->ring;
    bool few = ring_buffers_held(ring) >= ring_buffer_count(ring) / 4 * 3;
    uint32_t held_max = few ? STREAM_HELD_SHORT : STREAM_HELD_MAX;
    if (stream->held_count > held_max) {
        stream->paused = true;
    } else if (stream->held_count <= held_max / 2) {
        stream->paused = false;
    }
    bool unwanted = stream->paused || stream->stopped || stream->detaching;
    if (unwanted && !op_idle(&stream->recv_op) && op_idle(&stream->cancel_op)) {
        ring_cancel_op(stream->shard->ring, &stream->cancel_op, &stream->recv_op);
    }
    stream_receive(stream);
}

static void stream_hold(struct stream *stream, uint16_t buffer, uint32_t size)
{
    struct ring *ring = stream->shard->ring;
    if (size == 0 || stream->end != STREAM_OPEN) {
        ring_buffer_give(ring, buffer);
        return;
    }
    *ring_buffer_note(ring, buffer) = (struct ring_note){.size = size};
    if (stream->held_count == 0) {
        stream->held_first = buffer;
    } else {
        ring_buffer_note(ring, stream->held_last)->next = buffer;
    }
    stream->held_last = buffer;
    stream->held_count += 1;
    stream->bytes_in += size;
}

/* Gives the first held buffer back. */
static void stream_drop(struct stream *stream)
{
    uint16_t buffer = stream->held_first;
    stream->held_first = ring_buffer_note(stream->shard->ring, buffer)->next;
    ring_buffer_give(stream->shard->ring, buffer);
    stream->held_count -= 1;
}

struct slice stream_input(const struct stream *stream)
{
    if (stream->held_count == 0) {
        return SLICE_NONE;
    }
    struct ring *ring = stream->shard->ring;
    const struct ring_note *note = ring_buffer_note(ring, stream->held_first);
    return slice_make(ring_buffer(ring, stream->held_first) + note->offset, note->size);
}

size_t stream_held_bytes(const struct stream *stream)
{
    size_t bytes = 0;
    uint16_t buffer = stream->held_first;
    for (uint32_t i = 0; i < stream->held_count; i++) {
        const struct ring_note *note = ring_buffer_note(stream->shard->ring, buffer);
        bytes += note->size;
        buffer = note->next;
    }
    return bytes;
}

void stream_consume(struct stream *stream, size_t count)
{
    while (count > 0) {
        CHECK(stream->held_count > 0);
        struct ring_note *note = ring_buffer_note(stream->shard->ring, stream->held_first);
        if (count < note->size) {
            note->offset += (uint32_t)count;
            note->size -= (uint32_t)count;
            return;
        }
        count -= note->size;
        stream_drop(stream);
        if (stream->starved) {
            stream->starved = false;
            shard_timer_clear(stream->shard, &stream->starved_timer);
        }
    }
    if (!stream->closing) {
        stream_regulate(stream);
    }
}

static void stream_starved_over(struct timer *timer)
{
    struct stream *stream = CONTAINER_OF(timer, struct stream, starved_timer);
    stream->starved = false;
    stream_receive(stream);
}

void stream_set_reading(struct stream *stream, bool reading)
{
    stream->stopped = !reading;
    if (!stream->closing) {
        stream_regulate(stream);
    }
}

/* --- elsewhere -------------------------------------------------------------------------------- */

static bool stream_is_loose(const struct stream *stream)
{
    return op_idle(&stream->recv_op) && op_idle(&stream->cancel_op) && op_idle(&stream->defer_op);
}

void stream_detach(struct stream *stream)
{
    CHECK(!stream->closing && !stream->connecting && !stream_sending(stream));
    stream->detaching = true;
    stream->starved = false;
    shard_timer_clear(stream->shard, &stream->starved_timer);
    stream_regulate(stream);
    if (stream_is_loose(stream)) {
        ring_defer(stream->shard->ring, &stream->defer_op);
    }
}

/* An operation has come home; the last one of a stream that is to be detached tells its user. */
static void stream_loosen(struct stream *stream)
{
    if (stream->detaching && !stream->closing && stream_is_loose(stream)) {
        stream->user->detached(stream);
    }
}

void stream_attach(struct stream *stream)
{
    stream->detaching = false;
    stream_regulate(stream);
}

int stream_leave(struct stream *stream)
{
    int fd = stream->fd;
    CHECK(stream->detaching && stream_is_loose(stream) && stream->held_count == 0);
    stream->fd = -1;
    return fd;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void stream_closed(struct op *op)
{
    struct stream *stream = CONTAINER_OF(op, struct stream, close_op);
    stream->fd = -1;
    stream->user->released(stream);
}

/* Goes on with closing when the last operation has come home. */
static void stream_join(struct stream *stream)
{
    struct ring *ring = stream->shard->ring;
    bool busy = !op_idle(&stream->recv_op) || !op_idle(&stream->send_op);
    if (busy && !stream->cancelled && op_idle(&stream->cancel_op)) {
        stream->cancelled = true;
        ring_cancel(ring, &stream->cancel_op, stream->fd);
    }
    if (busy || !op_idle(&stream->cancel_op) || !op_idle(&stream->defer_op)) {
        return;
    }
    while (stream->held_count > 0) { /* not earlier: the send may have been reading them */
        stream_drop(stream);
    }
    if (stream->fd >= 0) {
        ring_close_fd(ring, &stream->close_op, stream->fd);
    } else {
        ring_defer(ring, &stream->close_op);
    }
}

void stream_close(struct stream *stream)
{
    if (stream->closing) {
        return;
    }
    stream->closing = true;
    shard_timer_clear(stream->shard, &stream->starved_timer);
    stream_join(stream);
}

/* --- completions ------------------------------------------------------------------------------ */

/* What the end of a receive means; none of it is the user's business but the stream's end. */
static void stream_receive_ended(struct stream *stream, int32_t result)
{
    if (result > 0 || result == -EINTR || result == -EAGAIN || result == -ECANCELED) {
        return;
    }
    if (result == -ENOBUFS) {
        stream->starved = true;
        shard_timer_set(stream->shard, &stream->starved_timer, STARVED_NS);
        return;
    }
    if (stream->end == STREAM_OPEN) {
        stream->end = result == 0 ? STREAM_EOF : end_of(result);
    }
}

static void stream_received(struct op *op)
{
    struct stream *stream = CONTAINER_OF(op, struct stream, recv_op);
    bool last = (op->flags & OP_MORE) == 0;
    int32_t result = op->result;
    if (stream->closing) {
        if ((op->flags & OP_BUFFER) != 0) {
            ring_buffer_give(stream->shard->ring, op->buffer);
        }
        stream_join(stream);
        return;
    }
    bool had_ended = stream->end != STREAM_OPEN;
    uint64_t had_bytes = stream->bytes_in;
    if ((op->flags & OP_BUFFER) != 0) {
        stream_hold(stream, op->buffer, result > 0 ? (uint32_t)result : 0);
    }
    if (last) {
        stream_receive_ended(stream, result);
    }
    stream_regulate(stream);
    if (stream->bytes_in != had_bytes || (stream->end != STREAM_OPEN && !had_ended)) {
        stream->user->input(stream);
    }
    if (last) {
        stream_loosen(stream);
    }
}

static void stream_send_rest(struct stream *stream)
{
    ring_send(stream->shard->ring, &stream->send_op, stream->fd,
              stream->iovecs + stream->iovec_first, stream->iovec_count);
}

/* Takes what has been sent off the iovecs. */
static void stream_advance(struct stream *stream, size_t count)
{
    stream->bytes_out += count;
    while (stream->iovec_count > 0) {
        struct iovec *iovec = &stream->iovecs[stream->iovec_first];
        if (count < iovec->iov_len) {
            iovec->iov_base = (uint8_t *)iovec->iov_base + count;
            iovec->iov_len -= count;
            return;
        }
        count -= iovec->iov_len;
        stream->iovec_first += 1;
        stream->iovec_count -= 1;
    }
}

static void stream_connected(struct stream *stream, int32_t result)
{
    stream->connecting = false;
    if (result < 0) {
        stream->end = end_of(result);
    }
    stream_receive(stream);
    stream->user->connected(stream, stream->end);
}

static void stream_sent(struct op *op)
{
    struct stream *stream = CONTAINER_OF(op, struct stream, send_op);
    int32_t result = op->result;
    if (stream->closing) {
        stream_join(stream);
        return;
    }
    if (stream->connecting) {
        stream_connected(stream, result);
        return;
    }
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        stream->iovec_count = 0;
        stream->user->sent(stream, end_of(result));
        return;
    }
    stream_advance(stream, result > 0 ? (size_t)result : 0);
    if (stream->iovec_count > 0) {
        stream_send_rest(stream);
        return;
    }
    stream->user->sent(stream, STREAM_OPEN);
}

static void stream_cancel_done(struct op *op)
{
    struct stream *stream = CONTAINER_OF(op, struct stream, cancel_op);
    if (stream->closing) {
        stream_join(stream);
        return;
    }
    stream_regulate(stream);
    stream_loosen(stream);
}

static void stream_deferred(struct op *op)
{
    struct stream *stream = CONTAINER_OF(op, struct stream, defer_op);
    if (stream->closing) {
        stream_join(stream);
    } else if (stream->fd >= 0) {
        stream_loosen(stream);
    } else {
        stream->user->connected(stream, stream->end);
    }
}

/* --- beginning -------------------------------------------------------------------------------- */

static void stream_init(struct stream *stream, struct shard *shard, const struct stream_user *user)
{
    stream->shard = shard;
    stream->user = user;
    stream->fd = -1;
    stream->end = STREAM_OPEN;
    stream->connecting = false;
    stream->closing = false;
    stream->detaching = false;
    stream->paused = false;
    stream->stopped = false;
    stream->starved = false;
    stream->cancelled = false;
    stream->held_first = 0;
    stream->held_last = 0;
    stream->held_count = 0;
    stream->iovec_first = 0;
    stream->iovec_count = 0;
    stream->bytes_in = 0;
    stream->bytes_out = 0;
    op_init(&stream->recv_op, stream_received);
    op_init(&stream->send_op, stream_sent);
    op_init(&stream->cancel_op, stream_cancel_done);
    op_init(&stream->close_op, stream_closed);
    op_init(&stream->defer_op, stream_deferred);
    timer_init(&stream->starved_timer, stream_starved_over);
}

void stream_accept(struct stream *stream, struct shard *shard, const struct stream_user *user,
                   int fd)
{
    stream_init(stream, shard, user);
    stream->fd = fd;
    stream_receive(stream);
}

void stream_connect(struct stream *stream, struct shard *shard, const struct stream_user *user,
                    const struct endpoint *peer, const struct endpoint *source,
                    const struct socket_options *options)
{
    stream_init(stream, shard, user);
    int fd = ring_socket(shard->ring, peer, source, options);
    if (fd < 0) {
        stream->end = fd == -EADDRNOTAVAIL ? STREAM_UNPLUMBED : end_of(fd);
        ring_defer(shard->ring, &stream->defer_op);
        return;
    }
    stream->fd = fd;
    stream->connecting = true;
    ring_connect(shard->ring, &stream->send_op, fd, peer);
}

void stream_send(struct stream *stream, const struct iovec *iovecs, unsigned count)
{
    if (stream->closing) {
        return;
    }
    CHECK(!stream_sending(stream) && !stream->connecting && count <= RING_IOVECS_MAX);
    stream->iovec_first = 0;
    stream->iovec_count = 0;
    for (unsigned i = 0; i < count; i += 1) {
        if (iovecs[i].iov_len > 0) {
            stream->iovecs[stream->iovec_count] = iovecs[i];
            stream->iovec_count += 1;
        }
    }
    CHECK(stream->iovec_count > 0);
    stream_send_rest(stream);
}

bool stream_sending(const struct stream *stream)
{
    return stream->iovec_count > 0;
}
