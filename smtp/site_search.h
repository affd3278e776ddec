/*
 * One search for the site of a domain (RFC 5321 5.1, RFC 7505): its MX records, then the addresses
 * of all hosts at once. Or for hosts that an operator has listed, " mx1.test mx2.test", a space
 * before each: their addresses alone, in this order, and whatever they are. On the TSA shard, in
 * memory of its owner.
 */
#ifndef RINGPOST_SMTP_SITE_SEARCH_H
#define RINGPOST_SMTP_SITE_SEARCH_H

#include "shard/io/resolver.h"
#include "shard/metered.h"
#include "smtp/site.h"

struct site_search;
struct site_search_host;

/* Is it a list of hosts? */
static inline bool site_search_is_list(struct slice domain)
{
    return domain.size > 0 && domain.data[0] == ' ';
}

/* From the loop. `search->site` and what it points to are the search's, until it is given up. */
typedef void site_search_done(struct site_search *search);

struct site_search {
    struct resolver *resolver;   /* borrowed, like the next three; set by the owner */
    const struct conf *conf;     /* in force: what this node is itself (site_own.h) */
    struct metered *memory;
    struct slice domain;         /* its bytes stay until the end */
    site_search_done *done;
    struct site site;            /* what was found; nobody holds it */
    uint64_t expires_ns;         /* the earliest of all that led there */
    /* The search's own. */
    struct resolver_ask mx;
    struct site_search_host *hosts; /* host_count of them; null: there are none */
    unsigned host_count;
    unsigned waiting;            /* questions that are not answered */
    struct site_host site_hosts[SITE_HOSTS_MAX];
    struct endpoint addresses[SITE_ADDRESSES_MAX];
    uint8_t name[SITE_DETAIL_BYTES_MAX];
    uint8_t detail[SITE_DETAIL_BYTES_MAX];
};

/* `done` follows, unless the search is cancelled before. */
void site_search_start(struct site_search *search);
/* At any moment, also after `done`: nothing follows, and its memory is the owner's again. */
void site_search_cancel(struct site_search *search);

#endif
