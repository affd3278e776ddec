/*
 * Messages that are written again, in a whole node: a write fails, the segment is poisoned, and
 * what lives in it moves. What each recipient was due for stays, and each gets the message once.
 */
#include "smtp/rewrite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "shard/spool/record.h"
#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\n..a line that begins with a dot\r\ntext\r\n"
#define SENT "Subject: x\r\n\r\n.a line that begins with a dot\r\ntext\r\n"

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    world_set(&stage.world, "queues.queue.default.max_retry_interval=1h");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static struct mta *mta(void)
{
    return &stage.world.node.mtas[0];
}

static const struct row *the_row(void)
{
    const struct slab *rows = &mta()->queues.rows;
    const struct row *found = NULL;
    for (uint32_t handle = 0; handle < rows->fresh; handle++) {
        if (row_at(rows, handle)->state != ROW_FREE) {
            assert_null(found);
            found = row_at(rows, handle);
        }
    }
    assert_non_null(found);
    return found;
}

static uint64_t rewritten(void)
{
    return world_counter(&stage.world, COUNTER_messages_rewritten);
}

static bool has_moved(void *context)
{
    return rewritten() >= *(const uint64_t *)context;
}

static bool moved(uint64_t messages)
{
    return sim_run_until(stage.sim, has_moved, &messages, 120 * NS_PER_S);
}

static bool has_waiting(void *context)
{
    (void)context;
    return mta()->queues.wheel.count == mta()->queues.rows.used;
}

/* All that was handed in has been tried and deferred. */
static bool deferred(void)
{
    return sim_run_until(stage.sim, has_waiting, NULL, 60 * NS_PER_S);
}

/* A write fails, once: who handed that message in is told, and the segment is poisoned. */
static void poison(void)
{
    struct talk talk;
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT) && stage_envelope(&talk, "x@t.test"));
    sim_disk_failing_set(stage.world.disk, true, false, false);
    talk_say(&talk, BODY ".\r\n");
    assert_true(stage_hears(&talk, "451 "));
    sim_disk_failing_set(stage.world.disk, false, false, false);
    talk_close(&talk);
}

static void restart(void)
{
    world_crash(&stage.world, false);
    assert_true(world_start(&stage.world));
}

static const char later[] = "451 4.0.0 later\r\n";

static void a_moved_recipient_keeps_its_attempts_and_its_due_time(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.defer = later;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(deferred());
    struct row before = *the_row();
    assert_int_equal(before.attempts, 1);
    poison();
    assert_true(moved(1));
    for (unsigned life = 0; life < 2; life++) {
        const struct row *after = the_row();
        assert_int_equal(after->state, ROW_WAITING);
        assert_int_not_equal(after->segment, before.segment);
        assert_int_equal(after->recipient, before.recipient);
        assert_int_equal(after->attempts, before.attempts);
        assert_int_equal(after->due_s, before.due_s);
        assert_int_equal(after->created_s, before.created_s);
        assert_int_equal(after->size_64, before.size_64);
        restart();
    }
    stage.sink.defer = NULL;
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 7200 * NS_PER_S));
    assert_true(stage_expect(&stage, 0, SENT));
    assert_true(sim_run_for(stage.sim, 7200 * NS_PER_S));
    assert_int_equal(stage.sink.mails, 1);
    restart();
    assert_int_equal(mta()->queues.rows.used, 0);
}

/* One recipient has its message, two are deferred: a copy for two, under their old numbers. */
static void only_recipients_that_are_left_move_and_keep_their_index(void **state)
{
    (void)state;
    struct talk talk;
    world_set(&stage.world,
              "queues.queue.\"gone.test\".protocol={smtp={mx_list=[\"[10.0.8.8]:25\"]}}");
    struct endpoint gone = sim_endpoint(8 * 256 + 8, 25);
    sim_reach_set(stage.sim, &gone, SIM_REACH_REFUSED);
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    talk_say(&talk, "MAIL FROM:<a@c.test>\r\nRCPT TO:<one@gone.test>\r\nRCPT TO:<two@t.test>\r\n"
                    "RCPT TO:<three@gone.test>\r\nDATA\r\n");
    for (unsigned i = 0; i < 4; i++) {
        assert_true(stage_hears(&talk, "250 "));
    }
    assert_true(stage_hears(&talk, "354 "));
    talk_say(&talk, BODY ".\r\n");
    assert_true(stage_hears(&talk, "250 "));
    talk_close(&talk);
    assert_true(talk_sink_wait(&stage.sink, 1, 60 * NS_PER_S));
    assert_true(deferred());
    assert_int_equal(mta()->queues.rows.used, 2);
    poison();
    assert_true(moved(1));
    restart();
    const struct slab *rows = &mta()->queues.rows;
    unsigned seen = 0;
    assert_int_equal(rows->used, 2);
    for (uint32_t handle = 0; handle < rows->fresh; handle++) {
        if (row_at(rows, handle)->state != ROW_FREE) {
            seen |= 1u << row_at(rows, handle)->recipient;
            assert_int_equal(row_at(rows, handle)->attempts, 1);
        }
    }
    assert_int_equal(seen, 1u << 0 | 1u << 2);
    assert_int_equal(stage.sink.mails, 1);
}

