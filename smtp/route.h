/*
 * Where mail for a domain goes, by configuration alone: a smart host (mx_list), a routing domain
 * that is an address with a port, or an address literal. Names need DNS, which is not built yet:
 * a domain without such a route is refused at RCPT with 451 4.4.4. Pure.
 */
#ifndef RINGPOST_SMTP_ROUTE_H
#define RINGPOST_SMTP_ROUTE_H

#include "core/conf.h"
#include "smtp/verdict.h"

#define ROUTE_HOSTS_MAX      16
#define ROUTE_SITE_BYTES_MAX 300

enum route_kind {
    ROUTE_OK,
    ROUTE_NEEDS_DNS,  /* 451 4.4.4 */
    ROUTE_PROHIBITED, /* 550 5.4.4: a recipient's own literal points where nobody may send */
};

struct route {
    enum route_kind kind;
    unsigned host_count;
    struct endpoint hosts[ROUTE_HOSTS_MAX]; /* in the order in which they are tried */
    struct slice names[ROUTE_HOSTS_MAX];    /* as written, or empty; borrowed from the snapshot */
    struct buf site;                        /* name of the site: "mx_list:[127.0.0.1]:2626" … */
    uint64_t identity;                      /* of where it leads: sites of one name may differ */
    uint8_t site_memory[ROUTE_SITE_BYTES_MAX];
};

/* By the options of the queue and those of the path to its domain. */
void route_find(struct route *route, const struct queue_options *queue,
                const struct path_options *path, struct slice domain);

/* Why a recipient in this domain has to be refused, of whoever may send to it: there is no way. */
struct verdict route_verdict(const struct conf *conf, struct slice domain);

#endif
