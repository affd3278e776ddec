/*
 * A site: what DNS says of where the mail of a domain goes. Immutable; made on the TSA shard
 * (smtp/site_finder.h), held by any thread, freed by the finder. What is equal is one struct: the
 * pointer is its identity as long as it is held.
 *
 * Its name is that of the set of its MX hosts: domains with the same set have the same name here,
 * whatever the order of the records and their preferences; `order` tells other preferences apart.
 */
#ifndef RINGPOST_SMTP_SITE_H
#define RINGPOST_SMTP_SITE_H

#include <stdatomic.h>

#include "core/endpoint.h"
#include "smtp/verdict.h"

#define SITE_HOSTS_MAX        32  /* the lowest preferences */
#define SITE_ADDRESSES_MAX    64
#define SITE_NAME_BYTES_MAX   256 /* of a set of hosts */
#define SITE_DETAIL_BYTES_MAX 320

enum site_kind {
    SITE_OK,
    SITE_NO_DOMAIN,  /* 550 5.1.2: NXDOMAIN */
    SITE_NULL_MX,    /* 556 5.1.10 (RFC 7505) */
    SITE_NO_ADDRESS, /* 451 4.4.4: hosts, but no address of any; until max_age */
    SITE_LOOP,       /* 550 5.4.6: the best MX is this node itself */
    SITE_TROUBLE,    /* 451 4.4.3: DNS has not answered; tried again, never a bounce */
};

struct site_host {
    struct slice name;
    uint16_t preference;
    uint16_t first, count; /* of the addresses; count 0: it has none */
};

struct site {
    _Atomic uint32_t holders;
    enum site_kind kind;
    bool secure;                /* every answer that led here was */
    uint64_t order;             /* hash of the names by preference; 0 when not SITE_OK */
    struct slice name;          /* "(alt1|alt2)?.gmail-smtp-in.l.google.com"; of no site:
                                   "NXDOMAIN:example.com", "NULLMX:", "NOADDRESS:", "LOOP:",
                                   "DNSFAIL:" and the domain */
    struct slice detail;        /* for people: "timeout for MX of a.com"; empty when SITE_OK */
    unsigned host_count;        /* by preference, then by name */
    struct site_host *hosts;
    unsigned address_count;
    struct endpoint *addresses; /* port 0; of a host: IPv4 first, each family by value */
};

/* By who holds it already, or has just got it. */
struct site *site_hold(struct site *site);
/* Any thread. Frees nothing: the finder looks after those that nobody holds. */
void site_release(struct site *site);

/* What those who write to it hear; SITE_OK: VERDICT_ACCEPT. */
struct verdict site_verdict(const struct site *site);
const char *site_kind_name(enum site_kind kind); /* "null MX" … for people */

#endif
