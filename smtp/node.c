/*
 * How a node begins and ends. The order of both is the essay in node.h; here each step ends by
 * sending mail to whoever does the next. A mail shard has one `order` that travels: the TSA shard
 * sends it with what is to be done, the shard sends it back when that is done.
 */
#include "smtp/node.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"
#include "smtp/node_reload.h"
#include "smtp/server_conn.h"

#define LOGGING_NS       NS_PER_S /* at a stop, the least time that the event log gets */
#define LISTEN_AGAIN_NS  (20 * NS_PER_MS)
#define LISTEN_NS        (5 * NS_PER_S) /* how long a port that is taken is tried */
#define CHECKPOINT_SEGMENTS 1

static void order_done(struct mta *mta);

/* --- mail shard: start ------------------------------------------------------------------------ */

static void mta_fail(struct mta *mta, int error, struct slice reason)
{
    mta->error = error;
    buf_put(&mta->reason, reason);
    order_done(mta);
}

/* The spool's own words about damage and write errors. */
static void spool_note(void *context, struct slice text)
{
    const struct mta *mta = context;
    struct logline line;
    logline_begin(&line, "spool");
    logline_u64(&line, "lane", mta->node->control->house.manifest.lanes[mta->shard.index]);
    logline_text(&line, "note", text);
    logline_end(&line, &mta->node->options.log);
}

static void say_missing(struct mta *mta, uint32_t rows)
{
    uint8_t text[128];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    buf_printf(&buf, "%u recipients are dropped: the segments of their messages are not there",
               rows);
    spool_note(mta, buf_slice(&buf));
}

static void recovered(struct recovery *recovery, int error, struct slice reason)
{
    struct mta *mta = CONTAINER_OF(recovery, struct mta, recovery);
    if (error != 0) {
        mta_fail(mta, error, reason);
        return;
    }
    mta->stage = MTA_PLACING;
    recovery_place(recovery, mta->spool);
}

static void adopted(void *context, int error)
{
    struct mta *mta = context;
    if (error != 0) {
        buf_printf(&mta->reason, "spool: the lanes of shards that are gone cannot be adopted: %s",
                   strerror(-error));
        mta_fail(mta, error, SLICE_NONE);
        return;
    }
    mta->stage = MTA_PLACED;
    order_done(mta);
}

/* The events of the lanes to be adopted are durable in the event log, or cannot be. */
static void tails_told(struct event_tap *tap, bool told)
{
    struct mta *mta = CONTAINER_OF(tap, struct mta, events);
    const struct node *node = mta->node;
    if (!told) {
        buf_printf(&mta->reason, "spool: the lanes of shards that are gone have events that the "
                   "event log does not take: mend %s (log.path), or start with node.shards = %u",
                   node->options.conf->log.path, node->control->house.manifest.lane_count);
        mta_fail(mta, -EIO, SLICE_NONE);
        return;
    }
    mta->stage = MTA_ADOPTING;
    spool_adopt(mta->spool, &mta->spool_state, adopted, mta);
}

static void placed(struct recovery *recovery)
{
    struct mta *mta = CONTAINER_OF(recovery, struct mta, recovery);
    if (recovery->missing_rows > 0) {
        say_missing(mta, recovery->missing_rows);
    }
    queue_state_init(&mta->state, &mta->queues, &mta->spool_state);
    if (mta->node->control->house.manifest.lane_count > mta->node->shards) {
        mta->stage = MTA_TELLING;
        event_tap_tell(&mta->events, mta->spool, mta->node->control->house.uuid, tails_told);
        return;
    }
    adopted(mta, 0);
}

/* From here on the spool takes what is put, and deliveries begin. */
static void begin_order(struct shard *receiver, struct mail *mail)
{
    struct mta *mta = CONTAINER_OF(mail, struct mta, order);
    (void)receiver;
    mta->messages.spool = mta->spool;
    mta->intake.spool = mta->spool;
    mta->delivery.spool = mta->spool;
    spool_begin(mta->spool, &mta->spool_state);
    event_tap_start(&mta->events, mta->spool, mta->node->control->house.uuid);
    rewrite_start(&mta->rewrite, mta->spool);
    rebind_shard_start(&mta->node->control->rebind, mta->shard.index, mta->spool);
    mta->stage = MTA_REPLAYED;
    order_done(mta);
}

