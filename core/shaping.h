/*
 * Traffic shaping in KumoMTA's form: the blocks as written, and the one function that merges them
 * into the options of an egress path. For {domain, its site, source} these are laid over each
 * other, the later one counts:
 *
 *   default, what it says for the source
 *   each provider that matches, in the order of the files: it, and what it says for the source
 *   the site: blocks of domains with mx_rollup that share it, in the order of the files
 *   the domain: its block without mx_rollup, or the longest wildcard that covers it
 *   what the site says for the source, what the domain says for the source
 *   overrides
 *
 * additional_connection_limits, additional_message_rate_throttles and
 * additional_source_selection_rates merge name by name, every other option is whole.
 * provider_connection_limit, provider_max_message_rate and provider_source_selection_rate become
 * members of these, "shaping-provider-PROVIDER-SOURCE-limit", "-rate" and "-selection-rate": they
 * are shared by all sites of the provider. A provider's name is provider_name.
 *
 * A provider matches when the domain ends in one of its DomainSuffix, else when every MX host of
 * the site ends in one of its MXSuffix or is one of its HostName; never without hosts.
 *
 * A block with mx_rollup counts for its own domain at once, and for the others of its site when
 * that is known: struct shaping_sites, which whoever asks DNS makes.
 *
 * All that is here is immutable once made, and readable by any thread. Finding and merging take no
 * memory and make no calls.
 */
#ifndef RINGPOST_CORE_SHAPING_H
#define RINGPOST_CORE_SHAPING_H

#include "core/conf.h"
#include "core/heap.h"
#include "core/shaping_rule.h"

#define SHAPING_PROVIDERS_MAX       1024u
#define SHAPING_PROVIDER_BYTES_MAX  128u /* of its name */
#define SHAPING_MATCHING_MAX        8u   /* providers of one path; what comes behind is left out */
#define SHAPING_OVERRIDES_MAX       4096u
#define SHAPING_LAID_MAX            64u  /* overrides of one path: the newest */
#define SHAPING_LAYERS_MAX          (2 + 2 * SHAPING_MATCHING_MAX + 5 + SHAPING_LAID_MAX)
#define SHAPING_OPTIONS_MAX         80u
#define SHAPING_NO_GROUP            UINT32_MAX

/* --- as written ------------------------------------------------------------------------------- */

struct conf_option;

/* One option, or one member of a map, as one block says it. */
struct shaping_said {
    const struct conf_option *option; /* of an egress path */
    uint32_t number;                  /* of the option among these */
    struct slice member;              /* of a map; else empty */
    const char *suffix;               /* of a provider's own limit: the member's name is made of
                                         provider, source and this; else null */
    const void *value;                /* as the field, or the row of the map, holds it */
    struct slice text;                /* as TOML; of a secret "***" */
    struct slice origin;              /* "FILE:LINE", "--set", what an override says */
};

/* What one table says. */
struct shaping_layer {
    const struct shaping_said *said;
    uint32_t count;
    uint64_t digest;          /* of all of it, as written */
};

struct shaping_source {
    struct slice name;
    struct shaping_layer layer;
};

struct shaping_block {
    struct slice name;        /* "default", a provider's, "example.com", "*.example.com" */
    uint64_t digest;          /* of the name and the layer */
    struct shaping_layer layer;
    const struct shaping_source *sources; /* by name */
    uint32_t source_count;
    bool rollup;              /* of a domain: it is its site's */
    bool limited;             /* of a provider: it has limits of its own, by source */
    const uint32_t *groups;   /* of its rules, one or none; of a site, all of its blocks' */
    uint32_t group_count;
};

enum shaping_match_kind { SHAPING_MX_SUFFIX, SHAPING_HOST_NAME, SHAPING_DOMAIN_SUFFIX };

struct shaping_match {
    enum shaping_match_kind kind;
    struct slice text;
};

struct shaping_provider {
    struct shaping_block block;
    const struct shaping_match *matches;
    uint32_t match_count;
};

struct shaping {
    struct path_options defaults;  /* where nobody says anything */
    struct shaping_block base;     /* "default" */
    const struct shaping_provider *providers; /* in the order of the files */
    uint32_t provider_count;
    const struct shaping_block *blocks; /* of domains, in the order of the files */
    uint32_t block_count;
    const struct conf_domains *domains; /* of struct shaping_block, by name */
    /* Of automation: the default's group, those of providers, those of blocks, each in the order of
     * the files; those that have rules. Null: there are none. */
    struct shaping_rule_set *rules;     /* owned by the configuration */
    uint64_t digest;               /* of all that is said: the same configuration has the same */
};

/* --- sites ------------------------------------------------------------------------------------ */

/* Which blocks with mx_rollup share a site, by what DNS has said. Goes with the `shaping` that it
 * was made of. */
struct shaping_sites;

/* The site of the domain that a block is for. */
struct shaping_sited {
    uint32_t block;           /* its number in shaping->blocks */
    struct slice site;        /* name of its site: smtp/site.h */
};

/* Rows in any order; names are copied. Worker, TSA or boot thread. Never null. */
MUST_USE struct shaping_sites *shaping_sites_new(const struct shaping *shaping,
                                                 const struct shaping_sited *rows, uint32_t count);
/* Null is nothing to free. */
void shaping_sites_free(struct shaping_sites *sites);

/* --- overrides -------------------------------------------------------------------------------- */

/*
 * What automation sets: one option for a domain, and a source of it or all of them. With `rollup`
 * it counts for all domains of the site, if that is known. Later ones count before earlier ones.
 */
