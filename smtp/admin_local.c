#include "smtp/admin_local.h"

#include "core/check.h"
#include "smtp/transfer.h"

#define BOUNCES_MAX    256 /* in flight */
#define BOUNCES_A_TURN 64

const struct admin_entry *admin_local_entry(const struct delivery *delivery, struct slice queue)
{
    const struct admin_table *table = delivery->admin.table;
    return table != NULL ? admin_table_find(table, queue) : NULL;
}

const struct admin_entry *admin_local_entry_ready(const struct delivery *delivery,
                                                  struct slice name)
{
    const struct admin_table *table = delivery->admin.table;
    return table != NULL ? admin_table_find_ready(table, name) : NULL;
}

enum queue_order admin_local_ordered(void *context, struct slice name)
{
    const struct admin_entry *entry = admin_local_entry(context, name);
    if (entry == NULL) {
        return QUEUE_RUNS;
    }
    if (entry->kind == ADMIN_BOUNCE) {
        return QUEUE_DOOMED;
    }
    return entry->effect > 0 ? QUEUE_SUSPENDED_RULE : QUEUE_SUSPENDED;
}

void admin_local_site(struct egress *egress)
{
    const struct admin_entry *entry = admin_local_entry_ready(
        egress->delivery, slice_make(egress->name, egress->name_bytes));
    uint64_t until_ns = entry != NULL ? entry->until_ns : 0;
    enum hold_reason by = entry == NULL       ? HOLD_none
                          : entry->effect > 0 ? HOLD_suspended_rule
                                              : HOLD_suspended_admin;
    if (egress->suspended == by && egress->suspended_until_ns == until_ns) {
        return;
    }
    egress->suspended = (uint8_t)by;
    egress->suspended_until_ns = until_ns;
    egress_kick(egress);
}

/* --- bounces ---------------------------------------------------------------------------------- */

static void bounce_run(struct deferred *deferred)
{
    struct delivery *delivery = CONTAINER_OF(deferred, struct delivery, admin.bounce);
    struct admin_local *admin = &delivery->admin;
    unsigned budget = MIN_OF(admin_turn_budget(admin->table, 0), BOUNCES_A_TURN);
    for (unsigned i = 0; i < budget; i++) {
        struct sched_queue *queue = queues_doomed(delivery->queues);
        if (queue == NULL || admin->bounces == BOUNCES_MAX || !delivery_may_start(delivery)) {
            return; /* the next due row, the end of a transfer, or a tick comes back here */
        }
        struct slice name = sched_queue_name(delivery->queues, queue);
        const struct admin_entry *entry = admin_local_entry(delivery, name);
        if (entry == NULL || entry->kind != ADMIN_BOUNCE) {
            /* There is a new table, and the walk has not come here yet. */
            queues_order(delivery->queues, queue, admin_local_ordered(delivery, name));
            continue;
        }
        struct transfer *transfer = transfer_take_doomed(delivery, queue, entry);
        if (transfer == NULL) {
            return;
        }
        admin->bounces++;
        transfer_start(transfer);
    }
    shard_defer(delivery->shard, &admin->bounce);
}

void admin_local_init(struct delivery *delivery)
{
    deferred_init(&delivery->admin.bounce, bounce_run);
}

void admin_local_doomed(void *context)
{
    struct delivery *delivery = context;
    shard_defer(delivery->shard, &delivery->admin.bounce);
}

void admin_local_tick(struct delivery *delivery)
{
    if (queues_doomed(delivery->queues) != NULL) {
        shard_defer(delivery->shard, &delivery->admin.bounce);
    }
}

void admin_local_count(struct delivery *delivery, uint16_t slot, unsigned count)
{
    _Atomic uint64_t *sum = &delivery->admin.bounced[slot];
    uint64_t before = atomic_load_explicit(sum, memory_order_relaxed);
    atomic_store_explicit(sum, before + count, memory_order_relaxed);
}

void admin_local_freed(struct delivery *delivery)
{
    CHECK(delivery->admin.bounces > 0);
    delivery->admin.bounces--;
    admin_local_doomed(delivery);
}
