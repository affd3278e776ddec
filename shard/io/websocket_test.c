/* A codec of each role against the other, and frames made by hand (RFC 6455 5). */
#include "shard/io/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#define MESSAGE_MAX 300

struct end {
    struct websocket websocket;
    uint8_t memory[MESSAGE_MAX];
};

static void begin(struct end *end, enum websocket_role role)
{
    assert_true(websocket_init(&end->websocket, role, end->memory, sizeof(end->memory), 7));
}

static void frames_cross_whole_wherever_they_are_cut(void **state)
{
    struct end client;
    uint8_t memory[1024];
    struct buf wire;
    (void)state;
    begin(&client, WEBSOCKET_CLIENT);
    buf_init(&wire, memory, sizeof(memory));
    assert_true(websocket_put_text(&client.websocket, &wire, SLICE("{\"terse\":true}")));
    assert_true(websocket_put_ping(&client.websocket, &wire, SLICE("are you there")));
    assert_true(websocket_put_text(&client.websocket, &wire, SLICE("")));
    assert_true(websocket_put_close(&client.websocket, &wire, WEBSOCKET_CODE_NORMAL,
                                    SLICE("enough")));
    for (size_t cut = 0; cut <= wire.size; cut++) {
        struct end server;
        struct slice parts[] = {slice_first(buf_slice(&wire), cut),
                                slice_skip(buf_slice(&wire), cut)};
        uint8_t seen[8] = {0};
        unsigned count = 0;
        begin(&server, WEBSOCKET_SERVER);
        for (unsigned i = 0; i < COUNT_OF(parts); i++) {
            enum websocket_step step;
            while ((step = websocket_feed(&server.websocket, &parts[i])) != WEBSOCKET_MORE) {
                assert_true(count < COUNT_OF(seen));
                if (count == 0) {
                    assert_true(slice_equal(websocket_message(&server.websocket),
                                            SLICE("{\"terse\":true}")));
                } else if (count == 1) {
                    assert_true(slice_equal(websocket_control(&server.websocket),
                                            SLICE("are you there")));
                } else if (count == 2) {
                    assert_int_equal(websocket_message(&server.websocket).size, 0);
                }
                seen[count++] = (uint8_t)step;
            }
            assert_int_equal(parts[i].size, 0);
        }
        assert_int_equal(count, 4);
        assert_int_equal(seen[0], WEBSOCKET_TEXT);
        assert_int_equal(seen[1], WEBSOCKET_PING);
        assert_int_equal(seen[2], WEBSOCKET_TEXT);
        assert_int_equal(seen[3], WEBSOCKET_CLOSE);
        assert_int_equal(server.websocket.code, WEBSOCKET_CODE_NORMAL);
        websocket_fini(&server.websocket);
    }
    websocket_fini(&client.websocket);
}

static void a_servers_frames_are_not_masked_and_reach_the_client(void **state)
{
    struct end server;
    struct end client;
    uint8_t memory[64];
    struct buf wire;
    (void)state;
    begin(&server, WEBSOCKET_SERVER);
    begin(&client, WEBSOCKET_CLIENT);
    buf_init(&wire, memory, sizeof(memory));
    assert_true(websocket_put_text(&server.websocket, &wire, SLICE("{\"lost\":3}")));
    assert_memory_equal(memory, "\x81\x0a{\"lost\":3}", 12);
    struct slice input = buf_slice(&wire);
    assert_int_equal(websocket_feed(&client.websocket, &input), WEBSOCKET_TEXT);
    assert_true(slice_equal(websocket_message(&client.websocket), SLICE("{\"lost\":3}")));
    assert_false(websocket_put_text(&server.websocket, &wire, SLICE("there is no more room for it: "
                                                                    "it is a bit too long")));
    assert_int_equal(wire.size, 12);
    websocket_fini(&server.websocket);
    websocket_fini(&client.websocket);
}

#define FRAME(bytes) {(const uint8_t *)(bytes), sizeof(bytes) - 1}

/* With a mask of zeros, as text can be read then. */
#define MASK "\0\0\0\0"

