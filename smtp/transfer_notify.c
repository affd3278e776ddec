#include "smtp/transfer_notify.h"

#include "core/check.h"
#include "smtp/notify.h"

static enum dsn_action action_of(const struct transfer *transfer, unsigned i)
{
    unsigned notify = transfer->recipients[i].dsn.word;
    switch (transfer_disposition(transfer, i)) {
    case DISPOSITION_DELIVERED:
        return (notify & ENVELOPE_NOTIFY_SUCCESS) != 0 && !transfer->passed_on ? DSN_RELAYED
                                                                               : DSN_UNKNOWN;
    case DISPOSITION_DEFERRED:
        return DSN_UNKNOWN;
    case DISPOSITION_BOUNCED:
    case DISPOSITION_EXPIRED:
    case DISPOSITION_ADMIN_BOUNCED:
        return (notify & ENVELOPE_NOTIFY_FAILURE) != 0 ? DSN_FAILED : DSN_UNKNOWN;
    }
    CHECK(false);
}

/* The next recipients that are told of, as many as a report has; those before are seen to. */
static unsigned gather(struct transfer *transfer, struct report_recipient *recipients)
{
    unsigned count = 0;
    while (transfer->notified < transfer->count && count < NOTIFY_RECIPIENTS_MAX) {
        unsigned i = transfer->notified++;
        const struct client_recipient *recipient = &transfer->recipients[i];
        enum dsn_action action = action_of(transfer, i);
        bool answered = transfer->connected && recipient->answer != CLIENT_ANSWER_NONE;
        if (action == DSN_UNKNOWN) {
            continue;
        }
        recipients[count++] = (struct report_recipient){
            .action = action,
            .address = recipient->address,
            .original = recipient->dsn.text,
            .code = recipient->code,
            .enhanced = {recipient->enhanced[0], recipient->enhanced[1], recipient->enhanced[2]},
            .text = recipient->text,
            .remote = answered ? slice_make(transfer->peer_name, transfer->peer_name_bytes)
                               : SLICE_NONE,
        };
    }
    return count;
}

static void notice_done(void *context, struct slice reply)
{
    struct transfer *transfer = context;
    if (!slice_starts_with(reply, SLICE("250"))) {
        counters_add(&transfer->delivery->shard->counters, COUNTER_reports_dropped, 1);
    }
    transfer_notified(transfer);
}

static void header_done(struct spool_load *load)
{
    struct transfer *transfer = CONTAINER_OF(load, struct transfer, part);
    if (load->status != SPOOL_LOADED) {
        /* Without it, then; what is damaged is named in the log by the spool. */
        spool_load_drop(transfer->delivery->spool, load);
    }
    transfer_notified(transfer);
}

/* A body in parts is not in memory as a whole: its first part has the header. */
static void read_header(struct transfer *transfer)
{
    struct spool *spool = transfer->delivery->spool;
    transfer->header_read = true;
    transfer->notified = 0;
    spool_load_drop(spool, &transfer->part);
    transfer->part = (struct spool_load){.done = header_done};
    chain_init(&transfer->part.body);
    spool_load_part(spool, &transfer->part, &transfer->message->parts[0]);
}

bool transfer_notify(struct transfer *transfer)
{
    struct notifier *notifier = transfer->delivery->notifier;
    const struct message *message = transfer->message;
    struct report_recipient recipients[NOTIFY_RECIPIENTS_MAX];
    unsigned count = notifier == NULL ? 0 : gather(transfer, recipients);
    while (count > 0) {
        if (message->part_count > 0 && !transfer->header_read) {
            read_header(transfer);
            return true;
        }
        const struct notice notice = {
            .message = message,
            .body = message->part_count > 0 ? &transfer->part.body : &message->body,
            .recipients = recipients,
            .count = count,
        };
        if (notifier_put(notifier, &notice, notice_done, transfer)) {
            return true;
        }
        count = gather(transfer, recipients);
    }
    return false;
}
