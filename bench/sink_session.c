/*
 *   COMMAND ──DATA 354──► DATA ──CRLF.CRLF──► COMMAND
 *      │ └────BDAT──────► CHUNK ──last octet──► COMMAND
 *      ├─ a rule says hang ──► HUNG: swallows everything, says nothing
 *      └─ QUIT, 421, drop ──► ENDED
 */
#include "bench/sink_session.h"

#include <string.h>

#include "core/check.h"

/* Room for the longest reply: the EHLO one, or a rule's. */
#define REPLY_ROOM 1024

static_assert(REPLY_ROOM > SCRIPT_REPLY_MAX, "a rule's reply fits");

enum state { STATE_COMMAND, STATE_DATA, STATE_CHUNK, STATE_HUNG, STATE_ENDED };

/* How much of CRLF "." CRLF stands before the next byte; a connection's content begins at LINE. */
enum dot_stage { DOT_TEXT, DOT_CR, DOT_LINE, DOT_DOT, DOT_DOT_CR };

static const char *const mode_names[] = {
    [MODE_ALL] = "all",
    [MODE_PLAIN] = "plain",
    [MODE_PIPELINED] = "pipelined",
    [MODE_BDAT] = "bdat",
};

bool bench_mode_parse(struct slice text, enum bench_mode *mode_out)
{
    for (unsigned i = 0; i < COUNT_OF(mode_names); i++) {
        if (slice_equal(text, slice_from_string(mode_names[i]))) {
            *mode_out = (enum bench_mode)i;
            return true;
        }
    }
    return false;
}

bool sink_session_init(struct sink_session *session)
{
    session->content = (struct maildir_message){0};
    return body_check_init(&session->check);
}

void sink_session_fini(struct sink_session *session)
{
    body_check_fini(&session->check);
    maildir_message_fini(&session->content);
}

static void transaction_reset(struct sink_session *session)
{
    session->mail_given = false;
    session->bdat = false;
    session->rcpt_count = 0;
    session->reverse_bytes = 0;
    buf_reset(&session->rcpts);
}

static struct slice reverse_path(const struct sink_session *session)
{
    return slice_make(session->reverse, session->reverse_bytes);
}

/* --- answering -------------------------------------------------------------------------------- */

static void say(struct sink_session *session, struct slice reply)
{
    buf_put(&session->replies, reply);
    CHECK(!session->replies.overflow);
    session->tally->result->rejected += reply.data[0] == '4' || reply.data[0] == '5';
}

/*
 * What a rule says at this stage, or the usual. The first digit of what was said, 0 for nothing, in
 * `digit_out`.
 */
static enum sink_want answer(struct sink_session *session, enum script_stage stage,
                             struct slice addresses, const char *usual, uint8_t *digit_out)
{
    struct script_rule *rule =
        script_match(&session->rules->script, stage, addresses, session->prng);
    enum sink_want want = SINK_INPUT;
    struct slice reply = slice_from_string(usual);
    *digit_out = 0;
    if (rule != NULL && rule->delay_ms > 0) {
        session->wait_ms = rule->delay_ms;
        want = SINK_WAIT;
    }
    if (rule != NULL && rule->action == ACTION_DROP) {
        session->state = STATE_ENDED;
        return want == SINK_WAIT ? SINK_WAIT : SINK_CLOSE;
    }
    if (rule != NULL && rule->action == ACTION_HANG) {
        session->state = STATE_HUNG;
        return SINK_FLUSH;
    }
    if (rule != NULL && rule->action == ACTION_REPLY) {
        reply = slice_make(rule->reply, rule->reply_bytes);
    }
    say(session, reply);
    *digit_out = reply.data[0];
    if (slice_starts_with(reply, SLICE("421"))) {
        session->state = STATE_ENDED;
        return want == SINK_WAIT ? SINK_WAIT : SINK_CLOSE;
    }
    return want;
}

