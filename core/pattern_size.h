/*
 * How large a regular expression is when its repeats are written out, found without compiling it:
 * what compiling and matching cost is bounded by that. Also refuses what patterns (core/patterns.h)
 * do not take. Pure.
 */
#ifndef RINGPOST_CORE_PATTERN_SIZE_H
#define RINGPOST_CORE_PATTERN_SIZE_H

#include "core/slice.h"

#define PATTERN_BYTES_MAX     2048u
#define PATTERN_POSITIONS_MAX 2048u
#define PATTERN_DEPTH_MAX     32u /* of groups */

/*
 * Characters, classes and assertions, each as often as its repeats ask for: 4 of "a{3}b*", 6 of
 * "(ab){2}(a|b)". 0 and a reason, a constant, when it is too large, or is no pattern of ours; true
 * of all that a compiler takes it is not: that it is well formed is for the compiler to say.
 */
MUST_USE uint32_t pattern_size(struct slice text, const char **why_out);

#endif
