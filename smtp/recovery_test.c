/* What replay tells, in every order that a log allows, becomes the rows that were there. */
#include "smtp/recovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "smtp/envelope.h"
#include "smtp/metadata.h"
#include "smtp/queue_of.h"
#include "tests/sim/shards.h"

#define MILLION 1000000u

/* A user of queues that keeps all that is due in one place. */
struct stage {
    struct sim *sim;
    struct sim_shards shards;
    struct queues queues;
    struct ready_queue ready;
    struct conf *conf;
    struct recovery recovery;
    struct spool_replay replay;
    struct spool *spool;
    int error;
    bool finished;
};

static struct stage stage;

static struct ready_queue *stage_route(void *context, struct sched_queue *queue,
                                       enum hold_reason *reason_out)
{
    (void)context;
    (void)queue;
    (void)reason_out;
    return &stage.ready;
}

static void stage_ignore(void *context, struct ready_queue *ready)
{
    (void)context;
    (void)ready;
}

static const struct queues_user user = {
    .route = stage_route, .work = stage_ignore, .unused = stage_ignore};

static void recovered(struct recovery *recovery, int error, struct slice reason)
{
    (void)recovery;
    (void)reason;
    stage.error = error;
    stage.finished = true;
}

static void open_stage(uint32_t rows_max)
{
    static const char *const sets[] = {"queues.queue.default.max_age=1h"};
    char said[1024];
    struct conf_messages messages = {0};
    const struct conf_input input = {.sets = sets, .set_count = 1, .hostname = SLICE("box.test")};
    stage = (struct stage){.sim = sim_open(&(struct sim_options){.seed = 1})};
    buf_init(&messages.text, said, sizeof(said));
    stage.conf = conf_load(&input, &messages);
    assert_non_null(stage.conf);
    sim_shards_boot(&stage.shards, sim_node_open(stage.sim, NULL), 1, 16, 4096);
    ready_queue_init(&stage.ready, 0);
    const struct queues_options options = {
        .rows_max = rows_max, .queues_max = 100, .idle_ns = 3600 * NS_PER_S,
        .options_bytes = sizeof(struct queue_options), .user = &user};
    assert_int_equal(queues_init(&stage.queues, &stage.shards.shards[0], &options), 0);
    stage.recovery.shard = &stage.shards.shards[0];
    stage.recovery.conf = stage.conf;
    stage.recovery.queues = &stage.queues;
    stage.recovery.finished = recovered;
    recovery_init(&stage.recovery, &stage.replay);
}

