/*
 * Kill points and power cuts, each with at least a thousand acknowledged recipients behind it: the
 * whole MTA in long lives, ended anywhere and steered to where it hurts, some of its mail deferred
 * from the first life to the last. After every start the rows are held against the ledger; at the
 * end everything must have arrived, whole, and nothing twice without a reason.
 *
 * Here a few worlds; `make campaign` runs thousands of points from the release build. By hand: the
 * worlds SEED … SEED + COUNT - 1 of one kind, totals as name=value:
 * SEED=n COUNT=m ONLY=kills|cuts|control build/release/tests/campaign_test
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEHIND          1000 /* acknowledged recipients before the first point */
#define POINTS          24   /* of a world; a start that is ended early is one more */
#define FIRST_MESSAGES  180
#define MORE_MESSAGES   30
#define CLIENTS         4
#define FILL_NS         (1800 * NS_PER_S)
#define AIM_NS          (2 * NS_PER_S)
#define LONG_NS         (100 * NS_PER_S) /* segments grow old enough to be emptied */
/* All that can happen to a node that has no source addresses of its own. */
#define FAULTS (SIM_FAULTS_ALL & ~SIM_FAULT_BIT(source_missing))

struct campaign {
    unsigned read_error; /* of this world, once it has started */
    unsigned power;  /* in a thousand points; the others are kills */
    unsigned mixed;  /* the same, in every other world */
    unsigned cuts;   /* of this world: power or mixed */
    bool calm;       /* no faults but those of a power cut */
    const char *sync;
    bool may_lose;
    struct world_tally tally; /* out */
    uint64_t worlds;
    uint64_t points;
    uint64_t acknowledged_min; /* before a point; the least */
    uint64_t reused;
};

/* --- a world ---------------------------------------------------------------------------------- */

/* Only what a power cut does: the window of what may come twice is held to the millisecond. */
static void calm(struct sim *sim)
{
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++) {
        if ((SIM_FAULTS_POWER >> i & 1) == 0) {
            sim_fault_set(sim, (enum sim_fault)i, 0);
        }
    }
}

static void world_make(struct world *world, struct sim *sim, const struct campaign *campaign)
{
    bool is_calm = campaign->calm || sim_chance(sim, 300);
    if (is_calm) {
        calm(sim);
    }
    sim_wall_jumps_small(sim);
    world_init(world, sim);
    world->shards = sim_chance(sim, 300) ? 2 : 1;
    world->recipients_max = WORLD_RECIPIENTS_MAX;
    world->think_ns = sim_chance(sim, 500) ? 2 * NS_PER_MS : 20 * NS_PER_MS;
    bool large = sim_chance(sim, 200);
    world->body_bytes_max = large ? 400 * KIB : 4 * KIB;
    world->segment_bytes = large ? MIB : 64 * KIB << sim_below(sim, 3);
    world->large = 10;
    world->stubborn = 100;
    world->may_lose = campaign->may_lose;
    world->aborts = sim_chance(sim, 300) ? 30 : 0;
    world->mood = (struct sink_mood){
        .defer = sim_chance(sim, 500) ? 50 : 0,
        .bounce = sim_chance(sim, 300) ? 20 : 0,
        .drop = !is_calm && sim_chance(sim, 300) ? 20 : 0,
        .slow = sim_chance(sim, 300) ? 50 : 0,
        .slow_ns = 20 * NS_PER_MS,
        .plain = 300,
    };
    world_set(world, "queues.queue.default.max_retry_interval=2s");
    world_set(world, "queues.queue.default.max_age=366 days");
    world_log_vary(world);
    if (!is_calm) {
        world->lossy = true;
        world->window_ns += 12 * NS_PER_S; /* the way of a reply through slow nets and turns */
        world->settle_ns = 2 * 86400 * NS_PER_S; /* what is due when the clock was turned back */
        world_short_timeouts(world);
    }
    if (sim_chance(sim, 300)) { /* two sources, the second slow to be chosen */
        world_set(world, "sources.source={a={source_address=\"10.0.9.1\"},"
                         "b={source_address=\"10.0.9.2\"}}");
        world_set(world, "sources.pool.p={a={weight=3},b={weight=1}}");
        world_set(world, "queues.queue.default.egress_pool=p");
        world_set(world, "shaping.default.sources.b.source_selection_rate=\"100/s\"");
    }
    if (sim_chance(sim, 300)) { /* by names */
        world_set(world, "dns.servers=[]");
        world_set(world, "dns.static=\"d0.test. MX 1 mx.test.\\nmx.test. A 10.0.3.0\\n"
                         "d1.test. CNAME d0.test.\\nd2.test. A 10.0.3.1\\n\"");
        for (unsigned i = 0; i < WORLD_DOMAINS; i++) {
            world_set(world, "queues.queue.\"d%u.test\".protocol=smtp", i);
        }
    }
    if (campaign->sync != NULL) {
        world_set(world, "spool.sync=%s", campaign->sync);
    }
    world_open(world);
}