enum sink_want sink_session_begin(struct sink_session *session)
{
    buf_init(&session->replies, session->reply_bytes, sizeof(session->reply_bytes));
    buf_init(&session->rcpts, session->rcpt_bytes, sizeof(session->rcpt_bytes));
    session->state = STATE_COMMAND;
    session->final = false;
    session->receipt.due = false;
    session->wait_ms = 0;
    session->line_size = 0;
    session->line_cr = false;
    session->content.size = 0;
    transaction_reset(session);
    session->tally->result->connections++;
    char greeting[256];
    struct buf buf;
    buf_init(&buf, greeting, sizeof(greeting) - 1);
    buf_printf(&buf, "220 %s ESMTP sink\r\n", session->rules->hostname);
    greeting[buf.size] = 0;
    uint8_t digit = 0;
    enum sink_want want = answer(session, STAGE_CONNECT, SLICE_NONE, greeting, &digit);
    return want == SINK_INPUT ? SINK_FLUSH : want;
}

/* --- content ---------------------------------------------------------------------------------- */

static void content_begin(struct sink_session *session)
{
    body_check_begin(&session->check);
    session->content.size = 0;
}

static void content_add(struct sink_session *session, struct slice bytes)
{
    body_check_feed(&session->check, bytes);
    session->tally->result->bytes += bytes.size;
    if (session->maildir != NULL && !maildir_message_add(&session->content, bytes)) {
        session->tally->result->differing++;
    }
}

static void content_accept(struct sink_session *session)
{
    struct sink_receipt *receipt = &session->receipt;
    CHECK(!receipt->due); /* replies go before there is more */
    receipt->due = tally_add(session->tally, &session->check, session->rcpt_count,
                             session->now_ns);
    receipt->entry = (struct ledger_entry){.number = session->check.number,
                                           .hash = session->check.hash,
                                           .begun_ns = session->now_ns};
    receipt->rcpts_bytes = session->rcpts.size;
    memcpy(receipt->rcpts, session->rcpts.data, session->rcpts.size);
    if (session->maildir != NULL &&
        maildir_store(session->maildir, &session->content, reverse_path(session),
                      buf_slice(&session->rcpts), session->bdat) != 0) {
        fprintf(stderr, "event=maildir_failed path=%s\n", session->maildir->path);
        session->tally->result->differing++;
    }
}

/* The message is whole: the final reply. */
static enum sink_want content_end(struct sink_session *session)
{
    uint8_t digit = 0;
    session->state = STATE_COMMAND;
    enum sink_want want = answer(session, STAGE_DOT, buf_slice(&session->rcpts),
                                 "250 2.0.0 OK taken by the sink\r\n", &digit);
    if (digit == '2') {
        content_accept(session);
    }
    session->final = digit != 0;
    transaction_reset(session);
    if (want != SINK_INPUT) {
        return want;
    }
    session->wait_ms = session->rules->latency_ms;
    return session->wait_ms > 0 ? SINK_WAIT : SINK_FLUSH;
}

/* The stage after one byte of text; dots at the beginning of a line are the caller's. */
static uint8_t text_stage(uint8_t stage, uint8_t byte)
{
    if (byte == '\r') {
        return DOT_CR;
    }
    return byte == '\n' && stage == DOT_CR ? DOT_LINE : DOT_TEXT;
}

/* How many bytes from `at` on can be passed without looking: up to two before the next dot. */
static size_t text_run(struct slice input, size_t at)
{
    size_t dot = slice_find(slice_skip(input, at), '.');
    return dot > 2 ? dot - 2 : 0;
}