/* Lanes above the number of shards: each goes to the shard of its number modulo that. */
static unsigned lanes_to_adopt(struct mta *mta)
{
    const struct manifest *manifest = &mta->node->control->house.manifest;
    unsigned count = 0;
    for (unsigned i = mta->node->shards; i < manifest->lane_count; i++) {
        if (i % mta->node->shards == mta->shard.index) {
            mta->foreign[count++] = manifest->lanes[i];
        }
    }
    return count;
}

static void spool_order(struct shard *receiver, struct mail *mail)
{
    struct mta *mta = CONTAINER_OF(mail, struct mta, order);
    struct node *node = mta->node;
    const struct conf *conf = node->options.conf;
    struct spool_replay replay;
    const struct spool_options options = {
        .path = conf->spool.path,
        .lane = node->control->house.manifest.lanes[receiver->index],
        .epoch = node->control->house.manifest.epoch,
        .foreign = mta->foreign,
        .foreign_count = lanes_to_adopt(mta),
        .sync = conf->spool.sync == CONF_SYNC_COMMIT,
        .segment_bytes = conf->spool.segment_bytes,
        .checkpoint_bytes = CHECKPOINT_SEGMENTS * conf->spool.segment_bytes,
        .group_bytes = node_group_bytes(conf),
        .free_bytes_min =
            conf->spool.free_space_min.percent ? 0 : conf->spool.free_space_min.value,
        .free_percent_min = conf->spool.free_space_min.percent
                                ? (unsigned)conf->spool.free_space_min.value
                                : 0,
        .deadline_ns = conf->spool.store_deadline_ns,
        .compact_after_ns = conf->spool.compact_after_ns,
        .files_kept = node->options.files_kept,
        .pool = mta->blocks,
        .note = spool_note,
        .note_context = mta,
    };
    mta->stage = MTA_REPLAYING;
    mta->recovery.shard = receiver;
    mta->recovery.conf = conf;
    mta->recovery.queues = &mta->queues;
    mta->recovery.finished = recovered;
    mta->recovery.placed = placed;
    recovery_init(&mta->recovery, &replay);
    int error = spool_start(receiver, &options, node->control->house.uuid, &replay, &mta->spool);
    if (error != 0) {
        mta_fail(mta, error, slice_from_string(strerror(-error)));
    }
}

/* What the words of the system leave open. */
static const char *listen_hint(int error)
{
    switch (-error) {
    case EACCES:
        return " (a port below 1024 wants CAP_NET_BIND_SERVICE)";
    case ENOENT:
        return " (this kernel does not have node.congestion_control)";
    default:
        return "";
    }
}

void node_put_listen_error(struct buf *buf, struct slice where, int error)
{
    buf_printf(buf, "cannot listen on %.*s: %s%s", (int)where.size, (const char *)where.data,
               strerror(-error), listen_hint(error));
}

static void listen_try(struct timer *timer)
{
    struct mta *mta = CONTAINER_OF(timer, struct mta, listen_timer);
    uint8_t memory[ENDPOINT_TEXT_MAX];
    struct buf where;
    buf_init(&where, memory, sizeof(memory));
    int error = server_start(&mta->server, mta->node->bound, &where);
    bool none_yet = error == -EADDRINUSE && mta->server.listener_count == 0;
    uint32_t level = atomic_load_explicit(&mta->node->stop_level, memory_order_relaxed);
    if (none_yet && level == 0 && mta->shard.now_ns < mta->listen_until_ns) {
        shard_timer_set(&mta->shard, timer, LISTEN_AGAIN_NS);
        return;
    }
    if (error != 0) {
        node_put_listen_error(&mta->reason, buf_slice(&where), error);
        mta_fail(mta, error, SLICE_NONE);
        return;
    }
    mta->stage = MTA_SERVING;
    node_http_look(mta); /* requests may come before the next turn */
    order_done(mta);
}

/*
 * The kernel closes the listeners of a killed process when it has undone its ring, which may be
 * after the process has ended: a second later on a busy machine. The next start waits for that.
 */
