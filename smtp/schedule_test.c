#include "smtp/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>


#define NOW_S 1760000000ull /* Thursday, 2025-10-09, 08:53:20 UTC */
#define DAY_S 86400u

static struct time_zone_rule summer = {
    .known = true,
    .summer = true,
    .standard_s = -5 * 3600,
    .summer_s = -4 * 3600,
    .begin = {.kind = 'M', .month = 3, .week = 2, .weekday = 0, .time_s = 7200},
    .end = {.kind = 'M', .month = 11, .week = 1, .weekday = 0, .time_s = 7200},
};
static struct time_zone york;
static const struct conf_zone_row zones[] = {
    {{(const uint8_t *)"America/New_York", 16}, &york},
};
static const struct conf conf = {.zones = {zones, 1}};
static const struct conf bare = {0};

static int set_up(void **state)
{
    (void)state;
    york = (struct time_zone){.first_s = -5 * 3600, .rule = summer};
    return 0;
}

static struct schedule read_good(const char *text)
{
    struct schedule schedule;
    const char *problem =
        schedule_read(slice_from_string(text), &conf, NOW_S * NS_PER_S, &schedule);
    assert_string_equal(problem == NULL ? "" : problem, "");
    return schedule;
}

static void what_a_header_says_is_kept_in_the_metadata(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"first_attempt\":\"2025-10-10T12:00:00.5+02:00\",\"expires\":\"2025-10-11T00:00:00Z\","
        "\"dow\":\"Mon,Wednesday\",\"tz\":\"America/New_York\",\"start\":\"09:00:00\","
        "\"end\":\"17:30\"}",
        " { \"end\" : \"17:30\" ,\t\"tz\":\"America\\/New_York\",\"start\": \"09:00\","
        "\"expires\":\"2025-10-11T02:00:00+02:00\",\"dow\":\"mon,WED\",\r\n"
        "\"first_attempt\":\"2025-10-10T10:00:00.000000001Z\" } ",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        uint8_t bytes[SCHEDULE_BYTES_MAX];
        struct buf buf;
        struct schedule schedule = read_good(texts[i]);
        buf_init(&buf, bytes, sizeof(bytes));
        schedule_put(&buf, &schedule);
        assert_false(buf.overflow);
        struct schedule again;
        assert_true(schedule_get(buf_slice(&buf), &again));
        assert_int_equal(again.first_s, 1760090401); /* rounded up */
        assert_int_equal(again.expires_s, 1760140800);
        assert_int_equal(again.days, 1 << 1 | 1 << 3);
        assert_int_equal(again.start_s, 9 * 3600);
        assert_int_equal(again.end_s, 17 * 3600 + 1800);
        assert_int_equal(again.offset_s, -4 * 3600);
        assert_true(slice_equal(slice_make(again.zone, again.zone_bytes),
                                SLICE("America/New_York")));
        for (size_t size = 0; size < SCHEDULE_FIXED_BYTES; size++) {
            assert_false(schedule_get(slice_make(bytes, size), &again));
        }
    }
    struct schedule none = read_good("{}");
    assert_int_equal(none.first_s + none.expires_s + none.days, 0);
    none = read_good("{\"dow\":null,\"expires\":null}");
    assert_int_equal(none.first_s + none.expires_s + none.days, 0);
}

