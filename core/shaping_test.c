/* The blocks of traffic shaping and how they are merged. */
#include "core/shaping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conf_origin.h"
#include "tests/kit/conf_kit.h"

static char said[4000];

static struct conf *load_files(const char *const *files)
{
    struct conf *conf = conf_kit_load(files, NULL, 0, said, sizeof(said));
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    return conf;
}

static struct conf *load(const char *text)
{
    const char *const files[] = {"t.toml", text, NULL};
    return load_files(files);
}

/* Hosts by their names, a space between them. */
static unsigned split(const char *names, struct slice hosts_out[8])
{
    unsigned count = 0;
    struct slice rest = slice_from_string(names);
    while (rest.size > 0) {
        size_t end = slice_find(rest, ' ');
        hosts_out[count++] = slice_first(rest, end);
        rest = slice_skip(rest, MIN_OF(end + 1, rest.size));
    }
    return count;
}

struct wanted {
    const char *domain;
    const char *site;
    const char *hosts;
    const char *source;
    const char *option; /* "connection_limit", "additional_connection_limits.NAME" */
    const char *value;  /* null: nobody says it */
    const char *origin; /* null: whatever */
};

struct seen {
    const char *name;
    char value[200];
    char origin[200];
    bool found;
};

static void see(void *context, const char *name, struct slice value, struct slice origin)
{
    struct seen *seen = context;
    if (strcmp(name, seen->name) == 0 &&
        !slice_equal(origin, SLICE(CONF_ORIGIN_DEFAULT))) {
        snprintf(seen->value, sizeof(seen->value), "%.*s", (int)value.size,
                 (const char *)value.data);
        snprintf(seen->origin, sizeof(seen->origin), "%.*s", (int)origin.size,
                 (const char *)origin.data);
        seen->found = true;
    }
}

static const struct path_options *find(const struct shaping_view *view, const struct wanted *row,
                                       struct shaping_path *path_out)
{
    struct slice hosts[8];
    const struct shaping_query query = {
        .domain = slice_from_string(row->domain),
        .site = slice_from_string(row->site),
        .hosts = hosts,
        .host_count = split(row->hosts, hosts),
        .source = slice_from_string(row->source),
    };
    return shaping_path_find(view, &query, path_out);
}

static void expect(const struct shaping_view *view, const struct wanted *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct shaping_path path;
        struct seen seen = {.name = rows[i].option};
        (void)find(view, &rows[i], &path);
        conf_path_visit(&path, see, &seen);
        bool right = seen.found == (rows[i].value != NULL) &&
                     (!seen.found || strcmp(seen.value, rows[i].value) == 0) &&
                     (rows[i].origin == NULL || strcmp(seen.origin, rows[i].origin) == 0);
        if (!right) {
            fail_msg("row %zu: %s of %s at \"%s\" from \"%s\" is %s by %s", i, rows[i].option,
                     rows[i].domain, rows[i].hosts, rows[i].source,
                     seen.found ? seen.value : "unsaid", seen.origin);
        }
    }
}

static struct shaping_view view_of(const struct conf *conf)
{
    return (struct shaping_view){.shaping = conf->shaping};
}

/* The table by which the block of a domain is its site's, for `count` pairs of both. */
static struct shaping_sites *sites_of(const struct conf *conf, const char *const pairs[][2],
                                      uint32_t count)
{
    struct shaping_sited rows[8];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t block = 0;
        while (!slice_equal(conf->shaping->blocks[block].name, slice_from_string(pairs[i][0]))) {
            block++;
            assert_true(block < conf->shaping->block_count);
        }
        rows[i] = (struct shaping_sited){block, slice_from_string(pairs[i][1])};
    }
    return shaping_sites_new(conf->shaping, rows, count);
}

#define EXPECT(view, rows) expect((view), (rows), COUNT_OF(rows))

/* --- the contract's example ------------------------------------------------------------------- */

static void the_worked_example(void **state)
{
    (void)state;
    struct conf *conf = load("[sources.source.ip1]\n[sources.source.ip2]\n"
                             "[shaping.default]\nconnection_limit = 10\n"
                             "max_message_rate = \"100/s\"\n"
                             "[shaping.provider.P]\nmatch = [{MXSuffix = \".p.test\"}]\n"
                             "max_deliveries_per_connection = 50\nprovider_connection_limit = 5\n"
                             "[shaping.\"a.com\"]\nconnection_limit = 3\n"
                             "[shaping.\"a.com\".sources.ip1]\nconnection_limit = 2\n");
    static const char *const pairs[][2] = {{"a.com", "mx.p.test"}};
    const struct shaping_override override = {
        .domain = SLICE("a.com"), .site = SLICE("mx.p.test"), .source = SLICE("ip1"),
        .rollup = true, .name = SLICE("max_message_rate"), .value = SLICE("\"1/minute\""),
        .origin = SLICE("automation")};
    struct shaping_sites *sites = sites_of(conf, pairs, 1);
    struct shaping_overrides *overrides = shaping_overrides_new(&override, 1, NULL, NULL);
    const struct shaping_view view = {conf->shaping, sites, overrides};
    static const struct wanted rows[] = {
        {"b.com", "mx.p.test", "mx.p.test", "ip1", "connection_limit", "2", "t.toml:13"},
        {"b.com", "mx.p.test", "mx.p.test", "ip1", "shaping.max_message_rate", "\"1/minute\"",
         "automation"},
        {"b.com", "mx.p.test", "mx.p.test", "ip1", "max_deliveries_per_connection", "50", NULL},
        {"b.com", "mx.p.test", "mx.p.test", "ip1", "shaping.provider_name", "\"P\"", "t.toml:6"},
        {"b.com", "mx.p.test", "mx.p.test", "ip1",
         "additional_connection_limits.shaping-provider-P-ip1-limit", "5", "t.toml:9"},
        {"b.com", "mx.p.test", "mx.p.test", "ip2", "connection_limit", "3", "t.toml:11"},
        {"b.com", "mx.p.test", "mx.p.test", "ip2", "shaping.max_message_rate", "\"100/s\"", NULL},
        {"b.com", "mx.p.test", "mx.p.test", "ip2",
         "additional_connection_limits.shaping-provider-P-ip2-limit", "5", NULL},
        {"b.com", "mx.q.test", "mx.q.test", "ip1", "connection_limit", "10", NULL},
        {"b.com", "mx.q.test", "mx.q.test", "ip1", "shaping.provider_name", NULL, NULL},
    };
    EXPECT(&view, rows);
    shaping_overrides_free(overrides);
    shaping_sites_free(sites);
    conf_free(conf);
}

