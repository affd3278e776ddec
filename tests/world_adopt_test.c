/*
 * Lanes adopted (F-27) when something is in the way: events that were never told, a disk that
 * refuses or is full, an end of the process at each single step. Afterwards the spool is as it was
 * or as it should be: nothing is lost, nothing is there twice, and a start that is let succeeds.
 *
 * SEED=n COUNT=m build/dev/tests/world_adopt_test repeats or extends every campaign.
 */
#include "tests/world/change.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/spool/manifest.h"

#define FLUSH_S    10 /* the event log has nothing of the last seconds */
#define TELL_STRIDE 12 /* of steps while events are told, where each costs a minute */

struct campaign {
    uint64_t replayed;          /* out: events made from the spool again */
    uint64_t moments[MOMENTS];  /* out: of crashes during a start */
    uint64_t refused;           /* out: starts */
    uint64_t old;               /* out: starts with the old number, after refused ones */
    uint64_t steps;             /* out */
    struct world_tally tally;   /* out */
};

static unsigned lanes_of(struct world *world)
{
    char text[MANIFEST_BYTES_MAX];
    struct manifest manifest;
    uint64_t version;
    int64_t size = sim_disk_get(world->disk, "var/spool/manifest", 0, text, sizeof(text));
    if (size < 0 || manifest_get(slice_make(text, (size_t)size), &manifest, &version) !=
                        MANIFEST_GOOD) {
        sim_fail(world->sim, "the manifest is gone or damaged");
        return 0;
    }
    return manifest.lane_count;
}

static void run(const char *name, struct campaign *campaign, unsigned count, sim_body *body)
{
    struct sim_campaign sims = {.name = name, .count = count, .body = body, .context = campaign};
    assert_int_equal(sim_campaign_run(&sims), 0);
    assert_true(campaign->tally.taken > 0);
}

/* --- events ----------------------------------------------------------------------------------- */

/* Ends in the middle of its mail, or when all of it has been tried. */
static bool first_life(struct world *world, bool all)
{
    if (!world_start(world)) {
        return false;
    }
    world_mail(world, 8, CHANGE_MESSAGES, 5 * NS_PER_MS);
    uint64_t some_ns = 20 * NS_PER_MS + sim_below(world->sim, 400 * NS_PER_MS);
    bool good = all ? sim_run_until(world->sim, change_all_wait, world, 5 * 3600 * NS_PER_S)
                    : sim_run_for(world->sim, some_ns);
    if (good) {
        world_crash(world, sim_chance(world->sim, 500));
    }
    return good;
}

static void late_events_body(struct sim *sim, void *context)
{
    struct campaign *campaign = context;
    struct world world;
    change_init(&world, sim, 2 + (unsigned)sim_below(sim, 4));
    world.mood.defer = 500;
    world_set(&world, "log.flush_interval=%us", FLUSH_S);
    world_open(&world);
    bool good = first_life(&world, sim_chance(sim, 300));
    world.shards = 1 + (unsigned)sim_below(sim, world.shards - 1);
    for (uint64_t i = sim_below(sim, 3); i > 0 && good; i--) {
        good = change_start_and_crash(&world, campaign->moments);
    }
    if (good && world_start(&world)) {
        campaign->replayed += world_counter(&world, COUNTER_events_replayed);
        change_finish(&world);
    }
    world_tally_add(&campaign->tally, &world.tally);
    world_close(&world);
}

static void f27_fewer_shards_after_a_crash_tell_what_the_others_had_not(void **state)
{
    (void)state;
    struct campaign campaign = {0};
    run("late events", &campaign, 25, late_events_body);
    assert_true(getenv("SEED") != NULL || campaign.replayed > 0);
    assert_true(getenv("SEED") != NULL || campaign.moments[MOMENT_TELLING] > 0);
}

static bool has_ended(void *context)
{
    enum node_state state = node_state(&((struct world *)context)->node);
    return state == NODE_READY || state == NODE_FAILED;
}

