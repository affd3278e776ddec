#include "core/conf_queues.h"

#include "core/check.h"
#include "core/conf_hours.h"
#include "core/conf_limits.h"
#include "core/conf_routes.h"
#include "core/conf_sources.h"
#include "core/conf_text.h"
#include "core/conf_zones.h"
#include "core/dns.h"

#include <assert.h>

static_assert(CONF_OVERALL_MAX == CONF_QUEUE_LAYERS_MAX + 1, "[queue.default] and the layers");

#define S                NS_PER_S
#define DAY              (86400 * NS_PER_S)
#define MX_LIST_MAX       32
#define MX_NAME_BYTES_MAX 256
#define HEADER_BYTES_MAX 64 /* of a name */

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data
#define FIELD(text, its_kind, type, field)                                                         \
    .name = (text), .kind = (its_kind), .offset = offsetof(struct type, field)
#define OPTIONS(rows) .options = (rows), .count = COUNT_OF(rows)

/* --- hosts ----------------------------------------------------------------------------------- */

/* "NAME" or "NAME:PORT", which DNS knows. Lower case, without a dot at the end. */
static bool parse_host_name(struct conf_load *load, struct slice text, struct conf_host *host_out)
{
    size_t colon = slice_find(text, ':');
    struct slice name = slice_first(text, colon);
    uint64_t port = 0;
    if (name.size == 0 || !dns_name_normalize(name, heap_take(load->heap, name.size), &name) ||
        (colon < text.size && (!slice_parse_u64(slice_skip(text, colon + 1), &port) ||
                               port == 0 || port > UINT16_MAX))) {
        return false;
    }
    uint8_t *lower = heap_take(load->heap, text.size);
    for (size_t i = 0; i < text.size; i++) {
        lower[i] = ascii_lower(text.data[i]);
    }
    host_out->text = slice_make(lower, text.size);
    host_out->name = name;
    host_out->endpoint.port = (uint16_t)port;
    return true;
}

/* A place given as text: an address, or a name. */
static bool apply_host(struct conf_load *load, const struct conf_value *value,
                       const char *option, struct conf_host *host_out)
{
    struct conf_host host = {0};
    if (value->kind != TOML_STRING) {
        conf_error(load, value, "%s wants \"[ADDRESS]:PORT\" or \"NAME:PORT\"", option);
        return false;
    }
    if (conf_parse_address(value->as.text, &host.endpoint)) {
        uint8_t bytes[ENDPOINT_TEXT_MAX];
        struct buf name;
        buf_init(&name, bytes, sizeof(bytes));
        endpoint_put_address(&name, &host.endpoint);
        host.text = heap_copy(load->heap, value->as.text);
        host.name = heap_copy(load->heap, buf_slice(&name));
        host.has_address = true;
    } else if (!parse_host_name(load, value->as.text, &host)) {
        conf_error(load, value, "%s: \"%.*s\" is neither \"[ADDRESS]:PORT\" nor \"NAME:PORT\"",
                   option, SHOW(value->as.text));
        return false;
    }
    *host_out = host;
    return true;
}

/* {name = "mx.test", addr = "192.0.2.1:25"} */
static bool apply_named_host(struct conf_load *load, const struct conf_value *table,
                             struct conf_host *host_out)
{
    const struct conf_value *name = conf_tree_member(table, "name");
    const struct conf_value *address = conf_tree_member(table, "addr");
    if (table->count != 2 || name == NULL || address == NULL || name->kind != TOML_STRING ||
        !conf_text_is_host(name->as.text)) {
        conf_error(load, table, "mx_list wants {name = \"HOST\", addr = \"ADDRESS:PORT\"}");
        return false;
    }
    if (!apply_host(load, address, "mx_list", host_out)) {
        return false;
    }
    if (!host_out->has_address) {
        conf_error(load, address, "mx_list: \"%.*s\" is no address", SHOW(address->as.text));
        return false;
    }
    host_out->text = host_out->name = heap_copy(load->heap, name->as.text);
    return true;
}

