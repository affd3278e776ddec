#include "smtp/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <string.h>

/* Feeds `input` in pieces of `step` bytes up to the first whole reply or fault. */
static enum reply_status feed(struct reply_parser *parser, struct slice *input, size_t step)
{
    while (input->size > 0) {
        struct slice piece = slice_first(*input, MIN_OF(step, input->size));
        size_t before = piece.size;
        enum reply_status status = reply_feed(parser, &piece);
        *input = slice_skip(*input, before - piece.size);
        if (status == REPLY_WHOLE || status == REPLY_FAULT) {
            return status;
        }
    }
    return REPLY_MORE;
}

struct good_case {
    const char *name;
    const char *input;
    uint16_t code;
    uint8_t enhanced[3];
    const char *text;
};

static const struct good_case good[] = {
    {"plain", "250 ok\r\n", 250, {0}, "ok"},
    {"code alone", "250\r\n", 250, {0}, ""},
    {"code and space", "354 \r\n", 354, {0}, ""},
    {"several lines", "550-a\r\n550-b\r\n550 c\r\n", 550, {0}, "a\nb\nc"},
    {"last line without text", "250-a\r\n250\r\n", 250, {0}, "a\n"},
    {"enhanced", "450 4.7.1 later\r\n", 450, {4, 7, 1}, "later"},
    {"enhanced alone", "250 2.0.0\r\n", 250, {2, 0, 0}, ""},
    {"enhanced on each line", "550-5.1.1 no\r\n550 5.1.1 user\r\n", 550, {5, 1, 1}, "no\nuser"},
    {"another on the second", "550-5.1.1 no\r\n550 5.7.1 x\r\n", 550, {5, 1, 1}, "no\n5.7.1 x"},
    {"only on the second", "550-no\r\n550 5.1.1 user\r\n", 550, {5, 1, 1}, "no\nuser"},
    {"three digits", "550 5.255.13 x\r\n", 550, {5, 255, 13}, "x"},
    {"a number of 256", "550 5.256.1 x\r\n", 550, {0}, "5.256.1 x"},
    {"four digits", "550 5.1.1000 x\r\n", 550, {0}, "5.1.1000 x"},
    {"no space after", "550 5.1.1: x\r\n", 550, {0}, "5.1.1: x"},
    {"an address", "550 5.1.1.1 x\r\n", 550, {0}, "5.1.1.1 x"},
    {"format and quotes", "450 %s%n \"q\" {\"a\":1}\r\n", 450, {0}, "%s%n \"q\" {\"a\":1}"},
    {"escape and CR", "450 \033[31mred\rx\r\n", 450, {0}, "\033[31mred\rx"},
};

static void check_good(const struct good_case *c, size_t step)
{
    struct reply_parser parser;
    reply_parser_init(&parser);
    struct slice input = slice_from_string(c->input);
    if (feed(&parser, &input, step) != REPLY_WHOLE || input.size != 0) {
        fail_msg("%s, step %zu: not a whole reply", c->name, step);
    }
    assert_int_equal(parser.reply.code, c->code);
    assert_memory_equal(parser.reply.enhanced, c->enhanced, 3);
    if (!slice_equal(reply_text(&parser.reply), slice_from_string(c->text))) {
        fail_msg("%s: text is \"%.*s\"", c->name, (int)parser.reply.text_bytes, parser.reply.text);
    }
    assert_false(reply_parser_midway(&parser));
}

static void replies_of_every_shape_are_read_whole_and_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        check_good(&good[i], SIZE_MAX);
        check_good(&good[i], 1);
        check_good(&good[i], 3);
    }
}

#define BYTES(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

struct bad_case {
    struct slice input;
    const char *fault;
};

static const struct bad_case bad[] = {
    {BYTES("22\r\n"), "no reply code"},
    {BYTES("\r\n"), "no reply code"},
    {BYTES("2200 x\r\n"), "no reply code"},
    {BYTES("220x\r\n"), "no reply code"},
    {BYTES("2x0 y\r\n"), "no reply code"},
    {BYTES("100 continue\r\n"), "no reply code"},
    {BYTES("650 x\r\n"), "no reply code"},
    {BYTES("SSH-2.0-x\r\n"), "no reply code"},
    {BYTES("250 ok\n"), "bare LF in a reply"},
    {BYTES("\n"), "bare LF in a reply"},
    {BYTES("250-a\n250 b\r\n"), "bare LF in a reply"},
    {BYTES("250 a\0b\r\n"), "NUL in a reply"},
    {BYTES("250-a\r\n550 b\r\n"), "different codes in one reply"},
    {BYTES("250-a\r\n251-b\r\n250 c\r\n"), "different codes in one reply"},
};

static void c01_malformed_replies_are_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        for (size_t step = 1; step <= 64; step += 63) {
            struct reply_parser parser;
            reply_parser_init(&parser);
            struct slice input = bad[i].input;
            assert_int_equal(feed(&parser, &input, step), REPLY_FAULT);
            assert_string_equal(parser.fault, bad[i].fault);
            struct slice more = SLICE("250 ok\r\n");
            assert_int_equal(reply_feed(&parser, &more), REPLY_FAULT);
        }
    }
}

