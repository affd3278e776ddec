#include "core/prng.h"

#include "core/check.h"

/* splitmix64: spreads one word over the state, so that nearby seeds give unrelated sequences. */
static uint64_t seed_next(uint64_t *seed)
{
    *seed += 0x9E3779B97F4A7C15ull;
    uint64_t mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBull;
    return mixed ^ (mixed >> 31);
}

static uint64_t rotate_left(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

void prng_seed(struct prng *prng, uint64_t seed)
{
    for (size_t i = 0; i < COUNT_OF(prng->state); i++) {
        prng->state[i] = seed_next(&seed);
    }
}

uint64_t prng_next(struct prng *prng)
{
    uint64_t *state = prng->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    CHECK(bound > 0);
    /* The first 2^64 mod bound values are refused, so that every remainder is as likely. */
    uint64_t refused = (0 - bound) % bound;
    uint64_t value = prng_next(prng);
    while (value < refused) {
        value = prng_next(prng);
    }
    return value % bound;
}

bool prng_chance(struct prng *prng, unsigned per_mille)
{
    return prng_below(prng, 1000) < per_mille;
}
