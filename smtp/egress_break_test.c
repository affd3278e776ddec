/*
 * A node in the simulator that sends to a smart host of several addresses: whose connection comes
 * next when one breaks in the middle of mail.
 */
#include "smtp/egress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"

/* The stage's sink is the second host of t.test, this the third; nobody is at the first. */
struct scene {
    struct stage stage;
    struct talk_sink third;
};

static void scene_open(struct scene *scene)
{
    struct endpoint at = sim_endpoint(STAGE_SINK + 1, 25);
    stage_open(&scene->stage, 1);
    talk_sink_open(&scene->third, scene->stage.sim, &at);
    world_set(&scene->stage.world, "queues.queue.\"t.test\".protocol={smtp={mx_list=["
                                   "\"[10.0.9.8]:25\",\"[10.0.9.9]:25\",\"[10.0.9.10]:25\"]}}");
    world_set(&scene->stage.world, "shaping.default.connection_limit=1");
    world_set(&scene->stage.world, "queues.queue.default.retry_interval=1h");
}

static void scene_close(struct scene *scene)
{
    world_stop(&scene->stage.world, 1);
    talk_sink_close(&scene->third);
    assert_true(stage_close(&scene->stage));
}

static uint64_t counted(struct scene *scene, enum counter counter)
{
    return world_counter(&scene->stage.world, counter);
}

/* Three messages; the second host takes the first one's content and says 421. */
static void after_a_421_the_strategy_says_which_host_is_next(void **state)
{
    static const struct {
        const char *set;
        unsigned refused; /* connections that could not be made: to the first */
        unsigned second;  /* connections to it */
        unsigned third;
    } rows[] = {
        {"shaping.default.max_ready=1000", 1, 1, 1},
        {"shaping.default.reconnect_strategy=ConnectNextHost", 1, 1, 1},
        {"shaping.default.reconnect_strategy=TerminateSession", 2, 2, 0},
        {"shaping.default.reconnect_strategy=ReconnectSameHost", 1, 2, 0},
        {"shaping.default.max_connection_rate=\"1/h\"", 1, 1, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct scene scene;
        struct talk_sink *second = &scene.stage.sink;
        scene_open(&scene);
        world_set(&scene.stage.world, "%s", rows[i].set);
        stage_start(&scene.stage);
        second->hold = true;
        for (unsigned k = 0; k < 3; k++) {
            assert_true(stage_mail(&scene.stage, "b@t.test", BODY));
        }
        assert_true(talk_sink_wait(second, 1, 10 * NS_PER_S));
        second->hold = false;
        sim_peer_send(second->last, SLICE("421 4.3.2 going down\r\n"));
        assert_true(sim_run_for(scene.stage.sim, 5 * NS_PER_S));
        assert_int_equal(counted(&scene, COUNTER_connect_failures), rows[i].refused);
        assert_int_equal(second->conns, rows[i].second);
        assert_int_equal(scene.third.conns, rows[i].third);
        assert_int_equal(counted(&scene, COUNTER_transient_failures), 1);
        bool stuck = rows[i].second + rows[i].third == 1;
        assert_int_equal(counted(&scene, COUNTER_deliveries), stuck ? 0 : 2);
        scene_close(&scene);
    }
}

static void f22b_with_try_next_host_a_broken_connection_fails_nobody_while_a_host_is_left(
    void **state)
{
    static const struct {
        const char *set;
        bool third_drops;
        unsigned third;    /* connections to it */
        unsigned deferred;
        unsigned delivered;
    } rows[] = {
        {"shaping.default.try_next_host_on_transport_error=false", false, 0, 1, 0},
        {"shaping.default.try_next_host_on_transport_error=true", false, 1, 0, 1},
        {"shaping.default.try_next_host_on_transport_error=true", true, 1, 1, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct scene scene;
        scene_open(&scene);
        world_set(&scene.stage.world, "%s", rows[i].set);
        world_set(&scene.stage.world, "shaping.default.reconnect_strategy=TerminateSession");
        stage_start(&scene.stage);
        scene.stage.sink.drops = true;
        scene.third.drops = rows[i].third_drops;
        assert_true(stage_mail(&scene.stage, "b@t.test", BODY));
        assert_true(sim_run_for(scene.stage.sim, 10 * NS_PER_S));
        assert_int_equal(scene.stage.sink.conns, 1);
        assert_int_equal(scene.third.conns, rows[i].third);
        assert_int_equal(counted(&scene, COUNTER_transient_failures), rows[i].deferred);
        assert_int_equal(counted(&scene, COUNTER_deliveries), rows[i].delivered);
        scene_close(&scene);
    }
}

/* All of the content was out: it may be there. */
static void with_try_next_host_what_is_uncertain_is_not_sent_twice(void **state)
{
    struct scene scene;
    (void)state;
    scene_open(&scene);
    world_set(&scene.stage.world, "shaping.default.try_next_host_on_transport_error=true");
    stage_start(&scene.stage);
    scene.stage.sink.hold = true;
    assert_true(stage_mail(&scene.stage, "b@t.test", BODY));
    assert_true(talk_sink_wait(&scene.stage.sink, 1, 10 * NS_PER_S));
    sim_peer_finish(scene.stage.sink.last);
    assert_true(sim_run_for(scene.stage.sim, 10 * NS_PER_S));
    assert_int_equal(counted(&scene, COUNTER_uncertain), 1);
    assert_int_equal(counted(&scene, COUNTER_transient_failures), 1);
    assert_int_equal(scene.third.conns, 0);
    scene.stage.sink.hold = false;
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_421_the_strategy_says_which_host_is_next),
        cmocka_unit_test(
            f22b_with_try_next_host_a_broken_connection_fails_nobody_while_a_host_is_left),
        cmocka_unit_test(with_try_next_host_what_is_uncertain_is_not_sent_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
