/*
 * The whole MTA with a name server, in virtual time: mail goes where DNS says, ends where that says
 * no, waits while it says nothing, and follows when it says something else.
 */
#include "smtp/egress.h"
#include "tests/kit/name_server.h"
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 10.0.8.8; the sinks of the world are 10.0.3.0 and 10.0.3.1. */
#define NAME_SERVER_HOST (8 * 256 + 8)

struct stage {
    struct sim *sim;
    struct world world;
    struct name_server names;
    bool ready;
};

static void stage_init(struct stage *stage, struct sim *sim, unsigned shards, const char *zone)
{
    struct world *world = &stage->world;
    struct endpoint server = sim_endpoint(NAME_SERVER_HOST, 53);
    *stage = (struct stage){.sim = sim};
    world_init(world, sim);
    world->shards = shards;
    world->body_bytes_max = 2000;
    world->think_ns = NS_PER_MS;
    name_server_open(&stage->names, sim, &server, zone);
    world_set(world, "dns.servers=[\"10.0.8.8\"]");
    for (unsigned i = 0; i < WORLD_DOMAINS; i++) {
        world_set(world, "queues.queue.\"d%u.test\".protocol=smtp", i);
    }
}

static bool stage_start(struct stage *stage)
{
    world_open(&stage->world);
    stage->ready = world_start(&stage->world);
    return stage->ready;
}

static void stage_mail(struct stage *stage, uint32_t count)
{
    world_mail(&stage->world, 4, count, 10 * NS_PER_MS);
}

static bool stage_drain(struct stage *stage, uint64_t for_ns)
{
    if (!sim_run_until(stage->sim, world_drained, &stage->world, for_ns)) {
        sim_fail(stage->sim, "%u recipients are left", world_rows(&stage->world));
        return false;
    }
    return true;
}

static void stage_end(struct stage *stage)
{
    if (stage->ready) {
        world_stop(&stage->world, 1);
    }
    world_close(&stage->world);
}

static uint64_t count_of(const struct stage *stage, enum counter counter)
{
    return world_counter(&stage->world, counter);
}

static void run(const char *name, sim_body *body, void *context, unsigned count)
{
    struct sim_campaign campaign = {
        .name = name, .count = count, .body = body, .context = context};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* --- by what DNS says ------------------------------------------------------------------------- */

#define ZONE                                                                                       \
    "d0.test 300 MX 10 mx1.test\n"                                                                 \
    "d0.test 300 MX 20 mx2.test\n"                                                                 \
    "d1.test 300 A 10.0.3.1\n"                                                                     \
    "d2.test 300 CNAME d0.test\n"                                                                  \
    "mx1.test 300 A 10.0.3.0\n"                                                                    \
    "mx2.test 300 A 10.0.3.1\n"

static void delivered_body(struct sim *sim, void *context)
{
    struct stage stage;
    stage_init(&stage, sim, *(const unsigned *)context, ZONE);
    if (stage_start(&stage)) {
        stage_mail(&stage, 100);
        if (stage_drain(&stage, 60 * NS_PER_S)) {
            world_finish(&stage.world);
            stage.ready = false;
        }
    }
    stage_end(&stage);
}

static void f18_mail_goes_by_mx_by_address_and_by_alias(void **state)
{
    (void)state;
    for (unsigned shards = 1; shards <= 4; shards *= 2) {
        run("dns", delivered_body, &shards, 4);
    }
}

/* Smart hosts by name, the first of which nobody knows. */
static void list_body(struct sim *sim, void *context)
{
    struct stage stage;
    (void)context;
    stage_init(&stage, sim, 1 + (unsigned)sim_below(sim, 2), "relay.test 60 A 10.0.3.1\n");
    for (unsigned i = 0; i < WORLD_DOMAINS; i++) {
        world_set(&stage.world,
                  "queues.queue.\"d%u.test\".protocol="
                  "{smtp={mx_list=[\"no.test\",\"relay.test:25\"]}}",
                  i);
    }
    if (stage_start(&stage)) {
        stage_mail(&stage, 60);
        if (stage_drain(&stage, 60 * NS_PER_S)) {
            world_finish(&stage.world);
            stage.ready = false;
        }
    }
    stage_end(&stage);
}

static void f18_smart_hosts_may_have_names(void **state)
{
    (void)state;
    run("list", list_body, NULL, 6);
}

#define CODE(code, class, subject, detail)                                                         \
    "\"code\":" #code ",\"enhanced_code\":{\"class\":" #class ",\"subject\":" #subject           \
    ",\"detail\":" #detail "}"

/* What DNS says of d0.test, and what becomes of mail for it. */
static const struct outcome_row {
    const char *zone;
    const char *type;
    const char *response; /* part of it */
} outcome_rows[] = {
    {"x.test 60 A 10.0.3.0\n", "Bounce", CODE(550, 5, 1, 2)},
    {"d0.test 60 MX 0 .\n", "Bounce", CODE(556, 5, 1, 10)},
    {"d0.test 60 MX 5 mx.test\n", "TransientFailure", CODE(451, 4, 4, 4)},
    {"d0.test 60 A 127.0.0.1\n", "Bounce", CODE(550, 5, 4, 4)},
    {"d0.test 60 MX 5 mx.test\nmx.test 60 A 10.0.3.0\nmx.test 60 A 127.0.0.1\n", "Bounce",
     CODE(550, 5, 4, 4)},
    {"d0.test 60 MX 5 mta.test\nmta.test 60 A 10.0.0.1\n", "Bounce", CODE(550, 5, 4, 6)},
    {"d0.test 60 A 10.0.7.7\n", "TransientFailure", CODE(451, 4, 4, 4)}, /* skipped */
};

static void expect_outcome(const struct outcome_row *row)
{
    struct sim *sim = sim_open(&(struct sim_options){.seed = 7});
    struct stage stage;
    stage_init(&stage, sim, 1, row->zone);
    stage.world.domains = 1;
    stage.world.recipients_max = 1;
    world_set(&stage.world, "shaping.default.skip_hosts=[\"10.0.7.0/24\"]");
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    assert_true(stage_start(&stage));
    stage_mail(&stage, 1);
    assert_true(sim_run_for(sim, 20 * NS_PER_S));
    world_stop(&stage.world, 1);
    char type[64];
    char *log = world_log(&stage.world);
    snprintf(type, sizeof(type), "\"type\":\"%s\"", row->type);
    const char *line = strstr(log, type);
    if (line == NULL || strstr(line, row->response) == NULL) {
        fail_msg("%s: no %s with %s in\n%s", row->zone, row->type, row->response, log);
    }
    free(log);
    stage.ready = false;
    stage_end(&stage);
    sim_close(sim);
}

static void f18_what_dns_refuses_ends_and_what_lacks_an_address_waits(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(outcome_rows); i++) {
        expect_outcome(&outcome_rows[i]);
    }
}