/* --- queues ---------------------------------------------------------------------------------- */

static struct slice mx_site_name(struct conf_load *load, const struct conf_host *hosts,
                                 size_t count)
{
    size_t size = 16;
    struct buf name;
    for (size_t i = 0; i < count; i++) {
        size += hosts[i].text.size + 1;
    }
    buf_init(&name, heap_take(load->heap, size), size);
    buf_put(&name, SLICE("mx_list:"));
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_put_byte(&name, ',');
        }
        buf_put(&name, hosts[i].text);
    }
    return buf_slice(&name);
}

/* As smtp/site_finder.h is asked for the addresses of hosts. */
static struct slice mx_lookup(struct conf_load *load, const struct conf_host *hosts, size_t count)
{
    size_t size = 0;
    struct buf names;
    for (size_t i = 0; i < count; i++) {
        size += hosts[i].has_address ? 0 : hosts[i].name.size + 1;
    }
    buf_init(&names, heap_take(load->heap, size + 1), size + 1);
    for (size_t i = 0; i < count; i++) {
        if (!hosts[i].has_address) {
            buf_put_byte(&names, ' ');
            buf_put(&names, hosts[i].name);
        }
    }
    return buf_slice(&names);
}

static void apply_mx_list(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    struct queue_options *queue = base;
    size_t count = 0;
    if (!conf_want(load, value, TOML_ARRAY)) {
        return;
    }
    if (value->count == 0 || value->count > MX_LIST_MAX) {
        conf_error(load, value, "%s wants 1 to %d hosts", option->name, MX_LIST_MAX);
        return;
    }
    struct conf_host *hosts = heap_take_array(load->heap, value->count, sizeof(*hosts));
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        bool good = at->kind == TOML_TABLE ? apply_named_host(load, at, &hosts[count])
                                           : apply_host(load, at, option->name, &hosts[count]);
        count += good;
    }
    queue->mx_list = hosts;
    queue->mx_count = count;
    queue->mx_name = mx_site_name(load, hosts, count);
    queue->mx_lookup = mx_lookup(load, hosts, count);
    if (queue->mx_name.size > MX_NAME_BYTES_MAX || queue->mx_lookup.size > MX_NAME_BYTES_MAX) {
        conf_error(load, value, "%s wants hosts of at most %d characters together", option->name,
                   MX_NAME_BYTES_MAX - 8);
    }
}

static const struct conf_option smtp_rows[] = {
    {.name = "mx_list", .kind = OPTION_OWN, .apply = apply_mx_list},
    {.name = "treat_mx_list_as_secure", .kind = OPTION_NOTE},
};
static const struct conf_options smtp_options = {OPTIONS(smtp_rows), RELOADS};

static void apply_smtp(struct conf_load *load, const struct conf_option *option,
                       const struct conf_value *value, void *base)
{
    (void)option;
    conf_options_apply(load, &smtp_options, value, base);
}

static const struct conf_option protocol_rows[] = {
    {.name = "smtp", .kind = OPTION_OWN, .apply = apply_smtp},
    {.name = "maildir", .kind = OPTION_LATER},
    {.name = "custom_lua", .kind = OPTION_LATER},
};
static const struct conf_options protocol_options = {OPTIONS(protocol_rows), RELOADS};

static void apply_protocol(struct conf_load *load, const struct conf_option *option,
                           const struct conf_value *value, void *base)
{
    if (value->kind == TOML_STRING && slice_equal(value->as.text, SLICE("smtp"))) {
        return;
    }
    if (value->kind != TOML_TABLE) {
        conf_error(load, value, "%s wants { smtp = { mx_list = [...] } }", option->name);
        return;
    }
    conf_options_apply(load, &protocol_options, value, base);
}