/* Reads content up to its end mark, takes what it read off `input`; true when the end has come. */
static bool data_feed(struct sink_session *session, struct slice *input)
{
    size_t run = 0; /* bytes from here to `at` are content not yet added */
    size_t at = 0;
    bool ended = false;
    while (at < input->size && !ended) {
        uint8_t byte = input->data[at];
        size_t skip = session->dot_stage <= DOT_LINE ? text_run(*input, at) : 0;
        if (skip > 0) {
            at += skip;
            session->dot_stage = DOT_TEXT;
            continue;
        }
        if (session->dot_stage == DOT_LINE && byte == '.') {
            content_add(session, slice_make(input->data + run, at - run));
            run = at + 1;
            session->dot_stage = DOT_DOT;
        } else if (session->dot_stage == DOT_DOT && byte == '\r') {
            run = at + 1;
            session->dot_stage = DOT_DOT_CR;
        } else if (session->dot_stage == DOT_DOT_CR && byte == '\n') {
            run = at + 1;
            ended = true;
        } else {
            if (session->dot_stage == DOT_DOT_CR) {
                content_add(session, SLICE("\r"));
            }
            bool after_cr = session->dot_stage == DOT_CR || session->dot_stage == DOT_DOT_CR;
            session->dot_stage = text_stage(after_cr ? DOT_CR : DOT_TEXT, byte);
        }
        at++;
    }
    content_add(session, slice_make(input->data + run, at - run));
    *input = slice_skip(*input, at);
    return ended;
}

static enum sink_want chunk_end(struct sink_session *session)
{
    session->state = STATE_COMMAND;
    if (session->chunk_refused) {
        say(session, SLICE("503 5.5.1 no transaction for a chunk\r\n"));
        return SINK_INPUT;
    }
    if (session->chunk_last) {
        return content_end(session);
    }
    say(session, SLICE("250 2.0.0 chunk taken\r\n"));
    return SINK_INPUT;
}

static enum sink_want chunk_feed(struct sink_session *session, struct slice *input)
{
    size_t count = (size_t)MIN_OF((uint64_t)input->size, session->chunk_left);
    if (!session->chunk_refused) {
        content_add(session, slice_first(*input, count));
    }
    *input = slice_skip(*input, count);
    session->chunk_left -= count;
    return session->chunk_left == 0 ? chunk_end(session) : SINK_INPUT;
}

/* --- commands --------------------------------------------------------------------------------- */

static enum sink_want say_plain(struct sink_session *session, const char *reply)
{
    say(session, slice_from_string(reply));
    return SINK_INPUT;
}

static enum sink_want command_ehlo(struct sink_session *session, struct slice argument)
{
    static const char *const keywords[] = {
        [MODE_ALL] = "-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"
                     "250-ENHANCEDSTATUSCODES\r\n250 SIZE 104857600\r\n",
        [MODE_PLAIN] = "",
        [MODE_PIPELINED] = " PIPELINING\r\n",
        [MODE_BDAT] = "-PIPELINING\r\n250 CHUNKING\r\n",
    };
    (void)argument;
    transaction_reset(session);
    char text[REPLY_ROOM];
    struct buf buf;
    const char *list = keywords[session->rules->mode];
    buf_init(&buf, text, sizeof(text) - 1);
    buf_printf(&buf, "250%s%s\r\n%s%s", list[0] != 0 ? "-" : " ", session->rules->hostname,
               list[0] != 0 ? "250" : "", list);
    text[buf.size] = 0;
    uint8_t digit = 0;
    return answer(session, STAGE_EHLO, SLICE_NONE, text, &digit);
}

static enum sink_want command_helo(struct sink_session *session, struct slice argument)
{
    (void)argument;
    transaction_reset(session);
    uint8_t digit = 0;
    return answer(session, STAGE_EHLO, SLICE_NONE, "250 sink\r\n", &digit);
}

/* The path after FROM: or TO:, without its angle brackets; false when there is none. */
static bool take_path(struct slice argument, struct slice keyword, struct slice *path_out)
{
    if (argument.size < keyword.size ||
        !slice_equal_nocase(slice_first(argument, keyword.size), keyword)) {
        return false;
    }
    argument = slice_trim(slice_skip(argument, keyword.size));
    if (!slice_starts_with(argument, SLICE("<"))) {
        return false;
    }
    bool quoted = false;
    for (size_t i = 1; i < argument.size; i++) {
        uint8_t byte = argument.data[i];
        if (byte == '"') {
            quoted = !quoted;
        } else if (quoted && byte == '\\') {
            i++;
        } else if (!quoted && byte == '>') {
            *path_out = slice_skip(slice_first(argument, i), 1);
            return true;
        }
    }
    return false;
}

