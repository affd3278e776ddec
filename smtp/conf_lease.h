/*
 * A snapshot of the configuration, as one shard has it. One is current; what needs a text of it for
 * longer than a turn holds it: a session until its transaction ends, a request to inject until its
 * message does. An old one that nobody holds any more goes home to whoever made it
 * (smtp/reload.h). Counters without atomics: all calls on the shard.
 */
#ifndef RINGPOST_SMTP_CONF_LEASE_H
#define RINGPOST_SMTP_CONF_LEASE_H

#include "core/check.h"
#include "core/conf.h"
#include "core/patterns.h"

struct conf_lease {
    const struct conf *conf; /* borrowed from its maker, until `ended` */
    struct patterns_scratch *scratch; /* of its classifier; null: it has none; its maker's */
    struct patterns_scratch *rules_scratch; /* likewise, of its rules of automation */
    uint32_t holders;
    bool current;
    void (*ended)(struct conf_lease *lease); /* it is not current, and nobody holds it */
};

/* The caller holds it; null is nothing to hold. */
static inline struct conf_lease *conf_lease_hold(struct conf_lease *lease)
{
    if (lease != NULL) {
        lease->holders++;
    }
    return lease;
}

/* `*held`, which may be null, is not the caller's any more. */
static inline void conf_lease_drop(struct conf_lease **held)
{
    struct conf_lease *lease = *held;
    *held = NULL;
    if (lease != NULL) {
        CHECK(lease->holders > 0);
        if (--lease->holders == 0 && !lease->current) {
            lease->ended(lease);
        }
    }
}

/* `to` instead of `*held`. */
static inline void conf_lease_move(struct conf_lease **held, struct conf_lease *to)
{
    if (*held != to) {
        (void)conf_lease_hold(to);
        conf_lease_drop(held);
        *held = to;
    }
}

/* Another one is current from now on. */
static inline void conf_lease_retire(struct conf_lease *lease)
{
    CHECK(lease->current);
    lease->current = false;
    if (lease->holders == 0) {
        lease->ended(lease);
    }
}

#endif
