/*
 * [shaping]: the blocks of traffic shaping (core/shaping.h), read and checked. core/conf*.c and
 * core/shaping*.c only.
 */
#ifndef RINGPOST_CORE_CONF_SHAPING_H
#define RINGPOST_CORE_CONF_SHAPING_H

#include "core/conf_option.h"
#include "core/shaping.h"

/* The rows of [shaping.BLOCK], of struct path_options. */
extern const struct conf_options conf_path_options;
/* [shaping] load, in KumoMTA's words. */
enum conf_load_level { CONF_LOAD_IGNORE, CONF_LOAD_WARN, CONF_LOAD_ERROR };
extern const char *const conf_load_levels[]; /* "Ignore" …; ends with null */
struct conf_load_options {
    enum conf_load_level local;  /* a file that cannot be read */
    enum conf_load_level remote;
    enum conf_load_level dns;    /* what DNS says of blocks: not looked at */
    bool skip_remote;            /* files that are URLs are left out */
    uint64_t http_timeout_ns;
};
extern const struct conf_options conf_load_members; /* its rows */

/* Is it for a block as a whole (mx_rollup, sources, replace_base, automation)? */
bool conf_path_is_of_block(struct slice option);

/* What a table says of path options, each of which it takes; the rest is told. Into the load's
 * heap. */
void conf_layer_read(struct conf_load *load, const struct conf_options *options,
                     const struct conf_value *table, struct shaping_layer *layer_out);

/* `section` is null when there is none. */
void conf_apply_shaping(struct conf_load *load, const struct conf_value *section,
                        struct conf *conf);

#endif