/* A domain that is not ASCII is asked for by its A-labels (RFC 6531 3.2). */
static void f18_a_domain_that_is_not_ascii_is_asked_for_by_its_a_labels(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "EHLO c.test\r\n", "MAIL FROM:<a@c.test> SMTPUTF8\r\n",
        "RCPT TO:<b@\xC3\xBC.test>\r\n", "DATA\r\n", "Subject: x\r\n\r\nbody\r\n.\r\n",
        "QUIT\r\n", NULL};
    struct sim *sim = sim_open(&(struct sim_options){.seed = 9});
    struct stage stage;
    char said[2000];
    stage_init(&stage, sim, 1, "xn--tda.test 60 MX 0 .\n");
    assert_true(stage_start(&stage));
    world_talk(&stage.world, lines, said, sizeof(said));
    assert_non_null(strstr(said, "ids="));
    assert_true(sim_run_for(sim, 20 * NS_PER_S));
    world_stop(&stage.world, 1);
    stage.ready = false;
    char *log = world_log(&stage.world);
    assert_non_null(strstr(log, "\"code\":556"));
    free(log);
    stage_end(&stage);
    sim_close(sim);
}

/* --- trouble ---------------------------------------------------------------------------------- */

static const enum name_server_mood troubles[] = {
    NAME_SERVER_DEAD, NAME_SERVER_FAILS, NAME_SERVER_REFUSES, NAME_SERVER_LIES,
    NAME_SERVER_BABBLES, NAME_SERVER_HANGS_UP,
};

/* A minute without DNS under load, from the start or in the middle. */
static void trouble_body(struct sim *sim, void *context)
{
    struct stage stage;
    (void)context;
    stage_init(&stage, sim, 1 + (unsigned)sim_below(sim, 2), ZONE);
    enum name_server_mood mood = troubles[sim_below(sim, COUNT_OF(troubles))];
    bool first = sim_chance(sim, 500);
    if (stage_start(&stage)) {
        stage_mail(&stage, 40);
        stage.names.mood = first ? mood : NAME_SERVER_WORKS;
        (void)sim_run_for(sim, 2 * NS_PER_S);
        stage.names.mood = mood;
        stage_mail(&stage, 40);
        (void)sim_run_for(sim, 60 * NS_PER_S);
        stage_mail(&stage, 40);
        (void)sim_run_for(sim, NS_PER_S);
        stage.names.mood = NAME_SERVER_WORKS;
        if (stage_drain(&stage, 120 * NS_PER_S)) {
            if (count_of(&stage, COUNTER_bounces) > 0) {
                sim_fail(sim, "DNS said nothing, and mail was bounced");
            }
            world_finish(&stage.world);
            stage.ready = false;
        }
    }
    stage_end(&stage);
}

static void f17_without_dns_nothing_is_bounced_or_lost_and_it_goes_on_by_itself(void **state)
{
    (void)state;
    run("no dns", trouble_body, NULL, 24);
}

