/*
 * Notifications of delivery that we send ourselves (RFC 3461 5.2, RFC 3464): mail with a null
 * sender, made by smtp/report_make.h, and from then on a message like any other of this shard.
 *
 * For a sender there are NOTIFY_BURST at once and one a second, on each shard: what strangers may
 * relay through us is no flood for whom they name. Beyond that, for want of memory or space, or
 * where there is no way to the sender, there is none, and COUNTER_reports_dropped says so: outcomes
 * never wait for memory on account of a report. One per shard; all calls on its thread.
 */
#ifndef RINGPOST_SMTP_NOTIFY_H
#define RINGPOST_SMTP_NOTIFY_H

#include "smtp/intake.h"
#include "smtp/report_make.h"

#define NOTIFY_BURST          100
#define NOTIFY_SENDERS        1024 /* senders of the same hash share a rate */
#define NOTIFY_RECIPIENTS_MAX 24   /* of a report */

struct notifier {
    struct shard *shard;    /* borrowed, like the intake */
    struct intake *intake;
    XXH3_state_t *hash;     /* of boot memory */
    uint64_t arrivals_ns[NOTIFY_SENDERS];
};

/* All borrowed for the call. */
struct notice {
    const struct message *message; /* that it is about */
    const struct chain *body;      /* of it, or its beginning; may be empty */
    const struct report_recipient *recipients;
    unsigned count; /* 1 … NOTIFY_RECIPIENTS_MAX */
};

void notifier_init(struct notifier *notifier, struct boot_pages *pages);

/*
 * Makes a report for the message's sender and hands it in. True: `done` is called from the loop,
 * when it is stored or was not. False: there will be none.
 */
MUST_USE bool notifier_put(struct notifier *notifier, const struct notice *notice,
                           intake_done *done, void *context);

#endif
