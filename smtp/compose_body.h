/*
 * Bodies of a message that is composed: text with any line ends as MIME carries it, in the encoding
 * that suits it (RFC 2045 6). Pure.
 */
#ifndef RINGPOST_SMTP_COMPOSE_BODY_H
#define RINGPOST_SMTP_COMPOSE_BODY_H

#include "core/buf.h"

/* Bytes before the first line end, CR or LF; looks only a little further than that. */
size_t body_line_size(struct slice text);

enum body_encoding {
    BODY_7BIT,   /* as it is, but for its line ends */
    BODY_QUOTED, /* quoted-printable */
    BODY_BASE64,
};

/*
 * 7bit when that is possible and no line could be a delimiter of ours ("=_" stands nowhere);
 * else the shorter of the others.
 */
enum body_encoding body_encoding_for(struct slice text);
struct slice body_encoding_name(enum body_encoding encoding);
void body_put(struct buf *buf, struct slice text, enum body_encoding encoding);
/* Bytes that it has at most, in whichever. */
size_t body_bytes_max(struct slice text);

#endif
