#include "core/conf_shaping.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/conf_limits.h"
#include "core/conf_routes.h"
#include "core/conf_settings.h"
#include "core/conf_sources.h"

#define S           NS_PER_S
#define MS          NS_PER_MS
#define DAY         (86400 * NS_PER_S)
/* Blocks, and what they say for sources. */
#define LAYERS_MAX  200000u
/* Rows of a provider's own. */
#define PROVIDER_ROWS 4u

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data
#define FIELD(text, its_kind, type, field)                                                         \
    .name = (text), .kind = (its_kind), .offset = offsetof(struct type, field)
#define OPTIONS(rows) .options = (rows), .count = COUNT_OF(rows)

/* --- options of a path ------------------------------------------------------------------------ */

static void apply_prohibited(struct conf_load *load, const struct conf_option *option,
                             const struct conf_value *value, void *base)
{
    struct path_options *path = base;
    (void)option;
    (void)conf_networks(load, value, &path->prohibited_hosts, &path->prohibited_host_count);
}

static void apply_skip(struct conf_load *load, const struct conf_option *option,
                       const struct conf_value *value, void *base)
{
    struct path_options *path = base;
    (void)option;
    (void)conf_networks(load, value, &path->skip_hosts, &path->skip_host_count);
}

/* Blocks have none left when the files are read (conf_files_blocks), but for what is no bool. */
static void replace_base_refuse(struct conf_load *load, const struct conf_option *option,
                                const struct conf_value *value, void *base)
{
    (void)base;
    if (conf_want(load, value, TOML_BOOL)) {
        conf_error(load, value, "%s is for a block of a configuration", option->name);
    }
}

/* What whoever reads a block looks at. */
static void apply_nothing(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    (void)load;
    (void)option;
    (void)value;
    (void)base;
}

/* The field and its count, which stands behind it. */
#define NETWORKS_BYTES (sizeof(const struct network *) + sizeof(size_t))
static_assert(offsetof(struct path_options, prohibited_host_count) + sizeof(size_t) ==
                  offsetof(struct path_options, prohibited_hosts) + NETWORKS_BYTES &&
              offsetof(struct path_options, skip_host_count) + sizeof(size_t) ==
                  offsetof(struct path_options, skip_hosts) + NETWORKS_BYTES,
              "networks and their count are one field");

const char *const conf_load_levels[] = {
    [CONF_LOAD_IGNORE] = "Ignore", [CONF_LOAD_WARN] = "Warn", [CONF_LOAD_ERROR] = "Error", NULL};

static const char *const tls_names[] = {
    [PATH_TLS_DISABLED] = "Disabled",
    [PATH_TLS_OPPORTUNISTIC] = "Opportunistic",
    [PATH_TLS_OPPORTUNISTIC_INSECURE] = "OpportunisticInsecure",
    [PATH_TLS_REQUIRED] = "Required",
    [PATH_TLS_REQUIRED_INSECURE] = "RequiredInsecure",
    NULL,
};
static const char *const reconnect_names[] = {
    [PATH_CONNECT_NEXT_HOST] = "ConnectNextHost",
    [PATH_TERMINATE_SESSION] = "TerminateSession",
    [PATH_RECONNECT_SAME_HOST] = "ReconnectSameHost",
    NULL,
};
static const char *const lookup_names[] = {
    [PATH_IPV4_AND_IPV6] = "Ipv4AndIpv6", [PATH_IPV4_ONLY] = "Ipv4Only",
    [PATH_IPV6_ONLY] = "Ipv6Only",        [PATH_IPV6_THEN_IPV4] = "Ipv6ThenIpv4",
    [PATH_IPV4_THEN_IPV6] = "Ipv4ThenIpv6", NULL,
};

#define PATH_COUNT(text, field)                                                                    \
    {FIELD(text, OPTION_COUNT, path_options, field), .min = 1, .max = 1000000}
#define PATH_TIME(text, field)                                                                     \
    {FIELD(text, OPTION_DURATION, path_options, field), .min = MS, .max = 30 * DAY}
#define PATH_OWN(text, field, function)                                                            \
    {FIELD(text, OPTION_OWN, path_options, field),                                                 \
     .bytes = sizeof(((struct path_options *)0)->field), .apply = (function)}
#define PATH_BOOL(text, field) {FIELD(text, OPTION_BOOL, path_options, field)}