static void listen_order(struct shard *receiver, struct mail *mail)
{
    struct mta *mta = CONTAINER_OF(mail, struct mta, order);
    mta->listen_until_ns = receiver->now_ns + LISTEN_NS;
    listen_try(&mta->listen_timer);
}

/* --- mail shard: stop ------------------------------------------------------------------------- */

static void mta_drain(struct mta *mta)
{
    mta->stage = MTA_DRAINING;
    mta->drain_until_ns = mta->shard.now_ns + mta->node->options.conf->node.stop_timeout_ns;
    server_stop(&mta->server);
    http_server_stop(&mta->http);
    delivery_stop(&mta->delivery);
    site_book_stop(&mta->site_book);
    rewrite_stop(&mta->rewrite);
    rebind_shard_stop(&mta->node->control->rebind, mta->shard.index);
}

/* Everything is stored: now the event log gets what it does not have yet. */
static void mta_log(struct mta *mta)
{
    mta->stage = MTA_LOGGING;
    mta->log_until_ns = MAX_OF(mta->drain_until_ns, mta->shard.now_ns + LOGGING_NS);
    event_feed_flush(&mta->feed);
}

/* True: the event log has it all, durably; or it cannot, or may not, take longer: then the spool's
 * cursor stays where it is, and the next start goes on there. */
static bool mta_logged(struct mta *mta, uint32_t level)
{
    if (level >= 2 && !mta->hurried) {
        mta->hurried = true;
        mta->log_until_ns = MIN_OF(mta->log_until_ns, mta->shard.now_ns + LOGGING_NS);
    }
    return event_tap_settled(&mta->events) || mta->feed.lost ||
           mta->shard.now_ns >= mta->log_until_ns;
}

static void spool_stopped(void *context)
{
    struct mta *mta = context;
    mta->stage = MTA_FLUSHING;
}

/* Every turn of a stop: each stage ends by what it waits for, not by being told. */
static void mta_stop_step(struct deferred *deferred)
{
    struct mta *mta = CONTAINER_OF(deferred, struct mta, step);
    uint32_t level = atomic_load_explicit(&mta->node->stop_level, memory_order_relaxed);
    switch (mta->stage) {
    case MTA_SERVING:
        mta_drain(mta);
        return;
    case MTA_DRAINING:
        if (!mta->cut && (level >= 2 || mta->shard.now_ns >= mta->drain_until_ns)) {
            mta->cut = true;
            server_cut(&mta->server);
            http_server_cut(&mta->http);
            delivery_cut(&mta->delivery);
        }
        if (server_open(&mta->server) == 0 && http_server_open(&mta->http) == 0 &&
            delivery_open(&mta->delivery) == 0 && intake_open(&mta->intake) == 0 &&
            rewrite_open(&mta->rewrite) == 0 && site_book_idle(&mta->site_book) &&
            rebind_shard_open(&mta->node->control->rebind, mta->shard.index) == 0) {
            mta_log(mta);
        }
        return;
    case MTA_LOGGING:
        if (mta_logged(mta, level)) {
            event_tap_stop(&mta->events);
            mta->stage = MTA_LOGGED;
        }
        return;
    case MTA_LOGGED:
        if (event_tap_idle(&mta->events)) {
            mta->stage = MTA_CLOSING;
            spool_stop(mta->spool, spool_stopped, mta);
        }
        return;
    case MTA_FLUSHING:
        if (event_feed_idle(&mta->feed) && advice_tap_idle(&mta->advice)) {
            mta->stage = MTA_STOPPED;
            order_done(mta);
        }
        return;
    case MTA_WAITING:
    case MTA_REPLAYING:
    case MTA_PLACING:
    case MTA_TELLING:
    case MTA_ADOPTING:
    case MTA_PLACED:
    case MTA_REPLAYED:
    case MTA_CLOSING:
    case MTA_STOPPED:
        return;
    }
}

/* --- TSA shard: orders and answers ------------------------------------------------------------ */

static void node_set(struct node *node, enum node_state state)
{
    atomic_store_explicit(&node->state, state, memory_order_release);
}

