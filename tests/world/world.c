#include "tests/world/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "shard/spool/record.h"
#include "smtp/server_conn.h"
#include "smtp/transfer.h"
#include "tests/kit/conf_kit.h"

#define DISK_BYTES   (512 * MIB)
#define START_NS     (600 * NS_PER_S)
#define STOP_NS      (300 * NS_PER_S)
#define STARTS_MAX   30
#define WATCH_NS     (5 * NS_PER_S)

/* --- making ----------------------------------------------------------------------------------- */

void world_set(struct world *world, const char *format, ...)
{
    va_list arguments;
    CHECK(world->set_count < WORLD_SETS_MAX);
    char *text = world->set_texts[world->set_count];
    va_start(arguments, format);
    int size = vsnprintf(text, WORLD_SET_BYTES, format, arguments);
    va_end(arguments);
    CHECK(size > 0 && size < WORLD_SET_BYTES);
    world->sets[world->set_count++] = text;
}

void world_init(struct world *world, struct sim *sim)
{
    *world = (struct world){
        .sim = sim,
        .shards = 1,
        .shards_least = SHARDS_MAX,
        .memory_bytes = 256 * MIB,
        .think_ns = 5 * NS_PER_MS,
        .body_bytes_max = 9000,
        .large = 60,
        .recipients_max = 4,
        .domains = WORLD_DOMAINS,
        .window_ns = 7 * NS_PER_MS,
        .settle_ns = 7200 * NS_PER_S,
    };
    list_init(&world->conns);
    list_init(&world->notice_conns);
    world_set(world, "node.hostname=mta.test");
    world_set(world, "smtp_listener.0.listen=10.0.0.1:25");
    world_set(world, "smtp_listener.0.relay_hosts=[\"10.0.0.0/16\"]");
    world_set(world, "smtp_listener.0.max_connections=64");
    world_set(world, "http_listener.0.listen=10.0.0.1:8000");
    world_set(world, "http_listener.0.trusted_hosts=[\"10.0.0.0/16\"]");
    world_set(world, "spool.segment_size=2MiB");
    world_set(world, "spool.min_free_space=0");
    world_set(world, "spool.recovery_spread=1s");
    world_set(world, "memory.staging=4MiB");
    world_set(world, "log.retention=36500 days"); /* whatever the clock does */
    world_set(world, "queues.queue.default.retry_interval=1s");
    world_set(world, "queues.queue.default.max_retry_interval=4s");
    world_set(world, "queues.queue.\"d0.test\".protocol={smtp={mx_list=[\"[10.0.3.0]:25\"]}}");
    world_set(world, "queues.queue.\"d1.test\".protocol={smtp={mx_list=[\"[10.0.3.0]:25\"]}}");
    world_set(world, "queues.queue.\"d2.test\".protocol="
                     "{smtp={mx_list=[\"[10.0.3.1]:25\",\"[10.0.3.0]:25\"]}}");
    world_set(world, "queues.queue.\"client.test\".protocol="
                     "{smtp={mx_list=[\"[10.0.3.%d]:25\"]}}", WORLD_SINKS);
}

void world_short_timeouts(struct world *world)
{
    static const char *const names[] = {"connect_timeout", "banner_timeout", "ehlo_timeout",
                                        "mail_from_timeout", "rcpt_to_timeout", "data_timeout",
                                        "data_dot_timeout"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        world_set(world, "shaping.default.%s=10s", names[i]);
    }
}

void world_log_vary(struct world *world)
{
    static const char *const intervals[] = {"10ms", "100ms", "1s", "5s"};
    world_set(world, "log.flush_interval=%s",
              intervals[sim_below(world->sim, COUNT_OF(intervals))]);
    if (sim_chance(world->sim, 300)) {
        world_set(world, "log.max_file_size=1MiB");
    }
    if (sim_chance(world->sim, 500)) {
        world_set(world, "log.meta=[\"*\"]");
        world_set(world, "log.headers=[\"*\"]");
    }
}

