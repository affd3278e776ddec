#include "smtp/schedule.h"

#include <string.h>

#include "core/date.h"
#include "core/little.h"

#define STRING_BYTES_MAX 64 /* more than the seven days of the week have */
/* Hours are found within a week; a zone that changes at their beginning takes another look. */
#define LOOKS_MAX        8

enum member { MEMBER_FIRST, MEMBER_EXPIRES, MEMBER_DOW, MEMBER_TZ, MEMBER_START, MEMBER_END };
static const char *const names[] = {"first_attempt", "expires", "dow", "tz", "start", "end"};
#define REFUSED "550 5.6.0 Schedule: "
static const char no_object[] = REFUSED "this is no JSON object of strings";
static const char no_first_attempt[] =
    REFUSED "first_attempt wants a time like 2026-11-22T16:49:10Z";
static const char no_expires[] = REFUSED "expires wants a time like 2026-11-22T16:49:10Z";
static const char no_days[] = REFUSED "dow wants days like Mon,Wed";
static const char no_zone[] = REFUSED "tz is no time zone known here";
static const char no_start[] = REFUSED "start wants a time of the day like 09:00:00";
static const char no_end[] = REFUSED "end wants a time of the day like 17:00:00";
#define HOURS_MEMBERS (1u << MEMBER_DOW | 1u << MEMBER_TZ | 1u << MEMBER_START | 1u << MEMBER_END)

/* --- JSON ------------------------------------------------------------------------------------- */

/*
 * An object of strings and nulls, without nesting: the plain way of a message takes no memory, as
 * core/json_value.h would.
 */
struct reader {
    struct slice rest;
    uint8_t string[STRING_BYTES_MAX];
    uint8_t bytes;
};

static void skip_space(struct reader *reader)
{
    while (reader->rest.size > 0 && memchr(" \t\r\n", reader->rest.data[0], 4) != NULL) {
        reader->rest = slice_skip(reader->rest, 1);
    }
}

static bool take(struct reader *reader, struct slice word)
{
    skip_space(reader);
    if (!slice_starts_with(reader->rest, word)) {
        return false;
    }
    reader->rest = slice_skip(reader->rest, word.size);
    return true;
}

/* Nothing that is said here needs other escapes than those that encoders put before a slash. */
static bool take_string(struct reader *reader)
{
    reader->bytes = 0;
    if (!take(reader, SLICE("\""))) {
        return false;
    }
    while (reader->rest.size > 0 && reader->rest.data[0] != '"') {
        size_t escape = slice_starts_with(reader->rest, SLICE("\\/"));
        uint8_t byte = reader->rest.data[escape];
        if (byte < ' ' || byte > '~' || byte == '\\' || reader->bytes == STRING_BYTES_MAX) {
            return false;
        }
        reader->string[reader->bytes++] = byte;
        reader->rest = slice_skip(reader->rest, escape + 1);
    }
    return take(reader, SLICE("\""));
}

static struct slice string_of(const struct reader *reader)
{
    return slice_make(reader->string, reader->bytes);
}

/* --- the header field ------------------------------------------------------------------------- */

static bool read_instant(struct slice text, uint32_t *seconds_out)
{
    uint64_t wall_ns;
    if (!date_parse_rfc3339(text, &wall_ns)) {
        return false;
    }
    uint64_t seconds = (wall_ns + NS_PER_S - 1) / NS_PER_S;
    *seconds_out = (uint32_t)MIN_OF(MAX_OF(seconds, 1), UINT32_MAX);
    return true;
}

static bool read_zone(struct slice name, const struct conf *conf, uint64_t now_ns,
                      struct schedule *schedule)
{
    int64_t until_s;
    const struct time_zone *zone = conf_zone(conf, name);
    if (zone == NULL || name.size > sizeof(schedule->zone)) {
        return false;
    }
    schedule->offset_s = time_zone_offset(zone, (int64_t)(now_ns / NS_PER_S), &until_s);
    schedule->zone_bytes = (uint8_t)name.size;
    memcpy(schedule->zone, name.data, name.size);
    return true;
}

/* Null, or why not. */
static const char *read_member(enum member member, struct slice text, const struct conf *conf,
                               uint64_t now_ns, struct schedule *schedule)
{
    switch (member) {
    case MEMBER_FIRST:
        return read_instant(text, &schedule->first_s) ? NULL : no_first_attempt;
    case MEMBER_EXPIRES:
        return read_instant(text, &schedule->expires_s) ? NULL : no_expires;
    case MEMBER_DOW:
        return hours_parse_days(text, &schedule->days) ? NULL : no_days;
    case MEMBER_TZ:
        return read_zone(text, conf, now_ns, schedule) ? NULL : no_zone;
    case MEMBER_START:
        return hours_parse_time(text, &schedule->start_s) && schedule->start_s < HOURS_DAY_S
                   ? NULL
                   : no_start;
    case MEMBER_END:
        break;
    }
    return hours_parse_time(text, &schedule->end_s) ? NULL : no_end;
}

static const char *read_members(struct reader *reader, const struct conf *conf, uint64_t now_ns,
                                struct schedule *schedule, unsigned *seen_out)
{
    unsigned named = 0; /* with a null, too */
    if (take(reader, SLICE("}"))) {
        return NULL;
    }
    do {
        unsigned member = 0;
        if (!take_string(reader) || !take(reader, SLICE(":"))) {
            return no_object;
        }
        while (member < COUNT_OF(names) &&
               !slice_equal(string_of(reader), slice_from_string(names[member]))) {
            member++;
        }
        if (member == COUNT_OF(names) || (named & 1u << member) != 0) {
            return REFUSED "it has a member that is unknown, or one twice";
        }
        named |= 1u << member;
        if (take(reader, SLICE("null"))) {
            continue;
        }
        if (!take_string(reader)) {
            return no_object;
        }
        *seen_out |= 1u << member;
        const char *problem =
            read_member((enum member)member, string_of(reader), conf, now_ns, schedule);
        if (problem != NULL) {
            return problem;
        }
    } while (take(reader, SLICE(",")));
    return take(reader, SLICE("}")) ? NULL : no_object;
}