/* --- providers -------------------------------------------------------------------------------- */

static void a_provider_matches_by_all_hosts_or_by_the_domain(void **state)
{
    (void)state;
    struct conf *conf =
        load("[shaping.provider.p]\nmatch = [{MXSuffix = \".p.test\"}, {HostName = \"mx.q.test\"},"
             "{DomainSuffix = \".r.test\"}]\n"
             "[shaping.provider.none]\nmax_ready = 1\n"
             "[shaping.provider.dot]\nmatch = [{MXSuffix = \".s.test.\"}]\n");
    assert_non_null(strstr(said, "\"none\" has no match"));
    assert_non_null(strstr(said, "\".s.test.\" never matches"));
    static const struct {
        const char *domain;
        const char *hosts;
        bool matches;
    } rows[] = {
        {"a.test", "", false},
        {"a.test", "mx.p.test", true},
        {"a.test", "p.test", false},
        {"a.test", "mx.p.test.", true},
        {"a.test", "mx.q.test", true},
        {"a.test", "mx1.mx.q.test", false},
        {"a.test", "mx.q.test mx.p.test", true},
        {"a.test", "mx.p.test mx.other.test", false},
        {"a.test", "mx.other.test mx.p.test", false},
        {"x.r.test", "", true},
        {"X.R.test.", "mx.other.test", true},
        {"r.test", "mx.other.test", false},
        {"a.test", "mx.s.test", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice hosts[8];
        uint32_t numbers[SHAPING_MATCHING_MAX];
        const struct shaping_query query = {.domain = slice_from_string(rows[i].domain),
                                            .hosts = hosts,
                                            .host_count = split(rows[i].hosts, hosts)};
        if (shaping_providers(conf->shaping, &query, numbers) != rows[i].matches) {
            fail_msg("%s at \"%s\"", rows[i].domain, rows[i].hosts);
        }
    }
    conf_free(conf);
}

static void limits_of_a_provider_are_named_by_it_and_the_source(void **state)
{
    (void)state;
    struct conf *conf = load(
        "[sources.source.s]\n"
        "[shaping.default.additional_message_rate_throttles]\nall = \"9/s\"\n"
        "[shaping.provider.p]\nmatch = [{MXSuffix = \"p.test\"}]\n"
        "provider_max_message_rate = \"5/s\"\nprovider_source_selection_rate = \"7/d\"\n"
        "provider_connection_limit = \"local:4\"\n"
        "additional_connection_limits = {x = 1}\n"
        "[shaping.provider.p.sources.s]\n"
        "provider_source_selection_rate = \"500/d,max_burst=1\"\nconnection_limit = 6\n");
    struct shaping_view view = view_of(conf);
    static const struct wanted rows[] = {
        {"a.test", "", "p.test", "t", "additional_message_rate_throttles.all", "\"9/s\"", NULL},
        {"a.test", "", "p.test", "t",
         "additional_message_rate_throttles.shaping-provider-p-t-rate", "\"5/s\"", NULL},
        {"a.test", "", "p.test", "t",
         "additional_source_selection_rates.shaping-provider-p-t-selection-rate", "\"7/d\"", NULL},
        {"a.test", "", "p.test", "t", "additional_connection_limits.shaping-provider-p-t-limit",
         "\"local:4\"", NULL},
        {"a.test", "", "p.test", "t", "additional_connection_limits.x", "1", NULL},
        {"a.test", "", "p.test", "s",
         "additional_source_selection_rates.shaping-provider-p-s-selection-rate",
         "\"500/d,max_burst=1\"", "t.toml:11"},
        {"a.test", "", "p.test", "s", "connection_limit", "6", NULL},
        {"a.test", "", "p.test", "t", "connection_limit", NULL, NULL},
        {"a.test", "", "p.test", "",
         "additional_message_rate_throttles.shaping-provider-p-unspecified-rate", "\"5/s\"", NULL},
        {"a.test", "", "q.test", "t",
         "additional_message_rate_throttles.shaping-provider-p-t-rate", NULL, NULL},
    };
    EXPECT(&view, rows);
    conf_free(conf);
}

/* --- the order -------------------------------------------------------------------------------- */

/* Each place says its own number for all options from its own on: the last one wins. */
static void later_layers_count_before_earlier_ones(void **state)
{
    (void)state;
    static const char *const files[] = {
        "t.toml",
        "[sources.source.s]\n[shaping]\nfiles = [\"one.toml\", \"two.toml\"]\n",
        "one.toml",
        "[default]\nconnection_limit = 1\nmax_ready = 1\nsmtp_port = 1\n"
        "max_recipients_per_batch = 1\nmax_deliveries_per_connection = 1\n"
        "consecutive_connection_failures_before_delay = 1\nidle_timeout = 1\n"
        "[default.sources.s]\nmax_ready = 2\nsmtp_port = 2\nmax_recipients_per_batch = 2\n"
        "max_deliveries_per_connection = 2\n"
        "consecutive_connection_failures_before_delay = 2\nidle_timeout = 2\n"
        /* by name they come the other way round */
        "[provider.z]\nmatch = [{MXSuffix = \"p.test\"}]\nsmtp_port = 3\nconnect_timeout = 3\n"
        "max_recipients_per_batch = 3\nmax_deliveries_per_connection = 3\n"
        "consecutive_connection_failures_before_delay = 3\nidle_timeout = 3\n"
        "[provider.z.sources.s]\nbanner_timeout = 4\nidle_timeout = 4\n"
        "[provider.b]\nmatch = [{MXSuffix = \"p.test\"}]\nmax_recipients_per_batch = 5\n"
        "max_deliveries_per_connection = 5\n"
        "consecutive_connection_failures_before_delay = 5\nidle_timeout = 5\n",
        "two.toml",
        "[provider.a]\nmatch = [{MXSuffix = \"p.test\"}]\nconnect_timeout = 6\n"
        "[provider.b]\nbanner_timeout = 6\n"
        "[\"roll.test\"]\nmax_deliveries_per_connection = 7\n"
        "consecutive_connection_failures_before_delay = 7\nidle_timeout = 7\n"
        "[\"roll.test\".sources.s]\nidle_timeout = 9\nehlo_timeout = 9\n"
        "[\"d.test\"]\nmx_rollup = false\nconsecutive_connection_failures_before_delay = 8\n"
        "idle_timeout = 8\nehlo_timeout = 8\n"
        "[\"d.test\".sources.s]\nehlo_timeout = 10\n",
        NULL};
    static const char *const pairs[][2] = {{"roll.test", "p.test"}};
    struct conf *conf = load_files(files);
    struct shaping_sites *sites = sites_of(conf, pairs, 1);
    const struct shaping_view view = {.shaping = conf->shaping, .sites = sites};
#define AT "d.test", "p.test", "mx.p.test", "s"
    static const struct wanted rows[] = {
        {AT, "connection_limit", "1", NULL},
        {AT, "max_ready", "2", NULL},
        {AT, "smtp_port", "3", NULL},
        {AT, "max_recipients_per_batch", "5", NULL},
        {AT, "connect_timeout", "6", NULL}, /* `a` stands in a later file than `z` */
        {AT, "banner_timeout", "6", NULL},  /* `b` behind `z`, by its first place */
        {AT, "max_deliveries_per_connection", "7", NULL},
        {AT, "consecutive_connection_failures_before_delay", "8", NULL},
        {AT, "idle_timeout", "9", NULL},  /* what the site says for the source, behind the domain */
        {AT, "ehlo_timeout", "10", NULL}, /* what the domain says for the source, behind that */
        {"d.test", "p.test", "mx.p.test", "", "idle_timeout", "8", NULL},
        {"d.test", "", "", "s", "idle_timeout", "8", NULL},
        {"other.test", "p.test", "mx.p.test", "s", "idle_timeout", "9", NULL},
        {"other.test", "p.test", "mx.p.test", "s", "ehlo_timeout", "9", NULL},
        {"roll.test", "", "", "s", "idle_timeout", "9", NULL}, /* at once for its own domain */
        {"roll.test", "q.test", "", "s", "idle_timeout", "9", NULL},
        {"other.test", "q.test", "", "s", "idle_timeout", "2", NULL},
        {AT, "shaping.provider_name", "\"a\"", NULL},
    };
    EXPECT(&view, rows);
    shaping_sites_free(sites);
    conf_free(conf);
}

static void blocks_of_one_site_are_laid_in_the_order_of_the_files(void **state)
{
    (void)state;
    struct conf *conf = load(
        "[sources.source.s]\n"
        "[shaping.\"z.test\"]\nmax_ready = 1\nconnection_limit = 1\n"
        "additional_connection_limits = {a = 1, b = 1}\n[shaping.\"z.test\".sources.s]\n"
        "idle_timeout = 1\nbanner_timeout = 1\n"
        "[shaping.\"a.test\"]\nconnection_limit = 2\nadditional_connection_limits = {b = 2}\n"
        "[shaping.\"a.test\".sources.s]\nidle_timeout = 2\n"
        "[shaping.\"n.test\"]\nmax_ready = 3\n"
        "[shaping.\"*.w.test\"]\nmax_ready = 4\n");
    static const char *const pairs[][2] = {
        {"a.test", "S"}, {"n.test", "T"}, {"z.test", "S"}, {"*.w.test", "S"}};
    struct shaping_sites *sites = sites_of(conf, pairs, COUNT_OF(pairs));
    const struct shaping_view view = {.shaping = conf->shaping, .sites = sites};
    static const struct wanted rows[] = {
        {"x.test", "S", "", "", "connection_limit", "2", NULL},
        {"x.test", "S", "", "", "max_ready", "1", NULL},
        {"x.test", "S", "", "", "additional_connection_limits.a", "1", NULL},
        {"x.test", "S", "", "", "additional_connection_limits.b", "2", NULL},
        {"x.test", "S", "", "s", "idle_timeout", "2", NULL},
        {"x.test", "S", "", "s", "banner_timeout", "1", NULL},
        {"z.test", "S", "", "", "connection_limit", "2", NULL}, /* its own is one of them */
        {"z.test", "T", "", "", "connection_limit", "1", NULL}, /* DNS says so now */
        {"z.test", "T", "", "", "max_ready", "1", NULL},
        {"z.test", "", "", "", "connection_limit", "1", NULL},
        {"x.test", "T", "", "", "max_ready", "3", NULL},
        {"v.w.test", "S", "", "", "max_ready", "4", NULL}, /* a wildcard is for its domains alone */
        {"v.w.test", "S", "", "", "connection_limit", "2", NULL},
        {"x.test", "U", "", "", "max_ready", NULL, NULL},
        {"x.test", "", "", "", "max_ready", NULL, NULL},
    };
    EXPECT(&view, rows);
    shaping_sites_free(sites);
    conf_free(conf);
}

/* --- files ------------------------------------------------------------------------------------ */

static void replace_base_drops_a_provider_and_not_what_is_below_it(void **state)
{
    (void)state;
    static const char *const files[] = {
        "t.toml", "[sources.source.s]\n[shaping]\nfiles = [\"one.toml\", \"two.toml\"]\n",
        "one.toml",
        "[default]\nmax_ready = 1\n"
        "[provider.p]\nmatch = [{MXSuffix = \"old.test\"}]\nconnection_limit = 1\n"
        "[provider.p.sources.s]\nidle_timeout = 1\n"
        "[[provider.p.automation]]\nregex = 'x'\naction = \"Suspend\"\nduration = \"1h\"\n",
        "two.toml",
        "[provider.p]\nreplace_base = true\nmatch = [{MXSuffix = \"new.test\"}]\n"
        "smtp_port = 2\n",
        NULL};
    struct conf *conf = load_files(files);
    struct shaping_view view = view_of(conf);
    static const struct wanted rows[] = {
        {"a.test", "", "new.test", "s", "smtp_port", "2", "two.toml:4"},
        {"a.test", "", "new.test", "s", "max_ready", "1", NULL},
        {"a.test", "", "new.test", "s", "connection_limit", NULL, NULL},
        {"a.test", "", "new.test", "s", "idle_timeout", NULL, NULL},
        {"a.test", "", "old.test", "s", "smtp_port", NULL, NULL},
    };
    EXPECT(&view, rows);
    assert_null(conf->shaping->rules);
    conf_free(conf);
}

#define RULE(regex) "regex = '" regex "'\naction = \"Suspend\"\nduration = \"1h\"\n"

static void rules_follow_each_other_in_the_order_of_files_and_groups(void **state)
{
    (void)state;
    static const char *const files[] = {
        "t.toml",
        "[shaping]\nfiles = [\"one.toml\", \"two.toml\"]\n"
        "[[shaping.default.automation]]\n" RULE("d5"),
        "one.toml",
        "[[default.automation]]\n" RULE("d1") "[[default.automation]]\n" RULE("d2")
        "[provider.q]\nmatch = [{MXSuffix = \"p.test\"}]\n[[provider.q.automation]]\n" RULE("q1")
        "[\"b.test\"]\nmx_rollup = false\n[[\"b.test\".automation]]\n" RULE("b1")
        "[\"c.test\"]\nmax_ready = 1\n",
        "two.toml",
        "[[default.automation]]\n" RULE("d3") "[[default.automation]]\n" RULE("d4")
        "[provider.p]\nmatch = [{MXSuffix = \"p.test\"}]\n[[provider.p.automation]]\n" RULE("p1")
        "[[\"a.test\".automation]]\n" RULE("a1"),
        NULL};
    struct conf *conf = load_files(files);
    const struct shaping_rule_set *rules = conf->shaping->rules;
    assert_non_null(rules);
    char text[100] = "";
    for (uint32_t i = 0; i < rules->group_count; i++) {
        const struct shaping_rule_group *group = &rules->groups[i];
        snprintf(text + strlen(text), sizeof(text) - strlen(text), " %.*s%s", (int)group->name.size,
                 (const char *)group->name.data, group->rollup ? "" : "!");
        for (uint32_t j = 0; j < group->rules.count; j++) {
            struct slice pattern = group->rules.rules[j].patterns[0].text;
            snprintf(text + strlen(text), sizeof(text) - strlen(text), ",%.*s",
                     (int)pattern.size, (const char *)pattern.data);
        }
    }
    assert_string_equal(text, " default,d1,d2,d3,d4,d5 q,q1 p,p1 b.test!,b1 a.test,a1");

    static const char *const pairs[][2] = {{"a.test", "S"}};
    struct shaping_sites *sites = sites_of(conf, pairs, 1);
    const struct shaping_view view = {.shaping = conf->shaping, .sites = sites};
    static const struct {
        const char *domain;
        const char *site;
        const char *hosts;
        uint32_t groups[5];
        uint32_t count;
    } rows[] = {
        {"x.test", "", "", {0}, 1},
        {"x.test", "S", "mx.p.test", {0, 1, 2, 4}, 4},
        {"b.test", "S", "mx.p.test", {0, 1, 2, 4, 3}, 5},
        {"b.test", "", "mx.q.test", {0, 3}, 2},
        {"a.test", "S", "", {0, 4}, 2},
        {"a.test", "", "", {0, 4}, 2},
        {"c.test", "", "", {0}, 1},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice hosts[8];
        uint32_t groups[5];
        const struct shaping_query query = {.domain = slice_from_string(rows[i].domain),
                                            .site = slice_from_string(rows[i].site),
                                            .hosts = hosts,
                                            .host_count = split(rows[i].hosts, hosts)};
        assert_int_equal(shaping_groups(&view, &query, groups, 5), rows[i].count);
        assert_memory_equal(groups, rows[i].groups, rows[i].count * sizeof(groups[0]));
        assert_int_equal(shaping_groups(&view, &query, groups, 0), rows[i].count);
    }
    shaping_sites_free(sites);
    conf_free(conf);
}

static void bad_rules_are_told_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *told;
    } rows[] = {
        {"[[shaping.default.automation]]\n" RULE("("), "t.toml:2:1: error: regex: a ( has no )"},
        {"[[shaping.\"a.test\".automation]]\nregex = 'x'\naction = \"Suspend\"\n",
         "t.toml:1:1: error: a rule of automation wants duration"},
        {"[[shaping.provider.p.automation]]\n" RULE("x") "colour = 1\n",
         "t.toml:5:1: error: unknown key \"colour\""},
        {"[shaping.default]\nautomation = 1\n", "automation wants an array"},
        {"[[shaping.default.automation]]\nregex = 'x'\nduration = \"1h\"\n"
         "action = {SetConfig = {name = \"sources\", value = 1}}\n",
         "sources is for a block as a whole"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *const files[] = {"t.toml", rows[i].text, NULL};
        assert_null(conf_kit_load(files, NULL, 0, said, sizeof(said)));
        if (strstr(said, rows[i].told) == NULL) {
            fail_msg("%s: %s", rows[i].told, said);
        }
    }
}

