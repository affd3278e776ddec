/*
 * The dialogue.
 *
 *   GREETING -> HELLO -> READY -> MAIL -> RCPT -> DATA ----------> COMMITTING -> READY
 *                                           |                          ^
 *                                           +-> BDAT <-> CHUNKS        |
 *                                                 +--------------------+
 *
 * EHLO, HELO and RSET lead from every state between READY and CHUNKS back to READY; a refused BDAT
 * passes through BDAT from HELLO, READY and MAIL as well, so that its octets are consumed.
 *
 * What may never happen: a byte of content read as a command; a command run from a line that did
 * not end in CRLF; an envelope that outlives its transaction; 250 for content before
 * server_session_committed; a reply that depends on how the input was cut.
 */
#include "smtp/server_session.h"

#include <string.h>

#include "core/check.h"
#include "smtp/limits.h"
#include "smtp/server_cmd.h"

#define TLS_HANDSHAKE 0x16 /* the first byte of a TLS hello, no letter of any command */

#define VERDICT_TEXT_BYTES_MAX 512

struct state_row {
    const char *doing;
    uint32_t next;
};

#define STATE_ROW(name, doing, next) {doing, (next) | SERVER_BIT(name) | SERVER_BIT(CLOSED)},
static const struct state_row states[SERVER_STATE_COUNT] = {SERVER_STATES(STATE_ROW)};
#undef STATE_ROW

/* Masks of states for the command table. */
#define IN_TRANSACTION (SERVER_BIT(MAIL) | SERVER_BIT(RCPT) | SERVER_BIT(CHUNKS))
#define AFTER_HELLO    (SERVER_BIT(READY) | IN_TRANSACTION)
#define ANYWHERE       (SERVER_BIT(HELLO) | AFTER_HELLO)

enum command_flags {
    COMMAND_JUNK = 1,        /* brings no message nearer */
    COMMAND_NO_ARGUMENT = 2, /* 501 5.5.4 with one */
    COMMAND_OCTETS = 4,      /* octets of content follow the line; handled by server_bdat */
};

static const struct command_row {
    server_handler *handler;
    uint32_t states;
    unsigned flags;
} commands[VERB_COUNT] = {
    [VERB_EHLO] = {server_ehlo, ANYWHERE, COMMAND_JUNK},
    [VERB_HELO] = {server_helo, ANYWHERE, COMMAND_JUNK},
    [VERB_MAIL] = {server_mail, SERVER_BIT(READY), 0},
    [VERB_RCPT] = {server_rcpt, SERVER_BIT(MAIL) | SERVER_BIT(RCPT), 0},
    [VERB_DATA] = {server_data, SERVER_BIT(RCPT), COMMAND_NO_ARGUMENT},
    [VERB_BDAT] = {NULL, SERVER_BIT(RCPT) | SERVER_BIT(CHUNKS), COMMAND_OCTETS},
    [VERB_RSET] = {server_rset, ANYWHERE, COMMAND_JUNK | COMMAND_NO_ARGUMENT},
    [VERB_NOOP] = {server_noop, ANYWHERE, COMMAND_JUNK},
    [VERB_VRFY] = {server_vrfy, ANYWHERE, COMMAND_JUNK},
    [VERB_QUIT] = {server_quit, ANYWHERE, COMMAND_NO_ARGUMENT},
    [VERB_XCLIENT] = {server_xclient, SERVER_BIT(HELLO) | SERVER_BIT(READY), COMMAND_JUNK},
    [VERB_NOT_OFFERED] = {server_not_offered, ANYWHERE, COMMAND_JUNK},
    [VERB_FOREIGN] = {server_foreign, ANYWHERE, 0},
    [VERB_UNKNOWN] = {server_unknown, ANYWHERE, COMMAND_JUNK},
};

void server_set_state(struct server_session *session, enum server_state state)
{
    CHECK(states[session->state].next & (1u << state));
    session->state = state;
}

