/*
 * A server session with a world around it that a test can predict: a client's bytes in, cut as the
 * test likes; out come the replies, the messages that were accepted, and how often the hook and the
 * delay were asked for. Commits succeed at once, spilled blocks are kept for the body.
 *
 * The policy goes by domain: "denied.test" 550 5.7.1, "later.test" 451 4.4.4, "full.test"
 * 452 4.3.1, "stop.test" 421 4.3.2, for senders and recipients alike. A sender whose local part is
 * "nostore" is refused by the spool, 451 4.3.0.
 */
#ifndef RINGPOST_TESTS_KIT_SERVER_DIALOGUE_H
#define RINGPOST_TESTS_KIT_SERVER_DIALOGUE_H

#include "core/buf.h"
#include "smtp/limits.h"
#include "smtp/server_session.h"

#define DIALOGUE_LOG_BYTES  (4 * KIB)
#define DIALOGUE_BODY_SHOWN 64

struct dialogue {
    struct block_pool *pool; /* borrowed from the test */
    struct server_options options;
    struct server_policy policy;
    struct server_session session;
    XXH3_state_t hash;
    uint8_t *pending; /* bytes not yet consumed, in a block of exactly their size */
    size_t pending_bytes;
    struct chain spilled; /* of the body that is arriving */
    /* Each reply as "250 2.1.0" or, without an enhanced code, as "250", ended by '\n'. */
    struct buf summary;
    uint8_t summary_bytes[DIALOGUE_LOG_BYTES];
    /* Each message as "sender>recipient,recipient=body\n"; a long body as "#bytes". */
    struct buf accepted;
    uint8_t accepted_bytes[DIALOGUE_LOG_BYTES];
    uint64_t replies; /* counted, also when the summary is full */
    uint64_t messages;
    unsigned last_code;
    unsigned rejected;
    unsigned delays;
    unsigned spills;
    bool plain_reply_due; /* banner, EHLO, HELO: no enhanced code */
    bool closed;
};

/* Options are set to usable values: untrusted, 1 MiB, 100 recipients; change them before greet. */
void dialogue_init(struct dialogue *dialogue, struct block_pool *pool);
/* Sends the banner; it is not in the summary. */
void dialogue_greet(struct dialogue *dialogue);
/* The client sends `bytes`, in pieces of `piece_bytes` (0 = all at once). */
void dialogue_send(struct dialogue *dialogue, struct slice bytes, size_t piece_bytes);
void dialogue_send_string(struct dialogue *dialogue, const char *string);
void dialogue_clear_logs(struct dialogue *dialogue);
/* Ends the session; every block must be back in the pool then. */
void dialogue_fini(struct dialogue *dialogue);

#endif
