#include "smtp/queue_report_kinds.h"

#include "core/date.h"
#include "smtp/admin_local.h"
#include "smtp/egress.h"
#include "smtp/queue_gate.h"

/* Of the order: first what waits, or is used up; then what moves, or is in use; then the rest. */
#define ORDER_BUSY (1ull << 62)
#define ORDER_REST (2ull << 62)

/* --- queues ----------------------------------------------------------------------------------- */

/* What there is to say of a queue. */
struct view {
    struct slice name;
    struct slice site; /* of a scheduled queue that has a route */
    struct hold hold;
    uint64_t recipients;
    uint32_t due;
    const struct sched_queue *scheduled; /* null: it is a ready queue */
    const struct ready_queue *ready;
};

static bool scheduled_view(const struct delivery *delivery, uint32_t number, struct view *view_out)
{
    const struct sched_queue *queue = queues_find(delivery->queues, number);
    if (queue == NULL) {
        return false;
    }
    *view_out = (struct view){
        .name = sched_queue_name(delivery->queues, queue),
        .hold = sched_queue_hold(queue),
        .recipients = queue->rows,
        .due = sched_queue_due(queue),
        .scheduled = queue,
    };
    if (queue->ready != NULL) {
        const struct egress *egress = CONTAINER_OF(queue->ready, struct egress, ready);
        view_out->site = slice_make(egress->name, egress->name_bytes);
    }
    return true;
}

/* Null: there is none with that number. */
static const struct egress *egress_at(const struct delivery *delivery, uint32_t number)
{
    return pool_is_taken(&delivery->egresses, number) ? pool_at(&delivery->egresses, number)
                                                      : NULL;
}

static bool ready_view(const struct delivery *delivery, uint32_t number, struct view *view_out)
{
    const struct egress *egress = egress_at(delivery, number);
    if (egress == NULL) {
        return false;
    }
    *view_out = (struct view){
        .name = slice_make(egress->name, egress->name_bytes),
        .hold = egress->hold,
        .recipients = egress->ready.due + egress->ready.hot,
        .due = egress->ready.due,
        .ready = &egress->ready,
    };
    return true;
}

static bool queue_view(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                       struct view *view_out)
{
    return kind == REPORT_SCHEDULED ? scheduled_view(delivery, number, view_out)
                                    : ready_view(delivery, number, view_out);
}

static bool queue_look(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                       struct report_found *found_out)
{
    struct view view;
    if (!queue_view(delivery, kind, number, &view)) {
        return false;
    }
    uint64_t first = view.hold.reason == HOLD_none    ? ORDER_BUSY
                     : view.hold.reason == HOLD_empty ? ORDER_REST
                                                      : 0;
    *found_out = (struct report_found){
        .order = first + view.hold.since_ns,
        .reason = view.hold.reason,
        .recipients = view.recipients,
    };
    return true;
}

static void put_since(struct logline *line, const struct shard *shard, uint64_t since_ns)
{
    uint8_t text[32];
    struct buf buf;
    uint64_t ago_ns = shard->now_ns - MIN_OF(since_ns, shard->now_ns);
    buf_init(&buf, text, sizeof(text));
    date_put_rfc3339(&buf, shard->wall_ns - ago_ns);
    logline_text(line, "since", buf_slice(&buf));
}

static void put_until(struct logline *line, const struct shard *shard, uint64_t until_ns)
{
    if (until_ns > 0) {
        uint64_t left_ns = until_ns - MIN_OF(until_ns, shard->now_ns);
        logline_u64(line, "retry_in_ms", left_ns / NS_PER_MS);
    }
}

static void put_times(struct logline *line, const struct view *view, uint64_t now_ns)
{
    uint8_t text[HOLD_REASONS_COUNT * 40];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        enum hold_reason reason = (enum hold_reason)i;
        uint64_t ms = view->scheduled != NULL
                          ? sched_queue_hold_ms(view->scheduled, reason, now_ns)
                          : hold_clock_ms(&view->ready->hold, reason, now_ns);
        if (ms > 0) {
            buf_printf(&buf, "%s%s:%llu", buf.size > 0 ? "," : "", hold_name(reason),
                       (unsigned long long)ms);
        }
    }
    if (buf.size > 0) {
        logline_text(line, "time_by_reason_ms", buf_slice(&buf));
    }
}

/* What an operator has said who holds it back. */
static void put_detail(struct logline *line, const struct delivery *delivery,
                       const struct view *view)
{
    struct slice detail = SLICE_NONE;
    if (view->scheduled != NULL) {
        detail = delivery_hold_detail(delivery, view->scheduled);
    } else if (view->hold.reason == HOLD_suspended_admin) {
        const struct admin_entry *entry = admin_local_entry_ready(delivery, view->name);
        detail = entry != NULL ? entry->reason : SLICE_NONE;
    }
    if (detail.size > 0) {
        logline_text(line, "detail", detail);
    }
}

