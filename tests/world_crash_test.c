/*
 * The whole MTA, killed and cut off from power at any moment, and started again: what was
 * acknowledged arrives, whole; what comes twice has a reason.
 *
 * SEED=n COUNT=m build/dev/tests/world_crash_test repeats or extends every campaign.
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct crashes {
    struct world_tally tally; /* out */
    unsigned lives;           /* crashes of one run, at most */
    unsigned power;           /* in a thousand crashes; the others are kills */
    unsigned early;           /* in a thousand crashes: during recovery */
    const char *sync;
    bool may_lose;
    bool lossy;               /* the swarm has faults of the network */
    uint32_t messages;        /* 24 */
    uint32_t body_bytes_max;  /* 0: by chance */
    uint64_t reused;          /* out: segments that were used again */
};

/* A moment between microseconds and seconds, no scale preferred. */
static uint64_t moment_ns(struct sim *sim, uint64_t most_ns)
{
    uint64_t scale = 30 * NS_PER_US << sim_below(sim, 17);
    return 1 + sim_below(sim, MIN_OF(scale, most_ns));
}

static void world_make(struct world *world, struct sim *sim, const struct crashes *crashes)
{
    world_init(world, sim);
    world->shards = sim_chance(sim, 300) ? 2 : 1;
    world->body_bytes_max = sim_chance(sim, 200) ? 700 * KIB : 12 * KIB;
    world->think_ns = moment_ns(sim, 50 * NS_PER_MS);
    world->may_lose = crashes->may_lose;
    world->lossy = crashes->lossy;
    if (crashes->body_bytes_max > 0) {
        world->body_bytes_max = crashes->body_bytes_max;
        world->large = 500;
        world_set(world, "spool.segment_size=1MiB");
    }
    if (crashes->lossy) {
        world_short_timeouts(world);
        world->window_ns += 12 * NS_PER_S; /* slow disks and turns */
    }
    world->aborts = sim_chance(sim, 300) ? 50 : 0;
    world->mood = (struct sink_mood){
        .defer = sim_chance(sim, 500) ? 80 : 0,
        .bounce = sim_chance(sim, 300) ? 50 : 0,
        .slow = sim_chance(sim, 300) ? 100 : 0,
        .slow_ns = 20 * NS_PER_MS,
        .plain = 300,
    };
    world_log_vary(world);
    if (crashes->sync != NULL) {
        world_set(world, "spool.sync=%s", crashes->sync);
    }
    world_open(world);
}

/* Boots, and sometimes crashes before the node is ready: then again, until it is. */
static bool start_again(struct world *world, const struct crashes *crashes)
{
    struct sim *sim = world->sim;
    unsigned tries = 0;
    while (tries++ < 3 && sim_chance(sim, crashes->early)) {
        world_boot(world);
        if (!sim_run_for(sim, moment_ns(sim, 10 * NS_PER_MS))) {
            return false;
        }
        world_crash(world, sim_chance(sim, crashes->power));
    }
    return world_start(world);
}

static void crash_body(struct sim *sim, void *context)
{
    struct crashes *crashes = context;
    struct world world;
    world_make(&world, sim, crashes);
    bool good = world_start(&world);
    world_mail(&world, 4, crashes->messages > 0 ? crashes->messages : 24, 5 * NS_PER_MS);
    unsigned lives = 1 + (unsigned)sim_below(sim, crashes->lives);
    for (unsigned i = 0; i < lives && good; i++) {
        if (!sim_run_for(sim, moment_ns(sim, NS_PER_S))) {
            break;
        }
        world_crash(&world, sim_chance(sim, crashes->power));
        good = start_again(&world, crashes);
    }
    if (good) {
        world_finish(&world);
    }
    crashes->reused += world_segments_reused(&world);
    world_tally_add(&crashes->tally, &world.tally);
    world_close(&world);
}

static void f01_no_kill_loses_or_alters_mail(void **state)
{
    (void)state;
    struct crashes crashes = {.lives = 2};
    struct sim_campaign campaign = {
        .name = "kill", .count = 100, .body = crash_body, .context = &crashes};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&crashes.tally);
    assert_true(crashes.tally.crashes > 0);
}

