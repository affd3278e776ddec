#include "shard/spool/outcome.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static const struct outcome sample = {
    .message = {.segment = 7, .offset_64 = 9001},
    .event_sequence = 1ull << 51,
    .wall_ns = 1790000000123456789ull,
    .delivery_ms = 321,
    .peer = {.address = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}, .port = 25},
    .source = {.address = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 9}, .port = 40001},
    .session = {.bytes = {1, 2, 3, [15] = 0xff}},
    .recipient_count = 3,
};

/* Three recipients, the second repeats the texts of the first. */
static struct slice sample_put(uint8_t *memory, size_t capacity)
{
    struct buf buf;
    buf_init(&buf, memory, capacity);
    struct outcome outcome = sample;
    outcome.peer_name = SLICE("mx.example.com");
    outcome.site = SLICE("unspecified->mx.example.com@smtp_client");
    outcome.pool = SLICE("unspecified");
    struct outcome_writer writer;
    outcome_put(&writer, &buf, &outcome);
    struct outcome_recipient recipient = {
        .index = 2,
        .disposition = DISPOSITION_DEFERRED,
        .attempts = 3,
        .due_s = 1790000600,
        .code = 451,
        .enhanced = {4, 7, 1},
        .command = SLICE("RCPT TO:<a@example.com>"),
        .response = SLICE("try again later"),
    };
    outcome_put_recipient(&writer, &recipient);
    recipient.index = 3;
    recipient.uncertain = true;
    outcome_put_recipient(&writer, &recipient);
    recipient = (struct outcome_recipient){
        .index = 9, .disposition = DISPOSITION_DELIVERED, .attempts = 1, .code = 250,
        .response = SLICE("OK"),
    };
    outcome_put_recipient(&writer, &recipient);
    return buf.overflow ? SLICE_NONE : buf_slice(&buf);
}

static void an_outcome_comes_back_as_it_was_put(void **state)
{
    (void)state;
    uint8_t memory[1024];
    struct slice payload = sample_put(memory, sizeof(memory));
    assert_in_range(payload.size, 150, 300);

    struct outcome outcome;
    struct outcome_cursor cursor;
    assert_true(outcome_open(payload, &outcome, &cursor));
    assert_int_equal(outcome.message.segment, 7);
    assert_int_equal(outcome.message.offset_64, 9001);
    assert_int_equal(outcome.event_sequence, 1ull << 51);
    assert_int_equal(outcome.wall_ns, 1790000000123456789ull);
    assert_int_equal(outcome.delivery_ms, 321);
    assert_memory_equal(&outcome.peer.address, sample.peer.address, 16);
    assert_int_equal(outcome.peer.port, 25);
    assert_int_equal(outcome.source.port, 40001);
    assert_memory_equal(&outcome.session, &sample.session, 16);
    assert_true(slice_equal(outcome.peer_name, SLICE("mx.example.com")));
    assert_true(slice_equal(outcome.pool, SLICE("unspecified")));
    assert_int_equal(outcome.source_name.size, 0);

    struct outcome_recipient recipient;
    assert_int_equal(outcome_next(&cursor, &recipient), 1);
    assert_int_equal(recipient.index, 2);
    assert_int_equal(recipient.disposition, DISPOSITION_DEFERRED);
    assert_int_equal(recipient.attempts, 3);
    assert_int_equal(recipient.due_s, 1790000600);
    assert_int_equal(recipient.code, 451);
    assert_int_equal(recipient.enhanced[1], 7);
    assert_false(recipient.uncertain);
    assert_int_equal(outcome_next(&cursor, &recipient), 1);
    assert_int_equal(recipient.index, 3);
    assert_true(recipient.uncertain);
    assert_true(slice_equal(recipient.command, SLICE("RCPT TO:<a@example.com>")));
    assert_true(slice_equal(recipient.response, SLICE("try again later")));
    assert_int_equal(outcome_next(&cursor, &recipient), 1);
    assert_int_equal(recipient.command.size, 0);
    assert_true(slice_equal(recipient.response, SLICE("OK")));
    assert_int_equal(outcome_next(&cursor, &recipient), 0);
    assert_int_equal(outcome_next(&cursor, &recipient), 0);
}