/* Seven recipients, collected three at a time: three copies, each with its own. */
static void a_message_in_two_collections_is_there_once_for_each_recipient(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    stage.sink.defer = later;
    mta()->rewrite.rows_max = 3;
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    talk_say(&talk, "MAIL FROM:<a@c.test>\r\n");
    for (unsigned i = 0; i < 7; i++) {
        assert_true(stage_hears(&talk, "250 "));
        talk_say(&talk, "RCPT TO:<b@t.test>\r\n");
    }
    talk_say(&talk, "DATA\r\n");
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "354 "));
    talk_say(&talk, BODY ".\r\n");
    assert_true(stage_hears(&talk, "250 "));
    talk_close(&talk);
    assert_true(deferred());
    poison();
    assert_true(moved(3));
    restart();
    const struct slab *rows = &mta()->queues.rows;
    unsigned seen = 0;
    assert_int_equal(rows->used, 7);
    for (uint32_t handle = 0; handle < rows->fresh; handle++) {
        if (row_at(rows, handle)->state != ROW_FREE) {
            seen |= 1u << row_at(rows, handle)->recipient;
            assert_int_equal(row_at(rows, handle)->attempts, 1);
        }
    }
    assert_int_equal(seen, 127);
    assert_int_equal(mta()->queues.wheel.count, 7);
}

/* It waits for its first attempt, and that for a banner. */
static void a_message_in_memory_is_not_kept_under_its_old_place(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.mute = true;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    struct row before = *the_row();
    assert_int_equal(before.state, ROW_DUE);
    assert_int_equal(mta()->messages.kept.count, 1);
    poison();
    assert_true(moved(1));
    assert_int_equal(mta()->messages.kept.count, 0);
    assert_int_equal(mta()->messages.pool.used, 0);
    assert_int_not_equal(the_row()->segment, before.segment);
    assert_int_equal(the_row()->state, ROW_DUE);
    assert_int_equal(the_row()->attempts, 0);
    assert_int_equal(the_row()->due_s, before.due_s);
}

static bool has_conns(void *context)
{
    return ((struct talk_sink *)context)->conns >= 1;
}

static void a_message_on_its_way_is_left_alone_and_moves_later(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.hold = true;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(sim_run_until(stage.sim, has_conns, &stage.sink, 10 * NS_PER_S));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    uint32_t segment = the_row()->segment;
    assert_int_equal(the_row()->state, ROW_HOT);
    poison();
    assert_true(sim_run_for(stage.sim, 30 * NS_PER_S));
    assert_int_equal(rewritten(), 0);
    assert_int_equal(the_row()->segment, segment);
    assert_int_equal(the_row()->state, ROW_HOT);
    sim_peer_finish(stage.sink.last); /* no answer: uncertain, deferred */
    stage.sink.hold = false;
    assert_true(deferred());
    assert_true(moved(1));
    assert_int_not_equal(the_row()->segment, segment);
    assert_int_equal(the_row()->attempts, 1);
}

static void a_large_body_moves_piece_by_piece(void **state)
{
    (void)state;
    char *body = stage_body(900 * KIB);
    stage_start(&stage);
    stage.sink.defer = later;
    assert_true(stage_mail(&stage, "b@t.test", body));
    assert_true(deferred());
    struct row before = *the_row();
    poison();
    assert_true(moved(1));
    assert_int_equal(world_counter(&stage.world, COUNTER_bytes_rewritten), strlen(body));
    assert_int_not_equal(the_row()->segment, before.segment);
    restart();
    world_stop(&stage.world, 1); /* and by way of a checkpoint */
    assert_true(world_start(&stage.world));
    assert_int_equal(the_row()->due_s, before.due_s);
    stage.sink.defer = NULL;
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 7200 * NS_PER_S));
    assert_true(stage_expect(&stage, 0, body));
    assert_int_equal(stage.sink.mails, 1);
    free(body);
}

