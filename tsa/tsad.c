#include "tsa/tsad.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"
#include "core/conf_settings.h"
#include "core/shaping.h"
#include "tsa/site_hosts.h"
#include "tsa/tsa_routes.h"

#define RING_ENTRIES     1024
#define RING_COMPLETIONS 8192
#define BUFFER_COUNT     512
#define BUFFER_BYTES     (16 * KIB)
#define JOBS_MAX         64
#define CONNECTIONS_MAX  4096
#define CHANGES_MAX      16384u
#define CHANGE_BYTES_MAX (16u * MIB)
#define HOSTS_BYTES      (16 * KIB)
#define LISTEN_AGAIN_NS  (20 * NS_PER_MS)
#define LISTEN_NS        (5 * NS_PER_S) /* how long a port that is taken is tried */
#define STOP_NS          (2 * NS_PER_S) /* for answers */
/* Of memory.limit HTTP may hold one part in so many. */
#define HTTP_MEMORY_PART 4

static void set_state(struct tsad *tsad, enum tsad_state state)
{
    atomic_store_explicit(&tsad->state, (uint32_t)state, memory_order_release);
}

enum tsad_state tsad_state(const struct tsad *tsad)
{
    return (enum tsad_state)atomic_load_explicit(&tsad->state, memory_order_acquire);
}

bool tsad_finished(const struct tsad *tsad)
{
    return tsad_state(tsad) == TSAD_STOPPED || tsad_state(tsad) == TSAD_FAILED;
}

/* --- rules ------------------------------------------------------------------------------------ */

static uint32_t groups_of(void *context, const struct automation_record *record,
                          uint32_t *groups_out, uint32_t max)
{
    const struct tsad *tsad = context;
    uint64_t memory[HOSTS_BYTES / sizeof(uint64_t)];
    struct arena arena;
    struct slice hosts[SITE_HOSTS_LISTED_MAX];
    const struct shaping_view view = {.shaping = tsad->conf->shaping};
    if (record->has_reference && !tsad->conf->tsa.judge_reports) {
        return 0;
    }
    arena_init(&arena, memory, sizeof(memory));
    struct slice site = site_name_of(record->site);
    const struct shaping_query query = {
        .domain = record->domain,
        .site = site,
        .host_count = site_hosts_list(site, &arena, hosts),
        .hosts = hosts,
        .source = record->source,
    };
    return shaping_groups(&view, &query, groups_out, max);
}

/* From now on the rules of this configuration count. */
static void use_rules(struct tsad *tsad, const struct conf *conf)
{
    const struct shaping_rule_set *rules = conf->shaping->rules;
    struct patterns_scratch *scratch =
        rules == NULL ? NULL : patterns_scratch_open(rules->patterns);
    automation_use(&tsad->tsa.automation, rules, scratch);
    if (tsad->scratch != NULL) {
        patterns_scratch_close(tsad->scratch);
    }
    tsad->scratch = scratch;
    tsad->conf = conf;
}

/* --- reload ----------------------------------------------------------------------------------- */

static void say_reload(struct tsad *tsad, bool good)
{
    struct logline line;
    struct slice rest = buf_slice(&tsad->reading.messages.text);
    while (rest.size > 0) {
        size_t size = slice_find(rest, '\n');
        logline_begin(&line, "reload_message");
        logline_text(&line, "text", slice_first(rest, size));
        logline_end(&line, &tsad->options.log);
        rest = slice_skip(rest, MIN_OF(size + 1, rest.size));
    }
    logline_begin(&line, "reload");
    logline_string(&line, "applied", good ? "yes" : "no");
    logline_u64(&line, "rules",
                tsad->conf->shaping->rules == NULL ? 0 : tsad->conf->shaping->rules->rule_count);
    logline_end(&line, &tsad->options.log);
}

static void reload_done(struct work_job *job)
{
    struct tsad *tsad = CONTAINER_OF(job, struct tsad, job);
    struct conf *conf = tsad->reading.conf;
    struct conf *before = tsad->owned;
    tsad->reloading = false;
    if (conf == NULL || tsad_state(tsad) != TSAD_READY) {
        conf_free(conf);
        say_reload(tsad, false);
        return;
    }
    conf_keep(conf, tsad->conf);
    use_rules(tsad, conf);
    http_server_set_conf(&tsad->http, conf);
    tsad->owned = conf;
    conf_free(before);
    say_reload(tsad, true);
}

