/*
 * Both ends of a mail server under test, by hand: a client that says what it is told and reads line
 * by line, and a sink that takes every message and keeps its bytes. For tests of one server; the
 * judge of many is tests/world.
 */
#ifndef RINGPOST_TESTS_KIT_TALK_H
#define RINGPOST_TESTS_KIT_TALK_H

#include "tests/sim/sim.h"

/* A client's connection. */
struct talk {
    struct sim *sim;
    struct sim_peer *peer;
    char line[2048];
};

/* Connects from host `from` (see sim_endpoint) to `to`. */
void talk_open(struct talk *talk, struct sim *sim, unsigned from, const struct endpoint *to);
void talk_say(struct talk *talk, const char *text);
void talk_say_bytes(struct talk *talk, struct slice bytes);
/* The next line, without CRLF, within a simulated minute; null: none, or the connection ended. */
const char *talk_line(struct talk *talk);
/* The same within `limit_ns`. */
const char *talk_line_within(struct talk *talk, uint64_t limit_ns);
/* The last line of the next reply. */
const char *talk_reply(struct talk *talk);
/* The server has closed within `limit_ns`, and nothing is left to read. */
bool talk_closed(struct talk *talk, uint64_t limit_ns);
void talk_close(struct talk *talk);

#define SINK_MAILS_MAX 256

struct talk_conn;

/* Takes everything, one command at a time. */
struct talk_sink {
    struct sim *sim;
    struct sim_listener *listener;
    struct talk_conn *first;           /* owned: all there ever were */
    struct sim_peer *last;             /* the last that said anything */
    unsigned conns;                    /* accepted */
    unsigned mails;
    const char *defer;                 /* the reply to content instead of 250; null: 250 */
    bool mute;                         /* says no word, not even a banner */
    bool hold;                         /* takes content and never answers it */
    bool drops;                        /* ends at RCPT, without a word */
    bool deaf;                         /* reads nothing of content */
    struct {
        uint8_t *bytes;                /* owned; as sent, dots unstuffed */
        size_t size;
        char recipient[128];           /* of the last RCPT */
    } mail[SINK_MAILS_MAX];
};

void talk_sink_open(struct talk_sink *sink, struct sim *sim, const struct endpoint *at);
void talk_sink_close(struct talk_sink *sink);
/* It is deaf no more, and reads what has come meanwhile. */
void talk_sink_hear(struct talk_sink *sink);
/* Runs until the sink has `mails`. */
bool talk_sink_wait(struct talk_sink *sink, unsigned mails, uint64_t limit_ns);

#endif
