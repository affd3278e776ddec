#include "shard/queue/cell_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/little.h"

#define MAGIC       "RPLIMIT1"
#define HEAD_BYTES  32u
#define ENTRY_BYTES 32u
#define BUSY_NS     (16 * NS_PER_MS)

enum { STEP_READ, STEP_SET_ASIDE, STEP_WRITE, STEP_MAKE_DIR };

static void job_done(struct work_job *job);
static void visit(struct cell_registry *registry, const struct cell *cell);
static void visited(struct cell_registry *registry);

static void submit(struct cell_store *store)
{
    struct shard *shard = store->registry->shard;
    store->job.done = job_done;
    if (!work_submit(shard->work, shard, &store->job)) {
        shard_timer_set(shard, &store->retry, BUSY_NS);
    }
}

static void retry_fire(struct timer *timer)
{
    submit(CONTAINER_OF(timer, struct cell_store, retry));
}

void cell_store_init(struct cell_store *store, struct cell_registry *registry,
                     struct boot_pages *pages, const char *dir)
{
    store->registry = registry;
    store->dir = dir;
    store->capacity = HEAD_BYTES + (size_t)registry->cells.capacity * ENTRY_BYTES;
    store->data = boot_pages_take(pages, store->capacity);
    store->size = HEAD_BYTES;
    registry->store = store;
    timer_init(&store->retry, retry_fire);
    int size = snprintf(store->file, sizeof(store->file), "%s/limits", dir);
    CHECK(size > 0 && (size_t)size < sizeof(store->file));
    size = snprintf(store->aside, sizeof(store->aside), "%s/limits.damaged", dir);
    CHECK(size > 0 && (size_t)size < sizeof(store->aside));
}

static void say(const struct cell_store *store, const char *note, int error)
{
    struct logline line;
    logline_begin(&line, "limits");
    logline_string(&line, "file", store->file);
    logline_string(&line, "note", note);
    if (error != 0) {
        logline_string(&line, "error", strerror(-error));
    }
    logline_end(&line, &store->log);
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

static void read_done(struct cell_store *store, int32_t result)
{
    size_t size = (size_t)store->job.size;
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
    say(store, "cannot be read and is set aside as limits.damaged; all limits begin anew",
        result < 0 ? result : 0);
    store->step = STEP_SET_ASIDE;
    store->job = (struct work_job){
        .kind = WORK_RENAME, .path = store->file, .path_to = store->aside};
    submit(store);
}

void cell_store_load(struct cell_store *store)
{
    store->step = STEP_READ;
    store->job = (struct work_job){.kind = WORK_READ_FILE,
                                   .path = store->file,
                                   .data = store->data,
                                   .data_size = store->capacity};
    submit(store);
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

static void replace(struct cell_store *store)
{
    store->step = STEP_WRITE;
    store->job = (struct work_job){.kind = WORK_REPLACE,
                                   .path = store->file,
                                   .data = store->data,
                                   .data_size = store->size};
    submit(store);
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
    replace(store);
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

static void write_done(struct cell_store *store, int32_t result)
{
    const struct shard *shard = store->registry->shard;
    store->writing = false;
    store->spoiled = cell_registry_walking(store->registry);
    store->not_before_ns = shard->now_ns + 9 * (shard->now_ns - store->begun_ns);
    collect_anew(store);
    if (result < 0 && !store->failing) {
        say(store, "cannot be written; a restart would forget what was used of limits", result);
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

static void job_done(struct work_job *job)
{
    struct cell_store *store = CONTAINER_OF(job, struct cell_store, job);
    switch (store->step) {
    case STEP_READ:
        read_done(store, job->result);
        return;
    case STEP_SET_ASIDE:
        begin(store);
        return;
    case STEP_MAKE_DIR:
        if (job->result >= 0 || job->result == -EEXIST) {
            replace(store);
            return;
        }
        break;
    default:
        if (job->result == -ENOENT && !store->failing) {
            store->step = STEP_MAKE_DIR;
            store->job = (struct work_job){.kind = WORK_MAKE_DIR, .path = store->dir};
            submit(store);
            return;
        }
        break;
    }
    write_done(store, job->result);
}
