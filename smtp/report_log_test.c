/* From the text of a report to what is logged of it, and through the payload of an EVENT. */
#include "smtp/report_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/event.h"
#include "core/json_read.h"

#define DSN_HEAD "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
#define ARF_HEAD "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n"
#define STATUS   "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
#define FEEDBACK "--b\r\nContent-Type: message/feedback-report\r\n\r\n"
#define ORIGINAL "--b\r\nContent-Type: message/rfc822\r\n\r\n"
#define END      "--b--\r\n"

static uint8_t memory[MIB];
static uint8_t scratch_memory[MIB];
static uint8_t text_memory[MIB];

/* `said` of a text; `count_out` its entries. Empty: it is no report. */
static struct slice said_of(struct slice text, uint32_t entries_max, uint32_t *count_out)
{
    struct report report;
    struct buf scratch;
    struct buf buf;
    buf_init(&scratch, scratch_memory, sizeof(scratch_memory));
    *count_out = 0;
    if (!report_log_read(text, true, &scratch, &report)) {
        return SLICE_NONE;
    }
    size_t most = report_log_bytes_max(&report);
    assert_true(most <= sizeof(memory));
    buf_init(&buf, memory, most);
    *count_out = report_log_put(&buf, &report, SLICE("{\"x\":1}"), entries_max);
    assert_false(buf.overflow);
    return buf_slice(&buf);
}

static void expect_entry(struct slice *said, unsigned code, const char *enhanced,
                         const char *recipient, const char *content)
{
    char text[16];
    struct report_entry entry;
    assert_int_equal(report_said_next(said, &entry), 1);
    snprintf(text, sizeof(text), "%u.%u.%u", entry.enhanced[0], entry.enhanced[1],
             entry.enhanced[2]);
    assert_int_equal(entry.code, code);
    assert_string_equal(text, enhanced);
    if (!slice_equal(entry.recipient, slice_from_string(recipient)) ||
        !slice_equal(entry.content, slice_from_string(content))) {
        fail_msg("\"%.*s\" \"%.*s\"", (int)entry.recipient.size,
                 (const char *)entry.recipient.data, (int)entry.content.size,
                 (const char *)entry.content.data);
    }
}

static void d04_a_notification_has_an_entry_for_each_recipient_that_failed(void **state)
{
    (void)state;
    static const char text[] = DSN_HEAD STATUS
        "Reporting-MTA: dns; mx.far.test\r\n\r\n"
        "Original-Recipient: rfc822;<a@far.test>\r\nFinal-Recipient: rfc822; b@far.test\r\n"
        "Action: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550-5.1.1 no such\r\n user\r\n\r\n"
        "Final-Recipient: rfc822; late@far.test\r\nAction: delayed\r\nStatus: 4.4.1\r\n\r\n"
        "Final-Recipient: rfc822; c@far.test\r\nAction: failed\r\nStatus: 5.999.1\r\n\r\n"
        "Final-Recipient: rfc822; d@far.test\r\nAction: failed\r\n"
        "Diagnostic-Code: smtp; 552 5.2.2 full\r\n\r\n"
        "Final-Recipient: rfc822; e@far.test\r\nAction: failed\r\nStatus: 4.4.7\r\n"
        "Diagnostic-Code: X-Host; gave up \"later\"\r\n\r\n"
        "Final-Recipient: rfc822; f@far.test\r\nAction: relayed\r\nStatus: 2.0.0\r\n" END;
    struct slice reporter;
    struct report_entry entry;
    uint32_t count;
    struct slice said = said_of(slice_from_string(text), 100, &count);
    assert_int_equal(count, 4);
    assert_true(report_said_open(&said, &reporter));
    assert_true(slice_equal(reporter, SLICE("mx.far.test")));
    expect_entry(&said, 550, "5.1.1", "a@far.test", "no such user");
    expect_entry(&said, 550, "0.0.0", "c@far.test", "");
    expect_entry(&said, 552, "5.2.2", "d@far.test", "full");
    expect_entry(&said, 550, "4.4.7", "e@far.test", "gave up \"later\"");
    assert_int_equal(report_said_next(&said, &entry), 0);
    said_of(slice_from_string(text), 2, &count);
    assert_int_equal(count, 2);
}

