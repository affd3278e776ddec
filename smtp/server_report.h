/*
 * Mail for domains that log reports ([domains] log_oob, log_arf). At its end it is looked at once:
 * what it is, and for each recipient whether that is logged, relayed, dropped, or refused. What is
 * logged is stored as one EVENT (smtp/report_event.h) before anything else is done; then those
 * recipients who get the mail get it, as any other mail; the client hears 250 when both is durable.
 *
 * Where nothing logs reports it costs nothing; else a header that says report is what makes it
 * look. Part of server_conn, not for other modules; on the shard.
 */
#ifndef RINGPOST_SMTP_SERVER_REPORT_H
#define RINGPOST_SMTP_SERVER_REPORT_H

#include "smtp/server_conn.h"

#define SERVER_REPORTS_MAX    64 /* being stored; more are 452 */
#define REPORT_RECIPIENTS_MAX 16 /* of a report, for whom it is logged */

/* What is left to be done of it as mail. */
struct report_rest {
    bool has_id;     /* else it is like any mail */
    struct id id;
    uint32_t others; /* recipients who are done with */
};

struct report_ticket {
    struct spool_write write;
    struct server *server;
    struct server_conn *conn; /* null once it has gone */
    struct slice payload;
    struct block *block;
    struct report_rest rest;
};

enum server_report_step {
    SERVER_REPORT_MAIL,     /* for those who are left in the envelope it goes on as mail */
    SERVER_REPORT_STORING,  /* server_conn_reported is called, from the loop */
    SERVER_REPORT_REFUSED,
};

/* May this recipient get mail of this client, or reports? The sender stands in the transaction. */
struct verdict server_report_recipient(const struct server_conn *conn,
                                       const struct address *recipient);
/* The content is whole. `refusal_out` is the whole reply, constant. */
MUST_USE enum server_report_step server_report_begin(struct server_conn *conn,
                                                     struct report_rest *rest_out,
                                                     struct slice *refusal_out);
/* A piece of the body leaves memory: its beginning is kept, if it may be a report that somebody
 * wants to be logged. False: there is no memory for that. */
MUST_USE bool server_report_keep(struct server_conn *conn);
/* What was kept goes. */
void server_report_forget(struct server_conn *conn);
/* The connection goes: its report is logged all the same, and not relayed. */
void server_report_abandon(struct server_conn *conn);

#endif