void node_fail(struct node *node, struct slice reason)
{
    struct buf buf;
    if (node_state(node) == NODE_FAILED) {
        return;
    }
    buf_init(&buf, node->reason, sizeof(node->reason) - 1);
    buf_put(&buf, slice_first(reason, MIN_OF(reason.size, sizeof(node->reason) - 1)));
    node->reason[buf.size] = '\0';
    node_set(node, NODE_FAILED);
}

static void send_order(struct control *control, unsigned to, mail_arrive *arrive)
{
    struct mta *mta = &control->node->mtas[to];
    mta->order.arrive = arrive;
    control->waiting++;
    shard_send(&control->shard, to, &mta->order);
}

static void all_stopped(struct control *control)
{
    event_log_stop(control->log);
    publisher_stop(&control->publisher);
    subscriber_stop(&control->subscriber);
    rollup_stop(&control->rollup);
    site_finder_stop(&control->sites);
    resolver_stop(&control->resolver);
    advisor_stop(&control->advisor);
    admin_stop(&control->admin);
    inject_book_stop(&control->keys);
    explain_stop(&control->explain);
    rebind_stop(&control->rebind);
    http_events_stop(&control->http_events);
    metrics_source_stop(&control->metrics);
    queue_census_stop(&control->census);
    reload_stop(&control->reload);
    cell_store_stop(&control->limits);
}

static void send_all(struct control *control, mail_arrive *arrive)
{
    for (unsigned i = 0; i < control->node->shards; i++) {
        send_order(control, i, arrive);
    }
}

/* The shards wait meanwhile: their tables stand still. */
static bool sweep_holds(const struct spool_sweep *sweep, unsigned lane, uint32_t slot)
{
    const struct control *control = CONTAINER_OF(sweep, struct control, sweep);
    for (unsigned i = 0; i < control->node->shards; i++) {
        if (spool_holds(control->node->mtas[i].spool, lane, slot)) {
            return true;
        }
    }
    return false;
}

static void swept(struct spool_sweep *sweep)
{
    send_all(CONTAINER_OF(sweep, struct control, sweep), begin_order);
}

/* With a checkpoint lost nobody knows what is needed: all stays where it is. */
static void sweep_begin(struct control *control)
{
    const struct node *node = control->node;
    bool lost = false;
    for (unsigned i = 0; i < node->shards; i++) {
        lost = lost || spool_recovery(node->mtas[i].spool)->checkpoint_lost;
    }
    if (lost) {
        swept(&control->sweep);
        return;
    }
    control->sweep.done = swept;
    control->sweep.holds = sweep_holds;
    control->sweep.shard = &control->shard;
    control->sweep.path = node->options.conf->spool.path;
    control->sweep.manifest = &control->house.manifest;
    spool_sweep_start(&control->sweep);
}

static void house_switched(struct spool_house *house, int error, struct slice reason)
{
    struct control *control = CONTAINER_OF(house, struct control, house);
    if (error != 0) {
        node_fail(control->node, reason);
        return;
    }
    sweep_begin(control);
}

/* Every row has its place; every lane that is to be adopted has been, but for the last word. */
static void all_placed(struct control *control)
{
    if (control->house.manifest.lane_count > control->node->shards) {
        control->house.done = house_switched;
        spool_house_adopt(&control->house);
    } else {
        sweep_begin(control);
    }
}

/* A mail shard has done what it was told, or has stopped. */
static void order_home(struct shard *receiver, struct mail *mail)
{
    struct control *control = CONTAINER_OF(receiver, struct control, shard);
    struct node *node = control->node;
    struct mta *mta = CONTAINER_OF(mail, struct mta, order);
    control->waiting--;
    if (mta->error != 0) {
        node_fail(node, buf_slice(&mta->reason));
        return;
    }
    if (control->waiting > 0 || node_state(node) == NODE_FAILED) {
        return;
    }
    if (mta->stage == MTA_STOPPED) {
        all_stopped(control);
        return;
    }
    if (mta->stage == MTA_PLACED) {
        all_placed(control);
        return;
    }
    if (control->listening < node->shards) {
        if (control->listening == 0) {
            for (unsigned i = 0; i < node->shards; i++) {
                node->queued += node->mtas[i].recovery.recipients;
            }
        }
        send_order(control, control->listening++, listen_order);
        return;
    }
    /* All listen. The next mail that comes home says that its shard has stopped. */
    control->waiting = node->shards;
    rollup_start(&control->rollup, reload_conf(&control->reload));
    subscriber_start(&control->subscriber);
    node_set(node, NODE_READY);
}

