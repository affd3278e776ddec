/*
 * HTTP/1.1 responses, read by llhttp: status, what a client obeys, and the beginning of the body.
 * One owner; stays where it was begun; pure. RFC 9112.
 */
#ifndef RINGPOST_BENCH_RESPONSE_H
#define RINGPOST_BENCH_RESPONSE_H

#include <llhttp.h>

#include "core/slice.h"

#define RESPONSE_FIELD_BYTES_MAX 64u  /* of a name, of a value: of those that matter */
#define RESPONSE_BODY_BYTES      256u /* kept of a body */

enum response_status {
    RESPONSE_PARTIAL, /* all input is taken: more is needed */
    RESPONSE_WHOLE,
    RESPONSE_FAULT,
};

struct response {
    unsigned code;
    uint64_t retry_after_s; /* 0: none was said, or no number of seconds */
    bool close;
    size_t body_bytes; /* kept of it */
    uint8_t body[RESPONSE_BODY_BYTES];
    llhttp_t parser;
    bool whole;
    size_t name_bytes; /* of the field being read; beyond the most: too long to matter */
    size_t value_bytes;
    char name[RESPONSE_FIELD_BYTES_MAX];
    char value[RESPONSE_FIELD_BYTES_MAX];
};

/* Before the first byte of each. */
void response_begin(struct response *response);
/* Takes what belongs to this response off `input`. */
enum response_status response_feed(struct response *response, struct slice *input);
/* The number behind `"name":` in what was kept of the body; false when there is none. */
MUST_USE bool response_number(const struct response *response, const char *name,
                              uint64_t *value_out);

#endif
