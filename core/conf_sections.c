#include "core/conf_sections.h"

#include <string.h>

#include "core/check.h"
#include "core/conf_limits.h"
#include "core/conf_log.h"
#include "core/conf_text.h"
#include "core/url.h"

#define MS  NS_PER_MS
#define S   NS_PER_S
#define DAY (86400 * NS_PER_S)

/* One row of an options table: name, kind, struct, field. */
#define FIELD(text, its_kind, type, field)                                                         \
    .name = (text), .kind = (its_kind), .offset = offsetof(struct type, field)
#define OPTIONS(rows) .options = (rows), .count = COUNT_OF(rows)

/* --- [node], [spool], [memory], [log], [tsa] ------------------------------------------------- */

static void apply_node_id(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    struct conf_node *node = base;
    if (value->kind != TOML_STRING || !conf_text_uuid(value->as.text, node->id)) {
        conf_error(load, value, "%s wants a UUID", option->name);
        return;
    }
    node->id_set = true;
}

static const struct conf_option node_rows[] = {
    {FIELD("hostname", OPTION_HOST, conf_node, hostname), RELOADS},
    {.name = "id", .kind = OPTION_OWN, .apply = apply_node_id, RESTARTS},
    {FIELD("shards", OPTION_COUNT, conf_node, shards), .max = CONF_SHARDS_MAX, RESTARTS},
    {FIELD("pin", OPTION_BOOL, conf_node, pin), RESTARTS},
    {FIELD("state_dir", OPTION_PATH, conf_node, state_dir), RESTARTS},
    {FIELD("user", OPTION_NAME, conf_node, user), .max = 32, RESTARTS},
    {FIELD("group", OPTION_NAME, conf_node, group), .max = 32, RESTARTS},
    {FIELD("stop_timeout", OPTION_DURATION, conf_node, stop_timeout_ns), .max = DAY, RESTARTS},
    {FIELD("congestion_control", OPTION_NAME, conf_node, congestion), .max = 15, RESTARTS},
};

static const char *const sync_names[] = {"commit", "none", NULL};
static const char *const method_names[] = {"auto", "dsync", "fdatasync", NULL};

static const struct conf_option spool_rows[] = {
    {FIELD("path", OPTION_PATH, conf_spool, path)},
    {FIELD("sync", OPTION_CHOICE, conf_spool, sync), .choices = sync_names},
    {FIELD("method", OPTION_CHOICE, conf_spool, method), .choices = method_names, .max = 2},
    {FIELD("segment_size", OPTION_SIZE, conf_spool, segment_bytes),
     .min = MIB, .max = 4096ull * MIB},
    {FIELD("min_free_space", OPTION_AMOUNT, conf_spool, free_space_min)},
    {.name = "min_free_inodes", .kind = OPTION_LATER},
    {FIELD("recovery_spread", OPTION_DURATION, conf_spool, recovery_spread_ns), .max = 3600 * S},
    {FIELD("store_deadline", OPTION_DURATION, conf_spool, store_deadline_ns),
     .min = 100 * MS, .max = 600 * S},
    {FIELD("compact_after", OPTION_DURATION, conf_spool, compact_after_ns),
     .min = MS, .max = 24 * 3600 * S},
};

static const struct conf_option memory_rows[] = {
    {FIELD("limit", OPTION_SIZE, conf_memory, limit_bytes), .min = 64 * MIB, .max = INT64_MAX},
    {FIELD("staging", OPTION_SIZE, conf_memory, staging_bytes), .min = 4 * MIB, .max = INT64_MAX},
    {FIELD("max_queued", OPTION_COUNT64, conf_memory, queued_max), .max = UINT32_MAX},
};