static int set_up(void **state)
{
    (void)state;
    open_stage(20000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    recovery_fini(&stage.recovery);
    queues_fini(&stage.queues);
    sim_shards_stop(&stage.shards);
    bool failed = sim_failed(stage.sim);
    sim_close(stage.sim);
    conf_free(stage.conf);
    return failed;
}

static void put_envelope(struct buf *buf, unsigned recipients, unsigned step)
{
    envelope_put_sender(buf, SLICE("a@c.test"), NULL);
    for (unsigned i = 0; i < recipients; i += step) {
        envelope_put_recipient(buf, (uint16_t)i,
                               i % 2 == 0 ? SLICE("r@d0.test") : SLICE("r@d1.test"), NULL);
    }
    assert_false(buf->overflow);
}

/* A message with recipients r0@d0.test, r1@d1.test, r2@d0.test … */
static void message(uint32_t segment, uint32_t offset_64, unsigned recipients)
{
    static uint8_t memory[1 << 20];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    put_envelope(&buf, recipients, 1);
    const struct spool_found found = {
        .location = {segment, offset_64},
        .created_ns = queues_now_ns(&stage.queues),
        .body_bytes = 65,
        .envelope = buf_slice(&buf),
    };
    assert_true(stage.replay.message(stage.replay.context, &found));
}

/* Every `step`th of its recipients, written again in segment `to`. */
static void moved(uint32_t segment, uint32_t offset_64, uint32_t to, unsigned recipients,
                  unsigned step)
{
    uint8_t memory[4096];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    put_envelope(&buf, recipients, step);
    const struct spool_found found = {
        .location = {to, offset_64},
        .created_ns = queues_now_ns(&stage.queues),
        .body_bytes = 65,
        .flags = SPOOL_MESSAGE_MOVED,
        .moved_from = {segment, offset_64},
        .envelope = buf_slice(&buf),
    };
    assert_true(stage.replay.message(stage.replay.context, &found));
}

static void queue(uint32_t number, const char *name)
{
    stage.replay.queue(stage.replay.context, number, slice_from_string(name));
}

static void row(uint32_t segment, uint32_t offset_64, uint16_t recipient, uint32_t queue_number,
                uint16_t attempts)
{
    const struct checkpoint_row found = {
        .location = {segment, offset_64},
        .recipient = recipient,
        .attempts = attempts,
        .queue = queue_number,
        .due_s = 1000,
        .created_s = 900,
        .size_64 = 2,
        .urgent = 1,
    };
    stage.replay.row(stage.replay.context, &found);
}

/* What became of one recipient; attempts and due for a deferral. */
static void outcome(uint32_t segment, uint32_t offset_64, uint16_t index,
                    enum disposition disposition, uint16_t attempts, uint32_t due_s)
{
    uint8_t memory[1024];
    struct buf buf;
    struct outcome_writer writer;
    const struct outcome head = {.message = {segment, offset_64}, .recipient_count = 1};
    const struct outcome_recipient recipient = {
        .index = index,
        .disposition = (uint8_t)disposition,
        .attempts = attempts,
        .due_s = due_s,
    };
    buf_init(&buf, memory, sizeof(memory));
    outcome_put(&writer, &buf, &head);
    outcome_put_recipient(&writer, &recipient);
    stage.replay.outcome(stage.replay.context, head.message, buf_slice(&buf));
}

static void voided(uint32_t segment, uint32_t offset_64)
{
    stage.replay.void_message(stage.replay.context,
                              (struct spool_location){segment, offset_64});
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *left = *(const struct row *const *)a;
    const struct row *right = *(const struct row *const *)b;
    uint64_t left_place = (uint64_t)left->segment << 32 | left->offset_64;
    uint64_t right_place = (uint64_t)right->segment << 32 | right->offset_64;
    if (left_place != right_place) {
        return left_place < right_place ? -1 : 1;
    }
    return (int)left->recipient - (int)right->recipient;
}

/* The rows left, by place, as segment.offset.recipient.attempts each. */
static void expect_rows(const char *expected)
{
    char text[512] = "";
    size_t at = 0;
    const struct row *found[64];
    size_t count = 0;
    const struct slab *rows = &stage.queues.rows;
    for (uint32_t handle = 0; handle < rows->fresh; handle++) {
        if (row_at(rows, handle)->state != ROW_FREE) {
            assert_true(count < COUNT_OF(found));
            found[count++] = row_at(rows, handle);
        }
    }
    assert_int_equal(rows->used, count);
    qsort(found, count, sizeof(found[0]), compare_rows);
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u.%u.%u.%u", at > 0 ? " " : "",
                               found[i]->segment, found[i]->offset_64, found[i]->recipient,
                               found[i]->attempts);
    }
    assert_string_equal(text, expected);
}

static void drop_rows(void)
{
    stage.replay.reset(stage.replay.context, 0);
    assert_int_equal(stage.queues.rows.used, 0);
    assert_int_equal(stage.recovery.index.used, 0);
}

static void outcomes_settle_their_recipient_and_no_other(void **state)
{
    (void)state;
    message(1, 1, 3);
    message(1, 2, 2);
    outcome(1, 1, 1, DISPOSITION_DELIVERED, 1, 0);
    outcome(1, 2, 0, DISPOSITION_DEFERRED, 1, 100);
    expect_rows("1.1.0.0 1.1.2.0 1.2.0.1 1.2.1.0");
    outcome(1, 1, 0, DISPOSITION_BOUNCED, 1, 0); /* the first, by which the index finds them */
    expect_rows("1.1.2.0 1.2.0.1 1.2.1.0");
    outcome(1, 1, 2, DISPOSITION_EXPIRED, 0, 0);
    outcome(1, 2, 0, DISPOSITION_DEFERRED, 2, 200);
    expect_rows("1.2.0.2 1.2.1.0");
    drop_rows();
}

