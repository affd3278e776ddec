/*
 * What a report (smtp/queue_report.h) has to say of each kind of thing; part of it, not for other
 * modules. Things of a kind have numbers on their shard, some of which may be free. All calls on
 * that shard.
 */
#ifndef RINGPOST_SMTP_QUEUE_REPORT_KINDS_H
#define RINGPOST_SMTP_QUEUE_REPORT_KINDS_H

#include "core/logline.h"
#include "shard/queue/hold.h"
#include "smtp/delivery.h"

enum report_kind {
    REPORT_SCHEDULED,    /* queues */
    REPORT_READY,        /* queues */
    REPORT_SITE_LIMITS,
    REPORT_QUEUE_LIMITS, /* of scheduled queues and tenants */
    REPORT_KINDS,
};
#define REPORT_QUEUE_KINDS 2 /* the first */

struct report_found {
    uint64_t order;          /* of lines, the least first */
    enum hold_reason reason; /* of a queue; else none */
    uint64_t recipients;     /* of a queue */
    const void *shared;      /* the same for the same thing on all shards; null: it has but one */
};

/* The "kind" of a queue. */
const char *report_kind_name(enum report_kind kind);
/* Numbers are below this. */
uint32_t report_kind_end(const struct delivery *delivery, enum report_kind kind);
/* False: there is no such thing. */
MUST_USE bool report_kind_look(const struct delivery *delivery, enum report_kind kind,
                               uint32_t number, struct report_found *found_out);
/* Its line; the caller ends it. False: there is no such thing any more. */
MUST_USE bool report_kind_put(const struct delivery *delivery, enum report_kind kind,
                              uint32_t number, struct logline *line);

#endif
