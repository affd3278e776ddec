/* The head of an answer (RFC 9112 4, RFC 9110 6.6.1); every 503 has Retry-After. Pure. */
#ifndef RINGPOST_SHARD_IO_HTTP_ANSWER_H
#define RINGPOST_SHARD_IO_HTTP_ANSWER_H

#include "core/buf.h"

struct http_answer {
    unsigned status;
    struct slice type;      /* empty: there is no body to have one */
    uint64_t length;        /* of the body; of 204 and 304 there is none */
    bool chunked;           /* instead of the length */
    bool until_close;       /* instead of both: to HTTP/1.0, which has no chunks */
    bool close;             /* no request is read after this one */
    bool keep_alive;        /* to HTTP/1.0, which has to be told */
    uint8_t allow;          /* set of enum http_method; 0: the header is left out */
    uint32_t retry_after_s; /* of 503; 0: one second */
    struct slice fields;    /* lines, each with its end, in place of Cache-Control: no-store */
};

/* The largest head that http_answer_put_head writes, with the longest of types and fields. */
#define HTTP_ANSWER_HEAD_MAX   (512 + HTTP_ANSWER_FIELDS_MAX)
#define HTTP_ANSWER_TYPE_MAX   80
#define HTTP_ANSWER_FIELDS_MAX 448

void http_answer_put_head(struct buf *buf, const struct http_answer *answer, uint64_t wall_ns);

#endif
