#include "smtp/report_arf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_BYTES (64 * KIB)

static uint8_t json_memory[JSON_BYTES];

static const char *json_of(struct slice fields)
{
    struct arf arf;
    struct json json;
    struct buf buf;
    if (!arf_read(fields, &arf)) {
        return NULL;
    }
    buf_init(&buf, json_memory, sizeof(json_memory));
    json_init(&json, &buf);
    json_object(&json);
    arf_put_members(&json, &arf);
    json_object_end(&json);
    buf_put_byte(&buf, 0);
    assert_false(buf.overflow);
    return (const char *)json_memory;
}

static void assert_json(const char *fields, const char *expected)
{
    const char *json = json_of(slice_from_string(fields));
    assert_non_null(json);
    assert_string_equal(json, expected);
}

#define ABSENT                                                                                     \
    "\"arrival_date\":null,\"incidents\":null,\"original_envelope_id\":null,"                      \
    "\"original_mail_from\":null,\"reporting_mta\":null,\"source_ip\":null,"                       \
    "\"authentication_results\":[],\"original_rcpto_to\":[],\"reported_domain\":[],"               \
    "\"reported_uri\":[],\"extensions\":{}}"

static void complaints_have_the_members_of_kumomta(void **state)
{
    (void)state;
    assert_json("Feedback-Type: abuse\r\nUser-Agent: SomeGenerator/1.0\r\nVersion: 1\r\n"
                "Original-Mail-From: <somespammer@example.net>\r\n"
                "Original-Rcpt-To: <user@example.com>\r\nOriginal-Rcpt-To:<b@example.com>\r\n"
                "Arrival-Date: Thu, 8 Mar 2005 14:00:00 EDT\r\nReporting-MTA: dns; mail.example.com"
                "\r\nSource-IP: 192.0.2.1\r\nAuthentication-Results: mail.example.com\r\n"
                "               smtp.mail=a@example.com;\r\n               spf=fail\r\n"
                "Reported-Domain: example.net\r\nReported-Uri: http://example.net/x\r\n"
                "Removal-Recipient: user@example.com\r\nremoval-recipient: b\r\n"
                "Incidents: 3\r\nOriginal-Envelope-Id: x\r\n",
                "{\"feedback_type\":\"abuse\",\"user_agent\":\"SomeGenerator/1.0\","
                "\"version\":\"1\","
                "\"arrival_date\":\"2005-03-08T18:00:00.000Z\",\"incidents\":3,"
                "\"original_envelope_id\":\"x\",\"original_mail_from\":\"somespammer@example.net\","
                "\"reporting_mta\":{\"mta_type\":\"dns\",\"name\":\"mail.example.com\"},"
                "\"source_ip\":\"192.0.2.1\",\"authentication_results\":[\"mail.example.com"
                "               smtp.mail=a@example.com;               spf=fail\"],"
                "\"original_rcpto_to\":[\"user@example.com\",\"b@example.com\"],"
                "\"reported_domain\":[\"example.net\"],\"reported_uri\":[\"http://example.net/x\"],"
                "\"extensions\":{\"removal-recipient\":[\"user@example.com\",\"b\"]}}");
}

static void d08_old_versions_are_read_and_values_that_are_none_left_out(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *version;
    } versions[] = {{"1", "1"}, {"0.1", "0.1"}, {"2", "2"}, {"x", ""}, {".1", ""},
                    {"123456789", ""}, {"", ""}};
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        char fields[200];
        char expected[600];
        snprintf(fields, sizeof(fields), "Feedback-Type: a-new-one\nVersion: %s\n",
                 versions[i].value);
        snprintf(expected, sizeof(expected),
                 "{\"feedback_type\":\"a-new-one\",\"user_agent\":null,\"version\":\"%s\"," ABSENT,
                 versions[i].version);
        assert_json(fields, expected);
    }
    assert_json("Feedback-Type: x\nSource-IP: 1.2.3\nIncidents: many\nArrival-Date: soon\n",
                "{\"feedback_type\":\"x\",\"user_agent\":null,\"version\":\"\"," ABSENT);
    assert_json("Feedback-Type: x\nSource-IP: 1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19\n"
                "Incidents: 4294967296\n",
                "{\"feedback_type\":\"x\",\"user_agent\":null,\"version\":\"\"," ABSENT);
    assert_non_null(strstr(json_of(SLICE("Feedback-Type: x\nSource-IP: 2001:db8::1\n")),
                           "\"source_ip\":\"2001:db8::1\""));
    assert_non_null(strstr(json_of(SLICE("Feedback-Type: x\nReceived-Date: 1 Jan 2005 0:0:0 Z\n")),
                           "\"arrival_date\":\"2005-01-01T00:00:00.000Z\""));
    assert_null(json_of(SLICE("Version: 1\n")));
    assert_null(json_of(SLICE("Feedback-Type: \r\n")));
}

static void d08_a_hundred_thousand_recipients_are_some(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct slice line = SLICE("Original-Rcpt-To: <a@b>\r\n");
    uint8_t *memory = malloc((COUNT + 1) * line.size);
    struct buf buf;
    struct arf arf;
    struct slice recipient;
    assert_non_null(memory);
    buf_init(&buf, memory, (COUNT + 1) * line.size);
    buf_put(&buf, SLICE("Feedback-Type: abuse\r\n"));
    for (unsigned i = 0; i < COUNT; i++) {
        buf_put(&buf, line);
    }
    const char *json = json_of(buf_slice(&buf));
    unsigned count = 0;
    for (const char *at = json; (at = strstr(at, "a@b")) != NULL; at++) {
        count++;
    }
    assert_int_equal(count, ARF_VALUES_MAX);
    assert_true(arf_read(buf_slice(&buf), &arf) && arf_recipient(&arf, &recipient));
    assert_true(slice_equal(slice_trim(recipient), SLICE("<a@b>")));
    free(memory);
}

/* Names and values of every size: never more than there is room for in an event. */
static void d08_texts_of_any_size_fit(void **state)
{
    (void)state;
    static uint8_t memory[256 * KIB];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    buf_put(&buf, SLICE("Feedback-Type: abuse\r\n"));
    for (unsigned i = 0; buf_room(&buf) > 1000; i++) {
        buf_printf(&buf, "X-%u-", i);
        memset(buf_reserve(&buf, i % 200), 'x', i % 200);
        buf_put(&buf, SLICE(": "));
        memset(buf_reserve(&buf, i * 7 % 300), 1, i * 7 % 300);
        buf_put(&buf, SLICE("\r\n"));
    }
    const char *json = json_of(buf_slice(&buf));
    assert_true(strlen(json) > ARF_LISTS_BYTES_MAX / 2);
    assert_true(strlen(json) < 32 * KIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complaints_have_the_members_of_kumomta),
        cmocka_unit_test(d08_old_versions_are_read_and_values_that_are_none_left_out),
        cmocka_unit_test(d08_a_hundred_thousand_recipients_are_some),
        cmocka_unit_test(d08_texts_of_any_size_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
