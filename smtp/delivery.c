#include "smtp/delivery.h"

#include "core/check.h"
#include "smtp/admin_local.h"
#include "smtp/egress_source.h"
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
/* Queues whose routes are looked at again in one turn. */
#define REROUTES_A_TURN 512
/* Above this share of the blocks that mail is received into, kept messages that nobody sends are
 * given back to the spool. */
#define SHED_ABOVE_PERCENT 60
#define SHED_TO_PERCENT    50
/* Above this share of the memory account all of them are: before anybody is refused (F-08). */
#define SHED_ACCOUNT_PERCENT 75
/* Of the same blocks, for what is read ahead; nor is anything, above the lines at which kept
 * messages are given back. */
#define AHEAD_SHARE 8

static void reroute_run(struct deferred *deferred);
static void ask_again_run(struct deferred *deferred);

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
        if (link == NULL) {
            break; /* the last ones have gone */
        }
        list_push_back(&delivery->all, link);
        egress_tick(CONTAINER_OF(link, struct egress, link));
    }
    egress_sources_tick(delivery);
    shed(delivery);
    admin_local_tick(delivery);
    transfer_record_again(delivery);
    shard_timer_set(delivery->shard, &delivery->tick, TICK_NS);
}

void delivery_init(struct delivery *delivery, struct boot_pages *pages)
{
    pool_boot(&delivery->egresses, pages, sizeof(struct egress), EGRESSES_MAX);
    pool_boot(&delivery->conns, pages, sizeof(struct egress_conn), CONNS_MAX);
    pool_boot(&delivery->transfers, pages, sizeof(struct transfer), TRANSFERS_MAX);
    pool_boot(&delivery->gates, pages, sizeof(struct queue_gate), GATES_MAX);
    const struct shaping_view view = {.shaping = delivery->conf->shaping};
    path_book_init(&delivery->paths, pages);
    path_book_set(&delivery->paths, &view);
    egress_pools_init(delivery, pages);
    egress_sources_init(delivery, pages);
    list_init(&delivery->all);
    list_init(&delivery->unrecorded);
    list_init(&delivery->ahead);
    list_init(&delivery->gate_list);
    deferred_init(&delivery->reroute, reroute_run);
    deferred_init(&delivery->ask_again, ask_again_run);
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

static struct ready_queue *delivery_route(void *context, struct sched_queue *queue,
                                          enum hold_reason *reason_out)
{
    struct delivery *delivery = context;
    struct egress_way way;
    if (delivery->stopping) {
        return NULL; /* nothing begins: its cells would be on their way when the node ends */
    }
    if (!egress_way_find(&way, delivery, queue, reason_out)) {
        return NULL;
    }
    *reason_out = HOLD_memory;
    if (!queue_gate_open(delivery, queue)) {
        return NULL;
    }
    struct egress_pool *pool = egress_pool_there(delivery, &way);
    if (pool != NULL) {
        egress_pool_lead(pool, &way);
    } else {
        pool = egress_pool_new(delivery, &way);
    }
    return pool != NULL ? &pool->ready : NULL;
}

bool delivery_routed_right(struct delivery *delivery, struct sched_queue *queue)
{
    struct egress_way way;
    enum hold_reason reason;
    if (queue->ready == NULL) {
        return true;
    }
    struct egress_pool *pool = egress_way_find(&way, delivery, queue, &reason)
                                   ? egress_pool_there(delivery, &way)
                                   : NULL;
    if (pool == NULL || queue->ready != &pool->ready) {
        return false;
    }
    egress_pool_lead(pool, &way);
    return true;
}

/* --- what DNS says ---------------------------------------------------------------------------- */

/* Every queue is looked at from now on. */
static void reroute_all(struct delivery *delivery)
{
    delivery->reroute_all = delivery->reroute_next > 0;
    shard_defer(delivery->shard, &delivery->reroute);
}

/* In slices; what a queue has due goes where it leads now. */
static void reroute_run(struct deferred *deferred)
{
    struct delivery *delivery = CONTAINER_OF(deferred, struct delivery, reroute);
    struct queues *queues = delivery->queues;
    uint32_t end = queues_end(queues);
    for (unsigned i = 0; i < REROUTES_A_TURN && delivery->reroute_next < end; i++) {
        struct sched_queue *queue = queues_find(queues, delivery->reroute_next++);
        if (queue != NULL && !delivery->stopping && !delivery_routed_right(delivery, queue)) {
            queues_unroute(queues, queue);
        }
    }
    if (delivery->reroute_next < end) {
        shard_defer(delivery->shard, deferred);
        return;
    }
    delivery->reroute_next = 0;
    if (delivery->reroute_all) {
        delivery->reroute_all = false;
        shard_defer(delivery->shard, deferred);
    }
}

void delivery_shape(struct delivery *delivery, const struct conf *conf,
                    const struct shaping_sites *sites, const struct shaping_overrides *overrides)
{
    const struct shaping_view view = {conf->shaping, sites, overrides};
    bool same = delivery->conf == conf;
    delivery->conf = conf;
    path_book_set(&delivery->paths, &view);
    if (same) {
        reroute_all(delivery);
    }
}

static void ask_again_run(struct deferred *deferred)
{
    queues_ask_routes(CONTAINER_OF(deferred, struct delivery, ask_again)->queues);
}

void delivery_site_changed(void *context, struct slice lookup, const struct site *former,
                           struct site *site)
{
    struct delivery *delivery = context;
    (void)lookup;
    (void)site;
    shard_defer(delivery->shard, &delivery->ask_again);
    if (former != NULL && former->kind == SITE_OK) { /* else its queues ask for themselves */
        reroute_all(delivery);
    }
}

static void delivery_work(void *context, struct ready_queue *ready)
{
    (void)context;
    egress_pool_kick(egress_pool_of(ready));
}

static void delivery_unused(void *context, struct ready_queue *ready)
{
    (void)context;
    egress_pool_unused(egress_pool_of(ready));
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

/* What has been ordered for the queue, or a sender that it follows; null: nothing. */
static const struct admin_entry *entry_of(const struct delivery *delivery,
                                          const struct sched_queue *queue)
{
    if (!queue->follows) {
        return admin_local_entry(delivery, sched_queue_name(delivery->queues, queue));
    }
    const struct egress *egress = egress_pool_suspended(egress_pool_of(queue->ready));
    return egress != NULL ? admin_local_entry_ready(
                                delivery, slice_make(egress->name, egress->name_bytes))
                          : NULL;
}

struct hold delivery_hold(const struct delivery *delivery, const struct sched_queue *queue)
{
    const struct queue_gate *gate = queue->gate;
    struct hold hold = sched_queue_hold(queue);
    if (queue->follows) {
        hold.until_ns = egress_pool_of(queue->ready)->until_ns;
    } else if (gate != NULL &&
               (hold.reason == HOLD_queue_rate || hold.reason == HOLD_quiet_hours)) {
        hold.until_ns = gate->until_ns;
    } else if (hold_is_suspended(hold.reason)) {
        const struct admin_entry *entry = entry_of(delivery, queue);
        hold.until_ns = entry != NULL ? entry->until_ns : 0;
    }
    return hold;
}

struct slice delivery_hold_detail(const struct delivery *delivery,
                                  const struct sched_queue *queue)
{
    bool ordered =
        hold_is_suspended(sched_queue_hold(queue).reason) || queue->order == QUEUE_DOOMED;
    const struct admin_entry *entry = ordered ? entry_of(delivery, queue) : NULL;
    return entry != NULL ? entry->reason : SLICE_NONE;
}

void delivery_forget(struct delivery *delivery, struct egress *egress)
{
    egress_pool_left(egress->pool); /* which may be its end */
    path_drop(&delivery->paths, &egress->path);
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
    egress_pools_stop(delivery);
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
           delivery->egress_pools.used * sizeof(struct egress_pool) +
           delivery->gates.used * sizeof(struct queue_gate) + delivery->paths.memory.used;
}

void delivery_fini(struct delivery *delivery)
{
    shard_timer_clear(delivery->shard, &delivery->tick);
    deferred_cancel(&delivery->admin.bounce);
    deferred_cancel(&delivery->reroute);
    deferred_cancel(&delivery->ask_again);
    egress_pools_fini(delivery);
    path_book_fini(&delivery->paths);
    for (struct list *link = delivery->all.next; link != &delivery->all; link = link->next) {
        deferred_cancel(&CONTAINER_OF(link, struct egress, link)->work);
    }
}

uint32_t delivery_open(const struct delivery *delivery)
{
    uint32_t open = delivery->conns.used + delivery->transfers.used + delivery->gates.used +
                    delivery->inspections + egress_pools_open(delivery);
    for (struct list *link = delivery->all.next; link != &delivery->all; link = link->next) {
        const struct egress *egress = CONTAINER_OF(link, struct egress, link);
        open += egress->limits.set.held > 0 || egress->limits.set.in_flight > 0;
    }
    return open;
}
