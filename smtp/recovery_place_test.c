/* The end of recovery in a whole node: rows go to their queues, then mail moves again. */
#include "smtp/recovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "shard/spool/record.h"
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

static struct mta *mta(void)
{
    return &stage.world.node.mtas[0];
}

static void mail_to_many(unsigned recipients)
{
    struct talk talk;
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    talk_say(&talk, "MAIL FROM:<a@c.test>\r\n");
    for (unsigned i = 0; i < recipients; i++) {
        assert_true(stage_hears(&talk, "250 "));
        talk_say(&talk, "RCPT TO:<b@t.test>\r\n");
    }
    talk_say(&talk, "DATA\r\n");
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "354 "));
    talk_say(&talk, BODY ".\r\n");
    assert_true(stage_hears(&talk, "250 "));
    talk_close(&talk);
}

/* More rows than one turn places: until all are, nothing is sent and nobody is told "ready". */
static void rows_are_placed_over_several_turns_before_the_node_is_ready(void **state)
{
    (void)state;
    world_set(&stage.world, "spool.recovery_spread=0s");
    stage_start(&stage);
    stage.sink.mute = true;
    for (unsigned i = 0; i < 5; i++) {
        mail_to_many(1000);
    }
    world_crash(&stage.world, false);
    stage.sink.mute = false;
    world_boot(&stage.world);
    unsigned partly = 0;
    while (node_state(&stage.world.node) != NODE_READY) {
        assert_true(sim_step(stage.sim));
        const struct queues *queues = &mta()->queues;
        uint32_t placed = 0;
        for (uint32_t handle = 0; handle < queues->rows.fresh; handle++) {
            uint8_t row = row_at(&queues->rows, handle)->state;
            placed += row == ROW_WAITING || row == ROW_DUE;
            assert_true(row != ROW_HOT || mta()->stage >= MTA_REPLAYED);
        }
        partly += mta()->stage == MTA_PLACING && placed > 0 && placed < 5000;
    }
    assert_true(partly > 0);
    assert_int_equal(stage.world.node.queued, 5000);
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 600 * NS_PER_S));
    assert_true(stage.sink.mails >= 50);
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

static void b07_rows_of_a_segment_that_is_gone_are_dropped_with_a_line(void **state)
{
    (void)state;
    static const uint8_t zeros[2 * RECORD_PAGE_BYTES]; /* the header, and the first group */
    char path[128];
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    stage.sink.mute = true;
    mail_to_many(3);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    segment_path(row_at(&mta()->queues.rows, 0)->segment, path);
    world_stop(&stage.world, 2); /* all that is known of them stands in a checkpoint now */
    assert_true(world_start(&stage.world));
    mail_to_many(2);
    world_stop(&stage.world, 2);
    assert_int_equal(
        sim_disk_overwrite(stage.world.disk, path, 0, slice_make(zeros, sizeof(zeros))), 0);
    assert_true(world_start(&stage.world));
    assert_int_equal(mta()->recovery.missing_rows, 3);
    assert_int_equal(mta()->queues.rows.used, 2);
    assert_int_equal(stage.world.node.queued, 2);
    assert_non_null(strstr(stage.world.log_line, "3 recipients are dropped"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(rows_are_placed_over_several_turns_before_the_node_is_ready),
        TEST(b07_rows_of_a_segment_that_is_gone_are_dropped_with_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
