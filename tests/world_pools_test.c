/*
 * The whole MTA with pools of sources, in virtual time: each source has its share, to a cycle of
 * the weights, whatever the shards do; who cannot send has none; nothing ever leaves from another
 * address than the configured ones.
 */
#include "smtp/egress.h"
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>

#define SOURCES 3
/* 10.0.9.1 … of sources "s0", "s1", "s2". */
#define SOURCE_HOST (9 * 256 + 1)

struct stage {
    struct sim *sim;
    struct world world;
    uint64_t taken[SOURCES];
    bool ready;
};

static struct endpoint source_at(unsigned i)
{
    return sim_endpoint(SOURCE_HOST + i, 0);
}

static void taken_from(struct world *world, const struct endpoint *from)
{
    struct stage *stage = world->watcher;
    for (unsigned i = 0; i < SOURCES; i++) {
        struct endpoint source = source_at(i);
        if (endpoint_equal_address(&source, from)) {
            stage->taken[i]++;
            return;
        }
    }
    sim_fail(world->sim, "a message left from an address that is no source's");
}

/* A world with sources and a pool "p" of them by these weights; not open yet. */
static void stage_init(struct stage *stage, struct sim *sim, unsigned shards,
                       const unsigned *weights)
{
    struct world *world = &stage->world;
    *stage = (struct stage){.sim = sim};
    world_init(world, sim);
    world->taken_from = taken_from;
    world->watcher = stage;
    world->shards = shards;
    world->recipients_max = 1;
    world->domains = 1;
    world->body_bytes_max = 200;
    world->large = 0;
    world->think_ns = NS_PER_MS;
    for (unsigned i = 0; i < SOURCES; i++) {
        world_set(world, "sources.source.s%u.source_address=\"10.0.9.%u\"", i, 1 + i);
        world_set(world, "sources.pool.p.s%u.weight=%u", i, weights[i]);
    }
    world_set(world, "queues.queue.default.egress_pool=p");
    world_set(world, "shaping.default.max_ready=100000");
    world_set(world, "shaping.default.connection_limit=4");
}

static bool stage_start(struct stage *stage)
{
    world_open(&stage->world);
    stage->ready = world_start(&stage->world);
    return stage->ready;
}

static void stage_mail(struct stage *stage, uint32_t count)
{
    world_mail(&stage->world, 4 * stage->world.shards, count, NS_PER_MS);
}

/* All that was handed in is delivered, and nothing is left. */
static void stage_drain(struct stage *stage)
{
    struct sim *sim = stage->sim;
    if (!sim_run_until(sim, world_drained, &stage->world, 600 * NS_PER_S)) {
        sim_fail(sim, "%u recipients are left after ten minutes", world_rows(&stage->world));
    }
}

static void stage_end(struct stage *stage)
{
    if (stage->ready) {
        world_stop(&stage->world, 1);
    }
    world_close(&stage->world);
}

static uint64_t taken_in_all(const struct stage *stage)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < SOURCES; i++) {
        all += stage->taken[i];
    }
    return all;
}

/* Of what was taken since `before` each has its part, give or take `slack`. */
static void expect_shares(const struct stage *stage, const uint64_t *before,
                          const unsigned *weights, double slack)
{
    double sum = 0;
    double all = 0;
    for (unsigned i = 0; i < SOURCES; i++) {
        sum += weights[i];
        all += (double)(stage->taken[i] - before[i]);
    }
    for (unsigned i = 0; i < SOURCES; i++) {
        double part = all * weights[i] / sum;
        double had = (double)(stage->taken[i] - before[i]);
        if (had < part - slack || had > part + slack) {
            sim_fail(stage->sim, "source %u has sent %.0f of %.0f, its part is %.1f", i, had, all,
                     part);
        }
    }
}

static const uint64_t nothing[SOURCES];

struct trial {
    unsigned shards;
    unsigned weights[SOURCES];
    struct sink_mood mood;
};

static void shares_body(struct sim *sim, void *context)
{
    const struct trial *trial = context;
    struct stage stage;
    stage_init(&stage, sim, trial->shards, trial->weights);
    stage.world.mood = trial->mood;
    if (stage_start(&stage)) {
        stage_mail(&stage, 500);
        stage_drain(&stage);
        if (taken_in_all(&stage) < 400) {
            sim_fail(sim, "only %llu were sent", (unsigned long long)taken_in_all(&stage));
        }
        expect_shares(&stage, nothing, trial->weights,
                      trial->weights[0] + trial->weights[1] + trial->weights[2]);
    }
    stage_end(&stage);
}

