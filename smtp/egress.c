/*
 * Connections to one site. How many are wanted follows the number of rows and the limit; how many
 * there may be is the cell's word. A connection that could not be made tries the next host; when no
 * host is left the failure is the next batch's, and after too many in a row everything due.
 */
#include "smtp/egress.h"

#include <math.h>
#include <string.h>

#include "core/check.h"
#include "smtp/egress_source.h"
#include "smtp/egress_trace.h"
#include "smtp/transfer_time.h"

/* Batches that fail without a connection in one turn. */
#define FAIL_BATCHES_MAX 64
/* Servers that have answered nothing for so long are what their mail waits for. */
#define SILENT_NS (10 * NS_PER_S)

/* --- connections ------------------------------------------------------------------------------ */

static void conn_open(struct egress_conn *conn);

static void conn_free(struct egress_conn *conn)
{
    struct egress *egress = conn->egress;
    egress->connections--;
    egress_limits_give(&egress->limits);
    pool_give(&egress->delivery->conns, conn);
    egress_kick(egress);
}

/* A server has answered. */
static void heard(struct egress *egress)
{
    egress->heard_ns = egress->delivery->shard->now_ns;
    if (egress->hold.reason == HOLD_remote_slow) {
        egress_kick(egress);
    }
}

/* A connection is to wait for its server: unless another one does already, the wait begins. */
static void await(struct egress *egress)
{
    if (list_empty(&egress->conns)) {
        egress->heard_ns = egress->delivery->shard->now_ns;
    }
}

static void conn_idle(struct client_conn *client)
{
    struct egress_conn *conn = egress_conn_of(client);
    conn->egress->failures = 0;
    heard(conn->egress);
    if (conn->transfer == NULL) {
        egress_conn_idle(conn);
    }
}

void egress_conn_assign(struct egress_conn *conn, struct transfer *transfer)
{
    conn->egress->busy += transfer != NULL;
    conn->egress->busy -= conn->transfer != NULL;
    conn->transfer = transfer;
}

void egress_slot_granted(struct egress_limits *limits)
{
    egress_kick(CONTAINER_OF(limits, struct egress, limits));
}

void egress_conn_idle(struct egress_conn *conn)
{
    struct egress *egress = conn->egress;
    if (!client_conn_is_idle(&conn->conn)) {
        return;
    }
    if (egress->delivery->stopping || egress->pool->ready.queues == 0 ||
        conn->conn.transactions >= egress->path->max_deliveries_per_connection) {
        client_conn_close(&conn->conn);
        return;
    }
    /* What came for mail takes some first; else all would come in turn, and none send. */
    bool used = conn->used || egress_due(egress) == 0;
    if (used && egress_conn_yield(conn)) {
        return;
    }
    list_remove(&conn->conn.link);
    list_push_front(&egress->idle, &conn->conn.link);
    egress_kick(egress);
}

/* --- transactions ----------------------------------------------------------------------------- */

static void conn_done(struct client_conn *client, struct client_transaction *transaction)
{
    struct egress_conn *conn = egress_conn_of(client);
    struct transfer *transfer = conn->transfer;
    CHECK(transfer != NULL && transaction == &transfer->transaction);
    egress_conn_assign(conn, NULL);
    heard(conn->egress);
    conn->used = true;
    egress_break_spare(conn, transfer);
    transfer_sent(transfer);
    egress_break_judge(conn);
}

static void conn_need_part(struct client_conn *client, uint32_t part)
{
    heard(egress_conn_of(client)->egress);
    transfer_need_part(egress_conn_of(client)->transfer, part);
}

static void fail_batches(struct egress *egress, const struct egress_conn *conn);

/* Its address is none of this host. True: others send, until it is one again; mail that only it may
 * send waits, and never leaves from another. */
static bool is_missed(const struct egress *egress)
{
    const struct pool_options *options = egress->pool->options;
    return options != NULL &&
           egress_source_missed(egress->delivery, &egress->source,
                                &options->members[egress->member].source->unplumbed);
}

