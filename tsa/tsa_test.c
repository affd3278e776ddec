/* Automation as a service, on the simulated network: records in, effects out to who listens. */
#include "tsa/tsa.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "shard/io/http_server.h"
#include "shard/io/websocket.h"
#include "tests/kit/http_client.h"
#include "tests/sim/shards.h"
#include "tsa/tsa_routes.h"

#define PORT    8008
#define CLIENT  250
#define CHANGES 16
#define WAIT_NS (10 * NS_PER_S)

static struct sim *sim;
static struct sim_shards shards;
static struct boot_pages pages;
static struct conf conf;
static struct conf_http_listener listener;
static struct network trusted;
static struct http_server server;
static struct http_server *servers[1];
static struct endpoint at;
static struct tsa tsa;
static struct shaping_rule_set *rules;
static struct patterns_scratch *scratch;
/* Too large for a stack. */
static struct http_client client;

/* --- the rig ---------------------------------------------------------------------------------- */

static struct shaping_pattern patterns[3];
static struct shaping_action actions[3];
static struct shaping_rule rows[3];
static struct shaping_rule_group group;

/* What replies say, and what is done then. */
static void make_rules(void)
{
    static const char *const words[] = {"hold", "slow", "never"};
    static const enum shaping_action_kind kinds[] = {SHAPING_SUSPEND, SHAPING_SET_CONFIG,
                                                     SHAPING_BOUNCE};
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        patterns[i].text = slice_from_string(words[i]);
        actions[i] = (struct shaping_action){
            .kind = kinds[i], .name = SLICE("connection_limit"), .value = SLICE("1")};
        rows[i] = (struct shaping_rule){
            .patterns = &patterns[i], .pattern_count = 1, .actions = &actions[i],
            .action_count = 1, .duration_ns = 3600 * NS_PER_S, .hash = i + 1, .file = "s.toml",
        };
    }
    group = (struct shaping_rule_group){SLICE("default"), true, {rows, COUNT_OF(rows)}};
    rules = shaping_rule_set_compile(&group, 1, NULL, NULL); /* of words nothing is refused */
    scratch = patterns_scratch_open(rules->patterns);
}

static uint32_t groups(void *context, const struct automation_record *record,
                       uint32_t *groups_out, uint32_t max)
{
    assert_null(context);
    assert_true(record->response.size > 0 && max == TSA_GROUPS_MAX);
    groups_out[0] = 0;
    return 1;
}

static int set_up(void **state)
{
    const struct sim_options options = {.seed = 1, .verbose = true};
    uint8_t memory[100];
    struct buf reason;
    (void)state;
    sim = sim_open(&options);
    struct sim_node *node = sim_node_open(sim, NULL);
    sim_shards_boot(&shards, node, 1, 64, 16 * KIB);
    assert_true(network_parse(SLICE("10.0.0.0/24"), &trusted));
    listener = (struct conf_http_listener){
        .listen = sim_node_endpoint(node, PORT),
        .trusted_hosts = &trusted,
        .trusted_host_count = 1,
        .request_body_limit = MIB,
    };
    conf = (struct conf){.http_listeners = &listener, .http_listener_count = 1};
    make_rules();
    const struct tsa_options service = {
        .shard = &shards.shards[0], .pages = &pages, .effects_max = 256, .counters_max = 16,
        .changes_max = CHANGES, .change_bytes_max = 2 * HUB_MESSAGE_BYTES_MAX, .groups = groups};
    tsa_init(&tsa, &service);
    automation_use(&tsa.automation, rules, scratch);
    struct http_options http = {
        .shard = &shards.shards[0], .conf = &conf, .context = &tsa, .tsa = &server,
        .mails = servers, .connections_max = 64, .memory_max = 4 * MIB, .pages = &pages};
    http.routes = tsa_routes(&http.route_count);
    http_server_init(&server, &http);
    http_server_set_takes(&server, true);
    buf_init(&reason, memory, sizeof(memory));
    assert_int_equal(http_server_start(&server, &at, &reason), 0);
    return 0;
}

static bool is_over(void *context)
{
    (void)context;
    return http_server_open(&server) == 0;
}

static int tear_down(void **state)
{
    (void)state;
    tsa_stop(&tsa);
    http_server_stop(&server);
    http_server_cut(&server);
    assert_true(sim_run_until(sim, is_over, NULL, WAIT_NS));
    assert_int_equal(tsa.subscribers.used + tsa.batches.used + tsa.hub.subscribers, 0);
    http_server_fini(&server);
    tsa_fini(&tsa);
    sim_shards_stop(&shards);
    boot_pages_give(&pages);
    patterns_scratch_close(scratch);
    shaping_rule_set_free(rules);
    bool good = !sim_failed(sim);
    sim_close(sim);
    return good ? 0 : 1;
}

