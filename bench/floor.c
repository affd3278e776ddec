/* The ends of the floor; its middle is floor_relay.c. */
#include "bench/floor.h"

#include <stdlib.h>
#include <string.h>

#include "bench/floor_internal.h"
#include "core/check.h"

struct floor_leg floor_leg_of(enum bench_mode mode, size_t size)
{
    struct floor_leg leg = {.body = size, .after = 3};
    switch (mode) {
    case MODE_PLAIN:
        leg.count = 4;
        leg.steps[0] = (struct floor_step){40, 30};
        leg.steps[1] = (struct floor_step){40, 30};
        leg.steps[2] = (struct floor_step){6, 40};
        leg.steps[3] = (struct floor_step){size + 3, 40};
        break;
    case MODE_ALL:
    case MODE_PIPELINED:
        leg.count = 2;
        leg.steps[0] = (struct floor_step){120, 100};
        leg.steps[1] = (struct floor_step){size + 3, 40};
        break;
    case MODE_BDAT:
        leg.count = 1;
        leg.before = 120;
        leg.after = 0;
        leg.steps[0] = (struct floor_step){120 + size, 140};
        break;
    }
    return leg;
}

size_t floor_take(struct stream *stream, size_t want)
{
    size_t taken = 0;
    for (struct slice input = stream_input(stream); input.size > 0 && taken < want;
         input = stream_input(stream)) {
        size_t count = MIN_OF(input.size, want - taken);
        stream_consume(stream, count);
        taken += count;
    }
    return taken;
}

/* The longest ask of a leg. */
static size_t ask_max(const struct floor_leg *leg)
{
    return MAX_OF(leg->steps[leg->count - 1].ask, 128);
}

/* --- source ---------------------------------------------------------------------------------- */

struct source_end {
    struct floor_source *source;
    struct stream stream;
    unsigned step;
    size_t got; /* bytes of the answer */
    uint64_t sent_ns;
};

struct floor_source {
    struct shard *shard;
    struct floor_options options;
    struct floor_result *result;
    uint64_t begun;
    unsigned open;
    uint8_t *bytes; /* owned: what every ask consists of */
    struct source_end *ends; /* owned */
};

static void source_send(struct source_end *end)
{
    struct floor_source *source = end->source;
    struct iovec iovec = {.iov_base = source->bytes,
                          .iov_len = source->options.leg.steps[end->step].ask};
    end->got = 0;
    end->sent_ns = source->shard->now_ns;
    stream_send(&end->stream, &iovec, 1);
}

static void source_begin(struct source_end *end)
{
    struct floor_source *source = end->source;
    if (source->begun == source->options.messages) {
        stream_close(&end->stream);
        return;
    }
    source->begun++;
    end->step = 0;
    if (source->result->first_ns == 0) {
        source->result->first_ns = source->shard->now_ns;
    }
    source_send(end);
}

static void source_drive(struct source_end *end)
{
    struct floor_source *source = end->source;
    const struct floor_leg *leg = &source->options.leg;
    if (stream_sending(&end->stream)) {
        return;
    }
    end->got += floor_take(&end->stream, leg->steps[end->step].answer - end->got);
    if (end->got < leg->steps[end->step].answer) {
        if (end->stream.end != STREAM_OPEN) {
            atomic_store(&source->result->failed, true);
            stream_close(&end->stream);
        }
        return;
    }
    end->step++;
    if (end->step < leg->count) {
        source_send(end);
        return;
    }
    source->result->accepted++;
    source->result->accepted_ns = source->shard->now_ns;
    histogram_record(&source->result->latency, source->shard->now_ns - end->sent_ns);
    source_begin(end);
}

static void source_connected(struct stream *stream, enum stream_end why)
{
    struct source_end *end = CONTAINER_OF(stream, struct source_end, stream);
    if (why != STREAM_OPEN) {
        atomic_store(&end->source->result->failed, true);
        stream_close(stream);
        return;
    }
    source_begin(end);
}

static void source_input(struct stream *stream)
{
    source_drive(CONTAINER_OF(stream, struct source_end, stream));
}

static void source_sent(struct stream *stream, enum stream_end why)
{
    (void)why; /* the input ends too */
    source_drive(CONTAINER_OF(stream, struct source_end, stream));
}

static void source_released(struct stream *stream)
{
    CONTAINER_OF(stream, struct source_end, stream)->source->open--;
}

static const struct stream_user source_user = {
    .connected = source_connected,
    .input = source_input,
    .sent = source_sent,
    .released = source_released,
};

