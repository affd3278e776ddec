/*
 * The client's dialogue.
 *
 *   GREETING ──► READY ──► ENVELOPE ──► CONTENT ──► OVER ──┬──► READY
 *      │          │  └────────┼────────────────────► ▲     ├──► RSETTING ──► READY
 *      │          │           └──────────────────────┘     ├──► QUITTING ──► ENDED
 *      └──────────┴──► ENDED                               └──► ENDED
 *
 * From MAIL on, the only way out of a transaction is OVER, where every recipient has a result;
 * what broke the dialogue stands in `end` until the user has seen the results. The RSET after a
 * failed transaction is of no haste: with pipelining it goes out before the next MAIL, in one
 * flight (RFC 2920 3.1), and costs no round trip; what fails before its reply is here has not been
 * tried.
 *
 * What may never happen: a reply counted for a command that was not sent; a recipient settled
 * twice; a recipient left pending in OVER; a transaction begun on a connection that owes us a
 * reply.
 */
#include "smtp/client_session.h"

#include <string.h>

#include "core/check.h"
#include "shard/ring.h"
#include "smtp/client_steps.h"

/* --- states ----------------------------------------------------------------------------------- */

#define BIT(state) (1u << (state))

struct state_row {
    const char *doing;
    uint32_t next; /* legal transitions */
};

static const struct state_row states[] = {
    [CLIENT_GREETING] = {"greeting", BIT(CLIENT_READY) | BIT(CLIENT_ENDED)},
    [CLIENT_READY] = {"idle", BIT(CLIENT_ENVELOPE) | BIT(CLIENT_OVER) | BIT(CLIENT_QUITTING) |
                                  BIT(CLIENT_ENDED)},
    [CLIENT_ENVELOPE] = {"sending the envelope", BIT(CLIENT_CONTENT) | BIT(CLIENT_OVER)},
    [CLIENT_CONTENT] = {"sending content", BIT(CLIENT_OVER)},
    [CLIENT_OVER] = {"finishing a transaction", BIT(CLIENT_READY) | BIT(CLIENT_RSETTING) |
                                                    BIT(CLIENT_QUITTING) | BIT(CLIENT_ENDED)},
    [CLIENT_RSETTING] = {"resetting", BIT(CLIENT_READY) | BIT(CLIENT_ENDED)},
    [CLIENT_QUITTING] = {"quitting", BIT(CLIENT_ENDED)},
    [CLIENT_ENDED] = {"closing", 0},
};

void client_set_state(struct client_session *session, enum client_state state)
{
    CHECK((states[session->state].next & BIT(state)) != 0);
    session->state = state;
}

const char *client_session_doing(const struct client_session *session)
{
    enum client_step step = client_expected_step(session);
    if (session->state == CLIENT_OVER || session->state == CLIENT_ENDED) {
        step = session->doing;
    }
    if (session->content_open || (session->content_made && !session->content_sent)) {
        return states[CLIENT_CONTENT].doing;
    }
    return step == STEP_NONE ? states[session->state].doing : client_steps[step].doing;
}

const char *client_end_name(enum client_end end)
{
    static const char *const names[] = {
        [CLIENT_END_NONE] = "none",         [CLIENT_END_CLOSED] = "closed",
        [CLIENT_END_PEER] = "peer closed",  [CLIENT_END_CONNECT] = "connect failed",
        [CLIENT_END_REFUSED] = "refused",   [CLIENT_END_421] = "ended by 421",
        [CLIENT_END_TIMEOUT] = "timeout",   [CLIENT_END_BROKEN] = "broken",
        [CLIENT_END_PROTOCOL] = "protocol", [CLIENT_END_RSET] = "RSET refused",
        [CLIENT_END_BODY] = "body missing",
    };
    return names[end];
}

/* --- expected replies ------------------------------------------------------------------------- */

void client_expect(struct client_session *session, enum client_step step)
{
    CHECK(session->expected_count < CLIENT_EXPECTED_MAX);
    uint32_t at = (session->expected_first + session->expected_count) % CLIENT_EXPECTED_MAX;
    session->expected[at] = (uint8_t)step;
    session->expected_count++;
}

enum client_step client_expected_step(const struct client_session *session)
{
    return session->expected_count == 0
               ? STEP_NONE
               : (enum client_step)session->expected[session->expected_first];
}

static enum client_step take_expected(struct client_session *session)
{
    enum client_step step = client_expected_step(session);
    session->expected_first = (session->expected_first + 1) % CLIENT_EXPECTED_MAX;
    session->expected_count--;
    return step;
}