/* A notification of success is a report, and there is nothing to log of it. */
static void a_report_without_failures_has_no_entries(void **state)
{
    (void)state;
    uint32_t count = 7;
    struct slice said = said_of(SLICE(DSN_HEAD STATUS "Reporting-MTA: dns; x\r\n\r\n"
                                      "Final-Recipient: rfc822; f@x.test\r\nAction: delivered\r\n"
                                      END),
                                100, &count);
    assert_int_equal(count, 0);
    assert_true(said.size > 0);
}

static void a_complaint_is_the_object_of_kumomta_with_the_original(void **state)
{
    (void)state;
    struct json_reader *json = json_reader_open();
    struct slice text;
    uint32_t count;
    struct slice said =
        said_of(SLICE(ARF_HEAD FEEDBACK "Feedback-Type: abuse\r\nUser-Agent: Some/1\r\n"
                      "Version: 1\r\nX-Own: one\r\nX-Own: two\r\n" ORIGINAL
                      "Subject: it\r\n\r\nHello\r\n" END),
                100, &count);
    assert_int_equal(count, 1);
    assert_true(json_read(json, said));
    assert_true(json_read_string(json, "/feedback_type", &text));
    assert_true(slice_equal(text, SLICE("abuse")));
    assert_true(json_read_string(json, "/extensions/x-own/1", &text));
    assert_true(slice_equal(text, SLICE("two")));
    assert_true(json_read_string(json, "/original_message", &text));
    assert_true(slice_equal(text, SLICE("Subject: it\r\n\r\nHello")));
    said = said_of(SLICE(ARF_HEAD FEEDBACK "Feedback-Type: abuse\r\nVersion: 1\r\n" END), 100,
                   &count);
    assert_true(json_read(json, said));
    assert_false(json_read_string(json, "/original_message", &text));
    said = said_of(SLICE(ARF_HEAD FEEDBACK "Version: 1\r\n" END), 100, &count);
    assert_int_equal(said.size, 0); /* no complaint without a Feedback-Type */
    json_reader_close(json);
}

/* The largest of everything, of characters that grow most: the record is whole all the same. */
static void d08_the_largest_complaint_fits_into_its_record(void **state)
{
    (void)state;
    static const char *const names[] = {"Feedback-Type",      "User-Agent", "Version",
                                        "Original-Envelope-Id", "Original-Mail-From",
                                        "Reporting-MTA"};
    static uint8_t line[EVENT_JSON_BYTES_MAX];
    struct buf text;
    struct buf out;
    uint32_t count;
    buf_init(&text, text_memory, sizeof(text_memory));
    buf_put(&text, SLICE(ARF_HEAD FEEDBACK));
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        buf_printf(&text, "%s: ", names[i]);
        for (unsigned n = 0; n < 500; n++) {
            buf_put(&text, SLICE("\xE2\x80\xAE"));
        }
        buf_put(&text, SLICE("\r\n"));
    }
    for (unsigned i = 0; i < 300; i++) {
        buf_printf(&text, "X-%u: \"\\\"\\\"\\\"\\\r\nReported-URI: \"\"\"\"\"\"\"\"\r\n", i);
    }
    buf_put(&text, SLICE(ORIGINAL));
    for (unsigned i = 0; i < 100000; i++) {
        buf_put_byte(&text, i % 60 == 59 ? '\n' : 0x01);
    }
    buf_put(&text, SLICE("\r\n" END));
    struct slice said = said_of(buf_slice(&text), 100, &count);
    assert_int_equal(count, 1);
    assert_in_range(said.size, REPORT_ORIGINAL_BYTES_MAX, EVENT_FEEDBACK_BYTES_MAX);
    struct event event = {.type = EVENT_FEEDBACK,
                          .sender = slice_first(buf_slice(&text), EVENT_TEXT_BYTES_MAX),
                          .recipient = slice_first(buf_slice(&text), EVENT_TEXT_BYTES_MAX),
                          .feedback = said};
    buf_init(&out, line, sizeof(line));
    event_put_json(&out, &event);
    assert_false(out.overflow);
    struct json_reader *json = json_reader_open();
    assert_true(json_read(json, slice_first(buf_slice(&out), out.size - 1)));
    json_reader_close(json);
}