static bool queue_put(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                      struct logline *line)
{
    const struct shard *shard = delivery->shard;
    struct view view;
    if (!queue_view(delivery, kind, number, &view)) {
        return false;
    }
    if (view.scheduled != NULL) {
        view.hold = delivery_hold(delivery, view.scheduled);
    }
    logline_begin(line, "queue");
    logline_string(line, "kind", report_kind_name(kind));
    logline_text(line, "name", view.name);
    logline_u64(line, "shard", shard->index);
    logline_string(line, "state", hold_state_name(view.hold.reason));
    logline_string(line, "reason", hold_name(view.hold.reason));
    put_since(line, shard, view.hold.since_ns);
    put_until(line, shard, view.hold.until_ns);
    logline_u64(line, "count", view.recipients);
    logline_u64(line, "due", view.due);
    put_detail(line, delivery, &view);
    put_times(line, &view, shard->now_ns);
    if (view.site.size > 0) {
        logline_text(line, "site", view.site);
    }
    return true;
}

/* --- limits ----------------------------------------------------------------------------------- */

static bool site_limit(const struct delivery *delivery, uint32_t number,
                       struct limit_view *limit_out)
{
    const struct egress *egress = egress_at(delivery, number / EGRESS_CELLS_MAX);
    if (egress == NULL ||
        !egress_limits_at(&egress->limits, number % EGRESS_CELLS_MAX, limit_out)) {
        return false;
    }
    if (limit_out->name.size == 0) {
        limit_out->name = slice_make(egress->name, egress->name_bytes);
    }
    return true;
}

static bool queue_limit(const struct delivery *delivery, uint32_t number,
                        struct limit_view *limit_out)
{
    uint32_t index = number / QUEUE_RATES_MAX;
    return pool_is_taken(&delivery->gates, index) &&
           queue_gate_limit_at(pool_at(&delivery->gates, index), number % QUEUE_RATES_MAX,
                               limit_out);
}

static bool limit_view(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                       struct limit_view *limit_out)
{
    return kind == REPORT_SITE_LIMITS ? site_limit(delivery, number, limit_out)
                                      : queue_limit(delivery, number, limit_out);
}

/* What is used of it; `until_out` is when whoever comes now would have his turn, 0 at once. */
static uint64_t limit_used(const struct limit_view *limit, uint64_t now_ns, uint64_t *until_out)
{
    *until_out = 0;
    if (limit->rate == NULL) {
        return atomic_load_explicit(&limit->cell->used, memory_order_relaxed);
    }
    const struct rate *rate = limit->rate;
    uint64_t full_ns = atomic_load_explicit(&limit->cell->arrival_ns, memory_order_relaxed);
    uint64_t ahead_ns = full_ns > now_ns ? full_ns - now_ns : 0;
    if (ahead_ns + rate->interval_ns > rate_span_ns(rate)) {
        *until_out = now_ns + ahead_ns + rate->interval_ns - rate_span_ns(rate);
    }
    return MIN_OF((ahead_ns + rate->interval_ns - 1) / rate->interval_ns, rate->burst);
}

static bool limit_look(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                       struct report_found *found_out)
{
    struct limit_view limit;
    uint64_t until_ns;
    if (!limit_view(delivery, kind, number, &limit)) {
        return false;
    }
    uint64_t used = limit_used(&limit, delivery->shard->now_ns, &until_ns);
    bool full = limit.rate != NULL ? until_ns > 0 : used >= limit.count;
    *found_out = (struct report_found){
        .order = full ? 0 : used > 0 ? ORDER_BUSY : ORDER_REST,
        .shared = limit.cell,
    };
    return true;
}

static bool limit_put(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                      struct logline *line)
{
    struct limit_view limit;
    uint8_t text[RATE_TEXT_MAX];
    struct buf rate;
    uint64_t until_ns;
    if (!limit_view(delivery, kind, number, &limit)) {
        return false;
    }
    uint64_t used = limit_used(&limit, delivery->shard->now_ns, &until_ns);
    logline_begin(line, "limit");
    logline_string(line, "kind", limit.option);
    logline_text(line, "name", limit.name);
    if (limit.rate != NULL) {
        buf_init(&rate, text, sizeof(text));
        rate_put(&rate, limit.rate);
        logline_text(line, "limit", buf_slice(&rate));
    } else {
        logline_u64(line, "limit", limit.count);
    }
    logline_u64(line, "used", used);
    put_until(line, delivery->shard, until_ns);
    return true;
}

/* --- kinds ------------------------------------------------------------------------------------ */

const char *report_kind_name(enum report_kind kind)
{
    static const char *const names[REPORT_KINDS] = {"scheduled", "ready", "site", "queue"};
    return names[kind];
}

uint32_t report_kind_end(const struct delivery *delivery, enum report_kind kind)
{
    switch (kind) {
    case REPORT_SCHEDULED:
        return queues_end(delivery->queues);
    case REPORT_READY:
        return delivery->egresses.fresh;
    case REPORT_SITE_LIMITS:
        return delivery->egresses.fresh * EGRESS_CELLS_MAX;
    case REPORT_QUEUE_LIMITS:
        return delivery->gates.fresh * QUEUE_RATES_MAX;
    case REPORT_KINDS:
        break;
    }
    return 0;
}

bool report_kind_look(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                      struct report_found *found_out)
{
    return kind < REPORT_QUEUE_KINDS ? queue_look(delivery, kind, number, found_out)
                                     : limit_look(delivery, kind, number, found_out);
}

bool report_kind_put(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                     struct logline *line)
{
    return kind < REPORT_QUEUE_KINDS ? queue_put(delivery, kind, number, line)
                                     : limit_put(delivery, kind, number, line);
}
