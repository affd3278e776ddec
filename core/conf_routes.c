#include "core/conf_routes.h"

#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/conf_limits.h"
#include "core/conf_settings.h"
#include "core/conf_sources.h"
#include "core/conf_text.h"

#define S                NS_PER_S
#define MS               NS_PER_MS
#define DAY              (86400 * NS_PER_S)
/* Names in a configuration are the operator's own: nobody chooses them to collide. */
#define TABLE_SEED       0x52696E67u

/* "BLOCK\0SOURCE", which is where what a block says for a source stands. */
#define PATH_NAME_BYTES_MAX (CONF_DOMAIN_BYTES_MAX + 1 + CONF_SOURCE_BYTES_MAX)
/* Blocks, and pairs of a block and a source. */
#define PATHS_MAX           100000

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data
#define FIELD(text, its_kind, type, field)                                                         \
    .name = (text), .kind = (its_kind), .offset = offsetof(struct type, field)
#define OPTIONS(rows) .options = (rows), .count = COUNT_OF(rows)

bool conf_parse_address(struct slice text, struct endpoint *endpoint_out)
{
    if (endpoint_parse(text, 0, endpoint_out)) {
        return endpoint_out->port != 0;
    }
    if (endpoint_parse(text, 1, endpoint_out) || endpoint_parse_address(text, endpoint_out)) {
        endpoint_out->port = 0;
        return true;
    }
    return false;
}

/* --- paths ----------------------------------------------------------------------------------- */

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
#define PATH_BOOL(text, field) {FIELD(text, OPTION_BOOL, path_options, field)}

static const struct conf_option path_rows[] = {
    {FIELD("connection_limit", OPTION_OWN, path_options, connection_limit),
     .apply = conf_apply_limit},
    {FIELD("additional_connection_limits", OPTION_OWN, path_options, additional_connection_limits),
     .apply = conf_apply_named_limits},
    {FIELD("max_connection_rate", OPTION_OWN, path_options, max_connection_rate),
     .apply = conf_apply_rate},
    {FIELD("max_message_rate", OPTION_OWN, path_options, max_message_rate),
     .apply = conf_apply_rate},
    {FIELD("additional_message_rate_throttles", OPTION_OWN, path_options,
           additional_message_rates),
     .apply = conf_apply_named_rates},
    {FIELD("source_selection_rate", OPTION_OWN, path_options, source_selection_rate),
     .apply = conf_apply_rate},
    {FIELD("additional_source_selection_rates", OPTION_OWN, path_options,
           additional_source_selection_rates),
     .apply = conf_apply_named_rates},
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
    {.name = "prohibited_hosts", .kind = OPTION_OWN, .apply = apply_prohibited},
    {.name = "skip_hosts", .kind = OPTION_OWN, .apply = apply_skip},
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
     .max = CONF_DOMAIN_BYTES_MAX},
    {.name = "automation", .kind = OPTION_LATER},
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

/* --- blocks by domain ------------------------------------------------------------------------- */

/* Lower case, without the dot at the end; false when it is empty or too long. */
static bool domain_normalize(struct slice domain, uint8_t *out, struct slice *domain_out)
{
    if (domain.size > 1 && domain.data[domain.size - 1] == '.') {
        domain.size--;
    }
    if (domain.size == 0 || domain.size > CONF_DOMAIN_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < domain.size; i++) {
        out[i] = ascii_lower(domain.data[i]);
    }
    *domain_out = slice_make(out, domain.size);
    return true;
}

static bool block_equal(const void *context, uint64_t value, const void *key)
{
    const struct conf_block *blocks = context;
    return slice_equal(blocks[value].name, *(const struct slice *)key);
}

const struct conf_block *conf_domains_block_exact(const struct conf_domains *domains,
                                                  struct slice name)
{
    uint64_t index;
    if (!htab_find(&domains->table, htab_hash(&domains->table, name), &name, &index)) {
        return NULL;
    }
    return &domains->blocks[index];
}

const void *conf_domains_exact(const struct conf_domains *domains, struct slice name)
{
    const struct conf_block *block = conf_domains_block_exact(domains, name);
    return block == NULL ? NULL : block->options;
}

