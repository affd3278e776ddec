#include "smtp/server_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/kit/server_dialogue.h"

/*
 * Rows of the catalogue of bad input: a client's bytes, the replies, the messages accepted, the
 * state after, and how often the hook was told of a rejection. Every row is fed at once, byte by
 * byte, and in two parts cut at every place.
 */
struct row {
    const char *name;
    const char *bytes;
    size_t bytes_size;
    const char *replies;
    const char *accepted;
    enum server_state state;
    unsigned rejected;
};

#define BYTES(literal) literal, sizeof(literal) - 1

#define EHLO "EHLO c.test\r\n"
#define MAIL "MAIL FROM:<a@b.test>\r\n"
#define RCPT "RCPT TO:<u@d.test>\r\n"
#define DATA "DATA\r\n"
#define ENDS "\r\n.\r\n"
#define OPEN EHLO MAIL RCPT

/* The replies to these. */
#define OPENED "250\n250 2.1.0\n250 2.1.5\n"
#define STORED "250 2.0.0\n"

#define X10   "xxxxxxxxxx"
#define X100  X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define X500  X100 X100 X100 X100 X100
#define X1000 X500 X500
#define X998  X500 X100 X100 X100 X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 "xxxxxxxx"

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

static void check_log(const struct row *row, const char *what, struct slice log,
                      const char *expected, size_t cut)
{
    if (!slice_equal(log, slice_from_string(expected))) {
        fail_msg("%s, cut at %zu: %s are\n%.*sexpected\n%s", row->name, cut, what, (int)log.size,
                 (const char *)log.data, expected);
    }
}

/* Cut at `cut`: 0 is not cut at all, SIZE_MAX is cut everywhere. */
static void check_row_cut(const struct row *row, size_t cut)
{
    struct slice bytes = slice_make(row->bytes, row->bytes_size);
    struct dialogue dialogue;
    dialogue_init(&dialogue, pool);
    dialogue_greet(&dialogue);
    if (cut == 0) {
        dialogue_send(&dialogue, bytes, 0);
    } else if (cut == SIZE_MAX) {
        dialogue_send(&dialogue, bytes, 1);
    } else {
        dialogue_send(&dialogue, slice_first(bytes, cut), 0);
        dialogue_send(&dialogue, slice_skip(bytes, cut), 0);
    }
    check_log(row, "replies", buf_slice(&dialogue.summary), row->replies, cut);
    check_log(row, "messages", buf_slice(&dialogue.accepted), row->accepted, cut);
    if (dialogue.session.state != row->state) {
        fail_msg("%s, cut at %zu: %s", row->name, cut, server_session_doing(&dialogue.session));
    }
    if (dialogue.rejected != row->rejected) {
        fail_msg("%s, cut at %zu: %u rejections", row->name, cut, dialogue.rejected);
    }
    assert_int_equal(dialogue.closed, row->state == SERVER_CLOSED);
    dialogue_fini(&dialogue);
}

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_row_cut(&rows[i], 0);
        check_row_cut(&rows[i], SIZE_MAX);
        for (size_t cut = 1; cut < rows[i].bytes_size; cut++) {
            check_row_cut(&rows[i], cut);
        }
    }
}

static void one_message_by_data_and_by_bdat(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"plain", BYTES(OPEN DATA "hi" ENDS "QUIT\r\n"), OPENED "354\n" STORED "221 2.0.0\n",
         "a@b.test>u@d.test=hi\r\n\n", SERVER_CLOSED, 0},
        {"helo", BYTES("HELO c.test\r\n" MAIL RCPT DATA "hi" ENDS), OPENED "354\n" STORED,
         "a@b.test>u@d.test=hi\r\n\n", SERVER_READY, 0},
        {"two recipients, domain in lower case",
         BYTES(EHLO "mail from:<A@B.Test>\r\nrcpt to:<U@D.Test>\r\nRCPT TO:<\"x Y\"@E.TEST>\r\n"
                    "data\r\nhi" ENDS),
         "250\n250 2.1.0\n250 2.1.5\n250 2.1.5\n354\n" STORED,
         "A@b.test>U@d.test,\"x Y\"@e.test=hi\r\n\n", SERVER_READY, 0},
        {"two messages", BYTES(OPEN DATA "1" ENDS MAIL RCPT DATA "2" ENDS),
         OPENED "354\n" STORED "250 2.1.0\n250 2.1.5\n354\n" STORED,
         "a@b.test>u@d.test=1\r\n\na@b.test>u@d.test=2\r\n\n", SERVER_READY, 0},
        {"chunks", BYTES(OPEN "BDAT 4\r\nhi\r\nBDAT 7 LAST\r\n.\r\nyou!" MAIL),
         OPENED "250 2.0.0\n" STORED "250 2.1.0\n", "a@b.test>u@d.test=hi\r\n.\r\nyou!\n",
         SERVER_MAIL, 0},
        {"null sender, postmaster",
         BYTES(EHLO "MAIL FROM:<> SIZE=9 BODY=8BITMIME SMTPUTF8\r\n"
                    "RCPT TO:<Postmaster>\r\n" DATA "\xC3\xA9" ENDS),
         OPENED "354\n" STORED, ">Postmaster=\xC3\xA9\r\n\n", SERVER_READY, 0},
        {"refused by the spool",
         BYTES(EHLO "MAIL FROM:<nostore@b.test>\r\n" RCPT DATA "hi" ENDS RCPT),
         OPENED "354\n451 4.3.0\n503 5.5.1\n", "", SERVER_READY, 1},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s01_bare_lf_and_bare_cr_end_no_command(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"bare LF", BYTES(EHLO "NOOP\nNOOP\r\n"), "250\n500 5.5.2\n250 2.0.0\n", "",
         SERVER_READY, 0},
        {"bare LF MAIL", BYTES(EHLO "MAIL FROM:<a@b.test>\n" RCPT), "250\n500 5.5.2\n503 5.5.1\n",
         "", SERVER_READY, 1},
        {"bare CR", BYTES(EHLO "NOOP\rNOOP\r\nNOOP\r\n"), "250\n500 5.5.2\n250 2.0.0\n", "",
         SERVER_READY, 0},
        {"CR CR LF", BYTES(EHLO "NOOP\r\r\n"), "250\n500 5.5.2\n", "", SERVER_READY, 0},
        {"LF CR", BYTES(EHLO "NOOP\n\rNOOP\r\n"), "250\n500 5.5.2\n500 5.5.2\n", "",
         SERVER_READY, 0},
        {"only LF", BYTES(EHLO "\n"), "250\n500 5.5.2\n", "", SERVER_READY, 0},
        {"empty line", BYTES(EHLO "\r\n"), "250\n500 5.5.2\n", "", SERVER_READY, 0},
        {"DATA with bare LF takes no content", BYTES(OPEN "DATA\nNOOP\r\n"),
         OPENED "500 5.5.2\n250 2.0.0\n", "", SERVER_RCPT, 1},
    };
    check_rows(rows, COUNT_OF(rows));
}