static void f17_what_is_known_goes_on_without_dns(void **state)
{
    (void)state;
    struct sim *sim = sim_open(&(struct sim_options){.seed = 11});
    struct stage stage;
    stage_init(&stage, sim, 1, ZONE);
    assert_true(stage_start(&stage));
    stage_mail(&stage, 20);
    assert_true(stage_drain(&stage, 20 * NS_PER_S));
    stage.names.mood = NAME_SERVER_DEAD;
    assert_true(sim_run_for(sim, 1200 * NS_PER_S)); /* every TTL is over */
    stage_mail(&stage, 20);
    assert_true(stage_drain(&stage, 20 * NS_PER_S));
    assert_int_equal(count_of(&stage, COUNTER_transient_failures), 0);
    stage_end(&stage);
    sim_close(sim);
}

/* --- preferences ------------------------------------------------------------------------------ */

static void count_sinks(struct world *world, const struct endpoint *from)
{
    (void)from;
    uint64_t *deliveries = world->watcher;
    (*deliveries)++;
}

static void f18_mx_of_the_least_preference_that_answers_are_taken(void **state)
{
    (void)state;
    struct sim *sim = sim_open(&(struct sim_options){.seed = 5});
    struct endpoint first = sim_endpoint(3 * 256, 25);
    uint64_t deliveries = 0;
    struct stage stage;
    stage_init(&stage, sim, 1, ZONE);
    stage.world.domains = 1;
    stage.world.watcher = &deliveries;
    stage.world.taken_from = count_sinks;
    sim_reach_set(sim, &first, SIM_REACH_REFUSED);
    assert_true(stage_start(&stage));
    stage_mail(&stage, 30);
    assert_true(stage_drain(&stage, 60 * NS_PER_S));
    assert_true(deliveries >= 30);
    assert_int_equal(count_of(&stage, COUNTER_transient_failures), 0);
    stage_end(&stage);
    sim_close(sim);
}

/* --- change ----------------------------------------------------------------------------------- */

/* Mail that waits for a host that is gone goes to the one that DNS names instead. */
static void moved_body(struct sim *sim, void *context)
{
    struct stage stage;
    struct endpoint gone = sim_endpoint(3 * 256 + 9, 25);
    (void)context;
    bool other_name = sim_chance(sim, 500);
    stage_init(&stage, sim, 1 + (unsigned)sim_below(sim, 2),
               "d0.test 30 MX 10 old.test\nold.test 30 A 10.0.3.9\n");
    sim_reach_set(sim, &gone, SIM_REACH_REFUSED);
    stage.world.domains = 1;
    if (stage_start(&stage)) {
        stage_mail(&stage, 20);
        (void)sim_run_for(sim, 10 * NS_PER_S);
        if (world_rows(&stage.world) == 0) {
            sim_fail(sim, "mail went to a host that is gone");
        }
        stage.names.zone = other_name ? "d0.test 30 MX 10 new.test\nnew.test 30 A 10.0.3.1\n"
                                      : "d0.test 30 MX 10 old.test\nold.test 30 A 10.0.3.1\n";
        if (stage_drain(&stage, 90 * NS_PER_S)) {
            world_finish(&stage.world);
            stage.ready = false;
        }
    }
    stage_end(&stage);
}

static void f18_mail_follows_when_dns_says_another_host_or_another_address(void **state)
{
    (void)state;
    run("moved", moved_body, NULL, 12);
}

/* --- one site, two orders --------------------------------------------------------------------- */

/* Two ready queues that share one connection, on one shard or on each of several. */
static void orders_body(struct sim *sim, void *context)
{
    struct stage stage;
    stage_init(&stage, sim, *(const unsigned *)context,
               "d0.test 300 MX 10 mx1.test\n"
               "d0.test 300 MX 20 mx2.test\n"
               "d1.test 300 MX 10 mx2.test\n"
               "d1.test 300 MX 20 mx1.test\n"
               "mx1.test 300 A 10.0.3.0\n"
               "mx2.test 300 A 10.0.3.1\n");
    stage.world.domains = 2;
    world_set(&stage.world, "shaping.default.connection_limit=1");
    if (stage_start(&stage)) {
        stage_mail(&stage, 100);
        if (stage_drain(&stage, 30 * NS_PER_S)) {
            world_finish(&stage.world);
            stage.ready = false;
        }
    }
    stage_end(&stage);
}

static void l09_domains_with_other_preferences_of_the_same_hosts_have_its_connections_in_turn(
    void **state)
{
    (void)state;
    for (unsigned shards = 1; shards <= 4; shards *= 2) {
        run("orders", orders_body, &shards, 6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f18_mail_goes_by_mx_by_address_and_by_alias),
        cmocka_unit_test(f18_smart_hosts_may_have_names),
        cmocka_unit_test(f18_what_dns_refuses_ends_and_what_lacks_an_address_waits),
        cmocka_unit_test(f18_a_domain_that_is_not_ascii_is_asked_for_by_its_a_labels),
        cmocka_unit_test(f17_without_dns_nothing_is_bounced_or_lost_and_it_goes_on_by_itself),
        cmocka_unit_test(f17_what_is_known_goes_on_without_dns),
        cmocka_unit_test(f18_mx_of_the_least_preference_that_answers_are_taken),
        cmocka_unit_test(f18_mail_follows_when_dns_says_another_host_or_another_address),
        cmocka_unit_test(
            l09_domains_with_other_preferences_of_the_same_hosts_have_its_connections_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
