#include "core/conf_text.h"

#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit duration_units[] = {
    {"ns", 1},
    {"us", NS_PER_US},
    {"ms", NS_PER_MS},
    {"s", NS_PER_S},
    {"sec", NS_PER_S},
    {"secs", NS_PER_S},
    {"second", NS_PER_S},
    {"seconds", NS_PER_S},
    {"m", 60 * NS_PER_S},
    {"min", 60 * NS_PER_S},
    {"mins", 60 * NS_PER_S},
    {"minute", 60 * NS_PER_S},
    {"minutes", 60 * NS_PER_S},
    {"h", 3600 * NS_PER_S},
    {"hr", 3600 * NS_PER_S},
    {"hrs", 3600 * NS_PER_S},
    {"hour", 3600 * NS_PER_S},
    {"hours", 3600 * NS_PER_S},
    {"d", 86400 * NS_PER_S},
    {"day", 86400 * NS_PER_S},
    {"days", 86400 * NS_PER_S},
    {"w", 7 * 86400 * NS_PER_S},
    {"week", 7 * 86400 * NS_PER_S},
    {"weeks", 7 * 86400 * NS_PER_S},
};

static const struct unit size_units[] = {
    {"B", 1},
    {"KB", 1000},
    {"kB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
};

static size_t run_of(struct slice text, bool (*is)(uint8_t))
{
    size_t size = 0;
    while (size < text.size && is(text.data[size])) {
        size++;
    }
    return size;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_letter(uint8_t byte)
{
    return ascii_lower(byte) >= 'a' && ascii_lower(byte) <= 'z';
}

/* Takes "128 MiB" off the front of `text`; the unit may be wanting when `bare` allows it. */
static bool take_quantity(struct slice *text, const struct unit *units, size_t count, bool bare,
                          uint64_t *value_out)
{
    uint64_t number;
    size_t digits = run_of(*text, is_digit);
    if (!slice_parse_u64(slice_first(*text, digits), &number)) {
        return false;
    }
    struct slice rest = slice_trim(slice_skip(*text, digits));
    struct slice name = slice_first(rest, run_of(rest, is_letter));
    *text = slice_skip(rest, name.size);
    if (name.size == 0) {
        *value_out = number;
        return bare;
    }
    for (size_t i = 0; i < count; i++) {
        if (slice_equal(name, slice_from_string(units[i].name))) {
            return !__builtin_mul_overflow(number, units[i].factor, value_out);
        }
    }
    return false;
}

bool conf_text_duration(struct slice text, uint64_t *ns_out)
{
    uint64_t total = 0;
    text = slice_trim(text);
    do {
        uint64_t part;
        if (!take_quantity(&text, duration_units, COUNT_OF(duration_units), false, &part) ||
            __builtin_add_overflow(total, part, &total)) {
            return false;
        }
        text = slice_trim(text);
    } while (text.size > 0);
    *ns_out = total;
    return true;
}

bool conf_text_size(struct slice text, uint64_t *bytes_out)
{
    text = slice_trim(text);
    return take_quantity(&text, size_units, COUNT_OF(size_units), true, bytes_out) &&
           text.size == 0;
}

bool conf_text_amount(struct slice text, struct conf_amount *amount_out)
{
    text = slice_trim(text);
    struct conf_amount amount = {.percent = slice_ends_with(text, SLICE("%"))};
    if (amount.percent) {
        struct slice number = slice_trim(slice_first(text, text.size - 1));
        if (!slice_parse_u64(number, &amount.value) || amount.value > 100) {
            return false;
        }
    } else if (!conf_text_size(text, &amount.value)) {
        return false;
    }
    *amount_out = amount;
    return true;
}

bool conf_text_uuid(struct slice text, uint8_t id_out[16])
{
    uint8_t id[16] = {0};
    size_t digits = 0;
    bool hyphens = text.size == 36;
    if (text.size != 32 && !hyphens) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        bool place = i == 8 || i == 13 || i == 18 || i == 23;
        if (hyphens && place) {
            if (text.data[i] != '-') {
                return false;
            }
            continue;
        }
        int value = ascii_hex_value(text.data[i]);
        if (value < 0) {
            return false;
        }
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | value);
        digits++;
    }
    memcpy(id_out, id, sizeof(id));
    return true;
}

bool conf_text_is_host(struct slice text)
{
    if (text.size == 0 || text.size > 255 || text.data[0] == '.' || text.data[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        bool dot_twice = byte == '.' && i > 0 && text.data[i - 1] == '.';
        if (dot_twice || !(is_letter(byte) || is_digit(byte) || byte == '-' || byte == '_' ||
                           byte == '.')) {
            return false;
        }
    }
    return true;
}

unsigned conf_text_distance(struct slice a, struct slice b)
{
    unsigned row[65];
    a = slice_first(a, MIN_OF(a.size, (size_t)64));
    b = slice_first(b, MIN_OF(b.size, (size_t)64));
    for (unsigned k = 0; k <= b.size; k++) {
        row[k] = k;
    }
    for (size_t i = 0; i < a.size; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t k = 0; k < b.size; k++) {
            unsigned replaced = diagonal + (a.data[i] != b.data[k]);
            diagonal = row[k + 1];
            row[k + 1] = MIN_OF(replaced, MIN_OF(row[k], row[k + 1]) + 1);
        }
    }
    return row[b.size];
}
