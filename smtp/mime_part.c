#include "smtp/mime_part.h"

#include <string.h>

#include "core/base64.h"

/* --- parts ------------------------------------------------------------------------------------ */

/* Any printable characters: more than RFC 2046 allows are in use. */
static bool boundary_is_sound(struct slice boundary)
{
    for (size_t i = 0; i < boundary.size; i++) {
        if (boundary.data[i] < ' ' || boundary.data[i] >= 0x7F) {
            return false;
        }
    }
    return boundary.size > 0 && boundary.data[boundary.size - 1] != ' ';
}

bool mime_parts_open(struct mime_parts *parts, struct slice content_type, struct slice body)
{
    struct buf boundary;
    *parts = (struct mime_parts){.rest = body};
    buf_init(&boundary, parts->boundary, sizeof(parts->boundary));
    if (mime_parameter(content_type, SLICE("boundary"), &boundary) != MIME_FOUND ||
        !boundary_is_sound(buf_slice(&boundary))) {
        return false;
    }
    parts->boundary_bytes = (uint8_t)boundary.size;
    return true;
}

enum line_kind {
    LINE_TEXT,
    LINE_DELIMITER,
    LINE_CLOSING,
};

static enum line_kind line_kind(const struct mime_parts *parts, struct slice line)
{
    struct slice boundary = slice_make(parts->boundary, parts->boundary_bytes);
    if (line.size < 2 + boundary.size || line.data[0] != '-' || line.data[1] != '-' ||
        !slice_starts_with(slice_skip(line, 2), boundary)) {
        return LINE_TEXT;
    }
    struct slice rest = slice_skip(line, 2 + boundary.size);
    bool closing = slice_starts_with(rest, SLICE("--"));
    rest = slice_trim(closing ? slice_skip(rest, 2) : rest);
    return rest.size > 0 ? LINE_TEXT : closing ? LINE_CLOSING : LINE_DELIMITER;
}

/* Lines up to the next delimiter, which is taken off, too. */
static struct slice take_text(struct mime_parts *parts, enum line_kind *end_out)
{
    const uint8_t *begin = parts->rest.data;
    while (parts->rest.size > 0) {
        const uint8_t *end = parts->rest.data;
        *end_out = line_kind(parts, mime_line_take(&parts->rest));
        if (*end_out != LINE_TEXT) {
            return slice_make(begin, (size_t)(end - begin));
        }
    }
    *end_out = LINE_TEXT;
    return slice_make(begin, (size_t)(parts->rest.data - begin));
}

/* The line end before a delimiter is the delimiter's. */
static struct slice without_line_end(struct slice text)
{
    if (text.size > 0 && text.data[text.size - 1] == '\n') {
        text.size--;
        if (text.size > 0 && text.data[text.size - 1] == '\r') {
            text.size--;
        }
    }
    return text;
}

bool mime_parts_next(struct mime_parts *parts, struct mime_part *part_out)
{
    enum line_kind end;
    if (parts->count == 0) {
        (void)take_text(parts, &end); /* the preamble */
        parts->ended = end != LINE_DELIMITER;
    }
    if (parts->ended || parts->count == MIME_PARTS_MAX) {
        return false;
    }
    struct slice text = take_text(parts, &end);
    parts->count++;
    parts->ended = end != LINE_DELIMITER;
    part_out->cut = end == LINE_TEXT;
    mime_split(part_out->cut ? text : without_line_end(text), &part_out->header, &part_out->body);
    return true;
}

/* --- transfer encodings ----------------------------------------------------------------------- */

/* A line; the white space at its end was added on the way (RFC 2045 6.7 (3)). */
static void decode_quoted_line(struct slice line, bool has_end, struct buf *out)
{
    while (line.size > 0 && (line.data[line.size - 1] == ' ' || line.data[line.size - 1] == '\t')) {
        line.size--;
    }
    bool soft = line.size > 0 && line.data[line.size - 1] == '=';
    line.size -= soft ? 1 : 0;
    for (size_t i = 0; i < line.size; i++) {
        bool coded = line.data[i] == '=' && i + 2 < line.size;
        int high = coded ? ascii_hex_value(line.data[i + 1]) : -1;
        int low = coded ? ascii_hex_value(line.data[i + 2]) : -1;
        if (high < 0 || low < 0) {
            buf_put_byte(out, line.data[i]);
            continue;
        }
        buf_put_byte(out, (uint8_t)(high << 4 | low));
        i += 2;
    }
    if (has_end && !soft) {
        buf_put_byte(out, '\n');
    }
}

static void decode_quoted(struct slice text, struct buf *out)
{
    while (text.size > 0) {
        struct slice line = mime_line_take(&text);
        bool has_end = line.data + line.size < text.data;
        decode_quoted_line(line, has_end, out);
    }
}

bool mime_part_decode(const struct mime_part *part, struct buf *scratch, struct slice *bytes_out)
{
    struct slice encoding;
    if (!mime_field_find(part->header, SLICE("content-transfer-encoding"), &encoding) ||
        mime_value_is(encoding, SLICE("7bit")) || mime_value_is(encoding, SLICE("8bit")) ||
        mime_value_is(encoding, SLICE("binary"))) {
        *bytes_out = part->body;
        return true;
    }
    size_t size = scratch->size;
    if (mime_value_is(encoding, SLICE("base64"))) {
        base64_get(scratch, part->body);
    } else if (mime_value_is(encoding, SLICE("quoted-printable"))) {
        decode_quoted(part->body, scratch);
    } else {
        return false;
    }
    *bytes_out = slice_make(scratch->data + size, scratch->size - size);
    return !scratch->overflow;
}