static const struct conf_option path_rows[] = {
    PATH_OWN("connection_limit", connection_limit, conf_apply_limit),
    PATH_OWN("additional_connection_limits", additional_connection_limits,
             conf_apply_named_limits),
    PATH_OWN("max_connection_rate", max_connection_rate, conf_apply_rate),
    PATH_OWN("max_message_rate", max_message_rate, conf_apply_rate),
    PATH_OWN("additional_message_rate_throttles", additional_message_rates,
             conf_apply_named_rates),
    PATH_OWN("source_selection_rate", source_selection_rate, conf_apply_rate),
    PATH_OWN("additional_source_selection_rates", additional_source_selection_rates,
             conf_apply_named_rates),
    PATH_COUNT("max_deliveries_per_connection", max_deliveries_per_connection),
    PATH_COUNT("max_recipients_per_batch", max_recipients_per_batch),
    PATH_COUNT("max_ready", max_ready),
    PATH_COUNT("consecutive_connection_failures_before_delay", connection_failures_before_delay),
    {FIELD("smtp_port", OPTION_PORT, path_options, smtp_port), .min = 1, .max = UINT16_MAX},
    PATH_TIME("connect_timeout", connect_timeout_ns),
    PATH_TIME("banner_timeout", banner_timeout_ns),
    PATH_TIME("ehlo_timeout", ehlo_timeout_ns),
    PATH_TIME("starttls_timeout", starttls_timeout_ns),
    PATH_TIME("auth_timeout", auth_timeout_ns),
    PATH_TIME("mail_from_timeout", mail_from_timeout_ns),
    PATH_TIME("rcpt_to_timeout", rcpt_to_timeout_ns),
    PATH_TIME("data_timeout", data_timeout_ns),
    PATH_TIME("data_dot_timeout", data_dot_timeout_ns),
    PATH_TIME("rset_timeout", rset_timeout_ns),
    PATH_TIME("idle_timeout", idle_timeout_ns),
    PATH_TIME("system_shutdown_timeout", shutdown_timeout_ns),
    PATH_TIME("remember_broken_tls", remember_broken_tls_ns),
    {FIELD("enable_tls", OPTION_CHOICE, path_options, enable_tls), .choices = tls_names},
    PATH_BOOL("opportunistic_tls_reconnect_on_failed_handshake", reconnect_on_failed_handshake),
    {FIELD("ehlo_domain", OPTION_HOST, path_options, ehlo_domain)},
    PATH_BOOL("enable_pipelining", enable_pipelining),
    PATH_BOOL("enable_rset", enable_rset),
    PATH_BOOL("ignore_8bit_checks", ignore_8bit_checks),
    PATH_BOOL("try_next_host_on_transport_error", try_next_host_on_transport_error),
    {FIELD("reconnect_strategy", OPTION_CHOICE, path_options, reconnect_strategy),
     .choices = reconnect_names},
    {FIELD("ip_lookup_strategy", OPTION_CHOICE, path_options, ip_lookup_strategy),
     .choices = lookup_names},
    {FIELD("prohibited_hosts", OPTION_OWN, path_options, prohibited_hosts),
     .bytes = NETWORKS_BYTES, .apply = apply_prohibited},
    {FIELD("skip_hosts", OPTION_OWN, path_options, skip_hosts),
     .bytes = NETWORKS_BYTES, .apply = apply_skip},
    PATH_BOOL("mx_rollup", mx_rollup),
    {.name = "use_lmtp", .kind = OPTION_LATER_IF, .min = false},
    {.name = "enable_dane", .kind = OPTION_LATER_IF, .min = false},
    {.name = "replace_base", .kind = OPTION_OWN, .apply = replace_base_refuse},
    {.name = "tls_certificate", .kind = OPTION_LATER},
    {.name = "tls_private_key", .kind = OPTION_LATER},
    {.name = "smtp_auth_plain_username", .kind = OPTION_LATER},
    {.name = "smtp_auth_plain_password", .kind = OPTION_LATER, .secret = true},
    {.name = "allow_smtp_auth_plain_without_tls", .kind = OPTION_LATER},
    {.name = "allow_smtp_auth_plain_without_valid_certificate", .kind = OPTION_LATER},
    {FIELD("provider_name", OPTION_TEXT, path_options, provider_name),
     .max = CONF_PROVIDER_BYTES_MAX},
    {.name = "automation", .kind = OPTION_OWN, .apply = apply_nothing},
    {.name = "sources", .kind = OPTION_OWN, .apply = conf_apply_table},
    {.name = "enable_mta_sts", .kind = OPTION_NOTE},
    {.name = "tls_prefer_openssl", .kind = OPTION_NOTE},
    {.name = "openssl_cipher_list", .kind = OPTION_NOTE},
    {.name = "openssl_cipher_suites", .kind = OPTION_NOTE},
    {.name = "openssl_options", .kind = OPTION_NOTE},
    {.name = "rustls_cipher_suites", .kind = OPTION_NOTE},
    {.name = "refresh_interval", .kind = OPTION_NOTE},
    {.name = "refresh_strategy", .kind = OPTION_NOTE},
    {.name = "dispatcher_progress_watchdog_timeout", .kind = OPTION_NOTE},
    {.name = "dispatcher_wakeup_strategy", .kind = OPTION_NOTE},
    {.name = "maintainer_wakeup_strategy", .kind = OPTION_NOTE},
    {.name = "low_memory_reduction_policy", .kind = OPTION_NOTE},
    {.name = "no_memory_reduction_policy", .kind = OPTION_NOTE},
    {.name = "readyq_pool_name", .kind = OPTION_NOTE},
    {.name = "aggressive_connection_opening", .kind = OPTION_NOTE},
};
const struct conf_options conf_path_options = {OPTIONS(path_rows), RELOADS};
static_assert(COUNT_OF(path_rows) <= SHAPING_OPTIONS_MAX, "every option has its number");