/* --- results ---------------------------------------------------------------------------------- */

void client_transaction_init(struct client_transaction *transaction,
                             const struct message *message, struct slice sender,
                             struct client_recipient *recipients, uint32_t count)
{
    CHECK(count > 0);
    *transaction = (struct client_transaction){
        .message = message, .sender = sender, .recipients = recipients, .count = count};
    for (uint32_t i = 0; i < count; i++) {
        recipients[i] = (struct client_recipient){.index = recipients[i].index,
                                                  .address = recipients[i].address,
                                                  .dsn = recipients[i].dsn};
    }
}

void client_result_put_command(struct buf *buf, const struct client_transaction *transaction,
                               const struct client_recipient *recipient)
{
    switch ((enum client_answer)recipient->answer) {
    case CLIENT_ANSWER_NONE:
        break;
    case CLIENT_ANSWER_MAIL:
        buf_put(buf, SLICE("MAIL FROM:<"));
        buf_put(buf, transaction->sender);
        buf_put_byte(buf, '>');
        break;
    case CLIENT_ANSWER_RCPT:
        buf_put(buf, SLICE("RCPT TO:<"));
        buf_put(buf, recipient->address);
        buf_put_byte(buf, '>');
        break;
    case CLIENT_ANSWER_DATA:
        buf_put(buf, SLICE("DATA"));
        break;
    case CLIENT_ANSWER_CONTENT:
        buf_put_byte(buf, '.');
        break;
    }
}

/* Keeps a reply's text in the transaction; all but the last reply leave it some room. */
static struct slice keep_text(struct client_transaction *transaction, struct slice text,
                              bool last_reply)
{
    if (slice_equal(text, transaction->last_text)) {
        return transaction->last_text;
    }
    struct buf *texts = &transaction->texts;
    size_t reserve = last_reply ? 0 : CLIENT_TEXT_RESERVE;
    size_t room = buf_room(texts) > reserve ? buf_room(texts) - reserve : 0;
    text = slice_first(text, MIN_OF(text.size, room));
    uint8_t *at = buf_reserve(texts, text.size);
    if (at == NULL || text.size == 0) {
        return SLICE_NONE;
    }
    memcpy(at, text.data, text.size);
    transaction->last_text = slice_make(at, text.size);
    return transaction->last_text;
}

static void settle_with(struct client_recipient *recipient, const struct client_verdict *verdict,
                        struct slice text)
{
    CHECK(recipient->disposition == CLIENT_PENDING && verdict->disposition != CLIENT_PENDING);
    recipient->disposition = (uint8_t)verdict->disposition;
    recipient->answer = (uint8_t)verdict->answer;
    recipient->uncertain = verdict->uncertain;
    recipient->broken = verdict->broken;
    recipient->code = verdict->reply->code;
    memcpy(recipient->enhanced, verdict->reply->enhanced, sizeof(recipient->enhanced));
    recipient->text = text;
}

void client_settle(struct client_session *session, struct client_recipient *recipient,
                   const struct client_verdict *verdict)
{
    settle_with(recipient, verdict,
                keep_text(session->transaction, reply_text(verdict->reply), false));
}

static void settle_range(struct client_session *session, uint32_t first,
                         const struct client_verdict *verdict)
{
    struct client_transaction *transaction = session->transaction;
    struct slice text = SLICE_NONE;
    bool kept = false;
    for (uint32_t i = first; i < transaction->count; i++) {
        struct client_recipient *recipient = &transaction->recipients[i];
        if (recipient->disposition != CLIENT_PENDING) {
            continue;
        }
        if (!kept) {
            text = keep_text(transaction, reply_text(verdict->reply), first == 0);
            kept = true;
        }
        settle_with(recipient, verdict, text);
    }
}

void client_settle_all(struct client_session *session, const struct client_verdict *verdict)
{
    settle_range(session, 0, verdict);
}

void client_stop_naming(struct client_session *session)
{
    if (session->next_step != STEP_RCPT) {
        return;
    }
    struct reply reply;
    reply_set(&reply, 400, (const uint8_t[3]){0},
              SLICE("Ringpost internal: left for another transaction"));
    session->rcpt_end = session->rcpt_next;
    settle_range(session, session->rcpt_next,
                 &(struct client_verdict){.reply = &reply, .disposition = CLIENT_RETRY_NOW});
    session->next_step = (uint8_t)client_content_step(session);
}