/* "*" or "default", and the suffix. */
static const struct conf_block *find_with(const struct conf_domains *domains, const char *name,
                                          struct slice suffix)
{
    uint8_t bytes[8 + CONF_SUFFIX_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    buf_put_string(&buf, name);
    buf_put(&buf, suffix);
    return conf_domains_block_exact(domains, buf_slice(&buf));
}

const struct conf_block *conf_domains_block(const struct conf_domains *domains,
                                            struct slice domain, struct slice suffix)
{
    uint8_t bytes[CONF_DOMAIN_BYTES_MAX + CONF_SUFFIX_BYTES_MAX];
    struct slice name;
    if (domains->table.count == 0) {
        return NULL;
    }
    if (domain_normalize(domain, bytes, &name)) {
        size_t size = name.size;
        if (suffix.size > 0) {
            memcpy(bytes + size, suffix.data, suffix.size);
            name.size += suffix.size;
        }
        const struct conf_block *found = conf_domains_block_exact(domains, name);
        for (size_t i = 1; i < size && found == NULL; i++) {
            if (bytes[i] == '.') {
                bytes[i - 1] = '*';
                found = conf_domains_block_exact(domains, slice_skip(name, i - 1));
            }
        }
        if (found == NULL) {
            found = find_with(domains, "*", suffix);
        }
        if (found != NULL) {
            return found;
        }
    }
    return suffix.size > 0 ? find_with(domains, "default", suffix) : NULL;
}

const void *conf_domains_find(const struct conf_domains *domains, struct slice domain,
                              struct slice suffix)
{
    const struct conf_block *block = conf_domains_block(domains, domain, suffix);
    return block == NULL ? NULL : block->options;
}

const struct path_options *conf_path(const struct conf *conf, struct slice domain)
{
    const void *found = conf_domains_find(conf->paths, domain, SLICE_NONE);
    return found == NULL ? conf->paths->fallback : found;
}

static const struct path_options *path_find(const struct conf_domains *domains,
                                            struct slice block, struct slice source)
{
    uint8_t bytes[PATH_NAME_BYTES_MAX];
    struct buf name;
    if (source.size == 0 && slice_equal(block, SLICE("default"))) {
        return domains->fallback;
    }
    buf_init(&name, bytes, sizeof(bytes));
    buf_put(&name, block);
    if (source.size > 0) {
        buf_put_byte(&name, 0);
        buf_put(&name, source);
    }
    return name.overflow ? NULL : conf_domains_exact(domains, buf_slice(&name));
}

const struct path_options *conf_path_block(const struct conf *conf, struct slice block,
                                           struct slice source)
{
    return path_find(conf->paths, block, source);
}

const struct path_options *conf_path_for(const struct conf *conf, struct slice domain,
                                         struct slice source)
{
    const struct path_options *path = conf_path(conf, domain);
    const struct path_options *own = path_find(conf->paths, path->block, source);
    return own == NULL ? path : own;
}

static bool is_block_name(struct slice name)
{
    struct endpoint address;
    if (slice_starts_with(name, SLICE("[")) && conf_parse_address(name, &address)) {
        return true;
    }
    if (slice_equal(name, SLICE("*"))) {
        return true;
    }
    return conf_text_is_host(slice_starts_with(name, SLICE("*.")) ? slice_skip(name, 2) : name);
}

static struct conf_domains *domains_take(struct heap *heap, size_t count, const void *fallback)
{
    struct conf_domains *domains = heap_take(heap, sizeof(*domains));
    uint32_t slots = htab_slots_for((uint32_t)count + 1);
    domains->blocks = heap_take_array(heap, count + 1, sizeof(*domains->blocks));
    domains->fallback = fallback;
    htab_init(&domains->table, heap_take(heap, (size_t)htab_memory(slots)), slots, TABLE_SEED,
              block_equal, domains->blocks);
    return domains;
}

struct conf_domains *conf_domains_new(struct conf_load *load, size_t count, const void *fallback)
{
    return domains_take(load->heap, count, fallback);
}

bool conf_domains_name(struct conf_load *load, const struct conf_value *table,
                       uint8_t out[CONF_DOMAIN_BYTES_MAX], struct slice *name_out)
{
    if (!domain_normalize(table->key, out, name_out) || !is_block_name(*name_out)) {
        conf_error(load, table, "\"%.*s\" is no domain", SHOW(table->key));
        return false;
    }
    return true;
}

/* There is room, and none of this name. */
static void block_add(struct conf_domains *domains, struct conf_block block)
{
    uint32_t index = domains->table.count;
    domains->blocks[index] = block;
    CHECK(htab_insert(&domains->table, htab_hash(&domains->table, block.name), index));
}

void conf_domains_add(struct conf_load *load, struct conf_domains *domains,
                      const struct conf_value *table, struct slice name, const void *options)
{
    if (conf_domains_exact(domains, name) != NULL) {
        conf_error(load, table, "\"%.*s\" has two blocks", SHOW(table->key));
        return;
    }
    block_add(domains, (struct conf_block){heap_copy(load->heap, name), options});
}

struct conf_domains *conf_domains_copy(const struct conf_domains *domains,
                                       conf_domains_copy_block *copy, struct heap *heap)
{
    struct conf_domains *other = domains_take(heap, domains->table.count, domains->fallback);
    for (uint32_t i = 0; i < domains->table.count; i++) {
        const struct conf_block *block = &domains->blocks[i];
        block_add(other, (struct conf_block){heap_copy(heap, block->name),
                                             copy(block->options, heap)});
    }
    return other;
}

/* --- sections -------------------------------------------------------------------------------- */

/* Members of [shaping] beside the blocks. */
static const struct conf_option shaping_rows[] = {
    {.name = "files", .kind = OPTION_OWN, .apply = conf_apply_files},
    {.name = "load", .kind = OPTION_LATER},
    {.name = "provider", .kind = OPTION_LATER},
};
static const struct conf_options shaping_members = {OPTIONS(shaping_rows), RELOADS};

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

/* What the table says, over what there is. */
static void path_lay(struct conf_load *load, const struct conf_value *table,
                     struct path_options *path)
{
    conf_options_apply(load, &conf_path_options, table, path);
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        if (!slice_equal(at->key, SLICE("sources"))) {
            struct slice text = conf_value_text(load, at);
            uint64_t key = XXH3_64bits_withSeed(at->key.data, at->key.size, path->fingerprint);
            path->fingerprint = XXH3_64bits_withSeed(text.data, text.size, key);
        }
    }
}

