#include "smtp/queue_report_kinds.h"

#include "smtp/egress.h"
#include "smtp/queue_gate.h"
#include "smtp/queue_view.h"

/* --- queues ----------------------------------------------------------------------------------- */

static bool view_of(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                    struct queue_view *view_out)
{
    return kind == REPORT_SCHEDULED ? queue_view_scheduled(delivery, number, view_out)
                                    : queue_view_ready(delivery, number, view_out);
}

static bool queue_look(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                       struct report_found *found_out)
{
    struct queue_view view;
    if (!view_of(delivery, kind, number, &view)) {
        return false;
    }
    *found_out = (struct report_found){
        .order = queue_view_order(&view),
        .reason = view.hold.reason,
        .recipients = view.recipients,
    };
    return true;
}

static void put_since(struct logline *line, const struct shard *shard, uint64_t since_ns)
{
    uint64_t ago_ns = shard->now_ns - MIN_OF(since_ns, shard->now_ns);
    logline_time(line, "since", shard->wall_ns - ago_ns);
}

static void put_until(struct logline *line, const struct shard *shard, uint64_t until_ns)
{
    if (until_ns > 0) {
        uint64_t left_ns = until_ns - MIN_OF(until_ns, shard->now_ns);
        logline_u64(line, "retry_in_ms", left_ns / NS_PER_MS);
    }
}

static void put_times(struct logline *line, const struct queue_view *view, uint64_t now_ns)
{
    uint8_t text[HOLD_REASONS_COUNT * 40];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        enum hold_reason reason = (enum hold_reason)i;
        uint64_t ms = queue_view_ms(view, reason, now_ns);
        if (ms > 0) {
            buf_printf(&buf, "%s%s:%llu", buf.size > 0 ? "," : "", hold_name(reason),
                       (unsigned long long)ms);
        }
    }
    if (buf.size > 0) {
        logline_text(line, "time_by_reason_ms", buf_slice(&buf));
    }
}

static bool queue_put(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                      struct logline *line)
{
    const struct shard *shard = delivery->shard;
    struct queue_view view;
    if (!view_of(delivery, kind, number, &view)) {
        return false;
    }
    queue_view_complete(delivery, &view);
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
    if (view.detail.size > 0) {
        logline_text(line, "detail", view.detail);
    }
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
    const struct egress *egress = queue_view_egress(delivery, number / EGRESS_CELLS_MAX);
    return egress != NULL && limit_view_site(egress, number % EGRESS_CELLS_MAX, limit_out);
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

static bool limit_look(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                       struct report_found *found_out)
{
    struct limit_view limit;
    if (!limit_view(delivery, kind, number, &limit)) {
        return false;
    }
    struct limit_use use = limit_view_use(&limit, delivery->shard->now_ns);
    *found_out = (struct report_found){
        .order = use.full ? 0 : use.used > 0 ? VIEW_ORDER_BUSY : VIEW_ORDER_REST,
        .shared = limit.cell,
    };
    return true;
}

static bool limit_put(const struct delivery *delivery, enum report_kind kind, uint32_t number,
                      struct logline *line)
{
    struct limit_view limit;
    uint8_t text[RATE_TEXT_MAX];
    struct buf buf;
    if (!limit_view(delivery, kind, number, &limit)) {
        return false;
    }
    struct limit_use use = limit_view_use(&limit, delivery->shard->now_ns);
    logline_begin(line, "limit");
    logline_string(line, "kind", limit.option);
    logline_text(line, "name", limit.name);
    buf_init(&buf, text, sizeof(text));
    limit_view_put(&buf, &limit);
    logline_text(line, "limit", buf_slice(&buf));
    logline_u64(line, "used", use.used);
    put_until(line, delivery->shard, use.until_ns);
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
