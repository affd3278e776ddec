/*
 * The steps of the client's dialogue: for each, what is sent, how long the reply may take, and
 * what a reply means. A send function runs when client_session_output finds that its step is
 * next and may go out; a reply function when the reply at the head of the expected ones is
 * whole. A 421 in a transaction never gets here: it ends the dialogue whatever the step
 * (client_session.c).
 */
#include "smtp/client_steps.h"

#include "core/check.h"

static bool positive(const struct reply *reply)
{
    return reply->code / 100 == 2;
}

static bool intermediate(const struct reply *reply)
{
    return reply->code / 100 == 3;
}

/* A negative reply to `step` as a disposition (RFC 5321 4.5.3.1.10: 552 to RCPT is temporary). */
static enum client_disposition refusal(const struct reply *reply, enum client_step step)
{
    bool permanent = reply->code / 100 == 5 && reply->code != 503 &&
                     !(step == STEP_RCPT && reply->code == 552);
    return permanent ? CLIENT_BOUNCED : CLIENT_DEFERRED;
}

static void refuse_all(struct client_session *session, const struct reply *reply,
                       enum client_step step)
{
    client_settle_all(session, &(struct client_verdict){
                                   .reply = reply,
                                   .disposition = refusal(reply, step),
                                   .answer = client_steps[step].answer,
                               });
}

/* --- greeting --------------------------------------------------------------------------------- */

static void no_send(struct client_session *session, struct buf *commands)
{
    (void)commands;
    CHECK(session->next_step != STEP_BANNER);
}

static void host_refused(struct client_session *session, const struct reply *reply)
{
    session->failure = *reply;
    client_end_dialogue(session, CLIENT_END_REFUSED);
}

static void banner_reply(struct client_session *session, const struct reply *reply)
{
    if (!positive(reply)) {
        host_refused(session, reply);
        return;
    }
    session->next_step = STEP_EHLO;
}

static void send_hello(struct client_session *session, struct buf *commands, const char *verb,
                       enum client_step step)
{
    buf_put_string(commands, verb);
    buf_put(commands, session->options->ehlo_domain);
    buf_put(commands, SLICE("\r\n"));
    client_expect(session, step);
    session->next_step = STEP_NONE;
}

static void ehlo_send(struct client_session *session, struct buf *commands)
{
    send_hello(session, commands, "EHLO ", STEP_EHLO);
}

static void helo_send(struct client_session *session, struct buf *commands)
{
    send_hello(session, commands, "HELO ", STEP_HELO);
}

static void ehlo_reply(struct client_session *session, const struct reply *reply)
{
    if (positive(reply)) {
        session->extensions.pipelining &= session->options->enable_pipelining;
        session->extensions.chunking &= session->options->enable_chunking;
        client_set_state(session, CLIENT_READY);
        return;
    }
    /* Only these say that the server does not know EHLO (RFC 5321 3.2). */
    if (reply->code == 500 || reply->code == 502 || reply->code == 504) {
        session->next_step = STEP_HELO;
        return;
    }
    host_refused(session, reply);
}

static void helo_reply(struct client_session *session, const struct reply *reply)
{
    if (!positive(reply)) {
        host_refused(session, reply);
        return;
    }
    client_set_state(session, CLIENT_READY);
}

void client_note_keyword(struct client_session *session, struct slice line)
{
    size_t end = slice_find(line, ' ');
    struct slice keyword = slice_first(line, end);
    struct slice value = slice_trim(slice_skip(line, end));
    struct client_extensions *extensions = &session->extensions;
    if (slice_equal_nocase(keyword, SLICE("PIPELINING"))) {
        extensions->pipelining = true;
    } else if (slice_equal_nocase(keyword, SLICE("CHUNKING"))) {
        extensions->chunking = true;
    } else if (slice_equal_nocase(keyword, SLICE("8BITMIME"))) {
        extensions->eightbitmime = true;
    } else if (slice_equal_nocase(keyword, SLICE("SMTPUTF8"))) {
        extensions->smtputf8 = true;
    } else if (slice_equal_nocase(keyword, SLICE("DSN"))) {
        extensions->dsn = true;
    } else if (slice_equal_nocase(keyword, SLICE("SIZE"))) {
        /* No number, or one beyond 64 bits, is no limit that could bind us. */
        extensions->size = true;
        if (!slice_parse_u64(value, &extensions->size_max)) {
            extensions->size_max = 0;
        }
    }
}

