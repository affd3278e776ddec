#include "shard/queue/cells.h"

#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "shard/queue/slots.h"

#define SWEEP_NS NS_PER_S
/* Cells looked at in one turn. */
#define WALK_MAX 4096
/* Of all cells, those that may be counts: one in so many. */
#define COUNTS_SHARE 8
#define COUNTS_LEAST 16

bool cell_take(struct cell *cell, uint32_t limit)
{
    uint32_t used = atomic_load_explicit(&cell->used, memory_order_seq_cst);
    while (used < limit) {
        if (atomic_compare_exchange_weak_explicit(&cell->used, &used, used + 1,
                                                  memory_order_seq_cst, memory_order_seq_cst)) {
            return true;
        }
    }
    return false;
}

void cell_give(struct cell *cell)
{
    uint32_t before = atomic_fetch_sub_explicit(&cell->used, 1, memory_order_seq_cst);
    CHECK(before > 0);
}

uint32_t cell_users(const struct cell *cell)
{
    return atomic_load_explicit(&cell->refs, memory_order_relaxed);
}

struct gcra_grant cell_reserve(struct cell *cell, const struct rate *rate, uint64_t now_ns,
                               uint64_t until_ns, uint64_t want)
{
    uint64_t arrival = atomic_load_explicit(&cell->arrival_ns, memory_order_relaxed);
    struct gcra_grant grant;
    do {
        grant = gcra_reserve(rate, arrival, now_ns, until_ns, want);
    } while (!atomic_compare_exchange_weak_explicit(&cell->arrival_ns, &arrival, grant.arrival_ns,
                                                    memory_order_relaxed, memory_order_relaxed));
    return grant;
}

void cell_refund(struct cell *cell, const struct rate *rate, uint64_t count)
{
    uint64_t back = count * rate->interval_ns;
    uint64_t before = atomic_fetch_sub_explicit(&cell->arrival_ns, back, memory_order_relaxed);
    CHECK(before >= back);
}

/* --- registry --------------------------------------------------------------------------------- */

uint64_t cell_draw(struct cell *cell)
{
    return atomic_fetch_add_explicit(&cell->arrival_ns, 1, memory_order_relaxed);
}

struct cell_key cell_key_of(const struct slice *parts, unsigned count)
{
    XXH3_state_t state;
    CHECK(XXH3_128bits_reset(&state) == XXH_OK);
    for (unsigned i = 0; i < count; i++) {
        CHECK(XXH3_128bits_update(&state, parts[i].data, parts[i].size) == XXH_OK);
        CHECK(XXH3_128bits_update(&state, "", 1) == XXH_OK);
    }
    XXH128_hash_t hash = XXH3_128bits_digest(&state);
    return (struct cell_key){.low = hash.low64, .high = hash.high64};
}

static bool key_equal(const void *context, uint64_t value, const void *key)
{
    const struct cell_registry *registry = context;
    const struct cell *cell = pool_at(&registry->cells, (uint32_t)value);
    const struct cell_key *wanted = key;
    return cell_key_equal(&cell->key, wanted);
}

/* The key is a hash already. */
static uint64_t slot_hash(const struct cell_key *key)
{
    return key->low == 0 ? 1 : key->low;
}

static struct cell *cell_find(struct cell_registry *registry, const struct cell_key *key)
{
    uint64_t value;
    if (!htab_find(&registry->keys, slot_hash(key), key, &value)) {
        return NULL;
    }
    return pool_at(&registry->cells, (uint32_t)value);
}

static struct cell *cell_new(struct cell_registry *registry, const struct cell_key *key,
                             enum cell_kind kind)
{
    struct cell *cell = pool_take(&registry->cells);
    if (cell == NULL) {
        return NULL;
    }
    memset(cell, 0, sizeof(*cell));
    cell->key = *key;
    cell->kind = (uint8_t)kind;
    if (kind == CELL_COUNT) {
        cell->slots = pool_take(&registry->slots);
        if (cell->slots == NULL) {
            pool_give(&registry->cells, cell);
            return NULL;
        }
        slots_init(cell->slots, cell, registry->shard->count);
    }
    /* The table has room for every cell of the pool. */
    CHECK(htab_insert(&registry->keys, slot_hash(key), pool_index(&registry->cells, cell)));
    return cell;
}

static void cell_free(struct cell_registry *registry, struct cell *cell)
{
    uint64_t value;
    CHECK(atomic_load_explicit(&cell->used, memory_order_relaxed) == 0);
    CHECK(htab_remove(&registry->keys, slot_hash(&cell->key), &cell->key, &value));
    if (cell->slots != NULL) {
        pool_give(&registry->slots, cell->slots);
    }
    pool_give(&registry->cells, cell);
}

/* Nobody has it, and the next who asks for it need not know that anybody had. */
static bool is_spent(const struct cell_registry *registry, const struct cell *cell)
{
    return cell_users(cell) == 0 &&
           (cell->kind != CELL_RATE ||
            atomic_load_explicit(&cell->arrival_ns, memory_order_relaxed) <=
                registry->shard->now_ns);
}

