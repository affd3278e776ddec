#include "smtp/report_text.h"

#include "smtp/mime_field.h"

#define CODE_POINT_DIGITS_MAX 6

static void clean(uint8_t *text, size_t size)
{
    bool utf8 = slice_is_utf8(slice_make(text, size));
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\t' || text[i] == '\r' || text[i] == '\n') {
            text[i] = ' ';
        } else if (text[i] < ' ' || text[i] == 0x7F || (!utf8 && text[i] >= 0x80)) {
            text[i] = '?';
        }
    }
}

/* A character that the limit has cut in two is left out. */
static size_t without_half_character(const uint8_t *text, size_t size)
{
    size_t at = size;
    while (at > 0 && size - at < 3 && (text[at - 1] & 0xC0) == 0x80) {
        at--;
    }
    if (at == 0 || text[at - 1] < 0xC0) {
        return size;
    }
    uint8_t lead = text[at - 1];
    size_t wanted = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    return size - (at - 1) < wanted ? at - 1 : size;
}

void report_put_text(struct buf *buf, struct slice value)
{
    uint8_t memory[REPORT_TEXT_BYTES_MAX];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    mime_put_unfolded(&text, value, sizeof(memory));
    if (text.size == sizeof(memory)) {
        text.size = without_half_character(memory, text.size);
    }
    clean(memory, text.size);
    buf_put(buf, buf_slice(&text));
}

static bool is_type(struct slice type)
{
    for (size_t i = 0; i < type.size; i++) {
        uint8_t byte = ascii_lower(type.data[i]);
        if ((byte < 'a' || byte > 'z') && (byte < '0' || byte > '9') && byte != '-') {
            return false;
        }
    }
    return type.size > 0;
}

void report_split_typed(struct slice value, struct slice *type_out, struct slice *text_out)
{
    struct slice rest = mime_skip_blank(value);
    size_t size = 0;
    while (size < rest.size && is_type(slice_make(rest.data + size, 1))) {
        size++;
    }
    struct slice behind = mime_skip_blank(slice_skip(rest, size));
    if (size > 0 && behind.size > 0 && behind.data[0] == ';') {
        *type_out = slice_first(rest, size);
        *text_out = mime_skip_blank(slice_skip(behind, 1));
    } else {
        *type_out = SLICE_NONE;
        *text_out = rest;
    }
}

/* Up to white space, or a comment, that no quotes enclose. */
static struct slice take_mailbox(struct slice text)
{
    bool quoted = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (quoted && byte == '\\') {
            i++;
        } else if (byte == '"') {
            quoted = !quoted;
        } else if (!quoted && (byte == '\n' || byte == '\r' || byte == '(')) {
            return slice_trim(slice_first(text, i));
        }
    }
    return slice_trim(text);
}

static void put_code_point(struct buf *buf, uint32_t point)
{
    if (point < 0x80) {
        buf_put_byte(buf, point < ' ' ? '?' : (uint8_t)point);
        return;
    }
    unsigned tail = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const uint8_t leads[] = {0, 0xC0, 0xE0, 0xF0};
    buf_put_byte(buf, (uint8_t)(leads[tail] | point >> 6 * tail));
    while (tail-- > 0) {
        buf_put_byte(buf, (uint8_t)(0x80 | (point >> 6 * tail & 0x3F)));
    }
}

/* "\x{E9}" at the start of `text` (RFC 6533 3): its bytes; 0 when there is none. */
static size_t code_point_at(struct slice text, uint32_t *point_out)
{
    if (!slice_starts_with(text, SLICE("\\x{"))) {
        return 0;
    }
    size_t at = 3;
    *point_out = 0;
    for (; at < text.size && at < 3 + CODE_POINT_DIGITS_MAX && text.data[at] != '}'; at++) {
        int digit = ascii_hex_value(text.data[at]);
        if (digit < 0) {
            return 0;
        }
        *point_out = *point_out << 4 | (uint32_t)digit;
    }
    return at > 3 && at < text.size && text.data[at] == '}' ? at + 1 : 0;
}

static void put_utf8_decoded(struct buf *buf, struct slice text)
{
    while (text.size > 0) {
        uint32_t point;
        size_t size = code_point_at(text, &point);
        if (size > 0) {
            put_code_point(buf, point);
        } else {
            buf_put_byte(buf, text.data[0]);
            size = 1;
        }
        text = slice_skip(text, size);
    }
}

void report_put_address(struct buf *buf, struct slice value)
{
    uint8_t memory[REPORT_TEXT_BYTES_MAX];
    struct buf decoded;
    struct slice type;
    struct slice text;
    report_split_typed(value, &type, &text);
    text = take_mailbox(text);
    if (text.size >= 2 && text.data[0] == '<' && text.data[text.size - 1] == '>') {
        text = slice_trim(slice_make(text.data + 1, text.size - 2));
    }
    if (!slice_equal_nocase(type, SLICE("utf-8"))) {
        report_put_text(buf, text);
        return;
    }
    buf_init(&decoded, memory, sizeof(memory));
    put_utf8_decoded(&decoded, slice_first(text, MIN_OF(text.size, sizeof(memory))));
    report_put_text(buf, buf_slice(&decoded));
}
