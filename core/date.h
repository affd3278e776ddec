/*
 * Wall-clock nanoseconds since 1970-01-01T00:00:00Z as text, always in UTC. Pure arithmetic of the
 * proleptic Gregorian calendar: no locale, no time zone data, no leap seconds; good to the year
 * 2554, where 64 bits of nanoseconds end.
 */
#ifndef RINGPOST_CORE_DATE_H
#define RINGPOST_CORE_DATE_H

#include "core/base.h"
#include "core/buf.h"

struct date {
    uint32_t year;
    uint8_t month;   /* 1 to 12 */
    uint8_t day;     /* 1 to 31 */
    uint8_t weekday; /* 0 is Sunday */
    uint8_t hour;
    uint8_t minute;
    uint8_t second;
    uint32_t nanosecond;
};

struct date date_from_ns(uint64_t wall_ns);

/* Of any year, also before 1970; months are 1 to 12. */
bool date_is_leap(int64_t year);
unsigned date_month_days(int64_t year, unsigned month);
/* From 1970-01-01 to the first of January. */
int64_t date_days_to_year(int64_t year);
/* The day of an instant, in seconds, and the year of a day; both count from 1970-01-01, UTC. */
int64_t date_day_of(int64_t at_s);
int64_t date_year_of(int64_t day);

/* "Sun, 22 Nov 2026 16:49:10 +0000" (RFC 5322 3.3). */
void date_put_rfc5322(struct buf *buf, uint64_t wall_ns);
/* "Sun, 22 Nov 2026 16:49:10 GMT" (RFC 9110 5.6.7). */
void date_put_http(struct buf *buf, uint64_t wall_ns);
/* "2026-11-22T16:49:10.123Z" (RFC 3339 5.6), milliseconds cut, not rounded. */
void date_put_rfc3339(struct buf *buf, uint64_t wall_ns);
/* The same, with any number of decimals or none, and any offset ("+01:00"); of 1970 … 2199. */
MUST_USE bool date_parse_rfc3339(struct slice text, uint64_t *wall_ns_out);
/*
 * The date of a mail message with all that RFC 5322 4.3 calls obsolete: comments, names of zones,
 * years of two digits. A zone that says nothing, or is missing, is UTC. Of 1970 … 2199.
 */
MUST_USE bool date_parse_rfc5322(struct slice text, uint64_t *wall_ns_out);
/* "20261122-164910.123456": names of log files, which sort by time. */
void date_put_file_name(struct buf *buf, uint64_t wall_ns);

#endif
