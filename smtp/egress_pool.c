#include "smtp/egress_pool.h"

#include <string.h>

#include "core/check.h"
#include "smtp/egress.h"
#include "smtp/queue_of.h"

#define EGRESS_POOLS_MAX 65536
/* In one turn, when all look for work. */
#define LOOKS_A_TURN     256

static void cell_settled(struct cell_set *set);
static void look_run(struct deferred *deferred);

/* --- ways ------------------------------------------------------------------------------------- */

/* Where it leads by the options of the path, of which `site` may be a part. False: no memory. */
static bool way_lead(struct egress_way *way, struct delivery *delivery, const struct site *site)
{
    way->path = path_book_find(&delivery->paths, way->domain, site, SLICE_NONE);
    if (way->path != NULL) {
        route_find(&way->route, way->options, way->path, way->domain);
    }
    return way->path != NULL;
}

/* What DNS says of it. False: that is being asked, or there is no memory. */
static bool way_resolve(struct egress_way *way, struct delivery *delivery,
                        enum hold_reason *reason_out)
{
    *reason_out = HOLD_dns;
    way->site = site_book_find(delivery->site_book, way->route.lookup);
    if (way->site == NULL) {
        return false;
    }
    *reason_out = HOLD_memory;
    if (!way_lead(way, delivery, way->site)) {
        return false;
    }
    route_resolve(&way->route, way->options, way->path, way->site);
    return true;
}

void egress_name_put(struct buf *buf, struct slice who, struct slice site)
{
    buf_put(buf, who);
    buf_put(buf, SLICE("->"));
    buf_put(buf, site);
    buf_put(buf, SLICE("@smtp_client"));
}

bool egress_way_find(struct egress_way *way, struct delivery *delivery,
                     struct sched_queue *queue, enum hold_reason *reason_out)
{
    const struct queue_options *options = sched_queue_options(queue);
    const struct conf_host *to = options->mx_count == 0 ? options->routing_domain : NULL;
    way->domain = queue_name_parse(sched_queue_name(delivery->queues, queue)).domain;
    if (to != NULL && !to->has_address) {
        way->domain = to->name;
    }
    way->pool = conf_pool(delivery->conf, options->egress_pool);
    way->options = options;
    way->site = NULL;
    CHECK(way->pool != NULL);
    *reason_out = HOLD_memory;
    if (!way_lead(way, delivery, NULL) ||
        (way->route.kind == ROUTE_NEEDS_DNS && !way_resolve(way, delivery, reason_out))) {
        return false;
    }
    *reason_out = HOLD_dns;
    buf_init(&way->name, way->name_memory, sizeof(way->name_memory));
    egress_name_put(&way->name, way->pool->name, buf_slice(&way->route.site));
    if (way->route.kind == ROUTE_NOWHERE && way->site == NULL) {
        return false; /* the configuration leads nowhere, and may be another one soon */
    }
    *reason_out = HOLD_no_source;
    return way->pool->turn_count > 0;
}

/* Also of two views. */
static bool same_path(const struct path_options *a, const struct path_options *b)
{
    return a == b || a->fingerprint == b->fingerprint;
}

static bool same_pool(const struct pool_options *a, const struct pool_options *b)
{
    bool same = a == b || a->member_count == b->member_count;
    for (size_t i = 0; a != b && same && i < a->member_count; i++) {
        const struct source_options *source = a->members[i].source;
        const struct source_options *other = b->members[i].source;
        same = a->members[i].weight == b->members[i].weight &&
               source->fingerprint == other->fingerprint &&
               slice_equal(source->name, other->name);
    }
    return same;
}

struct pool_key {
    struct slice name;
    uint64_t identity;
    const struct pool_options *options;
    const struct path_options *path;
};

static bool pool_equal(const void *context, uint64_t value, const void *key)
{
    const struct delivery *delivery = context;
    const struct egress_pool *pool = pool_at(&delivery->egress_pools, (uint32_t)value);
    const struct pool_key *wanted = key;
    return pool->identity == wanted->identity && same_path(pool->path, wanted->path) &&
           slice_equal(egress_pool_name(pool), wanted->name) &&
           same_pool(pool->options, wanted->options);
}

