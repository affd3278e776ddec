/*
 * The whole MTA at its limits, in virtual time: stops, write errors, full disks, connection limits,
 * retries and expiry, refusals. Judged by the ledger of tests/world/world.h.
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- stops ------------------------------------------------------------------------------------ */

static void stop_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.shards = 1 + (unsigned)sim_below(sim, 3);
    world.mood = (struct sink_mood){.defer = 50, .slow = 100, .slow_ns = 5 * NS_PER_S};
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 6, 40, 20 * NS_PER_MS);
    for (unsigned i = 0; i < 2 && good; i++) {
        uint64_t most_ns = sim_chance(sim, 500) ? 30 * NS_PER_MS : 3 * NS_PER_S;
        (void)sim_run_for(sim, sim_below(sim, most_ns));
        world_stop(&world, 1);
        good = !sim_failed(sim) && world_start(&world);
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void f33_a_stop_under_load_loses_and_repeats_nothing(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "stop", .count = 20, .body = stop_body, .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    assert_int_equal(tally.duplicates[CAUSE_CRASH] + tally.duplicates[CAUSE_UNCERTAIN], 0);
    assert_true(tally.taken > 0);
}

static void second_stop_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.shards = 1 + (unsigned)sim_below(sim, 2);
    world.mood = (struct sink_mood){.slow = 300, .slow_ns = 50 * NS_PER_S};
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 4, 30, 20 * NS_PER_MS);
    if (good) {
        (void)sim_run_for(sim, sim_below(sim, 200 * NS_PER_MS));
        node_stop(&world.node, 1);
        (void)sim_run_for(sim, sim_below(sim, 3 * NS_PER_S));
        uint64_t asked_ns = sim_now_ns(sim);
        world_stop(&world, 2);
        if (sim_now_ns(sim) > asked_ns + 2 * NS_PER_S) {
            sim_fail(sim, "the second stop took %llu ms",
                     (unsigned long long)((sim_now_ns(sim) - asked_ns) / NS_PER_MS));
        }
        good = !sim_failed(sim) && world_start(&world);
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void f33_a_second_stop_cuts_connections_within_two_seconds_and_loses_nothing(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "second stop", .count = 20, .body = second_stop_body, .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
}

static void f33_a_peer_that_never_answers_holds_a_stop_for_stop_timeout_only(void **state)
{
    (void)state;
    struct sim_options options = {.seed = 3};
    struct sim *sim = sim_open(&options);
    struct world world;
    world_init(&world, sim);
    world.lossy = true;
    world.mood = (struct sink_mood){
        .slow = 1000, .slow_ns = 4000 * NS_PER_S, .one_stage = true, .stage = STAGE_DOT};
    world_set(&world, "node.stop_timeout=20s");
    world_open(&world);
    assert_true(world_start(&world));
    world_mail(&world, 2, 6, NS_PER_MS);
    assert_true(sim_run_for(sim, NS_PER_S));
    uint64_t asked_ns = sim_now_ns(sim);
    world_stop(&world, 1);
    assert_string_equal(sim_failure(sim), "");
    assert_in_range(sim_now_ns(sim) - asked_ns, 20 * NS_PER_S, 23 * NS_PER_S);
    world_close(&world);
    sim_close(sim);
}

/* --- the disk refuses ------------------------------------------------------------------------- */

enum trouble { TROUBLE_WRITES, TROUBLE_SYNCS, TROUBLE_FULL };

/* Outcomes that could not be stored go with the process, by a kill or by a stop. */
static bool restart(struct world *world, bool stop)
{
    if (!stop) {
        world_crash(world, false);
    } else {
        world_life_over(world);
        world_stop(world, 1);
    }
    return !sim_failed(world->sim) && world_start(world);
}

/* A while of errors; what the spool cannot mend by itself, a restart does. */
static void disk_body(struct sim *sim, enum trouble trouble, struct world_tally *tally)
{
    struct world world;
    world_init(&world, sim);
    world.lossy = true;
    world.body_bytes_max = 100 * KIB;
    world.window_ns = 100 * NS_PER_S; /* outcomes wait for a disk that stores them */
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 4, 60, 20 * NS_PER_MS);
    if (good) {
        (void)sim_run_for(sim, sim_below(sim, 40 * NS_PER_MS));
        sim_disk_failing_set(world.disk, trouble == TROUBLE_WRITES, trouble == TROUBLE_SYNCS,
                             false);
        if (trouble == TROUBLE_FULL) {
            sim_disk_size_set(world.disk, 5 * MIB);
        }
        (void)sim_run_for(sim, sim_below(sim, sim_chance(sim, 500) ? 20 * NS_PER_MS
                                                                   : 10 * NS_PER_S));
        sim_disk_failing_set(world.disk, false, false, false);
        sim_disk_size_set(world.disk, 512 * MIB);
        (void)sim_run_until(sim, world_drained, &world, 30 * NS_PER_S);
        bool broken = spool_admission(world.node.mtas[0].spool, 0) == SPOOL_FAILED;
        world.refused_may_come = broken;
        if (!sim_failed(sim) && (broken || !world_drained(&world))) {
            good = restart(&world, sim_chance(sim, 500));
        }
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(tally, &world.tally);
    world_close(&world);
}

static void writes_body(struct sim *sim, void *context)
{
    disk_body(sim, TROUBLE_WRITES, context);
}

static void syncs_body(struct sim *sim, void *context)
{
    disk_body(sim, TROUBLE_SYNCS, context);
}

static void full_body(struct sim *sim, void *context)
{
    disk_body(sim, TROUBLE_FULL, context);
}

static void run_disk(const char *name, sim_body *body)
{
    struct world_tally tally = {0};
    struct sim_campaign campaign = {.name = name, .count = 15, .body = body, .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    assert_true(tally.taken > 0);
}

static void f03_write_errors_never_cost_mail_that_was_taken(void **state)
{
    (void)state;
    run_disk("write errors", writes_body);
}

static void f04_sync_errors_never_cost_mail_that_was_taken(void **state)
{
    (void)state;
    run_disk("sync errors", syncs_body);
}

static void f02_a_full_disk_never_costs_mail_that_was_taken(void **state)
{
    (void)state;
    run_disk("full disk", full_body);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void limit_body(struct sim *sim, void *context)
{
    struct world world;
    uint64_t before[3] = {0};
    world_init(&world, sim);
    world.shards = 3;
    world.domains = 2;
    world.recipients_max = 1;
    world.mood = (struct sink_mood){.slow = 1000, .slow_ns = 100 * NS_PER_MS};
    world_set(&world, "shaping.default.connection_limit=3");
    world_open(&world);
    bool good = world_start(&world);
    world_mail(&world, 12, 120, 20 * NS_PER_MS);
    while (good && !world_drained(&world)) {
        bool had[3];
        for (unsigned i = 0; i < 3; i++) {
            had[i] = world.node.mtas[i].queues.rows.used > 0;
            before[i] = counters_get(&world.node.peers[i]->counters, COUNTER_deliveries);
        }
        good = sim_run_for(sim, 4 * NS_PER_S);
        for (unsigned i = 0; good && i < 3; i++) {
            if (had[i] && world.node.mtas[i].queues.rows.used > 0 &&
                counters_get(&world.node.peers[i]->counters, COUNTER_deliveries) == before[i]) {
                sim_fail(sim, "shard %u is starved: %u rows", i,
                         world.node.mtas[i].queues.rows.used);
            }
        }
    }
    if (world.sink_open_max != 3) {
        sim_fail(sim, "%u connections at the sink, the limit is 3", world.sink_open_max);
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void connections_of_all_shards_stay_within_the_limit_and_none_is_starved(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "limit", .count = 10, .body = limit_body, .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    assert_int_equal(tally.duplicates[CAUSE_CRASH] + tally.duplicates[CAUSE_UNCERTAIN], 0);
}

static void q05_without_rows_left_mail_gets_452_and_deliveries_make_room_again(void **state)
{
    (void)state;
    struct sim_options options = {.seed = 5};
    struct sim *sim = sim_open(&options);
    struct world world;
    world_init(&world, sim);
    world.recipients_max = 1;
    world.mood = (struct sink_mood){.defer = 1000, .one_stage = true, .stage = STAGE_RCPT};
    world.shards = 2;
    world_set(&world, "memory.max_queued=20");
    world_open(&world);
    assert_true(world_start(&world));
    world_mail(&world, 4, 40, 20 * NS_PER_MS);
    assert_true(sim_run_until(sim, world_handed_in, &world, 60 * NS_PER_S));
    assert_int_equal(world.tally.no_room, 40 - 20);
    assert_int_equal(world_rows(&world), 20);
    world_settle(&world);
    world_mail(&world, 1, 10, NS_PER_MS);
    uint64_t no_room = world.tally.no_room;
    world_finish(&world);
    assert_int_equal(world.tally.no_room, no_room);
    assert_int_equal(world.tally.taken, 20 + 10);
    assert_string_equal(sim_failure(sim), "");
    world_close(&world);
    sim_close(sim);
}

static void f08_under_memory_pressure_mail_gets_452_and_deliveries_go_on(void **state)
{
    (void)state;
    struct sim_options options = {.seed = 6};
    struct sim *sim = sim_open(&options);
    struct world world;
    world_init(&world, sim);
    world.body_bytes_max = 250 * KIB;
    world.think_ns = 0;
    world.mood = (struct sink_mood){.slow = 1000, .slow_ns = 4 * NS_PER_S};
    world_set(&world, "memory.staging=16MiB");
    world_open(&world);
    world.memory_bytes = 2 * (node_memory_fixed(world.conf) + 11 * MIB);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(i > 0 || world_start(&world));
        world_mail(&world, 16, 120, 20 * NS_PER_MS);
        for (uint32_t at = world.message_count - 120; at < world.message_count; at++) {
            world.messages[at].body_bytes = 200 * KIB;
        }
        assert_true(sim_run_until(sim, world_handed_in, &world, 600 * NS_PER_S));
    }
    assert_true(world.tally.no_room > 0);
    assert_true(world_counter(&world, COUNTER_overload_mail) > 0);
    world_finish(&world);
    assert_true(world.tally.taken > 10);
    assert_string_equal(sim_failure(sim), "");
    world_close(&world);
    sim_close(sim);
}

/* --- time ------------------------------------------------------------------------------------- */

static void attempts_come_at_their_seconds_and_then_the_message_expires(void **state)
{
    (void)state;
    /* Seconds after the attempt before; 3 s of jitter, a second of rounding; the last one comes
     * 60 s before the end. */
    static const uint64_t delays[] = {60, 120, 240, 240, 240, 240};
    struct sim_options options = {.seed = 7};
    struct sim *sim = sim_open(&options);
    struct world world;
    world_init(&world, sim);
    world.recipients_max = 1;
    world.mood = (struct sink_mood){.defer = 1000, .one_stage = true, .stage = STAGE_RCPT};
    world_set(&world, "queues.queue.default.retry_interval=1m");
    world_set(&world, "queues.queue.default.max_retry_interval=4m");
    world_set(&world, "queues.queue.default.max_age=1300s");
    world_open(&world);
    assert_true(world_start(&world));
    world_mail(&world, 1, 1, 0);
    uint64_t began_ns = sim_now_ns(sim);
    assert_true(sim_run_until(sim, world_handed_in, &world, 60 * NS_PER_S));
    assert_true(sim_run_until(sim, world_drained, &world, 4000 * NS_PER_S));
    assert_int_equal(world.rcpt_count, 8);
    for (unsigned i = 0; i + 2 < world.rcpt_count; i++) {
        uint64_t delay_ns = world.rcpts_ns[i + 1] - world.rcpts_ns[i];
        assert_in_range(delay_ns, (delays[i] - 2) * NS_PER_S, (delays[i] + 4) * NS_PER_S);
    }
    assert_in_range(world.rcpts_ns[7] - began_ns, 1238 * NS_PER_S, 1243 * NS_PER_S);
    assert_in_range(sim_now_ns(sim) - began_ns, 1299 * NS_PER_S, 1303 * NS_PER_S);
    assert_int_equal(world_counter(&world, COUNTER_expirations), 1);
    world.messages[0].recipients[0].expired = true;
    world_finish(&world);
    assert_string_equal(sim_failure(sim), "");
    char *log = world_log(&world);
    const char *event = strstr(log, "\"type\":\"Expiration\"");
    assert_non_null(event);
    assert_non_null(strstr(event, "\"code\":551"));
    assert_non_null(strstr(event, "\"enhanced_code\":{\"class\":5,\"subject\":4,\"detail\":7}"));
    free(log);
    world_close(&world);
    sim_close(sim);
}

static void c20_a_recipient_at_an_address_of_our_own_gets_550_5_4_4(void **state)
{
    (void)state;
    static const char *const lines[] = {"EHLO me\r\n", "MAIL FROM:<a@client.test>\r\n",
                                        "RCPT TO:<b@[127.0.0.1]>\r\n", "QUIT\r\n", NULL};
    struct sim_options options = {.seed = 8};
    struct sim *sim = sim_open(&options);
    struct world world;
    char text[2048];
    world_init(&world, sim);
    world_open(&world);
    assert_true(world_start(&world));
    world_talk(&world, lines, text, sizeof(text));
    assert_non_null(strstr(text, "\r\n550 5.4.4 "));
    assert_non_null(strstr(text, "\r\n221 "));
    world_stop(&world, 1);
    assert_string_equal(sim_failure(sim), "");
    world_close(&world);
    sim_close(sim);
}

/* What a message says of its queue is known at the end of its content. */
static void q01_what_a_message_says_of_its_queue_is_refused_when_it_makes_no_sense(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        const char *recipient;
        const char *reply;
    } cases[] = {
        {"X-Tenant: nobody\r\n", "b@d0.test", "\r\n550 5.7.1 "},
        {"X-Tenant: ac me\r\n", "b@d0.test", "\r\n550 5.7.1 "},
        {"X-Tenant: acme\r\nX-Ringpost-Class: fast\r\n", "b@d0.test", "\r\n550 5.6.0 "},
        {"X-Tenant: acme\r\nX-Campaign: \001\r\n", "b@d0.test", "\r\n550 5.6.0 "},
        {"X-Tenant: acme\r\n", "postmaster", "\r\n451 4.4.4 "}, /* in no domain */
        {"", "b@d0.test", "\r\n550 5.7.1 "}, /* the default tenant is not defined */
        {"X-Tenant: routed\r\nX-Campaign: sale\r\nX-Ringpost-Class: URGENT\r\n", "b@nowhere.test",
         "\r\n250 2.0.0 OK ids="},
        {"X-Tenant: routed\r\n", "b@nowhere.test", "\r\n250 2.0.0 OK ids="},
    };
    struct sim_options options = {.seed = 9};
    struct sim *sim = sim_open(&options);
    struct world world;
    char text[2048];
    char content[512];
    char recipient[64];
    world_init(&world, sim);
    world_set(&world, "queues.tenant_header=X-Tenant");
    world_set(&world, "queues.campaign_header=X-Campaign");
    world_set(&world, "queues.default_tenant=ghost");
    world_set(&world, "queues.tenant.acme.weight=200");
    world_set(&world, "queues.tenant.routed.routing_domain=\"[192.0.2.99]:25\"");
    world_open(&world);
    assert_true(world_start(&world));
    for (unsigned i = 0; i < COUNT_OF(cases); i++) {
        snprintf(recipient, sizeof(recipient), "RCPT TO:<%s>\r\n", cases[i].recipient);
        snprintf(content, sizeof(content), "%s\r\nx\r\n.\r\n", cases[i].fields);
        const char *const lines[] = {"EHLO me\r\n", "MAIL FROM:<a@client.test>\r\n", recipient,
                                     "DATA\r\n", content, "QUIT\r\n", NULL};
        world_talk(&world, lines, text, sizeof(text));
        if (strstr(text, cases[i].reply) == NULL) {
            fail_msg("case %u: %s", i, text);
        }
    }
    assert_int_equal(world_rows(&world), 2);
    world_stop(&world, 2);
    world_close(&world);
    sim_close(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f33_a_stop_under_load_loses_and_repeats_nothing),
        cmocka_unit_test(f33_a_second_stop_cuts_connections_within_two_seconds_and_loses_nothing),
        cmocka_unit_test(f33_a_peer_that_never_answers_holds_a_stop_for_stop_timeout_only),
        cmocka_unit_test(f03_write_errors_never_cost_mail_that_was_taken),
        cmocka_unit_test(f04_sync_errors_never_cost_mail_that_was_taken),
        cmocka_unit_test(f02_a_full_disk_never_costs_mail_that_was_taken),
        cmocka_unit_test(connections_of_all_shards_stay_within_the_limit_and_none_is_starved),
        cmocka_unit_test(q05_without_rows_left_mail_gets_452_and_deliveries_make_room_again),
        cmocka_unit_test(f08_under_memory_pressure_mail_gets_452_and_deliveries_go_on),
        cmocka_unit_test(attempts_come_at_their_seconds_and_then_the_message_expires),
        cmocka_unit_test(c20_a_recipient_at_an_address_of_our_own_gets_550_5_4_4),
        cmocka_unit_test(q01_what_a_message_says_of_its_queue_is_refused_when_it_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