static enum sink_want command_mail(struct sink_session *session, struct slice argument)
{
    struct slice path;
    if (session->mail_given) {
        return say_plain(session, "503 5.5.1 a transaction is open\r\n");
    }
    if (!take_path(argument, SLICE("FROM:"), &path) || path.size > SINK_REVERSE_MAX) {
        return say_plain(session, "501 5.5.4 MAIL FROM:<address>\r\n");
    }
    uint8_t digit = 0;
    enum sink_want want = answer(session, STAGE_MAIL, path, "250 2.1.0 OK\r\n", &digit);
    if (digit == '2') {
        session->mail_given = true;
        memcpy(session->reverse, path.data, path.size);
        session->reverse_bytes = path.size;
    }
    return want;
}

static enum sink_want answer_rcpt(struct sink_session *session, struct slice argument)
{
    struct slice path;
    if (!session->mail_given) {
        return say_plain(session, "503 5.5.1 MAIL first\r\n");
    }
    if (!take_path(argument, SLICE("TO:"), &path) || path.size == 0) {
        return say_plain(session, "501 5.5.4 RCPT TO:<address>\r\n");
    }
    if (buf_room(&session->rcpts) < path.size + 1) {
        return say_plain(session, "452 4.5.3 too many recipients\r\n");
    }
    if (prng_chance(session->prng, session->rules->defer_per_mille)) {
        return say_plain(session, "450 4.2.1 deferred by the sink\r\n");
    }
    if (prng_chance(session->prng, session->rules->bounce_per_mille)) {
        return say_plain(session, "550 5.1.1 refused by the sink\r\n");
    }
    uint8_t digit = 0;
    enum sink_want want = answer(session, STAGE_RCPT, path, "250 2.1.5 OK\r\n", &digit);
    if (digit == '2') {
        session->rcpt_count++;
        buf_put(&session->rcpts, path);
        buf_put_byte(&session->rcpts, 0);
    }
    return want;
}

static enum sink_want command_rcpt(struct sink_session *session, struct slice argument)
{
    struct sink_result *result = session->tally->result;
    uint64_t before = result->rejected;
    enum sink_want want = answer_rcpt(session, argument);
    if (result->rejected > before) {
        result->refused++;
        tally_refuse(session->tally, reverse_path(session));
    }
    return want;
}

static enum sink_want command_data(struct sink_session *session, struct slice argument)
{
    (void)argument;
    if (session->rcpt_count == 0 || session->bdat) {
        return say_plain(session, session->mail_given ? "554 5.5.1 no valid recipients\r\n"
                                                      : "503 5.5.1 MAIL first\r\n");
    }
    uint8_t digit = 0;
    enum sink_want want = answer(session, STAGE_DATA, buf_slice(&session->rcpts),
                                 "354 go ahead\r\n", &digit);
    if (digit == '3') {
        content_begin(session);
        session->dot_stage = DOT_LINE;
        session->state = STATE_DATA;
    } else if (digit != 0) {
        transaction_reset(session);
    }
    return want;
}

static enum sink_want command_bdat(struct sink_session *session, struct slice argument)
{
    size_t space = slice_find(argument, ' ');
    struct slice rest = slice_trim(slice_skip(argument, space));
    uint64_t size = 0;
    bool last = slice_equal_nocase(rest, SLICE("LAST"));
    if (!slice_parse_u64(slice_first(argument, space), &size) || (!last && rest.size > 0)) {
        return say_plain(session, "501 5.5.4 BDAT octets [LAST]\r\n");
    }
    session->chunk_refused = session->rcpt_count == 0;
    if (!session->chunk_refused && !session->bdat) {
        session->bdat = true;
        content_begin(session);
    }
    session->chunk_last = last;
    session->chunk_left = size;
    session->state = STATE_CHUNK;
    return size == 0 ? chunk_end(session) : SINK_INPUT;
}

