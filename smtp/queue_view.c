#include "smtp/queue_view.h"

#include "smtp/admin_local.h"
#include "smtp/egress.h"

/* --- queues ----------------------------------------------------------------------------------- */

bool queue_view_scheduled(const struct delivery *delivery, uint32_t number,
                          struct queue_view *view_out)
{
    const struct sched_queue *queue = queues_find(delivery->queues, number);
    if (queue == NULL) {
        return false;
    }
    *view_out = (struct queue_view){
        .name = sched_queue_name(delivery->queues, queue),
        .hold = sched_queue_hold(queue),
        .recipients = queue->rows,
        .due = sched_queue_due(queue),
        .scheduled = queue,
        .pool = queue->ready != NULL ? egress_pool_of(queue->ready) : NULL,
    };
    if (view_out->pool != NULL) {
        view_out->site = egress_pool_name(view_out->pool);
    }
    return true;
}

const struct egress *queue_view_egress(const struct delivery *delivery, uint32_t number)
{
    return pool_is_taken(&delivery->egresses, number) ? pool_at(&delivery->egresses, number)
                                                      : NULL;
}

bool queue_view_ready(const struct delivery *delivery, uint32_t number,
                      struct queue_view *view_out)
{
    const struct egress *egress = queue_view_egress(delivery, number);
    if (egress == NULL) {
        return false;
    }
    *view_out = (struct queue_view){
        .name = slice_make(egress->name, egress->name_bytes),
        .hold = egress->hold,
        .recipients = egress_fresh(egress) + egress->window.hot,
        .due = egress_fresh(egress),
        .connections = egress->connections,
        .egress = egress,
    };
    return true;
}

const struct egress *queue_view_sender(const struct queue_view *view, unsigned *next)
{
    if (view->egress != NULL) {
        return (*next)++ == 0 ? view->egress : NULL;
    }
    while (view->pool != NULL && *next < view->pool->count) {
        const struct egress *egress = view->pool->members[(*next)++];
        if (egress != NULL) {
            return egress;
        }
    }
    return NULL;
}

void queue_view_complete(const struct delivery *delivery, struct queue_view *view)
{
    if (view->scheduled != NULL) {
        view->hold = delivery_hold(delivery, view->scheduled);
        view->detail = delivery_hold_detail(delivery, view->scheduled);
    } else if (hold_is_suspended(view->hold.reason)) {
        const struct admin_entry *entry = admin_local_entry_ready(delivery, view->name);
        view->detail = entry != NULL ? entry->reason : SLICE_NONE;
    }
}

uint64_t queue_view_order(const struct queue_view *view)
{
    uint64_t first = view->hold.reason == HOLD_none    ? VIEW_ORDER_BUSY
                     : view->hold.reason == HOLD_empty ? VIEW_ORDER_REST
                                                       : 0;
    return first + view->hold.since_ns;
}

uint64_t queue_view_ms(const struct queue_view *view, enum hold_reason reason, uint64_t now_ns)
{
    return view->scheduled != NULL ? sched_queue_hold_ms(view->scheduled, reason, now_ns)
                                   : hold_clock_ms(&view->egress->clock, reason, now_ns);
}

/* --- limits ----------------------------------------------------------------------------------- */

bool limit_view_site(const struct egress *egress, unsigned i, struct limit_view *limit_out)
{
    if (!egress_limits_at(&egress->limits, i, limit_out)) {
        return false;
    }
    if (limit_out->name.size == 0) {
        limit_out->name = slice_make(egress->name, egress->name_bytes);
    }
    return true;
}

struct limit_use limit_view_use(const struct limit_view *limit, uint64_t now_ns)
{
    struct limit_use use = {0};
    if (limit->cell == NULL) {
        return use;
    }
    if (limit->rate == NULL) {
        use.used = atomic_load_explicit(&limit->cell->used, memory_order_relaxed);
        use.full = use.used >= limit->count;
        return use;
    }
    const struct rate *rate = limit->rate;
    uint64_t full_ns = atomic_load_explicit(&limit->cell->arrival_ns, memory_order_relaxed);
    uint64_t ahead_ns = full_ns > now_ns ? full_ns - now_ns : 0;
    if (ahead_ns + rate->interval_ns > rate_span_ns(rate)) {
        use.until_ns = now_ns + ahead_ns + rate->interval_ns - rate_span_ns(rate);
    }
    use.used = MIN_OF((ahead_ns + rate->interval_ns - 1) / rate->interval_ns, rate->burst);
    use.full = use.until_ns > 0;
    return use;
}

void limit_view_put(struct buf *buf, const struct limit_view *limit)
{
    if (limit->rate != NULL) {
        rate_put(buf, limit->rate);
    } else {
        buf_put_u64(buf, limit->count);
    }
}
