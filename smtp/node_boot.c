/*
 * What a node consists of: made before its threads begin, and given back after they have ended. Who
 * does what between the two is in node.c.
 */
#include "smtp/node.h"

#include <errno.h>

#include "core/check.h"
#include "smtp/node_reload.h"

#define RING_ENTRIES     4096
#define RING_COMPLETIONS 32768
#define BUFFER_COUNT     512
#define BUFFER_BYTES     (16 * KIB)
#define TSA_BUFFER_COUNT 128 /* receive buffers of the TSA shard: HTTP and DNS */
#define JOBS_MAX         1024
#define GROUP_BYTES_MAX  (4 * MIB)
#define TICKETS_MAX      32768
#define QUEUES_MAX       (4u << 20)
#define ROWS_MAX         (64u << 20)
#define QUEUE_IDLE_NS    (600 * NS_PER_S)
#define FEED_BATCHES     32
#define SITE_BYTES       KIB        /* of a domain of which DNS has told, on average; and of what a
                                       mail shard knows of it */
#define SEARCHES_BYTES   (16 * MIB) /* of those that are being searched for */
#define CELLS_MAX        (1u << 20)
/* Of a thread's share of memory.limit injection may hold one part in so many. */
#define INJECT_MEMORY_PART 4
/* Of a thread's share of memory.limit, what it uses before the first client. */
#define FIXED_PERCENT_MAX 70

uint32_t node_group_bytes(const struct conf *conf)
{
    uint64_t bytes = MIN_OF(conf->memory.staging_bytes / 8, GROUP_BYTES_MAX);
    return (uint32_t)MAX_OF(bytes & ~(uint64_t)4095, MIB);
}

static int shard_boot(struct node *node, struct shard *shard, unsigned index, struct buf *reason)
{
    const struct ring_options rings = {
        .submit_entries = RING_ENTRIES,
        .complete_entries = RING_COMPLETIONS,
        .buffer_count = index == node->shards ? TSA_BUFFER_COUNT : BUFFER_COUNT,
        .buffer_bytes = BUFFER_BYTES,
        .world = node->options.world,
    };
    struct ring *ring;
    int error = ring_open(&rings, &ring, reason);
    if (error != 0) {
        return error;
    }
    const struct shard_options options = {
        .index = index,
        .count = node_thread_count(node),
        .ring = ring,
        .work = node->work,
        .peers = node->peers,
        .memory_limit = node->options.memory_bytes / node_thread_count(node),
    };
    node->peers[index] = shard;
    error = shard_init(shard, &options);
    if (error != 0) {
        buf_put_string(reason, "no memory for a shard");
    }
    return error;
}

static void feed_ready(struct event_feed *feed)
{
    event_tap_ready(&CONTAINER_OF(feed, struct mta, feed)->events);
}

static struct spool_position feed_mark(struct event_feed *feed)
{
    return event_tap_mark(&CONTAINER_OF(feed, struct mta, feed)->events);
}

static void feed_durable(struct event_feed *feed)
{
    event_tap_durable(&CONTAINER_OF(feed, struct mta, feed)->events);
}

static int mta_wire_events(struct mta *mta)
{
    const struct conf *conf = mta->node->options.conf;
    const struct event_feed_options feed = {
        .to = mta->node->shards,
        .arrive = event_log_arrive,
        .sink = mta->node->control->log,
        .batches = FEED_BATCHES,
        .heap = &mta->heap,
        .ready = feed_ready,
        .mark = feed_mark,
        .durable = feed_durable,
    };
    const struct event_tap_options tap = {
        .messages = &mta->messages,
        .feed = &mta->feed,
        .node = mta->node->options.id,
        .lanes = mta->node->shards,
        .backlog_max = conf->log.backlog_max,
        .conf = conf,
        .spool_path = conf->spool.path,
        .sink = mta->node->options.log,
        .pages = &mta->pages,
    };
    heap_init(&mta->heap);
    event_feed_init(&mta->feed, &mta->shard, &feed);
    return event_tap_init(&mta->events, &mta->shard, &tap);
}

/* As many domains as the node has names of, on each shard. */
static void sites_book_boot(struct mta *mta, const struct conf *conf)
{
    const struct site_book_options options = {
        .finder = &mta->node->control->sites,
        .domains_max = conf->dns.cache_size,
        .memory_max = (uint64_t)conf->dns.cache_size * SITE_BYTES,
        .changed = delivery_site_changed,
        .context = &mta->delivery,
    };
    site_book_init(&mta->site_book, &mta->shard, &mta->pages, &options);
}

