/*
 * The clients of a node among its shards. The kernel deals connections out by a hash of their
 * addresses and knows nothing of who has how many: of a few clients that stay, one shard may have
 * all. So who accepts a connection while another shard has clearly fewer clients sends it there,
 * before its banner: nothing has been said, nothing of it is in flight.
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

struct server;
struct server_conn;
struct server_listener;

/* What the shards of a node know of one of them; one cache line. */
struct server_load {
    _Alignas(64) struct server *server; /* constant from boot on */
    _Atomic uint32_t clients; /* it has or that are on their way to it; whoever sends one counts it
                                 over, so that two do not take the same room for free */
    _Atomic bool open;        /* its own word: it serves, does not stop, and is short of nothing */
};

struct server_balance {
    struct server_load *loads; /* borrowed: the node's, one for each mail shard */
    unsigned shards;
    uint32_t away;             /* ≤ SERVER_AWAY_MAX */
};

/* Boot. */
void server_balance_init(struct server *server);
/* Once a turn: whether clients of other shards may come. */
void server_balance_open(struct server *server, bool open);
/* A client has come to this shard, or gone from it. */
void server_balance_count(struct server *server, int by);
/*
 * An accepted connection, admitted: true when it goes on elsewhere. Else it is the caller's, as
 * before.
 */
MUST_USE bool server_balance_place(struct server_listener *listener, int fd);

#endif
