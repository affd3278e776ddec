/* [sources], what paths say for a source, and files of a section. */
#include "core/conf_sources.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/conf_origin.h"
#include "tests/kit/conf_kit.h"

static char said[8192];

static struct conf *load_files(const char *const *files, const char *const *sets, size_t set_count)
{
    return conf_kit_load(files, sets, set_count, said, sizeof(said));
}

static struct conf *load(const char *text)
{
    const char *const files[] = {"t.toml", text, NULL};
    return load_files(files, NULL, 0);
}

/* Of a file that is good; what is said is a note at most. */
static struct conf *load_good(const char *text)
{
    struct conf *conf = load(text);
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    return conf;
}

static const struct source_options *source_of(const struct conf *conf, const char *name)
{
    return conf_source(conf, slice_from_string(name));
}

static const struct pool_options *pool_of(const struct conf *conf, const char *name)
{
    return conf_pool(conf, slice_from_string(name));
}

static void expect_text(struct slice text, const char *expected)
{
    if (!slice_equal(text, slice_from_string(expected))) {
        fail_msg("\"%.*s\", not \"%s\"", (int)text.size, (const char *)text.data, expected);
    }
}

/* --- sources and pools ------------------------------------------------------------------------ */

static void without_sources_there_is_the_one_that_is_built_in(void **state)
{
    (void)state;
    struct conf *conf = load_good("");
    const struct source_options *source = source_of(conf, "unspecified");
    const struct pool_options *pool = pool_of(conf, "unspecified");
    assert_string_equal(said, "");
    assert_non_null(source);
    assert_false(source->has_address);
    assert_int_equal(source->ehlo_domain.size, 0);
    assert_int_equal(source->remote_port, 0);
    assert_non_null(pool);
    assert_int_equal(pool->member_count, 1);
    assert_ptr_equal(pool->members[0].source, source);
    assert_int_equal(pool->turn_count, 1);
    assert_null(source_of(conf, "ip-1"));
    assert_null(source_of(conf, ""));
    assert_null(pool_of(conf, "p"));
    conf_free(conf);
}

static void every_option_of_a_source_reaches_its_field(void **state)
{
    (void)state;
    struct conf *conf = load_good(
        "[sources.source.\"ip-1\"]\nsource_address = \"192.0.2.1\"\nehlo_domain = \"one.test\"\n"
        "remote_port = 587\nttl = \"60s\"\n"
        "suspend_when_unplumbed = {trigger = {Threshold = \"5/hr\"}, duration = \"10m\"}\n"
        "[sources.source.\"ip-2\"]\nsource_address = \"2001:db8::2\"\n"
        "suspend_when_unplumbed = {trigger = \"Immediate\", duration = 60}\n"
        "[sources.source.\"ip-3\"]\n");
    assert_string_equal(said, "t.toml:5:1: note: ttl has no effect here\n");
    const struct source_options *first = source_of(conf, "ip-1");
    const struct source_options *second = source_of(conf, "ip-2");
    const struct source_options *third = source_of(conf, "ip-3");
    struct endpoint address;
    assert_true(endpoint_parse_address(SLICE("192.0.2.1"), &address));
    assert_true(first->has_address && endpoint_equal_address(&first->address, &address));
    expect_text(first->name, "ip-1");
    expect_text(first->ehlo_domain, "one.test");
    assert_int_equal(first->remote_port, 587);
    assert_int_equal(first->unplumbed.threshold.count, 5);
    assert_int_equal(first->unplumbed.duration_ns, 600 * NS_PER_S);
    assert_true(endpoint_parse_address(SLICE("2001:db8::2"), &address));
    assert_true(second->has_address && endpoint_equal_address(&second->address, &address));
    assert_false(rate_is_set(&second->unplumbed.threshold));
    assert_int_equal(second->unplumbed.duration_ns, 60 * NS_PER_S);
    assert_false(third->has_address);
    assert_int_equal(third->unplumbed.duration_ns, 0);
    assert_int_not_equal(first->fingerprint, second->fingerprint);
    conf_free(conf);
}