static void what_is_finished_stays_so_whatever_else_is_found(void **state)
{
    (void)state;
    message(1, 1, 2);
    outcome(1, 1, 0, DISPOSITION_DELIVERED, 1, 0);
    outcome(1, 1, 0, DISPOSITION_DELIVERED, 1, 0); /* put twice */
    outcome(1, 1, 0, DISPOSITION_DEFERRED, 1, 100); /* an older one, put again late */
    expect_rows("1.1.1.0");
    outcome(1, 1, 1, DISPOSITION_DELIVERED, 1, 0);
    outcome(1, 1, 1, DISPOSITION_DEFERRED, 1, 100);
    outcome(9, 9, 0, DISPOSITION_DELIVERED, 1, 0); /* of a message whose segment is gone */
    expect_rows("");
}

static void a_voided_message_leaves_no_row(void **state)
{
    (void)state;
    message(1, 1, 3);
    message(1, 2, 3);
    message(1, 3, 1);
    voided(1, 2);
    voided(1, 2);
    voided(7, 7);
    expect_rows("1.1.0.0 1.1.1.0 1.1.2.0 1.3.0.0");
    outcome(1, 2, 1, DISPOSITION_DEFERRED, 1, 5);
    voided(1, 1);
    expect_rows("1.3.0.0");
    drop_rows();
}

static void a_message_found_twice_has_its_rows_once(void **state)
{
    (void)state;
    message(1, 1, 2);
    message(1, 1, 2);
    expect_rows("1.1.0.0 1.1.1.0");
    drop_rows();
}

/* One recipient that no client could have given: none of the message's becomes a row. */
static void b05_a_message_of_no_sense_leaves_no_row_and_is_damage(void **state)
{
    (void)state;
    uint8_t memory[256];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    put_envelope(&buf, 2, 1);
    envelope_put_recipient(&buf, 2, SLICE("r@d0.test>\r\nQUIT\r\n"), NULL);
    const struct spool_found found = {
        .location = {1, 64}, .body_bytes = 65, .envelope = buf_slice(&buf)};
    assert_false(stage.replay.message(stage.replay.context, &found));
    message(1, 80, 1);
    outcome(1, 64, 0, DISPOSITION_DEFERRED, 1, 5);
    expect_rows("1.80.0.0");
}

static void the_index_grows_with_the_log(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 9000; i++) {
        message(2, i, 1);
    }
    for (uint32_t i = 0; i < 9000; i++) {
        outcome(2, i, 0, DISPOSITION_DELIVERED, 1, 0);
    }
    expect_rows("");
}

/* A lane of its own and two that are adopted; more rows than the second one says, too. */
static void rows_that_a_checkpoint_announces_find_room_in_the_index(void **state)
{
    (void)state;
    static const uint32_t said[] = {6000, 8000, 1};
    uint32_t count = 0;
    queue(7, "d0.test");
    for (unsigned lane = 0; lane < COUNT_OF(said); lane++) {
        stage.replay.checkpoint(stage.replay.context, said[lane]);
        uint32_t slots = stage.recovery.index.slot_count;
        for (uint32_t i = 0; i < said[lane]; i++) {
            row(2 + lane, 65 + i, 0, 7, 1);
        }
        assert_int_equal(stage.recovery.index.slot_count, slots);
        count += said[lane];
    }
    for (uint32_t i = said[2]; i < 5000; i++) {
        row(2 + 2, 65 + i, 0, 7, 1);
        count++;
    }
    assert_int_equal(stage.queues.rows.used, count);
    for (unsigned lane = 0; lane < COUNT_OF(said); lane++) {
        for (uint32_t i = 0; i < MAX_OF(said[lane], lane == 2 ? 5000u : 0u); i++) {
            outcome(2 + lane, 65 + i, 0, DISPOSITION_DELIVERED, 1, 0);
        }
    }
    expect_rows("");
}