struct floor_source *floor_source_open(struct shard *shard, const struct floor_options *options,
                                       struct floor_result *result)
{
    static const struct endpoint any = {0};
    struct floor_source *source = calloc(1, sizeof(*source));
    if (source == NULL) {
        return NULL;
    }
    source->shard = shard;
    source->options = *options;
    source->result = result;
    source->bytes = malloc(ask_max(&options->leg));
    source->ends = calloc(options->connections, sizeof(struct source_end));
    if (source->bytes == NULL || source->ends == NULL) {
        floor_source_close(source);
        return NULL;
    }
    memset(source->bytes, 'x', ask_max(&options->leg));
    histogram_init(&result->latency);
    source->open = options->connections;
    for (unsigned i = 0; i < options->connections; i++) {
        source->ends[i].source = source;
        stream_connect(&source->ends[i].stream, shard, &source_user, &options->connect, &any,
                       &options->socket);
    }
    return source;
}

bool floor_source_done(const struct floor_source *source)
{
    return source->open == 0;
}

void floor_source_close(struct floor_source *source)
{
    free(source->bytes);
    free(source->ends);
    free(source);
}

/* --- accepting -------------------------------------------------------------------------------- */

static void floor_accepted(struct op *op)
{
    struct floor_listener *listener = CONTAINER_OF(op, struct floor_listener, accept_op);
    if (op->result >= 0) {
        listener->take(listener, op->result);
    }
    if ((op->flags & OP_MORE) == 0) {
        ring_accept(listener->shard->ring, &listener->accept_op, listener->fd);
    }
}

bool floor_listen(struct floor_listener *listener, struct shard *shard,
                  const struct floor_options *options, struct endpoint *bound_out)
{
    struct socket_options socket = options->socket;
    socket.backlog = 4096;
    listener->shard = shard;
    listener->fd = ring_listen(shard->ring, &options->listen, &socket, bound_out);
    if (listener->fd < 0) {
        return false;
    }
    op_init(&listener->accept_op, floor_accepted);
    ring_accept(shard->ring, &listener->accept_op, listener->fd);
    return true;
}

/* --- sink ------------------------------------------------------------------------------------ */

struct sink_end {
    struct floor_sink *sink;
    struct stream stream;
    unsigned step;
    size_t got; /* bytes of the ask */
    bool final; /* the last answer is on its way */
};

struct floor_sink {
    struct shard *shard;
    struct floor_options options;
    struct floor_result *result;
    struct floor_listener listener;
    unsigned taken;
    uint8_t answer[256];
    struct sink_end *ends; /* owned */
};

static void sink_drive(struct sink_end *end)
{
    struct floor_sink *sink = end->sink;
    const struct floor_leg *leg = &sink->options.leg;
    const struct floor_step *step = &leg->steps[end->step];
    if (stream_sending(&end->stream)) {
        return;
    }
    end->got += floor_take(&end->stream, step->ask - end->got);
    if (end->got < step->ask) {
        if (end->stream.end != STREAM_OPEN) {
            stream_close(&end->stream);
        }
        return;
    }
    end->got = 0;
    end->final = end->step + 1 == leg->count;
    end->step = (end->step + 1) % leg->count;
    struct iovec iovec = {.iov_base = sink->answer, .iov_len = step->answer};
    stream_send(&end->stream, &iovec, 1);
}

static void sink_connected(struct stream *stream, enum stream_end why)
{
    (void)why;
    CHECK(stream == NULL); /* accepted streams do not connect */
}

static void sink_input(struct stream *stream)
{
    sink_drive(CONTAINER_OF(stream, struct sink_end, stream));
}

static void sink_sent(struct stream *stream, enum stream_end why)
{
    struct sink_end *end = CONTAINER_OF(stream, struct sink_end, stream);
    struct floor_result *result = end->sink->result;
    if (end->final && why == STREAM_OPEN) {
        end->final = false;
        result->last_ns = end->sink->shard->now_ns;
        atomic_fetch_add_explicit(&result->received, 1, memory_order_relaxed);
    }
    sink_drive(end);
}

static void sink_released(struct stream *stream)
{
    (void)stream; /* places are not used twice */
}

static const struct stream_user sink_user = {
    .connected = sink_connected,
    .input = sink_input,
    .sent = sink_sent,
    .released = sink_released,
};

static void sink_take(struct floor_listener *listener, int fd)
{
    struct floor_sink *sink = CONTAINER_OF(listener, struct floor_sink, listener);
    CHECK(sink->taken < sink->options.connections);
    struct sink_end *end = &sink->ends[sink->taken++];
    end->sink = sink;
    stream_accept(&end->stream, sink->shard, &sink_user, fd);
}

struct floor_sink *floor_sink_open(struct shard *shard, const struct floor_options *options,
                                   struct floor_result *result, struct endpoint *bound_out)
{
    struct floor_sink *sink = calloc(1, sizeof(*sink));
    if (sink == NULL) {
        return NULL;
    }
    sink->shard = shard;
    sink->options = *options;
    sink->result = result;
    sink->listener.take = sink_take;
    sink->ends = calloc(options->connections, sizeof(struct sink_end));
    memset(sink->answer, '2', sizeof(sink->answer));
    if (sink->ends == NULL || !floor_listen(&sink->listener, shard, options, bound_out)) {
        free(sink->ends);
        free(sink);
        return NULL;
    }
    return sink;
}