static void conn_released(struct client_conn *client, enum client_end end)
{
    struct egress_conn *conn = egress_conn_of(client);
    struct egress *egress = conn->egress;
    list_remove(&client->link);
    if (conn->transfer != NULL) {
        /* Its message is being read; it will find that the connection has gone. */
        CHECK(conn->transfer->conn == conn);
        conn->transfer->conn = NULL;
        egress_conn_assign(conn, NULL);
    }
    if (egress_break_goes_on(conn)) {
        conn_open(conn);
        return;
    }
    bool missed = client->connect_end == STREAM_UNPLUMBED && is_missed(egress);
    if (!missed && !client->greeted && end != CLIENT_END_CLOSED && !egress->delivery->stopping) {
        counters_add(&egress->delivery->shard->counters, COUNTER_connect_failures, 1);
        if (++conn->tried < egress_host_count(egress) && egress->path != NULL) {
            conn_open(conn);
            return;
        }
        egress->failures++;
        fail_batches(egress, conn);
    }
    conn_free(conn);
}

const struct client_user egress_client_user = {
    .idle = conn_idle,
    .done = conn_done,
    .need_part = conn_need_part,
    .detached = egress_conn_detached,
    .said = egress_trace_said,
    .released = conn_released,
};

struct egress_conn *egress_conn_take(struct egress *egress)
{
    struct egress_conn *conn = pool_take(&egress->delivery->conns);
    if (conn != NULL) {
        conn->egress = egress;
        conn->transfer = NULL;
        conn->used = false;
        conn->tried = 0;
        conn->again = AGAIN_NO;
        conn->spin = (uint32_t)prng_next(&egress->delivery->shard->prng);
        conn->name_bytes = 0;
        conn->conn.traced = 0;
        conn->cargo.home = egress_cargo_home;
        list_init(&conn->conn.link);
    }
    return conn;
}

static void conn_open(struct egress_conn *conn)
{
    struct egress *egress = conn->egress;
    struct delivery *delivery = egress->delivery;
    const struct egress_hosts *hosts = &egress->pool->hosts;
    unsigned host = egress_hosts_pick(hosts, egress->reach, conn->tried, conn->spin);
    struct slice name = hosts->names[host];
    CHECK(name.size <= sizeof(conn->name));
    if (name.size > 0) {
        memcpy(conn->name, name.data, name.size);
    }
    conn->name_bytes = (uint8_t)name.size;
    struct client_target target = {
        .peer = hosts->at[host],
        .source = egress->source,
        .session = id_next(delivery->ids, delivery->shard->wall_ns),
        .congestion = delivery->conf->node.congestion,
        .options = &egress->client,
    };
    if (egress->remote_port != 0) {
        target.peer.port = egress->remote_port;
    }
    list_push_back(&egress->conns, &conn->conn.link);
    client_conn_open(&conn->conn, delivery->shard, &egress_client_user, &target);
    egress_trace_begin(conn);
}

static void hold(struct egress *egress, enum hold_reason reason, uint64_t until_ns)
{
    egress->hold = (struct hold){.reason = reason, .until_ns = until_ns};
}

/* Nothing polls: it goes on at that instant. */
static void wait_for_rate(struct egress *egress, enum hold_reason reason, uint64_t until_ns)
{
    struct shard *shard = egress->delivery->shard;
    hold(egress, reason, until_ns);
    shard_timer_set(shard, &egress->timer, until_ns - MIN_OF(until_ns, shard->now_ns));
}

static void egress_fire(struct timer *timer)
{
    egress_kick(CONTAINER_OF(timer, struct egress, timer));
}

