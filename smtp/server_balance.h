/*
 * The clients of a node among its shards. The kernel deals connections out by a hash of their
 * addresses and knows nothing of who has how many: of a few clients that stay, one shard may have
 * all. So who accepts a connection while another shard has clearly fewer clients sends it there,
 * before its banner: nothing has been said, nothing of it is in flight.
 *
 * Nor does anybody know how much a client will do. A shard that has slept less than a fifth of each
 * of two seconds, while another slept at least half of its last one, sends sessions there that have
 * kept it busy, each between two transactions: the next that come to that point, which are the busy
 * ones. What a session is worth is its part of what all have sent in the last second. It goes only
 * when the other would still be clearly less busy with it than this shard was: a single session
 * that fills a shard stays, and nothing goes to and fro. After that the shard waits until loads
 * have been measured that know of it. So where nobody is short of time nobody ever goes.
 *
 * What travels is a struct server_conn of the giver's pool, by mail, and comes home in any case.
 * Who receives it goes on with the connection in a struct of its own; or does not, when it stops or
 * is short of something, and then the giver does. The slot at the listener and the place among the
 * connections of a host are the node's and go along as they are.
 *
 * Owned by its server; all calls on the server's shard. Shared is struct server_load alone.
 */
#ifndef RINGPOST_SMTP_SERVER_BALANCE_H
#define RINGPOST_SMTP_SERVER_BALANCE_H

#include <stdatomic.h>

#include "core/base.h"

/* Connections of one shard that are on their way, or whose struct is. */
#define SERVER_AWAY_MAX 64
/* Another shard has clearly fewer clients: by one and this part of what it has. */
#define SERVER_MORE_PERCENT 10

/* Loads are millionths of a second in which a shard did not sleep. */
#define SERVER_LOAD_ONE  1000000u
#define SERVER_LOAD_FULL (SERVER_LOAD_ONE / 10 * 8) /* from here on a shard is at its limit */
#define SERVER_LOAD_ROOM (SERVER_LOAD_ONE / 10 * 5) /* up to here it takes sessions of others */
#define SERVER_LOAD_GAIN (SERVER_LOAD_ONE / 10 * 2) /* so much less busy is the other, at least */
/* Seconds that it is there before sessions go: what the others say is as old as one, at most. */
#define SERVER_LOAD_SECONDS 2
/* Sessions that a shard sends within a second, and how many seconds it waits then. */
#define SERVER_MOVES_MAX  16
#define SERVER_MOVES_REST 2
/* A message counts like so many bytes. */
#define SERVER_MESSAGE_BYTES (16 * KIB)

struct server;
struct server_conn;
struct server_listener;

/* What the shards of a node know of one of them; one cache line. */
struct server_load {
    _Alignas(64) struct server *server; /* constant from boot on */
    _Atomic uint32_t clients; /* it has or that are on their way to it; whoever sends one counts it
                                 over, so that two do not take the same room for free */
    _Atomic uint32_t busy;    /* load of its last second; written by it alone, like the next */
    _Atomic bool open;        /* its own word: it serves, does not stop, and is short of nothing */
};

/* What somebody's clients have sent, in bytes, in this second and in the one before. */
struct server_share {
    uint32_t second;
    uint64_t now;
    uint64_t before;
};

struct server_balance {
    struct server_load *loads; /* borrowed: the node's, one for each mail shard */
    unsigned shards;
    uint32_t away;             /* ≤ SERVER_AWAY_MAX */
    uint64_t measured_ns;      /* the beginning of this second */
    uint64_t slept_ns;         /* shard->slept_ns then */
    struct server_share all;   /* its seconds are those of the shard */
    uint32_t moves;            /* sessions that may still go */
    struct server_load *to;    /* there */
    uint32_t gap;              /* how much busier this shard is, those that have gone included */
    uint32_t full;             /* seconds in a row that this shard has been at its limit */
    uint32_t rest;             /* seconds to wait, since the last one went */
};

/* Boot. */
void server_balance_init(struct server *server);
/* Whether clients of other shards may come; from now on, and once a turn. */
void server_balance_open(struct server *server, bool open);
/* A client has come to this shard, or gone from it. */
void server_balance_count(struct server *server, int by);
/*
 * An accepted connection, admitted: true when it goes on elsewhere. Else it is the caller's, as
 * before.
 */
MUST_USE bool server_balance_place(struct server_listener *listener, int fd);

/* Once a second: measures, and finds out whether sessions should go. */
void server_balance_tick(struct server *server);
/* The session of this connection has sent so much. */
void server_balance_spent(struct server_conn *conn, uint64_t bytes);
/* It is between two transactions. True: it is chosen to go; server_balance_send when it can. */
MUST_USE bool server_balance_choose(struct server_conn *conn);
/* Nothing of it is in flight, it is AWAY. False: it stays, as nobody takes it any more. */
MUST_USE bool server_balance_send(struct server_conn *conn);

#endif
