#include "smtp/template_filters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/template_text.h"

#define DECIMALS_MAX      15
#define INTEGER_AS_DOUBLE 9007199254740992.0 /* beyond it a double skips integers */

typedef bool filter_apply(struct template_filtering *filtering);

static bool complain(struct template_filtering *filtering, const char *text)
{
    filtering->complaint = text;
    return false;
}

/* Before the work; false: it is too much. */
static bool charge(struct template_filtering *filtering, uint64_t steps)
{
    filtering->cost += steps;
    return filtering->cost <= filtering->steps;
}

static bool charge_bytes(struct template_filtering *filtering, size_t bytes)
{
    return charge(filtering, bytes / TEMPLATE_BYTES_A_STEP);
}

static bool charge_value(struct template_filtering *filtering, const struct json_value *value)
{
    return value->kind == JSON_DOUBLE ? charge(filtering, TEMPLATE_STEPS_OF_A_DOUBLE)
                                      : value->kind != JSON_STRING ||
                                            charge_bytes(filtering, value->size);
}

/* The text of value `index`. Numbers are written into scratch. */
static bool text_of(struct template_filtering *filtering, unsigned index, struct slice *text_out)
{
    uint8_t memory[TEMPLATE_SCALAR_BYTES_MAX];
    const struct json_value *value = &filtering->values[index];
    if (!charge_value(filtering, value)) {
        return false;
    }
    if (!template_text_of(TEMPLATE_JINJA, value, memory, text_out)) {
        return complain(filtering, "a list or a mapping is no text");
    }
    if (value->kind != JSON_STRING) {
        *text_out = arena_copy(filtering->scratch, *text_out);
    }
    return !filtering->scratch->overflow;
}

static bool give_text(struct template_filtering *filtering, struct slice text)
{
    filtering->result = json_value_string(text);
    return !filtering->scratch->overflow;
}

/* ---- text */

enum letter_case { LETTERS_UPPER, LETTERS_LOWER, LETTERS_TITLE, LETTERS_CAPITAL };

static bool begins_word(uint32_t before)
{
    return template_is_blank(before) || before == '-' || before == '(' || before == '{' ||
           before == '[' || before == '<';
}

static uint32_t change_letter(enum letter_case letters, uint32_t point, uint32_t before, bool first)
{
    switch (letters) {
    case LETTERS_UPPER:
        return template_upper(point);
    case LETTERS_LOWER:
        return template_lower(point);
    case LETTERS_TITLE:
        first = first || begins_word(before);
        break;
    case LETTERS_CAPITAL:
        break;
    }
    return first ? template_upper(point) : template_lower(point);
}

static bool change_letters(struct template_filtering *filtering, enum letter_case letters)
{
    struct slice text;
    struct buf buf;
    uint32_t before = 0;
    if (!text_of(filtering, 0, &text)) {
        return false;
    }
    /* Where capitals and small letters have different sizes ("ÿ" and its capital) both have two. */
    uint8_t *memory = arena_take_bytes(filtering->scratch, text.size);
    if (memory == NULL || !charge(filtering, text.size / 4)) {
        return false;
    }
    buf_init(&buf, memory, text.size);
    for (size_t i = 0, used; i < text.size; i += used) {
        uint32_t point = template_decode(slice_skip(text, i), &used);
        if (point < 0x80 || used > 1) {
            template_put_point(&buf, change_letter(letters, point, before, i == 0));
        } else {
            buf_put_byte(&buf, (uint8_t)point);
        }
        before = point;
    }
    return give_text(filtering, buf_slice(&buf));
}

static bool apply_upper(struct template_filtering *filtering)
{
    return change_letters(filtering, LETTERS_UPPER);
}

static bool apply_lower(struct template_filtering *filtering)
{
    return change_letters(filtering, LETTERS_LOWER);
}

static bool apply_title(struct template_filtering *filtering)
{
    return change_letters(filtering, LETTERS_TITLE);
}

static bool apply_capitalize(struct template_filtering *filtering)
{
    return change_letters(filtering, LETTERS_CAPITAL);
}

static bool apply_trim(struct template_filtering *filtering)
{
    struct slice text;
    return text_of(filtering, 0, &text) && give_text(filtering, template_trim(text));
}

static bool apply_string(struct template_filtering *filtering)
{
    struct slice text;
    if (filtering->values[0].kind == JSON_STRING) {
        filtering->result = filtering->values[0];
        return true;
    }
    return text_of(filtering, 0, &text) && give_text(filtering, text);
}

