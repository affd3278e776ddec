#include "bench/ledger.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PATH "ledger_test.ledger"

static FILE *open_or_fail(const char *path)
{
    char why[256];
    struct buf reason;
    buf_init(&reason, why, sizeof(why));
    FILE *ledger = ledger_open(path, &reason);
    assert_non_null(ledger);
    return ledger;
}

static void assert_holds(const char *expected)
{
    char text[1024];
    FILE *file = fopen(PATH, "re");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    text[size] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

static void put_one(FILE *ledger, uint64_t number, const char *address)
{
    const struct ledger_entry entry = {
        .number = number, .hash = 0xabc, .begun_ns = 7, .ended_ns = 0};
    ledger_put_entry(ledger, &entry);
    ledger_put_recipient(ledger, 0, slice_from_string(address));
    ledger_put_end(ledger);
}

static void a_line_stands_in_the_file_when_it_ends_and_a_second_opening_appends(void **state)
{
    (void)state;
    (void)remove(PATH);
    FILE *ledger = open_or_fail(PATH);
    put_one(ledger, 1, "a@b.test");
    assert_holds("1 0000000000000abc 7 0 a@b.test\n");
    assert_true(ledger_close(ledger, PATH));
    ledger = open_or_fail(PATH);
    const struct ledger_entry entry = {
        .number = 18446744073709551615u, .hash = 0xfedcba9876543210, .begun_ns = 8, .ended_ns = 9};
    ledger_put_entry(ledger, &entry);
    ledger_put_recipient(ledger, 0, SLICE("r1@x.test"));
    ledger_put_recipient(ledger, 1, SLICE("r2@y.test"));
    ledger_put_reply(ledger, 250, SLICE("2.0.0 OK ids=1f count=2"));
    ledger_put_end(ledger);
    assert_true(ledger_close(ledger, PATH));
    assert_holds("1 0000000000000abc 7 0 a@b.test\n"
                 "18446744073709551615 fedcba9876543210 8 9 r1@x.test,r2@y.test "
                 "250 2.0.0 OK ids=1f count=2\n");
    (void)remove(PATH);
}

static void what_a_peer_says_neither_ends_a_line_nor_a_word(void **state)
{
    (void)state;
    (void)remove(PATH);
    FILE *ledger = open_or_fail(PATH);
    const struct ledger_entry entry = {.number = 2};
    ledger_put_entry(ledger, &entry);
    ledger_put_recipient(ledger, 0, SLICE("\"a, b\n\"@c.test"));
    ledger_put_reply(ledger, 451, SLICE("no, not\r\n\x7f yet"));
    ledger_put_end(ledger);
    assert_true(ledger_close(ledger, PATH));
    assert_holds("2 0000000000000000 0 0 \"a??b?\"@c.test 451 no, not??? yet\n");
    (void)remove(PATH);
}

static void a_file_that_cannot_be_opened_or_written_is_said(void **state)
{
    (void)state;
    char why[256];
    struct buf reason;
    buf_init(&reason, why, sizeof(why));
    assert_null(ledger_open("no-such-folder/ledger", &reason));
    assert_true(slice_starts_with(buf_slice(&reason), SLICE("no-such-folder/ledger: ")));
    FILE *full = open_or_fail("/dev/full");
    put_one(full, 3, "a@b.test");
    assert_false(ledger_close(full, "/dev/full"));
    assert_true(ledger_close(NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_stands_in_the_file_when_it_ends_and_a_second_opening_appends),
        cmocka_unit_test(what_a_peer_says_neither_ends_a_line_nor_a_word),
        cmocka_unit_test(a_file_that_cannot_be_opened_or_written_is_said),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