void server_forget_transaction(struct server_session *session)
{
    transaction_reset(&session->transaction);
    server_set_state(session, SERVER_READY);
}

static void put_reply(struct buf *replies, struct slice reply)
{
    buf_put(replies, reply);
    buf_put(replies, SLICE("\r\n"));
    CHECK(!replies->overflow);
}

void server_accept(const char *reply, struct buf *replies)
{
    put_reply(replies, slice_from_string(reply));
}

static bool carries_mail(enum verb verb)
{
    return verb == VERB_MAIL || verb == VERB_RCPT || verb == VERB_DATA || verb == VERB_BDAT;
}

/* The Rejection event, if there is one: order and shutdown are no rejections. */
static void tell_rejection(const struct server_session *session, struct slice line,
                           struct slice reply)
{
    const struct server_options *options = session->options;
    if (!slice_starts_with(reply, SLICE("503")) && !slice_starts_with(reply, SLICE("421 4.3.2"))) {
        options->policy->rejected(options->policy_context, line, reply);
    }
}

void server_refuse(struct server_session *session, enum verb verb, struct slice line,
                   struct slice reply, struct buf *replies)
{
    const struct server_options *options = session->options;
    put_reply(replies, reply);
    if (carries_mail(verb)) {
        tell_rejection(session, line, reply);
    }
    if (reply.data[0] == '5' && !options->trusted) {
        session->errors++;
        session->delay = session->errors > SERVER_ERRORS_SLOW;
    }
    if (slice_starts_with(reply, SLICE("421"))) {
        server_set_state(session, SERVER_CLOSED);
    }
}

void server_refuse_command(struct server_session *session, const struct command *command,
                           const char *reply, struct buf *replies)
{
    server_refuse(session, command->verb, command->line, slice_from_string(reply), replies);
}

void server_refuse_verdict(struct server_session *session, const struct command *command,
                           struct verdict verdict, struct buf *replies)
{
    uint8_t memory[VERDICT_TEXT_BYTES_MAX];
    struct buf reply;
    buf_init(&reply, memory, sizeof(memory));
    buf_put_u64(&reply, verdict.code);
    buf_put_byte(&reply, ' ');
    buf_put_string(&reply, verdict.text);
    CHECK(!reply.overflow);
    server_refuse(session, command->verb, command->line, buf_slice(&reply), replies);
}

/* The refusal of a line that is wrong as a line, whatever its verb. */
static const char *fault_reply(enum command_fault fault)
{
    switch (fault) {
    case COMMAND_OK:
        return NULL;
    case COMMAND_BARE_CR_LF:
        return "500 5.5.2 Lines end with CR LF, and CR and LF stand nowhere else";
    case COMMAND_TOO_LONG:
        return "500 5.5.2 Line too long";
    case COMMAND_BAD_BYTES:
        return "501 5.5.2 Bytes that no command may have";
    }
    return NULL;
}

static bool over_budget(const struct server_session *session)
{
    return session->errors >= SERVER_ERRORS_MAX || session->junk >= SERVER_JUNK_MAX;
}

/*
 * The order of the questions is a contract with the model in server_model_test.c: other protocols,
 * budgets, the line itself, order, then the handler's own.
 */
static void run_command(struct server_session *session, const struct command *command,
                        enum command_fault fault, struct buf *replies)
{
    const struct command_row *row = &commands[command->verb];
    bool legal = row->states & (1u << session->state);
    if (command->verb == VERB_FOREIGN) {
        server_foreign(session, command, replies);
        return;
    }
    if (over_budget(session)) {
        server_refuse_command(session, command, "421 4.7.0 Too many errors or idle commands",
                              replies);
        return;
    }
    if ((row->flags & COMMAND_JUNK) && !session->options->trusted) {
        session->junk++;
    }
    if (fault != COMMAND_OK) {
        server_refuse_command(session, command, fault_reply(fault), replies);
        if (row->flags & COMMAND_OCTETS) {
            /* How many octets follow is not known, and they must not be read as commands. */
            server_set_state(session, SERVER_CLOSED);
        }
    } else if (row->flags & COMMAND_OCTETS) {
        server_bdat(session, command, legal, replies);
    } else if (!legal) {
        server_refuse_command(session, command, "503 5.5.1 Bad sequence of commands", replies);
    } else if ((row->flags & COMMAND_NO_ARGUMENT) && command->argument.size > 0) {
        server_refuse_command(session, command, "501 5.5.4 This command takes no argument",
                              replies);
    } else {
        row->handler(session, command, replies);
    }
}

