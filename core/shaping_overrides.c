#include "core/shaping.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/conf_routes.h"
#include "core/conf_shaping.h"
#include "core/shaping_list.h"

#define WHY_BYTES_MAX  512
#define TEXT_BYTES_MAX 2048 /* of an option and its value */
#define SEED           0x53686170u

/* --- reading ---------------------------------------------------------------------------------- */

/* What stands behind "error: " in the first line that was said. */
static struct slice reason_of(struct slice text)
{
    struct slice mark = SLICE("error: ");
    struct slice line = slice_first(text, slice_find(text, '\n'));
    while (line.size > 0 && !slice_starts_with(line, mark)) {
        line = slice_skip(line, 1);
    }
    return line.size > 0 ? slice_skip(line, mark.size) : SLICE("it is no option of a path");
}

/* NAME = VALUE as the layer that it is. False: it is said why not. */
static bool layer_of(struct heap *heap, const struct shaping_override *given,
                     struct shaping_layer *layer_out, struct buf *why)
{
    uint8_t bytes[TEXT_BYTES_MAX];
    struct buf text;
    buf_init(&text, bytes, sizeof(bytes));
    buf_put(&text, given->name);
    buf_put_string(&text, " = ");
    buf_put(&text, given->value);
    buf_put_byte(&text, 0);
    struct conf_messages messages = {.text = *why};
    struct conf_load load = {.heap = heap, .messages = &messages};
    bool good = !text.overflow && conf_options_have(&conf_path_options, given->name) &&
                !conf_path_is_of_block(given->name);
    heap_init(&load.scratch);
    load.root = heap_take(&load.scratch, sizeof(*load.root));
    load.root->kind = TOML_TABLE;
    if (good) {
        conf_tree_set(&load, (const char *)bytes);
        conf_layer_read(&load, &conf_path_options, load.root, layer_out);
    }
    heap_fini(&load.scratch);
    *why = messages.text;
    return good && messages.errors == 0 && layer_out->count > 0;
}

static void origins_set(struct shaping_layer *layer, struct slice origin)
{
    struct shaping_said *said = (struct shaping_said *)(uintptr_t)layer->said;
    for (uint32_t i = 0; i < layer->count; i++) {
        said[i].origin = origin;
    }
}

static uint64_t row_digest(const struct shaping_override *row)
{
    const struct slice parts[] = {row->domain, row->site, row->source, row->name, row->value};
    uint64_t digest = row->rollup;
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        digest = XXH3_64bits_withSeed(parts[i].data, parts[i].size, digest + parts[i].size);
    }
    return digest;
}

static bool row_read(struct heap *heap, const struct shaping_override *given,
                     struct shaping_override_row *row, struct buf *why)
{
    uint8_t bytes[CONF_DOMAIN_BYTES_MAX];
    struct slice domain;
    if (!conf_domain_normalize(given->domain, bytes, &domain)) {
        buf_put_string(why, "error: it is for no domain\n");
        return false;
    }
    if (!layer_of(heap, given, &row->layer, why)) {
        return false;
    }
    row->as_given = (struct shaping_override){
        .domain = heap_copy(heap, domain),
        .site = heap_copy(heap, given->site),
        .source = heap_copy(heap, given->source),
        .rollup = given->rollup,
        .name = heap_copy(heap, given->name),
        .value = heap_copy(heap, given->value),
        .origin = heap_copy(heap, given->origin),
        .expires_ns = given->expires_ns,
    };
    origins_set(&row->layer, row->as_given.origin);
    row->digest = row_digest(&row->as_given);
    return true;
}

/* --- keys ------------------------------------------------------------------------------------- */

static uint64_t key_of(struct slice text)
{
    return XXH3_64bits_withSeed(text.data, text.size, SEED);
}

static int key_order(const void *a, const void *b)
{
    const struct shaping_override_key *first = a;
    const struct shaping_override_key *second = b;
    if (first->hash != second->hash) {
        return first->hash < second->hash ? -1 : 1;
    }
    return (first->row > second->row) - (first->row < second->row);
}

