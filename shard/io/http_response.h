/*
 * HTTP/1.1 responses as bytes: what a server answers to one request becomes a status, the fields
 * that clients of ours look at, and a body of bounded size (RFC 9112). It knows no connection or
 * clock. llhttp reads; a server is believed less than that: no more than HTTP_RESPONSE_HEAD_MAX
 * before the body and HTTP_RESPONSE_BYTES_MAX in all, and nothing behind the end. Responses of 1xx
 * but 101 are passed over.
 */
#ifndef RINGPOST_SHARD_IO_HTTP_RESPONSE_H
#define RINGPOST_SHARD_IO_HTTP_RESPONSE_H

#include <llhttp.h>

#include "core/buf.h"

#define HTTP_RESPONSE_HEAD_MAX  (16 * KIB)
#define HTTP_RESPONSE_BYTES_MAX (256 * KIB)
#define HTTP_RESPONSE_NAME_MAX  24u /* of a field that is looked at */
#define HTTP_RESPONSE_VALUE_MAX 64u

enum http_response_step {
    HTTP_RESPONSE_MORE,
    HTTP_RESPONSE_WHOLE,    /* the connection may be used again when `keeps` says so */
    HTTP_RESPONSE_UPGRADED, /* what comes from here on is another protocol */
    HTTP_RESPONSE_BAD,      /* it is no HTTP, or too large: never anything else from here on */
};

struct http_response {
    llhttp_t parser;
    struct buf body;          /* memory of the caller's; what does not fit is left out */
    uint64_t bytes;           /* of it, the head included */
    bool in_body;
    bool bad;
    bool whole;
    /* From here on valid with HTTP_RESPONSE_WHOLE and _UPGRADED. */
    bool keeps;
    unsigned status;
    uint64_t retry_after_s;   /* Retry-After in seconds; 0: there was none */
    struct buf accept;        /* Sec-WebSocket-Accept; empty: there was none */
    uint8_t accept_bytes[HTTP_RESPONSE_VALUE_MAX];
    struct buf name;          /* of the field that comes */
    uint8_t name_bytes[HTTP_RESPONSE_NAME_MAX];
    struct buf value;
    uint8_t value_bytes[HTTP_RESPONSE_VALUE_MAX];
};

/* For one response; `memory` is for its body, until the next call of this. */
void http_response_init(struct http_response *response, void *memory, size_t bytes);
/* Takes of `input` what belongs to the response: all of it but with _UPGRADED and _BAD. */
MUST_USE enum http_response_step http_response_feed(struct http_response *response,
                                                    struct slice *input);
/* The server has closed: that may be the end of a body without a length. */
MUST_USE enum http_response_step http_response_end(struct http_response *response);

#endif
