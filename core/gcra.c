#include "core/gcra.h"

#include "core/check.h"

struct period {
    const char *name;
    uint64_t seconds;
};

static const struct period periods[] = {
    {"s", 1},       {"sec", 1},   {"second", 1},  {"m", 60},    {"min", 60}, {"minute", 60},
    {"h", 3600},    {"hr", 3600}, {"hour", 3600}, {"d", 86400}, {"day", 86400},
};

/* --- text ------------------------------------------------------------------------------------- */

/* "1_000", "1,000": separators stand anywhere. */
static bool parse_number(struct slice text, uint64_t *number_out)
{
    uint64_t number = 0;
    bool digits = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte == ',' || byte == '_') {
            continue;
        }
        if (byte < '0' || byte > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(byte - '0'), &number)) {
            return false;
        }
        digits = true;
    }
    *number_out = number;
    return digits;
}

/* "s", "10min". */
static bool parse_period(struct slice text, uint64_t *seconds_out)
{
    uint64_t times = 1;
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') {
        digits++;
    }
    if (digits > 0 && !slice_parse_u64(slice_first(text, digits), &times)) {
        return false;
    }
    struct slice name = slice_skip(text, digits);
    for (size_t i = 0; i < COUNT_OF(periods); i++) {
        if (slice_equal(name, slice_from_string(periods[i].name))) {
            return !__builtin_mul_overflow(times, periods[i].seconds, seconds_out);
        }
    }
    return false;
}

static size_t find_burst(struct slice text, struct slice mark)
{
    size_t at = 0;
    while (at < text.size && !slice_starts_with(slice_skip(text, at), mark)) {
        at++;
    }
    return at;
}

/* Takes ",max_burst=B" off the end of `text`. */
static const char *take_burst(struct slice *text, struct rate *rate)
{
    const struct slice mark = SLICE(",max_burst=");
    size_t at = find_burst(*text, mark);
    if (at == text->size) {
        return NULL;
    }
    rate->burst_given = true;
    if (!parse_number(slice_skip(*text, at + mark.size), &rate->burst) || rate->burst == 0) {
        return "max_burst wants a number above 0";
    }
    *text = slice_first(*text, at);
    return NULL;
}

const char *rate_parse(struct slice text, struct rate *rate_out)
{
    struct rate rate = {.local = slice_starts_with(text, SLICE("local:"))};
    uint64_t seconds;
    uint64_t span;
    if (rate.local) {
        text = slice_skip(text, 6);
    }
    const char *wrong = take_burst(&text, &rate);
    if (wrong != NULL) {
        return wrong;
    }
    size_t slash = slice_find(text, '/');
    if (slash == text.size) {
        return "wants COUNT/PERIOD, such as \"100/s\" or \"500/d,max_burst=1\"";
    }
    if (!parse_number(slice_first(text, slash), &rate.count) || rate.count == 0) {
        return "wants a count above 0 before the slash, such as \"1,000/h\"";
    }
    if (!parse_period(slice_skip(text, slash + 1), &seconds)) {
        return "wants one of s, sec, second, m, min, minute, h, hr, hour, d, day after the slash";
    }
    if (seconds == 0 || __builtin_mul_overflow(seconds, NS_PER_S, &rate.period_ns) ||
        rate.period_ns > RATE_PERIOD_NS_MAX) {
        return "wants a period from 1 second to 366 days";
    }
    if (rate.period_ns / rate.count < RATE_INTERVAL_NS_MIN) {
        return "wants at most 1,000,000 a second";
    }
    rate.interval_ns = rate.period_ns / rate.count + (rate.period_ns % rate.count != 0);
    if (!rate.burst_given) {
        rate.burst = rate.count;
    }
    if (__builtin_mul_overflow(rate.burst, rate.interval_ns, &span) || span > RATE_SPAN_NS_MAX) {
        return "wants a max_burst that comes back within ten years";
    }
    *rate_out = rate;
    return NULL;
}

void rate_put(struct buf *buf, const struct rate *rate)
{
    uint64_t seconds = rate->period_ns / NS_PER_S;
    if (rate->local) {
        buf_put(buf, SLICE("local:"));
    }
    buf_put_u64(buf, rate->count);
    buf_put_byte(buf, '/');
    switch (seconds) {
    case 1:
        buf_put_byte(buf, 's');
        break;
    case 60:
        buf_put_byte(buf, 'm');
        break;
    case 3600:
        buf_put_byte(buf, 'h');
        break;
    case 86400:
        buf_put_byte(buf, 'd');
        break;
    default:
        buf_put_u64(buf, seconds);
        buf_put_byte(buf, 's');
        break;
    }
    if (rate->burst_given) {
        buf_put(buf, SLICE(",max_burst="));
        buf_put_u64(buf, rate->burst);
    }
}

/* --- algorithm -------------------------------------------------------------------------------- */

struct gcra_grant gcra_reserve(const struct rate *rate, uint64_t arrival_ns, uint64_t now_ns,
                               uint64_t until_ns, uint64_t want)
{
    uint64_t base = MAX_OF(arrival_ns, now_ns);
    struct gcra_grant grant = {.arrival_ns = arrival_ns};
    CHECK(base <= INT64_MAX - 2 * RATE_SPAN_NS_MAX && until_ns <= RATE_ANY_TIME);
    grant.first_ns = (int64_t)(base + rate->interval_ns) - (int64_t)rate_span_ns(rate);
    if (grant.first_ns > (int64_t)until_ns) {
        return grant;
    }
    uint64_t room = (until_ns - (uint64_t)grant.first_ns) / rate->interval_ns + 1;
    uint64_t moved;
    grant.count = MIN_OF(want, room);
    CHECK(!__builtin_mul_overflow(grant.count, rate->interval_ns, &moved) &&
          !__builtin_add_overflow(base, moved, &grant.arrival_ns));
    return grant;
}

uint64_t gcra_ready(const struct rate *rate, int64_t first_ns, uint64_t count, uint64_t now_ns)
{
    if (count == 0 || first_ns > (int64_t)now_ns) {
        return 0;
    }
    uint64_t passed = (uint64_t)((int64_t)now_ns - first_ns) / rate->interval_ns + 1;
    return MIN_OF(count, passed);
}
