#include "smtp/received.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#define WALL_NS 1795366150123456789ull
#define ID      "0190aabbccdd7000800000000001ffff"

static struct received plain(struct endpoint *peer, struct endpoint *local)
{
    assert_true(endpoint_parse_address(SLICE("192.0.2.1"), peer));
    assert_true(endpoint_parse_address(SLICE("2001:db8::9"), local));
    local->port = 25;
    return (struct received){
        .hello = SLICE("client.example"),
        .peer = peer,
        .hostname = SLICE("mta.test"),
        .local = local,
        .protocol = received_protocol(true, false),
        .id = SLICE(ID),
        .recipient = SLICE("user@example.com"),
        .wall_ns = WALL_NS,
    };
}

static void assert_field(const struct received *received, const char *expected)
{
    uint8_t memory[RECEIVED_BYTES_MAX + 1];
    struct buf buf;
    buf_init(&buf, memory, RECEIVED_BYTES_MAX);
    received_put(&buf, received);
    assert_false(buf.overflow);
    memory[buf.size] = 0;
    assert_string_equal((const char *)memory, expected);
}

static void one_recipient_is_named_and_lines_are_folded(void **state)
{
    (void)state;
    struct endpoint peer;
    struct endpoint local;
    struct received received = plain(&peer, &local);
    assert_field(&received, "Received: from client.example ([192.0.2.1])\r\n"
                            " by mta.test (Ringpost [IPv6:2001:db8::9])\r\n"
                            " with ESMTP id " ID " for <user@example.com>;\r\n"
                            " Sun, 22 Nov 2026 16:49:10 +0000\r\n");
}

static void an_address_of_ours_that_is_not_known_is_left_out(void **state)
{
    (void)state;
    struct endpoint peer;
    struct endpoint local;
    struct received received = plain(&peer, &local);
    received.protocol = SLICE("HTTP");
    local = (struct endpoint){0};
    assert_field(&received, "Received: from client.example ([192.0.2.1])\r\n"
                            " by mta.test (Ringpost)\r\n"
                            " with HTTP id " ID " for <user@example.com>;\r\n"
                            " Sun, 22 Nov 2026 16:49:10 +0000\r\n");
}

static void several_recipients_are_not_named(void **state)
{
    (void)state;
    struct endpoint peer;
    struct endpoint local;
    struct received received = plain(&peer, &local);
    received.recipient = SLICE_NONE;
    received.hello = SLICE_NONE;
    received.protocol = received_protocol(true, true);
    assert_field(&received, "Received: from unknown ([192.0.2.1])\r\n"
                            " by mta.test (Ringpost [IPv6:2001:db8::9])\r\n"
                            " with UTF8SMTP id " ID ";\r\n"
                            " Sun, 22 Nov 2026 16:49:10 +0000\r\n");
}

static void the_protocol_says_how_it_came(void **state)
{
    (void)state;
    assert_true(slice_equal(received_protocol(false, false), SLICE("SMTP")));
    assert_true(slice_equal(received_protocol(true, false), SLICE("ESMTP")));
    assert_true(slice_equal(received_protocol(true, true), SLICE("UTF8SMTP")));
}

static void no_value_can_break_out_of_its_field(void **state)
{
    (void)state;
    struct endpoint peer;
    struct endpoint local;
    struct received received = plain(&peer, &local);
    received.hello = SLICE("a\r\nX: y\0z");
    assert_field(&received, "Received: from a??X: y?z ([192.0.2.1])\r\n"
                            " by mta.test (Ringpost [IPv6:2001:db8::9])\r\n"
                            " with ESMTP id " ID " for <user@example.com>;\r\n"
                            " Sun, 22 Nov 2026 16:49:10 +0000\r\n");
}

static void the_longest_names_fit_and_no_line_passes_998(void **state)
{
    (void)state;
    struct endpoint peer;
    struct endpoint local;
    struct received received = plain(&peer, &local);
    uint8_t name[255];
    uint8_t memory[RECEIVED_BYTES_MAX];
    struct buf buf;
    memset(name, 'x', sizeof(name));
    received.hello = slice_make(name, 255);
    received.hostname = slice_make(name, 255);
    received.recipient = slice_make(name, 254);
    buf_init(&buf, memory, sizeof(memory));
    received_put(&buf, &received);
    assert_false(buf.overflow);
    size_t line = 0;
    for (size_t i = 0; i < buf.size; i++) {
        line = memory[i] == '\n' ? 0 : line + 1;
        assert_true(line <= 999);
        if (line == 1 && i > 0) {
            assert_int_equal(memory[i], ' ');
        }
    }
    assert_true(slice_ends_with(buf_slice(&buf), SLICE("+0000\r\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_recipient_is_named_and_lines_are_folded),
        cmocka_unit_test(an_address_of_ours_that_is_not_known_is_left_out),
        cmocka_unit_test(several_recipients_are_not_named),
        cmocka_unit_test(the_protocol_says_how_it_came),
        cmocka_unit_test(no_value_can_break_out_of_its_field),
        cmocka_unit_test(the_longest_names_fit_and_no_line_passes_998),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
