/*
 * The dialogue with strings alone. A script is what the server says, turn by turn; after each turn
 * all that the session wants to send is taken as sent. Every script is run twice: each turn whole,
 * and byte by byte.
 */
#include "smtp/client_session.h"

#include "core/little.h"
#include "shard/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define TURNS_MAX      12
#define RECIPIENTS_MAX 200
#define WIRE_MAX       65536

/* Turns that are no text of the server. */
#define BREAK   "<break>"
#define TIMEOUT "<timeout>"
#define CUT     "<cut>"
#define HELD    "<held>"    /* from here on output stays on its way */
#define SENT    "<sent>"    /* it has left */
#define FAILED  "<failed>"  /* it could not be sent */
#define HURRY   "<hurry>"
#define EARLY   "<early>"   /* first: what follows came before anything of it was sent */

struct world {
    struct client_options options;
    struct client_session session;
    struct client_transaction transaction;
    struct client_recipient recipients[RECIPIENTS_MAX];
    char addresses[RECIPIENTS_MAX][16];
    uint8_t texts[8192];
    struct message message;
    struct block_pool *pool;
    struct envelope_dsn dsn; /* of the transaction that begins */
    uint8_t commands[4096];
    uint8_t wire[WIRE_MAX];
    size_t wire_bytes;
    uint8_t said[70000]; /* by the server, not taken yet */
    size_t said_bytes;
    bool held;
    bool in_flight;
};

static void begin_world(struct world *world)
{
    memset(world, 0, sizeof(*world));
    client_options_init(&world->options, SLICE("mta.test"));
    world->pool = block_pool_open(MIB);
    assert_non_null(world->pool);
    chain_init(&world->message.body);
    client_session_init(&world->session, &world->options);
}

static void end_world(struct world *world)
{
    block_pool_close(world->pool);
}

static void set_message(struct world *world, struct slice body, uint16_t flags)
{
    world->message.flags = flags;
    world->message.body_bytes = body.size;
    assert_true(chain_append(&world->message.body, world->pool, body));
}

static void list_dot(struct world *world)
{
    static uint8_t dots[4];
    little_put_u32(dots, 8);
    world->message.dots = slice_make(dots, sizeof(dots));
}

/* All that may be sent, until there is nothing more. While held it goes out and never arrives. */
static void pump(struct world *world)
{
    while (!world->in_flight) {
        struct buf commands;
        buf_init(&commands, world->commands, sizeof(world->commands));
        struct iovec iovecs[RING_IOVECS_MAX];
        unsigned count = client_session_output(&world->session, &commands, iovecs);
        for (unsigned i = 0; i < count; i++) {
            assert_true(world->wire_bytes + iovecs[i].iov_len <= WIRE_MAX);
            memcpy(world->wire + world->wire_bytes, iovecs[i].iov_base, iovecs[i].iov_len);
            world->wire_bytes += iovecs[i].iov_len;
        }
        if (count == 0) {
            return;
        }
        world->in_flight = world->held;
        if (!world->in_flight) {
            client_session_sent(&world->session);
        }
    }
}

/* Feeds what the server has said so far and is not taken yet. */
static void feed(struct world *world)
{
    struct slice input = slice_make(world->said, world->said_bytes);
    client_session_feed(&world->session, &input);
    memmove(world->said, input.data, input.size);
    world->said_bytes = input.size;
}

static void say(struct world *world, struct slice text, size_t step)
{
    while (text.size > 0) {
        struct slice piece = slice_first(text, MIN_OF(step, text.size));
        assert_true(world->said_bytes + piece.size <= sizeof(world->said));
        memcpy(world->said + world->said_bytes, piece.data, piece.size);
        world->said_bytes += piece.size;
        text = slice_skip(text, piece.size);
        feed(world);
    }
    pump(world);
}

static void arrive(struct world *world)
{
    world->held = false;
    if (world->in_flight) {
        world->in_flight = false;
        client_session_sent(&world->session);
    }
    feed(world);
    pump(world);
}

static void turn(struct world *world, const char *text, size_t step)
{
    struct client_session *session = &world->session;
    if (strcmp(text, BREAK) == 0) {
        client_session_break(session, CLIENT_END_BROKEN, "connection lost");
    } else if (strcmp(text, TIMEOUT) == 0) {
        client_session_break(session, CLIENT_END_TIMEOUT, "timeout");
    } else if (strcmp(text, CUT) == 0) {
        client_session_break(session, CLIENT_END_CLOSED, "cut off");
    } else if (strcmp(text, HELD) == 0) {
        world->held = true;
    } else if (strcmp(text, SENT) == 0) {
        arrive(world);
    } else if (strcmp(text, FAILED) == 0) {
        client_session_send_failed(session);
        feed(world);
    } else if (strcmp(text, HURRY) == 0) {
        client_session_hurry(session);
        pump(world);
    } else {
        say(world, slice_from_string(text), step);
    }
}

static void greet(struct world *world, const char *keywords, size_t step)
{
    turn(world, "220 mx.test ESMTP\r\n", step);
    turn(world, keywords, step);
    assert_int_equal(world->session.state, CLIENT_READY);
    world->wire_bytes = 0;
}

static void begin(struct world *world, uint32_t count, bool careful)
{
    for (uint32_t i = 0; i < count; i++) {
        struct buf buf;
        buf_init(&buf, world->addresses[i], sizeof(world->addresses[i]));
        buf_printf(&buf, "r%u@t.test", i);
        world->recipients[i].index = (uint16_t)i;
        world->recipients[i].address = buf_slice(&buf);
    }
    client_transaction_init(&world->transaction, &world->message, SLICE("s@a.test"),
                            world->recipients, count);
    world->transaction.dsn = world->dsn;
    buf_init(&world->transaction.texts, world->texts, sizeof(world->texts));
    client_session_begin(&world->session, &world->transaction, careful);
}

static const char *disposition_name(uint8_t disposition)
{
    static const char *const names[] = {"pending", "delivered", "deferred", "bounced", "retry"};
    return names[disposition];
}

