#include "shard/io/listener.h"

#define REST_NS (100 * NS_PER_MS)

static void accept_more(struct listener *listener)
{
    ring_accept(listener->shard->ring, &listener->accept_op, listener->fd);
}

void listener_close(struct listener *listener)
{
    struct ring *ring = listener->shard->ring;
    listener->closing = true;
    shard_timer_clear(listener->shard, &listener->again);
    if (!op_idle(&listener->accept_op)) {
        if (op_idle(&listener->cancel_op)) {
            ring_cancel(ring, &listener->cancel_op, listener->fd);
        }
        return;
    }
    if (listener->fd >= 0 && op_idle(&listener->cancel_op) && op_idle(&listener->close_op)) {
        ring_close_fd(ring, &listener->close_op, listener->fd);
    }
}

static void accept_done(struct op *op)
{
    struct listener *listener = CONTAINER_OF(op, struct listener, accept_op);
    int result = op->result;
    if (result >= 0) {
        listener->accepted(listener, result);
    }
    if ((op->flags & OP_MORE) != 0) {
        return;
    }
    if (listener->closing) {
        listener_close(listener);
    } else if (result >= 0) {
        accept_more(listener);
    } else {
        if (listener->failed != NULL) {
            listener->failed(listener, result);
        }
        shard_timer_set(listener->shard, &listener->again, REST_NS);
    }
}

static void cancel_done(struct op *op)
{
    listener_close(CONTAINER_OF(op, struct listener, cancel_op));
}

static void close_done(struct op *op)
{
    CONTAINER_OF(op, struct listener, close_op)->fd = -1;
}

static void accept_again(struct timer *timer)
{
    accept_more(CONTAINER_OF(timer, struct listener, again));
}

int listener_open(struct listener *listener, struct shard *shard, const struct endpoint *endpoint,
                  const struct socket_options *options)
{
    listener->shard = shard;
    listener->closing = false;
    op_init(&listener->accept_op, accept_done);
    op_init(&listener->cancel_op, cancel_done);
    op_init(&listener->close_op, close_done);
    timer_init(&listener->again, accept_again);
    listener->fd = ring_listen(shard->ring, endpoint, options, &listener->bound);
    if (listener->fd < 0) {
        return listener->fd;
    }
    accept_more(listener);
    return 0;
}
