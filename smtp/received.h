/*
 * The Received field that we put before a message (RFC 5321 4.4, RFC 3848, RFC 6531 4.3):
 *
 *   Received: from EHLO ([192.0.2.1])
 *    by mta.test (Ringpost [192.0.2.9])
 *    with ESMTP id 0190… for <user@example.com>;
 *    Sun, 22 Nov 2026 16:49:10 +0000
 *
 * Folded further where a line would pass 78 columns and has a space to fold at; no line is longer
 * than 998. Pure.
 */
#ifndef RINGPOST_SMTP_RECEIVED_H
#define RINGPOST_SMTP_RECEIVED_H

#include "core/buf.h"
#include "core/endpoint.h"

/* Room that any field fits into, whatever the names in it. */
#define RECEIVED_BYTES_MAX 1536

struct received {
    struct slice hello; /* as server_session_hello gives it; "unknown" is written when empty */
    const struct endpoint *peer;
    struct slice hostname; /* ours */
    const struct endpoint *local; /* port 0: it is not known, and left out */
    struct slice protocol;  /* received_protocol(), or "HTTP" */
    struct slice id;        /* of the message, as text */
    struct slice recipient; /* without brackets; empty unless the message has exactly one */
    uint64_t wall_ns;
};

/* The name of how it came: "SMTP", "ESMTP" or "UTF8SMTP". */
struct slice received_protocol(bool extended, bool smtputf8);

/* Appends the field with its CRLF. A byte that may not stand in a header is written as "?". */
void received_put(struct buf *buf, const struct received *received);

#endif