/* --- points ----------------------------------------------------------------------------------- */

/*
 * What a start cannot read it takes for damage: named, and gone. That a device which refuses a page
 * twice loses mail is no fault of ours; so reads fail only while mail is delivered. And of a
 * hundred files one would always be refused, if not all descriptors were there that a start wants.
 */
static bool start(struct world *world, const struct campaign *campaign)
{
    unsigned no_descriptors = sim_fault_rate(world->sim, SIM_FAULT_no_descriptors);
    sim_fault_set(world->sim, SIM_FAULT_read_error, 0);
    sim_fault_set(world->sim, SIM_FAULT_no_descriptors, 0);
    bool good = world_start(world);
    sim_fault_set(world->sim, SIM_FAULT_no_descriptors, no_descriptors);
    sim_fault_set(world->sim, SIM_FAULT_read_error, campaign->read_error);
    return good;
}

/* Boots; sometimes that life ends before it listens, which is a point like any other. */
static bool start_again(struct world *world, struct campaign *campaign)
{
    struct sim *sim = world->sim;
    for (unsigned i = 0; i < 3 && sim_chance(sim, 300); i++) {
        sim_fault_set(sim, SIM_FAULT_read_error, 0);
        world_boot(world);
        (void)sim_run_for(sim, 1 + sim_below(sim, 100 * NS_PER_US << sim_below(sim, 10)));
        if (sim_failed(sim)) {
            return false;
        }
        campaign->points += 1;
        world_crash(world, sim_chance(sim, campaign->cuts));
    }
    if (!start(world, campaign)) {
        return false;
    }
    world_rows_check(world);
    return !sim_failed(sim);
}

static bool point(struct world *world, struct campaign *campaign)
{
    campaign->points += 1;
    campaign->acknowledged_min = MIN_OF(campaign->acknowledged_min, world->taken_recipients);
    world_crash(world, sim_chance(world->sim, campaign->cuts));
    return start_again(world, campaign);
}

/* --- running to somewhere --------------------------------------------------------------------- */

struct aim {
    struct world *world;
    enum world_phase phase;
};

static bool aim_reached(void *context)
{
    const struct aim *aim = context;
    return world_phase(aim->world, aim->phase);
}

static bool behind_or_broken(void *context)
{
    const struct world *world = context;
    return world->taken_recipients >= BEHIND || world_handed_in(context) || world_broken(world);
}

/* A lane that stores nothing any more wants its process ended: a supervisor does that. */
static bool mend(struct world *world, struct campaign *campaign)
{
    if (!world_broken(world)) {
        return true;
    }
    world->tally.broken++;
    world_crash(world, sim_chance(world->sim, campaign->cuts));
    if (!start(world, campaign)) {
        return false;
    }
    world_rows_check(world);
    return !sim_failed(world->sim);
}

