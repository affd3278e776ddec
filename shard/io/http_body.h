/*
 * The body of a request: pieces as they come, decoded (gzip, deflate, zstd) and gathered in one run
 * of metered memory. What is capped is the decoded size, and no more than a budget is decoded at a
 * time, so that a bomb costs neither memory nor anybody's turn (H-08). One owner, one thread.
 */
#ifndef RINGPOST_SHARD_IO_HTTP_BODY_H
#define RINGPOST_SHARD_IO_HTTP_BODY_H

#include "core/slice.h"
#include "shard/metered.h"

#define ZLIB_CONST /* input is not written to */
#include <zlib.h>
#include <zstd.h>

/* The largest window of zstd that is decoded: what RFC 8878 3.1.1.1.2 asks of a decoder, 8 MiB. */
#define HTTP_BODY_WINDOW_LOG 23

enum http_coding { HTTP_IDENTITY, HTTP_GZIP, HTTP_DEFLATE, HTTP_ZSTD };

enum http_body_result {
    HTTP_BODY_OK,
    HTTP_BODY_AGAIN,     /* the budget is used up: the rest, which may be nothing, later */
    HTTP_BODY_TOO_LARGE, /* 413 */
    HTTP_BODY_BAD,       /* 400: not of that coding, more than one stream, or cut off */
    HTTP_BODY_NO_MEMORY, /* 503 */
};

struct http_body {
    struct metered *memory; /* borrowed; null: not begun */
    enum http_coding coding;
    bool ended;             /* the coded stream has */
    bool full;              /* there may be decoded bytes that found no room */
    uint8_t *data;          /* `size` of `capacity` bytes; null: none yet */
    size_t size;
    size_t capacity;
    size_t bytes_max;       /* decoded */
    size_t expected;        /* bytes of it, when that is known; else 0 */
    size_t booked;          /* of `memory`, for the decoder */
    z_stream zlib;
    ZSTD_DStream *zstd;
};

/* What Content-Encoding names. False: 415, one that is not known, or several. */
MUST_USE bool http_coding_find(struct slice name, enum http_coding *coding_out);

/* `expected`: Content-Length, which the body does not exceed; 0: not known. OK or NO_MEMORY. */
MUST_USE enum http_body_result http_body_begin(struct http_body *body, struct metered *memory,
                                               enum http_coding coding, size_t bytes_max,
                                               size_t expected);
/* Takes from the front of `piece`, until it is empty or more than `budget` bytes are decoded. */
MUST_USE enum http_body_result http_body_put(struct http_body *body, struct slice *piece,
                                             size_t budget);
/* All pieces have come. */
MUST_USE enum http_body_result http_body_end(const struct http_body *body);
/* Gives everything back; may be called at any time, also before http_body_begin on zeros. */
void http_body_fini(struct http_body *body);

static inline struct slice http_body_slice(const struct http_body *body)
{
    return slice_make(body->data, body->size);
}

#endif
