#include "core/conf_sources.h"

#include <inttypes.h>
#include <stdlib.h>

#include <xxhash.h>

#include "core/conf_limits.h"
#include "core/conf_settings.h"
#include "core/turns.h"

#define DURATION_NS_MAX (366 * 86400 * NS_PER_S)

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data
#define FIELD(text, its_kind, type, field)                                                         \
    .name = (text), .kind = (its_kind), .offset = offsetof(struct type, field)
#define OPTIONS(rows) .options = (rows), .count = COUNT_OF(rows)

/* --- sources ---------------------------------------------------------------------------------- */

static void apply_address(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    static const char *const nowhere[] = {"0.0.0.0", "::", "224.0.0.0/4", "ff00::/8"};
    struct source_options *source = base;
    struct endpoint address;
    if (value->kind != TOML_STRING || !endpoint_parse_address(value->as.text, &address)) {
        conf_error(load, value, "%s wants an address of this host, such as \"192.0.2.1\"",
                   option->name);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(nowhere); i++) {
        struct network network;
        if (network_parse(slice_from_string(nowhere[i]), &network) &&
            network_contains(&network, &address)) {
            conf_error(load, value, "%s: nothing can leave from \"%.*s\"", option->name,
                       SHOW(value->as.text));
            return;
        }
    }
    address.port = 0;
    source->address = address;
    source->has_address = true;
}

/* "Immediate", or { Threshold = "N/PERIOD" }. */
static void apply_trigger(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    static const struct conf_option rows[] = {
        {FIELD("Threshold", OPTION_OWN, source_suspension, threshold), .apply = conf_apply_rate},
    };
    static const struct conf_options threshold = {OPTIONS(rows), RELOADS};
    if (value->kind == TOML_STRING && slice_equal(value->as.text, SLICE("Immediate"))) {
        return;
    }
    if (value->kind != TOML_TABLE || value->count != 1) {
        conf_error(load, value, "%s wants \"Immediate\" or { Threshold = \"COUNT/PERIOD\" }",
                   option->name);
        return;
    }
    conf_options_apply(load, &threshold, value, base);
}

static void apply_unplumbed(struct conf_load *load, const struct conf_option *option,
                            const struct conf_value *value, void *base)
{
    static const struct conf_option rows[] = {
        {.name = "trigger", .kind = OPTION_OWN, .apply = apply_trigger},
        {FIELD("duration", OPTION_DURATION, source_suspension, duration_ns),
         .min = NS_PER_S, .max = DURATION_NS_MAX},
    };
    static const struct conf_options suspension = {OPTIONS(rows), RELOADS};
    struct source_options *source = base;
    if (!conf_want(load, value, TOML_TABLE)) {
        return;
    }
    if (conf_tree_member(value, "trigger") == NULL ||
        conf_tree_member(value, "duration") == NULL) {
        conf_error(load, value, "%s wants both trigger and duration", option->name);
        return;
    }
    conf_options_apply(load, &suspension, value, &source->unplumbed);
}

static const struct conf_option source_rows[] = {
    {.name = "source_address", .kind = OPTION_OWN, .apply = apply_address},
    {FIELD("ehlo_domain", OPTION_HOST, source_options, ehlo_domain)},
    {FIELD("remote_port", OPTION_PORT, source_options, remote_port), .min = 1, .max = UINT16_MAX},
    {.name = "suspend_when_unplumbed", .kind = OPTION_OWN, .apply = apply_unplumbed},
    {.name = "ha_proxy_server", .kind = OPTION_LATER},
    {.name = "ha_proxy_source_address", .kind = OPTION_LATER},
    {.name = "socks5_proxy_server", .kind = OPTION_LATER},
    {.name = "socks5_proxy_source_address", .kind = OPTION_LATER},
    {.name = "socks5_proxy_username", .kind = OPTION_LATER},
    {.name = "socks5_proxy_password", .kind = OPTION_LATER, .secret = true},
    {.name = "suspend_when_proxy_unhealthy", .kind = OPTION_LATER},
    {.name = "ttl", .kind = OPTION_NOTE},
};
const struct conf_options conf_source_options = {OPTIONS(source_rows), RELOADS};

/* --- names ------------------------------------------------------------------------------------ */

bool conf_source_name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        bool arrow = name.data[i] == '>' && i > 0 && name.data[i - 1] == '-';
        if (name.data[i] <= ' ' || name.data[i] >= 0x7F || arrow) {
            return false;
        }
    }
    return name.size > 0 && name.size <= CONF_SOURCE_BYTES_MAX;
}

/* The name of a source or pool that this table defines; false and an error when it is none. */
static bool name_is_good(struct conf_load *load, const struct conf_value *table, const char *what)
{
    if (!conf_source_name_is_valid(table->key)) {
        conf_error(load, table, "\"%.*s\" is no name of a %s", SHOW(table->key), what);
        return false;
    }
    if (slice_equal(table->key, SLICE(CONF_UNSPECIFIED))) {
        conf_error(load, table, "the %s \"" CONF_UNSPECIFIED "\" is built in", what);
        return false;
    }
    return conf_want(load, table, TOML_TABLE);
}

static int source_order(const void *a, const void *b)
{
    return slice_compare(((const struct source_options *)a)->name,
                         ((const struct source_options *)b)->name);
}

static int pool_order(const void *a, const void *b)
{
    return slice_compare(((const struct pool_options *)a)->name,
                         ((const struct pool_options *)b)->name);
}

const struct source_options *conf_source(const struct conf *conf, struct slice name)
{
    const struct source_options wanted = {.name = name};
    return bsearch(&wanted, conf->sources.sources, conf->sources.source_count, sizeof(wanted),
                   source_order);
}

