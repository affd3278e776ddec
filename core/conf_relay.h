/*
 * [domains]: which mail may be relayed for strangers, by domain, in the form of KumoMTA's
 * listener_domains.toml. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_RELAY_H
#define RINGPOST_CORE_CONF_RELAY_H

#include "core/conf_option.h"

/* After the listeners, which it names. `section` is null when there is none. */
void conf_apply_domains(struct conf_load *load, const struct conf_value *section,
                        struct conf *conf);

/*
 * The listeners of `next` stay where they were until a restart: what was said for one of them alone
 * stays, too, unless `next` says something else for it.
 */
void conf_relay_keep(struct conf *next, const struct conf *running, struct heap *heap);

#endif
