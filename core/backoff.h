/*
 * How long to wait before something that has failed is tried again: twice as long each time, up to
 * a bound, and a random half of that, so that many who failed together do not come back together.
 * Pure.
 */
#ifndef RINGPOST_CORE_BACKOFF_H
#define RINGPOST_CORE_BACKOFF_H

#include "core/prng.h"

/* After `failures` in a row, at least one; 1 < min_ns ≤ max_ns. The first is at most min_ns. */
uint64_t backoff_ns(unsigned failures, uint64_t min_ns, uint64_t max_ns, struct prng *prng);

#endif
