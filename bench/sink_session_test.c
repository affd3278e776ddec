#include "bench/sink_session.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SAID_MAX 4096

/* A session with its rules and its tally, and all that it said. */
struct desk {
    struct sink_rules rules;
    struct sink_result result;
    struct tally tally;
    struct prng prng;
    struct sink_session session;
    enum sink_want last;
    uint32_t waited_ms;
    size_t said_size;
    char said[SAID_MAX];
};

static struct desk *desk_open(enum bench_mode mode, const char *script)
{
    struct desk *desk = calloc(1, sizeof(*desk));
    assert_non_null(desk);
    char why[256];
    struct buf reason;
    buf_init(&reason, why, sizeof(why));
    desk->rules.hostname = "sink.test";
    desk->rules.mode = mode;
    assert_true(script_read(&desk->rules.script, slice_from_string(script), &reason));
    struct tally_options options = {.result = &desk->result, .copies = 1};
    assert_true(tally_init(&desk->tally, &options));
    prng_seed(&desk->prng, 1);
    desk->session.rules = &desk->rules;
    desk->session.tally = &desk->tally;
    desk->session.prng = &desk->prng;
    assert_true(sink_session_init(&desk->session));
    return desk;
}

static void desk_close(struct desk *desk)
{
    sink_session_fini(&desk->session);
    tally_fini(&desk->tally);
    script_fini(&desk->rules.script);
    free(desk);
}

/* What the owner of a session does with its replies. */
static void desk_flush(struct desk *desk)
{
    struct buf *replies = &desk->session.replies;
    assert_true(desk->said_size + replies->size < SAID_MAX);
    memcpy(desk->said + desk->said_size, replies->data, replies->size);
    desk->said_size += replies->size;
    desk->said[desk->said_size] = 0;
    buf_reset(replies);
}

static void desk_note(struct desk *desk, enum sink_want want)
{
    desk->last = want;
    desk->waited_ms += want == SINK_WAIT ? desk->session.wait_ms : 0;
    desk_flush(desk);
}

/* A connection on which `text` comes in pieces of `piece` bytes. */
static void desk_hear(struct desk *desk, struct slice text, size_t piece)
{
    desk->said_size = 0;
    desk->said[0] = 0;
    desk_note(desk, sink_session_begin(&desk->session));
    while (text.size > 0 && desk->last != SINK_CLOSE) {
        struct slice part = slice_first(text, MIN_OF(piece, text.size));
        text = slice_skip(text, part.size);
        do {
            desk_note(desk, sink_session_feed(&desk->session, &part));
        } while (part.size > 0 && desk->last != SINK_CLOSE);
    }
    if (desk->last == SINK_WAIT) {
        struct slice none = SLICE_NONE;
        desk_note(desk, sink_session_feed(&desk->session, &none));
    }
}

/* The whole dialogue of one bench message; returns its size. */
static size_t put_dialogue(uint8_t *out, size_t capacity, bool bdat, uint64_t number)
{
    struct body_maker maker;
    struct buf buf;
    uint8_t header[BODY_HEADER_BYTES_MAX];
    struct slice head;
    struct slice lines;
    assert_true(body_maker_init(&maker, 1000));
    body_make(&maker, number, header, &head, &lines);
    buf_init(&buf, out, capacity);
    buf_put_string(&buf, "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n");
    buf_put_string(&buf, bdat ? "BDAT 400\r\n" : "DATA\r\n");
    struct slice first = slice_first(lines, 400 - head.size);
    buf_put(&buf, head);
    buf_put(&buf, first);
    buf_put_string(&buf, bdat ? "BDAT 600 LAST\r\n" : "");
    buf_put(&buf, slice_skip(lines, first.size));
    buf_put_string(&buf, bdat ? "" : ".\r\n");
    buf_put_string(&buf, "QUIT\r\n");
    assert_false(buf.overflow);
    body_maker_fini(&maker);
    return buf.size;
}