/* The event log cannot be written: the lanes stay, and the line says what is to be done. */
static void no_log_body(struct sim *sim, void *context)
{
    struct campaign *campaign = context;
    struct world world;
    change_init(&world, sim, 3);
    world.mood.defer = 500;
    world_set(&world, "log.flush_interval=%us", FLUSH_S);
    world_open(&world);
    const char *path = world.conf->log.path;
    bool good = first_life(&world, true);
    world.shards = 1;
    world.conf->log.path = "var/spool/lock/log";
    if (good) {
        world_boot(&world);
        good = sim_run_until(sim, has_ended, &world, 600 * NS_PER_S);
    }
    if (good && (node_state(&world.node) != NODE_FAILED ||
                 strcmp(world.node.reason,
                        "spool: the lanes of shards that are gone have events that the event log "
                        "does not take: mend var/spool/lock/log (log.path), or start with "
                        "node.shards = 3") != 0)) {
        sim_fail(sim, "not refused, or for another reason: %s", world.node.reason);
    }
    if (good && !sim_failed(sim)) {
        world_crash(&world, false);
        if (lanes_of(&world) != 3) {
            sim_fail(sim, "%u lanes", lanes_of(&world));
        }
        world.conf->log.path = path;
        world.shards = sim_chance(sim, 500) ? 1 : 3;
        if (world_start(&world)) {
            change_finish(&world);
        }
    }
    world_tally_add(&campaign->tally, &world.tally);
    world_close(&world);
}

static void f27_a_lane_whose_events_cannot_be_told_is_not_adopted(void **state)
{
    (void)state;
    struct campaign campaign = {0};
    run("no log", &campaign, 6, no_log_body);
}

/* --- each step -------------------------------------------------------------------------------- */

enum trouble {
    TROUBLE_KILL,
    TROUBLE_POWER,
    TROUBLE_WRITES, /* from here on fail, until the process ends; so for the next two */
    TROUBLE_SYNCS,
    TROUBLE_SPACE,
    TROUBLES,
};

struct steps {
    struct campaign campaign;
    enum trouble trouble;
    bool clean; /* the lives before ended by a stop */
};

static bool dies(enum trouble trouble)
{
    return trouble == TROUBLE_KILL || trouble == TROUBLE_POWER;
}

/* From the moment on when something of the adoption may be written. */
static bool is_adopting(void *context)
{
    return change_moment(context) >= MOMENT_TELLING || has_ended(context);
}

/* The trouble begins now; the process has ended when this returns. */
static void strike(struct world *world, struct steps *steps)
{
    uint64_t bytes = 512 * MIB;
    if (!dies(steps->trouble)) {
        sim_disk_failing_set(world->disk, steps->trouble == TROUBLE_WRITES,
                             steps->trouble == TROUBLE_SYNCS, false);
        sim_disk_size_set(world->disk, steps->trouble == TROUBLE_SPACE ? 1 : bytes);
        if (!sim_run_until(world->sim, has_ended, world, 600 * NS_PER_S)) {
            sim_fail(world->sim, "a start neither succeeds nor fails");
            return;
        }
        if (node_state(&world->node) == NODE_FAILED) {
            steps->campaign.refused++;
            if (strncmp(world->node.reason, "spool: ", 7) != 0) {
                sim_fail(world->sim, "refused without a reason: %s", world->node.reason);
            }
        }
    }
    world_crash(world, steps->trouble == TROUBLE_POWER);
    sim_disk_failing_set(world->disk, false, false, false);
    sim_disk_size_set(world->disk, bytes);
}

/* As long as the lanes have not changed hands a start with the old number changes nothing. */
static bool old_number(struct world *world, struct steps *steps, unsigned shards,
                       const struct snapshot *before)
{
    unsigned fewer = world->shards;
    if (lanes_of(world) != shards || !sim_chance(world->sim, 20)) {
        return !sim_failed(world->sim);
    }
    world->shards = shards;
    if (world_start(world)) {
        change_expect_same(world, before);
        world_crash(world, false);
        steps->campaign.old++;
    }
    world->shards = fewer;
    return !sim_failed(world->sim);
}

