/*
 * [dns] of a configuration: servers, and names that need none. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_DNS_H
#define RINGPOST_CORE_CONF_DNS_H

#include "core/conf_option.h"

/* `table` is null when there is none. */
void conf_apply_dns(struct conf_load *load, const struct conf_value *table, struct conf *conf);
/* What of it only a restart changes. */
void conf_dns_keep(struct conf *next, const struct conf *running);

#endif