static bool apply_safe(struct template_filtering *filtering)
{
    bool good = apply_string(filtering);
    filtering->result.is_safe = true;
    return good;
}

static bool apply_escape(struct template_filtering *filtering)
{
    struct slice text;
    struct buf buf;
    if (filtering->values[0].kind == JSON_STRING && filtering->values[0].is_safe) {
        filtering->result = filtering->values[0];
        return true;
    }
    if (!text_of(filtering, 0, &text)) {
        return false;
    }
    size_t mark = arena_mark(filtering->scratch);
    uint8_t *memory = arena_take_bytes(filtering->scratch, text.size * TEMPLATE_ESCAPE_GROWTH);
    if (memory == NULL) {
        return false;
    }
    buf_init(&buf, memory, text.size * TEMPLATE_ESCAPE_GROWTH);
    template_put_escaped(&buf, TEMPLATE_JINJA, text);
    arena_rewind(filtering->scratch, mark);
    memory = arena_take_bytes(filtering->scratch, buf.size);
    give_text(filtering, slice_make(memory, buf.size));
    filtering->result.is_safe = true;
    return true;
}

static size_t find_part(struct slice text, struct slice part)
{
    const uint8_t *found = text.size == 0 ? NULL : memmem(text.data, text.size, part.data,
                                                          part.size);
    return found == NULL ? text.size : (size_t)(found - text.data);
}

/* The size that replacing makes. */
static size_t replaced_size(struct slice text, struct slice from, struct slice to)
{
    size_t size = 0;
    for (size_t at = find_part(text, from); at < text.size; at = find_part(text, from)) {
        size += at + to.size;
        text = slice_skip(text, at + from.size);
    }
    return size + text.size;
}

static bool apply_replace(struct template_filtering *filtering)
{
    struct slice text;
    struct slice from;
    struct slice to;
    struct buf buf;
    if (!text_of(filtering, 0, &text) || !text_of(filtering, 1, &from) ||
        !text_of(filtering, 2, &to)) {
        return false;
    }
    if (from.size == 0) {
        return complain(filtering, "replace of an empty text");
    }
    size_t size = replaced_size(text, from, to);
    uint8_t *memory = arena_take_bytes(filtering->scratch, size);
    if (memory == NULL || !charge_bytes(filtering, size)) {
        return false;
    }
    buf_init(&buf, memory, size);
    for (size_t at = find_part(text, from); at < text.size; at = find_part(text, from)) {
        buf_put(&buf, slice_first(text, at));
        buf_put(&buf, to);
        text = slice_skip(text, at + from.size);
    }
    buf_put(&buf, text);
    return give_text(filtering, buf_slice(&buf));
}

/* ---- lists */

static bool apply_length(struct template_filtering *filtering)
{
    const struct json_value *value = &filtering->values[0];
    int64_t length = value->size;
    if (!charge_value(filtering, value)) {
        return false;
    }
    switch ((enum json_kind)value->kind) {
    case JSON_STRING:
        length = (int64_t)template_count_points(json_value_text(value));
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    case JSON_ABSENT:
        length = 0;
        break;
    case JSON_NULL:
    case JSON_BOOL:
    case JSON_INTEGER:
    case JSON_DOUBLE:
        return complain(filtering, "this value has no length");
    }
    filtering->result = (struct json_value){.kind = JSON_INTEGER, .integer = length};
    return true;
}

/* The characters of a string, the keys of a mapping. */
static bool apply_list(struct template_filtering *filtering)
{
    const struct json_value *value = &filtering->values[0];
    struct slice text = value->kind == JSON_STRING ? json_value_text(value) : SLICE_NONE;
    if (value->kind == JSON_ARRAY) {
        filtering->result = *value;
        return true;
    }
    if (value->kind != JSON_STRING && value->kind != JSON_OBJECT && value->kind != JSON_ABSENT) {
        return complain(filtering, "this value is no list");
    }
    if (!charge_value(filtering, value)) {
        return false;
    }
    size_t count = value->kind == JSON_STRING ? template_count_points(text) : value->size;
    struct json_value *elements = arena_take(filtering->scratch, count, sizeof(*elements));
    if (elements == NULL || !charge(filtering, count)) {
        return false;
    }
    for (size_t i = 0, used; i < count; i++) {
        if (value->kind == JSON_OBJECT) {
            elements[i] = value->members[i].key;
            continue;
        }
        template_decode(text, &used);
        elements[i] = json_value_string(slice_first(text, used));
        text = slice_skip(text, used);
    }
    filtering->result =
        (struct json_value){.kind = JSON_ARRAY, .size = (uint32_t)count, .elements = elements};
    return true;
}

