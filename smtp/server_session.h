/*
 * One SMTP server dialogue: bytes in, replies out, and what it wants next. It knows no descriptor,
 * no operation, no clock; the connection (server_conn) owns those. The three structs have three
 * lives: the connection's (server_conn), the session's (this one; begun anew after STARTTLS), the
 * transaction's (reset whole, by transaction_reset alone: after RSET, EHLO, and the end of data,
 * whatever its outcome).
 *
 * RFC 5321; PIPELINING 2920, SIZE 1870, 8BITMIME 6152, SMTPUTF8 6531, CHUNKING 3030,
 * ENHANCEDSTATUSCODES 2034. Owned by one server_conn; all calls on its shard.
 */
#ifndef RINGPOST_SMTP_SERVER_SESSION_H
#define RINGPOST_SMTP_SERVER_SESSION_H

#include "core/buf.h"
#include "smtp/address.h"
#include "smtp/command.h"
#include "smtp/content.h"
#include "smtp/params.h"
#include "smtp/transaction.h"
#include "smtp/verdict.h"

struct server_session;

/* What the session asks of the world around it; all calls are answered at once. */
struct server_policy {
    /* May MAIL begin? `size_bytes` is SIZE= or 0. Memory, spool space, stopping. */
    struct verdict (*sender)(void *context, const struct address *sender, uint64_t size_bytes);
    /* May this recipient be relayed (relay_hosts, [domains]), and is there a route for its domain?
       The sender stands in the transaction. */
    struct verdict (*recipient)(void *context, const struct address *recipient);
    /*
     * A MAIL, RCPT, DATA or BDAT, or the client instead of a greeting, was refused with this reply
     * (without CRLF): the Rejection event. Not for 503 nor 421 4.3.2. `command` is the line; after
     * content it is the verb alone; for the client it is empty. Both are borrowed for the call; the
     * transaction still stands as it was.
     */
    void (*rejected)(void *context, struct slice command, struct slice reply);
};

struct server_options {
    struct slice hostname; /* in banner and EHLO; borrowed, outlives the session */
    struct slice banner;
    uint64_t message_bytes_max;  /* > 0 */
    uint32_t recipients_max;     /* per message: beyond it 452 4.5.3, RECIPIENTS_OVERSHOOT_MAX
                                    beyond that 421 4.7.0 */
    uint32_t messages_max;       /* per connection; 0 = no limit */
    uint32_t received_max;       /* Received fields before 554 5.4.6 */
    const struct conf_label *labels; /* fields to look for, CONF_LABELS of them; null: none.
                                        Borrowed, outlives the session */
    const struct conf_names *header_names; /* fields that are kept; null: none. The same */
    bool xclient;                /* it may speak for another client, and is told so */
    bool trusted;                /* in relay_hosts: exempt from budgets and early-talker rules */
    const struct server_policy *policy;
    void *policy_context;
};

/* What the connection has to do before it calls server_session_feed again. */
enum want {
    WANT_INPUT,  /* all input used up (or a partial line is left): feed more */
    WANT_COMMIT, /* a whole message stands in the transaction: store it, then call
                    server_session_committed; input is not consumed meanwhile */
    WANT_SPILL,  /* more than SPILL_BYTES of body stand in memory: store the blocks of
                    transaction.content.body as they are (content_spilled), then feed on */
    WANT_OUTPUT, /* the reply buffer is too full for another reply: send it, then feed on */
    WANT_CLIENT, /* session->client says for whom it speaks from now on: its options may be others;
                    then server_session_introduced */
    WANT_DELAY,  /* junk budget: send replies, wait one second, feed on (RFC 5321 4.5.3 tarpit) */
    WANT_CLOSE,  /* send the replies, then close */
};

#define SERVER_BIT(state) (1u << SERVER_##state)

/*
 * The one list of states: name, what the session is doing in it (for log lines), and the states
 * that may follow. A state may always be set again, and every state may be followed by CLOSED.
 */
#define SERVER_STATES(X)                                                                           \
    X(GREETING, "sending the banner", SERVER_BIT(HELLO))                                           \
    X(HELLO, "waiting for EHLO", SERVER_BIT(READY) | SERVER_BIT(BDAT))                             \
    X(READY, "waiting for MAIL", SERVER_BIT(HELLO) | SERVER_BIT(MAIL) | SERVER_BIT(BDAT))          \
    X(MAIL, "waiting for RCPT", SERVER_BIT(READY) | SERVER_BIT(RCPT) | SERVER_BIT(BDAT))           \
    X(RCPT, "waiting for RCPT or DATA",                                                            \
      SERVER_BIT(READY) | SERVER_BIT(DATA) | SERVER_BIT(BDAT))                                     \
    X(DATA, "receiving content by DATA", SERVER_BIT(READY) | SERVER_BIT(COMMITTING))               \
    X(BDAT, "receiving a BDAT chunk",                                                              \
      SERVER_BIT(HELLO) | SERVER_BIT(READY) | SERVER_BIT(MAIL) | SERVER_BIT(CHUNKS) |              \
          SERVER_BIT(COMMITTING))                                                                  \
    X(CHUNKS, "waiting for BDAT", SERVER_BIT(READY) | SERVER_BIT(BDAT))                            \
    X(COMMITTING, "storing the message", SERVER_BIT(READY))                                        \
    X(CLOSED, "closing", 0)

