/*
 * [sources]: where mail leaves from, and the pools that share it, in the form of KumoMTA's
 * sources.toml. core/conf*.c only, but for what names may be.
 */
#ifndef RINGPOST_CORE_CONF_SOURCES_H
#define RINGPOST_CORE_CONF_SOURCES_H

#include "core/conf_option.h"

/* Could a source or a pool have this name? Printable ASCII without space, and no "->". */
bool conf_source_name_is_valid(struct slice name);

/* `section` is null when there is none. */
void conf_apply_sources(struct conf_load *load, const struct conf_value *section,
                        struct conf *conf);

/* The rows of [sources.source.NAME], of struct source_options. */
extern const struct conf_options conf_source_options;

#endif
