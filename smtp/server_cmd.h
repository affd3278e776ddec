/* Between server_session.c and the server_cmd_*.c files; nobody else includes it. */
#ifndef RINGPOST_SMTP_SERVER_CMD_H
#define RINGPOST_SMTP_SERVER_CMD_H

#include "smtp/server_session.h"

/* A handler runs only in a state that the command table allows; it appends exactly one reply, or
 * sees to it that one follows. */
typedef void server_handler(struct server_session *session, const struct command *command,
                            struct buf *replies);

void server_ehlo(struct server_session *session, const struct command *command,
                 struct buf *replies);
void server_helo(struct server_session *session, const struct command *command,
                 struct buf *replies);
void server_mail(struct server_session *session, const struct command *command,
                 struct buf *replies);
void server_rcpt(struct server_session *session, const struct command *command,
                 struct buf *replies);
void server_data(struct server_session *session, const struct command *command,
                 struct buf *replies);
void server_rset(struct server_session *session, const struct command *command,
                 struct buf *replies);
void server_noop(struct server_session *session, const struct command *command,
                 struct buf *replies);
void server_vrfy(struct server_session *session, const struct command *command,
                 struct buf *replies);
void server_quit(struct server_session *session, const struct command *command,
                 struct buf *replies);
void server_xclient(struct server_session *session, const struct command *command,
                    struct buf *replies);
void server_not_offered(struct server_session *session, const struct command *command,
                        struct buf *replies);
void server_foreign(struct server_session *session, const struct command *command,
                    struct buf *replies);
void server_unknown(struct server_session *session, const struct command *command,
                    struct buf *replies);

/* BDAT, whose octets follow in every state; `legal`: the command table allows it in this one. */
void server_bdat(struct server_session *session, const struct command *command, bool legal,
                 struct buf *replies);

/* Content in SERVER_DATA and SERVER_BDAT: consumes what there is, ends it when it is whole. */
void server_take_data(struct server_session *session, struct slice *input, struct buf *replies);
void server_take_chunk(struct server_session *session, struct slice *input, struct buf *replies);

/* The only writer of session->state. */
void server_set_state(struct server_session *session, enum server_state state);

/* Drops the transaction; the session is as after EHLO. */
void server_forget_transaction(struct server_session *session);

/* Appends a positive reply, a whole text without CRLF. */
void server_accept(const char *reply, struct buf *replies);
/*
 * Appends a refusal and does what follows from it: counts, asks for a delay, calls the `rejected`
 * hook when `verb` is MAIL, RCPT, DATA or BDAT, closes after 421.
 */
void server_refuse(struct server_session *session, enum verb verb, struct slice line,
                   struct slice reply, struct buf *replies);
/* The same with a constant text. */
void server_refuse_command(struct server_session *session, const struct command *command,
                           const char *reply, struct buf *replies);
/* The same with the code and text of a verdict. */
void server_refuse_verdict(struct server_session *session, const struct command *command,
                           struct verdict verdict, struct buf *replies);

#endif
