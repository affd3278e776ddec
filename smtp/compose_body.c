#include "smtp/compose_body.h"

#include <string.h>

#include "core/base64.h"

#define PLAIN_LINE_BYTES_MAX  998 /* RFC 5322 2.1.1 */
#define QUOTED_LINE_BYTES_MAX 76  /* RFC 2045 6.7 (5), with the "=" of a soft line end */

/* The line end at the start of `rest`: CRLF, LF or CR; 0 when there is none. */
static size_t line_end_size(struct slice rest)
{
    if (rest.size == 0 || (rest.data[0] != '\r' && rest.data[0] != '\n')) {
        return 0;
    }
    return slice_starts_with(rest, SLICE("\r\n")) ? 2 : 1;
}

/* The line at the start of `text`, and what of it and its end to skip. */
static struct slice line_at(struct slice text, size_t *skip_out)
{
    size_t size = MIN_OF(slice_find(text, '\n'), slice_find(text, '\r'));
    *skip_out = size + line_end_size(slice_skip(text, size));
    return slice_first(text, size);
}

struct body_shape {
    size_t size;      /* with a CRLF for each line end */
    size_t escapes;   /* bytes that quoted-printable writes as three */
    size_t longest;   /* line */
    bool is_plain;    /* nothing but printable ASCII, spaces and tabs */
};

static bool is_printable(uint8_t byte)
{
    return (byte >= ' ' && byte < 0x7F) || byte == '\t';
}

static struct body_shape shape_of(struct slice text)
{
    struct body_shape shape = {.is_plain = true};
    size_t skip;
    for (; text.size > 0; text = slice_skip(text, skip)) {
        struct slice line = line_at(text, &skip);
        shape.size += line.size + (skip > line.size ? 2 : 0);
        shape.longest = MAX_OF(shape.longest, line.size);
        for (size_t i = 0; i < line.size; i++) {
            bool printable = is_printable(line.data[i]);
            shape.is_plain = shape.is_plain && printable;
            shape.escapes += !printable || line.data[i] == '=';
        }
    }
    return shape;
}

enum body_encoding body_encoding_for(struct slice text)
{
    struct body_shape shape = shape_of(text);
    bool marked = text.size > 1 && memmem(text.data, text.size, "=_", 2) != NULL;
    if (shape.is_plain && shape.longest <= PLAIN_LINE_BYTES_MAX && !marked) {
        return BODY_7BIT;
    }
    size_t quoted = shape.size + 2 * shape.escapes;
    quoted += quoted / QUOTED_LINE_BYTES_MAX * 3;
    return quoted <= base64_lines_size(shape.size) ? BODY_QUOTED : BODY_BASE64;
}

struct slice body_encoding_name(enum body_encoding encoding)
{
    switch (encoding) {
    case BODY_7BIT:
        break;
    case BODY_QUOTED:
        return SLICE("quoted-printable");
    case BODY_BASE64:
        return SLICE("base64");
    }
    return SLICE("7bit");
}

/* A line without its end. A space or tab there would get lost on the way (RFC 2045 6.7 (3)). */
static void put_quoted_line(struct buf *buf, struct slice line)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t column = 0;
    for (size_t i = 0; i < line.size; i++) {
        uint8_t byte = line.data[i];
        bool at_end = i + 1 == line.size;
        bool plain = is_printable(byte) && byte != '=' &&
                     !(at_end && (byte == ' ' || byte == '\t'));
        size_t size = plain ? 1 : 3;
        if (column + size + !at_end > QUOTED_LINE_BYTES_MAX) {
            buf_put(buf, SLICE("=\r\n"));
            column = 0;
        }
        column += size;
        if (plain) {
            buf_put_byte(buf, byte);
        } else {
            buf_put_byte(buf, '=');
            buf_put_byte(buf, (uint8_t)hex[byte >> 4]);
            buf_put_byte(buf, (uint8_t)hex[byte & 15]);
        }
    }
}

void body_put(struct buf *buf, struct slice text, enum body_encoding encoding)
{
    struct base64_lines lines;
    size_t skip;
    base64_lines_begin(&lines, buf);
    for (; text.size > 0; text = slice_skip(text, skip)) {
        struct slice line = line_at(text, &skip);
        struct slice end = skip > line.size ? SLICE("\r\n") : SLICE("");
        switch (encoding) {
        case BODY_7BIT:
            buf_put(buf, line);
            buf_put(buf, end);
            break;
        case BODY_QUOTED:
            put_quoted_line(buf, line);
            buf_put(buf, end);
            break;
        case BODY_BASE64:
            base64_lines_put(&lines, line);
            base64_lines_put(&lines, end);
            break;
        }
    }
    base64_lines_end(&lines);
}

size_t body_bytes_max(struct slice text)
{
    /* What is not 7bit takes at most what base64 would; an LF alone becomes a CRLF before that. */
    return base64_lines_size(2 * text.size) + 4;
}
