#include "core/date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static void assert_text(struct buf *buf, const char *expected)
{
    assert_false(buf->overflow);
    buf_put_byte(buf, 0);
    assert_string_equal((const char *)buf->data, expected);
    buf_reset(buf);
}

static void writes_known_instants(void **state)
{
    (void)state;
    static const struct {
        uint64_t wall_ns;
        const char *rfc5322;
        const char *rfc3339;
        const char *file_name;
    } rows[] = {
        {0ull, "Thu, 1 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00.000Z",
         "19700101-000000.000000"},
        {951868799999999999ull, "Tue, 29 Feb 2000 23:59:59 +0000", "2000-02-29T23:59:59.999Z",
         "20000229-235959.999999"},
        {951868800000000000ull, "Wed, 1 Mar 2000 00:00:00 +0000", "2000-03-01T00:00:00.000Z",
         "20000301-000000.000000"},
        {946684799000000000ull, "Fri, 31 Dec 1999 23:59:59 +0000", "1999-12-31T23:59:59.000Z",
         "19991231-235959.000000"},
        {1795366150123456789ull, "Sun, 22 Nov 2026 16:49:10 +0000", "2026-11-22T16:49:10.123Z",
         "20261122-164910.123456"},
        {2147483648000001000ull, "Tue, 19 Jan 2038 03:14:08 +0000", "2038-01-19T03:14:08.000Z",
         "20380119-031408.000001"},
        {4107542399000000000ull, "Sun, 28 Feb 2100 23:59:59 +0000", "2100-02-28T23:59:59.000Z",
         "21000228-235959.000000"},
        {4107542400000000000ull, "Mon, 1 Mar 2100 00:00:00 +0000", "2100-03-01T00:00:00.000Z",
         "21000301-000000.000000"},
        {1709208000000999999ull, "Thu, 29 Feb 2024 12:00:00 +0000", "2024-02-29T12:00:00.000Z",
         "20240229-120000.000999"},
        {13574566923004000000ull, "Tue, 29 Feb 2400 01:02:03 +0000", "2400-02-29T01:02:03.004Z",
         "24000229-010203.004000"},
        {18446744073709551615ull, "Sun, 21 Jul 2554 23:34:33 +0000", "2554-07-21T23:34:33.709Z",
         "25540721-233433.709551"},
    };
    uint8_t memory[64];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        date_put_rfc5322(&buf, rows[i].wall_ns);
        assert_text(&buf, rows[i].rfc5322);
        date_put_rfc3339(&buf, rows[i].wall_ns);
        assert_text(&buf, rows[i].rfc3339);
        date_put_file_name(&buf, rows[i].wall_ns);
        assert_text(&buf, rows[i].file_name);
    }
}

static bool is_leap(uint32_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Walks a calendar by hand beside the formula, day by day until nanoseconds end. */
static void every_day_follows_the_day_before(void **state)
{
    (void)state;
    static const uint8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct date expected = {.year = 1970, .month = 1, .day = 1, .weekday = 4};
    for (uint64_t day = 0; day < UINT64_MAX / NS_PER_S / 86400; day++) {
        struct date date = date_from_ns(day * 86400 * NS_PER_S + 86399 * NS_PER_S);
        assert_int_equal(date.year, expected.year);
        assert_int_equal(date.month, expected.month);
        assert_int_equal(date.day, expected.day);
        assert_int_equal(date.weekday, expected.weekday);
        assert_int_equal(date.hour * 10000 + date.minute * 100 + date.second, 235959);
        uint8_t length = lengths[expected.month - 1];
        if (expected.month == 2 && is_leap(expected.year)) {
            length++;
        }
        expected.weekday = (uint8_t)((expected.weekday + 1) % 7);
        expected.day++;
        if (expected.day > length) {
            expected.day = 1;
            expected.month++;
        }
        if (expected.month > 12) {
            expected.month = 1;
            expected.year++;
        }
    }
    assert_int_equal(expected.year, 2554);
}

static void rfc3339_is_read_in_all_its_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns; /* 0: it is none */
    } rows[] = {
        {"1970-01-01T00:00:01Z", NS_PER_S},
        {"2026-11-22T16:49:10.123Z", 1795366150123 * NS_PER_MS},
        {"2026-11-22t16:49:10.123z", 1795366150123 * NS_PER_MS},
        {"2026-11-22 17:49:10.123000000+01:00", 1795366150123 * NS_PER_MS},
        {"2026-11-22T14:19:10.1230-02:30", 1795366150123 * NS_PER_MS},
        {"2024-02-29T00:00:00Z", 1709164800 * NS_PER_S},
        {"2100-03-01T00:00:00Z", 4107542400 * NS_PER_S},
        {"2023-02-29T00:00:00Z", 0},
        {"2100-02-29T00:00:00Z", 0},
        {"1969-12-31T23:59:59Z", 0},
        {"1970-01-01T00:00:01+01:00", 0},
        {"2026-13-01T00:00:00Z", 0},
        {"2026-11-22T24:00:00Z", 0},
        {"2026-11-22T16:49:10", 0},
        {"2026-11-22T16:49:10.Z", 0},
        {"2026-11-22T16:49:10Zx", 0},
        {"2026-11-22T16:49:10+0100", 0},
        {"2026-11-2", 0},
        {"", 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t ns = 0;
        bool good = date_parse_rfc3339(slice_from_string(rows[i].text), &ns);
        if (good != (rows[i].ns > 0) || (good && ns != rows[i].ns)) {
            fail_msg("%s: %llu", rows[i].text, (unsigned long long)ns);
        }
    }
}