/* Another connection, if rate, slot and memory are to be had; `more` of them are wanted. */
static bool conn_new(struct egress *egress, uint32_t more)
{
    struct delivery *delivery = egress->delivery;
    struct egress_limits *limits = &egress->limits;
    uint64_t until_ns = 0;
    egress_pool_refresh(egress->pool);
    if (egress->reach == 0) {
        hold(egress, HOLD_no_source, 0); /* what DNS says now leaves none; it will be looked at */
        return false;
    }
    if (rates_ready(&limits->connects, delivery->shard->now_ns, more, &until_ns) == 0) {
        wait_for_rate(egress, HOLD_connection_rate, until_ns);
        return false;
    }
    if (!egress_limits_take(limits, egress_class(egress), egress_weight(egress))) {
        hold(egress, HOLD_connection_limit, 0);
        return false;
    }
    struct egress_conn *conn = egress_conn_take(egress);
    if (conn == NULL) {
        egress_limits_give(limits);
        hold(egress, HOLD_memory, 0);
        return false;
    }
    rates_use(&limits->connects, 1);
    egress->connections++;
    counters_add(&delivery->shard->counters, COUNTER_connections_out, 1);
    await(egress);
    conn_open(conn);
    return true;
}

/*
 * kumomta's curve: few messages do not open many connections, many approach the limit. Under a rate
 * no more are of use than what is under way and what may go now.
 */
static uint32_t connections_wanted(const struct egress *egress, uint32_t may_go)
{
    double rows = egress_fresh(egress) + egress->window.hot;
    double curve = egress->path->connection_limit * -expm1(-0.023 * rows);
    double under_way = egress->window.hot - egress->ahead_rows;
    return (uint32_t)ceil(fmin(fmin(rows, curve), under_way + may_go));
}

/* --- failing without a connection ------------------------------------------------------------- */

static const char *connect_text(enum stream_end end)
{
    switch (end) {
    case STREAM_REFUSED:
        return "connection refused";
    case STREAM_UNREACHABLE:
        return "no route to host";
    case STREAM_TIMEOUT:
        return "connection timed out";
    case STREAM_UNPLUMBED:
        return "the source address is none of this host";
    case STREAM_LOCAL:
        return "no local resources";
    case STREAM_RESET:
    case STREAM_EOF:
    case STREAM_OPEN:
        break;
    }
    return "connection failed";
}

static void put_failure(struct buf *text, const struct egress_conn *conn)
{
    const struct client_conn *client = &conn->conn;
    buf_put(text, SLICE("Ringpost internal: failed to connect to any candidate hosts: "));
    endpoint_put(text, &client->peer);
    buf_put(text, SLICE(": "));
    if (!client->connected) {
        buf_put_string(text, connect_text(client->connect_end));
        return;
    }
    buf_put_string(text, client_end_name(client->session.end));
    buf_put(text, SLICE(" while "));
    buf_put_string(text, client_session_doing(&client->session));
}

/*
 * No host could be reached: one batch is deferred for it, so that every attempt costs an attempt;
 * after too many failures in a row, all that is due, in slices.
 */
static void fail_batches(struct egress *egress, const struct egress_conn *conn)
{
    if (!delivery_may_start(egress->delivery) || egress->suspended || egress->path == NULL) {
        return; /* what is due waits with all the rest */
    }
    bool all = egress->failures >= egress->path->connection_failures_before_delay;
    unsigned limit = all ? FAIL_BATCHES_MAX : 1;
    for (unsigned i = 0; i < limit && egress_fresh(egress) > 0; i++) {
        struct transfer *transfer = transfer_take(egress, UINT32_MAX, UINT32_MAX);
        if (transfer == NULL) {
            return;
        }
        transfer->cause = transfer_is_expired(transfer) ? TRANSFER_EXPIRE : TRANSFER_NO_HOST;
        buf_init(&transfer->transaction.texts, transfer->texts, sizeof(transfer->texts));
        put_failure(&transfer->transaction.texts, conn);
        transfer_start(transfer);
    }
}

/* --- work ------------------------------------------------------------------------------------- */

static bool requires_tls(const struct path_options *path)
{
    return path->enable_tls == PATH_TLS_REQUIRED ||
           path->enable_tls == PATH_TLS_REQUIRED_INSECURE;
}

