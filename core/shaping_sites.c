#include "core/shaping.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/shaping_list.h"

static int site_order(const void *a, const void *b)
{
    return slice_compare(((const struct shaping_site *)a)->name,
                         ((const struct shaping_site *)b)->name);
}

static int source_order(const void *a, const void *b)
{
    return slice_compare(((const struct shaping_source *)a)->name,
                         ((const struct shaping_source *)b)->name);
}

const struct shaping_layer *shaping_block_source(const struct shaping_block *block,
                                                 struct slice source)
{
    const struct shaping_source wanted = {.name = source};
    const struct shaping_source *found =
        block->source_count == 0 || source.size == 0
            ? NULL
            : bsearch(&wanted, block->sources, block->source_count, sizeof(wanted), source_order);
    return found == NULL ? NULL : &found->layer;
}

uint32_t shaping_sites_find(const struct shaping_sites *sites, struct slice name)
{
    if (sites == NULL || sites->count == 0) {
        return 0;
    }
    const struct shaping_site wanted = {.name = name};
    const struct shaping_site *found =
        bsearch(&wanted, sites->sites, sites->count, sizeof(wanted), site_order);
    return found == NULL ? sites->count : (uint32_t)(found - sites->sites);
}

/* --- what several say together ---------------------------------------------------------------- */

static bool says_the_same(const struct shaping_said *a, const struct shaping_said *b)
{
    return a->number == b->number && slice_equal(a->member, b->member);
}

/* What `layer` says and nobody behind it does goes behind what is there: the last one comes
 * first. */
static void layer_before(struct shaping_said *said, uint32_t *count,
                         const struct shaping_layer *layer)
{
    for (uint32_t i = layer->count; i > 0; i--) {
        const struct shaping_said *one = &layer->said[i - 1];
        uint32_t j = 0;
        while (j < *count && !says_the_same(&said[j], one)) {
            j++;
        }
        if (j == *count) {
            said[(*count)++] = *one;
        }
    }
}

/* Several layers as one; none of them is a provider's. */
static struct shaping_layer layers_join(struct heap *heap,
                                        const struct shaping_layer *const *layers, uint32_t count)
{
    struct shaping_layer joined = {0};
    size_t most = 1;
    if (count == 1) {
        return *layers[0];
    }
    for (uint32_t i = 0; i < count; i++) {
        most += layers[i]->count;
        joined.digest = XXH3_64bits_withSeed(&layers[i]->digest, sizeof(uint64_t), joined.digest);
    }
    struct shaping_said *said = heap_take_array(heap, most, sizeof(*said));
    for (uint32_t i = count; i > 0; i--) {
        layer_before(said, &joined.count, layers[i - 1]);
    }
    for (uint32_t i = 0; i < joined.count / 2; i++) {
        struct shaping_said one = said[i];
        said[i] = said[joined.count - 1 - i];
        said[joined.count - 1 - i] = one;
    }
    joined.said = said;
    return joined;
}

/* --- one site --------------------------------------------------------------------------------- */

/* A source as one block has it. */
struct sourced {
    struct slice name;
    uint32_t block; /* in the order of the files */
    const struct shaping_layer *layer;
};

static int sourced_order(const void *a, const void *b)
{
    const struct sourced *first = a;
    const struct sourced *second = b;
    int compared = slice_compare(first->name, second->name);
    return compared != 0 ? compared
                         : (first->block > second->block) - (first->block < second->block);
}

static void sources_join(struct heap *heap, struct heap *scratch,
                         const struct shaping_block *const *blocks, uint32_t count,
                         struct shaping_block *joined)
{
    size_t most = 1;
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        most += blocks[i]->source_count;
    }
    struct sourced *all = heap_take_array(scratch, most, sizeof(*all));
    const struct shaping_layer **layers =
        heap_take_array(scratch, most, sizeof(struct shaping_layer *));
    struct shaping_source *sources = heap_take_array(heap, most, sizeof(*sources));
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < blocks[i]->source_count; j++) {
            const struct shaping_source *source = &blocks[i]->sources[j];
            all[found++] = (struct sourced){source->name, i, &source->layer};
        }
    }
    qsort(all, found, sizeof(*all), sourced_order);
    for (uint32_t from = 0, to = 0; from < found; from = to) {
        for (to = from; to < found && slice_equal(all[to].name, all[from].name); to++) {
            layers[to - from] = all[to].layer;
        }
        sources[joined->source_count++] =
            (struct shaping_source){all[from].name, layers_join(heap, layers, to - from)};
    }
    joined->sources = sources;
}

