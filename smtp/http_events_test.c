/* The stream of events of a whole node in the simulator. */
#include "smtp/http_events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <string.h>

#include "shard/io/http_conn.h"
#include "smtp/node.h"
#include "tests/kit/http_client.h"
#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"

static struct stage stage;
/* Too large for a stack. */
static struct http_client clients[EVENT_STREAMS_MAX + 1];
static char said[256 * KIB];

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    stage_start(&stage);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static struct http_events *events(void)
{
    return &stage.world.node.control->http_events;
}

static void ask(struct http_client *who, const char *query)
{
    char request[256];
    snprintf(request, sizeof(request), "GET /api/events/v1%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
             query);
    http_client_open(who, stage.sim, STAGE_CLIENT, &stage.world.node.http_bound[0]);
    http_client_say(who, request);
}

/* All that has come, in `said`, as it came. */
static void hear(const struct http_client *who)
{
    struct slice input = sim_peer_input(who->peer);
    assert_true(input.size < sizeof(said));
    memcpy(said, input.data, input.size);
    said[input.size] = '\0';
}

static unsigned count(const char *text)
{
    unsigned found = 0;
    for (const char *at = strstr(said, text); at != NULL; at = strstr(at + 1, text)) {
        found++;
    }
    return found;
}

static void run_s(uint64_t seconds)
{
    assert_true(sim_run_for(stage.sim, seconds * NS_PER_S));
}

static void ev10_who_follows_gets_records_as_they_become_durable(void **state)
{
    (void)state;
    assert_true(stage_mail(&stage, "a@t.test", BODY));
    run_s(5);
    struct http_client *now = &clients[0];
    struct http_client *all = &clients[1];
    ask(now, "?follow=1");
    ask(all, "?from=start&follow=1&type=Delivery");
    run_s(1);
    hear(now);
    assert_int_equal(strncmp(said, "HTTP/1.1 200 ", 13), 0);
    assert_int_equal(count("\"offset\":"), 0);
    hear(all);
    assert_int_equal(count("{\"offset\":\""), 1);
    assert_int_equal(count(",\"type\":\"Delivery\","), 1);
    run_s(10 * HTTP_WRITE_NS / NS_PER_S); /* it is the server that is silent */
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(5);
    hear(now);
    assert_int_equal(count("{\"offset\":\""), 2);
    assert_int_equal(count("b@t.test"), 2);
    assert_int_equal(count("\r\n0\r\n\r\n"), 0); /* no end */
    hear(all);
    assert_int_equal(count("{\"offset\":\""), 2);
    http_client_close(now);
    http_client_close(all);
    run_s(1);
    assert_true(http_events_idle(events()));
}

static void ev11_a_stop_ends_streams_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EVENT_STREAMS_MAX; i++) {
        ask(&clients[i], "?from=start&follow=1");
    }
    assert_true(stage_mail(&stage, "a@t.test", BODY));
    run_s(5);
    struct http_client *late = &clients[EVENT_STREAMS_MAX];
    ask(late, "?from=start");
    run_s(1);
    hear(late);
    assert_int_equal(strncmp(said, "HTTP/1.1 503 ", 13), 0);
    assert_int_equal(count("\r\nRetry-After: 1\r\n"), 1);
    http_client_close(late);
    node_stop(&stage.world.node, 1);
    world_stopped(&stage.world);
    for (unsigned i = 0; i < EVENT_STREAMS_MAX; i++) {
        hear(&clients[i]);
        assert_int_equal(count("{\"offset\":\""), 2);
        assert_int_equal(count("\r\n0\r\n\r\n"), 1);
        http_client_close(&clients[i]);
    }
}

/* At any moment of a stream, which may be reading, sending or waiting. */
static void ev12_who_leaves_at_any_moment_holds_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        assert_true(stage_mail(&stage, "a@t.test", BODY));
    }
    run_s(5);
    for (uint64_t us = 0; us < 3000; us += 37) {
        ask(&clients[0], us % 2 == 0 ? "?from=start&follow=1" : "?from=start");
        assert_true(sim_run_for(stage.sim, us * NS_PER_US));
        http_client_close(&clients[0]);
        run_s(1);
        assert_true(http_events_idle(events()));
    }
    sim_disk_failing_set(stage.world.disk, false, false, true);
    ask(&clients[0], "?from=start");
    run_s(1);
    hear(&clients[0]);
    assert_int_equal(strncmp(said, "HTTP/1.1 503 ", 13), 0);
    sim_disk_failing_set(stage.world.disk, false, false, false);
    http_client_close(&clients[0]);
}

/* Who comes again hears why. */
static void ev13_a_stream_that_cannot_go_on_ends_without_its_last_chunk(void **state)
{
    (void)state;
    assert_true(stage_mail(&stage, "a@t.test", BODY));
    run_s(5);
    ask(&clients[0], "?from=start&follow=1");
    run_s(1);
    sim_disk_failing_set(stage.world.disk, false, false, true);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(5);
    assert_int_equal(sim_peer_state(clients[0].peer), SIM_PEER_EOF);
    hear(&clients[0]);
    assert_int_equal(count("{\"offset\":\""), 2);
    assert_int_equal(count("\r\n0\r\n\r\n"), 0);
    assert_true(http_events_idle(events()));
    http_client_close(&clients[0]);
    sim_disk_failing_set(stage.world.disk, false, false, false);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(ev10_who_follows_gets_records_as_they_become_durable),
        TEST(ev11_a_stop_ends_streams_whole),
        TEST(ev12_who_leaves_at_any_moment_holds_nothing),
        TEST(ev13_a_stream_that_cannot_go_on_ends_without_its_last_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
