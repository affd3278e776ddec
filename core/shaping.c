#include "core/shaping.h"

#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/conf_limits.h"
#include "core/conf_shaping.h"
#include "core/conf_routes.h"
#include "core/shaping_list.h"

/* A layer's number: what it is, above its index. */
enum layer_kind {
    LAYER_BASE,
    LAYER_BASE_SOURCE,
    LAYER_PROVIDER,
    LAYER_PROVIDER_SOURCE,
    LAYER_SITE,
    LAYER_BLOCK,
    LAYER_SITE_SOURCE,
    LAYER_BLOCK_SOURCE,
    LAYER_OVERRIDE,
    LAYER_OVERRIDE_ELSEWHERE, /* of another source: not laid, but told apart by */
};
#define LAYER_BITS 28

static uint64_t mix(uint64_t seed, uint64_t value)
{
    return XXH3_64bits_withSeed(&value, sizeof(value), seed);
}

uint64_t shaping_view_digest(const struct shaping_view *view)
{
    uint64_t digest = mix(1, view->shaping->digest);
    digest = mix(digest, view->sites == NULL ? 0 : view->sites->digest);
    return mix(digest, view->overrides == NULL ? 0 : view->overrides->digest);
}

/* --- providers -------------------------------------------------------------------------------- */

static bool host_matches(const struct shaping_provider *provider, struct slice host)
{
    if (slice_ends_with(host, SLICE("."))) {
        host.size--;
    }
    for (uint32_t i = 0; i < provider->match_count; i++) {
        const struct shaping_match *match = &provider->matches[i];
        if ((match->kind == SHAPING_MX_SUFFIX && slice_ends_with(host, match->text)) ||
            (match->kind == SHAPING_HOST_NAME && slice_equal(host, match->text))) {
            return true;
        }
    }
    return false;
}

static bool provider_matches(const struct shaping_provider *provider, struct slice domain,
                             const struct shaping_query *query)
{
    for (uint32_t i = 0; i < provider->match_count; i++) {
        if (provider->matches[i].kind == SHAPING_DOMAIN_SUFFIX &&
            slice_ends_with(domain, provider->matches[i].text)) {
            return true;
        }
    }
    bool all = query->host_count > 0;
    for (unsigned i = 0; all && i < query->host_count; i++) {
        all = host_matches(provider, query->hosts[i]);
    }
    return all;
}

static unsigned providers_find(const struct shaping *shaping, struct slice domain,
                               const struct shaping_query *query,
                               uint32_t numbers_out[SHAPING_MATCHING_MAX])
{
    unsigned count = 0;
    for (uint32_t i = 0; i < shaping->provider_count && count < SHAPING_MATCHING_MAX; i++) {
        if (provider_matches(&shaping->providers[i], domain, query)) {
            numbers_out[count++] = i;
        }
    }
    return count;
}

unsigned shaping_providers(const struct shaping *shaping, const struct shaping_query *query,
                           uint32_t numbers_out[SHAPING_MATCHING_MAX])
{
    uint8_t bytes[CONF_DOMAIN_BYTES_MAX];
    struct slice domain = SLICE_NONE;
    (void)conf_domain_normalize(query->domain, bytes, &domain);
    return providers_find(shaping, domain, query, numbers_out);
}

/* --- selection -------------------------------------------------------------------------------- */

/* What there is for a query. */
struct finding {
    const struct shaping_view *view;
    const struct shaping_query *query;
    struct slice domain;
    uint8_t domain_memory[CONF_DOMAIN_BYTES_MAX];
    unsigned provider_count;
    uint32_t providers[SHAPING_MATCHING_MAX];
    const struct shaping_site *site;   /* null: no block is its */
    uint32_t site_number;
    const struct shaping_block *block; /* the domain's, unless it is in the site's; null: none */
    uint32_t block_number;
};