/* "delivered 250 2.0.0 . ok" a recipient, one a line. */
static void put_results(struct buf *buf, const struct client_transaction *transaction)
{
    for (uint32_t i = 0; i < transaction->count; i++) {
        const struct client_recipient *r = &transaction->recipients[i];
        if (i > 0) {
            buf_put_byte(buf, '\n');
        }
        buf_printf(buf, "%s%s %u", disposition_name(r->disposition),
                   r->uncertain ? " uncertain" : "", r->code);
        if (r->enhanced[0] != 0) {
            buf_printf(buf, " %u.%u.%u", r->enhanced[0], r->enhanced[1], r->enhanced[2]);
        }
        buf_put_byte(buf, ' ');
        uint8_t command[CLIENT_COMMAND_TEXT_MAX];
        struct buf part;
        buf_init(&part, command, sizeof(command));
        client_result_put_command(&part, transaction, r);
        buf_put(buf, buf_slice(&part));
        buf_put(buf, SLICE(" | "));
        buf_put(buf, r->text);
    }
    assert_false(buf->overflow);
}

#define PLAIN     "250 mx.test\r\n"
#define PIPELINED "250-mx.test\r\n250 PIPELINING\r\n"
#define CHUNKED   "250-mx.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n"

#define MAIL  "MAIL FROM:<s@a.test>\r\n"
#define RCPT0 "RCPT TO:<r0@t.test>\r\n"
#define RCPT1 "RCPT TO:<r1@t.test>\r\n"
#define RCPT2 "RCPT TO:<r2@t.test>\r\n"
#define BODY  "x: y\r\n\r\n.hi\r\n"
#define DOTTED "x: y\r\n\r\n..hi\r\n.\r\n"
#define INTERNAL "Ringpost internal: "
#define UNASKED  INTERNAL "a reply to no command while sending the envelope"

struct script {
    const char *name;
    const char *hello;
    uint32_t count;
    bool used;    /* a transaction went before */
    bool failed;  /* the same, and it failed */
    bool careful;
    const char *turns[TURNS_MAX];
    const char *wire; /* null: not looked at */
    const char *results;
    enum client_end end;      /* after finish */
    enum client_state state;  /* after finish */
};


/* Shorthand of the tables below: replies, and flights of commands. */
#define OK1 "250 2.0.0 ok\r\n"
#define OK2 OK1 OK1
#define GO  "354 go\r\n"
#define ENVELOPE1 MAIL RCPT0
#define ENVELOPE2 MAIL RCPT0 RCPT1
#define BDAT "BDAT 13 LAST\r\n" BODY