/* The same, when all that there is to say of the table has been said. */
static void path_lay_again(struct conf_load *load, const struct conf_value *table,
                           struct path_options *path)
{
    struct conf_messages silence = {0};
    struct conf_messages *messages = load->messages;
    load->messages = &silence;
    path_lay(load, table, path);
    load->messages = messages;
}

/* Is this what a block may say for a source? */
static bool source_is_good(struct conf_load *load, const struct conf *conf,
                           const struct conf_value *table)
{
    static const char *const of_block[] = {"mx_rollup", "sources", "replace_base", "automation"};
    if (!conf_source_name_is_valid(table->key)) {
        conf_error(load, table, "\"%.*s\" is no name of a source", SHOW(table->key));
        return false;
    }
    if (!conf_want(load, table, TOML_TABLE)) {
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(of_block); i++) {
        const struct conf_value *at = conf_tree_member(table, of_block[i]);
        if (at != NULL) {
            conf_error(load, at, "%s is for a block as a whole, not for a source", of_block[i]);
            return false;
        }
    }
    if (conf_source(conf, table->key) == NULL) {
        conf_note(load, table, "the source \"%.*s\" is not defined by [sources.source]",
                  SHOW(table->key));
    }
    return true;
}

/* Under way: all blocks. */
struct path_build {
    struct conf_load *load;
    const struct conf *conf;
    struct conf_domains *domains;
    const struct conf_value *shared; /* [shaping.default.sources]; null: there is none */
};

/* `options`, which are of this block, are those of a source there. */
static void path_source_add(const struct path_build *build, const struct conf_value *table,
                            struct path_options *options)
{
    uint8_t bytes[PATH_NAME_BYTES_MAX];
    struct buf name;
    options->source = heap_copy(build->load->heap, table->key);
    buf_init(&name, bytes, sizeof(bytes));
    buf_put(&name, options->block);
    buf_put_byte(&name, 0);
    buf_put(&name, options->source);
    conf_domains_add(build->load, build->domains, table, buf_slice(&name), options);
}