static void what_can_be_no_report_is_known_by_its_header(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool may_be;
    } rows[] = {
        {"Subject: x\r\n\r\nbody", false},
        {"Content-Type: text/plain\r\n\r\nbody", false},
        {"Content-Type: text/plain\r\nSubj", false},
        {"Content-Type: Multipart/Report; boundary=b\r\n\r\n", true},
        {"content-type:\r\n multipart/report\r\n\r\n", true},
        {"Content-Type:\r\n", true},
        {"Subject: x\r\nReceived: fr", true},
        {"\r\nContent-Type: multipart/report\r\n", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (report_log_may_be(slice_from_string(rows[i].text)) != rows[i].may_be) {
            fail_msg("%s", rows[i].text);
        }
    }
}

static void a_payload_comes_back_as_it_was_put_and_damage_is_noticed(void **state)
{
    (void)state;
    const struct report_event put = {
        .wall_ns = 9, .kind = REPORT_DELIVERY, .size = 1ull << 40,
        .id = {.bytes = {1, [15] = 2}}, .envelope = SLICE("env"), .metadata = SLICE("metadata")};
    const struct report_entry entries[] = {
        {550, {5, 1, 1}, SLICE("a@b.test"), SLICE("no")}, {450, {0}, SLICE(""), SLICE("")}};
    struct report_event event;
    struct report_entry entry;
    struct slice reporter;
    struct buf buf;
    buf_init(&buf, memory, 400);
    assert_true(report_event_begin(&buf, &put));
    assert_true(report_said_begin(&buf, SLICE("mx")));
    assert_true(report_said_put(&buf, &entries[0]) && report_said_put(&buf, &entries[1]));
    report_event_end(&buf, 77, 2);
    struct slice payload = buf_slice(&buf);
    assert_true(report_event_get(payload, &event));
    assert_int_equal(event.sequence, 77);
    assert_int_equal(event.count, 2);
    assert_int_equal(event.wall_ns, 9);
    assert_int_equal(event.size, 1ull << 40);
    assert_memory_equal(&event.id, &put.id, sizeof(put.id));
    assert_true(slice_equal(event.envelope, put.envelope));
    assert_true(slice_equal(event.metadata, put.metadata));
    struct slice said = event.said;
    assert_true(report_said_open(&said, &reporter) && slice_equal(reporter, SLICE("mx")));
    expect_entry(&said, 550, "5.1.1", "a@b.test", "no");
    expect_entry(&said, 450, "0.0.0", "", "");
    assert_int_equal(report_said_next(&said, &entry), 0);
    for (size_t size = 0; size < payload.size; size++) {
        assert_false(report_event_get(slice_first(payload, size), &event));
    }
    memory[24] = 9; /* the kind */
    assert_false(report_event_get(payload, &event));
    buf_init(&buf, memory, REPORT_EVENT_HEAD_BYTES + 5);
    assert_false(report_event_begin(&buf, &put));
    assert_int_equal(buf.size, 0);
    buf_init(&buf, memory, 12);
    assert_true(report_said_begin(&buf, SLICE("mx")));
    assert_false(report_said_put(&buf, &entries[0]));
    assert_int_equal(buf.size, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d04_a_notification_has_an_entry_for_each_recipient_that_failed),
        cmocka_unit_test(a_report_without_failures_has_no_entries),
        cmocka_unit_test(a_complaint_is_the_object_of_kumomta_with_the_original),
        cmocka_unit_test(d08_the_largest_complaint_fits_into_its_record),
        cmocka_unit_test(what_can_be_no_report_is_known_by_its_header),
        cmocka_unit_test(a_payload_comes_back_as_it_was_put_and_damage_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
