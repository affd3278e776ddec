/*
 * The envelope section of a MESSAGE record: sender and numbered recipients, as bytes.
 *
 *   u16 size of sender, sender (without angle brackets; empty = null sender)
 *   then per recipient: u16 index, u16 size, address (never empty)
 *
 * Where the client asked for something about notifications (RFC 3461) the highest bit of the size
 * is set, and behind the address stands what it asked for, as it did: of the sender u8 RET, u16
 * size, ENVID; of a recipient u8 NOTIFY, u16 size, ORCPT.
 *
 * All little-endian, no padding. Addresses stand as the client wrote them, quoted strings included;
 * only the domain is in lower case (its ASCII letters; an address without '@', "postmaster", is all
 * local part). An address with CR, LF or NUL is none: no client could have given it, and it would
 * be a command of its own to the next server. Pure.
 */
#ifndef RINGPOST_SMTP_ENVELOPE_H
#define RINGPOST_SMTP_ENVELOPE_H

#include "core/base.h"
#include "core/buf.h"
#include "core/slice.h"

/* Bytes that envelope_put_recipient adds to those of the address. */
#define ENVELOPE_RECIPIENT_OVERHEAD 4
/* … and that a request about notifications adds to those of its text. */
#define ENVELOPE_DSN_OVERHEAD 3

enum envelope_return {
    ENVELOPE_RETURN_ANY, /* not said */
    ENVELOPE_RETURN_FULL,
    ENVELOPE_RETURN_HDRS,
};

/* Bits of NOTIFY; none: not said. */
#define ENVELOPE_NOTIFY_NEVER   1u
#define ENVELOPE_NOTIFY_SUCCESS 2u
#define ENVELOPE_NOTIFY_FAILURE 4u
#define ENVELOPE_NOTIFY_DELAY   8u
#define ENVELOPE_NOTIFY_ALL     15u

/* Of a sender: RET and ENVID; of a recipient: NOTIFY and ORCPT. */
struct envelope_dsn {
    uint8_t word;      /* enum envelope_return, or bits of NOTIFY */
    struct slice text; /* encoded, as the client gave it; borrowed; empty: not said */
};

static inline bool envelope_dsn_asks(const struct envelope_dsn *dsn)
{
    return dsn != NULL && (dsn->word != 0 || dsn->text.size > 0);
}

/*
 * These put all or nothing; buf->overflow says which. An address has at most 32,767 bytes; `dsn` is
 * null where nothing was asked for.
 */
void envelope_put_sender(struct buf *buf, struct slice sender, const struct envelope_dsn *dsn);
void envelope_put_recipient(struct buf *buf, uint16_t index, struct slice address,
                            const struct envelope_dsn *dsn);

struct envelope_recipient {
    uint16_t index;
    struct slice address; /* borrowed from the section */
    struct envelope_dsn dsn;
};

struct envelope_cursor {
    struct slice rest;
    struct envelope_dsn dsn; /* of the sender */
};

/* The whole section can be read: what is to be delivered must be, from its first recipient on. */
MUST_USE bool envelope_sound(struct slice section);
/* Reads the sender and cursor->dsn, and puts the cursor on the first recipient. False when the
 * bytes are damaged. */
MUST_USE bool envelope_open(struct slice section, struct slice *sender_out,
                            struct envelope_cursor *cursor_out);
/* 1: a recipient; 0: the end; -1: the bytes are damaged. */
MUST_USE int envelope_next(struct envelope_cursor *cursor,
                           struct envelope_recipient *recipient_out);

#endif