/* There is no way: once nothing more of its queue is due, that asks for the route again. */
static void end_nowhere(struct egress *egress, struct transfer *transfer)
{
    struct queues *queues = egress->delivery->queues;
    struct sched_queue *queue =
        queues_at(queues, row_at(&queues->rows, transfer->rows[0])->queue);
    struct buf *text = &transfer->transaction.texts;
    const struct egress_hosts *hosts = &egress->pool->hosts;
    struct slice words = slice_from_string(hosts->nowhere.text);
    CHECK(enhanced_code_parse(&words, transfer->enhanced));
    transfer->code = hosts->nowhere.code;
    buf_init(text, transfer->texts, sizeof(transfer->texts));
    buf_put(text, SLICE("Ringpost internal: "));
    buf_put(text, words);
    if (hosts->detail.size > 0) {
        buf_put(text, SLICE(": "));
        buf_put(text, hosts->detail);
    }
    if (sched_queue_due(queue) == 0 && queue->ready == &egress->pool->ready) {
        queues_unroute(queues, queue);
    }
}

/* Everything due ends without a connection, in slices. */
static void end_due(struct egress *egress, enum transfer_cause cause)
{
    hold(egress, HOLD_none, 0);
    for (unsigned i = 0; i < FAIL_BATCHES_MAX && egress_fresh(egress) > 0; i++) {
        struct transfer *transfer = transfer_take(egress, UINT32_MAX, UINT32_MAX);
        if (transfer == NULL) {
            return;
        }
        transfer->cause = transfer_is_expired(transfer) ? TRANSFER_EXPIRE : cause;
        if (cause == TRANSFER_NOWHERE) {
            end_nowhere(egress, transfer);
        }
        transfer_start(transfer);
    }
    if (egress_fresh(egress) > 0) {
        egress_kick(egress);
    }
}

uint32_t egress_window(const struct egress *egress)
{
    uint32_t share = egress->path->max_ready / egress->delivery->shards;
    return MAX_OF(share, 1);
}

/* May another message stand in blocks for this site? Its own come back with the next outcome. */
static bool has_share(struct egress *egress)
{
    const struct delivery *delivery = egress->delivery;
    uint64_t left = block_pool_size(block_pool_receiving(delivery->messages->blocks));
    left -= MIN_OF(left, delivery->pinned_bytes);
    bool full = egress->pinned_bytes > 0 && egress->pinned_bytes >= left / 2;
    counters_add(&delivery->shard->counters, COUNTER_site_blocks_full, full && !egress->share_full);
    egress->share_full = full;
    return !full;
}

/*
 * How many recipients blocks and rates let go now; 0: it waits for the instant of the next, or for
 * blocks.
 */
static uint32_t may_go(struct egress *egress)
{
    uint64_t until_ns = 0;
    if (!has_share(egress)) {
        hold(egress, HOLD_memory, 0);
        return 0;
    }
    uint32_t count = rates_ready(&egress->limits.messages, egress->delivery->shard->now_ns,
                                 egress_due(egress), &until_ns);
    if (count == 0) {
        wait_for_rate(egress, HOLD_message_rate, until_ns);
    }
    return count;
}

/* What goes next, of at most `most` rows if it is new; null: nothing may become hot. */
static struct transfer *next_transfer(struct egress *egress, uint32_t most)
{
    struct transfer *transfer = egress_ahead_next(egress);
    if (transfer == NULL) {
        transfer = transfer_take(egress, egress_window(egress), most);
    }
    if (transfer == NULL) {
        transfer = egress_ahead_take(egress, QUEUE_BULK);
    }
    if (transfer == NULL && egress_fresh(egress) > 0) {
        const struct pool *transfers = &egress->delivery->transfers;
        bool full = transfers->used == transfers->capacity;
        hold(egress, full ? HOLD_memory : HOLD_ready_full, 0);
    }
    return transfer;
}

static void give_work(struct egress *egress)
{
    unsigned idle = 0; /* transfers that left no connection busy */
    while (egress_due(egress) > 0 && !list_empty(&egress->idle) && idle < FAIL_BATCHES_MAX) {
        uint32_t most = may_go(egress);
        struct transfer *transfer = most > 0 ? next_transfer(egress, most) : NULL;
        if (transfer == NULL) {
            return;
        }
        if (transfer_is_expired(transfer)) {
            transfer->cause = TRANSFER_EXPIRE;
            transfer_start(transfer);
            idle++;
            continue;
        }
        if (!transfer_admit(transfer, most)) {
            continue;
        }
        struct list *link = list_pop_front(&egress->idle);
        struct egress_conn *conn = egress_conn_of(CONTAINER_OF(link, struct client_conn, link));
        await(egress);
        list_push_back(&egress->conns, link);
        egress_conn_assign(conn, transfer);
        transfer->conn = conn;
        transfer_charge(transfer);
        transfer_start(transfer);
        idle += conn->transfer == NULL; /* it waits for its schedule, or that is over */
    }
    if (idle == FAIL_BATCHES_MAX) {
        egress_kick(egress);
    }
}

