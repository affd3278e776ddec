/* Whatever order a log tells things in, and however often: what is queued is the same. */
#include "tools/lane_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/spool/spool.h"
#include "smtp/envelope.h"

static struct lane_state state;

static int set_up(void **unused)
{
    (void)unused;
    lane_state_init(&state);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    lane_state_fini(&state);
    return 0;
}

static struct spool_location at(uint32_t segment, uint32_t offset_64)
{
    return (struct spool_location){.segment = segment, .offset_64 = offset_64};
}

/* A message with recipients 0 … count - 1 at `place`; `from`: it was written again. */
static void message(struct spool_location place, unsigned count, const struct spool_location *from)
{
    uint8_t bytes[4096];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    envelope_put_sender(&buf, SLICE("from@a.test"), NULL);
    for (unsigned i = 0; i < count; i++) {
        envelope_put_recipient(&buf, (uint16_t)i, SLICE("to@b.test"), NULL);
    }
    struct log_item item = {
        .step = LOG_RECORD,
        .record = {.kind = RECORD_MESSAGE},
        .location = place,
        .is.message = {.flags = from != NULL ? SPOOL_MESSAGE_MOVED : 0,
                       .recipient_count = (uint16_t)count,
                       .sections = {[SECTION_ENVELOPE] = buf_slice(&buf)}},
    };
    if (from != NULL) {
        item.is.message.moved_from = *from;
    }
    lane_state_record(&state, &item);
}

static void outcome(struct spool_location place, uint16_t index, enum disposition disposition,
                    uint16_t attempts)
{
    uint8_t record[1024] = {0};
    struct buf buf;
    struct outcome_writer writer;
    struct outcome head = {.message = place, .recipient_count = 1};
    struct outcome_recipient recipient = {.index = index, .disposition = (uint8_t)disposition,
                                          .attempts = attempts, .due_s = 1000u + attempts};
    buf_init(&buf, record + RECORD_HEAD_BYTES, sizeof(record) - RECORD_HEAD_BYTES);
    outcome_put(&writer, &buf, &head);
    outcome_put_recipient(&writer, &recipient);
    assert_false(buf.overflow);
    struct log_item item = {
        .step = LOG_RECORD,
        .record = {.kind = RECORD_OUTCOME,
                   .head = slice_make(record, RECORD_HEAD_BYTES + buf.size)},
    };
    lane_state_record(&state, &item);
}

static void voided(struct spool_location place)
{
    struct log_item item = {
        .step = LOG_RECORD, .record = {.kind = RECORD_VOID}, .is.voids = place};
    lane_state_record(&state, &item);
}

static void row(struct spool_location place, uint16_t recipient, uint16_t attempts)
{
    struct checkpoint_row row = {.location = place, .recipient = recipient,
                                 .attempts = attempts, .due_s = 1000u + attempts};
    lane_state_checkpoint(&state, &row);
}

/* "1:2/0:a3 …" in order: segment:place/recipient:attempts. */
static void check(const char *expected)
{
    char text[512] = "";
    size_t size = 0;
    uint64_t rows = 0;
    uint32_t *order = lane_state_order(&state);
    for (uint32_t i = 0; i < state.live_messages; i++) {
        const struct state_message *queued = &state.messages[order[i]];
        for (unsigned recipient = 0; recipient < 8; recipient++) {
            for (uint32_t at_row = queued->first; at_row != STATE_NONE;
                 at_row = state.rows[at_row].next) {
                const struct state_row *found = &state.rows[at_row];
                if (found->recipient == recipient) {
                    size += (size_t)snprintf(text + size, sizeof(text) - size, "%u:%u/%u:a%u ",
                                             queued->location.segment, queued->location.offset_64,
                                             recipient, found->attempts);
                    rows++;
                }
            }
        }
    }
    free(order);
    assert_string_equal(text, expected);
    assert_int_equal(state.live_rows, rows);
}

static void b06_a_message_found_twice_is_queued_once(void **unused)
{
    (void)unused;
    message(at(1, 64), 2, NULL);
    outcome(at(1, 64), 1, DISPOSITION_DEFERRED, 3);
    message(at(1, 64), 2, NULL);
    check("1:64/0:a0 1:64/1:a3 ");
}

static void b06_the_end_of_what_nobody_knows_is_no_matter(void **unused)
{
    (void)unused;
    outcome(at(1, 64), 0, DISPOSITION_DELIVERED, 1);
    outcome(at(1, 64), 0, DISPOSITION_DEFERRED, 1);
    voided(at(1, 64));
    check("");
    message(at(1, 64), 1, NULL);
    outcome(at(1, 64), 5, DISPOSITION_BOUNCED, 1);
    outcome(at(1, 65), 0, DISPOSITION_BOUNCED, 1);
    check("1:64/0:a0 ");
}

static void b06_an_end_told_twice_is_one(void **unused)
{
    (void)unused;
    message(at(1, 64), 2, NULL);
    message(at(1, 99), 2, NULL);
    for (unsigned i = 0; i < 2; i++) {
        outcome(at(1, 64), 0, DISPOSITION_DELIVERED, 1);
        outcome(at(1, 64), 1, DISPOSITION_EXPIRED, 1);
        voided(at(1, 64));
    }
    check("1:99/0:a0 1:99/1:a0 ");
}

static void b06_the_log_over_a_checkpoint_changes_nothing_twice(void **unused)
{
    (void)unused;
    row(at(1, 64), 1, 2);
    row(at(1, 64), 1, 2);
    row(at(1, 70), 0, 7);
    message(at(1, 64), 3, NULL);
    outcome(at(1, 64), 0, DISPOSITION_DELIVERED, 1);
    outcome(at(1, 64), 1, DISPOSITION_DEFERRED, 2);
    outcome(at(1, 64), 2, DISPOSITION_BOUNCED, 1);
    check("1:64/1:a2 1:70/0:a7 ");
}

static void b06_a_moved_message_takes_its_recipients_along(void **unused)
{
    (void)unused;
    struct spool_location from = at(1, 64);
    message(from, 3, NULL);
    outcome(from, 0, DISPOSITION_DEFERRED, 4);
    message(at(3, 64), 2, &from);
    check("1:64/2:a0 3:64/0:a4 3:64/1:a0 ");
    message(at(3, 64), 2, &from);
    check("1:64/2:a0 3:64/0:a4 3:64/1:a0 ");
}

static void room_of_the_finished_is_used_again(void **unused)
{
    (void)unused;
    for (uint32_t i = 0; i < 50000; i++) {
        message(at(1, i), 2, NULL);
        if (i >= 5000) {
            outcome(at(1, i - 5000), 0, DISPOSITION_DELIVERED, 1);
            outcome(at(1, i - 5000), 1, DISPOSITION_DELIVERED, 1);
        }
    }
    assert_int_equal(state.live_messages, 5000);
    assert_int_equal(state.live_rows, 10000);
    assert_true(state.message_count <= 5001);
    assert_true(state.row_count <= 10002);
    uint32_t *order = lane_state_order(&state);
    assert_int_equal(state.messages[order[0]].location.offset_64, 45000);
    assert_int_equal(state.messages[order[4999]].location.offset_64, 49999);
    free(order);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(b06_a_message_found_twice_is_queued_once),
        TEST(b06_the_end_of_what_nobody_knows_is_no_matter),
        TEST(b06_an_end_told_twice_is_one),
        TEST(b06_the_log_over_a_checkpoint_changes_nothing_twice),
        TEST(b06_a_moved_message_takes_its_recipients_along),
        TEST(room_of_the_finished_is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