static const struct conf_option log_rows[] = {
    {FIELD("path", OPTION_PATH, conf_log, path), RESTARTS},
    {FIELD("max_file_size", OPTION_SIZE, conf_log, max_file_bytes),
     .min = 64 * KIB, .max = INT64_MAX, RELOADS},
    {FIELD("max_segment_duration", OPTION_DURATION, conf_log, max_segment_ns),
     .min = S, .max = 366 * DAY, RELOADS},
    {FIELD("flush_interval", OPTION_DURATION, conf_log, flush_ns),
     .min = 10 * MS, .max = 60 * S, RELOADS},
    {FIELD("compression_level", OPTION_LEVEL, conf_log, level), .max = 19, RELOADS},
    {FIELD("retention", OPTION_DURATION, conf_log, retention_ns),
     .min = S, .max = 36500 * DAY, RELOADS},
    {FIELD("max_total_size", OPTION_SIZE, conf_log, max_total_bytes),
     .min = 64 * KIB, .max = INT64_MAX, RELOADS},
    {FIELD("max_backlog", OPTION_AMOUNT, conf_log, backlog_max), RESTARTS},
    {FIELD("meta", OPTION_OWN, conf_log, meta), .apply = conf_log_names, RELOADS},
    {FIELD("headers", OPTION_OWN, conf_log, headers), .apply = conf_log_names, RELOADS},
    {.name = "per_record", .kind = OPTION_OWN, .apply = conf_log_records, RELOADS},
};

static void apply_tsa_mode(struct conf_load *load, const struct conf_option *option,
                           const struct conf_value *value, void *base)
{
    struct conf_tsa *tsa = base;
    tsa->off = value->kind == TOML_STRING && slice_equal(value->as.text, SLICE("off"));
    if (!tsa->off &&
        (value->kind != TOML_STRING || !slice_equal(value->as.text, SLICE("embedded")))) {
        conf_error(load, value, "%s wants one of \"off\", \"embedded\"", option->name);
    }
}

/* One of them; false: it is none, or there twice. */
static bool take_url(struct conf_load *load, const struct conf_option *option,
                     const struct conf_value *value, const struct url *others, struct url *url_out)
{
    uint8_t *memory = heap_take(load->heap, URL_BYTES_MAX);
    const char *why = "wants URLs such as \"http://tsa.example.com:8008\"";
    if (value->kind == TOML_STRING) {
        why = url_parse(value->as.text, memory, url_out);
    }
    for (const struct url *other = others; why == NULL && other < url_out; other++) {
        why = slice_equal(other->text, url_out->text) ? "names the same URL twice" : NULL;
    }
    if (why != NULL) {
        conf_error(load, value, "%s %s", option->name, why);
    }
    return why == NULL;
}

/* How many there are. */
static size_t take_urls(struct conf_load *load, const struct conf_option *option,
                        const struct conf_value *value, const struct url **urls_out)
{
    size_t count = 0;
    if (!conf_want(load, value, TOML_ARRAY)) {
        return 0;
    }
    if (value->count > CONF_TSA_URLS_MAX) {
        conf_error(load, value, "%s wants at most %u URLs", option->name, CONF_TSA_URLS_MAX);
        return 0;
    }
    struct url *urls = heap_take_array(load->heap, value->count + 1, sizeof(*urls));
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        count += take_url(load, option, at, urls, &urls[count]);
    }
    *urls_out = urls;
    return count;
}

static void apply_tsa_publish(struct conf_load *load, const struct conf_option *option,
                              const struct conf_value *value, void *base)
{
    struct conf_tsa *tsa = base;
    tsa->publish_count = take_urls(load, option, value, &tsa->publish);
}

static void apply_tsa_subscribe(struct conf_load *load, const struct conf_option *option,
                                const struct conf_value *value, void *base)
{
    struct conf_tsa *tsa = base;
    tsa->subscribe_count = take_urls(load, option, value, &tsa->subscribe);
}