static void run(const char *name, sim_body *body, void *context, unsigned count)
{
    struct sim_campaign campaign = {.name = name, .count = count, .body = body, .context = context};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

static void l12_sources_have_their_shares_to_a_cycle_of_the_weights(void **state)
{
    (void)state;
    static const unsigned weights[][SOURCES] = {{5, 3, 1}, {1, 1, 1}, {10, 1, 0}};
    for (unsigned shards = 1; shards <= 4; shards *= 2) {
        for (size_t i = 0; i < COUNT_OF(weights); i++) {
            struct trial trial = {
                .shards = shards,
                .weights = {weights[i][0], weights[i][1], weights[i][2]},
                .mood = {.slow = 300, .slow_ns = NS_PER_S, .one_stage = true, .stage = STAGE_DOT},
            };
            run("shares", shares_body, &trial, 3);
        }
    }
}

static uint32_t ready_queues(const struct stage *stage)
{
    uint32_t used = 0;
    for (unsigned i = 0; i < stage->world.shards; i++) {
        used += stage->world.node.mtas[i].delivery.egresses.used;
    }
    return used;
}

/* A few messages, then long nothing: no ready queue outlives that. */
static void stage_waves(struct stage *stage, unsigned waves)
{
    struct sim *sim = stage->sim;
    for (unsigned i = 0; i < waves && !sim_failed(sim); i++) {
        world_mail(&stage->world, 2, 3, NS_PER_S);
        stage_drain(stage);
        (void)sim_run_for(sim, 15 * NS_PER_S);
        if (ready_queues(stage) > 0) {
            sim_fail(sim, "%u ready queues are left", ready_queues(stage));
        }
    }
}

static void waves_body(struct sim *sim, void *context)
{
    const struct trial *trial = context;
    struct stage stage;
    stage_init(&stage, sim, trial->shards, trial->weights);
    world_set(&stage.world, "shaping.default.idle_timeout=1s");
    if (stage_start(&stage)) {
        stage_waves(&stage, 15);
        expect_shares(&stage, nothing, trial->weights, 9);
    }
    stage_end(&stage);
}

static void l12_shares_are_exact_over_ready_queues_that_come_and_go(void **state)
{
    (void)state;
    for (unsigned shards = 1; shards <= 4; shards *= 2) {
        struct trial trial = {.shards = shards, .weights = {5, 3, 1}};
        run("waves", waves_body, &trial, 2);
    }
}

/* --- who cannot send ------------------------------------------------------------------------- */

static void unplumbed_body(struct sim *sim, void *context)
{
    const struct trial *trial = context;
    struct endpoint gone = source_at(1);
    struct stage stage;
    stage_init(&stage, sim, trial->shards, trial->weights);
    sim_reach_set(sim, &gone, SIM_REACH_NONE);
    if (stage_start(&stage)) {
        static const unsigned others[SOURCES] = {5, 0, 1};
        stage_mail(&stage, 300);
        stage_drain(&stage);
        if (stage.taken[1] != 0) {
            sim_fail(sim, "mail left from an address that is not there");
        }
        /* What it was owed before it was missed goes to the others by their own turns. */
        expect_shares(&stage, nothing, others, 9.0 * trial->shards);
        sim_reach_set(sim, &gone, SIM_REACH);
        (void)sim_run_for(sim, 6 * NS_PER_S);
        const uint64_t before[SOURCES] = {stage.taken[0], stage.taken[1], stage.taken[2]};
        stage_mail(&stage, 300);
        stage_drain(&stage);
        expect_shares(&stage, before, trial->weights, 9.0 * trial->shards);
    }
    stage_end(&stage);
}

static void f23_a_source_whose_address_is_missing_has_no_turn_until_it_is_back(void **state)
{
    (void)state;
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct trial trial = {.shards = shards, .weights = {5, 3, 1}};
        run("unplumbed", unplumbed_body, &trial, 4);
    }
}

static struct hold hold_of(const struct stage *stage, const char *name)
{
    struct delivery *delivery = (struct delivery *)&stage->world.node.mtas[0].delivery;
    uint32_t number = queues_name(delivery->queues, slice_from_string(name));
    return delivery_hold(delivery, queues_at(delivery->queues, number));
}

