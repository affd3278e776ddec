/*
 * What a client says, and is answered, for tracers (smtp/trace_tap.h). Called only where
 * conn->traced is not 0, but for the beginning. Part of server_conn, not for other modules.
 */
#ifndef RINGPOST_SMTP_SERVER_TRACE_H
#define RINGPOST_SMTP_SERVER_TRACE_H

#include "smtp/server_conn.h"

/* Who wants to hear it. `fresh`: it has just connected. */
void server_trace_begin(struct server_conn *conn, bool fresh);
/* server_session_feed, told line by line. */
MUST_USE enum want server_trace_feed(struct server_conn *conn, struct slice *input,
                                     struct buf *replies);
/* These replies are being sent. */
void server_trace_write(struct server_conn *conn, struct slice replies);
void server_trace_end(struct server_conn *conn);

/*
 * For trace_tap: connections from *next up to `end`: those that the tracer of this bit wants have
 * it, no other does. True: there are no more.
 */
MUST_USE bool server_trace_mark(struct server *server, uint32_t *next, uint32_t end, uint8_t bit);

#endif
