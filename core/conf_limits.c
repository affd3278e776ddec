#include "core/conf_limits.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define LIMIT_MAX      1000000
#define NAME_BYTES_MAX 255

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

static bool read_rate(struct conf_load *load, const struct conf_value *value, struct slice name,
                      struct rate *rate_out)
{
    const char *wrong = "wants COUNT/PERIOD, such as \"100/s\" or \"500/d,max_burst=1\"";
    if (value->kind == TOML_STRING) {
        wrong = rate_parse(value->as.text, rate_out);
    }
    if (wrong != NULL) {
        conf_error(load, value, "%.*s %s", SHOW(name), wrong);
    }
    return wrong == NULL;
}

void conf_apply_rate(struct conf_load *load, const struct conf_option *option,
                     const struct conf_value *value, void *base)
{
    struct rate rate;
    if (read_rate(load, value, value->key, &rate)) {
        memcpy((uint8_t *)base + option->offset, &rate, sizeof(rate));
    }
}

void conf_apply_rate_pointer(struct conf_load *load, const struct conf_option *option,
                             const struct conf_value *value, void *base)
{
    struct rate *rate = heap_take(load->heap, sizeof(*rate));
    if (read_rate(load, value, value->key, rate)) {
        memcpy((uint8_t *)base + option->offset, &rate, sizeof(rate));
    }
}

/* Digits with separators, as KumoMTA takes them in a text. */
static bool parse_count(struct slice text, uint64_t *count_out)
{
    uint64_t count = 0;
    bool digits = false;
    if (slice_starts_with(text, SLICE("local:"))) {
        text = slice_skip(text, 6);
    }
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte == ',' || byte == '_') {
            continue;
        }
        if (byte < '0' || byte > '9' || count > LIMIT_MAX) {
            return false;
        }
        count = count * 10 + (uint64_t)(byte - '0');
        digits = true;
    }
    *count_out = count;
    return digits;
}

static bool read_limit(struct conf_load *load, const struct conf_value *value, struct slice name,
                       uint32_t *limit_out)
{
    uint64_t limit = 0;
    bool good = value->kind == TOML_INTEGER && value->as.integer > 0;
    if (good) {
        limit = (uint64_t)value->as.integer;
    } else if (value->kind == TOML_STRING) {
        good = parse_count(value->as.text, &limit);
    }
    if (!good || limit == 0 || limit > LIMIT_MAX) {
        conf_error(load, value, "%.*s wants 1 to %d, or \"local:N\"", SHOW(name), LIMIT_MAX);
        return false;
    }
    *limit_out = (uint32_t)limit;
    return true;
}

void conf_apply_limit(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base)
{
    uint32_t limit;
    if (read_limit(load, value, value->key, &limit)) {
        memcpy((uint8_t *)base + option->offset, &limit, sizeof(limit));
    }
}

/* --- by name ---------------------------------------------------------------------------------- */

static bool good_table(struct conf_load *load, const struct conf_value *value)
{
    if (!conf_want(load, value, TOML_TABLE)) {
        return false;
    }
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        if (at->key.size == 0 || at->key.size > NAME_BYTES_MAX) {
            conf_error(load, at, "%.*s wants names of 1 to %d bytes", SHOW(value->key),
                       NAME_BYTES_MAX);
            return false;
        }
    }
    return true;
}

static bool has_room(struct conf_load *load, const struct conf_value *value, size_t count)
{
    if (count > CONF_NAMED_MAX) {
        conf_error(load, value, "%.*s: more than %d names, those of \"default\" included",
                   SHOW(value->key), CONF_NAMED_MAX);
    }
    return count <= CONF_NAMED_MAX;
}

/* Rows of either kind; each begins with its name. */
struct rows {
    const void *rows;
    size_t count;
};
static_assert(offsetof(struct named_rate, name) == 0, "a row begins with its name");
static_assert(offsetof(struct named_limit, name) == 0, "a row begins with its name");

/* The value of one row; false: it is told why not. */
typedef bool read_row(struct conf_load *load, const struct conf_value *value, void *row);

static bool read_named_rate(struct conf_load *load, const struct conf_value *value, void *row)
{
    return read_rate(load, value, value->key, &((struct named_rate *)row)->rate);
}

static bool read_named_limit(struct conf_load *load, const struct conf_value *value, void *row)
{
    return read_limit(load, value, value->key, &((struct named_limit *)row)->limit);
}

/* The place of this name among `count` rows; `count`: it is new. */
static size_t find_row(const uint8_t *rows, size_t row_bytes, size_t count, struct slice name)
{
    size_t i = 0;
    while (i < count &&
           !slice_equal(*(const struct slice *)(const void *)(rows + i * row_bytes), name)) {
        i++;
    }
    return i;
}

/* What the table says, over what stood there before. False: it stays as it was. */
static bool merge_rows(struct conf_load *load, const struct conf_value *value, struct rows *rows,
                       size_t row_bytes, read_row *read)
{
    if (!good_table(load, value)) {
        return false;
    }
    uint8_t *merged = heap_take_array(load->heap, rows->count + value->count + 1, row_bytes);
    size_t count = rows->count;
    if (count > 0) {
        memcpy(merged, rows->rows, count * row_bytes);
    }
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        size_t i = find_row(merged, row_bytes, count, at->key);
        void *row = merged + i * row_bytes;
        *(struct slice *)row = heap_copy(load->heap, at->key);
        if (!read(load, at, row)) {
            return false;
        }
        count = MAX_OF(count, i + 1);
    }
    *rows = (struct rows){.rows = merged, .count = count};
    return has_room(load, value, count);
}

void conf_apply_named_rates(struct conf_load *load, const struct conf_option *option,
                            const struct conf_value *value, void *base)
{
    struct named_rates *field = (struct named_rates *)(void *)((uint8_t *)base + option->offset);
    struct rows rows = {.rows = field->rows, .count = field->count};
    if (merge_rows(load, value, &rows, sizeof(*field->rows), read_named_rate)) {
        *field = (struct named_rates){.rows = rows.rows, .count = rows.count};
    }
}

void conf_apply_named_limits(struct conf_load *load, const struct conf_option *option,
                             const struct conf_value *value, void *base)
{
    struct named_limits *field = (struct named_limits *)(void *)((uint8_t *)base + option->offset);
    struct rows rows = {.rows = field->rows, .count = field->count};
    if (merge_rows(load, value, &rows, sizeof(*field->rows), read_named_limit)) {
        *field = (struct named_limits){.rows = rows.rows, .count = rows.count};
    }
}
