/* The stream of events of a whole node in the simulator. */
#include "smtp/http_events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "smtp/node.h"
#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"

static struct stage stage;
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

static struct sim_peer *ask(const char *query)
{
    char request[256];
    struct endpoint from = sim_endpoint(STAGE_CLIENT, 0);
    struct sim_peer *peer =
        sim_peer_connect(stage.sim, &from, &stage.world.node.http_bound[0], NULL, NULL);
    int size = snprintf(request, sizeof(request),
                        "GET /api/events/v1%s HTTP/1.1\r\nHost: localhost\r\n\r\n", query);
    sim_peer_send(peer, slice_make(request, (size_t)size));
    return peer;
}

/* All that has come, in `said`. */
static void hear(struct sim_peer *peer)
{
    struct slice input = sim_peer_input(peer);
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
    struct sim_peer *now = ask("?follow=1");
    struct sim_peer *all = ask("?from=start&follow=1&type=Delivery");
    run_s(1);
    hear(now);
    assert_int_equal(strncmp(said, "HTTP/1.1 200 ", 13), 0);
    assert_int_equal(count("\"offset\":"), 0);
    hear(all);
    assert_int_equal(count("{\"offset\":\""), 1);
    assert_int_equal(count(",\"type\":\"Delivery\","), 1);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(5);
    hear(now);
    assert_int_equal(count("{\"offset\":\""), 2);
    assert_int_equal(count("b@t.test"), 2);
    assert_int_equal(count("\r\n0\r\n\r\n"), 0); /* no end */
    hear(all);
    assert_int_equal(count("{\"offset\":\""), 2);
    sim_peer_close(now);
    sim_peer_close(all);
    run_s(1);
    assert_true(http_events_idle(events()));
}

static void ev11_a_stop_ends_streams_whole(void **state)
{
    (void)state;
    struct sim_peer *peers[EVENT_STREAMS_MAX];
    for (unsigned i = 0; i < EVENT_STREAMS_MAX; i++) {
        peers[i] = ask("?from=start&follow=1");
    }
    assert_true(stage_mail(&stage, "a@t.test", BODY));
    run_s(5);
    struct sim_peer *late = ask("?from=start");
    run_s(1);
    hear(late);
    assert_int_equal(strncmp(said, "HTTP/1.1 503 ", 13), 0);
    assert_int_equal(count("\r\nRetry-After: 1\r\n"), 1);
    sim_peer_close(late);
    node_stop(&stage.world.node, 1);
    world_stopped(&stage.world);
    for (unsigned i = 0; i < EVENT_STREAMS_MAX; i++) {
        hear(peers[i]);
        assert_int_equal(count("{\"offset\":\""), 2);
        assert_int_equal(count("\r\n0\r\n\r\n"), 1);
        sim_peer_close(peers[i]);
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
        struct sim_peer *peer = ask(us % 2 == 0 ? "?from=start&follow=1" : "?from=start");
        assert_true(sim_run_for(stage.sim, us * NS_PER_US));
        sim_peer_close(peer);
        run_s(1);
        assert_true(http_events_idle(events()));
    }
    sim_disk_failing_set(stage.world.disk, false, false, true);
    struct sim_peer *peer = ask("?from=start");
    run_s(1);
    hear(peer);
    assert_int_equal(strncmp(said, "HTTP/1.1 503 ", 13), 0);
    sim_disk_failing_set(stage.world.disk, false, false, false);
    sim_peer_close(peer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(ev10_who_follows_gets_records_as_they_become_durable),
        TEST(ev11_a_stop_ends_streams_whole),
        TEST(ev12_who_leaves_at_any_moment_holds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