static void mta_wire_mail(struct mta *mta)
{
    const struct conf *conf = mta->node->options.conf;
    mta->intake = (struct intake){
        .shard = &mta->shard,
        .messages = &mta->messages,
        .queues = &mta->queues,
        .events = &mta->events,
        .conf = conf,
        .ids = &mta->ids,
        .key = &mta->node->options.key,
    };
    intake_init(&mta->intake, &mta->pages, TICKETS_MAX);
    mta->notifier = (struct notifier){.shard = &mta->shard, .intake = &mta->intake};
    notifier_init(&mta->notifier, &mta->pages);
    mta->server = (struct server){
        .hosts = mta->node->hosts,
        .slots = mta->node->slots,
        .balance = {.loads = mta->node->loads, .shards = mta->node->shards},
        .shard = &mta->shard,
        .intake = &mta->intake,
        .blocks = block_pool_receiving(mta->blocks),
        .events = &mta->events,
        .trace = &mta->trace,
        .delivery = &mta->delivery,
        .conf = conf,
        .overload = {.shard = &mta->shard, .log = mta->node->options.log},
    };
    server_init(&mta->server, &mta->pages);
    sites_book_boot(mta, conf);
    mta->delivery = (struct delivery){
        .shard = &mta->shard,
        .conf = conf,
        .queues = &mta->queues,
        .messages = &mta->messages,
        .events = &mta->events,
        .trace = &mta->trace,
        .advice = &mta->advice,
        .notifier = &mta->notifier,
        .ids = &mta->ids,
        .site_book = &mta->site_book,
        .registry = &mta->node->control->cells,
        .registrar = mta->node->shards,
        .shards = mta->node->shards,
        .voids = &mta->node->control->keys.keys.voids,
    };
    delivery_init(&mta->delivery, &mta->pages);
    advice_tap_init(&mta->advice, &mta->shard, mta->node->shards, &mta->node->control->advisor,
                    &mta->pages);
    trace_tap_init(&mta->trace, &mta->shard, &mta->server, &mta->delivery);
    mta->rewrite.mover.shard = &mta->shard;
    mta->rewrite.mover.queues = &mta->queues;
    mta->rewrite.mover.messages = &mta->messages;
    rewrite_init(&mta->rewrite, &mta->pages);
    mta->inject.book = &mta->node->control->keys;
    inject_init(&mta->inject, &mta->server, mta->node->inject_rates,
                mta->shard.memory.limit / INJECT_MEMORY_PART, &mta->pages);
    node_http_init_mail(mta);
}

uint64_t node_memory_fixed(const struct conf *conf)
{
    return (uint64_t)BUFFER_COUNT * BUFFER_BYTES + spool_memory_for(node_group_bytes(conf));
}

/* A thread that is past its first watermark before its first client would serve nobody. */
static int check_memory(const struct node *node, const struct shard *shard, struct buf *reason)
{
    uint64_t least = node_memory_fixed(node->options.conf) / FIXED_PERCENT_MAX * 100;
    if (shard->memory.limit >= least) {
        return 0;
    }
    unsigned threads = node_thread_count(node);
    buf_printf(reason, "memory.limit is too small: %u threads and memory.staging want %llu MiB",
               threads, (unsigned long long)(least * threads / MIB + 1));
    return -ENOMEM;
}

static int mta_boot(struct node *node, unsigned index, struct buf *reason)
{
    struct mta *mta = &node->mtas[index];
    const struct conf *conf = node->options.conf;
    mta->node = node;
    node_wire_mail(mta);
    int error = shard_boot(node, &mta->shard, index, reason);
    error = error != 0 ? error : check_memory(node, &mta->shard, reason);
    if (error != 0) {
        return error;
    }
    uint64_t staging = conf->memory.staging_bytes;
    uint64_t groups = 2ull * node_group_bytes(conf);
    mta->blocks = block_pool_open(staging > 2 * groups ? staging - groups : groups);
    if (mta->blocks == NULL) {
        buf_put_string(reason, "no memory for memory.staging");
        return -ENOMEM;
    }
    block_pool_set_reserve(mta->blocks);
    uint32_t boot;
    ring_entropy(mta->shard.ring, &boot, sizeof(boot));
    id_source_init(&mta->ids, (uint16_t)index, boot % ID_BOOTS);
    uint32_t messages_max = (uint32_t)(block_pool_size(mta->blocks) / 2048);
    messages_init(&mta->messages, &mta->pages, mta->blocks, messages_max,
                  prng_next(&mta->shard.prng));
    const struct queues_options queues = {
        .rows_max = ROWS_MAX,
        .queues_max = QUEUES_MAX,
        .idle_ns = QUEUE_IDLE_NS,
        .options_bytes = sizeof(struct queue_options),
        .limit = conf->memory.queued_max > 0 ? node->queued_limit : NULL,
        .user = &delivery_queues_user,
        .context = &mta->delivery,
    };
    error = queues_init(&mta->queues, &mta->shard, &queues);
    if (error != 0) {
        buf_put_string(reason, "no memory for the queues");
        return error;
    }
    error = mta_wire_events(mta);
    if (error != 0) {
        buf_put_string(reason, "no memory for the event log");
        return error;
    }
    mta_wire_mail(mta);
    admin_shard_set(&node->control->admin, index, &mta->delivery);
    advisor_shard_set(&node->control->advisor, index, &mta->delivery);
    trace_shard_set(&node->control->trace, index, &mta->trace);
    rollup_shard_set(&node->control->rollup, index, &mta->delivery);
    rebind_shard_set(&node->control->rebind, index, &mta->delivery, &mta->pages);
    explain_shard_set(&node->control->explain, index, &mta->delivery, &mta->pages);
    queue_census_shard_set(&node->control->census, index, &mta->delivery);
    metrics_source_shard_set(&node->control->metrics, index, &mta->delivery);
    node_reload_init_mail(mta);
    return 0;
}

