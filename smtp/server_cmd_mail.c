/* MAIL and RCPT: the envelope. */
#include "smtp/server_cmd.h"

#include "smtp/limits.h"

static const char *params_reply(enum params_fault fault)
{
    switch (fault) {
    case PARAMS_OK:
        return NULL;
    case PARAMS_SYNTAX:
        return "501 5.5.4 Malformed parameter";
    case PARAMS_NOT_OFFERED:
        return "555 5.5.4 Parameter not offered";
    }
    return NULL;
}

/* What is wrong with a MAIL by itself; null when nothing is. */
static const char *parse_mail(const struct server_session *session, struct slice argument,
                              struct address *sender_out, struct mail_params *params_out)
{
    struct slice path;
    struct slice rest;
    if (!command_path(argument, SLICE("FROM:"), &path)) {
        return "501 5.5.4 The form is MAIL FROM:<address>";
    }
    /* Only a forward path may be "<postmaster>" without a domain (RFC 5321 4.1.1.3). */
    if (!address_parse_path(path, true, sender_out, &rest) ||
        (rest.size > 0 && rest.data[0] != ' ') ||
        (sender_out->whole.size > 0 && sender_out->domain.size == 0)) {
        return "501 5.1.7 Malformed sender address";
    }
    const char *reply = params_reply(params_parse_mail(rest, session->extended, params_out));
    if (reply != NULL) {
        return reply;
    }
    if (sender_out->utf8 && !params_out->smtputf8) {
        return "550 5.6.7 A sender address beyond ASCII needs SMTPUTF8";
    }
    if (params_out->size > session->options->message_bytes_max) {
        return "552 5.3.4 Message larger than the limit";
    }
    return NULL;
}

void server_mail(struct server_session *session, const struct command *command,
                 struct buf *replies)
{
    const struct server_options *options = session->options;
    struct address sender;
    struct mail_params params;
    const char *reply = parse_mail(session, command->argument, &sender, &params);
    if (reply != NULL) {
        server_refuse_command(session, command, reply, replies);
        return;
    }
    if (options->messages_max > 0 && session->messages >= options->messages_max) {
        server_refuse_command(session, command, "421 4.7.0 Enough messages on this connection",
                              replies);
        return;
    }
    struct verdict verdict =
        options->policy->sender(options->policy_context, &sender, params.size);
    if (verdict.code != 0) {
        server_refuse_verdict(session, command, verdict, replies);
        return;
    }
    if (!transaction_begin(&session->transaction, &sender, &params)) {
        server_refuse_command(session, command, "452 4.3.1 No memory for a message now", replies);
        return;
    }
    session->messages++;
    server_set_state(session, SERVER_MAIL);
    server_accept("250 2.1.0 Sender OK", replies);
}

/* What is wrong with a RCPT by itself; null when nothing is. */
static const char *parse_rcpt(const struct server_session *session, struct slice argument,
                              struct address *recipient_out, struct envelope_dsn *dsn_out)
{
    struct slice path;
    struct slice rest;
    if (!command_path(argument, SLICE("TO:"), &path)) {
        return "501 5.5.4 The form is RCPT TO:<address>";
    }
    if (!address_parse_path(path, false, recipient_out, &rest) ||
        (rest.size > 0 && rest.data[0] != ' ')) {
        return "501 5.1.3 Malformed recipient address";
    }
    const char *reply = params_reply(params_parse_rcpt(rest, session->extended, dsn_out));
    if (reply == NULL && !session->transaction.smtputf8 &&
        (recipient_out->utf8 || !slice_is_ascii(dsn_out->text))) {
        return "553 5.6.7 A recipient address beyond ASCII needs SMTPUTF8";
    }
    return reply;
}

/* RFC 5321 4.5.3.1.10: 452 lets the client send the others in a message of their own. */
static void refuse_too_many(struct server_session *session, const struct command *command,
                            struct buf *replies)
{
    session->transaction.recipients_refused++;
    bool enough = session->transaction.recipients_refused > RECIPIENTS_OVERSHOOT_MAX;
    server_refuse_command(session, command,
                          enough ? "421 4.7.0 Far too many recipients"
                                 : "452 4.5.3 Too many recipients in this message",
                          replies);
}

static void refuse_no_room(struct server_session *session, const struct command *command,
                           enum recipient_result result, struct buf *replies)
{
    if (result == RECIPIENT_FULL) {
        refuse_too_many(session, command, replies);
    } else {
        server_refuse_command(session, command, "452 4.3.1 No memory for a recipient now",
                              replies);
    }
}

void server_rcpt(struct server_session *session, const struct command *command,
                 struct buf *replies)
{
    const struct server_options *options = session->options;
    struct address recipient;
    struct envelope_dsn dsn;
    const char *reply = parse_rcpt(session, command->argument, &recipient, &dsn);
    if (reply != NULL) {
        server_refuse_command(session, command, reply, replies);
        return;
    }
    if (session->transaction.recipient_count >= options->recipients_max) {
        refuse_too_many(session, command, replies);
        return;
    }
    struct verdict verdict = options->policy->recipient(options->policy_context, &recipient);
    if (verdict.code != 0) {
        server_refuse_verdict(session, command, verdict, replies);
        return;
    }
    enum recipient_result result =
        transaction_add_recipient(&session->transaction, &recipient, &dsn);
    if (result != RECIPIENT_ADDED) {
        refuse_no_room(session, command, result, replies);
        return;
    }
    server_set_state(session, SERVER_RCPT);
    server_accept("250 2.1.5 Recipient OK", replies);
}
