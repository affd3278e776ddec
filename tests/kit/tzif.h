/* Files of time zones (RFC 9636) made in memory, for tests. */
#ifndef RINGPOST_TESTS_KIT_TZIF_H
#define RINGPOST_TESTS_KIT_TZIF_H

#include "core/buf.h"
#include "core/time_zone.h"

/*
 * Puts a file of version 2: `first_s` holds until the first of the changes, and after the last one
 * what the rule says ("": nothing).
 */
void tzif_put(struct buf *buf, int32_t first_s, const struct time_zone_change *changes,
              size_t count, const char *rule);

#endif
