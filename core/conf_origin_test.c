/* Where options come from, what two configurations differ in, and what a change of each takes. */
#include "core/conf_origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/conf_option.h"
#include "tests/kit/conf_kit.h"

static char said[4096];

static struct conf *load_files(const char *const *files, const char *const *sets, size_t set_count)
{
    struct conf *conf = conf_kit_load(files, sets, set_count, said, sizeof(said));
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    return conf;
}

static struct conf *load(const char *text)
{
    const char *const files[] = {"t.toml", text, NULL};
    return load_files(files, NULL, 0);
}

static void expect_text(struct slice text, const char *expected)
{
    if (expected == NULL) {
        assert_null(text.data);
    } else if (!slice_equal(text, slice_from_string(expected))) {
        fail_msg("\"%.*s\", not \"%s\"", (int)text.size, (const char *)text.data, expected);
    }
}

/* --- what a change takes ---------------------------------------------------------------------- */

#define Q "queues.queue.\"a.test\"."
#define P "shaping.\"a.test\"."
#define S "sources.source.s."
#define L "smtp_listener.0."
#define H "http_listener.0."

static const struct {
    const char *key;
    const char *first;
    const char *second;
    enum conf_effect effect;
} options[] = {
    {"node.hostname", "\"a.test\"", "\"b.test\"", CONF_NOW},
    {"node.id", "\"00000000000000000000000000000001\"", "\"00000000000000000000000000000002\"",
     CONF_RESTART},
    {"node.shards", "1", "2", CONF_RESTART},
    {"node.pin", "true", "false", CONF_RESTART},
    {"node.state_dir", "\"a\"", "\"b\"", CONF_RESTART},
    {"node.user", "\"a\"", "\"b\"", CONF_RESTART},
    {"node.group", "\"a\"", "\"b\"", CONF_RESTART},
    {"node.stop_timeout", "\"1s\"", "\"2s\"", CONF_RESTART},
    {"node.congestion_control", "\"a\"", "\"b\"", CONF_RESTART},
    {"spool.path", "\"a\"", "\"b\"", CONF_RESTART},
    {"spool.sync", "\"commit\"", "\"none\"", CONF_RESTART},
    {"spool.method", "\"auto\"", "\"dsync\"", CONF_RESTART},
    {"spool.segment_size", "\"1MiB\"", "\"2MiB\"", CONF_RESTART},
    {"spool.min_free_space", "\"1%\"", "\"2%\"", CONF_RESTART},
    {"spool.recovery_spread", "\"1s\"", "\"2s\"", CONF_RESTART},
    {"spool.store_deadline", "\"1s\"", "\"2s\"", CONF_RESTART},
    {"spool.compact_after", "\"1s\"", "\"2s\"", CONF_RESTART},
    {"memory.limit", "\"64MiB\"", "\"65MiB\"", CONF_RESTART},
    {"memory.staging", "\"4MiB\"", "\"5MiB\"", CONF_RESTART},
    {"memory.max_queued", "1", "2", CONF_RESTART},
    {"log.path", "\"a\"", "\"b\"", CONF_RESTART},
    {"log.max_file_size", "\"1MiB\"", "\"2MiB\"", CONF_NOW},
    {"log.max_segment_duration", "\"1s\"", "\"2s\"", CONF_NOW},
    {"log.flush_interval", "\"1s\"", "\"2s\"", CONF_NOW},
    {"log.compression_level", "1", "2", CONF_NOW},
    {"log.retention", "\"1s\"", "\"2s\"", CONF_NOW},
    {"log.max_total_size", "\"1MiB\"", "\"2MiB\"", CONF_NOW},
    {"log.max_backlog", "\"1%\"", "\"2%\"", CONF_RESTART},
    {"dns.servers", "[]", "[\"127.0.0.1\"]", CONF_NOW},
    {"dns.trusted", "[]", "[\"127.0.0.1\"]", CONF_NOW},
    {"dns.timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {"dns.attempts", "1", "2", CONF_NOW},
    {"dns.cache_size", "100", "200", CONF_RESTART},
    {"dns.static", "\"a.test. A 10.0.0.1\"", "\"a.test. A 10.0.0.2\"", CONF_NOW},
    {"dns.static_rcode.\"a.test\"", "\"SERVFAIL\"", "\"TIMEOUT\"", CONF_NOW},
    {"dns.static_secure", "[]", "[\"a.test\"]", CONF_NOW},
    {"tsa.mode", "\"off\"", "\"embedded\"", CONF_NOW},
    {"tsa.publish", "[]", "[\"http://a:1\"]", CONF_RESTART},
    {"tsa.database", "\"a.db\"", "\"b.db\"", CONF_RESTART},
    {"tsa.subscribe", "[]", "[\"http://a:1\"]", CONF_RESTART},
    {"tsa.effects", "100", "200", CONF_RESTART},
    {"tsa.counters", "100", "200", CONF_RESTART},
    {L "listen", "\"127.0.0.1:1\"", "\"127.0.0.1:2\"", CONF_RESTART},
    {L "hostname", "\"a\"", "\"b\"", CONF_NOW},
    {L "banner", "\"a\"", "\"b\"", CONF_NOW},
    {L "relay_hosts", "[]", "[\"10.0.0.0/8\", \"::1\"]", CONF_NOW},
    {L "require_proxy_protocol", "[]", "[\"10.0.0.0/8\", \"::1\"]", CONF_NOW},
    {L "allow_xclient", "[]", "[\"10.0.0.0/8\", \"::1\"]", CONF_NOW},
    {L "max_message_size", "\"1MiB\"", "\"2MiB\"", CONF_NOW},
    {L "max_connections", "1", "2", CONF_RESTART},
    {L "max_connections_per_host", "1", "2", CONF_NOW},
    {L "max_recipients_per_message", "1", "2", CONF_NOW},
    {L "max_messages_per_connection", "1", "2", CONF_NOW},
    {L "client_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {L "min_data_rate", "1", "2", CONF_NOW},
    {L "trace_headers.received_header", "true", "false", CONF_NOW},
    {L "trace_headers.supplemental_header", "true", "false", CONF_NOW},
    {L "trace_headers.header_name", "\"X-A\"", "\"X-B\"", CONF_NOW},
    {L "trace_headers.include_meta_names", "[]", "[\"tenant\"]", CONF_NOW},
    {"tsa.judge_reports", "true", "false", CONF_NOW},
    {"domains.\"a.test\".relay_to", "true", "false", CONF_NOW},
    {"domains.\"a.test\".relay_from", "[]", "[\"10.0.0.0/8\"]", CONF_NOW},
    {"domains.\"a.test\".log_oob", "\"LogThenDrop\"", "true", CONF_NOW},
    {"domains.\"a.test\".log_arf", "\"LogThenDrop\"", "true", CONF_NOW},
    {H "listen", "\"127.0.0.1:1\"", "\"127.0.0.1:2\"", CONF_RESTART},
    {H "hostname", "\"a\"", "\"b\"", CONF_NOW},
    {H "trusted_hosts", "[]", "[\"10.0.0.0/8\"]", CONF_NOW},
    {H "request_body_limit", "\"1MiB\"", "\"2MiB\"", CONF_NOW},
    {H "inject_rate", "\"1/s\"", "\"2/s\"", CONF_NOW},
    {S "source_address", "\"192.0.2.1\"", "\"192.0.2.2\"", CONF_NOW},
    {S "ehlo_domain", "\"a\"", "\"b\"", CONF_NOW},
    {S "remote_port", "25", "26", CONF_NOW},
    {"sources.pool.p.unspecified.weight", "1", "2", CONF_NOW},
    {"queues.tenant_header", "\"a\"", "\"b\"", CONF_NOW},
    {"queues.remove_tenant_header", "true", "false", CONF_NOW},
    {"queues.default_tenant", "\"a\"", "\"b\"", CONF_NOW},
    {"queues.campaign_header", "\"a\"", "\"b\"", CONF_NOW},
    {"queues.remove_campaign_header", "true", "false", CONF_NOW},
    {"queues.class_header", "\"a\"", "\"b\"", CONF_NOW},
    {"queues.queue.default.retry_interval", "\"1s\"", "\"2s\"", CONF_NOW},
    {Q "retry_interval", "\"1s\"", "\"2s\"", CONF_NOW},
    {Q "max_retry_interval", "\"1s\"", "\"2s\"", CONF_NOW},
    {Q "max_age", "\"1s\"", "\"2s\"", CONF_NOW},
    {Q "protocol.smtp.mx_list", "[\"[10.0.0.1]:25\"]", "[\"[10.0.0.1]:25\", \"[10.0.0.2]:25\"]",
     CONF_NOW},
    {Q "routing_domain", "\"[10.0.0.1]\"", "\"[10.0.0.2]\"", CONF_NOW},
    {Q "class", "\"bulk\"", "\"urgent\"", CONF_NOW},
    {Q "weight", "1", "2", CONF_NOW},
    {Q "max_message_rate", "\"1/s\"", "\"2/s\"", CONF_NOW},
    {Q "provider_name", "\"a\"", "\"b\"", CONF_NOW},
    {Q "t.weight", "1", "2", CONF_NOW},
    {"queues.scheduling_header", "\"a\"", "\"b\"", CONF_NOW},
    {Q "t.\"a c\".weight", "1", "2", CONF_NOW},
    /* With the others, which are said together: see load_one. */
    {Q "dow", "\"Mon\"", "\"Tue\"", CONF_NOW},
    {Q "start", "\"01:00\"", "\"02:00\"", CONF_NOW},
    {Q "end", "\"09:00\"", "\"10:00\"", CONF_NOW},
    {Q "overall_max_message_rate", "\"1/s\"", "\"2/s\"", CONF_NOW},
    {"queues.tenant.t.overall_max_message_rate", "\"1/s\"", "\"2/s\"", CONF_NOW},
    {"shaping.default.connection_limit", "1", "2", CONF_NOW},
    {P "connection_limit", "1", "2", CONF_NOW},
    {P "additional_connection_limits.\"a b\"", "1", "2", CONF_NOW},
    {P "max_connection_rate", "\"1/s\"", "\"2/s\"", CONF_NOW},
    {P "max_message_rate", "\"1/s\"", "\"2/s\"", CONF_NOW},
    {P "additional_message_rate_throttles.t", "\"1/s\"", "\"2/s\"", CONF_NOW},
    {P "source_selection_rate", "\"1/s\"", "\"2/s\"", CONF_NOW},
    {P "additional_source_selection_rates.t", "\"1/s\"", "\"2/s\"", CONF_NOW},
    {P "sources.s.max_ready", "1", "2", CONF_NOW},
    {P "max_deliveries_per_connection", "1", "2", CONF_NOW},
    {P "max_recipients_per_batch", "1", "2", CONF_NOW},
    {P "max_ready", "1", "2", CONF_NOW},
    {P "consecutive_connection_failures_before_delay", "1", "2", CONF_NOW},
    {P "smtp_port", "1", "2", CONF_NOW},
    {P "connect_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "banner_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "ehlo_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "starttls_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "auth_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "mail_from_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "rcpt_to_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "data_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "data_dot_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "rset_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "idle_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "system_shutdown_timeout", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "remember_broken_tls", "\"1s\"", "\"2s\"", CONF_NOW},
    {P "enable_tls", "\"Disabled\"", "\"Required\"", CONF_NOW},
    {P "opportunistic_tls_reconnect_on_failed_handshake", "true", "false", CONF_NOW},
    {P "ehlo_domain", "\"a\"", "\"b\"", CONF_NOW},
    {P "enable_pipelining", "true", "false", CONF_NOW},
    {P "enable_rset", "true", "false", CONF_NOW},
    {P "ignore_8bit_checks", "true", "false", CONF_NOW},
    {P "reconnect_strategy", "\"TerminateSession\"", "\"ReconnectSameHost\"", CONF_NOW},
    {P "try_next_host_on_transport_error", "true", "false", CONF_NOW},
    {P "provider_name", "\"a\"", "\"b\"", CONF_NOW},
    {P "ip_lookup_strategy", "\"Ipv4Only\"", "\"Ipv6Only\"", CONF_NOW},
    {P "prohibited_hosts", "[]", "[\"10.0.0.1\"]", CONF_NOW},
    {P "skip_hosts", "[]", "[\"10.0.0.1\"]", CONF_NOW},
    {P "mx_rollup", "true", "false", CONF_NOW},
};

/* Those of a queue that are said together. */
static const char *const hours[] = {Q "dow=\"Wed\"", Q "tz=\"UTC\"", Q "start=\"03:00\"",
                                    Q "end=\"04:00\""};

static bool is_of_hours(const char *key)
{
    bool is = false;
    for (size_t i = 0; i < COUNT_OF(hours); i++) {
        is = is || strncmp(hours[i], key, strlen(key)) == 0;
    }
    return is && key[0] != '\0';
}

static struct conf *load_one(const char *key, const char *value)
{
    char set[512];
    const char *sets[1 + COUNT_OF(hours)] = {set};
    size_t count = value == NULL ? 0 : 1;
    snprintf(set, sizeof(set), "%s=%s", key, value);
    for (size_t i = 0; i < COUNT_OF(hours) && is_of_hours(key); i++) {
        if (strncmp(hours[i], key, strlen(key)) != 0) {
            sets[count++] = hours[i];
        }
    }
    return load_files(NULL, sets, count);
}

static void expect_change(const struct conf *old_conf, const struct conf *new_conf, unsigned row,
                          const char *old_text, const char *new_text)
{
    struct heap heap;
    const struct conf_change *changes;
    heap_init(&heap);
    assert_int_equal(conf_difference(old_conf, new_conf, &heap, &changes), 1);
    expect_text(changes[0].key, options[row].key);
    expect_text(changes[0].old_text, old_text);
    expect_text(changes[0].new_text, new_text);
    assert_int_equal(changes[0].effect, options[row].effect);
    heap_fini(&heap);
}

static size_t differences(const struct conf *old_conf, const struct conf *new_conf)
{
    struct heap heap;
    const struct conf_change *changes;
    heap_init(&heap);
    size_t count = conf_difference(old_conf, new_conf, &heap, &changes);
    heap_fini(&heap);
    return count;
}

/* Set, changed and taken away: one change each, with its texts; and once the next configuration has
 * kept what a restart alone changes, only that is still told, however often it is asked for. */
static void every_option_says_what_a_change_of_it_takes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(options); i++) {
        struct conf *first = load_one(options[i].key, options[i].first);
        struct conf *second = load_one(options[i].key, options[i].second);
        struct conf *again = load_one(options[i].key, options[i].second);
        struct conf *none = load_one("", NULL);
        const struct conf_setting *found =
            conf_setting_find(first, slice_from_string(options[i].key));
        assert_non_null(found);
        expect_text(found->origin, "--set");
        expect_change(first, second, i, options[i].first, options[i].second);
        assert_int_equal(differences(second, again), 0);
        if (strstr(options[i].key, "listener") == NULL && !is_of_hours(options[i].key)) {
            expect_change(none, first, i, NULL, options[i].first);
            expect_change(first, none, i, options[i].first, NULL);
        }
        conf_keep(second, first);
        assert_int_equal(differences(second, again), options[i].effect == CONF_RESTART);
        assert_int_equal(differences(first, second), options[i].effect == CONF_NOW);
        conf_free(first);
        conf_free(second);
        conf_free(again);
        conf_free(none);
    }
}

