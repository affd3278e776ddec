/* What has become of a transfer's recipients, for rules of automation. Part of delivery. */
#ifndef RINGPOST_SMTP_TRANSFER_ADVISE_H
#define RINGPOST_SMTP_TRANSFER_ADVISE_H

#include "smtp/transfer.h"

/*
 * When the outcome is known and before it is stored: a record of each recipient whose reply some
 * rule looks for (smtp/advice_tap.h). Called while the tap is on.
 */
void transfer_advise(const struct transfer *transfer);

#endif
