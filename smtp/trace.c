#include "smtp/trace.h"

#include <string.h>

#include "core/check.h"
#include "shard/boot.h"

void trace_init(struct trace *trace, struct shard *shard, struct boot_pages *pages,
                unsigned shards)
{
    trace->shard = shard;
    trace->shards = shards;
    trace->taps = boot_pages_take(pages, shards * sizeof(struct trace_tap *));
    trace->tracers = boot_pages_take(pages, TRACERS_MAX * sizeof(struct tracer));
    for (unsigned i = 0; i < TRACERS_MAX; i++) {
        trace->tracers[i].trace = trace;
        trace->tracers[i].slot = (uint8_t)i;
        list_init(&trace->tracers[i].full);
    }
}

void trace_shard_set(struct trace *trace, unsigned index, struct trace_tap *tap)
{
    trace->taps[index] = tap;
}

struct tracer *trace_take(struct trace *trace)
{
    for (unsigned i = 0; i < TRACERS_MAX; i++) {
        struct tracer *tracer = &trace->tracers[i];
        if (tracer->state == TRACER_FREE) {
            tracer->state = TRACER_TAKEN;
            tracer->stop_wanted = false;
            tracer->out = 0;
            atomic_store_explicit(&tracer->one, 0, memory_order_relaxed);
            return tracer;
        }
    }
    return NULL;
}

/* --- batches ---------------------------------------------------------------------------------- */

static struct trace_batch *first_full(struct tracer *tracer)
{
    return list_empty(&tracer->full) ? NULL
                                     : CONTAINER_OF(tracer->full.next, struct trace_batch, link);
}

static void batch_give(struct trace_batch *batch)
{
    list_remove(&batch->link);
    trace_batch_return(batch, batch->part->tracer->trace->shard);
}

static void batch_full(struct trace_batch *batch)
{
    struct tracer *tracer = batch->part->tracer;
    batch->at = 0;
    list_push_back(&tracer->full, &batch->link);
    if (tracer->stop_wanted || tracer->state == TRACER_STOPPING) {
        batch_give(batch);
        return;
    }
    tracer->told(tracer);
}

bool tracer_next(struct tracer *tracer, struct slice *event_out)
{
    struct trace_batch *batch = first_full(tracer);
    uint32_t size;
    if (batch == NULL) {
        return false;
    }
    memcpy(&size, batch->bytes + batch->at, sizeof(size));
    CHECK(batch->at + sizeof(size) + size <= batch->size);
    *event_out = slice_make(batch->bytes + batch->at + sizeof(size), size);
    return true;
}

void tracer_said(struct tracer *tracer)
{
    struct trace_batch *batch = first_full(tracer);
    struct slice event;
    CHECK(tracer_next(tracer, &event));
    batch->at += (uint32_t)(sizeof(uint32_t) + event.size);
    if (batch->at == batch->size) {
        batch_give(batch);
    }
}

/* --- start and stop --------------------------------------------------------------------------- */

static void send_all(struct tracer *tracer, bool start)
{
    tracer->state = start ? TRACER_STARTING : TRACER_STOPPING;
    tracer->out = tracer->trace->shards;
    for (unsigned i = 0; i < tracer->trace->shards; i++) {
        trace_part_send(&tracer->parts[i], tracer->trace->shard, start);
    }
}

static void tracer_give(struct tracer *tracer)
{
    CHECK(tracer->out == 0 && list_empty(&tracer->full));
    if (tracer->parts != NULL) {
        metered_give(tracer->memory, tracer->parts);
        tracer->parts = NULL;
    }
    tracer->state = TRACER_FREE;
}

static void part_home(struct trace_part *part)
{
    struct tracer *tracer = part->tracer;
    if (--tracer->out > 0) {
        return;
    }
    if (tracer->state == TRACER_STOPPING) {
        tracer_give(tracer);
    } else if (tracer->stop_wanted) {
        send_all(tracer, false);
    } else {
        tracer->state = TRACER_RUNNING;
        tracer->told(tracer);
    }
}

bool tracer_start(struct tracer *tracer, struct metered *memory)
{
    const struct trace *trace = tracer->trace;
    CHECK(tracer->state == TRACER_TAKEN);
    tracer->parts = metered_take(memory, trace->shards * sizeof(struct trace_part));
    if (tracer->parts == NULL) {
        return false;
    }
    tracer->memory = memory;
    tracer->since_ms = trace->shard->wall_ns / NS_PER_MS;
    for (unsigned i = 0; i < trace->shards; i++) {
        struct trace_part *part = &tracer->parts[i];
        memset(part, 0, offsetof(struct trace_part, batches));
        part->tap = trace->taps[i];
        part->tracer = tracer;
        part->registrar = trace->shard->index;
        part->home = part_home;
        part->full = batch_full;
        for (unsigned j = 0; j < TRACE_BATCHES; j++) {
            part->batches[j].part = part;
            list_init(&part->batches[j].link);
            part->free[part->free_count++] = &part->batches[j];
        }
    }
    send_all(tracer, true);
    return true;
}

void tracer_stop(struct tracer *tracer)
{
    CHECK(tracer->state != TRACER_FREE && !tracer->stop_wanted);
    tracer->stop_wanted = true;
    while (!list_empty(&tracer->full)) {
        batch_give(first_full(tracer));
    }
    if (tracer->state == TRACER_TAKEN) {
        tracer_give(tracer);
    } else if (tracer->state == TRACER_RUNNING) {
        send_all(tracer, false);
    }
}

bool trace_idle(const struct trace *trace)
{
    for (unsigned i = 0; i < TRACERS_MAX; i++) {
        if (trace->tracers[i].state != TRACER_FREE) {
            return false;
        }
    }
    return true;
}

bool tracer_claims(struct tracer *tracer, const struct id *id)
{
    uint64_t halves[2];
    uint64_t none = 0;
    memcpy(halves, id->bytes, sizeof(halves));
    uint64_t key = halves[0] ^ halves[1];
    key = key != 0 ? key : 1;
    return atomic_compare_exchange_strong_explicit(&tracer->one, &none, key, memory_order_relaxed,
                                                   memory_order_relaxed) ||
           none == key;
}
