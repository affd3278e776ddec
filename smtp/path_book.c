#include "smtp/path_book.h"

#include <string.h>

#include "core/check.h"

#define PATHS_MAX         65536u
#define MEMORY_BYTES_MAX  (256u * MIB)
/* What stands in a configuration is the operator's own: nobody chooses it to collide. */
#define TABLE_SEED        0x50617468u
#define KEY_BYTES_MAX     (sizeof(uint32_t) * SHAPING_LAYERS_MAX + CONF_SOURCE_BYTES_MAX)

struct path_entry {
    struct list link;       /* in book->current, while it is of the view */
    bool current;
    bool by_source;
    uint16_t layer_count;
    uint32_t holders;
    uint64_t view_digest;
    const uint32_t *layers; /* behind the options */
    struct path_options options;
};

static const struct path_entry *entry_of(const struct path_options *path)
{
    return (const struct path_entry *)(const void *)((const uint8_t *)path -
                                                     offsetof(struct path_entry, options));
}

struct path_key {
    const struct shaping_selection *selection;
    struct slice source; /* empty where it makes no difference */
};

static bool entry_equal(const void *context, uint64_t value, const void *key)
{
    const struct path_entry *entry = (const struct path_entry *)(uintptr_t)value;
    const struct path_key *wanted = key;
    (void)context;
    return entry->layer_count == wanted->selection->count &&
           memcmp(entry->layers, wanted->selection->layers,
                  entry->layer_count * sizeof(uint32_t)) == 0 &&
           slice_equal(entry->options.source, wanted->source);
}

static uint64_t key_hash(const struct path_book *book, const struct path_key *key)
{
    uint8_t bytes[KEY_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    buf_put(&buf, slice_make(key->selection->layers, key->selection->count * sizeof(uint32_t)));
    buf_put(&buf, key->source);
    return htab_hash(&book->paths, buf_slice(&buf));
}

void path_book_init(struct path_book *book, struct boot_pages *pages)
{
    uint32_t slots = htab_slots_for(PATHS_MAX);
    metered_init(&book->memory, MEMORY_BYTES_MAX);
    htab_init_fresh(&book->paths, boot_pages_take(pages, htab_memory(slots)), slots, TABLE_SEED,
                    entry_equal, book);
    list_init(&book->current);
}

/* Nobody finds it any more. */
static void entry_retire(struct path_book *book, struct path_entry *entry)
{
    struct shaping_selection selection;
    uint64_t value;
    path_selection(&entry->options, &selection, &value);
    const struct path_key key = {&selection, entry->options.source};
    CHECK(htab_remove(&book->paths, key_hash(book, &key), &key, &value));
    list_remove(&entry->link);
    entry->current = false;
    if (entry->holders == 0) {
        metered_give(&book->memory, entry);
    }
}

void path_book_set(struct path_book *book, const struct shaping_view *view)
{
    while (!list_empty(&book->current)) {
        entry_retire(book, CONTAINER_OF(book->current.next, struct path_entry, link));
    }
    book->view = *view;
    book->digest = shaping_view_digest(view);
}

void path_book_fini(struct path_book *book)
{
    metered_fini(&book->memory);
}

static const struct path_options *path_merge(struct path_book *book,
                                             const struct shaping_selection *selection,
                                             struct slice source, uint64_t hash)
{
    struct shaping_path path;
    shaping_lay(&book->view, selection, source, &path);
    size_t bytes = shaping_path_bytes(&path.options);
    size_t layer_bytes = selection->count * sizeof(uint32_t);
    struct path_entry *entry =
        metered_take(&book->memory, offsetof(struct path_entry, options) + bytes + layer_bytes);
    if (entry == NULL) {
        return NULL;
    }
    uint8_t *layers = (uint8_t *)&entry->options + bytes;
    (void)shaping_path_copy(&path.options, &entry->options);
    memcpy(layers, selection->layers, layer_bytes);
    entry->layers = (const uint32_t *)(const void *)layers;
    entry->layer_count = selection->count;
    entry->by_source = selection->by_source;
    entry->holders = 0;
    entry->view_digest = book->digest;
    entry->current = true;
    list_init(&entry->link);
    if (!htab_insert(&book->paths, hash, (uint64_t)(uintptr_t)entry)) {
        metered_give(&book->memory, entry);
        return NULL;
    }
    list_push_back(&book->current, &entry->link);
    book->merged++;
    return &entry->options;
}

void path_query_set(struct path_query *path, struct slice domain, const struct site *site,
                    struct slice source)
{
    path->query =
        (struct shaping_query){.domain = domain, .source = source, .hosts = path->hosts};
    if (site != NULL && site->kind == SITE_OK) {
        path->query.site = site->name;
        path->query.host_count = site->host_count;
        for (unsigned i = 0; i < site->host_count; i++) {
            path->hosts[i] = site->hosts[i].name;
        }
    }
}

const struct path_options *path_book_find(struct path_book *book, struct slice domain,
                                          const struct site *site, struct slice source)
{
    struct path_query path;
    struct shaping_selection selection;
    uint64_t value;
    path_query_set(&path, domain, site, source);
    shaping_select(&book->view, &path.query, &selection);
    const struct path_key key = {&selection, selection.by_source ? source : SLICE_NONE};
    uint64_t hash = key_hash(book, &key);
    if (htab_find(&book->paths, hash, &key, &value)) {
        return &((const struct path_entry *)(uintptr_t)value)->options;
    }
    return path_merge(book, &selection, source, hash);
}

const struct path_options *path_hold(const struct path_options *path)
{
    ((struct path_entry *)(uintptr_t)entry_of(path))->holders++;
    return path;
}

void path_drop(struct path_book *book, const struct path_options **held)
{
    if (*held == NULL) {
        return;
    }
    struct path_entry *entry = (struct path_entry *)(uintptr_t)entry_of(*held);
    *held = NULL;
    CHECK(entry->holders > 0);
    if (--entry->holders == 0 && !entry->current) {
        metered_give(&book->memory, entry);
    }
}

void path_selection(const struct path_options *path, struct shaping_selection *selection_out,
                    uint64_t *view_digest_out)
{
    const struct path_entry *entry = entry_of(path);
    selection_out->count = entry->layer_count;
    selection_out->by_source = entry->by_source;
    memcpy(selection_out->layers, entry->layers, entry->layer_count * sizeof(uint32_t));
    *view_digest_out = entry->view_digest;
}
