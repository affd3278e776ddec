#include "smtp/delivery.h"

#include "core/check.h"
#include "smtp/admin_local.h"
#include "smtp/queue_of.h"
#include "smtp/queue_gate.h"
#include "smtp/transfer.h"

#define TICK_NS        (100 * NS_PER_MS)
#define OUTCOME_AGE_NS NS_PER_S
#define EGRESSES_MAX   65536
/* Looked at in one tick; with more of them each has its turn later. */
#define EGRESSES_A_TICK 4096
#define CONNS_MAX      16384
#define TRANSFERS_MAX  32768
#define GATES_MAX      (1u << 20)
/* Above this share of the blocks that mail is received into, kept messages that nobody sends are
 * given back to the spool. */
#define SHED_ABOVE_PERCENT 60
#define SHED_TO_PERCENT    50
/* Above this share of the memory account all of them are: before anybody is refused (F-08). */
#define SHED_ACCOUNT_PERCENT 75
/* Of the same blocks, for what is read ahead; nor is anything, above the lines at which kept
 * messages are given back. */
#define AHEAD_SHARE 8

/* A site's connections are shared by all queues whose options of the path are the same. */
struct egress_key {
    struct slice name;
    const struct endpoint *hosts;
    unsigned host_count;
    const struct path_options *path;
};

static bool same_hosts(const struct egress *egress, const struct egress_key *key)
{
    bool same = egress->host_count == key->host_count;
    for (unsigned i = 0; same && i < key->host_count; i++) {
        same = endpoint_equal(&egress->hosts[i], &key->hosts[i]);
    }
    return same;
}

/* Where the same options stand in two snapshots, they are the same. */
static bool same_path(const struct path_options *a, const struct path_options *b)
{
    return a == b || (a->fingerprint == b->fingerprint && slice_equal(a->block, b->block));
}

static bool site_equal(const void *context, uint64_t value, const void *key)
{
    const struct delivery *delivery = context;
    const struct egress *egress = pool_at(&delivery->egresses, (uint32_t)value);
    const struct egress_key *wanted = key;
    return same_path(egress->path, wanted->path) && same_hosts(egress, wanted) &&
           slice_equal(slice_make(egress->name, egress->name_bytes), wanted->name);
}

static struct egress_key key_of(const struct egress *egress)
{
    return (struct egress_key){slice_make(egress->name, egress->name_bytes), egress->hosts,
                               egress->host_count, egress->path};
}

static void pool_boot(struct pool *pool, struct boot_pages *pages, size_t object_bytes,
                      uint32_t count)
{
    pool_init(pool, boot_pages_take(pages, pool_memory(object_bytes, count)), object_bytes, count);
}

static bool account_short(const struct delivery *delivery)
{
    const struct account *account = &delivery->shard->memory;
    return account_used(account) * 100 > account->limit * SHED_ACCOUNT_PERCENT;
}

static bool blocks_short(const struct delivery *delivery)
{
    const struct block_pool *blocks = block_pool_receiving(delivery->messages->blocks);
    return block_pool_used(blocks) > block_pool_size(blocks) / 100 * SHED_ABOVE_PERCENT;
}

void delivery_drop_ahead(struct delivery *delivery)
{
    delivery->ahead_rests = true;
    while (!list_empty(&delivery->ahead)) {
        egress_ahead_drop(CONTAINER_OF(delivery->ahead.prev, struct transfer, link));
    }
}

bool delivery_may_read_ahead(const struct delivery *delivery, uint64_t bytes)
{
    const struct block_pool *blocks = block_pool_receiving(delivery->messages->blocks);
    return !delivery->ahead_rests && !account_short(delivery) && !blocks_short(delivery) &&
           delivery->ahead_bytes + bytes <= block_pool_size(blocks) / AHEAD_SHARE &&
           delivery->transfers.used < delivery->transfers.capacity / 2;
}

static void shed(struct delivery *delivery)
{
    delivery->ahead_rests = false;
    if (account_short(delivery) || blocks_short(delivery)) {
        delivery_drop_ahead(delivery);
    }
    if (account_short(delivery)) {
        messages_shed(delivery->messages, 0);
    } else if (blocks_short(delivery)) {
        messages_shed(delivery->messages, SHED_TO_PERCENT);
    }
}

