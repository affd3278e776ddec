/*
 * Values of the fields of reports as text to keep: on one line, without control characters, and not
 * longer than they may be. What is not UTF-8 has '?' for its bytes. Pure.
 */
#ifndef RINGPOST_SMTP_REPORT_TEXT_H
#define RINGPOST_SMTP_REPORT_TEXT_H

#include "core/buf.h"

#define REPORT_TEXT_BYTES_MAX 1024 /* longer ones are cut */

void report_put_text(struct buf *buf, struct slice value);

/*
 * "type; text" (RFC 3464 2.1.2); without a type all is text. Slices of `value`, without white space
 * and comments around the type and before the text.
 */
void report_split_typed(struct slice value, struct slice *type_out, struct slice *text_out);

/*
 * An address, with or without its type, angle brackets, and comments behind it. What a type of
 * "utf-8" has encoded (RFC 6533 3) is decoded.
 */
void report_put_address(struct buf *buf, struct slice value);

#endif