static void c01_line_of_2_kib_is_read_and_one_byte_more_is_a_fault(void **state)
{
    (void)state;
    static uint8_t line[REPLY_LINE_BYTES_MAX + 1];
    memset(line, 'x', sizeof(line));
    memcpy(line, "250 ", 4);
    for (size_t size = REPLY_LINE_BYTES_MAX; size <= sizeof(line); size++) {
        line[size - 3] = 'x';
        line[size - 2] = '\r';
        line[size - 1] = '\n';
        for (size_t step = 1; step <= size; step += size - 1) {
            struct reply_parser parser;
            reply_parser_init(&parser);
            struct slice input = slice_make(line, size);
            enum reply_status status = feed(&parser, &input, step);
            assert_int_equal(status, size == REPLY_LINE_BYTES_MAX ? REPLY_WHOLE : REPLY_FAULT);
            if (status == REPLY_WHOLE) {
                assert_int_equal(parser.reply.text_bytes, REPLY_TEXT_BYTES_MAX);
            }
        }
    }
}

static void c01_endless_line_is_a_fault_at_the_limit(void **state)
{
    (void)state;
    struct reply_parser parser;
    reply_parser_init(&parser);
    for (size_t i = 0; i < REPLY_LINE_BYTES_MAX; i++) {
        struct slice byte = SLICE("2");
        assert_int_equal(reply_feed(&parser, &byte), REPLY_MORE);
    }
    assert_true(reply_parser_midway(&parser));
    struct slice byte = SLICE("2");
    assert_int_equal(reply_feed(&parser, &byte), REPLY_FAULT);
}

static void c01_reply_of_200_lines_is_read_and_of_201_is_a_fault(void **state)
{
    (void)state;
    for (size_t lines = REPLY_LINES_MAX; lines <= REPLY_LINES_MAX + 1; lines++) {
        struct reply_parser parser;
        reply_parser_init(&parser);
        for (size_t i = 0; i + 1 < lines; i++) {
            struct slice line = SLICE("220-hello there\r\n");
            assert_int_equal(reply_feed(&parser, &line), REPLY_LINE);
            assert_true(slice_equal(parser.line, SLICE("hello there")));
        }
        struct slice last = SLICE("220 end\r\n");
        assert_int_equal(reply_feed(&parser, &last),
                         lines <= REPLY_LINES_MAX ? REPLY_WHOLE : REPLY_FAULT);
        assert_int_equal(parser.reply.text_bytes, REPLY_TEXT_BYTES_MAX);
    }
}

static void c03_text_is_not_cut_within_a_character(void **state)
{
    (void)state;
    uint8_t line[REPLY_LINE_BYTES_MAX];
    size_t size = 0;
    memcpy(line, "450 x", 5);
    for (size = 5; size < 1100; size += 3) {
        memcpy(line + size, "\xE2\x82\xAC", 3);
    }
    memcpy(line + size, "\r\n", 2);
    struct reply_parser parser;
    reply_parser_init(&parser);
    struct slice input = slice_make(line, size + 2);
    assert_int_equal(reply_feed(&parser, &input), REPLY_WHOLE);
    assert_int_equal(parser.reply.text_bytes, 1 + 3 * 341);
    assert_true(slice_is_utf8(reply_text(&parser.reply)));
}

static void c04_enhanced_code_of_another_class_does_not_count(void **state)
{
    (void)state;
    const char *inputs[] = {"250 5.1.1 x\r\n", "550 2.0.0 x\r\n", "450 5.7.1 x\r\n",
                            "354 2.0.0 x\r\n", "550 3.0.0 x\r\n", "550 9.1.1 x\r\n"};
    struct reply_parser parser;
    reply_parser_init(&parser);
    for (size_t i = 0; i < COUNT_OF(inputs); i++) {
        struct slice input = slice_from_string(inputs[i]);
        assert_int_equal(reply_feed(&parser, &input), REPLY_WHOLE);
        assert_int_equal(parser.reply.enhanced[0], 0);
        assert_true(slice_equal(reply_text(&parser.reply),
                                slice_skip(slice_first(slice_from_string(inputs[i]), 11), 4)));
    }
}

static void c04_enhanced_code_of_the_reply_before_is_forgotten(void **state)
{
    (void)state;
    struct reply_parser parser;
    reply_parser_init(&parser);
    struct slice input = SLICE("550 5.1.1 a\r\n550 b\r\n");
    assert_int_equal(reply_feed(&parser, &input), REPLY_WHOLE);
    assert_int_equal(parser.reply.enhanced[0], 5);
    assert_int_equal(reply_feed(&parser, &input), REPLY_WHOLE);
    assert_int_equal(parser.reply.enhanced[0], 0);
    assert_true(slice_equal(reply_text(&parser.reply), SLICE("b")));
}

static void a_reply_of_our_own_is_cut_to_the_limit(void **state)
{
    (void)state;
    static uint8_t text[3000];
    memset(text, 'y', sizeof(text));
    struct reply reply;
    reply_set(&reply, 421, (const uint8_t[3]){4, 4, 2}, slice_make(text, sizeof(text)));
    assert_int_equal(reply.code, 421);
    assert_int_equal(reply.enhanced[2], 2);
    assert_int_equal(reply.text_bytes, REPLY_TEXT_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_of_every_shape_are_read_whole_and_byte_by_byte),
        cmocka_unit_test(c01_malformed_replies_are_faults),
        cmocka_unit_test(c01_line_of_2_kib_is_read_and_one_byte_more_is_a_fault),
        cmocka_unit_test(c01_endless_line_is_a_fault_at_the_limit),
        cmocka_unit_test(c01_reply_of_200_lines_is_read_and_of_201_is_a_fault),
        cmocka_unit_test(c03_text_is_not_cut_within_a_character),
        cmocka_unit_test(c04_enhanced_code_of_another_class_does_not_count),
        cmocka_unit_test(c04_enhanced_code_of_the_reply_before_is_forgotten),
        cmocka_unit_test(a_reply_of_our_own_is_cut_to_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
