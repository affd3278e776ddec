/*
 * When a deferred recipient is tried again. Pure arithmetic in whole seconds.
 *
 *   delay = retry_interval x 2^(attempts - 1), at most max_retry_interval, plus jitter
 *   jitter = up to half of min(retry_interval / 20, 60 s) either way, of message and queue,
 *            so that recipients deferred together return together
 *   a delay past the end of max_age is cut: the last attempt comes just before expiry, not days
 *   before it; a failure after that attempt waits for expiry alone
 */
#ifndef RINGPOST_SHARD_QUEUE_RETRY_H
#define RINGPOST_SHARD_QUEUE_RETRY_H

#include "core/base.h"

struct retry_options {
    uint64_t interval_ns;
    uint64_t interval_max_ns; /* 0: no cap */
    uint64_t age_max_ns;
};

/* `attempts` ≥ 1 made; `seed` from message and queue. Seconds since 1970, rounded up. */
uint32_t retry_due_s(const struct retry_options *options, uint64_t created_ns, uint64_t now_ns,
                     unsigned attempts, uint64_t seed);
/* The second from which the recipient is expired. */
uint32_t retry_expiry_s(const struct retry_options *options, uint64_t created_ns);

#endif
