/*
 * The options `dow`, `tz`, `start` and `end` of a queue: the hours in which its mail may be sent.
 * They are said together. Boot or worker thread.
 */
#ifndef RINGPOST_CORE_CONF_HOURS_H
#define RINGPOST_CORE_CONF_HOURS_H

#include "core/conf_option.h"
#include "core/hours.h"

/* For conf_option.apply: `offset` is that of a `const struct hours *` in the options. */
void conf_apply_hours(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base);
/* The options of a table have been applied: are the hours whole, if there are any? */
void conf_hours_check(struct conf_load *load, const struct conf_value *table,
                      const struct hours *hours);

#endif
