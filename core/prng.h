/* A small seeded generator (xoshiro256**) for jitter, table seeds and the simulator. Not secret. */
#ifndef RINGPOST_CORE_PRNG_H
#define RINGPOST_CORE_PRNG_H

#include "core/base.h"

struct prng {
    uint64_t state[4];
};

void prng_seed(struct prng *prng, uint64_t seed);
uint64_t prng_next(struct prng *prng);
/* Uniform in 0 … bound - 1; bound > 0. */
uint64_t prng_below(struct prng *prng, uint64_t bound);
/* True with a chance of `per_mille` in a thousand. */
bool prng_chance(struct prng *prng, unsigned per_mille);

#endif
