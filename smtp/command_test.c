#include "smtp/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#include "smtp/limits.h"

static void assert_slice(struct slice slice, const char *expected)
{
    assert_int_equal(slice.size, strlen(expected));
    assert_true(slice_equal(slice, slice_from_string(expected)));
}

static void verbs_and_arguments(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum verb verb;
        const char *argument;
    } rows[] = {
        {"EHLO a.example", VERB_EHLO, "a.example"},
        {"helo  a.example ", VERB_HELO, "a.example"},
        {"MAIL FROM:<a@b> SIZE=1", VERB_MAIL, "FROM:<a@b> SIZE=1"},
        {"rCpT TO:<a@b>", VERB_RCPT, "TO:<a@b>"},
        {"DATA", VERB_DATA, ""},
        {"DATA \t ", VERB_DATA, ""},
        {"BDAT 10 LAST", VERB_BDAT, "10 LAST"},
        {"RSET", VERB_RSET, ""},
        {"NOOP some text", VERB_NOOP, "some text"},
        {"VRFY a", VERB_VRFY, "a"},
        {"QUIT", VERB_QUIT, ""},
        {"EXPN list", VERB_NOT_OFFERED, "list"},
        {"HELP", VERB_NOT_OFFERED, ""},
        {"AUTH PLAIN", VERB_NOT_OFFERED, "PLAIN"},
        {"STARTTLS", VERB_NOT_OFFERED, ""},
        {"XCLIENT ADDR=1", VERB_XCLIENT, "ADDR=1"},
        {"XYZZY", VERB_UNKNOWN, ""},
        {"MAILFROM:<a@b>", VERB_UNKNOWN, ""},
        {"", VERB_UNKNOWN, ""},
        {" NOOP", VERB_UNKNOWN, "NOOP"},
        {":", VERB_UNKNOWN, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct command command;
        assert_int_equal(command_parse(slice_from_string(rows[i].line), &command), COMMAND_OK);
        assert_int_equal(command.verb, rows[i].verb);
        assert_slice(command.argument, rows[i].argument);
    }
}

static void s06_other_protocols_are_recognised(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "GET / HTTP/1.1", "POST /x HTTP/1.1", "CONNECT mx:25 HTTP/1.1", "PUT / HTTP/1.1",
        "PRI * HTTP/2.0", "Host: example.com", "Content-Length: 5",     "Subject: hello",
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        struct command command;
        assert_int_equal(command_parse(slice_from_string(lines[i]), &command), COMMAND_OK);
        assert_int_equal(command.verb, VERB_FOREIGN);
    }
}

static void s01_s08_lines_with_bad_bytes(void **state)
{
    (void)state;
    const struct {
        struct slice line;
        enum command_fault fault;
    } rows[] = {
        {SLICE("NOOP\r"), COMMAND_BARE_CR_LF},
        {SLICE("NOOP\rNOOP"), COMMAND_BARE_CR_LF},
        {SLICE("NOOP\nNOOP"), COMMAND_BARE_CR_LF},
        {SLICE("NO\0OP"), COMMAND_BAD_BYTES},
        {SLICE("NOOP a\tb"), COMMAND_BAD_BYTES},
        {SLICE("NOOP \x1B[0m"), COMMAND_BAD_BYTES},
        {SLICE("NOOP \x7F"), COMMAND_BAD_BYTES},
        {SLICE("NOOP \xFF"), COMMAND_BAD_BYTES},
        {SLICE("NOOP \xC3\xA9"), COMMAND_BAD_BYTES},
        {SLICE("MAIL FROM:<\xC3\xA9@b>"), COMMAND_OK},
        {SLICE("RCPT TO:<\xC3\xA9@b>"), COMMAND_OK},
        {SLICE("RCPT TO:<\xC3@b>"), COMMAND_BAD_BYTES},
        {SLICE("RCPT TO:<\xC2\x85@b>"), COMMAND_BAD_BYTES},
        {SLICE("RCPT TO:<a@b>\xC2"), COMMAND_BAD_BYTES},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct command command;
        assert_int_equal(command_parse(rows[i].line, &command), rows[i].fault);
    }
}

static void s07_lengths_to_the_octet(void **state)
{
    (void)state;
    static const struct {
        const char *start;
        size_t limit;
    } rows[] = {
        {"NOOP ", COMMAND_BARE_BYTES_MAX},
        {"XYZZY ", COMMAND_BARE_BYTES_MAX},
        {"MAIL FROM:<a@b> ", COMMAND_LINE_BYTES_MAX},
        {"RCPT TO:<a@b> ", COMMAND_LINE_BYTES_MAX},
    };
    uint8_t line[COMMAND_LINE_BYTES_MAX];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct command command;
        memset(line, 'x', sizeof(line));
        memcpy(line, rows[i].start, strlen(rows[i].start));
        struct slice fits = slice_make(line, rows[i].limit - 2);
        struct slice longer = slice_make(line, rows[i].limit - 1);
        assert_int_equal(command_parse(fits, &command), COMMAND_OK);
        assert_int_equal(command_parse(longer, &command), COMMAND_TOO_LONG);
        line[sizeof(line) / 2] = '\r';
        line[rows[i].limit / 2] = '\r';
        assert_int_equal(command_parse(longer, &command), COMMAND_BARE_CR_LF);
    }
}

static void paths_follow_their_keyword_at_once(void **state)
{
    (void)state;
    struct slice path;
    assert_true(command_path(SLICE("FROM:<a@b> X"), SLICE("FROM:"), &path));
    assert_slice(path, "<a@b> X");
    assert_true(command_path(SLICE("from:"), SLICE("FROM:"), &path));
    assert_slice(path, "");
    assert_false(command_path(SLICE("FROM <a@b>"), SLICE("FROM:"), &path));
    assert_false(command_path(SLICE("FROM"), SLICE("FROM:"), &path));
    assert_false(command_path(SLICE("TO:<a@b>"), SLICE("FROM:"), &path));
}

static void s24_chunk_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *argument;
        bool valid;
        bool sized;
        uint64_t size;
        bool last;
    } rows[] = {
        {"0", true, true, 0, false},
        {"0 LAST", true, true, 0, true},
        {"12 last", true, true, 12, true},
        {"12  LAST", true, true, 12, true},
        {"2147483648", true, true, 2147483648u, false},
        {"9223372036854775808", true, true, 9223372036854775808u, false},
        {"18446744073709551615 LAST", true, true, UINT64_MAX, true},
        {"18446744073709551616", false, false, 0, false},
        {"", false, false, 0, false},
        {"-1", false, false, 0, false},
        {"+1", false, false, 0, false},
        {"0x10", false, false, 0, false},
        {"1e3", false, false, 0, false},
        {"LAST", false, false, 0, false},
        {"5 FIRST", false, true, 5, false},
        {"5 LAST X", false, true, 5, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bool sized;
        bool last;
        uint64_t size;
        assert_int_equal(
            command_chunk(slice_from_string(rows[i].argument), &sized, &size, &last),
            rows[i].valid);
        assert_int_equal(sized, rows[i].sized);
        if (sized) {
            assert_int_equal(size, rows[i].size);
        }
        if (rows[i].valid) {
            assert_int_equal(last, rows[i].last);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verbs_and_arguments),
        cmocka_unit_test(s06_other_protocols_are_recognised),
        cmocka_unit_test(s01_s08_lines_with_bad_bytes),
        cmocka_unit_test(s07_lengths_to_the_octet),
        cmocka_unit_test(paths_follow_their_keyword_at_once),
        cmocka_unit_test(s24_chunk_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
