/* What a whole node in the simulator answers over HTTP while it starts, works, fails and stops. */
#include "smtp/http_probes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "smtp/http_routes.h"
#include "tests/kit/http_client.h"
#include "tests/kit/stage.h"

#define LIVE  "/api/check-liveness/v1"
#define READY "/api/check-readiness/v1"

static struct stage stage;
/* Too large for a stack. */
static struct http_client client;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static void ask_on(struct http_client *from, const char *path)
{
    char request[256];
    (void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", path);
    http_client_say(from, request);
}

/* On a connection of its own. */
static unsigned ask(const char *path)
{
    const struct endpoint http = sim_endpoint(1, 8000);
    http_client_open(&client, stage.sim, STAGE_CLIENT, &http);
    ask_on(&client, path);
    unsigned status = http_client_hear(&client);
    bool later = strstr(client.head, "\r\nRetry-After: 1\r\n") != NULL;
    assert_int_equal(later, status == 503);
    http_client_close(&client);
    return status;
}

/* Both questions on one connection; again and again, until there is somebody to accept it. */
static void ask_both(void *context)
{
    const struct endpoint http = sim_endpoint(1, 8000);
    if (client.peer == NULL || sim_peer_state(client.peer) == SIM_PEER_ENDED) {
        http_client_open(&client, stage.sim, STAGE_CLIENT, &http);
        ask_on(&client, LIVE);
        ask_on(&client, READY);
    }
    if (sim_peer_state(client.peer) == SIM_PEER_CONNECTING) {
        sim_after(stage.sim, 10 * NS_PER_MS, ask_both, context);
    }
}

static void h16_while_it_starts_it_lives_and_is_not_ready(void **state)
{
    (void)state;
    client.peer = NULL;
    world_open(&stage.world);
    sim_disk_latency_set(stage.world.disk, 100 * NS_PER_MS);
    sim_after(stage.sim, NS_PER_MS, ask_both, NULL);
    assert_true(world_start(&stage.world));
    assert_true(http_client_hears(&client, 200, "OK\n"));
    assert_true(http_client_hears(&client, 503, "starting\n"));
    http_client_close(&client);
    assert_int_equal(ask(LIVE), 200);
    assert_int_equal(ask(READY), 200);
    assert_string_equal(client.said, "OK\n");
}

static void h16_a_spool_that_stores_nothing_is_neither_alive_nor_ready(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(sim_run_for(stage.sim, NS_PER_S)); /* segments are made ahead */
    sim_disk_failing_set(stage.world.disk, true, false, false);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(stage_envelope(&talk, "b@t.test"));
        talk_say(&talk, "Subject: x\r\n\r\n.\r\n");
        assert_true(stage_hears(&talk, "451 4.3.0"));
    }
    assert_int_equal(ask(LIVE), 503);
    assert_string_equal(client.said, "the spool does not accept mail\n");
    assert_int_equal(ask(READY), 503);
    assert_int_equal(ask("/metrics"), 200);
    sim_disk_failing_set(stage.world.disk, false, false, false);
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    assert_int_equal(ask(LIVE), 200);
    assert_int_equal(ask(READY), 200);
    talk_close(&talk);
}

static void h16_while_it_stops_probes_hear_503_and_the_last_client_an_answer(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(stage_envelope(&talk, "b@t.test"));
    talk_say(&talk, "Subject: x\r\n"); /* content that has begun holds the stop up */
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    node_stop(&stage.world.node, 1);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(ask(LIVE), 503);
    assert_string_equal(client.said, "stopping\n");
    assert_int_equal(ask(READY), 503);
    assert_int_equal(ask("/metrics?prefix=ringpost_ready"), 200);
    assert_non_null(strstr(client.said, "\nringpost_ready 0\n"));
    talk_say(&talk, "\r\n.\r\n");
    assert_true(stage_hears(&talk, "250 2.0.0 OK ids="));
    world_stopped(&stage.world);
}

static void probes_are_answered_while_mail_threads_are_out_of_memory(void **state)
{
    (void)state;
    stage_start(&stage);
    for (unsigned i = 0; i < stage.world.shards; i++) {
        struct account *account = &stage.world.node.mtas[i].shard.memory;
        account->limit = account_used(account); /* past every line */
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_true(overload_is(&stage.world.node.mtas[0].server.overload, OVERLOAD_READING));
    assert_int_equal(ask(LIVE), 200);
    assert_int_equal(ask("/metrics"), 200);
    assert_non_null(strstr(client.said, "\nringpost_overload_reading_total 1\n"));
}

/* What they held is seen by the leak sanitizer. */
static void a_crash_with_requests_half_way_leaves_nothing(void **state)
{
    const struct endpoint http = sim_endpoint(1, 8000);
    (void)state;
    stage_start(&stage);
    http_client_open(&client, stage.sim, STAGE_CLIENT, &http);
    http_client_say(&client, "GET " LIVE " HTTP/1.1\r\nHost: 10.0.0.1\r\nX: ");
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_true(stage.world.node.control->http.server.memory.used > 0);
    world_crash(&stage.world, false);
    http_client_close(&client);
    assert_true(world_start(&stage.world));
    assert_int_equal(ask(LIVE), 200);
}

static void every_route_has_its_own_path_and_method(void **state)
{
    (void)state;
    size_t count;
    const struct http_route *routes = http_routes(&count);
    assert_true(count <= HTTP_ROUTES_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(routes[i].handle);
        assert_int_equal(routes[i].methods & (HTTP_METHOD_HEAD | HTTP_METHOD_OPTIONS), 0);
        for (size_t other = 0; other < i; other++) {
            assert_true(strcmp(routes[i].path, routes[other].path) != 0 ||
                        (routes[i].methods & routes[other].methods) == 0);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(h16_while_it_starts_it_lives_and_is_not_ready),
        TEST(h16_a_spool_that_stores_nothing_is_neither_alive_nor_ready),
        TEST(h16_while_it_stops_probes_hear_503_and_the_last_client_an_answer),
        TEST(probes_are_answered_while_mail_threads_are_out_of_memory),
        TEST(a_crash_with_requests_half_way_leaves_nothing),
        cmocka_unit_test(every_route_has_its_own_path_and_method),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