static void walk_run(struct deferred *deferred)
{
    struct cell_registry *registry = CONTAINER_OF(deferred, struct cell_registry, walk);
    uint32_t end = MIN_OF(registry->walked + WALK_MAX, registry->cells.fresh);
    for (; registry->walked < end; registry->walked++) {
        if (!pool_is_taken(&registry->cells, registry->walked)) {
            continue;
        }
        struct cell *cell = pool_at(&registry->cells, registry->walked);
        if (is_spent(registry, cell)) {
            cell_free(registry, cell);
        } else if (cell->lasting && registry->visit != NULL) {
            registry->visit(registry, cell);
        }
    }
    if (registry->walked < registry->cells.fresh) {
        shard_defer(registry->shard, &registry->walk);
        return;
    }
    shard_timer_set(registry->shard, &registry->sweep, SWEEP_NS);
    if (registry->visited != NULL) {
        registry->visited(registry);
    }
}

void cell_registry_walk(struct cell_registry *registry)
{
    registry->walked = 0;
    shard_defer(registry->shard, &registry->walk);
}

bool cell_registry_walking(const struct cell_registry *registry)
{
    return list_linked(&registry->walk.link) && registry->walked > 0;
}

static void sweep_fire(struct timer *timer)
{
    cell_registry_walk(CONTAINER_OF(timer, struct cell_registry, sweep));
}

void cell_registry_init(struct cell_registry *registry, struct shard *shard,
                        struct boot_pages *pages, uint32_t cells_max)
{
    uint32_t slots = htab_slots_for(cells_max);
    uint32_t counts = MAX_OF(cells_max / COUNTS_SHARE, COUNTS_LEAST);
    size_t count_bytes = slots_memory(shard->count);
    registry->shard = shard;
    pool_init(&registry->slots, boot_pages_take(pages, pool_memory(count_bytes, counts)),
              count_bytes, counts);
    pool_init(&registry->cells, boot_pages_take(pages, pool_memory(sizeof(struct cell), cells_max)),
              sizeof(struct cell), cells_max);
    htab_init_fresh(&registry->keys, boot_pages_take(pages, htab_memory(slots)), slots,
                    prng_next(&shard->prng), key_equal, registry);
    timer_init(&registry->sweep, sweep_fire);
    deferred_init(&registry->walk, walk_run);
    shard_timer_set(shard, &registry->sweep, SWEEP_NS);
}

void cell_registry_fini(struct cell_registry *registry)
{
    shard_timer_clear(registry->shard, &registry->sweep);
    deferred_cancel(&registry->walk);
}

bool cell_registry_restore(struct cell_registry *registry, const struct cell_key *key,
                           uint64_t arrival_ns, uint64_t span_ns)
{
    struct cell *cell =
        cell_find(registry, key) == NULL ? cell_new(registry, key, CELL_RATE) : NULL;
    if (cell == NULL) {
        return false;
    }
    atomic_store_explicit(&cell->arrival_ns, arrival_ns, memory_order_relaxed);
    cell->span_ns = span_ns;
    cell->lasting = true;
    return true;
}

/* --- requests --------------------------------------------------------------------------------- */

static void request_home(struct shard *receiver, struct mail *mail)
{
    struct cell_request *request = CONTAINER_OF(mail, struct cell_request, mail);
    CHECK(receiver->index == request->home);
    request->in_flight = false;
    request->done(request);
}

static void ask_arrive(struct shard *receiver, struct mail *mail)
{
    struct cell_request *request = CONTAINER_OF(mail, struct cell_request, mail);
    struct cell_registry *registry = request->registry;
    struct cell *cell = cell_find(registry, &request->key);
    if (cell == NULL) {
        cell = cell_new(registry, &request->key, (enum cell_kind)request->kind);
    }
    if (cell != NULL) {
        cell->span_ns = request->span_ns;
        cell->lasting = request->lasting;
        atomic_store_explicit(&cell->refs, cell_users(cell) + 1, memory_order_relaxed);
    }
    request->cell = cell;
    mail->arrive = request_home;
    shard_send(receiver, request->home, mail);
}

static void return_arrive(struct shard *receiver, struct mail *mail)
{
    struct cell_request *request = CONTAINER_OF(mail, struct cell_request, mail);
    struct cell_registry *registry = request->registry;
    struct cell *cell = request->cell;
    uint32_t users = cell_users(cell);
    CHECK(users > 0);
    atomic_store_explicit(&cell->refs, users - 1, memory_order_relaxed);
    if (is_spent(registry, cell)) {
        cell_free(registry, cell);
    }
    request->cell = NULL;
    mail->arrive = request_home;
    shard_send(receiver, request->home, mail);
}

static void request_send(struct shard *shard, unsigned registrar, struct cell_request *request,
                         mail_arrive *arrive)
{
    CHECK(!request->in_flight);
    request->in_flight = true;
    request->home = shard->index;
    request->mail.arrive = arrive;
    shard_send(shard, registrar, &request->mail);
}

void cell_ask(struct shard *shard, unsigned registrar, struct cell_request *request)
{
    request_send(shard, registrar, request, ask_arrive);
}

void cell_return(struct shard *shard, unsigned registrar, struct cell_request *request)
{
    request_send(shard, registrar, request, return_arrive);
}
