#include "smtp/egress_pool.h"

#include <string.h>

#include "core/check.h"
#include "smtp/egress.h"
#include "smtp/queue_of.h"

#define EGRESS_POOLS_MAX 65536

/* --- ways ------------------------------------------------------------------------------------- */

bool egress_way_find(struct egress_way *way, const struct delivery *delivery,
                     struct sched_queue *queue, enum hold_reason *reason_out)
{
    struct slice domain = queue_name_parse(sched_queue_name(delivery->queues, queue)).domain;
    way->path = conf_path(delivery->conf, domain);
    route_find(&way->route, sched_queue_options(queue), way->path, domain);
    buf_init(&way->name, way->name_memory, sizeof(way->name_memory));
    buf_put(&way->name, SLICE("unspecified->"));
    buf_put(&way->name, buf_slice(&way->route.site));
    buf_put(&way->name, SLICE("@smtp_client"));
    *reason_out = HOLD_dns;
    return way->route.kind == ROUTE_OK;
}

/* Where the same options stand in two snapshots, they are the same. */
static bool same_path(const struct path_options *a, const struct path_options *b)
{
    return a == b || (a->fingerprint == b->fingerprint && slice_equal(a->block, b->block));
}

struct pool_key {
    struct slice name;
    uint64_t identity;
    const struct path_options *path;
};

static bool pool_equal(const void *context, uint64_t value, const void *key)
{
    const struct delivery *delivery = context;
    const struct egress_pool *pool = pool_at(&delivery->egress_pools, (uint32_t)value);
    const struct pool_key *wanted = key;
    return pool->identity == wanted->identity && same_path(pool->path, wanted->path) &&
           slice_equal(egress_pool_name(pool), wanted->name);
}

/* --- birth and death -------------------------------------------------------------------------- */

void egress_pools_init(struct delivery *delivery, struct boot_pages *pages)
{
    uint32_t slots = htab_slots_for(EGRESS_POOLS_MAX);
    size_t bytes = sizeof(struct egress_pool);
    pool_init(&delivery->egress_pools, boot_pages_take(pages, pool_memory(bytes, EGRESS_POOLS_MAX)),
              bytes, EGRESS_POOLS_MAX);
    htab_init_fresh(&delivery->sites, boot_pages_take(pages, htab_memory(slots)), slots,
                    prng_next(&delivery->shard->prng), pool_equal, delivery);
}

struct egress_pool *egress_pool_there(const struct delivery *delivery,
                                      const struct egress_way *way)
{
    const struct htab *sites = &delivery->sites;
    const struct pool_key key = {buf_slice(&way->name), way->route.identity, way->path};
    uint64_t value;
    return htab_find(sites, htab_hash(sites, key.name), &key, &value)
               ? pool_at(&delivery->egress_pools, (uint32_t)value)
               : NULL;
}

struct egress_pool *egress_pool_new(struct delivery *delivery, const struct egress_way *way)
{
    struct egress_pool *pool = pool_take(&delivery->egress_pools);
    if (pool == NULL) {
        return NULL;
    }
    struct slice name = buf_slice(&way->name);
    *pool = (struct egress_pool){.delivery = delivery,
                                 .path = way->path,
                                 .identity = way->route.identity,
                                 .name_bytes = (uint16_t)name.size};
    CHECK(!way->name.overflow);
    memcpy(pool->name, name.data, name.size);
    ready_queue_init(&pool->ready, delivery->shard->now_ns);
    pool->members[0] = egress_new(pool, &way->route, way->path);
    if (pool->members[0] == NULL) {
        pool_give(&delivery->egress_pools, pool);
        return NULL;
    }
    pool->count = 1;
    pool->open = 1;
    CHECK(htab_insert(&delivery->sites, htab_hash(&delivery->sites, name),
                      pool_index(&delivery->egress_pools, pool)));
    return pool;
}

/* Nothing is routed to it any more. */
static void pool_retire(struct egress_pool *pool)
{
    struct htab *sites = &pool->delivery->sites;
    const struct pool_key key = {egress_pool_name(pool), pool->identity, pool->path};
    uint64_t value;
    CHECK(pool->ready.queues == 0);
    CHECK(htab_remove(sites, htab_hash(sites, key.name), &key, &value) &&
          pool_at(&pool->delivery->egress_pools, (uint32_t)value) == pool);
    pool->path = NULL;
}

void egress_pool_left(struct egress_pool *pool, struct egress *egress)
{
    unsigned i = 0;
    while (pool->members[i] != egress) {
        i++;
    }
    pool->members[i] = NULL;
    if (pool->path != NULL) {
        pool_retire(pool); /* it is whole no more: who comes now finds a new one */
    }
    if (--pool->open == 0) {
        pool_give(&pool->delivery->egress_pools, pool);
    }
}

void egress_pool_renew(struct egress_pool *pool, const struct conf *conf)
{
    if (pool->path == NULL) {
        return;
    }
    const struct path_options *path = conf_path_block(conf, pool->path->block, pool->path->source);
    bool same = path != NULL && same_path(path, pool->path);
    if (same) {
        pool->path = path;
    } else {
        pool_retire(pool);
    }
    for (unsigned i = 0; i < pool->count; i++) {
        if (same) {
            egress_follow(pool->members[i], path);
        } else {
            egress_retire(pool->members[i]);
        }
    }
}

/* --- work ------------------------------------------------------------------------------------- */

void egress_pool_kick(struct egress_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL) {
            egress_kick(pool->members[i]);
        }
    }
}

void egress_pool_unused(struct egress_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        egress_unused(pool->members[i]);
    }
}

const struct egress *egress_pool_suspended(const struct egress_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL && pool->members[i]->suspended) {
            return pool->members[i];
        }
    }
    return NULL;
}

void egress_pool_judge(struct egress_pool *pool)
{
    const struct egress *egress = pool->members[0];
    pool->until_ns = egress->hold.until_ns;
    hold_clock_set(&pool->ready.hold, egress->hold.reason, pool->delivery->shard->now_ns);
}
