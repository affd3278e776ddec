/*
 * Base64 (RFC 4648 4) as mail carries it: in lines of 76 characters that end in CRLF (RFC 2045
 * 6.8). Pure.
 */
#ifndef RINGPOST_CORE_BASE64_H
#define RINGPOST_CORE_BASE64_H

#include "core/buf.h"

#define BASE64_LINE_CHARS 76

/* Characters of so many bytes, in one line. */
static inline size_t base64_size(size_t bytes)
{
    return (bytes + 2) / 3 * 4;
}

/* … and in lines, each with its CRLF. */
static inline size_t base64_lines_size(size_t bytes)
{
    size_t chars = base64_size(bytes);
    return chars + (chars + BASE64_LINE_CHARS - 1) / BASE64_LINE_CHARS * 2;
}

/* In one line, without an end. */
void base64_put(struct buf *buf, struct slice bytes);

/* A writer of lines, for bytes that come in pieces. */
struct base64_lines {
    struct buf *buf; /* borrowed */
    uint8_t held[3];
    uint8_t held_count;
    uint8_t column;
};

void base64_lines_begin(struct base64_lines *lines, struct buf *buf);
void base64_lines_put(struct base64_lines *lines, struct slice bytes);
/* The rest, padded, and the CRLF of the last line; nothing when there were no bytes at all. */
void base64_lines_end(struct base64_lines *lines);

/*
 * Encoded text of others, which may stand in lines of any length: false when it is not base64 with
 * its padding, and the bits behind the last byte zero. Then base64_put_again writes it in lines of
 * ours.
 */
MUST_USE bool base64_is_valid(struct slice text);
void base64_put_again(struct buf *buf, struct slice text);

/*
 * The bytes of such text, up to its padding. What is not of the alphabet is passed over (RFC 2045
 * 6.8): line ends, spaces.
 */
void base64_get(struct buf *buf, struct slice text);

#endif
