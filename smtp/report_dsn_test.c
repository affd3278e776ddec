#include "smtp/report_dsn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "smtp/report_text.h"

static void assert_text(struct slice slice, const char *expected)
{
    if (!slice_equal(slice_trim(slice), slice_from_string(expected))) {
        fail_msg("'%.*s' is not '%s'", (int)slice.size, (const char *)slice.data, expected);
    }
}

static void d05_status_codes_are_strict(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        struct dsn_status status;
    } rows[] = {
        {" 5.1.1", {5, 1, 1}},
        {"4.999.999", {4, 999, 999}},
        {"2.0.0", {2, 0, 0}},
        {"5.1.1 (x (y))", {5, 1, 1}},
        {"5.1.1\r\n (x)", {5, 1, 1}},
        {"5.1", {0}},
        {"5.1.1.1", {0}},
        {"5.1.1 x", {0}},
        {"999.999.999", {0}},
        {"05.1.1", {0}},
        {"5.1000.1", {0}},
        {"5.1.1000000000", {0}},
        {"3.1.1", {0}},
        {"five", {0}},
        {"-5.1.1", {0}},
        {"5.-1.1", {0}},
        {"5. 1.1", {0}},
        {"5..1", {0}},
        {"", {0}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dsn_status status = dsn_status_parse(slice_from_string(rows[i].value));
        if (status.class != rows[i].status.class || status.subject != rows[i].status.subject ||
            status.detail != rows[i].status.detail) {
            fail_msg("%s: %u.%u.%u", rows[i].value, status.class, status.subject, status.detail);
        }
    }
}

static void diagnostics_of_smtp_have_a_code(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint16_t code;
        const char *text;
    } rows[] = {
        {" smtp; 550 5.1.1 no", 550, "5.1.1 no"},
        {"SMTP;550-no\r\n yes", 550, "no\r\n yes"},
        {"smtp; 451", 451, ""},
        {"smtp; 5500 no", 0, "5500 no"},
        {"smtp; 650 no", 0, "650 no"},
        {"smtp; 550no", 0, "550no"},
        {"x-unix; 550 no", 0, "550 no"},
        {"550 no", 0, "550 no"},
        {"", 0, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dsn_diagnostic diagnostic = dsn_diagnostic_parse(slice_from_string(rows[i].value));
        assert_int_equal(diagnostic.code, rows[i].code);
        assert_text(diagnostic.text, rows[i].text);
    }
}

static void d04_fields_of_the_message_and_of_each_recipient(void **state)
{
    (void)state;
    struct dsn_message message;
    struct dsn_recipient recipient;
    struct dsn_cursor cursor;
    /* Line ends of both kinds, folds, spaces, fields twice, empty lines more than needed. */
    dsn_open(SLICE("\r\nReporting-MTA : dns; mx.test  \r\nReporting-MTA: dns; no\r\n"
                   "Original-Envelope-ID: abc\r\nArrival-Date: today\r\n\r\n\r\n"
                   "Final-Recipient: rfc822; a@b\r\nACTION: Failed (x)\r\nStatus: 5.1.1\r\n"
                   "Action: delayed\r\nDiagnostic-Code: smtp;\r\n 550 no\r\n\r\n"
                   "Comment: not a recipient\n\n"
                   "Original-Recipient: rfc822;o@b\nfinal-recipient:c@d\nAction: vanished\n"
                   "Status: 5\nRemote-MTA: dns; r.test\n\n\n"
                   "Action: delayed\nStatus: 4.2.2\n"),
             &message, &cursor);
    assert_text(message.reporting_mta, "dns; mx.test");
    assert_text(message.original_envelope_id, "abc");
    assert_text(message.arrival_date, "today");
    assert_true(dsn_next(&cursor, &recipient));
    assert_text(recipient.final_recipient, "rfc822; a@b");
    assert_int_equal(recipient.action, DSN_FAILED);
    assert_int_equal(recipient.status.detail, 1);
    assert_int_equal(dsn_diagnostic_parse(recipient.diagnostic).code, 550);
    assert_int_equal(recipient.original_recipient.size, 0);
    assert_true(dsn_next(&cursor, &recipient));
    assert_text(recipient.original_recipient, "rfc822;o@b");
    assert_text(recipient.final_recipient, "c@d");
    assert_text(recipient.remote_mta, "dns; r.test");
    assert_int_equal(recipient.action, DSN_UNKNOWN);
    assert_int_equal(recipient.status.class, 0);
    assert_int_equal(recipient.diagnostic.size, 0);
    assert_true(dsn_next(&cursor, &recipient));
    assert_int_equal(recipient.final_recipient.size, 0);
    assert_int_equal(recipient.action, DSN_DELAYED);
    assert_int_equal(recipient.status.class, 4);
    assert_false(dsn_next(&cursor, &recipient));
    assert_int_equal(cursor.count, 3);
}

static void d04_groups_that_are_missing(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        unsigned recipients;
    } rows[] = {
        {"", 0},
        {"\r\n\r\n", 0},
        {"Reporting-MTA: dns; a\r\n", 0},
        {"Reporting-MTA: dns; a\r\n\r\nX-Other: b\r\n", 0},
        {"Reporting-MTA: dns; a\r\nFinal-Recipient: b\r\nAction: failed\r\n", 1},
        {"Final-Recipient: b\r\n\r\nFinal-Recipient: c\r\n", 2},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct dsn_message message;
        struct dsn_recipient recipient;
        struct dsn_cursor cursor;
        dsn_open(slice_from_string(rows[i].fields), &message, &cursor);
        unsigned count = 0;
        while (dsn_next(&cursor, &recipient)) {
            count++;
        }
        assert_int_equal(count, rows[i].recipients);
    }
}

static void d04_recipients_are_counted_up_to_a_limit(void **state)
{
    (void)state;
    enum { GROUPS = 100000 };
    struct slice group = SLICE("Final-Recipient: rfc822; a@b\r\n\r\n");
    uint8_t *memory = malloc(GROUPS * group.size);
    struct buf buf;
    struct dsn_message message;
    struct dsn_recipient recipient;
    struct dsn_cursor cursor;
    assert_non_null(memory);
    buf_init(&buf, memory, GROUPS * group.size);
    for (unsigned i = 0; i < GROUPS; i++) {
        buf_put(&buf, group);
    }
    dsn_open(buf_slice(&buf), &message, &cursor);
    while (dsn_next(&cursor, &recipient)) {
    }
    assert_int_equal(cursor.count, DSN_RECIPIENTS_MAX);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d05_status_codes_are_strict),
        cmocka_unit_test(diagnostics_of_smtp_have_a_code),
        cmocka_unit_test(d04_fields_of_the_message_and_of_each_recipient),
        cmocka_unit_test(d04_groups_that_are_missing),
        cmocka_unit_test(d04_recipients_are_counted_up_to_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
