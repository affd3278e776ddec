/* What is in force, as KumoMTA's servers and people read it. */
#include "tsa/effect_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/json_read.h"
#include "tests/kit/conf_kit.h"

#define HOUR (3600 * NS_PER_S)
#define NOW  (1757000000 * NS_PER_S)

static struct heap heap;
static struct automation automation;
static struct effect_list list;
static uint8_t memory[256 * KIB];
static struct buf text;

static int setup(void **state)
{
    (void)state;
    heap_init(&heap);
    automation_init(&automation, &heap, 64, 4, 1, 1);
    list.effects = heap_take_array(&heap, 64, sizeof(*list.effects));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    heap_fini(&heap);
    return 0;
}

/* By way of a row of another automation: one rule's worth of effects needs no rules here. */
static void add(const struct automation_effect *effect)
{
    static uint64_t hash;
    static const uint32_t group[] = {0};
    struct heap own;
    struct automation other;
    uint8_t row[AUTOMATION_ROW_BYTES_MAX];
    struct buf buf;
    heap_init(&own);
    const struct shaping_pattern pattern = {.text = SLICE(".")};
    const struct shaping_action action = {
        .kind = effect->kind, .name = effect->name, .value = effect->value};
    const struct shaping_rule rule = {
        .patterns = &pattern, .pattern_count = 1, .actions = &action, .action_count = 1,
        .duration_ns = HOUR, .hash = ++hash, .file = "s.toml",
    };
    const struct shaping_rule_group groups[] = {
        {SLICE("default"), effect->rollup, {&rule, 1}}};
    struct shaping_rule_set *set = shaping_rule_set_compile(groups, 1, NULL, NULL);
    struct patterns_scratch *scratch = patterns_scratch_open(set->patterns);
    automation_init(&other, &own, 1, 1, automation.next_id, 1);
    automation_use(&other, set, scratch);
    const struct automation_record record = {
        .wall_ns = effect->event_ns, .response = effect->reason, .site = effect->site,
        .source = effect->source, .domain = effect->domain, .tenant = effect->tenant,
        .campaign = effect->campaign, .groups = group, .group_count = 1};
    automation_judge(&other, &record, NOW);
    buf_init(&buf, row, sizeof(row));
    automation_put_row(&other, AUTOMATION_EFFECTS, 0, &buf);
    assert_true(automation_restore(&automation, AUTOMATION_EFFECTS, buf_slice(&buf), NOW));
    patterns_scratch_close(scratch);
    shaping_rule_set_free(set);
    heap_fini(&own);
}

#define ALL_FORMS 15u

static void take(unsigned forms, uint64_t now_ns)
{
    effect_list_take(&list, &automation, forms, now_ns);
    assert_true(effect_list_bytes(&list) <= sizeof(memory));
    buf_init(&text, memory, effect_list_bytes(&list));
}

static void check(const char *want)
{
    assert_false(text.overflow);
    if (!slice_equal(buf_slice(&text), slice_from_string(want))) {
        fail_msg("%.*s\nnot\n%s", (int)text.size, (const char *)text.data, want);
    }
}

static struct automation_effect setting(const char *domain, const char *source, const char *name,
                                        const char *value, bool rollup, uint64_t event_ns)
{
    return (struct automation_effect){
        .kind = SHAPING_SET_CONFIG,
        .rollup = rollup,
        .event_ns = event_ns,
        .domain = slice_from_string(domain),
        .source = slice_from_string(source),
        .name = slice_from_string(name),
        .value = slice_from_string(value),
        .reason = SLICE("451 slow"),
    };
}

static void add_setting(const char *domain, const char *source, const char *name,
                        const char *value, bool rollup, uint64_t event_ns)
{
    const struct automation_effect effect =
        setting(domain, source, name, value, rollup, event_ns);
    add(&effect);
}

