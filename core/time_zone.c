#include "core/time_zone.h"

#include "core/date.h"

#define HEADER_BYTES   44
#define CHANGES_MAX    4096
#define KINDS_MAX      256
#define OFFSET_S_MAX   93599 /* RFC 9636 3.2: within -24:59:59 and 25:59:59 */
#define DAY_S          86400
#define TIME_HOURS_MAX 167

const struct time_zone time_zone_utc = {.first_s = 0};

/* --- the calendar ----------------------------------------------------------------------------- */

/* Days from the first of January. */
static int64_t day_in(int64_t year, const struct time_zone_day *day)
{
    if (day->kind == 'J') {
        return day->day - 1 + (date_is_leap(year) && day->day >= 60);
    }
    if (day->kind == 'N') {
        return day->day;
    }
    int64_t first = 0;
    for (unsigned month = 1; month < day->month; month++) {
        first += date_month_days(year, month);
    }
    int64_t weekday = (date_days_to_year(year) + first + 4) % 7; /* 1970-01-01 was a Thursday */
    weekday += weekday < 0 ? 7 : 0;
    int64_t in = (day->weekday - weekday + 7) % 7 + (day->week - 1) * 7;
    while (in >= date_month_days(year, day->month)) {
        in -= 7;
    }
    return first + in;
}

/* --- what the clock shows --------------------------------------------------------------------- */

/* When summer time begins, or ends, in a year. */
static struct time_zone_change change_of(const struct time_zone_rule *rule, int64_t year,
                                         bool begin)
{
    const struct time_zone_day *day = begin ? &rule->begin : &rule->end;
    int32_t before_s = begin ? rule->standard_s : rule->summer_s;
    return (struct time_zone_change){
        .at_s = (date_days_to_year(year) + day_in(year, day)) * DAY_S + day->time_s - before_s,
        .offset_s = begin ? rule->summer_s : rule->standard_s,
    };
}

/* Of changes at one instant the beginning counts: summer all year ends as it begins. */
static int32_t rule_offset(const struct time_zone_rule *rule, int64_t at_s, int64_t *until_s)
{
    struct time_zone_change last = {.at_s = INT64_MIN, .offset_s = rule->standard_s};
    *until_s = TIME_ZONE_NEVER;
    if (!rule->summer) {
        return rule->standard_s;
    }
    int64_t year = date_year_of(date_day_of(at_s));
    for (int64_t of = year - 2; of <= year + 2; of++) {
        for (unsigned i = 0; i < 2; i++) {
            struct time_zone_change change = change_of(rule, of, i > 0);
            if (change.at_s > at_s) {
                *until_s = MIN_OF(*until_s, change.at_s);
            } else if (change.at_s > last.at_s || (change.at_s == last.at_s && i > 0)) {
                last = change;
            }
        }
    }
    return last.offset_s;
}

int32_t time_zone_offset(const struct time_zone *zone, int64_t at_s, int64_t *until_s_out)
{
    const int64_t first_year_s = -62135596800;
    const int64_t last_year_s = 253402300799;
    at_s = MIN_OF(MAX_OF(at_s, first_year_s), last_year_s);
    size_t low = 0; /* changes that are not later */
    size_t high = zone->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->changes[middle].at_s <= at_s) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == zone->count && zone->rule.known) {
        return rule_offset(&zone->rule, at_s, until_s_out);
    }
    *until_s_out = low < zone->count ? zone->changes[low].at_s : TIME_ZONE_NEVER;
    return low > 0 ? zone->changes[low - 1].offset_s : zone->first_s;
}

/* --- the rule, as text (RFC 9636 3.3.1) ------------------------------------------------------- */

static bool take_byte(struct slice *text, char byte)
{
    if (text->size == 0 || text->data[0] != (uint8_t)byte) {
        return false;
    }
    *text = slice_skip(*text, 1);
    return true;
}

static bool take_number(struct slice *text, unsigned most, unsigned *number_out)
{
    size_t digits = 0;
    unsigned number = 0;
    while (digits < text->size && digits < 4 && text->data[digits] >= '0' &&
           text->data[digits] <= '9') {
        number = number * 10 + (text->data[digits++] - '0');
    }
    *text = slice_skip(*text, digits);
    *number_out = number;
    return digits > 0 && number <= most;
}

/* [+-]H[H[H]][:MM[:SS]] */
static bool take_time(struct slice *text, unsigned hours_max, int32_t *seconds_out)
{
    bool minus = take_byte(text, '-');
    unsigned parts[3] = {0};
    if (!minus) {
        (void)take_byte(text, '+');
    }
    if (!take_number(text, hours_max, &parts[0])) {
        return false;
    }
    for (unsigned i = 1; i < 3 && take_byte(text, ':'); i++) {
        if (!take_number(text, 59, &parts[i])) {
            return false;
        }
    }
    int32_t seconds = (int32_t)(parts[0] * 3600 + parts[1] * 60 + parts[2]);
    *seconds_out = minus ? -seconds : seconds;
    return true;
}

/* Three letters or more, or anything in <>. */
static bool take_name(struct slice *text)
{
    size_t size = 0;
    if (take_byte(text, '<')) {
        size_t end = slice_find(*text, '>');
        *text = slice_skip(*text, end);
        return end >= 3 && take_byte(text, '>');
    }
    while (size < text->size && ascii_lower(text->data[size]) >= 'a' &&
           ascii_lower(text->data[size]) <= 'z') {
        size++;
    }
    *text = slice_skip(*text, size);
    return size >= 3;
}