static void what_is_no_schedule_is_refused(void **state)
{
    (void)state;
#define HOURS(dow, tz, start, end)                                                                 \
    "{\"dow\":\"" dow "\",\"tz\":\"" tz "\",\"start\":\"" start "\",\"end\":\"" end "\"}"
    static const struct {
        const char *text;
        const char *reply; /* its end */
    } rows[] = {
        {"", "this is no JSON object of strings"},
        {"{", "this is no JSON object of strings"},
        {"tomorrow", "this is no JSON object of strings"},
        {"[]", "this is no JSON object of strings"},
        {"{} {}", "this is no JSON object of strings"},
        {"{\"expires\"}", "this is no JSON object of strings"},
        {"{\"expires\":1}", "this is no JSON object of strings"},
        {"{\"expires\":null", "this is no JSON object of strings"},
        {"{\"expires\":null,}", "this is no JSON object of strings"},
        {"{\"expires\":{}}", "this is no JSON object of strings"},
        {"{\"expires\":\"\\u0032025-10-11T00:00:00Z\"}", "this is no JSON object of strings"},
        {"{\"expires\":\"2025-10-11T00:00:00Z", "this is no JSON object of strings"},
        {"{\"expires\":\"\\", "this is no JSON object of strings"},
        {"{\"tz\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
         "this is no JSON object of strings"},
        {"{\"expire\":\"2025-10-11T00:00:00Z\"}", "a member that is unknown, or one twice"},
        {"{\"expires\":null,\"expires\":null}", "a member that is unknown, or one twice"},
        {"{\"expires\":\"tomorrow\"}", "expires wants a time like 2026-11-22T16:49:10Z"},
        {"{\"first_attempt\":\"2025-10-11\"}", "first_attempt wants a time like "
                                               "2026-11-22T16:49:10Z"},
        {"{\"first_attempt\":\"2026-10-11T00:00:00Z\"}", "first_attempt is more than 366 days "
                                                         "away"},
        {"{\"dow\":\"Mon\"}", "are said together, and start is not end"},
        {"{\"dow\":\"Mon\",\"tz\":\"UTC\",\"start\":\"09:00\",\"end\":null}",
         "are said together, and start is not end"},
        {HOURS("Mon", "UTC", "09:00", "09:00"), "are said together, and start is not end"},
        {HOURS("Moon", "UTC", "09:00", "10:00"), "dow wants days like Mon,Wed"},
        {HOURS("Mon", "Mars/Noon", "09:00", "10:00"), "tz is no time zone known here"},
        {HOURS("Mon", "", "09:00", "10:00"), "tz is no time zone known here"},
        {HOURS("Mon", "UTC", "24:00", "10:00"), "start wants a time of the day like 09:00:00"},
        {HOURS("Mon", "UTC", "09:00", "25:00"), "end wants a time of the day like 17:00:00"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct schedule schedule;
        /* In memory of its own, so that a look behind it is seen. */
        size_t size = strlen(rows[i].text);
        char *copy = malloc(size == 0 ? 1 : size);
        memcpy(copy, rows[i].text, size);
        const char *reply =
            schedule_read(slice_make(copy, size), &conf, NOW_S * NS_PER_S, &schedule);
        free(copy);
        assert_non_null(reply);
        assert_true(slice_starts_with(slice_from_string(reply), SLICE("550 5.6.0 Schedule: ")));
        if (!slice_ends_with(slice_from_string(reply), slice_from_string(rows[i].reply))) {
            fail_msg("%s: %s", rows[i].text, reply);
        }
    }
}

static void damaged_metadata_are_no_schedule(void **state)
{
    (void)state;
    static const struct schedule bad[] = {
        {.days = 1 << 7},
        {.days = 1, .start_s = DAY_S, .end_s = 5},
        {.days = 1, .end_s = DAY_S + 1},
        {.days = 1, .start_s = 5, .end_s = 5},
        {.days = 1, .end_s = 5, .offset_s = INT32_MIN},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint8_t bytes[SCHEDULE_BYTES_MAX + 1] = {0};
        struct buf buf;
        struct schedule schedule;
        buf_init(&buf, bytes, sizeof(bytes));
        schedule_put(&buf, &bad[i]);
        assert_false(schedule_get(buf_slice(&buf), &schedule));
        assert_false(schedule_get(slice_make(bytes, sizeof(bytes)), &schedule));
    }
}

static void l15_the_next_instant_is_after_the_first_attempt_and_in_the_hours(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t at_s;   /* after NOW_S */
        int64_t ahead_s;
        uint32_t next_s; /* likewise */
    } rows[] = {
        {"{}", 5, 0, 5},
        {"{\"first_attempt\":\"2025-10-09T10:00:00Z\"}", 0, 0, 4000},
        {"{\"first_attempt\":\"2025-10-09T10:00:00Z\"}", 4001, 0, 4001},
        {"{\"first_attempt\":\"2025-10-09T10:00:00Z\"}", 0, 3600, 4000},
        {HOURS("Thu", "UTC", "08:00", "09:00"), 0, 0, 0},
        {HOURS("Thu", "UTC", "08:00", "09:00"), 400, 0, 7 * DAY_S - 3200},
        {HOURS("Thu", "UTC", "10:00", "11:00"), 0, 0, 4000},
        {HOURS("Thu", "UTC", "10:00", "11:00"), 0, 1000, 3000},
        {HOURS("Thu", "UTC", "10:00", "11:00"), 0, -1000, 5000},
        {HOURS("Wed", "UTC", "22:00", "09:00"), 100, 0, 100},
        {HOURS("Thu", "America/New_York", "06:00", "11:00"), 0, 0, 4000}, /* summer: -4 h */
        {"{\"first_attempt\":\"2025-10-09T10:30:00Z\",\"dow\":\"Thu,Fri\",\"tz\":\"UTC\","
         "\"start\":\"10:00\",\"end\":\"10:20\"}",
         0, 0, 4000 + DAY_S},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct schedule schedule = read_good(rows[i].text);
        uint32_t next_s = schedule_next_s(&schedule, &conf, (uint32_t)NOW_S + rows[i].at_s,
                                          rows[i].ahead_s);
        if (next_s != NOW_S + rows[i].next_s) {
            fail_msg("%zu: %d", i, (int)(next_s - NOW_S));
        }
    }
}