static void find(const struct shaping_view *view, const struct shaping_query *query,
                 struct finding *finding)
{
    const struct shaping *shaping = view->shaping;
    const struct shaping_sites *sites = view->sites;
    finding->view = view;
    finding->query = query;
    finding->domain = SLICE_NONE;
    finding->site = NULL;
    finding->block = NULL;
    (void)conf_domain_normalize(query->domain, finding->domain_memory, &finding->domain);
    finding->provider_count = providers_find(shaping, finding->domain, query, finding->providers);
    uint32_t site_count = sites == NULL ? 0 : sites->count;
    finding->site_number = query->site.size == 0 ? site_count
                                                 : shaping_sites_find(sites, query->site);
    if (finding->site_number < site_count) {
        finding->site = &sites->sites[finding->site_number];
    }
    const struct shaping_block *block = conf_domains_find(shaping->domains, finding->domain,
                                                          SLICE_NONE);
    if (block != NULL) {
        finding->block_number = (uint32_t)(block - shaping->blocks);
        bool shared = finding->site != NULL &&
                      sites->site_of[finding->block_number] == finding->site_number;
        finding->block = shared ? NULL : block;
    }
}

static void select_layer(struct shaping_selection *selection, enum layer_kind kind, uint32_t index)
{
    CHECK(selection->count < SHAPING_LAYERS_MAX);
    selection->layers[selection->count++] = (uint32_t)kind << LAYER_BITS | index;
}

/* What the block says for the source, if it does. */
static void select_source(struct shaping_selection *selection, const struct finding *finding,
                          const struct shaping_block *block, enum layer_kind kind, uint32_t index)
{
    if (shaping_block_source(block, finding->query->source) != NULL) {
        select_layer(selection, kind, index);
        selection->by_source = true;
    }
}

static void select_overrides(struct shaping_selection *selection, const struct finding *finding)
{
    uint32_t rows[SHAPING_LAID_MAX];
    const struct shaping_overrides *overrides = finding->view->overrides;
    unsigned count =
        shaping_overrides_find(overrides, finding->domain, finding->query->site, rows);
    for (unsigned i = 0; i < count; i++) {
        struct slice source = overrides->rows[rows[i]].as_given.source;
        bool meant = source.size == 0 || slice_equal(source, finding->query->source);
        select_layer(selection, meant ? LAYER_OVERRIDE : LAYER_OVERRIDE_ELSEWHERE, rows[i]);
        selection->by_source = selection->by_source || source.size > 0;
    }
}

void shaping_select(const struct shaping_view *view, const struct shaping_query *query,
                    struct shaping_selection *selection_out)
{
    struct finding finding;
    const struct shaping *shaping = view->shaping;
    find(view, query, &finding);
    selection_out->count = 0;
    selection_out->by_source = false;
    select_layer(selection_out, LAYER_BASE, 0);
    select_source(selection_out, &finding, &shaping->base, LAYER_BASE_SOURCE, 0);
    for (unsigned i = 0; i < finding.provider_count; i++) {
        uint32_t number = finding.providers[i];
        const struct shaping_block *block = &shaping->providers[number].block;
        select_layer(selection_out, LAYER_PROVIDER, number);
        select_source(selection_out, &finding, block, LAYER_PROVIDER_SOURCE, number);
        selection_out->by_source = selection_out->by_source || block->limited;
    }
    if (finding.site != NULL) {
        select_layer(selection_out, LAYER_SITE, finding.site_number);
    }
    if (finding.block != NULL) {
        select_layer(selection_out, LAYER_BLOCK, finding.block_number);
    }
    if (finding.site != NULL) {
        select_source(selection_out, &finding, &finding.site->block, LAYER_SITE_SOURCE,
                      finding.site_number);
    }
    if (finding.block != NULL) {
        select_source(selection_out, &finding, finding.block, LAYER_BLOCK_SOURCE,
                      finding.block_number);
    }
    select_overrides(selection_out, &finding);
}

/* Groups that are put so far; more are only counted. */
struct putting {
    uint32_t *groups;
    uint32_t count;
    uint32_t max;
};

static void put_groups(struct putting *putting, const struct shaping_block *block)
{
    for (uint32_t i = 0; block != NULL && i < block->group_count; i++, putting->count++) {
        if (putting->count < putting->max) {
            putting->groups[putting->count] = block->groups[i];
        }
    }
}