bool conf_path_is_of_block(struct slice option)
{
    static const char *const names[] = {"mx_rollup", "sources", "replace_base", "automation"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (slice_equal(option, slice_from_string(names[i]))) {
            return true;
        }
    }
    return false;
}

/* --- what a table says ------------------------------------------------------------------------ */

/* Where the members of a provider's table stand while it is read. */
struct provider_fields {
    struct path_options path;
    struct named_limit limit;
    struct named_rate rate;
    struct named_rate selection;
};

/* A provider's limits, which become members of maps. */
static const struct own_limit {
    struct conf_option option;
    const char *map;
    size_t offset; /* of its row in the fields, … */
    size_t bytes;  /* … which is so large */
    const char *suffix;
} own_limits[] = {
    {{FIELD("provider_connection_limit", OPTION_OWN, provider_fields, limit.limit),
      .apply = conf_apply_limit},
     "additional_connection_limits", offsetof(struct provider_fields, limit),
     sizeof(struct named_limit), "-limit"},
    {{FIELD("provider_max_message_rate", OPTION_OWN, provider_fields, rate.rate),
      .apply = conf_apply_rate},
     "additional_message_rate_throttles", offsetof(struct provider_fields, rate),
     sizeof(struct named_rate), "-rate"},
    {{FIELD("provider_source_selection_rate", OPTION_OWN, provider_fields, selection.rate),
      .apply = conf_apply_rate},
     "additional_source_selection_rates", offsetof(struct provider_fields, selection),
     sizeof(struct named_rate), "-selection-rate"},
};

/* A layer that is being read. */
struct reading {
    struct conf_load *load;
    const struct provider_fields *fields;
    struct shaping_said *said;
    uint32_t count;
};

static void said_add(struct reading *reading, const struct conf_option *option,
                     const struct conf_value *at, const void *value, size_t bytes)
{
    struct conf_load *load = reading->load;
    struct shaping_said *said = &reading->said[reading->count++];
    void *copy = heap_take(load->heap, bytes);
    memcpy(copy, value, bytes);
    *said = (struct shaping_said){
        .option = option,
        .number = (uint32_t)(option - path_rows),
        .value = copy,
        .text = option->secret ? SLICE("\"***\"")
                               : heap_copy(load->heap, conf_value_text(load, at)),
        .origin = conf_value_origin(load, at),
    };
}

/* Rows of a map, as they stand in the table. */
static void map_add(struct reading *reading, const struct conf_option *option,
                    const struct conf_value *table)
{
    bool limits = option->apply == conf_apply_named_limits;
    const void *field = (const uint8_t *)&reading->fields->path + option->offset;
    const struct named_limits *by_limit = field;
    const struct named_rates *by_rate = field;
    if ((limits ? by_limit->count : by_rate->count) != table->count) {
        return; /* that is told */
    }
    const struct conf_value *at = table->first;
    for (size_t i = 0; at != NULL; at = at->next, i++) {
        const void *row = limits ? (const void *)&by_limit->rows[i]
                                 : (const void *)&by_rate->rows[i];
        said_add(reading, option, at, row,
                 limits ? sizeof(struct named_limit) : sizeof(struct named_rate));
        reading->said[reading->count - 1].member = heap_copy(reading->load->heap, at->key);
    }
}

static void own_add(struct reading *reading, const struct conf_value *at)
{
    for (size_t i = 0; i < COUNT_OF(own_limits); i++) {
        const struct own_limit *own = &own_limits[i];
        if (slice_equal(at->key, slice_from_string(own->option.name))) {
            said_add(reading,
                     conf_option_find(&conf_path_options, slice_from_string(own->map)), at,
                     (const uint8_t *)reading->fields + own->offset, own->bytes);
            reading->said[reading->count - 1].suffix = own->suffix;
        }
    }
}

