#include "smtp/event_details.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/json.h"
#include "core/json_read.h"
#include "smtp/named_values.h"

#define NAMES(...)                                                                                 \
    {.names = (const struct slice[]){__VA_ARGS__},                                                 \
     .count = sizeof((const struct slice[]){__VA_ARGS__}) / sizeof(struct slice)}

static struct metadata metadata;
static uint8_t extra_bytes[1024];
static uint8_t header_bytes[4096];
static struct event_details details;

static int set_up(void **state)
{
    (void)state;
    struct buf extra;
    struct buf headers;
    buf_init(&extra, extra_bytes, sizeof(extra_bytes));
    named_value_put(&extra, SLICE("x_order"), SLICE("4711"));
    named_value_put(&extra, SLICE("x_none"), SLICE("null"));
    named_value_put(&extra, SLICE("tenant"), SLICE("\"not this\""));
    named_value_put(&extra, SLICE("list"), SLICE("[1,{\"a\":\"b\"}]"));
    buf_init(&headers, header_bytes, sizeof(header_bytes));
    named_value_put(&headers, SLICE("Subject"), SLICE("hello"));
    named_value_put(&headers, SLICE("X-A"), SLICE("1"));
    named_value_put(&headers, SLICE("X-B"), SLICE(""));
    named_value_put(&headers, SLICE("x-a"), SLICE("2"));
    metadata = (struct metadata){
        .protocol = SLICE("ESMTP"), .hello = SLICE("client.test"), .campaign = SLICE("spring"),
        .extra = buf_slice(&extra), .headers = buf_slice(&headers)};
    return !endpoint_parse(SLICE("192.0.2.1:999"), 0, &metadata.peer) ||
           !endpoint_parse(SLICE("[::1]:25"), 0, &metadata.local);
}

static void expect(const struct conf_log *log, const char *meta, const char *headers)
{
    struct event event = {0};
    event_details_fill(&details, log, &metadata, &event);
    if (!slice_equal(event.meta, slice_from_string(meta)) ||
        !slice_equal(event.headers, slice_from_string(headers))) {
        fail_msg("%.*s\n%.*s", (int)event.meta.size, (const char *)event.meta.data,
                 (int)event.headers.size, (const char *)event.headers.data);
    }
}

static void what_is_listed_is_told_and_nothing_else(void **state)
{
    (void)state;
    const struct conf_log nothing = {0};
    const struct conf_log some = {
        .meta = NAMES({(const uint8_t *)"x_*", 3}, {(const uint8_t *)"received_from", 13},
                      {(const uint8_t *)"tenant", 6}, {(const uint8_t *)"nobody", 6}),
        .headers = NAMES({(const uint8_t *)"subject", 7})};
    const struct conf_log all = {.meta = NAMES({(const uint8_t *)"*", 1}),
                                        .headers = NAMES({(const uint8_t *)"*", 1},
                                                         {(const uint8_t *)"X-A", 3})};
    expect(&nothing, "", "");
    expect(&some, "\"received_from\":\"192.0.2.1:999\",\"x_order\":4711",
           "\"Subject\":\"hello\"");
    expect(&all,
           "\"reception_protocol\":\"ESMTP\",\"received_from\":\"192.0.2.1:999\","
           "\"received_via\":\"[::1]:25\",\"ehlo_domain\":\"client.test\","
           "\"campaign\":\"spring\",\"extra\":{\"x_order\":4711,\"x_none\":null,"
           "\"tenant\":\"not this\",\"list\":[1,{\"a\":\"b\"}]},\"x_order\":4711,"
           "\"list\":[1,{\"a\":\"b\"}]",
           "\"Subject\":\"hello\",\"X-A\":[\"1\",\"2\"],\"X-B\":\"\"");
}

static void of_http_the_port_is_nothing(void **state)
{
    (void)state;
    const struct conf_log log = {.meta = NAMES({(const uint8_t *)"rece*", 5})};
    metadata.protocol = SLICE("HTTP");
    metadata.local = (struct endpoint){0};
    expect(&log, "\"reception_protocol\":\"HTTP\",\"received_from\":\"192.0.2.1\"", "");
}

/* whatever a client says, the record is one line and has exactly that. */
static void no_header_breaks_the_record(void **state)
{
    (void)state;
    const struct conf_log log = {.meta = NAMES({(const uint8_t *)"*", 1}),
                                        .headers = NAMES({(const uint8_t *)"*", 1})};
    static const struct slice poison[] = {
        {(const uint8_t *)"a\r\nb", 4}, {(const uint8_t *)"\0", 1},
        {(const uint8_t *)"\x1B]0;x\x07", 7}, {(const uint8_t *)"\"},\"type\":\"x", 13},
        {(const uint8_t *)"\xE2\x80\xA8\xE2\x80\xAE", 6}, {(const uint8_t *)"\xFF\xFE", 2}};
    struct json_reader *reader = json_reader_open();
    for (size_t i = 0; i < COUNT_OF(poison); i++) {
        static uint8_t line[EVENT_JSON_BYTES_MAX];
        struct event event = {0};
        struct buf buf;
        struct slice back;
        buf_init(&buf, header_bytes, sizeof(header_bytes));
        named_value_put(&buf, SLICE("X-A"), poison[i]);
        named_value_put(&buf, poison[i], SLICE("b"));
        metadata.headers = buf_slice(&buf);
        metadata.hello = poison[i];
        event_details_fill(&details, &log, &metadata, &event);
        buf_init(&buf, line, sizeof(line));
        event_put_json(&buf, &event);
        assert_false(buf.overflow);
        assert_int_equal(slice_find(buf_slice(&buf), '\n'), buf.size - 1);
        assert_true(json_read(reader, buf_slice(&buf)));
        assert_int_equal(json_read_count(reader, "/headers"), 2);
        assert_true(json_read_string(reader, "/headers/X-A", &back));
        assert_true(!slice_is_utf8(poison[i]) || slice_equal(back, poison[i]));
        assert_true(json_read_string(reader, "/meta/ehlo_domain", &back));
        assert_true(!slice_is_utf8(poison[i]) || slice_equal(back, poison[i]));
    }
    json_reader_close(reader);
}

static void members_without_room_are_left_out_whole(void **state)
{
    (void)state;
    const struct conf_log log = {.headers = NAMES({(const uint8_t *)"*", 1})};
    uint8_t controls[EVENT_MEMBERS_BYTES_MAX / JSON_STRING_GROWTH + 1];
    struct buf buf;
    memset(controls, 1, sizeof(controls));
    buf_init(&buf, header_bytes, sizeof(header_bytes));
    named_value_put(&buf, SLICE("A"), SLICE("1"));
    named_value_put(&buf, SLICE("B"), slice_make(controls, sizeof(controls)));
    named_value_put(&buf, SLICE("C"), SLICE("3"));
    metadata.headers = buf_slice(&buf);
    expect(&log, "", "\"A\":\"1\",\"C\":\"3\"");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        TEST(what_is_listed_is_told_and_nothing_else),
        TEST(of_http_the_port_is_nothing),
        TEST(no_header_breaks_the_record),
        TEST(members_without_room_are_left_out_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