static const struct conf_option tsa_rows[] = {
    {.name = "mode", .kind = OPTION_OWN, .apply = apply_tsa_mode, RELOADS},
    {FIELD("judge_reports", OPTION_BOOL, conf_tsa, judge_reports), RELOADS},
    {FIELD("effects", OPTION_COUNT, conf_tsa, effects_max), .min = 16, .max = 1u << 20},
    {FIELD("counters", OPTION_COUNT, conf_tsa, counters_max), .min = 16, .max = 1u << 22},
    {.name = "publish", .kind = OPTION_OWN, .apply = apply_tsa_publish},
    {.name = "subscribe", .kind = OPTION_OWN, .apply = apply_tsa_subscribe},
    {FIELD("token", OPTION_TEXT, conf_tsa, token), .max = 1000, .secret = true},
    {FIELD("database", OPTION_PATH, conf_tsa, database)},
};

static const struct conf_options node_options = {OPTIONS(node_rows)};
static const struct conf_options spool_options = {OPTIONS(spool_rows), RESTARTS};
static const struct conf_options memory_options = {OPTIONS(memory_rows), RESTARTS};
static const struct conf_options log_options = {OPTIONS(log_rows)};
static const struct conf_options tsa_options = {OPTIONS(tsa_rows), RESTARTS};

void conf_sections_default(struct conf_load *load, struct conf *conf, struct slice hostname)
{
    bool named = conf_text_is_host(hostname);
    conf->node = (struct conf_node){
        .hostname = heap_copy(load->heap, named ? hostname : SLICE("localhost")),
        .state_dir = conf_place_path(load, SLICE("var")),
        .user = "",
        .group = "",
        .stop_timeout_ns = 60 * S,
        .congestion = "",
    };
    conf->spool = (struct conf_spool){
        .path = conf_place_path(load, SLICE("var/spool")),
        .segment_bytes = 128 * MIB,
        .free_space_min = {.percent = true, .value = 10},
        .recovery_spread_ns = 5 * S,
        .store_deadline_ns = 30 * S,
        .compact_after_ns = 60 * S,
    };
    conf->memory = (struct conf_memory){.staging_bytes = 64 * MIB};
    conf->tsa = (struct conf_tsa){.effects_max = 16384, .counters_max = 65536};
    conf->log = (struct conf_log){
        .path = conf_place_path(load, SLICE("var/log")),
        .max_file_bytes = 1000000000,
        .flush_ns = S,
        .retention_ns = 30 * DAY,
        .backlog_max = {.percent = true, .value = 20},
    };
}

void conf_apply_node(struct conf_load *load, const struct conf_value *table, struct conf *conf)
{
    conf_options_apply(load, &node_options, table, &conf->node);
}

void conf_apply_spool(struct conf_load *load, const struct conf_value *table, struct conf *conf)
{
    conf_options_apply(load, &spool_options, table, &conf->spool);
    if (conf->spool.segment_bytes % (64 * KIB) != 0) {
        conf_error(load, conf_tree_member(table, "segment_size"),
                   "segment_size wants a multiple of 64 KiB");
    }
}

void conf_apply_memory(struct conf_load *load, const struct conf_value *table, struct conf *conf)
{
    conf_options_apply(load, &memory_options, table, &conf->memory);
}

void conf_apply_log(struct conf_load *load, const struct conf_value *table, struct conf *conf)
{
    conf_options_apply(load, &log_options, table, &conf->log);
}

void conf_apply_tsa(struct conf_load *load, const struct conf_value *table, struct conf *conf)
{
    conf_options_apply(load, &tsa_options, table, &conf->tsa);
    bool mail = load->input->program == CONF_MTA;
    if (conf_tree_member(table, "mode") == NULL) {
        conf->tsa.off = conf->tsa.subscribe_count > 0; /* else two would judge one reply */
    }
    static const struct {
        const char *name;
        bool mail; /* of ringpostd, else of ringpost-tsad */
    } rows[] = {{"effects", false}, {"counters", false}, {"mode", true},
                {"publish", true},  {"subscribe", true}, {"token", true}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct conf_value *value = conf_tree_member(table, rows[i].name);
        if (value != NULL && mail != rows[i].mail) {
            conf_note(load, value, "%s has no effect in %s", rows[i].name,
                      mail ? "ringpostd" : "ringpost-tsad");
        }
    }
}

