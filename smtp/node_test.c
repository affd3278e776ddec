/* How a node starts, fails to, and stops. */
#include "smtp/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"

static struct stage stage;

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

/* --- start ------------------------------------------------------------------------------------ */

static bool has_decided(void *context)
{
    enum node_state state = node_state(context);
    return state == NODE_READY || state == NODE_FAILED;
}

/* The start fails and the reason has `part` in it, on one line. */
static void expect_failure(const char *part)
{
    struct node *node = &stage.world.node;
    world_boot(&stage.world);
    assert_true(sim_run_until(stage.sim, has_decided, node, 60 * NS_PER_S));
    assert_int_equal(node_state(node), NODE_FAILED);
    for (unsigned i = 0; i < node_thread_count(node); i++) {
        assert_true(node_finished(node, i));
    }
    if (strstr(node->reason, part) == NULL || strchr(node->reason, '\n') != NULL) {
        fail_msg("expected %s, the reason is: %s", part, node->reason);
    }
    world_crash(&stage.world, false);
}

static void an_address_in_use_is_named(void **state)
{
    (void)state;
    struct talk_sink other;
    stage.world.shards = 2;
    talk_sink_open(&other, stage.sim, &stage.server);
    world_open(&stage.world);
    expect_failure("cannot listen on 10.0.0.1:25: Address already in use");
    talk_sink_close(&other);
}

/* The kernel may close the listeners of a killed process after its end. */
static void a_port_that_becomes_free_soon_after_the_start_is_taken(void **state)
{
    (void)state;
    struct node *node = &stage.world.node;
    struct talk_sink other;
    stage.world.shards = 2;
    talk_sink_open(&other, stage.sim, &stage.server);
    world_open(&stage.world);
    world_boot(&stage.world);
    assert_false(sim_run_until(stage.sim, has_decided, node, 2 * NS_PER_S));
    assert_int_equal(node_state(node), NODE_STARTING);
    talk_sink_close(&other);
    assert_true(sim_run_until(stage.sim, has_decided, node, NS_PER_S / 10));
    assert_int_equal(node_state(node), NODE_READY);
    world_stop(&stage.world, 1);
}

static void f27_a_spool_of_another_number_of_shards_is_adopted(void **state)
{
    (void)state;
    stage_start(&stage);
    for (unsigned shards = 2; shards > 0; shards--) {
        world_stop(&stage.world, 1);
        stage.world.shards = shards;
        assert_true(world_start(&stage.world));
    }
}

static void a_disk_that_cannot_be_written_is_a_reason(void **state)
{
    (void)state;
    world_open(&stage.world);
    sim_disk_read_only_set(stage.world.disk, true);
    expect_failure("spool");
    sim_disk_read_only_set(stage.world.disk, false);
    assert_true(world_start(&stage.world));
}

static void what_was_queued_at_a_stop_is_counted_and_sent_after_the_start(void **state)
{
    (void)state;
    stage.world.shards = 2;
    stage.sink.defer = "451 4.2.1 not now\r\n";
    stage_start(&stage);
    assert_int_equal(stage.world.node.queued, 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    world_stop(&stage.world, 1);
    assert_true(world_start(&stage.world));
    assert_int_equal(stage.world.node.queued, 5);
    stage.sink.defer = NULL;
    for (unsigned i = 0; i < 5; i++) {
        assert_true(stage_expect(&stage, i, BODY));
    }
}

static void a_clock_set_back_between_two_starts_delays_mail_by_max_age_at_most(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.\"t.test\".max_age=60s");
    stage.sink.defer = "451 4.2.1 not now\r\n";
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    world_stop(&stage.world, 1);
    sim_wall_jump(stage.sim, -365 * 86400 * (int64_t)NS_PER_S);
    stage.sink.defer = NULL;
    assert_true(world_start(&stage.world));
    assert_true(talk_sink_wait(&stage.sink, 1, 70 * NS_PER_S));
}

/* --- stop ------------------------------------------------------------------------------------- */

static bool has_stopped(void *context)
{
    return node_state(context) == NODE_STOPPED;
}

static void a_stop_waits_for_a_delivery_until_stop_timeout_then_cuts_it(void **state)
{
    (void)state;
    world_set(&stage.world, "node.stop_timeout=10s");
    stage.sink.hold = true;
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    node_stop(&stage.world.node, 1);
    assert_false(sim_run_until(stage.sim, has_stopped, &stage.world.node, 9 * NS_PER_S));
    world_stop(&stage.world, 1); /* checks that nothing is left */
    assert_true(world_start(&stage.world));
    /* Its content was out and no word came back: it is tried again, and that is counted. */
    stage.sink.hold = false;
    assert_int_equal(stage.world.node.queued, 1);
    assert_true(talk_sink_wait(&stage.sink, 2, 600 * NS_PER_S));
}

static void a_second_stop_ends_it_within_two_seconds(void **state)
{
    (void)state;
    struct talk half;
    stage.sink.hold = true;
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_begin(&stage, &half, STAGE_CLIENT));
    assert_true(stage_envelope(&half, "b@t.test"));
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    node_stop(&stage.world.node, 1);
    assert_true(sim_run_for(stage.sim, 5 * NS_PER_S));
    assert_int_equal(node_state(&stage.world.node), NODE_STOPPING);
    node_stop(&stage.world.node, 2);
    assert_true(sim_run_until(stage.sim, has_stopped, &stage.world.node, 2 * NS_PER_S));
    world_stop(&stage.world, 2);
    talk_close(&half);
}

static void a_stop_asked_for_during_the_start_follows_it(void **state)
{
    (void)state;
    world_open(&stage.world);
    world_boot(&stage.world);
    node_stop(&stage.world.node, 1);
    assert_true(sim_run_until(stage.sim, has_stopped, &stage.world.node, 60 * NS_PER_S));
    world_stop(&stage.world, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_address_in_use_is_named),
        TEST(a_port_that_becomes_free_soon_after_the_start_is_taken),
        TEST(f27_a_spool_of_another_number_of_shards_is_adopted),
        TEST(a_disk_that_cannot_be_written_is_a_reason),
        TEST(what_was_queued_at_a_stop_is_counted_and_sent_after_the_start),
        TEST(a_clock_set_back_between_two_starts_delays_mail_by_max_age_at_most),
        TEST(a_stop_waits_for_a_delivery_until_stop_timeout_then_cuts_it),
        TEST(a_second_stop_ends_it_within_two_seconds),
        TEST(a_stop_asked_for_during_the_start_follows_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