/* How often a source has its turn in the pool's cycle. */
static unsigned turns_of(const struct pool_options *pool, const char *source)
{
    unsigned turns = 0;
    for (uint32_t i = 0; i < pool->turn_count; i++) {
        const struct pool_member *member = &pool->members[pool->turns[i]];
        turns += slice_equal(member->source->name, slice_from_string(source));
    }
    return turns;
}

static void pools_have_their_turns_by_weight(void **state)
{
    (void)state;
    struct conf *conf = load_good(
        "[sources.pool.p.\"ip-2\"]\nweight = 20\n[sources.pool.p.\"ip-1\"]\nweight = 60\n"
        "[sources.pool.p.\"ip-3\"]\nweight = 0\n[sources.pool.p.unspecified]\nweight = 20\n"
        "[sources.pool.even.\"ip-1\"]\n[sources.pool.even.\"ip-2\"]\n"
        "[sources.pool.shut.\"ip-1\"]\nweight = 0\n[sources.pool.empty]\n"
        "[sources.source.\"ip-3\"]\n[sources.source.\"ip-2\"]\n[sources.source.\"ip-1\"]\n"
        "[queues.tenant.t]\negress_pool = \"p\"\n[queues.queue.\"a.test\".t]\n"
        "egress_pool = \"even\"\n");
    static const struct {
        const char *pool;
        const char *source;
        unsigned turns;
        unsigned all;
    } rows[] = {
        {"p", "ip-1", 3, 5},    {"p", "ip-2", 1, 5},    {"p", "ip-3", 0, 5},
        {"p", "unspecified", 1, 5}, {"even", "ip-1", 1, 2}, {"even", "ip-2", 1, 2},
        {"shut", "ip-1", 0, 0}, {"empty", "ip-1", 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct pool_options *pool = pool_of(conf, rows[i].pool);
        assert_int_equal(pool->turn_count, rows[i].all);
        assert_int_equal(turns_of(pool, rows[i].source), rows[i].turns);
    }
    assert_int_equal(pool_of(conf, "p")->member_count, 4);
    assert_ptr_equal(pool_of(conf, "even")->members[1].source, source_of(conf, "ip-2"));
    assert_non_null(strstr(said, "note: the pool \"shut\" has no source with a weight"));
    assert_non_null(strstr(said, "note: the pool \"empty\" has no source with a weight"));
    static const struct {
        const char *tenant;
        const char *domain;
        const char *pool;
    } queues[] = {{"", "b.test", "unspecified"}, {"t", "b.test", "p"}, {"t", "a.test", "even"}};
    for (size_t i = 0; i < COUNT_OF(queues); i++) {
        struct queue_options options;
        const struct conf_queue_key key = {.tenant = slice_from_string(queues[i].tenant),
                                           .domain = slice_from_string(queues[i].domain)};
        conf_queue(conf, &key, &options);
        expect_text(options.egress_pool, queues[i].pool);
    }
    conf_free(conf);
}

#define SOURCE(text) "[sources.source.a]\n" text "\n"

static const struct {
    const char *text;
    const char *message; /* the beginning of a line */
} bad[] = {
    {"sources = 5\n", "t.toml:1:1: error: sources wants a table"},
    {"[sources]\nsource = 5\n", "t.toml:2:1: error: source wants a table"},
    {"[sources]\npool = []\n", "t.toml:2:1: error: pool wants a table"},
    {"[sources]\nsorce = 5\n", "t.toml:2:1: error: unknown key \"sorce\", is \"source\" meant?"},
    {"[sources.source]\na = 5\n", "t.toml:2:1: error: a wants a table"},
    {"[sources.source.\"a b\"]\n", "t.toml:1:17: error: \"a b\" is no name of a source"},
    {"[sources.source.\"a->b\"]\n", "t.toml:1:17: error: \"a->b\" is no name of a source"},
    {"[sources.source.\"\"]\n", "t.toml:1:17: error: \"\" is no name of a source"},
    {"[sources.source.unspecified]\n", "t.toml:1:17: error: the source \"unspecified\" is buil"},
    {"[sources.pool.unspecified]\n", "t.toml:1:15: error: the pool \"unspecified\" is built"},
    {"[sources.pool.\"\\u00E4\"]\n", "t.toml:1:15: error: \"??\" is no name of a pool"},
    {SOURCE("adress = \"192.0.2.1\""), "t.toml:2:1: error: unknown key \"adress\""},
    {SOURCE("source_address = 1"), "t.toml:2:1: error: source_address wants an address"},
    {SOURCE("source_address = \"a.test\""), "t.toml:2:1: error: source_address wants an address"},
    {SOURCE("source_address = \"192.0.2.1:25\""),
     "t.toml:2:1: error: source_address wants an address"},
    {SOURCE("source_address = \"0.0.0.0\""),
     "t.toml:2:1: error: source_address: nothing can leave from \"0.0.0.0\""},
    {SOURCE("source_address = \"::\""), "t.toml:2:1: error: source_address: nothing can leave"},
    {SOURCE("source_address = \"239.1.2.3\""), "t.toml:2:1: error: source_address: nothing can"},
    {SOURCE("ehlo_domain = \"a b\""), "t.toml:2:1: error: ehlo_domain wants a host name"},
    {SOURCE("remote_port = 0"), "t.toml:2:1: error: remote_port = 0 is out of range"},
    {SOURCE("ha_proxy_server = \"192.0.2.1:5000\""), "t.toml:2:1: error: ha_proxy_server: not bui"},
    {SOURCE("ha_proxy_source_address = \"192.0.2.1\""),
     "t.toml:2:1: error: ha_proxy_source_address: not built yet"},
    {SOURCE("socks5_proxy_server = \"192.0.2.1:5000\""),
     "t.toml:2:1: error: socks5_proxy_server: not built yet"},
    {SOURCE("socks5_proxy_source_address = \"192.0.2.1\""),
     "t.toml:2:1: error: socks5_proxy_source_address: not built yet"},
    {SOURCE("socks5_proxy_username = \"u\""), "t.toml:2:1: error: socks5_proxy_username: not bui"},
    {SOURCE("socks5_proxy_password = \"p\""), "t.toml:2:1: error: socks5_proxy_password: not bui"},
    {SOURCE("suspend_when_proxy_unhealthy = {}"),
     "t.toml:2:1: error: suspend_when_proxy_unhealthy: not built yet"},
    {SOURCE("suspend_when_unplumbed = true"), "t.toml:2:1: error: suspend_when_unplumbed wants a"},
    {SOURCE("suspend_when_unplumbed = {trigger = \"Immediate\"}"),
     "t.toml:2:1: error: suspend_when_unplumbed wants both trigger and duration"},
    {SOURCE("suspend_when_unplumbed = {duration = \"1m\"}"),
     "t.toml:2:1: error: suspend_when_unplumbed wants both trigger and duration"},
    {SOURCE("suspend_when_unplumbed = {trigger = \"Now\", duration = \"1m\"}"),
     "t.toml:2:27: error: trigger wants \"Immediate\" or { Threshold"},
    {SOURCE("suspend_when_unplumbed = {trigger = {Threshold = \"5\"}, duration = \"1m\"}"),
     "t.toml:2:38: error: Threshold wants COUNT/PERIOD"},
    {SOURCE("suspend_when_unplumbed = {trigger = \"Immediate\", duration = \"0s\"}"),
     "t.toml:2:50: error: duration is out of range"},
    {"[sources.pool.p.a]\n", "t.toml:1:17: error: the source \"a\" is not defined by"},
    {SOURCE("[sources.pool.p]\na = 5"), "t.toml:3:1: error: a wants a table"},
    {SOURCE("[sources.pool.p]\nttl = \"1m\""), "t.toml:3:1: error: ttl wants a table"},
    {SOURCE("[sources.pool.p.a]\nweigth = 5"),
     "t.toml:3:1: error: unknown key \"weigth\", is \"weight\" meant?"},
    {SOURCE("[sources.pool.p.a]\nweight = -1"), "t.toml:3:1: error: weight = -1 is out of range"},
    {SOURCE("[sources.source.b]\n[sources.pool.p.a]\nweight = 65536\n[sources.pool.p.b]\n"),
     "t.toml:3:15: error: the weights of \"p\", divided by what divides them all, add up to 65537"},
};

static void each_mistake_is_told_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct conf *conf = load(bad[i].text);
        conf_free(conf);
        if (conf != NULL || strstr(said, bad[i].message) == NULL) {
            fail_msg("case %zu: %s\nsaid: %s", i, bad[i].text, said);
        }
    }
}