/* Trouble at step after step of the start, until one is reached behind its end. */
static bool each_step(struct world *world, struct steps *steps, unsigned shards,
                      const struct snapshot *before)
{
    uint64_t step = 0;
    bool adopted = false;
    for (;;) {
        world_boot(world);
        bool good = sim_run_until(world->sim, is_adopting, world, 600 * NS_PER_S);
        for (uint64_t i = 0; i < step && good && !has_ended(world); i++) {
            good = sim_step(world->sim);
        }
        if (!good || node_state(&world->node) == NODE_FAILED) {
            sim_fail(world->sim, "a start fails at step %llu: %s", (unsigned long long)step,
                     world->node.reason);
            return false;
        }
        steps->campaign.steps++;
        if (node_state(&world->node) == NODE_READY) {
            change_expect_same(world, before);
            return !sim_failed(world->sim);
        }
        enum moment moment = change_moment(world);
        steps->campaign.moments[moment]++;
        bool long_wait = moment == MOMENT_TELLING && !dies(steps->trouble);
        step += long_wait ? 1 + sim_below(world->sim, TELL_STRIDE) : 1;
        strike(world, steps);
        if (!adopted && lanes_of(world) == world->shards) {
            adopted = true; /* what such a start does then begins at once */
            step = 0;
        }
        if (sim_failed(world->sim) || !old_number(world, steps, shards, before)) {
            return false;
        }
    }
}

static void steps_body(struct sim *sim, void *context)
{
    struct steps *steps = context;
    struct world world;
    struct snapshot before;
    unsigned shards = 3;
    change_init(&world, sim, shards);
    world_set(&world, "log.flush_interval=100ms");
    world_set(&world, "queues.queue.default.retry_interval=4h"); /* the starts take hours */
    world_set(&world, "queues.queue.default.max_retry_interval=4h");
    world.settle_ns = 8 * 3600 * NS_PER_S;
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 8, CHANGE_MESSAGES, 5 * NS_PER_MS);
    good = good && sim_run_until(sim, change_all_wait, &world, 5 * 3600 * NS_PER_S);
    if (good) {
        change_look(&world, &before);
        if (steps->clean) {
            world_stop(&world, 1);
        } else {
            world_crash(&world, false);
        }
        world.shards = 1 + (unsigned)sim_below(sim, shards - 1);
        good = !sim_failed(sim) && each_step(&world, steps, shards, &before);
    }
    if (good) {
        change_finish(&world);
    }
    world_tally_add(&steps->campaign.tally, &world.tally);
    world_close(&world);
}

static void run_steps(enum trouble trouble, unsigned count)
{
    struct steps steps = {.trouble = trouble};
    for (unsigned i = 0; i < 2; i++) {
        struct sim_campaign sims = {
            .name = "steps", .count = count, .body = steps_body, .context = &steps};
        steps.clean = i == 0;
        assert_int_equal(sim_campaign_run(&sims), 0);
    }
    const struct campaign *campaign = &steps.campaign;
    printf("%llu steps, %llu refused, %llu with the old number; at each moment:",
           (unsigned long long)campaign->steps, (unsigned long long)campaign->refused,
           (unsigned long long)campaign->old);
    for (unsigned i = MOMENT_TELLING; i < MOMENT_READY; i++) {
        printf(" %llu", (unsigned long long)campaign->moments[i]);
        assert_true(getenv("SEED") != NULL || campaign->moments[i] > 0);
    }
    printf("\n");
    assert_true(getenv("SEED") != NULL || dies(trouble) || campaign->refused > 0);
}

static void f27_a_kill_at_any_step_of_an_adoption(void **state)
{
    (void)state;
    run_steps(TROUBLE_KILL, 2);
}

static void f27_a_power_cut_at_any_step_of_an_adoption(void **state)
{
    (void)state;
    run_steps(TROUBLE_POWER, 2);
}

