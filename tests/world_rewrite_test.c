/*
 * The whole MTA while messages are written again: writes fail now and then, segments are poisoned,
 * what lives in them moves, and the process is killed or cut off from power in the middle of it.
 * Every recipient gets its message, whole, and once but for what ARCHITECTURE.md allows.
 *
 * SEED=n COUNT=m build/dev/tests/world_rewrite_test repeats or extends the campaign.
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct totals {
    struct world_tally tally;
    uint64_t rewritten;  /* messages */
    uint64_t interrupted; /* crashes while some were being written again */
};

static unsigned open_jobs(const struct world *world)
{
    unsigned open = 0;
    for (unsigned i = 0; i < world->shards; i++) {
        open += rewrite_open(&world->node.mtas[i].rewrite);
    }
    return open;
}

static bool is_rewriting(void *context)
{
    return open_jobs(context) > 0;
}

static bool has_failed(void *context)
{
    return world_counter(context, COUNTER_commit_failures) > 0;
}

/* One write fails, sometimes some more. */
static bool break_writes(struct world *world)
{
    struct sim *sim = world->sim;
    sim_disk_failing_set(world->disk, true, true, false);
    (void)sim_run_until(sim, has_failed, world, 3 * NS_PER_S);
    bool good = sim_run_for(sim, sim_chance(sim, 700) ? 0 : sim_below(sim, 20 * NS_PER_MS));
    sim_disk_failing_set(world->disk, false, false, false);
    return good;
}

static bool live(struct world *world, struct totals *totals)
{
    struct sim *sim = world->sim;
    world_mail(world, 3, 40, 5 * NS_PER_MS);
    sim_disk_latency_set(world->disk, sim_below(sim, 4 * NS_PER_MS));
    if (!sim_run_for(sim, sim_below(sim, 2 * NS_PER_S)) || !break_writes(world)) {
        return false;
    }
    /* In the middle of a rewriting, if there is one; else at any moment. */
    if (sim_chance(sim, 700)) {
        (void)sim_run_until(sim, is_rewriting, world, 12 * NS_PER_S);
        (void)sim_run_for(sim, sim_below(sim, 10 * NS_PER_MS));
    } else {
        (void)sim_run_for(sim, sim_below(sim, 15 * NS_PER_S));
    }
    totals->rewritten += world_counter(world, COUNTER_messages_rewritten);
    totals->interrupted += open_jobs(world) > 0;
    return !sim_failed(sim);
}

static void rewrite_body(struct sim *sim, void *context)
{
    struct totals *totals = context;
    struct world world;
    world_init(&world, sim);
    world.shards = sim_chance(sim, 300) ? 2 : 1;
    world.body_bytes_max = sim_chance(sim, 300) ? 700 * KIB : 12 * KIB;
    world.large = 200;
    world.refused_may_come = true; /* a crash may come before what failed is voided */
    world.window_ns = 5 * NS_PER_S; /* outcomes wait for a disk that stores them */
    world.mood = (struct sink_mood){.defer = 800, .bounce = 20, .plain = 300};
    world_log_vary(&world);
    world_open(&world);
    bool good = world_start(&world);
    unsigned lives = 1 + (unsigned)sim_below(sim, 3);
    for (unsigned i = 0; i < lives && good; i++) {
        good = live(&world, totals);
        if (good) {
            world_crash(&world, sim_chance(sim, 500));
            sim_disk_latency_set(world.disk, 0);
            good = world_start(&world);
        }
    }
    if (good) {
        world_settle(&world);
        world_judge(&world);
    }
    if (good && !sim_failed(sim)) {
        totals->rewritten += world_counter(&world, COUNTER_messages_rewritten);
        world_stop(&world, 1);
    }
    if (good && !sim_failed(sim)) {
        world_events_judge(&world);
    }
    world_tally_add(&totals->tally, &world.tally);
    world_close(&world);
}

static void f03_a_crash_at_any_point_of_a_rewriting_costs_and_doubles_nothing(void **state)
{
    (void)state;
    struct totals totals = {0};
    struct sim_campaign campaign = {
        .name = "rewrite", .count = 40, .body = rewrite_body, .context = &totals};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&totals.tally);
    printf("rewritten: %llu, interrupted: %llu\n", (unsigned long long)totals.rewritten,
           (unsigned long long)totals.interrupted);
    if (getenv("SEED") == NULL) {
        assert_true(totals.rewritten > 0 && totals.interrupted > 0);
    }
}