static void a_pool_of_more_sources_than_fit_is_refused(void **state)
{
    (void)state;
    static char text[400000];
    struct buf buf;
    buf_init(&buf, (uint8_t *)text, sizeof(text) - 1);
    for (unsigned i = 0; i < 513; i++) {
        buf_printf(&buf, "[sources.source.s%u]\n[sources.pool.p.s%u]\n", i, i);
    }
    assert_false(buf.overflow);
    text[buf.size] = 0;
    assert_null(load(text));
    assert_non_null(strstr(said, "\"p\" has more than 512 sources"));
}

/* --- paths ------------------------------------------------------------------------------------ */

static const char paths[] =
    "[sources.source.s]\n[sources.source.t]\n[sources.source.u]\n"
    "[shaping.default]\nconnection_limit = 1\nmax_ready = 10\n"                       /* 5, 6 */
    "additional_connection_limits = {a = 1}\n"                                        /* 7 */
    "[shaping.default.sources.t]\nmax_ready = 20\nsmtp_port = 26\n"                   /* 9, 10 */
    "[shaping.\"a.test\"]\nconnection_limit = 2\nsmtp_port = 27\n"                    /* 12, 13 */
    "[shaping.\"a.test\".sources.s]\nconnection_limit = 3\n"                          /* 15 */
    "additional_connection_limits = {b = 2}\nprovider_name = \"p\"\n"                 /* 16, 17 */
    "[shaping.\"a.test\".sources.t]\nmax_deliveries_per_connection = 7\n"             /* 19 */
    "[shaping.\"*.test\"]\nmax_ready = 30\n";                                         /* 21 */

