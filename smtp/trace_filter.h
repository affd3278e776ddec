/*
 * Which SMTP dialogues a tracer wants to see: the JSON that it sends first, and the questions that
 * it answers. All that is given has to be true of a dialogue; of several values one. What belongs
 * to a transaction (queue, sender, recipients) is asked while one is under way: with such a filter
 * what is said outside of transactions is not shown. Pure; what is asked does not change it.
 *
 *   server   source (CIDR), only_new, only_one, terse
 *   client   source (CIDR of our end), mx_host, mx_addr (CIDR), domain, routing_domain, campaign,
 *            tenant, egress_source, mail_from, rcpt_to, ready_queue, only_new, only_one, terse
 *
 * A value is a text or an array of texts; null is as if it were not there.
 */
#ifndef RINGPOST_SMTP_TRACE_FILTER_H
#define RINGPOST_SMTP_TRACE_FILTER_H

#include "core/arena.h"
#include "core/endpoint.h"

#define TRACE_VALUES_MAX       16u /* of one member */
#define TRACE_FILTER_BYTES_MAX (16 * KIB)

enum trace_side { TRACE_SERVER, TRACE_CLIENT };

/* Members whose values are compared with a text. */
enum trace_text {
    TRACE_MX_HOST,
    TRACE_READY_QUEUE,
    TRACE_EGRESS_SOURCE,
    TRACE_DOMAIN, /* from here on of a transaction */
    TRACE_ROUTING_DOMAIN,
    TRACE_CAMPAIGN,
    TRACE_TENANT,
    TRACE_MAIL_FROM,
    TRACE_RCPT_TO,
    TRACE_TEXTS,
};

struct trace_texts {
    unsigned count; /* 0: not asked */
    struct slice values[TRACE_VALUES_MAX];
};

struct trace_networks {
    unsigned count;
    struct network values[TRACE_VALUES_MAX];
};

struct trace_filter {
    enum trace_side side;
    struct trace_networks sources;
    struct trace_networks mx_addresses;
    struct trace_texts texts[TRACE_TEXTS];
    bool only_new; /* none that has begun before */
    bool only_one; /* the first that fits, and no other */
    bool terse;    /* the first line of what is said at once */
};

/* A dialogue, as far as it is known. */
struct trace_session {
    struct endpoint peer;
    struct endpoint local;
    struct slice mx_host;
    struct slice ready_queue;
    struct slice egress_source;
};

/* What is being sent. */
struct trace_transaction {
    struct slice queue; /* name of the scheduled queue; empty: there is no transaction */
    struct slice sender;
    const struct client_recipient *recipients; /* `count` of them */
    uint32_t count;
};

/* Null: it is read, and borrows from `arena`. Else what is wrong with it. */
const char *trace_filter_read(struct trace_filter *filter, enum trace_side side,
                              struct slice json, struct arena *arena);
bool trace_filter_fits_session(const struct trace_filter *filter,
                               const struct trace_session *session);
/* Does it ask about transactions at all? */
bool trace_filter_asks_transaction(const struct trace_filter *filter);
bool trace_filter_fits_transaction(const struct trace_filter *filter,
                                   const struct trace_transaction *transaction);

#endif
