#include "core/date.h"

#include "core/digits.h"

#define DAYS_PER_ERA  146097u /* 400 years */
#define S_PER_DAY     86400u
#define DAYS_TO_EPOCH 719468u /* 0000-03-01 to 1970-01-01 */

static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* --- the calendar ----------------------------------------------------------------------------- */

static int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

bool date_is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

unsigned date_month_days(int64_t year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && date_is_leap(year) ? 29 : days[month - 1];
}

int64_t date_days_to_year(int64_t year)
{
    int64_t before = year - 1;
    return 365 * (year - 1970) + (floor_div(before, 4) - 492) - (floor_div(before, 100) - 19) +
           (floor_div(before, 400) - 4);
}

int64_t date_day_of(int64_t at_s)
{
    return floor_div(at_s, (int64_t)S_PER_DAY);
}

int64_t date_year_of(int64_t day)
{
    int64_t year = 1970 + floor_div(day * 400, (int64_t)DAYS_PER_ERA);
    year += date_days_to_year(year + 1) <= day;
    return year - (date_days_to_year(year) > day);
}

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

static uint64_t days_in(uint64_t year, uint64_t month)
{
    return date_month_days((int64_t)year, (unsigned)month);
}

/* Days from 1970 on; months from 1. */
static uint64_t days_before(uint64_t year, uint64_t month, uint64_t day)
{
    uint64_t days = (uint64_t)date_days_to_year((int64_t)year) + day - 1;
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

/* --- of mail ---------------------------------------------------------------------------------- */

/* Behind the comment that `text` begins with; comments stand in comments as deep as they like. */
static struct slice skip_comment(struct slice text)
{
    size_t depth = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\\') {
            i++;
        } else if (text.data[i] == '(') {
            depth++;
        } else if (text.data[i] == ')' && --depth == 0) {
            return slice_skip(text, i + 1);
        }
    }
    return slice_skip(text, text.size);
}

static void skip_blank(struct slice *text)
{
    while (text->size > 0) {
        uint8_t byte = text->data[0];
        if (byte == '(') {
            *text = skip_comment(*text);
        } else if (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n') {
            *text = slice_skip(*text, 1);
        } else {
            return;
        }
    }
}

/* Letters at the start, which are taken off with what is blank around them. */
static struct slice take_word(struct slice *text)
{
    size_t size = 0;
    skip_blank(text);
    while (size < text->size && ascii_lower(text->data[size]) >= 'a' &&
           ascii_lower(text->data[size]) <= 'z') {
        size++;
    }
    struct slice word = slice_first(*text, size);
    *text = slice_skip(*text, size);
    skip_blank(text);
    return word;
}

/* One to `most` digits, which are taken off with what is blank around them. */
static bool take_count(struct slice *text, size_t most, size_t *digits_out, uint64_t *value_out)
{
    size_t size = 0;
    skip_blank(text);
    while (size < text->size && text->data[size] >= '0' && text->data[size] <= '9') {
        size++;
    }
    *digits_out = size;
    if (size == 0 || size > most || !take_digits(text, size, value_out)) {
        return false;
    }
    skip_blank(text);
    return true;
}

static bool take_month(struct slice *text, uint64_t *month_out)
{
    struct slice word = take_word(text);
    for (unsigned i = 0; i < COUNT_OF(months); i++) {
        if (slice_equal_nocase(word, slice_from_string(months[i]))) {
            *month_out = i + 1;
            return true;
        }
    }
    return false;
}

static bool take_mail_day(struct slice *text, uint64_t *days_out)
{
    uint64_t day;
    uint64_t month;
    uint64_t year;
    size_t digits;
    if (take_word(text).size > 0) { /* of the week: nothing depends on it */
        (void)take_byte(text, ',');
    }
    if (!take_count(text, 2, &digits, &day) || !take_month(text, &month) ||
        !take_count(text, 4, &digits, &year) || digits == 1) {
        return false;
    }
    if (digits < 4) {
        year += digits == 2 && year < 50 ? 2000 : 1900;
    }
    if (year < 1970 || year > 2199 || day < 1 || day > days_in(year, month)) {
        return false;
    }
    *days_out = days_before(year, month, day);
    return true;
}

static bool take_mail_clock(struct slice *text, uint64_t *seconds_out)
{
    uint64_t hour;
    uint64_t minute;
    uint64_t second = 0;
    size_t digits;
    if (!take_count(text, 2, &digits, &hour) || !take_byte(text, ':') ||
        !take_count(text, 2, &digits, &minute) ||
        (take_byte(text, ':') && !take_count(text, 2, &digits, &second)) || hour > 23 ||
        minute > 59 || second > 60) {
        return false;
    }
    *seconds_out = (hour * 60 + minute) * 60 + second;
    return true;
}

/* Seconds that the zone at the start of `text` is before UTC. */
static int64_t mail_zone(struct slice text)
{
    static const struct {
        const char *name;
        int64_t hours;
    } zones[] = {{"EDT", -4}, {"EST", -5}, {"CDT", -5}, {"CST", -6},
                 {"MDT", -6}, {"MST", -7}, {"PDT", -7}, {"PST", -8}};
    uint64_t hours;
    uint64_t minutes;
    skip_blank(&text);
    bool behind = take_byte(&text, '-');
    if (behind || take_byte(&text, '+')) {
        bool good = take_digits(&text, 2, &hours) && take_digits(&text, 2, &minutes) &&
                    minutes < 60;
        return good ? (int64_t)(hours * 60 + minutes) * 60 * (behind ? -1 : 1) : 0;
    }
    struct slice name = take_word(&text);
    for (size_t i = 0; i < COUNT_OF(zones); i++) {
        if (slice_equal_nocase(name, slice_from_string(zones[i].name))) {
            return zones[i].hours * 3600;
        }
    }
    return 0;
}

bool date_parse_rfc5322(struct slice text, uint64_t *wall_ns_out)
{
    uint64_t days;
    uint64_t seconds;
    if (!take_mail_day(&text, &days) || !take_mail_clock(&text, &seconds)) {
        return false;
    }
    int64_t total = (int64_t)(days * S_PER_DAY + seconds) - mail_zone(text);
    *wall_ns_out = (uint64_t)total * NS_PER_S;
    return total >= 0;
}
