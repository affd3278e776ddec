#include "smtp/compose_body.h"

#include <string.h>

#include "core/base64.h"

#define PLAIN_LINE_BYTES_MAX  998 /* RFC 5322 2.1.1 */
#define QUOTED_LINE_BYTES_MIN 73  /* before a soft line end */
#define QUOTED_LINE_BYTES_MAX 76  /* RFC 2045 6.7 (5), with the "=" of a soft line end */

size_t body_line_size(struct slice text)
{
    /* By windows: a search for one of the two alone could look through everything. */
    const size_t window_bytes = 128;
    for (size_t at = 0; at < text.size; at += window_bytes) {
        struct slice window = slice_make(text.data + at, MIN_OF(window_bytes, text.size - at));
        size_t found = slice_find(slice_first(window, slice_find(window, '\n')), '\r');
        if (found < window.size) {
            return at + found;
        }
    }
    return text.size;
}

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
    size_t size = body_line_size(text);
    *skip_out = size + line_end_size(slice_skip(text, size));
    return slice_first(text, size);
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
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
        shape.escapes += line.size > 0 && is_blank(line.data[line.size - 1]);
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
    quoted += quoted / QUOTED_LINE_BYTES_MIN * 3;
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

static bool is_quoted_plain(uint8_t byte)
{
    return is_printable(byte) && byte != '=';
}

static void put_quoted_byte(struct buf *buf, uint8_t byte)
{
    buf_put_byte(buf, '=');
    buf_put_hex_upper(buf, byte);
}

/*
 * A line without its end. A space or tab there would get lost on the way (RFC 2045 6.7 (3)). The
 * last column of a line is left to the "=" of a soft line end.
 */
static void put_quoted_line(struct buf *buf, struct slice line)
{
    const size_t columns = QUOTED_LINE_BYTES_MAX - 1;
    bool blank_end = line.size > 0 && is_blank(line.data[line.size - 1]);
    size_t plain_end = line.size - blank_end;
    size_t column = 0;
    for (size_t at = 0; at < line.size;) {
        size_t run = at;
        while (run < plain_end && run - at < columns - column && is_quoted_plain(line.data[run])) {
            run++;
        }
        buf_put(buf, slice_make(line.data + at, run - at));
        column += run - at;
        at = run;
        if (at == line.size) {
            break;
        }
        bool plain = at < plain_end && is_quoted_plain(line.data[at]);
        if (plain || column + 3 > columns) {
            buf_put(buf, SLICE("=\r\n"));
            column = 0;
        }
        if (!plain) {
            put_quoted_byte(buf, line.data[at++]);
            column += 3;
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