static void delivery_tick(struct timer *timer)
{
    struct delivery *delivery = CONTAINER_OF(timer, struct delivery, tick);
    uint32_t count = MIN_OF(delivery->egresses.used, EGRESSES_A_TICK);
    for (uint32_t i = 0; i < count; i++) {
        struct list *link = list_pop_front(&delivery->all);
        list_push_back(&delivery->all, link);
        egress_tick(CONTAINER_OF(link, struct egress, link));
    }
    shed(delivery);
    admin_local_tick(delivery);
    transfer_record_again(delivery);
    shard_timer_set(delivery->shard, &delivery->tick, TICK_NS);
}

void delivery_init(struct delivery *delivery, struct boot_pages *pages)
{
    uint32_t slots = htab_slots_for(EGRESSES_MAX);
    pool_boot(&delivery->egresses, pages, sizeof(struct egress), EGRESSES_MAX);
    pool_boot(&delivery->conns, pages, sizeof(struct egress_conn), CONNS_MAX);
    pool_boot(&delivery->transfers, pages, sizeof(struct transfer), TRANSFERS_MAX);
    pool_boot(&delivery->gates, pages, sizeof(struct queue_gate), GATES_MAX);
    htab_init_fresh(&delivery->sites, boot_pages_take(pages, htab_memory(slots)), slots,
                    prng_next(&delivery->shard->prng), site_equal, delivery);
    list_init(&delivery->all);
    list_init(&delivery->unrecorded);
    list_init(&delivery->ahead);
    list_init(&delivery->gate_list);
    admin_local_init(delivery);
    timer_init(&delivery->tick, delivery_tick);
    shard_timer_set(delivery->shard, &delivery->tick, TICK_NS);
}

bool delivery_may_start(const struct delivery *delivery)
{
    return delivery->spool != NULL && !delivery->stopping && list_empty(&delivery->unrecorded) &&
           spool_outcome_age_ns(delivery->spool) < OUTCOME_AGE_NS;
}

/* --- what queues asks ------------------------------------------------------------------------- */

/* Where the options of a queue lead; `key_out` borrows from all three. False: nowhere now. */
struct way {
    struct route route;
    struct buf name;
    uint8_t memory[EGRESS_NAME_BYTES_MAX];
};
static bool find_way(const struct delivery *delivery, struct sched_queue *queue, struct way *way,
                     struct egress_key *key_out)
{
    struct slice domain = queue_name_parse(sched_queue_name(delivery->queues, queue)).domain;
    const struct path_options *path = conf_path(delivery->conf, domain);
    route_find(&way->route, sched_queue_options(queue), path, domain);
    buf_init(&way->name, way->memory, sizeof(way->memory));
    buf_put(&way->name, SLICE("unspecified->"));
    buf_put(&way->name, buf_slice(&way->route.site));
    buf_put(&way->name, SLICE("@smtp_client"));
    *key_out = (struct egress_key){buf_slice(&way->name), way->route.hosts,
                                   way->route.host_count, path};
    return way->route.kind == ROUTE_OK;
}

/* The egress there; null: there is none yet. */
static struct egress *egress_there(struct delivery *delivery, const struct egress_key *key)
{
    uint64_t value;
    bool found =
        htab_find(&delivery->sites, htab_hash(&delivery->sites, key->name), key, &value);
    return found ? pool_at(&delivery->egresses, (uint32_t)value) : NULL;
}

static struct ready_queue *delivery_route(void *context, struct sched_queue *queue,
                                          enum hold_reason *reason_out)
{
    struct delivery *delivery = context;
    struct way way;
    struct egress_key key;
    if (delivery->stopping) {
        return NULL; /* nothing begins: its cells would be on their way when the node ends */
    }
    if (!find_way(delivery, queue, &way, &key)) {
        *reason_out = HOLD_dns;
        return NULL;
    }
    *reason_out = HOLD_memory;
    if (!queue_gate_open(delivery, queue)) {
        return NULL;
    }
    struct egress *egress = egress_there(delivery, &key);
    if (egress == NULL) {
        egress = egress_new(delivery, &way.route, key.path);
        if (egress == NULL) {
            return NULL;
        }
        CHECK(htab_insert(&delivery->sites, htab_hash(&delivery->sites, key.name),
                          pool_index(&delivery->egresses, egress)));
    }
    return &egress->ready;
}

bool delivery_routed_right(struct delivery *delivery, struct sched_queue *queue)
{
    struct way way;
    struct egress_key key;
    if (queue->ready == NULL) {
        return true;
    }
    const struct egress *egress =
        find_way(delivery, queue, &way, &key) ? egress_there(delivery, &key) : NULL;
    return egress != NULL && queue->ready == &egress->ready;
}

static void delivery_work(void *context, struct ready_queue *ready)
{
    (void)context;
    egress_kick(CONTAINER_OF(ready, struct egress, ready));
}