static void apply_routing_domain(struct conf_load *load, const struct conf_option *option,
                                 const struct conf_value *value, void *base)
{
    struct queue_options *queue = base;
    struct conf_host *host = heap_take(load->heap, sizeof(*host));
    if (!apply_host(load, value, option->name, host)) {
        return;
    }
    if (host->text.size > CONF_ROUTING_BYTES_MAX) {
        conf_error(load, value, "%s wants at most %d characters", option->name,
                   CONF_ROUTING_BYTES_MAX);
        return;
    }
    queue->routing_domain = host;
}

static void apply_class(struct conf_load *load, const struct conf_option *option,
                        const struct conf_value *value, void *base)
{
    struct queue_options *queue = base;
    bool urgent = value->kind == TOML_STRING && slice_equal(value->as.text, SLICE("urgent"));
    if (!urgent && !(value->kind == TOML_STRING && slice_equal(value->as.text, SLICE("bulk")))) {
        conf_error(load, value, "%s wants one of \"urgent\", \"bulk\"", option->name);
        return;
    }
    queue->class = urgent ? CONF_CLASS_URGENT : CONF_CLASS_BULK;
}

/* In a block it is the first of those that count. */
static void apply_overall(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    struct queue_options *queue = base;
    struct overall_rate *overall = heap_take(load->heap, sizeof(*overall));
    struct conf_option rate = *option;
    rate.offset = offsetof(struct overall_rate, rate);
    conf_apply_rate(load, &rate, value, overall);
    queue->overall[0] = overall;
}

#define HOURS_ROW(text)                                                                            \
    {FIELD(text, OPTION_OWN, queue_options, hours), .apply = conf_apply_hours}

/* Of every block. Zero is no value of any: a layer that does not name one leaves it as it is. */
#define QUEUE_ROWS                                                                                 \
    {FIELD("retry_interval", OPTION_DURATION, queue_options, retry_interval_ns),                   \
     .min = S, .max = 366 * DAY},                                                                  \
    {FIELD("max_retry_interval", OPTION_DURATION, queue_options, max_retry_interval_ns),           \
     .min = S, .max = 366 * DAY},                                                                  \
    {FIELD("max_age", OPTION_DURATION, queue_options, max_age_ns), .min = S, .max = 3660 * DAY},   \
    {.name = "protocol", .kind = OPTION_OWN, .apply = apply_protocol},                             \
    {.name = "routing_domain", .kind = OPTION_OWN, .apply = apply_routing_domain},                 \
    {FIELD("egress_pool", OPTION_TEXT, queue_options, egress_pool),                             \
     .max = CONF_SOURCE_BYTES_MAX},                                                                \
    {.name = "class", .kind = OPTION_OWN, .apply = apply_class},                                   \
    {FIELD("weight", OPTION_COUNT, queue_options, weight), .min = 1, .max = 1000},                 \
    {FIELD("max_message_rate", OPTION_OWN, queue_options, max_message_rate),                       \
     .apply = conf_apply_rate_pointer},                                                            \
    {.name = "overall_max_message_rate", .kind = OPTION_OWN, .apply = apply_overall},              \
    HOURS_ROW("dow"),                                                                              \
    HOURS_ROW("tz"),                                                                               \
    HOURS_ROW("start"),                                                                            \
    HOURS_ROW("end"),                                                                              \
    {FIELD("provider_name", OPTION_TEXT, queue_options, provider_name),                            \
     .max = CONF_PROVIDER_BYTES_MAX},                                                              \
    {.name = "reap_interval", .kind = OPTION_NOTE},                                                \
    {.name = "refresh_interval", .kind = OPTION_NOTE},                                             \
    {.name = "refresh_strategy", .kind = OPTION_NOTE},                                             \
    {.name = "strategy", .kind = OPTION_NOTE},                                                     \
    {.name = "timerwheel_tick_interval", .kind = OPTION_NOTE},                                     \
    {.name = "shrink_policy", .kind = OPTION_NOTE}

