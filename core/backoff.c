#include "core/backoff.h"

#include "core/check.h"

#define DOUBLINGS_MAX 16u

uint64_t backoff_ns(unsigned failures, uint64_t min_ns, uint64_t max_ns, struct prng *prng)
{
    CHECK(failures > 0 && min_ns > 1 && min_ns <= max_ns && max_ns <= UINT64_MAX >> DOUBLINGS_MAX);
    uint64_t most_ns = MIN_OF(min_ns << MIN_OF(failures - 1, DOUBLINGS_MAX), max_ns);
    return most_ns / 2 + prng_below(prng, most_ns / 2);
}
