#include "bench/cast.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/injector.h"
#include "bench/process.h"
#include "bench/sink.h"
#include "core/check.h"

#define STALL_MS         60000
#define LOOK_MS          10000
#define ARRIVED_MS       5
#define RECONNECT_FOR_NS (10 * NS_PER_S)

/* Copies are made by their owner when it is asked for them, so that none is torn. */
struct cast_copy {
    _Atomic uint64_t answered; /* the last question */
    union {
        struct source_result source;
        struct sink_result sink;
    };
};

/* In memory that the processes share. Times by message number follow in the same piece. */
struct cast_shared {
    struct cast_options options; /* as the parent had them when it forked */
    uint16_t connect_port;
    _Atomic uint32_t sink_port;
    _Atomic uint64_t received;
    _Atomic bool stop;
    _Atomic uint64_t asked;
    struct cast_copy source_copy;
    struct cast_copy sink_copy;
    struct sink_result sink;
    struct source_result source;
    uint64_t *due_ns;
    uint64_t *arrived_ns;
};

/* --- sink ------------------------------------------------------------------------------------ */

static void sink_answer(struct cast_shared *shared)
{
    uint64_t asked = atomic_load_explicit(&shared->asked, memory_order_relaxed);
    if (atomic_load_explicit(&shared->sink_copy.answered, memory_order_relaxed) != asked) {
        shared->sink_copy.sink = shared->sink;
        atomic_store_explicit(&shared->sink_copy.answered, asked, memory_order_release);
    }
}

static int sink_turns(struct cast_shared *shared, struct bench_shard *bench, struct sink *sink,
                      struct tally *tally)
{
    while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
        shard_turn(&bench->shard, false);
        atomic_store_explicit(&shared->received, shared->sink.messages, memory_order_relaxed);
        sink_answer(shared);
    }
    sink_stop(sink);
    while (!sink_stopped(sink)) {
        shard_turn(&bench->shard, false);
    }
    return tally_judge(tally) ? 0 : 1;
}

static bool sink_rules_of(const struct cast_options *cast, struct sink_rules *rules_out)
{
    char why[256];
    struct buf reason;
    buf_init(&reason, why, sizeof(why));
    *rules_out = (struct sink_rules){.hostname = "sink.test", .mode = cast->scenario->mode};
    if (!script_read(&rules_out->script, cast->script, &reason)) {
        fprintf(stderr, "ringpost-bench: %.*s\n", (int)reason.size, why);
        return false;
    }
    return true;
}

static int sink_process(void *context)
{
    struct cast_shared *shared = context;
    const struct cast_options *cast = &shared->options;
    const struct scenario *scenario = cast->scenario;
    struct bench_shard bench;
    struct tally tally;
    struct sink sink;
    struct sink_rules rules;
    struct tally_options counting = {.result = &shared->sink,
                                     .expected = cast->expected,
                                     .copies = 1,
                                     .arrived_ns = shared->arrived_ns,
                                     .arrived_count = cast->times};
    struct sink_options options = {
        .listen = loopback_endpoint(0),
        .socket = {.congestion = scenario->congestion, .backlog = 4096},
        .rules = &rules,
        .tally = &tally,
        .connections = (unsigned)MIN_OF(4 * scenario->connections, SINK_CONNECTIONS_MAX),
    };
    struct endpoint bound;
    if (!bench_shard_open_or_say(&bench) || !sink_rules_of(cast, &rules) ||
        !tally_init(&tally, &counting) || sink_start(&sink, &bench.shard, &options, &bound) != 0) {
        return 1;
    }
    atomic_store(&shared->sink_port, bound.port);
    return sink_turns(shared, &bench, &sink, &tally);
}

/* --- source ---------------------------------------------------------------------------------- */

static void source_answer(struct cast_shared *shared)
{
    uint64_t asked = atomic_load_explicit(&shared->asked, memory_order_relaxed);
    if (atomic_load_explicit(&shared->source_copy.answered, memory_order_relaxed) != asked) {
        shared->source_copy.source = shared->source;
        atomic_store_explicit(&shared->source_copy.answered, asked, memory_order_release);
    }
}

