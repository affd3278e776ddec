/*
 * The whole MTA, started again with another number of shards (F-27): mail that waited before is
 * there once, with its attempts and its due time, whatever happens to the start.
 *
 * SEED=n COUNT=m build/dev/tests/world_shards_test repeats or extends every campaign.
 */
#include "tests/world/change.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#define STEPS_MAX 10

struct change {
    unsigned shards[STEPS_MAX]; /* of one life after the other; 0: no more */
    unsigned random;            /* … so many lives of 1 … 4, by chance */
    bool kills;                 /* lives end by a kill or for want of power, not by a stop */
    bool crashes;               /* during each start */
    bool mail;                  /* some is delivered, and more comes, between two changes */
    uint64_t moments[MOMENTS];  /* out: of the crashes */
    uint64_t files;             /* out: segments of adopted lanes in use, at all starts */
    struct world_tally tally;   /* out */
};

static bool start_again(struct world *world, struct change *change)
{
    for (unsigned i = 0; change->crashes && i < 3; i++) {
        if (!change_start_and_crash(world, change->moments)) {
            return false;
        }
    }
    bool good = world_start(world);
    if (good) {
        change->files += change_adopted(world);
    }
    return good;
}

/* Ends, starts with so many shards: every row is there as it was. */
static bool life_change(struct world *world, struct change *change, unsigned shards)
{
    struct snapshot before;
    if (!sim_run_until(world->sim, change_all_wait, world, 4 * 3600 * NS_PER_S)) {
        sim_fail(world->sim, "not everything waits");
        return false;
    }
    change_look(world, &before);
    if (change->kills) {
        world_crash(world, sim_chance(world->sim, 500));
    } else {
        world_stop(world, 1);
    }
    if (sim_failed(world->sim)) {
        return false;
    }
    world->shards = shards;
    if (!start_again(world, change)) {
        return false;
    }
    change_expect_same(world, &before);
    return !sim_failed(world->sim);
}

/* Some of what is due is delivered, and there is new mail. */
static bool life_mail(struct world *world)
{
    world->mood.defer = 500;
    world_mail(world, 4, CHANGE_MESSAGES / 8, 5 * NS_PER_MS);
    bool good = sim_run_for(world->sim, 3700 * NS_PER_S);
    world->mood.defer = 1000;
    return good;
}

static void change_body(struct sim *sim, void *context)
{
    struct change *change = context;
    struct world world;
    change_init(&world, sim, change->random > 0 ? 1 + (unsigned)sim_below(sim, 4)
                                                : change->shards[0]);
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 8, CHANGE_MESSAGES, 5 * NS_PER_MS);
    for (unsigned i = 1; i < STEPS_MAX && good; i++) {
        unsigned shards = i < change->random ? 1 + (unsigned)sim_below(sim, 4) : change->shards[i];
        if (shards == 0) {
            break;
        }
        good = life_change(&world, change, shards);
        good = good && (!change->mail || life_mail(&world));
    }
    if (good) {
        change_finish(&world);
    }
    world_tally_add(&change->tally, &world.tally);
    world_close(&world);
}

static void run(struct change *change, uint32_t count)
{
    struct sim_campaign campaign = {
        .name = "shards", .count = count, .body = change_body, .context = change};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    for (unsigned i = 0; i < CAUSES_COUNT; i++) {
        assert_int_equal(change->tally.duplicates[i], 0);
    }
    assert_true(change->tally.taken > 0 && change->tally.deferrals > 0);
    /* After a clean stop nothing has to be told again. */
    assert_true(change->kills || change->tally.events_repeated == 0);
}

static void f27_another_number_of_shards_keeps_every_message_and_when_it_is_due(void **state)
{
    (void)state;
    static const unsigned pairs[][2] = {{1, 4}, {4, 1}, {8, 2}, {2, 8}, {3, 2}};
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        struct change change = {.shards = {pairs[i][0], pairs[i][1]}};
        run(&change, 2);
        assert_true(getenv("SEED") != NULL || pairs[i][1] > pairs[i][0] || change.files > 0);
        change.crashes = true;
        run(&change, 8);
    }
}

static void f27_a_crash_at_every_step_of_such_a_start_changes_nothing(void **state)
{
    (void)state;
    struct change change = {.shards = {4, 2}, .crashes = true, .kills = true};
    run(&change, 30);
    for (unsigned i = 0; i < MOMENTS; i++) {
        printf("moment %u: %llu crashes\n", i, (unsigned long long)change.moments[i]);
        assert_true(getenv("SEED") != NULL || change.moments[i] > 0);
    }
}

/* What was adopted is adopted again, and delivered from where it has always been. */
static void f27_shards_come_and_go(void **state)
{
    (void)state;
    struct change change = {
        .shards = {1, 2, 3, 1, 4, 2, 3, 1, 2, 1}, .crashes = true, .mail = true};
    run(&change, 4);
    assert_true(getenv("SEED") != NULL || change.files > 0);
    struct change killed = change;
    killed.kills = true;
    run(&killed, 4);
    struct change any = {.random = STEPS_MAX, .crashes = true, .kills = true, .mail = true};
    run(&any, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f27_another_number_of_shards_keeps_every_message_and_when_it_is_due),
        cmocka_unit_test(f27_a_crash_at_every_step_of_such_a_start_changes_nothing),
        cmocka_unit_test(f27_shards_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
