#include "core/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/conf_text.h"
#include "tests/kit/conf_kit.h"

#define S NS_PER_S

static char said[8192];

/* Loads files[0] with the other files there to be included; what was said stands in `said`. */
static struct conf *load(const char *const *files, const char *const *sets, size_t set_count)
{
    return conf_kit_load(files, sets, set_count, said, sizeof(said));
}

static struct conf *load_text(const char *text)
{
    const char *const files[] = {"t.toml", text, NULL};
    return load(files, NULL, 0);
}

/* Valid until the next call. */
static const struct queue_options *queue_of(const struct conf *conf, const char *campaign,
                                            const char *tenant, const char *domain)
{
    static struct queue_options options;
    const struct conf_queue_key key = {
        .campaign = slice_from_string(campaign),
        .tenant = slice_from_string(tenant),
        .domain = slice_from_string(domain),
    };
    conf_queue(conf, &key, &options);
    return &options;
}

static void without_a_file_a_node_on_loopback(void **state)
{
    (void)state;
    struct conf *conf = load(NULL, NULL, 0);
    assert_non_null(conf);
    assert_string_equal(said, "");
    assert_true(slice_equal(conf->node.hostname, SLICE("box.test")));
    assert_string_equal(conf->node.state_dir, "var");
    assert_string_equal(conf->spool.path, "var/spool");
    assert_string_equal(conf->log.path, "var/log");
    assert_int_equal(conf->spool.segment_bytes, 128 * MIB);
    assert_int_equal(conf->spool.sync, CONF_SYNC_COMMIT);
    assert_int_equal(conf->smtp_listener_count, 1);
    assert_int_equal(conf->smtp_listeners[0].listen.port, 2025);
    assert_true(endpoint_is_loopback(&conf->smtp_listeners[0].listen));
    assert_int_equal(conf->smtp_listeners[0].relay_host_count, 2);
    assert_int_equal(conf->http_listener_count, 1);
    assert_int_equal(conf->http_listeners[0].listen.port, 8000);
    assert_true(endpoint_is_loopback(&conf->http_listeners[0].listen));
    assert_int_equal(conf->http_listeners[0].trusted_host_count, 2);
    assert_int_equal(conf->http_listeners[0].request_body_limit, 64 * MIB);
    assert_true(slice_equal(conf->http_listeners[0].hostname, conf->node.hostname));
    const struct queue_options *queue = queue_of(conf, "", "", "x.test");
    assert_int_equal(queue->retry_interval_ns, 1200 * S);
    assert_int_equal(queue->weight, 100);
    assert_int_equal(queue->mx_count, 0);
    const struct path_options *path = conf_kit_path(conf, SLICE("x.test"), SLICE_NONE);
    assert_int_equal(path->banner_timeout_ns, 300 * S);
    assert_int_equal(path->data_timeout_ns, 120 * S);
    assert_int_equal(path->data_dot_timeout_ns, 600 * S);
    assert_int_equal(path->idle_timeout_ns, 60 * S);
    assert_false(path->enable_rset);
    assert_true(path->enable_pipelining);
    assert_int_equal(path->prohibited_host_count, 4);
    conf_free(conf);
}

static void an_empty_array_means_no_http(void **state)
{
    static const char *const without[] = {"http_listener=[]"};
    static const char *const with[] = {
        "t.toml", "[[http_listener]]\nhostname = \"a.test\"\n", NULL};
    (void)state;
    struct conf *confs[] = {load_text("http_listener = []\n"), load(NULL, without, 1),
                            load(with, without, 1)};
    for (size_t i = 0; i < COUNT_OF(confs); i++) {
        assert_non_null(confs[i]);
        assert_int_equal(confs[i]->http_listener_count, 0);
        assert_int_equal(confs[i]->smtp_listener_count, 1);
        conf_free(confs[i]);
    }
    assert_string_equal(said, "");
}

static struct conf *load_tsad(const char *text)
{
    const char *const files[] = {"t.toml", text, NULL};
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .program = CONF_TSAD,
        .file = files[0],
        .hostname = SLICE("box.test"),
        .read = conf_kit_read,
        .read_context = (void *)(uintptr_t)files,
    };
    buf_init(&messages.text, said, sizeof(said) - 1);
    struct conf *conf = conf_load(&input, &messages);
    said[messages.text.size] = '\0';
    return conf;
}

static void a_daemon_without_mail_has_sections_of_its_own(void **state)
{
    (void)state;
    struct conf *conf = load_tsad("[tsa]\neffects = 100\ndatabase = \"db/tsa.db\"\n"
                                  "[shaping.\"a.test\"]\nsmtp_port = 26\n");
    assert_non_null(conf);
    assert_string_equal(said, "");
    assert_int_equal(conf->tsa.effects_max, 100);
    assert_int_equal(conf->tsa.counters_max, 65536);
    assert_string_equal(conf->tsa.database, "db/tsa.db");
    assert_int_equal(conf->http_listeners[0].listen.port, 8008);
    conf_free(conf);
    conf = load_tsad("[log]\npath = \"log\"\n");
    assert_string_equal(said, "t.toml:1:2: note: [log] has no effect in ringpost-tsad\n");
    conf_free(conf);
    assert_null(load_tsad("[spool]\npath = \"spool\"\n"));
    assert_string_equal(said, "t.toml:1:2: error: [spool] is not for ringpost-tsad\n");
}

static void the_black_box_file_loads(void **state)
{
    (void)state;
    struct conf *conf =
        load_text("node = { hostname = \"mta.test\", state_dir = \"state\", shards = 2 }\n"
                  "spool = { path = \"spool\", min_free_space = \"64MiB\" }\n"
                  "log = { path = \"log\", flush_interval = \"200ms\" }\n"
                  "[queues.queue.default]\n"
                  "protocol = { smtp = { mx_list = [\"[127.0.0.1]:2626\"] } }\n"
                  "retry_interval = \"1s\"\n"
                  "[shaping.\"default\"]\n"
                  "enable_tls = \"Disabled\"\n"
                  "connection_limit = 50\n"
                  "[[smtp_listener]]\n"
                  "listen = \"127.0.0.1:2525\"\n"
                  "[[http_listener]]\n"
                  "listen = \"127.0.0.1:0\"\n");
    assert_string_equal(said, "");
    assert_non_null(conf);
    assert_int_equal(conf->node.shards, 2);
    assert_string_equal(conf->spool.path, "spool");
    assert_false(conf->spool.free_space_min.percent);
    assert_int_equal(conf->spool.free_space_min.value, 64 * MIB);
    assert_int_equal(conf->log.flush_ns, 200 * NS_PER_MS);
    assert_true(slice_equal(conf->smtp_listeners[0].hostname, SLICE("mta.test")));
    assert_int_equal(conf->smtp_listeners[0].listen.port, 2525);
    const struct queue_options *queue = queue_of(conf, "", "", "any.test");
    assert_int_equal(queue->mx_count, 1);
    assert_int_equal(queue->mx_list[0].endpoint.port, 2626);
    assert_true(queue->mx_list[0].has_address);
    assert_true(slice_equal(queue->mx_name, SLICE("mx_list:[127.0.0.1]:2626")));
    assert_true(slice_equal(queue->mx_list[0].name, SLICE("127.0.0.1")));
    assert_int_equal(queue->retry_interval_ns, S);
    const struct path_options *path = conf_kit_path(conf, SLICE("any.test"), SLICE_NONE);
    assert_int_equal(path->enable_tls, PATH_TLS_DISABLED);
    assert_int_equal(path->connection_limit, 50);
    conf_free(conf);
}

