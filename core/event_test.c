#include "core/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#include "core/json_read.h"

static uint8_t line_bytes[64 * KIB];

static struct slice line_of(const struct event *event)
{
    struct buf buf;
    buf_init(&buf, line_bytes, sizeof(line_bytes));
    event_put_json(&buf, event);
    assert_false(buf.overflow);
    return buf_slice(&buf);
}

static struct event delivery(void)
{
    struct event event = {
        .type = EVENT_DELIVERY,
        .protocol = SLICE("ESMTP"),
        .code = 250,
        .enhanced = {2, 0, 0},
        .attempts = 2,
        .delivery_ms = 17,
        .size = 4096,
        .wall_ns = 1795365001234567890u,
        .created_ns = 1795365000111000000u,
        .spool = 0x1122334455667788u,
        .sequence = 5,
        .lane = 1,
        .peer_name = SLICE("mx.test"),
        .sender = SLICE("a@from.test"),
        .recipient = SLICE("b@to.test"),
        .queue = SLICE("to.test"),
        .site = SLICE("unspecified->mx.test@smtp_client"),
        .pool = SLICE("unspecified"),
        .source_name = SLICE("unspecified"),
        .command = SLICE("."),
        .content = SLICE("OK ids=1"),
    };
    memset(event.id.bytes, 0x0A, sizeof(event.id.bytes));
    memset(event.node.bytes, 0x0B, sizeof(event.node.bytes));
    memset(event.session.bytes, 0x0C, sizeof(event.session.bytes));
    assert_true(endpoint_parse(SLICE("192.0.2.1:25"), 0, &event.peer));
    assert_true(endpoint_parse(SLICE("192.0.2.9:40000"), 0, &event.source));
    return event;
}

static void a_delivery_is_one_line_with_every_field(void **state)
{
    (void)state;
    struct event event = delivery();
    struct slice line = line_of(&event);
    struct slice expected = SLICE(
        "{\"type\":\"Delivery\",\"id\":\"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\","
        "\"sender\":\"a@from.test\",\"recipient\":\"b@to.test\",\"queue\":\"to.test\","
        "\"site\":\"unspecified->mx.test@smtp_client\",\"size\":4096,"
        "\"response\":{\"code\":250,\"enhanced_code\":{\"class\":2,\"subject\":0,\"detail\":0},"
        "\"content\":\"OK ids=1\",\"command\":\".\"},"
        "\"peer_address\":{\"name\":\"mx.test\",\"addr\":\"192.0.2.1\"},"
        "\"timestamp\":1795365001,\"timestamp_ms\":1795365001234,"
        "\"event_time\":\"2026-11-22T16:30:01.234Z\",\"created\":1795365000,"
        "\"created_time\":\"2026-11-22T16:30:00.111Z\",\"queue_age_ms\":1123,"
        "\"num_attempts\":2,\"delivery_ms\":17,\"delivery_protocol\":\"ESMTP\","
        "\"reception_protocol\":\"ESMTP\",\"egress_pool\":\"unspecified\","
        "\"egress_source\":\"unspecified\",\"source_address\":{\"address\":\"192.0.2.9:40000\"},"
        "\"class\":\"bulk\",\"feedback_report\":null,\"meta\":{},\"headers\":{},"
        "\"nodeid\":\"0b0b0b0b-0b0b-0b0b-0b0b-0b0b0b0b0b0b\","
        "\"session_id\":\"0c0c0c0c-0c0c-0c0c-0c0c-0c0c0c0c0c0c\","
        "\"event_id\":\"11223344556677880010000000000005\"}\n");
    if (!slice_equal(line, expected)) {
        fail_msg("%.*s", (int)line.size, (const char *)line.data);
    }
}

static void what_a_type_lacks_is_null_or_left_out(void **state)
{
    (void)state;
    static const struct {
        enum event_type type;
        bool attempt;
        bool classified;
    } cases[] = {
        {EVENT_RECEPTION, false, false}, {EVENT_DELIVERY, true, false},
        {EVENT_TRANSIENT_FAILURE, true, true}, {EVENT_BOUNCE, true, true},
        {EVENT_EXPIRATION, false, true}, {EVENT_ADMIN_BOUNCE, false, true},
        {EVENT_REJECTION, false, true},
    };
    struct json_reader *reader = json_reader_open();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct event event = {.type = cases[i].type, .code = 451, .content = SLICE("x")};
        struct slice text;
        assert_true(json_read(reader, line_of(&event)));
        assert_true(json_read_string(reader, "/type", &text));
        assert_true(slice_equal(text, slice_from_string(event_type_name(cases[i].type))));
        assert_int_equal(json_read_kind(reader, "/delivery_ms") == JSON_INTEGER,
                         cases[i].attempt);
        assert_int_equal(json_read_kind(reader, "/delivery_protocol") == JSON_STRING,
                         cases[i].attempt);
        assert_int_equal(json_read_kind(reader, "/bounce_classification") == JSON_STRING,
                         cases[i].classified);
        assert_int_equal(json_read_kind(reader, "/peer_address"), JSON_NULL);
        assert_int_equal(json_read_kind(reader, "/source_address"), JSON_NULL);
        assert_int_equal(json_read_kind(reader, "/egress_pool"), JSON_NULL);
        assert_int_equal(json_read_kind(reader, "/response/enhanced_code"), JSON_NULL);
        assert_int_equal(json_read_kind(reader, "/response/command"), JSON_NULL);
        assert_int_equal(json_read_kind(reader, "/session_id"), JSON_ABSENT);
        assert_int_equal(json_read_kind(reader, "/event_id"), JSON_ABSENT);
        assert_int_equal(json_read_kind(reader, "/uncertain"), JSON_ABSENT);
    }
    json_reader_close(reader);
}