const char *schedule_read(struct slice text, const struct conf *conf, uint64_t now_ns,
                          struct schedule *schedule_out)
{
    struct reader reader = {.rest = text};
    struct schedule *schedule = schedule_out;
    unsigned seen = 0;
    *schedule = (struct schedule){0};
    if (!take(&reader, SLICE("{"))) {
        return no_object;
    }
    const char *problem = read_members(&reader, conf, now_ns, schedule, &seen);
    skip_space(&reader);
    if (problem != NULL || reader.rest.size > 0) {
        return problem != NULL ? problem : no_object;
    }
    unsigned hours = seen & HOURS_MEMBERS;
    if (hours != 0 && (hours != HOURS_MEMBERS || schedule->start_s == schedule->end_s)) {
        return REFUSED "dow, tz, start and end are said together, and start is not end";
    }
    if (schedule->first_s > now_ns / NS_PER_S + SCHEDULE_AHEAD_S_MAX) {
        return REFUSED "first_attempt is more than 366 days away";
    }
    return NULL;
}

/* --- metadata --------------------------------------------------------------------------------- */

void schedule_put(struct buf *buf, const struct schedule *schedule)
{
    uint8_t *at = buf_reserve(buf, SCHEDULE_FIXED_BYTES);
    if (at == NULL) {
        return;
    }
    little_put_u32(at, schedule->first_s);
    little_put_u32(at + 4, schedule->expires_s);
    little_put_u32(at + 8, schedule->start_s);
    little_put_u32(at + 12, schedule->end_s);
    little_put_u32(at + 16, (uint32_t)schedule->offset_s);
    at[20] = schedule->days;
    buf_put(buf, slice_make(schedule->zone, schedule->zone_bytes));
}

bool schedule_get(struct slice bytes, struct schedule *schedule_out)
{
    if (bytes.size < SCHEDULE_FIXED_BYTES || bytes.size > SCHEDULE_BYTES_MAX) {
        return false;
    }
    *schedule_out = (struct schedule){
        .first_s = little_u32(bytes.data),
        .expires_s = little_u32(bytes.data + 4),
        .start_s = little_u32(bytes.data + 8),
        .end_s = little_u32(bytes.data + 12),
        .offset_s = (int32_t)little_u32(bytes.data + 16),
        .days = bytes.data[20],
        .zone_bytes = (uint8_t)(bytes.size - SCHEDULE_FIXED_BYTES),
    };
    memcpy(schedule_out->zone, bytes.data + SCHEDULE_FIXED_BYTES, schedule_out->zone_bytes);
    if (schedule_out->days == 0) {
        return true;
    }
    return schedule_out->days < 1 << 7 && schedule_out->start_s < HOURS_DAY_S &&
           schedule_out->end_s <= HOURS_DAY_S && schedule_out->start_s != schedule_out->end_s &&
           schedule_out->offset_s > -2 * HOURS_DAY_S && schedule_out->offset_s < 2 * HOURS_DAY_S;
}

/* --- time ------------------------------------------------------------------------------------- */

uint32_t schedule_next_s(const struct schedule *schedule, const struct conf *conf, uint32_t at_s,
                         int64_t ahead_s)
{
    at_s = MAX_OF(at_s, schedule->first_s);
    if (schedule->days == 0) {
        return at_s;
    }
    const struct time_zone fixed = {.first_s = schedule->offset_s};
    const struct time_zone *zone =
        conf_zone(conf, slice_make(schedule->zone, schedule->zone_bytes));
    const struct hours hours = {
        .days = schedule->days,
        .start_s = schedule->start_s,
        .end_s = schedule->end_s,
        .zone = zone != NULL ? zone : &fixed,
    };
    int64_t wall_s = (int64_t)at_s + ahead_s;
    int64_t until_s;
    for (unsigned i = 0; i < LOOKS_MAX && !hours_open(&hours, wall_s, &until_s); i++) {
        wall_s = until_s;
    }
    return (uint32_t)MIN_OF(MAX_OF(wall_s - ahead_s, (int64_t)at_s), (int64_t)UINT32_MAX);
}

uint32_t schedule_first_due_s(const struct schedule *schedule, const struct conf *conf,
                              uint32_t created_s, int64_t ahead_s)
{
    uint32_t next_s = schedule_next_s(schedule, conf, created_s, ahead_s);
    return schedule->expires_s > 0 ? MIN_OF(next_s, schedule->expires_s) : next_s;
}

void schedule_age(const struct schedule *schedule, const struct conf *conf, uint64_t *from_ns,
                  uint64_t *age_max_ns)
{
    uint32_t first_s = schedule_next_s(schedule, conf, (uint32_t)(*from_ns / NS_PER_S), 0);
    uint64_t expires_ns = schedule->expires_s * NS_PER_S;
    *from_ns = MAX_OF(*from_ns, first_s * NS_PER_S);
    if (schedule->expires_s > 0) {
        *from_ns = MIN_OF(*from_ns, expires_ns);
        *age_max_ns = expires_ns - *from_ns;
    }
}
