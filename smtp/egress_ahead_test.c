/* Messages read before their turn, in a whole node in the simulator; a sink led by hand. */
#include "smtp/egress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>

#include "smtp/queue_gate.h"
#include "smtp/transfer.h"
#include "tests/kit/stage.h"

#define TICKS_NS   (300 * NS_PER_MS) /* of the delivery: a few */
#define MAIL_BYTES (34 * KIB)        /* a message of 30 KiB, in blocks */

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world, "shaping.default.connection_limit=1");
    for (unsigned i = 0; i < 3; i++) {
        world_set(&stage.world,
                  "queues.queue.\"%c.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}",
                  "abu"[i]);
    }
    world_set(&stage.world, "queues.queue.\"u.test\".class=\"urgent\"");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static struct delivery *delivery_of(void)
{
    return &stage.world.node.mtas[0].delivery;
}

static struct egress *egress_of(void)
{
    return CONTAINER_OF(delivery_of()->all.next, struct egress, link);
}

static uint64_t reads(void)
{
    return world_counter(&stage.world, COUNTER_spool_reads);
}

/* Mail for these recipients, "a@… b@…", in the spool alone: the node starts again. */
static void queue_cold(const char *const *recipients, unsigned count, size_t bytes)
{
    char *body = stage_body(bytes);
    stage.sink.mute = true;
    for (unsigned i = 0; i < count; i++) {
        assert_true(stage_mail(&stage, recipients[i], body));
        assert_true(sim_run_for(stage.sim, TICKS_NS)); /* what is too much is shed */
    }
    free(body);
    world_stop(&stage.world, 1);
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S)); /* all of it is due then */
    stage.sink.mute = false;
    assert_true(world_start(&stage.world));
}

static void queue_cold_for_one(unsigned count, size_t bytes)
{
    const char *recipients[64];
    assert_true(count <= COUNT_OF(recipients));
    for (unsigned i = 0; i < count; i++) {
        recipients[i] = "x@t.test";
    }
    queue_cold(recipients, count, bytes);
}

/* The sink answers what it holds, on the connection that spoke last; and nothing else. */
static void release_last(void)
{
    unsigned mails = stage.sink.mails;
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 ok\r\n"));
    assert_true(talk_sink_wait(&stage.sink, mails + 1, NS_PER_S));
    assert_true(sim_run_for(stage.sim, 50 * NS_PER_MS));
}

/* … and all that follows. */
static void release_all(unsigned mails)
{
    stage.sink.hold = false;
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 ok\r\n"));
    assert_true(talk_sink_wait(&stage.sink, mails, 10 * NS_PER_S));
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 10 * NS_PER_S));
}

/* The first message is on its way, and what is to be read ahead is. */
static void wait_held(void)
{
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(stage.sink.mails, 1);
}

static void expect_none_left(void)
{
    assert_int_equal(egress_of()->ahead_count, 0);
    assert_int_equal(egress_of()->ahead_rows, 0);
    assert_int_equal(egress_of()->busy, 0);
    assert_int_equal(delivery_of()->ahead_bytes, 0);
    assert_int_equal(block_pool_used(delivery_of()->messages->blocks), 0);
}

/* --- what is read, and when ------------------------------------------------------------------- */

static void a_busy_connection_has_two_messages_read_ahead_and_each_is_read_once(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.hold = true;
    queue_cold_for_one(6, 500);
    wait_held();
    assert_int_equal(reads(), 3);
    assert_int_equal(egress_of()->ahead_count, 2);
    assert_int_equal(egress_fresh(egress_of()), 3);
    release_last();
    assert_int_equal(reads(), 4);
    assert_int_equal(egress_of()->ahead_count, 2);
    release_all(6);
    assert_int_equal(reads(), 6);
    assert_int_equal(world_counter(&stage.world, COUNTER_deliveries), 6);
    assert_int_equal(world_counter(&stage.world, COUNTER_connections_out), 1);
    expect_none_left();
}

