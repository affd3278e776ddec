#include "smtp/http_metrics.h"

#include "core/check.h"
#include "core/exposition.h"
#include "smtp/node.h"

#define SCRAPES_MAX 16u
#define NAME_BYTES  96
/* Of an answer: all that is no queue; and a sample without the value of its label. */
#define FIXED_BYTES  (128 * KIB)
#define SAMPLE_BYTES 96u

#define JSON_TYPE SLICE("application/json")

struct scrape {
    struct metrics_request request;
    struct http_exchange *exchange; /* answered once */
    struct http_metrics *metrics;
    enum exposition_form form;
    struct buf prefix;
    uint8_t prefix_memory[NAME_BYTES];
};

/* --- what the TSA shard knows ----------------------------------------------------------------- */

static void put_gauge(struct exposition *to, const char *name, const char *help, uint64_t value)
{
    const struct metric metric = {.name = name, .type = "gauge", .help = help};
    if (exposition_metric(to, &metric)) {
        exposition_sample(to, SLICE_NONE, value);
    }
}

/* KumoMTA's, which count a message for each recipient, as our counters of recipients do. */
static void put_known(struct exposition *to, const struct node *node)
{
    static const struct {
        struct metric metric;
        const char *service;
        enum counter counter;
    } rows[] = {
        {{"total_connections_denied", "counter", "Connections that were refused.", "service"},
         "esmtp_listener", COUNTER_connections_refused},
        {{"total_messages_delivered", "counter", "Recipients that were delivered.", "service"},
         "smtp_client", COUNTER_deliveries},
        {{"total_messages_transfail", "counter", "Attempts that failed for now.", "service"},
         "smtp_client", COUNTER_transient_failures},
        {{"total_messages_fail", "counter", "Attempts that failed for good.", "service"},
         "smtp_client", COUNTER_bounces},
    };
    static const struct metric connections = {"total_connection_count", "counter",
                                              "Connections since the start.", "service"};
    static const struct metric received = {"total_messages_received", "counter",
                                           "Recipients that mail was taken for.", "service"};
    if (exposition_metric(to, &connections)) {
        exposition_sample(to, SLICE("esmtp_listener"), node_counter(node, COUNTER_connections_in));
        exposition_sample(to, SLICE("smtp_client"), node_counter(node, COUNTER_connections_out));
    }
    if (exposition_metric(to, &received)) {
        exposition_sample(to, SLICE("esmtp_listener"), node_counter(node, COUNTER_recipients_smtp));
        exposition_sample(to, SLICE("http_listener"), node_counter(node, COUNTER_recipients_http));
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (exposition_metric(to, &rows[i].metric)) {
            exposition_sample(to, slice_from_string(rows[i].service),
                              node_counter(node, rows[i].counter));
        }
    }
}

static void put_state(struct exposition *to, const struct node *node)
{
    put_gauge(to, "ringpost_ready", "1: recovered, listening, not stopping.",
              node_state(node) == NODE_READY);
    put_gauge(to, "ringpost_shards", "Threads that carry mail.", node->shards);
    put_gauge(to, "ringpost_dns_cached", "Names and types that the resolver knows.",
              resolver_cached(&node->control->resolver));
    put_gauge(to, "ringpost_dns_in_flight", "Questions that it is asking.",
              resolver_in_flight(&node->control->resolver));
    put_gauge(to, "ringpost_sites", "Sites that DNS has told of, and domains without one.",
              site_finder_sites(&node->control->sites));
}

/* 66 us to nine minutes. */
static void put_automation(struct exposition *to, const struct advisor *advisor)
{
    static const struct metric reaction = {
        "ringpost_rule_reaction_seconds", "histogram",
        "From a reply that a rule acts on until all threads obey.", "scope"};
    const struct automation_stats *stats = &advisor->automation.stats;
    const uint64_t *changes = stats->changes;
    put_gauge(to, "ringpost_automation_effects", "What rules have in force.",
              changes[AUTOMATION_BEGUN] - changes[AUTOMATION_CANCELLED] -
                  changes[AUTOMATION_EXPIRED]);
    if (exposition_metric(to, &reaction)) {
        exposition_histogram(to, SLICE("shard"), &advisor->reaction, EXPOSITION_NANOSECONDS, 16,
                             39);
        exposition_histogram(to, SLICE("remote"), &advisor->remote, EXPOSITION_NANOSECONDS, 16,
                             39);
    }
}