static void fields_that_a_restart_changes_are_kept_and_the_others_are_not(void **state)
{
    (void)state;
    struct conf *running = load("[node]\nhostname = \"a\"\nstop_timeout = \"1s\"\nshards = 2\n"
                                "[spool]\npath = \"/s\"\n[log]\npath = \"/l\"\n"
                                "[[smtp_listener]]\nmax_connections = 7\nbanner = \"a\"\n");
    struct conf *next = load("[node]\nhostname = \"b\"\nstop_timeout = \"2s\"\n"
                             "[log]\nflush_interval = \"3s\"\n"
                             "[[smtp_listener]]\nmax_connections = 8\nbanner = \"b\"\n");
    conf_keep(next, running);
    assert_true(slice_equal(next->node.hostname, SLICE("b")));
    assert_int_equal(next->node.stop_timeout_ns, NS_PER_S);
    assert_int_equal(next->node.shards, 2);
    assert_string_equal(next->spool.path, "/s");
    assert_string_equal(next->log.path, "/l");
    assert_int_equal(next->log.flush_ns, 3 * NS_PER_S);
    assert_int_equal(next->smtp_listeners[0].connections_max, 7);
    assert_true(slice_equal(next->smtp_listeners[0].banner, SLICE("b")));
    conf_free(next);
    conf_free(running);
}