void client_over(struct client_session *session, bool success)
{
    session->rset_wanted = !success || session->options->enable_rset;
    session->content_open = false;
    session->next_step = STEP_NONE;
    session->part_wanted = false;
    client_set_state(session, CLIENT_OVER);
}

void client_end_dialogue(struct client_session *session, enum client_end end)
{
    if (session->end == CLIENT_END_NONE) {
        session->end = end;
    }
    session->expected_count = 0;
    session->next_step = STEP_NONE;
    if (session->transaction == NULL) {
        client_set_state(session, CLIENT_ENDED);
    } else if (session->state != CLIENT_OVER) {
        client_over(session, false);
    }
}

static bool in_transaction(const struct client_session *session)
{
    return session->state == CLIENT_ENVELOPE || session->state == CLIENT_CONTENT;
}

/* "Ringpost internal: WHAT while DOING": our own reply, in place of one that never came. */
static void synthesize(struct client_session *session, uint16_t code, const uint8_t enhanced[3],
                       const char *what)
{
    char text[256];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    buf_put(&buf, SLICE("Ringpost internal: "));
    buf_put(&buf, slice_first(slice_from_string(what), MIN_OF(strlen(what), (size_t)120)));
    buf_put(&buf, SLICE(" while "));
    buf_put_string(&buf, client_session_doing(session));
    reply_set(&session->failure, code, enhanced, buf_slice(&buf));
}

void client_protocol_error(struct client_session *session, const char *what)
{
    bool untried = session->doing == STEP_RSET;
    synthesize(session, 451, (const uint8_t[3]){4, 5, 0}, what);
    if (in_transaction(session)) {
        client_settle_all(session,
                          &(struct client_verdict){
                              .reply = &session->failure,
                              .disposition = untried ? CLIENT_RETRY_NOW : CLIENT_DEFERRED,
                              .answer = client_steps[session->doing].answer,
                              .uncertain = session->content_made && !session->send_failed,
                          });
    }
    client_end_dialogue(session, CLIENT_END_PROTOCOL);
}

/* --- output ----------------------------------------------------------------------------------- */

enum client_step client_content_step(const struct client_session *session)
{
    return session->extensions.chunking ? STEP_BDAT : STEP_DATA;
}

/* May the content go out before the envelope is answered? */
static bool content_may_fly(const struct client_session *session)
{
    return !session->careful && session->transaction->message->part_count == 0 &&
           session->transaction->message->body_bytes <= CLIENT_FLIGHT_BYTES_MAX;
}

static bool may_send(const struct client_session *session, bool window_open)
{
    enum client_step step = session->next_step;
    bool alone = session->expected_count == 0;
    bool ahead = session->extensions.pipelining &&
                 session->expected_count < CLIENT_RCPTS_AHEAD_MAX;
    switch (step) {
    case STEP_MAIL:
        return alone || client_expected_step(session) == STEP_RSET;
    case STEP_RCPT:
        return alone || (ahead && window_open);
    case STEP_DATA:
        return (alone && session->accepted > 0) || (!alone && session->extensions.pipelining);
    case STEP_BDAT:
        return (alone && session->accepted > 0) ||
               (!alone && session->extensions.pipelining && content_may_fly(session));
    case STEP_NONE:
        return false;
    case STEP_BANNER:
    case STEP_EHLO:
    case STEP_HELO:
    case STEP_CONTENT:
    case STEP_RSET:
    case STEP_QUIT:
        return alone;
    }
    return false;
}

static unsigned content_output(struct client_session *session, struct iovec *iovecs,
                               unsigned capacity)
{
    unsigned count = 0;
    switch (body_cursor_next(&session->body, iovecs, capacity, CLIENT_OUTPUT_BYTES_MAX, &count)) {
    case BODY_MORE:
        break;
    case BODY_END:
        session->content_open = false;
        session->content_made = true;
        break;
    case BODY_NEED_PART:
        session->part_wanted = true;
        break;
    }
    return count;
}

unsigned client_session_output(struct client_session *session, struct buf *commands,
                               struct iovec *iovecs)
{
    size_t before = commands->size;
    /* Refilled by halves, so that long recipient lists do not go out one command a send. */
    bool window_open = session->expected_count <= CLIENT_RCPTS_AHEAD_MAX / 2;
    while (!session->send_failed && may_send(session, window_open) &&
           buf_room(commands) >= CLIENT_COMMAND_BYTES_MAX) {
        client_steps[session->next_step].send(session, commands);
        CHECK(!commands->overflow);
    }
    unsigned count = 0;
    if (commands->size > before) {
        iovecs[count++] = (struct iovec){commands->data + before, commands->size - before};
    }
    if (session->content_open && !session->part_wanted && !session->send_failed) {
        count += content_output(session, iovecs + count, RING_IOVECS_MAX - count);
    }
    if (count == 0 && session->content_made) {
        session->content_sent = true;
    }
    return count;
}

