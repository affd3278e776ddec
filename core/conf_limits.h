/* Limits in a configuration: rates, counts, maps from names to them. core/conf*.c only. */
#ifndef RINGPOST_CORE_CONF_LIMITS_H
#define RINGPOST_CORE_CONF_LIMITS_H

#include "core/conf_option.h"

/* `option->offset` is that of a struct rate. */
void conf_apply_rate(struct conf_load *load, const struct conf_option *option,
                     const struct conf_value *value, void *base);
/* … of a pointer to one. */
void conf_apply_rate_pointer(struct conf_load *load, const struct conf_option *option,
                             const struct conf_value *value, void *base);
/* … of a uint32_t: N, "N", "local:N". */
void conf_apply_limit(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base);
/*
 * … of a struct named_rates or named_limits. What stands there comes from the block below and
 * stays, but for the names that this table has too.
 */
void conf_apply_named_rates(struct conf_load *load, const struct conf_option *option,
                            const struct conf_value *value, void *base);
void conf_apply_named_limits(struct conf_load *load, const struct conf_option *option,
                             const struct conf_value *value, void *base);

#endif
