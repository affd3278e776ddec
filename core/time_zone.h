/*
 * The rules of a time zone: a file of the tz database (TZif, RFC 9636) in memory, and what its
 * clocks show at an instant. Pure and immutable once read: no TZ, no locale, nothing of the C
 * library, so that any thread may look. Instants are seconds since 1970-01-01T00:00:00Z.
 */
#ifndef RINGPOST_CORE_TIME_ZONE_H
#define RINGPOST_CORE_TIME_ZONE_H

#include "core/heap.h"

#define TIME_ZONE_NEVER INT64_MAX

struct time_zone_change {
    int64_t at_s;
    int32_t offset_s; /* from then on */
};

/* A day of the year, and the time of the wall clock on it (POSIX.1-2024 8.3, TZ). */
struct time_zone_day {
    char kind;       /* 'J': day 1 … 365, 29 February not counted; 'N': day 0 … 365; 'M' */
    uint8_t month;   /* of 'M', as the next two */
    uint8_t week;    /* 1 … 5; 5: the last one */
    uint8_t weekday; /* 0 is Sunday */
    uint16_t day;    /* of 'J' and 'N' */
    int32_t time_s;  /* -167 h … 167 h */
};

/* What holds after the last change of the file. */
struct time_zone_rule {
    bool known;         /* else the last change does */
    bool summer;        /* there is summer time, too */
    int32_t standard_s; /* offsets */
    int32_t summer_s;
    struct time_zone_day begin; /* of summer time, by standard time */
    struct time_zone_day end;   /* … by summer time */
};

struct time_zone {
    int32_t first_s; /* offset before the first change */
    const struct time_zone_change *changes; /* ascending */
    size_t count;
    struct time_zone_rule rule;
};

/* UTC, which needs no file. */
extern const struct time_zone time_zone_utc;

/*
 * Reads the bytes of a file, version 2 or later, without leap seconds; what is made of them lies in
 * `heap`. False: they are none.
 */
MUST_USE bool time_zone_read(struct slice bytes, struct heap *heap, struct time_zone *zone_out);

/* Seconds to be added to UTC at that instant, and in `until_s_out` a later one, up to which they
 * stay the same: TIME_ZONE_NEVER when they do for good. Of years 1 to 9999; beyond, as there. */
int32_t time_zone_offset(const struct time_zone *zone, int64_t at_s, int64_t *until_s_out);

#endif