static void keys_make(struct shaping_overrides *overrides)
{
    struct shaping_override_key *domains =
        heap_take_array(&overrides->heap, overrides->count + 1u, sizeof(*domains));
    struct shaping_override_key *sites =
        heap_take_array(&overrides->heap, overrides->count + 1u, sizeof(*sites));
    for (uint32_t i = 0; i < overrides->count; i++) {
        const struct shaping_override *row = &overrides->rows[i].as_given;
        domains[i] = (struct shaping_override_key){key_of(row->domain), i};
        if (row->rollup && row->site.size > 0) {
            sites[overrides->site_count++] = (struct shaping_override_key){key_of(row->site), i};
        }
        overrides->digest = XXH3_64bits_withSeed(&overrides->rows[i].digest, sizeof(uint64_t),
                                                 overrides->digest);
    }
    qsort(domains, overrides->count, sizeof(*domains), key_order);
    qsort(sites, overrides->site_count, sizeof(*sites), key_order);
    overrides->domains = domains;
    overrides->sites = sites;
}

/* Index behind the last key of this hash. */
static uint32_t keys_end(const struct shaping_override_key *keys, uint32_t count, uint64_t hash)
{
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (keys[middle].hash <= hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* --- the list --------------------------------------------------------------------------------- */

struct shaping_overrides *shaping_overrides_new(const struct shaping_override *rows,
                                                uint32_t count, shaping_override_refuse *refuse,
                                                void *context)
{
    struct heap heap;
    heap_init(&heap);
    struct shaping_overrides *overrides = heap_take(&heap, sizeof(*overrides));
    struct shaping_override_row *taken = heap_take_array(&heap, count + 1u, sizeof(*taken));
    for (uint32_t i = 0; i < count; i++) {
        uint8_t bytes[WHY_BYTES_MAX];
        struct buf why;
        buf_init(&why, bytes, sizeof(bytes));
        if (overrides->count == SHAPING_OVERRIDES_MAX) {
            buf_put_string(&why, "error: there are too many\n");
        } else if (row_read(&heap, &rows[i], &taken[overrides->count], &why)) {
            overrides->count++;
            continue;
        }
        if (refuse != NULL) {
            refuse(context, &rows[i], reason_of(buf_slice(&why)));
        }
    }
    overrides->rows = taken;
    overrides->heap = heap;
    keys_make(overrides);
    return overrides;
}

void shaping_overrides_free(struct shaping_overrides *overrides)
{
    if (overrides != NULL) {
        struct heap heap = overrides->heap;
        heap_fini(&heap);
    }
}

uint32_t shaping_overrides_count(const struct shaping_overrides *overrides)
{
    return overrides->count;
}

const struct shaping_override *shaping_overrides_at(const struct shaping_overrides *overrides,
                                                    uint32_t i)
{
    return &overrides->rows[i].as_given;
}

/* From the newest on, in both lists at once: what is in both counts once. */
unsigned shaping_overrides_find(const struct shaping_overrides *overrides, struct slice domain,
                                struct slice site, uint32_t rows_out[SHAPING_LAID_MAX])
{
    if (overrides == NULL || overrides->count == 0) {
        return 0;
    }
    uint64_t hashes[] = {key_of(domain), key_of(site)};
    const struct shaping_override_key *keys[] = {overrides->domains, overrides->sites};
    uint32_t at[] = {keys_end(keys[0], overrides->count, hashes[0]),
                     site.size == 0 ? 0 : keys_end(keys[1], overrides->site_count, hashes[1])};
    uint32_t found[SHAPING_LAID_MAX];
    unsigned count = 0;
    while (count < SHAPING_LAID_MAX) {
        bool more[] = {at[0] > 0 && keys[0][at[0] - 1].hash == hashes[0],
                       at[1] > 0 && keys[1][at[1] - 1].hash == hashes[1]};
        if (!more[0] && !more[1]) {
            break;
        }
        unsigned which = !more[0] || (more[1] && keys[1][at[1] - 1].row > keys[0][at[0] - 1].row);
        uint32_t row = keys[which][--at[which]].row;
        const struct shaping_override *given = &overrides->rows[row].as_given;
        bool meant = slice_equal(which == 0 ? given->domain : given->site,
                                 which == 0 ? domain : site);
        if (meant && (count == 0 || found[count - 1] != row)) {
            found[count++] = row;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        rows_out[i] = found[count - 1 - i];
    }
    return count;
}
