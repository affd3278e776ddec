#include "smtp/template_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool template_truth(enum template_dialect dialect, const struct json_value *value)
{
    switch ((enum json_kind)value->kind) {
    case JSON_ABSENT:
    case JSON_NULL:
        return false;
    case JSON_BOOL:
        return value->boolean;
    case JSON_INTEGER:
        return value->integer != 0;
    case JSON_DOUBLE:
        return value->number != 0;
    case JSON_STRING:
    case JSON_ARRAY:
        return value->size > 0;
    case JSON_OBJECT:
        return dialect == TEMPLATE_HANDLEBARS || value->size > 0;
    }
    return false;
}

/* The fewest digits from which the number can be read again: "d.ddde±xx". */
static int shortest_exponential(char *text, size_t size, double number)
{
    int written = 0;
    for (int digits = 0; digits <= 16; digits++) {
        written = snprintf(text, size, "%.*e", digits, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    return written;
}

/*
 * Without an exponent as long as that is short. Jinja shows that it is no integer ("2.0"),
 * Handlebars does not.
 */
static size_t put_double(enum template_dialect dialect, double number, char *text, size_t size)
{
    int length = shortest_exponential(text, size, number);
    const char *mark = strchr(text, 'e');
    long exponent = mark == NULL ? 0 : strtol(mark + 1, NULL, 10);
    if (mark == NULL || exponent < -5 || exponent > 15) {
        return (size_t)length;
    }
    int digits = (int)(mark - text) - (text[0] == '-') - (strchr(text, '.') != NULL);
    long decimals = MAX_OF((long)digits - 1 - exponent, 0L);
    length = snprintf(text, size, "%.*f", (int)decimals, number);
    if (decimals == 0 && dialect == TEMPLATE_JINJA) {
        length += snprintf(text + length, size - (size_t)length, ".0");
    }
    return (size_t)length;
}

bool template_text_of(enum template_dialect dialect, const struct json_value *value,
                      uint8_t memory[static TEMPLATE_SCALAR_BYTES_MAX], struct slice *text_out)
{
    bool is_jinja = dialect == TEMPLATE_JINJA;
    struct buf buf;
    buf_init(&buf, memory, TEMPLATE_SCALAR_BYTES_MAX);
    *text_out = SLICE_NONE;
    switch ((enum json_kind)value->kind) {
    case JSON_ABSENT:
        return true;
    case JSON_NULL:
        *text_out = is_jinja ? SLICE("none") : SLICE("");
        return true;
    case JSON_BOOL:
        *text_out = value->boolean ? SLICE("true") : SLICE("false");
        return true;
    case JSON_INTEGER:
        buf_put_i64(&buf, value->integer);
        *text_out = buf_slice(&buf);
        return true;
    case JSON_DOUBLE:
        *text_out = slice_make(memory, put_double(dialect, value->number, (char *)memory,
                                                  TEMPLATE_SCALAR_BYTES_MAX));
        return true;
    case JSON_STRING:
        *text_out = json_value_text(value);
        return true;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    return false;
}

/* What a byte is written as in HTML; null: as it is. */
static const char *reference_of(enum template_dialect dialect, uint8_t byte)
{
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#x27;";
    case '/':
        return dialect == TEMPLATE_JINJA ? "&#x2f;" : NULL;
    case '`':
        return dialect == TEMPLATE_HANDLEBARS ? "&#x60;" : NULL;
    case '=':
        return dialect == TEMPLATE_HANDLEBARS ? "&#x3D;" : NULL;
    default:
        return NULL;
    }
}

void template_put_escaped(struct buf *buf, enum template_dialect dialect, struct slice text)
{
    size_t plain = 0;
    for (size_t i = 0; i < text.size; i++) {
        const char *reference = reference_of(dialect, text.data[i]);
        if (reference != NULL) {
            buf_put(buf, slice_make(text.data + plain, i - plain));
            buf_put_string(buf, reference);
            plain = i + 1;
        }
    }
    buf_put(buf, slice_skip(text, plain));
}

uint32_t template_decode(struct slice text, size_t *bytes_out)
{
    uint8_t lead = text.data[0];
    size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    *bytes_out = 1;
    if (size == 1 || size > text.size) {
        return lead;
    }
    uint32_t point = lead & (0xFFu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((text.data[i] & 0xC0) != 0x80) {
            return lead;
        }
        point = point << 6 | (text.data[i] & 0x3Fu);
    }
    *bytes_out = size;
    return point;
}

void template_put_point(struct buf *buf, uint32_t point)
{
    if (point < 0x80) {
        buf_put_byte(buf, (uint8_t)point);
        return;
    }
    unsigned rest = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const uint8_t leads[] = {0, 0xC0, 0xE0, 0xF0};
    uint8_t bytes[TEMPLATE_POINT_BYTES_MAX];
    bytes[0] = (uint8_t)(leads[rest] | point >> (6 * rest));
    for (unsigned i = 1; i <= rest; i++) {
        bytes[i] = (uint8_t)(0x80 | (point >> (6 * (rest - i)) & 0x3F));
    }
    buf_put(buf, slice_make(bytes, rest + 1));
}

size_t template_count_points(struct slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++) {
        count += (text.data[i] & 0xC0) != 0x80;
    }
    return count;
}

/* Runs of letters whose lower case is `apart` further on; 1: capital and small letter in turn. */
static const struct {
    uint16_t first; /* capitals */
    uint16_t last;
    uint16_t apart;
} letters[] = {
    {'A', 'Z', 32},         {0x00C0, 0x00D6, 32},   {0x00D8, 0x00DE, 32},   {0x0100, 0x012F, 1},
    {0x0132, 0x0137, 1},    {0x0139, 0x0148, 1},    {0x014A, 0x0177, 1},    {0x0179, 0x017E, 1},
    {0x0218, 0x021B, 1},    {0x0386, 0x0386, 38},   {0x0388, 0x038A, 37},   {0x038C, 0x038C, 64},
    {0x038E, 0x038F, 63},   {0x0391, 0x03A1, 32},   {0x03A3, 0x03AB, 32},   {0x0400, 0x040F, 80},
    {0x0410, 0x042F, 32},   {0x0460, 0x0481, 1},    {0x048A, 0x04BF, 1},    {0x1E00, 0x1E95, 1},
    {0x1EA0, 0x1EFF, 1},
};

uint32_t template_lower(uint32_t point)
{
    for (size_t i = 0; i < COUNT_OF(letters); i++) {
        if (point >= letters[i].first && point <= letters[i].last) {
            bool is_capital = letters[i].apart > 1 || (point - letters[i].first) % 2 == 0;
            return is_capital ? point + letters[i].apart : point;
        }
    }
    return point == 0x0178 ? 0xFF : point;
}

uint32_t template_upper(uint32_t point)
{
    for (size_t i = 0; i < COUNT_OF(letters); i++) {
        uint32_t apart = letters[i].apart;
        uint32_t first = letters[i].first + (apart > 1 ? apart : 0);
        uint32_t last = letters[i].last + (apart > 1 ? apart : 0);
        if (point >= first && point <= last) {
            bool is_small = apart > 1 || (point - first) % 2 == 1;
            return is_small ? point - apart : point;
        }
    }
    return point == 0xFF ? 0x0178 : point == 0x03C2 ? 0x03A3 : point;
}

bool template_is_blank(uint32_t point)
{
    return point == ' ' || (point >= '\t' && point <= '\r') || (point >= 0x1C && point <= 0x1F) ||
           point == 0x85 || point == 0xA0 || point == 0x1680 ||
           (point >= 0x2000 && point <= 0x200A) || point == 0x2028 || point == 0x2029 ||
           point == 0x202F || point == 0x205F || point == 0x3000;
}

struct slice template_trim(struct slice text)
{
    size_t used = 0;
    size_t end = 0;
    size_t at = 0;
    while (text.size > 0 && template_is_blank(template_decode(text, &used))) {
        text = slice_skip(text, used);
    }
    while (at < text.size) {
        bool blank = template_is_blank(template_decode(slice_skip(text, at), &used));
        at += used;
        end = blank ? end : at;
    }
    return slice_first(text, end);
}