static uint64_t hash_text(uint64_t seed, struct slice text)
{
    return XXH3_64bits_withSeed(text.data, text.size, seed + text.size);
}

static size_t said_most(const struct conf_value *table)
{
    size_t count = 2;
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        count += 1 + (at->kind == TOML_TABLE ? at->count : 0);
    }
    return count;
}

/* What stands in the table is in `fields`. Behind what has been said of the layer. */
static void layer_collect(struct reading *reading, const struct conf_value *table,
                          struct shaping_layer *layer)
{
    uint64_t digest = 0;
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        const struct conf_option *option = conf_option_find(&conf_path_options, at->key);
        if (conf_path_is_of_block(at->key) && !slice_equal(at->key, SLICE("mx_rollup"))) {
            continue;
        }
        if (option == NULL) {
            own_add(reading, at);
        } else if (option->apply == conf_apply_named_limits ||
                   option->apply == conf_apply_named_rates) {
            map_add(reading, option, at);
        } else if (conf_option_bytes(option) > 0) {
            said_add(reading, option, at,
                     (const uint8_t *)&reading->fields->path + option->offset,
                     conf_option_bytes(option));
        }
        digest = hash_text(hash_text(digest, at->key), conf_value_text(reading->load, at));
    }
    *layer = (struct shaping_layer){reading->said, reading->count, digest};
}

void conf_layer_read(struct conf_load *load, const struct conf_options *options,
                     const struct conf_value *table, struct shaping_layer *layer_out)
{
    struct provider_fields *fields = heap_take(&load->scratch, sizeof(*fields));
    struct reading reading = {.load = load, .fields = fields};
    *layer_out = (struct shaping_layer){0};
    conf_options_apply(load, options, table, fields);
    if (table->kind == TOML_TABLE) {
        reading.said =
            heap_take_array(load->heap, said_most(table), sizeof(struct shaping_said));
        layer_collect(&reading, table, layer_out);
    }
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* Under way: all blocks. */
struct shaping_build {
    struct conf_load *load;
    const struct conf *conf;
    struct shaping *shaping;
    struct conf_options provider_options;
    struct conf_options provider_source_options;
    struct shaping_rule_group *groups; /* with room for all blocks */
    uint32_t group_count;
    uint32_t rules;
    size_t layers;
    uint64_t digest;
};

static void digest_add(struct shaping_build *build, uint64_t digest)
{
    build->digest = XXH3_64bits_withSeed(&digest, sizeof(digest), build->digest);
}

/* Is this what a block may say for a source? */
static bool source_is_good(const struct shaping_build *build, const struct conf_value *table)
{
    struct conf_load *load = build->load;
    if (!conf_source_name_is_valid(table->key)) {
        conf_error(load, table, "\"%.*s\" is no name of a source", SHOW(table->key));
        return false;
    }
    if (!conf_want(load, table, TOML_TABLE)) {
        return false;
    }
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        if (conf_path_is_of_block(at->key)) {
            conf_error(load, at, "%.*s is for a block as a whole, not for a source",
                       SHOW(at->key));
            return false;
        }
    }
    if (conf_source(build->conf, table->key) == NULL) {
        conf_note(load, table, "the source \"%.*s\" is not defined by [sources.source]",
                  SHOW(table->key));
    }
    return true;
}

static int source_order(const void *a, const void *b)
{
    return slice_compare(((const struct shaping_source *)a)->name,
                         ((const struct shaping_source *)b)->name);
}

static void block_sources(struct shaping_build *build, const struct conf_options *options,
                          const struct conf_value *table, struct shaping_block *block)
{
    struct conf_load *load = build->load;
    const struct conf_value *list = conf_tree_table(table, "sources");
    if (list == NULL || list->count == 0) {
        return;
    }
    struct shaping_source *sources = heap_take_array(load->heap, list->count, sizeof(*sources));
    for (const struct conf_value *at = list->first; at != NULL; at = at->next) {
        if (source_is_good(build, at)) {
            struct shaping_source *source = &sources[block->source_count++];
            source->name = heap_copy(load->heap, at->key);
            conf_layer_read(load, options, at, &source->layer);
        }
    }
    qsort(sources, block->source_count, sizeof(*sources), source_order);
    for (uint32_t i = 0; i < block->source_count; i++) {
        digest_add(build, hash_text(sources[i].layer.digest, sources[i].name));
    }
    block->sources = sources;
    build->layers += block->source_count;
}