static void f01b_a_kill_during_recovery_and_after_appending_again_loses_nothing(void **state)
{
    (void)state;
    struct crashes crashes = {.lives = 4, .early = 600, .power = 300};
    struct sim_campaign campaign = {
        .name = "kill in recovery", .count = 40, .body = crash_body, .context = &crashes};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&crashes.tally);
    assert_true(crashes.tally.phases[PHASE_START] > 0);
}

static bool any_taken(void *context)
{
    const struct world *world = context;
    for (uint32_t i = 0; i < world->message_count; i++) {
        if (world->messages[i].fate == FATE_TAKEN) {
            return true;
        }
    }
    return false;
}

/* A kill while the first files are made; a power cut at the first "250" of the next life. */
static void names_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world_open(&world);
    world_boot(&world);
    (void)sim_run_for(sim, 2 * NS_PER_MS + sim_below(sim, 5 * NS_PER_MS));
    world_crash(&world, false);
    bool good = world_start(&world);
    world_mail(&world, 2, 4, 0);
    if (good && sim_run_until(sim, any_taken, &world, 60 * NS_PER_S)) {
        world_crash(&world, true);
        good = world_start(&world);
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void f01b_names_that_a_killed_process_left_are_durable_before_mail_stands_under_them(
    void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "names", .count = 60, .body = names_body, .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
}

static void f01c_no_power_cut_loses_or_alters_mail(void **state)
{
    (void)state;
    struct crashes crashes = {.lives = 2, .power = 1000};
    struct sim_campaign campaign = {
        .name = "power cut", .count = 100, .body = crash_body, .context = &crashes};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&crashes.tally);
}

static void f01c_under_every_fault_of_network_and_disk_nothing_taken_is_lost(void **state)
{
    (void)state;
    struct crashes crashes = {.lives = 3, .early = 200, .power = 500, .lossy = true};
    struct sim_campaign campaign = {.name = "everything",
                                    .count = 40,
                                    .swarm = WORLD_FAULTS_NETWORK | WORLD_FAULTS_DISK,
                                    .body = crash_body,
                                    .context = &crashes};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&crashes.tally);
}

static void f01_segments_that_are_used_again_never_cost_mail(void **state)
{
    (void)state;
    struct crashes crashes = {
        .lives = 3, .power = 500, .messages = 60, .body_bytes_max = 700 * KIB};
    struct sim_campaign campaign = {
        .name = "reuse", .count = 10, .body = crash_body, .context = &crashes};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&crashes.tally);
    printf("segments used again: %llu\n", (unsigned long long)crashes.reused);
    if (getenv("SEED") == NULL) {
        assert_true(crashes.tally.large > 0 && crashes.reused > 0);
    }
}

static void the_same_seed_gives_the_same_run(void **state)
{
    (void)state;
    uint64_t hashes[2];
    for (unsigned i = 0; i < 2; i++) {
        struct crashes crashes = {.lives = 3, .early = 200, .power = 500, .lossy = true};
        struct sim_options options = {.seed = 42,
                                      .swarm = WORLD_FAULTS_NETWORK | WORLD_FAULTS_DISK};
        struct sim *sim = sim_open(&options);
        crash_body(sim, &crashes);
        assert_string_equal(sim_failure(sim), "");
        hashes[i] = sim_hash(sim);
        sim_close(sim);
    }
    assert_true(hashes[0] == hashes[1]);
}

/* The judge can see a loss: without syncs a power cut costs mail that was acknowledged. */
static void f01c_without_syncs_power_cuts_lose_mail(void **state)
{
    (void)state;
    struct crashes crashes = {.lives = 2, .power = 1000, .sync = "none", .may_lose = true};
    struct sim_campaign campaign = {
        .name = "no sync", .count = 10, .body = crash_body, .context = &crashes, .quiet = true};
    (void)sim_campaign_run(&campaign);
    assert_true(crashes.tally.lost > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f01_no_kill_loses_or_alters_mail),
        cmocka_unit_test(f01b_a_kill_during_recovery_and_after_appending_again_loses_nothing),
        cmocka_unit_test(
            f01b_names_that_a_killed_process_left_are_durable_before_mail_stands_under_them),
        cmocka_unit_test(f01c_no_power_cut_loses_or_alters_mail),
        cmocka_unit_test(f01c_under_every_fault_of_network_and_disk_nothing_taken_is_lost),
        cmocka_unit_test(f01_segments_that_are_used_again_never_cost_mail),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
        cmocka_unit_test(f01c_without_syncs_power_cuts_lose_mail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
