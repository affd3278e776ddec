/* Mail on its way out of a whole node in the simulator, to a sink led by hand. */
#include "smtp/delivery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/egress.h"
#include "smtp/queue_gate.h"
#include "tests/kit/stage.h"

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

static void finish_last(void *context)
{
    struct talk_sink *sink = context;
    if (sink->last != NULL) {
        sim_peer_finish(sink->last);
        sink->last = NULL;
    }
}

/* Of a rate whose interval is longer than the whole test. */
static uint64_t tokens_used(const struct rate_line *line, uint64_t start_ns)
{
    return (line->cell->arrival_ns - start_ns) / line->rate->interval_ns;
}

/* --- connections that end --------------------------------------------------------------------- */

static void work_given_to_a_connection_that_is_just_closed_by_its_peer_is_taken_back(void **state)
{
    (void)state;
    struct talk talk;
    const char *body = "Subject: x\r\n\r\ntext\r\n";
    world_set(&stage.world, "shaping.default.max_message_rate=\"500/d\"");
    world_set(&stage.world, "queues.queue.default.max_message_rate=\"500/d\"");
    stage_start(&stage);
    const uint64_t start_ns = stage.world.node.peers[0]->now_ns;
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    /* A connection that closes takes a while to be released. */
    sim_fault_set(stage.sim, SIM_FAULT_late_completion, 300);
    for (unsigned i = 0; i < 150; i++) {
        /* Its end and the next mail come together, now one first, now the other. */
        assert_true(stage_envelope(&talk, "b@t.test"));
        sim_after(stage.sim, sim_below(stage.sim, 100 * NS_PER_MS), finish_last, &stage.sink);
        talk_say(&talk, body);
        talk_say(&talk, ".\r\n");
        assert_true(stage_hears(&talk, "250 "));
        assert_true(stage_expect(&stage, i, body));
    }
    sim_faults_stop(stage.sim);
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 60 * NS_PER_S));
    /* Rates count attempts alone, not what was taken back before there was one. */
    const struct delivery *delivery = &stage.world.node.mtas[0].delivery;
    const struct egress *egress = CONTAINER_OF(delivery->all.next, struct egress, link);
    const struct queue_gate *gate =
        CONTAINER_OF(delivery->gate_list.next, struct queue_gate, link);
    uint64_t attempts = world_counter(&stage.world, COUNTER_deliveries) +
                        world_counter(&stage.world, COUNTER_transient_failures);
    /* A connection that ends before its banner defers what is due, and that is no attempt. */
    uint64_t least = attempts - world_counter(&stage.world, COUNTER_connect_failures);
    print_message("%llu attempts, %llu uncertain\n", (unsigned long long)attempts,
                  (unsigned long long)world_counter(&stage.world, COUNTER_uncertain));
    uint64_t tokens = tokens_used(&egress->limits.messages.lines[0], start_ns);
    assert_in_range(tokens, least, attempts);
    assert_int_equal(tokens_used(&gate->rates.lines[0], start_ns), tokens);
    talk_close(&talk);
}

/* --- limits ----------------------------------------------------------------------------------- */

static bool has_conns(void *context)
{
    return ((struct talk_sink *)context)->conns >= 1;
}

static void a_path_with_a_low_limit_is_served_beside_one_that_holds_more_connections(void **state)
{
    (void)state;
    const char *body = "Subject: x\r\n\r\ntext\r\n";
    world_set(&stage.world,
              "queues.queue.\"u.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    world_set(&stage.world, "shaping.\"u.test\".connection_limit=1");
    stage_start(&stage);
    stage.sink.mute = true;
    assert_true(stage_mail(&stage, "b@t.test", body));
    assert_true(sim_run_until(stage.sim, has_conns, &stage.sink, 10 * NS_PER_S));
    stage.sink.mute = false;
    /* The first connection waits for its banner, and holds its slot. */
    assert_true(stage_mail(&stage, "b@u.test", body));
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    assert_string_equal(stage.sink.mail[0].recipient, "b@u.test");
}

static void a_limit_of_a_provider_is_shared_by_all_its_sites(void **state)
{
    (void)state;
    const char *body = "Subject: x\r\n\r\ntext\r\n";
    world_set(&stage.world, "dns.servers=[]");
    world_set(&stage.world, "dns.static=\"a.test. MX 1 mx.a.p.test.\\nmx.a.p.test. A 10.0.9.9\\n"
                            "b.test. MX 1 mx.b.p.test.\\nmx.b.p.test. A 10.0.9.9\\n"
                            "c.test. MX 1 mx.c.q.test.\\nmx.c.q.test. A 10.0.9.9\\n\"");
    world_set(&stage.world, "shaping.provider.p.match=[{MXSuffix=\".p.test\"}]");
    world_set(&stage.world, "shaping.provider.p.provider_connection_limit=1");
    stage_start(&stage);
    stage.sink.mute = true;
    assert_true(stage_mail(&stage, "x@a.test", body));
    assert_true(sim_run_until(stage.sim, has_conns, &stage.sink, 10 * NS_PER_S));
    assert_true(stage_mail(&stage, "x@b.test", body));
    assert_true(sim_run_for(stage.sim, 3 * NS_PER_S));
    assert_int_equal(stage.sink.conns, 1); /* it waits for its banner, and holds the slot */
    stage.sink.mute = false;
    assert_true(stage_mail(&stage, "x@c.test", body));
    assert_true(talk_sink_wait(&stage.sink, 1, 5 * NS_PER_S));
    assert_string_equal(stage.sink.mail[0].recipient, "x@c.test");
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 600 * NS_PER_S));
}