/* What `block`, whose options are `path`, and "default" say for sources. */
static void path_sources(const struct path_build *build, const struct conf_value *block,
                         const struct path_options *path)
{
    struct conf_load *load = build->load;
    const struct conf_value *own = conf_tree_table(block, "sources");
    const struct conf_value *shared = own == build->shared ? NULL : build->shared;
    const struct conf_value *lists[2] = {own, shared};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        const struct conf_value *at = lists[i] == NULL ? NULL : lists[i]->first;
        for (; at != NULL; at = at->next) {
            const struct path_options *base =
                shared == NULL ? NULL : path_find(build->domains, SLICE("default"), at->key);
            struct path_options *options;
            if (i == 0 ? !source_is_good(load, build->conf, at)
                       : base == NULL || path_find(build->domains, path->block, at->key) != NULL) {
                continue;
            }
            options = heap_take(load->heap, sizeof(*options));
            *options = base == NULL ? *path : *base;
            options->block = path->block;
            if (base != NULL) {
                path_lay_again(load, block, options);
            }
            if (i == 0) {
                path_lay(load, at, options);
            }
            path_source_add(build, at, options);
        }
    }
}

static void path_block(const struct path_build *build, const struct conf_value *table)
{
    uint8_t bytes[CONF_DOMAIN_BYTES_MAX];
    struct slice name;
    struct conf_load *load = build->load;
    if (conf_domains_name(load, table, bytes, &name)) {
        struct path_options *options = heap_take(load->heap, sizeof(*options));
        *options = *(const struct path_options *)build->domains->fallback;
        options->block = heap_copy(load->heap, name);
        path_lay(load, table, options);
        conf_domains_add(load, build->domains, table, name, options);
        path_sources(build, table, options);
    }
}

static size_t member_count(const struct conf_value *table)
{
    return table == NULL ? 0 : table->count;
}

/* How many paths there may be of this section. */
static size_t count_paths(const struct conf_value *section)
{
    const struct conf_value *base = section == NULL ? NULL : conf_tree_table(section, "default");
    size_t shared = member_count(base == NULL ? NULL : conf_tree_table(base, "sources"));
    size_t count = 0;
    for (const struct conf_value *at = section == NULL ? NULL : section->first; at != NULL;
         at = at->next) {
        if (at->kind == TOML_TABLE) {
            count += 1 + shared + member_count(conf_tree_table(at, "sources"));
        }
    }
    return count;
}

static void blocks_apply(struct conf_load *load, struct conf *conf,
                         const struct conf_value *section, struct conf_domains *domains)
{
    struct path_options *fallback = (struct path_options *)(uintptr_t)domains->fallback;
    const struct conf_value *base = section == NULL ? NULL : conf_tree_member(section, "default");
    struct path_build build = {.load = load, .conf = conf, .domains = domains};
    conf->paths = domains;
    if (base != NULL && conf_want(load, base, TOML_TABLE)) {
        build.shared = conf_tree_table(base, "sources");
        path_lay(load, base, fallback);
        path_sources(&build, base, fallback);
    }
    const struct conf_value *at = section == NULL ? NULL : section->first;
    for (; at != NULL; at = at->next) {
        if (slice_equal(at->key, SLICE("files"))) {
            continue; /* they are read */
        }
        if (conf_options_have(&shaping_members, at->key)) {
            conf_later(load, at);
        } else if (at->kind != TOML_TABLE) {
            conf_unknown(load, &shaping_members, at);
        } else if (at != base) {
            path_block(&build, at);
        }
    }
}

void conf_apply_shaping(struct conf_load *load, const struct conf_value *section,
                        struct conf *conf)
{
    struct path_options *fallback = heap_take(load->heap, sizeof(*fallback));
    *fallback = (struct path_options){
        .block = SLICE("default"),
        .fingerprint =
            XXH3_64bits(conf->node.hostname.data, conf->node.hostname.size), /* ehlo_domain */
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
    prohibited_default(load, fallback);
    if (section != NULL && !conf_want(load, section, TOML_TABLE)) {
        section = NULL;
    }
    size_t count = count_paths(section);
    if (count > PATHS_MAX) {
        conf_error(load, section, "blocks and the sources in them make %zu paths, at most %d are "
                   "possible", count, PATHS_MAX);
        section = NULL;
        count = 0;
    }
    blocks_apply(load, conf, section, conf_domains_new(load, count, fallback));
}