static const struct script scripts[] = {
    {.name = "plain: one command at a time",
     .hello = PLAIN, .count = 1, .turns = {OK1, OK1, GO, OK1},
     .wire = ENVELOPE1 "DATA\r\n" DOTTED,
     .results = "delivered 250 2.0.0 . | ok", .state = CLIENT_READY},
    {.name = "pipelined: two flights",
     .hello = PIPELINED, .count = 2, .turns = {OK2 OK1 GO, OK1},
     .wire = ENVELOPE2 "DATA\r\n" DOTTED,
     .results = "delivered 250 2.0.0 . | ok\ndelivered 250 2.0.0 . | ok", .state = CLIENT_READY},
    {.name = "bdat: one flight",
     .hello = CHUNKED, .count = 1, .turns = {OK2 "250 2.6.0 in\r\n"},
     .wire = ENVELOPE1 BDAT, .results = "delivered 250 2.6.0 . | in", .state = CLIENT_READY},
    {.name = "chunking without pipelining: content after the envelope",
     .hello = "250-x\r\n250 chunking\r\n", .count = 1, .turns = {OK1, OK1, OK1},
     .wire = ENVELOPE1 BDAT, .results = "delivered 250 2.0.0 . | ok", .state = CLIENT_READY},
    {.name = "c02: two replies to MAIL, one command at a time",
     .hello = PLAIN, .count = 2, .turns = {OK2}, .wire = MAIL,
     .results = "deferred 451 4.5.0  | " UNASKED "\n"
                "deferred 451 4.5.0  | " UNASKED,
     .end = CLIENT_END_PROTOCOL, .state = CLIENT_ENDED},
    {.name = "c02: 421 behind a reply to RCPT; who was refused stays refused",
     .hello = PLAIN, .count = 2, .turns = {OK1, "550 5.1.1 no\r\n421 4.3.2 bye\r\n"},
     .wire = ENVELOPE1,
     .results = "bounced 550 5.1.1 RCPT TO:<r0@t.test> | no\n"
                "deferred 451 4.5.0  | " UNASKED,
     .end = CLIENT_END_PROTOCOL, .state = CLIENT_ENDED},
    {.name = "c02: 421 of a used connection meets a message before it is sent: no attempt",
     .hello = PIPELINED, .count = 1, .used = true, .turns = {EARLY, "421 4.3.2 bye\r\n"},
     .wire = "",
     .results = "retry 451 4.5.0  | " UNASKED,
     .end = CLIENT_END_PEER, .state = CLIENT_ENDED},
    {.name = "c02: the same on a new connection is an attempt",
     .hello = PIPELINED, .count = 1, .turns = {EARLY, "421 4.3.2 bye\r\n"}, .wire = "",
     .results = "deferred 451 4.5.0  | " UNASKED,
     .end = CLIENT_END_PEER, .state = CLIENT_ENDED},
    {.name = "c10: some accepted, some refused for now, for good",
     .hello = PIPELINED, .count = 3,
     .turns = {OK1 OK1 "450 4.2.1 later\r\n" "550 5.1.1 never\r\n" GO, OK1},
     .wire = ENVELOPE2 RCPT2 "DATA\r\n" DOTTED,
     .results = "delivered 250 2.0.0 . | ok\ndeferred 450 4.2.1 RCPT TO:<r1@t.test> | later\n"
                "bounced 550 5.1.1 RCPT TO:<r2@t.test> | never",
     .state = CLIENT_READY},
    {.name = "c10: 421 to the second RCPT defers all that are open, the refused one stays refused",
     .hello = PLAIN, .count = 3,
     .turns = {OK1, "550 no\r\n", OK1, "421 4.3.2 bye\r\n"}, .wire = ENVELOPE2 RCPT2,
     .results = "bounced 550 RCPT TO:<r0@t.test> | no\n"
                "deferred 421 4.3.2 RCPT TO:<r1@t.test> | bye\n"
                "deferred 421 4.3.2 RCPT TO:<r2@t.test> | bye",
     .end = CLIENT_END_421, .state = CLIENT_ENDED},
    {.name = "c10: 552 to RCPT is temporary, of the first recipient too",
     .hello = PIPELINED, .count = 1, .turns = {OK1 "552 5.2.2 full\r\n" "503 none\r\n"},
     .wire = ENVELOPE1 "DATA\r\n",
     .results = "deferred 552 5.2.2 RCPT TO:<r0@t.test> | full", .state = CLIENT_READY},
    {.name = "c10: 452 to a later RCPT is too many recipients",
     .hello = PIPELINED, .count = 3, .turns = {OK1 OK1 "452 enough\r\n552 enough\r\n" GO, OK1},
     .results = "delivered 250 2.0.0 . | ok\nretry 452 RCPT TO:<r1@t.test> | enough\n"
                "retry 552 RCPT TO:<r2@t.test> | enough",
     .state = CLIENT_READY},
    {.name = "c10: too many recipients, by its enhanced code; those not named are left",
     .hello = PLAIN, .count = 3, .turns = {OK1, OK1, "450 4.5.3 enough\r\n", GO, OK1},
     .wire = ENVELOPE2 "DATA\r\n" DOTTED,
     .results = "delivered 250 2.0.0 . | ok\nretry 450 4.5.3 RCPT TO:<r1@t.test> | enough\n"
                "retry 400  | " INTERNAL "left for another transaction",
     .state = CLIENT_READY},
    {.name = "c10: the first recipient is never one too many",
     .hello = PLAIN, .count = 1, .turns = {OK1, "452 4.5.3 enough\r\n"},
     .results = "deferred 452 4.5.3 RCPT TO:<r0@t.test> | enough", .state = CLIENT_RSETTING},
    {.name = "c10: 452 with another enhanced code is that recipient's own",
     .hello = PIPELINED, .count = 2, .turns = {OK1 OK1 "452 4.2.2 full\r\n" GO, OK1},
     .results = "delivered 250 2.0.0 . | ok\ndeferred 452 4.2.2 RCPT TO:<r1@t.test> | full",
     .state = CLIENT_READY},
    {.name = "MAIL refused for good; what is said of recipients then does not count",
     .hello = PIPELINED, .count = 2, .turns = {"550 5.7.1 no\r\n503 x\r\n503 x\r\n503 x\r\n"},
     .wire = ENVELOPE2 "DATA\r\n",
     .results = "bounced 550 5.7.1 MAIL FROM:<s@a.test> | no\n"
                "bounced 550 5.7.1 MAIL FROM:<s@a.test> | no",
     .state = CLIENT_READY},
    {.name = "503 to MAIL is temporary",
     .hello = PLAIN, .count = 1, .turns = {"503 5.5.1 x\r\n"}, .wire = MAIL "RSET\r\n",
     .results = "deferred 503 5.5.1 MAIL FROM:<s@a.test> | x", .state = CLIENT_RSETTING},
    {.name = "552 to MAIL is for good",
     .hello = PLAIN, .count = 1, .turns = {"552 5.3.4 big\r\n"},
     .results = "bounced 552 5.3.4 MAIL FROM:<s@a.test> | big", .state = CLIENT_RSETTING},
    {.name = "c11: all recipients refused and 354 all the same: the dot alone",
     .hello = PIPELINED, .count = 1, .turns = {OK1 "550 5.1.1 no\r\n" GO, OK1},
     .wire = ENVELOPE1 "DATA\r\n.\r\n",
     .results = "bounced 550 5.1.1 RCPT TO:<r0@t.test> | no", .state = CLIENT_READY},
    {.name = "c11: with BDAT in flight the reply to it is ignored",
     .hello = CHUNKED, .count = 1, .turns = {OK1 "550 5.1.1 no\r\n" "503 5.5.1 none\r\n"},
     .wire = ENVELOPE1 BDAT,
     .results = "bounced 550 5.1.1 RCPT TO:<r0@t.test> | no", .state = CLIENT_READY},
    {.name = "c11: nobody accepted, one command at a time: no DATA",
     .hello = PLAIN, .count = 1, .turns = {OK1, "550 no\r\n"}, .wire = ENVELOPE1 "RSET\r\n",
     .results = "bounced 550 RCPT TO:<r0@t.test> | no", .state = CLIENT_RSETTING},
    {.name = "c12: 250 to DATA",
     .hello = PLAIN, .count = 1, .turns = {OK1, OK1, OK1}, .wire = ENVELOPE1 "DATA\r\n",
     .results = "deferred 451 4.5.0 DATA | " INTERNAL "unexpected reply while sending the envelope",
     .end = CLIENT_END_PROTOCOL, .state = CLIENT_ENDED},
    {.name = "c12: 354 to MAIL",
     .hello = PLAIN, .count = 1, .turns = {GO}, .wire = MAIL,
     .results = "deferred 451 4.5.0 MAIL FROM:<s@a.test> | " INTERNAL
                "unexpected reply while sending the envelope",
     .end = CLIENT_END_PROTOCOL, .state = CLIENT_ENDED},
    {.name = "c12: 251 and 252 to RCPT accept",
     .hello = PIPELINED, .count = 2, .turns = {OK1 "251 fwd\r\n252 maybe\r\n" GO, OK1},
     .results = "delivered 250 2.0.0 . | ok\ndelivered 250 2.0.0 . | ok", .state = CLIENT_READY},
    {.name = "c12: 1xx is no reply",
     .hello = PLAIN, .count = 1, .turns = {"150 x\r\n"},
     .results = "deferred 451 4.5.0 MAIL FROM:<s@a.test> | " INTERNAL
                "no reply code while waiting for MAIL",
     .end = CLIENT_END_PROTOCOL, .state = CLIENT_ENDED},
    {.name = "c13: a refusal before the content has left is not the last word",
     .hello = PLAIN, .count = 1, .turns = {OK1, OK1, HELD, GO, "552 5.3.4 big\r\n", FAILED},
     .results = "deferred 552 5.3.4 . | big", .end = CLIENT_END_PROTOCOL, .state = CLIENT_ENDED},
    {.name = "c13: but it is once the content has left",
     .hello = PLAIN, .count = 1, .turns = {OK1, OK1, HELD, GO, "552 5.3.4 big\r\n", SENT},
     .results = "bounced 552 5.3.4 . | big", .state = CLIENT_RSETTING},
    {.name = "c14: the server stops reading",
     .hello = PLAIN, .count = 1, .turns = {OK1, OK1, HELD, GO, FAILED, TIMEOUT},
     .results = "deferred 421 4.4.2 . | " INTERNAL "timeout while sending content",
     .end = CLIENT_END_TIMEOUT, .state = CLIENT_ENDED},
    {.name = "c15: silence after the dot is uncertain",
     .hello = PIPELINED, .count = 2, .turns = {OK2 "550 no\r\n" GO, TIMEOUT},
     .results = "deferred uncertain 421 4.4.2 . | " INTERNAL
                "timeout while waiting for the reply to content\n"
                "bounced 550 RCPT TO:<r1@t.test> | no",
     .end = CLIENT_END_TIMEOUT, .state = CLIENT_ENDED},
    {.name = "c15: reset after the dot is uncertain",
     .hello = PIPELINED, .count = 1, .turns = {OK2 GO, BREAK},
     .results = "deferred uncertain 400 . | " INTERNAL
                "connection lost while waiting for the reply to content",
     .end = CLIENT_END_BROKEN, .state = CLIENT_ENDED},
    {.name = "c15: 421 after the dot is a refusal, and certain",
     .hello = PIPELINED, .count = 1, .turns = {OK2 GO, "421 4.3.0 oops\r\n"},
     .results = "deferred 421 4.3.0 . | oops", .end = CLIENT_END_421, .state = CLIENT_ENDED},
    {.name = "c15: 250 wins over the reset that follows",
     .hello = PIPELINED, .count = 1, .turns = {OK2 GO, OK1, BREAK},
     .results = "delivered 250 2.0.0 . | ok", .end = CLIENT_END_PEER, .state = CLIENT_ENDED},
    {.name = "c15: 250 wins even when our send was reported failed",
     .hello = PLAIN, .count = 1, .turns = {OK1, OK1, HELD, GO, OK1, FAILED, BREAK},
     .results = "delivered 250 2.0.0 . | ok", .end = CLIENT_END_PEER, .state = CLIENT_ENDED},
    {.name = "c15: reset before the dot has left is certain",
     .hello = PLAIN, .count = 1, .turns = {OK1, OK1, HELD, GO, FAILED, BREAK},
     .results = "deferred 400 . | " INTERNAL "connection lost while sending content",
     .end = CLIENT_END_BROKEN, .state = CLIENT_ENDED},
    {.name = "c15: a reply to the dot that is none leaves it uncertain",
     .hello = PIPELINED, .count = 1, .turns = {OK2 GO, "yes\r\n"},
     .results = "deferred uncertain 451 4.5.0 . | " INTERNAL
                "no reply code while waiting for the reply to content",
     .end = CLIENT_END_PROTOCOL, .state = CLIENT_ENDED},
    {.name = "c16: a second reply after 250: the first wins, the connection is dirty",
     .hello = PIPELINED, .count = 1, .turns = {OK2 GO, OK1 "550 no\r\n"},
     .results = "delivered 250 2.0.0 . | ok", .end = CLIENT_END_PROTOCOL, .state = CLIENT_ENDED},
    {.name = "c17: a used connection that the peer had closed",
     .hello = PIPELINED, .count = 1, .used = true, .turns = {BREAK},
     .results = "retry 400 MAIL FROM:<s@a.test> | " INTERNAL
                "connection lost while waiting for MAIL",
     .end = CLIENT_END_BROKEN, .state = CLIENT_ENDED},
    {.name = "c17: or on which it says 421 to MAIL",
     .hello = PIPELINED, .count = 1, .used = true, .turns = {"421 4.4.2 idle\r\n"},
     .results = "retry 421 4.4.2 MAIL FROM:<s@a.test> | idle",
     .end = CLIENT_END_421, .state = CLIENT_ENDED},
    {.name = "c17: with all content in that flight it may be there",
     .hello = CHUNKED, .count = 1, .used = true, .turns = {BREAK}, .wire = ENVELOPE1 BDAT,
     .results = "retry uncertain 400 MAIL FROM:<s@a.test> | " INTERNAL
                "connection lost while waiting for MAIL",
     .end = CLIENT_END_BROKEN, .state = CLIENT_ENDED},
    {.name = "c17: after idling no content flies before the envelope is answered",
     .hello = CHUNKED, .count = 1, .used = true, .careful = true, .turns = {BREAK},
     .wire = ENVELOPE1,
     .results = "retry 400 MAIL FROM:<s@a.test> | " INTERNAL
                "connection lost while waiting for MAIL",
     .end = CLIENT_END_BROKEN, .state = CLIENT_ENDED},
    {.name = "c17: a fresh connection that breaks is an attempt",
     .hello = PIPELINED, .count = 1, .turns = {BREAK},
     .results = "deferred 400 MAIL FROM:<s@a.test> | " INTERNAL
                "connection lost while waiting for MAIL",
     .end = CLIENT_END_BROKEN, .state = CLIENT_ENDED},
    {.name = "c17: once there was a reply it is an attempt",
     .hello = PIPELINED, .count = 1, .used = true, .turns = {OK1, BREAK},
     .results = "deferred 400 RCPT TO:<r0@t.test> | " INTERNAL
                "connection lost while waiting for RCPT",
     .end = CLIENT_END_BROKEN, .state = CLIENT_ENDED},
    {.name = "c18: RSET refused",
     .hello = PLAIN, .count = 1, .turns = {"550 no\r\n", "500 what\r\n"}, .wire = MAIL "RSET\r\n",
     .results = "bounced 550 MAIL FROM:<s@a.test> | no",
     .end = CLIENT_END_RSET, .state = CLIENT_ENDED},
    {.name = "c18: RSET accepted",
     .hello = PLAIN, .count = 1, .turns = {"550 no\r\n", OK1},
     .results = "bounced 550 MAIL FROM:<s@a.test> | no", .state = CLIENT_READY},
    {.name = "c18: with pipelining RSET goes out with the next envelope",
     .hello = PIPELINED, .count = 2, .failed = true, .turns = {OK1 OK2 OK1 GO, OK1},
     .wire = "RSET\r\n" ENVELOPE2 "DATA\r\n" DOTTED,
     .results = "delivered 250 2.0.0 . | ok\ndelivered 250 2.0.0 . | ok", .state = CLIENT_READY},
    {.name = "c18: no content before all of it is answered",
     .hello = CHUNKED, .count = 1, .failed = true, .turns = {OK1 OK1},
     .wire = "RSET\r\n" ENVELOPE1, .results = "pending 0  | ", .state = CLIENT_ENVELOPE},
    {.name = "c18: RSET refused there: not an attempt, whatever follows",
     .hello = PIPELINED, .count = 1, .failed = true, .turns = {"502 5.5.1 what\r\n" OK2 GO},
     .wire = "RSET\r\n" ENVELOPE1 "DATA\r\n",
     .results = "retry 502 5.5.1  | what", .end = CLIENT_END_RSET, .state = CLIENT_ENDED},
    {.name = "c18: RSET unanswered there: not an attempt",
     .hello = PIPELINED, .count = 1, .failed = true, .turns = {TIMEOUT},
     .results = "retry 421 4.4.2  | " INTERNAL "timeout while waiting for RSET",
     .end = CLIENT_END_TIMEOUT, .state = CLIENT_ENDED},
    {.name = "c18: 421 to RSET there: not an attempt",
     .hello = PIPELINED, .count = 1, .failed = true, .turns = {"421 4.3.2 bye\r\n"},
     .results = "retry 421 4.3.2  | bye", .end = CLIENT_END_421, .state = CLIENT_ENDED},
    {.name = "c18: no reply at all to RSET there: not an attempt",
     .hello = PIPELINED, .count = 1, .failed = true, .turns = {"what\r\n"},
     .results = "retry 451 4.5.0  | " INTERNAL "no reply code while waiting for RSET",
     .end = CLIENT_END_PROTOCOL, .state = CLIENT_ENDED},
    {.name = "c18: gone after the reply to RSET there: not an attempt",
     .hello = PIPELINED, .count = 1, .failed = true, .turns = {OK1, BREAK},
     .results = "retry 400 MAIL FROM:<s@a.test> | " INTERNAL
                "connection lost while waiting for MAIL",
     .end = CLIENT_END_BROKEN, .state = CLIENT_ENDED},
    {.name = "c18: gone after the reply to MAIL: an attempt",
     .hello = PIPELINED, .count = 1, .failed = true, .turns = {OK1 OK1, BREAK},
     .results = "deferred 400 RCPT TO:<r0@t.test> | " INTERNAL
                "connection lost while waiting for RCPT",
     .end = CLIENT_END_BROKEN, .state = CLIENT_ENDED},
    {.name = "c19: out of time for recipients: the rest is left",
     .hello = PLAIN, .count = 3, .turns = {OK1, HURRY, OK1, GO, OK1},
     .wire = ENVELOPE1 "DATA\r\n" DOTTED,
     .results = "delivered 250 2.0.0 . | ok\n"
                "retry 400  | " INTERNAL "left for another transaction\n"
                "retry 400  | " INTERNAL "left for another transaction",
     .state = CLIENT_READY},
    {.name = "c23: larger than SIZE allows: nothing is sent",
     .hello = "250-x\r\n250 SIZE 12\r\n", .count = 1, .turns = {NULL}, .wire = "",
     .results = "bounced 552 5.3.4  | " INTERNAL "message is larger than the server accepts",
     .state = CLIENT_READY},
    {.name = "c23: exactly as large; SIZE is declared",
     .hello = "250-x\r\n250 size 13\r\n", .count = 1, .turns = {OK1, OK1, GO, OK1},
     .wire = "MAIL FROM:<s@a.test> SIZE=13\r\n" RCPT0 "DATA\r\n" DOTTED,
     .results = "delivered 250 2.0.0 . | ok", .state = CLIENT_READY},
    {.name = "c24: BDAT refused for good",
     .hello = CHUNKED, .count = 1, .turns = {OK2 "554 5.6.0 bad\r\n"},
     .wire = ENVELOPE1 BDAT,
     .results = "bounced 554 5.6.0 . | bad", .state = CLIENT_READY},
    {.name = "c24: 503 to BDAT is temporary",
     .hello = CHUNKED, .count = 1, .turns = {OK2 "503 5.5.1 no\r\n"},
     .results = "deferred 503 5.5.1 . | no", .state = CLIENT_READY},
    {.name = "c24: after a failed chunk content waits, behind RSET and the envelope",
     .hello = CHUNKED, .count = 1, .failed = true, .turns = {OK1 OK2, OK1},
     .wire = "RSET\r\n" ENVELOPE1 BDAT,
     .results = "delivered 250 2.0.0 . | ok", .state = CLIENT_READY},
    {.name = "c40: cut off before content: not an attempt",
     .hello = PIPELINED, .count = 1, .turns = {OK1, CUT},
     .results = "retry 400 RCPT TO:<r0@t.test> | " INTERNAL "cut off while waiting for RCPT",
     .end = CLIENT_END_CLOSED, .state = CLIENT_ENDED},
    {.name = "c40: cut off after the dot: uncertain, once",
     .hello = PIPELINED, .count = 1, .turns = {OK2 GO, CUT, TIMEOUT, BREAK},
     .results = "deferred uncertain 400 . | " INTERNAL
                "cut off while waiting for the reply to content",
     .end = CLIENT_END_CLOSED, .state = CLIENT_ENDED},
    {.name = "c40: timeout with the last bytes on their way: uncertain",
     .hello = CHUNKED, .count = 1, .turns = {HELD, OK2, TIMEOUT},
     .results = "deferred uncertain 421 4.4.2 . | " INTERNAL "timeout while sending content",
     .end = CLIENT_END_TIMEOUT, .state = CLIENT_ENDED},
};