/* Who may relay here must not become who may relay there. */
static void listeners_that_move_stay_as_they_were_with_all_their_options(void **state)
{
    (void)state;
    static const char a[] = "[[smtp_listener]]\nlisten = \"127.0.0.1:25\"\nrelay_hosts = []\n"
                            "[[smtp_listener]]\nlisten = \"127.0.0.1:26\"\n"
                            "relay_hosts = [\"10.0.0.0/8\"]\n"
                            "require_proxy_protocol = [\"10.9.0.0/16\"]\n"
                            "allow_xclient = [\"10.8.0.0/16\"]\n"
                            "[[http_listener]]\nlisten = \"127.0.0.1:80\"\ntrusted_hosts = []\n";
    static const char b[] = "http_listener = []\n[[smtp_listener]]\nlisten = \"127.0.0.1:26\"\n"
                            "relay_hosts = [\"10.0.0.0/8\"]\n"
                            "[[smtp_listener]]\nlisten = \"127.0.0.1:25\"\nrelay_hosts = []\n";
    struct heap heap;
    const struct conf_change *changes;
    struct conf *running = load(a);
    struct conf *next = load(b);
    heap_init(&heap);
    size_t count = conf_difference(running, next, &heap, &changes);
    assert_int_equal(count, 9);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(changes[i].effect, CONF_RESTART);
    }
    conf_keep(next, running);
    heap_fini(&heap);
    assert_int_equal(differences(running, next), 0);
    assert_int_equal(next->smtp_listener_count, 2);
    assert_int_equal(next->smtp_listeners[0].listen.port, 25);
    assert_int_equal(next->smtp_listeners[0].relay_host_count, 0);
    assert_int_equal(next->http_listener_count, 1);
    conf_free(running); /* nothing of the listeners is borrowed from it */
    assert_int_equal(next->smtp_listeners[1].relay_host_count, 1);
    struct endpoint peer;
    assert_true(endpoint_parse_address(SLICE("10.1.2.3"), &peer));
    assert_true(network_contains(&next->smtp_listeners[1].relay_hosts[0], &peer));
    assert_true(endpoint_parse_address(SLICE("10.9.2.3"), &peer));
    assert_int_equal(next->smtp_listeners[1].proxy_count, 1);
    assert_true(network_contains(&next->smtp_listeners[1].proxies[0], &peer));
    assert_true(endpoint_parse_address(SLICE("10.8.2.3"), &peer));
    assert_int_equal(next->smtp_listeners[1].xclient_host_count, 1);
    assert_true(network_contains(&next->smtp_listeners[1].xclient_hosts[0], &peer));
    assert_true(slice_equal(next->smtp_listeners[1].banner, SLICE("ESMTP Ringpost")));
    conf_free(next);
}