/* Until a thousand recipients are acknowledged. */
static bool fill(struct world *world, struct campaign *campaign)
{
    uint64_t until_ns = sim_now_ns(world->sim) + FILL_NS;
    while (world->taken_recipients < BEHIND) {
        if (world_handed_in(world)) {
            world_mail(world, CLIENTS, FIRST_MESSAGES, 5 * NS_PER_MS);
        }
        (void)sim_run_until(world->sim, behind_or_broken, world, 60 * NS_PER_S);
        if (sim_failed(world->sim) || !mend(world, campaign)) {
            return false;
        }
        if (sim_now_ns(world->sim) > until_ns) {
            sim_fail(world->sim, "%u recipients are acknowledged in half an hour",
                     world->taken_recipients);
            return false;
        }
    }
    return true;
}

/* Anywhere, or a moment after a phase has begun. */
static bool somewhere(struct world *world, struct campaign *campaign)
{
    struct sim *sim = world->sim;
    enum world_phase phase = (enum world_phase)(PHASE_START + 1 + sim_below(sim, PHASES_COUNT));
    struct aim aim = {.world = world, .phase = phase};
    if (world_handed_in(world)) {
        world_mail(world, CLIENTS, MORE_MESSAGES, 5 * NS_PER_MS);
    }
    (void)sim_run_for(sim, sim_below(sim, 100 * NS_PER_US << sim_below(sim, 13)));
    if (phase == PHASE_REWRITE && sim_chance(sim, 300)) {
        (void)sim_run_for(sim, LONG_NS);
    }
    if (aim.phase < PHASES_COUNT) {
        (void)sim_run_until(sim, aim_reached, &aim, AIM_NS);
        (void)sim_run_for(sim, sim_below(sim, 10 * NS_PER_US << sim_below(sim, 7)));
    }
    return !sim_failed(sim) && mend(world, campaign);
}

static void campaign_body(struct sim *sim, void *context)
{
    struct campaign *campaign = context;
    struct world world;
    world_make(&world, sim, campaign);
    bool is_mixed = sim_chance(sim, 500);
    campaign->cuts = is_mixed ? campaign->mixed : campaign->power;
    campaign->read_error = sim_fault_rate(sim, SIM_FAULT_read_error);
    bool good = start(&world, campaign) && fill(&world, campaign);
    uint64_t most = campaign->points + POINTS;
    while (good && campaign->points < most) {
        good = somewhere(&world, campaign) && point(&world, campaign);
    }
    if (good) {
        sim_faults_stop(sim);
        campaign->read_error = 0;
        good = mend(&world, campaign);
    }
    if (good) {
        world_finish(&world);
    }
    campaign->worlds++;
    campaign->reused += world_segments_reused(&world);
    world.tally.taken_recipients = world.taken_recipients;
    world_tally_add(&campaign->tally, &world.tally);
    world_close(&world);
}

/* --- campaigns -------------------------------------------------------------------------------- */

static void print(const char *name, uint64_t value)
{
    printf(" %s=%llu", name, (unsigned long long)value);
}

/* One line that tools/campaign adds up. */
static void totals_print(const struct campaign *campaign, const struct sim_campaign *run,
                         unsigned failures)
{
    const struct world_tally *tally = &campaign->tally;
    printf("totals %s:", run->name);
    print("worlds", campaign->worlds);
    print("failed_worlds", failures);
    print("points", campaign->points);
    print("acknowledged_before_a_point_min", campaign->acknowledged_min);
    print("recipients_acknowledged", tally->taken_recipients);
    print("recipients_lost", tally->lost);
    print("messages_acknowledged", tally->taken);
    print("deliveries", tally->deliveries);
    print("deferrals", tally->deferrals);
    print("duplicates_crash", tally->duplicates[CAUSE_CRASH]);
    print("duplicates_disk_refused", tally->duplicates[CAUSE_BROKEN]);
    print("duplicates_uncertain", tally->duplicates[CAUSE_UNCERTAIN]);
    print("power_cuts", tally->power_cuts);
    print("kills", tally->crashes - tally->power_cuts);
    print("restarts_of_broken_lanes", tally->broken);
    print("rows_checked", tally->rows);
    print("events_told", tally->events);
    print("events_told_again", tally->events_repeated);
    print("events_of_unreadable_mail", tally->events_unknown);
    print("events_replayed", tally->events_replayed);
    print("event_log_behind", tally->events_behind);
    print("checkpoints", tally->checkpoints);
    print("messages_rewritten", tally->rewrites);
    print("segments_reused", campaign->reused);
    for (unsigned i = 0; i < PHASES_COUNT; i++) {
        char text[64];
        snprintf(text, sizeof(text), "in_%s", world_phase_name((enum world_phase)i));
        print(text, tally->phases[i]);
    }
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++) {
        char text[64];
        if ((FAULTS >> i & 1) == 0) {
            continue;
        }
        snprintf(text, sizeof(text), "fault_%s", sim_fault_name((enum sim_fault)i));
        print(text, run->totals[i]);
    }
    printf("\n");
}