static void reload_look(struct tsad *tsad)
{
    if (tsad->reloading || tsad_state(tsad) != TSAD_READY ||
        !atomic_exchange_explicit(&tsad->reload_wanted, false, memory_order_acquire)) {
        return;
    }
    tsad->reading = (struct conf_reading){
        .file = tsad->options.conf_file,
        .sets = tsad->options.conf_sets,
        .set_count = tsad->options.conf_set_count,
        .program = CONF_TSAD,
    };
    buf_init(&tsad->reading.messages.text, tsad->messages, TSAD_MESSAGE_BYTES_MAX);
    tsad->job = (struct work_job){.kind = WORK_CONF, .done = reload_done, .data = &tsad->reading};
    /* Nobody else has jobs of this class. */
    CHECK(work_submit(tsad->work, &tsad->shard, &tsad->job));
    tsad->reloading = true;
}

void tsad_reload(struct tsad *tsad)
{
    atomic_store_explicit(&tsad->reload_wanted, true, memory_order_release);
    ring_wake(tsad->shard.ring);
}

/* --- start ------------------------------------------------------------------------------------ */

static void fail(struct tsad *tsad, struct slice where, int error)
{
    struct buf reason;
    buf_init(&reason, tsad->reason, sizeof(tsad->reason) - 1);
    buf_printf(&reason, "cannot listen on %.*s: %s", (int)where.size, (const char *)where.data,
               strerror(-error));
    tsad->reason[reason.size] = '\0';
    set_state(tsad, TSAD_FAILED);
}

static void listen_again(struct timer *timer)
{
    struct tsad *tsad = CONTAINER_OF(timer, struct tsad, again);
    uint8_t memory[ENDPOINT_TEXT_MAX];
    struct buf where;
    buf_init(&where, memory, sizeof(memory));
    int error = http_server_start(&tsad->http, tsad->bound, &where);
    if (error == -EADDRINUSE && tsad->shard.now_ns < tsad->until_ns) {
        shard_timer_set(&tsad->shard, timer, LISTEN_AGAIN_NS);
        return;
    }
    if (error != 0) {
        fail(tsad, buf_slice(&where), error);
        return;
    }
    http_server_set_takes(&tsad->http, true);
    set_state(tsad, TSAD_READY);
}

static void loaded(struct automation_store *store)
{
    struct tsad *tsad = CONTAINER_OF(store, struct tsad, store);
    tsa_start(&tsad->tsa);
    tsad->until_ns = tsad->shard.now_ns + LISTEN_NS;
    listen_again(&tsad->again);
}

static void changed(void *context)
{
    automation_store_wake(&((struct tsad *)context)->store);
}

/* --- stop ------------------------------------------------------------------------------------- */

static void stop_begin(struct tsad *tsad)
{
    shard_timer_clear(&tsad->shard, &tsad->again);
    tsa_stop(&tsad->tsa);
    http_server_stop(&tsad->http);
    tsad->until_ns = tsad->shard.now_ns + STOP_NS;
    set_state(tsad, TSAD_STOPPING);
}

static void stop_look(struct tsad *tsad)
{
    uint32_t level = atomic_load_explicit(&tsad->stop_level, memory_order_acquire);
    if (level == 0 || tsad_finished(tsad)) {
        return;
    }
    if (tsad_state(tsad) == TSAD_READY) {
        stop_begin(tsad);
    }
    if (tsad_state(tsad) != TSAD_STOPPING) {
        return; /* a start that has not come to its end */
    }
    if (level > 1 || tsad->shard.now_ns >= tsad->until_ns) {
        http_server_cut(&tsad->http);
    }
    if (http_server_open(&tsad->http) > 0 || tsad->reloading) {
        return;
    }
    if (!tsad->store_stopped) {
        tsad->store_stopped = true;
        automation_store_stop(&tsad->store);
    }
    if (automation_store_stopped(&tsad->store)) {
        set_state(tsad, TSAD_STOPPED);
    }
}

void tsad_stop(struct tsad *tsad, unsigned level)
{
    atomic_store_explicit(&tsad->stop_level, level, memory_order_release);
    ring_wake(tsad->shard.ring);
}

