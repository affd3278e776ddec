/*
 * One connection to a mail server: a stream, a client_session, and the deadlines between them.
 *
 *   client_conn_open ──► idle ──► client_conn_send ──► [need_part …] ──► done ──► idle …
 *                          │                                              │
 *                          └────────► client_conn_close ──► released ◄────┘ (or of its own accord)
 *
 * The user embeds the struct in memory of its own (a pool) and has it back only in `released`,
 * which comes once, last, from the loop. All callbacks come from the loop, never from inside a
 * call of this header. A transaction given is always reported by `done`, before `released`.
 *
 * A connection that broke, said 421, or sent more replies than there were commands is never used
 * again: after `done` comes `released`, without `idle`. The peer closing an idle connection is no
 * failure: `released` with CLIENT_END_PEER.
 * Owned by one shard; all calls on its thread. No allocation.
 */
#ifndef RINGPOST_SMTP_CLIENT_CONN_H
#define RINGPOST_SMTP_CLIENT_CONN_H

#include "shard/io/stream.h"
#include "shard/shard.h"
#include "smtp/client_session.h"
#include "smtp/trace_tap.h"

#define CLIENT_OUT_BYTES 4096
/* After this long without a transaction the next one is begun carefully (C-17). */
#define CLIENT_CAREFUL_NS (1 * NS_PER_S)

struct client_conn;

struct client_user {
    /* Ready for a transaction: client_conn_send, or leave it idle, or client_conn_close. */
    void (*idle)(struct client_conn *conn);
    /* The results are ready and the transaction is the user's again. `idle` may follow. */
    void (*done)(struct client_conn *conn, struct client_transaction *transaction);
    /*
     * This part of the body is wanted: client_conn_part, now or later. Those before it are no
     * longer used. May be null when no message has parts.
     */
    void (*need_part)(struct client_conn *conn, uint32_t part);
    /*
     * After client_conn_detach, when nothing is in flight: client_conn_leave, perhaps later and on
     * another shard, or client_conn_attach. May be null when nobody asks for it.
     */
    void (*detached)(struct client_conn *conn);
    /* While `traced` is not 0: this was said, or happened; see smtp/trace_tap.h. */
    void (*said)(struct client_conn *conn, enum trace_kind kind, struct slice text,
                 uint64_t bytes);
    /* The memory is the user's; session.failure and peer are still readable. */
    void (*released)(struct client_conn *conn, enum client_end end);
};

/* Where to, from where, as whom. Copied, but for what it points to. */
struct client_target {
    struct endpoint peer;
    struct endpoint source; /* zero: any */
    struct id session;      /* for events */
    const char *congestion; /* TCP_CONGESTION, or "" */
    const struct client_options *options; /* outlives the connection */
};

struct client_conn {
    struct list link;              /* the user's */
    void *context;                 /* the user's */
    uint8_t traced;                /* the user's: 0, or `said` hears all */
    const struct client_user *user;
    struct shard *shard;           /* borrowed */
    struct endpoint peer;
    struct endpoint source;        /* the one asked for; our end once connected */
    struct id id;                  /* of the session */
    struct stream stream;
    struct client_session session;
    struct timer timer;            /* the one deadline of what is going on */
    struct deferred drive;
    enum stream_end connect_end;   /* with CLIENT_END_CONNECT: why */
    bool connected;
    bool greeted;                  /* `idle` was called at least once: the host works */
    bool idle_told;                /* the user knows that it is idle */
    bool part_told;
    bool closing;
    bool detaching;                /* on its way to another shard */
    uint64_t idle_since_ns;
    uint64_t opened_ns;
    uint64_t progress_mark;        /* what had happened when the deadline was set */
    uint64_t progress_bytes;
    uint32_t transactions;         /* reported by done */
    struct buf out;
    uint8_t out_bytes[CLIENT_OUT_BYTES];
};

/* Begins to connect. `context`, `link` and `traced` are left alone. */
void client_conn_open(struct client_conn *conn, struct shard *shard,
                      const struct client_user *user, const struct client_target *target);

/* Idle (after `idle`, and no transaction since) and not closing: client_conn_send is allowed. */
bool client_conn_is_idle(const struct client_conn *conn);
/* The transaction is the connection's until `done`. */
void client_conn_send(struct client_conn *conn, struct client_transaction *transaction);
/*
 * The part asked for by need_part, whole, borrowed until the next need_part or done. Null: it
 * cannot be had; the connection is cut, as content once begun can not be taken back otherwise.
 */
void client_conn_part(struct client_conn *conn, const struct chain *chain);

/* An idle one: false while the kernel has not said yet that all that was answered is sent. */
bool client_conn_may_detach(const struct client_conn *conn);
/*
 * An idle connection that may goes on in another struct, most likely of another shard: `detached`
 * follows, unless it ends before, or something has come from the peer: then `idle` follows again.
 */
void client_conn_detach(struct client_conn *conn);
/* In `detached` or later, on its shard: it stays, and is idle again. */
void client_conn_attach(struct client_conn *conn);
/*
 * `conn` goes on with the dialogue of `from`, which is detached and stays as it is while this runs,
 * on the shard of `conn`. It is idle at once. `from` is over then, without `released`.
 */
void client_conn_adopt(struct client_conn *conn, struct shard *shard,
                       const struct client_user *user, const struct client_options *options,
                       struct client_conn *from);

/* When the transaction in hand, if any, is over: QUIT, close. `released` follows. */
void client_conn_close(struct client_conn *conn);
/* At once: what is pending is deferred (or uncertain), `done` and `released` follow. */
void client_conn_cut(struct client_conn *conn);

#endif
