/* Parameters of a query string, decoded (WHATWG URL 5.1: "a=b&c=d", '+' is a space). Pure. */
#ifndef RINGPOST_SHARD_IO_HTTP_QUERY_H
#define RINGPOST_SHARD_IO_HTTP_QUERY_H

#include "core/buf.h"

enum http_query {
    HTTP_QUERY_NONE,  /* it is not there */
    HTTP_QUERY_FOUND,
    HTTP_QUERY_BAD,   /* a broken escape, an escaped NUL, given twice, or too long for the buffer */
};

/* The value of `name`, appended to `value_out`. A parameter without '=' has an empty one. */
MUST_USE enum http_query http_query_find(struct slice query, struct slice name,
                                         struct buf *value_out);

#endif
