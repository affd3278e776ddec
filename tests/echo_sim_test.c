/*
 * The echo service under every network fault: whatever happens, bytes come back equal or the
 * connection ends for a reason, and at the end everything is home.
 *
 * COUNT=200000 build/release/tests/echo_sim_test runs that many seeds and prints how often each
 * fault struck; SEED=n repeats one.
 */
#include "tests/kit/echo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/shards.h"

#define CLIENTS_MAX 4
#define NETWORK_FAULTS                                                                             \
    (SIM_FAULTS_HARMLESS | SIM_FAULT_BIT(reset) | SIM_FAULT_BIT(black_hole) |                      \
     SIM_FAULT_BIT(refuse) | SIM_FAULT_BIT(unreachable) | SIM_FAULT_BIT(connect_silence) |         \
     SIM_FAULT_BIT(no_descriptors) | SIM_FAULT_BIT(wall_jump))

/* What the faults of this campaign led to, to prove that every path was walked. */
struct tally {
    uint64_t results[ECHO_WRONG + 1];
    uint64_t ends[STREAM_LOCAL + 1];
    uint64_t bytes;
    uint64_t paused;
    uint64_t starved;
    unsigned quit_per_mille; /* in: the server's */
    unsigned buffer_sizes; /* in: 4 << 0 … 4 << (this - 1) provided buffers */
};

/* Clients on shard 1, the server on shard 0; each client reports to shard 0 by mail when done. */
struct run {
    struct sim *sim;
    struct tally *tally;
    struct sim_shards shards;
    struct echo_server server;
    struct reporter {
        struct echo_client client; /* first: found from it */
        struct mail mail;
        struct run *run;
    } reporters[CLIENTS_MAX];
    unsigned clients;
    unsigned reported;
    unsigned home;
};

static void report_home(struct shard *receiver, struct mail *mail)
{
    (void)receiver;
    CONTAINER_OF(mail, struct reporter, mail)->run->home += 1;
}

static void report_arrives(struct shard *receiver, struct mail *mail)
{
    CONTAINER_OF(mail, struct reporter, mail)->run->reported += 1;
    mail->arrive = report_home;
    shard_send(receiver, 1, mail);
}

static void client_ended(struct echo_client *client)
{
    struct reporter *reporter = CONTAINER_OF(client, struct reporter, client);
    struct run *run = reporter->run;
    if (client->result == ECHO_WRONG) {
        sim_fail(run->sim, "other bytes came back after %llu",
                 (unsigned long long)client->checked);
    }
    if (client->result == ECHO_WHOLE && client->checked != client->size) {
        sim_fail(run->sim, "whole, but not all of it");
    }
    if (client->result == ECHO_ENDED && client->end == STREAM_OPEN) {
        sim_fail(run->sim, "ended for no reason");
    }
    run->tally->results[client->result] += 1;
    run->tally->ends[client->end] += 1;
    run->tally->bytes += client->checked;
    reporter->mail = (struct mail){.arrive = report_arrives};
    shard_send(client->shard, 0, &reporter->mail);
}

static bool all_home(void *context)
{
    const struct run *run = context;
    return run->home == run->clients;
}

static bool all_stopped(void *context)
{
    const struct run *run = context;
    return run->server.stopped;
}

/* Held input and starvation, seen from outside while the run goes on. */
static void look(void *context)
{
    struct run *run = context;
    for (unsigned i = 0; i < ECHO_CONNECTIONS_MAX; i += 1) {
        const struct echo_connection *connection = &run->server.connections[i];
        run->tally->paused += connection->used && connection->stream.paused;
        run->tally->starved += connection->used && connection->stream.starved;
    }
}

static void start_clients(struct run *run, const struct endpoint *where)
{
    struct sim *sim = run->sim;
    run->clients = 1 + (unsigned)sim_below(sim, CLIENTS_MAX);
    for (unsigned i = 0; i < run->clients; i += 1) {
        struct reporter *reporter = &run->reporters[i];
        struct echo_client *client = &reporter->client;
        reporter->run = run;
        client->done = client_ended;
        client->size = 1 + sim_below(sim, sim_chance(sim, 200) ? 20000 : 400);
        client->quit_at = sim_chance(sim, 150) ? 1 + sim_below(sim, client->size) : 0;
        client->deadline_ns = sim_chance(sim, 100) ? 1 + sim_below(sim, 500 * NS_PER_MS)
                                                   : 1800 * NS_PER_S;
        client->nap_per_mille = sim_chance(sim, 200) ? 100 : 0;
        echo_client_start(client, &run->shards.shards[1], where);
    }
}

