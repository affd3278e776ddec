/*
 * Blocks of options by domain: the table that [queues], [domains] and [shaping] share.
 * core/conf*.c and core/shaping*.c only.
 */
#ifndef RINGPOST_CORE_CONF_ROUTES_H
#define RINGPOST_CORE_CONF_ROUTES_H

#include "core/conf_option.h"
#include "core/htab.h"

#define CONF_DOMAIN_BYTES_MAX 255
#define CONF_SUFFIX_BYTES_MAX 200

struct conf_block {
    struct slice name;   /* lower case, without a dot at the end; "*.x" for a wildcard */
    const void *options; /* struct queue_options, relay_options or shaping_block */
};

struct conf_domains {
    struct htab table;
    struct conf_block *blocks;
    const void *fallback; /* "default" */
};

/* Lower case, without the dot at the end; false when it is empty or too long. */
bool conf_domain_normalize(struct slice domain, uint8_t out[CONF_DOMAIN_BYTES_MAX],
                           struct slice *domain_out);
/* An empty table for `count` blocks; `fallback` may be filled later. */
struct conf_domains *conf_domains_new(struct conf_load *load, size_t count, const void *fallback);
/* The name of a block as it is looked up; false and an error when it is none. */
bool conf_domains_name(struct conf_load *load, const struct conf_value *table,
                       uint8_t out[CONF_DOMAIN_BYTES_MAX], struct slice *name_out);
/* Adds a block, unless there is one of that name: an error. The name is copied. */
void conf_domains_add(struct conf_load *load, struct conf_domains *domains,
                      const struct conf_value *table, struct slice name, const void *options);

/* The same table in another heap; `copy` does what is in a block. */
typedef const void *conf_domains_copy_block(const void *options, struct heap *heap);
struct conf_domains *conf_domains_copy(const struct conf_domains *domains,
                                       conf_domains_copy_block *copy, struct heap *heap);

/* The block of exactly this name; null: there is none. */
const struct conf_block *conf_domains_block_exact(const struct conf_domains *domains,
                                                  struct slice name);
const void *conf_domains_exact(const struct conf_domains *domains, struct slice name);
/*
 * The block of a domain (any letter case), else of the longest wildcard that covers it, each with
 * this suffix to its name; with a suffix, else that of "default". Null: there is none.
 */
const struct conf_block *conf_domains_block(const struct conf_domains *domains,
                                            struct slice domain, struct slice suffix);
const void *conf_domains_find(const struct conf_domains *domains, struct slice domain,
                              struct slice suffix);

/* "[ip]:port", "ip:port", "[ip]", "ip"; an explicit port 0 is none. */
bool conf_parse_address(struct slice text, struct endpoint *endpoint_out);

#endif