static void nothing_is_read_before_the_banner(void **state)
{
    (void)state;
    stage_start(&stage);
    queue_cold_for_one(3, 500);
    world_crash(&stage.world, false);
    unsigned conns = stage.sink.conns;
    stage.sink.mute = true;
    assert_true(world_start(&stage.world));
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    assert_true(stage.sink.conns > conns);
    assert_int_equal(reads(), 0);
    assert_int_equal(egress_of()->window.hot, 0);
}

static void what_is_in_memory_is_not_taken_before_its_turn(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.hold = true;
    for (unsigned i = 0; i < 4; i++) {
        assert_true(stage_mail(&stage, "x@t.test", "Subject: x\r\n\r\ntext\r\n"));
    }
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    assert_int_equal(egress_of()->window.hot, 1);
    assert_int_equal(reads(), 0);
    release_all(4);
}

static struct spool_location place_of(const struct list *turn)
{
    const struct transfer *transfer = CONTAINER_OF(turn, struct transfer, turn);
    return row_location(row_at(&delivery_of()->queues->rows, transfer->rows[0]));
}

/* What is due last comes first. */
static void turn_round(void)
{
    struct queues *queues = delivery_of()->queues;
    uint32_t handle = ready_queue_next(&egress_of()->pool->ready, &egress_of()->window, 100);
    while (handle != ROW_NONE) {
        uint32_t next = row_at(&queues->rows, handle)->queue_next;
        queues_row_hold(queues, handle);
        queues_row_due(queues, handle, true);
        handle = next;
    }
}

static void those_read_together_are_read_and_sent_in_the_order_of_their_places(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.hold = true;
    for (unsigned i = 0; i < 5; i++) {
        assert_true(stage_mail(&stage, "x@t.test", "Subject: x\r\n\r\ntext\r\n"));
    }
    wait_held();
    turn_round();
    messages_shed(delivery_of()->messages, 0);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    const struct list *turns = &egress_of()->ahead[QUEUE_BULK];
    struct spool_location first = place_of(turns->next);
    struct spool_location second = place_of(turns->prev);
    assert_int_equal(egress_of()->ahead_count, 2);
    assert_int_equal(first.segment, second.segment);
    assert_true(first.offset_64 < second.offset_64);
    release_last();
    assert_int_equal(place_of(turns->next).offset_64, second.offset_64);
    release_all(5);
}

/* --- urgent mail ------------------------------------------------------------------------------ */

static void urgent_mail_passes_bulk_mail_that_was_read_ahead(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.hold = true;
    queue_cold_for_one(4, 500);
    wait_held();
    assert_true(stage_mail(&stage, "x@u.test", "Subject: x\r\n\r\ntext\r\n"));
    assert_int_equal(egress_of()->ahead_count, 2);
    release_last();
    assert_string_equal(stage.sink.mail[1].recipient, "x@u.test");
    assert_int_equal(egress_of()->ahead_count, 2);
    release_all(5);
}

static void for_an_urgent_message_a_bulk_one_that_was_read_ahead_makes_way(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.\"u.test\".retry_interval=20s");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "x@u.test", "Subject: x\r\n\r\ntext\r\n"));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    stage.sink.defer = NULL;
    stage.sink.hold = true;
    queue_cold_for_one(4, 500);
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    assert_true(list_empty(&egress_of()->ahead[QUEUE_URGENT]));
    assert_true(sim_run_for(stage.sim, 25 * NS_PER_S));
    assert_false(list_empty(&egress_of()->ahead[QUEUE_URGENT]));
    assert_int_equal(egress_of()->ahead_count, 2);
    release_last();
    assert_string_equal(stage.sink.mail[1].recipient, "x@u.test");
    release_all(5);
    assert_int_equal(world_counter(&stage.world, COUNTER_transient_failures), 0);
}

/* --- connections ------------------------------------------------------------------------------ */

static void a_free_connection_takes_what_was_read_ahead_for_a_stuck_one(void **state)
{
    (void)state;
    world_set(&stage.world, "shaping.default.connection_limit=2");
    stage_start(&stage);
    stage.sink.hold = true;
    queue_cold_for_one(60, 500);
    assert_true(talk_sink_wait(&stage.sink, 2, 10 * NS_PER_S));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(egress_of()->ahead_count, 4);
    stage.sink.hold = false;
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 ok\r\n"));
    assert_true(talk_sink_wait(&stage.sink, 60, 5 * NS_PER_S));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(egress_of()->busy, 1);
    assert_int_equal(reads(), 60);
}