enum heard { HEARD_CONNECTED, HEARD_CHANGES, HEARD_SNAPSHOTS, HEARD_GAPS, HEARD_REFUSED,
             HEARD_FAILURES, HEARD_FIGURES };

static uint64_t of_subscription(const struct subscriber_url *url, enum heard figure)
{
    const uint64_t figures[] = {
        [HEARD_CONNECTED] = url->well,              [HEARD_CHANGES] = url->counts.changes,
        [HEARD_SNAPSHOTS] = url->counts.snapshots,  [HEARD_GAPS] = url->counts.gaps,
        [HEARD_REFUSED] = url->counts.refused,      [HEARD_FAILURES] = url->counts.failures,
    };
    return figures[figure];
}

static void put_subscriber(struct exposition *to, const struct subscriber *subscriber)
{
    static const struct metric rows[HEARD_FIGURES] = {
        [HEARD_CONNECTED] = {"ringpost_subscribe_connected", "gauge",
                             "1: what this URL says is heard.", "url"},
        [HEARD_CHANGES] = {"ringpost_subscribe_changes_total", "counter",
                           "Changes that this URL has told.", "url"},
        [HEARD_SNAPSHOTS] = {"ringpost_subscribe_snapshots_total", "counter",
                             "Times that it has told all that it has in force.", "url"},
        [HEARD_GAPS] = {"ringpost_subscribe_gaps_total", "counter",
                        "Gaps in its numbers, each followed by a snapshot.", "url"},
        [HEARD_REFUSED] = {"ringpost_subscribe_refused_total", "counter",
                           "Changes that could not be taken.", "url"},
        [HEARD_FAILURES] = {"ringpost_subscribe_failures_total", "counter",
                            "Connections that were not made, or ended.", "url"},
    };
    for (unsigned figure = 0; figure < HEARD_FIGURES; figure++) {
        bool wanted = exposition_metric(to, &rows[figure]);
        for (unsigned i = 0; wanted && i < subscriber->count; i++) {
            exposition_sample(to, subscriber->urls[i].url->text,
                              of_subscription(&subscriber->urls[i], (enum heard)figure));
        }
    }
}

enum published { PUBLISHED, PUBLISH_REJECTED, PUBLISH_EXPIRED, PUBLISH_FAILURES, PUBLISH_LOST,
                 PUBLISH_LAG, PUBLISH_FIGURES };

static uint64_t of_url(const struct publisher_url *url, enum published figure)
{
    const uint64_t figures[] = {
        [PUBLISHED] = url->counts.published,       [PUBLISH_REJECTED] = url->counts.rejected,
        [PUBLISH_EXPIRED] = url->counts.expired,   [PUBLISH_FAILURES] = url->counts.failures,
        [PUBLISH_LOST] = url->counts.lost,         [PUBLISH_LAG] = publisher_lag_ns(url) / NS_PER_S,
    };
    return figures[figure];
}

static void put_publisher(struct exposition *to, const struct publisher *publisher)
{
    static const struct metric rows[PUBLISH_FIGURES] = {
        [PUBLISHED] = {"ringpost_publish_records_total", "counter",
                       "Records that this URL has taken.", "url"},
        [PUBLISH_REJECTED] = {"ringpost_publish_rejected_total", "counter",
                              "Records of these that it found to be none.", "url"},
        [PUBLISH_EXPIRED] = {"ringpost_publish_expired_total", "counter",
                             "Records left out, as their rules would have ended by then.", "url"},
        [PUBLISH_FAILURES] = {"ringpost_publish_failures_total", "counter",
                              "Batches that it did not take, to be offered again.", "url"},
        [PUBLISH_LOST] = {"ringpost_publish_lost_total", "counter",
                          "Times that the log had lost what it was to be told.", "url"},
        [PUBLISH_LAG] = {"ringpost_publish_lag_seconds", "gauge",
                         "How long the oldest record waits that it was not told of.", "url"},
    };
    for (unsigned figure = 0; figure < PUBLISH_FIGURES; figure++) {
        bool wanted = exposition_metric(to, &rows[figure]);
        for (unsigned i = 0; wanted && i < publisher->count; i++) {
            exposition_sample(to, publisher->urls[i].url->text,
                              of_url(&publisher->urls[i], (enum published)figure));
        }
    }
}

