/*
 * Finds the site of a domain (RFC 5321 5.1): MX, then the addresses of each host, both families;
 * without MX those of the domain itself. On the TSA shard. One search for all who ask for the same
 * domain. What is found is kept as long as all that led to it, at least SITE_TTL_MIN_S, and while
 * DNS is in trouble for SITE_STALE_S more; trouble itself for SITE_TROUBLE_S.
 *
 * A host of which DNS knows nothing is left out of the addresses, and so is one whose name is an
 * address; trouble with one host leaves it out while others have addresses, and only when nothing
 * else is left it is SITE_TROUBLE. Of more than SITE_ADDRESSES_MAX each host has its share.
 *
 * Own host: an MX whose name is one of this node's, or that has one of its addresses, ends the
 * list: it and all of its preference or worse are left out.
 *
 *   ask ──► known? ──► answered at the end of the turn
 *             └──► search: MX ──► A and AAAA of every host ──► site, the same as others if equal
 */
#ifndef RINGPOST_SMTP_SITE_FINDER_H
#define RINGPOST_SMTP_SITE_FINDER_H

#include "core/htab.h"
#include "shard/boot.h"
#include "shard/shard.h"
#include "smtp/site_search.h"
#include "smtp/site_shelf.h"

#define SITE_TTL_MIN_S 5
#define SITE_TROUBLE_S 5
#define SITE_STALE_S   RESOLVER_STALE_S

struct site_finder_options {
    struct resolver *resolver; /* borrowed, like the next one */
    const struct conf *conf;   /* what this node is itself: site_own.h */
    uint32_t domains_max;      /* that are kept */
    uint64_t memory_max;       /* bytes of all that is kept and searched */
};

struct site_finder {
    struct shard *shard;        /* borrowed: the TSA shard */
    struct site_finder_options options;
    struct metered memory;      /* sites, domains, searches */
    struct site_shelf shelf;
    struct htab domains;        /* by name */
    struct list used;           /* domains, least used first */
    struct list searches;       /* that run */
    struct list answers;        /* struct site_ask that are told at the end of the turn */
    struct deferred tell;
    struct timer sweep;         /* frees sites that nobody holds */
    struct site nobody;         /* for who asks for what is no name */
    struct site scarce;         /* for who asks when there is no memory */
    bool stopped;
    uint64_t searched;          /* since the start */
};

struct site_ask {
    struct list link;
    struct slice domain; /* its bytes stay until `done`. Or a list of hosts: site_search.h */
    /*
     * From the loop. The site is held for the caller: site_release. After `expires_ns` (monotonic)
     * it is to be asked for again, and holds meanwhile.
     */
    void (*done)(struct site_ask *ask, struct site *site, uint64_t expires_ns);
    /* The finder's own. */
    struct site *site;
    uint64_t expires_ns;
};

/* Boot. */
void site_finder_init(struct site_finder *finder, struct shard *shard, struct boot_pages *pages,
                      const struct site_finder_options *options);
/* Another configuration is in force, and borrowed instead: what is known is searched for again. */
void site_finder_set(struct site_finder *finder, const struct conf *conf);
/* Ends all searches; who still waits hears SITE_TROUBLE, as does who asks from now on. */
void site_finder_stop(struct site_finder *finder);
/* Stopped, and everybody has heard. */
bool site_finder_idle(const struct site_finder *finder);
/* All sites are gone, whoever holds them. */
void site_finder_fini(struct site_finder *finder);

/* For metrics. */
uint64_t site_finder_memory(const struct site_finder *finder);
unsigned site_finder_sites(const struct site_finder *finder);

void site_finder_ask(struct site_finder *finder, struct site_ask *ask);
/* Nothing follows. Of one that has been answered or was never asked: nothing. */
void site_finder_unask(struct site_finder *finder, struct site_ask *ask);

#endif
