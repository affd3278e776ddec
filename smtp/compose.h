/*
 * Makes a message from its parts: the builder of injection by HTTP. The result is an Internet
 * message (RFC 5322) in MIME (RFC 2045-2049): CRLF everywhere, no line of more than 998 bytes, and
 * of its own making none of more than 76.
 *
 *   multipart/mixed              when there are attachments
 *     multipart/related          when there are parts with a content id
 *       multipart/alternative    when there are several of these:
 *         text/plain, text/x-amp-html, text/html
 *       parts with a content id
 *     attachments
 *
 * No text of a caller gets out of its place: what may not stand in a header (CR, LF, NUL and other
 * controls) is refused with the name of the field, all else is encoded where it has to be (RFC
 * 2047, RFC 2231). Addresses are those that SMTP takes (smtp/address.h). Pure.
 */
#ifndef RINGPOST_SMTP_COMPOSE_H
#define RINGPOST_SMTP_COMPOSE_H

#include "core/buf.h"

#define COMPOSE_HEADERS_MAX          500
#define COMPOSE_HEADER_NAME_BYTES    70
#define COMPOSE_WORD_BYTES_MAX       900 /* of a header's value, between two spaces */
#define COMPOSE_ATTACHMENTS_MAX      100
#define COMPOSE_PROBLEM_BYTES        160

/* All slices are borrowed; one without data (SLICE_NONE) was not given, "" is given and empty. */

struct compose_mailbox {
    struct slice email; /* without brackets; not given: no mailbox */
    struct slice name;  /* UTF-8 */
};

struct compose_header {
    struct slice name;
    struct slice value; /* UTF-8, on one line; ASCII is kept as it is; may be empty */
};

struct compose_attachment {
    struct slice data;
    struct slice content_type;
    struct slice content_id; /* with or without angle brackets; given: the part is inline */
    struct slice file_name;  /* UTF-8 */
    bool is_base64;          /* `data` is base64 of the bytes */
};

struct compose {
    struct compose_mailbox from;
    struct compose_mailbox reply_to;
    struct compose_mailbox to;
    struct slice subject;
    struct slice text_body; /* bodies: UTF-8, any line ends */
    struct slice html_body;
    struct slice amp_html_body;
    const struct compose_header *headers;
    uint32_t header_count;
    const struct compose_attachment *attachments;
    uint32_t attachment_count;
    bool attachments_are_checked; /* compose_check_attachments has said that they are fit */
    struct slice id;       /* of the message: letters and digits, at most 40, unique */
    struct slice hostname; /* for the Message-ID */
    uint64_t wall_ns;
};

/* What went wrong with which field: a sentence without full stop, printable ASCII. */
struct compose_problem {
    char text[COMPOSE_PROBLEM_BYTES];
};

/* Bytes that the message has at most. */
size_t compose_bytes_max(const struct compose *compose);

/*
 * Appends the message. False, with the problem, and `out` as it was, when something in it is not
 * fit for a message. When it does not fit, out->overflow is set, and the result is true.
 * `utf8_out`: an address in its header is not ASCII (RFC 6532), so it needs SMTPUTF8.
 */
MUST_USE bool compose_put(const struct compose *compose, struct buf *out, bool *utf8_out,
                          struct compose_problem *problem_out);

/*
 * A mailbox as it stands in a header, on one line: what templates know as to_header. False with the
 * problem, which calls the mailbox `field`.
 */
MUST_USE bool compose_put_mailbox(const struct compose_mailbox *mailbox, const char *field,
                                  struct buf *out, struct compose_problem *problem_out);
/* Bytes that it has at most. */
size_t compose_mailbox_bytes_max(const struct compose_mailbox *mailbox);

#endif