/* Connections for the `most` recipients that may go now. True: it waits for a slot. */
static bool open_more(struct egress *egress, uint32_t most)
{
    uint32_t wanted = connections_wanted(egress, most);
    while (egress->connections < wanted && conn_new(egress, wanted - egress->connections)) {
    }
    if (egress->connections < wanted) {
        return egress->hold.reason == HOLD_connection_limit;
    }
    rates_rest(&egress->limits.connects);
    if (egress->connections >= egress->path->connection_limit && list_empty(&egress->idle)) {
        hold(egress, HOLD_connection_limit, 0);
    }
    return false;
}

/* Nothing is sent, and it keeps no tokens from others. */
static void stand_still(struct egress *egress, enum hold_reason reason, uint64_t until_ns)
{
    bool empty = egress_fresh(egress) + egress->window.hot == 0;
    egress_limits_rest_rates(&egress->limits);
    hold(egress, empty ? HOLD_empty : reason, empty ? 0 : until_ns);
}

/* True: it waits for a slot. */
static bool send_due(struct egress *egress)
{
    hold(egress, HOLD_none, 0);
    if (egress_due(egress) > 0) {
        egress_take_cargo(egress);
    }
    give_work(egress);
    uint32_t most = egress_due(egress) > 0 ? may_go(egress) : 0;
    bool waits = most > 0 && open_more(egress, most);
    egress_ahead_read(egress, most);
    if (egress_due(egress) == 0) {
        egress_limits_rest_rates(&egress->limits);
        hold(egress, egress->window.hot > 0 ? HOLD_none : HOLD_empty, 0);
    }
    return waits;
}

/* Mail is due or under way, and no server has said a word for long. */
static bool is_silent(const struct egress *egress)
{
    return egress_fresh(egress) + egress->window.hot > 0 && !list_empty(&egress->conns) &&
           list_empty(&egress->idle) &&
           egress->delivery->shard->now_ns - egress->heard_ns >= SILENT_NS;
}

/* The last word is the servers', where mail waits for nothing but them. */
static void judge(struct egress *egress)
{
    enum hold_reason reason = egress->hold.reason;
    bool open = reason == HOLD_none || reason == HOLD_connection_limit;
    if (open && egress->failures > 0 && egress_due(egress) > 0) {
        hold(egress, HOLD_connect_failing, 0);
    } else if (open && is_silent(egress)) {
        hold(egress, HOLD_remote_slow, 0);
    }
    hold_clock_set(&egress->clock, egress->hold.reason, egress->delivery->shard->now_ns);
    egress->hold.since_ns = egress->clock.since_ns;
    egress_pool_judge(egress->pool, egress);
}

static void egress_work(struct deferred *deferred)
{
    struct egress *egress = CONTAINER_OF(deferred, struct egress, work);
    struct delivery *delivery = egress->delivery;
    const struct cell_set *set = &egress->limits.set;
    bool waits = false;
    if (delivery->spool == NULL) {
        hold(egress, HOLD_none, 0); /* the start is not over */
    } else if (!delivery_may_start(delivery)) {
        hold(egress, HOLD_spool_unhealthy, 0);
    } else if (egress->path == NULL) {
        hold(egress, HOLD_empty, 0);
    } else if (egress->suspended) {
        stand_still(egress, (enum hold_reason)egress->suspended, egress->suspended_until_ns);
    } else if (egress->pool->hosts.nowhere.code != 0) {
        end_due(egress, TRANSFER_NOWHERE);
    } else if (egress_is_left_out(egress) || egress->reach == 0) {
        stand_still(egress, HOLD_no_source, 0);
    } else if (requires_tls(egress->path)) {
        end_due(egress, TRANSFER_NO_TLS); /* such mail never goes out in clear */
    } else if (cell_set_whole(set)) {
        waits = send_due(egress);
    } else {
        /* Asked for a moment ago; or the registry has no room for them. */
        bool empty = egress_fresh(egress) + egress->window.hot == 0;
        hold(egress, empty ? HOLD_empty : set->in_flight > 0 ? HOLD_none : HOLD_memory, 0);
    }
    egress_ahead_trim(egress);
    judge(egress);
    if (!waits) {
        egress_limits_rest(&egress->limits);
    }
    (void)egress_yield_idle(egress);
    egress_limits_spare(&egress->limits, !list_empty(&egress->idle));
    egress_pool_look(egress);
    egress_join(egress);
}