static void what_a_block_says_for_a_source_is_laid_over_it(void **state)
{
    (void)state;
    static const struct {
        const char *domain;
        const char *source;
        unsigned limit;
        unsigned ready;
        unsigned port;
        unsigned deliveries;
        unsigned named;
        const char *of_source;
    } rows[] = {
        {"a.test", "", 2, 10, 27, 1024, 1, ""},   {"A.test.", "s", 3, 10, 27, 1024, 2, "s"},
        {"a.test", "t", 2, 20, 27, 7, 1, "t"},    {"a.test", "u", 2, 10, 27, 1024, 1, ""},
        {"a.test", "none", 2, 10, 27, 1024, 1, ""}, {"b.test", "s", 1, 30, 25, 1024, 1, ""},
        {"b.test", "t", 1, 30, 26, 1024, 1, "t"}, {"b", "s", 1, 10, 25, 1024, 1, ""},
        {"b", "t", 1, 20, 26, 1024, 1, "t"},      {"", "t", 1, 20, 26, 1024, 1, "t"},
    };
    struct conf *conf = load_good(paths);
    assert_string_equal(said, "");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice domain = slice_from_string(rows[i].domain);
        struct slice source = slice_from_string(rows[i].source);
        const struct path_options *path = conf_kit_path(conf, domain, source);
        assert_int_equal(path->connection_limit, rows[i].limit);
        assert_int_equal(path->max_ready, rows[i].ready);
        assert_int_equal(path->smtp_port, rows[i].port);
        assert_int_equal(path->max_deliveries_per_connection, rows[i].deliveries);
        assert_int_equal(path->additional_connection_limits.count, rows[i].named);
        expect_text(path->source, rows[i].of_source);
        uint64_t fingerprint = conf_kit_path(conf, domain, SLICE_NONE)->fingerprint;
        assert_int_equal(fingerprint == path->fingerprint, path->source.size == 0);
    }
    conf_free(conf);
}