static void echo_body(struct sim *sim, void *context)
{
    struct run *run = calloc(1, sizeof(*run));
    run->sim = sim;
    run->tally = context;
    struct sim_node *node = sim_node_open(sim, NULL);
    uint32_t buffers = 4u << sim_below(sim, run->tally->buffer_sizes);
    sim_shards_boot(&run->shards, node, 2, buffers, 8u << sim_below(sim, 6));
    struct endpoint where = sim_node_endpoint(node, 7);
    struct endpoint bound;
    int result = echo_server_start(&run->server, &run->shards.shards[0], &where, &bound);
    assert_int_equal(result, 0);
    run->server.nap_per_mille = sim_chance(sim, 300) ? 100 : 0;
    run->server.quit_per_mille = sim_chance(sim, 300) ? run->tally->quit_per_mille : 0;
    start_clients(run, &bound);
    for (unsigned i = 0; i < 8; i += 1) {
        sim_after(sim, sim_below(sim, NS_PER_S), look, run);
    }
    if (!sim_run_until(sim, all_home, run, 7200 * NS_PER_S)) {
        sim_fail(sim, "clients are not done");
    }
    if (!sim_failed(sim)) {
        echo_server_stop(&run->server);
        ring_wake(run->shards.shards[0].ring);
        if (!sim_run_until(sim, all_stopped, run, 60 * NS_PER_S)) {
            sim_fail(sim, "the server does not stop");
        }
    }
    (void)sim_run_for(sim, NS_PER_S);
    sim_shards_stop(&run->shards);
    free(run);
}

static struct sim_campaign campaign(struct tally *tally, const char *name, uint64_t swarm)
{
    return (struct sim_campaign){
        .name = name, .count = 2000, .swarm = swarm, .body = echo_body, .context = tally};
}

static void every_byte_comes_back_or_the_connection_ends_for_a_reason(void **state)
{
    (void)state;
    struct tally tally = {.quit_per_mille = 30, .buffer_sizes = 5};
    struct sim_campaign all = campaign(&tally, "echo", NETWORK_FAULTS);
    assert_int_equal(sim_campaign_run(&all), 0);
    if (getenv("SEED") != NULL) {
        return;
    }
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i += 1) {
        bool disk = i == SIM_FAULT_short_write || i == SIM_FAULT_short_read ||
                    i == SIM_FAULT_slow_job || i == SIM_FAULT_lock_lingers;
        if ((NETWORK_FAULTS >> i & 1) != 0 && !disk && all.totals[i] == 0) {
            fail_msg("%s never struck", sim_fault_name(i));
        }
    }
    printf("whole %llu gone %llu ended %llu late %llu; paused %llu starved %llu; %llu bytes\n",
           (unsigned long long)tally.results[ECHO_WHOLE],
           (unsigned long long)tally.results[ECHO_GONE],
           (unsigned long long)tally.results[ECHO_ENDED],
           (unsigned long long)tally.results[ECHO_TIMED_OUT], (unsigned long long)tally.paused,
           (unsigned long long)tally.starved, (unsigned long long)tally.bytes);
    for (unsigned i = ECHO_WHOLE; i < ECHO_WRONG; i += 1) {
        assert_true(tally.results[i] > 0);
    }
    for (unsigned i = STREAM_RESET; i < STREAM_LOCAL; i += 1) {
        assert_true(tally.ends[i] > 0);
    }
    assert_true(tally.paused > 0);
    assert_true(tally.starved > 0);
}

static void without_harmful_faults_every_byte_comes_back(void **state)
{
    (void)state;
    struct tally tally = {.buffer_sizes = 8};
    struct sim_campaign harmless =
        campaign(&tally, "echo, harmless", SIM_FAULTS_HARMLESS & ~SIM_FAULT_BIT(accept_aborted));
    harmless.count = 500;
    assert_int_equal(sim_campaign_run(&harmless), 0);
    assert_int_equal(tally.results[ECHO_ENDED], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_comes_back_or_the_connection_ends_for_a_reason),
        cmocka_unit_test(without_harmful_faults_every_byte_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
