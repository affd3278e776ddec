/*
 * Mail out: from due rows to outcomes on stable storage. One per shard.
 *
 *   egress_pool a (pool, site): the ready queue
 *   egress      a (source, site): one of those who send what is due there: its connections, its
 *               slots on the node
 *   egress_conn one client connection, idle or with one transfer
 *   transfer    one transaction's worth of rows: message found or loaded, sent, its OUTCOME stored,
 *               its events written, then gone
 *
 * A row is hot from the moment a transfer takes it until its outcome has been put into the spool,
 * then held until that OUTCOME is durable; only then it is done, or waits again. New transfers
 * pause while the spool has not stored outcomes for a second, or while the event log has no room.
 *
 * Where a client asked for a notification of what has happened (RFC 3461), that is stored first and
 * the OUTCOME behind it: a crash between the two finds the outcome again, and notifies once more;
 * none is lost. An outcome does not wait for a notification that cannot be stored.
 *
 * While a connection is busy the messages of the next batches of its site are read, two of them for
 * each such connection, so that none stands idle for the disk (egress_ahead.c). They belong to no
 * connection: the next one that is free takes them. When memory runs short they are the first to
 * go, and nobody waits for them.
 *
 * A message stands in blocks while a peer is sent it, and a peer that does not read holds them
 * until its time is over. So no site holds more than half of what all sites leave of the blocks
 * that mail is received into: one alone a third of them, and there is always room for the next. A
 * site that holds none may always send one message.
 */
#ifndef RINGPOST_SMTP_DELIVERY_H
#define RINGPOST_SMTP_DELIVERY_H

#include "core/conf.h"
#include "core/histogram.h"
#include "shard/boot.h"
#include "shard/queue/cells.h"
#include "shard/queue/hold.h"
#include "shard/queue/queues.h"
#include "smtp/admin_entry.h"
#include "smtp/event_tap.h"
#include "smtp/inject_keys.h"
#include "smtp/message.h"
#include "smtp/path_book.h"
#include "smtp/site_book.h"

/* What operators and rules have ordered: smtp/admin_local.h. */
struct admin_local {
    const struct admin_table *table; /* in force; borrowed from the TSA shard; null: none yet */
    struct deferred bounce;
    unsigned bounces;                /* transfers of doomed queues */
    _Atomic uint64_t bounced[ADMIN_SLOTS_MAX]; /* recipients, by slot of their entry */
};

/* Addresses of sources that are none of this host: smtp/egress_source.h. */
struct egress_sources {
    struct pool pool;
    struct htab addresses;
    struct list known;
};

struct advice_tap;
struct egress;
struct notifier;
struct trace_tap;

struct delivery {
    struct shard *shard;      /* borrowed, like all below */
    const struct conf *conf;
    struct queues *queues;
    struct messages *messages;
    struct spool *spool;      /* null until it takes outcomes: nothing starts before */
    struct event_tap *events;
    struct trace_tap *trace;  /* null: there is none */
    struct advice_tap *advice; /* null: there is none */
    struct notifier *notifier; /* null: there is none */
    struct id_source *ids;
    struct cell_registry *registry; /* the TSA shard's */
    unsigned registrar;       /* its index */
    unsigned shards;          /* that carry mail */
    struct pool egresses;
    struct pool egress_pools;
    struct pool conns;
    struct pool transfers;
    struct pool gates;        /* struct queue_gate */
    struct htab sites;        /* egress pools by name: egress_pool_there */
    struct egress_sources sources;
    struct deferred look;     /* egress pools look for work, … */
    bool look_members;        /* … and all their egresses, … */
    uint32_t look_next;       /* … from this number on */
    struct list pool_list;    /* of them and of those that are retired */
    struct list all;          /* egresses */
    struct list gate_list;
    uint32_t gate_numbers;    /* of the last gate */
    uint64_t pinned_bytes;    /* blocks of what peers are sent now: egress_has_share */
    struct list ahead;        /* transfers whose messages were read ahead, oldest first */
    uint64_t ahead_bytes;     /* blocks of these */
    bool ahead_rests;         /* there was no memory: none until the next tick */
    struct list unrecorded;   /* transfers whose OUTCOME could not be put or stored: tried again */
    struct timer tick;
    struct admin_local admin;
    struct path_book paths;      /* what is in force for whom */
    struct site_book *site_book; /* borrowed; its `changed` is delivery_site_changed */
    struct deferred reroute;     /* after that: queues that are to go elsewhere, … */
    uint32_t reroute_next;       /* … from this number on */
    bool reroute_all;            /* … then all of them once more */
    struct deferred ask_again;   /* those that have waited for the first answer */
    struct histogram latency; /* nanoseconds, of a transaction with a server */
    struct histogram age;     /* nanoseconds, of what is delivered, a value for each recipient */
    const struct inject_voids *voids; /* borrowed from the TSA shard */
    uint32_t inspections;     /* messages being read to be shown: smtp/inspect.h */
    bool stopping;
    bool cut;                 /* what cannot be stored now is given up */
};

void delivery_init(struct delivery *delivery, struct boot_pages *pages);
/* What queues asks of its user; `context` is the delivery. */
extern const struct queues_user delivery_queues_user;

/* site_book_changed; `context` is the delivery. */
void delivery_site_changed(void *context, struct slice lookup, const struct site *former,
                           struct site *site);

/* Another configuration, or other lists of sites or overrides, are in force for what begins from
 * here on. Queues whose options are others now go elsewhere, in slices; if `conf` is another one
 * that is for the caller to see to (smtp/reload_part.h). The lists are borrowed until the next
 * call. */
void delivery_shape(struct delivery *delivery, const struct conf *conf,
                    const struct shaping_sites *sites, const struct shaping_overrides *overrides);

/* No new transfers; connections end when theirs is over. */
void delivery_stop(struct delivery *delivery);
/* Connections are cut: what was under way is deferred, or uncertain. */
void delivery_cut(struct delivery *delivery);
/* Is it routed where its options lead now? One that is not routed is, too. */
bool delivery_routed_right(struct delivery *delivery, struct sched_queue *queue);
/* Why the mail of a scheduled queue waits, since when, and until when. */
struct hold delivery_hold(const struct delivery *delivery, const struct sched_queue *queue);
/* What whoever ordered that has said; empty: nobody did. */
struct slice delivery_hold_detail(const struct delivery *delivery,
                                  const struct sched_queue *queue);
/* Connections, transfers and cells not yet home. */
uint32_t delivery_open(const struct delivery *delivery);
/* Bytes in use of its pools. */
uint64_t delivery_memory(const struct delivery *delivery);
/* When nothing is open: no timer and no deferred work of it is left with the shard. */
void delivery_fini(struct delivery *delivery);

#endif
