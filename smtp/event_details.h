/*
 * The objects `meta` and `headers` of event records: of what is known of a message, what [log] meta
 * and headers list. Pure.
 *
 *   reception_protocol received_from received_via ehlo_domain tenant campaign   as in KumoMTA
 *   extra     the metadata of an injection's recipient; each of its members, too, by its own name
 *
 * orig_received_from is no business of a list: a record tells it where there is one. What is
 * empty or null is left out, and so is what would not fit any more.
 */
#ifndef RINGPOST_SMTP_EVENT_DETAILS_H
#define RINGPOST_SMTP_EVENT_DETAILS_H

#include "core/conf.h"
#include "core/event.h"
#include "smtp/metadata.h"

/* What the two slices of an event borrow from. */
struct event_details {
    uint8_t meta[EVENT_MEMBERS_BYTES_MAX];
    uint8_t headers[EVENT_MEMBERS_BYTES_MAX];
};

/* The members of `meta` that have these names. */
void event_details_put_meta(struct buf *buf, const struct conf_names *names,
                            const struct metadata *metadata);
/* Sets event->meta and event->headers. */
void event_details_fill(struct event_details *details, const struct conf_log *log,
                        const struct metadata *metadata, struct event *event);

#endif