static void delivery_unused(void *context, struct ready_queue *ready)
{
    (void)context;
    egress_unused(CONTAINER_OF(ready, struct egress, ready));
}

const struct queues_user delivery_queues_user = {
    .route = delivery_route,
    .work = delivery_work,
    .unused = delivery_unused,
    .admit = queue_gate_admit,
    .forget = queue_gate_forget,
    .ordered = admin_local_ordered,
    .doomed = admin_local_doomed,
};

/* What has been ordered for the queue, or the site it follows; null: nothing. */
static const struct admin_entry *entry_of(const struct delivery *delivery,
                                          const struct sched_queue *queue)
{
    if (!queue->follows) {
        return admin_local_entry(delivery, sched_queue_name(delivery->queues, queue));
    }
    const struct egress *egress = CONTAINER_OF(queue->ready, struct egress, ready);
    return admin_local_entry_ready(delivery, slice_make(egress->name, egress->name_bytes));
}

struct hold delivery_hold(const struct delivery *delivery, const struct sched_queue *queue)
{
    const struct queue_gate *gate = queue->gate;
    struct hold hold = sched_queue_hold(queue);
    if (queue->follows) {
        hold.until_ns = CONTAINER_OF(queue->ready, struct egress, ready)->hold.until_ns;
    } else if (hold.reason == HOLD_queue_rate && gate != NULL) {
        hold.until_ns = gate->until_ns;
    } else if (hold.reason == HOLD_suspended_admin) {
        const struct admin_entry *entry = entry_of(delivery, queue);
        hold.until_ns = entry != NULL ? entry->until_ns : 0;
    }
    return hold;
}

struct slice delivery_hold_detail(const struct delivery *delivery,
                                  const struct sched_queue *queue)
{
    bool ordered = sched_queue_hold(queue).reason == HOLD_suspended_admin ||
                   queue->order == QUEUE_DOOMED;
    const struct admin_entry *entry = ordered ? entry_of(delivery, queue) : NULL;
    return entry != NULL ? entry->reason : SLICE_NONE;
}

void delivery_retire(struct delivery *delivery, struct egress *egress)
{
    const struct egress_key key = key_of(egress);
    uint64_t value;
    CHECK(htab_remove(&delivery->sites, htab_hash(&delivery->sites, key.name), &key, &value) &&
          pool_at(&delivery->egresses, (uint32_t)value) == egress);
}

void delivery_forget(struct delivery *delivery, struct egress *egress)
{
    if (egress->path != NULL) {
        delivery_retire(delivery, egress);
    }
    list_remove(&egress->link);
    shard_timer_clear(delivery->shard, &egress->timer);
    deferred_cancel(&egress->work);
    pool_give(&delivery->egresses, egress);
}

/* --- the end ---------------------------------------------------------------------------------- */

void delivery_stop(struct delivery *delivery)
{
    delivery->stopping = true;
    queue_gates_stop(delivery);
    struct list *link = delivery->all.next;
    while (link != &delivery->all) {
        struct egress *egress = CONTAINER_OF(link, struct egress, link);
        link = link->next;
        egress_stop(egress);
    }
}

void delivery_cut(struct delivery *delivery)
{
    delivery->cut = true;
    struct list *link = delivery->all.next;
    while (link != &delivery->all) {
        struct egress *egress = CONTAINER_OF(link, struct egress, link);
        link = link->next;
        egress_cut(egress);
    }
}

uint64_t delivery_memory(const struct delivery *delivery)
{
    return delivery->conns.used * sizeof(struct egress_conn) +
           delivery->transfers.used * sizeof(struct transfer) +
           delivery->egresses.used * sizeof(struct egress) +
           delivery->gates.used * sizeof(struct queue_gate);
}

void delivery_fini(struct delivery *delivery)
{
    shard_timer_clear(delivery->shard, &delivery->tick);
    deferred_cancel(&delivery->admin.bounce);
    for (struct list *link = delivery->all.next; link != &delivery->all; link = link->next) {
        deferred_cancel(&CONTAINER_OF(link, struct egress, link)->work);
    }
}

uint32_t delivery_open(const struct delivery *delivery)
{
    uint32_t open = delivery->conns.used + delivery->transfers.used + delivery->gates.used +
                    delivery->inspections;
    for (struct list *link = delivery->all.next; link != &delivery->all; link = link->next) {
        const struct egress *egress = CONTAINER_OF(link, struct egress, link);
        open += egress->limits.set.held > 0 || egress->limits.set.in_flight > 0;
    }
    return open;
}