static const char every_option[] =
    "[node]\nid = \"01234567-89ab-cdef-0123-456789abcdef\"\npin = true\nuser = \"mail\"\n"
    "stop_timeout = \"5m\"\ncongestion_control = \"bbr\"\n"
    "[spool]\nsync = \"none\"\nmethod = \"dsync\"\nsegment_size = \"16MiB\"\n"
    "recovery_spread = \"1s\"\nstore_deadline = 10\ncompact_after = \"5s\"\n"
    "[memory]\nlimit = \"1GiB\"\nstaging = \"8MiB\"\nmax_queued = 5\n"
    "[log]\nmax_file_size = \"1MB\"\nmax_segment_duration = \"1 hour\"\n"
    "compression_level = 1\nretention = \"7 days\"\nmax_total_size = \"2GiB\"\n"
    "max_backlog = \"5GiB\"\n"
    "[tsa]\nmode = \"off\"\n"
    "[[smtp_listener]]\nlisten = \"[::1]:25\"\nhostname = \"in.test\"\nbanner = \"hi\"\n"
    "relay_hosts = [\"10.0.0.0/8\"]\nmax_message_size = \"1MiB\"\nmax_connections = 7\n"
    "max_connections_per_host = 3\nmax_recipients_per_message = 9\n"
    "max_messages_per_connection = 11\nclient_timeout = \"20s\"\nmin_data_rate = 17\n"
    "tls = \"off\"\n"
    "trace_headers = { received_header = false, supplemental_header = true, "
    "header_name = \"X-Ref\", include_meta_names = [\"tenant\", \"x_*\"] }\n"
    "[[http_listener]]\nlisten = \"127.0.0.1:1\"\n"
    "[[http_listener]]\nlisten = \"127.0.0.1:2\"\ninject_rate = \"1,000/s,max_burst=50\"\n"
    "[queues.queue.default]\nmax_retry_interval = \"2h\"\nmax_age = \"3 days\"\n"
    "class = \"urgent\"\nweight = 1000\nrouting_domain = \"[192.0.2.1]\"\n"
    "protocol.smtp.mx_list = [\"192.0.2.2\", {name=\"mx.test\", addr=\"[2001:db8::1]:26\"}]\n"
    "[shaping.default]\nconnection_limit = \"local:3\"\nmax_ready = 8\nsmtp_port = 2626\n"
    "max_deliveries_per_connection = 2\nmax_recipients_per_batch = 4\n"
    "consecutive_connection_failures_before_delay = 6\nidle_timeout = \"7s\"\n"
    "rset_timeout = \"8s\"\nehlo_domain = \"out.test\"\nenable_rset = true\n"
    "ip_lookup_strategy = \"Ipv6Only\"\nreconnect_strategy = \"TerminateSession\"\n"
    "try_next_host_on_transport_error = true\nprovider_name = \"p\"\n"
    "source_selection_rate = \"5/s\"\nadditional_source_selection_rates = {b = \"6/s\"}\n"
    "prohibited_hosts = []\nskip_hosts = [\"192.0.2.0/24\"]\nmx_rollup = false\n";

static void every_option_of_the_node_reaches_its_field(void **state)
{
    (void)state;
    struct conf *conf = load_text(every_option);
    assert_string_equal(said, "");
    assert_true(conf->node.id_set && conf->node.pin);
    assert_int_equal(conf->node.id[7], 0xEF);
    assert_string_equal(conf->node.user, "mail");
    assert_int_equal(conf->node.stop_timeout_ns, 300 * S);
    assert_string_equal(conf->node.congestion, "bbr");
    assert_int_equal(conf->spool.sync, CONF_SYNC_NONE);
    assert_int_equal(conf->spool.method, CONF_METHOD_DSYNC);
    assert_int_equal(conf->spool.store_deadline_ns, 10 * S);
    assert_int_equal(conf->spool.compact_after_ns, 5 * S);
    assert_int_equal(conf->memory.limit_bytes, 1024 * MIB);
    assert_int_equal(conf->memory.queued_max, 5);
    assert_int_equal(conf->log.max_file_bytes, 1000000);
    assert_int_equal(conf->log.max_segment_ns, 3600 * S);
    assert_int_equal(conf->log.level, 1);
    conf_free(conf);
}

static void every_option_of_listeners_queues_and_paths_reaches_its_field(void **state)
{
    (void)state;
    struct conf *conf = load_text(every_option);
    assert_non_null(conf);
    const struct conf_smtp_listener *listener = &conf->smtp_listeners[0];
    assert_false(endpoint_is_v4(&listener->listen));
    assert_true(slice_equal(listener->banner, SLICE("hi")));
    assert_int_equal(listener->relay_host_count, 1);
    assert_int_equal(listener->relay_hosts[0].bits, 104);
    assert_int_equal(listener->message_bytes_max, MIB);
    assert_int_equal(listener->connections_max, 7);
    assert_int_equal(listener->connections_per_host_max, 3);
    assert_int_equal(listener->recipients_max, 9);
    assert_int_equal(listener->messages_max, 11);
    assert_int_equal(listener->client_timeout_ns, 20 * S);
    assert_int_equal(listener->data_rate_min, 17);
    assert_false(listener->received_header);
    assert_true(listener->trace.supplemental_header);
    assert_true(slice_equal(listener->trace.header_name, SLICE("X-Ref")));
    assert_true(conf_names_have(&listener->trace.meta, SLICE("x_order")));
    assert_false(rate_is_set(&conf->http_listeners[0].inject_rate));
    assert_int_equal(conf->http_listeners[1].inject_rate.count, 1000);
    assert_int_equal(conf->http_listeners[1].inject_rate.burst, 50);
    const struct queue_options *queue = queue_of(conf, "", "", "x");
    assert_int_equal(queue->max_retry_interval_ns, 7200 * S);
    assert_int_equal(queue->max_age_ns, 3 * 86400 * S);
    assert_int_equal(queue->class, CONF_CLASS_URGENT);
    assert_int_equal(queue->weight, 1000);
    assert_non_null(queue->routing_domain);
    assert_int_equal(queue->routing_domain->endpoint.port, 0);
    assert_int_equal(queue->mx_count, 2);
    assert_int_equal(queue->mx_list[0].endpoint.port, 0);
    assert_int_equal(queue->mx_list[1].endpoint.port, 26);
    assert_true(slice_equal(queue->mx_list[1].name, SLICE("mx.test")));
    assert_true(slice_equal(queue->mx_name, SLICE("mx_list:192.0.2.2,mx.test")));
    const struct path_options *path = conf_kit_path(conf, SLICE("x"), SLICE_NONE);
    assert_int_equal(path->connection_limit, 3);
    assert_int_equal(path->max_ready, 8);
    assert_int_equal(path->smtp_port, 2626);
    assert_int_equal(path->max_deliveries_per_connection, 2);
    assert_int_equal(path->max_recipients_per_batch, 4);
    assert_int_equal(path->connection_failures_before_delay, 6);
    assert_int_equal(path->idle_timeout_ns, 7 * S);
    assert_int_equal(path->rset_timeout_ns, 8 * S);
    assert_true(slice_equal(path->ehlo_domain, SLICE("out.test")));
    assert_true(path->enable_rset);
    assert_int_equal(path->ip_lookup_strategy, PATH_IPV6_ONLY);
    assert_int_equal(path->reconnect_strategy, PATH_TERMINATE_SESSION);
    assert_true(path->try_next_host_on_transport_error);
    assert_true(slice_equal(path->provider_name, SLICE("p")));
    assert_int_equal(path->source_selection_rate.count, 5);
    assert_int_equal(path->additional_source_selection_rates.rows[0].rate.count, 6);
    assert_int_equal(path->prohibited_host_count, 0);
    assert_int_equal(path->skip_host_count, 1);
    assert_false(path->mx_rollup);
    conf_free(conf);
}

#define LISTENERS_4  "[[smtp_listener]]\n[[smtp_listener]]\n[[smtp_listener]]\n[[smtp_listener]]\n"
#define LISTENERS_16 LISTENERS_4 LISTENERS_4 LISTENERS_4 LISTENERS_4

