/*
 * Header fields of a message that is composed: words with folds between them (RFC 5322 2.2.3),
 * encoded words (RFC 2047), mailboxes, parameters of MIME fields (RFC 2045 5.1, RFC 2231). What is
 * given has been checked for controls. Pure.
 */
#ifndef RINGPOST_SMTP_COMPOSE_HEADER_H
#define RINGPOST_SMTP_COMPOSE_HEADER_H

#include "smtp/compose.h"

/* A field that is being written. */
struct header_writer {
    struct buf *buf; /* borrowed */
    size_t column;
    bool folds; /* else everything stays on one line */
};

/* "Name:"; the words that follow bring the space before them. */
void header_begin(struct header_writer *writer, struct buf *buf, struct slice name);
void header_end(struct header_writer *writer);

/* A word that stands as it is; it begins a line when this one is too short for it. */
void header_word(struct header_writer *writer, struct slice word);

/* Text of which a reader gets every character, spaces included. */
void header_text(struct header_writer *writer, struct slice text);
/* Text that is kept as it is where it is ASCII; other words are encoded. */
void header_raw(struct header_writer *writer, struct slice text);
/* The name as a phrase, then the address in angle brackets. */
void header_mailbox(struct header_writer *writer, const struct compose_mailbox *mailbox);
/*
 * A list of addresses as someone wrote it: names that are not ASCII are encoded, all else is kept.
 * False when an address in it is not ASCII.
 */
bool header_addresses(struct header_writer *writer, struct slice text);
/* "; name=value", whatever the value is. */
void header_parameter(struct header_writer *writer, const char *name, struct slice value);

#endif
