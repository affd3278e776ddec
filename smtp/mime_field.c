#include "smtp/mime_field.h"

#include <string.h>

static bool is_white(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/* --- fields ----------------------------------------------------------------------------------- */

struct slice mime_line_take(struct slice *rest)
{
    size_t end = slice_find(*rest, '\n');
    struct slice line = slice_first(*rest, end);
    *rest = slice_skip(*rest, MIN_OF(end + 1, rest->size));
    if (line.size > 0 && line.data[line.size - 1] == '\r') {
        line.size--;
    }
    return line;
}

void mime_split(struct slice text, struct slice *header_out, struct slice *body_out)
{
    struct slice rest = text;
    while (rest.size > 0) {
        const uint8_t *begin = rest.data;
        if (mime_line_take(&rest).size == 0) {
            *header_out = slice_first(text, (size_t)(begin - text.data));
            *body_out = rest;
            return;
        }
    }
    *header_out = text;
    *body_out = rest;
}

static bool goes_on(struct slice rest)
{
    return rest.size > 0 && (rest.data[0] == ' ' || rest.data[0] == '\t');
}

/* ftext of RFC 5322 3.6.8. */
static bool is_field_name(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] <= ' ' || name.data[i] >= 0x7F) {
            return false;
        }
    }
    return name.size > 0;
}

bool mime_field_next(struct slice *rest, struct mime_field *field_out)
{
    while (rest->size > 0) {
        bool continues = goes_on(*rest);
        struct slice field = mime_line_take(rest);
        while (goes_on(*rest)) {
            struct slice line = mime_line_take(rest);
            field.size = (size_t)(line.data + line.size - field.data);
        }
        size_t colon = slice_find(field, ':');
        if (continues || colon == field.size) {
            continue;
        }
        field_out->name = slice_trim(slice_first(field, colon));
        field_out->value = slice_skip(field, colon + 1);
        if (is_field_name(field_out->name)) {
            return true;
        }
    }
    return false;
}

bool mime_field_find(struct slice header, struct slice name, struct slice *value_out)
{
    struct mime_field field;
    while (mime_field_next(&header, &field)) {
        if (slice_equal_nocase(field.name, name)) {
            *value_out = field.value;
            return true;
        }
    }
    return false;
}

static struct slice trim_white(struct slice value)
{
    while (value.size > 0 && is_white(value.data[0])) {
        value = slice_skip(value, 1);
    }
    while (value.size > 0 && is_white(value.data[value.size - 1])) {
        value.size--;
    }
    return value;
}

void mime_put_unfolded(struct buf *buf, struct slice value, size_t most)
{
    struct slice rest = trim_white(value);
    while (rest.size > 0 && most > 0) {
        struct slice line = mime_line_take(&rest);
        line = slice_first(line, MIN_OF(line.size, most));
        buf_put(buf, line);
        most -= line.size;
    }
}

/* --- values ----------------------------------------------------------------------------------- */

/* Behind the comment at the start of `value`, with those inside it; one without end is all. */
static struct slice skip_comment(struct slice value)
{
    size_t depth = 0;
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] == '\\') {
            i++;
        } else if (value.data[i] == '(') {
            depth++;
        } else if (value.data[i] == ')' && --depth == 0) {
            return slice_skip(value, i + 1);
        }
    }
    return slice_skip(value, value.size);
}

struct slice mime_skip_blank(struct slice value)
{
    while (value.size > 0 && (is_white(value.data[0]) || value.data[0] == '(')) {
        value = value.data[0] == '(' ? skip_comment(value) : slice_skip(value, 1);
    }
    return value;
}

/* Takes what stands before white space or a byte of `ends`. */
static struct slice take_until(struct slice *rest, const char *ends)
{
    size_t size = 0;
    while (size < rest->size && !is_white(rest->data[size]) &&
           (rest->data[size] == 0 || strchr(ends, rest->data[size]) == NULL)) {
        size++;
    }
    struct slice word = slice_first(*rest, size);
    *rest = slice_skip(*rest, size);
    return word;
}

bool mime_value_is(struct slice value, struct slice type)
{
    struct slice rest = mime_skip_blank(value);
    return slice_equal_nocase(take_until(&rest, ";("), type);
}

/* --- parameters ------------------------------------------------------------------------------- */

struct parameter {
    struct slice name; /* with its asterisks */
    struct slice value;
    bool has_pairs; /* quoted pairs, which readers undo differently */
};

/* A quoted string at the start of `rest`. False without its end. */
static bool take_quoted(struct slice *rest, struct parameter *parameter)
{
    for (size_t i = 1; i < rest->size; i++) {
        if (rest->data[i] == '\\') {
            parameter->has_pairs = true;
            i++;
        } else if (rest->data[i] == '"') {
            parameter->value = slice_make(rest->data + 1, i - 1);
            *rest = slice_skip(*rest, i + 1);
            return true;
        }
    }
    return false;
}