/* --- G-10 ------------------------------------------------------------------------------------- */

static void g10_a_secret_is_masked_and_its_change_seen(void **state)
{
    (void)state;
    static const struct conf_option rows[] = {
        {.name = "password", .kind = OPTION_TEXT, .max = 40, .secret = true},
    };
    static const struct conf_options table = {.options = rows, .count = 1, RELOADS};
    struct conf confs[2] = {0};
    struct heap heap;
    heap_init(&heap);
    for (unsigned i = 0; i < 2; i++) {
        struct slice password;
        struct conf_messages messages = {0};
        struct conf_load at = {.heap = &heap, .messages = &messages};
        heap_init(&at.scratch);
        at.root = heap_take(&at.scratch, sizeof(*at.root));
        at.root->kind = TOML_TABLE;
        conf_tree_add(&at, "t.toml", i == 0 ? SLICE("password = \"sesame\"\n")
                                            : SLICE("password = \"barley\"\n"));
        conf_options_apply(&at, &table, at.root, &password);
        conf_settings_collect(&at, &confs[i]);
        assert_int_equal(password.size, 6);
        heap_fini(&at.scratch);
    }
    const struct conf_change *changes;
    assert_int_equal(conf_difference(&confs[0], &confs[1], &heap, &changes), 1);
    expect_text(changes[0].key, "password");
    expect_text(changes[0].old_text, "\"***\"");
    expect_text(changes[0].new_text, "\"***\"");
    heap_fini(&heap);
}

