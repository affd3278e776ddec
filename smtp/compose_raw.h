/*
 * A message that is given whole, as one text: its header is checked, its line ends become CRLF, and
 * header fields that are not ASCII are encoded (RFC 2047) as long as only their words are so; where
 * an address is, they stay (RFC 6532). What is ASCII is left as it is. Pure.
 */
#ifndef RINGPOST_SMTP_COMPOSE_RAW_H
#define RINGPOST_SMTP_COMPOSE_RAW_H

#include "core/arena.h"
#include "smtp/compose.h"

/* Bytes that the message has at most. */
size_t compose_raw_bytes_max(struct slice text);

/*
 * Appends the message; a last line without an end gets one. False, with the problem, and `out` as
 * it was: the header is malformed or not UTF-8, or a line has more than 998 bytes. Overflow as in
 * compose_put; `scratch` needs room for the longest field, and is left as it was.
 */
MUST_USE bool compose_raw_put(struct slice text, struct arena *scratch, struct buf *out,
                              bool *utf8_out, struct compose_problem *problem_out);

#endif