/* A rate whose interval is longer than the whole test. */
static uint64_t tokens_used(const struct rate_line *line, uint64_t start_ns)
{
    return (line->cell->arrival_ns - start_ns) / line->rate->interval_ns;
}

static void a_connection_that_goes_gives_back_what_was_read_ahead_and_costs_no_attempt(void **state)
{
    (void)state;
    world_set(&stage.world, "shaping.default.max_message_rate=\"500/d\"");
    world_set(&stage.world, "queues.queue.default.max_message_rate=\"500/d\"");
    stage_start(&stage);
    stage.sink.hold = true;
    queue_cold_for_one(4, 500);
    const uint64_t start_ns = stage.world.node.peers[0]->now_ns;
    wait_held();
    /* One message is in memory, and another is being read when the connection goes. */
    sim_disk_latency_set(stage.world.disk, 100 * NS_PER_MS);
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 ok\r\n"));
    assert_true(talk_sink_wait(&stage.sink, 2, 10 * NS_PER_S));
    assert_int_equal(egress_of()->ahead_count, 2);
    stage.sink.hold = false;
    sim_peer_finish(stage.sink.last);
    assert_true(sim_run_for(stage.sim, 20 * NS_PER_MS));
    assert_true(egress_of()->ahead_count + egress_fresh(egress_of()) + egress_of()->window.hot > 0);
    sim_disk_latency_set(stage.world.disk, 0);
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 60 * NS_PER_S));
    expect_none_left();
    uint64_t attempts = world_counter(&stage.world, COUNTER_deliveries) +
                        world_counter(&stage.world, COUNTER_transient_failures);
    assert_int_equal(world_counter(&stage.world, COUNTER_deliveries), 4);
    assert_int_equal(world_counter(&stage.world, COUNTER_transient_failures), 1);
    const struct queue_gate *gate =
        CONTAINER_OF(delivery_of()->gate_list.next, struct queue_gate, link);
    assert_int_equal(tokens_used(&egress_of()->limits.messages.lines[0], start_ns), attempts);
    assert_int_equal(tokens_used(&gate->rates.lines[0], start_ns), attempts);
}

static void f33_a_stop_gives_back_what_was_read_ahead(void **state)
{
    (void)state;
    world_set(&stage.world, "node.stop_timeout=5s");
    stage_start(&stage);
    stage.sink.hold = true;
    queue_cold_for_one(4, 500);
    wait_held();
    sim_disk_latency_set(stage.world.disk, 100 * NS_PER_MS);
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 ok\r\n"));
    assert_true(talk_sink_wait(&stage.sink, 2, 10 * NS_PER_S));
    assert_int_equal(egress_of()->ahead_count, 2);
    node_stop(&stage.world.node, 1);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(egress_of()->ahead_count, 0);
    assert_int_equal(egress_fresh(egress_of()), 2);
    assert_int_equal(egress_of()->window.hot, 1);
    world_stopped(&stage.world);
    sim_disk_latency_set(stage.world.disk, 0);
    stage.sink.hold = false;
    assert_true(world_start(&stage.world));
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 60 * NS_PER_S));
    assert_int_equal(stage.sink.mails, 5); /* one of them twice: it was never answered */
}

/* --- rates, age, memory ----------------------------------------------------------------------- */