/* L-series: whatever stands in a field, the log holds one record with exactly that value. */
static void no_text_breaks_the_line_or_the_record(void **state)
{
    const struct slice poison[] = {
        SLICE("a\r\nb"), SLICE("\0"), SLICE("\x1B]0;x\x07"), SLICE("\xE2\x80\xA8\xE2\x80\xAE"),
        SLICE("\",\"type\":\"Bounce"), SLICE("%n%s {{x}} \\u000a"), SLICE("\xFF\xFE"),
    };
    struct json_reader *reader = json_reader_open();
    (void)state;
    for (size_t i = 0; i < COUNT_OF(poison); i++) {
        struct event event = delivery();
        struct slice *const fields[] = {&event.sender,    &event.recipient,   &event.queue,
                                        &event.site,      &event.peer_name,   &event.pool,
                                        &event.source_name, &event.command,   &event.content};
        const char *const paths[] = {"/sender", "/recipient", "/queue", "/site",
                                     "/peer_address/name", "/egress_pool", "/egress_source",
                                     "/response/command", "/response/content"};
        for (size_t k = 0; k < COUNT_OF(fields); k++) {
            *fields[k] = poison[i];
        }
        struct slice line = line_of(&event);
        assert_int_equal(slice_find(line, '\n'), line.size - 1);
        assert_true(json_read(reader, line));
        for (size_t k = 0; k < COUNT_OF(paths); k++) {
            struct slice back;
            assert_true(json_read_string(reader, paths[k], &back));
            if (slice_is_utf8(poison[i])) {
                assert_true(slice_equal(back, poison[i]));
            }
        }
    }
    json_reader_close(reader);
}

static void the_largest_record_fits_and_long_text_is_cut_between_characters(void **state)
{
    static uint8_t controls[2 * EVENT_TEXT_BYTES_MAX];
    static uint8_t wide[2 * EVENT_TEXT_BYTES_MAX + 1];
    struct event event = delivery();
    struct json_reader *reader = json_reader_open();
    struct slice back;
    (void)state;
    memset(controls, 1, sizeof(controls));
    struct slice long_text = slice_make(controls, sizeof(controls));
    event.sender = event.recipient = event.queue = event.site = event.peer_name = long_text;
    event.pool = event.source_name = event.command = event.content = long_text;
    event.uncertain = true;
    assert_true(line_of(&event).size <= EVENT_JSON_BYTES_MAX);

    for (size_t i = 0; i < sizeof(wide) - 1; i += 2) {
        memcpy(wide + 1 + i, "\xC3\xA9", 2);
    }
    wide[0] = 'x';
    event.content = slice_make(wide, sizeof(wide));
    assert_true(json_read(reader, line_of(&event)));
    assert_true(json_read_string(reader, "/response/content", &back));
    assert_int_equal(back.size, EVENT_TEXT_BYTES_MAX - 1);
    assert_true(slice_equal(back, slice_first(event.content, back.size)));
    json_reader_close(reader);
}

static void a_record_that_does_not_fit_is_left_out_whole(void **state)
{
    uint8_t bytes[600];
    struct event event = delivery();
    struct buf buf;
    (void)state;
    buf_init(&buf, bytes, sizeof(bytes));
    buf_put(&buf, SLICE("before"));
    event_put_json(&buf, &event);
    assert_true(buf.overflow);
    assert_true(slice_equal(buf_slice(&buf), SLICE("before")));
}

static void names_of_types_are_read_back(void **state)
{
    enum event_type type;
    (void)state;
    for (unsigned i = 0; i < EVENT_TYPES; i++) {
        assert_true(
            event_type_parse(slice_from_string(event_type_name((enum event_type)i)), &type));
        assert_int_equal(type, i);
    }
    assert_false(event_type_parse(SLICE("delivery"), &type));
    assert_false(event_type_parse(SLICE(""), &type));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delivery_is_one_line_with_every_field),
        cmocka_unit_test(what_a_type_lacks_is_null_or_left_out),
        cmocka_unit_test(no_text_breaks_the_line_or_the_record),
        cmocka_unit_test(the_largest_record_fits_and_long_text_is_cut_between_characters),
        cmocka_unit_test(a_record_that_does_not_fit_is_left_out_whole),
        cmocka_unit_test(names_of_types_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