static void a_fingerprint_changes_with_what_is_said_for_that_source_alone(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        const char *to;
        bool block; /* has the same one? */
        bool source_s;
        bool source_t;
    } rows[] = {
        {"connection_limit = 3", "connection_limit = 4", true, false, true},
        {"connection_limit = 2", "connection_limit = 4", false, false, false},
        {"connection = 7", "connection = 8", true, true, false},
        {"max_ready = 20", "max_ready = 21", true, true, false},
        {"max_ready = 10", "max_ready = 11", false, false, false},
        {"max_ready = 30", "max_ready = 31", true, true, true},
    };
    struct conf *one = load_good(paths);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[sizeof(paths)];
        memcpy(text, paths, sizeof(paths));
        char *at = strstr(text, rows[i].from);
        assert_non_null(at);
        memcpy(at, rows[i].to, strlen(rows[i].to));
        struct conf *other = load_good(text);
        const struct slice sources[] = {SLICE_NONE, SLICE("s"), SLICE("t")};
        const bool same[] = {rows[i].block, rows[i].source_s, rows[i].source_t};
        for (size_t j = 0; j < COUNT_OF(sources); j++) {
            assert_int_equal(conf_kit_path(one, SLICE("a.test"), sources[j])->fingerprint ==
                                 conf_kit_path(other, SLICE("a.test"), sources[j])->fingerprint,
                             same[j]);
        }
        conf_free(other);
    }
    conf_free(one);
}

static void what_is_said_for_a_source_has_its_origin(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        const char *option;
        const char *member;
        const char *origin; /* null: the default */
    } rows[] = {
        {"", "connection_limit", "", "t.toml:12"}, {"s", "connection_limit", "", "t.toml:15"},
        {"s", "max_ready", "", "t.toml:6"},        {"t", "max_ready", "", "t.toml:9"},
        {"t", "smtp_port", "", "t.toml:13"},       {"s", "provider_name", "", "t.toml:17"},
        {"t", "provider_name", "", NULL},          {"u", "connection_limit", "", "t.toml:12"},
        {"s", "additional_connection_limits", "a", "t.toml:7"},
        {"s", "additional_connection_limits", "b", "t.toml:16"},
        {"t", "additional_connection_limits", "b", NULL},
    };
    struct conf *conf = load_good(paths);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct shaping_path path;
        (void)shaping_path_of(conf, SLICE("a.test"), slice_from_string(rows[i].source), &path);
        const struct shaping_said *by =
            shaping_path_said(&path, rows[i].option, slice_from_string(rows[i].member));
        assert_int_equal(by == NULL, rows[i].origin == NULL);
        if (by != NULL) {
            expect_text(by->origin, rows[i].origin);
        }
    }
    conf_free(conf);
}

static void a_source_that_nobody_defines_is_noted(void **state)
{
    (void)state;
    struct conf *conf = load_good("[shaping.\"a.test\".sources.s]\nmax_ready = 1\n");
    assert_string_equal(said, "t.toml:1:27: note: the source \"s\" is not defined by "
                              "[sources.source]\n");
    assert_int_equal(conf_kit_path(conf, SLICE("a.test"), SLICE("s"))->max_ready, 1);
    conf_free(conf);
}

static void an_error_in_a_block_is_told_once_however_many_sources_it_is_laid_under(void **state)
{
    (void)state;
    assert_null(load("[sources.source.s]\n[shaping.default.sources.s]\n"
                     "[shaping.\"a.test\"]\nmax_ready = 0\n"));
    assert_string_equal(said, "t.toml:4:1: error: max_ready = 0 is out of range, 1 to 1000000\n");
}

/* --- files of a section ----------------------------------------------------------------------- */