static bool take_end(struct template_filtering *filtering, bool last)
{
    if (!apply_list(filtering)) {
        return false;
    }
    struct json_value list = filtering->result;
    filtering->result = (struct json_value){.kind = JSON_ABSENT};
    if (list.size > 0) {
        filtering->result = list.elements[last ? list.size - 1 : 0];
    }
    return true;
}

static bool apply_first(struct template_filtering *filtering)
{
    return take_end(filtering, false);
}

static bool apply_last(struct template_filtering *filtering)
{
    return take_end(filtering, true);
}

/* The elements' texts, `between` between them; into `buf`, or only counted when it is null. */
static bool put_joined(struct template_filtering *filtering, const struct json_value *list,
                       struct slice between, struct buf *buf, size_t *size_out)
{
    *size_out = 0;
    for (uint32_t i = 0; i < list->size; i++) {
        uint8_t memory[TEMPLATE_SCALAR_BYTES_MAX];
        struct slice text;
        bool is_double = list->elements[i].kind == JSON_DOUBLE;
        if (!charge(filtering, is_double ? TEMPLATE_STEPS_OF_A_DOUBLE : 1)) {
            return false;
        }
        if (!template_text_of(TEMPLATE_JINJA, &list->elements[i], memory, &text)) {
            return complain(filtering, "a list or a mapping is no text");
        }
        *size_out += text.size + (i > 0 ? between.size : 0);
        if (buf != NULL) {
            buf_put(buf, i > 0 ? between : SLICE(""));
            buf_put(buf, text);
        }
    }
    return true;
}

static bool apply_join(struct template_filtering *filtering)
{
    struct slice between = SLICE("");
    struct buf buf;
    size_t size;
    if (!apply_list(filtering) ||
        (filtering->argument_count > 0 && !text_of(filtering, 1, &between))) {
        return false;
    }
    struct json_value list = filtering->result;
    if (!put_joined(filtering, &list, between, NULL, &size)) {
        return false;
    }
    uint8_t *memory = arena_take_bytes(filtering->scratch, size);
    if (memory == NULL || !charge_bytes(filtering, size)) {
        return false;
    }
    buf_init(&buf, memory, size);
    return put_joined(filtering, &list, between, &buf, &size) &&
           give_text(filtering, buf_slice(&buf));
}

/* ---- numbers and the rest */

static bool apply_default(struct template_filtering *filtering)
{
    bool also_false = filtering->argument_count > 1 &&
                      template_truth(TEMPLATE_JINJA, &filtering->values[2]);
    bool missing = filtering->values[0].kind == JSON_ABSENT ||
                   (also_false && !template_truth(TEMPLATE_JINJA, &filtering->values[0]));
    if (!missing) {
        filtering->result = filtering->values[0];
    } else if (filtering->argument_count > 0) {
        filtering->result = filtering->values[1];
    } else {
        filtering->result = json_value_string(SLICE(""));
    }
    return true;
}

/* A number, or the number that a whole text spells. */
static bool number_of(struct template_filtering *filtering, struct json_value *number_out)
{
    const struct json_value *value = &filtering->values[0];
    char text[TEMPLATE_SCALAR_BYTES_MAX] = "";
    char *end = text;
    *number_out = *value;
    if (!charge_value(filtering, value)) {
        return false;
    }
    if (value->kind == JSON_BOOL) {
        *number_out = (struct json_value){.kind = JSON_INTEGER, .integer = value->boolean};
        return true;
    }
    if (value->kind != JSON_STRING) {
        return value->kind == JSON_INTEGER || value->kind == JSON_DOUBLE ||
               complain(filtering, "this value is no number");
    }
    struct slice trimmed = template_trim(json_value_text(value));
    /* Only plain digits: strtod and strtoll would take "0x1p3", "inf", and spaces. */
    for (size_t i = 0; i < trimmed.size && trimmed.size < sizeof(text); i++) {
        bool plain = strchr("+-.eE0123456789", trimmed.data[i]) != NULL && trimmed.data[i] != 0;
        text[i] = plain ? (char)trimmed.data[i] : '\0';
    }
    bool is_float = strpbrk(text, ".eE") != NULL;
    if (is_float) {
        *number_out = (struct json_value){.kind = JSON_DOUBLE, .number = strtod(text, &end)};
    } else {
        *number_out =
            (struct json_value){.kind = JSON_INTEGER, .integer = strtoll(text, &end, 10)};
    }
    bool whole = end != text && (size_t)(end - text) == trimmed.size;
    bool in_range = is_float ? isfinite(number_out->number) != 0
                             : number_out->integer != INT64_MAX && number_out->integer != INT64_MIN;
    return (whole && in_range) || complain(filtering, "this text is no number");
}