static const struct conf_option queue_rows[] = {
    QUEUE_ROWS,
};
static const struct conf_option tenant_rows[] = {
    QUEUE_ROWS,
    {.name = "require_authz", .kind = OPTION_LATER}, /* there is no AUTH yet */
    {.name = "campaigns", .kind = OPTION_LATER},
};
/* [queue.DOMAIN] and [queue.DOMAIN.TENANT], which hold further blocks. */
static const struct conf_options outer_options = {
    OPTIONS(queue_rows), RELOADS, .inner_tables = true};
/* [queue.DOMAIN.TENANT.CAMPAIGN] */
static const struct conf_options campaign_options = {OPTIONS(queue_rows), RELOADS};
const struct conf_options conf_queue_options = {OPTIONS(tenant_rows), RELOADS};

/* --- names ----------------------------------------------------------------------------------- */

/*
 * All blocks stand in one table, by what they are for: "DOMAIN", "DOMAIN\0TENANT",
 * "DOMAIN\0TENANT\0CAMPAIGN", and "\0TENANT" for [tenant.TENANT].
 */
static struct slice block_suffix(struct slice tenant, struct slice campaign,
                                 uint8_t out[CONF_SUFFIX_BYTES_MAX])
{
    struct buf buf;
    buf_init(&buf, out, CONF_SUFFIX_BYTES_MAX);
    if (tenant.size > 0) {
        buf_put_byte(&buf, 0);
        buf_put(&buf, tenant);
    }
    if (campaign.size > 0) {
        buf_put_byte(&buf, 0);
        buf_put(&buf, campaign);
    }
    return buf_slice(&buf);
}

static_assert(CONF_SUFFIX_BYTES_MAX >= CONF_TENANT_BYTES_MAX + CONF_CAMPAIGN_BYTES_MAX + 2,
              "every tenant and campaign has a suffix");

bool conf_tenant_is_valid(struct slice tenant)
{
    for (size_t i = 0; i < tenant.size; i++) {
        uint8_t byte = tenant.data[i];
        if (byte <= ' ' || byte >= 0x7F || byte == ':' || byte == '@' || byte == '!') {
            return false;
        }
    }
    return tenant.size > 0 && tenant.size <= CONF_TENANT_BYTES_MAX;
}

bool conf_campaign_is_valid(struct slice campaign)
{
    for (size_t i = 0; i < campaign.size; i++) {
        if (campaign.data[i] < ' ' || campaign.data[i] == 0x7F) {
            return false;
        }
    }
    return campaign.size > 0 && campaign.size <= CONF_CAMPAIGN_BYTES_MAX &&
           slice_is_utf8(campaign);
}

/* --- layers ---------------------------------------------------------------------------------- */

/* What `layer` names is laid over `out`. */
static void lay(struct queue_options *out, const struct queue_options *layer)
{
#define LAY(field) out->field = layer->field != 0 ? layer->field : out->field
    LAY(retry_interval_ns);
    LAY(max_retry_interval_ns);
    LAY(max_age_ns);
    LAY(class);
    LAY(weight);
    LAY(max_message_rate);
    LAY(routing_domain);
    LAY(hours);
    if (layer->provider_name.size > 0) {
        out->provider_name = layer->provider_name;
    }
    if (layer->mx_count > 0) {
        out->mx_list = layer->mx_list;
        out->mx_count = layer->mx_count;
        out->mx_name = layer->mx_name;
        out->mx_lookup = layer->mx_lookup;
    }
    if (layer->egress_pool.size > 0) {
        out->egress_pool = layer->egress_pool;
    }
    if (layer->overall[0] != NULL) {
        unsigned count = 0;
        while (out->overall[count] != NULL) {
            count++;
        }
        out->overall[count] = layer->overall[0];
    }
#undef LAY
}