static void an_outcome_without_a_connection_is_short(void **state)
{
    (void)state;
    uint8_t memory[256];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    struct outcome_writer writer;
    outcome_put(&writer, &buf, &(struct outcome){.recipient_count = 0});
    assert_int_equal(buf.size, 40);
    struct outcome outcome;
    struct outcome_cursor cursor;
    struct outcome_recipient recipient;
    assert_true(outcome_open(buf_slice(&buf), &outcome, &cursor));
    assert_int_equal(outcome_next(&cursor, &recipient), 0);
}

/* Reads all of it; -1 damaged, else how many recipients. */
static int read_all(struct slice payload)
{
    struct outcome outcome;
    struct outcome_cursor cursor;
    struct outcome_recipient recipient;
    if (!outcome_open(payload, &outcome, &cursor)) {
        return -1;
    }
    int count = 0;
    int more = outcome_next(&cursor, &recipient);
    for (; more > 0; more = outcome_next(&cursor, &recipient)) {
        count++;
    }
    return more < 0 ? -1 : count;
}

static void cut_or_longer_bytes_are_damaged(void **state)
{
    (void)state;
    uint8_t memory[1024] = {0};
    struct slice payload = sample_put(memory, sizeof(memory));
    assert_int_equal(read_all(payload), 3);
    for (size_t size = 0; size < payload.size; size++) {
        uint8_t *exact = malloc(size);
        assert_true(exact != NULL || size == 0);
        if (size > 0) {
            memcpy(exact, payload.data, size);
        }
        assert_int_equal(read_all(slice_make(exact, size)), -1);
        free(exact);
    }
    assert_int_equal(read_all(slice_make(memory, payload.size + 1)), -1);
}

static void unknown_values_are_damaged(void **state)
{
    (void)state;
    static const struct {
        size_t back; /* from the end of the sample: its last recipient has 15 + 4 + 2 bytes */
        uint8_t value;
    } rows[] = {{21 - 2, 0}, {21 - 2, 6}, {21 - 3, 8}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[1024];
        struct slice payload = sample_put(memory, sizeof(memory));
        memory[payload.size - rows[i].back] = rows[i].value;
        assert_int_equal(read_all(payload), -1);
    }
    uint8_t memory[1024];
    struct slice payload = sample_put(memory, sizeof(memory));
    memory[30] = 2;
    assert_int_equal(read_all(payload), -1);
}

static void texts_are_cut_at_their_maximum_and_overflow_is_told(void **state)
{
    (void)state;
    static uint8_t memory[8192];
    static uint8_t text[4000];
    memset(text, 'x', sizeof(text));
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    struct outcome_writer writer;
    struct outcome outcome = {.recipient_count = 1, .site = slice_make(text, sizeof(text))};
    outcome_put(&writer, &buf, &outcome);
    struct outcome_recipient recipient = {
        .disposition = DISPOSITION_BOUNCED,
        .command = slice_make(text, sizeof(text)),
        .response = slice_make(text, sizeof(text)),
    };
    outcome_put_recipient(&writer, &recipient);
    assert_false(buf.overflow);
    struct outcome_cursor cursor;
    assert_true(outcome_open(buf_slice(&buf), &outcome, &cursor));
    assert_int_equal(outcome.site.size, OUTCOME_NAME_BYTES_MAX);
    assert_int_equal(outcome_next(&cursor, &recipient), 1);
    assert_int_equal(recipient.command.size, OUTCOME_COMMAND_BYTES_MAX);
    assert_int_equal(recipient.response.size, OUTCOME_RESPONSE_BYTES_MAX);
    for (size_t capacity = 0; capacity < 200; capacity++) {
        assert_int_equal(sample_put(memory, capacity).size, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_outcome_comes_back_as_it_was_put),
        cmocka_unit_test(an_outcome_without_a_connection_is_short),
        cmocka_unit_test(cut_or_longer_bytes_are_damaged),
        cmocka_unit_test(unknown_values_are_damaged),
        cmocka_unit_test(texts_are_cut_at_their_maximum_and_overflow_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
