/*
 * The whole MTA under rates, in virtual time: counts at the sink stay within rate * T + burst at
 * every moment, come close to rate * T while there is mail, and no shard goes empty.
 */
#include "shard/queue/hold.h"
#include "smtp/egress.h"
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One rate and what it counts. */
struct law {
    double rate; /* a second; 0: nothing is said */
    double burst;
};

struct trial {
    unsigned shards;
    unsigned recipients; /* of a message, at most */
    unsigned domains;
    uint32_t messages;
    uint64_t for_ns;     /* as long as mail is left over */
    struct law messages_law;
    struct law connects_law;
    bool all_of_it;      /* the law of messages is the narrowest: 99 % of it are used */
    const char *sets[6];
    uint64_t last;       /* out: recipients at the sink */
};

struct watch {
    struct world *world;
    const struct trial *trial;
    uint64_t begun_ns;
    uint64_t until_ns;
};

static bool keeps(const struct law *law, uint64_t count, uint64_t ns)
{
    return law->rate == 0 || (double)count <= law->rate * (double)ns / 1e9 + law->burst;
}

/* Looked at after every event. */
static bool watch_done(void *context)
{
    const struct watch *watch = context;
    struct world *world = watch->world;
    uint64_t now_ns = sim_now_ns(world->sim);
    uint64_t passed_ns = now_ns - watch->begun_ns;
    if (!keeps(&watch->trial->messages_law, world->tally.deliveries, passed_ns)) {
        sim_fail(world->sim, "%llu recipients after %llu ms",
                 (unsigned long long)world->tally.deliveries,
                 (unsigned long long)(passed_ns / NS_PER_MS));
    }
    if (!keeps(&watch->trial->connects_law, world->conn_count, passed_ns)) {
        sim_fail(world->sim, "%u connections after %llu ms", world->conn_count,
                 (unsigned long long)(passed_ns / NS_PER_MS));
    }
    return now_ns >= watch->until_ns;
}

/* Every shard that has had mail all the time has sent a fair part of what there was to send. */
static void check_shares(struct world *world, const struct trial *trial)
{
    uint64_t all = world->tally.deliveries;
    for (unsigned i = 0; i < trial->shards; i++) {
        uint64_t sent = counters_get(&world->node.peers[i]->counters, COUNTER_deliveries);
        if (world->node.mtas[i].queues.rows.used > 0 && sent * trial->shards * 3 < all) {
            sim_fail(world->sim, "shard %u has sent %llu of %llu", i, (unsigned long long)sent,
                     (unsigned long long)all);
        }
    }
}

static void trial_body(struct sim *sim, void *context)
{
    struct trial *trial = context;
    struct world world;
    world_init(&world, sim);
    world.shards = trial->shards;
    world.recipients_max = trial->recipients;
    world.domains = trial->domains;
    world.body_bytes_max = 200;
    world.large = 0;
    world.think_ns = NS_PER_MS;
    for (unsigned i = 0; i < COUNT_OF(trial->sets) && trial->sets[i] != NULL; i++) {
        world_set(&world, "%s", trial->sets[i]);
    }
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 4 * trial->shards, trial->messages, NS_PER_MS);
    struct watch watch = {.world = &world, .trial = trial, .begun_ns = sim_now_ns(sim)};
    watch.until_ns = watch.begun_ns + trial->for_ns;
    good = good && sim_run_until(sim, watch_done, &watch, trial->for_ns + NS_PER_S);
    if (good) {
        double least = 0.99 * trial->messages_law.rate * (double)trial->for_ns / 1e9;
        if (trial->all_of_it && (double)world.tally.deliveries < floor(least)) {
            sim_fail(sim, "only %llu recipients, %.0f might have gone",
                     (unsigned long long)world.tally.deliveries, least);
        }
        if (world_rows(&world) == 0) {
            sim_fail(sim, "no mail is left: the trial shows nothing");
        }
        if (trial->all_of_it) {
            check_shares(&world, trial);
        }
        trial->last = world.tally.deliveries;
        world_stop(&world, 1);
    }
    world_close(&world);
}