/* --- listeners ------------------------------------------------------------------------------- */

static void apply_listen(struct conf_load *load, const struct conf_option *option,
                         const struct conf_value *value, void *base)
{
    struct endpoint endpoint;
    if (!conf_want(load, value, TOML_STRING)) {
        return;
    }
    if (slice_find(value->as.text, '/') < value->as.text.size) {
        conf_error(load, value, "%s on a unix path: not built yet in this version", option->name);
        return;
    }
    if (!endpoint_parse(value->as.text, 0, &endpoint)) {
        conf_error(load, value, "%s wants ADDRESS:PORT, such as \"0.0.0.0:25\" or \"[::]:25\"",
                   option->name);
        return;
    }
    memcpy((uint8_t *)base + option->offset, &endpoint, sizeof(endpoint));
}

static void apply_tls(struct conf_load *load, const struct conf_option *option,
                      const struct conf_value *value, void *base)
{
    (void)base;
    if (value->kind == TOML_STRING && slice_equal(value->as.text, SLICE("off"))) {
        return;
    }
    if (value->kind == TOML_STRING && (slice_equal(value->as.text, SLICE("starttls")) ||
                                       slice_equal(value->as.text, SLICE("implicit")))) {
        conf_error(load, value, "%s = \"%s\": not built yet in this version", option->name,
                   (const char *)value->as.text.data);
        return;
    }
    conf_error(load, value, "%s wants one of \"off\", \"starttls\", \"implicit\"", option->name);
}

static void apply_relay_hosts(struct conf_load *load, const struct conf_option *option,
                              const struct conf_value *value, void *base)
{
    struct conf_smtp_listener *listener = base;
    (void)option;
    (void)conf_networks(load, value, &listener->relay_hosts, &listener->relay_host_count);
}

static void apply_line_endings(struct conf_load *load, const struct conf_option *option,
                               const struct conf_value *value, void *base)
{
    (void)base;
    if (value->kind != TOML_STRING || !slice_equal(value->as.text, SLICE("Deny"))) {
        conf_error(load, value, "%s: anything but \"Deny\" is not built yet in this version",
                   option->name);
    }
}

/* Printable ASCII but the colon (RFC 5322 3.6.8). */
static void apply_header_name(struct conf_load *load, const struct conf_option *option,
                              const struct conf_value *value, void *base)
{
    struct conf_smtp_listener *listener = base;
    if (!conf_want(load, value, TOML_STRING)) {
        return;
    }
    struct slice name = value->as.text;
    bool sound = name.size > 0 && name.size <= CONF_TRACE_NAME_BYTES_MAX;
    for (size_t i = 0; i < name.size && sound; i++) {
        sound = name.data[i] > ' ' && name.data[i] < 0x7F && name.data[i] != ':';
    }
    if (!sound) {
        conf_error(load, value, "%s wants the name of a header field, of at most %u characters",
                   option->name, CONF_TRACE_NAME_BYTES_MAX);
        return;
    }
    listener->trace.header_name = heap_copy(load->heap, name);
}

static const struct conf_option trace_rows[] = {
    {FIELD("received_header", OPTION_BOOL, conf_smtp_listener, received_header)},
    {FIELD("supplemental_header", OPTION_BOOL, conf_smtp_listener, trace.supplemental_header)},
    {FIELD("header_name", OPTION_OWN, conf_smtp_listener, trace.header_name),
     .apply = apply_header_name},
    {FIELD("include_meta_names", OPTION_OWN, conf_smtp_listener, trace.meta),
     .apply = conf_log_names},
};
static const struct conf_options trace_options = {OPTIONS(trace_rows), RELOADS};