static void finish(struct world *world)
{
    if (world->session.state == CLIENT_OVER) {
        client_session_finish(&world->session);
        feed(world);
        pump(world);
    }
}

/* One message before, so that the connection is a used one. */
static void use(struct world *world)
{
    begin(world, 1, false);
    pump(world);
    turn(world, "250 a\r\n250 b\r\n", SIZE_MAX);
    turn(world, world->session.extensions.chunking ? "250 c\r\n" : "354 c\r\n", SIZE_MAX);
    if (world->session.state != CLIENT_OVER) {
        turn(world, "250 d\r\n", SIZE_MAX);
    }
    finish(world);
    assert_int_equal(world->session.state, CLIENT_READY);
    world->wire_bytes = 0;
}

/* The same in vain: RSET is due. */
static void use_in_vain(struct world *world)
{
    begin(world, 1, true);
    pump(world);
    turn(world, OK1 "450 4.2.1 later\r\n", SIZE_MAX);
    if (world->session.state != CLIENT_OVER) {
        turn(world, "503 5.5.1 none\r\n", SIZE_MAX);
    }
    finish(world);
    assert_int_equal(world->session.state, CLIENT_READY);
    world->wire_bytes = 0;
}

static void run(const struct script *script, size_t step)
{
    static struct world world;
    begin_world(&world);
    set_message(&world, SLICE(BODY), 0);
    list_dot(&world);
    greet(&world, script->hello, step);
    if (script->used) {
        use(&world);
    } else if (script->failed) {
        use_in_vain(&world);
    }
    begin(&world, script->count, script->careful);
    bool held_first = script->turns[0] != NULL && strcmp(script->turns[0], HELD) == 0;
    bool early = script->turns[0] != NULL && strcmp(script->turns[0], EARLY) == 0;
    world.held = held_first;
    if (!early) {
        pump(&world);
    }
    for (size_t i = held_first || early; i < TURNS_MAX && script->turns[i] != NULL; i++) {
        const char *next = i + 1 < TURNS_MAX ? script->turns[i + 1] : NULL;
        turn(&world, script->turns[i], step);
        /* The user has seen the results before the server says more; a break may come earlier. */
        if (next != NULL && next[0] != '<') {
            finish(&world);
        }
    }
    uint8_t text[2048];
    struct buf results;
    buf_init(&results, text, sizeof(text));
    put_results(&results, &world.transaction);
    if (!slice_equal(buf_slice(&results), slice_from_string(script->results))) {
        fail_msg("%s (step %zu): results are\n%.*s", script->name, step, (int)results.size, text);
    }
    finish(&world);
    if (world.session.state != script->state || world.session.end != script->end) {
        fail_msg("%s (step %zu): state %d, end %s", script->name, step, world.session.state,
                 client_end_name(world.session.end));
    }
    struct slice wire = slice_make(world.wire, world.wire_bytes);
    if (script->wire != NULL && !slice_equal(wire, slice_from_string(script->wire))) {
        fail_msg("%s (step %zu): sent\n%.*s", script->name, step, (int)wire.size, wire.data);
    }
    end_world(&world);
}