/* What is written is read back, at every time of a hundred years. */
static void rfc3339_is_read_back(void **state)
{
    (void)state;
    for (uint64_t day = 0; day < 36500; day += 13) {
        uint8_t memory[40];
        struct buf buf;
        uint64_t ns = (day * 86400 + day * 7 % 86400) * NS_PER_S + day % 1000 * NS_PER_MS;
        uint64_t again = 0;
        buf_init(&buf, memory, sizeof(memory));
        date_put_rfc3339(&buf, ns);
        assert_true(date_parse_rfc3339(buf_slice(&buf), &again));
        assert_true(again == ns);
    }
}

static void d06_dates_of_mail_are_read_with_all_that_is_obsolete(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t seconds; /* 0: it is none */
    } rows[] = {
        {"Sun, 22 Nov 2026 16:49:10 +0000", 1795366150},
        {"Sun, 22 Nov 2026 17:49:10 +0100 (CET)", 1795366150},
        {"22 nov 2026 14:19:10 -0230", 1795366150},
        {" Sun ,\r\n 22 Nov 2026 16 : 49 : 10 UTC", 1795366150},
        {"Sun, 22 Nov 2026 11:49:10 EST", 1795366150},
        {"Sun, 22 Nov 26 16:49:10 GMT", 1795366150},
        {"Sun, 22 Nov 126 16:49:10 Z", 1795366150},
        {"Sun (a (b \\) c)), 22 (x) Nov 2026 16:49:10", 1795366150},
        {"Sun, 22 Nov 2026 16:49:10 Mars/Olympus", 1795366150},
        {"Sun, 22 Nov 2026 16:49:10 +1", 1795366150},
        {"Sun, 22 Nov 2026 16:49:10 +0099", 1795366150},
        {"Sun, 22 Nov 2026 16:49 +0000", 1795366140},
        {"Wrong, 22 Nov 2026 16:49:10 +0000", 1795366150},
        {"1 Jan 70 00:00:01 +0000", 1},
        {"1 Jan 70 00:00:01 +0001", 0},
        {"1 Jan 69 00:00:01 +0000", 0},
        {"1 Jan 0 00:00:01 +0000", 0},
        {"1 Jan 0000 00:00:01 +0000", 0},
        {"1 Jan 1000000000 00:00:01 +0000", 0},
        {"1 Jan 2200 00:00:01 +0000", 0},
        {"29 Feb 2025 00:00:01 +0000", 0},
        {"31 Apr 2025 00:00:01 +0000", 0},
        {"1 Foo 2025 00:00:01 +0000", 0},
        {"1 Jan 2025 24:00:01 +0000", 0},
        {"1 Jan 2025 00:60:01 +0000", 0},
        {"1 Jan 2025", 0},
        {"(", 0},
        {"", 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t ns = 0;
        bool good = date_parse_rfc5322(slice_from_string(rows[i].text), &ns);
        if (good != (rows[i].seconds > 0) || (good && ns != rows[i].seconds * NS_PER_S)) {
            fail_msg("%s: %llu", rows[i].text, (unsigned long long)ns);
        }
    }
}

static void d06_comments_in_dates_nest_as_deep_as_they_like(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    static uint8_t memory[2 * DEPTH + 64];
    struct buf buf;
    uint64_t ns;
    buf_init(&buf, memory, sizeof(memory));
    memset(buf_reserve(&buf, DEPTH), '(', DEPTH);
    memset(buf_reserve(&buf, DEPTH), ')', DEPTH);
    buf_put(&buf, SLICE(" 22 Nov 2026 16:49:10 +0000"));
    assert_true(date_parse_rfc5322(buf_slice(&buf), &ns));
    assert_true(ns == 1795366150 * NS_PER_S);
    assert_false(date_parse_rfc5322(slice_first(buf_slice(&buf), DEPTH), &ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_known_instants),
        cmocka_unit_test(every_day_follows_the_day_before),
        cmocka_unit_test(rfc3339_is_read_in_all_its_forms),
        cmocka_unit_test(rfc3339_is_read_back),
        cmocka_unit_test(d06_dates_of_mail_are_read_with_all_that_is_obsolete),
        cmocka_unit_test(d06_comments_in_dates_nest_as_deep_as_they_like),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
