#include "smtp/transaction.h"

#include <string.h>

#include "core/check.h"
#include "core/id.h"
#include "core/little.h"
#include "smtp/limits.h"

#define SENDER_HEADER_BYTES 2 /* u16 size */

_Static_assert(ENVELOPE_BYTES_MAX < BLOCK_BYTES_MAX, "an envelope stands in one block");
_Static_assert(ENVELOPE_BYTES_MAX >= SENDER_HEADER_BYTES + ADDRESS_BYTES_MAX +
                                         100 * (ENVELOPE_RECIPIENT_OVERHEAD + ADDRESS_BYTES_MAX +
                                                ENVELOPE_DSN_OVERHEAD + DSN_ORCPT_BYTES_MAX),
               "RFC 5321 4.5.3.1.8: a hundred recipients of any length");

void transaction_init(struct transaction *transaction, struct block_pool *pool,
                      XXH3_state_t *hash)
{
    *transaction = (struct transaction){.pool = pool, .hash = hash};
}

void transaction_reset(struct transaction *transaction)
{
    if (transaction->envelope != NULL) {
        block_give(transaction->pool, transaction->envelope);
    }
    if (transaction->content_begun) {
        content_drop(&transaction->content);
    }
    transaction_init(transaction, transaction->pool, transaction->hash);
}

/* Makes room for `bytes` more in the envelope, moving it to a larger block when it has to. */
static enum recipient_result envelope_grow(struct transaction *transaction, size_t bytes)
{
    struct block *old = transaction->envelope;
    size_t wanted = (old == NULL ? 0 : old->size) + bytes;
    if (wanted > ENVELOPE_BYTES_MAX) {
        return RECIPIENT_FULL;
    }
    if (old != NULL && wanted <= old->capacity) {
        return RECIPIENT_ADDED;
    }
    struct block *grown = block_take(transaction->pool, wanted);
    if (grown == NULL) {
        return RECIPIENT_NO_MEMORY;
    }
    CHECK(grown->capacity >= wanted);
    grown->size = 0;
    if (old != NULL) {
        memcpy(grown->data, old->data, old->size);
        grown->size = old->size;
        block_give(transaction->pool, old);
    }
    transaction->envelope = grown;
    return RECIPIENT_ADDED;
}

static struct buf envelope_buf(const struct transaction *transaction)
{
    struct buf buf;
    buf_init(&buf, transaction->envelope->data, transaction->envelope->capacity);
    buf.size = transaction->envelope->size;
    return buf;
}

static void envelope_commit(struct transaction *transaction, const struct buf *buf)
{
    CHECK(!buf->overflow);
    transaction->envelope->size = (uint32_t)buf->size;
}

bool transaction_begin(struct transaction *transaction, const struct address *sender,
                       const struct mail_params *params)
{
    CHECK(transaction->envelope == NULL);
    size_t bytes = SENDER_HEADER_BYTES + sender->whole.size + ENVELOPE_DSN_OVERHEAD +
                   params->dsn.text.size;
    if (envelope_grow(transaction, bytes) != RECIPIENT_ADDED) {
        return false;
    }
    struct buf buf = envelope_buf(transaction);
    envelope_put_sender(&buf, sender->whole, &params->dsn);
    envelope_commit(transaction, &buf);
    transaction->size_hint = params->size;
    transaction->body_type = params->body;
    transaction->smtputf8 = params->smtputf8;
    return true;
}

enum recipient_result transaction_add_recipient(struct transaction *transaction,
                                                const struct address *recipient,
                                                const struct envelope_dsn *dsn)
{
    CHECK(transaction->envelope != NULL);
    if (transaction->recipient_count == ID_INDEX_MESSAGE) {
        return RECIPIENT_FULL;
    }
    size_t bytes = ENVELOPE_RECIPIENT_OVERHEAD + recipient->whole.size;
    bytes += envelope_dsn_asks(dsn) ? ENVELOPE_DSN_OVERHEAD + dsn->text.size : 0;
    enum recipient_result result = envelope_grow(transaction, bytes);
    if (result != RECIPIENT_ADDED) {
        return result;
    }
    struct buf buf = envelope_buf(transaction);
    envelope_put_recipient(&buf, (uint16_t)transaction->recipient_count, recipient->whole, dsn);
    envelope_commit(transaction, &buf);
    transaction->recipient_count++;
    return RECIPIENT_ADDED;
}

/* What is kept moves towards the beginning: it is never longer than it was. */
void transaction_filter(struct transaction *transaction, transaction_keeps *keeps, void *context)
{
    struct block *envelope = transaction->envelope;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    CHECK(envelope_open(transaction_envelope(transaction), &sender, &cursor));
    uint8_t *to = envelope->data + (cursor.rest.data - envelope->data);
    const uint8_t *from = cursor.rest.data;
    transaction->recipient_count = 0;
    while (envelope_next(&cursor, &recipient) == 1) {
        size_t size = (size_t)(cursor.rest.data - from);
        if (keeps(context, sender, recipient.address)) {
            memmove(to, from, size);
            little_put_u16(to, (uint16_t)transaction->recipient_count++);
            to += size;
        }
        from = cursor.rest.data;
    }
    envelope->size = (uint32_t)(to - envelope->data);
}

struct slice transaction_envelope(const struct transaction *transaction)
{
    const struct block *envelope = transaction->envelope;
    return envelope == NULL ? SLICE_NONE : slice_make(envelope->data, envelope->size);
}

void transaction_begin_content(struct transaction *transaction, uint64_t size_max,
                               const struct conf_label *labels)
{
    if (!transaction->content_begun) {
        content_begin(&transaction->content, transaction->pool, transaction->hash, size_max,
                      transaction->size_hint, labels);
        transaction->content_begun = true;
    }
}