static bool has_id(const char *name)
{
    return name[0] == 'c' && name[1] >= '0' && name[1] <= '9';
}

/* The scripts of one id, or with null those that have none: whole and byte by byte. */
static void run_scripts(const char *id)
{
    unsigned count = 0;
    for (size_t i = 0; i < COUNT_OF(scripts); i++) {
        const char *name = scripts[i].name;
        if (id == NULL ? has_id(name) : strncmp(name, id, strlen(id)) != 0) {
            continue;
        }
        run(&scripts[i], SIZE_MAX);
        run(&scripts[i], 1);
        count++;
    }
    assert_true(count > 0);
}

static void scripts_without_an_id_give_their_results(void **state)
{
    (void)state;
    run_scripts(NULL);
}

#define SCRIPT_IDS(X)                                                                              \
    X(c02) X(c10) X(c11) X(c12) X(c13) X(c14) X(c15) X(c16) X(c17) X(c18) X(c19) X(c23)            \
    X(c24) X(c40)

#define SCRIPT_TEST(id)                                                                            \
    static void id##_scripts_give_their_results_whole_and_byte_by_byte(void **state)               \
    {                                                                                              \
        (void)state;                                                                               \
        run_scripts(#id);                                                                          \
    }
SCRIPT_IDS(SCRIPT_TEST)
#undef SCRIPT_TEST

/* A world that has been greeted and holds one message. */
static void open_world(struct world *world, const char *hello, uint16_t flags)
{
    begin_world(world);
    set_message(world, SLICE(BODY), flags);
    list_dot(world);
    greet(world, hello, SIZE_MAX);
}

static void many_recipients_go_out_in_windows_and_in_order(void **state)
{
    (void)state;
    static struct world world;
    open_world(&world, PIPELINED, 0);
    begin(&world, 120, false);
    pump(&world);
    assert_int_equal(world.session.expected_count, CLIENT_RCPTS_AHEAD_MAX);
    turn(&world, "250 mail\r\n", 1);
    for (unsigned i = 0; i < 120; i++) {
        turn(&world, "250 rcpt\r\n", 1);
        assert_true(world.session.expected_count <= CLIENT_RCPTS_AHEAD_MAX + 1);
    }
    turn(&world, "354 go\r\n", 1);
    turn(&world, "250 in\r\n", 1);
    assert_int_equal(world.session.state, CLIENT_OVER);
    size_t at = 0;
    for (unsigned i = 0; i < 120; i++) {
        assert_int_equal(world.recipients[i].disposition, CLIENT_DELIVERED);
        const uint8_t *found = memmem(world.wire + at, world.wire_bytes - at,
                                      world.addresses[i], strlen(world.addresses[i]));
        assert_non_null(found);
        at = (size_t)(found - world.wire);
    }
    assert_true(slice_ends_with(slice_make(world.wire, world.wire_bytes),
                                SLICE("DATA\r\n" DOTTED)));
    end_world(&world);
}

static void last_reply_keeps_its_text_when_refusals_fill_the_room(void **state)
{
    (void)state;
    static struct world world;
    open_world(&world, PLAIN, 0);
    begin(&world, 60, false);
    pump(&world);
    turn(&world, "250 mail\r\n", SIZE_MAX);
    turn(&world, "250 rcpt\r\n", SIZE_MAX);
    for (unsigned i = 1; i < 60; i++) {
        char line[1100];
        memset(line, 'a' + (int)(i % 26), sizeof(line));
        memcpy(line, "550 ", 4);
        memcpy(line + sizeof(line) - 3, "\r\n", 3);
        turn(&world, line, SIZE_MAX);
    }
    turn(&world, "354 go\r\n", SIZE_MAX);
    turn(&world, "250 the last word\r\n", SIZE_MAX);
    assert_int_equal(world.recipients[1].text.size, REPLY_TEXT_BYTES_MAX);
    assert_int_equal(world.recipients[58].text.size, 0);
    assert_int_equal(world.recipients[58].code, 550);
    assert_true(slice_equal(world.recipients[0].text, SLICE("the last word")));
    end_world(&world);
}

struct need_case {
    uint16_t flags;
    const char *hello;
    bool ignore;
    const char *wire; /* its beginning */
    uint16_t code;    /* of a refusal without a word to the server; 0: none */
};

static const struct need_case needs[] = {
    {SPOOL_MESSAGE_8BIT, PLAIN, false, "", 554},
    {SPOOL_MESSAGE_8BIT, PLAIN, true, MAIL, 0},
    {SPOOL_MESSAGE_8BIT, "250-x\r\n250 8BITMIME\r\n", false,
     "MAIL FROM:<s@a.test> BODY=8BITMIME\r\n", 0},
    {0, "250-x\r\n250 8BITMIME\r\n", false, MAIL, 0},
    {SPOOL_MESSAGE_SMTPUTF8, PLAIN, false, "", 550},
    {SPOOL_MESSAGE_SMTPUTF8, PLAIN, true, MAIL, 0},
    {SPOOL_MESSAGE_SMTPUTF8, "250-x\r\n250 SMTPUTF8\r\n", false,
     "MAIL FROM:<s@a.test> SMTPUTF8\r\n", 0},
    {SPOOL_MESSAGE_SMTPUTF8 | SPOOL_MESSAGE_8BIT, "250-x\r\n250 SMTPUTF8\r\n", false, "", 554},
};

static void c23_requests_about_notifications_go_to_who_offers_them(void **state)
{
    (void)state;
    static const struct {
        const char *hello;
        struct envelope_dsn mail;
        struct envelope_dsn rcpts[2];
        const char *wire;
    } rows[] = {
        {"250-x\r\n250-PIPELINING\r\n250 DSN\r\n", {ENVELOPE_RETURN_HDRS, {NULL, 0}},
         {{0}, {0}},
         "MAIL FROM:<s@a.test> RET=HDRS\r\nRCPT TO:<r0@t.test>\r\nRCPT TO:<r1@t.test>\r\n"},
        {"250-x\r\n250-PIPELINING\r\n250 dsn\r\n",
         {ENVELOPE_RETURN_FULL, {(const uint8_t *)"i+2Bd", 5}},
         {{ENVELOPE_NOTIFY_NEVER, {NULL, 0}},
          {ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_FAILURE | ENVELOPE_NOTIFY_DELAY,
           {(const uint8_t *)"rfc822;o+3D@t", 13}}},
         "MAIL FROM:<s@a.test> RET=FULL ENVID=i+2Bd\r\nRCPT TO:<r0@t.test> NOTIFY=NEVER\r\n"
         "RCPT TO:<r1@t.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;o+3D@t\r\n"},
        {"250-x\r\n250-PIPELINING\r\n250 DSN\r\n", {0}, {{0}, {0}},
         "MAIL FROM:<s@a.test>\r\nRCPT TO:<r0@t.test>\r\nRCPT TO:<r1@t.test>\r\n"},
        {"250-x\r\n250 PIPELINING\r\n", {ENVELOPE_RETURN_FULL, {(const uint8_t *)"id", 2}},
         {{ENVELOPE_NOTIFY_NEVER, {NULL, 0}}, {0, {(const uint8_t *)"rfc822;o", 8}}},
         "MAIL FROM:<s@a.test>\r\nRCPT TO:<r0@t.test>\r\nRCPT TO:<r1@t.test>\r\n"},
    };
    static struct world world;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        open_world(&world, rows[i].hello, 0);
        world.dsn = rows[i].mail;
        world.recipients[0].dsn = rows[i].rcpts[0];
        world.recipients[1].dsn = rows[i].rcpts[1];
        begin(&world, 2, false);
        pump(&world);
        size_t bytes = strlen(rows[i].wire);
        assert_true(world.wire_bytes >= bytes);
        assert_memory_equal(world.wire, rows[i].wire, bytes);
        end_world(&world);
    }
}

