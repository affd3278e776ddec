/*
 * Our own notifications of delivery (RFC 3464, RFC 6533, in a multipart/report of RFC 6522): for
 * people, for programs, and what is returned of the message. They go to its sender with a null
 * sender of their own, and say that no program should answer them (RFC 3834 5): whether one may be
 * sent at all is the caller's affair.
 *
 * Whatever replies, addresses and the message say: lines are at most 998 bytes and end in CRLF, the
 * first two parts are ASCII, and no text gets out of its place. A message that does not fit, or
 * that has our boundary in it, is not returned whole. Pure.
 */
#ifndef RINGPOST_SMTP_REPORT_MAKE_H
#define RINGPOST_SMTP_REPORT_MAKE_H

#include "smtp/report_dsn.h"

#define REPORT_RETURN_BYTES_MAX (48 * KIB) /* of the message; more: its header; cut there, too */
/* Of a report about so many recipients. */
#define REPORT_BYTES_FOR(count) (4 * KIB + (count) * 6 * KIB + REPORT_RETURN_BYTES_MAX)
#define REPORT_TOLD_MAX         20         /* recipients in the text for people */
#define REPORT_REPLY_BYTES_MAX  500        /* of a reply, of a host's name */

/* All slices are borrowed; empty: not known. */
struct report_recipient {
    enum dsn_action action;  /* not DSN_UNKNOWN */
    struct slice address;    /* as in the envelope */
    struct slice original;   /* ORCPT as the client gave it: "rfc822;" and xtext */
    uint16_t code;           /* of the reply; 0: there was none */
    uint8_t enhanced[3];     /* all 0: none */
    struct slice text;       /* behind its codes */
    struct slice remote;     /* the host that said it; empty: we did */
    uint64_t retry_until_ns; /* of DSN_DELAYED; 0: not said */
};

struct report_facts {
    struct slice hostname;    /* ours, not empty */
    struct slice id;          /* of the report: letters and digits, at most 40, unique */
    uint64_t wall_ns;
    uint64_t arrival_ns;      /* of the message */
    struct slice sender;      /* of the message, not empty */
    struct slice envelope_id; /* ENVID as the client gave it, xtext */
    bool full;                /* RET=FULL */
    bool smtputf8;            /* the message needs it */
    struct slice message;     /* its beginning, all of it where it is short enough to return */
    uint64_t message_bytes;   /* of all of it */
    const struct report_recipient *recipients;
    uint32_t recipient_count; /* ≥ 1 */
};

/* What the report needs on its way. */
struct report_needs {
    bool eightbit; /* 8BITMIME */
    bool smtputf8;
};

/* Bytes that it has at most; never more than REPORT_BYTES_FOR has. */
size_t report_make_bytes_max(const struct report_facts *facts);
/* Appends it; overflow is the buffer's. */
void report_make_put(const struct report_facts *facts, struct buf *out,
                     struct report_needs *needs_out);

#endif