static void lists_have_the_form_that_kumomta_gives_them(void **state)
{
    const struct automation_effect ready = {
        .kind = SHAPING_SUSPEND, .event_ns = NOW, .site = SLICE("ip1->mx.a.test@smtp_client"),
        .source = SLICE("ip1"), .reason = SLICE("451 slow \"down\"")};
    const struct automation_effect sched = {
        .kind = SHAPING_SUSPEND_TENANT, .event_ns = NOW + 250 * NS_PER_MS - NS_PER_S,
        .domain = SLICE("a.test"), .tenant = SLICE("t"), .reason = SLICE("451 slow")};
    const struct automation_effect bounce = {
        .kind = SHAPING_BOUNCE_CAMPAIGN, .event_ns = NOW, .domain = SLICE("a.test"),
        .tenant = SLICE("t"), .campaign = SLICE("c"), .reason = SLICE("550 no")};
    (void)state;
    take(ALL_FORMS, NOW);
    effect_list_put_suspensions(&list, &text);
    check("{\"ready_q\":[],\"sched_q\":[]}");
    take(ALL_FORMS, NOW);
    effect_list_put_bounces(&list, &text);
    check("[]");
    add(&ready);
    add(&sched);
    add(&bounce);
    add_setting("a.test", "ip1", "connection_limit", "1", true, NOW);
    take(ALL_FORMS, NOW);
    assert_int_equal(list.count, 4);
    effect_list_put_suspensions(&list, &text);
    check("{\"ready_q\":[{\"rule_hash\":\"0000000000000001\","
          "\"site_name\":\"ip1->mx.a.test@smtp_client\",\"reason\":\"451 slow \\\"down\\\"\","
          "\"source\":\"ip1\",\"expires\":\"2025-09-04T16:33:20Z\"}],"
          "\"sched_q\":[{\"rule_hash\":\"0000000000000002\",\"tenant\":\"t\","
          "\"domain\":\"a.test\",\"reason\":\"451 slow\","
          "\"expires\":\"2025-09-04T16:33:19.250Z\"}]}");
    take(1u << EFFECT_SCHED_BOUNCE, NOW);
    assert_int_equal(list.count, 1);
    effect_list_put_bounces(&list, &text);
    check("[{\"rule_hash\":\"0000000000000003\",\"domain\":\"a.test\",\"tenant\":\"t\","
          "\"campaign\":\"c\",\"reason\":\"550 no\",\"expires\":\"2025-09-04T16:33:20Z\"}]");
    take(ALL_FORMS, NOW + HOUR);
    assert_int_equal(list.count, 0);
}

static const char settings[] =
    "# Generated by ringpost-tsad: what automation sets for a while\n"
    "# Number of entries: 10\n"
    "# left out, as no domain and source: \"*.test\" \"ip-1\"\n"
    "# left out, as no domain and source: \"b\\\"\\n.test\" \"ip-1\"\n"
    "# left out, as no domain and source: \"default\" \"ip-1\"\n"
    "# left out, as no domain and source: \"provider\" \"ip-1\"\n"
    "# left out, as no domain and source: \"b.test\" \"ip 1\"\n"
    "\n"
    "[\"a.test\"]\n"
    "mx_rollup = true\n"
    "\n"
    "[\"a.test\".sources.\"ip-1\"]\n"
    "# reason: \"451 slow\"\n"
    "# expires: 2025-09-04T16:33:20Z\n"
    "connection_limit = 2\n"
    "# reason: \"451 slow\"\n"
    "# expires: 2025-09-04T16:33:20Z\n"
    "max_message_rate = \"1/minute\"\n"
    "\n"
    "[\"a.test\".sources.\"ip-2\"]\n"
    "# reason: \"451 slow\"\n"
    "# expires: 2025-09-04T16:33:20Z\n"
    "connection_limit = 3\n"
    "\n"
    "[\"b.test\"]\n"
    "mx_rollup = false\n"
    "\n"
    "[\"b.test\".sources.\"ip-1\"]\n"
    "# reason: \"451 slow\"\n"
    "# expires: 2025-09-04T16:33:20Z\n"
    "connection_limit = 1\n";

static void settings_are_a_file_of_traffic_shaping(void **state)
{
    char said[1024];
    (void)state;
    add_setting("a.test", "ip-1", "connection_limit", "1", false, NOW - NS_PER_S);
    add_setting("*.test", "ip-1", "connection_limit", "1", true, NOW);
    add_setting("a.test", "ip-1", "connection_limit", "2", true, NOW);
    add_setting("a.test", "ip-1", "max_message_rate", "\"1/minute\"", false, NOW);
    add_setting("a.test", "ip-2", "connection_limit", "3", false, NOW);
    add_setting("b.test", "ip-1", "connection_limit", "1", false, NOW);
    add_setting("b\"\n.test", "ip-1", "connection_limit", "1", false, NOW);
    add_setting("default", "ip-1", "connection_limit", "1", true, NOW);
    add_setting("provider", "ip-1", "connection_limit", "1", true, NOW);
    add_setting("b.test", "ip 1", "connection_limit", "1", true, NOW);
    take(1u << EFFECT_SETTING, NOW);
    effect_list_put_file(&list, &text);
    check(settings);
    /* It is what it says it is. */
    const char *const files[] = {"m.toml",
                                 "shaping.files = [\"s.toml\"]\n"
                                 "sources.source.\"ip-1\" = {}\nsources.source.\"ip-2\" = {}\n",
                                 "s.toml", settings, NULL};
    struct conf *conf = conf_kit_load(files, NULL, 0, said, sizeof(said));
    assert_string_equal(said, "");
    assert_non_null(conf);
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lists_have_the_form_that_kumomta_gives_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(settings_are_a_file_of_traffic_shaping, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
