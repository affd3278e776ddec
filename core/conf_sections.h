/*
 * The sections that describe a node: [node], [spool], [memory], [log] and the listeners. Fields
 * that the section does not name keep what stands in the struct. core/conf*.c only.
 */
#ifndef RINGPOST_CORE_CONF_SECTIONS_H
#define RINGPOST_CORE_CONF_SECTIONS_H

#include "core/conf_option.h"

/* Everything but the listeners as it is without a file. */
void conf_sections_default(struct conf_load *load, struct conf *conf, struct slice hostname);

void conf_apply_node(struct conf_load *load, const struct conf_value *table, struct conf *conf);
void conf_apply_spool(struct conf_load *load, const struct conf_value *table, struct conf *conf);
void conf_apply_memory(struct conf_load *load, const struct conf_value *table, struct conf *conf);
void conf_apply_log(struct conf_load *load, const struct conf_value *table, struct conf *conf);
void conf_apply_tsa(struct conf_load *load, const struct conf_value *table, struct conf *conf);

/* What of the above, and of listeners that stand where they did, only a restart changes. */
void conf_sections_keep(struct conf *next, const struct conf *running, struct heap *heap);

/* After [node], whose host name is their default. `array` is null when there is none: one
   listener on 127.0.0.1 then. */
void conf_apply_smtp_listeners(struct conf_load *load, const struct conf_value *array,
                               struct conf *conf);
void conf_apply_http_listeners(struct conf_load *load, const struct conf_value *array,
                               struct conf *conf);

#endif
