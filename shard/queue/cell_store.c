#include "shard/queue/cell_store.h"

#include <errno.h>
#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/little.h"

#define MAGIC       "RPLIMIT1"
#define HEAD_BYTES  32u
#define ENTRY_BYTES 32u

enum { STEP_READ, STEP_SET_ASIDE, STEP_WRITE };

static void file_done(struct state_file *file, int64_t result);
static void visit(struct cell_registry *registry, const struct cell *cell);
static void visited(struct cell_registry *registry);

void cell_store_init(struct cell_store *store, struct cell_registry *registry,
                     struct boot_pages *pages, const char *dir)
{
    store->registry = registry;
    store->capacity = HEAD_BYTES + (size_t)registry->cells.capacity * ENTRY_BYTES;
    store->data = boot_pages_take(pages, store->capacity);
    store->size = HEAD_BYTES;
    registry->store = store;
    store->file.done = file_done;
    state_file_init(&store->file, registry->shard, dir, "limits");
}

static void say(const struct cell_store *store, const char *note, int error)
{
    state_file_say(&store->file, &store->log, "limits", note, error);
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool file_makes_sense(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES || memcmp(data, MAGIC, 8) != 0 ||
        little_u64(data + 8) != XXH3_64bits(data + 16, size - 16) ||
        little_u64(data + 16) != (size - HEAD_BYTES) / ENTRY_BYTES ||
        (size - HEAD_BYTES) % ENTRY_BYTES != 0) {
        return false;
    }
    for (size_t at = HEAD_BYTES; at < size; at += ENTRY_BYTES) {
        if (little_u64(data + at + 24) > RATE_SPAN_NS_MAX) {
            return false;
        }
    }
    return true;
}

/* What was used of each rate, if it is not back already. */
static void restore(struct cell_store *store, const uint8_t *data, size_t size)
{
    const struct shard *shard = store->registry->shard;
    for (size_t at = HEAD_BYTES; at < size; at += ENTRY_BYTES) {
        const struct cell_key key = {little_u64(data + at), little_u64(data + at + 8)};
        uint64_t full_ns = little_u64(data + at + 16);
        uint64_t span_ns = little_u64(data + at + 24);
        if (full_ns > shard->wall_ns) {
            uint64_t used_ns = MIN_OF(full_ns - shard->wall_ns, span_ns);
            (void)cell_registry_restore(store->registry, &key, shard->now_ns + used_ns, span_ns);
        }
    }
}

static void begin(struct cell_store *store)
{
    store->registry->visit = visit;
    store->registry->visited = visited;
    store->loaded(store);
}

static void read_done(struct cell_store *store, int64_t result)
{
    size_t size = result < 0 ? 0 : (size_t)result;
    if (result == -ENOENT) {
        begin(store);
        return;
    }
    if (result >= 0 && file_makes_sense(store->data, size)) {
        restore(store, store->data, size);
        store->saved = size > HEAD_BYTES ? 1 : 0; /* of no walk: it is written again */
        begin(store);
        return;
    }
    if (result < 0) {
        say(store, "cannot be read", (int)result);
    }
    store->step = STEP_SET_ASIDE;
    state_file_set_aside(&store->file);
}

void cell_store_load(struct cell_store *store)
{
    store->step = STEP_READ;
    state_file_read(&store->file, store->data, store->capacity);
}

/* --- writing ---------------------------------------------------------------------------------- */

static void visit(struct cell_registry *registry, const struct cell *cell)
{
    struct cell_store *store = registry->store;
    const struct shard *shard = registry->shard;
    uint64_t full_ns = atomic_load_explicit(&cell->arrival_ns, memory_order_relaxed);
    if (store->writing || store->spoiled || full_ns <= shard->now_ns) {
        return;
    }
    CHECK(store->size + ENTRY_BYTES <= store->capacity);
    uint8_t *at = store->data + store->size;
    store->size += ENTRY_BYTES;
    little_put_u64(at, cell->key.low);
    little_put_u64(at + 8, cell->key.high);
    little_put_u64(at + 16, full_ns);
    /* By what does not change while nothing is used; the wall clock does. */
    store->collected = XXH3_64bits_withSeed(at, 24, store->collected) | 2;
    little_put_u64(at + 16, full_ns - shard->now_ns + shard->wall_ns);
    little_put_u64(at + 24, cell->span_ns);
}

static void save(struct cell_store *store)
{
    memcpy(store->data, MAGIC, 8);
    little_put_u64(store->data + 16, (store->size - HEAD_BYTES) / ENTRY_BYTES);
    little_put_u64(store->data + 24, store->registry->shard->wall_ns);
    little_put_u64(store->data + 8, XXH3_64bits(store->data + 16, store->size - 16));
    store->writing = true;
    store->written = store->collected;
    store->begun_ns = store->registry->shard->now_ns;
    store->step = STEP_WRITE;
    state_file_replace(&store->file, store->data, store->size);
}

/* Nothing is written any more. */
static void end(struct cell_store *store)
{
    store->registry->visit = NULL;
    store->registry->visited = NULL;
    store->stopped(store);
}

static void collect_anew(struct cell_store *store)
{
    store->size = HEAD_BYTES;
    store->collected = 0;
}

static void visited(struct cell_registry *registry)
{
    struct cell_store *store = registry->store;
    if (store->writing) {
        return;
    }
    bool changed = store->collected != store->saved && !store->spoiled;
    bool soon = registry->shard->now_ns < store->not_before_ns && !store->final;
    if (changed && !soon) {
        save(store);
        return;
    }
    store->spoiled = false;
    collect_anew(store);
    if (store->final) {
        end(store);
    }
}

/* Looks at all cells once more, from the first. */
static void final_walk(struct cell_store *store)
{
    collect_anew(store);
    store->spoiled = false;
    store->final = true;
    cell_registry_walk(store->registry);
}

void cell_store_stop(struct cell_store *store)
{
    store->stopping = true;
    if (!store->writing) {
        final_walk(store);
    }
}

static void write_done(struct cell_store *store, int64_t result)
{
    const struct shard *shard = store->registry->shard;
    store->writing = false;
    store->spoiled = cell_registry_walking(store->registry);
    store->not_before_ns = shard->now_ns + 9 * (shard->now_ns - store->begun_ns);
    collect_anew(store);
    if (result < 0 && !store->failing) {
        say(store, "cannot be written; a restart would forget what was used of limits",
            (int)result);
    } else if (result >= 0 && store->failing) {
        say(store, "is written again", 0);
    }
    store->failing = result < 0;
    if (result >= 0) {
        store->saved = store->written;
    }
    if (store->final) {
        end(store);
    } else if (store->stopping) {
        final_walk(store);
    }
}

static void file_done(struct state_file *file, int64_t result)
{
    struct cell_store *store = CONTAINER_OF(file, struct cell_store, file);
    switch (store->step) {
    case STEP_READ:
        read_done(store, result);
        return;
    case STEP_SET_ASIDE:
        state_file_say_aside(file, &store->log, "limits", "is of no use; all limits begin anew",
                             (int)result);
        begin(store);
        return;
    default:
        write_done(store, result);
        return;
    }
}