/* G-02, G-03, G-04: each bad line is refused, with its place. */
static const struct {
    const char *text;
    const char *message;
} bad_files[] = {
    {"[node", "t.toml:1:6: error:"},
    {"[{node]", "t.toml:1:2: error:"},
    {"a = 1.", "t.toml:1:"},
    {"x = \xFF", "t.toml:1:"},
    {"a = 1\na = 2\n", "t.toml:2:5: error:"},
    {"[nod]\nshards = 1\n", "t.toml:1:2: error: unknown key \"nod\", is \"node\" meant?"},
    {"[zzzzzzzz]\n", "t.toml:1:2: error: unknown key \"zzzzzzzz\"\n"},
    {"[node]\nshrads = 1\n", "t.toml:2:1: error: unknown key \"shrads\", is \"shards\" meant?"},
    {"[node]\nShards = 1\n", "unknown key \"Shards\", is \"shards\" meant?"},
    {"[node]\nshards = 257\n", "t.toml:2:1: error: shards = 257 is out of range, 0 to 256"},
    {"[node]\nshards = -1\n", "shards = -1 is out of range"},
    {"[node]\nshards = 1.0\n", "shards wants an integer, not a number with a point"},
    {"[node]\nshards = 9223372036854775808\n", "t.toml:2:"},
    {"[node]\npin = 1\n", "pin wants true or false, not an integer"},
    {"[node]\nhostname = \"a b\"\n", "hostname wants a host name"},
    {"[node]\nid = \"x\"\n", "id wants a UUID"},
    {"[node]\nstop_timeout = \"5\"\n", "stop_timeout wants a duration"},
    {"[node]\nstop_timeout = \"5x\"\n", "stop_timeout wants a duration"},
    {"[node]\nstop_timeout = \"-5s\"\n", "stop_timeout wants a duration"},
    {"[node]\nstop_timeout = \"99999999999d\"\n", "stop_timeout wants a duration"},
    {"[node]\nstop_timeout = \"2d\"\n", "stop_timeout is out of range"},
    {"[node]\nstop_timeout = 1979-05-27\n", "stop_timeout wants a duration"},
    {"node = 5\n", "node wants a table, not an integer"},
    {"[spool]\nsync = \"yes\"\n", "sync wants one of \"commit\", \"none\""},
    {"[spool]\nmin_free_space = \"101%\"\n", "min_free_space wants a share"},
    {"[spool]\nsegment_size = \"1KiB\"\n", "segment_size is out of range"},
    {"[spool]\nsegment_size = 1048577\n", "t.toml:2:1: error: segment_size wants a multiple"},
    {"[spool]\nsegment_size = \"64 parsecs\"\n", "segment_size wants a size"},
    {"[spool]\npath = \"\"\n", "path wants a path"},
    {"[spool]\nmethod = \"fdatasync\"\n", "method = \"fdatasync\": not built yet"},
    {"[spool]\nmin_free_inodes = 5\n", "min_free_inodes: not built yet"},
    {"[[smtp_listener]]\nmin_data_rate = 2000000000\n", "2000000000 is out of range"},
    {"[log]\nretention = \"never\"\n", "t.toml:2:1: error: retention wants a duration"},
    {"[log]\nmax_total_size = 5\n", "t.toml:2:1: error: max_total_size is out of range"},
    {"[log]\nmax_backlog = \"101%\"\n", "t.toml:2:1: error: max_backlog wants a share"},
    {"[log]\nheaders = \"x\"\n", "t.toml:2:1: error: headers wants an array"},
    {"[log]\nmeta = [\"a b\"]\n", "t.toml:2:9: error: meta wants names"},
    {"[log]\nmeta = [\"*a\"]\n", "t.toml:2:9: error: meta wants names"},
    {"[log]\nheaders = [\"\"]\n", "t.toml:2:12: error: headers wants names"},
    {"[log]\nheaders = [7]\n", "t.toml:2:12: error: headers wants names"},
    {"[log]\nper_record = 1\n", "t.toml:2:1: error: per_record wants a table"},
    {"[log]\nper_record.Delivered = {}\n", "per_record: \"Delivered\" is no type of record"},
    {"[log]\nper_record.Delivery = {enabled = false}\n",
     "unknown key \"enabled\", is \"enable\" meant?"},
    {"[log]\nper_record.Delivery = {suffix = \"x\"}\n", "suffix: not built yet"},
    {"dns = 1\n", "dns wants a table, not an integer"},
    {"[dns]\nserver = []\n", "unknown key \"server\", is \"servers\" meant?"},
    {"[dns]\nservers = \"127.0.0.1\"\n", "servers wants an array, not a string"},
    {"[dns]\nservers = [\"localhost\"]\n", "t.toml:2:12: error: servers wants addresses"},
    {"[dns]\nservers = [\"::1\", \"[::1]:53\"]\n", "servers has [::1]:53 twice"},
    {"[dns]\nservers = [\"::1\",\"::2\",\"::3\",\"::4\",\"::5\",\"::6\",\"::7\",\"::8\",\"::9\"]\n",
     "servers wants at most 8"},
    {"[dns]\nservers = [\"127.0.0.1\"]\ntrusted = [\"127.0.0.2\"]\n",
     "t.toml:3:12: error: trusted wants some of servers; 127.0.0.2 is none of them"},
    {"[dns]\nservers = [\"127.0.0.1\"]\ntrusted = [\"127.0.0.1:54\"]\n", "is none of them"},
    {"[dns]\nservers = [\"10.0.0.1\"]\ntrusted = [\"10.0.0.1\"]\n",
     "trusted wants servers on loopback; 10.0.0.1 is none"},
    {"[dns]\ntrusted = [\"10.0.0.1\"]\n", "trusted wants servers on loopback"},
    {"[dns]\ntrusted = true\n", "trusted wants an array"},
    {"[dns]\ntimeout = \"1ms\"\n", "timeout is out of range"},
    {"[dns]\nattempts = 0\n", "attempts = 0 is out of range, 1 to 10"},
    {"[dns]\ncache_size = 1\n", "cache_size = 1 is out of range"},
    {"[dns]\nstatic = \"a.test. MX 10\"\n",
     "t.toml:2:1: error: static, line 1: MX wants the name of a host"},
    {"[dns]\nstatic = \"\"\"\na.test. A 192.0.2.1\nb.test. A x\nc.test. B y\"\"\"\n",
     "static, line 2: A wants an address such as 192.0.2.1: x"},
    {"[dns]\nstatic = \"\"\"\na.test. A 192.0.2.1\nb.test. A x\nc.test. B y\"\"\"\n",
     "static, line 3: no type of MX, A, AAAA, CNAME, TXT, PTR, TLSA: B"},
    {"[dns]\nstatic_rcode = {\"a.test\" = \"OK\"}\n", "a.test wants one of \"SERVFAIL\""},
    {"[dns]\nstatic_rcode = {\"a b\" = \"TIMEOUT\"}\n", "static_rcode wants names"},
    {"[dns]\nstatic_secure = [\"a..b\"]\n", "static_secure wants names"},
    {"[dns]\nstatic_secure = [1]\n", "static_secure wants names"},
    {"[tsa]\nmode = \"on\"\n", "mode wants one of \"off\", \"embedded\""},
    {"[tsa]\npublish = \"http://a:1\"\n", "t.toml:2:1: error: publish"},
    {"[tsa]\npublish = [1]\n", "publish wants URLs such as \"http://tsa.example.com:8008\""},
    {"[tsa]\npublish = [\"http://a:1\",\n  \"a:2\"]\n", "t.toml:3:3: error: publish wants URLs"},
    {"[tsa]\npublish = [\"https://a:1\"]\n", "publish URLs with TLS are not built yet"},
    {"[tsa]\npublish = [\"http://a\", \"http://A:80/\"]\n", "publish names the same URL twice"},
    {"[tsa]\npublish = [\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]\n", "at most 8 URLs"},
    {"[tsa]\nsubscribe = [\"wss://a\"]\n", "t.toml:2:14: error: subscribe wants URLs"},
    {"[smtp_listener]\nlisten = \"127.0.0.1:25\"\n", "write [[smtp_listener]]"},
    {"smtp_listener = []\n", "write [[smtp_listener]]"},
    {"[http_listener]\nlisten = \"127.0.0.1:25\"\n", "write [[http_listener]]"},
    {"http_listener = [1]\n", "write [[http_listener]]"},
    {LISTENERS_16 "[[smtp_listener]]\n", "at most 16 of [[smtp_listener]]"},
    {"[[smtp_listener]]\nlisten = \"127.0.0.1\"\n", "listen wants ADDRESS:PORT"},
    {"[[smtp_listener]]\nlisten = \"127.0.0.1:65536\"\n", "listen wants ADDRESS:PORT"},
    {"[[smtp_listener]]\nlisten = \"/run/smtp\"\n", "listen on a unix path: not built yet"},
    {"[[smtp_listener]]\ntls = \"starttls\"\n", "tls = \"starttls\": not built yet"},
    {"[[http_listener]]\ntls = \"implicit\"\n", "tls = \"implicit\": not built yet"},
    {"[[http_listener]]\nuse_tls = true\n", "use_tls = true: not built yet"},
    {"[[http_listener]]\nusers = \"u\"\n", "users: not built yet"},
    {"[[http_listener]]\ntokens = \"t\"\n", "tokens: not built yet"},
    {"[[http_listener]]\ninject_rate = \"fast\"\n", "inject_rate wants"},
    {"[[http_listener]]\ninject_rate = 5\n", "inject_rate wants COUNT/PERIOD"},
    {"[[http_listener]]\nlisten=\"127.0.0.1:80\"\n[[http_listener]]\nlisten=\"127.0.0.1:80\"\n",
     "listener 1 listens where listener 0 does"},
    {"[[http_listener]]\nrequest_body_limit = 0\n", "request_body_limit"},
    {"[[http_listener]]\ntrusted_hosts = [\"x\"]\n", "trusted_hosts"},
    {"[[smtp_listener]]\ntls = \"on\"\n", "tls wants one of"},
    {"[[smtp_listener]]\nbanner = \"a\\nb\"\n", "banner wants at most 200 printable"},
    {"[[smtp_listener]]\nrelay_hosts = [\"10.0.0.1/8\"]\n", "t.toml:2:16: error:"},
    {"[[smtp_listener]]\nrelay_hosts = [\"10.0.0.0/33\"]\n", "without host bits"},
    {"[[smtp_listener]]\nrelay_hosts = \"10.0.0.0/8\"\n", "relay_hosts wants an array"},
    {"[[smtp_listener]]\ntrace_headers = {header_name = \"X-Ref:\"}\n",
     "header_name wants the name of a header field"},
    {"[[smtp_listener]]\ntrace_headers = {header_name = \"\"}\n",
     "header_name wants the name of a header field"},
    {"[[smtp_listener]]\ntrace_headers = {header_name = \"X\\r\\nY\"}\n",
     "header_name wants the name of a header field"},
    {"[[smtp_listener]]\ntrace_headers = {include_meta_names = [\"*x\"]}\n",
     "include_meta_names wants names such as"},
    {"[[smtp_listener]]\nlisten=\"127.0.0.1:25\"\n[[smtp_listener]]\nlisten=\"127.0.0.1:25\"\n",
     "listener 1 listens where listener 0 does"},
    {"[queues]\nfiles = [\"q.toml\"]\n", "cannot read q.toml: No such file or directory"},
    {"[queues]\nfiles = \"q.toml\"\n", "files wants an array, not a string"},
    {"[queues]\nfiles = [5]\n", "files wants names of files"},
    {"[queues]\nfiles = [\"q.json\"]\n", "cannot read q.json: No such file or directory"},
    {"[shaping]\nfiles = [\"q.toml\"]\n", "cannot read q.toml: No such file or directory"},
    {"[shaping]\nfiles = [\"http://tsa.test/q.toml\"]\n", "t.toml:2:10: error: http://tsa.test/"
     "q.toml: URLs are not built yet in this version, name a local file"},
    {"[shaping]\nfiles = [\"https://tsa.test/q.toml\"]\n", "URLs are not built yet"},
    {"[shaping.\"a.test\"]\nreplace_base = 1\n", "replace_base wants"},
    {"[shaping.\"a.test\".sources.s]\nreplace_base = true\n",
     "replace_base is for a block as a whole"},
    {"[queues]\nqueues = 1\n", "unknown key \"queues\", is \"queue\" meant?"},
    {"[queues.queue]\ndefault = 5\n", "default wants a table"},
    {"[queues.queue.default]\nmax_message_rate = \"1\"\n", "max_message_rate wants COUNT/PERIOD"},
    {"[queues.queue.default]\nmax_message_rate = 1\n", "max_message_rate wants COUNT/PERIOD"},
    {"[queues.queue.default]\noverall_max_message_rate = \"1\"\n", "message_rate wants"},
    {"[queues.queue.\"a.test\".t1]\nweigth = 1\n", "unknown key \"weigth\", is \"weight\" meant?"},
    {"[queues.queue.\"a.test\".t1.c1]\nweight = 0\n", "weight = 0 is out of range"},
    {"[queues.queue.\"a.test\".t1.c1.d1]\nweight = 1\n", "unknown key \"d1\""},
    {"[queues.queue.\"a.test\".t1.campaigns]\nc1 = 5\n", "c1 wants a table"},
    {"[queues.queue.\"a.test\".\"t 1\"]\n", "\"t 1\" is no name of a tenant"},
    {"[queues.queue.\"a.test\".t1.\"\\u0007\"]\n", "is no name of a campaign"},
    {"[queues.tenant.\"a@b\"]\n", "\"a@b\" is no name of a tenant"},
    {"[queues.tenant.\"a:b\"]\n", "\"a:b\" is no name of a tenant"},
    {"[queues.tenant]\nt1 = 5\n", "t1 wants a table"},
    {"[queues]\ntenant = 5\n", "tenant wants a table"},
    {"[queues.tenant.t1]\nrequire_authz = [\"a\"]\n", "require_authz: not built yet"},
    {"[queues.tenant.t1.c1]\nweight = 1\n", "unknown key \"c1\""},
    {"[queues.queue.\"a.test\"]\nrequire_authz = [\"a\"]\n", "unknown key \"require_authz\""},
    {"[queues]\ntenant_header = \"X Tenant\"\n", "tenant_header wants the name of a header field"},
    {"[queues]\nclass_header = \"X-Class:\"\n", "class_header wants the name of a header field"},
    {"[queues]\ncampaign_header = 5\n", "campaign_header wants a string"},
    {"[queues]\ntenant_header = \"X-A\"\ncampaign_header = \"x-a\"\n",
     "the header \"x-a\" cannot say two things"},
    {"[queues]\ndefault_tenant = \"\"\n", "default_tenant wants the name of a tenant"},
    {"[queues]\nscheduling_header = \"X:S\"\n",
     "scheduling_header wants the name of a header field"},
    {"[queues]\nscheduling_header = \"X-ringpost-class\"\n",
     "the header \"x-ringpost-class\" cannot say two things"},
    {"[queues.queue.default]\nweight = 0\n", "weight = 0 is out of range, 1 to 1000"},
    {"[queues.queue.default]\negress_pool = \"p\"\n",
     "the pool \"p\" is not defined by [sources.pool]"},
    {"[queues.queue.\"a.test\"]\negress_pool = \"\"\n", "the pool \"\" is not defined"},
    {"[queues.tenant.t]\negress_pool = 5\n", "egress_pool wants a string"},
    {"[queues.queue.default]\nclass = \"slow\"\n", "class wants one of"},
    {"[queues.queue.default]\nprotocol = { smtp = { mx_list = [] } }\n", "1 to 32 hosts"},
    {"[queues.queue.default]\nprotocol = { smtp = { mx_list = [\"mx.test:0\"] } }\n", "is neither"},
    {"[queues.queue.default]\nprotocol = { smtp = { mx_list = [\"mx test\"] } }\n", "is neither"},
    {"[queues.queue.default]\nprotocol = { smtp = { mx_list = [\"[127.0.0.1]:0\"] } }\n",
     "is neither"},
    {"[queues.queue.default]\nprotocol = { smtp = { mx_list = [{name=\"x\"}] } }\n",
     "mx_list wants {name"},
    {"[queues.queue.\"a b\"]\n", "\"a b\" is no domain"},
    {"[queues.queue.\"a.test\"]\n[queues.queue.\"A.TEST.\"]\n", "has two blocks"},
    {"[shaping]\nconnection_limit = 5\n", "unknown key \"connection_limit\""},
    {"[shaping.default]\nconection_limit = 5\n", "is \"connection_limit\" meant?"},
    {"[shaping.default]\nconnection_limit = 0\n", "connection_limit wants 1 to 1000000"},
    {"[shaping.default]\nsource_selection_rate = 1\n",
     "source_selection_rate wants COUNT/PERIOD"},
    {"[shaping.default]\nadditional_source_selection_rates = {a = \"1\"}\n",
     "a wants COUNT/PERIOD"},
    {"[shaping.default]\nreconnect_strategy = \"None\"\n", "one of \"ConnectNextHost\", \"Term"},
    {"[shaping.default]\nsources = 5\n", "sources wants a table"},
    {"[shaping.\"a.test\".sources]\ns = 5\n", "s wants a table"},
    {"[shaping.\"a.test\".sources.\"a b\"]\n", "\"a b\" is no name of a source"},
    {"[shaping.\"a.test\".sources.s]\nconection_limit = 5\n",
     "is \"connection_limit\" meant?"},
    {"[shaping.\"a.test\".sources.s]\nmx_rollup = true\n",
     "mx_rollup is for a block as a whole"},
    {"[shaping.\"a.test\".sources.s.sources.t]\n", "sources is for a block as a whole"},
    {"[shaping.default]\nmax_connection_rate = \"1/y\"\n", "max_connection_rate wants one of s"},
    {"[shaping.default]\nconnection_limit = 0\n", "connection_limit wants 1 to 1000000"},
    {"[shaping.default]\nconnection_limit = \"local:\"\n", "connection_limit wants 1 to"},
    {"[shaping.default]\nadditional_connection_limits = 5\n", "wants a table"},
    {"[shaping.default]\nadditional_connection_limits = {a = 0}\n", "a wants 1 to 1000000"},
    {"[shaping.default]\nadditional_message_rate_throttles = {\"\" = \"1/s\"}\n", "names of 1 to"},
    {"[shaping.default]\nadditional_message_rate_throttles = {a = \"1/s,b\"}\n",
     "a wants one of s, sec"},
    {"[shaping.default.additional_message_rate_throttles]\na=\"1/s\"\nb=\"1/s\"\nc=\"1/s\"\n"
     "[shaping.\"x.test\".additional_message_rate_throttles]\nd=\"1/s\"\ne=\"1/s\"\nf=\"1/s\"\n"
     "g=\"1/s\"\nh=\"1/s\"\ni=\"1/s\"\n",
     "more than 8 names"},
    {"[shaping.default]\nenable_dane = true\n", "enable_dane = true: not built yet"},
    {"[shaping.default]\nenable_tls = \"disabled\"\n", "enable_tls wants one of \"Disabled\""},
    {"[shaping.default]\nsmtp_port = 0\n", "smtp_port = 0 is out of range"},
    {"[shaping.provider.google]\nmatch = [{MX = \"x\"}]\n", "match wants {MXSuffix"},
    {"[shaping.provider.google]\nmatch = \"x\"\n", "match wants an array"},
    {"[shaping.provider.google]\nmatch = [{MXSuffix = \"x\", HostName = \"y\"}]\n",
     "match wants {MXSuffix"},
    {"[shaping.provider]\ngoogle = 1\n", "google wants a table"},
    {"[shaping.provider.p]\nconection_limit = 1\n", "is \"connection_limit\" meant?"},
    {"[shaping.provider.p.sources.s]\nmatch = []\n", "unknown key \"match\""},
    {"[shaping.\"a.test\"]\nprovider_connection_limit = 1\n", "unknown key"},
    {"[shaping.provider.p]\nprovider_max_message_rate = \"1/y\"\n", "provider_max_message_rate"},
    {"[shaping.provider.p.sources.s]\nautomation = []\n", "automation is for a block as a whole"},
    {"include = \"x\"\n", "include wants an array"},
    {"include = [\"none.toml\"]\n", "cannot read none.toml: No such file or directory"},
    {"a=[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]", "nest deeper than 16"},
};

