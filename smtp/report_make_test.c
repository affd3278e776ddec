#include "smtp/report_make.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "smtp/report_read.h"
#include "smtp/report_text.h"

#define WALL_NS 1795366150000000000 /* Sun, 22 Nov 2026 16:49:10 +0000 */
#define MESSAGE "Subject: hi\r\nX-A: b\r\n c\r\n\r\nThe body.\r\n"

static struct report_recipient failed(void)
{
    return (struct report_recipient){
        .action = DSN_FAILED,
        .address = SLICE("ann@example.com"),
        .code = 550,
        .enhanced = {5, 1, 1},
        .text = SLICE("No such user here"),
        .remote = SLICE("mx.example.com"),
    };
}

static struct report_facts facts_of(const struct report_recipient *recipients, uint32_t count)
{
    return (struct report_facts){
        .hostname = SLICE("mta.test"),
        .id = SLICE("0190f3c2a7b84d5e8f000000000000ff"),
        .wall_ns = WALL_NS,
        .arrival_ns = WALL_NS - 3600 * NS_PER_S,
        .sender = SLICE("from@example.org"),
        .message = SLICE(MESSAGE),
        .message_bytes = sizeof(MESSAGE) - 1,
        .recipients = recipients,
        .recipient_count = count,
    };
}

struct made {
    struct buf buf;
    struct report_needs needs;
};

static struct made make(const struct report_facts *facts)
{
    struct made made;
    size_t room = report_make_bytes_max(facts);
    uint8_t *memory = malloc(room);
    assert_non_null(memory);
    buf_init(&made.buf, memory, room);
    report_make_put(facts, &made.buf, &made.needs);
    assert_false(made.buf.overflow);
    return made;
}

static bool contains(const struct made *made, const char *text)
{
    return memmem(made->buf.data, made->buf.size, text, strlen(text)) != NULL;
}

static void a_failure_as_it_stands(void **state)
{
    (void)state;
    struct report_recipient recipient = failed();
    recipient.original = SLICE("rfc822;ann+2Bx@example.com");
    struct report_facts facts = facts_of(&recipient, 1);
    facts.envelope_id = SLICE("QQ+20314159");
    struct made made = make(&facts);
    static const char expected[] =
        "Date: Sun, 22 Nov 2026 16:49:10 +0000\r\n"
        "From: Mail Delivery System <MAILER-DAEMON@mta.test>\r\n"
        "To: <from@example.org>\r\n"
        "Subject: Undelivered mail\r\n"
        "Message-ID: <0190f3c2a7b84d5e8f000000000000ff@mta.test>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        "\tboundary=\"=_r0190f3c2a7b84d5e8f000000000000ff\"\r\n"
        "\r\n"
        "--=_r0190f3c2a7b84d5e8f000000000000ff\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "\r\n"
        "This is the mail system at mta.test.\r\n"
        "\r\n"
        "It is about a message of yours, which came here\r\n"
        "on Sun, 22 Nov 2026 15:49:10 +0000.\r\n"
        "\r\n"
        "<ann@example.com>\r\n"
        " could not be delivered\r\n"
        "     mx.example.com said: 550 5.1.1 No such user here\r\n"
        "\r\n"
        "--=_r0190f3c2a7b84d5e8f000000000000ff\r\n"
        "Content-Type: message/delivery-status\r\n"
        "\r\n"
        "Original-Envelope-Id: QQ 314159\r\n"
        "Reporting-MTA: dns;mta.test\r\n"
        "Arrival-Date: Sun, 22 Nov 2026 15:49:10 +0000\r\n"
        "\r\n"
        "Original-Recipient: rfc822;ann+x@example.com\r\n"
        "Final-Recipient: rfc822;ann@example.com\r\n"
        "Action: failed\r\n"
        "Status: 5.1.1\r\n"
        "Remote-MTA: dns; mx.example.com\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 No such user here\r\n"
        "\r\n"
        "--=_r0190f3c2a7b84d5e8f000000000000ff\r\n"
        "Content-Type: text/rfc822-headers\r\n"
        "\r\n"
        "Subject: hi\r\n"
        "X-A: b\r\n"
        " c\r\n"
        "--=_r0190f3c2a7b84d5e8f000000000000ff--\r\n";
    assert_int_equal(made.buf.size, sizeof(expected) - 1);
    assert_memory_equal(made.buf.data, expected, sizeof(expected) - 1);
    assert_false(made.needs.eightbit || made.needs.smtputf8);
    free(made.buf.data);
}

