#include "smtp/server_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/kit/server_dialogue.h"

#define EHLO "EHLO c.test\r\n"
#define MAIL "MAIL FROM:<a@b.test>\r\n"
#define RCPT "RCPT TO:<u@d.test>\r\n"
#define OPEN EHLO MAIL RCPT
#define ENDS "\r\n.\r\n"

#define POOL_BYTES (4ull * MIB)

static struct block_pool *pool;

static int open_pool(void **state)
{
    (void)state;
    pool = block_pool_open(POOL_BYTES);
    return pool == NULL;
}

static int close_pool(void **state)
{
    (void)state;
    block_pool_close(pool);
    return 0;
}

static void begin(struct dialogue *dialogue, bool trusted)
{
    dialogue_init(dialogue, pool);
    dialogue->options.trusted = trusted;
    dialogue_greet(dialogue);
}

/* Sends `string` up to `count` times; how often the last reply had the code. */
static size_t count_code(struct dialogue *dialogue, const char *string, size_t count, unsigned code)
{
    size_t seen = 0;
    for (size_t i = 0; i < count && !dialogue->closed; i++) {
        dialogue_send_string(dialogue, string);
        seen += dialogue->last_code == code;
    }
    return seen;
}

static void s21_recipients_beyond_the_limit(void **state)
{
    (void)state;
    for (int trusted = 0; trusted <= 1; trusted++) {
        struct dialogue dialogue;
        begin(&dialogue, trusted);
        dialogue_send_string(&dialogue, EHLO MAIL);
        assert_int_equal(count_code(&dialogue, RCPT, 100, 250), 100);
        assert_int_equal(count_code(&dialogue, RCPT, RECIPIENTS_OVERSHOOT_MAX, 452),
                         RECIPIENTS_OVERSHOOT_MAX);
        assert_int_equal(dialogue.session.transaction.recipient_count, 100);
        assert_int_equal(count_code(&dialogue, RCPT, 1000000, 421), 1);
        assert_true(dialogue.closed);
        assert_int_equal(dialogue.rejected, RECIPIENTS_OVERSHOOT_MAX + 1);
        assert_int_equal(dialogue.delays, 0);
        dialogue_fini(&dialogue);
    }
}

static void s21_the_accepted_ones_can_still_be_sent(void **state)
{
    (void)state;
    struct dialogue dialogue;
    begin(&dialogue, false);
    dialogue.options.recipients_max = 2;
    dialogue_send_string(&dialogue, OPEN RCPT RCPT "DATA\r\nhi" ENDS MAIL RCPT);
    assert_true(slice_equal(buf_slice(&dialogue.summary),
                            SLICE("250\n250 2.1.0\n250 2.1.5\n250 2.1.5\n452 4.5.3\n354\n"
                                  "250 2.0.0\n250 2.1.0\n250 2.1.5\n")));
    assert_true(slice_equal(buf_slice(&dialogue.accepted),
                            SLICE("a@b.test>u@d.test,u@d.test=hi\r\n\n")));
    dialogue_fini(&dialogue);
}

/* No limit by count: what is left is the envelope's own, and nothing is merged below it. */
static void s22_a_recipient_given_again_and_again_is_bounded(void **state)
{
    (void)state;
    for (size_t form = 0; form < 2; form++) {
        struct dialogue dialogue;
        begin(&dialogue, true);
        dialogue.options.recipients_max = UINT32_MAX;
        dialogue_send_string(&dialogue, EHLO MAIL);
        for (size_t i = 0; i < 100000 && !dialogue.closed; i++) {
            char line[64];
            int size = form == 0 ? snprintf(line, sizeof(line), "RCPT TO:<u@d.test>\r\n")
                                 : snprintf(line, sizeof(line), "RCPT TO:<u@d%zu.test>\r\n", i);
            dialogue_send(&dialogue, slice_make(line, (size_t)size), 0);
            assert_true(block_pool_used(pool) <= BLOCK_BYTES_MAX);
        }
        struct slice envelope = transaction_envelope(&dialogue.session.transaction);
        assert_true(envelope.size <= ENVELOPE_BYTES_MAX);
        assert_true(dialogue.session.transaction.recipient_count > 8000);
        assert_int_equal(dialogue.last_code, 421);
        dialogue_fini(&dialogue);
    }
}

