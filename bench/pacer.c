#include "bench/pacer.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void pacer_read(struct pacer *pacer)
{
    ring_read(pacer->shard->ring, &pacer->read_op, pacer->fd, &pacer->expirations,
              sizeof(pacer->expirations), 0);
}

static void pacer_closed(struct op *op)
{
    CONTAINER_OF(op, struct pacer, close_op)->stopped = true;
}

static void pacer_join(struct pacer *pacer)
{
    if (op_idle(&pacer->read_op) && op_idle(&pacer->cancel_op) && op_idle(&pacer->close_op) &&
        !pacer->stopped) {
        ring_close_fd(pacer->shard->ring, &pacer->close_op, pacer->fd);
    }
}

static void pacer_cancelled(struct op *op)
{
    pacer_join(CONTAINER_OF(op, struct pacer, cancel_op));
}

static void pacer_ticked(struct op *op)
{
    struct pacer *pacer = CONTAINER_OF(op, struct pacer, read_op);
    if (pacer->stopping) {
        pacer_join(pacer);
        return;
    }
    pacer_read(pacer);
    pacer->tick(pacer);
}

int pacer_start(struct pacer *pacer, struct shard *shard, uint64_t interval_ns,
                void (*tick)(struct pacer *pacer))
{
    *pacer = (struct pacer){.shard = shard, .tick = tick};
    op_init(&pacer->read_op, pacer_ticked);
    op_init(&pacer->cancel_op, pacer_cancelled);
    op_init(&pacer->close_op, pacer_closed);
    pacer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (pacer->fd < 0) {
        return -errno;
    }
    struct timespec span = {.tv_sec = (time_t)(interval_ns / NS_PER_S),
                            .tv_nsec = (long)(interval_ns % NS_PER_S)};
    struct itimerspec setting = {.it_interval = span, .it_value = span};
    if (timerfd_settime(pacer->fd, 0, &setting, NULL) != 0) {
        int error = -errno;
        close(pacer->fd);
        return error;
    }
    pacer_read(pacer);
    return 0;
}

void pacer_stop(struct pacer *pacer)
{
    if (!pacer->stopping) {
        pacer->stopping = true;
        ring_cancel(pacer->shard->ring, &pacer->cancel_op, pacer->fd);
    }
}
