/*
 * Requests to inject with an Idempotency-Key (H-15), in the whole MTA and the simulator: clients
 * ask until they are answered, through kills, power cuts, stops and broken networks. Whatever
 * happens between, before and behind the commits, every message is delivered once, whole requests
 * or none.
 *
 * SEED=n COUNT=m build/dev/tests/world_keys_test repeats or extends every campaign.
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void world_of_keys(struct world *world, struct sim *sim)
{
    world_init(world, sim);
    world->shards = 1 + (unsigned)sim_below(sim, 3);
    world->body_bytes_max = 6 * KIB;
    world->injected = 1000;
    world->keyed = 800;
}

/* --- crashes ---------------------------------------------------------------------------------- */

static void crash_body(struct sim *sim, void *context)
{
    struct world world;
    world_of_keys(&world, sim);
    world_open(&world);
    bool good = world_start(&world);
    for (unsigned i = 0; i < 4 && good; i++) {
        world_mail(&world, 4, 24, 20 * NS_PER_MS);
        (void)sim_run_for(sim, sim_below(sim, 40 * NS_PER_MS));
        world_crash(&world, sim_chance(sim, 500));
        good = world_start(&world);
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void h15_a_request_that_a_crash_ends_is_asked_again_and_done_once(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "keys-crash", .count = 60, .swarm = SIM_FAULTS_POWER, .body = crash_body,
        .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    printf("asked again %llu, voided %llu\n", (unsigned long long)tally.asked_again,
           (unsigned long long)tally.voided);
    assert_true(tally.taken > 0 && tally.crashes > 0);
    assert_int_equal(tally.lost, 0);
    if (getenv("SEED") == NULL) {
        assert_true(tally.asked_again > 0 && tally.voided > 0);
    }
}

/* --- the network ------------------------------------------------------------------------------ */

static void network_body(struct sim *sim, void *context)
{
    struct world world;
    world_of_keys(&world, sim);
    world.lossy = true;
    world_short_timeouts(&world);
    world_open(&world);
    if (world_start(&world)) {
        world_mail(&world, 4, 24, NS_PER_S);
        (void)sim_run_for(sim, sim_below(sim, 60 * NS_PER_S));
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void h15_an_answer_that_is_lost_is_given_again(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {.name = "keys-network",
                                    .count = 40,
                                    .swarm = WORLD_FAULTS_NETWORK,
                                    .body = network_body,
                                    .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    assert_true(tally.taken > 0);
    assert_int_equal(tally.voided, 0); /* no process has ended */
    if (getenv("SEED") == NULL) {
        assert_true(tally.asked_again > 0);
    }
}

/* --- disks ------------------------------------------------------------------------------------ */

#define DISK_FAULTS (WORLD_FAULTS_DISK | SIM_FAULT_BIT(slow_job) | SIM_FAULT_BIT(no_space))

static void disk_body(struct sim *sim, void *context)
{
    struct world world;
    world_of_keys(&world, sim);
    world.window_ns += 12 * NS_PER_S; /* slow disks */
    world_open(&world);
    bool good = world_start(&world);
    for (unsigned i = 0; i < 3 && good; i++) {
        world_mail(&world, 4, 24, 20 * NS_PER_MS);
        (void)sim_run_for(sim, sim_below(sim, 4 * NS_PER_S));
        if (sim_chance(sim, 300)) {
            world_stop(&world, 1 + (unsigned)sim_below(sim, 2));
        } else {
            world_crash(&world, sim_chance(sim, 500));
        }
        good = !sim_failed(sim) && world_start(&world);
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void h15_a_book_that_cannot_be_written_promises_nothing(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {.name = "keys-disk",
                                    .count = 40,
                                    .swarm = DISK_FAULTS,
                                    .body = disk_body,
                                    .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    assert_true(tally.taken > 0);
    assert_int_equal(tally.lost, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(h15_a_request_that_a_crash_ends_is_asked_again_and_done_once),
        cmocka_unit_test(h15_an_answer_that_is_lost_is_given_again),
        cmocka_unit_test(h15_a_book_that_cannot_be_written_promises_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
