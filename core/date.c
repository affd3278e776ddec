#include "core/date.h"

#include "core/digits.h"

#define DAYS_PER_ERA  146097u /* 400 years */
#define S_PER_DAY     86400u
#define DAYS_TO_EPOCH 719468u /* 0000-03-01 to 1970-01-01 */

/*
 * Years are counted from the first of March, so that the leap day is the last of its year and the
 * lengths of the months before it follow one line: 153 days in every five months.
 */
static void date_set_day(struct date *date, uint64_t days_since_epoch)
{
    uint64_t days = days_since_epoch + DAYS_TO_EPOCH;
    uint32_t era = (uint32_t)(days / DAYS_PER_ERA);
    uint32_t day_of_era = (uint32_t)(days % DAYS_PER_ERA);
    uint32_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t month_from_march = (5 * day_of_year + 2) / 153;
    date->day = (uint8_t)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    date->month = (uint8_t)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    date->year = era * 400 + year_of_era + (date->month <= 2 ? 1 : 0);
    date->weekday = (uint8_t)((days_since_epoch + 4) % 7); /* the epoch was a Thursday */
}

struct date date_from_ns(uint64_t wall_ns)
{
    struct date date = {.nanosecond = (uint32_t)(wall_ns % NS_PER_S)};
    uint64_t seconds = wall_ns / NS_PER_S;
    uint32_t of_day = (uint32_t)(seconds % S_PER_DAY);
    date.hour = (uint8_t)(of_day / 3600);
    date.minute = (uint8_t)(of_day / 60 % 60);
    date.second = (uint8_t)(of_day % 60);
    date_set_day(&date, seconds / S_PER_DAY);
    return date;
}

static void put_clock(struct buf *buf, const struct date *date, const char *separator)
{
    buf_put_padded(buf, date->hour, 2);
    buf_put_string(buf, separator);
    buf_put_padded(buf, date->minute, 2);
    buf_put_string(buf, separator);
    buf_put_padded(buf, date->second, 2);
}

static void put_day(struct buf *buf, const struct date *date, const char *separator)
{
    buf_put_padded(buf, date->year, 4);
    buf_put_string(buf, separator);
    buf_put_padded(buf, date->month, 2);
    buf_put_string(buf, separator);
    buf_put_padded(buf, date->day, 2);
}

