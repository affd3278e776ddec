/*
 * Which records of the event log others are told: those of types that rules look at
 * (tsa/publish.h), and where the rules are known, of these only such as some rule's pattern
 * matches. One thread.
 */
#ifndef RINGPOST_TSA_PUBLISH_FILTER_H
#define RINGPOST_TSA_PUBLISH_FILTER_H

#include "tsa/publish.h"

struct publish_filter {
    struct publish publish;
    const struct shaping_rule_set *rules; /* borrowed; null: not known */
    struct patterns_scratch *scratch;     /* owned; of their patterns */
};

/* Boot: memory from `heap`. */
void publish_filter_init(struct publish_filter *filter, struct heap *heap);
void publish_filter_fini(struct publish_filter *filter);
/* By these rules from now on, which are borrowed until the next call; null: by type alone. */
void publish_filter_use(struct publish_filter *filter, const struct shaping_rule_set *rules);
/* Is this line of the log told? `expires_out` (wall clock) is when all that it could lead to is
 * over; 0: never. */
MUST_USE bool publish_filter_wants(struct publish_filter *filter, struct slice line,
                                   uint64_t *expires_out);

#endif