static void an_announcement_beyond_all_memory_is_only_a_hint(void **state)
{
    (void)state;
    queue(7, "d0.test");
    stage.replay.checkpoint(stage.replay.context, UINT64_MAX);
    row(2, 65, 0, 7, 1);
    expect_rows("2.65.0.1");
}

static void a_message_with_many_recipients_costs_no_more_than_many_messages(void **state)
{
    (void)state;
    message(1, 1, 9000);
    for (unsigned i = 0; i < 9000; i++) {
        outcome(1, 1, (uint16_t)(i * 7 % 9000), DISPOSITION_DEFERRED, 1, 100);
    }
    for (unsigned i = 9000; i-- > 2;) {
        outcome(1, 1, (uint16_t)i, DISPOSITION_DELIVERED, 1, 0);
    }
    expect_rows("1.1.0.1 1.1.1.1");
    drop_rows();
}

/* What was said at reception counts, not what the configuration would say today. */
static void q03_rows_of_the_log_have_the_class_and_queue_that_their_message_names(void **state)
{
    (void)state;
    uint8_t envelope_memory[256];
    uint8_t metadata_memory[256];
    struct buf envelope;
    struct buf section;
    const struct metadata metadata = {
        .urgent = true, .tenant = SLICE("acme"), .campaign = SLICE("big sale")};
    buf_init(&envelope, envelope_memory, sizeof(envelope_memory));
    buf_init(&section, metadata_memory, sizeof(metadata_memory));
    put_envelope(&envelope, 2, 1);
    metadata_put(&section, &metadata);
    struct spool_found found = {
        .location = {1, 1},
        .created_ns = queues_now_ns(&stage.queues),
        .envelope = buf_slice(&envelope),
        .metadata = buf_slice(&section),
    };
    assert_true(stage.replay.message(stage.replay.context, &found));
    found.location.offset_64 = 2;
    found.metadata.size--; /* damaged: it is delivered all the same */
    assert_true(stage.replay.message(stage.replay.context, &found));
    queue(7, "big sale:acme@d1.test![192.0.2.1]:25"); /* of a configuration that routed it */
    row(1, 3, 0, 7, 0);
    static const struct {
        const char *queue;
        bool urgent;
    } expected[] = {{"big sale:acme@d0.test", true},
                    {"big sale:acme@d1.test", true},
                    {"d0.test", false},
                    {"d1.test", false},
                    {"big sale:acme@d1.test", true}};
    for (uint32_t i = 0; i < COUNT_OF(expected); i++) {
        const struct row *found_row = row_at(&stage.queues.rows, i);
        struct slice name = sched_queue_name(&stage.queues,
                                             queues_at(&stage.queues, found_row->queue));
        assert_true(slice_equal(name, slice_from_string(expected[i].queue)));
        assert_int_equal(found_row->urgent, expected[i].urgent);
    }
    drop_rows();
}

static void what_was_taken_comes_back_beyond_the_limit_for_new_mail(void **state)
{
    (void)state;
    struct queues_limit limit = {.max = 2};
    stage.queues.limit = &limit;
    assert_true(queues_room(&stage.queues, 2));
    message(1, 1, 5);
    expect_rows("1.1.0.0 1.1.1.0 1.1.2.0 1.1.3.0 1.1.4.0");
    assert_int_equal(limit.used, 5);
    assert_false(queues_room(&stage.queues, 1));
    uint32_t queue_number = queues_name(&stage.queues, SLICE("d0.test"));
    assert_int_equal(queues_row_new(&stage.queues, queue_number), ROW_NONE);
    drop_rows();
    assert_int_equal(limit.used, 0);
    uint32_t handle = queues_row_new(&stage.queues, queue_number);
    assert_int_not_equal(handle, ROW_NONE);
    queues_row_done(&stage.queues, handle);
}