bool conf_tenant_is_defined(const struct conf *conf, struct slice tenant)
{
    uint8_t bytes[CONF_SUFFIX_BYTES_MAX];
    return conf_tenant_is_valid(tenant) &&
           conf_domains_exact(conf->queues.blocks, block_suffix(tenant, SLICE_NONE, bytes)) != NULL;
}

unsigned conf_queue_layers(const struct conf *conf, const struct conf_queue_key *key,
                           const struct conf_block *layers_out[CONF_QUEUE_LAYERS_MAX])
{
    const struct conf_domains *blocks = conf->queues.blocks;
    uint8_t bytes[CONF_SUFFIX_BYTES_MAX];
    const struct conf_block *found[CONF_QUEUE_LAYERS_MAX] = {
        conf_domains_block(blocks, key->domain, SLICE_NONE)};
    unsigned count = 0;
    if (key->tenant.size > 0 && conf_tenant_is_defined(conf, key->tenant)) {
        struct slice tenant = block_suffix(key->tenant, SLICE_NONE, bytes);
        found[1] = conf_domains_block_exact(blocks, tenant);
        found[2] = conf_domains_block(blocks, key->domain, tenant);
        if (conf_campaign_is_valid(key->campaign)) {
            found[3] = conf_domains_block(blocks, key->domain,
                                          block_suffix(key->tenant, key->campaign, bytes));
        }
    }
    for (unsigned i = 0; i < COUNT_OF(found); i++) {
        if (found[i] != NULL) {
            layers_out[count++] = found[i];
        }
    }
    return count;
}

void conf_queue(const struct conf *conf, const struct conf_queue_key *key,
                struct queue_options *options_out)
{
    const struct conf_block *layers[CONF_QUEUE_LAYERS_MAX];
    unsigned count = conf_queue_layers(conf, key, layers);
    *options_out = *(const struct queue_options *)conf->queues.blocks->fallback;
    for (unsigned i = 0; i < count; i++) {
        lay(options_out, layers[i]->options);
    }
}

/* --- blocks ---------------------------------------------------------------------------------- */

/* A member of a block that is a block itself. */
static bool is_inner(const struct conf_value *at)
{
    return at->kind == TOML_TABLE && !conf_options_have(&outer_options, at->key);
}

static bool is_campaigns(const struct conf_value *at)
{
    return slice_equal(at->key, SLICE("campaigns"));
}

/* Does a table stand there only for the blocks in it? Then it is none, and hides no wildcard. */
static bool holds_blocks_only(const struct conf_value *table)
{
    bool only = table->count > 0;
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        only = only && is_inner(at);
    }
    return only;
}

/* A block with its rows applied: is there a pool of that name? */
static void pool_check(struct conf_load *load, const struct conf *conf,
                       const struct conf_value *table, const struct queue_options *options)
{
    const struct conf_value *at =
        table->kind == TOML_TABLE ? conf_tree_member(table, "egress_pool") : NULL;
    if (at != NULL && at->kind == TOML_STRING &&
        slice_equal(at->as.text, options->egress_pool) &&
        conf_pool(conf, options->egress_pool) == NULL) {
        conf_error(load, at, "the pool \"%.*s\" is not defined by [sources.pool]",
                   SHOW(options->egress_pool));
    }
}

