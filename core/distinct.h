/*
 * How many different things are there, when each may have been seen many times and there is no
 * memory for all of them? Linear counting: a hash sets one bit of 2^20, and the bits that are left
 * tell. The error is below 0.2 % up to a million things, some 2 % at ten millions; above 14
 * millions it says too little. Pure.
 */
#ifndef RINGPOST_CORE_DISTINCT_H
#define RINGPOST_CORE_DISTINCT_H

#include "core/base.h"

#define DISTINCT_WORDS 16384u

struct distinct {
    uint64_t words[DISTINCT_WORDS];
};

void distinct_init(struct distinct *distinct);
/* All bits of the hash count, as of htab_hash. */
static inline void distinct_put(struct distinct *distinct, uint64_t hash)
{
    distinct->words[(hash >> 6) % DISTINCT_WORDS] |= 1ull << (hash % 64);
}
/* Adds all that `from` has seen, with hashes of the same seed. */
void distinct_merge(struct distinct *to, const struct distinct *from);
uint64_t distinct_estimate(const struct distinct *distinct);

#endif