static void f27_writes_that_fail_from_any_step_of_an_adoption_on(void **state)
{
    (void)state;
    run_steps(TROUBLE_WRITES, 2);
}

static void f27_syncs_that_fail_from_any_step_of_an_adoption_on(void **state)
{
    (void)state;
    run_steps(TROUBLE_SYNCS, 2);
}

static void f27_a_disk_that_is_full_from_any_step_of_an_adoption_on(void **state)
{
    (void)state;
    run_steps(TROUBLE_SPACE, 2);
}

/* --- anything --------------------------------------------------------------------------------- */

#define FAULTS                                                                                     \
    (SIM_FAULT_BIT(late_completion) | SIM_FAULT_BIT(slow_turn) | SIM_FAULT_BIT(interrupted) |      \
     SIM_FAULT_BIT(short_write) | SIM_FAULT_BIT(short_read) | SIM_FAULT_BIT(slow_disk) |           \
     SIM_FAULT_BIT(write_error) | SIM_FAULT_BIT(sync_error) | SIM_FAULT_BIT(no_space) |            \
     SIM_FAULT_BIT(slow_job) | SIM_FAULT_BIT(job_refused) | SIM_FAULT_BIT(lock_lingers))

static void faults_set(struct sim *sim, bool on)
{
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++) {
        if ((FAULTS >> i & 1) != 0) {
            sim_fault_set(sim, (enum sim_fault)i, on ? (unsigned)sim_below(sim, 100) : 0);
        }
    }
}

/* Starts with all kinds of faults, some of them ended before they are over. */
static void faults_body(struct sim *sim, void *context)
{
    struct campaign *campaign = context;
    struct world world;
    struct snapshot before;
    change_init(&world, sim, 2 + (unsigned)sim_below(sim, 3));
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 8, CHANGE_MESSAGES, 5 * NS_PER_MS);
    good = good && sim_run_until(sim, change_all_wait, &world, 5 * 3600 * NS_PER_S);
    if (good) {
        change_look(&world, &before);
        world_crash(&world, sim_chance(sim, 500));
    }
    unsigned shards = world.shards;
    for (unsigned i = 0; i < 6 && good; i++) {
        world.shards = 1 + (unsigned)sim_below(sim, shards);
        world_boot(&world);
        faults_set(sim, true);
        good = sim_run_until(sim, has_ended, &world,
                             sim_chance(sim, 500) ? 600 * NS_PER_S : sim_below(sim, NS_PER_S));
        campaign->refused += node_state(&world.node) == NODE_FAILED;
        campaign->moments[change_moment(&world)]++;
        faults_set(sim, false);
        good = !sim_failed(sim);
        world_crash(&world, sim_chance(sim, 300));
    }
    if (good && sim_run_for(sim, 2 * NS_PER_S) && world_start(&world)) {
        change_expect_same(&world, &before);
        change_finish(&world);
    }
    world_tally_add(&campaign->tally, &world.tally);
    world_close(&world);
}

static void f27_faults_during_an_adoption_lose_nothing(void **state)
{
    (void)state;
    struct campaign campaign = {0};
    run("faults", &campaign, 30, faults_body);
    printf("%llu starts refused\n", (unsigned long long)campaign.refused);
    assert_true(getenv("SEED") != NULL || campaign.refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f27_fewer_shards_after_a_crash_tell_what_the_others_had_not),
        cmocka_unit_test(f27_a_lane_whose_events_cannot_be_told_is_not_adopted),
        cmocka_unit_test(f27_a_kill_at_any_step_of_an_adoption),
        cmocka_unit_test(f27_a_power_cut_at_any_step_of_an_adoption),
        cmocka_unit_test(f27_writes_that_fail_from_any_step_of_an_adoption_on),
        cmocka_unit_test(f27_syncs_that_fail_from_any_step_of_an_adoption_on),
        cmocka_unit_test(f27_a_disk_that_is_full_from_any_step_of_an_adoption_on),
        cmocka_unit_test(f27_faults_during_an_adoption_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