static void what_breaks_the_rules_ends_it_with_its_code(void **state)
{
    static const struct {
        struct slice bytes;
        unsigned code;
    } rows[] = {
        {FRAME("\x81\x01x"), WEBSOCKET_CODE_PROTOCOL},                        /* no mask */
        {FRAME("\xc1\x81" MASK "x"), WEBSOCKET_CODE_PROTOCOL},                /* a reserved bit */
        {FRAME("\x82\x81" MASK "x"), WEBSOCKET_CODE_TYPE},                    /* binary */
        {FRAME("\x83\x81" MASK "x"), WEBSOCKET_CODE_PROTOCOL},                /* no such opcode */
        {FRAME("\x80\x81" MASK "x"), WEBSOCKET_CODE_PROTOCOL},
        {FRAME("\x01\x81" MASK "x\x81\x81" MASK "y"), WEBSOCKET_CODE_PROTOCOL}, /* two */
        {FRAME("\x09\x80" MASK), WEBSOCKET_CODE_PROTOCOL},                    /* a part of a ping */
        {FRAME("\x89\xfe\x00\x7e" MASK), WEBSOCKET_CODE_PROTOCOL},            /* too large a ping */
        {FRAME("\x81\x82" MASK "\xc3("), WEBSOCKET_CODE_TEXT},                /* no UTF-8 */
        {FRAME("\x81\xfe\x01\x2d" MASK "x"), WEBSOCKET_CODE_TOO_BIG},             /* 301 bytes */
        {FRAME("\x81\xff\x7f\0\0\0\0\0\0\0" MASK "x"), WEBSOCKET_CODE_TOO_BIG},
        {FRAME("\x01\xfe\x01\x2c" MASK), 0},                                  /* 300 */
        {FRAME("\x88\x81" MASK "x"), WEBSOCKET_CODE_PROTOCOL},                /* half a code */
        {FRAME("\x88\x82" MASK "\x03\xed"), WEBSOCKET_CODE_PROTOCOL},         /* 1005 */
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct end server;
        struct slice input = rows[i].bytes;
        begin(&server, WEBSOCKET_SERVER);
        enum websocket_step step = websocket_feed(&server.websocket, &input);
        assert_int_equal(step, rows[i].code == 0 ? WEBSOCKET_MORE : WEBSOCKET_BAD);
        assert_int_equal(server.websocket.code, rows[i].code);
        if (step == WEBSOCKET_BAD) {
            struct slice more = SLICE("\x89\x80" MASK);
            assert_int_equal(websocket_feed(&server.websocket, &more), WEBSOCKET_BAD);
        }
        websocket_fini(&server.websocket);
    }
}

static void fragments_with_a_ping_between_them_are_one_message(void **state)
{
    struct end server;
    struct slice input = FRAME("\x01\x82" MASK "ab\x89\x80" MASK "\x80\x81" MASK "c");
    (void)state;
    begin(&server, WEBSOCKET_SERVER);
    assert_int_equal(websocket_feed(&server.websocket, &input), WEBSOCKET_PING);
    assert_int_equal(websocket_feed(&server.websocket, &input), WEBSOCKET_TEXT);
    assert_true(slice_equal(websocket_message(&server.websocket), SLICE("abc")));
    websocket_fini(&server.websocket);
}

static void fragments_together_are_no_larger_than_one_message(void **state)
{
    struct end server;
    uint8_t frame[8 + 200] = "\x01\xfe\x00\xc8" MASK;
    (void)state;
    begin(&server, WEBSOCKET_SERVER);
    struct slice input = slice_make(frame, sizeof(frame));
    assert_int_equal(websocket_feed(&server.websocket, &input), WEBSOCKET_MORE);
    frame[0] = 0x80;
    input = slice_make(frame, sizeof(frame));
    assert_int_equal(websocket_feed(&server.websocket, &input), WEBSOCKET_BAD);
    assert_int_equal(server.websocket.code, WEBSOCKET_CODE_TOO_BIG);
    websocket_fini(&server.websocket);
}

/* The example of RFC 6455 1.3. */
static void the_key_is_answered_as_the_standard_has_it(void **state)
{
    uint8_t accept[WEBSOCKET_ACCEPT_BYTES];
    (void)state;
    websocket_accept(SLICE("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", WEBSOCKET_ACCEPT_BYTES);
    assert_true(websocket_key_is_sound(SLICE("dGhlIHNhbXBsZSBub25jZQ==")));
    assert_false(websocket_key_is_sound(SLICE("dGhlIHNhbXBsZSBub25jZQ=")));
    assert_false(websocket_key_is_sound(SLICE("dGhlIHNhbXBsZSBub25jZTA=")));
    assert_false(websocket_key_is_sound(SLICE("dGhlIHNhbXBsZSBub25j\r\n==")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_cross_whole_wherever_they_are_cut),
        cmocka_unit_test(a_servers_frames_are_not_masked_and_reach_the_client),
        cmocka_unit_test(what_breaks_the_rules_ends_it_with_its_code),
        cmocka_unit_test(fragments_with_a_ping_between_them_are_one_message),
        cmocka_unit_test(fragments_together_are_no_larger_than_one_message),
        cmocka_unit_test(the_key_is_answered_as_the_standard_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
