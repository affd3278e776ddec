#include "core/hours.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "core/date.h"
#include "tests/kit/tzif.h"

#define NEW_YORK "EST5EDT,M3.2.0,M11.1.0"

static int64_t at(const char *text)
{
    uint64_t wall_ns;
    assert_true(date_parse_rfc3339(slice_from_string(text), &wall_ns));
    return (int64_t)(wall_ns / NS_PER_S);
}

static void make(struct heap *heap, struct hours *hours, const char *zone, const char *days,
                 const char *start, const char *end)
{
    uint8_t bytes[1024];
    struct buf buf;
    struct time_zone *rules = heap_take(heap, sizeof(*rules));
    buf_init(&buf, bytes, sizeof(bytes));
    tzif_put(&buf, 0, NULL, 0, zone);
    assert_true(time_zone_read(buf_slice(&buf), heap, rules));
    hours->zone = rules;
    assert_true(hours_parse_days(slice_from_string(days), &hours->days));
    assert_true(hours_parse_time(slice_from_string(start), &hours->start_s));
    assert_true(hours_parse_time(slice_from_string(end), &hours->end_s));
}

static void hours_open_and_close_by_the_clock_of_their_zone(void **state)
{
    (void)state;
    static const struct {
        const char *zone;
        const char *days;
        const char *start;
        const char *end;
        const char *instant;
        bool open;
        const char *until;
    } rows[] = {
        /* 1 July 2026 is a Wednesday. */
        {"MST7", "Mon,Wed", "09:00:00", "17:00:00", "2026-07-01T15:59:59Z", false,
         "2026-07-01T16:00:00Z"},
        {"MST7", "Mon,Wed", "09:00:00", "17:00:00", "2026-07-01T16:00:00Z", true,
         "2026-07-02T00:00:00Z"},
        {"MST7", "Mon,Wed", "09:00:00", "17:00:00", "2026-07-02T00:00:00Z", false,
         "2026-07-06T16:00:00Z"},
        /* Over midnight: Friday's last to Saturday morning. */
        {"UTC0", "Fri", "22:00", "06:00", "2026-07-03T05:00:00Z", false, "2026-07-03T22:00:00Z"},
        {"UTC0", "Fri", "22:00", "06:00", "2026-07-03T22:00:00Z", true, "2026-07-04T06:00:00Z"},
        {"UTC0", "Fri", "22:00", "06:00", "2026-07-04T05:59:59Z", true, "2026-07-04T06:00:00Z"},
        {"UTC0", "Fri", "22:00", "06:00", "2026-07-04T23:00:00Z", false, "2026-07-10T22:00:00Z"},
        {"UTC0", "Fri", "22:00", "00:00", "2026-07-03T23:00:00Z", true, "2026-07-04T00:00:00Z"},
        /* Whole days, side by side. */
        {"UTC0", "Sat,Sun", "00:00", "24:00", "2026-07-04T12:00:00Z", true,
         "2026-07-06T00:00:00Z"},
        /* In spring 02:30 is left out: what begins then begins at 03:00, what ends then ends. */
        {NEW_YORK, "Sunday", "02:30", "04:00", "2026-03-08T06:00:00Z", false,
         "2026-03-08T07:00:00Z"},
        {NEW_YORK, "Sunday", "02:30", "04:00", "2026-03-08T07:00:00Z", true,
         "2026-03-08T08:00:00Z"},
        {NEW_YORK, "Sunday", "01:00", "02:30", "2026-03-08T06:30:00Z", true,
         "2026-03-08T07:00:00Z"},
        {NEW_YORK, "Sunday", "02:10", "02:50", "2026-03-08T06:59:59Z", false,
         "2026-03-15T06:10:00Z"},
        /* In autumn 01:30 comes twice. */
        {NEW_YORK, "Sunday", "01:10", "01:30", "2026-11-01T05:10:00Z", true,
         "2026-11-01T05:30:00Z"},
        {NEW_YORK, "Sunday", "01:10", "01:30", "2026-11-01T05:30:00Z", false,
         "2026-11-01T06:10:00Z"},
        {NEW_YORK, "Sunday", "01:10", "01:30", "2026-11-01T06:10:00Z", true,
         "2026-11-01T06:30:00Z"},
        {NEW_YORK, "Sunday", "00:00", "01:30", "2026-11-01T05:30:00Z", false,
         "2026-11-01T06:00:00Z"},
        {NEW_YORK, "Sunday", "01:30", "03:00", "2026-11-01T05:30:00Z", true,
         "2026-11-01T06:00:00Z"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct heap heap;
        struct hours hours = {0};
        int64_t until_s;
        heap_init(&heap);
        make(&heap, &hours, rows[i].zone, rows[i].days, rows[i].start, rows[i].end);
        bool open = hours_open(&hours, at(rows[i].instant), &until_s);
        if (open != rows[i].open || until_s != at(rows[i].until)) {
            fail_msg("row %zu: %s, for %lld s", i, open ? "open" : "shut",
                     (long long)(until_s - at(rows[i].instant)));
        }
        heap_fini(&heap);
    }
}

/* Every second of the year in which both clocks change, against what is next said. */
static void what_is_said_to_last_lasts_that_long(void **state)
{
    (void)state;
    struct heap heap;
    struct hours hours = {0};
    heap_init(&heap);
    make(&heap, &hours, NEW_YORK, "Sat,sunday,MON", "01:15", "02:45");
    int64_t at_s = at("2026-01-01T00:00:00Z");
    while (at_s < at("2027-01-01T00:00:00Z")) {
        int64_t until_s;
        int64_t again_s;
        bool open = hours_open(&hours, at_s, &until_s);
        assert_true(until_s > at_s);
        for (int64_t within_s = at_s; within_s < until_s; within_s += 60) {
            assert_int_equal(hours_open(&hours, within_s, &again_s), open);
            assert_true(again_s == until_s);
        }
        assert_int_equal(hours_open(&hours, until_s, &again_s), !open);
        at_s = until_s;
    }
    heap_fini(&heap);
}

static void days_and_times_are_read_or_refused(void **state)
{
    (void)state;
    static const char *const bad_days[] = {"", "Mo", "Mon,", ",Mon", "Mon;Tue", "Mon,,Tue",
                                           "Mondays"};
    static const char *const bad_times[] = {"", "9:00", "09", "09-00", "24:00:01", "25:00",
                                            "09:60", "09:00:60", "09:00:", "09:00:0", "0x:00"};
    uint8_t days;
    uint32_t seconds;
    assert_true(hours_parse_days(SLICE("mon, Wednesday ,SUN"), &days));
    assert_int_equal(days, 1 << 1 | 1 << 3 | 1 << 0);
    assert_true(hours_parse_time(SLICE("17:30:05"), &seconds));
    assert_int_equal(seconds, 63005);
    assert_true(hours_parse_time(SLICE("24:00"), &seconds));
    assert_int_equal(seconds, 86400);
    for (size_t i = 0; i < COUNT_OF(bad_days); i++) {
        assert_false(hours_parse_days(slice_from_string(bad_days[i]), &days));
    }
    for (size_t i = 0; i < COUNT_OF(bad_times); i++) {
        assert_false(hours_parse_time(slice_from_string(bad_times[i]), &seconds));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hours_open_and_close_by_the_clock_of_their_zone),
        cmocka_unit_test(what_is_said_to_last_lasts_that_long),
        cmocka_unit_test(days_and_times_are_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