/* --- requests --------------------------------------------------------------------------------- */

/* A record of now, for a domain. */
static void put_record(struct buf *text, const char *reply, const char *domain)
{
    buf_printf(text,
               "{\"type\":\"TransientFailure\",\"timestamp\":%llu,\"recipient\":\"u@%s\","
               "\"queue\":\"%s\",\"site\":\"ip1->mx.%s@smtp_client\",\"egress_source\":\"ip1\","
               "\"response\":{\"code\":451,\"content\":\"%s\"}}",
               (unsigned long long)(shards.shards[0].wall_ns / NS_PER_S), domain, domain, domain,
               reply);
}

static void say(const char *method, const char *path, const char *type, struct slice body)
{
    static char request[64 * KIB];
    int size = snprintf(request, sizeof(request),
                        "%s %s HTTP/1.1\r\nHost: 10.0.0.1\r\n%s%s%sContent-Length: %zu\r\n\r\n",
                        method, path, type[0] != '\0' ? "Content-Type: " : "", type,
                        type[0] != '\0' ? "\r\n" : "", body.size);
    assert_true((size_t)size + body.size < sizeof(request));
    memcpy(request + size, body.data, body.size);
    request[(size_t)size + body.size] = '\0';
    http_client_say(&client, request);
}

static void asks(const char *path, unsigned status, const char *said)
{
    say("GET", path, "", SLICE(""));
    assert_int_equal(http_client_hear(&client), status);
    if (said != NULL && strstr(client.said, said) == NULL) {
        fail_msg("%s: %s", path, client.said);
    }
}

static void publishes(const char *path, const char *type, struct slice body, unsigned status,
                      const char *said)
{
    say("POST", path, type, body);
    assert_int_equal(http_client_hear(&client), status);
    assert_string_equal(client.said, said);
}

#define JSON  "application/json"
#define LINES "application/x-ndjson"

/* One record that does something. */
static void publish_one(const char *reply, const char *domain)
{
    uint8_t memory[1024];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    put_record(&text, reply, domain);
    publishes("/publish_log_v1", JSON, buf_slice(&text), 200, "{\"accepted\":1,\"rejected\":[]}");
}

/* --- subscribers ------------------------------------------------------------------------------ */

struct watcher {
    struct sim_peer *peer;
    struct websocket websocket;
    uint8_t memory[HUB_MESSAGE_BYTES_MAX];
    char heard[HUB_MESSAGE_BYTES_MAX + 1];
};

