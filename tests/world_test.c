/*
 * The whole MTA in the simulator, by the ledger of tests/world/world.h: what it does when nothing
 * goes wrong, when the network does, at a stop, at its limits. Crashes: world_crash_test.c.
 *
 * SEED=n COUNT=m build/dev/tests/world_test repeats or extends every campaign.
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- nothing goes wrong ----------------------------------------------------------------------- */

static void calm_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.shards = 1 + (unsigned)sim_below(sim, 3);
    world.body_bytes_max = 700 * KIB;
    world.mood.plain = 300;
    /* All four clients may send their largest to one of three shards, and none is refused. */
    world_set(&world, "memory.staging=16MiB");
    world_open(&world);
    if (world_start(&world)) {
        world_mail(&world, 4, 30, 20 * NS_PER_MS);
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void without_faults_every_message_comes_out_once_and_whole_and_is_logged(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "calm", .count = 20, .body = calm_body, .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    assert_true(tally.taken > 0);
    assert_int_equal(tally.refused + tally.unanswered + tally.partial, 0);
    assert_int_equal(tally.duplicates[CAUSE_CRASH] + tally.duplicates[CAUSE_UNCERTAIN], 0);
    assert_int_equal(tally.events, 2 * tally.deliveries);
    assert_int_equal(tally.events_repeated, 0);
    if (getenv("SEED") == NULL) {
        assert_true(tally.large > 0);
    }
}

/* --- the network misbehaves ------------------------------------------------------------------- */

static void network_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.shards = 1 + (unsigned)sim_below(sim, 3);
    world.body_bytes_max = sim_chance(sim, 100) ? 400 * KIB : 6 * KIB;
    world.lossy = true;
    world.aborts = 30;
    world.mood = (struct sink_mood){.defer = 40,
                                    .bounce = 20,
                                    .drop = sim_chance(sim, 500) ? 50 : 0,
                                    .slow = 50,
                                    .slow_ns = 3 * NS_PER_S,
                                    .unasked = sim_chance(sim, 500) ? 30 : 0,
                                    .plain = 300};
    world_short_timeouts(&world);
    world_open(&world);
    if (world_start(&world)) {
        world_mail(&world, 4, 16, NS_PER_S);
        (void)sim_run_for(sim, sim_below(sim, 60 * NS_PER_S));
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void no_network_fault_loses_alters_or_repeats_mail_without_a_reason(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {.name = "network",
                                    .count = 100,
                                    .swarm = WORLD_FAULTS_NETWORK,
                                    .body = network_body,
                                    .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    assert_true(tally.taken > 0);
    if (getenv("SEED") == NULL) {
        assert_true(tally.duplicates[CAUSE_UNCERTAIN] > 0);
        assert_true(tally.bounces > 0 && tally.deferrals > 0 && tally.drops > 0);
        assert_true(tally.unasked > 0);
    }
}

/* --- a server leaves while its word on the mail is still to come ------------------------------ */

static void leaving_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.body_bytes_max = 6 * KIB;
    world.mood = (struct sink_mood){.one_stage = true,
                                    .stage = STAGE_DOT,
                                    .slow = 900,
                                    .slow_ns = 3 * NS_PER_S,
                                    .unasked = 300,
                                    .plain = 300};
    world_open(&world);
    if (world_start(&world)) {
        world_mail(&world, 4, 16, NS_PER_S);
        (void)sim_run_for(sim, 30 * NS_PER_S);
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void what_a_leaving_server_says_it_has_is_not_sent_again(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "leaving", .count = 5, .body = leaving_body, .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    assert_int_equal(tally.duplicates[CAUSE_CRASH] + tally.duplicates[CAUSE_UNCERTAIN], 0);
    if (getenv("SEED") == NULL) {
        assert_true(tally.hurried > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults_every_message_comes_out_once_and_whole_and_is_logged),
        cmocka_unit_test(no_network_fault_loses_alters_or_repeats_mail_without_a_reason),
        cmocka_unit_test(what_a_leaving_server_says_it_has_is_not_sent_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