static void apply_trace_headers(struct conf_load *load, const struct conf_option *option,
                                const struct conf_value *value, void *base)
{
    (void)option;
    conf_options_apply(load, &trace_options, value, base);
}

static void apply_proxies(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    struct conf_smtp_listener *listener = base;
    (void)option;
    (void)conf_networks(load, value, &listener->proxies, &listener->proxy_count);
}

static void apply_xclient_hosts(struct conf_load *load, const struct conf_option *option,
                                const struct conf_value *value, void *base)
{
    struct conf_smtp_listener *listener = base;
    (void)option;
    (void)conf_networks(load, value, &listener->xclient_hosts, &listener->xclient_host_count);
}

static const struct conf_option smtp_listener_rows[] = {
    {FIELD("listen", OPTION_OWN, conf_smtp_listener, listen), .apply = apply_listen, RESTARTS},
    {FIELD("hostname", OPTION_HOST, conf_smtp_listener, hostname), RELOADS},
    {FIELD("banner", OPTION_TEXT, conf_smtp_listener, banner), .max = 200, RELOADS},
    {.name = "relay_hosts", .kind = OPTION_OWN, .apply = apply_relay_hosts, RELOADS},
    {FIELD("max_message_size", OPTION_SIZE, conf_smtp_listener, message_bytes_max),
     .min = KIB, .max = 1024 * MIB, RELOADS},
    {FIELD("max_connections", OPTION_COUNT, conf_smtp_listener, connections_max),
     .min = 1, .max = 1000000, RESTARTS},
    {FIELD("max_connections_per_host", OPTION_COUNT, conf_smtp_listener, connections_per_host_max),
     .min = 1, .max = 1000000, RELOADS},
    {FIELD("max_recipients_per_message", OPTION_COUNT, conf_smtp_listener, recipients_max),
     .min = 1, .max = 10000, RELOADS},
    {FIELD("max_messages_per_connection", OPTION_COUNT, conf_smtp_listener, messages_max),
     .min = 1, .max = 1000000000, RELOADS},
    {FIELD("client_timeout", OPTION_DURATION, conf_smtp_listener, client_timeout_ns),
     .min = 100 * MS, .max = DAY, RELOADS},
    {.name = "data_processing_timeout", .kind = OPTION_LATER},
    {FIELD("min_data_rate", OPTION_COUNT, conf_smtp_listener, data_rate_min),
     .max = 1000000000, RELOADS},
    {.name = "trace_headers", .kind = OPTION_OWN, .apply = apply_trace_headers, RELOADS},
    {.name = "tls", .kind = OPTION_OWN, .apply = apply_tls, RELOADS},
    {.name = "tls_certificate", .kind = OPTION_LATER},
    {.name = "tls_private_key", .kind = OPTION_LATER},
    {.name = "tls_required_client_ca", .kind = OPTION_LATER},
    {.name = "invalid_line_endings", .kind = OPTION_OWN, .apply = apply_line_endings, RELOADS},
    {.name = "line_length_hard_limit", .kind = OPTION_LATER},
    {.name = "batch_handling", .kind = OPTION_LATER},
    {.name = "deferred_queue", .kind = OPTION_LATER_IF, .min = false, RELOADS},
    {.name = "data_buffer_size", .kind = OPTION_NOTE},
    {.name = "deferred_spool", .kind = OPTION_NOTE},
    {.name = "allow_xclient", .kind = OPTION_OWN, .apply = apply_xclient_hosts, RELOADS},
    {.name = "require_proxy_protocol", .kind = OPTION_OWN, .apply = apply_proxies, RELOADS},
    {.name = "auth_users", .kind = OPTION_LATER},
    {.name = "require_auth", .kind = OPTION_LATER_IF, .min = false, RELOADS},
    {.name = "meta", .kind = OPTION_LATER},
    {.name = "via", .kind = OPTION_LATER},
    {.name = "peer", .kind = OPTION_LATER},
};