/* --- texts and origins ------------------------------------------------------------------------ */

static void settings_have_their_text_and_place(void **state)
{
    (void)state;
    static const char *const files[] = {
        "d/t.toml",
        "include = [\"more.toml\"]\n"
        "[node]\nhostname = \"a.test\"\n"
        "[queues.queue.default]\n"
        "protocol = { smtp = { mx_list = [{name = \"m.test\", addr = \"10.0.0.1:25\"}, "
        "\"[10.0.0.2]\"] } }\n"
        "[queues.tenant.\"t\"]\n"
        "[shaping.\"*.a.test\"]\nconnection_limit = \"local:3\"\n",
        "d/more.toml",
        "[[smtp_listener]]\nbanner = \"a \\\"b\\\" \\\\\"\n[[smtp_listener]]\n"
        "listen = \"127.0.0.1:0\"\nrelay_hosts = []\n",
        NULL,
    };
    static const struct {
        const char *key;
        const char *text;
        const char *origin;
    } rows[] = {
        {"node.hostname", "\"a.test\"", "d/t.toml:3"},
        {"queues.queue.default.protocol.smtp.mx_list",
         "[{addr = \"10.0.0.1:25\", name = \"m.test\"}, \"[10.0.0.2]\"]", "d/t.toml:5"},
        {"queues.tenant.t", "{}", "d/t.toml:6"},
        {"shaping.\"*.a.test\".connection_limit", "7", "--set"},
        {"smtp_listener.0.banner", "\"a \\\"b\\\" \\\\\"", "d/more.toml:2"},
        {"smtp_listener.1.listen", "\"127.0.0.1:0\"", "d/more.toml:4"},
        {"smtp_listener.1.relay_hosts", "[]", "d/more.toml:5"},
    };
    const char *const sets[] = {"shaping.\"*.a.test\".connection_limit=7"};
    struct conf *conf = load_files(files, sets, 1);
    assert_int_equal(conf->setting_count, COUNT_OF(rows));
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        const struct conf_setting *found = conf_setting_find(conf, slice_from_string(rows[i].key));
        assert_non_null(found);
        expect_text(found->text, rows[i].text);
        expect_text(found->origin, rows[i].origin);
    }
    conf_free(conf);
}