static void c23_message_that_needs_what_is_not_offered_bounces_unsent(void **state)
{
    (void)state;
    static struct world world;
    for (size_t i = 0; i < COUNT_OF(needs); i++) {
        open_world(&world, needs[i].hello, needs[i].flags);
        world.options.ignore_8bit_checks = needs[i].ignore;
        begin(&world, 1, false);
        pump(&world);
        assert_true(slice_equal(slice_make(world.wire, world.wire_bytes),
                                slice_from_string(needs[i].wire)));
        assert_int_equal(world.recipients[0].code, needs[i].code);
        assert_int_equal(world.session.state,
                         needs[i].code != 0 ? CLIENT_OVER : CLIENT_ENVELOPE);
        if (needs[i].code != 0) {
            assert_int_equal(world.recipients[0].disposition, CLIENT_BOUNCED);
            finish(&world);
            assert_int_equal(world.session.state, CLIENT_READY);
            assert_false(world.transaction.sent);
        }
        end_world(&world);
    }
}

/* A whole transaction, with RSET for every one. */
static void send_with_rset(struct world *world, const char *hello)
{
    open_world(world, hello, 0);
    world->options.enable_rset = true;
    use(world);
}

static void enable_rset_resets_after_a_success_too(void **state)
{
    (void)state;
    static struct world world;
    send_with_rset(&world, PIPELINED);
    begin(&world, 1, false);
    pump(&world);
    assert_true(slice_equal(slice_make(world.wire, world.wire_bytes),
                            SLICE("RSET\r\n" ENVELOPE1 "DATA\r\n")));
    end_world(&world);
}