/* The path of the file that holds the segment. */
static void segment_path(uint32_t segment, char path[128])
{
    for (unsigned slot = 0; slot < 32; slot++) {
        uint8_t page[RECORD_PAGE_BYTES];
        struct record_segment header;
        snprintf(path, 128, "var/spool/lane-000/segment-%06u", slot);
        if (sim_disk_get(stage.world.disk, path, 0, page, sizeof(page)) == sizeof(page) &&
            record_segment_get(slice_make(page, sizeof(page)), &header) &&
            header.number == segment) {
            return;
        }
    }
    fail();
}

static void f05_a_message_that_cannot_be_read_stays_and_is_not_tried_again(void **state)
{
    (void)state;
    char path[128];
    stage_start(&stage);
    stage.sink.defer = later;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(deferred());
    struct row before = *the_row();
    segment_path(before.segment, path);
    uint64_t at = before.offset_64 * 64ull + RECORD_MESSAGE_BYTES + 4;
    assert_int_equal(sim_disk_overwrite(stage.world.disk, path, at, SLICE("damage")), 0);
    poison();
    assert_true(sim_run_for(stage.sim, 120 * NS_PER_S));
    assert_int_equal(rewritten(), 0);
    assert_int_equal(world_counter(&stage.world, COUNTER_rewrites_failed), 1);
    assert_int_equal(world_counter(&stage.world, COUNTER_spool_reads), 1);
    assert_non_null(strstr(stage.world.log_line, "damaged"));
    const struct row *after = the_row();
    assert_int_equal(after->state, ROW_WAITING);
    assert_int_equal(after->segment, before.segment);
    assert_int_equal(after->attempts, 1);
    assert_int_equal(after->due_s, before.due_s);
}

static bool is_moving(void *context)
{
    (void)context;
    return rewrite_open(&mta()->rewrite) > 0;
}

static void a_message_that_expires_while_it_moves_is_told_so_once(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.\"t.test\".max_age=20s");
    stage_start(&stage);
    stage.sink.defer = later;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(deferred());
    poison();
    sim_disk_latency_set(stage.world.disk, 12 * NS_PER_S);
    assert_true(sim_run_until(stage.sim, is_moving, NULL, 60 * NS_PER_S));
    assert_int_equal(the_row()->state, ROW_HELD);
    assert_true(sim_run_for(stage.sim, 20 * NS_PER_S)); /* read and written: 24 s */
    assert_int_equal(the_row()->state, ROW_HELD);
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    sim_disk_latency_set(stage.world.disk, 0);
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 60 * NS_PER_S));
    assert_int_equal(rewritten(), 1);
    assert_int_equal(world_counter(&stage.world, COUNTER_expirations), 1);
    restart();
    assert_int_equal(mta()->queues.rows.used, 0);
    assert_int_equal(stage.sink.mails, 0);
}

static void when_the_second_write_fails_all_stays_where_it_was(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.defer = later;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(deferred());
    struct row before = *the_row();
    poison();
    assert_true(sim_run_until(stage.sim, is_moving, NULL, 60 * NS_PER_S));
    sim_disk_failing_set(stage.world.disk, true, false, false);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    sim_disk_failing_set(stage.world.disk, false, false, false);
    assert_int_equal(rewritten(), 0);
    assert_int_equal(world_counter(&stage.world, COUNTER_rewrites_failed), 1);
    assert_int_equal(the_row()->state, ROW_WAITING);
    assert_int_equal(the_row()->segment, before.segment);
    assert_int_equal(the_row()->due_s, before.due_s);
    assert_true(moved(1)); /* the next time it goes well */
    assert_int_equal(the_row()->due_s, before.due_s);
    assert_int_equal(the_row()->attempts, 1);
    stage.sink.defer = NULL; /* it is found at its new place */
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 7200 * NS_PER_S));
    assert_true(stage_expect(&stage, 0, SENT));
}