#define SMUGGLED "MAIL FROM:<evil@b.test>\r\nRCPT TO:<v@d.test>\r\nDATA\r\ny" ENDS

static void s02_only_crlf_dot_crlf_ends_data(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"LF.LF", BYTES(OPEN DATA "x\n.\n" SMUGGLED), OPENED "354\n550 5.6.0\n", "",
         SERVER_READY, 1},
        {"LF.CRLF", BYTES(OPEN DATA "x\n.\r\n" SMUGGLED), OPENED "354\n550 5.6.0\n", "",
         SERVER_READY, 1},
        {"CRLF.LF", BYTES(OPEN DATA "x\r\n.\n" SMUGGLED), OPENED "354\n550 5.6.0\n", "",
         SERVER_READY, 1},
        {"CR.CR", BYTES(OPEN DATA "x\r.\r" SMUGGLED), OPENED "354\n550 5.6.0\n", "",
         SERVER_READY, 1},
        {"CR.CRLF", BYTES(OPEN DATA "x\r.\r\n" SMUGGLED), OPENED "354\n550 5.6.0\n", "",
         SERVER_READY, 1},
        {"CRLF.CR", BYTES(OPEN DATA "x\r\n.\r" SMUGGLED), OPENED "354\n550 5.6.0\n", "",
         SERVER_READY, 1},
        {"CRLF.CRCRLF", BYTES(OPEN DATA "x\r\n.\r\r\n" SMUGGLED), OPENED "354\n550 5.6.0\n", "",
         SERVER_READY, 1},
        {"LF.CRCRLF", BYTES(OPEN DATA "x\n.\r\r\n" SMUGGLED), OPENED "354\n550 5.6.0\n", "",
         SERVER_READY, 1},
        {"CRLF.CRLF at once", BYTES(OPEN DATA ".\r\n" MAIL), OPENED "354\n" STORED "250 2.1.0\n",
         "a@b.test>u@d.test=\n", SERVER_MAIL, 0},
        {"the reply comes at the true end", BYTES(OPEN DATA "x\n.\r\nNOOP\r\nQUIT\r\n"),
         OPENED "354\n", "", SERVER_DATA, 0},
    };
    check_rows(rows, COUNT_OF(rows));
    static const struct {
        const char *bytes;
        size_t size;
    } with_nul[] = {
        {BYTES(OPEN DATA "x\r\n\0.\r\n" SMUGGLED)},
        {BYTES(OPEN DATA "x\r\n.\0\r\n" SMUGGLED)},
    };
    for (size_t i = 0; i < COUNT_OF(with_nul); i++) {
        for (size_t piece = 0; piece < 5; piece++) {
            struct dialogue dialogue;
            dialogue_init(&dialogue, pool);
            dialogue_greet(&dialogue);
            dialogue_send(&dialogue, slice_make(with_nul[i].bytes, with_nul[i].size), piece);
            assert_int_equal(dialogue.messages, 1);
            assert_int_equal(dialogue.replies, 6);
            dialogue_fini(&dialogue);
        }
    }
}

