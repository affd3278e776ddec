/*
 * [queues]: the blocks of options by domain, tenant and campaign, each kept as a layer of what it
 * names, and the headers that say to which a message belongs. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_QUEUES_H
#define RINGPOST_CORE_CONF_QUEUES_H

#include "core/conf_option.h"
#include "core/conf_routes.h"

#define CONF_QUEUE_LAYERS_MAX 4

/*
 * The blocks over [queue.default] that say something of a queue, lowest first; returns how many.
 * Their names are "DOMAIN", "\0TENANT" for [tenant.TENANT], "DOMAIN\0TENANT",
 * "DOMAIN\0TENANT\0CAMPAIGN".
 */
unsigned conf_queue_layers(const struct conf *conf, const struct conf_queue_key *key,
                           const struct conf_block *layers_out[CONF_QUEUE_LAYERS_MAX]);
/* The rows of [tenant.TENANT], which has all that a block may have, of struct queue_options. */
extern const struct conf_options conf_queue_options;

/* `section` is null when there is none. */
void conf_apply_queues(struct conf_load *load, const struct conf_value *section,
                       struct conf *conf);

#endif
