/*
 * xtext (RFC 3461 4): printable ASCII in which "+2B" stands for a byte that may not be there
 * itself. Pure.
 */
#ifndef RINGPOST_SMTP_XTEXT_H
#define RINGPOST_SMTP_XTEXT_H

#include "core/buf.h"

#define XTEXT_BYTES_MAX 500 /* encoded */

/*
 * Appends what `text` says. False, with nothing appended: it is no xtext, it says something that is
 * not printable ASCII or a space (RFC 3461 4.2, 4.4), or there is no room. So a line end or a NUL
 * is never decoded.
 */
MUST_USE bool xtext_decode(struct slice text, struct buf *out);

#endif