/* Its rate is that of this block: see conf_queue_layers for names. */
static void overall_name(struct conf_load *load, struct queue_options *layer, struct slice block)
{
    uint8_t bytes[CONF_DOMAIN_BYTES_MAX + CONF_SUFFIX_BYTES_MAX];
    struct slice parts[3] = {SLICE_NONE, SLICE_NONE, SLICE_NONE}; /* domain, tenant, campaign */
    struct buf name;
    if (layer->overall[0] == NULL) {
        return;
    }
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        parts[i] = slice_first(block, slice_find(block, 0));
        block = slice_skip(block, MIN_OF(parts[i].size + 1, block.size));
    }
    bool of_tenant = parts[0].size == 0;
    buf_init(&name, bytes, sizeof(bytes));
    buf_put(&name, parts[2]);
    buf_put(&name, parts[2].size > 0 ? SLICE(":") : SLICE_NONE);
    buf_put(&name, parts[1]);
    buf_put(&name, parts[1].size > 0 && !of_tenant ? SLICE("@") : SLICE_NONE);
    buf_put(&name, parts[0]);
    struct overall_rate *overall = heap_take(load->heap, sizeof(*overall));
    *overall = (struct overall_rate){
        .rate = layer->overall[0]->rate,
        .scope = of_tenant ? SLICE("tenant") : SLICE("block"),
        .name = heap_copy(load->heap, buf_slice(&name)),
    };
    layer->overall[0] = overall;
}

static void layer_add(struct conf_load *load, struct conf *conf,
                      const struct conf_options *options, const struct conf_value *table,
                      struct conf_domains *blocks, struct slice name)
{
    struct queue_options *layer = heap_take(load->heap, sizeof(*layer));
    bool of_tenant = slice_find(name, 0) < name.size;
    conf_options_apply(load, options, table, layer);
    pool_check(load, conf, table, layer);
    conf_hours_check(load, table, layer->hours);
    overall_name(load, layer, name);
    conf->queues.routed = conf->queues.routed || layer->routing_domain != NULL;
    conf->queues.tenants_route = conf->queues.tenants_route ||
                                 (of_tenant && (layer->mx_count > 0 ||
                                                layer->routing_domain != NULL));
    conf_domains_add(load, blocks, table, name, layer);
}

/* [queue.DOMAIN.TENANT]: `domain` is normalized, or "default". */
static void tenant_blocks(struct conf_load *load, struct conf *conf,
                          const struct conf_value *table, struct conf_domains *blocks,
                          struct slice domain)
{
    uint8_t bytes[CONF_DOMAIN_BYTES_MAX + CONF_SUFFIX_BYTES_MAX];
    uint8_t suffix[CONF_SUFFIX_BYTES_MAX];
    struct buf name;
    if (!conf_tenant_is_valid(table->key)) {
        conf_error(load, table, "\"%.*s\" is no name of a tenant", SHOW(table->key));
        return;
    }
    if (conf_domains_exact(blocks, block_suffix(table->key, SLICE_NONE, suffix)) == NULL) {
        conf_note(load, table, "the tenant \"%.*s\" is not defined by [queues.tenant.\"%.*s\"]: "
                  "its mail is refused", SHOW(table->key), SHOW(table->key));
    }
    buf_init(&name, bytes, sizeof(bytes));
    buf_put(&name, domain);
    buf_put(&name, block_suffix(table->key, SLICE_NONE, suffix));
    if (!holds_blocks_only(table)) {
        layer_add(load, conf, &outer_options, table, blocks, buf_slice(&name));
    }
    /* KumoMTA's form has them in a table of their own, `campaigns`. */
    const struct conf_value *lists[2] = {table, conf_tree_member(table, "campaigns")};
    for (size_t i = 0; i < COUNT_OF(lists) && lists[i] != NULL; i++) {
        if (lists[i]->kind != TOML_TABLE) {
            continue;
        }
        for (const struct conf_value *at = lists[i]->first; at != NULL; at = at->next) {
            if (i == 0 ? !is_inner(at) || is_campaigns(at) : !conf_want(load, at, TOML_TABLE)) {
                continue;
            }
            if (!conf_campaign_is_valid(at->key)) {
                conf_error(load, at, "\"%.*s\" is no name of a campaign", SHOW(at->key));
                continue;
            }
            name.size = domain.size;
            buf_put(&name, block_suffix(table->key, at->key, suffix));
            layer_add(load, conf, &campaign_options, at, blocks, buf_slice(&name));
        }
    }
}