static void a_stop_waits_for_what_is_being_moved(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.defer = later;
    for (unsigned level = 1; level <= 2; level++) {
        for (unsigned i = 0; i < 10; i++) {
            assert_true(stage_mail(&stage, "b@t.test", BODY));
        }
        assert_true(deferred());
        poison();
        sim_disk_latency_set(stage.world.disk, 100 * NS_PER_MS);
        assert_true(sim_run_until(stage.sim, is_moving, NULL, 60 * NS_PER_S));
        world_stop(&stage.world, level);
        sim_disk_latency_set(stage.world.disk, 0);
        assert_true(world_start(&stage.world));
        assert_int_equal(mta()->queues.wheel.count, 10 * level);
    }
}

static bool has_blocks(void *context)
{
    return block_pool_used(mta()->blocks) >= *(const uint64_t *)context;
}

static void without_memory_it_waits(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.defer = later;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(deferred());
    poison();
    assert_int_equal(rewritten(), 0);
    /* Whoever else has the memory. */
    struct chain chain;
    chain_init(&chain);
    uint64_t most = block_pool_size(mta()->blocks) / 100 * 70;
    while (!has_blocks(&most)) {
        struct block *block = block_take(mta()->blocks, BLOCK_DATA_BYTES_MAX);
        assert_non_null(block);
        list_push_back(&chain.blocks, &block->link);
    }
    assert_true(sim_run_for(stage.sim, 60 * NS_PER_S));
    assert_int_equal(rewritten(), 0);
    assert_int_equal(the_row()->state, ROW_WAITING);
    chain_clear(&chain, mta()->blocks);
    assert_true(moved(1));
}

static void f08_clients_that_hold_all_they_may_do_not_hold_it_up(void **state)
{
    (void)state;
    world_set(&stage.world, "memory.staging=16MiB");
    stage_start(&stage);
    stage.sink.defer = later;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(deferred());
    poison();
    assert_int_equal(rewritten(), 0);
    struct block_pool *receiving = block_pool_receiving(mta()->blocks);
    struct chain chain;
    chain_init(&chain);
    for (struct block *block; (block = block_take(receiving, 1)) != NULL;) {
        list_push_back(&chain.blocks, &block->link);
    }
    assert_true(moved(1));
    chain_clear(&chain, receiving);
}

static bool has_rested(void *context)
{
    (void)context;
    return mta()->rewrite.stage != REWRITE_REST;
}

static bool is_resting(void *context)
{
    return !has_rested(context);
}

static void after_work_it_rests_nine_times_as_long(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.defer = later;
    for (unsigned i = 0; i < 40; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
    assert_true(deferred());
    poison();
    sim_disk_latency_set(stage.world.disk, 50 * NS_PER_MS);
    assert_true(sim_run_until(stage.sim, is_moving, NULL, 60 * NS_PER_S));
    uint64_t begun_ns = sim_now_ns(stage.sim);
    assert_true(sim_run_until(stage.sim, is_resting, NULL, 60 * NS_PER_S));
    uint64_t ended_ns = sim_now_ns(stage.sim);
    assert_int_equal(rewritten(), 40);
    assert_true(ended_ns - begun_ns >= 100 * NS_PER_MS); /* at least a read and a write */
    assert_true(sim_run_until(stage.sim, has_rested, NULL, 600 * NS_PER_S));
    assert_true(sim_now_ns(stage.sim) - ended_ns >= 8 * (ended_ns - begun_ns));
}

static void many_messages_move_in_turns_and_none_is_forgotten(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.defer = later;
    struct talk talk;
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    for (unsigned i = 0; i < 200; i++) {
        assert_true(stage_envelope(&talk, "b@t.test"));
        talk_say(&talk, BODY ".\r\n");
        assert_true(stage_hears(&talk, "250 "));
    }
    talk_close(&talk);
    assert_true(deferred());
    uint32_t segment = row_at(&mta()->queues.rows, 0)->segment;
    poison();
    assert_true(moved(200));
    const struct slab *rows = &mta()->queues.rows;
    for (uint32_t handle = 0; handle < rows->fresh; handle++) {
        if (row_at(rows, handle)->state != ROW_FREE) {
            assert_int_not_equal(row_at(rows, handle)->segment, segment);
            assert_int_equal(row_at(rows, handle)->attempts, 1);
        }
    }
    restart();
    assert_int_equal(mta()->queues.rows.used, 200);
    stage.sink.defer = NULL;
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 7200 * NS_PER_S));
    assert_int_equal(stage.sink.mails, 200);
}

