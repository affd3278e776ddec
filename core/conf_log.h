/* [log] meta, headers and per_record. core/conf*.c only. */
#ifndef RINGPOST_CORE_CONF_LOG_H
#define RINGPOST_CORE_CONF_LOG_H

#include "core/conf_option.h"

#define CONF_LOG_NAMES_MAX      64
#define CONF_LOG_NAME_BYTES_MAX 64

/* `option->offset` is that of a struct conf_names. */
void conf_log_names(struct conf_load *load, const struct conf_option *option,
                    const struct conf_value *value, void *base);
/* `base` is a struct conf_log: types of records and whether they are written. */
void conf_log_records(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base);

#endif