void client_session_sent(struct client_session *session)
{
    session->content_sent = session->content_made;
}

void client_session_send_failed(struct client_session *session)
{
    session->send_failed = true;
    session->content_open = false;
    session->part_wanted = false;
}

void client_session_give_part(struct client_session *session, const struct chain *chain)
{
    CHECK(session->part_wanted);
    session->part_wanted = false;
    if (chain != NULL) {
        body_cursor_give(&session->body, chain);
        return;
    }
    client_session_break(session, CLIENT_END_BODY, "the message could not be read");
}

/* --- input ------------------------------------------------------------------------------------ */

/* A 421 in a transaction: the peer leaves; nobody is refused for good by it. */
static void peer_leaves(struct client_session *session, const struct reply *reply, bool first)
{
    bool unused = first && session->transactions > 0 &&
                  (session->doing == STEP_MAIL || session->doing == STEP_RSET);
    session->failure = *reply;
    client_settle_all(session, &(struct client_verdict){
                                   .reply = reply,
                                   .disposition = unused ? CLIENT_RETRY_NOW : CLIENT_DEFERRED,
                                   .answer = client_steps[session->doing].answer,
                               });
    client_end_dialogue(session, CLIENT_END_421);
}

/* Is the envelope answered, with nobody left to send to? */
static void leave_if_nobody_is_left(struct client_session *session)
{
    bool unsent = session->next_step == STEP_DATA || session->next_step == STEP_BDAT;
    if (session->state == CLIENT_ENVELOPE && session->expected_count == 0 &&
        (session->next_step == STEP_NONE || (unsent && session->accepted == 0))) {
        client_over(session, false);
    }
}

static void take_reply(struct client_session *session, const struct reply *reply)
{
    session->doing = take_expected(session);
    if (!in_transaction(session)) {
        client_steps[session->doing].reply(session, reply);
        return;
    }
    bool first = !session->answered;
    session->answered = session->answered || session->doing != STEP_RSET;
    if (reply->code == 421) {
        peer_leaves(session, reply, first);
        return;
    }
    client_steps[session->doing].reply(session, reply);
    leave_if_nobody_is_left(session);
}

/*
 * The reply to content waits until all of the content has left: whether a refusal is the last word
 * depends on it. While there is more of it to come the reply is taken at once, as one in the
 * middle of content; but for BDAT with nobody accepted, where the chunk has to be finished
 * whatever it says.
 */
static bool parked(const struct client_session *session)
{
    enum client_step step = client_expected_step(session);
    if ((step != STEP_CONTENT && step != STEP_BDAT) || session->send_failed) {
        return false;
    }
    return session->content_made ? !session->content_sent : session->accepted == 0;
}

/* A reply to no command; of a transaction that it breaks nobody is left without a result. */
static void surplus(struct client_session *session, struct slice input)
{
    bool unsent = in_transaction(session) && !session->transaction->sent;
    bool quiet = session->state == CLIENT_READY || unsent;
    /* Unasked for, in a quiet dialogue, a server says only that it is leaving (RFC 5321 3.8). */
    bool leaving = quiet && input.data[0] == '4';
    session->doing = STEP_NONE;
    synthesize(session, 451, (const uint8_t[3]){4, 5, 0}, "a reply to no command");
    if (in_transaction(session)) {
        bool untried = unsent && session->transactions > 0;
        client_settle_all(session, &(struct client_verdict){
                                       .reply = &session->failure,
                                       .disposition = untried ? CLIENT_RETRY_NOW : CLIENT_DEFERRED,
                                   });
    }
    client_end_dialogue(session, leaving ? CLIENT_END_PEER : CLIENT_END_PROTOCOL);
}

static void note_line(struct client_session *session)
{
    const struct reply_parser *parser = &session->parser;
    bool first = parser->line_count == 1;
    if (client_expected_step(session) == STEP_EHLO && parser->reply.code == 250 && !first) {
        client_note_keyword(session, parser->line);
    }
}