struct shaping_override {
    struct slice domain;
    struct slice site;        /* name of the domain's site; empty: not known */
    struct slice source;      /* empty: any */
    bool rollup;
    struct slice name;        /* of an option of egress paths */
    struct slice value;       /* as TOML text: "\"1/minute\"", "3" */
    struct slice origin;      /* what people are told of where it comes from */
    uint64_t expires_ns;      /* wall clock, for people: who made the list takes it out in time */
};

/* A list of them that never changes. */
struct shaping_overrides;

/* Why a row is not taken: it is left out. */
typedef void shaping_override_refuse(void *context, const struct shaping_override *row,
                                     struct slice why);

/*
 * Of at most SHAPING_OVERRIDES_MAX rows; texts are copied. `refuse` may be null. TSA, worker or
 * boot thread: some microseconds a row. Never null.
 */
MUST_USE struct shaping_overrides *shaping_overrides_new(const struct shaping_override *rows,
                                                         uint32_t count,
                                                         shaping_override_refuse *refuse,
                                                         void *context);
/* Null is nothing to free. When nobody has a view of it any more; paths that were merged by it do
 * not borrow from it once they are copied (shaping_path_copy). */
void shaping_overrides_free(struct shaping_overrides *overrides);
/* Those that were taken, in their order. */
uint32_t shaping_overrides_count(const struct shaping_overrides *overrides);
const struct shaping_override *shaping_overrides_at(const struct shaping_overrides *overrides,
                                                    uint32_t i);

/* --- finding ---------------------------------------------------------------------------------- */

/* What counts at one time; each but the first may be null. Borrowed. */
struct shaping_view {
    const struct shaping *shaping;
    const struct shaping_sites *sites;
    const struct shaping_overrides *overrides;
};
/* Views that say the same have the same digest. */
uint64_t shaping_view_digest(const struct shaping_view *view);

struct shaping_query {
    struct slice domain;       /* in any letter case; may end in a dot */
    struct slice site;         /* its site's name; empty: not known, or none */
    const struct slice *hosts; /* of the site: in lower case */
    unsigned host_count;
    struct slice source;       /* empty: whatever source */
};

/*
 * What is laid for a query, in order, as numbers: plain data that may travel, and that is good for
 * views with the same digest. Two queries with the same layers have the same path, for the same
 * source if `by_source`, else for both sources.
 */
struct shaping_selection {
    uint16_t count;
    bool by_source;
    uint32_t layers[SHAPING_LAYERS_MAX];
};

void shaping_select(const struct shaping_view *view, const struct shaping_query *query,
                    struct shaping_selection *selection_out);

/* Numbers of the matching providers, in order; returns how many. */
unsigned shaping_providers(const struct shaping *shaping, const struct shaping_query *query,
                           uint32_t numbers_out[SHAPING_MATCHING_MAX]);

/*
 * The groups of rules (shaping->rules->groups) that are asked about a record: default, providers,
 * site, domain. Returns how many there are, of which at most `max` are put.
 */
uint32_t shaping_groups(const struct shaping_view *view, const struct shaping_query *query,
                        uint32_t *groups_out, uint32_t max);

/* --- merging ---------------------------------------------------------------------------------- */

/* Of the names of providers' limits, for one source. */
#define SHAPING_NAMES_BYTES_MAX (3u * CONF_NAMED_MAX * 300u)

/* A merged path. Its options point into it: it stays where it is. Else it borrows from the view. */
struct shaping_path {
    struct path_options options;
    const struct shaping_said *from[SHAPING_OPTIONS_MAX]; /* by number; null: the default */
    struct named_limit limits[CONF_NAMED_MAX];
    struct named_rate rates[CONF_NAMED_MAX];
    struct named_rate selections[CONF_NAMED_MAX];
    const struct shaping_said *limits_from[CONF_NAMED_MAX];
    const struct shaping_said *rates_from[CONF_NAMED_MAX];
    const struct shaping_said *selections_from[CONF_NAMED_MAX];
    size_t name_bytes;
    uint8_t names[SHAPING_NAMES_BYTES_MAX];
};

/*
 * Lays the selection. `options.block` is the name of the domain's block, else of the site's first
 * one, else "default"; `options.source` is the source, if what is laid depends on it.
 * `options.fingerprint` is of the names of all that is laid and of all that it says: where it is
 * the same in two views, so are the options. Of more than CONF_NAMED_MAX members of a map the first
 * ones stay.
 */
void shaping_lay(const struct shaping_view *view, const struct shaping_selection *selection,
                 struct slice source, struct shaping_path *path_out);
/* Both at once; returns its options. */
const struct path_options *shaping_path_find(const struct shaping_view *view,
                                             const struct shaping_query *query,
                                             struct shaping_path *path_out);
/* What of the configuration alone is in force for a domain, without DNS. */
const struct path_options *shaping_path_of(const struct conf *conf, struct slice domain,
                                           struct slice source, struct shaping_path *path_out);

/*
 * A path by itself: all that it points to is copied behind it. `memory`, aligned to 8, has
 * shaping_path_bytes.
 */
size_t shaping_path_bytes(const struct path_options *path);
struct path_options *shaping_path_copy(const struct path_options *path, void *memory);

/* Who says this of a path: an option by its name, and of a map a member; null: the default. */
const struct shaping_said *shaping_path_said(const struct shaping_path *path, const char *option,
                                             struct slice member);

#endif
