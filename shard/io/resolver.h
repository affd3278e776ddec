/*
 * The resolver of a node: home of what DNS has said. On the TSA shard alone. Static names first
 * ([dns] static*), then the cache, then the servers (dns_exchange.h), with one question in flight
 * for all who ask the same.
 *
 *   ask ─► static name ─► cache ─► the same is being asked ─► servers ─► done
 *
 * Answers are kept for their TTL, at least RESOLVER_TTL_MIN_S and at most RESOLVER_TTL_MAX_S; a no
 * for at most RESOLVER_NO_TTL_MAX_S (RFC 2308 5); trouble for RESOLVER_TROUBLE_TTL_S, and what was
 * known before is given instead of it for up to RESOLVER_STALE_S past its TTL (RFC 8767). At most
 * `cache_size` names and types are kept, with RESOLVER_ENTRY_BYTES for each of them on average; the
 * least used go first. At most RESOLVER_IN_FLIGHT_MAX questions are in flight and
 * RESOLVER_WAITING_MAX wait behind them; more are answered DNS_BUSY, or by what is stale.
 */
#ifndef RINGPOST_SHARD_IO_RESOLVER_H
#define RINGPOST_SHARD_IO_RESOLVER_H

#include "core/conf.h"
#include "core/htab.h"
#include "core/pool.h"
#include "shard/boot.h"
#include "shard/io/dns_exchange.h"

#define RESOLVER_TTL_MIN_S     5
#define RESOLVER_TTL_MAX_S     86400
#define RESOLVER_NO_TTL_MAX_S  300
#define RESOLVER_TROUBLE_TTL_S 5
#define RESOLVER_STALE_S       3600
#define RESOLVER_ENTRY_BYTES   KIB
#define RESOLVER_IN_FLIGHT_MAX 256u
#define RESOLVER_WAITING_MAX   65536u

/* One asker; embedded in its memory. */
struct resolver_ask {
    struct list link;
    struct dns_question question; /* the name's bytes stay until `done` */
    /*
     * From the loop, never inside a call of this header. `answer` is borrowed until this returns;
     * it may be used until expires_ns (monotonic), and is stale when something else was asked for
     * and could not be had.
     */
    void (*done)(struct resolver_ask *ask, const struct dns_answer *answer, uint64_t expires_ns,
                 bool stale);
    /* The resolver's own: the way through static aliases to the name that is asked for. */
    bool waiting;
    bool aliased;
    bool alias_secure;
    uint32_t alias_ttl_s;
};

/* Servers of one configuration; questions that are in flight hold it. */
struct resolver_servers {
    struct dns_servers table;
    unsigned holders;
};

struct resolver {
    struct shard *shard;               /* borrowed */
    const struct conf_dns *conf;       /* borrowed; in force */
    struct resolver_servers *servers;  /* those of `conf`; null: there are none */
    void *memory;                      /* of the answer that is being read */
    struct metered tables;             /* of struct resolver_servers */
    struct metered messages;           /* what comes by TCP */
    struct metered answers;            /* the cache */
    struct htab cache;
    struct list entries;               /* of the cache, the last used first */
    uint32_t entries_max;
    uint64_t generation;               /* of answers; another one: they do not count any more */
    struct pool questions;             /* in flight */
    struct htab asked;
    struct list in_flight;
    unsigned waiting;                  /* asks behind questions */
    struct list fresh;                 /* asks that nobody has looked at */
    struct deferred step;
    bool stopping;
};

/* Boot. `conf` is borrowed until resolver_set or the end. */
void resolver_init(struct resolver *resolver, struct shard *shard, struct boot_pages *pages,
                   const struct conf_dns *conf);
/* Once it is idle, or its ring is gone. */
void resolver_fini(struct resolver *resolver);

/* Once, before anything else. */
void resolver_ask_init(struct resolver_ask *ask);
/* It is not under way. */
void resolver_ask(struct resolver *resolver, struct resolver_ask *ask);
/* Nothing follows. At any time: also when it has never asked, or was answered. */
void resolver_unask(struct resolver *resolver, struct resolver_ask *ask);

/*
 * Another configuration. With other servers or static names what is cached does not count any more,
 * and what is in flight is asked again.
 */
void resolver_set(struct resolver *resolver, const struct conf_dns *conf);

/* Who asks from here on is answered DNS_BUSY, and so is who waits, soon. */
void resolver_stop(struct resolver *resolver);
bool resolver_idle(const struct resolver *resolver);

/* For metrics. */
uint64_t resolver_memory(const struct resolver *resolver);
unsigned resolver_cached(const struct resolver *resolver);
unsigned resolver_in_flight(const struct resolver *resolver);

#endif
