/*
 * One SMTP client dialogue: replies in, commands and content out, and what became of each
 * recipient. It knows no descriptor, no operation, no clock; those are the connection's.
 *
 * RFC 5321; PIPELINING 2920, SIZE 1870, 8BITMIME 6152, SMTPUTF8 6531, CHUNKING 3030,
 * ENHANCEDSTATUSCODES 2034, DSN 3461. All calls on the shard of its connection.
 *
 * Output is pulled: whenever the connection's send slot is idle it asks client_session_output,
 * which gives all that may be sent now. Commands sent ahead leave a step in a bounded queue of
 * expected replies; a reply always belongs to its head (client_steps.c holds the table that
 * drives both). Replies are pushed: client_session_feed. Neither waits for the other, so a peer
 * that answers in the middle of our content is heard.
 *
 * Rules of results (reference ids in client_session_test.c):
 *   2xx to the content          delivered, each recipient whose RCPT was accepted
 *   3xx 4xx 503, 552 to RCPT    deferred           other 5xx      bounced
 *   421 anywhere                deferred at most, and the connection is not used again
 *   4.5.3, or 452/552 without an enhanced code, to any RCPT but the first of a transaction:
 *                               too many recipients; it and those not yet named: retry now
 *   no reply, content not all sent                   deferred, 421 4.4.2 or 400 by cause
 *   no reply, content all handed out to be sent      deferred, and uncertain: it may be there
 *   no reply at all to the first flight of a transaction on a used connection (the peer had closed
 *                               it meanwhile, or said 421): retry now, not an attempt; it is
 *                               uncertain too when the flight held all of the content
 *   unparseable or impossible reply                  deferred, 451 4.5.0
 * A result that a reply has settled is never changed by what happens later.
 */
#ifndef RINGPOST_SMTP_CLIENT_SESSION_H
#define RINGPOST_SMTP_CLIENT_SESSION_H

#include "core/buf.h"
#include "smtp/body_cursor.h"
#include "smtp/envelope.h"
#include "smtp/reply.h"

/* Replies that may be outstanding, and how many of them may be for RCPT. */
#define CLIENT_EXPECTED_MAX 64
#define CLIENT_RCPTS_AHEAD_MAX 48
/* Up to this size content follows in the flight of the envelope (BDAT, with PIPELINING). */
#define CLIENT_FLIGHT_BYTES_MAX (128 * KIB)
/* One command at most; what client_session_output wants of its buffer at least. */
#define CLIENT_COMMAND_BYTES_MAX 1024
/* Of content, in one output: bounds the time without visible progress. */
#define CLIENT_OUTPUT_BYTES_MAX (256 * KIB)
/* Room that a transaction's text buffer keeps for the last reply. */
#define CLIENT_TEXT_RESERVE REPLY_TEXT_BYTES_MAX
#define CLIENT_COMMAND_TEXT_MAX 300

#define CLIENT_DATA_BLOCK_NS (180 * NS_PER_S) /* RFC 5321 4.5.3.2.5 */
#define CLIENT_QUIT_NS       (5 * NS_PER_S)

/* Filled by delivery from struct path_options; outlives the connection. */
struct client_options {
    uint64_t connect_timeout_ns;
    uint64_t banner_timeout_ns;
    uint64_t ehlo_timeout_ns;
    uint64_t mail_from_timeout_ns;
    uint64_t rcpt_to_timeout_ns;
    uint64_t data_timeout_ns;     /* DATA → 354; blocks of content have CLIENT_DATA_BLOCK_NS each */
    uint64_t data_dot_timeout_ns; /* end of content → reply */
    uint64_t rset_timeout_ns;
    uint64_t idle_timeout_ns;
    uint64_t envelope_budget_ns;  /* MAIL sent → last RCPT; the rest is retried; 0 = none (C-19) */
    struct slice ehlo_domain;     /* not empty */
    bool enable_pipelining;
    bool enable_chunking;
    bool enable_rset;             /* before every later transaction, not only after a failed one */
    bool ignore_8bit_checks;
};

/* The defaults: RFC minimum timeouts, pipelining and chunking used when offered. */
void client_options_init(struct client_options *options, struct slice ehlo_domain);

enum client_disposition {
    CLIENT_PENDING,
    CLIENT_DELIVERED,
    CLIENT_DEFERRED,
    CLIENT_BOUNCED,
    CLIENT_RETRY_NOW, /* not an attempt: try again at once, on another transaction or connection */
};