static enum sink_want command_rset(struct sink_session *session, struct slice argument)
{
    (void)argument;
    transaction_reset(session);
    return say_plain(session, "250 2.0.0 OK\r\n");
}

static enum sink_want command_noop(struct sink_session *session, struct slice argument)
{
    (void)argument;
    return say_plain(session, "250 2.0.0 OK\r\n");
}

static enum sink_want command_vrfy(struct sink_session *session, struct slice argument)
{
    (void)argument;
    return say_plain(session, "252 2.5.0 send some mail\r\n");
}

static enum sink_want command_quit(struct sink_session *session, struct slice argument)
{
    (void)argument;
    uint8_t digit = 0;
    enum sink_want want =
        answer(session, STAGE_QUIT, SLICE_NONE, "221 2.0.0 closing\r\n", &digit);
    if (session->state == STATE_HUNG) {
        return want;
    }
    session->state = STATE_ENDED;
    return want == SINK_INPUT ? SINK_CLOSE : want;
}

static const struct {
    const char *verb;
    enum sink_want (*handle)(struct sink_session *session, struct slice argument);
} commands[] = {
    {"MAIL", command_mail}, {"RCPT", command_rcpt}, {"DATA", command_data},
    {"BDAT", command_bdat}, {"EHLO", command_ehlo}, {"HELO", command_helo},
    {"RSET", command_rset}, {"NOOP", command_noop}, {"VRFY", command_vrfy},
    {"QUIT", command_quit},
};

static enum sink_want command_run(struct sink_session *session, struct slice line)
{
    line = slice_trim(line);
    size_t space = slice_find(line, ' ');
    struct slice verb = slice_first(line, space);
    struct slice argument = slice_trim(slice_skip(line, space));
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (slice_equal_nocase(verb, slice_from_string(commands[i].verb))) {
            return commands[i].handle(session, argument);
        }
    }
    return say_plain(session, "502 5.5.1 the sink does not know this\r\n");
}

/* Takes bytes up to and with the next LF; runs the line when that makes it whole. */
static enum sink_want command_feed(struct sink_session *session, struct slice *input)
{
    size_t at = slice_find(*input, '\n');
    size_t count = MIN_OF(at + 1, input->size);
    size_t kept = MIN_OF(count, SINK_LINE_MAX - session->line_size);
    bool cr_before = count >= 2 ? input->data[count - 2] == '\r' : session->line_cr;
    bool ended = at < input->size && cr_before;
    memcpy(session->line + session->line_size, input->data, kept);
    session->line_size += kept;
    session->line_cr = input->data[count - 1] == '\r';
    *input = slice_skip(*input, count);
    if (!ended) {
        return SINK_INPUT;
    }
    size_t size = session->line_size;
    session->line_size = 0;
    if (size == SINK_LINE_MAX) {
        return say_plain(session, "500 5.5.2 line too long\r\n");
    }
    return command_run(session, slice_make(session->line, size - 2));
}

/* --- feeding ---------------------------------------------------------------------------------- */

static enum sink_want session_step(struct sink_session *session, struct slice *input)
{
    switch ((enum state)session->state) {
    case STATE_COMMAND:
        return command_feed(session, input);
    case STATE_DATA:
        return data_feed(session, input) ? content_end(session) : SINK_INPUT;
    case STATE_CHUNK:
        return chunk_feed(session, input);
    case STATE_HUNG:
        *input = slice_skip(*input, input->size);
        return SINK_INPUT;
    case STATE_ENDED:
        break;
    }
    return SINK_CLOSE;
}

enum sink_want sink_session_feed(struct sink_session *session, struct slice *input)
{
    enum sink_want want = session->state == STATE_ENDED ? SINK_CLOSE : SINK_INPUT;
    while (want == SINK_INPUT && input->size > 0) {
        if (buf_room(&session->replies) < REPLY_ROOM) {
            return SINK_FLUSH;
        }
        want = session_step(session, input);
    }
    return want;
}