static void apply_trusted_hosts(struct conf_load *load, const struct conf_option *option,
                                const struct conf_value *value, void *base)
{
    struct conf_http_listener *listener = base;
    (void)option;
    (void)conf_networks(load, value, &listener->trusted_hosts, &listener->trusted_host_count);
}

static const struct conf_option http_listener_rows[] = {
    {FIELD("listen", OPTION_OWN, conf_http_listener, listen), .apply = apply_listen, RESTARTS},
    {FIELD("hostname", OPTION_HOST, conf_http_listener, hostname), RELOADS},
    {.name = "trusted_hosts", .kind = OPTION_OWN, .apply = apply_trusted_hosts, RELOADS},
    {FIELD("request_body_limit", OPTION_SIZE, conf_http_listener, request_body_limit),
     .min = 1, .max = 1024ull * MIB, RELOADS},
    {.name = "tls", .kind = OPTION_OWN, .apply = apply_tls, RELOADS},
    {.name = "tls_certificate", .kind = OPTION_LATER},
    {.name = "tls_private_key", .kind = OPTION_LATER},
    {.name = "use_tls", .kind = OPTION_LATER_IF, .min = false, RELOADS},
    {FIELD("inject_rate", OPTION_OWN, conf_http_listener, inject_rate),
     .apply = conf_apply_rate, RELOADS},
    {.name = "users", .kind = OPTION_LATER},
    {.name = "tokens", .kind = OPTION_LATER},
};

static const struct conf_options smtp_listener_options = {OPTIONS(smtp_listener_rows)};
static const struct conf_options http_listener_options = {OPTIONS(http_listener_rows)};

#define LOOPBACK_HOSTS 2

static struct network *loopback_hosts(struct conf_load *load)
{
    struct network *hosts = heap_take_array(load->heap, LOOPBACK_HOSTS, sizeof(*hosts));
    CHECK(network_parse(SLICE("127.0.0.1"), &hosts[0]) && network_parse(SLICE("::1"), &hosts[1]));
    return hosts;
}

static struct conf_smtp_listener smtp_listener_default(struct conf_load *load,
                                                       const struct conf *conf)
{
    struct conf_smtp_listener listener = {
        .hostname = conf->node.hostname,
        .banner = SLICE("ESMTP Ringpost"),
        .relay_hosts = loopback_hosts(load),
        .relay_host_count = LOOPBACK_HOSTS,
        .message_bytes_max = 20 * MIB,
        .connections_max = 32768,
        .connections_per_host_max = 50,
        .recipients_max = 1000,
        .messages_max = 10000,
        .client_timeout_ns = 300 * S,
        .data_rate_min = 500,
        .received_header = true,
        .trace = {.header_name = SLICE(CONF_TRACE_HEADER)},
    };
    CHECK(endpoint_parse(SLICE("127.0.0.1:2025"), 0, &listener.listen));
    return listener;
}

static bool is_listener_array(struct conf_load *load, const struct conf_value *array)
{
    if (array != NULL && !array->table_array) {
        conf_error(load, array, "write [[%.*s]], a listener each", (int)array->key.size,
                   (const char *)array->key.data);
        return false;
    }
    return true;
}

static const struct endpoint *place_at(const struct endpoint *first, size_t stride, size_t index)
{
    return (const void *)((const uint8_t *)first + index * stride);
}

/* Two that cannot both be bound; port 0 always can. The places stand `stride` bytes apart. */
static void listeners_check(struct conf_load *load, const struct conf_value *array,
                            const struct endpoint *first, size_t stride)
{
    size_t index = 0;
    for (const struct conf_value *at = array->first; at != NULL; at = at->next, index++) {
        for (size_t other = 0; other < index; other++) {
            const struct endpoint *a = place_at(first, stride, index);
            const struct endpoint *b = place_at(first, stride, other);
            if (a->port != 0 && endpoint_equal(a, b)) {
                conf_error(load, at, "listener %zu listens where listener %zu does", index, other);
            }
        }
    }
}