/* Where the only queue leads, and by which options. */
static const struct path_options *path_now(const struct egress_pool **pool_out)
{
    const struct delivery *delivery = &stage.world.node.mtas[0].delivery;
    const struct sched_queue *queue = queues_find(delivery->queues, 0);
    assert_non_null(queue);
    assert_non_null(queue->ready);
    *pool_out = egress_pool_of(queue->ready);
    return (*pool_out)->members[0]->path;
}

/* Has this list in force, and looks at what its queue then has: the count of a rate, 0: none. */
static uint64_t rate_by(const struct shaping_override *row, const struct egress_pool **pool_out)
{
    struct delivery *delivery = &stage.world.node.mtas[0].delivery;
    struct shaping_overrides *overrides = shaping_overrides_new(row, 1, NULL, NULL);
    delivery_shape(delivery, delivery->conf, NULL, overrides);
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S)); /* it has been due since */
    uint64_t count = path_now(pool_out)->max_message_rate.count;
    delivery_shape(delivery, delivery->conf, NULL, NULL);
    shaping_overrides_free(overrides);
    return count;
}

static void an_override_counts_from_now_on_and_no_longer_than_its_list(void **state)
{
    (void)state;
    static const struct {
        const char *domain;
        const char *source;
        uint64_t count;
        bool stays; /* nothing of its pool is another one */
    } rows[] = {
        {"u.test", "", 0, true},
        {"t.test", "", 7, false},
        {"t.test", "unspecified", 7, false},
        {"t.test", "other", 0, false},
    };
    world_set(&stage.world, "queues.queue.default.retry_interval=1s");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", "Subject: x\r\n\r\ntext\r\n"));
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    const struct delivery *delivery = &stage.world.node.mtas[0].delivery;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct shaping_override row = {.domain = slice_from_string(rows[i].domain),
                                             .source = slice_from_string(rows[i].source),
                                             .name = SLICE("max_message_rate"),
                                             .value = SLICE("\"7/s\"")};
        const struct egress_pool *before;
        const struct egress_pool *during;
        assert_int_equal(path_now(&before)->max_message_rate.count, 0);
        assert_int_equal(rate_by(&row, &during), rows[i].count);
        assert_true(!rows[i].stays || before == during); /* else it may be in the same place */
        assert_true(sim_run_for(stage.sim, 20 * NS_PER_S));
        assert_int_equal(path_now(&before)->max_message_rate.count, 0);
        assert_int_equal(delivery->egress_pools.used, 1); /* the former ones are over */
        assert_int_equal(delivery->egresses.used, 1);
    }
    stage.sink.defer = NULL;
}

static void a_block_counts_for_all_domains_of_its_site_when_that_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *recipient;
        uint64_t count;
        const char *block;
    } rows[] = {
        {"x@a.test", 7, "r.test"}, {"x@r.test", 7, "r.test"}, {"x@b.test", 0, "default"},
        {"x@n.test", 8, "n.test"}, {"x@m.test", 0, "default"}};
    world_set(&stage.world, "queues.queue.default.retry_interval=1s");
    world_set(&stage.world, "dns.servers=[]");
    world_set(&stage.world,
              "dns.static=\"r.test. MX 1 h.r.\\na.test. MX 5 h.r.\\nn.test. MX 1 h.n.\\n"
              "m.test. MX 1 h.n.\\nb.test. A 10.0.9.9\\nh.r. A 10.0.9.9\\nh.n. A 10.0.9.9\\n\"");
    world_set(&stage.world, "shaping.\"r.test\".max_message_rate=\"7/s\"");
    world_set(&stage.world, "shaping.\"n.test\".max_message_rate=\"8/s\"");
    world_set(&stage.world, "shaping.\"n.test\".mx_rollup=false");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    const struct delivery *delivery = &stage.world.node.mtas[0].delivery;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_true(stage_mail(&stage, rows[i].recipient, "Subject: x\r\n\r\ntext\r\n"));
    }
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    for (uint32_t i = 0; i < COUNT_OF(rows); i++) {
        const struct sched_queue *queue = queues_find(delivery->queues, i);
        assert_non_null(queue->ready);
        const struct path_options *path = egress_pool_of(queue->ready)->members[0]->path;
        assert_int_equal(path->max_message_rate.count, rows[i].count);
        assert_true(slice_equal(path->block, slice_from_string(rows[i].block)));
    }
    assert_int_equal(delivery->egress_pools.used, 4); /* a.test and r.test share one */
    stage.sink.defer = NULL;
}