bool egress_serves(const struct egress *egress, const struct sched_queue *queue)
{
    return !egress->suspended && queue->order == QUEUE_RUNS && queue->ready == &egress->pool->ready;
}

void egress_work_init(struct egress *egress)
{
    deferred_init(&egress->work, egress_work);
    timer_init(&egress->timer, egress_fire);
}

bool egress_is_left_out(const struct egress *egress)
{
    return egress_source_is_out(egress->delivery, &egress->source);
}

struct slice egress_last_word(const struct egress *egress, struct buf *text)
{
    if (!egress_is_left_out(egress)) {
        return slice_make(egress->refusal, egress->refusal_bytes);
    }
    egress_source_put_out(text, &egress->source);
    return buf_slice(text);
}

bool egress_takes_turns(const struct egress *egress)
{
    const struct cell_set *set = &egress->limits.set;
    bool led = egress->reach != 0 || egress->pool->hosts.nowhere.code != 0;
    return led && egress->path != NULL && !egress->suspended && !egress_is_left_out(egress) &&
           (cell_set_whole(set) || set->in_flight > 0);
}

void egress_kick(struct egress *egress)
{
    shard_defer(egress->delivery->shard, &egress->work);
}

/*
 * May its reason have changed without anybody's word: a spool that works again or does not, servers
 * that say nothing? Slots come by themselves, and for a known instant it has a timer.
 */
static bool must_look(const struct egress *egress)
{
    enum hold_reason reason = egress->hold.reason;
    bool waits = egress_due(egress) > 0 && egress->hold.until_ns == 0;
    bool unhealthy = !delivery_may_start(egress->delivery);
    bool open = reason == HOLD_none || reason == HOLD_connection_limit;
    return (waits && reason != HOLD_connection_limit) || (open && is_silent(egress)) ||
           unhealthy != (reason == HOLD_spool_unhealthy);
}

void egress_tick(struct egress *egress)
{
    struct cell_set *set = &egress->limits.set;
    bool ends = egress->leaves || egress->pool->ready.queues == 0;
    if (egress->delivery->stopping || (ends && set->held > 0)) {
        egress_kick(egress); /* its end may have waited for mail of its cells */
    } else if (!cell_set_whole(set)) {
        if (set->in_flight == 0 && egress_due(egress) > 0) {
            cell_set_ask(set);
        }
    } else {
        if (must_look(egress)) {
            egress_kick(egress);
        }
        if (egress_due(egress) > 0) {
            /* Idle for a rate, or for the window: its time may be over. */
            (void)egress_yield_idle(egress);
        }
    }
    egress_rest(egress);
}

static void close_all(struct list *conns, bool cut)
{
    struct list *link = conns->next;
    while (link != conns) {
        struct client_conn *client = CONTAINER_OF(link, struct client_conn, link);
        link = link->next;
        if (cut) {
            client_conn_cut(client);
        } else {
            client_conn_close(client);
        }
    }
}

void egress_stop(struct egress *egress)
{
    close_all(&egress->idle, false);
    close_all(&egress->conns, false);
    egress_ahead_trim(egress);
    egress_join(egress);
}

void egress_cut(struct egress *egress)
{
    close_all(&egress->idle, true);
    close_all(&egress->conns, true);
}