/* And a domain whose mail stays. */
static void start_with_small_segments(void)
{
    struct endpoint gone = sim_endpoint(8 * 256 + 8, 25);
    world_set(&stage.world, "spool.segment_size=1MiB");
    world_set(&stage.world,
              "queues.queue.\"gone.test\".protocol={smtp={mx_list=[\"[10.0.8.8]:25\"]}}");
    sim_reach_set(stage.sim, &gone, SIM_REACH_REFUSED);
    stage_start(&stage);
}

/* One small message that is deferred for days, and much mail that goes. */
static void an_old_segment_with_little_alive_in_it_is_emptied(void **state)
{
    (void)state;
    char *body = stage_body(700 * KIB);
    world_set(&stage.world, "spool.compact_after=10s");
    start_with_small_segments();
    assert_true(stage_mail(&stage, "b@gone.test", BODY));
    assert_true(deferred());
    struct row before = *the_row();
    for (unsigned i = 0; i < 30; i++) {
        assert_true(stage_mail(&stage, "b@t.test", body));
        assert_true(stage_expect(&stage, i, body));
    }
    assert_true(moved(1));
    assert_int_not_equal(the_row()->segment, before.segment);
    assert_int_equal(the_row()->due_s, before.due_s);
    restart();
    assert_int_equal(the_row()->attempts, 1);
    assert_int_equal(the_row()->due_s, before.due_s);
    free(body);
}

/* Mail that goes, and before every so many of it one that stays. */
static void mix(const char *stays, unsigned every, const char *goes)
{
    for (unsigned i = 0; i < 24; i++) {
        if (i % every == 0) {
            assert_true(stage_mail(&stage, "b@gone.test", stays));
        }
        assert_true(stage_mail(&stage, "b@t.test", goes));
        assert_true(stage_expect(&stage, i, goes));
    }
}

/* One at a time it would stand among new mail again. */
static void what_is_old_and_little_waits_for_company_and_moves_together(void **state)
{
    (void)state;
    char *body = stage_body(700 * KIB);
    world_set(&stage.world, "spool.compact_after=30s");
    start_with_small_segments();
    mix(BODY, 8, body);
    assert_true(sim_run_for(stage.sim, 100 * NS_PER_S));
    assert_int_equal(rewritten(), 0);
    assert_true(moved(1)); /* the oldest has waited for four times 30 s */
    uint64_t begun_ns = sim_now_ns(stage.sim);
    assert_true(moved(3));
    assert_true(sim_now_ns(stage.sim) - begun_ns < NS_PER_S / 2);
    free(body);
}

/* A segment's worth of mail in old segments: there is no need to wait longer. */
static void what_is_old_moves_when_it_fills_a_segment(void **state)
{
    (void)state;
    char *body = stage_body(700 * KIB);
    char *part = stage_body(150 * KIB);
    world_set(&stage.world, "spool.compact_after=30s");
    start_with_small_segments();
    mix(part, 3, body);
    assert_true(sim_run_for(stage.sim, 20 * NS_PER_S));
    assert_int_equal(rewritten(), 0);
    assert_true(sim_run_for(stage.sim, 60 * NS_PER_S)); /* less than four times 30 s */
    assert_in_range(rewritten(), 5, 8);
    free(body);
    free(part);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_moved_recipient_keeps_its_attempts_and_its_due_time),
        TEST(only_recipients_that_are_left_move_and_keep_their_index),
        TEST(a_message_in_two_collections_is_there_once_for_each_recipient),
        TEST(a_message_in_memory_is_not_kept_under_its_old_place),
        TEST(a_message_on_its_way_is_left_alone_and_moves_later),
        TEST(a_large_body_moves_piece_by_piece),
        TEST(f05_a_message_that_cannot_be_read_stays_and_is_not_tried_again),
        TEST(a_message_that_expires_while_it_moves_is_told_so_once),
        TEST(when_the_second_write_fails_all_stays_where_it_was),
        TEST(a_stop_waits_for_what_is_being_moved),
        TEST(without_memory_it_waits),
        TEST(f08_clients_that_hold_all_they_may_do_not_hold_it_up),
        TEST(an_old_segment_with_little_alive_in_it_is_emptied),
        TEST(what_is_old_and_little_waits_for_company_and_moves_together),
        TEST(what_is_old_moves_when_it_fills_a_segment),
        TEST(after_work_it_rests_nine_times_as_long),
        TEST(many_messages_move_in_turns_and_none_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
