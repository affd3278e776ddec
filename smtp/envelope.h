/*
 * The envelope section of a MESSAGE record: sender and numbered recipients, as bytes.
 *
 *   u16 size of sender, sender (without angle brackets; empty = null sender)
 *   then per recipient: u16 index, u16 size, address (never empty)
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

/* These put all or nothing; buf->overflow says which. An address has at most 65,535 bytes. */
void envelope_put_sender(struct buf *buf, struct slice sender);
void envelope_put_recipient(struct buf *buf, uint16_t index, struct slice address);

struct envelope_recipient {
    uint16_t index;
    struct slice address; /* borrowed from the section */
};

struct envelope_cursor {
    struct slice rest;
};

/* The whole section can be read: what is to be delivered must be, from its first recipient on. */
MUST_USE bool envelope_sound(struct slice section);
/* Reads the sender and puts the cursor on the first recipient. False when the bytes are damaged. */
MUST_USE bool envelope_open(struct slice section, struct slice *sender_out,
                            struct envelope_cursor *cursor_out);
/* 1: a recipient; 0: the end; -1: the bytes are damaged. */
MUST_USE int envelope_next(struct envelope_cursor *cursor,
                           struct envelope_recipient *recipient_out);

#endif
