/*
 * Quantities as people write them in a configuration: durations, sizes, amounts, ids. Pure codec of
 * whole texts: false on anything left over, missing or too large.
 */
#ifndef RINGPOST_CORE_CONF_TEXT_H
#define RINGPOST_CORE_CONF_TEXT_H

#include "core/conf.h"
#include "core/slice.h"

/* "300s", "5m", "20 minutes", "1h 30m", "250ms", "7 days"; a number alone is no duration. */
MUST_USE bool conf_text_duration(struct slice text, uint64_t *ns_out);
/* "128KiB", "20 MiB", "1GB" (10^9), "4096" (bytes). */
MUST_USE bool conf_text_size(struct slice text, uint64_t *bytes_out);
/* "10%" (0 … 100) or a size. */
MUST_USE bool conf_text_amount(struct slice text, struct conf_amount *amount_out);
/* A UUID: 32 hexadecimal digits, with or without its four hyphens. */
MUST_USE bool conf_text_uuid(struct slice text, uint8_t id_out[16]);
/* A host name as far as it matters here: letters, digits, '-', '_' and '.', at most 255 bytes. */
bool conf_text_is_host(struct slice text);

/* How many insertions, deletions and replacements of a byte turn `a` into `b`; texts ≤ 64 bytes. */
unsigned conf_text_distance(struct slice a, struct slice b);

#endif