static void order_done(struct mta *mta)
{
    mta->order.arrive = order_home;
    shard_send(&mta->shard, mta->node->shards, &mta->order);
}

static void http_listening(struct control *control)
{
    cell_store_load(&control->limits);
}

static void house_done(struct spool_house *house, int error, struct slice reason)
{
    struct control *control = CONTAINER_OF(house, struct control, house);
    if (error != 0) {
        node_fail(control->node, reason);
        return;
    }
    control->house_open = true;
    node_http_start(control, http_listening);
}

static void limits_loaded(struct cell_store *store)
{
    advisor_load(&CONTAINER_OF(store, struct control, limits)->advisor);
}

static void advisor_shaped(struct advisor *advisor, const struct shaping_overrides *overrides)
{
    CONTAINER_OF(advisor, struct control, advisor)->explain.overrides = overrides;
}

static void advisor_loaded(struct advisor *advisor)
{
    admin_load(advisor->admin);
}

static void admin_loaded(struct admin *admin, struct slice problem)
{
    struct control *control = CONTAINER_OF(admin, struct control, admin);
    if (problem.size > 0) {
        node_fail(control->node, problem);
        return;
    }
    inject_book_load(&control->keys);
}

static void keys_loaded(struct inject_book *keys, struct slice problem)
{
    struct control *control = CONTAINER_OF(keys, struct control, keys);
    if (problem.size > 0) {
        node_fail(control->node, problem);
        return;
    }
    send_all(control, spool_order);
}

static void limits_stopped(struct cell_store *store)
{
    CONTAINER_OF(store, struct control, limits)->limits_stopped = true;
}

/* The last step of a stop: whoever comes next may have the spool. */
static void house_closed(struct spool_house *house)
{
    node_set(CONTAINER_OF(house, struct control, house)->node, NODE_STOPPED);
}

/* --- TSA shard: reports ----------------------------------------------------------------------- */

static void report_ended(struct queue_report *report)
{
    ((struct control *)report->context)->report = NULL;
}

static void report_begin(struct control *control)
{
    struct node *node = control->node;
    struct queue_report *report =
        atomic_exchange_explicit(&node->report, NULL, memory_order_acquire);
    if (report == NULL) {
        return;
    }
    if (node_state(node) != NODE_READY) {
        queue_report_refuse(report);
        return;
    }
    control->report = report;
    report->context = control;
    report->ended = report_ended;
    for (unsigned i = 0; i < node->shards; i++) {
        report->parts[i].walk.delivery = &node->mtas[i].delivery;
    }
    queue_report_start(report, &control->shard);
}

static void control_step(struct deferred *deferred)
{
    struct control *control = CONTAINER_OF(deferred, struct control, step);
    struct node *node = control->node;
    if (!control->begun) {
        control->begun = true;
        publisher_load(&control->publisher);
        control->house.done = house_done;
        spool_house_start(&control->house, &control->shard, node->options.conf->spool.path,
                          node->shards);
        return;
    }
    report_begin(control);
    node_reload_look(control);
    if (node_state(node) == NODE_STOPPING) {
        event_log_hurry(control->log);
    }
    if (!control->finished && control->waiting == 0 && node_state(node) == NODE_STOPPING &&
        node_http_stopped(control) && event_log_stopped(control->log) &&
        control->limits_stopped && control->report == NULL && admin_idle(&control->admin) &&
        advisor_idle(&control->advisor) && publisher_idle(&control->publisher) &&
        subscriber_idle(&control->subscriber) &&
        explain_idle(&control->explain) && queue_census_idle(&control->census) &&
        trace_idle(&control->trace) && reload_idle(&control->reload) &&
        rebind_idle(&control->rebind) && resolver_idle(&control->resolver) &&
        rollup_idle(&control->rollup) && site_finder_idle(&control->sites) &&
        metrics_source_idle(&control->metrics) &&
        http_events_idle(&control->http_events) && inject_book_idle(&control->keys)) {
        control->finished = true;
        spool_house_close(&control->house, house_closed);
    }
}

