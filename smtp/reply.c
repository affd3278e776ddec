#include "smtp/reply.h"

#include <string.h>

void reply_parser_init(struct reply_parser *parser)
{
    /* Texts and held bytes are bounded by their counts: no need to clear 3 KiB. */
    parser->reply.code = 0;
    parser->reply.text_bytes = 0;
    memset(parser->reply.enhanced, 0, sizeof(parser->reply.enhanced));
    parser->line = SLICE_NONE;
    parser->fault = NULL;
    parser->line_count = 0;
    parser->held = 0;
}

struct slice reply_text(const struct reply *reply)
{
    return slice_make(reply->text, reply->text_bytes);
}

bool reply_parser_midway(const struct reply_parser *parser)
{
    return parser->line_count > 0 || parser->held > 0;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* One to three digits of a value below 256 at the start of `text`. */
static bool take_number(struct slice *text, uint8_t *value_out)
{
    size_t digits = 0;
    unsigned value = 0;
    while (digits < text->size && digits < 4 && is_digit(text->data[digits])) {
        value = value * 10 + (unsigned)(text->data[digits] - '0');
        digits++;
    }
    if (digits == 0 || digits > 3 || value > UINT8_MAX) {
        return false;
    }
    *text = slice_skip(*text, digits);
    *value_out = (uint8_t)value;
    return true;
}

static bool take_byte(struct slice *text, uint8_t byte)
{
    if (text->size == 0 || text->data[0] != byte) {
        return false;
    }
    *text = slice_skip(*text, 1);
    return true;
}

bool enhanced_code_parse(struct slice *text, uint8_t enhanced_out[3])
{
    struct slice rest = *text;
    uint8_t code[3];
    if (!take_number(&rest, &code[0]) || !take_byte(&rest, '.') || !take_number(&rest, &code[1]) ||
        !take_byte(&rest, '.') || !take_number(&rest, &code[2])) {
        return false;
    }
    if (code[0] != 2 && code[0] != 4 && code[0] != 5) {
        return false;
    }
    if (rest.size > 0 && !take_byte(&rest, ' ')) {
        return false;
    }
    *text = rest;
    memcpy(enhanced_out, code, sizeof(code));
    return true;
}

/* `text`, cut to at most `bytes_max` bytes, not in the middle of a UTF-8 sequence. */
static struct slice cut_text(struct slice text, size_t bytes_max)
{
    if (text.size <= bytes_max) {
        return text;
    }
    size_t size = bytes_max;
    while (size > 0 && size + 4 > bytes_max && (text.data[size] & 0xC0) == 0x80) {
        size--;
    }
    return slice_first(text, size);
}

static void append_text(struct reply *reply, struct slice text)
{
    struct slice kept = cut_text(text, REPLY_TEXT_BYTES_MAX - reply->text_bytes);
    if (kept.size > 0) {
        memcpy(reply->text + reply->text_bytes, kept.data, kept.size);
        reply->text_bytes = (uint16_t)(reply->text_bytes + kept.size);
    }
}

void reply_set(struct reply *reply, uint16_t code, const uint8_t enhanced[3], struct slice text)
{
    reply->code = code;
    memcpy(reply->enhanced, enhanced, sizeof(reply->enhanced));
    reply->text_bytes = 0;
    append_text(reply, text);
}

/* Takes the enhanced code off a line, when it counts (RFC 2034 4). */
static struct slice strip_enhanced(struct reply *reply, struct slice text)
{
    struct slice rest = text;
    uint8_t enhanced[3];
    if (!enhanced_code_parse(&rest, enhanced) || enhanced[0] != reply->code / 100) {
        return text;
    }
    if (reply->enhanced[0] == 0) {
        memcpy(reply->enhanced, enhanced, sizeof(enhanced));
    }
    return memcmp(reply->enhanced, enhanced, sizeof(enhanced)) == 0 ? rest : text;
}

static enum reply_status fault(struct reply_parser *parser, const char *what)
{
    parser->fault = what;
    return REPLY_FAULT;
}

/* `line` is whole, LF included. */
static enum reply_status read_line(struct reply_parser *parser, struct slice line)
{
    struct reply *reply = &parser->reply;
    if (line.size < 2 || line.data[line.size - 2] != '\r') {
        return fault(parser, "bare LF in a reply");
    }
    line = slice_first(line, line.size - 2);
    if (slice_find(line, 0) < line.size) {
        return fault(parser, "NUL in a reply");
    }
    if (line.size < 3 || line.data[0] < '2' || line.data[0] > '5' || !is_digit(line.data[1]) ||
        !is_digit(line.data[2]) ||
        (line.size > 3 && line.data[3] != ' ' && line.data[3] != '-')) {
        return fault(parser, "no reply code");
    }
    uint16_t code = (uint16_t)((line.data[0] - '0') * 100 + (line.data[1] - '0') * 10 +
                               (line.data[2] - '0'));
    bool last = line.size == 3 || line.data[3] == ' ';
    if (parser->line_count == 0) {
        reply->code = code;
        reply->text_bytes = 0;
        memset(reply->enhanced, 0, sizeof(reply->enhanced));
    } else if (code != reply->code) {
        return fault(parser, "different codes in one reply");
    }
    if (parser->line_count == REPLY_LINES_MAX) {
        return fault(parser, "reply of too many lines");
    }
    parser->line_count++;
    parser->line = slice_skip(line, MIN_OF(line.size, (size_t)4));
    struct slice text = strip_enhanced(reply, parser->line);
    if (reply->text_bytes > 0) {
        append_text(reply, SLICE("\n"));
    }
    append_text(reply, text);
    if (!last) {
        return REPLY_LINE;
    }
    parser->line_count = 0;
    return REPLY_WHOLE;
}

enum reply_status reply_feed(struct reply_parser *parser, struct slice *input)
{
    if (parser->fault != NULL) {
        return REPLY_FAULT;
    }
    if (input->size == 0) {
        return REPLY_MORE;
    }
    size_t end = slice_find(*input, '\n');
    bool whole = end < input->size;
    struct slice piece = slice_first(*input, whole ? end + 1 : end);
    if (piece.size > REPLY_LINE_BYTES_MAX - parser->held) {
        return fault(parser, "reply line too long");
    }
    *input = slice_skip(*input, piece.size);
    if (whole && parser->held == 0) {
        return read_line(parser, piece);
    }
    memcpy(parser->partial + parser->held, piece.data, piece.size);
    parser->held += (uint32_t)piece.size;
    if (!whole) {
        return REPLY_MORE;
    }
    struct slice line = slice_make(parser->partial, parser->held);
    parser->held = 0;
    return read_line(parser, line);
}