static void s23_errors_are_delayed_then_end_the_dialogue(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        const char *command;
        unsigned code;
    } rows[] = {
        {"", "XYZZY\r\n", 500},
        {"", "NOOP\n", 500},
        {"", "HELP\r\n", 502},
        {"", MAIL, 503},
        {EHLO, "MAIL FROM:<a@>\r\n", 501},
        {EHLO, "MAIL FROM:<a@denied.test>\r\n", 550},
        {EHLO MAIL, "RCPT TO:<u@denied.test>\r\n", 550},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dialogue dialogue;
        begin(&dialogue, false);
        dialogue_send_string(&dialogue, rows[i].before);
        assert_int_equal(count_code(&dialogue, rows[i].command, SERVER_ERRORS_SLOW, rows[i].code),
                         SERVER_ERRORS_SLOW);
        assert_int_equal(dialogue.delays, 0);
        assert_int_equal(count_code(&dialogue, rows[i].command, 10, rows[i].code), 10);
        assert_int_equal(dialogue.delays, SERVER_ERRORS_MAX - SERVER_ERRORS_SLOW);
        assert_int_equal(count_code(&dialogue, rows[i].command, 1000000, 421), 1);
        assert_true(dialogue.closed);
        dialogue_fini(&dialogue);

        begin(&dialogue, true);
        dialogue_send_string(&dialogue, rows[i].before);
        assert_int_equal(count_code(&dialogue, rows[i].command, 1000, rows[i].code), 1000);
        assert_int_equal(dialogue.delays, 0);
        dialogue_fini(&dialogue);
    }
}

static void s23_junk_without_a_message_ends_the_dialogue(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        unsigned code;
    } rows[] = {
        {"NOOP\r\n", 250},
        {"RSET\r\n", 250},
        {EHLO, 250},
        {"HELO c.test\r\n", 250},
        {"VRFY x\r\n", 252},
        {MAIL "RSET\r\n", 250},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dialogue dialogue;
        begin(&dialogue, false);
        dialogue_send_string(&dialogue, EHLO);
        assert_int_equal(count_code(&dialogue, rows[i].command, 1000000, rows[i].code),
                         SERVER_JUNK_MAX - 1);
        assert_int_equal(dialogue.last_code, 421);
        assert_true(dialogue.closed);
        dialogue_fini(&dialogue);

        begin(&dialogue, true);
        dialogue_send_string(&dialogue, EHLO);
        assert_int_equal(count_code(&dialogue, rows[i].command, 1000, rows[i].code), 1000);
        dialogue_fini(&dialogue);
    }
}

static void s23_a_message_pays_for_junk_and_errors(void **state)
{
    (void)state;
    struct dialogue dialogue;
    begin(&dialogue, false);
    dialogue_send_string(&dialogue, EHLO);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(count_code(&dialogue, "NOOP\r\n", 70, 250), 70);
        assert_int_equal(count_code(&dialogue, "XYZZY\r\n", 15, 500), 15);
        assert_int_equal(count_code(&dialogue, MAIL RCPT "DATA\r\nhi" ENDS, 1, 250), 1);
    }
    assert_int_equal(dialogue.messages, 20);
    assert_int_equal(dialogue.delays, 20 * 5);
    dialogue_fini(&dialogue);
}