static void block_rules(struct shaping_build *build, const struct conf_value *table,
                        struct shaping_block *block, bool rollup)
{
    struct conf_load *load = build->load;
    const struct conf_value *array = conf_tree_member(table, "automation");
    struct shaping_rule_group group = {.name = block->name, .rollup = rollup};
    if (array == NULL) {
        return;
    }
    conf_apply_automation(load, array, &group.rules);
    for (uint32_t i = 0; i < group.rules.count; i++) {
        digest_add(build, group.rules.rules[i].hash);
    }
    if (group.rules.count > 0) {
        uint32_t *number = heap_take(load->heap, sizeof(*number));
        *number = build->group_count;
        build->groups[build->group_count++] = group;
        build->rules += group.rules.count;
        block->groups = number;
        block->group_count = 1;
    }
}

/* How many members of this map two layers more than these have, each name once. */
static uint32_t members_count(const struct shaping_layer *const layers[], uint32_t layer_count,
                              size_t map)
{
    struct slice names[CONF_NAMED_MAX + 1];
    uint32_t count = 0;
    for (uint32_t i = 0; i < layer_count; i++) {
        for (uint32_t j = 0; layers[i] != NULL && j < layers[i]->count; j++) {
            const struct shaping_said *said = &layers[i]->said[j];
            struct slice name = said->suffix != NULL ? slice_from_string(said->suffix)
                                                     : said->member;
            uint32_t k = 0;
            while (k < count && !slice_equal(names[k], name)) {
                k++;
            }
            if (said->option->offset == map && k == count && count <= CONF_NAMED_MAX) {
                names[count++] = name;
            }
        }
    }
    return count;
}

static const struct shaping_layer *source_layer(const struct shaping_block *block,
                                                struct slice name)
{
    const struct shaping_source wanted = {.name = name};
    const struct shaping_source *found =
        block->source_count == 0 ? NULL
                                 : bsearch(&wanted, block->sources, block->source_count,
                                           sizeof(wanted), source_order);
    return found == NULL ? NULL : &found->layer;
}

/* Maps have room for what "default" and the block say, for each source. */
static void maps_check(const struct shaping_build *build, const struct conf_value *table,
                       const struct shaping_block *block)
{
    static const size_t maps[] = {offsetof(struct path_options, additional_connection_limits),
                                  offsetof(struct path_options, additional_message_rates),
                                  offsetof(struct path_options,
                                           additional_source_selection_rates)};
    const struct shaping_block *base = &build->shaping->base;
    for (uint32_t i = 0; i <= block->source_count; i++) {
        struct slice source = i < block->source_count ? block->sources[i].name : SLICE_NONE;
        const struct shaping_layer *const layers[] = {
            &base->layer, source_layer(base, source), &block->layer,
            i < block->source_count ? &block->sources[i].layer : NULL};
        for (size_t map = 0; map < COUNT_OF(maps); map++) {
            if (members_count(layers, COUNT_OF(layers), maps[map]) > CONF_NAMED_MAX) {
                conf_error(build->load, table,
                           "%.*s: more than %d names of limits, those of \"default\" included",
                           SHOW(block->name), CONF_NAMED_MAX);
                return;
            }
        }
    }
}

/* What all kinds of blocks have. */
static void block_read(struct shaping_build *build, const struct conf_options *options,
                       const struct conf_value *table, struct slice name,
                       struct shaping_block *block)
{
    block->name = name;
    conf_layer_read(build->load, options, table, &block->layer);
    block->digest = hash_text(block->layer.digest, name);
    digest_add(build, block->digest);
    build->layers++;
}

/* --- providers -------------------------------------------------------------------------------- */

static void matches_read(struct conf_load *load, const struct conf_value *list,
                         struct shaping_provider *provider)
{
    static const char *const kinds[] = {[SHAPING_MX_SUFFIX] = "MXSuffix",
                                        [SHAPING_HOST_NAME] = "HostName",
                                        [SHAPING_DOMAIN_SUFFIX] = "DomainSuffix"};
    if (!conf_want(load, list, TOML_ARRAY)) {
        return;
    }
    struct shaping_match *matches = heap_take_array(load->heap, list->count + 1, sizeof(*matches));
    for (const struct conf_value *at = list->first; at != NULL; at = at->next) {
        const struct conf_value *one = at->kind == TOML_TABLE ? at->first : NULL;
        unsigned kind = 0;
        while (one != NULL && kind < COUNT_OF(kinds) &&
               !slice_equal(one->key, slice_from_string(kinds[kind]))) {
            kind++;
        }
        if (one == NULL || at->count != 1 || kind == COUNT_OF(kinds) ||
            one->kind != TOML_STRING || one->as.text.size == 0) {
            conf_error(load, at, "match wants {MXSuffix=\".x\"}, {HostName=\"mx.x\"} or "
                       "{DomainSuffix=\".x\"}");
            continue;
        }
        if (slice_ends_with(one->as.text, SLICE("."))) {
            conf_note(load, one, "%s = \"%.*s\" never matches: names have no dot at the end here",
                      kinds[kind], SHOW(one->as.text));
        }
        matches[provider->match_count++] = (struct shaping_match){
            (enum shaping_match_kind)kind, heap_copy(load->heap, one->as.text)};
    }
    provider->matches = matches;
}