void egress_pool_member_name(const struct egress_pool *pool, unsigned member, struct buf *buf)
{
    buf_put(buf, pool->options->members[member].source->name);
    buf_put(buf, slice_skip(egress_pool_name(pool), egress_pool_label(pool).size));
}

struct slice egress_pool_label(const struct egress_pool *pool)
{
    struct slice name = egress_pool_name(pool);
    size_t size = 0;
    while (!slice_starts_with(slice_skip(name, size), SLICE("->"))) {
        size++;
    }
    return slice_first(name, size);
}

/* --- birth and death -------------------------------------------------------------------------- */

void egress_pools_init(struct delivery *delivery, struct boot_pages *pages)
{
    uint32_t slots = htab_slots_for(EGRESS_POOLS_MAX);
    size_t bytes = sizeof(struct egress_pool);
    pool_init(&delivery->egress_pools,
              boot_pages_take(pages, pool_memory(bytes, EGRESS_POOLS_MAX)), bytes,
              EGRESS_POOLS_MAX);
    htab_init_fresh(&delivery->sites, boot_pages_take(pages, htab_memory(slots)), slots,
                    prng_next(&delivery->shard->prng), pool_equal, delivery);
    list_init(&delivery->pool_list);
    deferred_init(&delivery->look, look_run);
}

/* Nobody finds it any more. */
static void pool_hide(struct egress_pool *pool)
{
    struct htab *sites = &pool->delivery->sites;
    const struct pool_key key = {egress_pool_name(pool), pool->identity, pool->options,
                                 pool->path};
    uint64_t value;
    if (pool->listed) {
        pool->listed = false;
        CHECK(htab_remove(sites, htab_hash(sites, key.name), &key, &value) &&
              pool_at(&pool->delivery->egress_pools, (uint32_t)value) == pool);
    }
}

/* The options of member `i` there; null: no memory. */
static const struct path_options *way_member_path(struct delivery *delivery,
                                                  const struct egress_way *way, unsigned i)
{
    return path_book_find(&delivery->paths, way->domain, way->site,
                          way->pool->members[i].source->name);
}

const struct path_options *egress_pool_member_path(const struct egress_pool *pool,
                                                   unsigned member)
{
    return path_book_find(&pool->delivery->paths, slice_make(pool->domain, pool->domain_bytes),
                          pool->site, pool->options->members[member].source->name);
}

/* Are tickets drawn there, and if not, whose is all of it? False: no memory. */
static bool way_deals(const struct egress_way *way, struct delivery *delivery, bool *deals_out,
                      unsigned *sole_out)
{
    const struct pool_options *pool = way->pool;
    unsigned weighted = 0;
    *sole_out = pool->turns[0];
    for (size_t i = 0; i < pool->member_count; i++) {
        weighted += pool->members[i].weight > 0;
    }
    *deals_out = weighted > 1;
    if (weighted > 1) {
        return true;
    }
    const struct path_options *path = way_member_path(delivery, way, *sole_out);
    *deals_out = path != NULL && egress_limits_selects(path);
    return path != NULL;
}

/* Domains that have the same path have the same ones of all sources. One that is no name of a
 * domain finds no block of its own, whatever it is. */
static void domain_set(struct egress_pool *pool, struct slice domain)
{
    size_t size = domain.size <= sizeof(pool->domain) ? domain.size : 0;
    if (size > 0) {
        memcpy(pool->domain, domain.data, size);
    }
    pool->domain_bytes = (uint16_t)size;
}

/* Another view has the same for the pool; for each of its members, too? Then that is theirs. Who
 * has no egress has nothing by the former one. */
static bool pool_follow(struct egress_pool *pool, const struct egress_way *way)
{
    struct delivery *delivery = pool->delivery;
    bool deals;
    unsigned sole;
    if (!way_deals(way, delivery, &deals, &sole) || deals != pool->dealing) {
        return false;
    }
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL) {
            const struct path_options *path = way_member_path(delivery, way, i);
            if (path == NULL || !same_path(path, pool->members[i]->path)) {
                return false;
            }
        }
    }
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL) {
            egress_follow(pool->members[i], way_member_path(delivery, way, i));
        }
    }
    path_drop(&delivery->paths, &pool->path);
    pool->path = path_hold(way->path);
    domain_set(pool, way->domain);
    return true;
}

