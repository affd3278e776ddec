/*
 * What servers are told, and answer, for tracers (smtp/trace_tap.h). Part of delivery, not for
 * other modules.
 */
#ifndef RINGPOST_SMTP_EGRESS_TRACE_H
#define RINGPOST_SMTP_EGRESS_TRACE_H

#include "smtp/egress.h"
#include "smtp/trace_tap.h"

/* Who wants to hear it: of a connection that is being opened, or has come from another shard. */
void egress_trace_begin(struct egress_conn *conn);
/* client_user.said */
void egress_trace_said(struct client_conn *client, enum trace_kind kind, struct slice text,
                       uint64_t bytes);
/* As server_trace_mark. */
MUST_USE bool egress_trace_mark(struct delivery *delivery, uint32_t *next, uint32_t end,
                                uint8_t bit);

#endif