static void a_reset_that_is_still_due_does_not_hold_up_quit(void **state)
{
    (void)state;
    static struct world world;
    send_with_rset(&world, PIPELINED);
    client_session_quit(&world.session);
    pump(&world);
    assert_true(slice_equal(slice_make(world.wire, world.wire_bytes), SLICE("QUIT\r\n")));
    turn(&world, "221 f\r\n", SIZE_MAX);
    assert_int_equal(world.session.state, CLIENT_ENDED);
    assert_int_equal(world.session.end, CLIENT_END_CLOSED);
    end_world(&world);
}

/* Without pipelining it goes alone, and QUIT waits for its reply. */
static void quit_waits_for_the_reply_to_a_reset(void **state)
{
    (void)state;
    static struct world world;
    open_world(&world, PLAIN, 0);
    begin(&world, 1, false);
    pump(&world);
    turn(&world, "450 no\r\n", SIZE_MAX);
    finish(&world);
    assert_int_equal(world.session.state, CLIENT_RSETTING);
    assert_true(slice_ends_with(slice_make(world.wire, world.wire_bytes), SLICE("RSET\r\n")));
    client_session_quit(&world.session);
    turn(&world, "250 e\r\n", SIZE_MAX);
    assert_int_equal(world.session.state, CLIENT_QUITTING);
    turn(&world, "221 f\r\n", SIZE_MAX);
    assert_int_equal(world.session.state, CLIENT_ENDED);
    assert_int_equal(world.session.end, CLIENT_END_CLOSED);
    end_world(&world);
}

