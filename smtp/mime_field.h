/*
 * Header fields and their MIME parameters, as strangers write them (RFC 5322 2.2, RFC 2045 5.1, RFC
 * 2231): for reports about mail (smtp/report_read.h), not for mail that passes through.
 *
 * Everything is borrowed from the text; nothing is allocated, and each byte is looked at a bounded
 * number of times, whatever it says. Lines end in LF, with or without a CR. A line that is no field
 * is passed over with the lines that continue it. Pure.
 */
#ifndef RINGPOST_SMTP_MIME_FIELD_H
#define RINGPOST_SMTP_MIME_FIELD_H

#include "core/buf.h"

#define MIME_PARAMETER_SECTIONS_MAX 10 /* of one value in pieces (RFC 2231 3): "*0" to "*9" */

struct mime_field {
    struct slice name;
    struct slice value; /* as it stands: with folds and comments, without the last line end */
};

/* Takes a line off `rest`, without its end. */
struct slice mime_line_take(struct slice *rest);

/*
 * A header section, up to its empty line, and what stands behind that; without one all is header.
 */
void mime_split(struct slice text, struct slice *header_out, struct slice *body_out);

/* The next field of `rest`, a header section. False at its end. */
MUST_USE bool mime_field_next(struct slice *rest, struct mime_field *field_out);
/* The first field of this name; false without one. */
MUST_USE bool mime_field_find(struct slice header, struct slice name, struct slice *value_out);

/* A field's value on one line, without what stands around it; cut after `most` bytes. */
void mime_put_unfolded(struct buf *buf, struct slice value, size_t most);

/* Without white space, line ends and comments (RFC 5322 3.2.2) at the start. */
struct slice mime_skip_blank(struct slice value);

/* What stands before the parameters is `type`, in any letter case ("multipart/report"). */
bool mime_value_is(struct slice value, struct slice type);

enum mime_found {
    MIME_ABSENT,
    MIME_FOUND,
    MIME_BROKEN, /* it is there, and readers would not agree on what it says */
};

/*
 * The parameter `name` of a value, decoded and appended to `out`. Broken is one that is given
 * twice, in pieces with gaps, in a charset that is neither ASCII nor UTF-8, with quoted pairs, or
 * too large for `out`; and every one, when a quote has no end. Nothing is appended then.
 */
enum mime_found mime_parameter(struct slice value, struct slice name, struct buf *out);

#endif