static int source_turns(struct cast_shared *shared, struct bench_shard *bench,
                        const struct domains *domains)
{
    const struct cast_options *cast = &shared->options;
    const struct scenario *scenario = cast->scenario;
    struct source source;
    struct source_load options = {
        .connect = loopback_endpoint(shared->connect_port),
        .socket = {.congestion = scenario->congestion},
        .messages = cast->messages,
        .first = cast->first,
        .first_sender = cast->first_sender,
        .size = (size_t)scenario->size,
        .fields = cast->fields,
        .connections = (unsigned)(cast->idle > 0 ? cast->idle : scenario->connections),
        .idle = cast->idle > 0,
        .rcpts = 1,
        .mode = scenario->mode,
        .rate = cast->rate,
        .domains = domains,
        .due_ns = shared->due_ns,
        .due_count = cast->times,
        /* A server ends a connection after so many messages; the next one goes on. */
        .retry_ns = RECONNECT_FOR_NS,
    };
    if (source_start(&source, &bench->shard, &options, &shared->source) != 0) {
        return 1;
    }
    while (!source_done(&source)) {
        shard_turn(&bench->shard, false);
        source_answer(shared);
        if (!options.idle && source_stalled(&source, STALL_MS * NS_PER_MS)) {
            source_stop(&source);
        }
    }
    return shared->source.accepted == options.messages ? 0 : 1;
}

static int injector_turns(struct cast_shared *shared, struct bench_shard *bench)
{
    const struct cast_options *cast = &shared->options;
    const struct source_result *result = &shared->source;
    struct injector injector;
    struct injector_options options = {
        .connect = loopback_endpoint(shared->connect_port),
        .socket = {.congestion = cast->scenario->congestion},
        .recipients = cast->messages,
        .per_request = cast->per_request,
        .first = cast->first,
        .size = (size_t)cast->scenario->size,
        .connections = (unsigned)cast->scenario->connections,
        .rate = cast->rate,
        .retry_ns = RECONNECT_FOR_NS,
    };
    if (injector_start(&injector, &bench->shard, &options, &shared->source) != 0) {
        return 1;
    }
    while (!injector_done(&injector)) {
        shard_turn(&bench->shard, false);
        source_answer(shared);
        if (injector_stalled(&injector, STALL_MS * NS_PER_MS)) {
            injector_stop(&injector);
        }
    }
    /* What was shed in an open loop, or not sent at all, is no trouble. */
    uint64_t over = options.rate > 0 ? result->shed + result->unsent : 0;
    return result->accepted + over == options.recipients ? 0 : 1;
}

static int source_process(void *context)
{
    struct cast_shared *shared = context;
    struct bench_shard bench;
    struct domains domains;
    char why[128];
    struct buf reason;
    buf_init(&reason, why, sizeof(why));
    if (!domains_read(&domains, shared->options.domains, &reason)) {
        fprintf(stderr, "source: %.*s\n", (int)reason.size, why);
        return 1;
    }
    if (!bench_shard_open_or_say(&bench)) {
        return 1;
    }
    return shared->options.per_request > 0 ? injector_turns(shared, &bench)
                                           : source_turns(shared, &bench, &domains);
}

/* --- beginning -------------------------------------------------------------------------------- */

bool cast_open(struct cast *cast, const struct cast_options *options, struct buf *reason_out)
{
    *cast = (struct cast){.options = *options};
    cast->shared_bytes = sizeof(struct cast_shared) + 2 * options->times * sizeof(uint64_t);
    cast->shared = shared_memory_take(cast->shared_bytes);
    if (cast->shared == NULL) {
        buf_put_string(reason_out, "no memory to share");
        return false;
    }
    cast->shared->options = *options;
    cast->shared->due_ns = (uint64_t *)(cast->shared + 1);
    cast->shared->arrived_ns = cast->shared->due_ns + options->times;
    return true;
}

