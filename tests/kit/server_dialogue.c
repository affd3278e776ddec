#include "tests/kit/server_dialogue.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

static struct verdict verdict_for(const struct address *address)
{
    static const struct {
        const char *domain;
        struct verdict verdict;
    } rows[] = {
        {"denied.test", {550, "5.7.1 Not for you"}},
        {"later.test", {451, "4.4.4 No route now"}},
        {"full.test", {452, "4.3.1 No room now"}},
        {"stop.test", {421, "4.3.2 Stopping"}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (slice_equal_nocase(address->domain, slice_from_string(rows[i].domain))) {
            return rows[i].verdict;
        }
    }
    return VERDICT_ACCEPT;
}

static struct verdict policy_sender(void *context, const struct address *sender,
                                    uint64_t size_bytes)
{
    (void)context;
    (void)size_bytes;
    return verdict_for(sender);
}

static struct verdict policy_recipient(void *context, const struct address *recipient)
{
    (void)context;
    return verdict_for(recipient);
}

static void policy_rejected(void *context, struct slice command, struct slice reply)
{
    struct dialogue *dialogue = context;
    bool greeted = dialogue->session.state != SERVER_GREETING;
    CHECK(greeted == (command.size > 0) && reply.size > 9);
    CHECK(reply.data[0] == '4' || reply.data[0] == '5');
    dialogue->rejected++;
}

void dialogue_init(struct dialogue *dialogue, struct block_pool *pool)
{
    *dialogue = (struct dialogue){.pool = pool, .plain_reply_due = true};
    dialogue->policy = (struct server_policy){policy_sender, policy_recipient, policy_rejected};
    dialogue->options = (struct server_options){
        .hostname = SLICE("mta.test"),
        .banner = SLICE("Ringpost"),
        .message_bytes_max = MIB,
        .recipients_max = 100,
        .received_max = 50,
        .policy = &dialogue->policy,
        .policy_context = dialogue,
    };
    buf_init(&dialogue->summary, dialogue->summary_bytes, sizeof(dialogue->summary_bytes));
    buf_init(&dialogue->accepted, dialogue->accepted_bytes, sizeof(dialogue->accepted_bytes));
    chain_init(&dialogue->spilled);
    server_session_init(&dialogue->session, &dialogue->options, pool, &dialogue->hash);
}

/* RFC 2034: class, subject and detail, the class as in the reply code. Returns its bytes. */
static size_t enhanced_size(struct slice text)
{
    size_t dots = 0;
    size_t size = 0;
    for (; size < text.size && text.data[size] != ' '; size++) {
        uint8_t byte = text.data[size];
        CHECK(byte == '.' || (byte >= '0' && byte <= '9'));
        dots += byte == '.';
    }
    CHECK(dots == 2 && size >= 5 && size < text.size);
    return size;
}

/* One reply line without CRLF. Checks its form (RFC 5321 4.2, 4.5.3.1.5). */
static void take_reply_line(struct dialogue *dialogue, struct slice line)
{
    uint64_t code;
    CHECK(line.size > 4 && line.size <= 510 && slice_is_ascii(line));
    CHECK(slice_parse_u64(slice_first(line, 3), &code) && code >= 200 && code < 600);
    CHECK(line.data[3] == ' ' || (line.data[3] == '-' && dialogue->plain_reply_due));
    if (line.data[3] == '-') {
        return;
    }
    dialogue->replies++;
    dialogue->last_code = (unsigned)code;
    bool plain = code == 354 || (code < 400 && dialogue->plain_reply_due);
    buf_put(&dialogue->summary, slice_first(line, 3));
    if (!plain) {
        struct slice text = slice_skip(line, 4);
        CHECK(text.data[0] == line.data[0]);
        buf_put_byte(&dialogue->summary, ' ');
        buf_put(&dialogue->summary, slice_first(text, enhanced_size(text)));
    }
    buf_put_byte(&dialogue->summary, '\n');
}

/* EHLO and HELO, and XCLIENT with its banner, are the commands whose reply names the host: no
 * enhanced code. */
static bool is_hello_reply(struct slice line)
{
    return slice_starts_with(line, SLICE("250-")) || slice_equal(line, SLICE("250 mta.test")) ||
           slice_equal(line, SLICE("250 ENHANCEDSTATUSCODES")) ||
           slice_starts_with(line, SLICE("220 mta.test "));
}

static void take_replies(struct dialogue *dialogue, struct buf *replies)
{
    struct slice rest = buf_slice(replies);
    while (rest.size > 0) {
        size_t end = slice_find(rest, '\n');
        CHECK(end < rest.size && end > 0 && rest.data[end - 1] == '\r');
        struct slice line = slice_first(rest, end - 1);
        if (is_hello_reply(line)) {
            dialogue->plain_reply_due = true;
        }
        take_reply_line(dialogue, line);
        dialogue->plain_reply_due = false;
        rest = slice_skip(rest, end + 1);
    }
    buf_reset(replies);
}

static void log_body(struct dialogue *dialogue, struct content *content)
{
    uint8_t body[DIALOGUE_BODY_SHOWN];
    CHECK(content->size == dialogue->spilled.size + content->body.size);
    if (content->size > sizeof(body)) {
        buf_put_byte(&dialogue->accepted, '#');
        buf_put_u64(&dialogue->accepted, content->size);
        return;
    }
    chain_copy_out(&content->body, 0, content->body.size, body);
    buf_put_byte(&dialogue->accepted, '=');
    buf_put(&dialogue->accepted, slice_make(body, content->body.size));
}

static void take_message(struct dialogue *dialogue, struct buf *replies)
{
    struct transaction *transaction = &dialogue->session.transaction;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    uint32_t count = 0;
    CHECK(envelope_open(transaction_envelope(transaction), &sender, &cursor));
    if (slice_starts_with(sender, SLICE("nostore@"))) {
        server_session_committed(&dialogue->session, SLICE("451 4.3.0 Not stored"), replies);
    } else {
        buf_put(&dialogue->accepted, sender);
        while (envelope_next(&cursor, &recipient) == 1) {
            CHECK(recipient.index == count);
            buf_put_byte(&dialogue->accepted, count == 0 ? '>' : ',');
            buf_put(&dialogue->accepted, recipient.address);
            count++;
        }
        CHECK(count > 0 && count == transaction->recipient_count);
        log_body(dialogue, &transaction->content);
        buf_put_byte(&dialogue->accepted, '\n');
        dialogue->messages++;
        server_session_committed(&dialogue->session, SLICE("250 2.0.0 OK ids=0 count=1"), replies);
    }
    chain_clear(&dialogue->spilled, dialogue->pool);
}

void dialogue_greet(struct dialogue *dialogue)
{
    uint8_t memory[REPLY_BYTES_MAX];
    struct buf replies;
    buf_init(&replies, memory, sizeof(memory));
    CHECK(server_session_greet(&dialogue->session, false, &replies) == WANT_INPUT);
    take_replies(dialogue, &replies);
    dialogue_clear_logs(dialogue);
}

/* Does what the session wants. False when it wants more input, or is over. */
static bool serve_want(struct dialogue *dialogue, enum want want, struct buf *replies)
{
    switch (want) {
    case WANT_INPUT:
        return false;
    case WANT_COMMIT:
        take_message(dialogue, replies);
        return true;
    case WANT_SPILL:
        content_spill(&dialogue->session.transaction.content, &dialogue->spilled);
        dialogue->spills++;
        return true;
    case WANT_OUTPUT:
        CHECK(replies->size > 0);
        take_replies(dialogue, replies);
        return true;
    case WANT_CLIENT:
        server_session_introduced(&dialogue->session, replies);
        return true;
    case WANT_DELAY:
        dialogue->delays++;
        return true;
    case WANT_CLOSE:
        dialogue->closed = true;
        return false;
    }
    return false;
}

/* Feeds what is pending, then keeps what the session left. */
static void feed_pending(struct dialogue *dialogue)
{
    uint8_t memory[REPLY_BYTES_MAX + 64];
    struct buf replies;
    struct slice input = slice_make(dialogue->pending, dialogue->pending_bytes);
    buf_init(&replies, memory, sizeof(memory));
    while (serve_want(dialogue, server_session_feed(&dialogue->session, &input, &replies),
                      &replies)) {
        if (buf_room(&replies) < REPLY_BYTES_MAX) {
            take_replies(dialogue, &replies);
        }
        if (!dialogue->session.transaction.content_begun) {
            chain_clear(&dialogue->spilled, dialogue->pool);
        }
    }
    take_replies(dialogue, &replies);
    CHECK(dialogue->closed || input.size < COMMAND_LINE_BYTES_MAX);
    memmove(dialogue->pending, input.data, input.size);
    dialogue->pending_bytes = input.size;
}

static void send_piece(struct dialogue *dialogue, struct slice piece)
{
    size_t size = dialogue->pending_bytes + piece.size;
    uint8_t *grown = malloc(size);
    CHECK(grown != NULL);
    if (dialogue->pending_bytes > 0) {
        memcpy(grown, dialogue->pending, dialogue->pending_bytes);
    }
    memcpy(grown + dialogue->pending_bytes, piece.data, piece.size);
    free(dialogue->pending);
    dialogue->pending = grown;
    dialogue->pending_bytes = size;
    feed_pending(dialogue);
}

void dialogue_send(struct dialogue *dialogue, struct slice bytes, size_t piece_bytes)
{
    while (bytes.size > 0 && !dialogue->closed) {
        size_t size = piece_bytes == 0 ? bytes.size : MIN_OF(piece_bytes, bytes.size);
        send_piece(dialogue, slice_first(bytes, size));
        bytes = slice_skip(bytes, size);
    }
}

void dialogue_send_string(struct dialogue *dialogue, const char *string)
{
    dialogue_send(dialogue, slice_from_string(string), 0);
}

void dialogue_clear_logs(struct dialogue *dialogue)
{
    buf_reset(&dialogue->summary);
    buf_reset(&dialogue->accepted);
}

void dialogue_fini(struct dialogue *dialogue)
{
    server_session_fini(&dialogue->session);
    chain_clear(&dialogue->spilled, dialogue->pool);
    free(dialogue->pending);
    dialogue->pending = NULL;
    CHECK(block_pool_used(dialogue->pool) == 0);
}