void conf_apply_smtp_listeners(struct conf_load *load, const struct conf_value *array,
                               struct conf *conf)
{
    if (!is_listener_array(load, array)) {
        return;
    }
    size_t count = array == NULL ? 1 : array->count;
    if (count > CONF_LISTENERS_MAX) {
        conf_error(load, array, "at most %d of [[smtp_listener]]", CONF_LISTENERS_MAX);
        return;
    }
    struct conf_smtp_listener *listeners =
        heap_take_array(load->heap, count, sizeof(*listeners));
    conf->smtp_listeners = listeners;
    conf->smtp_listener_count = count;
    listeners[0] = smtp_listener_default(load, conf);
    if (array == NULL) {
        return;
    }
    size_t index = 0;
    for (const struct conf_value *at = array->first; at != NULL; at = at->next, index++) {
        listeners[index] = smtp_listener_default(load, conf);
        conf_options_apply(load, &smtp_listener_options, at, &listeners[index]);
    }
    listeners_check(load, array, &listeners[0].listen, sizeof(*listeners));
}

static struct conf_http_listener http_listener_default(struct conf_load *load,
                                                       const struct conf *conf)
{
    struct conf_http_listener listener = {
        .hostname = conf->node.hostname,
        .trusted_hosts = loopback_hosts(load),
        .trusted_host_count = LOOPBACK_HOSTS,
        .request_body_limit = 64 * MIB,
    };
    struct slice listen = load->input->program == CONF_TSAD ? SLICE("127.0.0.1:8008")
                                                             : SLICE("127.0.0.1:8000");
    CHECK(endpoint_parse(listen, 0, &listener.listen));
    return listener;
}

void conf_apply_http_listeners(struct conf_load *load, const struct conf_value *array,
                               struct conf *conf)
{
    if (array != NULL && array->kind == TOML_ARRAY && array->count == 0) {
        return; /* `http_listener = []`: none */
    }
    if (!is_listener_array(load, array)) {
        return;
    }
    size_t count = array == NULL ? 1 : array->count;
    if (count > CONF_LISTENERS_MAX) {
        conf_error(load, array, "at most %d of [[http_listener]]", CONF_LISTENERS_MAX);
        return;
    }
    struct conf_http_listener *listeners =
        heap_take_array(load->heap, count, sizeof(*listeners));
    conf->http_listeners = listeners;
    conf->http_listener_count = count;
    listeners[0] = http_listener_default(load, conf);
    if (array == NULL) {
        return;
    }
    uint32_t index = 0;
    for (const struct conf_value *at = array->first; at != NULL; at = at->next, index++) {
        listeners[index] = http_listener_default(load, conf);
        conf_options_apply(load, &http_listener_options, at, &listeners[index]);
    }
    listeners_check(load, array, &listeners[0].listen, sizeof(*listeners));
}

/* --- what only a restart changes -------------------------------------------------------------- */

void conf_sections_keep(struct conf *next, const struct conf *running, struct heap *heap)
{
    conf_options_keep(&node_options, &next->node, &running->node);
    conf_options_keep(&spool_options, &next->spool, &running->spool);
    conf_options_keep(&memory_options, &next->memory, &running->memory);
    conf_options_keep(&log_options, &next->log, &running->log);
    conf_options_keep(&tsa_options, &next->tsa, &running->tsa);
    size_t count = next->smtp_listener_count;
    struct conf_smtp_listener *listeners =
        heap_take_array(heap, count + 1, sizeof(*listeners));
    for (size_t i = 0; i < count; i++) {
        listeners[i] = next->smtp_listeners[i];
        conf_options_keep(&smtp_listener_options, &listeners[i], &running->smtp_listeners[i]);
    }
    next->smtp_listeners = listeners;
}
