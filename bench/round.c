#include "bench/round.h"

#include "bench/cast.h"

/* Everything from the first start until the sink has it all. */
static bool round_go(struct cast *cast, const struct round_options *options, struct buf *reason)
{
    struct mta_options mta = {.connections = options->connections,
                              .sites = options->sites,
                              .flush_delay = options->flush_delay};
    return cast_start_sink(cast, reason) &&
           (options->bin == NULL || cast_start_mta(cast, options->bin, "round", mta, reason)) &&
           cast_start_source(cast, reason) && cast_wait_sent(cast, reason) &&
           cast_wait_received(cast, options->messages, reason);
}

/* Due time → the sink's final dot. */
static struct percentiles latency_of(const struct cast *cast)
{
    const uint64_t *due_ns = cast_due_ns(cast);
    const uint64_t *arrived_ns = cast_arrived_ns(cast);
    struct histogram histogram;
    histogram_init(&histogram);
    for (uint64_t i = 0; i < cast->options.times; i++) {
        if (due_ns[i] != 0 && arrived_ns[i] > due_ns[i]) {
            histogram_record(&histogram, arrived_ns[i] - due_ns[i]);
        }
    }
    return percentiles_ms(&histogram);
}

static void round_figures(const struct cast *cast, const struct cast_counts *counts,
                          struct run *run)
{
    const struct source_result *source = &counts->source;
    const struct sink_result *sink = &counts->sink;
    run_init(run);
    run->messages = (double)sink->messages;
    run->seconds = (double)(sink->last_ns - source->first_ns) / 1e9;
    run->rate = run->messages / run->seconds;
    run->accept_rate = run->messages / ((double)(source->last_ns - source->first_ns) / 1e9);
    run->latency_ms = cast->options.times > 0 ? latency_of(cast) : percentiles_ms(&source->latency);
    run->cpu_source_s = child_cpu_s(&cast->source);
    run->cpu_sink_s = child_cpu_s(&cast->sink);
    if (cast->mta.port != 0) {
        mta_figures(&cast->mta, run->messages, run);
    }
}

bool round_run(const struct scenario *scenario, const struct round_options *options,
               struct run *run_out, struct buf *reason)
{
    struct cast cast;
    struct cast_counts counts;
    struct cast_options all = {
        .scenario = scenario,
        .messages = options->messages,
        .rate = options->rate,
        .per_request = options->per_request,
        .expected = options->messages,
        .times = options->rate > 0 ? options->messages : 0,
        .domains = options->domains.size > 0 ? options->domains : SLICE("sink.test"),
    };
    if (!cast_open(&cast, &all, reason)) {
        return false;
    }
    bool good = cast_end(&cast, round_go(&cast, options, reason), reason) &&
                cast_look(&cast, &counts);
    if (good) {
        round_figures(&cast, &counts, run_out);
    }
    cast_close(&cast);
    return good;
}
