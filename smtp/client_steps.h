/* What client_session.c and client_steps.c share; for no other file. */
#ifndef RINGPOST_SMTP_CLIENT_STEPS_H
#define RINGPOST_SMTP_CLIENT_STEPS_H

#include "smtp/client_session.h"

/* One step of the dialogue; the table is in client_steps.c. */
struct client_step_row {
    const char *name;
    const char *doing;
    size_t timeout_offset;      /* in struct client_options; SIZE_MAX: `timeout_ns` */
    uint64_t timeout_ns;
    enum client_answer answer;  /* of results that this step settles */
    /* Appends the command, expects its reply, says what is next. */
    void (*send)(struct client_session *session, struct buf *commands);
    /* Its reply is whole. */
    void (*reply)(struct client_session *session, const struct reply *reply);
};
extern const struct client_step_row client_steps[STEP_NONE];

/* The only writer of the state; checks that the transition is legal. */
void client_set_state(struct client_session *session, enum client_state state);
void client_expect(struct client_session *session, enum client_step step);
/* The step to which the next reply belongs; STEP_NONE: none is due. */
enum client_step client_expected_step(const struct client_session *session);

/* Which step sends the content: BDAT when offered, else DATA. */
enum client_step client_content_step(const struct client_session *session);

/* What every recipient without a result gets; `reply` is copied. */
struct client_verdict {
    const struct reply *reply;
    enum client_disposition disposition;
    enum client_answer answer;
    bool uncertain;
    bool broken;
};
void client_settle(struct client_session *session, struct client_recipient *recipient,
                   const struct client_verdict *verdict);
void client_settle_all(struct client_session *session, const struct client_verdict *verdict);
/* Recipients not yet named are retried now; no more RCPT. */
void client_stop_naming(struct client_session *session);

/* Every recipient has a result: CLIENT_OVER. `success`: the next transaction needs no RSET. */
void client_over(struct client_session *session, bool success);
/* The dialogue ends, in a transaction after its results: session->failure must be set. */
void client_end_dialogue(struct client_session *session, enum client_end end);
/* A reply that makes no sense where it stands; `what` in a few words. */
void client_protocol_error(struct client_session *session, const char *what);

/* One line of the reply to EHLO after the first (RFC 5321 4.1.1.1). */
void client_note_keyword(struct client_session *session, struct slice line);

#endif
