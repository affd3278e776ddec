/*
 * Replies of a server (RFC 5321 4.2, RFC 2034): three digits, then a space, "-" or the end of the
 * line; CRLF only. Strict: a bare LF, a NUL, another code on a later line, a line or a reply
 * that is too long, a first digit outside 2 … 5 are faults, and the connection is good for
 * nothing after one (C-01, C-03). Fed in pieces of any size, allocates nothing. Pure.
 *
 * What a server says is data, never format: the text is kept byte for byte but for its length, and
 * whoever shows it escapes it. Lines are joined by LF. The enhanced code is taken off every line
 * that repeats it; when its class disagrees with the basic code it does not count and stays in the
 * text (C-04). Nothing is remembered from one reply to the next.
 */
#ifndef RINGPOST_SMTP_REPLY_H
#define RINGPOST_SMTP_REPLY_H

#include "core/base.h"
#include "core/slice.h"

#define REPLY_LINE_BYTES_MAX 2048 /* with CRLF; RFC 5321 4.5.3.1.5 says 512 */
#define REPLY_LINES_MAX      200
#define REPLY_TEXT_BYTES_MAX 1024 /* kept, of all lines together */

struct reply {
    uint16_t code;
    uint8_t enhanced[3]; /* all 0: none */
    uint16_t text_bytes;
    uint8_t text[REPLY_TEXT_BYTES_MAX];
};

enum reply_status {
    REPLY_MORE,  /* all input is used up */
    REPLY_LINE,  /* a line that is not the last: parser->line */
    REPLY_WHOLE, /* the last line: parser->line; the whole: parser->reply */
    REPLY_FAULT, /* parser->fault says what; feed nothing more */
};

struct reply_parser {
    struct reply reply;
    struct slice line;   /* text of the line just read, without code and CRLF; valid until the next
                            call and as long as its input */
    const char *fault;   /* "bare LF in a reply" …; constant */
    uint32_t line_count; /* lines of this reply so far */
    uint32_t held;       /* bytes of an unfinished line */
    uint8_t partial[REPLY_LINE_BYTES_MAX];
};

void reply_parser_init(struct reply_parser *parser);

/* Reads at most one line and takes it off `input`. After REPLY_WHOLE the next call begins anew. */
MUST_USE enum reply_status reply_feed(struct reply_parser *parser, struct slice *input);
/* Has a reply begun that is not whole yet? */
bool reply_parser_midway(const struct reply_parser *parser);

struct slice reply_text(const struct reply *reply);
/* A reply of our own making; `text` is cut to what fits. */
void reply_set(struct reply *reply, uint16_t code, const uint8_t enhanced[3], struct slice text);

/*
 * An enhanced code (RFC 3463: class 2, 4 or 5, then two numbers of up to three digits, each below
 * 256) at the start of `text`, followed by a space or the end; it and the space are taken off.
 */
MUST_USE bool enhanced_code_parse(struct slice *text, uint8_t enhanced_out[3]);

#endif
