/*
 * Where mail for a domain goes. By configuration alone: a smart host (mx_list), a routing domain
 * that is an address, or an address literal. Else by what DNS says of the domain, or of the routing
 * domain instead of it (smtp/site.h), under the options of the path: which addresses may be tried,
 * and in which order. Pure.
 */
#ifndef RINGPOST_SMTP_ROUTE_H
#define RINGPOST_SMTP_ROUTE_H

#include "core/conf.h"
#include "smtp/site.h"
#include "smtp/verdict.h"

#define ROUTE_HOSTS_MAX      32
#define ROUTE_SITE_BYTES_MAX 320

enum route_kind {
    ROUTE_OK,
    ROUTE_NEEDS_DNS, /* `lookup` says of which domain */
    ROUTE_NOWHERE,   /* its mail ends, or is tried again later: `verdict` */
};

struct route {
    enum route_kind kind;
    struct verdict verdict;
    struct slice detail;                    /* with the verdict; may be empty; of the site */
    struct slice lookup;                    /* borrowed from domain or snapshot */
    uint16_t port;                          /* of hosts that have none of their own */
    unsigned host_count;
    struct endpoint hosts[ROUTE_HOSTS_MAX];
    struct slice names[ROUTE_HOSTS_MAX];    /* as written, or empty; of the snapshot or the site */
    uint8_t ranks[ROUTE_HOSTS_MAX];         /* ascending; those with the same are equal */
    struct buf site;                        /* name of the site: "mx_list:[127.0.0.1]:2626" … */
    uint64_t identity;                      /* of where it leads: sites of one name may differ, in
                                               hosts that are configured, or in preferences */
    uint64_t shared;                        /* the same, preferences apart: limits are for that */
    uint8_t site_memory[ROUTE_SITE_BYTES_MAX];
};

/* By the options of the queue and those of the path to its domain. */
void route_find(struct route *route, const struct queue_options *queue,
                const struct path_options *path, struct slice domain);
/* One that needs DNS for that, whatever queues say. */
void route_of_domain(struct route *route, struct slice lookup, uint16_t port);
/* The route needs DNS, and this is what that says: it is ROUTE_OK or ROUTE_NOWHERE then. */
void route_resolve(struct route *route, const struct queue_options *queue,
                   const struct path_options *path, const struct site *site);

/* Why a recipient in this domain has to be refused, of whoever may send to it: there is no way. */
struct verdict route_verdict(const struct conf *conf, struct slice domain);

#endif