/* Which command a result answers. */
enum client_answer {
    CLIENT_ANSWER_NONE, /* none was sent for it */
    CLIENT_ANSWER_MAIL,
    CLIENT_ANSWER_RCPT,
    CLIENT_ANSWER_DATA,
    CLIENT_ANSWER_CONTENT,
};

struct client_recipient {
    /* in */
    uint16_t index;       /* within the message */
    struct slice address; /* without angle brackets; borrowed until done */
    struct envelope_dsn dsn; /* NOTIFY and ORCPT; borrowed as long */
    /* out */
    uint8_t disposition;  /* enum client_disposition */
    uint8_t answer;       /* enum client_answer */
    bool accepted;        /* its RCPT was */
    bool uncertain;       /* all content was sent and no reply came */
    bool broken;          /* the connection broke, or the time was over, before a reply to it */
    uint16_t code;
    uint8_t enhanced[3];  /* all 0: none */
    struct slice text;    /* in the transaction's texts */
};

/* Made by the user; the session's from begin until it is done. */
struct client_transaction {
    const struct message *message; /* borrowed: the user holds a reference */
    struct slice sender;           /* empty: the null sender */
    struct envelope_dsn dsn;       /* RET and ENVID; borrowed; set by the user after the init */
    struct client_recipient *recipients;
    uint32_t count;                /* ≥ 1 */
    struct buf texts;              /* memory of the user's for reply texts, ≥ 2 KiB; equal
                                      neighbours share, and what does not fit is cut */
    /* out */
    struct slice last_text;        /* of texts */
    bool sent;                     /* anything of it was sent */
    uint64_t mail_sent_ns;         /* monotonic; 0 when not sent. By client_conn */
    uint64_t done_ns;              /* by client_conn */
};

/* Inputs only; clears the rest. `recipients` have index, address and dsn set by the caller. */
void client_transaction_init(struct client_transaction *transaction,
                             const struct message *message, struct slice sender,
                             struct client_recipient *recipients, uint32_t count);
/* "." or "RCPT TO:<…>" or "MAIL FROM:<…>" or nothing, for the event; ≤ CLIENT_COMMAND_TEXT_MAX. */
void client_result_put_command(struct buf *buf, const struct client_transaction *transaction,
                               const struct client_recipient *recipient);

/* Why a dialogue is over. */
enum client_end {
    CLIENT_END_NONE,
    CLIENT_END_CLOSED,   /* we wanted to: QUIT, idle_timeout, cut off */
    CLIENT_END_PEER,     /* the peer closed, or said 421, while nothing was going on: no failure */
    CLIENT_END_CONNECT,  /* no connection: see client_conn.connect_end */
    CLIENT_END_REFUSED,  /* banner or greeting refused: client_session.failure */
    CLIENT_END_421,      /* the peer ended the dialogue in a transaction */
    CLIENT_END_TIMEOUT,  /* client_session_doing says where */
    CLIENT_END_BROKEN,   /* reset or end of stream in the dialogue */
    CLIENT_END_PROTOCOL, /* a reply that makes no sense, or more of them than commands (dirty) */
    CLIENT_END_RSET,     /* RSET was refused (C-18) */
    CLIENT_END_BODY,     /* the message could not be read to its end: cut off in its middle */
};
const char *client_end_name(enum client_end end);

/* The state list, its texts and legal transitions are in client_session.c. */
enum client_state {
    CLIENT_GREETING, /* banner, EHLO, HELO */
    CLIENT_READY,    /* a transaction may begin */
    CLIENT_ENVELOPE, /* MAIL, RCPT, DATA or BDAT */
    CLIENT_CONTENT,  /* content is being sent, or its reply is awaited */
    CLIENT_OVER,     /* results are ready: client_session_finish */
    CLIENT_RSETTING, /* alone, where there is no pipelining */
    CLIENT_QUITTING,
    CLIENT_ENDED,    /* session->end says why: close the connection */
};

enum client_step {
    STEP_BANNER,
    STEP_EHLO,
    STEP_HELO,
    STEP_MAIL,
    STEP_RCPT,
    STEP_DATA,
    STEP_BDAT,    /* the command and its content */
    STEP_CONTENT, /* after 354 */
    STEP_RSET,
    STEP_QUIT,
    STEP_NONE,
};

/* What the server offered. */
struct client_extensions {
    bool pipelining;
    bool chunking;
    bool size;
    bool eightbitmime;
    bool smtputf8;
    bool dsn;
    uint64_t size_max; /* 0: no limit was named */
};