/* [queue.DOMAIN] and what stands in it. */
static void domain_blocks(struct conf_load *load, struct conf *conf,
                          const struct conf_value *table, struct conf_domains *blocks)
{
    uint8_t bytes[CONF_DOMAIN_BYTES_MAX];
    struct slice domain = SLICE("default");
    if (!conf_want(load, table, TOML_TABLE)) {
        return;
    }
    if (!slice_equal(table->key, domain)) {
        if (!conf_domains_name(load, table, bytes, &domain)) {
            return;
        }
        if (!holds_blocks_only(table)) {
            layer_add(load, conf, &outer_options, table, blocks, domain);
        }
    }
    for (const struct conf_value *at = table->first; at != NULL; at = at->next) {
        if (is_inner(at)) {
            tenant_blocks(load, conf, at, blocks, domain);
        }
    }
}

/* Tables in this one, down to the third level: at least as many as there are blocks. */
static size_t count_tables(const struct conf_value *table)
{
    size_t count = 0;
    for (const struct conf_value *a = table == NULL ? NULL : table->first; a != NULL; a = a->next) {
        count++;
        for (const struct conf_value *b = a->first; b != NULL; b = b->next) {
            count++;
            for (const struct conf_value *c = b->first; c != NULL; c = c->next) {
                count += 1 + c->count;
            }
        }
    }
    return count;
}

static void base_apply(struct conf_load *load, struct conf *conf, const struct conf_value *blocks,
                       struct queue_options *base)
{
    const struct conf_value *table = blocks == NULL ? NULL : conf_tree_member(blocks, "default");
    *base = (struct queue_options){
        .retry_interval_ns = 20 * 60 * S,
        .max_age_ns = 7 * DAY,
        .egress_pool = SLICE(CONF_UNSPECIFIED),
        .class = CONF_CLASS_BULK,
        .weight = 100,
    };
    if (table != NULL) {
        conf_options_apply(load, &outer_options, table, base);
        pool_check(load, conf, table, base);
        conf_hours_check(load, table, base->hours);
        overall_name(load, base, SLICE("default"));
        conf->queues.routed = base->routing_domain != NULL;
    }
}

/* --- headers --------------------------------------------------------------------------------- */

/* A name of RFC 5322 2.2, kept in lower case; "": none is looked for. */
static void apply_header(struct conf_load *load, const struct conf_option *option,
                         const struct conf_value *value, void *base)
{
    if (!conf_want(load, value, TOML_STRING)) {
        return;
    }
    struct slice text = value->as.text;
    bool good = text.size <= HEADER_BYTES_MAX;
    for (size_t i = 0; i < text.size && good; i++) {
        good = text.data[i] > ' ' && text.data[i] < 0x7F && text.data[i] != ':';
    }
    if (!good) {
        conf_error(load, value, "%s wants the name of a header field", option->name);
        return;
    }
    struct slice copy = heap_copy(load->heap, text);
    for (size_t i = 0; i < copy.size; i++) {
        ((uint8_t *)(uintptr_t)copy.data)[i] = ascii_lower(copy.data[i]);
    }
    ((struct conf_label *)(void *)((uint8_t *)base + option->offset))->header = copy;
}

static void apply_default_tenant(struct conf_load *load, const struct conf_option *option,
                                 const struct conf_value *value, void *base)
{
    struct conf_queues *queues = base;
    if (!conf_want(load, value, TOML_STRING)) {
        return;
    }
    if (!conf_tenant_is_valid(value->as.text)) {
        conf_error(load, value, "%s wants the name of a tenant", option->name);
        return;
    }
    queues->default_tenant = heap_copy(load->heap, value->as.text);
}

#define HEADER(text, label)                                                                        \
    {FIELD(text, OPTION_OWN, conf_queues, labels[label]), .apply = apply_header}