/* --- turns ------------------------------------------------------------------------------------ */

void tsad_turn(struct tsad *tsad, bool poll)
{
    if (!tsad->begun) {
        tsad->begun = true;
        automation_store_load(&tsad->store);
    }
    shard_turn(&tsad->shard, poll);
    tsad->shard.memory.used[ACCOUNT_BUFFERS] = ring_buffers_memory(tsad->shard.ring);
    tsad->shard.memory.used[ACCOUNT_HTTP] = http_server_memory(&tsad->http);
    reload_look(tsad);
    stop_look(tsad);
}

/* --- life ------------------------------------------------------------------------------------- */

static int shard_boot(struct tsad *tsad, struct buf *reason)
{
    const struct ring_options rings = {
        .submit_entries = RING_ENTRIES,
        .complete_entries = RING_COMPLETIONS,
        .buffer_count = BUFFER_COUNT,
        .buffer_bytes = BUFFER_BYTES,
        .world = tsad->options.world,
    };
    struct shard_options options = {
        .index = 0,
        .count = 1,
        .work = tsad->work,
        .peers = tsad->peers,
        .memory_limit = tsad->options.memory_bytes,
    };
    int error = ring_open(&rings, &options.ring, reason);
    if (error != 0) {
        return error;
    }
    tsad->peers[0] = &tsad->shard;
    error = shard_init(&tsad->shard, &options);
    if (error != 0) {
        buf_put_string(reason, "no memory for a shard");
    }
    return error;
}

static void services_boot(struct tsad *tsad)
{
    const struct conf *conf = tsad->options.conf;
    const struct tsa_options service = {
        .shard = &tsad->shard,
        .pages = &tsad->pages,
        .effects_max = conf->tsa.effects_max,
        .counters_max = conf->tsa.counters_max,
        .changes_max = CHANGES_MAX,
        .change_bytes_max = CHANGE_BYTES_MAX,
        .groups = groups_of,
        .changed = changed,
        .context = tsad,
    };
    struct http_options http = {
        .shard = &tsad->shard,
        .conf = conf,
        .context = &tsad->tsa,
        .tsa = &tsad->http,
        .mails = tsad->mails,
        .connections_max = CONNECTIONS_MAX,
        .memory_max = tsad->options.memory_bytes / HTTP_MEMORY_PART,
        .pages = &tsad->pages,
    };
    tsa_init(&tsad->tsa, &service);
    use_rules(tsad, conf);
    tsad->store.shard = &tsad->shard;
    tsad->store.automation = &tsad->tsa.automation;
    tsad->store.dir = conf->node.state_dir;
    tsad->store.file = conf->tsa.database;
    tsad->store.log = tsad->options.log;
    tsad->store.loaded = loaded;
    automation_store_init(&tsad->store, &tsad->pages);
    http.routes = tsa_routes(&http.route_count);
    http_server_init(&tsad->http, &http);
    tsad->messages = boot_pages_take(&tsad->pages, TSAD_MESSAGE_BYTES_MAX);
    timer_init(&tsad->again, listen_again);
}

int tsad_open(struct tsad *tsad, const struct tsad_options *options)
{
    struct buf reason;
    *tsad = (struct tsad){.options = *options};
    buf_init(&reason, tsad->reason, sizeof(tsad->reason) - 1);
    int error = work_open(options->world, JOBS_MAX, &tsad->work);
    if (error != 0) {
        buf_put_string(&reason, "cannot start worker threads");
    } else {
        error = shard_boot(tsad, &reason);
    }
    tsad->reason[reason.size] = '\0';
    if (error == 0) {
        services_boot(tsad);
    }
    return error;
}

void tsad_close(struct tsad *tsad)
{
    CHECK(tsad_state(tsad) == TSAD_STOPPED);
    work_close(tsad->work);
    http_server_fini(&tsad->http);
    automation_store_fini(&tsad->store);
    tsa_fini(&tsad->tsa);
    if (tsad->scratch != NULL) {
        patterns_scratch_close(tsad->scratch);
    }
    shard_fini(&tsad->shard);
    conf_free(tsad->owned);
    boot_pages_give(&tsad->pages);
}
