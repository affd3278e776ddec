/*
 * Hours in which something may be done: days of the week, and a time from which and one up to which
 * on each, by the wall clock of a time zone. Open whenever that clock shows such a time: what it
 * leaves out in spring is closed, and what it shows twice in autumn is open twice. Hours that end
 * no later than they begin go over midnight, and belong to the day on which they begin. Pure.
 */
#ifndef RINGPOST_CORE_HOURS_H
#define RINGPOST_CORE_HOURS_H

#include "core/time_zone.h"

#define HOURS_DAY_S 86400

struct hours {
    uint8_t days;    /* a bit for each: 1 << 0 is Sunday */
    uint32_t start_s; /* of the day: 0 … 86399 */
    uint32_t end_s;   /* 0 … 86400; not start_s */
    const struct time_zone *zone; /* borrowed */
};

/* Open at that instant? And in `until_s_out` a later one: so it is up to there, at least. */
bool hours_open(const struct hours *hours, int64_t at_s, int64_t *until_s_out);

/* "Mon,Wed": names of days, three letters or whole, in any letter case. */
MUST_USE bool hours_parse_days(struct slice text, uint8_t *days_out);
/* "09:00:00" or "09:00", up to "24:00". */
MUST_USE bool hours_parse_time(struct slice text, uint32_t *seconds_out);

#endif