struct seen {
    const char *name;
    char value[64];
    char origin[64];
};

static void see(void *context, const char *name, struct slice value, struct slice origin)
{
    struct seen *seen = context;
    if (strcmp(name, seen->name) == 0) {
        assert_string_equal(seen->origin, ""); /* once */
        snprintf(seen->value, sizeof(seen->value), "%.*s", (int)value.size,
                 (const char *)value.data);
        snprintf(seen->origin, sizeof(seen->origin), "%.*s", (int)origin.size,
                 (const char *)origin.data);
    }
}

static void what_is_in_force_comes_from_the_innermost_block_that_says_it(void **state)
{
    (void)state;
    struct conf *conf = load(
        "[queues.queue.default]\nretry_interval = \"1m\"\nweight = 1\n"   /* 2, 3 */
        "[queues.queue.\"*.a.test\"]\nweight = 2\nmax_age = \"1h\"\n"     /* 5, 6 */
        "[queues.tenant.t]\nweight = 3\noverall_max_message_rate = \"5/s\"\n" /* 8, 9 */
        "[queues.queue.\"x.a.test\".t]\nweight = 4\n"                     /* 11 */
        "[queues.queue.default.t.c]\nweight = 5\n"                        /* 13 */
        "[queues.queue.default.t.campaigns.d]\nweight = 6\n"              /* 15 */
        "[shaping.default]\nconnection_limit = 9\nmax_message_rate = \"1/s\"\n" /* 17, 18 */
        "[shaping.\"a.test\"]\nconnection_limit = 8\n"                    /* 20 */
        "additional_connection_limits = {\"n m\" = 4}\n");                /* 21 */
    static const struct {
        const char *campaign;
        const char *tenant;
        const char *domain;
        const char *name;
        const char *value;
        const char *origin; /* null: it is not among them */
    } rows[] = {
        {"", "", "b.test", "weight", "1", "t.toml:3"},
        {"", "", "b.test", "retry_interval", "\"1m\"", "t.toml:2"},
        {"", "", "b.test", "max_age", "\"604800s\"", "default"},
        {"", "", "b.test", "max_retry_interval", "", NULL},
        {"", "", "y.A.test", "weight", "2", "t.toml:5"},
        {"", "", "y.a.test", "max_age", "\"1h\"", "t.toml:6"},
        {"", "t", "b.test", "weight", "3", "t.toml:8"},
        {"", "t", "b.test", "overall_max_message_rate", "\"5/s\"", "t.toml:9"},
        {"", "t", "x.a.test", "weight", "4", "t.toml:11"},
        {"", "u", "x.a.test", "weight", "2", "t.toml:5"}, /* not defined: none */
        {"c", "t", "x.a.test", "weight", "5", "t.toml:13"},
        {"d", "t", "b.test", "weight", "6", "t.toml:15"},
        {"", "", "b.test", "connection_limit", "9", "t.toml:17"},
        {"", "", "a.test", "connection_limit", "8", "t.toml:20"},
        {"", "", "a.test", "additional_connection_limits.\"n m\"", "4", "t.toml:21"},
        {"", "", "a.test", "additional_connection_limits", "", NULL},
        {"", "", "b.test", "additional_connection_limits.\"n m\"", "", NULL},
        {"", "", "b.test", "egress_pool", "\"unspecified\"", "default"},
        {"", "", "a.test", "shaping.max_message_rate", "\"1/s\"", "t.toml:18"},
        {"", "", "a.test", "max_message_rate", "", NULL},
        {"", "", "a.test", "enable_tls", "\"Opportunistic\"", "default"},
        {"", "", "a.test", "smtp_port", "25", "default"},
        {"", "", "a.test", "enable_pipelining", "true", "default"},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct seen seen = {.name = rows[i].name};
        const struct conf_queue_key key = {slice_from_string(rows[i].campaign),
                                           slice_from_string(rows[i].tenant),
                                           slice_from_string(rows[i].domain)};
        conf_queue_visit(conf, &key, see, &seen);
        struct shaping_path path;
        (void)shaping_path_of(conf, key.domain, SLICE_NONE, &path);
        conf_path_visit(&path, see, &seen);
        assert_string_equal(seen.value, rows[i].value);
        assert_string_equal(seen.origin, rows[i].origin == NULL ? "" : rows[i].origin);
    }
    conf_free(conf);
}