/* As many domains as names are kept: dns.cache_size is what an operator says of both. */
static void sites_boot(struct control *control, const struct conf *conf)
{
    const struct site_finder_options options = {
        .resolver = &control->resolver,
        .conf = conf,
        .domains_max = conf->dns.cache_size,
        .memory_max = SEARCHES_BYTES + (uint64_t)conf->dns.cache_size * SITE_BYTES,
    };
    site_finder_init(&control->sites, &control->shard, &control->pages, &options);
}

/* Others are told of records by all rules that the configuration has, whether they act here or
 * not. */
static void publisher_boot(struct control *control, const struct conf *conf)
{
    control->publisher.shard = &control->shard;
    control->publisher.resolver = &control->resolver;
    control->publisher.log = control->log;
    control->publisher.conf = &conf->tsa;
    control->publisher.dir = conf->node.state_dir;
    control->publisher.sink = control->node->options.log;
    control->publisher.heap = &control->heap;
    publisher_init(&control->publisher, &control->pages);
    publisher_use(&control->publisher, conf->shaping->rules);
}

static void subscriber_taking(struct subscriber *subscriber, uint64_t event_ns)
{
    advisor_taking(&CONTAINER_OF(subscriber, struct control, subscriber)->advisor, event_ns);
}

static void subscriber_taken(struct subscriber *subscriber)
{
    advisor_taken(&CONTAINER_OF(subscriber, struct control, subscriber)->advisor);
}

static void subscriber_boot(struct control *control, const struct conf *conf)
{
    control->subscriber.shard = &control->shard;
    control->subscriber.resolver = &control->resolver;
    control->subscriber.conf = &conf->tsa;
    control->subscriber.automation = &control->advisor.automation;
    control->subscriber.sink = control->node->options.log;
    control->subscriber.heap = &control->heap;
    control->subscriber.taking = subscriber_taking;
    control->subscriber.taken = subscriber_taken;
    subscriber_init(&control->subscriber, &control->pages);
}

static int control_boot(struct node *node, struct buf *reason)
{
    struct control *control = node->control;
    const struct conf *conf = node->options.conf;
    control->node = node;
    node_wire_control(control);
    heap_init(&control->heap);
    int error = shard_boot(node, &control->shard, node->shards, reason);
    if (error != 0) {
        return error;
    }
    struct event_log_options log = node_log_options(conf);
    log.sink = node->options.log;
    log.heap = &control->heap;
    control->log = event_log_open(&control->shard, &log);
    http_events_init(&control->http_events, &control->shard, event_log_ends(control->log),
                     &control->pages);
    node->hosts->seed = prng_next(&control->shard.prng);
    resolver_init(&control->resolver, &control->shard, &control->pages, &conf->dns);
    sites_boot(control, conf);
    rollup_init(&control->rollup, &control->shard, &control->pages, &control->sites,
                node->shards);
    cell_registry_init(&control->cells, &control->shard, &control->pages, CELLS_MAX);
    control->limits.log = node->options.log;
    cell_store_init(&control->limits, &control->cells, &control->pages, conf->node.state_dir);
    node_http_init_tsa(node);
    control->admin.log = node->options.log;
    admin_init(&control->admin, &control->shard, &control->pages, node->shards,
               conf->node.state_dir, (uint32_t)prng_next(&control->shard.prng));
    control->advisor.shard = &control->shard;
    control->advisor.admin = &control->admin;
    control->advisor.dir = conf->node.state_dir;
    control->advisor.database = conf->tsa.database;
    control->advisor.log = node->options.log;
    control->advisor.heap = &control->heap;
    advisor_init(&control->advisor, &control->pages, node->shards);
    advisor_use(&control->advisor, advice_rules(conf));
    publisher_boot(control, conf);
    subscriber_boot(control, conf);
    control->keys.log = node->options.log;
    control->keys.stop_level = &node->stop_level;
    inject_book_init(&control->keys, &control->shard, &control->pages, conf->node.state_dir);
    explain_init(&control->explain, &control->shard, &control->pages, node->shards);
    control->rebind.log = node->options.log;
    rebind_init(&control->rebind, &control->shard, &control->pages, node->shards);
    trace_init(&control->trace, &control->shard, &control->pages, node->shards);
    control->http_trace = http_trace_new(&control->pages);
    queue_census_init(&control->census, &control->shard, &control->pages, node->shards);
    const char *const disks[METRICS_DISKS] = {
        [METRICS_DISK_SPOOL] = conf->spool.path, [METRICS_DISK_LOG] = conf->log.path};
    metrics_source_init(&control->metrics, &control->shard, &control->census, &control->pages,
                        node->shards, disks);
    http_metrics_init(&control->http_metrics, &control->pages, &control->metrics);
    http_admin_init(&control->http_admin, &control->pages, &control->admin, &control->explain,
                    &control->rebind, &control->census);
    http_automation_init(&control->http_automation, &control->pages, &control->advisor);
    node_reload_init_tsa(control);
    return 0;
}