static void a_dialogue_is_read_alike_under_any_split(void **state)
{
    (void)state;
    uint8_t text[4096];
    for (unsigned bdat = 0; bdat < 2; bdat++) {
        struct desk *desk = desk_open(MODE_PIPELINED, "");
        size_t size = put_dialogue(text, sizeof(text), bdat != 0, 5);
        char expected[SAID_MAX] = "";
        for (size_t piece = size; piece > 0; piece--) {
            desk->result = (struct sink_result){0};
            desk_hear(desk, slice_make(text, size), piece);
            if (piece == size) {
                memcpy(expected, desk->said, desk->said_size + 1);
            }
            assert_string_equal(desk->said, expected);
            assert_int_equal(desk->last, SINK_CLOSE);
            assert_int_equal(desk->result.bodies, 1);
            assert_int_equal(desk->result.differing + desk->result.foreign, 0);
            assert_int_equal(desk->result.bytes, 1000);
        }
        assert_int_equal(desk->tally.counts[5], size);
        assert_int_equal(desk->tally.number_end, 6);
        desk_close(desk);
    }
}

static void ehlo_offers_what_the_mode_allows(void **state)
{
    (void)state;
    static const struct {
        enum bench_mode mode;
        const char *said;
    } rows[] = {
        {MODE_PLAIN, "220 sink.test ESMTP sink\r\n250 sink.test\r\n"},
        {MODE_PIPELINED, "220 sink.test ESMTP sink\r\n250-sink.test\r\n250 PIPELINING\r\n"},
        {MODE_BDAT, "220 sink.test ESMTP sink\r\n250-sink.test\r\n250-PIPELINING\r\n"
                    "250 CHUNKING\r\n"},
        {MODE_ALL, "220 sink.test ESMTP sink\r\n250-sink.test\r\n250-PIPELINING\r\n"
                   "250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n"
                   "250 SIZE 104857600\r\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct desk *desk = desk_open(rows[i].mode, "");
        desk_hear(desk, SLICE("EHLO x\r\n"), 100);
        assert_string_equal(desk->said, rows[i].said);
        desk_close(desk);
    }
}

/* Content with dots in every place, as it is sent and as it is meant. */
static void dots_are_taken_off_and_the_end_is_found_under_any_split(void **state)
{
    (void)state;
    static const struct {
        const char *sent;
        const char *meant;
    } rows[] = {
        {"a\r\n.\r\n", "a\r\n"},
        {".\r\n", ""},
        {"..\r\n.\r\n", ".\r\n"},
        {"...x\r\n..\r\n.\r\n", "..x\r\n.\r\n"},
        {"a.b..c\r\nd.\r\n.\r\n", "a.b..c\r\nd.\r\n"},
        {"\n.\n\r.\r\r\n.x\r\n.\r\n", "\n.\n\r.\r\r\nx\r\n"},
        {".\rx\r\n.\r\r\n.\r\n", "\rx\r\n\r\r\n"},
        {".\r.\r\n.\r\n", "\r.\r\n"},
        {"\r\n\r\n..\r\n.\r\n", "\r\n\r\n.\r\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[512];
        struct buf buf;
        buf_init(&buf, text, sizeof(text));
        buf_put_string(&buf, "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
        buf_put_string(&buf, rows[i].sent);
        for (size_t piece = 1; piece <= buf.size; piece++) {
            struct desk *desk = desk_open(MODE_ALL, "");
            struct maildir maildir = {.path = "/nonexistent"};
            desk->session.maildir = &maildir;
            /* A refused end keeps the content where it can be seen. */
            struct script_rule *rules = desk->rules.script.rules;
            rules[0] = (struct script_rule){.stage = STAGE_DOT, .action = ACTION_REPLY,
                                            .chance_per_mille = 1000, .pattern_bytes = 1,
                                            .pattern = "*", .reply_bytes = 8,
                                            .reply = "450 no\r\n"};
            desk->rules.script.count = 1;
            desk_hear(desk, buf_slice(&buf), piece);
            struct slice content =
                slice_make(desk->session.content.data, desk->session.content.size);
            assert_true(slice_equal(content, slice_from_string(rows[i].meant)));
            assert_non_null(strstr(desk->said, "354 go ahead\r\n450 no\r\n"));
            desk_close(desk);
        }
    }
}

static void rules_answer_in_place_of_the_sink(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        const char *said; /* after the greeting */
        enum sink_want last;
        uint32_t waited_ms;
    } rows[] = {
        {"mail b.test 451 4.3.0 no", "451 4.3.0 no\r\n503 5.5.1 MAIL first\r\n"
                                     "503 5.5.1 MAIL first\r\n502", SINK_INPUT, 0},
        {"rcpt d.test 550 5.1.1 no", "250 2.1.0 OK\r\n550 5.1.1 no\r\n"
                                     "554 5.5.1 no valid recipients\r\n502", SINK_INPUT, 0},
        {"data * 452 4.3.1 no", "250 2.1.0 OK\r\n250 2.1.5 OK\r\n452 4.3.1 no\r\n502", SINK_INPUT,
         0},
        {"dot c@* delay=30 554 no", "250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 go ahead\r\n554 no\r\n",
         SINK_INPUT, 30},
        {"rcpt * drop", "250 2.1.0 OK\r\n", SINK_CLOSE, 0},
        {"rcpt * hang", "250 2.1.0 OK\r\n", SINK_INPUT, 0},
        {"mail * 421 4.3.2 bye", "421 4.3.2 bye\r\n", SINK_CLOSE, 0},
        {"mail * delay=7 drop", "", SINK_CLOSE, 7},
        {"dot * drop", "250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 go ahead\r\n", SINK_CLOSE, 0},
    };
    static const char text[] = "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx\r\n.\r\n";
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct desk *desk = desk_open(MODE_ALL, rows[i].script);
        desk_hear(desk, slice_from_string(text), sizeof(text));
        const char *greeting = "220 sink.test ESMTP sink\r\n";
        const char *said = desk->said + strlen(greeting);
        size_t compared = strlen(rows[i].said);
        if (strncmp(said, rows[i].said, compared) != 0 || desk->last != rows[i].last ||
            (rows[i].last == SINK_CLOSE && strlen(said) != compared)) {
            fail_msg("%s: %s, want %d", rows[i].script, desk->said, (int)desk->last);
        }
        assert_int_equal(desk->waited_ms, rows[i].waited_ms);
        assert_int_equal(desk->result.foreign, 0);
        desk_close(desk);
    }
}

static void a_recipient_that_is_refused_counts_once_whatever_follows(void **state)
{
    (void)state;
    static const char text[] = "HELO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"
                               "RCPT TO:<e@f.test>\r\nRSET\r\nRCPT TO:<c@d.test>\r\n";
    struct desk *desk = desk_open(MODE_ALL, "rcpt d.test 450 4.2.1 not now\n");
    desk_hear(desk, slice_from_string(text), sizeof(text));
    assert_int_equal(desk->result.rejected, 3); /* 450, 554, 503 */
    assert_int_equal(desk->result.refused, 2);  /* 450, 503 */
    desk_close(desk);
}

static void a_message_that_is_refused_again_has_been_tried_once(void **state)
{
    (void)state;
    static const char *const senders[] = {"bench-7@source.test", "bench-8@source.test",
                                          "bench-7@source.test", "bench-@source.test",
                                          "bench-99999999999@source.test", "a@b.test"};
    uint8_t text[1024];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    buf_put(&buf, SLICE("HELO x\r\n"));
    for (size_t i = 0; i < COUNT_OF(senders); i++) {
        buf_printf(&buf, "MAIL FROM:<%s>\r\nRCPT TO:<c@d.test>\r\nRSET\r\n", senders[i]);
    }
    buf_put(&buf, SLICE("MAIL FROM:<"));
    tally_put_sender(&buf, 9);
    buf_put(&buf, SLICE(">\r\nRCPT TO:<c@d.test>\r\n"));
    struct desk *desk = desk_open(MODE_ALL, "rcpt d.test 450 4.2.1 not now\n");
    desk_hear(desk, buf_slice(&buf), sizeof(text));
    assert_int_equal(desk->result.refused, 7);
    assert_int_equal(desk->result.tried, 3); /* 7, 8, 9 */
    desk_close(desk);
}

static void a_line_that_is_too_long_is_one_500_and_the_next_is_heard(void **state)
{
    (void)state;
    static char text[3 * SINK_LINE_MAX];
    memset(text, 'x', sizeof(text));
    memcpy(text + sizeof(text) - 8, "\r\nNOOP\r\n", 8);
    static const size_t pieces[] = {1, 100, SINK_LINE_MAX, sizeof(text)};
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        struct desk *desk = desk_open(MODE_ALL, "");
        desk_hear(desk, slice_make(text, sizeof(text)), pieces[i]);
        assert_string_equal(desk->said, "220 sink.test ESMTP sink\r\n500 5.5.2 line too long\r\n"
                                        "250 2.0.0 OK\r\n");
        desk_close(desk);
    }
}

