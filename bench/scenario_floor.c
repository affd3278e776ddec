/* The three processes of the floor, started, watched and ended. */
#include "bench/scenario.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "bench/process.h"

#define STALL_MS 30000

/* In memory that the processes share; options are written before a child begins. */
struct floor_shared {
    struct floor_options options;
    struct floor_result result;
    _Atomic uint32_t sink_port;
    _Atomic uint32_t relay_port;
    _Atomic bool stop;
};

static void turn_until_stop(struct bench_shard *bench, struct floor_shared *shared)
{
    while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
        shard_turn(&bench->shard, false);
    }
}

static int sink_process(void *context)
{
    struct floor_shared *shared = context;
    struct bench_shard bench;
    struct endpoint bound;
    if (!bench_shard_open_or_say(&bench) ||
        floor_sink_open(&bench.shard, &shared->options, &shared->result, &bound) == NULL) {
        return 1;
    }
    atomic_store(&shared->sink_port, bound.port);
    turn_until_stop(&bench, shared);
    return 0;
}

static int relay_process(void *context)
{
    struct floor_shared *shared = context;
    struct bench_shard bench;
    struct endpoint bound;
    if (!bench_shard_open_or_say(&bench) ||
        floor_relay_open(&bench.shard, &shared->options, &shared->result, &bound) == NULL) {
        return 1;
    }
    atomic_store(&shared->relay_port, bound.port);
    turn_until_stop(&bench, shared);
    return 0;
}

static int source_process(void *context)
{
    struct floor_shared *shared = context;
    struct bench_shard bench;
    if (!bench_shard_open_or_say(&bench)) {
        return 1;
    }
    struct floor_source *source =
        floor_source_open(&bench.shard, &shared->options, &shared->result);
    if (source == NULL) {
        return 1;
    }
    while (!floor_source_done(source)) {
        shard_turn(&bench.shard, false);
    }
    floor_source_close(source);
    return shared->result.accepted == shared->options.messages ? 0 : 1;
}

struct floor_children {
    struct child sink;
    struct child relay;
    struct child source;
};

static bool start_and_wait(struct floor_shared *shared, struct floor_children *children,
                           bool direct)
{
    if (child_start(&children->sink, sink_process, shared) != 0) {
        return false;
    }
    uint16_t port = child_wait_port(&children->sink, &shared->sink_port);
    shared->options.connect = loopback_endpoint(port);
    if (port != 0 && !direct) {
        if (child_start(&children->relay, relay_process, shared) != 0) {
            return false;
        }
        port = child_wait_port(&children->relay, &shared->relay_port);
        shared->options.connect = loopback_endpoint(port);
    }
    if (port == 0 || child_start(&children->source, source_process, shared) != 0) {
        return false;
    }
    struct count_wait received = {.count = &shared->result.received,
                                  .wanted = shared->options.messages,
                                  .still_ms_max = STALL_MS,
                                  .failed = &shared->result.failed};
    return child_wait(&children->source) && child_wait_count(&children->sink, &received);
}

static void floor_figures(const struct floor_shared *shared, const struct floor_children *children,
                          bool direct, struct run *run)
{
    const struct floor_result *result = &shared->result;
    run_init(run);
    run->messages = (double)shared->options.messages;
    run->seconds = (double)(result->last_ns - result->first_ns) / 1e9;
    run->rate = run->messages / run->seconds;
    run->accept_rate = run->messages / ((double)(result->accepted_ns - result->first_ns) / 1e9);
    run->latency_ms = percentiles_ms(&result->latency);
    run->cpu_source_s = child_cpu_s(&children->source);
    run->cpu_sink_s = child_cpu_s(&children->sink);
    if (direct) {
        return;
    }
    run->cpu_mta_s = child_cpu_s(&children->relay);
    run->mta_cpu_us_per_message = run->cpu_mta_s * 1e6 / run->messages;
    run->rss_peak_bytes = (double)children->relay.usage.ru_maxrss * 1024;
    run->enters_per_message = (double)result->enters / run->messages;
    run->mallocs_per_message = 0;
    run->commits = (double)result->commits;
    run->commit_messages_p50 = (double)histogram_percentile(&result->commit_messages, 500);
    run->commit_messages_max = (double)result->commit_messages.max;
    struct percentiles commit_ms = percentiles_ms(&result->commit_ns);
    run->commit_ms_p50 = commit_ms.p50;
    run->commit_ms_p99 = commit_ms.p99;
    run->sync = "dsync";
}

bool floor_run(const struct scenario *scenario, bool direct, struct run *run_out,
               struct buf *reason)
{
    struct floor_shared *shared = shared_memory_take(sizeof(*shared));
    if (shared == NULL) {
        buf_put_string(reason, "no memory to share");
        return false;
    }
    shared->options = (struct floor_options){
        .leg = floor_leg_of(scenario->mode, (size_t)scenario->size),
        .messages = scenario->messages,
        .connections = (unsigned)scenario->connections,
        .listen = loopback_endpoint(0),
        .socket = {.congestion = scenario->congestion},
        .segment_fd = scenario->segment_fd,
        .segment_bytes = scenario->segment_mib * MIB,
    };
    struct floor_children children = {0};
    bool good = start_and_wait(shared, &children, direct);
    atomic_store(&shared->stop, true);
    if (!good) {
        child_kill(&children.source);
        buf_printf(reason, "the floor came to %llu of %llu messages",
                   (unsigned long long)atomic_load(&shared->result.received),
                   (unsigned long long)scenario->messages);
    }
    (void)child_wait(&children.relay);
    (void)child_wait(&children.sink);
    if (good) {
        floor_figures(shared, &children, direct, run_out);
    }
    (void)munmap(shared, sizeof(*shared));
    return good;
}

/* Its rounds have no server. */
bool run_floor(struct scenario *scenario, struct buf *reason)
{
    struct report *report = calloc(1, sizeof(*report));
    bool good = report != NULL && scenario_segment(scenario, reason);
    for (unsigned i = 0; good && i < scenario->rounds; i++) {
        struct report_round *round = &report->rounds[i];
        round->with_floor = true;
        round->with_direct = true;
        good = floor_run(scenario, false, &round->floor, reason) &&
               floor_run(scenario, true, &round->direct, reason);
        report->round_count += good;
    }
    if (good) {
        report->head = scenario->head;
        good = scenario_publish_report(scenario, report, reason);
    }
    free(report);
    return good;
}
