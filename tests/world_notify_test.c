/*
 * Notifications of our own, by clients that ask for them, while the node is killed and cut off from
 * power: who asked is told, nobody else is, and twice only after a crash.
 *
 * SEED=n COUNT=m build/dev/tests/world_notify_test repeats or extends every campaign.
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>

struct notify_campaign {
    struct world_tally tally; /* out */
    unsigned lives;           /* crashes of one run, at most */
    bool short_of_blocks;
};

static void notify_body(struct sim *sim, void *context)
{
    struct notify_campaign *campaign = context;
    struct world world;
    world_init(&world, sim);
    world.shards = 1 + (unsigned)sim_below(sim, 2);
    world.notifies = true;
    world.body_bytes_max = sim_chance(sim, 300) ? 700 * KIB : 12 * KIB;
    world.window_ns = 14 * NS_PER_MS; /* an outcome waits for the commit of its notification */
    world.mood = (struct sink_mood){
        .defer = 80, .bounce = 150, .slow = 100, .slow_ns = 20 * NS_PER_MS, .plain = 300};
    if (campaign->short_of_blocks) {
        world.body_bytes_max = 700 * KIB;
        world.large = 600;
    } else {
        world_set(&world, "memory.staging=32MiB");
    }
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 4, campaign->short_of_blocks ? 80 : 30, 5 * NS_PER_MS);
    unsigned lives = campaign->lives == 0 ? 0 : 1 + (unsigned)sim_below(sim, campaign->lives);
    for (unsigned i = 0; i < lives && good; i++) {
        uint64_t scale_ns = 100 * NS_PER_US << sim_below(sim, 14);
        if (!sim_run_for(sim, 1 + sim_below(sim, scale_ns))) {
            break;
        }
        world_crash(&world, sim_chance(sim, 500));
        good = world_start(&world);
    }
    if (good && sim_run_for(sim, NS_PER_S)) {
        world_finish(&world);
    }
    world_tally_add(&campaign->tally, &world.tally);
    world_close(&world);
}

static void run(const char *name, unsigned count, struct notify_campaign *context)
{
    struct sim_campaign campaign = {
        .name = name, .count = count, .body = notify_body, .context = context};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&context->tally);
    printf("told %llu, of these again %llu; repeated %llu, dropped %llu\n",
           (unsigned long long)context->tally.notices,
           (unsigned long long)context->tally.notices_doubled,
           (unsigned long long)context->tally.notices_repeated,
           (unsigned long long)context->tally.notices_dropped);
    assert_true(context->tally.notices > 0);
}

static void c23_who_asked_is_told_once_and_nobody_else(void **state)
{
    (void)state;
    struct notify_campaign campaign = {0};
    run("notify-calm", 30, &campaign);
    assert_int_equal(campaign.tally.notices_doubled + campaign.tally.notices_repeated, 0);
    assert_int_equal(campaign.tally.notices_dropped, 0);
}

static void c23_no_crash_takes_a_notification_away(void **state)
{
    (void)state;
    struct notify_campaign campaign = {.lives = 4};
    run("notify-crash", 150, &campaign);
    assert_true(campaign.tally.crashes > 0);
    /* Between a notification and the outcome it tells of. */
    assert_true(campaign.tally.notices_doubled > 0);
    assert_int_equal(campaign.tally.notices_dropped, 0);
}

static void c23_no_outcome_waits_for_memory_that_a_notification_wants(void **state)
{
    (void)state;
    struct notify_campaign campaign = {.lives = 2, .short_of_blocks = true};
    run("notify-short", 20, &campaign);
    assert_true(campaign.tally.notices_dropped > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c23_who_asked_is_told_once_and_nobody_else),
        cmocka_unit_test(c23_no_crash_takes_a_notification_away),
        cmocka_unit_test(c23_no_outcome_waits_for_memory_that_a_notification_wants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