/* Goes on with a line longer than any command may be, up to its end. */
static void discard_line(struct server_session *session, struct slice *input,
                         struct buf *replies)
{
    size_t end = slice_find(*input, '\n');
    bool ended = end < input->size;
    size_t consumed = ended ? end + 1 : input->size;
    struct command command = {.verb = session->line_verb, .line = SLICE("(line too long)")};
    session->line_discarded += consumed;
    *input = slice_skip(*input, consumed);
    if (session->line_discarded > COMMAND_DISCARD_BYTES_MAX) {
        server_refuse_command(session, &command, "421 4.7.0 Endless line", replies);
    } else if (ended) {
        session->line_overlong = false;
        run_command(session, &command, COMMAND_TOO_LONG, replies);
    }
}

/* One line. False when it is not whole yet; nothing is consumed then. */
static bool take_line(struct server_session *session, struct slice *input, struct buf *replies)
{
    struct command command;
    if (input->data[0] == TLS_HANDSHAKE && !session->line_overlong) {
        command = (struct command){.verb = VERB_FOREIGN, .line = slice_first(*input, 0)};
        server_foreign(session, &command, replies);
        return true;
    }
    if (session->line_overlong) {
        discard_line(session, input, replies);
        return true;
    }
    struct slice window = slice_first(*input, MIN_OF(input->size, COMMAND_LINE_BYTES_MAX));
    size_t end = slice_find(window, '\n');
    if (end < window.size) {
        bool crlf = end > 0 && window.data[end - 1] == '\r';
        enum command_fault fault =
            command_parse(slice_first(window, crlf ? end - 1 : end), &command);
        *input = slice_skip(*input, end + 1);
        run_command(session, &command, crlf ? fault : COMMAND_BARE_CR_LF, replies);
        return true;
    }
    if (window.size < COMMAND_LINE_BYTES_MAX) {
        return false;
    }
    (void)command_parse(window, &command);
    session->line_overlong = true;
    session->line_verb = command.verb;
    session->line_discarded = 0;
    discard_line(session, input, replies);
    return true;
}

/* What stands in the way of more input; WANT_INPUT when nothing does. */
static enum want pending_want(struct server_session *session)
{
    bool content = session->transaction.content_begun;
    if (session->state == SERVER_CLOSED) {
        return WANT_CLOSE;
    }
    if (session->delay) {
        session->delay = false;
        return WANT_DELAY;
    }
    if (session->introduced) {
        return WANT_CLIENT;
    }
    if (session->state == SERVER_COMMITTING) {
        return WANT_COMMIT;
    }
    if (content && session->transaction.content.body.size > SPILL_BYTES) {
        return WANT_SPILL;
    }
    return WANT_INPUT;
}

enum want server_session_feed(struct server_session *session, struct slice *input,
                              struct buf *replies)
{
    CHECK(session->state != SERVER_GREETING);
    bool progress = true;
    while (progress) {
        enum want want = pending_want(session);
        if (want != WANT_INPUT || input->size == 0) {
            return want;
        }
        if (buf_room(replies) < REPLY_BYTES_MAX) {
            return WANT_OUTPUT;
        }
        if (session->state == SERVER_DATA) {
            server_take_data(session, input, replies);
        } else if (session->state == SERVER_BDAT) {
            server_take_chunk(session, input, replies);
        } else {
            progress = take_line(session, input, replies);
        }
    }
    return WANT_INPUT;
}

