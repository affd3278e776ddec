/*
 * The content of a stored message as runs of memory to send: prepend, then body without its cuts.
 * Body bytes are never copied.
 *
 * For DATA (RFC 5321 4.5.2) a dot is put before every line that begins with one, from the list of
 * their offsets or, with SPOOL_MESSAGE_DOTS_UNLISTED, by looking for them; content that does not
 * end in CRLF is given one; ".\r\n" comes last. For BDAT (RFC 3030) the bytes are as they are and
 * their number is known beforehand.
 *
 * No line of the prepend section begins with a dot, it ends in CRLF, and cuts are whole lines: we
 * make them. Pure; owned by whoever embeds it.
 */
#ifndef RINGPOST_SMTP_BODY_CURSOR_H
#define RINGPOST_SMTP_BODY_CURSOR_H

#include <sys/uio.h>

#include "smtp/message.h"

enum body_mode { BODY_DATA, BODY_BDAT };

enum body_status {
    BODY_MORE,      /* call again, when these are sent or sooner */
    BODY_END,       /* with these all is said; also on every later call, with none */
    BODY_NEED_PART, /* cursor->part is wanted (body_cursor_give); no iovec is given with it */
};

struct body_cursor {
    const struct message *message; /* borrowed */
    enum body_mode mode;
    uint8_t stage;             /* the cursor's own */
    bool line_start;           /* what comes next begins a line */
    uint8_t last_byte;         /* of what was said so far */
    uint32_t part;             /* the part being sent, or wanted */
    uint32_t cut;              /* first cut not yet passed */
    uint32_t dot;              /* first listed dot not yet passed */
    uint64_t offset;           /* in the body */
    uint64_t chain_end;        /* offset in the body at which `chain` ends */
    const struct chain *chain; /* borrowed: the body or a part; null when a part is wanted */
    const struct block *block;
    uint32_t block_offset;
};

/* Bytes that BDAT sends; DATA sends these, its dots and its end mark. For SIZE= of MAIL. */
uint64_t body_size(const struct message *message);

void body_cursor_init(struct body_cursor *cursor, const struct message *message,
                      enum body_mode mode);

/*
 * Fills up to `capacity` iovecs with at most `bytes_max` bytes (which must be at least 16). They
 * point into the message, the given part and constants. With BODY_NEED_PART nothing of the part
 * before is wanted any longer, once the earlier iovecs are sent.
 */
MUST_USE enum body_status body_cursor_next(struct body_cursor *cursor, struct iovec *iovecs,
                                           unsigned capacity, size_t bytes_max,
                                           unsigned *count_out);

/* The wanted part: exactly its size in bytes; borrowed until the next BODY_NEED_PART or the end. */
void body_cursor_give(struct body_cursor *cursor, const struct chain *chain);

#endif
