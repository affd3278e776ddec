/*
 * One mail transaction on the server side: envelope and content, until they are stored or dropped.
 * Part of a server_session; reset is whole (transaction_reset is the only way out).
 *
 * The envelope stands in the form in which the spool keeps it (smtp/envelope.h), in one block that
 * grows by class; recipients are numbered from 0 in the order of their acceptance. The same
 * recipient given twice is two recipients: nothing is compared, nothing is merged, and the limit
 * counts both.
 */
#ifndef RINGPOST_SMTP_TRANSACTION_H
#define RINGPOST_SMTP_TRANSACTION_H

#include "smtp/address.h"
#include "smtp/content.h"
#include "smtp/envelope.h"
#include "smtp/params.h"

struct transaction {
    struct block_pool *pool;     /* borrowed from the shard */
    XXH3_state_t *hash;          /* borrowed from the connection */
    struct block *envelope;      /* owned; null until MAIL is accepted */
    uint32_t recipient_count;
    uint32_t recipients_refused; /* beyond the limit */
    uint64_t size_hint;          /* SIZE= of MAIL; 0 when not given */
    enum mail_body body_type;
    bool smtputf8;
    bool content_begun;
    uint32_t chunks;             /* BDAT commands so far */
    struct content content;      /* valid once content_begun */
};

void transaction_init(struct transaction *transaction, struct block_pool *pool,
                      XXH3_state_t *hash);
void transaction_reset(struct transaction *transaction);

/* MAIL: keeps the sender. False when there is no memory; nothing is held then. */
MUST_USE bool transaction_begin(struct transaction *transaction, const struct address *sender,
                                const struct mail_params *params);

enum recipient_result {
    RECIPIENT_ADDED,
    RECIPIENT_FULL,      /* the envelope is at ENVELOPE_BYTES_MAX, or its indices are used up */
    RECIPIENT_NO_MEMORY, /* the envelope could not grow; it stays as it was */
};

MUST_USE enum recipient_result transaction_add_recipient(struct transaction *transaction,
                                                         const struct address *recipient,
                                                         const struct envelope_dsn *dsn);

/* The envelope section so far; empty before MAIL. Borrowed until the next call. */
struct slice transaction_envelope(const struct transaction *transaction);

/* Keeps the recipients for which `keeps` is true, numbered anew from 0. */
typedef bool transaction_keeps(void *context, struct slice sender, struct slice recipient);
void transaction_filter(struct transaction *transaction, transaction_keeps *keeps, void *context);

/* Before the first byte of content; may be called again for each further chunk. */
void transaction_begin_content(struct transaction *transaction, uint64_t size_max,
                               const struct conf_label *labels);

#endif
