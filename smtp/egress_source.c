#include "smtp/egress_source.h"

#include "core/check.h"
#include "smtp/egress_pool.h"

/* While an address is none of this host, it is looked for so often. */
#define PROBE_NS (5 * NS_PER_S)
/* In one tick. */
#define PROBES_A_TICK 64

static bool address_equal(const void *context, uint64_t value, const void *key)
{
    const struct egress_sources *sources = context;
    const struct egress_source *source = pool_at(&sources->pool, (uint32_t)value);
    return endpoint_equal_address(&source->address, key);
}

void egress_sources_init(struct delivery *delivery, struct boot_pages *pages)
{
    struct egress_sources *sources = &delivery->sources;
    uint32_t slots = htab_slots_for(EGRESS_SOURCES_MAX);
    size_t bytes = sizeof(struct egress_source);
    pool_init(&sources->pool, boot_pages_take(pages, pool_memory(bytes, EGRESS_SOURCES_MAX)),
              bytes, EGRESS_SOURCES_MAX);
    htab_init_fresh(&sources->addresses, boot_pages_take(pages, htab_memory(slots)), slots,
                    prng_next(&delivery->shard->prng), address_equal, sources);
    list_init(&sources->known);
}

static uint64_t hash_of(const struct egress_sources *sources, const struct endpoint *address)
{
    return htab_hash(&sources->addresses,
                     slice_make(address->address, sizeof(address->address)));
}

static struct egress_source *source_find(const struct delivery *delivery,
                                         const struct endpoint *address)
{
    const struct egress_sources *sources = &delivery->sources;
    uint64_t value;
    if (sources->pool.used == 0 || /* as ever */
        !htab_find(&sources->addresses, hash_of(sources, address), address, &value)) {
        return NULL;
    }
    return pool_at(&sources->pool, (uint32_t)value);
}

bool egress_source_is_out(const struct delivery *delivery, const struct endpoint *address)
{
    const struct egress_source *source = source_find(delivery, address);
    return source != NULL && source->out;
}

void egress_source_put_out(struct buf *text, const struct endpoint *address)
{
    buf_put(text, SLICE("Ringpost internal: the source address "));
    endpoint_put_address(text, address);
    buf_put(text, SLICE(" is none of this host"));
}

static struct egress_source *source_new(struct delivery *delivery, const struct endpoint *address)
{
    struct egress_sources *sources = &delivery->sources;
    struct egress_source *source = pool_take(&sources->pool);
    if (source != NULL) {
        *source = (struct egress_source){.address = *address};
        list_init(&source->link);
        list_push_back(&sources->known, &source->link);
        CHECK(htab_insert(&sources->addresses, hash_of(sources, address),
                          pool_index(&sources->pool, source)));
    }
    return source;
}

static void source_forget(struct delivery *delivery, struct egress_source *source)
{
    struct egress_sources *sources = &delivery->sources;
    uint64_t value;
    CHECK(htab_remove(&sources->addresses, hash_of(sources, &source->address), &source->address,
                      &value));
    list_remove(&source->link);
    pool_give(&sources->pool, source);
}

/* Is that one time too many? */
static bool is_amiss(struct egress_source *source, const struct rate *threshold, uint64_t now_ns)
{
    if (!rate_is_set(threshold)) {
        return true;
    }
    struct gcra_grant grant = gcra_reserve(threshold, source->arrival_ns, now_ns, now_ns, 1);
    source->arrival_ns = grant.arrival_ns;
    return grant.count == 0;
}

bool egress_source_missed(struct delivery *delivery, const struct endpoint *address,
                          const struct source_suspension *limits)
{
    uint64_t now_ns = delivery->shard->now_ns;
    struct egress_source *source = source_find(delivery, address);
    if (source == NULL) {
        source = source_new(delivery, address);
    }
    if (source == NULL) {
        return false;
    }
    if (!source->out && is_amiss(source, &limits->threshold, now_ns)) {
        source->out = true;
        source->probe_ns = now_ns + MAX_OF(limits->duration_ns, PROBE_NS);
        counters_add(&delivery->shard->counters, COUNTER_sources_left_out, 1);
        egress_pools_look(delivery);
    }
    return source->out;
}

/* Nothing is sent, and no peer is needed: the system only says whether the source would do. */
static void probe(struct delivery *delivery, struct egress_source *source)
{
    struct ring *ring = delivery->shard->ring;
    const struct socket_options options = {.congestion = delivery->conf->node.congestion};
    int fd = ring_socket(ring, &source->address, &source->address, &options);
    if (fd < 0) {
        source->probe_ns = delivery->shard->now_ns + PROBE_NS;
        return;
    }
    ring_discard(ring, fd);
    source->out = false;
    egress_pools_look(delivery);
}

void egress_sources_tick(struct delivery *delivery)
{
    struct egress_sources *sources = &delivery->sources;
    uint32_t count = MIN_OF(sources->pool.used, PROBES_A_TICK);
    uint64_t now_ns = delivery->shard->now_ns;
    for (uint32_t i = 0; i < count; i++) {
        struct list *link = list_pop_front(&sources->known);
        struct egress_source *source = CONTAINER_OF(link, struct egress_source, link);
        list_push_back(&sources->known, link);
        if (source->out && now_ns >= source->probe_ns) {
            probe(delivery, source);
        }
        if (!source->out && source->arrival_ns <= now_ns) {
            source_forget(delivery, source);
        }
    }
}