/* The provider's name is what comes first of all that it says. */
static void provider_name_say(struct conf_load *load, const struct conf_value *table,
                              struct shaping_block *block)
{
    const struct conf_option *option =
        conf_option_find(&conf_path_options, SLICE("provider_name"));
    struct reading reading = {.load = load};
    struct conf_value name = *table;
    name.kind = TOML_STRING;
    name.as.text = block->name;
    reading.said = heap_take_array(load->heap, block->layer.count + 1u, sizeof(*reading.said));
    said_add(&reading, option, &name, &block->name, sizeof(block->name));
    if (block->layer.count > 0) {
        memcpy(reading.said + 1, block->layer.said, block->layer.count * sizeof(*reading.said));
    }
    block->layer.said = reading.said;
    block->layer.count++;
}

static bool has_limits(const struct shaping_layer *layer)
{
    for (uint32_t i = 0; i < layer->count; i++) {
        if (layer->said[i].suffix != NULL) {
            return true;
        }
    }
    return false;
}

static void provider_read(struct shaping_build *build, const struct conf_value *table,
                          struct shaping_provider *provider)
{
    struct conf_load *load = build->load;
    struct shaping_block *block = &provider->block;
    const struct conf_value *match = conf_tree_member(table, "match");
    block_read(build, &build->provider_options, table, heap_copy(load->heap, table->key), block);
    block_sources(build, &build->provider_source_options, table, block);
    block->limited = has_limits(&block->layer);
    for (uint32_t i = 0; i < block->source_count; i++) {
        block->limited = block->limited || has_limits(&block->sources[i].layer);
    }
    if (match != NULL) {
        matches_read(load, match, provider);
        digest_add(build, hash_text(0, conf_value_text(load, match)));
    }
    if (provider->match_count == 0) {
        conf_note(load, table, "the provider \"%.*s\" has no match: it has no effect",
                  SHOW(table->key));
    }
    provider_name_say(load, table, block);
    maps_check(build, table, block);
    block_rules(build, table, block, true);
}

static int place_order(const void *a, const void *b)
{
    const struct conf_value *const *first = a;
    const struct conf_value *const *second = b;
    return ((*first)->place > (*second)->place) - ((*first)->place < (*second)->place);
}

/* The tables among the members, in the order of the files. */
static const struct conf_value **tables_in_order(struct conf_load *load,
                                                 const struct conf_value *section,
                                                 size_t *count_out)
{
    const struct conf_value **tables =
        heap_take_array(&load->scratch, section->count + 1, sizeof(struct conf_value *));
    size_t count = 0;
    for (const struct conf_value *at = section->first; at != NULL; at = at->next) {
        if (at->kind == TOML_TABLE) {
            tables[count++] = at;
        }
    }
    qsort(tables, count, sizeof(*tables), place_order);
    *count_out = count;
    return tables;
}

static void providers_read(struct shaping_build *build, const struct conf_value *section)
{
    struct conf_load *load = build->load;
    size_t count = 0;
    const struct conf_value **tables = tables_in_order(load, section, &count);
    for (const struct conf_value *at = section->first; at != NULL; at = at->next) {
        (void)conf_want(load, at, TOML_TABLE);
    }
    if (count > SHAPING_PROVIDERS_MAX) {
        conf_error(load, section, "there are more than %u providers", SHAPING_PROVIDERS_MAX);
        return;
    }
    struct shaping_provider *providers =
        heap_take_array(load->heap, count + 1, sizeof(*providers));
    for (size_t i = 0; i < count; i++) {
        if (tables[i]->key.size == 0 || tables[i]->key.size > SHAPING_PROVIDER_BYTES_MAX) {
            conf_error(load, tables[i], "a provider has a name of 1 to %u bytes",
                       SHAPING_PROVIDER_BYTES_MAX);
            continue;
        }
        provider_read(build, tables[i], &providers[build->shaping->provider_count++]);
    }
    build->shaping->providers = providers;
}