static void s26_a_flood_of_chunks_ends_the_dialogue(void **state)
{
    (void)state;
    static const char *const chunks[] = {"BDAT 0\r\n", "BDAT 1\r\n\x01", "BDAT 2\r\n\r\n"};
    static const unsigned codes[] = {250, 0, 250};
    for (size_t i = 0; i < COUNT_OF(chunks); i++) {
        struct dialogue dialogue;
        begin(&dialogue, true);
        dialogue_send_string(&dialogue, OPEN);
        if (codes[i] == 0) {
            /* Without line ends the line grows too long before the chunks are too many. */
            assert_int_equal(count_code(&dialogue, chunks[i], 999, 250), CONTENT_LINE_BYTES_MAX);
            assert_int_equal(dialogue.last_code, 550);
        } else {
            assert_int_equal(count_code(&dialogue, chunks[i], 10000000, 250), SERVER_CHUNKS_MAX);
            assert_int_equal(dialogue.last_code, 421);
            assert_true(dialogue.closed);
        }
        dialogue_fini(&dialogue);
    }
}

struct header_case {
    const char *line;
    size_t count;
    unsigned code;
};

static void send_headers(const struct header_case *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct dialogue dialogue;
        begin(&dialogue, false);
        dialogue.options.message_bytes_max = 2 * MIB;
        dialogue_send_string(&dialogue, OPEN "DATA\r\n");
        count_code(&dialogue, rows[i].line, rows[i].count, 0);
        dialogue_send_string(&dialogue, "\r\nReceived: in the body\r\n.\r\n");
        assert_int_equal(dialogue.last_code, rows[i].code);
        assert_int_equal(dialogue.session.state, SERVER_READY);
        dialogue_fini(&dialogue);
    }
}

static void s38_a_header_section_of_too_many_bytes_or_fields_is_refused(void **state)
{
    (void)state;
    static const struct header_case rows[] = {
        {"", 0, 250},
        {"  : 5678901234567890123456789012345678901234567890123456789012\r\n", MIB / 64 - 1, 250},
        {"  : 5678901234567890123456789012345678901234567890123456789012\r\n", MIB / 64, 552},
        {"X:\r\n", HEADER_FIELDS_MAX, 250},
        {"X:\r\n", HEADER_FIELDS_MAX + 1, 552},
        {"r:\r\n", HEADER_FIELDS_MAX + 1, 552},
        {"no colon in it\r\n", HEADER_FIELDS_MAX + 1, 552},
        {"X: folded\r\n y\r\n\tz\r\n", HEADER_FIELDS_MAX, 250},
    };
    send_headers(rows, COUNT_OF(rows));
}

static void s39_a_message_with_too_many_hops_is_a_loop(void **state)
{
    (void)state;
    static const struct header_case rows[] = {
        {"Received: by a.test; date\r\n", 50, 250},
        {"received: by a.test; date\r\n", 51, 554},
        {"X-Received: by a.test; date\r\n", 200, 250},
    };
    send_headers(rows, COUNT_OF(rows));
}

/* Content with this head and so many lines is taken as it is. */
static void send_opaque(const char *head, const char *line, size_t count)
{
    struct dialogue dialogue;
    begin(&dialogue, false);
    dialogue_send_string(&dialogue, OPEN "DATA\r\n");
    dialogue_send_string(&dialogue, head);
    count_code(&dialogue, line, count, 0);
    dialogue_send_string(&dialogue, ".\r\n");
    assert_int_equal(dialogue.last_code, 250);
    assert_int_equal(dialogue.messages, 1);
    dialogue_fini(&dialogue);
}

/* Nobody here reads MIME. */
static void s40_mime_of_any_depth_is_opaque(void **state)
{
    (void)state;
    send_opaque("Content-Type: multipart/mixed; boundary=b\r\n\r\n",
                "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n", 10000);
    send_opaque("Content-Type: multipart/mixed; boundary=\r\n\r\n", "--\r\n", 100000);
}