/* Up to the next semicolon in no quotes and no comment; false when quotes do not end. */
static bool skip_to_semicolon(struct slice *rest)
{
    struct parameter ignored;
    while (rest->size > 0 && rest->data[0] != ';') {
        if (rest->data[0] == '"') {
            if (!take_quoted(rest, &ignored)) {
                return false;
            }
        } else if (rest->data[0] == '(') {
            *rest = skip_comment(*rest);
        } else {
            *rest = slice_skip(*rest, 1);
        }
    }
    return true;
}

/* 1: a parameter; 0: there is none any more; -1: a quote has no end. */
static int parameter_next(struct slice *rest, struct parameter *parameter)
{
    while (true) {
        if (!skip_to_semicolon(rest)) {
            return -1;
        }
        if (rest->size == 0) {
            return 0;
        }
        *rest = mime_skip_blank(slice_skip(*rest, 1));
        *parameter = (struct parameter){.name = take_until(rest, ";=(\"")};
        *rest = mime_skip_blank(*rest);
        if (parameter->name.size == 0 || rest->size == 0 || rest->data[0] != '=') {
            continue;
        }
        *rest = mime_skip_blank(slice_skip(*rest, 1));
        if (rest->size > 0 && rest->data[0] == '"') {
            return take_quoted(rest, parameter) ? 1 : -1;
        }
        parameter->value = take_until(rest, ";\"");
        return 1;
    }
}

/* A value that may come in sections, each of which may be percent-encoded (RFC 2231 4.1). */
struct sections {
    uint32_t given;    /* a bit each */
    uint32_t extended; /* the same */
    bool whole;        /* given at once, as section 0 */
    bool broken;
    struct slice values[MIME_PARAMETER_SECTIONS_MAX];
};

static void sections_take(struct sections *sections, const struct parameter *parameter,
                          struct slice suffix)
{
    unsigned number = 0;
    bool whole = suffix.size == 0 || slice_equal(suffix, SLICE("*"));
    bool extended = suffix.size > 0 && suffix.data[suffix.size - 1] == '*';
    if (!whole) {
        struct slice digits = slice_make(suffix.data + 1, suffix.size - 1u - (extended ? 1u : 0u));
        if (digits.size != 1 || digits.data[0] < '0' || digits.data[0] > '9') {
            sections->broken = true;
            return;
        }
        number = (unsigned)(digits.data[0] - '0');
    }
    if (parameter->has_pairs || (sections->given & 1u << number) != 0 ||
        (sections->given != 0 && sections->whole != whole)) {
        sections->broken = true;
        return;
    }
    sections->whole = whole;
    sections->given |= 1u << number;
    sections->extended |= extended ? 1u << number : 0;
    sections->values[number] = parameter->value;
}

/* "charset'language'" at the start of an extended value. */
static bool skip_charset(struct slice *value)
{
    size_t charset = slice_find(*value, '\'');
    struct slice name = slice_first(*value, charset);
    if (charset == value->size || !(slice_equal_nocase(name, SLICE("utf-8")) || name.size == 0 ||
                                    slice_equal_nocase(name, SLICE("us-ascii")))) {
        return false;
    }
    *value = slice_skip(*value, charset + 1);
    size_t language = slice_find(*value, '\'');
    if (language == value->size) {
        return false;
    }
    *value = slice_skip(*value, language + 1);
    return true;
}

static bool put_percent_decoded(struct slice value, struct buf *out)
{
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] != '%') {
            buf_put_byte(out, value.data[i]);
            continue;
        }
        int high = i + 2 < value.size ? ascii_hex_value(value.data[i + 1]) : -1;
        int low = i + 2 < value.size ? ascii_hex_value(value.data[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return false;
        }
        buf_put_byte(out, (uint8_t)(high << 4 | low));
        i += 2;
    }
    return true;
}

static bool sections_put(const struct sections *sections, struct buf *out)
{
    /* From 0 on without a gap; the first one says the charset of all. */
    bool gaps = (sections->given & (sections->given + 1)) != 0;
    if (sections->broken || gaps ||
        (sections->extended != 0 && (sections->extended & 1) == 0)) {
        return false;
    }
    for (unsigned i = 0; (sections->given & 1u << i) != 0; i++) {
        struct slice value = sections->values[i];
        if ((sections->extended & 1u << i) == 0) {
            buf_put(out, value);
        } else if ((i == 0 && !skip_charset(&value)) || !put_percent_decoded(value, out)) {
            return false;
        }
    }
    return !out->overflow;
}

enum mime_found mime_parameter(struct slice value, struct slice name, struct buf *out)
{
    struct sections sections = {0};
    struct parameter parameter;
    struct slice rest = value;
    int step = parameter_next(&rest, &parameter);
    for (; step == 1; step = parameter_next(&rest, &parameter)) {
        size_t end = slice_find(parameter.name, '*');
        if (slice_equal_nocase(slice_first(parameter.name, end), name)) {
            sections_take(&sections, &parameter, slice_skip(parameter.name, end));
        }
    }
    if (step < 0) {
        return MIME_BROKEN;
    }
    if (sections.given == 0 && !sections.broken) {
        return MIME_ABSENT;
    }
    size_t size = out->size;
    bool overflow = out->overflow;
    if (!sections_put(&sections, out)) {
        out->size = size;
        out->overflow = overflow;
        return MIME_BROKEN;
    }
    return MIME_FOUND;
}