/* --- blocks ----------------------------------------------------------------------------------- */

#define DEAF_SINKS 3
#define DEAF_MAILS 120
#define BODY_BYTES (30 * KIB)
#define MAIL_BYTES (48 * KIB) /* in blocks, at most: 2 + 8 + 32 KiB and a small head */

/* Site after site takes connections and reads no content: each holds its share and no more. */
static void f08_sites_that_read_nothing_leave_blocks_to_the_others(void **state)
{
    (void)state;
    static struct talk_sink deaf[DEAF_SINKS];
    char recipient[32];
    char *body = stage_body(BODY_BYTES);
    world_set(&stage.world, "shaping.default.connection_limit=200");
    for (unsigned i = 0; i < DEAF_SINKS; i++) {
        struct endpoint at = sim_endpoint(STAGE_SINK + 1 + i, 25);
        talk_sink_open(&deaf[i], stage.sim, &at);
        deaf[i].deaf = true;
        world_set(&stage.world,
                  "queues.queue.\"deaf%u.test\".protocol={smtp={mx_list=[\"[10.0.9.%u]:25\"]}}", i,
                  10 + i);
    }
    stage_start(&stage);
    const struct delivery *delivery = &stage.world.node.mtas[0].delivery;
    uint64_t left = block_pool_size(block_pool_receiving(delivery->messages->blocks));
    uint64_t pinned = 0;
    for (unsigned i = 0; i < DEAF_SINKS; i++) {
        (void)snprintf(recipient, sizeof(recipient), "b@deaf%u.test", i);
        for (unsigned mail = 0; mail < DEAF_MAILS; mail++) {
            assert_true(stage_mail(&stage, recipient, body));
            assert_true(sim_run_for(stage.sim, 50 * NS_PER_MS)); /* what is not sent is shed */
        }
        assert_true(sim_run_for(stage.sim, NS_PER_S));
        assert_int_equal(world_counter(&stage.world, COUNTER_site_blocks_full), i + 1);
        /* Half of what is left then is a third of what was left before; and one message more. */
        assert_in_range(delivery->pinned_bytes - pinned, left / 3, left / 3 + MAIL_BYTES);
        left -= delivery->pinned_bytes - pinned;
        pinned = delivery->pinned_bytes;
        assert_true(stage_mail(&stage, "b@t.test", body));
        assert_true(talk_sink_wait(&stage.sink, i + 1, 5 * NS_PER_S));
    }
    assert_int_equal(world_counter(&stage.world, COUNTER_transient_failures), 0);
    /* They read again: nothing is lost, and all blocks come back. */
    for (unsigned i = 0; i < DEAF_SINKS; i++) {
        talk_sink_hear(&deaf[i]);
        assert_true(talk_sink_wait(&deaf[i], DEAF_MAILS, 600 * NS_PER_S));
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(delivery->pinned_bytes, 0);
    assert_int_equal(block_pool_used(delivery->messages->blocks), 0);
    world_stop(&stage.world, 1);
    for (unsigned i = 0; i < DEAF_SINKS; i++) {
        talk_sink_close(&deaf[i]);
    }
    free(body);
}

/* --- a stop ----------------------------------------------------------------------------------- */

/* Else it would ask for cells whose answer may come to a thread that has ended. */
static void f33_what_comes_due_during_a_stop_begins_nothing(void **state)
{
    (void)state;
    struct talk talk;
    world_set(&stage.world, "queues.queue.default.retry_interval=5s");
    world_set(&stage.world, "queues.queue.default.max_message_rate=\"500/d\"");
    stage_start(&stage);
    const struct mta *mta = &stage.world.node.mtas[0];
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", "Subject: x\r\n\r\ntext\r\n"));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    world_crash(&stage.world, false);
    assert_true(world_start(&stage.world));
    assert_int_equal(mta->queues.wheel.count, 1);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT)); /* whom the stop waits for */
    assert_true(stage_envelope(&talk, "b@t.test"));
    node_stop(&stage.world.node, 1);
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    assert_int_equal(mta->queues.wheel.count, 0); /* it has come due */
    assert_int_equal(mta->delivery.egresses.used, 0);
    assert_int_equal(mta->delivery.gates.used, 0);
    talk_close(&talk);
    world_stopped(&stage.world);
    assert_true(world_start(&stage.world));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_path_with_a_low_limit_is_served_beside_one_that_holds_more_connections),
        TEST(a_block_counts_for_all_domains_of_its_site_when_that_is_known),
        TEST(a_limit_of_a_provider_is_shared_by_all_its_sites),
        TEST(an_override_counts_from_now_on_and_no_longer_than_its_list),
        TEST(f08_sites_that_read_nothing_leave_blocks_to_the_others),
        TEST(f33_what_comes_due_during_a_stop_begins_nothing),
        TEST(work_given_to_a_connection_that_is_just_closed_by_its_peer_is_taken_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