static void run(struct trial *trial, unsigned count)
{
    struct sim_campaign campaign = {
        .name = "rates", .count = count, .body = trial_body, .context = trial};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

static const unsigned shard_counts[] = {1, 2, 4};

static void l01_the_rate_of_a_path_holds_over_all_shards_and_is_used(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shard_counts); i++) {
        struct trial narrow = {
            .shards = shard_counts[i], .recipients = 1, .domains = 1, .messages = 900,
            .for_ns = 30 * NS_PER_S, .messages_law = {20, 1}, .all_of_it = true,
            .sets = {"shaping.default.max_message_rate=\"20/s,max_burst=1\""},
        };
        run(&narrow, 4);
        struct trial wide = {
            .shards = shard_counts[i], .recipients = 4, .domains = 1, .messages = 1000,
            .for_ns = 10 * NS_PER_S, .messages_law = {100, 100}, .all_of_it = true,
            .sets = {"shaping.default.max_message_rate=\"100/s\""},
        };
        run(&wide, 4);
    }
}

/* Who has no connection keeps no tokens from those who have; and it has one in its turn. */
static void l09_a_rate_is_used_whole_by_few_connections_and_no_shard_is_starved(void **state)
{
    (void)state;
    static const struct {
        const char *rate;
        struct law law;
        uint32_t messages;
        uint64_t for_ns;
    } rates[] = {
        {"shaping.default.max_message_rate=\"20/s,max_burst=1\"", {20, 1}, 900, 30 * NS_PER_S},
        {"shaping.default.max_message_rate=\"100/s,max_burst=10\"", {100, 10}, 4500,
         30 * NS_PER_S},
        {"shaping.default.max_message_rate=\"1/s,max_burst=1\"", {1, 1}, 500, 300 * NS_PER_S},
    };
    static const char *const limits[] = {"shaping.default.connection_limit=1",
                                         "shaping.default.connection_limit=2"};
    for (size_t i = 0; i < COUNT_OF(shard_counts) * COUNT_OF(limits) * COUNT_OF(rates); i++) {
        size_t rate = i % COUNT_OF(rates);
        struct trial trial = {
            .shards = shard_counts[i / COUNT_OF(rates) % COUNT_OF(shard_counts)],
            .recipients = 1, .domains = 1, .messages = rates[rate].messages,
            .for_ns = rates[rate].for_ns, .messages_law = rates[rate].law, .all_of_it = true,
            .sets = {rates[rate].rate, limits[i / COUNT_OF(rates) / COUNT_OF(shard_counts)]},
        };
        run(&trial, 3);
    }
}

/* 1/m: at most one in hand on every shard, and connections do not stand open for it. */
static void l01_a_slow_rate_goes_on_at_its_instants_and_keeps_no_connection_idle(
    void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shard_counts); i++) {
        struct trial trial = {
            .shards = shard_counts[i], .recipients = 2, .domains = 1, .messages = 100,
            .for_ns = 1800 * NS_PER_S, .messages_law = {1.0 / 60, 1}, .all_of_it = true,
            .connects_law = {1.0 / 60, 3},
            .sets = {"shaping.default.max_message_rate=\"1/m,max_burst=1\"",
                     "shaping.default.idle_timeout=5s"},
        };
        run(&trial, 2);
    }
}

static void l02_the_rate_of_a_scheduled_queue_holds_each_queue_by_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shard_counts); i++) {
        struct trial trial = {
            .shards = shard_counts[i], .recipients = 1, .domains = 2, .messages = 1400,
            .for_ns = 30 * NS_PER_S, .messages_law = {20, 2}, .all_of_it = true,
            .sets = {"queues.queue.\"d0.test\".max_message_rate=\"10/s,max_burst=1\"",
                     "queues.queue.\"d1.test\".max_message_rate=\"10/s,max_burst=1\""},
        };
        run(&trial, 3);
    }
}

/* A rate of the tenant is one for all its queues. */
static void l02_the_overall_rate_of_a_tenant_holds_its_queues_together(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shard_counts); i++) {
        struct trial trial = {
            .shards = shard_counts[i], .recipients = 1, .domains = 3, .messages = 900,
            .for_ns = 30 * NS_PER_S, .messages_law = {20, 2}, .all_of_it = true,
            .sets = {"queues.default_tenant=acme",
                     "queues.tenant.acme.overall_max_message_rate=\"20/s,max_burst=2\""},
        };
        run(&trial, 3);
    }
}

