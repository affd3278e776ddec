/*
 * The SMTP listeners of one shard and their connections (server_conn): accepts, admits or refuses,
 * keeps the pool, ends everything at a stop. All calls on the shard.
 */
#ifndef RINGPOST_SMTP_SERVER_H
#define RINGPOST_SMTP_SERVER_H

#include <stdatomic.h>

#include "core/conf.h"
#include "core/pool.h"
#include "shard/boot.h"
#include "shard/io/listener.h"
#include "shard/queue/cells.h"
#include "smtp/conf_lease.h"
#include "smtp/intake.h"
#include "smtp/overload.h"
#include "smtp/server_balance.h"
#include "smtp/verdict.h"

#define SERVER_LISTENERS_MAX CONF_LISTENERS_MAX
/* Connections beyond the limit that are told so (421) rather than dropped. */
#define SERVER_REFUSALS_MAX 64

struct server;
struct server_conn;
struct trace_tap;

struct server_listener {
    struct server *server;
    const struct conf_smtp_listener *conf; /* borrowed from the snapshot */
    struct cell *slots; /* borrowed from the node: connections of all shards, max_connections */
    struct listener socket;
};

/*
 * Connections of the node by where they come from: how many there are and how fast they come, for
 * each IPv4 address or IPv6 /64, in tables of atomics that all shards share, found by hash and
 * never named. Two hosts in one place count together, which is rare and errs on the strict side.
 */
#define SERVER_HOSTS 65536
struct server_hosts {
    uint64_t seed;
    _Atomic uint32_t counts[SERVER_HOSTS];
    _Atomic uint64_t rates[SERVER_HOSTS]; /* GCRA: when all connections so far are paid for */
};

enum server_host { SERVER_HOST_TAKEN, SERVER_HOST_MANY, SERVER_HOST_FAST };

struct server {
    struct server_hosts *hosts; /* the node's */
    struct cell *slots;         /* the node's, one for each listener */
    struct shard *shard;   /* borrowed, like all below */
    struct intake *intake;
    struct block_pool *blocks;  /* the receiving door */
    struct event_tap *events;
    struct trace_tap *trace;    /* null: there is none */
    struct delivery *delivery;  /* who has the ear of the rules; null: there is none */
    const struct conf *conf;    /* in force */
    struct conf_lease *lease;   /* of it; null: it stays in force for ever */
    struct pool conns;
    struct pool buffers;   /* struct server_buffers, one for each that may be wanted */
    struct pool reports;   /* struct report_ticket */
    XXH3_state_t *hashes;  /* one per connection of the pool, by index */
    struct list open;      /* struct server_conn */
    uint32_t refusals;
    int spare; /* a descriptor for turning clients away when there is no other; -1: none */
    bool stopping;
    bool cut;              /* what is left ends at once */
    struct server_balance balance;
    struct overload overload;
    bool stressed;              /* past a line: clients get little patience */
    struct timer tick;          /* presses them while it is */
    struct deferred reading;    /* tells every connection whether to read, some a turn */
    uint32_t reading_left;
    struct server_listener listeners[SERVER_LISTENERS_MAX];
    unsigned listener_count;
};

/* Boot: memory for the connections that the configuration allows. */
void server_init(struct server *server, struct boot_pages *pages);

/*
 * Opens the listeners (SO_REUSEPORT; `bound` has the endpoints chosen by the first shard, or port
 * 0) and begins to accept. 0, or a negative errno with the listener that failed in `reason_out`.
 */
MUST_USE int server_start(struct server *server, struct endpoint *bound, struct buf *reason_out);
/*
 * Another configuration is in force, with as many listeners at the same places. Sessions between
 * two transactions have its options at once, the others when theirs is over.
 */
void server_set_conf(struct server *server, struct conf_lease *lease);
/* Once a turn, when the account is up to date: what the server is short of. */
void server_look(struct server *server);
/*
 * Listeners close, idle dialogues get 421 4.3.2, transactions whose content has begun go on.
 * server_open falls to 0 when all are done; server_cut ends what is left at once.
 */
void server_stop(struct server *server);
void server_cut(struct server *server);
/* When none is left: no timer of it is left with the shard. */
void server_fini(struct server *server);
/* Bytes in use of its pools. */
uint64_t server_memory(const struct server *server);
/* Connections and listeners not yet released. */
uint32_t server_open(const struct server *server);

/*
 * Counts a connection from this host at `now_ns` (monotonic), unless there are `limit` already or
 * they come faster than SERVER_HOST_RATE, SERVER_HOST_BURST apart. Any shard.
 */
MUST_USE enum server_host server_host_take(struct server_hosts *hosts,
                                           const struct endpoint *peer, uint32_t limit,
                                           uint64_t now_ns);
void server_host_give(struct server_hosts *hosts, const struct endpoint *peer);

/* --- for server_conn and inject --------------------------------------------------------------- */

/* Why a new MAIL has to be refused now; accepts when there is no reason. */
struct verdict server_sender_verdict(struct server *server, uint64_t size_bytes);
void server_conn_gone(struct server_conn *conn);

#endif
