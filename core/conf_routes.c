#include "core/conf_routes.h"

#include <string.h>

#include "core/check.h"
#include "core/conf_text.h"

/* Names in a configuration are the operator's own: nobody chooses them to collide. */
#define TABLE_SEED 0x52696E67u

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data

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

/* --- blocks by domain ------------------------------------------------------------------------- */

bool conf_domain_normalize(struct slice domain, uint8_t out[CONF_DOMAIN_BYTES_MAX],
                           struct slice *domain_out)
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
    if (conf_domain_normalize(domain, bytes, &name)) {
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
    if (!conf_domain_normalize(table->key, out, name_out) || !is_block_name(*name_out)) {
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