static void load_conf(struct world *world)
{
    static const char *const no_files[] = {NULL};
    char said[4096];
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .sets = world->sets,
        .set_count = world->set_count,
        .hostname = SLICE(SIM_HOSTNAME),
        .read = conf_kit_read, /* there are no files, of time zones neither */
        .read_context = (void *)(uintptr_t)no_files,
    };
    buf_init(&messages.text, said, sizeof(said) - 1);
    world->conf = conf_load(&input, &messages);
    said[messages.text.size] = '\0';
    if (world->conf == NULL) {
        fprintf(stderr, "%s", said);
    }
    CHECK(world->conf != NULL);
}

static void watch(void *context)
{
    struct world *world = context;
    for (unsigned i = 0; i < world->client_count; i++) {
        world_client_watch(&world->clients[i]);
    }
    sim_after(world->sim, WATCH_NS, watch, world);
}

void world_open(struct world *world)
{
    load_conf(world);
    if (world->segment_bytes > 0) {
        world->conf->spool.segment_bytes = world->segment_bytes;
    }
    world->disk = sim_disk_open(world->sim, DISK_BYTES);
    CHECK(sim_disk_make_dir(world->disk, "var") == 0);
    CHECK(sim_disk_make_dir(world->disk, "var/log") == 0);
    world->process = sim_node_open(world->sim, world->disk);
    world_sink_open(world);
    world_notices_open(world);
    sim_after(world->sim, WATCH_NS, watch, world);
}

/* --- lives of the node ------------------------------------------------------------------------ */

static void node_line(void *context, struct slice line)
{
    struct world *world = context;
    size_t size = MIN_OF(line.size, sizeof(world->log_line) - 1);
    memcpy(world->log_line, line.data, size);
    world->log_line[size] = '\0';
    if (getenv("VERBOSE") != NULL) {
        fprintf(stderr, "%llu.%06llu %s", (unsigned long long)(sim_now_ns(world->sim) / NS_PER_S),
                (unsigned long long)(sim_now_ns(world->sim) / 1000 % 1000000), world->log_line);
    }
}

static void turn(void *context)
{
    const struct turner *turner = context;
    node_turn(&turner->world->node, turner->index, false);
}

void world_boot(struct world *world)
{
    const struct node_options options = {
        .conf = world->conf,
        .conf_file = world->conf_file,
        .conf_sets = world->sets,
        .conf_set_count = world->sets_kept,
        .log = {.put = node_line, .context = world},
        .id = {.bytes = {1}},
        .key = {.bytes = "what is known to nobody else"},
        .shards = world->shards,
        .memory_bytes = world->memory_bytes,
        .files_kept = 2, /* of a log that is never long here */
        .world = world->process,
    };
    CHECK(world->shards <= WORLD_SHARDS_MAX);
    int error = node_open(&world->node, &options);
    CHECK(error == 0);
    world->running = true;
    world->started_ns = sim_now_ns(world->sim);
    world->shards_least = MIN_OF(world->shards_least, world->shards);
    world->shards_most = MAX_OF(world->shards_most, world->shards);
    for (unsigned i = 0; i < node_thread_count(&world->node); i++) {
        world->turners[i] = (struct turner){.world = world, .index = i};
        sim_actor_set(world->node.peers[i]->ring, turn, &world->turners[i]);
    }
}

static bool has_started(void *context)
{
    enum node_state state = node_state(&((struct world *)context)->node);
    return state == NODE_READY || state == NODE_FAILED;
}

/* What a process takes with it: memory. Rings and workers have gone with the simulated process. */
static void shard_drop(struct shard *shard)
{
    boot_memory_give(shard->inboxes, shard->count * sizeof(struct mailbox));
    shard->inboxes = NULL;
}