struct egress_pool *egress_pool_there(struct delivery *delivery, const struct egress_way *way)
{
    const struct htab *sites = &delivery->sites;
    const struct pool_key key = {buf_slice(&way->name), way->route.identity, way->pool, way->path};
    uint64_t value;
    if (!htab_find(sites, htab_hash(sites, key.name), &key, &value)) {
        return NULL;
    }
    struct egress_pool *pool = pool_at(&delivery->egress_pools, (uint32_t)value);
    if (pool->path != way->path && !pool_follow(pool, way)) {
        pool_hide(pool); /* its queues leave it as they are looked at */
        return NULL;
    }
    return pool;
}

/* DNS says this of it now: the names of hosts are the site's, which is held as long as they are. */
static void pool_aim(struct egress_pool *pool, struct site *site, const struct route *route)
{
    struct site *former = pool->site;
    pool->site = site_hold(site);
    egress_hosts_set(&pool->hosts, route);
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL) {
            egress_aim(pool->members[i]);
        }
    }
    site_release(former);
    egress_pool_kick(pool);
}

void egress_pool_lead(struct egress_pool *pool, const struct egress_way *way)
{
    struct slice lookup = way->route.lookup;
    if (pool->site == NULL) {
        return;
    }
    CHECK(lookup.size <= sizeof(pool->lookup));
    memcpy(pool->lookup, lookup.data, lookup.size);
    pool->lookup_bytes = (uint16_t)lookup.size;
    pool->mx_list = way->options->mx_list;
    pool->mx_count = way->options->mx_count;
    if (pool->site != way->site) {
        pool_aim(pool, way->site, &way->route);
    }
}

void egress_pool_refresh(struct egress_pool *pool)
{
    struct slice lookup = slice_make(pool->lookup, pool->lookup_bytes);
    struct route route;
    if (pool->site == NULL || pool->options == NULL) {
        return;
    }
    struct site *site = site_book_find(pool->delivery->site_book, lookup);
    if (site == NULL || site == pool->site || site->order != pool->site->order ||
        !slice_equal(site->name, pool->site->name)) {
        return; /* where it leads elsewhere, its queues will be told */
    }
    const struct queue_options queue = {
        .mx_list = pool->mx_list, .mx_count = pool->mx_count, .mx_name = SLICE("mx_list")};
    route_of_domain(&route, lookup, pool->port);
    route_resolve(&route, &queue, pool->path, site);
    pool_aim(pool, site, &route);
}

/* One cell for all who share the pool at this site, on whatever shard. */
static void tickets_init(struct egress_pool *pool)
{
    const struct delivery *delivery = pool->delivery;
    const struct slice name[] = {SLICE("tickets"), egress_pool_name(pool)};
    const struct cell_key key = cell_key_of(name, COUNT_OF(name));
    cell_set_init(&pool->set, delivery->shard, delivery->registry, delivery->registrar);
    pool->set.requests = &pool->request;
    pool->set.capacity = 1;
    pool->set.settled = cell_settled;
    if (pool->dealing) {
        (void)cell_set_tickets(&pool->set, &key);
        cell_set_ask(&pool->set);
    }
}

static void pool_free(struct egress_pool *pool)
{
    if (pool->site != NULL) {
        site_release(pool->site);
    }
    path_drop(&pool->delivery->paths, &pool->path);
    list_remove(&pool->link);
    deferred_cancel(&pool->deal);
    shard_timer_clear(pool->delivery->shard, &pool->timer);
    pool_give(&pool->delivery->egress_pools, pool);
}

/* Nothing is routed to it any more. */
static void pool_unlist(struct egress_pool *pool)
{
    CHECK(pool->ready.queues == 0);
    pool_hide(pool);
    pool->options = NULL;
    path_drop(&pool->delivery->paths, &pool->path);
}

void egress_pool_join(struct egress_pool *pool)
{
    bool used = pool->open > 0 || pool->ready.queues > 0;
    if ((used && !pool->delivery->stopping) || pool->set.in_flight > 0) {
        return;
    }
    if (!used && pool->options != NULL) {
        pool_unlist(pool);
    }
    if (pool->set.held > 0) {
        cell_set_return(&pool->set);
    } else if (!used) {
        pool_free(pool);
    }
}