static void s04_dots_are_unstuffed_once(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"two dots", BYTES(OPEN DATA ".." ENDS), OPENED "354\n" STORED,
         "a@b.test>u@d.test=.\r\n\n", SERVER_READY, 0},
        {"dot and text", BYTES(OPEN DATA ".x\r\n...y" ENDS), OPENED "354\n" STORED,
         "a@b.test>u@d.test=x\r\n..y\r\n\n", SERVER_READY, 0},
        {"empty", BYTES(OPEN DATA ".\r\n"), OPENED "354\n" STORED, "a@b.test>u@d.test=\n",
         SERVER_READY, 0},
        {"BDAT keeps them", BYTES(OPEN "BDAT 6 LAST\r\n..x\r\n."), OPENED STORED,
         "a@b.test>u@d.test=..x\r\n.\n", SERVER_READY, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s05_early_talkers_get_554_unless_trusted(void **state)
{
    (void)state;
    for (int trusted = 0; trusted <= 1; trusted++) {
        uint8_t memory[REPLY_BYTES_MAX];
        struct buf replies;
        struct dialogue dialogue;
        struct slice input = SLICE("EHLO c.test\r\n");
        buf_init(&replies, memory, sizeof(memory));
        dialogue_init(&dialogue, pool);
        dialogue.options.trusted = trusted;
        enum want want = server_session_greet(&dialogue.session, true, &replies);
        assert_int_equal(want, trusted ? WANT_INPUT : WANT_CLOSE);
        assert_int_equal(dialogue.rejected, !trusted);
        assert_true(slice_starts_with(buf_slice(&replies),
                                      trusted ? SLICE("220 mta.test Ringpost\r\n")
                                              : SLICE("554 5.5.1 ")));
        want = server_session_feed(&dialogue.session, &input, &replies);
        assert_int_equal(want, trusted ? WANT_OUTPUT : WANT_CLOSE);
        assert_int_equal(input.size, 13);
        dialogue_fini(&dialogue);
    }
}

static void s06_another_protocol_ends_the_dialogue(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"GET", BYTES("GET / HTTP/1.1\r\nHost: x\r\n\r\n" EHLO), "421 4.7.0\n", "", SERVER_CLOSED,
         0},
        {"POST with a dialogue as its body", BYTES("POST / HTTP/1.1\r\nX: y\r\n\r\n" OPEN),
         "421 4.7.0\n", "", SERVER_CLOSED, 0},
        {"GET with bare LF", BYTES("GET / HTTP/1.0\n\n"), "421 4.7.0\n", "", SERVER_CLOSED, 0},
        {"a header line", BYTES(EHLO "Subject: x\r\n" MAIL), "250\n421 4.7.0\n", "",
         SERVER_CLOSED, 0},
        {"TLS hello", BYTES("\x16\x03\x01\x02"), "421 4.7.0\n", "", SERVER_CLOSED, 0},
        {"content of a refused DATA", BYTES(EHLO MAIL DATA "From: x\r\n\r\nhi" ENDS),
         "250\n250 2.1.0\n503 5.5.1\n421 4.7.0\n", "", SERVER_CLOSED, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s07_lines_beyond_the_limit(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"513 without parameters", BYTES(EHLO "NOOP " X500 "xxxxxx\r\nNOOP\r\n"),
         "250\n500 5.5.2\n250 2.0.0\n", "", SERVER_READY, 0},
        {"512 without parameters", BYTES(EHLO "NOOP " X500 "xxxxx\r\n"), "250\n250 2.0.0\n", "",
         SERVER_READY, 0},
        {"a long MAIL with parameters",
         BYTES(EHLO "MAIL FROM:<a@b.test> X=" X1000 X500 X100 X100 "\r\n"), "250\n555 5.5.4\n", "",
         SERVER_READY, 1},
        {"2049 with parameters",
         BYTES(EHLO "MAIL FROM:<a@b.test> " X1000 X1000 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nNOOP"
                    "\r\n"),
         "250\n500 5.5.2\n250 2.0.0\n", "", SERVER_READY, 1},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void send_many(struct dialogue *dialogue, const char *string, size_t count)
{
    for (size_t i = 0; i < count && !dialogue->closed; i++) {
        dialogue_send_string(dialogue, string);
    }
}

static void s07_an_endless_line_is_discarded_up_to_a_limit(void **state)
{
    (void)state;
    static const struct {
        size_t tens;
        const char *replies;
    } rows[] = {
        {COMMAND_DISCARD_BYTES_MAX / 10 - 1, "500 5.5.2\n250 2.0.0\n"},
        {COMMAND_DISCARD_BYTES_MAX / 10 + 1, "421 4.7.0\n"},
        {1000000, "421 4.7.0\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dialogue dialogue;
        dialogue_init(&dialogue, pool);
        dialogue_greet(&dialogue);
        send_many(&dialogue, X10, rows[i].tens);
        dialogue_send_string(&dialogue, "\r\nNOOP\r\n");
        assert_true(
            slice_equal(buf_slice(&dialogue.summary), slice_from_string(rows[i].replies)));
        dialogue_fini(&dialogue);
    }
}

static void s08_bad_bytes_get_501_and_the_session_goes_on(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"NUL", BYTES(EHLO "NO\0OP\r\nNOOP\r\n"), "250\n501 5.5.2\n250 2.0.0\n", "",
         SERVER_READY, 0},
        {"8-bit verb", BYTES(EHLO "N\xC3\xA9\r\n"), "250\n501 5.5.2\n", "", SERVER_READY, 0},
        {"8-bit VRFY", BYTES(OPEN "VRFY \xC3\xA9\r\n" DATA), OPENED "501 5.5.2\n354\n", "",
         SERVER_DATA, 0},
        {"invalid UTF-8", BYTES(EHLO MAIL "RCPT TO:<\xC3@d.test>\r\n"),
         "250\n250 2.1.0\n501 5.5.2\n", "", SERVER_MAIL, 1},
        {"C1 control", BYTES(EHLO "MAIL FROM:<\xC2\x85@b.test> SMTPUTF8\r\n"), "250\n501 5.5.2\n",
         "", SERVER_READY, 1},
        {"8-bit EHLO", BYTES("EHLO \xC3\xA9.test\r\n"), "501 5.5.2\n", "", SERVER_HELLO, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s09_text_lines_of_998_octets_and_one_more(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"998", BYTES(OPEN DATA X998 ENDS), OPENED "354\n" STORED, "a@b.test>u@d.test#1000\n",
         SERVER_READY, 0},
        {"999", BYTES(OPEN DATA X998 "x" ENDS), OPENED "354\n550 5.6.0\n", "", SERVER_READY, 1},
        {"998 by BDAT", BYTES(OPEN "BDAT 1000 LAST\r\n" X998 "\r\n"), OPENED STORED,
         "a@b.test>u@d.test#1000\n", SERVER_READY, 0},
        {"999 by BDAT", BYTES(OPEN "BDAT 1001 LAST\r\n" X998 "x\r\n"), OPENED "550 5.6.0\n", "",
         SERVER_READY, 1},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s10_hello_wants_a_domain_or_a_literal(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"empty", BYTES("EHLO\r\n" MAIL), "501 5.5.4\n503 5.5.1\n", "", SERVER_HELLO, 0},
        {"empty HELO", BYTES("HELO \r\n"), "501 5.5.4\n", "", SERVER_HELLO, 0},
        {"space", BYTES("EHLO a b\r\n"), "501 5.5.4\n", "", SERVER_HELLO, 0},
        {"brackets", BYTES("EHLO <a>\r\n"), "501 5.5.4\n", "", SERVER_HELLO, 0},
        {"control", BYTES("EHLO a\x1B[0m\r\n"), "501 5.5.2\n", "", SERVER_HELLO, 0},
        {"IPv6", BYTES("EHLO [IPv6:2001:db8::1]\r\n"), "250\n", "", SERVER_READY, 0},
        {"bad IPv6", BYTES("EHLO [IPv6:2001:db8::1::2]\r\n"), "501 5.5.4\n", "", SERVER_HELLO, 0},
        {"IPv4", BYTES("HELO [192.0.2.1]\r\n"), "250\n", "", SERVER_READY, 0},
        {"underscore", BYTES("EHLO APP_01\r\n"), "250\n", "", SERVER_READY, 0},
        {"256 octets", BYTES("EHLO " X10 X10 X10 X10 X10 X10 "." X10 X10 X10 X10 X10 X10 "."
                             X10 X10 X10 X10 X10 X10 "." X10 X10 X10 X10 X10 X10 "." X10 "xx"
                             "\r\n"), "501 5.5.4\n", "", SERVER_HELLO, 0},
        {"a failed one changes nothing", BYTES(OPEN "EHLO a b\r\n" DATA), OPENED "501 5.5.4\n"
         "354\n", "", SERVER_DATA, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s11_order_errors(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"MAIL before EHLO", BYTES(MAIL RCPT DATA), "503 5.5.1\n503 5.5.1\n503 5.5.1\n", "",
         SERVER_HELLO, 0},
        {"before EHLO", BYTES("NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\nBDAT 3\r\nNOONOOP\r\n"),
         "250 2.0.0\n250 2.0.0\n252 2.5.2\n502 5.5.1\n503 5.5.1\n250 2.0.0\n", "", SERVER_HELLO,
         0},
        {"RCPT before MAIL", BYTES(EHLO RCPT), "250\n503 5.5.1\n", "", SERVER_READY, 0},
        {"DATA before RCPT", BYTES(EHLO MAIL DATA RCPT), "250\n250 2.1.0\n503 5.5.1\n250 2.1.5\n",
         "", SERVER_RCPT, 0},
        {"BDAT before RCPT", BYTES(EHLO MAIL "BDAT 6 LAST\r\nQUIT\r\n" RCPT),
         "250\n250 2.1.0\n503 5.5.1\n250 2.1.5\n", "", SERVER_RCPT, 0},
        {"second MAIL", BYTES(EHLO MAIL MAIL RCPT MAIL),
         "250\n250 2.1.0\n503 5.5.1\n250 2.1.5\n503 5.5.1\n", "", SERVER_RCPT, 0},
        {"AUTH, STARTTLS in a transaction", BYTES(OPEN "AUTH PLAIN eA==\r\nSTARTTLS\r\n" DATA),
         OPENED "502 5.5.1\n502 5.5.1\n354\n", "", SERVER_DATA, 0},
        {"EXPN HELP ETRN XFORWARD", BYTES(EHLO "EXPN x\r\nHELP\r\nETRN x\r\nXFORWARD A=b\r\n"),
         "250\n502 5.5.1\n502 5.5.1\n502 5.5.1\n502 5.5.1\n", "", SERVER_READY, 0},
        {"unknown", BYTES(EHLO "XYZZY\r\n"), "250\n500 5.5.2\n", "", SERVER_READY, 0},
        {"arguments where none belong", BYTES(OPEN "RSET x\r\nDATA x\r\nQUIT x\r\n"),
         OPENED "501 5.5.4\n501 5.5.4\n501 5.5.4\n", "", SERVER_RCPT, 1},
        {"VRFY nobody", BYTES(EHLO "VRFY\r\nNOOP text\r\n"), "250\n501 5.5.4\n250 2.0.0\n", "",
         SERVER_READY, 0},
        {"EHLO resets", BYTES(OPEN EHLO DATA), OPENED "250\n503 5.5.1\n", "", SERVER_READY, 0},
        {"HELO resets", BYTES(OPEN "HELO c.test\r\n" DATA), OPENED "250\n503 5.5.1\n", "",
         SERVER_READY, 0},
        {"QUIT in a transaction", BYTES(OPEN "QUIT\r\n" DATA), OPENED "221 2.0.0\n", "",
         SERVER_CLOSED, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s12_nothing_survives_a_failed_transaction(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *bytes;
    } failures[] = {
        {"MAIL refused", EHLO "MAIL FROM:<a@denied.test>\r\n"},
        {"MAIL deferred", EHLO "MAIL FROM:<a@full.test>\r\n"},
        {"MAIL malformed", EHLO "MAIL FROM:<a@>\r\n"},
        {"SIZE exceeded", EHLO "MAIL FROM:<a@b.test> SIZE=9999999999\r\n"},
        {"all RCPT refused, RSET", EHLO MAIL "RCPT TO:<u@denied.test>\r\nRSET\r\n"},
        {"all RCPT refused, EHLO", EHLO MAIL "RCPT TO:<u@denied.test>\r\n" EHLO},
        {"RSET after RCPT", OPEN "RSET\r\n"},
        {"RSET between chunks", OPEN "BDAT 2\r\nhiRSET\r\n"},
        {"bare LF in DATA", OPEN DATA "a\nb" ENDS},
        {"long line in DATA", OPEN DATA X1000 ENDS},
        {"bare CR in BDAT", OPEN "BDAT 3\r\na\rb"},
        {"bare LF in BDAT LAST", OPEN "BDAT 3 LAST\r\na\nb"},
        {"chunk over the limit", OPEN "BDAT 2\r\nhiBDAT 1048575\r\n"},
        {"bad BDAT", OPEN "BDAT 2 FIRST\r\nhi"},
        {"spool refused DATA", EHLO "MAIL FROM:<nostore@b.test>\r\n" RCPT DATA "hi" ENDS},
        {"spool refused BDAT", EHLO "MAIL FROM:<nostore@b.test>\r\n" RCPT "BDAT 2 LAST\r\nhi"},
        {"accepted", OPEN DATA "hi" ENDS},
        {"accepted by BDAT", OPEN "BDAT 2 LAST\r\nhi"},
        {"VRFY with UTF-8, RSET", OPEN "VRFY \xC3\xA9\r\nRSET\r\n"},
    };
    static const char *const probes[] = {RCPT, DATA, "BDAT 0 LAST\r\n", "BDAT 4\r\nRSET"};
    static uint8_t octets[1048575];
    memset(octets, 'x', sizeof(octets));
    for (size_t i = 0; i < COUNT_OF(failures) * COUNT_OF(probes); i++) {
        const char *bytes = failures[i / COUNT_OF(probes)].bytes;
        struct dialogue dialogue;
        dialogue_init(&dialogue, pool);
        dialogue_greet(&dialogue);
        dialogue_send_string(&dialogue, bytes);
        if (dialogue.session.state == SERVER_BDAT) {
            dialogue_send(&dialogue, slice_make(octets, sizeof(octets)), 0);
        }
        assert_int_equal(dialogue.session.state, SERVER_READY);
        assert_int_equal(block_pool_used(pool), 0);
        dialogue_send_string(&dialogue, probes[i % COUNT_OF(probes)]);
        assert_int_equal(dialogue.last_code, 503);
        assert_int_equal(dialogue.session.state, SERVER_READY);
        dialogue_clear_logs(&dialogue);
        dialogue_send_string(&dialogue,
                             "MAIL FROM:<n@b.test>\r\nRCPT TO:<v@d.test>\r\nDATA\r\nhi" ENDS);
        assert_true(slice_equal(buf_slice(&dialogue.accepted),
                                SLICE("n@b.test>v@d.test=hi\r\n\n")));
        dialogue_fini(&dialogue);
    }
}

static void s13_s16_addresses_that_are_none(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"senders", BYTES(EHLO "MAIL FROM:<a@b..c>\r\nMAIL FROM:<a@b.>\r\nMAIL FROM:a@b\r\n"
                               "MAIL FROM:<a@b>x\r\nMAIL FROM:<postmaster>\r\nMAIL FROM: <a@b>\r\n"
                               "MAIL FROM:<" X100 "@b>\r\n"),
         "250\n501 5.1.7\n501 5.1.7\n501 5.1.7\n501 5.1.7\n501 5.1.7\n501 5.1.7\n501 5.1.7\n", "",
         SERVER_READY, 7},
        {"recipients", BYTES(EHLO MAIL "RCPT TO:<a@b..c>\r\nRCPT TO:<>\r\nRCPT TO:<a@b>x\r\n"
                                       "RCPT TO:<user>\r\nRCPT TO:<a@b:25>\r\nRCPT TO:<\"a@b>\r\n"
                                       "RCPT TO:<a@" X100 ">\r\n"),
         "250\n250 2.1.0\n501 5.1.3\n501 5.1.3\n501 5.1.3\n501 5.1.3\n501 5.1.3\n501 5.1.3\n"
         "501 5.1.3\n",
         "", SERVER_MAIL, 7},
        {"no keyword", BYTES(EHLO "MAIL <a@b>\r\nMAIL\r\n" MAIL "RCPT <a@b>\r\n"),
         "250\n501 5.5.4\n501 5.5.4\n250 2.1.0\n501 5.5.4\n", "", SERVER_MAIL, 3},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s15_routes_are_dropped_and_literals_kept(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"route and literal",
         BYTES(EHLO "MAIL FROM:<@r.test:a@b.test>\r\nRCPT TO:<@r,@s:u@[192.0.2.1]>\r\n" DATA "."
                    "\r\n"),
         OPENED "354\n" STORED, "a@b.test>u@[192.0.2.1]=\n", SERVER_READY, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s16_null_senders_and_postmaster(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"taken", BYTES(EHLO "MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\n" DATA ".\r\n"),
         OPENED "354\n" STORED, ">postmaster=\n", SERVER_READY, 0},
        {"null recipient", BYTES(EHLO MAIL "RCPT TO:<>\r\n"), "250\n250 2.1.0\n501 5.1.3\n", "",
         SERVER_MAIL, 1},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s14_quoted_locals_keep_their_bytes(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"quoted",
         BYTES(EHLO "MAIL FROM:<\"A@b\"@C.test>\r\nRCPT TO:<\"a\\\"B\"@c>\r\nRCPT TO:<\"\"@C>\r\n"
                    "RCPT TO:<\"a\\\\\"@c>\r\n" DATA ".\r\n"),
         "250\n250 2.1.0\n250 2.1.5\n250 2.1.5\n250 2.1.5\n354\n" STORED,
         "\"A@b\"@c.test>\"a\\\"B\"@c,\"\"@c,\"a\\\\\"@c=\n", SERVER_READY, 0},
        {"the last unquoted @ decides", BYTES(EHLO MAIL "RCPT TO:<\"u@d.test\"@denied.test>\r\n"),
         "250\n250 2.1.0\n550 5.7.1\n", "", SERVER_MAIL, 1},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s18_s19_faults_of_parameters(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"SIZE", BYTES(EHLO "MAIL FROM:<a@b> SIZE=abc\r\nMAIL FROM:<a@b> SIZE=-1\r\n"
                            "MAIL FROM:<a@b> SIZE=9223372036854775808\r\n"
                            "MAIL FROM:<a@b> SIZE=18446744073709551617\r\n"
                            "MAIL FROM:<a@b> SIZE=1 SIZE=1\r\nMAIL FROM:<a@b> SIZE=1048577\r\n"
                            "MAIL FROM:<a@b> SIZE=1048576\r\n"),
         "250\n501 5.5.4\n501 5.5.4\n552 5.3.4\n501 5.5.4\n501 5.5.4\n552 5.3.4\n250 2.1.0\n", "",
         SERVER_MAIL, 6},
        {"BODY and SMTPUTF8", BYTES(EHLO "MAIL FROM:<a@b> BODY=FOO\r\nMAIL FROM:<a@b> BODY="
                                         "BINARYMIME\r\nMAIL FROM:<a@b> SMTPUTF8=1\r\n"),
         "250\n501 5.5.4\n555 5.5.4\n501 5.5.4\n", "", SERVER_READY, 3},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s19_parameters_that_are_not_offered(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"MAIL", BYTES(EHLO "MAIL FROM:<a@b> BY=1;R\r\nMAIL FROM:<a@b> NOTIFY=NEVER\r\n"
                            "MAIL FROM:<a@b> AUTH=<>\r\nMAIL FROM:<a@b> REQUIRETLS\r\n"),
         "250\n555 5.5.4\n555 5.5.4\n555 5.5.4\n555 5.5.4\n", "", SERVER_READY, 4},
        {"RCPT", BYTES(OPEN "RCPT TO:<a@b> RET=FULL\r\nRCPT TO:<a@b> X==\r\n" DATA),
         OPENED "555 5.5.4\n501 5.5.4\n354\n", "", SERVER_DATA, 2},
        {"after HELO", BYTES("HELO c.test\r\nMAIL FROM:<a@b> SIZE=1\r\n"), "250\n555 5.5.4\n", "",
         SERVER_READY, 1},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s17_encoded_line_ends_are_never_decoded(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"parameters", BYTES(OPEN "RCPT TO:<a@b> ORCPT=rfc822;a+0D+0A+00@b\r\nRSET\r\n"
                                  "MAIL FROM:<a@b> ENVID=x+0D+0ARSET\r\n"),
         OPENED "501 5.5.4\n250 2.0.0\n501 5.5.4\n", "", SERVER_READY, 2},
        {"addresses",
         BYTES(EHLO "MAIL FROM:<a+0D+0A@b>\r\nRCPT TO:<=0D=0A%0d%0a@d>\r\n" DATA ".\r\n"),
         OPENED "354\n" STORED, "a+0D+0A@b>=0D=0A%0d%0a@d=\n", SERVER_READY, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s18_a_lie_about_size_is_found_at_the_end(void **state)
{
    (void)state;
    static const char line[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    for (size_t extra = 0; extra <= 1; extra++) {
        struct dialogue dialogue;
        dialogue_init(&dialogue, pool);
        dialogue_greet(&dialogue);
        dialogue_send_string(&dialogue, EHLO "MAIL FROM:<a@b.test> SIZE=10\r\n" RCPT DATA);
        send_many(&dialogue, line, MIB / 64 - 1 + extra);
        assert_int_equal(dialogue.last_code, 354);
        dialogue_send_string(&dialogue, ".\r\n");
        assert_int_equal(dialogue.last_code, 250);
        dialogue_send_string(&dialogue, OPEN DATA);
        send_many(&dialogue, line, MIB / 64 + 1 + extra);
        assert_int_equal(dialogue.last_code, 354);
        dialogue_send_string(&dialogue, ".\r\n");
        assert_int_equal(dialogue.last_code, 552);
        assert_int_equal(dialogue.rejected, 1);
        assert_true(dialogue.spills > 0);
        dialogue_fini(&dialogue);
    }
}

static void s20_non_ascii_needs_smtputf8(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"sender", BYTES(EHLO "MAIL FROM:<\xC3\xA9@b>\r\n"), "250\n550 5.6.7\n", "", SERVER_READY,
         1},
        {"recipient", BYTES(EHLO MAIL "RCPT TO:<\xC3\xA9@d>\r\n"), "250\n250 2.1.0\n553 5.6.7\n",
         "", SERVER_MAIL, 1},
        {"with SMTPUTF8",
         BYTES(EHLO "MAIL FROM:<\xC3\xA9@b> SMTPUTF8\r\nRCPT TO:<u@\xC3\xA9>\r\n" DATA ".\r\n"),
         OPENED "354\n" STORED, "\xC3\xA9@b>u@\xC3\xA9=\n", SERVER_READY, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void verdicts_are_the_reply(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"sender", BYTES(EHLO "MAIL FROM:<a@denied.test>\r\nMAIL FROM:<a@full.test>\r\n"),
         "250\n550 5.7.1\n452 4.3.1\n", "", SERVER_READY, 2},
        {"recipient", BYTES(EHLO MAIL "RCPT TO:<a@denied.test>\r\nRCPT TO:<a@later.test>\r\n" RCPT),
         "250\n250 2.1.0\n550 5.7.1\n451 4.4.4\n250 2.1.5\n", "", SERVER_RCPT, 2},
        {"stopping is no rejection", BYTES(EHLO "MAIL FROM:<a@stop.test>\r\n" RCPT),
         "250\n421 4.3.2\n", "", SERVER_CLOSED, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s24_bdat_sizes_never_lose_the_position(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"no size", BYTES(OPEN "BDAT\r\nQUIT\r\n"), OPENED "501 5.5.4\n", "", SERVER_CLOSED, 1},
        {"minus", BYTES(OPEN "BDAT -1\r\nQUIT\r\n"), OPENED "501 5.5.4\n", "", SERVER_CLOSED, 1},
        {"plus", BYTES(OPEN "BDAT +1\r\nQUIT\r\n"), OPENED "501 5.5.4\n", "", SERVER_CLOSED, 1},
        {"hex", BYTES(OPEN "BDAT 0x10\r\nQUIT\r\n"), OPENED "501 5.5.4\n", "", SERVER_CLOSED, 1},
        {"1e3", BYTES(OPEN "BDAT 1e3\r\nQUIT\r\n"), OPENED "501 5.5.4\n", "", SERVER_CLOSED, 1},
        {"2^64", BYTES(OPEN "BDAT 18446744073709551616\r\nQUIT\r\n"), OPENED "501 5.5.4\n", "",
         SERVER_CLOSED, 1},
        {"2^63", BYTES(OPEN "BDAT 9223372036854775808\r\nQUIT\r\n"), OPENED, "", SERVER_BDAT, 0},
        {"bare LF", BYTES(OPEN "BDAT 6\nQUIT\r\n"), OPENED "500 5.5.2\n", "", SERVER_CLOSED, 1},
        {"NUL", BYTES(OPEN "BDAT 6\0\r\nQUIT\r\n"), OPENED "501 5.5.2\n", "", SERVER_CLOSED, 1},
        {"trailing junk", BYTES(OPEN "BDAT 6 FIRST\r\nQUIT\r\nNOOP\r\n"),
         OPENED "501 5.5.4\n250 2.0.0\n", "", SERVER_READY, 1},
        {"0 LAST first", BYTES(OPEN "BDAT 0 LAST\r\n"), OPENED STORED, "a@b.test>u@d.test=\n",
         SERVER_READY, 0},
        {"0, 0, 2, 0 LAST", BYTES(OPEN "BDAT 0\r\nBDAT 0\r\nBDAT 2\r\nhiBDAT 0 LAST\r\n"),
         OPENED "250 2.0.0\n250 2.0.0\n250 2.0.0\n" STORED, "a@b.test>u@d.test=hi\n", SERVER_READY,
         0},
        {"endless", BYTES(OPEN "BDAT 1 " X1000 X1000 X100 "\r\nQUIT\r\n"), OPENED "500 5.5.2\n",
         "", SERVER_CLOSED, 1},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s25_a_chunk_over_the_limit_is_consumed_to_the_octet(void **state)
{
    (void)state;
    static uint8_t octets[MIB + 1];
    for (size_t piece = 1000; piece <= 70000; piece += 6900) {
        struct dialogue dialogue;
        memset(octets, 'x', sizeof(octets));
        memcpy(octets, "QUIT\r\n", 6);
        dialogue_init(&dialogue, pool);
        dialogue_greet(&dialogue);
        dialogue_send_string(&dialogue, OPEN "BDAT 1048577\r\n");
        dialogue_send(&dialogue, slice_make(octets, MIB), piece);
        assert_int_equal(dialogue.session.state, SERVER_BDAT);
        assert_int_equal(dialogue.last_code, 250);
        dialogue_send_string(&dialogue, "xBDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n");
        assert_true(slice_equal(buf_slice(&dialogue.summary),
                                SLICE(OPENED "552 5.3.4\n503 5.5.1\n503 5.5.1\n250 2.0.0\n")));
        assert_int_equal(dialogue.session.state, SERVER_READY);
        assert_int_equal(dialogue.rejected, 1);
        dialogue_fini(&dialogue);
    }
}

static void s27_bdat_out_of_place(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"DATA after BDAT", BYTES(OPEN "BDAT 2\r\nhiDATA\r\nBDAT 0 LAST\r\n"),
         OPENED "250 2.0.0\n503 5.5.1\n" STORED, "a@b.test>u@d.test=hi\n", SERVER_READY, 0},
        {"MAIL and RCPT between chunks", BYTES(OPEN "BDAT 2\r\nhi" MAIL RCPT),
         OPENED "250 2.0.0\n503 5.5.1\n503 5.5.1\n", "", SERVER_CHUNKS, 0},
        {"BDAT after LAST", BYTES(OPEN "BDAT 2 LAST\r\nhiBDAT 6\r\nQUIT\r\nNOOP\r\n"),
         OPENED STORED "503 5.5.1\n250 2.0.0\n", "a@b.test>u@d.test=hi\n", SERVER_READY, 0},
        {"RSET in the middle", BYTES(OPEN "BDAT 2\r\nhiRSET\r\nBDAT 6 LAST\r\nQUIT\r\n"),
         OPENED "250 2.0.0\n250 2.0.0\n503 5.5.1\n", "", SERVER_READY, 0},
        {"bare LF", BYTES(OPEN "BDAT 3\r\na\nbBDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n"),
         OPENED "550 5.6.0\n503 5.5.1\n503 5.5.1\n250 2.0.0\n", "", SERVER_READY, 1},
        {"bare LF in LAST", BYTES(OPEN "BDAT 3 LAST\r\na\nbNOOP\r\n"),
         OPENED "550 5.6.0\n250 2.0.0\n", "", SERVER_READY, 1},
        {"CRLF over two chunks", BYTES(OPEN "BDAT 2\r\na\rBDAT 2 LAST\r\n\nb"),
         OPENED "250 2.0.0\n" STORED, "a@b.test>u@d.test=a\r\nb\n", SERVER_READY, 0},
        {"bare CR over two chunks", BYTES(OPEN "BDAT 2\r\na\rBDAT 2 LAST\r\nbc"),
         OPENED "250 2.0.0\n550 5.6.0\n", "", SERVER_READY, 1},
        {"CR at the very end", BYTES(OPEN "BDAT 2 LAST\r\na\rNOOP\r\n"),
         OPENED "550 5.6.0\n250 2.0.0\n", "", SERVER_READY, 1},
        {"end marks are text", BYTES(OPEN "BDAT 7 LAST\r\na\r\n.\r\nb"), OPENED STORED,
         "a@b.test>u@d.test=a\r\n.\r\nb\n", SERVER_READY, 0},
    };
    check_rows(rows, COUNT_OF(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message_by_data_and_by_bdat),
        cmocka_unit_test(s01_bare_lf_and_bare_cr_end_no_command),
        cmocka_unit_test(s02_only_crlf_dot_crlf_ends_data),
        cmocka_unit_test(s04_dots_are_unstuffed_once),
        cmocka_unit_test(s05_early_talkers_get_554_unless_trusted),
        cmocka_unit_test(s06_another_protocol_ends_the_dialogue),
        cmocka_unit_test(s07_lines_beyond_the_limit),
        cmocka_unit_test(s07_an_endless_line_is_discarded_up_to_a_limit),
        cmocka_unit_test(s08_bad_bytes_get_501_and_the_session_goes_on),
        cmocka_unit_test(s09_text_lines_of_998_octets_and_one_more),
        cmocka_unit_test(s10_hello_wants_a_domain_or_a_literal),
        cmocka_unit_test(s11_order_errors),
        cmocka_unit_test(s12_nothing_survives_a_failed_transaction),
        cmocka_unit_test(s13_s16_addresses_that_are_none),
        cmocka_unit_test(s14_quoted_locals_keep_their_bytes),
        cmocka_unit_test(s15_routes_are_dropped_and_literals_kept),
        cmocka_unit_test(s16_null_senders_and_postmaster),
        cmocka_unit_test(s17_encoded_line_ends_are_never_decoded),
        cmocka_unit_test(s18_s19_faults_of_parameters),
        cmocka_unit_test(s19_parameters_that_are_not_offered),
        cmocka_unit_test(s18_a_lie_about_size_is_found_at_the_end),
        cmocka_unit_test(s20_non_ascii_needs_smtputf8),
        cmocka_unit_test(verdicts_are_the_reply),
        cmocka_unit_test(s24_bdat_sizes_never_lose_the_position),
        cmocka_unit_test(s25_a_chunk_over_the_limit_is_consumed_to_the_octet),
        cmocka_unit_test(s27_bdat_out_of_place),
    };
    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
