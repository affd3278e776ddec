/*
 * The lists beside the blocks, sites and overrides, as those see them who find and merge. Part of
 * core/shaping.h: core/shaping*.c only.
 */
#ifndef RINGPOST_CORE_SHAPING_LIST_H
#define RINGPOST_CORE_SHAPING_LIST_H

#include "core/shaping.h"

struct shaping_site {
    struct slice name;
    struct shaping_block block; /* what all blocks of the site say together */
};

struct shaping_sites {
    struct heap heap;
    const struct shaping_site *sites; /* by name */
    uint32_t count;
    const uint32_t *site_of;  /* of each block: which of them; UINT32_MAX: none */
    uint64_t digest;
};

/* Number of the site of this name; sites->count: there is none. `sites` may be null: 0. */
uint32_t shaping_sites_find(const struct shaping_sites *sites, struct slice name);
/* What this block says for the source; null: nothing. */
const struct shaping_layer *shaping_block_source(const struct shaping_block *block,
                                                 struct slice source);

/* By the hash of a domain or the name of a site. */
struct shaping_override_key {
    uint64_t hash;
    uint32_t row;
};

struct shaping_override_row {
    struct shaping_override as_given; /* the domain in lower case, without a dot at the end */
    struct shaping_layer layer;
    uint64_t digest;
};

struct shaping_overrides {
    struct heap heap;
    const struct shaping_override_row *rows;
    uint32_t count;
    const struct shaping_override_key *domains; /* in order of hash and row; of all */
    const struct shaping_override_key *sites;   /* of those that count for their site */
    uint32_t site_count;
    uint64_t digest;
};

/* The newest of those for this domain and site, whatever source, in their order; returns how many.
 * `domain` is in lower case. `overrides` may be null. */
unsigned shaping_overrides_find(const struct shaping_overrides *overrides, struct slice domain,
                                struct slice site, uint32_t rows_out[SHAPING_LAID_MAX]);

#endif