/* All blocks of a site, in the order of the files, as one. */
static struct shaping_block blocks_join(struct heap *heap,
                                        const struct shaping_block *const *blocks, uint32_t count)
{
    struct heap scratch;
    struct shaping_block joined = {.name = blocks[0]->name, .rollup = true};
    uint32_t groups = 0;
    if (count == 1) {
        return *blocks[0];
    }
    heap_init(&scratch);
    const struct shaping_layer **layers =
        heap_take_array(&scratch, count, sizeof(struct shaping_layer *));
    for (uint32_t i = 0; i < count; i++) {
        layers[i] = &blocks[i]->layer;
        groups += blocks[i]->group_count;
        joined.digest =
            XXH3_64bits_withSeed(&blocks[i]->digest, sizeof(uint64_t), joined.digest);
    }
    joined.layer = layers_join(heap, layers, count);
    sources_join(heap, &scratch, blocks, count, &joined);
    uint32_t *numbers = heap_take_array(heap, groups + 1u, sizeof(*numbers));
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < blocks[i]->group_count; j++) {
            numbers[joined.group_count++] = blocks[i]->groups[j];
        }
    }
    joined.groups = numbers;
    heap_fini(&scratch);
    return joined;
}

/* --- all sites -------------------------------------------------------------------------------- */

static int sited_order(const void *a, const void *b)
{
    const struct shaping_sited *first = a;
    const struct shaping_sited *second = b;
    int compared = slice_compare(first->site, second->site);
    return compared != 0 ? compared
                         : (first->block > second->block) - (first->block < second->block);
}

/* Rows in order: those of one site after another. */
static void sites_fill(struct shaping_sites *sites, const struct shaping *shaping,
                       const struct shaping_sited *rows, uint32_t count, struct heap *scratch)
{
    struct shaping_site *all = heap_take_array(&sites->heap, count + 1u, sizeof(*all));
    uint32_t *site_of =
        heap_take_array(&sites->heap, shaping->block_count + 1u, sizeof(*site_of));
    const struct shaping_block **blocks =
        heap_take_array(scratch, count + 1u, sizeof(struct shaping_block *));
    memset(site_of, 0xFF, (shaping->block_count + 1u) * sizeof(*site_of));
    for (uint32_t from = 0, to = 0; from < count; from = to) {
        for (to = from; to < count && slice_equal(rows[to].site, rows[from].site); to++) {
            blocks[to - from] = &shaping->blocks[rows[to].block];
            site_of[rows[to].block] = sites->count;
            sites->digest = XXH3_64bits_withSeed(&rows[to].block, sizeof(uint32_t),
                                                 sites->digest);
        }
        sites->digest = XXH3_64bits_withSeed(rows[from].site.data, rows[from].site.size,
                                             sites->digest);
        all[sites->count++] =
            (struct shaping_site){heap_copy(&sites->heap, rows[from].site),
                                  blocks_join(&sites->heap, blocks, to - from)};
    }
    sites->sites = all;
    sites->site_of = site_of;
}

struct shaping_sites *shaping_sites_new(const struct shaping *shaping,
                                        const struct shaping_sited *rows, uint32_t count)
{
    struct heap heap;
    struct heap scratch;
    uint32_t used = 0;
    heap_init(&heap);
    heap_init(&scratch);
    struct shaping_sites *sites = heap_take(&heap, sizeof(*sites));
    struct shaping_sited *sorted = heap_take_array(&scratch, count + 1u, sizeof(*sorted));
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].block < shaping->block_count && shaping->blocks[rows[i].block].rollup &&
            rows[i].site.size > 0) {
            sorted[used++] = rows[i];
        }
    }
    qsort(sorted, used, sizeof(*sorted), sited_order);
    sites->heap = heap;
    sites_fill(sites, shaping, sorted, used, &scratch);
    heap_fini(&scratch);
    return sites;
}

void shaping_sites_free(struct shaping_sites *sites)
{
    if (sites != NULL) {
        struct heap heap = sites->heap;
        heap_fini(&heap);
    }
}