static void node_drop(struct node *node)
{
    for (unsigned i = 0; i < node->shards; i++) {
        struct mta *mta = &node->mtas[i];
        if (mta->spool != NULL) {
            spool_close(mta->spool);
        }
        recovery_fini(&mta->recovery);
        http_server_fini(&mta->http);
        inject_fini(&mta->inject);
        metered_fini(&mta->site_book.memory);
        path_book_fini(&mta->delivery.paths);
        queues_fini(&mta->queues);
        shard_drop(&mta->shard);
        block_pool_close(mta->blocks);
        heap_fini(&mta->heap);
        boot_pages_give(&mta->pages);
    }
    spool_sweep_fini(&node->control->sweep);
    http_trace_fini(node->control->http_trace);
    advisor_fini(&node->control->advisor);
    reload_fini(&node->control->reload);
    http_server_fini(&node->control->http.server);
    inject_book_fini(&node->control->keys);
    rollup_fini(&node->control->rollup);
    site_finder_fini(&node->control->sites);
    resolver_fini(&node->control->resolver);
    shard_drop(&node->control->shard);
    heap_fini(&node->control->heap);
    boot_pages_give(&node->control->pages);
    boot_pages_give(&node->pages);
}

static void world_end(struct world *world)
{
    sim_node_kill(world->process);
    node_drop(&world->node);
    world->running = false;
}

/* A start that fails for want of a descriptor or of space, or by a lock that lingers, is tried
 * again, as a supervisor would. */
bool world_start(struct world *world)
{
    for (unsigned i = 0; i < STARTS_MAX; i++) {
        world_boot(world);
        if (!sim_run_until(world->sim, has_started, world, START_NS)) {
            sim_fail(world->sim, "the node does not start; last line: %s", world->log_line);
            return false;
        }
        if (node_state(&world->node) == NODE_READY) {
            world->spool_uuid = world->node.control->house.uuid;
            return true;
        }
        if (!world->lossy && sim_fault_rate(world->sim, SIM_FAULT_no_space) == 0) {
            break;
        }
        world_life_over(world); /* a shard may have delivered mail before another one failed */
        world_end(world);
        if (!sim_run_for(world->sim, 200 * NS_PER_MS)) {
            return false;
        }
    }
    sim_fail(world->sim, "the node fails to start: %s", world->node.reason);
    return false;
}

void world_crash(struct world *world, bool power)
{
    CHECK(world->running);
    world_life_over(world);
    world->tally.crashes++;
    world->tally.power_cuts += power;
    for (unsigned phase = 0; phase < PHASES_COUNT; phase++) {
        world->tally.phases[phase] += world_phase(world, (enum world_phase)phase);
    }
    if (power) {
        sim_node_power_cut(world->process);
        world_sink_cut(world);
        world_notices_cut(world);
        for (unsigned i = 0; i < world->client_count; i++) {
            world_client_cut(&world->clients[i]);
        }
    } else {
        sim_node_kill(world->process);
    }
    node_drop(&world->node);
    world->running = false;
}

void world_close(struct world *world)
{
    if (world->running) {
        world_end(world);
    }
    world_sink_free(world);
    world_notices_free(world);
    conf_free(world->conf);
    free(world->messages);
}

/* --- a clean stop ----------------------------------------------------------------------------- */

static bool has_stopped(void *context)
{
    return node_state(&((struct world *)context)->node) == NODE_STOPPED;
}

/* A rate that nobody uses stays until its bucket is full. */
static uint32_t cells_in_use(const struct cell_registry *registry)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < registry->cells.fresh; i++) {
        count += pool_is_taken(&registry->cells, i) && cell_users(pool_at(&registry->cells, i)) > 0;
    }
    return count;
}

static void expect_zero(struct world *world, unsigned shard, const char *what, uint64_t value)
{
    if (value != 0) {
        sim_fail(world->sim, "after the stop shard %u has %s=%llu", shard, what,
                 (unsigned long long)value);
    }
}

static void check_mta(struct world *world, unsigned i)
{
    const struct mta *mta = &world->node.mtas[i];
    uint32_t rows = mta->queues.rows.used;
    expect_zero(world, i, "server connections", mta->server.conns.used);
    expect_zero(world, i, "client connections", mta->delivery.conns.used);
    expect_zero(world, i, "transfers", mta->delivery.transfers.used);
    expect_zero(world, i, "tickets", mta->intake.tickets.used);
    if (rows == 0) {
        expect_zero(world, i, "messages", mta->messages.pool.used);
        expect_zero(world, i, "block bytes", block_pool_used(mta->blocks));
    }
}