static void rows_of_a_checkpoint_come_as_they_were_in_the_queue_of_that_name(void **state)
{
    (void)state;
    queue(70000, "d0.test");
    queue(3, "d1.test");
    row(5, 9, 2, 70000, 4);
    row(5, 9, 1, 3, 0);
    queue(3, "d0.test"); /* a number given again: for the rows behind it */
    row(5, 9, 0, 3, 1);
    expect_rows("5.9.0.1 5.9.1.0 5.9.2.4");
    const struct row *first = row_at(&stage.queues.rows, 0);
    const struct row *second = row_at(&stage.queues.rows, 1);
    const struct row *third = row_at(&stage.queues.rows, 2);
    assert_int_equal(first->queue, queues_name(&stage.queues, SLICE("d0.test")));
    assert_int_equal(second->queue, queues_name(&stage.queues, SLICE("d1.test")));
    assert_int_equal(third->queue, first->queue);
    assert_int_equal(queue_options_of(&stage.queues, first->queue)->max_age_ns, 3600 * NS_PER_S);
    assert_int_equal(first->due_s, 1000);
    assert_int_equal(first->created_s, 900);
    assert_int_equal(first->size_64, 2);
    assert_int_equal(first->urgent, 1);
    drop_rows();
}

static void the_log_goes_on_from_the_rows_of_the_checkpoint(void **state)
{
    (void)state;
    queue(0, "d0.test");
    row(1, 1, 40, 0, 3);
    row(1, 2, 0, 0, 1);
    row(1, 1, 2, 0, 2);
    message(1, 1, 4);
    outcome(1, 1, 2, DISPOSITION_DEFERRED, 3, 5000);
    outcome(1, 2, 0, DISPOSITION_BOUNCED, 2, 0);
    outcome(1, 1, 3, DISPOSITION_DELIVERED, 1, 0);
    expect_rows("1.1.0.0 1.1.1.0 1.1.2.3 1.1.40.3");
    drop_rows();
}

static void a_row_of_a_queue_without_a_name_stops_the_start(void **state)
{
    (void)state;
    queue(1, "d0.test");
    row(1, 1, 0, 0, 0);
    row(1, 1, 1, 70000, 0);
    queue(1u << 26, "d1.test");
    stage.replay.finished(stage.replay.context, 0, SLICE_NONE);
    assert_int_not_equal(stage.error, 0);
}

static void a_damaged_checkpoint_leaves_nothing_behind(void **state)
{
    (void)state;
    queue(0, "d0.test");
    row(1, 1, 0, 0, 3);
    row(1, 1, 1, 9, 3); /* part of the damage */
    stage.replay.reset(stage.replay.context, 0);
    expect_rows("");
    message(1, 1, 2);
    expect_rows("1.1.0.0 1.1.1.0");
    stage.replay.finished(stage.replay.context, 0, SLICE_NONE);
    assert_int_equal(stage.error, 0);
    drop_rows();
}

static void b06_a_moved_message_takes_its_recipients_along_as_they_are(void **state)
{
    (void)state;
    message(1, 5, 6);
    outcome(1, 5, 0, DISPOSITION_DEFERRED, 2, 100);
    outcome(1, 5, 2, DISPOSITION_DEFERRED, 1, 100);
    outcome(1, 5, 3, DISPOSITION_DELIVERED, 1, 0);
    moved(1, 5, 8, 6, 2); /* 0, 2 and 4; 1 and 5 stay */
    expect_rows("1.5.1.0 1.5.5.0 8.5.0.2 8.5.2.1 8.5.4.0");
    outcome(8, 5, 2, DISPOSITION_DELIVERED, 2, 0);
    outcome(1, 5, 1, DISPOSITION_DELIVERED, 1, 0);
    outcome(1, 5, 4, DISPOSITION_DELIVERED, 1, 0); /* it is not there any more */
    expect_rows("1.5.5.0 8.5.0.2 8.5.4.0");
    moved(8, 5, 9, 6, 4); /* and again */
    expect_rows("1.5.5.0 9.5.0.2 9.5.4.0");
    drop_rows();
}

