/*
 * Regular expressions that are all looked for in one pass over a text, however many they are: rules
 * that say what a reply means. Each has a number, its place in the list it came in.
 *
 *   compile   Vectorscan takes all of them as one automaton. Of what it cannot do exactly (look-
 *             around, references back, atomic groups) it finds where it might match, and PCRE2
 *             confirms that, under limits; of a text with several lines it confirms everything
 *   scan      one pass: what may match; then, in ascending order and as far as the caller asks,
 *             what does
 *
 * The syntax is PCRE's, over bytes: no UTF-8 mode, no verbs, no \Q. A pattern is found anywhere in
 * a text unless it has anchors.
 *
 * Bounds: of each pattern and of all together by their size with repeats written out
 * (core/pattern_size.h), which bounds time and memory of compiling: a part of a second for some
 * hundreds as people write them, some fifteen for repeats that use up the limits, so never on a
 * shard. What is larger is refused. A confirmation that comes to its limits has found nothing.
 *
 * Compiled patterns never change: any thread may scan, each with a scratch of its own, and scanning
 * allocates nothing. They have one owner, who frees them after all scratches.
 */
#ifndef RINGPOST_CORE_PATTERNS_H
#define RINGPOST_CORE_PATTERNS_H

#include "core/slice.h"

#define PATTERNS_MAX            8192u
#define PATTERNS_POSITIONS_MAX  131072u        /* of all together: pattern_size */
#define PATTERNS_TEXT_BYTES_MAX 4096u          /* what stands behind is not looked at */
#define PATTERNS_BYTES_MAX      (64u * MIB)    /* of what they compile to */

struct patterns;
struct patterns_scratch;

/* Why a pattern is not taken, one line of printable ASCII; number `count`: about none of them. */
typedef void patterns_refuse(void *context, uint32_t number, struct slice why);

/*
 * Null, and `refuse` was called at least once, when there is one that is not taken; every such
 * pattern is told, and all patterns have been looked at. Worker or boot thread. `texts` are the
 * caller's, and not needed afterwards.
 */
MUST_USE struct patterns *patterns_compile(const struct slice *texts, uint32_t count,
                                           patterns_refuse *refuse, void *context);
/* Null is nothing to free. */
void patterns_free(struct patterns *patterns);
uint32_t patterns_count(const struct patterns *patterns);
/* Those that PCRE2 has to confirm. */
uint32_t patterns_confirmed(const struct patterns *patterns);

/* For one thread at a time; `patterns` are borrowed. Boot, worker or TSA thread: it allocates. */
MUST_USE struct patterns_scratch *patterns_scratch_open(const struct patterns *patterns);
void patterns_scratch_close(struct patterns_scratch *scratch);

/* Borrows `text` until the last patterns_next. */
void patterns_scan(struct patterns_scratch *scratch, struct slice text);
/* The lowest number from `from` on that matches the text; none: patterns_count. */
uint32_t patterns_next(struct patterns_scratch *scratch, uint32_t from);
/* The same of those below `end` (at most patterns_count); none: `end`. */
uint32_t patterns_next_below(struct patterns_scratch *scratch, uint32_t from, uint32_t end);

#endif
