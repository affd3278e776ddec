/*
 * What reports say of mail of ours, for the rules of automation ([tsa] judge_reports): of an EVENT
 * that is stored the one record that its reference vouches for (smtp/reference.h). Whether that
 * reference has counted already is known to the engine (tsa/once.h). On a mail shard.
 */
#ifndef RINGPOST_SMTP_REPORT_ADVISE_H
#define RINGPOST_SMTP_REPORT_ADVISE_H

#include "smtp/delivery.h"

/* `payload` is of smtp/report_event.h. */
void report_advise(const struct delivery *delivery, struct slice payload);

#endif
