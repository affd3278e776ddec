/*
 * Rules of automation and what they look at, as the benches have them: made from numbers, so that
 * whoever has the number of rules has both. Every 20th rule looks ahead, and so has to be confirmed
 * (core/patterns.h). Pure.
 */
#ifndef RINGPOST_BENCH_RULES_H
#define RINGPOST_BENCH_RULES_H

#include "core/buf.h"

#define RULES_CONFIRM_EACH   20u
#define RULES_TEXT_BYTES_MAX 160u /* of a pattern or a reply */
#define RULES_TOML_BYTES     256u /* of a rule, at most */

#define RULES_THRESHOLD "100/hr"

void rules_put_pattern(struct buf *out, uint64_t number);
/* The rules of [default], as a file of traffic shaping: suspensions for an hour. */
void rules_put_toml(struct buf *out, uint64_t rules);
/* A reply that rule number 0, RULES_CONFIRM_EACH … matches. */
void rules_put_match(struct buf *out, uint64_t number);
/* One that none does. */
void rules_put_miss(struct buf *out, uint64_t number);

#endif