static void what_is_read_ahead_has_no_token_until_it_is_sent(void **state)
{
    (void)state;
    world_set(&stage.world, "shaping.default.max_message_rate=\"3/h\"");
    world_set(&stage.world, "queues.queue.default.max_message_rate=\"500/d\"");
    stage_start(&stage);
    stage.sink.hold = true;
    queue_cold_for_one(6, 500);
    const uint64_t start_ns = stage.world.node.peers[0]->now_ns;
    wait_held();
    assert_int_equal(egress_of()->ahead_count, 2);
    const struct queue_gate *gate =
        CONTAINER_OF(delivery_of()->gate_list.next, struct queue_gate, link);
    uint64_t reserved = gate->rates.lines[0].runs[0].count + gate->rates.lines[0].runs[1].count;
    assert_int_equal(tokens_used(&gate->rates.lines[0], start_ns), 1 + reserved);
    stage.sink.hold = false;
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 ok\r\n"));
    assert_true(sim_run_for(stage.sim, 600 * NS_PER_S));
    assert_int_equal(stage.sink.mails, 3);
    assert_int_equal(reads(), 3);
    assert_int_equal(egress_of()->hold.reason, HOLD_message_rate);
}

static void what_was_read_ahead_and_grows_too_old_expires(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.max_age=60s");
    stage_start(&stage);
    stage.sink.hold = true;
    queue_cold_for_one(3, 500);
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    assert_true(sim_run_for(stage.sim, 70 * NS_PER_S));
    assert_int_equal(egress_of()->ahead_count, 2);
    stage.sink.hold = false;
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 ok\r\n"));
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 10 * NS_PER_S));
    assert_int_equal(world_counter(&stage.world, COUNTER_expirations), 2);
    assert_int_equal(stage.sink.mails, 1);
    expect_none_left();
}

static void f08_what_is_read_ahead_has_an_eighth_of_the_blocks_and_is_the_first_to_go(void **state)
{
    (void)state;
    struct list taken;
    list_init(&taken);
    world_set(&stage.world, "shaping.default.connection_limit=4");
    stage_start(&stage);
    stage.sink.hold = true;
    queue_cold_for_one(60, 30 * KIB);
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    struct delivery *delivery = delivery_of();
    struct block_pool *blocks = block_pool_receiving(delivery->messages->blocks);
    uint64_t size = block_pool_size(blocks);
    assert_int_equal(egress_of()->busy, 3);
    assert_int_equal(egress_of()->ahead_count, 3);
    assert_in_range(delivery->ahead_bytes, size / 8 - MAIL_BYTES, size / 8);
    /* Somebody else takes blocks, until they run short. */
    while (block_pool_used(blocks) <= size / 100 * 60) {
        struct block *block = block_take(blocks, 1);
        assert_non_null(block);
        list_push_back(&taken, &block->link);
    }
    uint32_t busy = egress_of()->busy;
    assert_true(sim_run_for(stage.sim, TICKS_NS));
    assert_int_equal(delivery->ahead_bytes, 0);
    assert_int_equal(egress_of()->window.hot, busy);
    assert_true(block_pool_used(blocks) < size / 100 * 60);
    /* All but those that are being sent are given back: it is read ahead again. */
    for (struct list *link = list_pop_front(&taken); link != NULL; link = list_pop_front(&taken)) {
        block_give(blocks, CONTAINER_OF(link, struct block, link));
    }
    assert_true(sim_run_for(stage.sim, TICKS_NS));
    assert_true(delivery->ahead_bytes > 0);
    assert_int_equal(world_counter(&stage.world, COUNTER_transient_failures), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_busy_connection_has_two_messages_read_ahead_and_each_is_read_once),
        TEST(nothing_is_read_before_the_banner),
        TEST(what_is_in_memory_is_not_taken_before_its_turn),
        TEST(those_read_together_are_read_and_sent_in_the_order_of_their_places),
        TEST(urgent_mail_passes_bulk_mail_that_was_read_ahead),
        TEST(for_an_urgent_message_a_bulk_one_that_was_read_ahead_makes_way),
        TEST(a_free_connection_takes_what_was_read_ahead_for_a_stuck_one),
        TEST(a_connection_that_goes_gives_back_what_was_read_ahead_and_costs_no_attempt),
        TEST(f33_a_stop_gives_back_what_was_read_ahead),
        TEST(what_is_read_ahead_has_no_token_until_it_is_sent),
        TEST(what_was_read_ahead_and_grows_too_old_expires),
        TEST(f08_what_is_read_ahead_has_an_eighth_of_the_blocks_and_is_the_first_to_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
