/*
 * A whole node in the simulator between a client and a sink led by hand (tests/kit/talk.h).
 * Mail for t.test goes to the sink; 10.0.0.0/24 are relay_hosts, STAGE_STRANGER is not.
 */
#ifndef RINGPOST_TESTS_KIT_STAGE_H
#define RINGPOST_TESTS_KIT_STAGE_H

#include "tests/kit/talk.h"
#include "tests/world/world.h"

#define STAGE_CLIENT   250
#define STAGE_STRANGER (7 * 256 + 1)
#define STAGE_SINK     (9 * 256 + 9)

struct stage {
    struct sim *sim;
    struct world world;
    struct talk_sink sink;
    struct endpoint server;
};

/* Nothing runs yet: world_set adds to the configuration. */
void stage_open(struct stage *stage, uint64_t seed);
void stage_start(struct stage *stage);
/* A clean stop when the node still runs; false when the run has failed. Frees everything. */
MUST_USE bool stage_close(struct stage *stage);

/* The next reply begins so; else the run has failed. */
bool stage_hears(struct talk *talk, const char *start);
/* Connects, reads the banner, says EHLO. */
bool stage_begin(struct stage *stage, struct talk *talk, unsigned host);
/* MAIL, RCPT for `recipient`, DATA, up to 354. */
bool stage_envelope(struct talk *talk, const char *recipient);
/* A whole message from EHLO to 250, on a connection of its own. */
bool stage_mail(struct stage *stage, const char *recipient, const char *body);
/* Recipients of a queue on one shard, who have no message and wait for an hour. */
void stage_rows_put(struct stage *stage, unsigned shard, const char *name, unsigned count);
/* All who wait are gone. */
void stage_rows_drop(struct stage *stage);
/* The sink gets this message as its number `index`. */
bool stage_expect(struct stage *stage, unsigned index, const char *body);
/* How often the event log has this text, five seconds from now. */
unsigned stage_told(struct stage *stage, const char *text);
/* `size` bytes and a little more: a header and lines that tell their number; the caller frees. */
char *stage_body(size_t size);

#endif