static void check_shard(struct world *world, unsigned i)
{
    struct shard *shard = world->node.peers[i];
    const char *what = "";
    expect_zero(world, i, "lost_wakeups", counters_get(&shard->counters, COUNTER_lost_wakeups));
    expect_zero(world, i, "cq_overflows", ring_counts(shard->ring)->cq_overflows);
    if (!sim_ring_idle(shard->ring, &what)) {
        sim_fail(world->sim, "after the stop, shard %u: %s", i, what);
    }
}

void world_stopped(struct world *world)
{
    const char *what = "";
    if (!sim_run_until(world->sim, has_stopped, world, STOP_NS)) {
        sim_fail(world->sim, "the node does not stop");
        return;
    }
    for (unsigned i = 0; i < world->shards; i++) {
        check_mta(world, i);
    }
    for (unsigned i = 0; i <= world->shards; i++) {
        check_shard(world, i);
    }
    if (atomic_load_explicit(&world->node.stop_level, memory_order_relaxed) > 1) {
        world_life_cut(world);
        if (world->lossy && world_counter(world, COUNTER_commit_failures) > 0) {
            world_life_broken(world); /* outcomes of the last group may not have been stored */
        }
    }
    world_counts_add(world);
    expect_zero(world, world->shards, "cells", cells_in_use(&world->node.control->cells));
    if (sim_failed(world->sim)) {
        return;
    }
    node_close(&world->node);
    world->running = false;
    if (!sim_node_idle(world->process, &what)) {
        sim_fail(world->sim, "after the stop %s", what);
    }
}

void world_stop(struct world *world, unsigned level)
{
    node_stop(&world->node, level);
    world_stopped(world);
}

/* --- waiting ---------------------------------------------------------------------------------- */

bool world_handed_in(void *context)
{
    const struct world *world = context;
    for (unsigned i = 0; i < world->client_count; i++) {
        if (!world->clients[i].done) {
            return false;
        }
    }
    return true;
}

uint32_t world_rows(const struct world *world)
{
    uint32_t rows = 0;
    for (unsigned i = 0; i < world->shards; i++) {
        rows += world->node.mtas[i].queues.rows.used;
    }
    return rows;
}

bool world_drained(void *context)
{
    return world_handed_in(context) && world_rows(context) == 0;
}

void world_settle(struct world *world)
{
    sim_faults_stop(world->sim);
    world->mood = (struct sink_mood){.plain = world->mood.plain};
    world->stubborn = 0;
    if (!sim_run_until(world->sim, world_drained, world, world->settle_ns)) {
        sim_fail(world->sim, "no progress: %u rows are left, clients are %s", world_rows(world),
                 world_handed_in(world) ? "done" : "not done");
    }
}

void world_finish(struct world *world)
{
    world_settle(world);
    world_judge(world);
    if (!sim_failed(world->sim)) {
        world_stop(world, 1);
    }
    if (!sim_failed(world->sim)) {
        world_events_judge(world);
    }
}

uint64_t world_counter(const struct world *world, enum counter counter)
{
    return node_counter(&world->node, counter);
}

/* --- the disk --------------------------------------------------------------------------------- */

static uint64_t lane_reused(struct world *world, unsigned lane)
{
    char names[8192];
    char path[512];
    uint64_t used = 0;
    uint64_t highest = 0;
    snprintf(path, sizeof(path), "var/spool/lane-%03u", lane);
    unsigned count = sim_disk_list(world->disk, path, names, sizeof(names));
    const char *name = names;
    for (unsigned i = 0; i < count; i++) {
        uint8_t page[RECORD_PAGE_BYTES];
        struct record_segment segment;
        snprintf(path, sizeof(path), "var/spool/lane-%03u/%.200s", lane, name);
        name += strlen(name) + 1;
        if (sim_disk_get(world->disk, path, 0, page, sizeof(page)) == sizeof(page) &&
            record_segment_get(slice_make(page, sizeof(page)), &segment)) {
            used++;
            highest = MAX_OF(highest, segment.number);
        }
    }
    return highest > used ? highest - used : 0;
}

uint64_t world_segments_reused(struct world *world)
{
    uint64_t reused = 0;
    for (unsigned i = 0; i < world->shards; i++) {
        reused += lane_reused(world, i);
    }
    return reused;
}