uint32_t shaping_groups(const struct shaping_view *view, const struct shaping_query *query,
                        uint32_t *groups_out, uint32_t max)
{
    struct finding finding;
    struct putting putting = {.groups = groups_out, .max = max};
    find(view, query, &finding);
    put_groups(&putting, &view->shaping->base);
    for (unsigned i = 0; i < finding.provider_count; i++) {
        put_groups(&putting, &view->shaping->providers[finding.providers[i]].block);
    }
    put_groups(&putting, finding.site == NULL ? NULL : &finding.site->block);
    put_groups(&putting, finding.block);
    return putting.count;
}

/* --- merging ---------------------------------------------------------------------------------- */

struct laying {
    struct shaping_path *path;
    struct slice source;   /* the one that a provider's limits are for */
    struct slice provider; /* whose layer it is */
};

/* "shaping-provider-google-ip1-rate", kept with the path. */
static struct slice provider_member(struct laying *laying, const char *suffix)
{
    struct shaping_path *path = laying->path;
    struct buf name;
    buf_init(&name, path->names + path->name_bytes, sizeof(path->names) - path->name_bytes);
    buf_put_string(&name, "shaping-provider-");
    buf_put(&name, laying->provider);
    buf_put_byte(&name, '-');
    buf_put(&name, laying->source);
    buf_put_string(&name, suffix);
    return name.overflow ? SLICE_NONE : buf_slice(&name);
}

/* The place of this name in a map, whose rows begin with their names; the map's size: a new one. */
static size_t row_find(const void *rows, size_t row_bytes, size_t count, struct slice name)
{
    const uint8_t *bytes = rows;
    size_t i = 0;
    while (i < count &&
           !slice_equal(*(const struct slice *)(const void *)(bytes + i * row_bytes), name)) {
        i++;
    }
    return i;
}

/* One map of a path. */
struct map {
    void *rows;
    size_t row_bytes;
    const struct shaping_said **from;
    size_t *count;
};

static struct map map_of(struct shaping_path *path, const struct conf_option *option)
{
    struct path_options *options = &path->options;
    if (option->apply == conf_apply_named_limits) {
        return (struct map){path->limits, sizeof(path->limits[0]), path->limits_from,
                            &options->additional_connection_limits.count};
    }
    if (option->offset == offsetof(struct path_options, additional_message_rates)) {
        return (struct map){path->rates, sizeof(path->rates[0]), path->rates_from,
                            &options->additional_message_rates.count};
    }
    return (struct map){path->selections, sizeof(path->selections[0]), path->selections_from,
                        &options->additional_source_selection_rates.count};
}

static void lay_member(struct laying *laying, const struct shaping_said *said)
{
    struct map map = map_of(laying->path, said->option);
    struct slice name =
        said->suffix != NULL ? provider_member(laying, said->suffix) : said->member;
    size_t i = row_find(map.rows, map.row_bytes, *map.count, name);
    if (i == CONF_NAMED_MAX || name.size == 0) {
        return;
    }
    uint8_t *row = (uint8_t *)map.rows + i * map.row_bytes;
    bool is_new = i == *map.count;
    struct slice kept = is_new ? name : *(struct slice *)(void *)row;
    memcpy(row, said->value, map.row_bytes);
    *(struct slice *)(void *)row = kept;
    map.from[i] = said;
    *map.count = MAX_OF(*map.count, i + 1);
    if (is_new && said->suffix != NULL) {
        laying->path->name_bytes += name.size;
    }
}

static void lay(struct laying *laying, const struct shaping_layer *layer)
{
    struct shaping_path *path = laying->path;
    for (uint32_t i = 0; layer != NULL && i < layer->count; i++) {
        const struct shaping_said *said = &layer->said[i];
        if (said->suffix != NULL || said->member.size > 0) {
            lay_member(laying, said);
        } else {
            memcpy((uint8_t *)&path->options + said->option->offset, said->value,
                   conf_option_bytes(said->option));
            path->from[said->number] = said;
        }
    }
}

static void lay_block(struct laying *laying, const struct shaping_block *block)
{
    struct path_options *options = &laying->path->options;
    lay(laying, &block->layer);
    options->fingerprint = mix(options->fingerprint, block->digest);
}

static void lay_source(struct laying *laying, const struct shaping_block *block,
                       struct slice source)
{
    struct path_options *options = &laying->path->options;
    const struct shaping_layer *layer = shaping_block_source(block, source);
    lay(laying, layer);
    options->fingerprint = mix(options->fingerprint + 1, layer->digest);
}