static void bad_files_are_refused_with_the_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad_files); i++) {
        struct conf *conf = load_text(bad_files[i].text);
        if (conf != NULL || strstr(said, bad_files[i].message) == NULL) {
            conf_free(conf);
            fail_msg("case %zu: %s\nsaid: %s", i, bad_files[i].text, said);
        }
    }
}

static void all_errors_are_told_not_only_the_first(void **state)
{
    (void)state;
    assert_null(load_text("[node]\nshards = 999\nhostnam = \"x\"\n[log]\nflush_interval = \"0s\"\n"
                          "[dkim]\n"));
    assert_non_null(strstr(said, "t.toml:2:1: error: shards"));
    assert_non_null(strstr(said, "t.toml:3:1: error: unknown key \"hostnam\""));
    assert_non_null(strstr(said, "t.toml:5:1: error: flush_interval"));
    assert_non_null(strstr(said, "t.toml:6:2: error: [dkim]"));
}

static void tuning_of_kumomta_loads_with_a_note(void **state)
{
    (void)state;
    struct conf *conf = load_text("[shaping.default]\nrefresh_strategy = \"Epoch\"\n"
                                  "[queues.queue.default]\nreap_interval = \"1m\"\n");
    assert_non_null(conf);
    assert_non_null(strstr(said, "t.toml:2:1: note: refresh_strategy has no effect here"));
    assert_non_null(strstr(said, "t.toml:4:1: note: reap_interval has no effect here"));
    conf_free(conf);
}