static void s41_a_mailbox_line_is_a_line_of_the_header(void **state)
{
    (void)state;
    send_opaque("From me@x.test Thu Jan  1 00:00:00 1970\r\n\r\n", "From you\r\n", 1000);
    send_opaque(" begins with a continuation\r\n\r\n", "x\r\n", 1);
    const struct header_case row = {"From me@x.test\r\n", HEADER_FIELDS_MAX + 1, 552};
    send_headers(&row, 1);
}

static void s12_no_memory_refuses_for_now_and_leaves_nothing(void **state)
{
    (void)state;
    struct dialogue dialogue;
    struct chain hog;
    chain_init(&hog);
    begin(&dialogue, true);
    dialogue.options.message_bytes_max = 64 * MIB;
    dialogue_send_string(&dialogue, EHLO);
    while (chain_room(&hog, pool, BLOCK_BYTES_MAX) != NULL) {
        struct block *block = chain_room(&hog, pool, BLOCK_BYTES_MAX);
        hog.size += block->capacity - block->size;
        block->size = block->capacity;
    }
    dialogue_send_string(&dialogue, MAIL RCPT);
    assert_true(slice_equal(buf_slice(&dialogue.summary), SLICE("250\n452 4.3.1\n503 5.5.1\n")));
    chain_clear(&hog, pool);

    dialogue_send_string(&dialogue, MAIL RCPT "DATA\r\n");
    assert_int_equal(dialogue.last_code, 354);
    count_code(&dialogue, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n",
               5 * MIB / 64, 0);
    assert_int_equal(dialogue.last_code, 354);
    dialogue_send_string(&dialogue, ".\r\nBDAT 4 LAST\r\nQUIT");
    assert_int_equal(dialogue.session.state, SERVER_READY);
    assert_int_equal(dialogue.last_code, 503);
    assert_true(slice_ends_with(buf_slice(&dialogue.summary), SLICE("452 4.3.1\n503 5.5.1\n")));
    assert_int_equal(dialogue.rejected, 2);
    dialogue_fini(&dialogue);
}

static void messages_on_one_connection_are_limited(void **state)
{
    (void)state;
    struct dialogue dialogue;
    begin(&dialogue, true);
    dialogue.options.messages_max = 3;
    dialogue_send_string(&dialogue, EHLO);
    assert_int_equal(count_code(&dialogue, MAIL RCPT "DATA\r\nhi" ENDS, 10, 250), 3);
    assert_int_equal(dialogue.last_code, 421);
    assert_true(dialogue.closed);
    dialogue_fini(&dialogue);
}

static void abort_ends_the_dialogue_in_every_state(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum server_state state;
        const char *doing;
    } rows[] = {
        {"", SERVER_HELLO, "waiting for EHLO"},
        {EHLO, SERVER_READY, "waiting for MAIL"},
        {EHLO MAIL, SERVER_MAIL, "waiting for RCPT"},
        {OPEN, SERVER_RCPT, "waiting for RCPT or DATA"},
        {OPEN "DATA\r\nhi", SERVER_DATA, "receiving content by DATA"},
        {OPEN "BDAT 5\r\nhi", SERVER_BDAT, "receiving a BDAT chunk"},
        {OPEN "BDAT 2\r\nhi", SERVER_CHUNKS, "waiting for BDAT"},
        {"QUIT\r\n", SERVER_CLOSED, "closing"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[REPLY_BYTES_MAX];
        struct buf replies;
        struct dialogue dialogue;
        struct slice more = SLICE("NOOP\r\n");
        bool open = rows[i].state != SERVER_CLOSED;
        buf_init(&replies, memory, sizeof(memory));
        begin(&dialogue, false);
        dialogue_send_string(&dialogue, rows[i].bytes);
        assert_int_equal(dialogue.session.state, rows[i].state);
        assert_string_equal(server_session_doing(&dialogue.session), rows[i].doing);
        server_session_abort(&dialogue.session, SLICE("421 4.3.2 Stopping"), &replies);
        assert_true(slice_equal(buf_slice(&replies),
                                open ? SLICE("421 4.3.2 Stopping\r\n") : SLICE_NONE));
        assert_int_equal(block_pool_used(pool), 0);
        assert_int_equal(server_session_feed(&dialogue.session, &more, &replies), WANT_CLOSE);
        assert_int_equal(more.size, 6);
        dialogue_fini(&dialogue);
    }
}

