#include "smtp/path_book.h"

#include <string.h>

#include "core/check.h"

#define PATHS_MAX         65536u
#define MEMORY_BYTES_MAX  (256u * MIB)
/* Former paths that go for each one that is merged: more than one, so that there is an end; … */
#define RETIRED_EACH      4u
/* … and when there is no memory. */
#define RETIRED_MOST      1024u
/* What stands in a configuration is the operator's own: nobody chooses it to collide. */
#define TABLE_SEED        0x50617468u
#define KEY_BYTES_MAX                                                                              \
    (sizeof(uint64_t) + sizeof(uint32_t) * SHAPING_LAYERS_MAX + CONF_SOURCE_BYTES_MAX)

struct path_entry {
    struct list link;       /* in book->current or book->former, while it is in the table */
    bool kept;              /* it is */
    uint32_t turn;          /* of the book, in which it was of the view */
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
    uint64_t view_digest;
    const struct shaping_selection *selection;
    struct slice source; /* empty where it makes no difference */
};

static bool entry_equal(const void *context, uint64_t value, const void *key)
{
    const struct path_entry *entry = (const struct path_entry *)(uintptr_t)value;
    const struct path_key *wanted = key;
    (void)context;
    return entry->view_digest == wanted->view_digest &&
           entry->layer_count == wanted->selection->count &&
           memcmp(entry->layers, wanted->selection->layers,
                  entry->layer_count * sizeof(uint32_t)) == 0 &&
           slice_equal(entry->options.source, wanted->source);
}

static uint64_t key_hash(const struct path_book *book, const struct path_key *key)
{
    uint8_t bytes[KEY_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    buf_put(&buf, slice_make((const uint8_t *)&key->view_digest, sizeof(key->view_digest)));
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
    list_init(&book->former);
}

/* Out of the table; who holds it still has it. */
static void entry_retire(struct path_book *book, struct path_entry *entry)
{
    struct shaping_selection selection;
    uint64_t value;
    struct path_key key = {.selection = &selection, .source = entry->options.source};
    path_selection(&entry->options, &selection, &key.view_digest);
    CHECK(htab_remove(&book->paths, key_hash(book, &key), &key, &value));
    list_remove(&entry->link);
    entry->kept = false;
    if (entry->holders == 0) {
        metered_give(&book->memory, entry);
    }
}

static void former_retire(struct path_book *book, unsigned count)
{
    for (unsigned i = 0; i < count && !list_empty(&book->former); i++) {
        entry_retire(book, CONTAINER_OF(book->former.next, struct path_entry, link));
    }
}

void path_book_set(struct path_book *book, const struct shaping_view *view)
{
    uint64_t digest = shaping_view_digest(view);
    if (digest != book->digest) {
        list_append_all(&book->former, &book->current);
        book->turn++;
    }
    book->view = *view;
    book->digest = digest;
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
    size_t whole = offsetof(struct path_entry, options) + bytes + layer_bytes;
    former_retire(book, RETIRED_EACH);
    struct path_entry *entry = metered_take(&book->memory, whole);
    if (entry == NULL) {
        former_retire(book, RETIRED_MOST);
        entry = metered_take(&book->memory, whole);
    }
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
    entry->kept = true;
    entry->turn = book->turn;
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
    const struct path_key key = {book->digest, &selection,
                                 selection.by_source ? source : SLICE_NONE};
    uint64_t hash = key_hash(book, &key);
    if (htab_find(&book->paths, hash, &key, &value)) {
        struct path_entry *entry = (struct path_entry *)(uintptr_t)value;
        if (entry->turn != book->turn) { /* a former one: its view is in force again */
            entry->turn = book->turn;
            list_remove(&entry->link);
            list_push_back(&book->current, &entry->link);
        }
        return &entry->options;
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
    if (--entry->holders == 0 && !entry->kept) {
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
