/*
 * Recipients by the provider of their mailboxes, as the configuration calls it (provider_name): of
 * the first PROVIDER_SUMS_MAX names that are met, and of all others, those without a name among
 * them, together. Pure; one thread.
 */
#ifndef RINGPOST_SMTP_PROVIDER_SUMS_H
#define RINGPOST_SMTP_PROVIDER_SUMS_H

#include "core/conf.h"

#define PROVIDER_SUMS_MAX 64u

struct provider_sum {
    uint64_t recipients;
    uint8_t bytes;
    uint8_t name[CONF_PROVIDER_BYTES_MAX];
};

struct provider_sums {
    uint32_t count;
    struct provider_sum rows[PROVIDER_SUMS_MAX];
    uint64_t others;
};

/* `name` has at most CONF_PROVIDER_BYTES_MAX bytes, and is copied. */
void provider_sums_add(struct provider_sums *sums, struct slice name, uint64_t recipients);
void provider_sums_merge(struct provider_sums *sums, const struct provider_sums *part);

#endif
