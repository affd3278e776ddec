/*
 * What a server may say, and when: the first two bytes choose options and message, each byte after
 * them is one event of the connection or of its user, with what the server says among them. A
 * result never changes, nobody is left without one, nothing is delivered before all content went
 * out, and whatever has happened the dialogue can be ended.
 */
#include "smtp/client_session.h"

#include <string.h>

#include "core/check.h"
#include "shard/ring.h"

#define RECIPIENTS 4
#define PARTS      2
#define POOL_BYTES (2ull * MIB)
#define SAID_MAX   1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct slice body_text = {(const uint8_t *)"x: y\r\n\r\nhello\r\n", 15};

struct peer {
    struct client_options options;
    struct client_session session;
    struct client_transaction transaction;
    struct client_recipient recipients[RECIPIENTS];
    struct client_recipient seen[RECIPIENTS]; /* as they were after the event before */
    struct message message;
    const struct chain *parts;
    struct spool_part part_list[PARTS];
    uint8_t texts[4096];
    uint8_t commands[CLIENT_COMMAND_BYTES_MAX];
    uint8_t said[SAID_MAX]; /* by the server, not taken yet */
    size_t said_bytes;
    uint64_t content_bytes; /* of this transaction, handed out */
    bool in_flight;
    bool begun; /* a transaction, not finished yet */
};

/* The body whole, then in parts. */
struct bodies {
    struct block_pool *pool;
    struct chain whole;
    struct chain parts[PARTS];
};

static void bodies_open(struct bodies *bodies)
{
    bodies->pool = block_pool_open(POOL_BYTES);
    CHECK(bodies->pool != NULL);
    chain_init(&bodies->whole);
    CHECK(chain_append(&bodies->whole, bodies->pool, body_text));
    chain_init(&bodies->parts[0]);
    CHECK(chain_append(&bodies->parts[0], bodies->pool, slice_first(body_text, 8)));
    chain_init(&bodies->parts[1]);
    CHECK(chain_append(&bodies->parts[1], bodies->pool, slice_skip(body_text, 8)));
}

static void peer_init(struct peer *peer, const struct bodies *bodies, const uint8_t choice[2])
{
    memset(peer, 0, sizeof(*peer));
    client_options_init(&peer->options, SLICE("mta.test"));
    peer->options.enable_pipelining = (choice[0] & 1) == 0;
    peer->options.enable_chunking = (choice[0] & 2) == 0;
    peer->options.enable_rset = choice[0] & 4;
    peer->options.ignore_8bit_checks = choice[0] & 8;
    peer->message.flags = choice[1] & (SPOOL_MESSAGE_8BIT | SPOOL_MESSAGE_SMTPUTF8);
    peer->message.body_bytes = body_text.size;
    peer->parts = bodies->parts;
    if (choice[1] & 4) {
        peer->part_list[0].size = 8;
        peer->part_list[1].size = (uint32_t)body_text.size - 8;
        peer->message.parts = peer->part_list;
        peer->message.part_count = PARTS;
        peer->message.flags |= SPOOL_MESSAGE_PARTS;
    } else {
        peer->message.body = bodies->whole;
    }
    client_session_init(&peer->session, &peer->options);
}

/* --- what has to hold ------------------------------------------------------------------------- */

static bool same_result(const struct client_recipient *a, const struct client_recipient *b)
{
    return a->disposition == b->disposition && a->answer == b->answer &&
           a->uncertain == b->uncertain && a->code == b->code &&
           memcmp(a->enhanced, b->enhanced, sizeof(a->enhanced)) == 0 &&
           a->text.data == b->text.data && a->text.size == b->text.size;
}

static void check_delivered(const struct peer *peer, const struct client_recipient *recipient)
{
    CHECK(recipient->code / 100 == 2 && recipient->accepted);
    CHECK(recipient->answer == CLIENT_ANSWER_CONTENT && !recipient->uncertain);
    CHECK(peer->content_bytes >= body_text.size);
}

static void check_results(struct peer *peer)
{
    for (uint32_t i = 0; peer->begun && i < peer->transaction.count; i++) {
        const struct client_recipient *now = &peer->recipients[i];
        const struct client_recipient *before = &peer->seen[i];
        CHECK(before->disposition == CLIENT_PENDING || same_result(before, now));
        CHECK(peer->session.state != CLIENT_OVER || now->disposition != CLIENT_PENDING);
        if (now->disposition == CLIENT_DELIVERED && before->disposition == CLIENT_PENDING) {
            check_delivered(peer, now);
        }
        uint8_t command[CLIENT_COMMAND_TEXT_MAX];
        struct buf buf;
        buf_init(&buf, command, sizeof(command));
        client_result_put_command(&buf, &peer->transaction, now);
        CHECK(!buf.overflow);
        peer->seen[i] = *now;
    }
}

static void check_all(struct peer *peer)
{
    const struct client_session *session = &peer->session;
    check_results(peer);
    bool over = session->state == CLIENT_OVER || session->state == CLIENT_ENDED;
    CHECK(over || client_session_timeout_ns(session, peer->in_flight) > 0);
    CHECK(session->state != CLIENT_ENDED || !peer->begun);
    CHECK(session->state != CLIENT_ENDED || session->end != CLIENT_END_NONE);
    CHECK(client_end_name(session->end)[0] != '\0');
    CHECK(client_session_doing(session)[0] != '\0');
}

/* --- events ----------------------------------------------------------------------------------- */

static void feed(struct peer *peer)
{
    struct slice input = slice_make(peer->said, peer->said_bytes);
    client_session_feed(&peer->session, &input);
    memmove(peer->said, input.data, input.size);
    peer->said_bytes = input.size;
}