static bool is_wanted(const char *name)
{
    const char *only = getenv("ONLY");
    return only == NULL || strcmp(only, name) == 0;
}

static void run(const char *name, struct campaign *campaign, unsigned count)
{
    struct sim_campaign sim_campaign = {.name = name,
                                        .count = count,
                                        .swarm = campaign->calm ? 0 : FAULTS,
                                        .body = campaign_body,
                                        .context = campaign};
    campaign->acknowledged_min = UINT64_MAX;
    if (!is_wanted(name)) {
        return;
    }
    unsigned failures = sim_campaign_run(&sim_campaign);
    totals_print(campaign, &sim_campaign, failures);
    assert_int_equal(failures, 0);
    assert_int_equal(campaign->tally.lost, 0);
    assert_true(campaign->acknowledged_min >= BEHIND);
}

static void f01_kill_points_with_a_thousand_recipients_behind_them_lose_nothing(void **state)
{
    (void)state;
    struct campaign campaign = {.mixed = 200};
    run("kills", &campaign, 6);
}

static void f01c_power_cuts_with_a_thousand_recipients_behind_them_lose_nothing(void **state)
{
    (void)state;
    struct campaign campaign = {.power = 1000, .mixed = 500};
    run("cuts", &campaign, 4);
}

/*
 * Checkpoints once began behind a group that nothing on the disk had voided yet. Seed 25: its sync
 * had failed; a bounce was told, and the recipient was tried again. Seed 69: it was torn by a power
 * cut, and no group was stored in the life behind it; an attempt was told twice.
 */
static void f04_worlds_in_which_a_checkpoint_follows_a_group_not_voided_yet(void **state)
{
    (void)state;
    static const uint64_t seeds[] = {25, 69};
    for (size_t i = 0; i < COUNT_OF(seeds) && getenv("ONLY") == NULL; i++) {
        struct campaign campaign = {.power = 1000, .mixed = 500};
        struct sim_options options = {.seed = seeds[i], .swarm = FAULTS};
        struct sim *sim = sim_open(&options);
        campaign_body(sim, &campaign);
        assert_string_equal(sim_failure(sim), "");
        sim_close(sim);
    }
}

/* The judge can see a loss: without syncs power cuts cost mail that was acknowledged. */
static void f01c_the_campaign_without_syncs_finds_losses(void **state)
{
    (void)state;
    struct campaign campaign = {.power = 1000, .calm = true, .sync = "none", .may_lose = true};
    campaign.mixed = campaign.power;
    struct sim_campaign control = {
        .name = "control", .count = 2, .body = campaign_body, .context = &campaign, .quiet = true};
    if (!is_wanted(control.name)) {
        return;
    }
    unsigned failures = sim_campaign_run(&control);
    printf("without syncs: %u of %llu worlds lost mail\n", failures,
           (unsigned long long)campaign.worlds);
    assert_true(failures > 0 || campaign.tally.lost > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f01_kill_points_with_a_thousand_recipients_behind_them_lose_nothing),
        cmocka_unit_test(f01c_power_cuts_with_a_thousand_recipients_behind_them_lose_nothing),
        cmocka_unit_test(f04_worlds_in_which_a_checkpoint_follows_a_group_not_voided_yet),
        cmocka_unit_test(f01c_the_campaign_without_syncs_finds_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
