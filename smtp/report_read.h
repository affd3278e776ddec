/*
 * Whether a message is a report about mail, and where in it is what programs read: a notification
 * of delivery (RFC 3464, RFC 6533) or a complaint (RFC 5965), each in a multipart/report (RFC 6522)
 * that is the message itself. Anybody may send one; whether it tells of mail of ours is another
 * question.
 *
 * A message is looked at once, and its first REPORT_BYTES_MAX alone, which stand in one block: of a
 * larger one the part that programs read has to be whole within them. Its parts are looked at one
 * level deep. Pure; nothing is allocated.
 */
#ifndef RINGPOST_SMTP_REPORT_READ_H
#define RINGPOST_SMTP_REPORT_READ_H

#include "core/buf.h"
#include "shard/blocks.h"

#define REPORT_BYTES_MAX BLOCK_DATA_BYTES_MAX

enum report_kind {
    REPORT_NONE,
    REPORT_DELIVERY, /* smtp/report_dsn.h reads its fields */
    REPORT_FEEDBACK, /* smtp/report_arf.h does */
};

struct report {
    enum report_kind kind;
    struct slice fields;   /* decoded */
    struct slice original; /* of the message it is about: its header, or more; may be empty */
};

/*
 * `whole`: `message` is all of it, not its beginning. `scratch` is for parts that are encoded; it
 * never needs more room than the message has bytes, and what does not fit is not there. Slices are
 * of message or scratch. False: no report.
 */
MUST_USE bool report_read(struct slice message, bool whole, struct buf *scratch,
                          struct report *report_out);

#endif