static void a_domain_gets_its_block_else_the_longest_wildcard_over_default(void **state)
{
    static const struct {
        const char *domain;
        unsigned limit;
    } cases[] = {
        {"plain.test", 1},     {"a.test", 2},       {"A.Test", 2},      {"a.test.", 2},
        {"b.a.test", 3},       {"c.b.a.test", 3},   {"x.deep.a.test", 4}, {"deep.a.test", 3},
        {"[192.0.2.1]", 5},    {"", 1},             {".", 1},           {"test", 1},
    };
    struct conf *conf = load_text("[shaping.default]\nconnection_limit = 1\nmax_ready = 77\n"
                                  "[shaping.\"a.test\"]\nconnection_limit = 2\n"
                                  "[shaping.\"*.a.test\"]\nconnection_limit = 3\n"
                                  "[shaping.\"*.Deep.a.test\"]\nconnection_limit = 4\n"
                                  "[shaping.\"[192.0.2.1]\"]\nconnection_limit = 5\n");
    (void)state;
    assert_non_null(conf);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct path_options *path =
            conf_kit_path(conf, slice_from_string(cases[i].domain), SLICE_NONE);
        assert_int_equal(path->connection_limit, cases[i].limit);
        assert_int_equal(path->max_ready, 77);
    }
    conf_free(conf);
    conf = load_text("[queues.queue.\"*\"]\nweight = 9\n[queues.queue.\"a.test\"]\nweight = 8\n");
    assert_non_null(conf);
    assert_int_equal(queue_of(conf, "", "", "any.where")->weight, 9);
    assert_int_equal(queue_of(conf, "", "", "a.test")->weight, 8);
    conf_free(conf);
}

