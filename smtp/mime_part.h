/*
 * The parts of a multipart (RFC 2046 5.1.1), one level of them: what is in a part is bytes here,
 * whatever it calls itself, so depth costs nothing. And their transfer encodings (RFC 2045 6).
 *
 * A text is read once, line by line. A delimiter is a whole line: the boundary and nothing but
 * white space, so one that begins another is not taken for it. Without a closing delimiter the last
 * part goes to the end of the text, and says so. Borrowed, pure.
 */
#ifndef RINGPOST_SMTP_MIME_PART_H
#define RINGPOST_SMTP_MIME_PART_H

#include "smtp/mime_field.h"

#define MIME_BOUNDARY_BYTES_MAX 70 /* RFC 2046 5.1.1 */
#define MIME_PARTS_MAX          100 /* what follows them is not looked at */

struct mime_parts {
    struct slice rest;
    uint32_t count;
    bool ended; /* by its closing delimiter, or the text is over */
    uint8_t boundary_bytes;
    uint8_t boundary[MIME_BOUNDARY_BYTES_MAX];
};

struct mime_part {
    struct slice header;
    struct slice body; /* without the line end that belongs to the delimiter */
    bool cut;          /* the text ended in it */
};

/*
 * `content_type` is the value of the field, `body` what stands behind its header. False without a
 * boundary of 1 to 70 characters, or with one that is not certain.
 */
MUST_USE bool mime_parts_open(struct mime_parts *parts, struct slice content_type,
                              struct slice body);
MUST_USE bool mime_parts_next(struct mime_parts *parts, struct mime_part *part_out);

/*
 * The bytes of a part: as they stand, where they are not encoded, else decoded and appended to
 * `scratch`, which needs no more room than they have now. In base64 what is not of its alphabet is
 * passed over, in quoted-printable a mark that escapes nothing stands for itself. False: the
 * encoding is none of RFC 2045, or there is no room.
 */
MUST_USE bool mime_part_decode(const struct mime_part *part, struct buf *scratch,
                               struct slice *bytes_out);

#endif