static void files_of_a_section_merge_and_the_later_one_wins_and_the_section_itself(void **state)
{
    (void)state;
    static const char *const files[] = {
        "d/t.toml",
        "[sources]\nfiles = [\"one.toml\", \"/two.toml\"]\n"
        "[sources.source.a]\nremote_port = 3\n"
        "[queues]\nfiles = [\"q.toml\"]\n[queues.queue.default]\nweight = 3\n",
        "d/one.toml",
        "[source.a]\nremote_port = 1\nehlo_domain = \"one.test\"\nsource_address = \"192.0.2.1\"\n"
        "[source.b]\nremote_port = 1\n[pool.p.a]\nweight = 5\n",
        "/two.toml",
        "[source.a]\nremote_port = 2\nehlo_domain = \"two.test\"\n[source.b]\nremote_port = 2\n"
        "[pool.p.b]\n",
        "d/q.toml",
        "tenant_header = \"X-T\"\n[tenant.t]\negress_pool = \"p\"\n"
        "[queue.default]\nweight = 4\nmax_age = \"1h\"\n",
        NULL,
    };
    static const char *const sets[] = {"sources.source.b.remote_port=4"};
    static const struct {
        const char *key;
        const char *text;
        const char *origin;
    } rows[] = {
        {"sources.files", "[\"one.toml\", \"/two.toml\"]", "d/t.toml:2"},
        {"sources.source.a.remote_port", "3", "d/t.toml:4"},
        {"sources.source.a.ehlo_domain", "\"two.test\"", "/two.toml:3"},
        {"sources.source.a.source_address", "\"192.0.2.1\"", "d/one.toml:4"},
        {"sources.source.b.remote_port", "4", "--set"},
        {"sources.pool.p.a.weight", "5", "d/one.toml:8"},
        {"sources.pool.p.b", "{}", "/two.toml:6"},
        {"queues.queue.default.weight", "3", "d/t.toml:8"},
        {"queues.queue.default.max_age", "\"1h\"", "d/q.toml:6"},
        {"queues.tenant_header", "\"X-T\"", "d/q.toml:1"},
    };
    struct conf *conf = load_files(files, sets, 1);
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    assert_string_equal(said, "");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct conf_setting *found = conf_setting_find(conf, slice_from_string(rows[i].key));
        if (found == NULL) {
            fail_msg("%s", rows[i].key);
        }
        expect_text(found->text, rows[i].text);
        expect_text(found->origin, rows[i].origin);
        assert_int_equal(found->effect, CONF_NOW);
    }
    assert_int_equal(source_of(conf, "a")->remote_port, 3);
    assert_int_equal(source_of(conf, "b")->remote_port, 4);
    assert_int_equal(pool_of(conf, "p")->turn_count, 6);
    conf_free(conf);
}

/* Options of shaping files with their numbers, and where each comes from. */
struct shaped {
    const char *domain;
    const char *source;
    uint32_t connections;
    uint32_t deliveries;
    uint32_t recipients;
};

static void expect_shaped(const char *const *files, const struct shaped *rows, size_t count)
{
    struct conf *conf = load_files(files, NULL, 0);
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    for (size_t i = 0; i < count; i++) {
        const struct path_options *path = conf_kit_path(conf, slice_from_string(rows[i].domain),
                                                        slice_from_string(rows[i].source));
        if (path->connection_limit != rows[i].connections ||
            path->max_deliveries_per_connection != rows[i].deliveries ||
            path->max_recipients_per_batch != rows[i].recipients) {
            fail_msg("%s from %s: %u, %u, %u", rows[i].domain, rows[i].source,
                     path->connection_limit, path->max_deliveries_per_connection,
                     path->max_recipients_per_batch);
        }
    }
    conf_free(conf);
}

static void blocks_of_shaping_files_merge_option_by_option_and_the_later_one_wins(void **state)
{
    (void)state;
    static const char *const files[] = {
        "d/t.toml",
        "[shaping]\nfiles = [\"base.toml\", \"more.toml\"]\n"
        "[shaping.\"c.test\"]\nconnection_limit = 9\n[sources.source.s]\n",
        "d/base.toml",
        "[\"default\"]\nconnection_limit = 10\nmax_deliveries_per_connection = 100\n"
        "[\"a.test\"]\nconnection_limit = 3\nmax_recipients_per_batch = 5\n"
        "[\"a.test\".sources.s]\nconnection_limit = 2\n"
        "[\"c.test\"]\nconnection_limit = 4\n",
        "d/more.toml",
        "[\"default\"]\nmax_deliveries_per_connection = 200\n"
        "[\"a.test\"]\nmax_recipients_per_batch = 6\n"
        "[\"a.test\".sources.s]\nmax_recipients_per_batch = 7\n",
        NULL,
    };
    static const struct shaped rows[] = {
        {"x.test", "s", 10, 200, 100},
        {"a.test", "t", 3, 200, 6},
        {"a.test", "s", 2, 200, 7},
        {"c.test", "s", 9, 200, 100},
    };
    expect_shaped(files, rows, COUNT_OF(rows));
    assert_string_equal(said, "");
}