/* --- domains ---------------------------------------------------------------------------------- */

/* The queues inside KumoMTA by which it sends records are no domains. */
static bool is_inner_queue(struct slice name)
{
    return slice_ends_with(name, SLICE(".tsa.kumomta")) ||
           slice_ends_with(name, SLICE(".log_hook"));
}

static void domain_read(struct shaping_build *build, const struct conf_value *table,
                        struct shaping_block *blocks)
{
    struct conf_load *load = build->load;
    struct shaping *shaping = build->shaping;
    uint8_t bytes[CONF_DOMAIN_BYTES_MAX];
    struct slice name;
    if (is_inner_queue(table->key)) {
        conf_note(load, table, "\"%.*s\" is a queue inside KumoMTA: it has no effect here",
                  SHOW(table->key));
        return;
    }
    if (!conf_domains_name(load, table, bytes, &name)) {
        return;
    }
    struct shaping_block *block = &blocks[shaping->block_count];
    const struct conf_value *rollup = conf_tree_member(table, "mx_rollup");
    block->rollup = (rollup == NULL || rollup->kind != TOML_BOOL || rollup->as.flag) &&
                    name.data[0] != '*';
    block_read(build, &conf_path_options, table, heap_copy(load->heap, name), block);
    block_sources(build, &conf_path_options, table, block);
    maps_check(build, table, block);
    block_rules(build, table, block, block->rollup);
    shaping->block_count++;
    conf_domains_add(load, (struct conf_domains *)(uintptr_t)shaping->domains, table, block->name,
                     block);
}

/* Members of [shaping] beside the blocks. */
static const struct conf_option shaping_rows[] = {
    {.name = "files", .kind = OPTION_OWN, .apply = conf_apply_files},
    {.name = "load", .kind = OPTION_OWN, .apply = conf_apply_table},
    {.name = "provider", .kind = OPTION_OWN, .apply = conf_apply_table},
};
static const struct conf_options shaping_members = {OPTIONS(shaping_rows), RELOADS};

static void domains_read(struct shaping_build *build, const struct conf_value *section)
{
    struct conf_load *load = build->load;
    size_t count = 0;
    const struct conf_value **tables = tables_in_order(load, section, &count);
    struct shaping_block *blocks = heap_take_array(load->heap, count + 1, sizeof(*blocks));
    build->shaping->blocks = blocks;
    build->shaping->domains = conf_domains_new(load, count, NULL);
    for (size_t i = 0; i < count; i++) {
        if (!slice_equal(tables[i]->key, SLICE("default")) &&
            !conf_options_have(&shaping_members, tables[i]->key)) {
            domain_read(build, tables[i], blocks);
        }
    }
}

/* --- the section ------------------------------------------------------------------------------ */

/* A provider's rows are those of a path and its own; its sources have no `match`. */
static void provider_options_make(struct shaping_build *build)
{
    size_t count = COUNT_OF(path_rows);
    struct conf_option *rows =
        heap_take_array(&build->load->scratch, count + PROVIDER_ROWS, sizeof(*rows));
    memcpy(rows, path_rows, sizeof(path_rows));
    for (size_t i = 0; i < COUNT_OF(own_limits); i++) {
        rows[count++] = own_limits[i].option;
    }
    build->provider_source_options =
        (struct conf_options){.options = rows, .count = count, RELOADS};
    rows[count++] =
        (struct conf_option){.name = "match", .kind = OPTION_OWN, .apply = apply_nothing};
    build->provider_options = (struct conf_options){.options = rows, .count = count, RELOADS};
}

static void base_read(struct shaping_build *build, const struct conf_value *section)
{
    const struct conf_value *base = conf_tree_member(section, "default");
    struct shaping_block *block = &build->shaping->base;
    if (base != NULL && conf_want(build->load, base, TOML_TABLE)) {
        block_read(build, &conf_path_options, base, block->name, block);
        block_sources(build, &conf_path_options, base, block);
        maps_check(build, base, block);
        block_rules(build, base, block, true);
    }
}

static void members_check(struct conf_load *load, const struct conf_value *section)
{
    for (const struct conf_value *at = section->first; at != NULL; at = at->next) {
        const struct conf_option *option = conf_option_find(&shaping_members, at->key);
        if (option != NULL) {
            option->apply(load, option, at, NULL);
        } else if (at->kind != TOML_TABLE) {
            conf_unknown(load, &shaping_members, at);
        }
    }
}