/* --- envelope --------------------------------------------------------------------------------- */

/*
 * What the client asked for about notifications goes to a server that offers them, as it was asked,
 * and never anything that was not (RFC 3461 5.2.1, 5.2.2).
 */
static void put_mail_dsn(struct buf *commands, const struct envelope_dsn *dsn)
{
    if (dsn->word != ENVELOPE_RETURN_ANY) {
        buf_put_string(commands,
                       dsn->word == ENVELOPE_RETURN_FULL ? " RET=FULL" : " RET=HDRS");
    }
    if (dsn->text.size > 0) {
        buf_put(commands, SLICE(" ENVID="));
        buf_put(commands, dsn->text);
    }
}

static void put_rcpt_dsn(struct buf *commands, const struct envelope_dsn *dsn)
{
    static const char *const words[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"}; /* by their bits */
    const char *before = " NOTIFY=";
    for (unsigned i = 0; i < COUNT_OF(words); i++) {
        if ((dsn->word & 1u << i) != 0) {
            buf_put_string(commands, before);
            buf_put_string(commands, words[i]);
            before = ",";
        }
    }
    if (dsn->text.size > 0) {
        buf_put(commands, SLICE(" ORCPT="));
        buf_put(commands, dsn->text);
    }
}

static void mail_send(struct client_session *session, struct buf *commands)
{
    struct client_transaction *transaction = session->transaction;
    const struct message *message = transaction->message;
    buf_put(commands, SLICE("MAIL FROM:<"));
    buf_put(commands, transaction->sender);
    buf_put_byte(commands, '>');
    if (session->extensions.size) {
        buf_put(commands, SLICE(" SIZE="));
        buf_put_u64(commands, body_size(message));
    }
    if ((message->flags & SPOOL_MESSAGE_8BIT) != 0 && session->extensions.eightbitmime) {
        buf_put(commands, SLICE(" BODY=8BITMIME"));
    }
    if ((message->flags & SPOOL_MESSAGE_SMTPUTF8) != 0 && session->extensions.smtputf8) {
        buf_put(commands, SLICE(" SMTPUTF8"));
    }
    if (session->extensions.dsn) {
        put_mail_dsn(commands, &transaction->dsn);
    }
    buf_put(commands, SLICE("\r\n"));
    client_expect(session, STEP_MAIL);
    transaction->sent = true;
    session->next_step = STEP_RCPT;
}

static void mail_reply(struct client_session *session, const struct reply *reply)
{
    if (positive(reply)) {
        return;
    }
    if (intermediate(reply)) {
        client_protocol_error(session, "unexpected reply");
        return;
    }
    refuse_all(session, reply, STEP_MAIL);
    if (session->next_step != STEP_NONE) {
        session->rcpt_end = session->rcpt_next;
        session->next_step = STEP_NONE;
    }
}

static void rcpt_send(struct client_session *session, struct buf *commands)
{
    const struct client_recipient *recipient =
        &session->transaction->recipients[session->rcpt_next];
    buf_put(commands, SLICE("RCPT TO:<"));
    buf_put(commands, recipient->address);
    buf_put_byte(commands, '>');
    if (session->extensions.dsn) {
        put_rcpt_dsn(commands, &recipient->dsn);
    }
    buf_put(commands, SLICE("\r\n"));
    client_expect(session, STEP_RCPT);
    session->rcpt_next++;
    if (session->rcpt_next == session->rcpt_end) {
        session->next_step = client_content_step(session);
    }
}

/* Does the server say that this transaction has recipients enough? Never of the first one. */
static bool too_many(const struct reply *reply, uint32_t position)
{
    bool named = reply->enhanced[1] == 5 && reply->enhanced[2] == 3;
    bool plain = reply->enhanced[0] == 0 && (reply->code == 452 || reply->code == 552);
    return position > 0 && (named || plain);
}

static void rcpt_reply(struct client_session *session, const struct reply *reply)
{
    uint32_t position = session->rcpt_answered++;
    struct client_recipient *recipient = &session->transaction->recipients[position];
    if (intermediate(reply)) {
        client_protocol_error(session, "unexpected reply");
        return;
    }
    if (recipient->disposition != CLIENT_PENDING) {
        return; /* MAIL was refused: nothing said about the recipient counts */
    }
    if (positive(reply)) {
        recipient->accepted = true;
        session->accepted++;
        return;
    }
    struct client_verdict verdict = {
        .reply = reply,
        .disposition = refusal(reply, STEP_RCPT),
        .answer = CLIENT_ANSWER_RCPT,
    };
    if (too_many(reply, position)) {
        verdict.disposition = CLIENT_RETRY_NOW;
        client_stop_naming(session);
    }
    client_settle(session, recipient, &verdict);
}

/* --- content ---------------------------------------------------------------------------------- */

static void data_send(struct client_session *session, struct buf *commands)
{
    buf_put(commands, SLICE("DATA\r\n"));
    client_expect(session, STEP_DATA);
    session->next_step = STEP_NONE;
}

static void open_content(struct client_session *session, enum body_mode mode,
                         enum client_step step)
{
    body_cursor_init(&session->body, session->transaction->message, mode);
    session->content_open = true;
    client_expect(session, step);
    session->next_step = STEP_NONE;
    client_set_state(session, CLIENT_CONTENT);
}

static void data_reply(struct client_session *session, const struct reply *reply)
{
    if (positive(reply) || (intermediate(reply) && reply->code != 354)) {
        client_protocol_error(session, "unexpected reply");
        return;
    }
    if (!intermediate(reply)) {
        refuse_all(session, reply, STEP_DATA);
        return;
    }
    if (session->accepted > 0) {
        open_content(session, BODY_DATA, STEP_CONTENT);
        return;
    }
    /* Nobody to send to, and the server waits for content all the same (RFC 2920 3.1). */
    session->next_step = STEP_CONTENT;
    client_set_state(session, CLIENT_CONTENT);
}

static void bdat_send(struct client_session *session, struct buf *commands)
{
    buf_put(commands, SLICE("BDAT "));
    buf_put_u64(commands, body_size(session->transaction->message));
    buf_put(commands, SLICE(" LAST\r\n"));
    open_content(session, BODY_BDAT, STEP_BDAT);
}

/* The dot alone; with recipients the cursor ends the content itself. */
static void lone_dot_send(struct client_session *session, struct buf *commands)
{
    buf_put(commands, SLICE(".\r\n"));
    client_expect(session, STEP_CONTENT);
    session->content_made = true;
    session->next_step = STEP_NONE;
}

static void content_reply(struct client_session *session, const struct reply *reply)
{
    struct client_verdict verdict = {
        .reply = reply,
        .disposition = refusal(reply, STEP_CONTENT),
        .answer = CLIENT_ANSWER_CONTENT,
    };
    bool whole = session->content_made;
    if (intermediate(reply) || (positive(reply) && !whole)) {
        client_protocol_error(session, "unexpected reply");
        return;
    }
    if (session->accepted > 0 && !positive(reply) && (!whole || session->send_failed)) {
        /* In the middle of content no refusal is the last word on the message (C-13). */
        verdict.disposition = CLIENT_DEFERRED;
        client_settle_all(session, &verdict);
        session->failure = *reply;
        client_end_dialogue(session, CLIENT_END_PROTOCOL);
        return;
    }
    if (positive(reply)) {
        verdict.disposition = CLIENT_DELIVERED;
    }
    bool success = positive(reply) && session->accepted > 0;
    client_settle_all(session, &verdict);
    client_over(session, success);
}

/* --- between and after ------------------------------------------------------------------------ */

static void rset_send(struct client_session *session, struct buf *commands)
{
    buf_put(commands, SLICE("RSET\r\n"));
    client_expect(session, STEP_RSET);
    session->next_step = session->state == CLIENT_RSETTING ? STEP_NONE : STEP_MAIL;
}

static void rset_reply(struct client_session *session, const struct reply *reply)
{
    session->rset_wanted = false;
    if (!positive(reply)) {
        session->failure = *reply;
        if (session->state != CLIENT_RSETTING) {
            client_settle_all(session, &(struct client_verdict){.reply = reply,
                                                                .disposition = CLIENT_RETRY_NOW});
        }
        client_end_dialogue(session, CLIENT_END_RSET);
        return;
    }
    if (session->state != CLIENT_RSETTING) {
        return; /* sent with the next transaction */
    }
    client_set_state(session, CLIENT_READY);
    if (session->quit_wanted) {
        client_session_quit(session);
    }
}

static void quit_send(struct client_session *session, struct buf *commands)
{
    buf_put(commands, SLICE("QUIT\r\n"));
    client_expect(session, STEP_QUIT);
    session->next_step = STEP_NONE;
}

static void quit_reply(struct client_session *session, const struct reply *reply)
{
    (void)reply; /* whatever it says */
    client_end_dialogue(session, CLIENT_END_CLOSED);
}

#define TIMEOUT(name) offsetof(struct client_options, name##_timeout_ns), 0
#define FIXED(ns)     SIZE_MAX, (ns)

const struct client_step_row client_steps[STEP_NONE] = {
    [STEP_BANNER] = {"banner", "waiting for the banner", TIMEOUT(banner), CLIENT_ANSWER_NONE,
                     no_send, banner_reply},
    [STEP_EHLO] = {"EHLO", "waiting for EHLO", TIMEOUT(ehlo), CLIENT_ANSWER_NONE, ehlo_send,
                   ehlo_reply},
    [STEP_HELO] = {"HELO", "waiting for HELO", TIMEOUT(ehlo), CLIENT_ANSWER_NONE, helo_send,
                   helo_reply},
    [STEP_MAIL] = {"MAIL", "waiting for MAIL", TIMEOUT(mail_from), CLIENT_ANSWER_MAIL, mail_send,
                   mail_reply},
    [STEP_RCPT] = {"RCPT", "waiting for RCPT", TIMEOUT(rcpt_to), CLIENT_ANSWER_RCPT, rcpt_send,
                   rcpt_reply},
    [STEP_DATA] = {"DATA", "waiting for DATA", TIMEOUT(data), CLIENT_ANSWER_DATA, data_send,
                   data_reply},
    [STEP_BDAT] = {"BDAT", "waiting for the reply to BDAT", TIMEOUT(data_dot),
                   CLIENT_ANSWER_CONTENT, bdat_send, content_reply},
    [STEP_CONTENT] = {"content", "waiting for the reply to content", TIMEOUT(data_dot),
                      CLIENT_ANSWER_CONTENT, lone_dot_send, content_reply},
    [STEP_RSET] = {"RSET", "waiting for RSET", TIMEOUT(rset), CLIENT_ANSWER_NONE, rset_send,
                   rset_reply},
    [STEP_QUIT] = {"QUIT", "waiting for QUIT", FIXED(CLIENT_QUIT_NS), CLIENT_ANSWER_NONE, quit_send,
                   quit_reply},
};
