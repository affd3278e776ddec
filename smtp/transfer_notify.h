/*
 * What a transfer has to tell the sender of its message. Part of delivery, after the last reply and
 * before the OUTCOME.
 *
 * A recipient that has failed for good is told of with NOTIFY=FAILURE, one that was delivered with
 * NOTIFY=SUCCESS, as relayed, unless the server offers DSN and so is to say it itself (RFC 3461
 * 5.2.2). Without NOTIFY nobody is told: docs/decisions.md.
 */
#ifndef RINGPOST_SMTP_TRANSFER_NOTIFY_H
#define RINGPOST_SMTP_TRANSFER_NOTIFY_H

#include "smtp/transfer.h"

/* True: one is on its way, and transfer_notified is called from the loop. False: nothing is left to
 * tell. */
MUST_USE bool transfer_notify(struct transfer *transfer);

#endif
