#include "smtp/compose_raw.h"

#include "smtp/compose_body.h"
#include "smtp/compose_check.h"
#include "smtp/compose_header.h"

#define LINE_BYTES_MAX 998 /* RFC 5322 2.1.1 */

struct raw {
    struct slice rest;
    uint32_t line; /* of the first line of the rest, from 1 */
    struct arena *scratch;
    struct buf *out;
    bool utf8;
    struct compose_problem *problem;
};

static bool refuse(struct raw *raw, const char *what)
{
    struct buf buf;
    buf_init(&buf, raw->problem->text, sizeof(raw->problem->text) - 1);
    buf_put_string(&buf, "content: line ");
    buf_put_u64(&buf, raw->line);
    buf_put_string(&buf, ": ");
    buf_put_string(&buf, what);
    raw->problem->text[buf.size] = '\0';
    return false;
}

/* The first line of `text` without its end, and that of the lines after it. */
static struct slice first_line(struct slice text, struct slice *rest_out)
{
    size_t size = body_line_size(text);
    struct slice end = slice_skip(text, size);
    size_t end_size = MIN_OF(end.size, (size_t)1) + slice_starts_with(end, SLICE("\r\n"));
    *rest_out = slice_skip(end, end_size);
    return slice_first(text, size);
}

/* Goes on to the next line; puts this one when it is `kept`. */
static bool pass_line(struct raw *raw, bool kept)
{
    struct slice line = first_line(raw->rest, &raw->rest);
    if (line.size > LINE_BYTES_MAX) {
        return refuse(raw, "more than 998 bytes");
    }
    if (kept) {
        buf_put(raw->out, line);
        buf_put(raw->out, SLICE("\r\n"));
    }
    raw->line++;
    return true;
}

static bool is_folded_on(struct slice rest)
{
    return rest.size > 0 && (rest.data[0] == ' ' || rest.data[0] == '\t');
}

/* The field at the start: all its lines, with their ends. */
static struct slice peek_field(const struct raw *raw)
{
    struct slice rest;
    first_line(raw->rest, &rest);
    while (is_folded_on(rest)) {
        first_line(rest, &rest);
    }
    return slice_first(raw->rest, raw->rest.size - rest.size);
}

/* Without line ends, and with spaces for tabs, in scratch memory. */
static struct slice unfold(struct raw *raw, struct slice value)
{
    uint8_t *bytes = arena_take_bytes(raw->scratch, value.size);
    size_t size = 0;
    for (size_t i = 0; i < value.size && bytes != NULL; i++) {
        uint8_t byte = value.data[i];
        if (byte != '\r' && byte != '\n') {
            bytes[size++] = byte == '\t' ? ' ' : byte;
        }
    }
    return slice_make(bytes, size);
}

/* A field with other characters than ASCII, of which there is a value behind the colon. */
static bool put_encoded_field(struct raw *raw, struct slice field, size_t name_size)
{
    struct header_writer writer;
    struct slice name = slice_first(field, name_size);
    if (!slice_is_utf8(field)) {
        return refuse(raw, "not UTF-8");
    }
    struct slice value = unfold(raw, slice_skip(field, name_size + 1));
    if (raw->scratch->overflow) {
        return refuse(raw, "the field is too large");
    }
    if (compose_has_long_word(value, COMPOSE_WORD_BYTES_MAX)) {
        return refuse(raw, "holds a word too long for a line");
    }
    header_begin(&writer, raw->out, name);
    if (compose_is_address_field(name)) {
        raw->utf8 = !header_addresses(&writer, value) || raw->utf8;
    } else {
        header_raw(&writer, value);
    }
    header_end(&writer);
    return true;
}

static bool put_field(struct raw *raw)
{
    struct slice field = peek_field(raw);
    size_t name_size = slice_find(field, ':');
    size_t mark = arena_mark(raw->scratch);
    if (name_size == field.size || !compose_is_field_name(slice_first(field, name_size))) {
        return refuse(raw, "no header field");
    }
    bool is_ascii = slice_is_ascii(field);
    if (!is_ascii) {
        bool good = put_encoded_field(raw, field, name_size);
        arena_rewind(raw->scratch, mark);
        if (!good) {
            return false;
        }
    }
    for (size_t end = raw->rest.size - field.size; raw->rest.size > end;) {
        if (!pass_line(raw, is_ascii)) {
            return false;
        }
    }
    return true;
}

static bool put_all(struct raw *raw)
{
    struct slice rest;
    while (raw->rest.size > 0 && first_line(raw->rest, &rest).size > 0) {
        if (!put_field(raw)) {
            return false;
        }
    }
    if (raw->line == 1) {
        return refuse(raw, "no header");
    }
    if (raw->rest.size == 0) {
        buf_put(raw->out, SLICE("\r\n"));
    }
    while (raw->rest.size > 0) {
        if (!pass_line(raw, true)) {
            return false;
        }
    }
    return true;
}

size_t compose_raw_bytes_max(struct slice text)
{
    /* Every byte a line end, or encoded. */
    return 6 * text.size + 256;
}

bool compose_raw_put(struct slice text, struct arena *scratch, struct buf *out, bool *utf8_out,
                     struct compose_problem *problem_out)
{
    struct raw raw = {
        .rest = text, .line = 1, .scratch = scratch, .out = out, .problem = problem_out};
    struct buf before = *out;
    problem_out->text[0] = '\0';
    if (!put_all(&raw)) {
        *out = before;
        return false;
    }
    *utf8_out = raw.utf8;
    return true;
}
