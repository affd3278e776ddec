/*
 * [queues]: the blocks of options by domain, tenant and campaign, each kept as a layer of what it
 * names, and the headers that say to which a message belongs. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_QUEUES_H
#define RINGPOST_CORE_CONF_QUEUES_H

#include "core/conf_option.h"

/* `section` is null when there is none. */
void conf_apply_queues(struct conf_load *load, const struct conf_value *section,
                       struct conf *conf);

#endif