static void cell_settled(struct cell_set *set)
{
    struct egress_pool *pool = CONTAINER_OF(set, struct egress_pool, set);
    if (cell_set_whole(set)) {
        egress_pool_kick(pool);
    } else if (pool->options != NULL && !pool->delivery->stopping) {
        shard_timer_set(pool->delivery->shard, &pool->timer, EGRESS_AGAIN_NS);
    }
    egress_pool_join(pool);
}

/* Its members end, and it with them. */
static void pool_retire(struct egress_pool *pool)
{
    pool_unlist(pool);
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL) {
            egress_retire(pool->members[i]);
        }
    }
    egress_pool_join(pool); /* it may have had none */
}

struct egress_pool *egress_pool_new(struct delivery *delivery, const struct egress_way *way)
{
    bool deals;
    unsigned sole;
    struct egress_pool *pool =
        way_deals(way, delivery, &deals, &sole) ? pool_take(&delivery->egress_pools) : NULL;
    if (pool == NULL) {
        return NULL;
    }
    struct slice name = buf_slice(&way->name);
    /* Field by field: the arrays at its end are large. */
    CHECK(!way->name.overflow && name.size <= sizeof(pool->name));
    pool->delivery = delivery;
    pool->options = way->pool;
    pool->path = path_hold(way->path);
    pool->listed = true;
    pool->identity = way->route.identity;
    pool->shared = way->route.shared;
    pool->until_ns = 0;
    pool->refusal = HOLD_none;
    pool->dealt = 0;
    pool->moving = 0;
    pool->open = 0;
    pool->word_bytes = 0;
    pool->word_member = 0;
    pool->dealing = deals;
    pool->sole = sole;
    pool->count = (unsigned)way->pool->member_count;
    for (unsigned i = 0; i < pool->count; i++) {
        pool->debts[i] = 0;
        pool->members[i] = NULL;
    }
    domain_set(pool, way->domain);
    pool->name_bytes = (uint16_t)name.size;
    memcpy(pool->name, name.data, name.size);
    ready_queue_init(&pool->ready, delivery->shard->now_ns);
    egress_deal_init(pool);
    list_init(&pool->link);
    list_push_back(&delivery->pool_list, &pool->link);
    pool->port = way->route.port;
    pool->site = way->site != NULL ? site_hold(way->site) : NULL;
    egress_hosts_set(&pool->hosts, &way->route);
    egress_pool_lead(pool, way);
    tickets_init(pool);
    CHECK(htab_insert(&delivery->sites, htab_hash(&delivery->sites, name),
                      pool_index(&delivery->egress_pools, pool)));
    return pool;
}

struct egress *egress_pool_fill(struct egress_pool *pool, unsigned member)
{
    struct egress *egress = egress_new(pool, member);
    CHECK(pool->members[member] == NULL && pool->debts[member] == 0);
    pool->members[member] = egress;
    pool->open += egress != NULL;
    return egress;
}

void egress_pool_left(struct egress_pool *pool)
{
    pool->open--;
    egress_pool_join(pool);
}

void egress_pool_renew(struct egress_pool *pool, const struct conf *conf)
{
    if (pool->options == NULL) {
        return;
    }
    if (pool->ready.queues == 0) {
        pool_retire(pool);
        return;
    }
    pool->options = conf_pool(conf, egress_pool_label(pool));
    CHECK(pool->options != NULL);
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL) {
            egress_ahead_drop_stopped(pool->members[i]);
        }
    }
}

/* --- work ------------------------------------------------------------------------------------- */

static void members_kick(struct egress_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL) {
            egress_kick(pool->members[i]);
        }
    }
}

/* All is of one source: it has an egress as soon as something is due. */
static void sole_kick(struct egress_pool *pool)
{
    bool wanted = pool->ready.due > 0 && pool->options != NULL && !pool->delivery->stopping;
    pool->refusal = HOLD_none;
    if (pool->members[pool->sole] != NULL) {
        egress_kick(pool->members[pool->sole]);
    } else if (wanted && egress_pool_fill(pool, pool->sole) == NULL) {
        pool->refusal = HOLD_memory;
        shard_timer_set(pool->delivery->shard, &pool->timer, EGRESS_AGAIN_NS);
        egress_pool_judge(pool, NULL);
    }
}