/*
 * READY: no transaction. MAIL: MAIL accepted. RCPT: at least one RCPT accepted. BDAT: octets of a
 * chunk are arriving, also of a refused one, which may come in any state. CHUNKS: between chunks.
 */
#define SERVER_STATE_NAME(name, doing, next) SERVER_##name,
enum server_state { SERVER_STATES(SERVER_STATE_NAME) SERVER_STATE_COUNT };
#undef SERVER_STATE_NAME

/* The BDAT chunk that is arriving. */
struct server_chunk {
    uint64_t size;           /* as announced */
    uint64_t left;           /* octets still to come */
    bool last;
    const char *refusal;     /* constant: the octets are thrown away, then this is the reply */
    enum server_state after; /* where a refused chunk leads */
};

struct server_session {
    const struct server_options *options; /* borrowed from the connection */
    enum server_state state;
    bool extended;                        /* EHLO, not HELO */
    uint32_t errors;                      /* 5xx replies, and */
    uint32_t junk;                        /* NOOP, RSET, VRFY, EHLO …, since the last message that
                                             was accepted; both stay 0 for trusted peers */
    bool delay;                           /* WANT_DELAY is due */
    bool introduced;                      /* WANT_CLIENT is due: what XCLIENT said is in `client` */
    struct xclient_params client;
    uint32_t messages;                    /* begun on this connection */
    struct transaction transaction;
    uint8_t hello[256];                   /* what the client called itself, checked */
    uint8_t hello_bytes;
    struct server_chunk chunk;
    bool line_overlong;                   /* discarding up to the end of an endless line */
    enum verb line_verb;                  /* with which it began */
    uint64_t line_discarded;
};

/* `hash` and `pool` outlive the session. */
void server_session_init(struct server_session *session, const struct server_options *options,
                         struct block_pool *pool, XXH3_state_t *hash);
/* From MAIL to the reply to its content, or its reset: options stay as they are meanwhile. Else
 * others may take their place at any time. */
bool server_session_in_transaction(const struct server_session *session);
/*
 * `session` goes on where `from` stands, between two transactions, perhaps on another shard, with
 * options of its own. `from` is over then.
 */
void server_session_adopt(struct server_session *session, const struct server_session *from,
                          const struct server_options *options, struct block_pool *pool,
                          XXH3_state_t *hash);
/* No transaction has begun, and nothing but a command may come. */
bool server_session_is_between(const struct server_session *session);
/* Drops the transaction and its blocks. May be called in any state. */
void server_session_fini(struct server_session *session);

/*
 * Appends the banner. `early` says that the client spoke first: an untrusted one gets 554 5.5.1
 * and WANT_CLOSE (S-05).
 */
enum want server_session_greet(struct server_session *session, bool early, struct buf *replies);
/* Instead of the banner: the client is not served, and this says why; WANT_CLOSE. */
enum want server_session_refuse(struct server_session *session, struct slice reply,
                                struct buf *replies);

/* The answer to WANT_CLIENT: a banner, and the session begins anew. `replies` has room for it. */
void server_session_introduced(struct server_session *session, struct buf *replies);

/*
 * Consumes commands and content from `input` and appends replies, in order, until it wants
 * something else. Bytes left in `input` with WANT_INPUT are an incomplete command line: the caller
 * presents them again, followed by more (fewer than COMMAND_LINE_BYTES_MAX are ever left). How the
 * input is cut makes no difference to the replies.
 * `replies` needs REPLY_BYTES_MAX of room, else WANT_OUTPUT.
 */
MUST_USE enum want server_session_feed(struct server_session *session, struct slice *input,
                                       struct buf *replies);

/*
 * The answer to WANT_COMMIT. `reply` is a whole reply text with code and enhanced code, without
 * CRLF ("250 2.0.0 OK ids=… count=1", "451 4.3.0 …"). Resets the transaction. `replies` needs
 * REPLY_BYTES_MAX of room. After server_session_abort it only resets: the client has its answer.
 */
void server_session_committed(struct server_session *session, struct slice reply,
                              struct buf *replies);

/*
 * Ends the dialogue from our side, e.g. "421 4.3.2 …", "421 4.4.2 …"; WANT_CLOSE follows. A message
 * being committed stays in the transaction until server_session_committed or _fini. Does nothing
 * when the dialogue is over already.
 */
void server_session_abort(struct server_session *session, struct slice reply,
                          struct buf *replies);

/* What the client called itself, "" before EHLO or HELO. Borrowed from the session. */
struct slice server_session_hello(const struct server_session *session);

/* "waiting for RCPT" and so on: for log lines about timeouts and closes. */
const char *server_session_doing(const struct server_session *session);

#endif