/* --- turns ------------------------------------------------------------------------------------ */

unsigned node_thread_count(const struct node *node)
{
    return node->shards + 1;
}

static bool is_stopping(struct node *node)
{
    uint32_t ready = NODE_READY;
    if (atomic_load_explicit(&node->stop_level, memory_order_acquire) > 0) {
        atomic_compare_exchange_strong_explicit(&node->state, &ready, NODE_STOPPING,
                                                memory_order_acq_rel, memory_order_relaxed);
    }
    return node_state(node) == NODE_STOPPING;
}

/*
 * Pools whose memory was set aside at boot cost nothing until it is used; buffers of ring and spool
 * are in use all the time.
 */
static void mta_account(struct mta *mta)
{
    uint64_t *used = mta->shard.memory.used;
    used[ACCOUNT_GROUPS] = mta->spool != NULL ? spool_memory(mta->spool) : 0;
    used[ACCOUNT_BUFFERS] = ring_buffers_memory(mta->shard.ring);
    used[ACCOUNT_BLOCKS] = block_pool_used(mta->blocks);
    used[ACCOUNT_EVENTS] =
        event_feed_memory(&mta->feed) + event_replay_memory(&mta->events.replay);
    used[ACCOUNT_CONNECTIONS] =
        server_memory(&mta->server) + delivery_memory(&mta->delivery);
    used[ACCOUNT_DNS] = site_book_memory(&mta->site_book);
    used[ACCOUNT_HTTP] = http_server_memory(&mta->http) + inject_memory(&mta->inject);
    server_look(&mta->server);
    node_http_look(mta);
}

void node_turn(struct node *node, unsigned index, bool poll)
{
    bool stopping = is_stopping(node);
    if (index == node->shards) {
        bool asked = atomic_load_explicit(&node->report, memory_order_relaxed) != NULL ||
                     atomic_load_explicit(&node->reload_wanted, memory_order_relaxed);
        if (stopping || asked || !node->control->begun) {
            shard_defer(&node->control->shard, &node->control->step);
        }
        node_http_account(node->control);
        shard_turn(&node->control->shard, poll);
        return;
    }
    struct mta *mta = &node->mtas[index];
    if (stopping) {
        shard_defer(&mta->shard, &mta->step);
    }
    mta_account(mta);
    shard_turn(&mta->shard, poll);
}

bool node_finished(const struct node *node, unsigned index)
{
    enum node_state state = node_state(node);
    if (state == NODE_FAILED) {
        return true;
    }
    /* A mail shard turns until the whole node has stopped: its last mail is still on its way. */
    (void)index;
    return state == NODE_STOPPED;
}

enum node_state node_state(const struct node *node)
{
    return (enum node_state)atomic_load_explicit(&node->state, memory_order_acquire);
}

void node_stop(struct node *node, unsigned level)
{
    atomic_store_explicit(&node->stop_level, level, memory_order_release);
    for (unsigned i = 0; i < node_thread_count(node); i++) {
        ring_wake(node->peers[i]->ring);
    }
}

void node_report(struct node *node, struct queue_report *report)
{
    CHECK(report->shards == node->shards);
    atomic_store_explicit(&node->report, report, memory_order_release);
    ring_wake(node->peers[node->shards]->ring);
}

uint64_t node_counter(const struct node *node, enum counter counter)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < node_thread_count(node); i++) {
        sum += counters_get(&node->peers[i]->counters, counter);
    }
    return sum;
}

/* --- for node_boot.c -------------------------------------------------------------------------- */

void node_wire_mail(struct mta *mta)
{
    deferred_init(&mta->step, mta_stop_step);
    timer_init(&mta->listen_timer, listen_try);
    buf_init(&mta->reason, mta->reason_text, sizeof(mta->reason_text));
}

void node_wire_control(struct control *control)
{
    deferred_init(&control->step, control_step);
    control->limits.loaded = limits_loaded;
    control->limits.stopped = limits_stopped;
    control->advisor.loaded = advisor_loaded;
    control->advisor.shaped = advisor_shaped;
    control->admin.loaded = admin_loaded;
    control->keys.loaded = keys_loaded;
}