void egress_pool_kick(struct egress_pool *pool)
{
    if (pool->dealing) {
        shard_defer(pool->delivery->shard, &pool->deal);
    } else {
        sole_kick(pool);
    }
}

static void look_run(struct deferred *deferred)
{
    struct delivery *delivery = CONTAINER_OF(deferred, struct delivery, look);
    const struct pool *pools = &delivery->egress_pools;
    uint32_t end = MIN_OF(delivery->look_next + LOOKS_A_TURN, pools->fresh);
    for (; delivery->look_next < end; delivery->look_next++) {
        if (pool_is_taken(pools, delivery->look_next)) {
            struct egress_pool *pool = pool_at(pools, delivery->look_next);
            if (delivery->look_members) {
                members_kick(pool);
            }
            egress_pool_kick(pool);
        }
    }
    if (delivery->look_next < pools->fresh) {
        shard_defer(delivery->shard, deferred);
    } else {
        delivery->look_members = false;
    }
}

void egress_pools_deal(struct delivery *delivery)
{
    delivery->look_next = 0;
    shard_defer(delivery->shard, &delivery->look);
}

void egress_pools_look(struct delivery *delivery)
{
    delivery->look_members = true;
    egress_pools_deal(delivery);
}

void egress_pool_unused(struct egress_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL) {
            egress_unused(pool->members[i]);
        }
    }
    shard_defer(pool->delivery->shard, &pool->deal); /* which ends it, if it has no egress */
}

const struct egress *egress_pool_suspended(const struct egress_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (pool->members[i] != NULL && pool->members[i]->suspended != HOLD_none) {
            return pool->members[i];
        }
    }
    return NULL;
}

/* One that is held back, for want of one that is not; null: none is. */
static const struct egress *held_member(const struct egress_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        const struct egress *egress = pool->members[i];
        if (egress != NULL && egress->hold.reason != HOLD_empty &&
            egress_due(egress) + egress->window.hot > 0) {
            return egress;
        }
    }
    return NULL;
}

void egress_pool_judge(struct egress_pool *pool, struct egress *egress)
{
    struct hold hold = {.reason = HOLD_none};
    if (egress != NULL && egress->leaves) {
        return;
    }
    if (egress != NULL) {
        pool->moving -= egress->moves;
        egress->moves = egress->hold.reason == HOLD_none;
        pool->moving += egress->moves;
    }
    if (!pool->dealing && egress != NULL) {
        hold = egress->hold;
    } else if (pool->moving == 0) {
        const struct egress *held = held_member(pool);
        if (pool->refusal != HOLD_none && pool->dealt < pool->ready.due) {
            hold = (struct hold){.reason = pool->refusal, .until_ns = pool->refused_until_ns};
        } else if (held != NULL) {
            hold = held->hold;
        } else if (pool->ready.due == 0) {
            hold.reason = HOLD_empty;
        }
    }
    pool->until_ns = hold.until_ns;
    hold_clock_set(&pool->ready.hold, hold.reason, pool->delivery->shard->now_ns);
}

/* --- the end ---------------------------------------------------------------------------------- */

void egress_pools_stop(struct delivery *delivery)
{
    struct list *link = delivery->pool_list.next;
    while (link != &delivery->pool_list) {
        struct egress_pool *pool = CONTAINER_OF(link, struct egress_pool, link);
        link = link->next;
        egress_pool_join(pool);
    }
}

uint32_t egress_pools_open(const struct delivery *delivery)
{
    uint32_t open = 0;
    const struct list *link = delivery->pool_list.next;
    for (; link != &delivery->pool_list; link = link->next) {
        const struct egress_pool *pool = CONTAINER_OF(link, struct egress_pool, link);
        open += pool->set.held > 0 || pool->set.in_flight > 0;
    }
    return open;
}

void egress_pools_fini(struct delivery *delivery)
{
    deferred_cancel(&delivery->look);
    for (struct list *link = delivery->pool_list.next; link != &delivery->pool_list;
         link = link->next) {
        struct egress_pool *pool = CONTAINER_OF(link, struct egress_pool, link);
        deferred_cancel(&pool->deal);
        shard_timer_clear(delivery->shard, &pool->timer);
    }
}
