#include "core/base64.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Four characters for one to three bytes. */
static void put_quantum(uint8_t at[static 4], const uint8_t *bytes, size_t count)
{
    uint32_t bits = (uint32_t)bytes[0] << 16;
    bits |= count > 1 ? (uint32_t)bytes[1] << 8 : 0;
    bits |= count > 2 ? bytes[2] : 0;
    at[0] = (uint8_t)digits[bits >> 18];
    at[1] = (uint8_t)digits[bits >> 12 & 63];
    at[2] = count > 1 ? (uint8_t)digits[bits >> 6 & 63] : '=';
    at[3] = count > 2 ? (uint8_t)digits[bits & 63] : '=';
}

void base64_put(struct buf *buf, struct slice bytes)
{
    uint8_t *at = buf_reserve(buf, base64_size(bytes.size));
    for (size_t i = 0; i < bytes.size && at != NULL; i += 3) {
        put_quantum(at + i / 3 * 4, bytes.data + i, MIN_OF(bytes.size - i, (size_t)3));
    }
}

void base64_lines_begin(struct base64_lines *lines, struct buf *buf)
{
    *lines = (struct base64_lines){.buf = buf};
}

static void lines_quantum(struct base64_lines *lines)
{
    uint8_t *at = buf_reserve(lines->buf, 4);
    if (at != NULL) {
        put_quantum(at, lines->held, lines->held_count);
    }
    lines->held_count = 0;
    lines->column += 4;
    if (lines->column == BASE64_LINE_CHARS) {
        buf_put(lines->buf, SLICE("\r\n"));
        lines->column = 0;
    }
}

void base64_lines_put(struct base64_lines *lines, struct slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        lines->held[lines->held_count++] = bytes.data[i];
        if (lines->held_count == sizeof(lines->held)) {
            lines_quantum(lines);
        }
    }
}

void base64_lines_end(struct base64_lines *lines)
{
    if (lines->held_count > 0) {
        lines_quantum(lines);
    }
    if (lines->column > 0) {
        buf_put(lines->buf, SLICE("\r\n"));
        lines->column = 0;
    }
}

static bool is_line_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

#define NO_DIGIT 64

/* 0 to 63 of a digit, by its byte. */
struct values {
    uint8_t of[256];
};

static void values_init(struct values *values)
{
    memset(values->of, NO_DIGIT, sizeof(values->of));
    for (uint8_t i = 0; i < NO_DIGIT; i++) {
        values->of[(uint8_t)digits[i]] = i;
    }
}

bool base64_is_valid(struct slice text)
{
    size_t chars = 0;
    size_t padding = 0;
    unsigned last = 0;
    struct values values;
    values_init(&values);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (is_line_space(byte)) {
            continue;
        }
        chars++;
        if (byte == '=') {
            padding++;
            continue;
        }
        last = values.of[byte];
        if (last == NO_DIGIT || padding > 0) {
            return false;
        }
    }
    unsigned unused = padding == 1 ? 3 : padding == 2 ? 15 : 0;
    return chars % 4 == 0 && padding <= 2 && padding < MAX_OF(chars, (size_t)1) &&
           (last & unused) == 0;
}

void base64_put_again(struct buf *buf, struct slice text)
{
    size_t column = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (is_line_space(text.data[i])) {
            continue;
        }
        buf_put_byte(buf, text.data[i]);
        if (++column == BASE64_LINE_CHARS) {
            buf_put(buf, SLICE("\r\n"));
            column = 0;
        }
    }
    if (column > 0) {
        buf_put(buf, SLICE("\r\n"));
    }
}

static int value_of(uint8_t byte)
{
    if (byte >= 'A' && byte <= 'Z') {
        return byte - 'A';
    }
    if (byte >= 'a' && byte <= 'z') {
        return byte - 'a' + 26;
    }
    if (byte >= '0' && byte <= '9') {
        return byte - '0' + 52;
    }
    return byte == '+' ? 62 : byte == '/' ? 63 : -1;
}

void base64_get(struct buf *buf, struct slice text)
{
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < text.size && text.data[i] != '='; i++) {
        int value = value_of(text.data[i]);
        if (value < 0) {
            continue;
        }
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            buf_put_byte(buf, (uint8_t)(bits >> held));
        }
    }
}
