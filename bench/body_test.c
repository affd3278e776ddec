#include "bench/body.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const size_t sizes[] = {320, 321, 383, 384, 1024, 4096, 4097, 51200};

/* Message `number` in one piece; to be freed. */
static uint8_t *make(size_t size, uint64_t number)
{
    struct body_maker maker;
    assert_true(body_maker_init(&maker, size));
    uint8_t header[BODY_HEADER_BYTES_MAX];
    struct slice head;
    struct slice lines;
    body_make(&maker, number, header, &head, &lines);
    assert_int_equal(head.size + lines.size, size);
    uint8_t *message = malloc(size);
    assert_non_null(message);
    memcpy(message, head.data, head.size);
    memcpy(message + head.size, lines.data, lines.size);
    body_maker_fini(&maker);
    return message;
}

static enum body_verdict judge(struct body_check *check, struct slice message, size_t piece)
{
    body_check_begin(check);
    while (message.size > 0) {
        size_t count = MIN_OF(piece, message.size);
        body_check_feed(check, slice_first(message, count));
        message = slice_skip(message, count);
    }
    return body_check_end(check);
}

static void a_made_body_is_good_in_pieces_of_any_size(void **state)
{
    (void)state;
    struct body_check check;
    assert_true(body_check_init(&check));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint64_t number = i * 1234567;
        uint8_t *message = make(sizes[i], number);
        for (size_t piece = 1; piece < 200; piece++) {
            assert_int_equal(judge(&check, slice_make(message, sizes[i]), piece), BODY_GOOD);
            assert_int_equal(check.number, number);
        }
        free(message);
    }
    body_check_fini(&check);
}

static void any_changed_missing_or_added_byte_is_a_difference(void **state)
{
    (void)state;
    struct body_check check;
    assert_true(body_check_init(&check));
    uint8_t *message = make(1024, 7);
    for (size_t at = sizeof(BODY_FIELD) - 1; at < 1024; at++) {
        message[at] ^= 1;
        enum body_verdict verdict = judge(&check, slice_make(message, 1024), 4096);
        if (verdict == BODY_GOOD) {
            fail_msg("byte %zu may be changed", at);
        }
        message[at] ^= 1;
    }
    assert_int_equal(judge(&check, slice_make(message, 1023), 4096), BODY_DIFFERS);
    uint8_t longer[1026];
    memcpy(longer, message, 1024);
    memcpy(longer + 1024, "\r\n", 2);
    assert_int_equal(judge(&check, slice_make(longer, 1026), 4096), BODY_DIFFERS);
    free(message);
    body_check_fini(&check);
}

static void fields_put_before_a_message_change_nothing(void **state)
{
    (void)state;
    static const char trace[] = "Received: from a by b;\r\n\tThu, 01 Jan 2026 00:00:00 +0000 and "
                                "a line that is longer than any line of the bench\r\n";
    struct body_check check;
    assert_true(body_check_init(&check));
    uint8_t *message = make(1024, 99);
    uint8_t relayed[2048];
    memcpy(relayed, trace, sizeof(trace) - 1);
    memcpy(relayed + sizeof(trace) - 1, message, 1024);
    struct slice whole = slice_make(relayed, sizeof(trace) - 1 + 1024);
    for (size_t piece = 1; piece < 100; piece++) {
        assert_int_equal(judge(&check, whole, piece), BODY_GOOD);
        assert_int_equal(check.number, 99);
    }
    free(message);
    body_check_fini(&check);
}

static void other_mail_is_foreign(void **state)
{
    (void)state;
    static const char *const messages[] = {
        "", "\r\n", "Subject: x\r\n\r\nhello\r\n", "no header at all\r\n",
        "Subject: x\r\n\r\nX-Ringpost-Bench: 0000000001 00000320 0123456789abcdef\r\n",
        "X-Ringpost-Bench: 0000000001 00000320\r\n\r\n"};
    struct body_check check;
    assert_true(body_check_init(&check));
    for (size_t i = 0; i < COUNT_OF(messages); i++) {
        struct slice message = slice_from_string(messages[i]);
        assert_int_equal(judge(&check, message, 3), BODY_FOREIGN);
    }
    body_check_fini(&check);
}

static void lines_end_in_crlf_hold_no_dot_and_are_at_most_78_long(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint8_t *message = make(sizes[i], 4000000000u + i);
        size_t length = 0;
        bool in_body = false;
        for (size_t at = 0; at < sizes[i]; at++) {
            if (message[at] == '\n') {
                assert_true(at > 0 && message[at - 1] == '\r');
                in_body = in_body || length == 1;
                assert_true(length - 1 <= 78);
                length = 0;
                continue;
            }
            assert_false(length == 0 && message[at] == '.');
            assert_false(in_body && message[at] == '.');
            length++;
        }
        assert_int_equal(length, 0);
        assert_true(in_body);
        free(message);
    }
}

static void bodies_of_neighbours_differ_and_one_number_makes_one_body(void **state)
{
    (void)state;
    uint8_t *a = make(4096, 1);
    uint8_t *again = make(4096, 1);
    uint8_t *b = make(4096, 2);
    assert_memory_equal(a, again, 4096);
    assert_memory_not_equal(a + 1024, b + 1024, 1024);
    free(a);
    free(again);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_made_body_is_good_in_pieces_of_any_size),
        cmocka_unit_test(any_changed_missing_or_added_byte_is_a_difference),
        cmocka_unit_test(fields_put_before_a_message_change_nothing),
        cmocka_unit_test(other_mail_is_foreign),
        cmocka_unit_test(lines_end_in_crlf_hold_no_dot_and_are_at_most_78_long),
        cmocka_unit_test(bodies_of_neighbours_differ_and_one_number_makes_one_body),
    };
    return cmocka_run_group_tests_name("body", tests, NULL, NULL);
}