static void a_queue_inside_kumomta_is_noted_and_nothing_more(void **state)
{
    (void)state;
    struct conf *conf = load("[shaping.\"http://127.0.0.1:8008.tsa.kumomta\"]\n"
                             "mx_rollup = false\nmax_ready = 10000\n");
    assert_non_null(strstr(said, "is a queue inside KumoMTA: it has no effect here"));
    assert_int_equal(conf->shaping->block_count, 0);
    conf_free(conf);
}

static void a_path_with_more_names_than_count_is_refused_at_load(void **state)
{
    (void)state;
    static const char *const files[] = {
        "t.toml",
        "[sources.source.s]\n[shaping.default.additional_connection_limits]\na=1\nb=1\nc=1\nd=1\n"
        "[shaping.provider.p]\nmatch = [{MXSuffix=\"p\"}]\nprovider_connection_limit = 1\n"
        "additional_connection_limits = {e=1, f=1, g=1}\n"
        "[shaping.provider.p.sources.s.additional_connection_limits]\na=2\nh=1\n",
        NULL};
    assert_null(conf_kit_load(files, NULL, 0, said, sizeof(said)));
    assert_non_null(strstr(said, "p: more than 8 names of limits"));
}

static void the_same_in_json(void **state)
{
    (void)state;
    static const char *const files[] = {
        "t.toml", "[sources.source.s]\n[shaping]\nfiles = [\"one.json\", \"two\", \"three\"]\n",
        "one.json",
        "{\"default\": {\"connection_limit\": 1, \"max_ready\": 1, \"enable_rset\": true,\n"
        "\"smtp_port\": null, \"sources\": {\"s\": {\"max_ready\": 2}}},\n"
        "\"provider\": {\"z\": {\"match\": [{\"MXSuffix\": \"p.test\"}], \"max_ready\": 3},\n"
        "\"a\": {\"match\": [{\"MXSuffix\": \"p.test\"}], \"max_ready\": 4}}}",
        "two", "{\"default\": {\"connection_limit\": 5}}",
        "three", "[default]\nmax_message_rate = \"6/s\"\n", NULL};
    struct conf *conf = load_files(files);
    struct shaping_view view = view_of(conf);
    static const struct wanted rows[] = {
        {"a.test", "", "", "", "connection_limit", "5", "two"},
        {"a.test", "", "", "", "max_ready", "1", "one.json"},
        {"a.test", "", "", "s", "max_ready", "2", NULL},
        {"a.test", "", "", "", "enable_rset", "true", NULL},
        {"a.test", "", "", "", "smtp_port", NULL, NULL},
        {"a.test", "", "", "", "shaping.max_message_rate", "\"6/s\"", "three:2"},
        {"a.test", "", "mx.p.test", "", "max_ready", "4", NULL}, /* in the order of the file */
    };
    EXPECT(&view, rows);
    conf_free(conf);
}

