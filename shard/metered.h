/*
 * Memory from the allocator under a cap, for what comes in sizes that no pool has: bodies, answers
 * and heads of HTTP. One owner, one thread. Not for the way of mail.
 *
 * Running out, of the cap or of memory, is ordinary: null, and the caller has an answer. Whoever
 * owns the struct adds `used` to the shard's account.
 */
#ifndef RINGPOST_SHARD_METERED_H
#define RINGPOST_SHARD_METERED_H

#include "core/list.h"

struct metered {
    uint64_t limit;     /* bytes that may be in use */
    uint64_t used;
    struct list chunks; /* all that is taken */
};

void metered_init(struct metered *metered, uint64_t limit);
/* What is still taken goes: its owner has ended without giving it back. */
void metered_fini(struct metered *metered);

/* With arbitrary content; `bytes` > 0. */
MUST_USE void *metered_take(struct metered *metered, size_t bytes);
/* Keeps what fits, and may move. On null `memory` is as it was. `memory` null: metered_take. */
MUST_USE void *metered_resize(struct metered *metered, void *memory, size_t bytes);
/* Null is nothing. */
void metered_give(struct metered *metered, void *memory);

/* For what a library takes by itself and tells of. False: not so much. */
MUST_USE bool metered_book(struct metered *metered, size_t bytes);
void metered_unbook(struct metered *metered, size_t bytes);

#endif