static void say(struct peer *peer, struct slice text)
{
    text = slice_first(text, MIN_OF(text.size, sizeof(peer->said) - peer->said_bytes));
    memcpy(peer->said + peer->said_bytes, text.data, text.size);
    peer->said_bytes += text.size;
}

static void begin(struct peer *peer, uint8_t how)
{
    if (peer->session.state != CLIENT_READY) {
        return;
    }
    uint32_t count = 1 + how % RECIPIENTS;
    for (uint32_t i = 0; i < count; i++) {
        peer->recipients[i].index = (uint16_t)i;
        peer->recipients[i].address = SLICE("r@t.test");
    }
    client_transaction_init(&peer->transaction, &peer->message, SLICE("s@a.test"),
                            peer->recipients, count);
    buf_init(&peer->transaction.texts, peer->texts, sizeof(peer->texts));
    memset(peer->seen, 0, sizeof(peer->seen));
    peer->content_bytes = 0;
    peer->begun = true;
    client_session_begin(&peer->session, &peer->transaction, how & 4);
}

static void finish(struct peer *peer)
{
    if (peer->session.state == CLIENT_OVER) {
        client_session_finish(&peer->session);
        peer->begun = false;
    }
}

static void output(struct peer *peer)
{
    if (peer->in_flight || peer->session.state == CLIENT_ENDED) {
        return;
    }
    struct buf commands;
    buf_init(&commands, peer->commands, sizeof(peer->commands));
    struct iovec iovecs[RING_IOVECS_MAX];
    unsigned count = client_session_output(&peer->session, &commands, iovecs);
    for (unsigned i = commands.size > 0 ? 1 : 0; i < count; i++) {
        peer->content_bytes += iovecs[i].iov_len;
    }
    peer->in_flight = count > 0;
}

static void leave(struct peer *peer, bool whole)
{
    if (!peer->in_flight) {
        return;
    }
    peer->in_flight = false;
    if (whole) {
        client_session_sent(&peer->session);
    } else {
        client_session_send_failed(&peer->session);
    }
    feed(peer);
}

static void give_part(struct peer *peer, bool missing)
{
    if (peer->session.part_wanted) {
        client_session_give_part(&peer->session,
                                 missing ? NULL : &peer->parts[peer->session.body.part]);
    }
}

static void break_off(struct peer *peer, uint8_t how)
{
    static const enum client_end ends[] = {CLIENT_END_TIMEOUT, CLIENT_END_BROKEN,
                                           CLIENT_END_CLOSED, CLIENT_END_PEER};
    client_session_break(&peer->session, ends[how % COUNT_OF(ends)], "cause");
    CHECK(peer->session.state == CLIENT_OVER || peer->session.state == CLIENT_ENDED);
}

static const char *const replies[16] = {
    "220 mx.test\r\n",
    "250 2.0.0 ok\r\n",
    "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
    "250-mx\r\n250-PIPELINING\r\n250-SIZE 15\r\n250-DSN\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    "250-mx\r\n250-CHUNKING\r\n250 SIZE 1\r\n",
    "354 go\r\n",
    "421 4.3.2 bye\r\n",
    "450 4.2.1 later\r\n",
    "452 enough\r\n",
    "450 4.5.3 enough\r\n",
    "550 5.1.1 no\r\n",
    "552 5.2.2 full\r\n",
    "503 5.5.1 none\r\n",
    "502 what\r\n",
    "250-",
    "250 ok\r\n250 ok\r\n250 ok\r\n",
};

/* One event; `how` is the upper half of its byte. */
static void event(struct peer *peer, uint8_t kind, uint8_t how, struct slice *rest)
{
    switch (kind) {
    case 0:
        say(peer, slice_first(*rest, MIN_OF((size_t)how + 1, rest->size)));
        *rest = slice_skip(*rest, MIN_OF((size_t)how + 1, rest->size));
        feed(peer);
        break;
    case 1: /* said, and not read yet */
        say(peer, slice_from_string(replies[how]));
        break;
    case 2:
        leave(peer, true);
        break;
    case 3:
        leave(peer, false);
        break;
    case 4:
        break_off(peer, how);
        break;
    case 5:
        client_session_hurry(&peer->session);
        break;
    case 6:
        give_part(peer, how == 0);
        break;
    case 7:
        client_session_quit(&peer->session);
        break;
    case 8:
        begin(peer, how);
        break;
    case 9:
        finish(peer);
        break;
    case 10:
        output(peer);
        break;
    case 11: /* as it goes mostly */
        output(peer);
        leave(peer, true);
        break;
    default:
        say(peer, slice_from_string(replies[how]));
        feed(peer);
        break;
    }
}

static void end(struct peer *peer)
{
    if (peer->session.state == CLIENT_OVER) {
        finish(peer);
        check_all(peer);
    }
    break_off(peer, 2);
    check_all(peer);
    finish(peer);
    check_all(peer);
    CHECK(peer->session.state == CLIENT_ENDED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bodies bodies; /* kept between runs: opening a pool costs more than a dialogue */
    if (size < 3) {
        return 0;
    }
    if (bodies.pool == NULL) {
        bodies_open(&bodies);
    }
    struct peer peer;
    peer_init(&peer, &bodies, data);
    struct slice rest = slice_make(data + 2, size - 2);
    while (rest.size > 0) {
        uint8_t byte = rest.data[0];
        rest = slice_skip(rest, 1);
        event(&peer, byte & 15, byte >> 4, &rest);
        check_all(&peer);
    }
    end(&peer);
    return 0;
}