static bool take_day(struct slice *text, struct time_zone_day *day)
{
    unsigned numbers[3] = {0};
    bool good;
    day->time_s = 2 * 3600;
    if (!take_byte(text, ',')) {
        return false;
    }
    if (take_byte(text, 'M')) {
        day->kind = 'M';
        good = take_number(text, 12, &numbers[0]) && numbers[0] > 0 && take_byte(text, '.') &&
               take_number(text, 5, &numbers[1]) && numbers[1] > 0 && take_byte(text, '.') &&
               take_number(text, 6, &numbers[2]);
        day->month = (uint8_t)numbers[0];
        day->week = (uint8_t)numbers[1];
        day->weekday = (uint8_t)numbers[2];
    } else {
        day->kind = take_byte(text, 'J') ? 'J' : 'N';
        good = take_number(text, 365, &numbers[0]) && (day->kind == 'N' || numbers[0] > 0);
        day->day = (uint16_t)numbers[0];
    }
    return good && (!take_byte(text, '/') || take_time(text, TIME_HOURS_MAX, &day->time_s));
}

/* Offsets count the other way round there. */
static bool rule_read(struct slice text, struct time_zone_rule *rule)
{
    int32_t west_s = 0;
    if (text.size == 0) {
        return true;
    }
    rule->known = true;
    if (!take_name(&text) || !take_time(&text, 24, &west_s)) {
        return false;
    }
    rule->standard_s = -west_s;
    if (text.size == 0) {
        return true;
    }
    rule->summer = true;
    west_s -= 3600;
    if (!take_name(&text) ||
        (text.size > 0 && text.data[0] != ',' && !take_time(&text, 24, &west_s))) {
        return false;
    }
    rule->summer_s = -west_s;
    return take_day(&text, &rule->begin) && take_day(&text, &rule->end) && text.size == 0;
}

/* --- the file --------------------------------------------------------------------------------- */

static uint32_t read_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static int64_t read_i64(const uint8_t *bytes)
{
    return (int64_t)((uint64_t)read_u32(bytes) << 32 | read_u32(bytes + 4));
}

/* A header and the sizes of what follows (RFC 9636 3.1). */
struct block {
    size_t isut, isstd, leaps, changes, kinds, chars;
};

static bool take_header(struct slice *bytes, struct block *block)
{
    const uint8_t *data = bytes->data;
    if (bytes->size < HEADER_BYTES || !slice_starts_with(*bytes, SLICE("TZif")) ||
        data[4] < '2') {
        return false;
    }
    *block = (struct block){read_u32(data + 20), read_u32(data + 24), read_u32(data + 28),
                            read_u32(data + 32), read_u32(data + 36), read_u32(data + 40)};
    *bytes = slice_skip(*bytes, HEADER_BYTES);
    return true;
}

static size_t block_bytes(const struct block *block, size_t time_bytes)
{
    return block->changes * (time_bytes + 1) + block->kinds * 6 + block->chars +
           block->leaps * (time_bytes + 4) + block->isstd + block->isut;
}

static bool changes_read(const uint8_t *data, const struct block *block, struct heap *heap,
                         struct time_zone *zone)
{
    const uint8_t *indices = data + block->changes * 8;
    const uint8_t *kinds = indices + block->changes;
    struct time_zone_change *changes = heap_take_array(heap, block->changes, sizeof(*changes));
    for (size_t i = 0; i < block->kinds; i++) {
        int32_t offset_s = (int32_t)read_u32(kinds + i * 6);
        if (offset_s > OFFSET_S_MAX || offset_s < -OFFSET_S_MAX) {
            return false;
        }
    }
    for (size_t i = 0; i < block->changes; i++) {
        changes[i].at_s = read_i64(data + i * 8);
        if (indices[i] >= block->kinds || (i > 0 && changes[i].at_s <= changes[i - 1].at_s)) {
            return false;
        }
        changes[i].offset_s = (int32_t)read_u32(kinds + (size_t)indices[i] * 6);
    }
    zone->changes = changes;
    zone->count = block->changes;
    zone->first_s = (int32_t)read_u32(kinds);
    return true;
}

bool time_zone_read(struct slice bytes, struct heap *heap, struct time_zone *zone_out)
{
    struct block block;
    struct time_zone zone = {0};
    if (!take_header(&bytes, &block) || block_bytes(&block, 4) > bytes.size) {
        return false;
    }
    bytes = slice_skip(bytes, block_bytes(&block, 4)); /* version 1, in 32 bits */
    if (!take_header(&bytes, &block) || block_bytes(&block, 8) > bytes.size ||
        block.leaps > 0 || block.kinds == 0 || block.kinds > KINDS_MAX ||
        block.changes > CHANGES_MAX || !changes_read(bytes.data, &block, heap, &zone)) {
        return false;
    }
    bytes = slice_skip(bytes, block_bytes(&block, 8));
    if (!take_byte(&bytes, '\n')) {
        return false;
    }
    struct slice text = slice_first(bytes, slice_find(bytes, '\n'));
    if (text.size == bytes.size || !rule_read(text, &zone.rule)) {
        return false;
    }
    *zone_out = zone;
    return true;
}
