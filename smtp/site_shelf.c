#include "smtp/site_shelf.h"

#include "core/check.h"

/* A site, and behind it all that it points to. */
struct kept {
    struct list link;
    bool is_shared; /* it is among the shapes */
    struct site site;
};


/* --- equal ------------------------------------------------------------------------------------ */

static bool same_hosts(const struct site *a, const struct site *b)
{
    for (unsigned i = 0; i < a->host_count; i++) {
        const struct site_host *one = &a->hosts[i];
        const struct site_host *other = &b->hosts[i];
        if (!slice_equal(one->name, other->name) || one->preference != other->preference ||
            one->first != other->first || one->count != other->count) {
            return false;
        }
    }
    return true;
}

static bool same_addresses(const struct site *a, const struct site *b)
{
    for (unsigned i = 0; i < a->address_count; i++) {
        if (!endpoint_equal_address(&a->addresses[i], &b->addresses[i])) {
            return false;
        }
    }
    return true;
}

static bool says_the_same(const void *context, uint64_t value, const void *key)
{
    const struct site *a = (const void *)(uintptr_t)value;
    const struct site *b = key;
    (void)context;
    return a->kind == b->kind && a->secure == b->secure && a->order == b->order &&
           a->host_count == b->host_count && a->address_count == b->address_count &&
           slice_equal(a->name, b->name) && slice_equal(a->detail, b->detail) &&
           same_hosts(a, b) && same_addresses(a, b);
}

void site_shelf_init(struct site_shelf *shelf, struct metered *memory, struct boot_pages *pages,
                     uint32_t sites_max, uint64_t seed)
{
    uint32_t slots = htab_slots_for(sites_max);
    *shelf = (struct site_shelf){.memory = memory};
    htab_init_fresh(&shelf->shapes, boot_pages_take(pages, htab_memory(slots)), slots, seed,
                    says_the_same, NULL);
    list_init(&shelf->sites);
}

/* --- making ----------------------------------------------------------------------------------- */

static size_t text_bytes(const struct site *draft)
{
    size_t bytes = draft->name.size + draft->detail.size;
    for (unsigned i = 0; i < draft->host_count; i++) {
        bytes += draft->hosts[i].name.size;
    }
    return bytes;
}

static struct slice text_copy(struct buf *buf, struct slice text)
{
    uint8_t *at = buf->data + buf->size;
    buf_put(buf, text);
    return slice_make(at, text.size);
}

/* Hosts first, then addresses, then all text: what has an alignment stands before what has none. */
static struct kept *kept_make(struct site_shelf *shelf, const struct site *draft)
{
    size_t hosts_bytes = draft->host_count * sizeof(struct site_host);
    size_t addresses_bytes = draft->address_count * sizeof(struct endpoint);
    size_t text = text_bytes(draft);
    struct buf buf;
    struct kept *kept =
        metered_take(shelf->memory, sizeof(*kept) + hosts_bytes + addresses_bytes + text);
    if (kept == NULL) {
        return NULL;
    }
    uint8_t *behind = (uint8_t *)(kept + 1);
    struct site *site = &kept->site;
    *kept = (struct kept){.site = *draft};
    site->hosts = (void *)behind;
    site->addresses = (void *)(behind + hosts_bytes);
    buf_init(&buf, behind + hosts_bytes + addresses_bytes, text);
    for (unsigned i = 0; i < draft->host_count; i++) {
        site->hosts[i] = draft->hosts[i];
        site->hosts[i].name = text_copy(&buf, draft->hosts[i].name);
    }
    for (unsigned i = 0; i < draft->address_count; i++) {
        site->addresses[i] = draft->addresses[i];
    }
    site->name = text_copy(&buf, draft->name);
    site->detail = text_copy(&buf, draft->detail);
    CHECK(!buf.overflow);
    atomic_init(&site->holders, 1);
    return kept;
}

struct site *site_shelf_take(struct site_shelf *shelf, const struct site *draft)
{
    uint64_t hash = htab_hash(&shelf->shapes, draft->name);
    uint64_t found;
    if (htab_find(&shelf->shapes, hash, draft, &found)) {
        return site_hold((struct site *)(uintptr_t)found);
    }
    struct kept *kept = kept_make(shelf, draft);
    if (kept == NULL) {
        return NULL;
    }
    kept->is_shared = htab_insert(&shelf->shapes, hash, (uint64_t)(uintptr_t)&kept->site);
    list_init(&kept->link);
    list_push_back(&shelf->sites, &kept->link);
    shelf->count++;
    return &kept->site;
}

/* --- looking after ---------------------------------------------------------------------------- */

static void kept_drop(struct site_shelf *shelf, struct kept *kept)
{
    uint64_t found;
    uint64_t hash = htab_hash(&shelf->shapes, kept->site.name);
    if (kept->is_shared) {
        CHECK(htab_remove(&shelf->shapes, hash, &kept->site, &found));
        CHECK(found == (uint64_t)(uintptr_t)&kept->site);
    }
    list_remove(&kept->link);
    shelf->count--;
    metered_give(shelf->memory, kept);
}

void site_shelf_sweep(struct site_shelf *shelf, unsigned most)
{
    for (unsigned i = MIN_OF(most, shelf->count); i > 0; i--) {
        struct kept *kept = CONTAINER_OF(shelf->sites.next, struct kept, link);
        list_remove(&kept->link);
        list_push_back(&shelf->sites, &kept->link);
        /* Acquire: the last holder has read what it wanted. Nobody can hold it anew but by us. */
        if (atomic_load_explicit(&kept->site.holders, memory_order_acquire) == 0) {
            kept_drop(shelf, kept);
        }
    }
}