/* What was refused here sent nothing: the next one that is sent begins with RSET all the same. */
static void c18_a_transaction_of_which_nothing_is_sent_leaves_the_reset_due(void **state)
{
    (void)state;
    static struct world world;
    open_world(&world, PIPELINED, 0);
    use_in_vain(&world);
    world.message.flags = SPOOL_MESSAGE_8BIT;
    begin(&world, 1, false);
    assert_int_equal(world.recipients[0].disposition, CLIENT_BOUNCED);
    finish(&world);
    assert_int_equal(world.wire_bytes, 0);
    world.message.flags = 0;
    begin(&world, 1, false);
    pump(&world);
    assert_true(slice_starts_with(slice_make(world.wire, world.wire_bytes),
                                  SLICE("RSET\r\n" MAIL)));
    assert_int_equal(client_session_timeout_ns(&world.session, false),
                     world.options.rset_timeout_ns);
    end_world(&world);
}

/* Of every step its own deadline; of content, while it goes out, that of a block. */
static void c19_each_step_has_its_own_timeout(void **state)
{
    (void)state;
    static struct world world;
    begin_world(&world);
    set_message(&world, SLICE(BODY), 0);
    const struct client_session *session = &world.session;
    world.options.banner_timeout_ns = 1;
    world.options.ehlo_timeout_ns = 2;
    world.options.idle_timeout_ns = 3;
    world.options.mail_from_timeout_ns = 4;
    world.options.rcpt_to_timeout_ns = 5;
    world.options.data_timeout_ns = 6;
    world.options.data_dot_timeout_ns = 7;
    world.options.rset_timeout_ns = 8;
    static const char *const turns[] = {"220 x\r\n", "250 x\r\n", NULL,         "250 x\r\n",
                                        "250 x\r\n", "354 x\r\n", "550 x\r\n"};
    for (uint64_t i = 0; i < COUNT_OF(turns); i++) {
        assert_int_equal(client_session_timeout_ns(session, false), i + 1);
        if (turns[i] == NULL) {
            begin(&world, 1, false);
            pump(&world);
        } else {
            turn(&world, turns[i], SIZE_MAX);
        }
    }
    finish(&world);
    assert_int_equal(client_session_timeout_ns(session, false), 8);
    turn(&world, "250 x\r\n", SIZE_MAX);
    begin(&world, 1, false);
    pump(&world);
    turn(&world, "250 x\r\n", SIZE_MAX);
    turn(&world, "250 x\r\n", SIZE_MAX);
    world.held = true;
    turn(&world, "354 x\r\n", SIZE_MAX);
    assert_int_equal(client_session_timeout_ns(session, true), CLIENT_DATA_BLOCK_NS);
    turn(&world, SENT, SIZE_MAX);
    assert_int_equal(client_session_timeout_ns(session, false), 7);
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SCRIPT_TEST(id) cmocka_unit_test(id##_scripts_give_their_results_whole_and_byte_by_byte),
        SCRIPT_IDS(SCRIPT_TEST)
#undef SCRIPT_TEST
        cmocka_unit_test(scripts_without_an_id_give_their_results),
        cmocka_unit_test(many_recipients_go_out_in_windows_and_in_order),
        cmocka_unit_test(last_reply_keeps_its_text_when_refusals_fill_the_room),
        cmocka_unit_test(c23_requests_about_notifications_go_to_who_offers_them),
        cmocka_unit_test(c23_message_that_needs_what_is_not_offered_bounces_unsent),
        cmocka_unit_test(enable_rset_resets_after_a_success_too),
        cmocka_unit_test(a_reset_that_is_still_due_does_not_hold_up_quit),
        cmocka_unit_test(quit_waits_for_the_reply_to_a_reset),
        cmocka_unit_test(c18_a_transaction_of_which_nothing_is_sent_leaves_the_reset_due),
        cmocka_unit_test(c19_each_step_has_its_own_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