/* A rate of a block is one for all queues for which it speaks. */
static void l02_the_overall_rate_of_a_block_holds_its_queues_together(void **state)
{
    (void)state;
    static const char *const rates[] = {
        "queues.queue.default.overall_max_message_rate=\"20/s,max_burst=2\"",
        "queues.queue.\"*.test\".acme.overall_max_message_rate=\"20/s,max_burst=2\"",
    };
    for (size_t i = 0; i < COUNT_OF(rates); i++) {
        struct trial trial = {
            .shards = 2, .recipients = 1, .domains = 3, .messages = 900,
            .for_ns = 30 * NS_PER_S, .messages_law = {20, 2}, .all_of_it = true,
            .sets = {"queues.default_tenant=acme",
                     "queues.tenant.acme.overall_max_message_rate=\"2000/s\"", rates[i]},
        };
        run(&trial, 3);
    }
}

/* The narrowest of them is what counts. */
static void l02_several_rates_hold_together(void **state)
{
    (void)state;
    struct trial trial = {
        .shards = 2, .recipients = 3, .domains = 1, .messages = 700,
        .for_ns = 30 * NS_PER_S, .messages_law = {10, 5}, .all_of_it = true,
        .sets = {"shaping.default.max_message_rate=\"600/m,max_burst=5\"",
                 "queues.queue.\"d0.test\".max_message_rate=\"15/s,max_burst=5\"",
                 "shaping.default.additional_message_rate_throttles={all=\"30/s\"}"},
    };
    run(&trial, 4);
    trial.sets[0] = "shaping.default.max_message_rate=\"30/s\"";
    trial.sets[1] = "queues.queue.\"d0.test\".max_message_rate=\"600/m,max_burst=5\"";
    run(&trial, 4);
}

/* d0 and d2 are different sites. */
static void l03_additional_rates_are_shared_by_sites(void **state)
{
    (void)state;
    struct trial trial = {
        .shards = 2, .recipients = 1, .domains = 3, .messages = 900,
        .for_ns = 30 * NS_PER_S, .messages_law = {20, 1}, .all_of_it = true,
        .sets = {"shaping.default.additional_message_rate_throttles={all=\"20/s,max_burst=1\"}"},
    };
    run(&trial, 4);
}

static void l04_connections_are_begun_no_faster_than_their_rate(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shard_counts); i++) {
        struct trial trial = {
            .shards = shard_counts[i], .recipients = 1, .domains = 1, .messages = 400,
            .for_ns = 60 * NS_PER_S, .connects_law = {1, 2}, .messages_law = {4, 8},
            .all_of_it = true,
            .sets = {"shaping.default.max_connection_rate=\"1/s,max_burst=2\"",
                     "shaping.default.max_deliveries_per_connection=4",
                     "shaping.default.max_recipients_per_batch=1"},
        };
        run(&trial, 3);
    }
}

/* --- additional connection limits ------------------------------------------------------------- */

static void slots_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.shards = 2;
    world.recipients_max = 1;
    world.mood = (struct sink_mood){.slow = 1000, .slow_ns = 20 * NS_PER_MS};
    world_set(&world, "shaping.default.additional_connection_limits={all=%u}",
              *(unsigned *)context);
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 8, 150, 20 * NS_PER_MS);
    if (good) {
        world_settle(&world);
        world_judge(&world);
    }
    if (world.sink_open_max > *(unsigned *)context) {
        sim_fail(sim, "%u connections at the sinks", world.sink_open_max);
    }
    if (good) {
        world_stop(&world, 1);
    }
    world_close(&world);
}

static void l03_additional_connection_limits_are_shared_by_sites_and_none_is_starved(void **state)
{
    (void)state;
    for (unsigned limit = 1; limit <= 5; limit += 2) {
        struct sim_campaign campaign = {
            .name = "slots", .count = 4, .body = slots_body, .context = &limit};
        assert_int_equal(sim_campaign_run(&campaign), 0);
    }
}

/* --- restarts --------------------------------------------------------------------------------- */

