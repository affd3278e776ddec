/*
 * Source addresses that are none of this host, as a shard has found it: what one site has learned
 * of a source holds at all of them. Nothing is sent from such an address until it is one of this
 * host again, which is looked for every few seconds. Part of delivery, not for other modules; all
 * calls on the shard.
 */
#ifndef RINGPOST_SMTP_EGRESS_SOURCE_H
#define RINGPOST_SMTP_EGRESS_SOURCE_H

#include "smtp/delivery.h"

/* Addresses that may be missing, or have been of late, at once; more of them are tried on. */
#define EGRESS_SOURCES_MAX 4096

struct egress_source {
    struct list link;          /* in delivery->sources.known */
    struct endpoint address;
    bool out;                  /* nothing is sent from it */
    uint64_t probe_ns;         /* … until it is one again, which is looked at then */
    uint64_t arrival_ns;       /* the arrival time of the rate of such failures */
};

void egress_sources_init(struct delivery *delivery, struct boot_pages *pages);
/* Is nothing sent from this address? One of zero is any, and never out. */
MUST_USE bool egress_source_is_out(const struct delivery *delivery,
                                   const struct endpoint *address);
/* The same in words. */
void egress_source_put_out(struct buf *text, const struct endpoint *address);
/* A connection from there failed for want of the address. True: nothing is sent from it now; false:
 * that has not happened too often yet. */
MUST_USE bool egress_source_missed(struct delivery *delivery, const struct endpoint *address,
                                   const struct source_suspension *limits);
/* Ten times a second: addresses whose time has come are looked for. */
void egress_sources_tick(struct delivery *delivery);

#endif
