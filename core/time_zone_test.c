#include "core/time_zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#include "core/date.h"
#include "tests/kit/tzif.h"

#define HOUR 3600

/* "2026-03-08T07:00:00Z" */
static int64_t at(const char *text)
{
    uint64_t wall_ns;
    assert_true(date_parse_rfc3339(slice_from_string(text), &wall_ns));
    return (int64_t)(wall_ns / NS_PER_S);
}

static bool read_zone(struct heap *heap, const char *rule, struct time_zone *zone)
{
    uint8_t bytes[1024];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    tzif_put(&buf, 0, NULL, 0, rule);
    return time_zone_read(buf_slice(&buf), heap, zone);
}

/* At that instant, the second before it, and when it next changes; null: never. */
static const struct {
    const char *rule;
    const char *instant;
    int32_t before_s;
    int32_t offset_s;
    const char *until;
} rows[] = {
    {"MST7", "2026-07-01T00:00:00Z", -7 * HOUR, -7 * HOUR, NULL},
    {"<+0545>-5:45", "2026-07-01T00:00:00Z", 20700, 20700, NULL},
    {"EST5EDT,M3.2.0,M11.1.0", "2026-03-08T07:00:00Z", -5 * HOUR, -4 * HOUR,
     "2026-11-01T06:00:00Z"},
    {"EST5EDT,M3.2.0,M11.1.0", "2026-11-01T06:00:00Z", -4 * HOUR, -5 * HOUR,
     "2027-03-14T07:00:00Z"},
    {"CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T01:00:00Z", HOUR, 2 * HOUR,
     "2026-10-25T01:00:00Z"},
    {"CET-1CEST,M3.5.0,M10.5.0/3", "2027-10-31T01:00:00Z", 2 * HOUR, HOUR,
     "2028-03-26T01:00:00Z"},
    /* South of the equator, half an hour, and over the turn of the year. */
    {"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2026-04-04T15:00:00Z", 11 * HOUR, 37800,
     "2026-10-03T15:30:00Z"},
    {"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2026-10-03T15:30:00Z", 37800, 11 * HOUR,
     "2027-04-03T15:00:00Z"},
    /* Day 60 is 1 March for J, 29 February or 1 March without. */
    {"AAA0BBB,J60/0,J90/0", "2028-03-01T00:00:00Z", 0, HOUR, "2028-03-30T23:00:00Z"},
    {"AAA0BBB,59/0,J90/0", "2028-02-29T00:00:00Z", 0, HOUR, "2028-03-30T23:00:00Z"},
    {"AAA0BBB,59/0,J90/0", "2027-03-01T00:00:00Z", 0, HOUR, "2027-03-30T23:00:00Z"},
    /* Hours of other days: as Greenland has them. */
    {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T01:00:00Z", -2 * HOUR, -1 * HOUR,
     "2026-10-25T01:00:00Z"},
    /* Summer all the year (RFC 9636 3.3.1). */
    {"XXX3EDT4,0/0,J365/23", "2026-01-01T03:00:00Z", -4 * HOUR, -4 * HOUR,
     "2027-01-01T03:00:00Z"},
};

static void a_rule_says_when_summer_begins_and_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct heap heap;
        struct time_zone zone;
        int64_t until_s;
        int64_t at_s = at(rows[i].instant);
        heap_init(&heap);
        assert_true(read_zone(&heap, rows[i].rule, &zone));
        int32_t before_s = time_zone_offset(&zone, at_s - 1, &until_s);
        bool next = before_s != rows[i].offset_s;
        if (before_s != rows[i].before_s || (next && until_s != at_s) ||
            time_zone_offset(&zone, at_s, &until_s) != rows[i].offset_s ||
            until_s != (rows[i].until != NULL ? at(rows[i].until) : TIME_ZONE_NEVER)) {
            fail_msg("%s at %s", rows[i].rule, rows[i].instant);
        }
        heap_fini(&heap);
    }
}

static void changes_of_the_file_come_before_its_rule(void **state)
{
    (void)state;
    static const struct time_zone_change changes[] = {{1000, 60}, {2000, -120}, {3000, 7200}};
    struct heap heap;
    struct time_zone zone;
    uint8_t bytes[1024];
    struct buf buf;
    int64_t until_s;
    heap_init(&heap);
    buf_init(&buf, bytes, sizeof(bytes));
    tzif_put(&buf, 7, changes, COUNT_OF(changes), "");
    assert_true(time_zone_read(buf_slice(&buf), &heap, &zone));
    assert_int_equal(time_zone_offset(&zone, -5, &until_s), 7);
    assert_int_equal(until_s, 1000);
    assert_int_equal(time_zone_offset(&zone, 1000, &until_s), 60);
    assert_int_equal(until_s, 2000);
    assert_int_equal(time_zone_offset(&zone, 2999, &until_s), -120);
    assert_int_equal(until_s, 3000);
    assert_int_equal(time_zone_offset(&zone, 9999999, &until_s), 7200);
    assert_true(until_s == TIME_ZONE_NEVER);
    /* Cut anywhere it is none. */
    for (size_t size = 0; size < buf.size; size++) {
        assert_false(time_zone_read(slice_make(bytes, size), &heap, &zone));
    }
    heap_fini(&heap);
}

static void what_is_no_rule_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "E5", "EST", "EST25", "EST5EDT", "EST5EDT,M3.2.0", "EST5EDT,M13.2.0,M11.1.0",
        "EST5EDT,M3.6.0,M11.1.0", "EST5EDT,M3.2.7,M11.1.0", "EST5EDT,M0.2.0,M11.1.0",
        "EST5EDT,M3.0.0,M11.1.0", "EST5EDT,J0,J9", "EST5EDT,366,J9", "EST5EDT,M3.2.0,M11.1.0x",
        "EST5EDT,M3.2.0/168,M11.1.0", "EST5:60", "<EST5", "EST5EDT,M3.2,M11.1.0", "EST5 ",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct heap heap;
        struct time_zone zone;
        heap_init(&heap);
        if (read_zone(&heap, bad[i], &zone)) {
            fail_msg("%s", bad[i]);
        }
        heap_fini(&heap);
    }
}

/* Offsets, times and numbers of kinds of change, where the bytes are wrong. */
static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    static const struct time_zone_change changes[] = {{1000, 60}, {2000, 120}};
    static const struct {
        size_t place; /* from the second header on */
        uint8_t byte;
    } wrong[] = {
        {0, 'X'}, {4, '1'}, {31, 1},  /* a leap second */
        {39, 0},                      /* no kinds */
        {44 + 6, 255}, {44 + 16, 3},  /* not ascending; a kind that there is not */
        {44 + 18, 127},               /* an offset of years */
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct heap heap;
        struct time_zone zone;
        uint8_t bytes[1024];
        struct buf buf;
        heap_init(&heap);
        buf_init(&buf, bytes, sizeof(bytes));
        tzif_put(&buf, 0, changes, COUNT_OF(changes), "");
        assert_true(time_zone_read(buf_slice(&buf), &heap, &zone));
        bytes[44 + 6 + 4 + wrong[i].place] = wrong[i].byte;
        if (time_zone_read(buf_slice(&buf), &heap, &zone)) {
            fail_msg("row %zu", i);
        }
        heap_fini(&heap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_says_when_summer_begins_and_ends),
        cmocka_unit_test(changes_of_the_file_come_before_its_rule),
        cmocka_unit_test(what_is_no_rule_is_refused),
        cmocka_unit_test(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
