/*
 * Source and sink under every network fault: what was answered 250 the sink has, whole; what is in
 * doubt is counted as such; both end, and everything is home.
 */
#include "bench/source.h"

#include <stdlib.h>

#include "bench/sink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/sim/shards.h"

#define MESSAGES 40u
#define NETWORK_FAULTS                                                                             \
    (SIM_FAULTS_HARMLESS | SIM_FAULT_BIT(reset) | SIM_FAULT_BIT(black_hole) |                      \
     SIM_FAULT_BIT(refuse) | SIM_FAULT_BIT(unreachable) | SIM_FAULT_BIT(connect_silence))
#define HARMLESS (SIM_FAULTS_HARMLESS & ~SIM_FAULT_BIT(accept_aborted))

struct totals {
    uint64_t accepted;
    uint64_t lost;
    uint64_t reconnects;
};

struct world {
    struct sim_shards shards;
    struct sink_rules rules;
    struct sink_result sink_result;
    struct source_result source_result;
    struct tally tally;
    struct domains domains;
    struct sink sink;
    struct source source;
};

static bool is_source_done(void *context)
{
    return source_done(&((struct world *)context)->source);
}

static bool is_sink_stopped(void *context)
{
    return sink_stopped(&((struct world *)context)->sink);
}

static void world_begin(struct world *world, struct sim *sim, struct sim_node *node)
{
    char why[128];
    struct buf reason;
    buf_init(&reason, why, sizeof(why));
    enum bench_mode mode = (enum bench_mode)(MODE_PLAIN + sim_below(sim, 3));
    uint32_t buffers = 8u << sim_below(sim, 4);
    sim_shards_boot(&world->shards, node, 2, buffers, 16u << sim_below(sim, 6));
    world->rules.hostname = "sink.test";
    world->rules.mode = mode;
    world->rules.latency_ms = sim_chance(sim, 300) ? 20 : 0;
    struct tally_options tally = {.result = &world->sink_result, .expected = MESSAGES};
    assert_true(tally_init(&world->tally, &tally));
    assert_true(script_read(&world->rules.script, SLICE("mail * chance=5% 451 4.3.0 no\n"),
                            &reason));
    assert_true(domains_read(&world->domains, SLICE("a.test"), &reason));
    struct sink_options sink = {.listen = sim_node_endpoint(node, 25),
                                .socket = {.congestion = "", .backlog = 64},
                                .rules = &world->rules,
                                .tally = &world->tally,
                                .connections = 400};
    struct source_load source = {.socket = {.congestion = ""}, .messages = MESSAGES,
                                    .size = 320 + (size_t)sim_below(sim, 1500), .connections = 4,
                                    .rcpts = 1 + (unsigned)sim_below(sim, 3), .mode = mode,
                                    .domains = &world->domains, .retry_ns = 7200 * NS_PER_S};
    world->tally.copies = source.rcpts;
    assert_int_equal(sink_start(&world->sink, &world->shards.shards[0], &sink, &source.connect),
                     0);
    assert_int_equal(source_start(&world->source, &world->shards.shards[1], &source,
                                  &world->source_result), 0);
}

static void world_judge(struct world *world, struct sim *sim)
{
    struct source_result *source = &world->source_result;
    struct sink_result *sink = &world->sink_result;
    if (source->accepted + source->lost + source->failed != MESSAGES) {
        sim_fail(sim, "messages are not accounted for");
    } else if (sink->messages < source->accepted ||
               sink->messages > source->accepted + source->lost) {
        sim_fail(sim, "the sink has other messages than were answered");
    } else if (sink->differing + sink->foreign + sink->duplicates > 0) {
        sim_fail(sim, "a body differs or came twice");
    }
}

static void bench_body(struct sim *sim, void *context)
{
    struct totals *totals = context;
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world_begin(world, sim, sim_node_open(sim, NULL));
    if (!sim_run_until(sim, is_source_done, world, 36000 * NS_PER_S)) {
        sim_fail(sim, "the source is not done");
    }
    if (!sim_failed(sim)) {
        sink_stop(&world->sink);
        ring_wake(world->shards.shards[0].ring);
        if (!sim_run_until(sim, is_sink_stopped, world, 600 * NS_PER_S)) {
            sim_fail(sim, "the sink does not stop");
        }
        world_judge(world, sim);
    }
    totals->accepted += world->source_result.accepted;
    totals->lost += world->source_result.lost;
    totals->reconnects += world->source_result.reconnects;
    (void)sim_run_for(sim, NS_PER_S);
    sim_shards_stop(&world->shards);
    source_fini(&world->source);
    sink_fini(&world->sink);
    domains_fini(&world->domains);
    tally_fini(&world->tally);
    script_fini(&world->rules.script);
    free(world);
}

static void what_was_answered_arrived_whole_whatever_the_network_does(void **state)
{
    (void)state;
    struct totals totals = {0};
    struct sim_campaign all = {.name = "bench", .count = 150, .swarm = NETWORK_FAULTS,
                               .body = bench_body, .context = &totals};
    assert_int_equal(sim_campaign_run(&all), 0);
    if (getenv("SEED") == NULL) {
        assert_true(totals.accepted > 0);
        assert_true(totals.lost > 0);
        assert_true(totals.reconnects > 0);
    }
}

static void under_harmless_faults_every_message_is_answered_once(void **state)
{
    (void)state;
    struct totals totals = {0};
    struct sim_campaign harmless = {.name = "bench, harmless", .count = 100, .swarm = HARMLESS,
                                    .body = bench_body, .context = &totals};
    assert_int_equal(sim_campaign_run(&harmless), 0);
    assert_int_equal(totals.lost, 0);
    assert_int_equal(totals.reconnects, 0);
    assert_int_equal(totals.accepted % MESSAGES, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_answered_arrived_whole_whatever_the_network_does),
        cmocka_unit_test(under_harmless_faults_every_message_is_answered_once),
    };
    return cmocka_run_group_tests_name("bench_sim", tests, NULL, NULL);
}
