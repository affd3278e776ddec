/*
 * The whole MTA and one busy site, in virtual time: several shards share a few connections. Never
 * more than the limit at the sink, and no shard that has mail for the site waits longer than its
 * turn. Judged by the ledger of tests/world/world.h.
 */
#include "smtp/egress.h"
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>

#define SHARDS 4
/* The longest answer of the sink; a transaction on a new connection has five of them at most. */
#define SLOW_NS  (20 * NS_PER_MS)
/* A turn: the quantum, the transaction under way when it ends, and the way to the next shard. */
#define TURN_NS  (SLOT_QUANTUM_NS + 10 * SLOW_NS)

struct watch {
    struct world *world;
    unsigned limit;
    uint64_t bound_ns;           /* so long may a shard with mail be without a connection */
    uint64_t since_ns[SHARDS];   /* it has been; 0: it is not */
    uint64_t longest_ns;
};

static const struct egress *egress_at(const struct world *world, unsigned shard)
{
    const struct list *all = &world->node.mtas[shard].delivery.all;
    return list_empty(all) ? NULL : CONTAINER_OF(all->next, struct egress, link);
}

/* Looked at after every event. */
static bool watch_done(void *context)
{
    struct watch *watch = context;
    struct world *world = watch->world;
    uint64_t now_ns = sim_now_ns(world->sim);
    if (world->sink_open > watch->limit) {
        sim_fail(world->sim, "%u connections at the sink", world->sink_open);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        const struct egress *egress = egress_at(world, i);
        bool due = egress != NULL && egress_fresh(egress) > 0;
        if (!due || egress->connections > 0) {
            watch->since_ns[i] = 0;
            continue;
        }
        if (watch->since_ns[i] == 0) {
            watch->since_ns[i] = now_ns;
        }
        uint64_t waited_ns = now_ns - watch->since_ns[i];
        watch->longest_ns = MAX_OF(watch->longest_ns, waited_ns);
        if (waited_ns > watch->bound_ns) {
            sim_fail(world->sim, "shard %u has waited %llu ms with %u rows", i,
                     (unsigned long long)(waited_ns / NS_PER_MS), egress_fresh(egress));
        }
    }
    return world_drained(world);
}

static void busy_body(struct sim *sim, void *context)
{
    struct world world;
    unsigned limit = *(unsigned *)context;
    struct watch watch = {
        .world = &world,
        .limit = limit,
        .bound_ns = (SHARDS + limit - 1) / limit * TURN_NS,
    };
    world_init(&world, sim);
    world.shards = SHARDS;
    world.domains = 1;
    world.recipients_max = 1;
    world.mood = (struct sink_mood){.slow = 1000, .slow_ns = SLOW_NS};
    world_set(&world, "shaping.default.connection_limit=%u", limit);
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 12, 400, 20 * NS_PER_MS);
    good = good && sim_run_until(sim, watch_done, &watch, 600 * NS_PER_S);
    if (good && world.sink_open_max != limit) {
        sim_fail(sim, "%u connections at the sink, the limit is %u", world.sink_open_max, limit);
    }
    /* They go from shard to shard as they are. */
    if (good && world.conn_count != limit) {
        sim_fail(sim, "%u connections were made, the limit is %u", world.conn_count, limit);
    }
    if (good && world_counter(&world, COUNTER_connections_handed) < SHARDS) {
        sim_fail(sim, "only %llu connections were handed over",
                 (unsigned long long)world_counter(&world, COUNTER_connections_handed));
    }
    printf("limit %u: longest wait %llu ms of %llu, %u connects, %llu ms\n", limit,
           (unsigned long long)(watch.longest_ns / NS_PER_MS),
           (unsigned long long)(watch.bound_ns / NS_PER_MS), world.conn_count,
           (unsigned long long)(sim_now_ns(sim) / NS_PER_MS));
    if (good && !sim_failed(sim)) {
        world_finish(&world);
    }
    world_close(&world);
}

static void l09_shards_with_mail_have_their_turn_within_a_bound_and_nobody_connects(void **state)
{
    (void)state;
    for (unsigned limit = 1; limit <= 3; limit++) {
        struct sim_campaign campaign = {
            .name = "busy site", .count = 6, .body = busy_body, .context = &limit};
        assert_int_equal(sim_campaign_run(&campaign), 0);
    }
}

/* --- connections that are new ----------------------------------------------------------------- */

static bool has_connection(const struct world *world, unsigned shard)
{
    const struct egress *egress = egress_at(world, shard);
    return egress != NULL && egress->connections > 0;
}

/* The shard that has the only connection; SHARDS: none. */
static unsigned connected_shard(const struct world *world)
{
    unsigned at = 0;
    while (at < SHARDS && !has_connection(world, at)) {
        at++;
    }
    return at;
}

static bool connected(void *context)
{
    return connected_shard(context) < SHARDS;
}

static bool one_sent(void *context)
{
    return world_counter(context, COUNTER_deliveries) > 0;
}