/* --- what rows say ---------------------------------------------------------------------------- */

#define ROWS_MAX 1024

/* A row without its place. */
struct kept {
    uint32_t due_s;
    uint32_t created_s;
    uint32_t size_64;
    uint16_t recipient;
    uint16_t attempts;
};

static int compare_kept(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct kept));
}

/* Of all rows that were tried, in an order of their own. */
static unsigned keep_rows(const struct world *world, struct kept *out)
{
    const struct slab *rows = &world->node.mtas[0].queues.rows;
    unsigned count = 0;
    for (uint32_t handle = 0; handle < rows->fresh && count < ROWS_MAX; handle++) {
        const struct row *row = row_at(rows, handle);
        if (row->state != ROW_FREE && row->attempts > 0) {
            out[count++] = (struct kept){row->due_s, row->created_s, row->size_64,
                                         row->recipient, row->attempts};
        }
    }
    qsort(out, count, sizeof(*out), compare_kept);
    return count;
}

/* All of `before` are there. What was refused just before the crash may have come as well. */
static bool all_kept(const struct world *world, const struct kept *before, unsigned count)
{
    static struct kept after[ROWS_MAX];
    unsigned rows = keep_rows(world, after);
    unsigned found = 0;
    for (unsigned i = 0; i < rows && found < count; i++) {
        found += compare_kept(&before[found], &after[i]) == 0;
    }
    return found == count;
}

static bool all_wait(void *context)
{
    const struct world *world = context;
    const struct queues *queues = &world->node.mtas[0].queues;
    return world_handed_in(context) && queues->wheel.count == queues->rows.used;
}

/* The moment of the crash is any: before, in the middle of, or after a rewriting. */
static bool crash_somewhere(struct world *world, struct totals *totals)
{
    struct sim *sim = world->sim;
    world_mail(world, 1, 1, 0);
    if (!break_writes(world)) {
        return false;
    }
    sim_disk_latency_set(world->disk, sim_below(sim, 20 * NS_PER_MS));
    (void)sim_run_until(sim, is_rewriting, world, 10 * NS_PER_S);
    (void)sim_run_for(sim, sim_below(sim, 60 * NS_PER_MS));
    totals->rewritten += world_counter(world, COUNTER_messages_rewritten);
    totals->interrupted += open_jobs(world) > 0;
    world_crash(world, sim_chance(sim, 500));
    sim_disk_latency_set(world->disk, 0);
    return world_start(world);
}

static void rows_body(struct sim *sim, void *context)
{
    static struct kept before[ROWS_MAX];
    struct totals *totals = context;
    struct world world;
    world_init(&world, sim);
    world_set(&world, "queues.queue.default.retry_interval=1h");
    world_set(&world, "queues.queue.default.max_retry_interval=1h");
    world.large = 200;
    world.body_bytes_max = sim_chance(sim, 300) ? 700 * KIB : 12 * KIB;
    world.refused_may_come = true;
    world.mood = (struct sink_mood){.defer = 1000, .plain = 300};
    world_log_vary(&world);
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 3, 30, 5 * NS_PER_MS);
    good = good && sim_run_until(sim, all_wait, &world, 300 * NS_PER_S);
    unsigned count = good ? keep_rows(&world, before) : 0;
    for (unsigned i = 0; i < 3 && good; i++) {
        good = crash_somewhere(&world, totals);
        if (good && !all_kept(&world, before, count)) {
            sim_fail(sim, "a recipient is due at another time, or was tried more or less often");
        }
    }
    if (good && !sim_failed(sim)) {
        world_finish(&world);
    }
    world_tally_add(&totals->tally, &world.tally);
    world_close(&world);
}

static void f03_attempts_and_due_times_outlive_a_rewriting_and_a_crash_in_it(void **state)
{
    (void)state;
    struct totals totals = {0};
    struct sim_campaign campaign = {
        .name = "rewrite rows", .count = 30, .body = rows_body, .context = &totals};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&totals.tally);
    printf("rewritten: %llu, interrupted: %llu\n", (unsigned long long)totals.rewritten,
           (unsigned long long)totals.interrupted);
    if (getenv("SEED") == NULL) {
        assert_true(totals.rewritten > 0 && totals.interrupted > 0);
    }
    assert_int_equal(totals.tally.duplicates[CAUSE_CRASH], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f03_a_crash_at_any_point_of_a_rewriting_costs_and_doubles_nothing),
        cmocka_unit_test(f03_attempts_and_due_times_outlive_a_rewriting_and_a_crash_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