int node_open(struct node *node, const struct node_options *options)
{
    struct buf reason;
    *node = (struct node){.options = *options, .shards = options->shards};
    buf_init(&reason, node->reason, sizeof(node->reason) - 1);
    CHECK(options->shards >= 1 && options->shards < SHARDS_MAX);
    node->mtas = boot_pages_take(&node->pages, options->shards * sizeof(struct mta));
    node->control = boot_pages_take(&node->pages, sizeof(struct control));
    node->slots = boot_pages_take(&node->pages, SERVER_LISTENERS_MAX * sizeof(struct cell));
    node->inject_rates = boot_pages_take(&node->pages, HTTP_LISTENERS_MAX * sizeof(struct cell));
    node->hosts = boot_pages_take(&node->pages, sizeof(struct server_hosts));
    node->loads = boot_pages_take(&node->pages, options->shards * sizeof(struct server_load));
    node->queued_limit = boot_pages_take(&node->pages, sizeof(struct queues_limit));
    node->queued_limit->max = (uint32_t)options->conf->memory.queued_max;
    int error = work_open(options->world, JOBS_MAX, &node->work);
    if (error != 0) {
        buf_put_string(&reason, "cannot start worker threads");
    } else {
        error = control_boot(node, &reason);
    }
    for (unsigned i = 0; i < options->shards && error == 0; i++) {
        error = mta_boot(node, i, &reason);
    }
    node->reason[reason.size] = '\0';
    return error;
}

static void mta_close(struct mta *mta)
{
    if (mta->spool != NULL) {
        spool_close(mta->spool);
    }
    server_fini(&mta->server);
    http_server_fini(&mta->http);
    inject_fini(&mta->inject);
    delivery_fini(&mta->delivery);
    site_book_fini(&mta->site_book);
    rewrite_fini(&mta->rewrite);
    rebind_shard_fini(&mta->node->control->rebind, mta->shard.index);
    event_tap_fini(&mta->events);
    advice_tap_fini(&mta->advice);
    deferred_cancel(&mta->step);
    queues_fini(&mta->queues);
    shard_fini(&mta->shard);
    block_pool_close(mta->blocks);
    boot_pages_give(&mta->pages);
    heap_fini(&mta->heap);
}

void node_close(struct node *node)
{
    CHECK(node_state(node) == NODE_STOPPED);
    work_close(node->work);
    for (unsigned i = 0; i < node->shards; i++) {
        mta_close(&node->mtas[i]);
    }
    deferred_cancel(&node->control->step);
    advisor_fini(&node->control->advisor);
    publisher_fini(&node->control->publisher);
    subscriber_fini(&node->control->subscriber);
    admin_fini(&node->control->admin);
    inject_book_fini(&node->control->keys);
    explain_fini(&node->control->explain);
    rebind_fini(&node->control->rebind);
    metrics_source_fini(&node->control->metrics);
    queue_census_fini(&node->control->census);
    reload_fini(&node->control->reload);
    rollup_fini(&node->control->rollup);
    site_finder_fini(&node->control->sites);
    resolver_fini(&node->control->resolver);
    cell_registry_fini(&node->control->cells);
    http_trace_fini(node->control->http_trace);
    http_server_fini(&node->control->http.server);
    shard_fini(&node->control->shard);
    boot_pages_give(&node->control->pages);
    heap_fini(&node->control->heap);
    boot_pages_give(&node->pages);
}