/* A banner so late that the slot's turn is over when it comes, and all others wait for it. */
static void new_body(struct sim *sim, void *context)
{
    struct world world;
    (void)context;
    world_init(&world, sim);
    world.shards = SHARDS;
    world.domains = 1;
    world.recipients_max = 1;
    world.mood = (struct sink_mood){
        .slow = 1000, .slow_ns = 3 * NS_PER_S, .one_stage = true, .stage = STAGE_BANNER};
    world_set(&world, "shaping.default.connection_limit=1");
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 12, 100, 20 * NS_PER_MS);
    good = good && sim_run_until(sim, connected, &world, 5 * NS_PER_S);
    unsigned first = connected_shard(&world);
    good = good && sim_run_until(sim, one_sent, &world, 5 * NS_PER_S);
    if (good &&
        counters_get(&world.node.mtas[first].shard.counters, COUNTER_deliveries) == 0) {
        sim_fail(sim, "shard %u connected, and another one sends first", first);
    }
    if (good && !sim_failed(sim)) {
        world_finish(&world);
    }
    world_close(&world);
}

static void who_connects_sends_before_the_connection_goes_to_another_shard(void **state)
{
    (void)state;
    struct sim_campaign campaign = {.name = "new connection", .count = 12, .body = new_body};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* --- idle connections ------------------------------------------------------------------------- */

static bool sent(void *context)
{
    const struct world *world = context;
    return world_handed_in(context) && world_rows(world) == 0;
}

/* One message at a time, over any shard; the connections of those before stand idle meanwhile. */
static void idle_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.shards = SHARDS;
    world.domains = 1;
    world.recipients_max = 1;
    world_set(&world, "shaping.default.connection_limit=%u", *(unsigned *)context);
    world_open(&world);
    bool good = world_start(&world);
    for (unsigned i = 0; good && i < 20; i++) {
        world_mail(&world, 1, 1, NS_PER_MS);
        good = sim_run_until(sim, sent, &world, 2 * NS_PER_S) &&
               sim_run_for(sim, sim_below(sim, 200 * NS_PER_MS));
        if (!good) {
            sim_fail(sim, "message %u waits for an idle connection", i);
        }
    }
    if (world.conn_count > *(unsigned *)context) {
        sim_fail(sim, "%u connections were made", world.conn_count);
    }
    if (good) {
        world_finish(&world);
    }
    world_close(&world);
}

static void l09_an_idle_connection_goes_to_the_shard_that_has_mail(void **state)
{
    (void)state;
    for (unsigned limit = 1; limit <= 2; limit++) {
        struct sim_campaign campaign = {
            .name = "idle", .count = 6, .body = idle_body, .context = &limit};
        assert_int_equal(sim_campaign_run(&campaign), 0);
    }
}

/* --- connections that are away ---------------------------------------------------------------- */

/* The one whose connection is on its way to another shard; null: none. */
static struct egress *egress_away(const struct world *world)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        const struct egress *egress = egress_at(world, i);
        if (egress != NULL && egress->away > 0) {
            return (struct egress *)(uintptr_t)egress;
        }
    }
    return NULL;
}

static bool is_away(void *context)
{
    return egress_away(context) != NULL;
}

/* One that has long had nothing to do; what it has handed away comes home to it. */
static void away_body(struct sim *sim, void *context)
{
    struct world world;
    struct egress *egress = NULL;
    (void)context;
    world_init(&world, sim);
    world.shards = SHARDS;
    world.domains = 1;
    world.recipients_max = 1;
    world_set(&world, "shaping.default.connection_limit=1");
    world_open(&world);
    bool good = world_start(&world);
    for (unsigned i = 0; good && egress == NULL && i < 20; i++) {
        world_mail(&world, 1, 1, NS_PER_MS);
        good = sim_run_until(sim, sent, &world, 2 * NS_PER_S) && sim_run_for(sim, 12 * NS_PER_S);
        world_mail(&world, 1, 1, NS_PER_MS);
        (void)sim_run_until(sim, is_away, &world, 2 * NS_PER_S);
        egress = egress_away(&world);
    }
    if (egress == NULL) {
        sim_fail(sim, "no connection was handed over");
    } else {
        egress_rest(egress);
        if (egress->leaves || egress->connections > 0) {
            sim_fail(sim, "it goes while its connection is away");
        }
        good = sim_run_until(sim, sent, &world, 2 * NS_PER_S);
    }
    if (good && !sim_failed(sim)) {
        world_finish(&world);
    }
    world_close(&world);
}

static void l09_a_ready_queue_waits_for_the_connection_that_it_has_handed_over(void **state)
{
    (void)state;
    struct sim_campaign campaign = {.name = "away", .count = 4, .body = away_body};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            l09_shards_with_mail_have_their_turn_within_a_bound_and_nobody_connects),
        cmocka_unit_test(who_connects_sends_before_the_connection_goes_to_another_shard),
        cmocka_unit_test(l09_an_idle_connection_goes_to_the_shard_that_has_mail),
        cmocka_unit_test(l09_a_ready_queue_waits_for_the_connection_that_it_has_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