static void b06_a_move_over_a_checkpoint_made_before_or_after_it_is_the_same(void **state)
{
    (void)state;
    queue(0, "d0.test");
    row(1, 5, 0, 0, 3); /* copied before it */
    row(8, 5, 2, 0, 4); /* copied after it */
    moved(1, 5, 8, 6, 2);
    expect_rows("8.5.0.3 8.5.2.4 8.5.4.0"); /* 4 was finished before it was copied … */
    outcome(8, 5, 4, DISPOSITION_DELIVERED, 1, 0);
    expect_rows("8.5.0.3 8.5.2.4"); /* … and the log says so */
    drop_rows();
    queue(0, "d0.test");
    row(9, 5, 0, 0, 3);             /* copied after two moves … */
    message(1, 5, 1);
    moved(1, 5, 8, 1, 1);
    moved(8, 5, 9, 1, 1);           /* … that the log tells of, from the beginning on */
    expect_rows("9.5.0.3");
    drop_rows();
}

static void without_memory_for_every_row_the_start_fails(void **state)
{
    (void)state;
    (void)tear_down(state);
    open_stage(3);
    message(1, 1, 5);
    stage.replay.finished(stage.replay.context, 0, SLICE_NONE);
    assert_true(stage.finished);
    assert_int_not_equal(stage.error, 0);
    drop_rows();
}

/* What a start must hold in memory: a row, and its place in the index until it is placed. */
static void b10_a_million_recipients_of_a_hundred_thousand_segments_take_rows_alone(void **state)
{
    (void)tear_down(state);
    open_stage(MILLION);
    queue(7, "d0.test");
    uint64_t before = account_used(&stage.shards.shards[0].memory);
    for (uint32_t i = 0; i < MILLION; i++) {
        row(1 + i / 10, 65 + i % 10, 0, 7, 1);
    }
    for (uint32_t i = 0; i < MILLION; i += 1000) {
        outcome(1 + i / 10, 65 + i % 10, 0, DISPOSITION_DELIVERED, 0, 0);
    }
    uint64_t taken = account_used(&stage.shards.shards[0].memory) - before;
    assert_int_equal(stage.queues.rows.used, MILLION - MILLION / 1000);
    assert_in_range(taken, MILLION * 48ull, MILLION * 56ull);
    stage.replay.finished(stage.replay.context, 0, SLICE_NONE);
    assert_int_equal(stage.error, 0);
    drop_rows();
}

static void a_failed_replay_is_reported_as_such(void **state)
{
    (void)state;
    stage.replay.finished(stage.replay.context, -5, SLICE("why"));
    assert_int_equal(stage.error, -5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(outcomes_settle_their_recipient_and_no_other),
        TEST(what_is_finished_stays_so_whatever_else_is_found),
        TEST(a_voided_message_leaves_no_row),
        TEST(a_message_found_twice_has_its_rows_once),
        TEST(b05_a_message_of_no_sense_leaves_no_row_and_is_damage),
        TEST(the_index_grows_with_the_log),
        TEST(rows_that_a_checkpoint_announces_find_room_in_the_index),
        TEST(an_announcement_beyond_all_memory_is_only_a_hint),
        TEST(a_message_with_many_recipients_costs_no_more_than_many_messages),
        TEST(q03_rows_of_the_log_have_the_class_and_queue_that_their_message_names),
        TEST(what_was_taken_comes_back_beyond_the_limit_for_new_mail),
        TEST(rows_of_a_checkpoint_come_as_they_were_in_the_queue_of_that_name),
        TEST(the_log_goes_on_from_the_rows_of_the_checkpoint),
        TEST(a_row_of_a_queue_without_a_name_stops_the_start),
        TEST(a_damaged_checkpoint_leaves_nothing_behind),
        TEST(b06_a_moved_message_takes_its_recipients_along_as_they_are),
        TEST(b06_a_move_over_a_checkpoint_made_before_or_after_it_is_the_same),
        TEST(without_memory_for_every_row_the_start_fails),
        TEST(b10_a_million_recipients_of_a_hundred_thousand_segments_take_rows_alone),
        TEST(a_failed_replay_is_reported_as_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
