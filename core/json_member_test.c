#include "core/json_member.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void a_member_is_its_value_or_null_when_there_is_none(void **state)
{
    (void)state;
    uint8_t bytes[512];
    struct buf buf;
    struct json json;
    struct endpoint endpoint;
    const struct id id = {.bytes = {0x01, 0xAB, [15] = 0xFF}};
    assert_true(endpoint_parse(SLICE("192.0.2.1:25"), 0, &endpoint));
    buf_init(&buf, bytes, sizeof(bytes));
    json_init(&json, &buf);
    json_object(&json);
    json_member_u64(&json, "n", UINT64_MAX);
    json_member_text(&json, "text", SLICE("a\"b"));
    json_member_text(&json, "none", SLICE(""));
    json_member_word(&json, "word", "moving");
    json_member_time(&json, "time", 1795366150123456789);
    json_member_time(&json, "never", 0);
    json_member_id(&json, "id", &id);
    json_member_endpoint(&json, "peer", &endpoint);
    json_object_end(&json);
    assert_true(slice_equal(buf_slice(&buf), SLICE(
        "{\"n\":18446744073709551615,\"text\":\"a\\\"b\",\"none\":null,\"word\":\"moving\","
        "\"time\":\"2026-11-22T16:49:10.123Z\",\"never\":null,"
        "\"id\":\"01ab00000000000000000000000000ff\",\"peer\":\"192.0.2.1:25\"}")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_member_is_its_value_or_null_when_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