void client_session_feed(struct client_session *session, struct slice *input)
{
    while (input->size > 0 && session->state != CLIENT_OVER && session->state != CLIENT_ENDED) {
        if (session->expected_count == 0) {
            surplus(session, *input);
            return;
        }
        if (parked(session)) {
            return;
        }
        bool later_line = session->parser.line_count > 0;
        switch (reply_feed(&session->parser, input)) {
        case REPLY_MORE:
            break;
        case REPLY_LINE:
            note_line(session);
            break;
        case REPLY_WHOLE:
            if (later_line) {
                note_line(session);
            }
            take_reply(session, &session->parser.reply);
            break;
        case REPLY_FAULT:
            session->doing = client_expected_step(session);
            client_protocol_error(session, session->parser.fault);
            return;
        }
    }
}

/* --- life ------------------------------------------------------------------------------------- */

void client_options_init(struct client_options *options, struct slice ehlo_domain)
{
    *options = (struct client_options){
        .connect_timeout_ns = 60 * NS_PER_S,
        .banner_timeout_ns = 300 * NS_PER_S,
        .ehlo_timeout_ns = 300 * NS_PER_S,
        .mail_from_timeout_ns = 300 * NS_PER_S,
        .rcpt_to_timeout_ns = 300 * NS_PER_S,
        .data_timeout_ns = 120 * NS_PER_S,
        .data_dot_timeout_ns = 600 * NS_PER_S,
        .rset_timeout_ns = 5 * NS_PER_S,
        .idle_timeout_ns = 60 * NS_PER_S,
        .envelope_budget_ns = 600 * NS_PER_S,
        .ehlo_domain = ehlo_domain,
        .enable_pipelining = true,
        .enable_chunking = true,
    };
}

void client_session_init(struct client_session *session, const struct client_options *options)
{
    CHECK(options->ehlo_domain.size > 0 && options->ehlo_domain.size <= 512);
    *session = (struct client_session){
        .options = options, .state = CLIENT_GREETING, .next_step = STEP_NONE, .doing = STEP_NONE};
    reply_parser_init(&session->parser);
    client_expect(session, STEP_BANNER);
}

/* What this server cannot take is refused without a word to it; false when there is nothing. */
static bool refuse_here(struct client_session *session)
{
    const struct message *message = session->transaction->message;
    const struct client_extensions *offered = &session->extensions;
    bool strict = !session->options->ignore_8bit_checks;
    struct reply reply = {0};
    if (offered->size && offered->size_max > 0 && body_size(message) > offered->size_max) {
        reply_set(&reply, 552, (const uint8_t[3]){5, 3, 4},
                  SLICE("Ringpost internal: message is larger than the server accepts"));
    } else if (strict && (message->flags & SPOOL_MESSAGE_8BIT) != 0 && !offered->eightbitmime) {
        reply_set(&reply, 554, (const uint8_t[3]){5, 6, 3},
                  SLICE("Ringpost internal: message has 8-bit bytes, no 8BITMIME offered"));
    } else if (strict && (message->flags & SPOOL_MESSAGE_SMTPUTF8) != 0 && !offered->smtputf8) {
        reply_set(&reply, 550, (const uint8_t[3]){5, 6, 7},
                  SLICE("Ringpost internal: message needs SMTPUTF8, not offered"));
    } else {
        return false;
    }
    client_settle_all(session, &(struct client_verdict){.reply = &reply,
                                                        .disposition = CLIENT_BOUNCED});
    return true;
}

void client_session_begin(struct client_session *session, struct client_transaction *transaction,
                          bool careful)
{
    CHECK(session->state == CLIENT_READY && session->expected_count == 0);
    bool rset_wanted = session->rset_wanted;
    session->transaction = transaction;
    session->careful = careful || rset_wanted;
    session->rcpt_next = 0;
    session->rcpt_end = transaction->count;
    session->rcpt_answered = 0;
    session->accepted = 0;
    session->answered = false;
    session->content_open = false;
    session->content_made = false;
    session->content_sent = false;
    session->part_wanted = false;
    if (refuse_here(session)) {
        client_over(session, true);
        session->rset_wanted = rset_wanted;
        return;
    }
    session->next_step = rset_wanted ? STEP_RSET : STEP_MAIL;
    client_set_state(session, CLIENT_ENVELOPE);
}