static void chunks_without_a_transaction_are_swallowed(void **state)
{
    (void)state;
    struct desk *desk = desk_open(MODE_ALL, "");
    desk_hear(desk, SLICE("BDAT 5 LAST\r\nQUIT\nBDAT 0 LAST\r\nNOOP\r\n"), 3);
    assert_string_equal(desk->said, "220 sink.test ESMTP sink\r\n"
                                    "503 5.5.1 no transaction for a chunk\r\n"
                                    "503 5.5.1 no transaction for a chunk\r\n250 2.0.0 OK\r\n");
    desk_close(desk);
}

static void duplicates_missing_and_differing_bodies_are_counted(void **state)
{
    (void)state;
    uint8_t text[4096];
    struct desk *desk = desk_open(MODE_ALL, "");
    desk->tally.expected = 3;
    desk_hear(desk, slice_make(text, put_dialogue(text, sizeof(text), false, 0)), 4096);
    assert_false(tally_complete(&desk->tally));
    desk_hear(desk, slice_make(text, put_dialogue(text, sizeof(text), true, 0)), 4096);
    desk_hear(desk, slice_make(text, put_dialogue(text, sizeof(text), true, 2)), 4096);
    assert_int_equal(desk->result.messages, 2);
    assert_int_equal(desk->result.duplicates, 1);
    assert_false(tally_judge(&desk->tally));
    assert_int_equal(desk->result.missing, 1);
    size_t size = put_dialogue(text, sizeof(text), false, 1);
    text[size - 20] ^= 1;
    desk_hear(desk, slice_make(text, size), 4096);
    assert_int_equal(desk->result.differing, 1);
    text[size - 20] ^= 1;
    desk_hear(desk, slice_make(text, size), 4096);
    assert_true(tally_complete(&desk->tally));
    assert_false(tally_judge(&desk->tally));
    assert_int_equal(desk->result.missing, 0);
    desk->result.differing = 0;
    assert_true(tally_judge(&desk->tally));
    desk_close(desk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dialogue_is_read_alike_under_any_split),
        cmocka_unit_test(ehlo_offers_what_the_mode_allows),
        cmocka_unit_test(dots_are_taken_off_and_the_end_is_found_under_any_split),
        cmocka_unit_test(rules_answer_in_place_of_the_sink),
        cmocka_unit_test(a_recipient_that_is_refused_counts_once_whatever_follows),
        cmocka_unit_test(a_message_that_is_refused_again_has_been_tried_once),
        cmocka_unit_test(a_line_that_is_too_long_is_one_500_and_the_next_is_heard),
        cmocka_unit_test(chunks_without_a_transaction_are_swallowed),
        cmocka_unit_test(duplicates_missing_and_differing_bodies_are_counted),
    };
    return cmocka_run_group_tests_name("sink_session", tests, NULL, NULL);
}
