/*
 * One connection of an SMTP client: the stream, the session that talks over it, timers, and the
 * message on its way to the spool. It owns operations and buffers and knows no grammar.
 *
 *   PROXY      of require_proxy_protocol: the header that says who the client is has to come
 *   PREGREET   untrusted client: a moment of silence shows who talks before the banner (S-05)
 *   OPEN       input is fed to the session
 *   STORING    a message is being stored; input waits in the stream
 *   SPILLING   a piece of a large body is being stored; input waits
 *   DELAYED    junk budget: input waits for a second
 *   LEAVING    it is to go to another shard, and is not received any more: input waits
 *   ENDING     the last replies go out, then the stream is closed
 *   CLOSED     the stream is closing, or the spool still has a piece of ours
 *   AWAY       it goes to another shard (server_balance.h); no field is this shard's
 *
 * While it is open the client has one deadline. A command, once whole, and the reply to it give it
 * client_timeout anew; bytes of a command that is not whole give nothing, and a client that does
 * not read its replies is not asked for the next command. Content moves the deadline by what it
 * would take at min_data_rate, up to client_timeout from now: who sends less has that long and no
 * longer (S-61). Time that the client waits for us does not count. What a client holds is so
 * bounded in time; while the server is short of something, to seconds (server_conn_press).
 *
 * Owned by its server's pool; given back when the stream is released and no write is under way.
 * Thousands are open and idle: what is needed only while something is said is not in it.
 */
#ifndef RINGPOST_SMTP_SERVER_CONN_H
#define RINGPOST_SMTP_SERVER_CONN_H

#include "shard/io/stream.h"
#include "smtp/limits.h"
#include "smtp/server.h"
#include "smtp/server_session.h"
#include "smtp/spill.h"

/* Replies gathered before they are sent; the session is shown less, so that the reply to a stored
 * message always fits. */
#define SERVER_OUT_BYTES (3 * REPLY_BYTES_MAX)

/*
 * Of the server's pool, with a connection while it has an incomplete line or replies, or waits for
 * anything but input.
 */
struct server_buffers {
    uint8_t line[COMMAND_LINE_BYTES_MAX]; /* an incomplete command line */
    uint8_t out[2][SERVER_OUT_BYTES];     /* one fills while the other is sent */
};

enum server_conn_state {
    CONN_PROXY,
    CONN_PREGREET,
    CONN_OPEN,
    CONN_STORING,
    CONN_SPILLING,
    CONN_DELAYED,
    CONN_LEAVING,
    CONN_ENDING,
    CONN_CLOSED,
    CONN_AWAY,
};

struct report_ticket;
struct report_rest;

struct server_conn {
    struct stream stream;
    struct server *server;                  /* borrowed */
    const struct server_listener *listener; /* borrowed */
    struct list link;                       /* in server->open, unless AWAY */
    struct timer timer;
    struct deferred resume;                 /* feed on after a commit, with all others */
    enum server_conn_state state;
    bool host_counted;                      /* in server->hosts */
    bool refusal;                           /* one of SERVER_REFUSALS_MAX */
    bool released;                          /* the stream is */
    bool line_whole;                        /* `line` is to be read before more is added to it */
    bool chosen;                            /* it goes to another shard as soon as it can */
    uint8_t traced;                         /* tracers that may want to hear it; 0: nobody does */
    bool secret;                            /* the line before was AUTH: server_trace */
    struct server_share share;              /* of what all clients have sent */
    uint64_t deadline_ns;                   /* while OPEN: for what the client has to do next */
    uint64_t waiting_ns;                    /* since when it waits for us; 0: it does not */
    uint64_t bytes_out_seen;                /* at the last press, while a send was under way */
    struct endpoint peer;                   /* the client, whoever speaks for it */
    struct endpoint local;
    struct endpoint speaker;                /* the client, before it said XCLIENT */
    struct endpoint origin;                 /* who is connected, if that is another; else port 0 */
    struct id session_id;
    struct conf_lease *lease;               /* that `options` are of */
    struct server_options options;
    struct server_session session;
    struct intake_ticket *ticket;           /* while STORING; or before that */
    struct report_ticket *report;           /* (server_report.h) */
    struct block *report_text;              /* owned: how a body begins that was spilled */
    struct spill spill;
    struct mail mail;                       /* while AWAY */
    int fresh;                              /* while AWAY before the banner: the descriptor */
    bool taken;                             /* home again: it goes on elsewhere */
    struct server_buffers *buffers;         /* null: none, and nothing is in any of them */
    uint32_t line_bytes;
    struct buf replies;                     /* over out[filling] */
    unsigned filling;
};

/* Takes over an accepted descriptor. */
void server_conn_open(struct server_conn *conn, struct server *server,
                      const struct server_listener *listener, int fd);
/* Its options are those in force, unless a transaction is under way. */
void server_conn_renew(struct server_conn *conn);
/* Tells the client why it is not served, then closes. `reply` is constant. */
void server_conn_refuse(struct server_conn *conn, struct server *server,
                        const struct server_listener *listener, int fd, struct slice reply);
/* A stop has begun: the dialogue ends at its next convenient place. */
void server_conn_stop(struct server_conn *conn);
/*
 * Once a second while the server is past a line: who holds a transaction, or is none of
 * relay_hosts, has SERVER_STRESSED_S from now and no longer, at most. When receive buffers are
 * what it is short of, who has read no byte since the last call and holds some is closed.
 */
void server_conn_press(struct server_conn *conn);
/* Whether anything more is read of it. Its last words are not held up. */
void server_conn_set_reading(struct server_conn *conn, bool reading);
/* Now. */
void server_conn_close(struct server_conn *conn);

/* --- for server_report ------------------------------------------------------------------------ */

/* What is logged of its mail is stored, or is not. */
void server_conn_reported(struct server_conn *conn, const struct report_rest *rest,
                          enum spool_status status);

/* --- for server_balance: from shard to shard -------------------------------------------------- */

/* It is AWAY with an accepted descriptor of which nobody has heard anything yet. */
void server_conn_carry(struct server_conn *conn, struct server *server,
                       const struct server_listener *listener, int fd);
/* On the receiving shard: goes on with the connection of `from`, which is AWAY. */
void server_conn_receive(struct server_conn *conn, struct server *server,
                         struct server_conn *from);
/* It has come home and was not taken: it goes on here. */
void server_conn_return(struct server_conn *conn);
/* … and was taken: the memory goes back to the pool. */
void server_conn_left(struct server_conn *conn);

#endif