static void paths_have_the_same_fingerprint_when_they_say_the_same(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool same_default;
        bool same_block;
    } rows[] = {
        {"[shaping.default]\nmax_ready = 5\n[shaping.\"a.test\"]\nconnection_limit = 1\n",
         true, true},
        {"[shaping.default]\nmax_ready = 5\n[shaping.\"a.test\"]\nconnection_limit = 2\n",
         true, false},
        {"[shaping.default]\nmax_ready = 6\n[shaping.\"a.test\"]\nconnection_limit = 1\n",
         false, false},
        {"[node]\nhostname = \"h\"\n[shaping.default]\nmax_ready = 5\n[shaping.\"a.test\"]\n"
         "connection_limit = 1\n", false, false},
    };
    struct conf *running = load(rows[0].text);
    uint64_t block = conf_kit_path(running, SLICE("A.test"), SLICE_NONE)->fingerprint;
    uint64_t fallback = conf_kit_path(running, SLICE("b.test"), SLICE_NONE)->fingerprint;
    assert_int_not_equal(block, fallback);
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct conf *next = load(rows[i].text);
        assert_int_equal(conf_kit_path(next, SLICE("a.test"), SLICE_NONE)->fingerprint == block,
                         rows[i].same_block);
        assert_int_equal(conf_kit_path(next, SLICE("b.test"), SLICE_NONE)->fingerprint == fallback,
                         rows[i].same_default);
        conf_free(next);
    }
    conf_free(running);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_says_what_a_change_of_it_takes),
        cmocka_unit_test(fields_that_a_restart_changes_are_kept_and_the_others_are_not),
        cmocka_unit_test(listeners_that_move_stay_as_they_were_with_all_their_options),
        cmocka_unit_test(g10_a_secret_is_masked_and_its_change_seen),
        cmocka_unit_test(settings_have_their_text_and_place),
        cmocka_unit_test(what_is_in_force_comes_from_the_innermost_block_that_says_it),
        cmocka_unit_test(paths_have_the_same_fingerprint_when_they_say_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