struct client_session {
    const struct client_options *options; /* borrowed from the connection's user */
    enum client_state state;
    enum client_end end;
    struct client_extensions extensions;
    struct client_transaction *transaction; /* borrowed; null between */
    struct body_cursor body;
    struct reply failure;      /* why it ended: the peer's reply or a text of ours */
    struct reply_parser parser;
    uint8_t expected[CLIENT_EXPECTED_MAX]; /* enum client_step, a ring */
    uint32_t expected_first;
    uint32_t expected_count;
    uint8_t next_step;         /* enum client_step: to be sent next; STEP_NONE: nothing yet */
    uint32_t rcpt_next;        /* recipient whose RCPT is sent next */
    uint32_t rcpt_end;         /* no RCPT is sent from here on (too many, budget) */
    uint32_t rcpt_answered;    /* recipient to whom the next RCPT reply belongs */
    uint32_t accepted;         /* RCPTs accepted */
    uint32_t transactions;     /* begun on this connection before this one */
    enum client_step doing;    /* what the last reply was for, or the end came in */
    bool helo_tried;
    bool careful;              /* content waits for the replies to the envelope (C-17, C-18) */
    bool answered;             /* any reply in this transaction */
    bool rset_wanted;          /* before the next transaction, or with it */
    bool content_open;         /* content is being produced */
    bool content_made;         /* its last byte was handed out */
    bool content_sent;         /* and has left: client_session_sent */
    bool send_failed;          /* nothing more can be sent; what the peer has said still counts */
    bool part_wanted;
    bool quit_wanted;
};

void client_session_init(struct client_session *session, const struct client_options *options);

/*
 * Begins a transaction; in CLIENT_READY. `careful`: the connection stood idle, the peer may have
 * closed it: no content is sent before a reply has come. CLIENT_OVER may follow at once (SIZE,
 * 8BITMIME, SMTPUTF8 missing: refused here, nothing sent).
 */
void client_session_begin(struct client_session *session, struct client_transaction *transaction,
                          bool careful);
/* In CLIENT_OVER, after the user has seen the results: on to READY, RSETTING, QUITTING or ENDED. */
void client_session_finish(struct client_session *session);
/* QUIT as soon as nothing is going on. */
void client_session_quit(struct client_session *session);

/*
 * Takes replies off `input`. Stops at CLIENT_OVER, CLIENT_ENDED (what is left is surplus), and at
 * the reply to content whose last bytes are still on their way out: feed again after
 * client_session_sent.
 */
void client_session_feed(struct client_session *session, struct slice *input);

/*
 * All that may be sent now: `commands` (room for CLIENT_COMMAND_BYTES_MAX at least; appended to,
 * and named by the first iovec) and content. Returns the number of iovecs, ≤ RING_IOVECS_MAX; 0:
 * nothing. Called only when all earlier output has been sent, as the iovecs' memory must stay
 * until then. session->part_wanted: a part of the body is needed first (client_session_give_part).
 */
MUST_USE unsigned client_session_output(struct client_session *session, struct buf *commands,
                                        struct iovec *iovecs);
/* The output is sent, whole. */
void client_session_sent(struct client_session *session);
/*
 * The output could not be sent, not all of it. Replies that have come, or still come, count: a 2xx
 * to content wins, another one is what a recipient is deferred with. Feed them, then
 * client_session_break.
 */
void client_session_send_failed(struct client_session *session);
/* session->body.part; null: it cannot be had, and the dialogue ends in CLIENT_END_BODY. */
void client_session_give_part(struct client_session *session, const struct chain *chain);

/* No more RCPT in this transaction; those not named are retried now (C-19). */
void client_session_hurry(struct client_session *session);
/*
 * The dialogue is broken off: `end` is CLIENT_END_TIMEOUT, BROKEN, CLOSED or PEER, `cause` a few
 * words for the synthetic reply. Settles what is pending: CLIENT_OVER with a transaction (ENDED
 * after client_session_finish), else CLIENT_ENDED at once. The first end wins; later ones are
 * ignored.
 */
void client_session_break(struct client_session *session, enum client_end end, const char *cause);

/* How long the peer may take for what is going on; 0: no limit. `sending`: output is on its way. */
uint64_t client_session_timeout_ns(const struct client_session *session, bool sending);
/* "waiting for RCPT" and so on: for log lines and synthetic replies. */
const char *client_session_doing(const struct client_session *session);

#endif