static bool apply_int(struct template_filtering *filtering)
{
    if (!number_of(filtering, &filtering->result)) {
        return false;
    }
    double number = filtering->result.number;
    if (filtering->result.kind == JSON_DOUBLE) {
        if (!(fabs(number) <= INTEGER_AS_DOUBLE)) {
            return complain(filtering, "this number is too large");
        }
        filtering->result = (struct json_value){.kind = JSON_INTEGER, .integer = (int64_t)number};
    }
    return true;
}

static bool apply_float(struct template_filtering *filtering)
{
    if (!number_of(filtering, &filtering->result)) {
        return false;
    }
    if (filtering->result.kind == JSON_INTEGER) {
        double number = (double)filtering->result.integer;
        filtering->result = (struct json_value){.kind = JSON_DOUBLE, .number = number};
    }
    return true;
}

static bool is_number(const struct json_value *value)
{
    return value->kind == JSON_INTEGER || value->kind == JSON_DOUBLE;
}

static bool apply_abs(struct template_filtering *filtering)
{
    filtering->result = filtering->values[0];
    if (!is_number(&filtering->result)) {
        return complain(filtering, "this value is no number");
    }
    if (filtering->result.kind == JSON_DOUBLE) {
        filtering->result.number = fabs(filtering->result.number);
    } else if (filtering->result.integer == INT64_MIN) {
        return complain(filtering, "this number is too large");
    } else if (filtering->result.integer < 0) {
        filtering->result.integer = -filtering->result.integer;
    }
    return true;
}

static bool apply_round(struct template_filtering *filtering)
{
    filtering->result = filtering->values[0];
    int64_t decimals = 0;
    if (filtering->argument_count > 0) {
        const struct json_value *argument = &filtering->values[1];
        decimals = argument->kind == JSON_INTEGER ? argument->integer : -1;
    }
    if (!is_number(&filtering->result)) {
        return complain(filtering, "this value is no number");
    }
    if (decimals < 0 || decimals > DECIMALS_MAX) {
        return complain(filtering, "round to 0 to 15 places");
    }
    if (filtering->result.kind == JSON_DOUBLE) {
        double unit = pow(10, (double)decimals);
        double scaled = filtering->result.number * unit;
        if (isfinite(scaled) && fabs(scaled) <= INTEGER_AS_DOUBLE) {
            filtering->result.number = round(scaled) / unit;
        }
    }
    return true;
}

static const struct filter {
    const char *name;
    unsigned least;
    unsigned most;
    filter_apply *apply;
} filters[] = {
    {"abs", 0, 0, apply_abs},         {"capitalize", 0, 0, apply_capitalize},
    {"count", 0, 0, apply_length},    {"d", 0, 2, apply_default},
    {"default", 0, 2, apply_default}, {"e", 0, 0, apply_escape},
    {"escape", 0, 0, apply_escape},   {"first", 0, 0, apply_first},
    {"float", 0, 0, apply_float},     {"int", 0, 0, apply_int},
    {"join", 0, 1, apply_join},       {"last", 0, 0, apply_last},
    {"length", 0, 0, apply_length},   {"list", 0, 0, apply_list},
    {"lower", 0, 0, apply_lower},     {"replace", 2, 2, apply_replace},
    {"round", 0, 1, apply_round},     {"safe", 0, 0, apply_safe},
    {"string", 0, 0, apply_string},   {"title", 0, 0, apply_title},
    {"trim", 0, 0, apply_trim},       {"upper", 0, 0, apply_upper},
};

bool template_filter_find(struct slice name, uint8_t *filter_out)
{
    for (size_t i = 0; i < COUNT_OF(filters); i++) {
        if (slice_equal(name, slice_from_string(filters[i].name))) {
            *filter_out = (uint8_t)i;
            return true;
        }
    }
    return false;
}

struct slice template_filter_name(uint8_t filter)
{
    return slice_from_string(filters[filter].name);
}

bool template_filter_takes(uint8_t filter, unsigned arguments)
{
    return arguments >= filters[filter].least && arguments <= filters[filter].most;
}

bool template_filter_apply(struct template_filtering *filtering)
{
    filtering->cost = 0;
    filtering->complaint = NULL;
    return filters[filtering->filter].apply(filtering);
}