static void includes_merge_and_the_same_key_twice_is_an_error(void **state)
{
    const char *const good[] = {"/etc/r/main.toml",
                                "include = [\"more.toml\", \"/abs.toml\"]\n"
                                "[node]\nshards = 2\nstate_dir = \"s\"\n",
                                "/etc/r/more.toml", "[node]\npin = true\n[spool]\npath = \"/p\"\n",
                                "/abs.toml", "[[smtp_listener]]\nlisten = \"127.0.0.1:26\"\n",
                                NULL};
    const char *const twice[] = {"main.toml", "include = [\"b.toml\"]\n[node]\nshards = 2\n",
                                 "b.toml", "[node]\n\nshards = 2\n", NULL};
    const char *const loop[] = {"main.toml", "include = [\"main.toml\"]\n", NULL};
    (void)state;
    struct conf *conf = load(good, NULL, 0);
    assert_string_equal(said, "");
    assert_true(conf->node.pin);
    assert_int_equal(conf->node.shards, 2);
    assert_string_equal(conf->node.state_dir, "/etc/r/s");
    assert_string_equal(conf->spool.path, "/p");
    assert_string_equal(conf->log.path, "/etc/r/var/log");
    assert_int_equal(conf->smtp_listeners[0].listen.port, 26);
    conf_free(conf);
    assert_null(load(twice, NULL, 0));
    assert_string_equal(said,
                        "b.toml:3:1: error: shards is set twice, first in main.toml, line 3\n");
    assert_null(load(loop, NULL, 0));
    assert_non_null(strstr(said, "include is set twice"));
}

static void sets_win_over_files_and_reach_arrays_by_index(void **state)
{
    const char *const files[] = {"t.toml",
                                 "[node]\nshards = 2\n[[smtp_listener]]\nlisten = \"[::1]:25\"\n"
                                 "banner = \"b\"\n",
                                 NULL};
    const char *const sets[] = {"node.shards=3", "node.hostname=mta.test",
                                "smtp_listener.0.listen=127.0.0.1:0",
                                "smtp_listener.1.listen=127.0.0.1:0",
                                "http_listener.0.listen=127.0.0.1:1",
                                "http_listener.0.hostname=api.test",
                                "http_listener.0.trusted_hosts=[\"10.0.0.0/8\"]",
                                "http_listener.0.request_body_limit=2MiB",
                                "shaping.\"a.test\".connection_limit=4",
                                "queues.queue.default.protocol={smtp={mx_list=[\"[::1]:2\"]}}",
                                "log.flush_interval=250ms"};
    (void)state;
    struct conf *conf = load(files, sets, COUNT_OF(sets));
    assert_string_equal(said, "");
    assert_int_equal(conf->node.shards, 3);
    assert_true(slice_equal(conf->smtp_listeners[0].hostname, SLICE("mta.test")));
    assert_int_equal(conf->smtp_listener_count, 2);
    assert_int_equal(conf->smtp_listeners[0].listen.port, 0);
    assert_true(slice_equal(conf->smtp_listeners[0].banner, SLICE("b")));
    assert_int_equal(conf->http_listeners[0].listen.port, 1);
    assert_true(slice_equal(conf->http_listeners[0].hostname, SLICE("api.test")));
    assert_int_equal(conf->http_listeners[0].trusted_host_count, 1);
    assert_int_equal(conf->http_listeners[0].request_body_limit, 2 * MIB);
    assert_int_equal(conf_kit_path(conf, SLICE("a.test"), SLICE_NONE)->connection_limit, 4);
    assert_int_equal(queue_of(conf, "", "", "x")->mx_list[0].endpoint.port, 2);
    assert_int_equal(conf->log.flush_ns, 250 * NS_PER_MS);
    conf_free(conf);
}

static void bad_sets_are_refused(void **state)
{
    static const struct {
        const char *set;
        const char *message;
    } cases[] = {
        {"node.shards", "wants section.key=VALUE"},
        {"=5", "error"},
        {"node.shards=", "error"},
        {"node.shards=\"unended", "--set node.shards="},
        {"node.shards=300", "--set:1:"},
        {"node.shrads=3", "is \"shards\" meant?"},
        {"smtp_listener.7.listen=127.0.0.1:0", "unknown key"},
        {"node.pin=true\nshards=3", "error"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct conf *conf = load(NULL, &cases[i].set, 1);
        bool index_case = i == 6;
        if (conf != NULL || (!index_case && strstr(said, cases[i].message) == NULL)) {
            conf_free(conf);
            fail_msg("case %zu: %s", i, said);
        }
    }
}

static void what_is_said_never_holds_raw_bytes_of_a_file(void **state)
{
    (void)state;
    assert_null(load_text("\"\\u001B]0;x\\u0007\\u009B\" = 1\n"));
    for (const char *at = said; *at != 0; at++) {
        assert_true(*at == '\n' || (*at >= 0x20 && *at < 0x7F));
    }
}

static void durations_and_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns; /* UINT64_MAX: none */
    } durations[] = {
        {"300s", 300 * S}, {"20 minutes", 1200 * S}, {"5m", 300 * S}, {"1h 30m", 5400 * S},
        {" 7 days ", 604800 * S}, {"250ms", 250000000}, {"0s", 0}, {"1d2h", 93600 * S},
        {"", UINT64_MAX}, {"5", UINT64_MAX}, {"s", UINT64_MAX}, {"1.5h", UINT64_MAX},
        {"5 S", UINT64_MAX}, {"18446744073709551616s", UINT64_MAX},
        {"18446744073s 1000000000s", UINT64_MAX}, {"5s,", UINT64_MAX},
    };
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        {"128KiB", 131072}, {"20 MiB", 20971520}, {"1GB", 1000000000}, {"4096", 4096},
        {"1TiB", 1099511627776}, {"", UINT64_MAX}, {"KiB", UINT64_MAX}, {"1Kib", UINT64_MAX},
        {"1KiB 1B", UINT64_MAX}, {"-1", UINT64_MAX}, {"99999999999999TiB", UINT64_MAX},
    };
    uint64_t value;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(durations); i++) {
        bool good = conf_text_duration(slice_from_string(durations[i].text), &value);
        assert_int_equal(good ? value : UINT64_MAX, durations[i].ns);
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        bool good = conf_text_size(slice_from_string(sizes[i].text), &value);
        assert_int_equal(good ? value : UINT64_MAX, sizes[i].bytes);
    }
    assert_int_equal(conf_text_distance(SLICE("kitten"), SLICE("sitting")), 3);
    assert_int_equal(conf_text_distance(SLICE(""), SLICE("abc")), 3);
}