/* In winter, too: it is the offset of the day on which it came. */
static void a_zone_that_is_gone_keeps_its_offset(void **state)
{
    (void)state;
    const uint32_t winter_s = (uint32_t)NOW_S + 91 * DAY_S; /* a Thursday, 03:53:20 in New York */
    struct schedule schedule = read_good(HOURS("Thu", "America/New_York", "06:00", "11:00"));
    assert_int_equal(schedule_next_s(&schedule, &conf, winter_s, 0), winter_s + 4000 + 3600);
    assert_int_equal(schedule_next_s(&schedule, &bare, winter_s, 0), winter_s + 4000);
}

static void age_counts_from_the_first_possible_instant_unless_an_end_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t from_s; /* after NOW_S */
        int32_t end_s;   /* likewise */
    } rows[] = {
        {"{}", 0, 600},
        {"{\"first_attempt\":\"2025-10-09T10:00:00Z\"}", 4000, 4600},
        {HOURS("Thu", "UTC", "10:00", "11:00"), 4000, 4600},
        {"{\"expires\":\"2025-10-09T10:00:00Z\"}", 0, 4000},
        {"{\"expires\":\"2025-10-09T10:00:00Z\",\"first_attempt\":\"2025-10-09T09:00:00Z\"}", 400,
         4000},
        {"{\"expires\":\"2025-10-09T10:00:00Z\",\"first_attempt\":\"2025-10-09T11:00:00Z\"}", 4000,
         4000},
        {"{\"expires\":\"2025-10-09T08:53:10Z\"}", 0, -10},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct schedule schedule = read_good(rows[i].text);
        uint64_t from_ns = NOW_S * NS_PER_S;
        uint64_t age_max_ns = 600 * NS_PER_S;
        schedule_age(&schedule, &conf, &from_ns, &age_max_ns);
        int64_t begin_s = rows[i].end_s < 0 ? rows[i].end_s : (int64_t)rows[i].from_s;
        assert_int_equal(from_ns / NS_PER_S, (int64_t)NOW_S + begin_s);
        assert_int_equal((from_ns + age_max_ns) / NS_PER_S, (int64_t)NOW_S + rows[i].end_s);
        uint32_t due_s = schedule_first_due_s(&schedule, &conf, (uint32_t)NOW_S, 0);
        assert_int_equal(due_s, schedule.expires_s > 0
                                    ? MIN_OF(schedule.expires_s, NOW_S + rows[i].from_s)
                                    : NOW_S + rows[i].from_s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_header_says_is_kept_in_the_metadata),
        cmocka_unit_test(what_is_no_schedule_is_refused),
        cmocka_unit_test(damaged_metadata_are_no_schedule),
        cmocka_unit_test(l15_the_next_instant_is_after_the_first_attempt_and_in_the_hours),
        cmocka_unit_test(a_zone_that_is_gone_keeps_its_offset),
        cmocka_unit_test(age_counts_from_the_first_possible_instant_unless_an_end_is_said),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