/* Both of mail's and of HTTP's, which differ in the digits of a day and in the name of UTC. */
static void put_words(struct buf *buf, uint64_t wall_ns, unsigned day_digits)
{
    static const char weekdays[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct date date = date_from_ns(wall_ns);
    buf_put_string(buf, weekdays[date.weekday]);
    buf_put(buf, SLICE(", "));
    buf_put_padded(buf, date.day, day_digits);
    buf_put_byte(buf, ' ');
    buf_put_string(buf, months[date.month - 1]);
    buf_put_byte(buf, ' ');
    buf_put_padded(buf, date.year, 4);
    buf_put_byte(buf, ' ');
    put_clock(buf, &date, ":");
}

void date_put_rfc5322(struct buf *buf, uint64_t wall_ns)
{
    put_words(buf, wall_ns, 1);
    buf_put(buf, SLICE(" +0000"));
}

void date_put_http(struct buf *buf, uint64_t wall_ns)
{
    put_words(buf, wall_ns, 2);
    buf_put(buf, SLICE(" GMT"));
}

void date_put_rfc3339(struct buf *buf, uint64_t wall_ns)
{
    struct date date = date_from_ns(wall_ns);
    uint8_t *at = buf_reserve(buf, sizeof("2026-11-22T16:49:10.123Z") - 1);
    if (at == NULL) {
        return;
    }
    uint32_t ms = date.nanosecond / (uint32_t)NS_PER_MS;
    digits_put_pair(at, date.year / 100);
    digits_put_pair(at + 2, date.year % 100);
    at[4] = '-';
    digits_put_pair(at + 5, date.month);
    at[7] = '-';
    digits_put_pair(at + 8, date.day);
    at[10] = 'T';
    digits_put_pair(at + 11, date.hour);
    at[13] = ':';
    digits_put_pair(at + 14, date.minute);
    at[16] = ':';
    digits_put_pair(at + 17, date.second);
    at[19] = '.';
    digits_put_pair(at + 20, ms / 10);
    at[22] = (uint8_t)('0' + ms % 10);
    at[23] = 'Z';
}

void date_put_file_name(struct buf *buf, uint64_t wall_ns)
{
    struct date date = date_from_ns(wall_ns);
    put_day(buf, &date, "");
    buf_put_byte(buf, '-');
    put_clock(buf, &date, "");
    buf_put_byte(buf, '.');
    buf_put_padded(buf, date.nanosecond / NS_PER_US, 6);
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool is_leap(uint64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static uint64_t days_in(uint64_t year, uint64_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year) ? 1u : 0u);
}

/* So many digits, which are taken off. */
static bool take_digits(struct slice *text, size_t count, uint64_t *value_out)
{
    if (text->size < count || !slice_parse_u64(slice_first(*text, count), value_out)) {
        return false;
    }
    *text = slice_skip(*text, count);
    return true;
}

static bool take_byte(struct slice *text, uint8_t byte)
{
    if (text->size == 0 || ascii_lower(text->data[0]) != ascii_lower(byte)) {
        return false;
    }
    *text = slice_skip(*text, 1);
    return true;
}

/* Days from 1970 on; months from 1. */
static uint64_t days_before(uint64_t year, uint64_t month, uint64_t day)
{
    uint64_t days = day - 1;
    for (uint64_t y = 1970; y < year; y++) {
        days += is_leap(y) ? 366 : 365;
    }
    for (uint64_t m = 1; m < month; m++) {
        days += days_in(year, m);
    }
    return days;
}

/* Seconds of the day, and of a fraction. */
static bool take_clock(struct slice *text, uint64_t *ns_out)
{
    uint64_t hour;
    uint64_t minute;
    uint64_t second;
    if (!take_digits(text, 2, &hour) || !take_byte(text, ':') || !take_digits(text, 2, &minute) ||
        !take_byte(text, ':') || !take_digits(text, 2, &second) || hour > 23 || minute > 59 ||
        second > 60) {
        return false;
    }
    *ns_out = ((hour * 60 + minute) * 60 + second) * NS_PER_S;
    if (!take_byte(text, '.')) {
        return true;
    }
    uint64_t unit_ns = NS_PER_S;
    size_t digits = 0;
    for (; digits < text->size && text->data[digits] >= '0' && text->data[digits] <= '9';
         digits++) {
        unit_ns /= 10;
        *ns_out += (uint64_t)(text->data[digits] - '0') * unit_ns;
    }
    *text = slice_skip(*text, digits);
    return digits > 0;
}

/* To be taken off what stands before it. */
static bool take_offset(struct slice *text, int64_t *ns_out)
{
    uint64_t hour;
    uint64_t minute;
    *ns_out = 0;
    if (take_byte(text, 'Z')) {
        return true;
    }
    bool behind = take_byte(text, '-');
    if ((!behind && !take_byte(text, '+')) || !take_digits(text, 2, &hour) ||
        !take_byte(text, ':') || !take_digits(text, 2, &minute) || hour > 23 || minute > 59) {
        return false;
    }
    *ns_out = (int64_t)((hour * 60 + minute) * 60 * NS_PER_S) * (behind ? -1 : 1);
    return true;
}

bool date_parse_rfc3339(struct slice text, uint64_t *wall_ns_out)
{
    uint64_t year;
    uint64_t month;
    uint64_t day;
    uint64_t clock_ns;
    int64_t offset_ns;
    if (!take_digits(&text, 4, &year) || !take_byte(&text, '-') ||
        !take_digits(&text, 2, &month) || !take_byte(&text, '-') || !take_digits(&text, 2, &day) ||
        year < 1970 || year > 2199 || month < 1 || month > 12 || day < 1 ||
        day > days_in(year, month) || (!take_byte(&text, 'T') && !take_byte(&text, ' ')) ||
        !take_clock(&text, &clock_ns) || !take_offset(&text, &offset_ns) || text.size > 0) {
        return false;
    }
    int64_t ns = (int64_t)(days_before(year, month, day) * 86400 * NS_PER_S + clock_ns) - offset_ns;
    *wall_ns_out = (uint64_t)ns;
    return ns >= 0;
}