static void restart_body(struct sim *sim, void *context)
{
    const bool kills = *(bool *)context;
    const struct law law = {60.0 / 3600, 10};
    struct world world;
    world_init(&world, sim);
    world.shards = 2;
    world.recipients_max = 1;
    world.domains = 1;
    world_set(&world, "queues.queue.default.retry_interval=1m");
    world_set(&world, "shaping.default.max_message_rate=\"60/h,max_burst=10\"");
    world_open(&world);
    bool good = world_start(&world);
    uint64_t begun_ns = sim_now_ns(sim);
    world_mail(&world, 4, 200, NS_PER_MS);
    for (unsigned i = 0; i < 6 && good; i++) {
        /* Not within a second of the burst: what was used there may be forgotten. */
        good = sim_run_for(sim, 15 * NS_PER_S + sim_below(sim, 100 * NS_PER_S));
        if (good && kills) {
            world_crash(&world, false);
        } else if (good) {
            world_stop(&world, 1);
        }
        good = good && !sim_failed(sim) && world_start(&world);
    }
    uint64_t passed_ns = sim_now_ns(sim) - begun_ns;
    /* A kill may forget what was used in the second before it: one token. */
    struct law told = {law.rate, law.burst + (kills ? 6 : 0)};
    if (!keeps(&told, world.tally.deliveries, passed_ns)) {
        sim_fail(sim, "%llu recipients after %llu s",
                 (unsigned long long)world.tally.deliveries,
                 (unsigned long long)(passed_ns / NS_PER_S));
    }
    /* A stop gives back what was reserved; with a kill each shard loses the token it waited for. */
    double least = law.burst + (kills ? 0 : law.rate * (double)passed_ns / 1e9 - 2);
    if ((double)world.tally.deliveries < least) {
        sim_fail(sim, "only %llu recipients", (unsigned long long)world.tally.deliveries);
    }
    if (good) {
        world_stop(&world, 1);
    }
    world_close(&world);
}

static void l05_a_rate_over_an_hour_goes_on_where_it_was_after_stops_and_kills(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        bool kills = i == 1;
        struct sim_campaign campaign = {
            .name = "restarts", .count = 10, .body = restart_body, .context = &kills};
        assert_int_equal(sim_campaign_run(&campaign), 0);
    }
}

/* The value that "default" says by this text: to be another one at the next start. */
static void *default_said(const struct world *world, struct slice text)
{
    const struct shaping_layer *layer = &world->conf->shaping->base.layer;
    uint32_t i = 0;
    while (i < layer->count && !slice_equal(layer->said[i].text, text)) {
        i++;
    }
    assert_true(i < layer->count);
    return (void *)(uintptr_t)layer->said[i].value;
}

/* The same limit, raised and lowered at a restart: a new rate begins with its own full bucket. */
static void l05_a_rate_that_was_changed_begins_anew(void **state)
{
    (void)state;
    static const struct {
        const char *rate;
        uint64_t least;
        uint64_t most;
    } lives[] = {{"10/h", 10, 10}, {"20/h", 30, 30}, {"5/h", 35, 35}, {"20/h", 35, 35}};
    struct sim *sim = sim_open(&(struct sim_options){.seed = 5});
    struct world world;
    world_init(&world, sim);
    world.recipients_max = 1;
    world.domains = 1;
    world_set(&world, "shaping.default.max_message_rate=\"10/h\"");
    world_open(&world);
    struct rate *rate = default_said(&world, SLICE("\"10/h\""));
    for (size_t i = 0; i < COUNT_OF(lives); i++) {
        assert_null(rate_parse(slice_from_string(lives[i].rate), rate));
        assert_true(world_start(&world));
        if (i == 0) {
            world_mail(&world, 2, 100, NS_PER_MS);
        }
        assert_true(sim_run_for(sim, 10 * NS_PER_S));
        assert_in_range(world.tally.deliveries, lives[i].least, lives[i].most);
        world_stop(&world, 1);
    }
    assert_false(sim_failed(sim));
    world_close(&world);
    sim_close(sim);
}

/* --- why it waits ----------------------------------------------------------------------------- */

