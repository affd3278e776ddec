/*
 * The hosts that an egress pool sends to, for all its sources: a copy of what the route has said,
 * which outlives the snapshot. Names that DNS has said stay with the site, which the pool holds.
 * Part of delivery, not for other modules. Pure.
 */
#ifndef RINGPOST_SMTP_EGRESS_HOSTS_H
#define RINGPOST_SMTP_EGRESS_HOSTS_H

#include "smtp/route.h"

#include <assert.h>

static_assert(ROUTE_HOSTS_MAX <= 32, "a bit of a set is a host");

struct egress_hosts {
    struct verdict nowhere; /* code 0: there are hosts; else why mail ends or waits */
    struct slice detail;    /* of that, in names_memory; may be empty */
    unsigned count;
    struct endpoint at[ROUTE_HOSTS_MAX];
    struct slice names[ROUTE_HOSTS_MAX]; /* in names_memory, as far as there is room; or of the
                                            site */
    uint8_t ranks[ROUTE_HOSTS_MAX];      /* ascending */
    uint8_t names_memory[ROUTE_SITE_BYTES_MAX + ENDPOINT_TEXT_MAX];
};

/* Where the route leads. It does not need DNS any more. */
void egress_hosts_set(struct egress_hosts *hosts, const struct route *route);
/* Those that can be reached from this source, a bit for each; a source of zero is any. */
MUST_USE uint32_t egress_hosts_reach(const struct egress_hosts *hosts,
                                     const struct endpoint *source);
/*
 * The one that a connection tries after `tried` others of this set, which has more: all of a rank,
 * beginning anywhere among them by `spin`, before the next rank's.
 */
MUST_USE unsigned egress_hosts_pick(const struct egress_hosts *hosts, uint32_t reach,
                                    unsigned tried, uint32_t spin);

#endif