static void subscribe(struct watcher *watcher, const char *path)
{
    static struct http_client own;
    char request[512];
    http_client_open(&own, sim, CLIENT, &at);
    (void)snprintf(request, sizeof(request),
                   "GET %s HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: Upgrade\r\n"
                   "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                   path);
    http_client_say(&own, request);
    assert_int_equal(http_client_head(&own), 101);
    watcher->peer = own.peer;
    assert_true(websocket_init(&watcher->websocket, WEBSOCKET_CLIENT, watcher->memory,
                               sizeof(watcher->memory), 1));
}

static bool has_input(void *context)
{
    struct sim_peer *peer = context;
    return sim_peer_input(peer).size > 0 || sim_peer_state(peer) >= SIM_PEER_EOF;
}

/* The next message or close within `within_ns`; WEBSOCKET_MORE: there was none. */
static enum websocket_step hear(struct watcher *watcher, uint64_t within_ns)
{
    enum websocket_step step = WEBSOCKET_MORE;
    while (step == WEBSOCKET_MORE) {
        if (!sim_run_until(sim, has_input, watcher->peer, within_ns)) {
            return WEBSOCKET_MORE;
        }
        struct slice input = sim_peer_input(watcher->peer);
        if (input.size == 0) {
            return WEBSOCKET_MORE;
        }
        /* Byte by byte, so that what stands behind the message stays. */
        struct slice one = slice_first(input, 1);
        step = websocket_feed(&watcher->websocket, &one);
        sim_peer_consume(watcher->peer, 1);
    }
    struct slice message = websocket_message(&watcher->websocket);
    memcpy(watcher->heard, message.data, message.size);
    watcher->heard[message.size] = '\0';
    return step;
}

static void hears(struct watcher *watcher, const char *part)
{
    assert_int_equal(hear(watcher, WAIT_NS), WEBSOCKET_TEXT);
    if (strstr(watcher->heard, part) == NULL) {
        fail_msg("%s\nnot\n%s", watcher->heard, part);
    }
}

static void unsubscribe(struct watcher *watcher)
{
    websocket_fini(&watcher->websocket);
    sim_peer_close(watcher->peer);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void what_is_published_is_told_shown_and_counted(void **state)
{
    static struct watcher events;
    static struct watcher suspensions;
    static struct watcher changes;
    (void)state;
    tsa_start(&tsa);
    http_client_open(&client, sim, CLIENT, &at);
    publish_one("hold it", "a.test");
    subscribe(&events, "/subscribe_event_v1");
    subscribe(&suspensions, "/subscribe_suspension_v1");
    subscribe(&changes, "/subscribe_event_v2");
    hears(&events, "{\"ReadyQSuspension\":{\"rule_hash\":\"0000000000000001\",");
    hears(&suspensions, "{\"ReadyQ\":{\"rule_hash\":\"0000000000000001\",");
    hears(&changes, "\"snapshot\":true,\"change\":\"begun\",\"id\":1,");
    hears(&changes, "\"complete\":true");
    publish_one("slow down", "a.test");
    publish_one("never", "b.test");
    publish_one("what", "b.test");
    hears(&events, "{\"SchedQBounce\":{");
    hears(&changes, "\"config\":{\"rule_hash\":\"0000000000000002\",\"domain\":\"a.test\"");
    hears(&changes, "{\"SchedQBounce\":{");
    asks("/get_suspension_v1/suspended.json", 200,
         "{\"ready_q\":[{\"rule_hash\":\"0000000000000001\","
         "\"site_name\":\"ip1->mx.a.test@smtp_client\"");
    asks("/get_bounce_v1/bounced.json", 200, "[{\"rule_hash\":\"0000000000000003\"");
    asks("/get_config_v1/shaping.toml", 200, "[\"a.test\".sources.\"ip1\"]\n");
    asks("/tsa/status", 200, "\"effects\":3,");
    asks("/metrics", 200, "\nringpost_tsa_records_judged_total 4\n");
    asks("/metrics?prefix=ringpost_tsa_sub", 200, "\nringpost_tsa_subscribers 3\n");
    assert_null(strstr(client.said, "effects"));
    asks("/metrics.json", 200, "\"ringpost_tsa_rules\":");
    asks("/api/check-liveness/v1", 200, "OK");
    asks("/api/check-readiness/v1", 200, "OK");
    /* Nothing is said that was not meant for it. */
    assert_int_equal(hear(&suspensions, NS_PER_S), WEBSOCKET_MORE);
    http_client_close(&client);
    unsubscribe(&events);
    unsubscribe(&suspensions);
    unsubscribe(&changes);
}

static void effects_end_in_their_time(void **state)
{
    (void)state;
    tsa_start(&tsa);
    http_client_open(&client, sim, CLIENT, &at);
    publish_one("hold it", "a.test");
    http_client_close(&client);
    assert_true(sim_run_for(sim, 3590 * NS_PER_S));
    assert_int_equal(tsa.automation.stats.changes[AUTOMATION_EXPIRED], 0);
    assert_true(sim_run_for(sim, 20 * NS_PER_S));
    assert_int_equal(tsa.automation.stats.changes[AUTOMATION_EXPIRED], 1);
}

static void at30_bad_records_are_told_by_line_and_cost_the_others_nothing(void **state)
{
    static uint8_t memory[60 * KIB];
    struct buf text;
    (void)state;
    tsa_start(&tsa);
    http_client_open(&client, sim, CLIENT, &at);
    publishes("/publish_log_v1", JSON, SLICE("{\"type\":\"X\"}"), 400,
              "type is none of the log's\n");
    publishes("/publish_log_v1", JSON, SLICE("{"), 400, "not one JSON document\n");
    publishes("/publish_log_v1", JSON, SLICE("{\"type\":\"Reception\",\"timestamp\":1}"), 200,
              "{\"accepted\":1,\"rejected\":[]}");
    buf_init(&text, memory, sizeof(memory));
    for (unsigned i = 0; i < 200; i++) {
        put_record(&text, "hold it", "a.test");
        buf_put_byte(&text, '\n');
        if (i == 150) {
            buf_put(&text, SLICE("{\n"));
        }
    }
    const char *paths[] = {"/publish_log_v1", "/publish_log_v2"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        publishes(paths[i], LINES, buf_slice(&text), 200,
                  "{\"accepted\":200,\"rejected\":["
                  "{\"line\":152,\"error\":\"not one JSON document\"}]}");
        publishes(paths[i], LINES, SLICE(""), 200, "{\"accepted\":0,\"rejected\":[]}");
    }
    assert_int_equal(tsa.automation.stats.records, 400);
    assert_int_equal(tsa.stats.accepted, 401);
    assert_int_equal(tsa.stats.rejected, 4);
    say("POST", "/publish_log_v2", JSON, SLICE("{}"));
    assert_int_equal(http_client_hear(&client), 415);
    http_client_close(&client);
}

static void at03_more_batches_than_there_may_be_come_again(void **state)
{
    void *taken[TSA_BATCHES_MAX];
    (void)state;
    tsa_start(&tsa);
    for (unsigned i = 0; i < TSA_BATCHES_MAX; i++) {
        taken[i] = pool_take(&tsa.batches);
        assert_non_null(taken[i]);
    }
    http_client_open(&client, sim, CLIENT, &at);
    publishes("/publish_log_v2", LINES, SLICE("{\n"), 429, "too many batches at once\n");
    assert_non_null(strstr(client.head, "\r\nRetry-After: 1\r\n"));
    for (unsigned i = 0; i < TSA_BATCHES_MAX; i++) {
        pool_give(&tsa.batches, taken[i]);
    }
    publishes("/publish_log_v2", LINES, SLICE(" \n"), 200, "{\"accepted\":0,\"rejected\":[]}");
    http_client_close(&client);
}

static void at06_who_misses_something_hears_so_and_comes_again(void **state)
{
    static struct watcher watcher;
    static uint8_t memory[60 * KIB];
    char path[128];
    char domain[32];
    struct buf text;
    (void)state;
    tsa_start(&tsa);
    http_client_open(&client, sim, CLIENT, &at);
    subscribe(&watcher, "/subscribe_event_v2");
    hears(&watcher, "\"complete\":true");
    buf_init(&text, memory, sizeof(memory));
    for (unsigned i = 0; i < CHANGES + 1; i++) {
        (void)snprintf(domain, sizeof(domain), "d%u.test", i);
        put_record(&text, "hold it", domain);
        buf_put_byte(&text, '\n');
    }
    /* All in one turn. */
    publishes("/publish_log_v2", LINES, buf_slice(&text), 200, "{\"accepted\":17,\"rejected\":[]}");
    assert_int_equal(hear(&watcher, WAIT_NS), WEBSOCKET_CLOSE);
    assert_int_equal(watcher.websocket.code, WEBSOCKET_CODE_TRY_AGAIN);
    unsubscribe(&watcher);

    (void)snprintf(path, sizeof(path), "/subscribe_event_v2?after=%llu",
                   (unsigned long long)tsa.hub.next - 2);
    subscribe(&watcher, path);
    hears(&watcher, "\"snapshot\":false,\"change\":\"begun\",\"id\":17,");
    assert_int_equal(hear(&watcher, NS_PER_S), WEBSOCKET_MORE);
    unsubscribe(&watcher);
    subscribe(&watcher, "/subscribe_event_v2?after=1&epoch=x");
    hears(&watcher, "\"snapshot\":true,\"change\":\"begun\",\"id\":1,");
    unsubscribe(&watcher);
    asks("/subscribe_event_v2?after=x", 400, "after= wants the number of a message\n");
    asks("/subscribe_event_v2", 400, "A WebSocket of version 13 is wanted here\n");
    assert_true(sim_run_for(sim, NS_PER_S)); /* those that have left are seen to have */
    assert_int_equal(tsa.hub.subscribers, 0);
    http_client_close(&client);
}

static void a_subscriber_that_does_not_answer_a_ping_is_gone(void **state)
{
    static struct watcher watcher;
    (void)state;
    tsa_start(&tsa);
    subscribe(&watcher, "/subscribe_event_v1");
    assert_true(sim_run_for(sim, 30 * NS_PER_S));
    assert_int_equal(tsa.hub.subscribers, 1);
    assert_true(sim_run_for(sim, 30 * NS_PER_S));
    assert_int_equal(tsa.hub.subscribers, 0);
    unsubscribe(&watcher);
}

static void before_the_start_and_after_a_stop_nothing_is_taken(void **state)
{
    static struct watcher watcher;
    (void)state;
    http_client_open(&client, sim, CLIENT, &at);
    for (unsigned i = 0; i < 2; i++) {
        asks("/api/check-readiness/v1", 503, i == 0 ? "starting" : "stopping");
        asks("/api/check-liveness/v1", i == 0 ? 200 : 503, NULL);
        asks("/tsa/status", 200, "{\"ready\":false,");
        asks("/get_bounce_v1/bounced.json", i == 0 ? 503 : 200, NULL);
        say("POST", "/publish_log_v1", JSON, SLICE("{"));
        assert_int_equal(http_client_hear(&client), 503);
        if (i == 0) {
            tsa_start(&tsa);
            subscribe(&watcher, "/subscribe_event_v1");
            tsa_stop(&tsa);
        }
    }
    assert_int_equal(tsa.hub.subscribers, 1);
    http_client_close(&client);
    unsubscribe(&watcher);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_published_is_told_shown_and_counted),
        TEST(effects_end_in_their_time),
        TEST(at30_bad_records_are_told_by_line_and_cost_the_others_nothing),
        TEST(at03_more_batches_than_there_may_be_come_again),
        TEST(at06_who_misses_something_hears_so_and_comes_again),
        TEST(a_subscriber_that_does_not_answer_a_ping_is_gone),
        TEST(before_the_start_and_after_a_stop_nothing_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