static void options_of_shaping_files_tell_where_they_stand(void **state)
{
    (void)state;
    static const char *const files[] = {
        "d/t.toml", "[shaping]\nfiles = [\"one.toml\", \"two.toml\"]\n",
        "d/one.toml", "[\"a.test\"]\nsmtp_port = 26\nmax_ready = 8\n",
        "d/two.toml", "\n[\"a.test\"]\nmax_ready = 9\n", NULL,
    };
    static const char *const rows[][2] = {
        {"shaping.\"a.test\".smtp_port", "d/one.toml:2"},
        {"shaping.\"a.test\".max_ready", "d/two.toml:3"},
    };
    struct conf *conf = load_files(files, NULL, 0);
    assert_non_null(conf);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct conf_setting *found =
            conf_setting_find(conf, slice_from_string(rows[i][0]));
        assert_non_null(found);
        expect_text(found->origin, rows[i][1]);
        assert_int_equal(found->effect, CONF_NOW);
    }
    conf_free(conf);
}

static void maps_of_names_merge_over_shaping_files_and_lists_do_not(void **state)
{
    (void)state;
    static const char *const files[] = {
        "t.toml", "[shaping]\nfiles = [\"one.toml\", \"two.toml\"]\n",
        "one.toml",
        "[\"a.test\"]\nadditional_connection_limits = {p = 5, q = 6}\n"
        "skip_hosts = [\"192.0.2.0/24\", \"192.0.3.0/24\"]\n",
        "two.toml",
        "[\"a.test\"]\nadditional_connection_limits = {q = 7, r = 8}\n"
        "skip_hosts = [\"192.0.4.0/24\"]\n",
        NULL,
    };
    uint32_t sum = 0;
    struct conf *conf = load_files(files, NULL, 0);
    assert_non_null(conf);
    const struct path_options *path = conf_kit_path(conf, SLICE("a.test"), SLICE_NONE);
    assert_int_equal(path->additional_connection_limits.count, 3);
    for (size_t i = 0; i < 3; i++) {
        sum += path->additional_connection_limits.rows[i].limit;
    }
    assert_int_equal(sum, 5 + 7 + 8);
    assert_int_equal(path->skip_host_count, 1);
    conf_free(conf);
}

#define BASE_REPLACED "[\"a.test\"]\nreplace_base = true\nmax_recipients_per_batch = 6\n"