static void files_that_are_wrong_or_left_out(void **state)
{
    (void)state;
    static const struct {
        const char *main;
        const char *file; /* "f" of any kind */
        const char *told;
        bool loads;
    } rows[] = {
        {"files = [\"f.json\"]\n", "{\"default\": {", "f.json: error: ", false},
        {"files = [\"f.json\"]\n", "[1]", "f.json: error: the document is no object", false},
        {"files = [\"f.json\"]\n", "[default]\nmax_ready = 1\n", "f.json: error: ", false},
        {"files = [\"f.json\"]\n", "{\"default\": {\"max_ready\": 0}}",
         "f.json: error: max_ready = 0 is out of range", false},
        {"files = [\"f.json\"]\n", "{\"default\": {\"max_ready\": 1, \"max_ready\": 2}}",
         "f.json: error: ", false},
        {"files = [\"f.json\"]\n", "{\"files\": []}", "files stands in the main file only", false},
        {"files = [\"f.toml\"]\n", "{\"default\": {\"max_ready\": 1}}", "f.toml:1:", false},
        {"files = [\"f\"]\n", "{\"default\": ", "f:1:", false},
        {"files = [\"none.toml\"]\n", "", "cannot read none.toml", false},
        {"files = [\"none.toml\"]\nload = {local_load = \"Error\"}\n", "",
         "cannot read none.toml", false},
        {"files = [\"none.toml\"]\nload = {local_load = \"Warn\"}\n", "",
         "note: none.toml is left out", true},
        {"files = [\"none.toml\"]\nload = {local_load = \"Ignore\"}\n", "", "", true},
        {"files = [\"https://a.test/x\"]\nload = {skip_remote = true}\n", "",
         "https://a.test/x is left out: skip_remote", true},
        {"files = [\"https://a.test/x\"]\nload = {remote_load = \"Ignore\"}\n", "",
         "URLs are not built yet", false},
        {"load = {dns_fail = \"Ignore\", null_mx = \"Ignore\", http_timeout = \"5s\"}\n", "", "",
         true},
        {"load = {dns_fail = \"Warn\"}\n", "", "dns_fail = \"Warn\": not built yet", false},
        {"load = {provider_overlap = \"Error\"}\n", "", "provider_overlap = \"Error\": not", false},
        {"load = {local_load = \"warn\"}\n", "", "local_load wants one of \"Ignore\"", false},
        {"load = {colour = 1}\n", "", "unknown key \"colour\"", false},
        {"load = 1\n", "", "load wants a table", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[300];
        (void)snprintf(text, sizeof(text), "[shaping]\n%s", rows[i].main);
        const char *const files[] = {"t.toml", text, "f.json", rows[i].file, "f.toml",
                                     rows[i].file, "f", rows[i].file, NULL};
        struct conf *conf = conf_kit_load(files, NULL, 0, said, sizeof(said));
        if ((conf != NULL) != rows[i].loads || strstr(said, rows[i].told) == NULL ||
            (rows[i].told[0] == '\0' && said[0] != '\0')) {
            fail_msg("row %zu: %s", i, said);
        }
        conf_free(conf);
    }
}

static void the_shipped_file_loads_and_says_nothing_odd(void **state)
{
    (void)state;
    static char shipped[32 * KIB];
    FILE *file = fopen("packaging/etc/shaping.toml", "r");
    assert_non_null(file);
    size_t size = fread(shipped, 1, sizeof(shipped) - 1, file);
    fclose(file);
    assert_in_range(size, 1, sizeof(shipped) - 2);
    shipped[size] = '\0';
    const char *const files[] = {"t.toml", "[shaping]\nfiles = [\"shaping.toml\"]\n",
                                 "shaping.toml", shipped, NULL};
    struct conf *conf = load_files(files);
    assert_string_equal(said, "");
    struct shaping_view view = view_of(conf);
    static const struct wanted rows[] = {
        {"gmail.com", "", "gmail-smtp-in.l.google.com alt1.gmail-smtp-in.l.google.com", "",
         "shaping.provider_name", "\"google\"", NULL},
        {"a.test", "", "aspmx.l.google.com aspmx2.googlemail.com", "", "connection_limit", "5",
         NULL},
        {"a.test", "", "a-test.mail.protection.outlook.com", "", "shaping.provider_name",
         "\"office365\"", NULL},
        {"hotmail.com", "", "hotmail-com.olc.protection.outlook.com", "", "shaping.provider_name",
         "\"outlook\"", NULL},
        {"a.test", "", "mx.a.test", "", "connection_limit", "10", NULL},
        {"a.test", "", "mx.a.test", "", "shaping.provider_name", NULL, NULL},
    };
    EXPECT(&view, rows);
    assert_non_null(conf->shaping->rules);
    conf_free(conf);
}

/* --- overrides -------------------------------------------------------------------------------- */

struct refused {
    unsigned count;
    char why[200];
};

static void refuse(void *context, const struct shaping_override *row, struct slice why)
{
    struct refused *refused = context;
    (void)row;
    refused->count++;
    snprintf(refused->why, sizeof(refused->why), "%.*s", (int)why.size, (const char *)why.data);
}

#define TEXT(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}
#define OVERRIDE(its_domain, its_site, its_source, rolls, its_name, its_value)                     \
    {.domain = TEXT(its_domain), .site = TEXT(its_site), .source = TEXT(its_source),               \
     .rollup = (rolls), .name = TEXT(its_name), .value = TEXT(its_value), .origin = TEXT("tsa")}

static void overrides_come_last_and_the_newest_of_them_counts(void **state)
{
    (void)state;
    static const struct shaping_override list[] = {
        OVERRIDE("A.test.", "S", "", true, "connection_limit", "3"),
        OVERRIDE("a.test", "S", "s", false, "connection_limit", "2"),
        OVERRIDE("b.test", "S", "", true, "max_ready", "5"),
        OVERRIDE("a.test", "", "", true, "max_ready", "6"),
        OVERRIDE("a.test", "S", "t", true, "max_message_rate", "\"1/minute\""),
        OVERRIDE("a.test", "S", "", false, "additional_connection_limits", "{x = 1}"),
    };
    struct conf *conf = load("[shaping.\"a.test\"]\nconnection_limit = 9\nmax_ready = 9\n"
                             "additional_connection_limits = {y = 2}\n"
                             "[sources.source.s]\n[shaping.\"a.test\".sources.s]\nmax_ready = 8\n");
    struct shaping_overrides *overrides =
        shaping_overrides_new(list, COUNT_OF(list), NULL, NULL);
    assert_int_equal(shaping_overrides_count(overrides), COUNT_OF(list));
    const struct shaping_view view = {.shaping = conf->shaping, .overrides = overrides};
    static const struct wanted rows[] = {
        {"a.test", "S", "", "", "connection_limit", "3", "tsa"},
        {"a.test", "S", "", "s", "connection_limit", "2", NULL},
        {"a.test", "S", "", "t", "connection_limit", "3", NULL},
        {"c.test", "S", "", "s", "connection_limit", "3", NULL}, /* by the site */
        {"c.test", "T", "", "s", "connection_limit", NULL, NULL},
        {"a.test", "", "", "", "connection_limit", "3", NULL},
        {"a.test", "S", "", "s", "max_ready", "6", NULL}, /* the newest; `b.test` shares the site */
        {"c.test", "S", "", "", "max_ready", "5", NULL},
        {"a.test", "S", "", "s", "shaping.max_message_rate", NULL, NULL},
        {"c.test", "S", "", "t", "shaping.max_message_rate", "\"1/minute\"", NULL},
        {"a.test", "S", "", "", "additional_connection_limits.x", "1", NULL},
        {"a.test", "S", "", "", "additional_connection_limits.y", "2", NULL},
    };
    EXPECT(&view, rows);
    shaping_overrides_free(overrides);
    conf_free(conf);
}

static void an_override_that_is_none_is_left_out_and_told(void **state)
{
    (void)state;
    static const struct {
        struct shaping_override row;
        const char *why;
    } rows[] = {
        {OVERRIDE("a.test", "", "", true, "colour", "1"), "it is no option of a path"},
        {OVERRIDE("a.test", "", "", true, "sources", "{}"), "it is no option of a path"},
        {OVERRIDE("a.test", "", "", true, "max_ready", "0"), "max_ready = 0 is out of range"},
        {OVERRIDE("a.test", "", "", true, "max_ready", "\"a"), "--set max_ready"},
        {OVERRIDE("", "", "", true, "max_ready", "1"), "it is for no domain"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct refused refused = {0};
        struct shaping_overrides *overrides =
            shaping_overrides_new(&rows[i].row, 1, refuse, &refused);
        assert_int_equal(shaping_overrides_count(overrides), 0);
        assert_int_equal(refused.count, 1);
        if (strstr(refused.why, rows[i].why) == NULL) {
            fail_msg("%s: %s", rows[i].why, refused.why);
        }
        shaping_overrides_free(overrides);
    }
}

/* --- the same paths --------------------------------------------------------------------------- */

static void the_same_layers_are_the_same_selection_and_others_are_not(void **state)
{
    (void)state;
    static const struct shaping_override list[] = {
        OVERRIDE("o.test", "", "s", false, "max_ready", "5")};
    struct conf *conf = load("[shaping.provider.p]\nmatch = [{MXSuffix = \"p.test\"}]\n"
                             "provider_connection_limit = 1\n"
                             "[shaping.\"a.test\"]\n[shaping.\"a.test\".sources.s]\nmax_ready = 1\n"
                             "[shaping.\"b.test\"]\nmax_ready = 2\n[sources.source.s]\n");
    struct shaping_overrides *overrides = shaping_overrides_new(list, 1, NULL, NULL);
    const struct shaping_view view = {.shaping = conf->shaping, .overrides = overrides};
    static const struct {
        struct wanted one;
        struct wanted other;
        bool same;
    } rows[] = {
        {{.domain = "x.test", .hosts = ""}, {.domain = "y.test", .hosts = ""}, true},
        {{.domain = "x.test", .hosts = "mx.p.test"}, {.domain = "x.test", .hosts = ""}, false},
        {{.domain = "x.test", .hosts = "mx.p.test"}, {.domain = "y.test", .hosts = "p.test"}, true},
        {{.domain = "a.test", .hosts = ""}, {.domain = "x.test", .hosts = ""}, false},
        {{.domain = "a.test", .hosts = ""}, {.domain = "b.test", .hosts = ""}, false},
        {{.domain = "a.test", .hosts = "", .source = "s"},
         {.domain = "a.test", .hosts = "", .source = "t"}, false},
        {{.domain = "x.test", .hosts = "", .source = "s"},
         {.domain = "x.test", .hosts = "", .source = "t"}, true},
        {{.domain = "x.test", .hosts = "p.test", .source = "s"},
         {.domain = "x.test", .hosts = "p.test", .source = "t"}, false},
        /* what is for one of its sources tells a domain apart, whatever source is asked about */
        {{.domain = "o.test", .hosts = ""}, {.domain = "x.test", .hosts = ""}, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct wanted one = rows[i].one;
        struct wanted other = rows[i].other;
        struct shaping_path path;
        one.site = other.site = "";
        one.source = one.source == NULL ? "" : one.source;
        other.source = other.source == NULL ? "" : other.source;
        uint64_t fingerprint = find(&view, &one, &path)->fingerprint;
        if ((fingerprint == find(&view, &other, &path)->fingerprint) != rows[i].same) {
            fail_msg("row %zu", i);
        }
    }
    shaping_overrides_free(overrides);
    conf_free(conf);
}

static void a_rollup_block_is_the_same_before_and_after_its_site_is_known(void **state)
{
    (void)state;
    struct conf *conf = load("[shaping.\"a.test\"]\nmax_ready = 2\n");
    static const char *const pairs[][2] = {{"a.test", "S"}};
    struct shaping_sites *sites = sites_of(conf, pairs, 1);
    struct shaping_view view = {.shaping = conf->shaping};
    const struct wanted row = {.domain = "a.test", .site = "S", .hosts = "", .source = ""};
    struct shaping_path before;
    struct shaping_path after;
    (void)find(&view, &row, &before);
    view.sites = sites;
    (void)find(&view, &row, &after);
    assert_int_equal(before.options.fingerprint, after.options.fingerprint);
    assert_true(slice_equal(before.options.block, SLICE("a.test")));
    assert_true(slice_equal(after.options.block, SLICE("a.test")));
    shaping_sites_free(sites);
    conf_free(conf);
}

static void a_copy_of_a_path_is_by_itself(void **state)
{
    (void)state;
    struct conf *conf = load("[shaping.default]\nehlo_domain = \"e.test\"\n"
                             "additional_connection_limits = {a = 1, b = 2}\n"
                             "additional_message_rate_throttles = {c = \"3/s\"}\n"
                             "skip_hosts = [\"192.0.2.1\"]\nprovider_name = \"p\"\n");
    struct shaping_path path;
    const struct path_options *original =
        shaping_path_of(conf, SLICE("a.test"), SLICE_NONE, &path);
    struct path_options *copy =
        shaping_path_copy(original, malloc(shaping_path_bytes(original)));
    struct network skipped = original->skip_hosts[0];
    uint64_t fingerprint = original->fingerprint;
    conf_free(conf);
    memset(&path, 0xAA, sizeof(path));
    assert_int_equal(copy->fingerprint, fingerprint);
    assert_true(slice_equal(copy->block, SLICE("default")));
    assert_true(slice_equal(copy->ehlo_domain, SLICE("e.test")));
    assert_true(slice_equal(copy->provider_name, SLICE("p")));
    assert_int_equal(copy->additional_connection_limits.count, 2);
    assert_true(slice_equal(copy->additional_connection_limits.rows[1].name, SLICE("b")));
    assert_int_equal(copy->additional_connection_limits.rows[1].limit, 2);
    assert_int_equal(copy->additional_message_rates.rows[0].rate.count, 3);
    assert_int_equal(copy->skip_host_count, 1);
    assert_memory_equal(&copy->skip_hosts[0], &skipped, sizeof(skipped));
    assert_int_equal(copy->prohibited_host_count, 4);
    free(copy);
}

/* --- size ------------------------------------------------------------------------------------- */

#define MANY 10000

/* What it costs grows with the blocks, not with their square: memory for each is bounded. */
static void ten_thousand_blocks_load(void **state)
{
    (void)state;
    size_t capacity = (size_t)MANY * 160;
    char *text = malloc(capacity);
    struct buf buf;
    assert_non_null(text);
    buf_init(&buf, (uint8_t *)text, capacity - 1);
    for (unsigned i = 0; i < MANY; i++) {
        buf_printf(&buf, "[shaping.\"d%u.test\"]\nconnection_limit = %u\n"
                   "max_message_rate = \"%u/s\"\nmx_rollup = %s\n",
                   i, i + 1, i + 1, i % 2 == 0 ? "true" : "false");
    }
    assert_false(buf.overflow);
    text[buf.size] = 0;
    struct conf *conf = load(text);
    assert_int_equal(conf->shaping->block_count, MANY);
    const struct shaping_view view = view_of(conf);
    static const struct wanted rows[] = {
        {"d0.test", "", "", "", "connection_limit", "1", "t.toml:2"},
        {"d9999.test", "", "", "", "connection_limit", "10000", "t.toml:39998"}};
    EXPECT(&view, rows);
    conf_free(conf);
    free(text);
}

/* Half of the blocks of each of two files stand in the other, too. */
static void files_of_many_blocks_merge_as_those_of_few(void **state)
{
    (void)state;
    enum { EACH = 400 };
    uint8_t memory[2][EACH * 80];
    struct buf texts[2];
    for (unsigned file = 0; file < 2; file++) {
        buf_init(&texts[file], memory[file], sizeof(memory[file]) - 1);
        for (unsigned i = 0; i < EACH; i++) {
            buf_printf(&texts[file], "[\"d%03u.test\"]\nsmtp_port = %u\n%s = %u\n",
                       i + file * EACH / 2, file + 1,
                       file == 0 ? "max_ready" : "connection_limit", i + 1);
        }
        assert_false(texts[file].overflow);
        memory[file][texts[file].size] = 0;
    }
    const char *const files[] = {"t.toml", "[shaping]\nfiles = [\"1.toml\", \"2.toml\"]\n",
                                 "1.toml", (const char *)memory[0],
                                 "2.toml", (const char *)memory[1], NULL};
    struct conf *conf = load_files(files);
    assert_int_equal(conf->shaping->block_count, EACH + EACH / 2);
    const struct shaping_view view = view_of(conf);
    static const struct wanted rows[] = {
        {"d000.test", "", "", "", "smtp_port", "1", "1.toml:2"},
        {"d200.test", "", "", "", "smtp_port", "2", "2.toml:2"},
        {"d200.test", "", "", "", "max_ready", "201", "1.toml:603"},
        {"d200.test", "", "", "", "connection_limit", "1", "2.toml:3"},
        {"d399.test", "", "", "", "max_ready", "400", "1.toml:1200"},
        {"d399.test", "", "", "", "connection_limit", "200", "2.toml:600"},
        {"d599.test", "", "", "", "smtp_port", "2", "2.toml:1199"},
        {"d599.test", "", "", "", "max_ready", NULL, NULL}};
    EXPECT(&view, rows);
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_example),
        cmocka_unit_test(a_provider_matches_by_all_hosts_or_by_the_domain),
        cmocka_unit_test(limits_of_a_provider_are_named_by_it_and_the_source),
        cmocka_unit_test(later_layers_count_before_earlier_ones),
        cmocka_unit_test(blocks_of_one_site_are_laid_in_the_order_of_the_files),
        cmocka_unit_test(replace_base_drops_a_provider_and_not_what_is_below_it),
        cmocka_unit_test(rules_follow_each_other_in_the_order_of_files_and_groups),
        cmocka_unit_test(bad_rules_are_told_with_their_place),
        cmocka_unit_test(a_queue_inside_kumomta_is_noted_and_nothing_more),
        cmocka_unit_test(a_path_with_more_names_than_count_is_refused_at_load),
        cmocka_unit_test(the_same_in_json),
        cmocka_unit_test(files_that_are_wrong_or_left_out),
        cmocka_unit_test(the_shipped_file_loads_and_says_nothing_odd),
        cmocka_unit_test(overrides_come_last_and_the_newest_of_them_counts),
        cmocka_unit_test(an_override_that_is_none_is_left_out_and_told),
        cmocka_unit_test(the_same_layers_are_the_same_selection_and_others_are_not),
        cmocka_unit_test(a_rollup_block_is_the_same_before_and_after_its_site_is_known),
        cmocka_unit_test(a_copy_of_a_path_is_by_itself),
        cmocka_unit_test(ten_thousand_blocks_load),
        cmocka_unit_test(files_of_many_blocks_merge_as_those_of_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