/* default < domain < tenant < domain and tenant < domain, tenant and campaign. */
static void queues_merge_in_their_order(void **state)
{
    static const struct {
        const char *campaign;
        const char *tenant;
        const char *domain;
        uint32_t weight;
        unsigned retry_s;
        unsigned age_h;
        bool urgent;
    } cases[] = {
        {"", "", "other.test", 1, 60, 168, false},
        {"", "", "a.test", 2, 120, 168, false},
        {"", "", "A.Test.", 2, 120, 168, false},
        {"", "", "x.a.test", 3, 60, 168, false},
        {"", "acme", "other.test", 4, 60, 24, false},
        {"", "acme", "a.test", 5, 120, 48, false},
        {"", "acme", "x.a.test", 4, 60, 24, false},
        {"", "acme", "b.test", 4, 60, 24, false},      /* only "*" has the tenant */
        {"sale", "acme", "a.test", 6, 120, 48, true},
        {"sale", "acme", "b.test", 4, 60, 24, false},
        {"news", "acme", "b.test", 8, 60, 24, false},  /* in KumoMTA's form */
        {"any", "acme", "a.test", 5, 120, 48, false},
        {"Sale", "acme", "a.test", 5, 120, 48, false}, /* case counts */
        {"", "Acme", "a.test", 2, 120, 168, false},
        {"sale", "", "a.test", 2, 120, 168, false},
        {"", "small", "a.test", 9, 120, 168, false},
        {"", "small", "", 9, 60, 168, false},
        {"", "", "", 1, 60, 168, false},
        {"", "nobody", "a.test", 2, 120, 168, false},  /* is not defined */
    };
    struct conf *conf = load_text(
        "[queues.queue.default]\nretry_interval = \"1m\"\nweight = 1\n"
        "[queues.queue.default.small]\nweight = 9\n"
        "[queues.queue.\"a.test\"]\nretry_interval = \"2m\"\nweight = 2\n"
        "[queues.queue.\"*.a.test\"]\nweight = 3\n"
        "[queues.tenant.acme]\nmax_age = \"2d\"\nweight = 4\n"
        "[queues.tenant.small]\n"
        "[queues.queue.\"a.test\".acme]\nweight = 5\n"
        "[queues.queue.\"*\".acme]\nmax_age = \"1d\"\n"
        "[queues.queue.\"a.test\".acme.sale]\nweight = 6\nclass = \"urgent\"\n"
        "[queues.queue.\"a.test\".nobody]\nweight = 7\n"
        "[queues.queue.\"b.test\".acme.campaigns.news]\nweight = 8\nmax_age = \"1d\"\n");
    (void)state;
    assert_non_null(conf);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct queue_options *queue =
            queue_of(conf, cases[i].campaign, cases[i].tenant, cases[i].domain);
        if (queue->weight != cases[i].weight ||
            queue->retry_interval_ns != cases[i].retry_s * S ||
            queue->max_age_ns != cases[i].age_h * 3600 * S ||
            (queue->class == CONF_CLASS_URGENT) != cases[i].urgent) {
            fail_msg("case %zu: weight %u", i, queue->weight);
        }
    }
    assert_true(conf_tenant_is_defined(conf, SLICE("acme")));
    assert_true(conf_tenant_is_defined(conf, SLICE("small")));
    assert_false(conf_tenant_is_defined(conf, SLICE("nobody")));
    assert_false(conf_tenant_is_defined(conf, SLICE("")));
    assert_false(conf->queues.routed);
    assert_false(conf->queues.tenants_route);
    assert_non_null(strstr(said, "the tenant \"nobody\" is not defined"));
    conf_free(conf);
}

static void headers_of_queues_have_names_in_lower_case(void **state)
{
    (void)state;
    struct conf *conf = load_text(
        "[queues]\ntenant_header = \"X-Tenant\"\nremove_tenant_header = true\n"
        "campaign_header = \"X-Campaign\"\ndefault_tenant = \"nobody\"\n"
        "[queues.tenant.acme]\nrouting_domain = \"[192.0.2.1]:26\"\n");
    assert_non_null(conf);
    const struct conf_label *labels = conf->queues.labels;
    assert_true(slice_equal(labels[CONF_LABEL_TENANT].header, SLICE("x-tenant")));
    assert_true(labels[CONF_LABEL_TENANT].remove);
    assert_true(slice_equal(labels[CONF_LABEL_CAMPAIGN].header, SLICE("x-campaign")));
    assert_false(labels[CONF_LABEL_CAMPAIGN].remove);
    assert_true(slice_equal(labels[CONF_LABEL_CLASS].header, SLICE("x-ringpost-class")));
    assert_true(labels[CONF_LABEL_CLASS].remove);
    assert_true(slice_equal(conf->queues.default_tenant, SLICE("nobody")));
    assert_non_null(strstr(said, "note: default_tenant \"nobody\" is not defined"));
    assert_true(conf->queues.routed);
    assert_true(conf->queues.tenants_route);
    conf_free(conf);
    conf = load_text("[queues]\nclass_header = \"\"\nscheduling_header = \"X-When\"\n");
    labels = conf->queues.labels;
    assert_int_equal(labels[CONF_LABEL_CLASS].header.size, 0);
    assert_true(slice_equal(labels[CONF_LABEL_SCHEDULE].header, SLICE("x-when")));
    assert_true(labels[CONF_LABEL_SCHEDULE].remove);
    conf_free(conf);
}

static void limits_by_name_of_a_block_join_those_of_default(void **state)
{
    (void)state;
    struct conf *conf =
        load_text("[shaping.default]\nmax_message_rate = \"100/s,max_burst=1\"\n"
                  "connection_limit = \"local:1_0\"\n"
                  "additional_message_rate_throttles = {all = \"4_000/s\", day = \"1000/d\"}\n"
                  "additional_connection_limits = {all = 500}\n"
                  "[shaping.\"x.test\"]\nmax_connection_rate = \"local:5/m\"\n"
                  "additional_message_rate_throttles = {day = \"10/d\", x = \"1/s\"}\n"
                  "additional_connection_limits = {x = \"local:2\"}\n"
                  "[queues.queue.\"x.test\"]\nmax_message_rate = \"1/10m\"\n"
                  "[queues.tenant.t]\nmax_message_rate = \"6/s\"\n"
                  "overall_max_message_rate = \"7/s\"\n");
    assert_non_null(conf);
    const struct path_options *base = conf_kit_path(conf, SLICE("y.test"), SLICE_NONE);
    const struct path_options *path = conf_kit_path(conf, SLICE("x.test"), SLICE_NONE);
    assert_int_equal(base->max_message_rate.count, 100);
    assert_int_equal(base->max_message_rate.burst, 1);
    assert_int_equal(base->connection_limit, 10);
    assert_false(rate_is_set(&base->max_connection_rate));
    assert_int_equal(base->additional_message_rates.count, 2);
    assert_int_equal(base->additional_message_rates.rows[1].rate.count, 1000);
    assert_int_equal(base->additional_connection_limits.count, 1);
    assert_int_equal(path->max_message_rate.count, 100);
    assert_int_equal(path->max_connection_rate.period_ns, 60 * NS_PER_S);
    assert_int_equal(path->additional_message_rates.count, 3);
    assert_true(slice_equal(path->additional_message_rates.rows[0].name, SLICE("all")));
    assert_int_equal(path->additional_message_rates.rows[0].rate.count, 4000);
    assert_int_equal(path->additional_message_rates.rows[1].rate.count, 10);
    assert_true(slice_equal(path->additional_message_rates.rows[2].name, SLICE("x")));
    assert_int_equal(path->additional_connection_limits.count, 2);
    assert_int_equal(path->additional_connection_limits.rows[1].limit, 2);
    assert_int_equal(queue_of(conf, "", "", "x.test")->max_message_rate->interval_ns,
                     600 * NS_PER_S);
    assert_null(queue_of(conf, "", "", "y.test")->max_message_rate);
    assert_null(queue_of(conf, "", "", "x.test")->overall[0]);
    assert_int_equal(queue_of(conf, "", "t", "x.test")->overall[0]->rate.count, 7);
    assert_int_equal(queue_of(conf, "", "t", "y.test")->max_message_rate->count, 6);
    conf_free(conf);
}

static void expect_overall(const struct conf *conf, const char *campaign, const char *tenant,
                           const char *domain, const char *const names[CONF_OVERALL_MAX])
{
    const struct queue_options *queue = queue_of(conf, campaign, tenant, domain);
    for (unsigned i = 0; i < CONF_OVERALL_MAX; i++) {
        if (names[i] == NULL) {
            assert_null(queue->overall[i]);
            continue;
        }
        assert_non_null(queue->overall[i]);
        assert_true(slice_equal(queue->overall[i]->name, slice_from_string(names[i])));
        bool of_tenant = strcmp(names[i], "t") == 0;
        assert_true(slice_equal(queue->overall[i]->scope,
                                of_tenant ? SLICE("tenant") : SLICE("block")));
        assert_int_equal(queue->overall[i]->rate.count, strlen(names[i]));
    }
}