static void put_counters(struct exposition *to, const struct node *node)
{
    uint8_t name_memory[NAME_BYTES];
    uint8_t help_memory[NAME_BYTES];
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        struct buf name;
        struct buf help;
        buf_init(&name, name_memory, sizeof(name_memory));
        buf_printf(&name, "ringpost_%s_total", counter_name((enum counter)i));
        buf_put_byte(&name, 0);
        buf_init(&help, help_memory, sizeof(help_memory));
        buf_printf(&help, "The counter %s of event=stopped.", counter_name((enum counter)i));
        buf_put_byte(&help, 0);
        CHECK(!name.overflow && !help.overflow);
        const struct metric metric = {
            .name = (const char *)name_memory,
            .type = "counter",
            .help = (const char *)help_memory,
        };
        if (exposition_metric(to, &metric)) {
            exposition_sample(to, SLICE_NONE, node_counter(node, (enum counter)i));
        }
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

enum thread_figure {
    THREAD_RECEIVED,
    THREAD_DELIVERED,
    THREAD_TRANSFAIL,
    THREAD_FAIL,
    THREAD_CLIENTS,
    THREAD_BUSY,
    THREAD_FIGURES,
};

static uint64_t of_thread(const struct node *node, unsigned index, enum thread_figure figure)
{
    static const enum counter counters[] = {
        [THREAD_RECEIVED] = COUNTER_recipients_received,
        [THREAD_DELIVERED] = COUNTER_deliveries,
        [THREAD_TRANSFAIL] = COUNTER_transient_failures,
        [THREAD_FAIL] = COUNTER_bounces,
    };
    const struct server_load *load = &node->loads[index];
    if (figure == THREAD_CLIENTS) {
        return atomic_load_explicit(&load->clients, memory_order_relaxed);
    }
    if (figure == THREAD_BUSY) {
        uint64_t busy = atomic_load_explicit(&load->busy, memory_order_relaxed);
        return busy * 100 / SERVER_LOAD_ONE;
    }
    return counters_get(&node->peers[index]->counters, counters[figure]);
}

static void put_threads(struct exposition *to, const struct node *node)
{
    static const struct metric rows[THREAD_FIGURES] = {
        [THREAD_RECEIVED] = {"ringpost_thread_recipients_received_total", "counter",
                             "Recipients that mail was taken for, by thread.", "thread"},
        [THREAD_DELIVERED] = {"ringpost_thread_deliveries_total", "counter",
                              "Recipients that were delivered, by thread.", "thread"},
        [THREAD_TRANSFAIL] = {"ringpost_thread_transient_failures_total", "counter",
                              "Attempts that failed for now, by thread.", "thread"},
        [THREAD_FAIL] = {"ringpost_thread_bounces_total", "counter",
                         "Attempts that failed for good, by thread.", "thread"},
        [THREAD_CLIENTS] = {"ringpost_thread_clients", "gauge",
                            "Connections of clients, by thread.", "thread"},
        [THREAD_BUSY] = {"ringpost_thread_busy_percent", "gauge",
                         "Part of its last second in which a thread did not sleep.", "thread"},
    };
    uint8_t memory[NAME_BYTES];
    struct buf thread;
    for (unsigned figure = 0; figure < THREAD_FIGURES; figure++) {
        bool wanted = exposition_metric(to, &rows[figure]);
        for (unsigned i = 0; wanted && i < node->shards; i++) {
            buf_init(&thread, memory, sizeof(memory));
            buf_printf(&thread, "shard-%u", i);
            exposition_sample(to, buf_slice(&thread),
                              of_thread(node, i, (enum thread_figure)figure));
        }
    }
}

/* --- what is collected ------------------------------------------------------------------------ */

enum collected {
    SCHEDULED_COUNT,
    SCHEDULED_COUNT_TOTAL,
    SCHEDULED_QUEUE_COUNT,
    QUEUED_BY_PROVIDER,
    REASON_QUEUES,
    REASON_RECIPIENTS,
    READY_COUNT,
    MEMORY_USAGE,
    MEMORY_LIMIT,
    MEMORY_CONSUMED,
    DISK_BYTES,
    DISK_PERCENT,
    DISK_INODES,
    DISK_INODES_PERCENT,
    DELIVERY_LATENCY,
    QUEUE_AGE,
    COMMIT_TIME,
    COMMIT_MESSAGES,
    CONNECTIONS, /* of which the TSA shard knows a part */
};

static const struct metric collected[] = {
    [SCHEDULED_COUNT] = {"scheduled_count", "gauge",
                         "Recipients in each of the largest scheduled queues, and in the others.",
                         "queue"},
    [SCHEDULED_COUNT_TOTAL] = {"scheduled_count_total", "gauge",
                               "Recipients in all scheduled queues.", NULL},
    [SCHEDULED_QUEUE_COUNT] = {"scheduled_queue_count", "gauge", "Scheduled queues.", NULL},
    [QUEUED_BY_PROVIDER] = {"queued_count_by_provider", "gauge",
                            "Recipients for each provider that has a name, and for the others.",
                            "provider"},
    [REASON_QUEUES] = {"ringpost_queue_reason_queues", "gauge",
                       "Threads' parts of scheduled queues by what holds them back.", "reason"},
    [REASON_RECIPIENTS] = {"ringpost_queue_reason_recipients", "gauge",
                           "Recipients in scheduled queues by what holds these back.", "reason"},
    [READY_COUNT] = {"ready_count", "gauge",
                     "Recipients that are due and have a site, in all and for each site.",
                     "service"},
    [MEMORY_USAGE] = {"memory_usage", "gauge", "Bytes in the account of all threads.", NULL},
    [MEMORY_LIMIT] = {"memory_limit", "gauge", "Bytes that they may have.", NULL},
    [MEMORY_CONSUMED] = {"ringpost_memory_bytes", "gauge", "The same by what it is used for.",
                         "consumer"},
    [DISK_BYTES] = {"disk_free_bytes", "gauge", "Free on the file system.", "name"},
    [DISK_PERCENT] = {"disk_free_percent", "gauge", "Free on the file system.", "name"},
    [DISK_INODES] = {"disk_free_inodes", "gauge", "Free on the file system.", "name"},
    [DISK_INODES_PERCENT] = {"disk_free_inodes_percent", "gauge", "Free on the file system.",
                             "name"},
    [DELIVERY_LATENCY] = {"deliver_message_latency_rollup", "histogram",
                          "Seconds that a transaction with a server takes.", "service"},
    [QUEUE_AGE] = {"ringpost_queue_age_seconds", "histogram",
                   "Age of a recipient's message when it is delivered.", NULL},
    [COMMIT_TIME] = {"ringpost_commit_seconds", "histogram",
                     "From the start of a commit of the spool to its end.", NULL},
    [COMMIT_MESSAGES] = {"ringpost_commit_messages", "histogram",
                         "Messages made durable by one commit that has any.", NULL},
    [CONNECTIONS] = {"connection_count", "gauge",
                     "Open connections of clients, and to servers: in all and for each site.",
                     "service"},
};

static bool wants(struct exposition *to, enum collected metric)
{
    return exposition_metric(to, &collected[metric]);
}

static void put_scheduled(struct exposition *to, const struct metrics_queues *queues)
{
    const struct census_result *all = &queues->all;
    uint64_t rest = all->recipients_all;
    if (wants(to, SCHEDULED_COUNT)) {
        for (uint32_t i = 0; i < queues->count; i++) {
            exposition_sample(to, queues->queues[i].name, queues->queues[i].count);
            rest -= MIN_OF(rest, queues->queues[i].count);
        }
        exposition_rest(to, rest);
    }
    if (wants(to, SCHEDULED_COUNT_TOTAL)) {
        exposition_sample(to, SLICE_NONE, all->recipients_all);
    }
    if (wants(to, SCHEDULED_QUEUE_COUNT)) {
        exposition_sample(to, SLICE_NONE, all->queues_all);
    }
    for (unsigned what = REASON_QUEUES; what <= REASON_RECIPIENTS; what++) {
        bool wanted = wants(to, (enum collected)what);
        for (unsigned i = 0; wanted && i < HOLD_REASONS_COUNT; i++) {
            exposition_sample(to, slice_from_string(hold_name((enum hold_reason)i)),
                              what == REASON_QUEUES ? all->sums[i].queues
                                                    : all->sums[i].recipients);
        }
    }
}

static void put_providers(struct exposition *to, const struct provider_sums *providers)
{
    if (!wants(to, QUEUED_BY_PROVIDER)) {
        return;
    }
    for (uint32_t i = 0; i < providers->count; i++) {
        const struct provider_sum *sum = &providers->rows[i];
        exposition_sample(to, slice_make(sum->name, sum->bytes), sum->recipients);
    }
    exposition_rest(to, providers->others);
}

/* "smtp_client:SITE" */
static void put_site(struct exposition *to, struct slice name, uint64_t number)
{
    uint8_t memory[QUEUE_NAME_BYTES_MAX + 16];
    struct buf service;
    buf_init(&service, memory, sizeof(memory));
    buf_put(&service, SLICE("smtp_client:"));
    buf_put(&service, name);
    CHECK(!service.overflow);
    exposition_sample(to, buf_slice(&service), number);
}

static uint64_t of_site(const struct metrics_queue *queue, enum collected metric)
{
    return metric == CONNECTIONS ? queue->connections : queue->count;
}

/* All of them, the largest sites, and the others. */
static void put_sites(struct exposition *to, enum collected metric,
                      const struct metrics_queues *sites)
{
    uint64_t all =
        metric == CONNECTIONS ? sites->all.connections_all : sites->all.recipients_all;
    uint64_t rest = all;
    exposition_sample(to, SLICE("smtp_client"), all);
    for (uint32_t i = 0; i < sites->count; i++) {
        put_site(to, sites->queues[i].name, of_site(&sites->queues[i], metric));
        rest -= MIN_OF(rest, of_site(&sites->queues[i], metric));
    }
    put_site(to, SLICE("other"), rest);
}

static void put_connections(struct exposition *to, const struct node *node,
                            const struct metrics_collection *collection)
{
    uint64_t open = 0;
    if (!wants(to, CONNECTIONS)) {
        return;
    }
    for (size_t i = 0; i < node->options.conf->smtp_listener_count; i++) {
        open += atomic_load_explicit(&node->slots[i].used, memory_order_relaxed);
    }
    exposition_sample(to, SLICE("esmtp_listener"), open);
    if (collection != NULL) {
        put_sites(to, CONNECTIONS, &collection->ready);
    }
}

static void put_memory(struct exposition *to, const struct node *node,
                       const struct metrics_collection *collection)
{
    struct account sum = collection->figures.memory;
    const struct account *own = &node->control->shard.memory;
    sum.limit += own->limit;
    for (unsigned i = 0; i < ACCOUNT_CONSUMERS; i++) {
        sum.used[i] += own->used[i];
    }
    if (wants(to, MEMORY_USAGE)) {
        exposition_sample(to, SLICE_NONE, account_used(&sum));
    }
    if (wants(to, MEMORY_LIMIT)) {
        exposition_sample(to, SLICE_NONE, sum.limit);
    }
    bool wanted = wants(to, MEMORY_CONSUMED);
    for (unsigned i = 0; wanted && i < ACCOUNT_CONSUMERS; i++) {
        exposition_sample(to, slice_from_string(account_consumer_name((enum account_consumer)i)),
                          sum.used[i]);
    }
}

static uint64_t percent(uint64_t part, uint64_t whole)
{
    return whole >= 100 ? part / (whole / 100) : 0;
}

static uint64_t space_of(const struct metrics_space *space, enum collected metric)
{
    return metric == DISK_BYTES     ? space->bytes_free
           : metric == DISK_PERCENT ? percent(space->bytes_free, space->bytes)
           : metric == DISK_INODES  ? space->inodes_free
                                    : percent(space->inodes_free, space->inodes);
}

static void put_disks(struct exposition *to, const struct metrics_space *disks)
{
    static const char *const names[METRICS_DISKS] = {"spool", "log"};
    for (unsigned what = DISK_BYTES; what <= DISK_INODES_PERCENT; what++) {
        bool wanted = wants(to, (enum collected)what);
        for (unsigned i = 0; wanted && i < METRICS_DISKS; i++) {
            if (disks[i].known) {
                exposition_sample(to, slice_from_string(names[i]),
                                  space_of(&disks[i], (enum collected)what));
            }
        }
    }
}

/* A millisecond to nine minutes, to twelve days; 66 us to eight seconds; one to 1,023 messages. */
static void put_times(struct exposition *to, const struct histogram *times)
{
    if (wants(to, DELIVERY_LATENCY)) {
        exposition_histogram(to, SLICE("smtp_client"), &times[METRICS_DELIVERY],
                             EXPOSITION_NANOSECONDS, 20, 39);
    }
    if (wants(to, QUEUE_AGE)) {
        exposition_histogram(to, SLICE_NONE, &times[METRICS_AGE], EXPOSITION_NANOSECONDS, 20, 50);
    }
    if (wants(to, COMMIT_TIME)) {
        exposition_histogram(to, SLICE_NONE, &times[METRICS_COMMIT], EXPOSITION_NANOSECONDS, 16,
                             33);
    }
    if (wants(to, COMMIT_MESSAGES)) {
        exposition_histogram(to, SLICE_NONE, &times[METRICS_COMMIT_MESSAGES], EXPOSITION_COUNTS, 1,
                             10);
    }
}

/* --- the answer ------------------------------------------------------------------------------- */

static void put_all(struct exposition *to, const struct node *node,
                    const struct metrics_collection *collection)
{
    put_known(to, node);
    put_connections(to, node, collection);
    put_state(to, node);
    put_threads(to, node);
    put_automation(to, &node->control->advisor);
    put_publisher(to, &node->control->publisher);
    put_subscriber(to, &node->control->subscriber);
    if (collection != NULL) {
        put_scheduled(to, &collection->scheduled);
        put_providers(to, &collection->providers);
        if (wants(to, READY_COUNT)) {
            put_sites(to, READY_COUNT, &collection->ready);
        }
        put_memory(to, node, collection);
        put_disks(to, collection->disks);
        put_times(to, collection->figures.times);
    }
    put_counters(to, node);
}

static size_t queues_bytes(const struct metrics_queues *queues)
{
    return queues->count * SAMPLE_BYTES + EXPOSITION_GROWTH * queues->names.size;
}

static size_t providers_bytes(const struct provider_sums *providers)
{
    return providers->count *
           (SAMPLE_BYTES + EXPOSITION_GROWTH * sizeof(providers->rows[0].name));
}

static void answer(const struct scrape *scrape, const struct metrics_collection *collection)
{
    struct http_exchange *exchange = scrape->exchange;
    const struct node *node = ((struct control *)exchange->context)->node;
    struct exposition exposition;
    size_t bytes = FIXED_BYTES + (size_t)node->shards * THREAD_FIGURES * SAMPLE_BYTES;
    if (collection != NULL) {
        bytes += queues_bytes(&collection->scheduled) + 2 * queues_bytes(&collection->ready) +
                 providers_bytes(&collection->providers);
    }
    struct buf *room = http_answer_room(exchange, bytes);
    if (room == NULL) {
        return;
    }
    exposition_begin(&exposition, room, scrape->form, buf_slice(&scrape->prefix));
    put_all(&exposition, node, collection);
    exposition_end(&exposition);
    http_answer_written(exchange, 200,
                        scrape->form == EXPOSITION_TEXT ? EXPOSITION_TEXT_TYPE : JSON_TYPE);
}

static void collection_done(struct metrics_request *request,
                            const struct metrics_collection *collection)
{
    struct scrape *scrape = CONTAINER_OF(request, struct scrape, request);
    answer(scrape, collection);
    pool_give(&scrape->metrics->scrapes, scrape);
}

/* Does it need what is collected? */
static bool needs_collection(struct slice prefix)
{
    for (size_t i = 0; i < COUNT_OF(collected); i++) {
        if (slice_starts_with(slice_from_string(collected[i].name), prefix)) {
            return true;
        }
    }
    return false;
}

static void begin(struct http_exchange *exchange, enum exposition_form form)
{
    struct control *control = exchange->context;
    struct http_metrics *metrics = &control->http_metrics;
    struct scrape *scrape = pool_take(&metrics->scrapes);
    if (scrape == NULL) {
        http_answer_text(exchange, 503, SLICE("too many questions at once"));
        return;
    }
    scrape->request = (struct metrics_request){.done = collection_done};
    scrape->exchange = exchange;
    scrape->metrics = metrics;
    scrape->form = form;
    buf_init(&scrape->prefix, scrape->prefix_memory, sizeof(scrape->prefix_memory));
    if (http_query_find(exchange->query, SLICE("prefix"), &scrape->prefix) == HTTP_QUERY_BAD) {
        http_answer_text(exchange, 400, SLICE("prefix: malformed, or given twice"));
        pool_give(&metrics->scrapes, scrape);
        return;
    }
    if (node_state(control->node) == NODE_READY &&
        needs_collection(buf_slice(&scrape->prefix)) &&
        metrics_source_ask(metrics->source, &scrape->request)) {
        return; /* collection_done answers */
    }
    collection_done(&scrape->request, NULL);
}

void http_metrics_text(struct http_exchange *exchange)
{
    begin(exchange, EXPOSITION_TEXT);
}

void http_metrics_json(struct http_exchange *exchange)
{
    begin(exchange, EXPOSITION_JSON);
}

void http_metrics_init(struct http_metrics *metrics, struct boot_pages *pages,
                       struct metrics_source *source)
{
    metrics->source = source;
    pool_init(&metrics->scrapes,
              boot_pages_take(pages, pool_memory(sizeof(struct scrape), SCRAPES_MAX)),
              sizeof(struct scrape), SCRAPES_MAX);
}
