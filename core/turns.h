/*
 * Turns by weight: a cycle in which each of several members comes as often as its weight says,
 * spread as evenly as whole turns can be. After any t turns of the cycle a member of weight w has
 * had w * t / sum of them, give or take less than one. Pure.
 */
#ifndef RINGPOST_CORE_TURNS_H
#define RINGPOST_CORE_TURNS_H

#include "core/heap.h"

#define TURNS_MEMBERS_MAX 512
#define TURNS_MAX         65536u

/* How many turns a cycle has: the weights' sum over their greatest common divisor. 0: no member has
 * a weight. At most TURNS_MEMBERS_MAX members. */
uint64_t turns_count(const uint32_t *weights, size_t member_count);
/*
 * The cycle: turns_count of them, at most TURNS_MAX, each the index of a member. The same weights
 * make the same cycle. `scratch` is what it needs meanwhile.
 */
void turns_fill(const uint32_t *weights, size_t member_count, struct heap *scratch,
                uint16_t *turns_out);

#endif