static void replace_base_drops_what_earlier_files_say_of_the_block_alone(void **state)
{
    (void)state;
    static const char first[] =
        "[\"default\"]\nconnection_limit = 10\n"
        "[\"a.test\"]\nconnection_limit = 3\nmax_deliveries_per_connection = 50\n"
        "[\"a.test\".sources.s]\nconnection_limit = 2\n"
        "[\"b.test\"]\nconnection_limit = 4\n";
    static const struct {
        const char *main; /* behind `files` */
        const char *one;
        const char *two;
        const char *three;
        struct shaped rows[3];
    } cases[] = {
        {"", first, "", "", {{"a.test", "t", 3, 50, 100}, {"a.test", "s", 2, 50, 100}}},
        {"", first, BASE_REPLACED, "",
         {{"a.test", "t", 10, 1024, 6}, {"a.test", "s", 10, 1024, 6},
          {"b.test", "s", 4, 1024, 100}}},
        /* Later files lay over it, whether they say the opposite or not. */
        {"", first, BASE_REPLACED, "[\"a.test\"]\nreplace_base = false\nconnection_limit = 7\n",
         {{"a.test", "t", 7, 1024, 6}, {"a.test", "s", 7, 1024, 6}}},
        {"", first, BASE_REPLACED, "[\"a.test\".sources.s]\nconnection_limit = 1\n",
         {{"a.test", "t", 10, 1024, 6}, {"a.test", "s", 1, 1024, 6}}},
        /* The file's own source blocks stay, and it can be the first one. */
        {"", first, BASE_REPLACED "[\"a.test\".sources.s]\nconnection_limit = 1\n", "",
         {{"a.test", "t", 10, 1024, 6}, {"a.test", "s", 1, 1024, 6}}},
        {"", BASE_REPLACED, "[\"a.test\"]\nconnection_limit = 7\n", "",
         {{"a.test", "s", 7, 1024, 6}}},
        /* What stands in the section is later than all files. */
        {"[shaping.\"a.test\"]\nconnection_limit = 8\nreplace_base = true\n"
         "max_recipients_per_batch = 9\n", first, "", "",
         {{"a.test", "t", 8, 1024, 9}, {"b.test", "s", 4, 1024, 100}}},
        {"[shaping.default]\nreplace_base = true\n", first, "", "",
         {{"x.test", "t", 32, 1024, 100}, {"a.test", "s", 2, 50, 100}}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[512];
        const char *const files[] = {"t.toml", text, "1.toml", cases[i].one, "2.toml",
                                     cases[i].two, "3.toml", cases[i].three, NULL};
        size_t count = 0;
        (void)snprintf(text, sizeof(text),
                       "[sources.source.s]\n[shaping]\n"
                       "files = [\"1.toml\", \"2.toml\", \"3.toml\"]\n%s",
                       cases[i].main);
        while (count < COUNT_OF(cases[i].rows) && cases[i].rows[count].domain != NULL) {
            count++;
        }
        expect_shaped(files, cases[i].rows, count);
    }
}

static void files_may_be_named_by_set_and_without_a_section(void **state)
{
    (void)state;
    static const char *const files[] = {"t.toml", "", "s.toml", "[source.a]\n", NULL};
    static const char *const sets[] = {"sources.files=[\"s.toml\"]"};
    struct conf *conf = load_files(files, sets, 1);
    assert_non_null(conf);
    assert_non_null(source_of(conf, "a"));
    conf_free(conf);
}

static void mistakes_in_files_of_a_section_have_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"[source.a]\nremote_port = 0\n", "s.toml:2:1: error: remote_port = 0 is out of range"},
        {"[sources.source.a]\n", "s.toml:1:2: error: unknown key \"sources\", is \"source\" mea"},
        {"[source.a]\n[source.a]\n", "s.toml:2:1: error: "},
        {"source = {a = {}\n", "s.toml:"},
        {"files = [\"x.toml\"]\n", "s.toml:1:1: error: files stands in the main file only"},
        {"source = 5\n", "s.toml:1:1: error: source wants a table"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *const files[] = {"t.toml", "[sources]\nfiles = [\"s.toml\"]\n", "s.toml",
                                     rows[i].text, NULL};
        struct conf *conf = load_files(files, NULL, 0);
        conf_free(conf);
        if (conf != NULL || strstr(said, rows[i].message) == NULL) {
            fail_msg("case %zu: %s", i, said);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_sources_there_is_the_one_that_is_built_in),
        cmocka_unit_test(every_option_of_a_source_reaches_its_field),
        cmocka_unit_test(pools_have_their_turns_by_weight),
        cmocka_unit_test(each_mistake_is_told_with_its_place),
        cmocka_unit_test(a_pool_of_more_sources_than_fit_is_refused),
        cmocka_unit_test(what_a_block_says_for_a_source_is_laid_over_it),
        cmocka_unit_test(a_fingerprint_changes_with_what_is_said_for_that_source_alone),
        cmocka_unit_test(what_is_said_for_a_source_has_its_origin),
        cmocka_unit_test(a_source_that_nobody_defines_is_noted),
        cmocka_unit_test(an_error_in_a_block_is_told_once_however_many_sources_it_is_laid_under),
        cmocka_unit_test(files_of_a_section_merge_and_the_later_one_wins_and_the_section_itself),
        cmocka_unit_test(blocks_of_shaping_files_merge_option_by_option_and_the_later_one_wins),
        cmocka_unit_test(options_of_shaping_files_tell_where_they_stand),
        cmocka_unit_test(maps_of_names_merge_over_shaping_files_and_lists_do_not),
        cmocka_unit_test(replace_base_drops_what_earlier_files_say_of_the_block_alone),
        cmocka_unit_test(files_may_be_named_by_set_and_without_a_section),
        cmocka_unit_test(mistakes_in_files_of_a_section_have_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