const struct pool_options *conf_pool(const struct conf *conf, struct slice name)
{
    const struct pool_options wanted = {.name = name};
    return bsearch(&wanted, conf->sources.pools, conf->sources.pool_count, sizeof(wanted),
                   pool_order);
}

/* --- pools ------------------------------------------------------------------------------------ */

static const struct conf_option member_rows[] = {
    {FIELD("weight", OPTION_COUNT, pool_member, weight), .min = 0, .max = UINT32_MAX},
};
static const struct conf_options member_options = {OPTIONS(member_rows), RELOADS};

/* Who of the members has which turn. `at` is for an error. */
static void pool_deal(struct conf_load *load, const struct conf_value *at,
                      struct pool_options *pool)
{
    uint32_t *weights = heap_take_array(&load->scratch, pool->member_count + 1, sizeof(*weights));
    for (size_t i = 0; i < pool->member_count; i++) {
        weights[i] = pool->members[i].weight;
    }
    uint64_t count = turns_count(weights, pool->member_count);
    if (count > TURNS_MAX) {
        conf_error(load, at, "the weights of \"%.*s\", divided by what divides them all, add up to "
                   "%" PRIu64 ", at most %u are possible", SHOW(pool->name), count, TURNS_MAX);
        return;
    }
    uint16_t *turns = heap_take_array(load->heap, (size_t)count + 1, sizeof(*turns));
    turns_fill(weights, pool->member_count, &load->scratch, turns);
    pool->turns = turns;
    pool->turn_count = (uint32_t)count;
}

static void pool_fill(struct conf_load *load, const struct conf *conf,
                      const struct conf_value *table, struct pool_options *pool)
{
    struct pool_member *members =
        heap_take_array(load->heap, table->count + 1, sizeof(*members));
    pool->members = members;
    if (table->count > TURNS_MEMBERS_MAX) {
        conf_error(load, table, "\"%.*s\" has more than %d sources", SHOW(table->key),
                   TURNS_MEMBERS_MAX);
        return;
    }
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        struct pool_member member = {.source = conf_source(conf, at->key), .weight = 1};
        if (!conf_want(load, at, TOML_TABLE)) {
            continue;
        }
        if (member.source == NULL) {
            conf_error(load, at, "the source \"%.*s\" is not defined by [sources.source]",
                       SHOW(at->key));
            continue;
        }
        conf_options_apply(load, &member_options, at, &member);
        members[pool->member_count++] = member;
    }
    pool_deal(load, table, pool);
    if (pool->turn_count == 0) {
        conf_note(load, table, "the pool \"%.*s\" has no source with a weight: its mail waits",
                  SHOW(table->key));
    }
}

/* --- the section ------------------------------------------------------------------------------ */

static const struct conf_option section_rows[] = {
    {.name = "files", .kind = OPTION_OWN, .apply = conf_apply_files},
    {.name = "source", .kind = OPTION_OWN, .apply = conf_apply_table},
    {.name = "pool", .kind = OPTION_OWN, .apply = conf_apply_table},
};
static const struct conf_options section_members = {OPTIONS(section_rows), RELOADS};

static uint64_t digest_of(struct conf_load *load, const struct conf_value *table)
{
    struct slice text = conf_value_text(load, table);
    return XXH3_64bits(text.data, text.size);
}

static void sources_fill(struct conf_load *load, const struct conf_value *tables,
                         struct conf *conf)
{
    size_t count = 0;
    struct source_options *sources = heap_take_array(
        load->heap, (tables == NULL ? 0 : tables->count) + 1, sizeof(*sources));
    sources[count++] = (struct source_options){
        .name = SLICE(CONF_UNSPECIFIED), .fingerprint = digest_of(load, NULL)};
    for (const struct conf_value *at = tables == NULL ? NULL : tables->first; at != NULL;
         at = at->next) {
        if (name_is_good(load, at, "source")) {
            struct source_options *source = &sources[count++];
            source->name = heap_copy(load->heap, at->key);
            source->fingerprint = digest_of(load, at);
            conf_options_apply(load, &conf_source_options, at, source);
        }
    }
    qsort(sources, count, sizeof(*sources), source_order);
    conf->sources.sources = sources;
    conf->sources.source_count = count;
}

static void pools_fill(struct conf_load *load, const struct conf_value *tables, struct conf *conf)
{
    size_t count = 0;
    struct pool_options *pools =
        heap_take_array(load->heap, (tables == NULL ? 0 : tables->count) + 1, sizeof(*pools));
    struct pool_member *only = heap_take(load->heap, sizeof(*only));
    *only = (struct pool_member){conf_source(conf, SLICE(CONF_UNSPECIFIED)), 1};
    pools[count] =
        (struct pool_options){.name = only->source->name, .members = only, .member_count = 1};
    pool_deal(load, NULL, &pools[count++]);
    for (const struct conf_value *at = tables == NULL ? NULL : tables->first; at != NULL;
         at = at->next) {
        if (name_is_good(load, at, "pool")) {
            struct pool_options *pool = &pools[count++];
            pool->name = heap_copy(load->heap, at->key);
            pool_fill(load, conf, at, pool);
        }
    }
    qsort(pools, count, sizeof(*pools), pool_order);
    conf->sources.pools = pools;
    conf->sources.pool_count = count;
}

void conf_apply_sources(struct conf_load *load, const struct conf_value *section,
                        struct conf *conf)
{
    if (section != NULL && section->kind == TOML_TABLE) {
        conf_options_apply(load, &section_members, section, &conf->sources);
    } else if (section != NULL) {
        (void)conf_want(load, section, TOML_TABLE);
        section = NULL;
    }
    sources_fill(load, conf_tree_table(section, "source"), conf);
    pools_fill(load, conf_tree_table(section, "pool"), conf);
}