/* A queue works under those of all its blocks; each is one for all queues of that block. */
static void overall_rates_of_all_blocks_of_a_queue_count(void **state)
{
    (void)state;
#define OVERALL(n) "overall_max_message_rate = \"" n "/s\"\n"
    struct conf *conf = load_text("[queues.queue.default]\n" OVERALL("7")
                                  "[queues.tenant.t]\n" OVERALL("1") "[queues.tenant.u]\n"
                                  "[queues.queue.\"*.x.test\"]\n" OVERALL("8")
                                  "[queues.queue.\"*.x.test\".t]\n" OVERALL("10")
                                  "[queues.queue.\"*.x.test\".t.c]\n" OVERALL("12")
                                  "[queues.queue.\"a.x.test\"]\nweight = 7\n");
#undef OVERALL
    assert_non_null(conf);
    expect_overall(conf, "c", "t", "b.x.test",
                   (const char *const[]){"default", "*.x.test", "t", "t@*.x.test",
                                         "c:t@*.x.test"});
    expect_overall(conf, "", "t", "b.x.test",
                   (const char *const[CONF_OVERALL_MAX]){"default", "*.x.test", "t",
                                                         "t@*.x.test"});
    expect_overall(conf, "", "u", "b.x.test",
                   (const char *const[CONF_OVERALL_MAX]){"default", "*.x.test"});
    expect_overall(conf, "", "", "a.x.test", (const char *const[CONF_OVERALL_MAX]){"default"});
    expect_overall(conf, "", "t", "y.test",
                   (const char *const[CONF_OVERALL_MAX]){"default", "t"});
    conf_free(conf);
}

static const struct conf_dns_server *dns_server(const struct conf *conf, unsigned index,
                                                const char *expected)
{
    uint8_t bytes[ENDPOINT_TEXT_MAX];
    struct buf text;
    buf_init(&text, bytes, sizeof(bytes));
    endpoint_put(&text, &conf->dns.servers[index].address);
    assert_true(slice_equal(buf_slice(&text), slice_from_string(expected)));
    return &conf->dns.servers[index];
}

static void dns_servers_are_those_written_or_those_of_the_system(void **state)
{
    (void)state;
    static const struct {
        const char *resolv; /* null: there is none */
        unsigned count;
        const char *first;
        const char *last;
    } rows[] = {
        {NULL, 1, "127.0.0.1:53", "127.0.0.1:53"},
        {"", 1, "127.0.0.1:53", "127.0.0.1:53"},
        {"# nameserver 192.0.2.9\nsearch a.test\nnameservers 192.0.2.8\n", 1, "127.0.0.1:53",
         "127.0.0.1:53"},
        {"nameserver 192.0.2.1\r\nnameserver\t::1 # mine\nnameserver 192.0.2.1", 2,
         "192.0.2.1:53", "[::1]:53"},
        {"nameserver fe80::1%eth0\nnameserver 192.0.2.3\noptions edns0\n", 1, "192.0.2.3:53",
         "192.0.2.3:53"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *const files[] = {"resolv.conf", rows[i].resolv, NULL};
        struct conf_messages messages = {0};
        struct conf_input input = {.hostname = SLICE("box.test"), .read = conf_kit_read,
                                   .resolv_file = rows[i].resolv != NULL ? files[0] : NULL,
                                   .read_context = (void *)(uintptr_t)files};
        struct conf *conf = conf_load(&input, &messages);
        assert_non_null(conf);
        assert_int_equal(conf->dns.server_count, rows[i].count);
        (void)dns_server(conf, 0, rows[i].first);
        (void)dns_server(conf, conf->dns.server_count - 1, rows[i].last);
        conf_free(conf);
    }
    struct conf *conf = load_text("[dns]\nservers = [\"127.0.0.1\", \"[::1]:5353\"]\n"
                                  "trusted = [\"[::1]:5353\"]\ntimeout = \"1s\"\nattempts = 3\n");
    assert_int_equal(conf->dns.server_count, 2);
    assert_false(dns_server(conf, 0, "127.0.0.1:53")->trusted);
    assert_true(dns_server(conf, 1, "[::1]:5353")->trusted);
    assert_int_equal(conf->dns.timeout_ns, S);
    assert_int_equal(conf->dns.attempts, 3);
    conf_free(conf);
    conf = load_text("[dns]\nservers = []\n");
    assert_int_equal(conf->dns.server_count, 0);
    conf_free(conf);
    conf = load_text("[dns]\ntrusted = [\"127.0.0.2\"]\n"); /* of resolv.conf, which may change */
    assert_false(conf->dns.servers[0].trusted);
    conf_free(conf);
}

static void static_names_are_known_and_told_apart_by_what_they_say(void **state)
{
    (void)state;
    struct conf *conf = load_text("[dns]\nstatic = \"\"\"\na.test. MX 10 b.test.\n\"\"\"\n"
                                  "static_secure = [\"A.test.\"]\n"
                                  "[dns.static_rcode]\n\"y.test\" = \"TIMEOUT\"\n"
                                  "\"X.test\" = \"SERVFAIL\"\n");
    struct conf *other = load_text("[dns]\nstatic = \"a.test. MX 11 b.test.\"\n");
    const struct conf_dns *dns = &conf->dns;
    assert_non_null(zone_find(&dns->zone, SLICE("a.test")));
    assert_int_equal(dns->rcode_count, 2);
    assert_true(slice_equal(dns->rcodes[0].name, SLICE("x.test")));
    assert_int_equal(dns->rcodes[0].status, DNS_FAILED);
    assert_int_equal(dns->rcodes[0].rcode, 2);
    assert_int_equal(dns->rcodes[1].status, DNS_TIMEOUT);
    assert_int_equal(dns->secure_count, 1);
    assert_true(slice_equal(dns->secure[0], SLICE("a.test")));
    assert_true(dns->fingerprint != other->dns.fingerprint);
    conf_free(conf);
    conf_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_a_node_on_loopback),
        cmocka_unit_test(an_empty_array_means_no_http),
        cmocka_unit_test(a_daemon_without_mail_has_sections_of_its_own),
        cmocka_unit_test(the_black_box_file_loads),
        cmocka_unit_test(every_option_of_the_node_reaches_its_field),
        cmocka_unit_test(every_option_of_listeners_queues_and_paths_reaches_its_field),
        cmocka_unit_test(bad_files_are_refused_with_the_place),
        cmocka_unit_test(all_errors_are_told_not_only_the_first),
        cmocka_unit_test(tuning_of_kumomta_loads_with_a_note),
        cmocka_unit_test(a_domain_gets_its_block_else_the_longest_wildcard_over_default),
        cmocka_unit_test(includes_merge_and_the_same_key_twice_is_an_error),
        cmocka_unit_test(sets_win_over_files_and_reach_arrays_by_index),
        cmocka_unit_test(bad_sets_are_refused),
        cmocka_unit_test(what_is_said_never_holds_raw_bytes_of_a_file),
        cmocka_unit_test(durations_and_sizes),
        cmocka_unit_test(queues_merge_in_their_order),
        cmocka_unit_test(headers_of_queues_have_names_in_lower_case),
        cmocka_unit_test(limits_by_name_of_a_block_join_those_of_default),
        cmocka_unit_test(overall_rates_of_all_blocks_of_a_queue_count),
        cmocka_unit_test(dns_servers_are_those_written_or_those_of_the_system),
        cmocka_unit_test(static_names_are_known_and_told_apart_by_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