static void a_commit_that_outlives_the_dialogue_gets_no_reply(void **state)
{
    (void)state;
    uint8_t memory[REPLY_BYTES_MAX * 4];
    struct buf replies;
    struct dialogue dialogue;
    struct slice input = SLICE(OPEN "DATA\r\nhi" ENDS "NOOP\r\n");
    buf_init(&replies, memory, sizeof(memory));
    begin(&dialogue, false);
    assert_int_equal(server_session_feed(&dialogue.session, &input, &replies), WANT_COMMIT);
    assert_int_equal(input.size, 6);
    assert_int_equal(server_session_feed(&dialogue.session, &input, &replies), WANT_COMMIT);
    assert_int_equal(input.size, 6);
    server_session_abort(&dialogue.session, SLICE("421 4.3.2 Stopping"), &replies);
    assert_true(block_pool_used(pool) > 0);
    size_t size = replies.size;
    server_session_committed(&dialogue.session, SLICE("250 2.0.0 OK"), &replies);
    assert_int_equal(replies.size, size);
    assert_int_equal(block_pool_used(pool), 0);
    assert_int_equal(dialogue.session.state, SERVER_CLOSED);
    dialogue_fini(&dialogue);
}

static void ehlo_names_what_is_offered(void **state)
{
    (void)state;
    uint8_t memory[REPLY_BYTES_MAX];
    struct buf replies;
    struct dialogue dialogue;
    struct slice input = SLICE("EHLO [192.0.2.1]\r\n");
    buf_init(&replies, memory, sizeof(memory));
    begin(&dialogue, false);
    assert_int_equal(server_session_feed(&dialogue.session, &input, &replies), WANT_INPUT);
    assert_true(slice_equal(buf_slice(&replies),
                            SLICE("250-mta.test\r\n250-PIPELINING\r\n250-SIZE 1048576\r\n"
                                  "250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"
                                  "250-DSN\r\n"
                                  "250 ENHANCEDSTATUSCODES\r\n")));
    assert_true(slice_equal(server_session_hello(&dialogue.session), SLICE("[192.0.2.1]")));
    dialogue_fini(&dialogue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s21_recipients_beyond_the_limit),
        cmocka_unit_test(s21_the_accepted_ones_can_still_be_sent),
        cmocka_unit_test(s22_a_recipient_given_again_and_again_is_bounded),
        cmocka_unit_test(s23_errors_are_delayed_then_end_the_dialogue),
        cmocka_unit_test(s23_junk_without_a_message_ends_the_dialogue),
        cmocka_unit_test(s23_a_message_pays_for_junk_and_errors),
        cmocka_unit_test(s26_a_flood_of_chunks_ends_the_dialogue),
        cmocka_unit_test(s38_a_header_section_of_too_many_bytes_or_fields_is_refused),
        cmocka_unit_test(s39_a_message_with_too_many_hops_is_a_loop),
        cmocka_unit_test(s40_mime_of_any_depth_is_opaque),
        cmocka_unit_test(s41_a_mailbox_line_is_a_line_of_the_header),
        cmocka_unit_test(s12_no_memory_refuses_for_now_and_leaves_nothing),
        cmocka_unit_test(messages_on_one_connection_are_limited),
        cmocka_unit_test(abort_ends_the_dialogue_in_every_state),
        cmocka_unit_test(a_commit_that_outlives_the_dialogue_gets_no_reply),
        cmocka_unit_test(ehlo_names_what_is_offered),
    };
    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