void server_session_init(struct server_session *session, const struct server_options *options,
                         struct block_pool *pool, XXH3_state_t *hash)
{
    CHECK(options->message_bytes_max > 0);
    *session = (struct server_session){.options = options, .state = SERVER_GREETING};
    transaction_init(&session->transaction, pool, hash);
}

bool server_session_is_between(const struct server_session *session)
{
    return session->state == SERVER_READY && !session->delay && !session->introduced;
}

bool server_session_in_transaction(const struct server_session *session)
{
    return session->transaction.envelope != NULL || session->transaction.content_begun ||
           session->state == SERVER_COMMITTING;
}

void server_session_adopt(struct server_session *session, const struct server_session *from,
                          const struct server_options *options, struct block_pool *pool,
                          XXH3_state_t *hash)
{
    CHECK(server_session_is_between(from));
    *session = *from;
    session->options = options;
    transaction_init(&session->transaction, pool, hash);
}

void server_session_fini(struct server_session *session)
{
    transaction_reset(&session->transaction);
    server_set_state(session, SERVER_CLOSED);
}

enum want server_session_refuse(struct server_session *session, struct slice reply,
                                struct buf *replies)
{
    CHECK(session->state == SERVER_GREETING);
    put_reply(replies, reply);
    tell_rejection(session, SLICE_NONE, reply);
    server_set_state(session, SERVER_CLOSED);
    return WANT_CLOSE;
}

static void put_banner(struct server_session *session, struct buf *replies)
{
    buf_put(replies, SLICE("220 "));
    buf_put(replies, session->options->hostname);
    buf_put_byte(replies, ' ');
    put_reply(replies, session->options->banner);
    server_set_state(session, SERVER_HELLO);
}

enum want server_session_greet(struct server_session *session, bool early, struct buf *replies)
{
    CHECK(session->state == SERVER_GREETING);
    if (early && !session->options->trusted) {
        return server_session_refuse(session, SLICE("554 5.5.1 You spoke before the greeting"),
                                     replies);
    }
    put_banner(session, replies);
    return WANT_INPUT;
}

void server_session_introduced(struct server_session *session, struct buf *replies)
{
    CHECK(session->introduced && !server_session_in_transaction(session));
    session->introduced = false;
    session->extended = false;
    session->hello_bytes = 0;
    session->errors = 0;
    session->junk = 0;
    put_banner(session, replies);
}

void server_session_committed(struct server_session *session, struct slice reply,
                              struct buf *replies)
{
    enum verb verb = session->transaction.chunks > 0 ? VERB_BDAT : VERB_DATA;
    struct slice line = verb == VERB_BDAT ? SLICE("BDAT") : SLICE("DATA");
    if (session->state == SERVER_CLOSED) {
        transaction_reset(&session->transaction);
        return;
    }
    CHECK(session->state == SERVER_COMMITTING);
    if (reply.data[0] == '2') {
        put_reply(replies, reply);
        session->errors = 0;
        session->junk = 0;
    } else {
        server_refuse(session, verb, line, reply, replies);
    }
    transaction_reset(&session->transaction);
    if (session->state == SERVER_COMMITTING) {
        server_set_state(session, SERVER_READY);
    }
}

void server_session_abort(struct server_session *session, struct slice reply,
                          struct buf *replies)
{
    if (session->state == SERVER_CLOSED) {
        return;
    }
    put_reply(replies, reply);
    if (session->state != SERVER_COMMITTING) {
        transaction_reset(&session->transaction);
    }
    server_set_state(session, SERVER_CLOSED);
}

struct slice server_session_hello(const struct server_session *session)
{
    return slice_make(session->hello, session->hello_bytes);
}

const char *server_session_doing(const struct server_session *session)
{
    return states[session->state].doing;
}