#define LOAD_BY_DNS(text)                                                                          \
    {FIELD(text, OPTION_CHOICE, conf_load_options, dns), .choices = conf_load_levels,              \
     .max = CONF_LOAD_WARN}

/* [shaping] load: core/conf_files.h looks at it. DNS is not asked when a configuration is read. */
static const struct conf_option load_rows[] = {
    LOAD_BY_DNS("aliased_site"),
    LOAD_BY_DNS("dns_fail"),
    LOAD_BY_DNS("null_mx"),
    LOAD_BY_DNS("provider_overlap"),
    {FIELD("local_load", OPTION_CHOICE, conf_load_options, local),
     .choices = conf_load_levels},
    {FIELD("remote_load", OPTION_CHOICE, conf_load_options, remote),
     .choices = conf_load_levels},
    {FIELD("skip_remote", OPTION_BOOL, conf_load_options, skip_remote)},
    {FIELD("http_timeout", OPTION_DURATION, conf_load_options, http_timeout_ns), .min = MS,
     .max = DAY},
};
const struct conf_options conf_load_members = {OPTIONS(load_rows), RELOADS};

static void rules_compile(struct shaping_build *build, unsigned errors)
{
    struct conf_load *load = build->load;
    if (build->rules > PATTERNS_MAX) {
        conf_error(load, NULL, "automation: there are more than %u rules", PATTERNS_MAX);
    } else if (build->rules > 0 && load->messages->errors == errors) {
        build->shaping->rules = conf_compile_automation(load, build->groups, build->group_count);
    }
}

static void section_read(struct shaping_build *build, const struct conf_value *section)
{
    struct conf_load *load = build->load;
    const struct conf_value *providers = conf_tree_table(section, "provider");
    unsigned errors = load->messages->errors;
    build->groups = heap_take_array(
        load->heap, section->count + (providers == NULL ? 0 : providers->count) + 1,
        sizeof(*build->groups));
    provider_options_make(build);
    members_check(load, section);
    base_read(build, section);
    if (providers != NULL) {
        providers_read(build, providers);
    }
    domains_read(build, section);
    if (build->layers > LAYERS_MAX) {
        conf_error(load, section, "there are %zu blocks and sources in them, at most %u are "
                   "possible", build->layers, LAYERS_MAX);
    }
    rules_compile(build, errors);
}

/* C-20: what DNS may not lead us to. */
static void prohibited_default(struct conf_load *load, struct path_options *path)
{
    static const char *const texts[] = {"127.0.0.0/8", "0.0.0.0", "::1", "::"};
    struct network *networks = heap_take_array(load->heap, COUNT_OF(texts), sizeof(*networks));
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        CHECK(network_parse(slice_from_string(texts[i]), &networks[i]));
    }
    path->prohibited_hosts = networks;
    path->prohibited_host_count = COUNT_OF(texts);
}

void conf_apply_shaping(struct conf_load *load, const struct conf_value *section,
                        struct conf *conf)
{
    static const struct conf_value nothing = {.kind = TOML_TABLE};
    struct shaping *shaping = heap_take(load->heap, sizeof(*shaping));
    struct shaping_build build = {.load = load, .conf = conf, .shaping = shaping};
    struct slice hostname = conf->node.hostname;
    shaping->base.name = SLICE("default");
    conf->shaping = shaping;
    shaping->defaults = (struct path_options){
        .block = SLICE("default"),
        .fingerprint = XXH3_64bits(hostname.data, hostname.size), /* ehlo_domain */
        .connection_limit = 32,
        .max_deliveries_per_connection = 1024,
        .max_recipients_per_batch = 100,
        .max_ready = 1024,
        .connection_failures_before_delay = 100,
        .smtp_port = 25,
        .connect_timeout_ns = 60 * S,
        .banner_timeout_ns = 300 * S,
        .ehlo_timeout_ns = 300 * S,
        .starttls_timeout_ns = 5 * S,
        .auth_timeout_ns = 60 * S,
        .mail_from_timeout_ns = 300 * S,
        .rcpt_to_timeout_ns = 300 * S,
        .data_timeout_ns = 120 * S,
        .data_dot_timeout_ns = 600 * S,
        .rset_timeout_ns = 5 * S,
        .idle_timeout_ns = 60 * S,
        .enable_tls = PATH_TLS_OPPORTUNISTIC,
        .enable_pipelining = true,
        .mx_rollup = true,
    };
    prohibited_default(load, &shaping->defaults);
    if (section == NULL || !conf_want(load, section, TOML_TABLE)) {
        section = &nothing;
    }
    section_read(&build, section);
    digest_add(&build, shaping->defaults.fingerprint);
    shaping->digest = build.digest;
}