static void f23_without_any_source_mail_waits_and_says_so(void **state)
{
    (void)state;
    static const unsigned weights[SOURCES] = {1, 0, 0};
    for (unsigned members = 1; members <= 2; members++) {
        struct sim *sim = sim_open(&(struct sim_options){.seed = 3});
        const unsigned both[SOURCES] = {1, 1, 0};
        struct stage stage;
        stage_init(&stage, sim, 1, members == 1 ? weights : both);
        for (unsigned i = 0; i < members; i++) {
            struct endpoint gone = source_at(i);
            sim_reach_set(sim, &gone, SIM_REACH_NONE);
        }
        assert_true(stage_start(&stage));
        stage_mail(&stage, 20);
        assert_true(sim_run_for(sim, 60 * NS_PER_S));
        assert_int_equal(taken_in_all(&stage), 0);
        assert_int_equal(world_rows(&stage.world), 20);
        assert_string_equal(hold_name(hold_of(&stage, "d0.test").reason), "no_source");
        for (uint32_t i = 0; i < 20; i++) { /* no attempt is counted */
            assert_int_equal(row_at(&stage.world.node.mtas[0].queues.rows, i)->attempts, 0);
        }
        struct endpoint back = source_at(0);
        sim_reach_set(sim, &back, SIM_REACH);
        stage_drain(&stage);
        assert_int_equal(stage.taken[0], 20);
        stage_end(&stage);
        sim_close(sim);
    }
}

static void f23_what_one_site_has_learned_of_a_source_holds_at_all_of_them(void **state)
{
    (void)state;
    static const unsigned weights[SOURCES] = {1, 1, 0};
    struct sim *sim = sim_open(&(struct sim_options){.seed = 5});
    struct endpoint gone = source_at(1);
    struct stage stage;
    stage_init(&stage, sim, 1, weights);
    stage.world.domains = WORLD_DOMAINS;
    sim_reach_set(sim, &gone, SIM_REACH_NONE);
    assert_true(stage_start(&stage));
    stage_mail(&stage, 60);
    stage_drain(&stage);
    assert_int_equal(stage.taken[1], 0);
    assert_int_equal(world_counter(&stage.world, COUNTER_sources_left_out), 1);
    stage_end(&stage);
    sim_close(sim);
}

static void family_body(struct sim *sim, void *context)
{
    const struct trial *trial = context;
    static const unsigned others[SOURCES] = {5, 0, 1};
    struct stage stage;
    stage_init(&stage, sim, trial->shards, trial->weights);
    world_set(&stage.world, "sources.source.s1.source_address=\"2001:db8::1\"");
    if (stage_start(&stage)) {
        stage_mail(&stage, 300);
        stage_drain(&stage);
        expect_shares(&stage, nothing, others, 9);
    }
    stage_end(&stage);
}

static void l12_a_source_of_another_family_than_the_site_has_no_turn(void **state)
{
    (void)state;
    struct trial trial = {.shards = 2, .weights = {5, 3, 1}};
    run("family", family_body, &trial, 4);
}

static void suspended_body(struct sim *sim, void *context)
{
    const struct trial *trial = context;
    static const unsigned others[SOURCES] = {5, 0, 1};
    struct stage stage;
    stage_init(&stage, sim, trial->shards, trial->weights);
    if (stage_start(&stage)) {
        struct egress *egress = NULL;
        stage_mail(&stage, 100);
        stage_drain(&stage);
        const uint64_t before[SOURCES] = {stage.taken[0], stage.taken[1], stage.taken[2]};
        for (unsigned i = 0; i < trial->shards; i++) {
            struct delivery *delivery = &stage.world.node.mtas[i].delivery;
            struct list *link = delivery->pool_list.next;
            for (; link != &delivery->pool_list; link = link->next) {
                egress = CONTAINER_OF(link, struct egress_pool, link)->members[1];
                egress->suspended = true; /* as smtp/admin_local.h does it */
                egress_kick(egress);
            }
        }
        stage_mail(&stage, 300);
        stage_drain(&stage);
        expect_shares(&stage, before, others, 9);
    }
    stage_end(&stage);
}

static void l12_a_suspended_source_has_no_turn(void **state)
{
    (void)state;
    struct trial trial = {.shards = 2, .weights = {5, 3, 1}};
    run("suspended", suspended_body, &trial, 4);
}

/* --- rates of selection ----------------------------------------------------------------------- */

