/*
 * The whole MTA in the simulator, fed by injection over HTTP and by SMTP at a time, by the ledger
 * of tests/world/world.h: what was acknowledged is delivered, whole and once, and nothing else.
 *
 * SEED=n COUNT=m build/dev/tests/world_inject_test repeats or extends every campaign.
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/kit/http_client.h"

/* Most clients inject, and few bodies are large. */
static void world_of_requests(struct world *world, struct sim *sim)
{
    world_init(world, sim);
    world->shards = 1 + (unsigned)sim_below(sim, 2);
    world->body_bytes_max = 300 * KIB;
    world->large = 50;
    world->injected = 800;
}

/* --- nothing goes wrong ----------------------------------------------------------------------- */

static void calm_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.shards = 1 + (unsigned)sim_below(sim, 3);
    world.body_bytes_max = 400 * KIB;
    world.large = 100;
    world.mood.plain = 300;
    world.injected = 700;
    world_open(&world);
    if (world_start(&world)) {
        world_mail(&world, 4, 30, 20 * NS_PER_MS);
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void what_is_injected_comes_out_once_and_whole_and_is_logged(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "inject-calm", .count = 20, .body = calm_body, .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    assert_true(tally.taken > 0);
    assert_int_equal(tally.refused, tally.no_room); /* of blocks there are few */
    assert_int_equal(tally.unanswered + tally.partial, 0);
    assert_int_equal(tally.duplicates[CAUSE_CRASH] + tally.duplicates[CAUSE_UNCERTAIN], 0);
    assert_int_equal(tally.events, 2 * tally.deliveries);
    assert_int_equal(tally.events_repeated, 0);
}

/* --- the network misbehaves, clients leave ---------------------------------------------------- */

static void network_body(struct sim *sim, void *context)
{
    struct world world;
    world_init(&world, sim);
    world.shards = 1 + (unsigned)sim_below(sim, 3);
    world.body_bytes_max = sim_chance(sim, 200) ? 400 * KIB : 6 * KIB;
    world.large = 50;
    world.lossy = true;
    world.aborts = 100;
    world.injected = 800;
    world.mood = (struct sink_mood){.defer = 40, .bounce = 20};
    world_short_timeouts(&world);
    world_open(&world);
    if (world_start(&world)) {
        world_mail(&world, 4, 16, NS_PER_S);
        (void)sim_run_for(sim, sim_below(sim, 60 * NS_PER_S));
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void h15_a_client_that_goes_away_has_sent_all_of_a_request_or_nothing(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {.name = "inject-network",
                                    .count = 40,
                                    .swarm = WORLD_FAULTS_NETWORK,
                                    .body = network_body,
                                    .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    assert_true(tally.taken > 0);
    if (getenv("SEED") == NULL) {
        assert_true(tally.partial > 0);
    }
}

/* --- crashes ---------------------------------------------------------------------------------- */

static void crash_body(struct sim *sim, void *context)
{
    struct world world;
    world_of_requests(&world, sim);
    world_open(&world);
    bool good = world_start(&world);
    for (unsigned i = 0; i < 3 && good; i++) {
        world_mail(&world, 4, 16, 20 * NS_PER_MS);
        (void)sim_run_for(sim, sim_below(sim, 60 * NS_PER_MS));
        world_crash(&world, sim_chance(sim, 500));
        good = world_start(&world);
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void h14_what_was_acknowledged_survives_a_crash(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "inject-crash", .count = 30, .body = crash_body, .context = &tally};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    assert_true(tally.taken > 0 && tally.crashes > 0);
    assert_int_equal(tally.lost, 0);
}

/* --- stops and starts ------------------------------------------------------------------------- */

struct stops {
    struct world_tally tally;
    uint64_t open; /* requests that a stop met */
};

static uint32_t requests_open(const struct world *world)
{
    uint32_t open = 0;
    for (unsigned i = 0; i < world->shards; i++) {
        open += world->node.mtas[i].inject.jobs.used;
    }
    return open;
}

static bool is_any_open(void *context)
{
    return requests_open(context) > 0;
}

static void stop_body(struct sim *sim, void *context)
{
    struct stops *stops = context;
    struct world world;
    world_of_requests(&world, sim);
    world_open(&world);
    bool good = world_start(&world);
    for (unsigned i = 0; i < 2 && good; i++) {
        world_mail(&world, 4, 16, 40 * NS_PER_MS);
        (void)sim_run_for(sim, sim_below(sim, 60 * NS_PER_MS));
        if (sim_chance(sim, 500)) {
            (void)sim_run_until(sim, is_any_open, &world, 60 * NS_PER_MS);
        }
        stops->open += requests_open(&world);
        world_stop(&world, 1);
        good = world_start(&world);
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(&stops->tally, &world.tally);
    world_close(&world);
}

static void h16_a_start_or_stop_accepts_nothing_that_it_loses(void **state)
{
    (void)state;
    struct stops stops = {0};
    struct sim_campaign campaign = {
        .name = "inject-stop", .count = 30, .body = stop_body, .context = &stops};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&stops.tally);
    assert_true(stops.tally.taken > 0);
    if (getenv("SEED") == NULL) {
        assert_true(stops.open > 0);
    }
    assert_int_equal(stops.tally.duplicates[CAUSE_CRASH], 0);
}

/* --- disks that refuse, and stops that do not wait ------------------------------------------- */

static void disk_body(struct sim *sim, void *context)
{
    struct world world;
    world_of_requests(&world, sim);
    world.lossy = true;
    world.window_ns += 12 * NS_PER_S; /* slow disks */
    world.settle_ns = 2 * 86400 * NS_PER_S; /* what is due when the clock was turned back */
    world_short_timeouts(&world);
    world_open(&world);
    bool good = world_start(&world);
    for (unsigned i = 0; i < 3 && good; i++) {
        world_mail(&world, 4, 12, 40 * NS_PER_MS);
        uint64_t most_ns = sim_chance(sim, 500) ? 60 * NS_PER_MS : 4 * NS_PER_S;
        (void)sim_run_for(sim, sim_below(sim, most_ns));
        if (sim_chance(sim, 500)) {
            world_stop(&world, 1 + (unsigned)sim_below(sim, 2));
        } else {
            world_crash(&world, sim_chance(sim, 500));
        }
        good = !sim_failed(sim) && world_start(&world);
    }
    if (good) {
        world_finish(&world);
    }
    world_tally_add(context, &world.tally);
    world_close(&world);
}

static void h14_disks_that_refuse_and_hard_stops_lose_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    struct world_tally tally = {0};
    struct sim_campaign campaign = {
        .name = "inject-disk",
        .count = 40,
        .swarm = WORLD_FAULTS_NETWORK | WORLD_FAULTS_DISK | SIM_FAULT_BIT(no_space),
        .body = disk_body,
        .context = &tally,
    };
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&tally);
    assert_true(tally.taken > 0 && tally.crashes > 0);
    assert_int_equal(tally.lost, 0);
}

/* --- refusals --------------------------------------------------------------------------------- */

static const struct refusal {
    const char *recipients;
    const char *content;
    const char *more; /* further fields */
    const char *answer;
    const char *line;
} refusals[] = {
    {"{\"email\":\"a b@d0.test\"},{\"email\":\"x@d0.test>\\r\\nDATA\"}",
     "Subject: x\\n\\n{{ email }}", "",
     "200", "\"success_count\":0,\"fail_count\":2,"},
    {"{\"email\":\"a@d0.test@\"}", "Subject: x\\n\\nx", "", "200",
     "\"errors\":[\"a@d0.test@: 501 5.1.3 Malformed recipient address\"],\"ids\":[]}"},
    {"{\"email\":\"a@[127.0.0.1]\"}", "Subject: x\\n\\nx", "", "200",
     "\"errors\":[\"a@[127.0.0.1]: 550 5.4.4 This destination is prohibited\"]"},
    {"{\"email\":\"a@d0.test\"}", "Subject: x\\n\\n{{ email", "", "422",
     "content: line 3, column 3: the tag is not closed"},
    {"{\"email\":\"a@d0.test\"}", "Subject: {{ s }}\\n\\nx",
     ",\"substitutions\":{\"s\":\"a\\nB: c\"}", "422", "content: line 1, column 10"},
    {"{\"email\":\"a@d0.test\"}", "no header\\n\\nx", "", "422", "content: line 1"},
    {"{\"email\":\"a@d0.test\",\"metadata\":{\"\":1}}", "Subject: x\\n\\nx", "", "400",
     "recipients[0].metadata: a name is empty or longer than 64 bytes"},
    {"{\"email\":\"a@d0.test\"}", "Subject: x\\n\\nx", ",\"odd\":1", "400", "odd: unknown field"},
    {"", "Subject: x\\n\\nx", "", "400", "recipients: empty"},
};

static void refusals_body(struct sim *sim, void *context)
{
    struct world world;
    char json[1024];
    char text[4096];
    (void)context;
    world_init(&world, sim);
    world_open(&world);
    bool good = world_start(&world);
    for (size_t i = 0; i < COUNT_OF(refusals) && good; i++) {
        const struct refusal *row = &refusals[i];
        snprintf(json, sizeof(json),
                 "{\"envelope_sender\":\"\",\"recipients\":[%s],\"content\":\"%s\"%s}",
                 row->recipients, row->content, row->more);
        world_inject(&world, json, text, sizeof(text));
        if (strncmp(text + strlen("HTTP/1.1 "), row->answer, 3) != 0 ||
            strstr(text, row->line) == NULL) {
            sim_fail(sim, "row %zu: %s", i, strstr(text, "\r\n\r\n"));
        }
    }
    if (good && world_counter(&world, COUNTER_messages_received) != 0) {
        sim_fail(sim, "what was refused is stored");
    }
    if (good) {
        world_finish(&world);
    }
    world_close(&world);
}

static void h11_what_is_refused_is_told_by_name_and_stored_nowhere(void **state)
{
    (void)state;
    struct sim_campaign campaign = {.name = "inject-refusals", .count = 3, .body = refusals_body};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* --- what never fits -------------------------------------------------------------------------- */

static void memory_body(struct sim *sim, void *context)
{
    struct world world;
    char text[4096];
    size_t size = MIB;
    char *json = malloc(size + 256);
    (void)context;
    assert_non_null(json);
    world_init(&world, sim);
    world_open(&world);
    if (world_start(&world)) {
        int begin = snprintf(json, 256, "{\"envelope_sender\":\"\",\"recipients\":"
                                        "[{\"email\":\"a b\"}],\"content\":\"");
        memset(json + begin, 'x', size);
        memcpy(json + begin + size, "\"}", 3);
        uint64_t limit = world.node.mtas[0].inject.memory.limit;
        world.node.mtas[0].inject.memory.limit = 18 * size;
        world_inject(&world, json, text, sizeof(text));
        if (strstr(text, "HTTP/1.1 413 ") != text || strstr(text, "for the memory") == NULL) {
            sim_fail(sim, "more than all memory: %s", text);
        }
        world.node.mtas[0].inject.memory.limit = limit;
        world_inject(&world, json, text, sizeof(text));
        if (strstr(text, "HTTP/1.1 200 ") != text) {
            sim_fail(sim, "with its memory: %s", text);
        }
        if (world.node.mtas[0].inject.memory.used != 0) {
            sim_fail(sim, "memory of a request that is over");
        }
        world_finish(&world);
    }
    free(json);
    world_close(&world);
}

static void a_request_that_never_fits_is_413_and_not_503(void **state)
{
    (void)state;
    struct sim_campaign campaign = {.name = "inject-memory", .count = 2, .body = memory_body};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* --- what does not fit now -------------------------------------------------------------------- */

static void busy_body(struct sim *sim, void *context)
{
    static void *taken[INJECT_PUTS_MAX];
    static const char json[] =
        "{\"envelope_sender\":\"\",\"recipients\":[{\"email\":\"a@d0.test\"},"
        "{\"email\":\"b@d0.test\"}],\"content\":\"Subject: x\\n\\nx\"}";
    struct world world;
    char text[4096];
    (void)context;
    world_init(&world, sim);
    world_set(&world, "node.shards=1");
    world_open(&world);
    if (world_start(&world)) {
        struct pool *puts = &world.node.mtas[0].inject.puts;
        size_t count = 0;
        while (count < COUNT_OF(taken) && (taken[count] = pool_take(puts)) != NULL) {
            count++;
        }
        world_inject(&world, json, text, sizeof(text));
        if (strstr(text, "HTTP/1.1 503 ") != text || strstr(text, "\r\nRetry-After: ") == NULL ||
            strstr(text, "452 4.3.1 Too many messages") == NULL) {
            sim_fail(sim, "without room: %s", text);
        }
        while (count > 0) {
            pool_give(puts, taken[--count]);
        }
        if (world_counter(&world, COUNTER_messages_received) != 0) {
            sim_fail(sim, "what was refused is stored");
        }
        world_finish(&world);
    }
    world_close(&world);
}

static void a_request_of_which_nothing_fits_now_is_503_and_may_come_again(void **state)
{
    (void)state;
    struct sim_campaign campaign = {.name = "inject-busy", .count = 1, .body = busy_body};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* --- what does not fit any more --------------------------------------------------------------- */

#define MANY       600u /* more than may be on their way at a time */
#define MANY_BYTES (64u * KIB)

/* A message for each, to a site where nobody listens. */
static void put_many(char *json)
{
    struct buf buf;
    buf_init(&buf, json, MANY_BYTES);
    buf_put_string(&buf, "{\"envelope_sender\":\"\",\"content\":\"Subject: {{ email }}\\n\\nx\","
                         "\"recipients\":[");
    for (unsigned i = 0; i < MANY; i++) {
        buf_printf(&buf, "%s{\"email\":\"r%u@away.test\"}", i == 0 ? "" : ",", i);
    }
    buf_put_string(&buf, "]}");
    buf_put_byte(&buf, 0);
    CHECK(!buf.overflow);
}

static bool some_are_stored(void *context)
{
    return world_counter(context, COUNTER_messages_received) > 0;
}

/* Memory of its own is short for so long once a part of it is stored. */
static const struct short_row {
    uint64_t for_ns;
    bool all; /* are stored in the end */
} short_rows[] = {{9 * NS_PER_S, true}, {11 * NS_PER_S, false}};

static void short_ask(struct world *world, const struct short_row *row, const char *json)
{
    static struct http_client client;
    char head[256];
    unsigned taken = 0;
    unsigned failed = 0;
    struct endpoint to = sim_node_endpoint(world->process, 8000);
    struct metered *memory = &world->node.mtas[0].inject.memory;
    uint64_t limit = memory->limit;
    http_client_open(&client, world->sim, 300, &to);
    (void)snprintf(head, sizeof(head),
                   "POST /api/inject/v1 HTTP/1.1\r\nHost: 10.0.0.1\r\n"
                   "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", strlen(json));
    http_client_say(&client, head);
    http_client_say(&client, json);
    (void)sim_run_until(world->sim, some_are_stored, world, NS_PER_S);
    memory->limit = 0;
    (void)sim_run_for(world->sim, row->for_ns);
    memory->limit = limit;
    if (http_client_hear(&client) != 200 ||
        sscanf(client.said, "{\"success_count\":%u,\"fail_count\":%u,", &taken, &failed) != 2 ||
        taken + failed != MANY || taken == 0 || (failed == 0) != row->all ||
        (failed > 0 && strstr(client.said, ": 452 4.3.1 No memory") == NULL)) {
        sim_fail(world->sim, "%u taken, %u failed: %.200s", taken, failed, client.said);
    }
    if (world_counter(world, COUNTER_messages_received) != taken) {
        sim_fail(world->sim, "what is stored and what is told differ");
    }
    http_client_close(&client);
}

static void short_body(struct sim *sim, void *context)
{
    static char json[MANY_BYTES];
    struct world world;
    world_init(&world, sim);
    world_set(&world, "node.shards=1");
    world_set(&world, "queues.queue.\"away.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    put_many(json);
    world_open(&world);
    if (world_start(&world)) {
        short_ask(&world, context, json);
    }
    world_close(&world);
}

static void h14_a_request_that_is_begun_waits_for_room_for_ten_seconds(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(short_rows); i++) {
        struct short_row row = short_rows[i];
        struct sim_campaign campaign = {
            .name = "inject-short", .count = 1, .body = short_body, .context = &row};
        assert_int_equal(sim_campaign_run(&campaign), 0);
    }
}

/* --- inject_rate ------------------------------------------------------------------------------ */

/* Recipients count whether they are taken or not, so these ask for no mail. */
static const struct rated {
    unsigned recipients;
    unsigned wait_s; /* before */
    const char *answer;
    const char *line;
} rated[] = {
    {2, 0, "200", "\"fail_count\":2,"},
    {2, 0, "503", "\r\nRetry-After: 2"}, /* of its tokens the second is there after 20 s */
    {1, 0, "200", "\"fail_count\":1,"},
    {1, 0, "503", "inject_rate"},
    {4, 0, "413", "inject_rate"},
    {4, 3600, "413", "inject_rate"},
    {3, 0, "200", "\"fail_count\":3,"},
    {1, 0, "503", "\r\nRetry-After: 20\r\n"},
    {1, 21, "200", "\"fail_count\":1,"},
};

static void rate_body(struct sim *sim, void *context)
{
    struct world world;
    char text[4096];
    (void)context;
    world_init(&world, sim);
    world.shards = 1 + (unsigned)sim_below(sim, 3);
    world_set(&world, "http_listener.0.inject_rate=3/m");
    world_open(&world);
    bool good = world_start(&world);
    for (size_t i = 0; i < COUNT_OF(rated) && good; i++) {
        static const char four[] =
            "{\"email\":\"a b\"},{\"email\":\"a b\"},{\"email\":\"a b\"},{\"email\":\"a b\"}";
        char json[512];
        snprintf(json, sizeof(json),
                 "{\"envelope_sender\":\"\",\"content\":\"x\",\"recipients\":[%.*s]}",
                 (int)(sizeof(four) * rated[i].recipients / 4 - 1), four);
        (void)sim_run_for(sim, rated[i].wait_s * NS_PER_S);
        world_inject(&world, json, text, sizeof(text));
        if (strncmp(text + strlen("HTTP/1.1 "), rated[i].answer, 3) != 0 ||
            strstr(text, rated[i].line) == NULL) {
            sim_fail(sim, "row %zu: %s", i, text);
        }
    }
    if (good && world_counter(&world, COUNTER_inject_rate_refused) != 3) {
        sim_fail(sim, "refused by inject_rate: %llu",
                 (unsigned long long)world_counter(&world, COUNTER_inject_rate_refused));
    }
    if (good) {
        world_finish(&world);
    }
    world_close(&world);
}

static void inject_rate_is_one_for_all_threads_and_says_when_to_come_again(void **state)
{
    (void)state;
    struct sim_campaign campaign = {.name = "inject-rate", .count = 6, .body = rate_body};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inject_rate_is_one_for_all_threads_and_says_when_to_come_again),
        cmocka_unit_test(a_request_that_never_fits_is_413_and_not_503),
        cmocka_unit_test(h14_a_request_that_is_begun_waits_for_room_for_ten_seconds),
        cmocka_unit_test(a_request_of_which_nothing_fits_now_is_503_and_may_come_again),
        cmocka_unit_test(h11_what_is_refused_is_told_by_name_and_stored_nowhere),
        cmocka_unit_test(what_is_injected_comes_out_once_and_whole_and_is_logged),
        cmocka_unit_test(h15_a_client_that_goes_away_has_sent_all_of_a_request_or_nothing),
        cmocka_unit_test(h14_what_was_acknowledged_survives_a_crash),
        cmocka_unit_test(h14_disks_that_refuse_and_hard_stops_lose_nothing_that_was_acknowledged),
        cmocka_unit_test(h16_a_start_or_stop_accepts_nothing_that_it_loses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