#define REMOVE(text, label) {FIELD(text, OPTION_BOOL, conf_queues, labels[label].remove)}

static const struct conf_option queues_rows[] = {
    {.name = "files", .kind = OPTION_OWN, .apply = conf_apply_files},
    HEADER("tenant_header", CONF_LABEL_TENANT),
    REMOVE("remove_tenant_header", CONF_LABEL_TENANT),
    {.name = "default_tenant", .kind = OPTION_OWN, .apply = apply_default_tenant},
    HEADER("campaign_header", CONF_LABEL_CAMPAIGN),
    REMOVE("remove_campaign_header", CONF_LABEL_CAMPAIGN),
    HEADER("class_header", CONF_LABEL_CLASS),
    HEADER("scheduling_header", CONF_LABEL_SCHEDULE),
    {.name = "queue", .kind = OPTION_OWN, .apply = conf_apply_table},
    {.name = "tenant", .kind = OPTION_OWN, .apply = conf_apply_table},
};
static const struct conf_options queues_members = {OPTIONS(queues_rows), RELOADS};

static void labels_check(struct conf_load *load, const struct conf_value *section,
                         const struct conf_queues *queues)
{
    for (size_t i = 0; i < CONF_LABELS; i++) {
        for (size_t other = 0; other < i; other++) {
            struct slice name = queues->labels[i].header;
            if (name.size > 0 && slice_equal(name, queues->labels[other].header)) {
                conf_error(load, section, "the header \"%.*s\" cannot say two things", SHOW(name));
            }
        }
    }
}

/* --- section --------------------------------------------------------------------------------- */

void conf_apply_queues(struct conf_load *load, const struct conf_value *section,
                       struct conf *conf)
{
    struct queue_options *base = heap_take(load->heap, sizeof(*base));
    uint8_t suffix[CONF_SUFFIX_BYTES_MAX];
    conf->queues.labels[CONF_LABEL_CLASS] =
        (struct conf_label){.header = SLICE("x-ringpost-class"), .remove = true};
    conf->queues.labels[CONF_LABEL_SCHEDULE].remove = true;
    if (section != NULL && section->kind == TOML_TABLE) {
        conf_options_apply(load, &queues_members, section, &conf->queues);
        labels_check(load, section, &conf->queues);
    } else if (section != NULL) {
        (void)conf_want(load, section, TOML_TABLE);
        section = NULL;
    }
    const struct conf_value *domains = conf_tree_table(section, "queue");
    const struct conf_value *tenants = conf_tree_table(section, "tenant");
    struct conf_domains *blocks =
        conf_domains_new(load, count_tables(domains) + count_tables(tenants), base);
    conf->queues.blocks = blocks;
    base_apply(load, conf, domains, base);
    for (const struct conf_value *at = tenants == NULL ? NULL : tenants->first; at != NULL;
         at = at->next) {
        if (!conf_tenant_is_valid(at->key)) {
            conf_error(load, at, "\"%.*s\" is no name of a tenant", SHOW(at->key));
        } else if (conf_want(load, at, TOML_TABLE)) {
            layer_add(load, conf, &conf_queue_options, at, blocks,
                      block_suffix(at->key, SLICE_NONE, suffix));
        }
    }
    for (const struct conf_value *at = domains == NULL ? NULL : domains->first; at != NULL;
         at = at->next) {
        domain_blocks(load, conf, at, blocks);
    }
    if (conf->queues.labels[CONF_LABEL_SCHEDULE].header.size > 0) {
        conf_zones_all(load, conf_tree_member(section, "scheduling_header"), &conf->zones);
    }
    struct slice tenant = conf->queues.default_tenant;
    if (tenant.size > 0 && !conf_tenant_is_defined(conf, tenant)) {
        conf_note(load, section, "default_tenant \"%.*s\" is not defined by [queues.tenant]: mail "
                  "without a tenant is refused", SHOW(tenant));
    }
}