bool cast_start_sink(struct cast *cast, struct buf *reason_out)
{
    if (child_start(&cast->sink, sink_process, cast->shared) == 0) {
        cast->sink_port = child_wait_port(&cast->sink, &cast->shared->sink_port);
    }
    if (cast->sink_port == 0) {
        buf_put_string(reason_out, "the sink did not start");
    }
    return cast->sink_port != 0;
}

bool cast_start_mta(struct cast *cast, const char *bin, const char *name,
                    struct mta_options options, struct buf *reason_out)
{
    const struct scenario *scenario = cast->options.scenario;
    char dir[sizeof(cast->mta.log_path)];
    if (snprintf(dir, sizeof(dir), "%s/%s", scenario->dir, name) >= (int)sizeof(dir)) {
        buf_put_string(reason_out, "--dir: too long");
        return false;
    }
    options.bin = bin;
    options.dir = dir;
    options.sink_port = cast->sink_port;
    if (options.connections == 0) {
        options.connections = (unsigned)scenario->connections;
    }
    options.shards = (unsigned)scenario->shards;
    options.segment_mib = scenario->segment_mib;
    options.congestion = scenario->congestion;
    return mta_start(&cast->mta, &options, reason_out);
}

bool cast_start_source(struct cast *cast, struct buf *reason_out)
{
    uint16_t mta_port = cast->options.per_request > 0 ? cast->mta.http_port : cast->mta.port;
    cast->shared->connect_port = cast->mta.port != 0 ? mta_port : cast->sink_port;
    if (child_start(&cast->source, source_process, cast->shared) != 0) {
        buf_put_string(reason_out, "the source did not start");
        return false;
    }
    return true;
}

void cast_source_next(struct cast *cast, uint64_t messages, struct slice domains,
                      struct slice fields)
{
    cast->options.first += cast->options.messages;
    cast->options.first_sender += cast->shared->source.envelopes;
    cast->options.messages = messages;
    cast->options.domains = domains;
    cast->options.fields = fields;
    cast->shared->options = cast->options;
    cast->shared->source = (struct source_result){0};
}

bool cast_start_idle(struct cast *cast, uint64_t connections, struct buf *reason_out)
{
    struct cast_counts counts = {0};
    cast_source_next(cast, 0, SLICE("sink.test"), SLICE_NONE);
    cast->options.idle = connections;
    cast->shared->options = cast->options;
    if (!cast_start_source(cast, reason_out)) {
        return false;
    }
    for (unsigned waited = 0; waited < STALL_MS; waited += ARRIVED_MS) {
        if (child_ended(&cast->source) || !cast_look(cast, &counts) ||
            counts.source.idle == connections) {
            break;
        }
        clock_sleep_ms(ARRIVED_MS);
    }
    if (counts.source.idle != connections) {
        buf_printf(reason_out, "of %" PRIu64 " connections %" PRIu64 " stand; %s", connections,
                   counts.source.idle, counts.source.trouble);
    }
    return counts.source.idle == connections;
}

/* --- on the way ------------------------------------------------------------------------------- */

bool cast_wait_sent(struct cast *cast, struct buf *reason_out)
{
    const struct source_result *result = &cast->shared->source;
    if (!child_wait(&cast->source)) {
        buf_printf(reason_out, "the source: %" PRIu64 " of %" PRIu64 " accepted; %s",
                   result->accepted, cast->options.messages, result->trouble);
        return false;
    }
    return true;
}

bool cast_wait_received(struct cast *cast, uint64_t messages, struct buf *reason_out)
{
    struct count_wait wait = {
        .count = &cast->shared->received, .wanted = messages, .still_ms_max = STALL_MS};
    if (!child_wait_count(&cast->sink, &wait)) {
        buf_printf(reason_out, "the sink: %" PRIu64 " of %" PRIu64 " came",
                   atomic_load(&cast->shared->received), messages);
        return false;
    }
    return true;
}