/* A source is never chosen faster than its rate, at any moment. */
static void warm_up_body(struct sim *sim, void *context)
{
    const struct trial *trial = context;
    struct stage stage;
    stage_init(&stage, sim, trial->shards, trial->weights);
    world_set(&stage.world, "shaping.default.sources.s1.source_selection_rate=\"2/s,max_burst=1\"");
    if (stage_start(&stage)) {
        uint64_t begun_ns = sim_now_ns(sim);
        stage_mail(&stage, 300);
        stage_drain(&stage);
        uint64_t took_ns = sim_now_ns(sim) - begun_ns;
        double most = 2.0 * (double)took_ns / 1e9 + 1;
        if ((double)stage.taken[1] > most) {
            sim_fail(sim, "%llu from a source that may have %.1f",
                     (unsigned long long)stage.taken[1], most);
        }
        if (took_ns > 20 * NS_PER_S) {
            sim_fail(sim, "the others have waited for it");
        }
    }
    stage_end(&stage);
}

static void l13_a_source_is_chosen_no_faster_than_its_rate_and_others_do_not_wait(void **state)
{
    (void)state;
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct trial trial = {.shards = shards, .weights = {1, 1, 1}};
        run("warm up", warm_up_body, &trial, 4);
    }
}

/* What it has had is known after its ready queue has gone. */
static void slow_waves_body(struct sim *sim, void *context)
{
    const struct trial *trial = context;
    struct stage stage;
    stage_init(&stage, sim, trial->shards, trial->weights);
    world_set(&stage.world, "shaping.default.idle_timeout=1s");
    world_set(&stage.world, "shaping.default.sources.s1.source_selection_rate=\"1/m,max_burst=1\"");
    if (stage_start(&stage)) {
        uint64_t begun_ns = sim_now_ns(sim);
        stage_waves(&stage, 15);
        double most = (double)(sim_now_ns(sim) - begun_ns) / 60e9 + 1;
        if ((double)stage.taken[1] > most || stage.taken[1] < 2) {
            sim_fail(sim, "%llu from a source that may have %.1f",
                     (unsigned long long)stage.taken[1], most);
        }
    }
    stage_end(&stage);
}

static void l13_a_rate_of_selection_holds_over_ready_queues_that_come_and_go(void **state)
{
    (void)state;
    struct trial trial = {.shards = 2, .weights = {1, 1, 1}};
    run("slow waves", slow_waves_body, &trial, 2);
}

static void l13_where_all_sources_wait_for_their_rates_mail_goes_at_these(void **state)
{
    (void)state;
    static const unsigned weights[SOURCES] = {1, 0, 0};
    struct sim *sim = sim_open(&(struct sim_options){.seed = 4});
    struct stage stage;
    stage_init(&stage, sim, 1, weights);
    world_set(&stage.world, "shaping.default.source_selection_rate=\"2/s,max_burst=1\"");
    assert_true(stage_start(&stage));
    stage_mail(&stage, 40);
    assert_true(sim_run_for(sim, 10 * NS_PER_S));
    assert_in_range(taken_in_all(&stage), 18, 21);
    struct hold hold = hold_of(&stage, "d0.test");
    assert_string_equal(hold_name(hold.reason), "source_rate");
    uint64_t now_ns = stage.world.node.peers[0]->now_ns;
    assert_in_range(hold.until_ns, now_ns, now_ns + NS_PER_S);
    stage_drain(&stage);
    stage_end(&stage);
    sim_close(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l12_sources_have_their_shares_to_a_cycle_of_the_weights),
        cmocka_unit_test(l12_shares_are_exact_over_ready_queues_that_come_and_go),
        cmocka_unit_test(l12_a_source_of_another_family_than_the_site_has_no_turn),
        cmocka_unit_test(l12_a_suspended_source_has_no_turn),
        cmocka_unit_test(f23_a_source_whose_address_is_missing_has_no_turn_until_it_is_back),
        cmocka_unit_test(f23_without_any_source_mail_waits_and_says_so),
        cmocka_unit_test(f23_what_one_site_has_learned_of_a_source_holds_at_all_of_them),
        cmocka_unit_test(l13_a_source_is_chosen_no_faster_than_its_rate_and_others_do_not_wait),
        cmocka_unit_test(l13_a_rate_of_selection_holds_over_ready_queues_that_come_and_go),
        cmocka_unit_test(l13_where_all_sources_wait_for_their_rates_mail_goes_at_these),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