static const struct egress *only_egress(const struct world *world)
{
    return CONTAINER_OF(world->node.mtas[0].delivery.all.next, struct egress, link);
}

static void expect_hold(const struct world *world, enum hold_reason reason, uint64_t in_ns)
{
    const struct hold *hold = &only_egress(world)->hold;
    assert_string_equal(hold_name(hold->reason), hold_name(reason));
    if (in_ns > 0) {
        uint64_t now_ns = world->node.peers[0]->now_ns;
        assert_in_range(hold->until_ns, now_ns + 1, now_ns + in_ns);
    } else {
        assert_int_equal(hold->until_ns, 0);
    }
}

static void l06_a_waiting_queue_knows_the_limit_that_holds_it_and_until_when(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        enum hold_reason reason;
        uint64_t in_ns;
    } rows[] = {
        {"shaping.default.max_message_rate=\"1/h\"", HOLD_message_rate, 3600 * NS_PER_S},
        {"shaping.default.additional_message_rate_throttles={all=\"1/h\"}", HOLD_message_rate,
         3600 * NS_PER_S},
        {"shaping.default={max_connection_rate=\"1/m\",max_deliveries_per_connection=1}",
         HOLD_connection_rate, 60 * NS_PER_S},
        {"shaping.default.connection_limit=1", HOLD_connection_limit, 0},
        {"shaping.default.additional_connection_limits={all=1}", HOLD_connection_limit, 0},
        {"queues.queue.\"d0.test\".max_message_rate=\"1/h\"", HOLD_queue_rate, 3600 * NS_PER_S},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sim *sim = sim_open(&(struct sim_options){.seed = 1});
        struct world world;
        world_init(&world, sim);
        world.recipients_max = 1;
        world.domains = 1;
        world.mood = (struct sink_mood){
            .slow = 1000, .slow_ns = 9 * NS_PER_S, .one_stage = true, .stage = STAGE_DOT};
        world_set(&world, "%s", rows[i].set);
        world_open(&world);
        assert_true(world_start(&world));
        world_mail(&world, 4, 40, NS_PER_MS);
        assert_true(sim_run_for(sim, rows[i].in_ns > 0 ? 20 * NS_PER_S : NS_PER_S));
        struct delivery *delivery = &world.node.mtas[0].delivery;
        uint32_t number = queues_name(delivery->queues, SLICE("d0.test"));
        struct hold hold = delivery_hold(delivery, queues_at(delivery->queues, number));
        assert_string_equal(hold_name(hold.reason), hold_name(rows[i].reason));
        if (rows[i].reason != HOLD_queue_rate) {
            expect_hold(&world, rows[i].reason, rows[i].in_ns);
        } else {
            uint64_t now_ns = world.node.peers[0]->now_ns;
            assert_in_range(hold.until_ns, now_ns + 1, now_ns + rows[i].in_ns);
        }
        world_stop(&world, 1);
        world_close(&world);
        sim_close(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l09_a_rate_is_used_whole_by_few_connections_and_no_shard_is_starved),
        cmocka_unit_test(l01_the_rate_of_a_path_holds_over_all_shards_and_is_used),
        cmocka_unit_test(
            l01_a_slow_rate_goes_on_at_its_instants_and_keeps_no_connection_idle),
        cmocka_unit_test(l02_the_rate_of_a_scheduled_queue_holds_each_queue_by_itself),
        cmocka_unit_test(l02_the_overall_rate_of_a_tenant_holds_its_queues_together),
        cmocka_unit_test(l02_the_overall_rate_of_a_block_holds_its_queues_together),
        cmocka_unit_test(l02_several_rates_hold_together),
        cmocka_unit_test(l03_additional_rates_are_shared_by_sites),
        cmocka_unit_test(l04_connections_are_begun_no_faster_than_their_rate),
        cmocka_unit_test(l03_additional_connection_limits_are_shared_by_sites_and_none_is_starved),
        cmocka_unit_test(l05_a_rate_over_an_hour_goes_on_where_it_was_after_stops_and_kills),
        cmocka_unit_test(l05_a_rate_that_was_changed_begins_anew),
        cmocka_unit_test(l06_a_waiting_queue_knows_the_limit_that_holds_it_and_until_when),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
