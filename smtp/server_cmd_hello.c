/* EHLO and HELO, and the commands that move no mail. */
#include "smtp/server_cmd.h"

#include <string.h>

#include "core/check.h"

static void greet_client(struct server_session *session, const struct command *command,
                         bool extended, struct buf *replies)
{
    struct slice name = command->argument;
    if (!domain_is_hello(name)) {
        server_refuse_command(session, command,
                              "501 5.5.4 A domain or an address literal is wanted here", replies);
        return;
    }
    CHECK(name.size <= ADDRESS_DOMAIN_BYTES_MAX);
    memcpy(session->hello, name.data, name.size);
    session->hello_bytes = (uint8_t)name.size;
    session->extended = extended;
    /* RFC 5321 4.1.4: as RSET, in the middle of a transaction too. */
    server_forget_transaction(session);
    if (!extended) {
        buf_put(replies, SLICE("250 "));
        buf_put(replies, session->options->hostname);
        buf_put(replies, SLICE("\r\n"));
        return;
    }
    buf_put(replies, SLICE("250-"));
    buf_put(replies, session->options->hostname);
    buf_put(replies, SLICE("\r\n250-PIPELINING\r\n250-SIZE "));
    buf_put_u64(replies, session->options->message_bytes_max);
    buf_put(replies, SLICE("\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n"));
    if (session->options->xclient) {
        buf_put(replies, SLICE("250-XCLIENT ADDR PORT DESTADDR DESTPORT\r\n"));
    }
    buf_put(replies, SLICE("250 ENHANCEDSTATUSCODES\r\n"));
}

void server_ehlo(struct server_session *session, const struct command *command,
                 struct buf *replies)
{
    greet_client(session, command, true, replies);
}

void server_helo(struct server_session *session, const struct command *command,
                 struct buf *replies)
{
    greet_client(session, command, false, replies);
}

void server_rset(struct server_session *session, const struct command *command,
                 struct buf *replies)
{
    (void)command;
    if (session->state != SERVER_HELLO) {
        server_forget_transaction(session);
    }
    server_accept("250 2.0.0 OK", replies);
}

void server_noop(struct server_session *session, const struct command *command,
                 struct buf *replies)
{
    (void)session;
    (void)command;
    server_accept("250 2.0.0 OK", replies);
}

void server_vrfy(struct server_session *session, const struct command *command,
                 struct buf *replies)
{
    if (command->argument.size == 0) {
        server_refuse_command(session, command, "501 5.5.4 VRFY wants a name", replies);
        return;
    }
    server_accept("252 2.5.2 Not verified; mail for it will be tried", replies);
}

void server_quit(struct server_session *session, const struct command *command,
                 struct buf *replies)
{
    (void)command;
    transaction_reset(&session->transaction);
    server_accept("221 2.0.0 Bye", replies);
    server_set_state(session, SERVER_CLOSED);
}

/*
 * Who connects speaks for another client (Postfix's XCLIENT): its address takes the place of ours,
 * for everything, and the dialogue begins anew with a banner. That is the connection's to do.
 */
void server_xclient(struct server_session *session, const struct command *command,
                    struct buf *replies)
{
    struct xclient_params client;
    if (!session->options->xclient) {
        server_refuse_command(session, command, "550 5.7.0 You may not speak for others", replies);
        return;
    }
    if (params_parse_xclient(command->argument, &client) != PARAMS_OK) {
        server_refuse_command(session, command, "501 5.5.4 Bad attributes of XCLIENT", replies);
        return;
    }
    session->client = client;
    session->introduced = true;
}

void server_not_offered(struct server_session *session, const struct command *command,
                        struct buf *replies)
{
    server_refuse_command(session, command, "502 5.5.1 Command not offered here", replies);
}

void server_unknown(struct server_session *session, const struct command *command,
                    struct buf *replies)
{
    server_refuse_command(session, command, "500 5.5.2 Command not recognised", replies);
}

/*
 * A browser or another client was led to our port and carries what someone else wrote (S-06): not
 * one line more is read.
 */
void server_foreign(struct server_session *session, const struct command *command,
                    struct buf *replies)
{
    server_refuse_command(session, command, "421 4.7.0 This is an SMTP server", replies);
}