static void lay_number(struct laying *laying, const struct shaping_view *view, uint32_t number,
                       struct slice source)
{
    const struct shaping *shaping = view->shaping;
    uint32_t index = number & ((1u << LAYER_BITS) - 1);
    struct path_options *options = &laying->path->options;
    switch ((enum layer_kind)(number >> LAYER_BITS)) {
    case LAYER_BASE:
        lay_block(laying, &shaping->base);
        return;
    case LAYER_BASE_SOURCE:
        lay_source(laying, &shaping->base, source);
        return;
    case LAYER_PROVIDER:
        laying->provider = shaping->providers[index].block.name;
        lay_block(laying, &shaping->providers[index].block);
        return;
    case LAYER_PROVIDER_SOURCE:
        lay_source(laying, &shaping->providers[index].block, source);
        return;
    case LAYER_SITE:
        options->block = view->sites->sites[index].block.name;
        lay_block(laying, &view->sites->sites[index].block);
        return;
    case LAYER_BLOCK:
        options->block = shaping->blocks[index].name;
        lay_block(laying, &shaping->blocks[index]);
        return;
    case LAYER_SITE_SOURCE:
        lay_source(laying, &view->sites->sites[index].block, source);
        return;
    case LAYER_BLOCK_SOURCE:
        lay_source(laying, &shaping->blocks[index], source);
        return;
    case LAYER_OVERRIDE:
        lay(laying, &view->overrides->rows[index].layer);
        options->fingerprint = mix(options->fingerprint, view->overrides->rows[index].digest);
        return;
    case LAYER_OVERRIDE_ELSEWHERE:
        options->fingerprint = mix(options->fingerprint + 1, view->overrides->rows[index].digest);
        return;
    }
    CHECK(false);
}

void shaping_lay(const struct shaping_view *view, const struct shaping_selection *selection,
                 struct slice source, struct shaping_path *path_out)
{
    struct laying laying = {.path = path_out, .source = source};
    struct path_options *options = &path_out->options;
    if (source.size == 0) {
        laying.source = SLICE(CONF_UNSPECIFIED);
    }
    *options = view->shaping->defaults;
    memset(path_out->from, 0, sizeof(path_out->from));
    path_out->name_bytes = 0;
    options->additional_connection_limits = (struct named_limits){path_out->limits, 0};
    options->additional_message_rates = (struct named_rates){path_out->rates, 0};
    options->additional_source_selection_rates = (struct named_rates){path_out->selections, 0};
    for (uint16_t i = 0; i < selection->count; i++) {
        lay_number(&laying, view, selection->layers[i], source);
    }
    if (selection->by_source) {
        options->source = source;
        options->fingerprint = XXH3_64bits_withSeed(source.data, source.size,
                                                    options->fingerprint);
    }
}

const struct path_options *shaping_path_find(const struct shaping_view *view,
                                             const struct shaping_query *query,
                                             struct shaping_path *path_out)
{
    struct shaping_selection selection;
    shaping_select(view, query, &selection);
    shaping_lay(view, &selection, query->source, path_out);
    return &path_out->options;
}

const struct path_options *shaping_path_of(const struct conf *conf, struct slice domain,
                                           struct slice source, struct shaping_path *path_out)
{
    const struct shaping_view view = {.shaping = conf->shaping};
    const struct shaping_query query = {.domain = domain, .source = source};
    return shaping_path_find(&view, &query, path_out);
}

const struct shaping_said *shaping_path_said(const struct shaping_path *path, const char *option,
                                             struct slice member)
{
    const struct conf_option *row =
        conf_option_find(&conf_path_options, slice_from_string(option));
    if (row == NULL) {
        return NULL;
    }
    if (row->apply != conf_apply_named_limits && row->apply != conf_apply_named_rates) {
        return path->from[row - conf_path_options.options];
    }
    struct map map = map_of((struct shaping_path *)(uintptr_t)path, row);
    size_t i = row_find(map.rows, map.row_bytes, *map.count, member);
    return i < *map.count ? map.from[i] : NULL;
}
