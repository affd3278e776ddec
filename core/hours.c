#include "core/hours.h"

#include "core/date.h"

/* Twice a day of the week, and as many changes of the zone: a state that lasts longer lasts. */
#define STEPS_MAX 32

static bool has_day(const struct hours *hours, int64_t day)
{
    int64_t weekday = (day + 4) % 7; /* 1970-01-01 was a Thursday */
    return hours->days >> (weekday < 0 ? weekday + 7 : weekday) & 1;
}

static bool open_at(const struct hours *hours, int64_t local_s)
{
    int64_t day = date_day_of(local_s);
    int64_t time_s = local_s - day * HOURS_DAY_S;
    if (hours->start_s < hours->end_s) {
        return has_day(hours, day) && time_s >= hours->start_s && time_s < hours->end_s;
    }
    return (has_day(hours, day) && time_s >= hours->start_s) ||
           (has_day(hours, day - 1) && time_s < hours->end_s);
}

/* The next time of the clock at which hours begin or end on some day. */
static int64_t edge_after(const struct hours *hours, int64_t local_s)
{
    const uint32_t edges[] = {hours->start_s, hours->end_s};
    int64_t day = date_day_of(local_s);
    int64_t next_s = INT64_MAX;
    for (int64_t of = day - 1; of <= day + 1; of++) {
        for (size_t i = 0; i < COUNT_OF(edges); i++) {
            int64_t edge_s = of * HOURS_DAY_S + edges[i];
            next_s = edge_s > local_s ? MIN_OF(next_s, edge_s) : next_s;
        }
    }
    return next_s;
}

bool hours_open(const struct hours *hours, int64_t at_s, int64_t *until_s_out)
{
    int64_t until_s;
    int64_t offset_s = time_zone_offset(hours->zone, at_s, &until_s);
    bool open = open_at(hours, at_s + offset_s);
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        at_s = MIN_OF(edge_after(hours, at_s + offset_s) - offset_s, until_s);
        offset_s = time_zone_offset(hours->zone, at_s, &until_s);
        if (open_at(hours, at_s + offset_s) != open) {
            break;
        }
    }
    *until_s_out = at_s;
    return open;
}

bool hours_parse_days(struct slice text, uint8_t *days_out)
{
    static const char *const names[] = {"sunday",   "monday", "tuesday", "wednesday",
                                        "thursday", "friday", "saturday"};
    uint8_t days = 0;
    while (text.size > 0) {
        size_t size = slice_find(text, ',');
        struct slice name = slice_trim(slice_first(text, size));
        unsigned day = 0;
        while (day < COUNT_OF(names)) {
            struct slice whole = slice_from_string(names[day]);
            if (slice_equal_nocase(name, whole) ||
                slice_equal_nocase(name, slice_first(whole, 3))) {
                break;
            }
            day++;
        }
        if (day == COUNT_OF(names) || size + 1 == text.size) {
            return false; /* no day, or nothing behind the last comma */
        }
        days |= (uint8_t)(1u << day);
        text = slice_skip(text, MIN_OF(size + 1, text.size));
    }
    *days_out = days;
    return days != 0;
}

bool hours_parse_time(struct slice text, uint32_t *seconds_out)
{
    static const uint32_t most[] = {24, 59, 59};
    static const uint32_t unit[] = {3600, 60, 1};
    uint32_t seconds = 0;
    if (text.size != 5 && text.size != 8) {
        return false;
    }
    for (size_t i = 0; i * 3 < text.size; i++) {
        uint64_t part;
        struct slice digits = slice_first(slice_skip(text, i * 3), 2);
        if (!slice_parse_u64(digits, &part) || part > most[i] ||
            (i > 0 && text.data[i * 3 - 1] != ':')) {
            return false;
        }
        seconds += (uint32_t)part * unit[i];
    }
    *seconds_out = seconds;
    return seconds <= HOURS_DAY_S;
}