static void the_worst_of_all_recipients_is_the_subject(void **state)
{
    (void)state;
    static const struct {
        enum dsn_action actions[3];
        const char *subject;
    } rows[] = {
        {{DSN_DELIVERED, DSN_FAILED, DSN_DELAYED}, "Subject: Undelivered mail\r\n"},
        {{DSN_DELIVERED, DSN_RELAYED, DSN_DELAYED}, "Subject: Delayed mail\r\n"},
        {{DSN_RELAYED, DSN_DELIVERED, DSN_RELAYED}, "Subject: Delivered mail\r\n"},
        {{DSN_RELAYED, DSN_RELAYED, DSN_EXPANDED}, "Subject: Relayed mail\r\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct report_recipient recipients[3];
        for (size_t n = 0; n < 3; n++) {
            recipients[n] = (struct report_recipient){.action = rows[i].actions[n],
                                                      .address = SLICE("a@b")};
        }
        struct report_facts facts = facts_of(recipients, 3);
        struct made made = make(&facts);
        assert_true(contains(&made, rows[i].subject));
        free(made.buf.data);
    }
}

static void of_a_delay_the_end_is_told_and_a_status_is_always_there(void **state)
{
    (void)state;
    static const struct {
        struct report_recipient recipient;
        const char *status;
    } rows[] = {
        {{.action = DSN_DELAYED, .code = 451}, "Status: 4.0.0\r\n"},
        {{.action = DSN_DELAYED}, "Status: 4.0.0\r\n"},
        {{.action = DSN_FAILED}, "Status: 5.0.0\r\n"},
        {{.action = DSN_FAILED, .code = 451, .enhanced = {4, 4, 7}}, "Status: 4.4.7\r\n"},
        {{.action = DSN_RELAYED, .code = 250}, "Status: 2.0.0\r\n"},
        {{.action = DSN_RELAYED, .code = 777}, "Status: 2.0.0\r\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct report_recipient recipient = rows[i].recipient;
        recipient.address = SLICE("a@b");
        recipient.retry_until_ns = WALL_NS;
        struct report_facts facts = facts_of(&recipient, 1);
        struct made made = make(&facts);
        assert_true(contains(&made, rows[i].status));
        assert_int_equal(contains(&made, "Will-Retry-Until: Sun, 22 Nov 2026 16:49:10 +0000\r\n"),
                         recipient.action == DSN_DELAYED);
        free(made.buf.data);
    }
}

static void the_message_is_returned_as_was_asked_for_and_as_it_can_be(void **state)
{
    (void)state;
    static uint8_t large[REPORT_RETURN_BYTES_MAX + 100];
    memset(large, 'x', sizeof(large));
    memcpy(large, "A: b\r\nB: ", 9);
    struct report_recipient recipient = failed();
    const struct {
        struct slice message;
        uint64_t bytes; /* of all of it; 0: that is all */
        bool full;
        bool utf8;
        const char *part; /* null: none */
        bool eightbit;
    } rows[] = {
        {SLICE("A: b\r\n\r\nc\r\n"), 0, false, false,
         "Content-Type: text/rfc822-headers\r\n\r\nA: b\r\n--", false},
        {SLICE("A: b\r\n\r\nc\r\n"), 0, true, false,
         "Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nc\r\n--", false},
        {SLICE("A: b\r\n\r\nc"), 0, true, false,
         "Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nc\r\n--", false},
        {SLICE("A: b\r\n\r\nc\r\n"), 100, true, false,
         "Content-Type: text/rfc822-headers\r\n\r\nA: b\r\n--", false},
        {SLICE("A: \xC3\xA9\r\n\r\n"), 0, false, true,
         "Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA: ",
         true},
        {SLICE("A: b\r\n\r\n\xE9\r\n"), 0, true, false,
         "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA: b\r\n\r\n",
         true},
        {SLICE("A: b\r\n\r\n\xC3\xA9\r\n"), 0, true, true, "Content-Type: message/global\r\n",
         true},
        {SLICE("A: b\r\n\r\n\xC3\xA9\r\n"), 0, false, false, "rfc822-headers\r\n\r\nA: b\r\n--",
         false},
        {slice_make(large, sizeof(large)), 0, true, false, "rfc822-headers\r\n\r\nA: b\r\n--",
         false},
        {SLICE("A: --=_r0190f3c2a7b84d5e8f000000000000ff\r\n"), 0, false, false, NULL, false},
        {SLICE("\r\nbody\r\n"), 0, false, false, NULL, false},
        {SLICE(""), 0, true, false, NULL, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct report_facts facts = facts_of(&recipient, 1);
        facts.message = rows[i].message;
        facts.message_bytes = rows[i].bytes == 0 ? rows[i].message.size : rows[i].bytes;
        facts.full = rows[i].full;
        facts.smtputf8 = rows[i].utf8;
        struct made made = make(&facts);
        assert_int_equal(made.needs.eightbit, rows[i].eightbit);
        if (rows[i].part != NULL && !contains(&made, rows[i].part)) {
            fail_msg("row %zu: %.*s", i, (int)made.buf.size, (const char *)made.buf.data);
        }
        assert_true(rows[i].part != NULL ||
                    (!contains(&made, "rfc822-headers") && !contains(&made, "message/rfc822")));
        free(made.buf.data);
    }
}

/* Everything that comes from outside, in every field; and what our own reader makes of it. */
static void d12_hostile_texts_stay_in_their_place(void **state)
{
    (void)state;
    static uint8_t huge[64 * KIB];
    memset(huge, 'x', sizeof(huge));
    const struct slice poisons[] = {
        SLICE("a\r\nBcc: b@c"), SLICE("a\n\n--=_r"), SLICE("a\rb"), SLICE("a\0b"),
        SLICE("\x1B]0;x\x07"), SLICE("\xE2\x80\xA8\xE2\x80\xAE"), SLICE("\xFF\xFE"),
        SLICE("%n%s{{x}}\";\\u000a"), SLICE("      "), slice_make(huge, sizeof(huge)),
        SLICE("--=_r0190f3c2a7b84d5e8f000000000000ff--"),
    };
    for (size_t i = 0; i < COUNT_OF(poisons); i++) {
        struct report_recipient recipient = failed();
        recipient.text = poisons[i];
        recipient.remote = poisons[i];
        recipient.original = poisons[i];
        recipient.address = poisons[i];
        struct report_recipient recipients[2] = {recipient, failed()};
        struct report_facts facts = facts_of(recipients, 2);
        facts.envelope_id = poisons[i];
        struct made made = make(&facts);
        struct slice rest = buf_slice(&made.buf);
        while (rest.size > 0) {
            size_t end = slice_find(rest, '\n');
            assert_true(end > 0 && end <= 999 && rest.data[end - 1] == '\r');
            for (size_t at = 0; at + 1 < end; at++) {
                uint8_t byte = rest.data[at];
                assert_true(byte == '\t' || (byte >= ' ' && byte < 0x7F));
            }
            rest = slice_skip(rest, end + 1);
        }
        assert_false(contains(&made, "\r\nBcc:"));
        struct report report;
        struct dsn_message message;
        struct dsn_cursor cursor;
        struct dsn_recipient read;
        struct buf scratch;
        buf_init(&scratch, NULL, 0);
        assert_true(report_read(buf_slice(&made.buf), true, &scratch, &report));
        dsn_open(report.fields, &message, &cursor);
        assert_true(dsn_next(&cursor, &read) && read.action == DSN_FAILED);
        assert_true(dsn_next(&cursor, &read) && read.status.detail == 1);
        assert_int_equal(dsn_diagnostic_parse(read.diagnostic).code, 550);
        assert_false(dsn_next(&cursor, &read));
        assert_true(report.original.size > 0);
        free(made.buf.data);
    }
}

static void d12_addresses_beyond_ascii_are_encoded_and_read_back(void **state)
{
    (void)state;
    uint8_t memory[64];
    struct buf buf;
    struct buf scratch;
    struct report report;
    struct dsn_message message;
    struct dsn_cursor cursor;
    struct dsn_recipient read;
    struct report_recipient recipient = failed();
    recipient.address = SLICE("z\xC3\xB6+\xF0\x9F\x98\x80=\\@b\xC3\xBC.example");
    struct report_facts facts = facts_of(&recipient, 1);
    struct made made = make(&facts);
    buf_init(&scratch, NULL, 0);
    assert_true(slice_is_ascii(buf_slice(&made.buf)));
    assert_true(report_read(buf_slice(&made.buf), true, &scratch, &report));
    dsn_open(report.fields, &message, &cursor);
    assert_true(dsn_next(&cursor, &read));
    buf_init(&buf, memory, sizeof(memory));
    report_put_address(&buf, read.final_recipient);
    assert_true(slice_equal(buf_slice(&buf), recipient.address));
    facts.sender = SLICE("\xC3\xB6@b");
    free(made.buf.data);
    made = make(&facts);
    assert_true(made.needs.smtputf8 && made.needs.eightbit);
    free(made.buf.data);
}

static void d12_many_recipients_fit_in_what_is_promised(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static struct report_recipient recipients[COUNT];
    static uint8_t text[KIB];
    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = i % 2 == 0 ? ' ' : 'x';
    }
    for (size_t i = 0; i < COUNT; i++) {
        recipients[i] = failed();
        recipients[i].text = slice_make(text, sizeof(text));
        recipients[i].remote = recipients[i].text;
        recipients[i].original = recipients[i].text;
    }
    struct report_facts facts = facts_of(recipients, COUNT);
    struct made made = make(&facts);
    assert_true(contains(&made, "And 980 more recipients"));
    free(made.buf.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_as_it_stands),
        cmocka_unit_test(the_worst_of_all_recipients_is_the_subject),
        cmocka_unit_test(of_a_delay_the_end_is_told_and_a_status_is_always_there),
        cmocka_unit_test(the_message_is_returned_as_was_asked_for_and_as_it_can_be),
        cmocka_unit_test(d12_hostile_texts_stay_in_their_place),
        cmocka_unit_test(d12_addresses_beyond_ascii_are_encoded_and_read_back),
        cmocka_unit_test(d12_many_recipients_fit_in_what_is_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