/* How many messages of the source of now are there. */
static uint64_t arrived_count(const struct cast *cast)
{
    const uint64_t *arrived_ns = cast_arrived_ns(cast) + cast->options.first;
    uint64_t count = 0;
    for (uint64_t i = 0; i < cast->options.messages; i++) {
        count += __atomic_load_n(&arrived_ns[i], __ATOMIC_RELAXED) != 0;
    }
    return count;
}

bool cast_wait_arrived(struct cast *cast, struct buf *reason_out)
{
    CHECK(cast->options.first + cast->options.messages <= cast->options.times);
    uint64_t before = 0;
    for (unsigned still_ms = 0; still_ms < STALL_MS; still_ms += ARRIVED_MS) {
        uint64_t count = arrived_count(cast);
        if (count == cast->options.messages) {
            return true;
        }
        if (child_ended(&cast->sink) || mta_ended(&cast->mta, reason_out)) {
            return false;
        }
        still_ms = count == before ? still_ms : 0;
        before = count;
        clock_sleep_ms(ARRIVED_MS);
    }
    buf_printf(reason_out, "of %" PRIu64 " messages %" PRIu64 " came to the sink",
               cast->options.messages, before);
    return false;
}

/* A child that has ended, or never began, cannot answer: what it counted stands as it is. */
static bool copy_ready(struct child *child, const struct cast_copy *copy, uint64_t asked,
                       unsigned *waited_ms)
{
    while (!child_ended(child)) {
        if (atomic_load_explicit(&copy->answered, memory_order_acquire) == asked) {
            return true;
        }
        if (*waited_ms >= LOOK_MS) {
            return false;
        }
        clock_sleep_ms(1);
        (*waited_ms)++;
    }
    return true;
}

bool cast_look(struct cast *cast, struct cast_counts *counts_out)
{
    struct cast_shared *shared = cast->shared;
    uint64_t asked = atomic_fetch_add(&shared->asked, 1) + 1;
    unsigned waited_ms = 0;
    if (!copy_ready(&cast->source, &shared->source_copy, asked, &waited_ms) ||
        !copy_ready(&cast->sink, &shared->sink_copy, asked, &waited_ms)) {
        return false;
    }
    counts_out->source =
        cast->source.pid != 0 ? shared->source_copy.source : shared->source;
    counts_out->sink = cast->sink.pid != 0 ? shared->sink_copy.sink : shared->sink;
    return true;
}

/* --- the end ---------------------------------------------------------------------------------- */

bool cast_end(struct cast *cast, bool good, struct buf *reason_out)
{
    struct cast_shared *shared = cast->shared;
    if (!good) {
        child_kill(&cast->source);
        child_kill(&cast->mta.child);
        if (shared->source.first_ns == 0) {
            child_kill(&cast->sink); /* nothing was sent: there is nothing to judge */
        }
    } else if (cast->mta.port != 0) {
        good = mta_stop(&cast->mta, reason_out);
    }
    atomic_store(&shared->stop, true);
    bool whole = cast->sink.pid == 0 || child_wait(&cast->sink);
    if (good && !whole) {
        buf_printf(reason_out, "the sink: %" PRIu64 " missing, %" PRIu64 " differ",
                   shared->sink.missing, shared->sink.differing);
    }
    if (good && shared->sink.duplicates > 0) {
        buf_printf(reason_out, "the sink: %" PRIu64 " duplicates", shared->sink.duplicates);
        return false;
    }
    return good && whole;
}

const uint64_t *cast_due_ns(const struct cast *cast)
{
    return cast->shared->due_ns;
}

const uint64_t *cast_arrived_ns(const struct cast *cast)
{
    return cast->shared->arrived_ns;
}

void cast_close(struct cast *cast)
{
    (void)munmap(cast->shared, cast->shared_bytes);
    cast->shared = NULL;
}