void client_session_finish(struct client_session *session)
{
    CHECK(session->state == CLIENT_OVER);
    for (uint32_t i = 0; i < session->transaction->count; i++) {
        CHECK_SLOW(session->transaction->recipients[i].disposition != CLIENT_PENDING);
    }
    session->transactions += session->transaction->sent;
    session->transaction = NULL;
    session->content_made = false;
    session->content_sent = false;
    if (session->end != CLIENT_END_NONE) {
        client_set_state(session, CLIENT_ENDED);
    } else if (session->quit_wanted) {
        session->next_step = STEP_QUIT;
        client_set_state(session, CLIENT_QUITTING);
    } else if (session->rset_wanted && !session->extensions.pipelining) {
        session->next_step = STEP_RSET;
        client_set_state(session, CLIENT_RSETTING);
    } else {
        client_set_state(session, CLIENT_READY);
    }
}

void client_session_quit(struct client_session *session)
{
    session->quit_wanted = true;
    if (session->state == CLIENT_READY) {
        session->next_step = STEP_QUIT;
        client_set_state(session, CLIENT_QUITTING);
    } else if (session->state == CLIENT_GREETING) {
        client_end_dialogue(session, CLIENT_END_CLOSED);
    }
}

void client_session_hurry(struct client_session *session)
{
    if (session->state == CLIENT_ENVELOPE && session->rcpt_next > 0) {
        client_stop_naming(session);
        leave_if_nobody_is_left(session);
    }
}

/* What those get for whom no reply came, when the dialogue ends so. */
static struct client_verdict verdict_of_break(struct client_session *session, enum client_end end)
{
    struct client_verdict verdict = {
        .reply = &session->failure,
        .disposition = CLIENT_DEFERRED,
        .answer = session->doing == STEP_NONE ? CLIENT_ANSWER_NONE
                                              : client_steps[session->doing].answer,
        .uncertain = session->content_made && !session->send_failed,
        .broken = end == CLIENT_END_TIMEOUT || end == CLIENT_END_BROKEN,
    };
    bool peer_gone = end == CLIENT_END_BROKEN || end == CLIENT_END_PEER;
    bool unused = peer_gone && session->transactions > 0 && !session->answered;
    bool ours = end == CLIENT_END_CLOSED && !verdict.uncertain;
    if (unused || ours || session->doing == STEP_RSET) {
        verdict.disposition = CLIENT_RETRY_NOW;
    }
    return verdict;
}

void client_session_break(struct client_session *session, enum client_end end, const char *cause)
{
    if (session->end != CLIENT_END_NONE || session->state == CLIENT_ENDED) {
        return;
    }
    static const uint8_t none[3] = {0, 0, 0};
    static const uint8_t timeout[3] = {4, 4, 2};
    static const uint8_t unreadable[3] = {4, 3, 0};
    if (session->state != CLIENT_OVER) {
        session->doing = client_expected_step(session);
    }
    if (session->state == CLIENT_QUITTING) {
        end = CLIENT_END_CLOSED; /* the result does not depend on how the peer takes QUIT */
    } else if (end == CLIENT_END_BROKEN && !in_transaction(session) &&
               session->state != CLIENT_GREETING) {
        end = CLIENT_END_PEER; /* between transactions: nothing has failed */
    }
    if (end == CLIENT_END_TIMEOUT) {
        synthesize(session, 421, timeout, cause);
    } else if (end == CLIENT_END_BODY) {
        synthesize(session, 451, unreadable, cause);
    } else {
        synthesize(session, 400, none, cause);
    }
    if (in_transaction(session)) {
        struct client_verdict verdict = verdict_of_break(session, end);
        client_settle_all(session, &verdict);
    }
    client_end_dialogue(session, end);
}

uint64_t client_session_timeout_ns(const struct client_session *session, bool sending)
{
    enum client_step step = client_expected_step(session);
    if (session->state == CLIENT_READY) {
        return session->options->idle_timeout_ns;
    }
    if (session->state == CLIENT_ENDED || session->state == CLIENT_OVER) {
        return 0;
    }
    if (session->content_open || (sending && session->content_made)) {
        return CLIENT_DATA_BLOCK_NS;
    }
    if (step == STEP_NONE) {
        step = session->next_step;
    }
    if (step == STEP_NONE) {
        return CLIENT_DATA_BLOCK_NS;
    }
    const struct client_step_row *row = &client_steps[step];
    if (row->timeout_offset == SIZE_MAX) {
        return row->timeout_ns;
    }
    uint64_t timeout_ns;
    memcpy(&timeout_ns, (const uint8_t *)session->options + row->timeout_offset,
           sizeof(timeout_ns));
    return timeout_ns;
}
