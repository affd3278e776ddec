#include "core/distinct.h"

#include <math.h>
#include <string.h>

void distinct_init(struct distinct *distinct)
{
    memset(distinct, 0, sizeof(*distinct));
}

void distinct_merge(struct distinct *to, const struct distinct *from)
{
    for (unsigned i = 0; i < DISTINCT_WORDS; i++) {
        to->words[i] |= from->words[i];
    }
}

/* Of n things each misses a bit with 1 - 1/bits, so that bits × e^(-n/bits) are left. */
uint64_t distinct_estimate(const struct distinct *distinct)
{
    const double bits = DISTINCT_WORDS * 64.0;
    uint64_t set = 0;
    for (unsigned i = 0; i < DISTINCT_WORDS; i++) {
        set += (unsigned)__builtin_popcountll(distinct->words[i]);
    }
    double left = set < DISTINCT_WORDS * 64ull ? bits - (double)set : 1;
    return (uint64_t)(bits * log(bits / left) + 0.5);
}
