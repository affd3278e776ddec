/*
 * When the rows of a transfer are tried, and when they expire: by the options of their queue, and
 * by what their message says of it (smtp/schedule.h), once that is there. Part of delivery, not
 * for other modules.
 */
#ifndef RINGPOST_SMTP_TRANSFER_TIME_H
#define RINGPOST_SMTP_TRANSFER_TIME_H

#include "smtp/transfer.h"

const struct queue_options *transfer_options(const struct transfer *transfer, unsigned i);
/* Has the row of this batch outlived its max_age, or what its message says? One that is scheduled
 * has not, as long as its message is not there. */
bool transfer_is_expired(const struct transfer *transfer);
/* Does its message want no attempt now? Then until when, or until it expires. */
bool transfer_waits(const struct transfer *transfer, uint32_t *until_s_out);
/* Row `i` is deferred: when it is due again. Recipients of one message and queue get the same
 * jitter. */
uint32_t transfer_due_s(const struct transfer *transfer, unsigned i);

#endif
