/*
 * Judges a message that was composed, by counting: whatever its texts were, the header has the
 * fields that were asked for and no other, as many lines are delimiters as there are parts, and the
 * pass over content that SMTP knows finds nothing wrong. A fault aborts.
 */
#ifndef RINGPOST_TESTS_KIT_COMPOSE_JUDGE_H
#define RINGPOST_TESTS_KIT_COMPOSE_JUDGE_H

#include "shard/blocks.h"
#include "smtp/compose.h"

/* `pool` has room for the message. */
void compose_judge(const struct compose *compose, struct slice message, struct block_pool *pool);

#endif
