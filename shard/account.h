/*
 * The memory account of one shard: what each consumer has taken, in bytes, against one limit.
 * Watermarks act on the account, not on what the kernel says is resident; they are
 * those of smtp/overload.h. Written by the shard's thread.
 */
#ifndef RINGPOST_SHARD_ACCOUNT_H
#define RINGPOST_SHARD_ACCOUNT_H

#include "core/base.h"

enum account_consumer {
    ACCOUNT_BLOCKS,      /* assembly blocks in use */
    ACCOUNT_GROUPS,      /* buffers of the spool: commit groups, reads, checkpoints; as long as it
                            runs */
    ACCOUNT_BUFFERS,     /* provided receive buffers; as long as it runs */
    ACCOUNT_CONNECTIONS, /* server and client connection objects */
    ACCOUNT_ROWS,        /* queued recipients */
    ACCOUNT_QUEUES,      /* scheduled and ready queues, names */
    ACCOUNT_EVENTS,      /* event batches */
    ACCOUNT_HTTP,        /* its connections, heads, bodies and answers */
    ACCOUNT_DNS,         /* what the resolver knows and asks */
    ACCOUNT_CONSUMERS,
};

struct account {
    uint64_t limit; /* bytes this shard may use */
    uint64_t used[ACCOUNT_CONSUMERS];
};

uint64_t account_used(const struct account *account);
/* Books `bytes` unless that passes the limit. */
MUST_USE bool account_take(struct account *account, enum account_consumer consumer,
                           uint64_t bytes);
void account_give(struct account *account, enum account_consumer consumer, uint64_t bytes);
const char *account_consumer_name(enum account_consumer consumer);

#endif
