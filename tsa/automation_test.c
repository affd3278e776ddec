/* Records through rules: what takes effect, on what, until when; bounds; rows that come back. */
#include "tsa/automation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define HOUR     (3600 * NS_PER_S)
#define NOW      (500000 * HOUR)
#define EFFECTS  8
#define COUNTERS 4
#define SEED     1

struct told {
    enum automation_change change;
    struct automation_effect effect;
};

static struct heap heap;
static struct automation automation;
static struct shaping_rule_set *set;
static struct told told[64];
static size_t told_count;

static void note(void *context, enum automation_change change,
                 const struct automation_effect *effect, const struct shaping_rule *rule)
{
    (void)context;
    (void)rule;
    assert_true(told_count < COUNT_OF(told));
    told[told_count++] = (struct told){change, *effect};
}

static void refuse(void *context, const struct shaping_rule *rule, uint32_t pattern,
                   struct slice why)
{
    (void)context;
    (void)rule;
    fail_msg("pattern %u: %.*s", pattern, (int)why.size, (const char *)why.data);
}

/* One pattern and one action each. */
static struct shaping_rule make(const char *pattern, enum shaping_action_kind kind, uint64_t hash)
{
    struct shaping_pattern *patterns = heap_take(&heap, sizeof(*patterns));
    struct shaping_action *actions = heap_take(&heap, sizeof(*actions));
    patterns->text = slice_from_string(pattern);
    actions->kind = kind;
    if (kind >= SHAPING_SET_CONFIG) {
        actions->name = SLICE("max_message_rate");
        actions->value = SLICE("\"1/m\"");
    }
    return (struct shaping_rule){
        .patterns = patterns, .pattern_count = 1, .actions = actions, .action_count = 1,
        .duration_ns = HOUR, .hash = hash, .file = "s.toml", .line = 7,
    };
}

static void use(const struct shaping_rule_group *groups, uint32_t count)
{
    set = shaping_rule_set_compile(groups, count, refuse, NULL);
    assert_non_null(set);
    automation_init(&automation, &heap, EFFECTS, COUNTERS, 100, SEED);
    automation_listen(&automation, note, NULL);
    automation_use(&automation, set, patterns_scratch_open(set->patterns));
    told_count = 0;
}

static void use_rules(const struct shaping_rule *rules, uint32_t count)
{
    struct shaping_rule_group *group = heap_take(&heap, sizeof(*group));
    *group = (struct shaping_rule_group){SLICE("default"), true, {rules, count}};
    use(group, 1);
}

static int setup(void **state)
{
    (void)state;
    heap_init(&heap);
    set = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    patterns_scratch_close(automation.scratch);
    automation.scratch = NULL;
    shaping_rule_set_free(set);
    heap_fini(&heap);
    return 0;
}

static struct automation_record record_of(const char *response, uint64_t wall_ns)
{
    static const uint32_t first_group[] = {0};
    return (struct automation_record){
        .wall_ns = wall_ns,
        .response = slice_from_string(response),
        .site = SLICE("ip1->mx.a.test@smtp_client"),
        .source = SLICE("ip1"),
        .domain = SLICE("a.test"),
        .tenant = SLICE("t"),
        .campaign = SLICE("c"),
        .groups = first_group,
        .group_count = 1,
    };
}

static void judge(const char *response, uint64_t wall_ns)
{
    struct automation_record record = record_of(response, wall_ns);
    automation_judge(&automation, &record, NOW);
}

static void check(struct slice got, const char *want)
{
    assert_int_equal(got.size, strlen(want));
    assert_memory_equal(got.data, want, got.size);
}

static const struct {
    enum shaping_action_kind kind;
    bool tenant, campaign;
    enum shaping_action_kind got; /* SHAPING_ACTIONS: nothing */
    const char *site, *source, *domain, *its_tenant, *its_campaign;
} scopes[] = {
    {SHAPING_SUSPEND, false, false, SHAPING_SUSPEND, "ip1->mx.a.test@smtp_client", "ip1", "", "",
     ""},
    {SHAPING_SUSPEND_TENANT, true, true, SHAPING_SUSPEND_TENANT, "", "", "a.test", "t", ""},
    {SHAPING_SUSPEND_TENANT, false, true, SHAPING_ACTIONS, "", "", "", "", ""},
    {SHAPING_SUSPEND_CAMPAIGN, true, true, SHAPING_SUSPEND_CAMPAIGN, "", "", "a.test", "t", "c"},
    {SHAPING_SUSPEND_CAMPAIGN, true, false, SHAPING_SUSPEND_TENANT, "", "", "a.test", "t", ""},
    {SHAPING_SUSPEND_CAMPAIGN, false, true, SHAPING_ACTIONS, "", "", "", "", ""},
    {SHAPING_BOUNCE, false, false, SHAPING_BOUNCE, "", "", "a.test", "", ""},
    {SHAPING_BOUNCE_TENANT, true, true, SHAPING_BOUNCE_TENANT, "", "", "a.test", "t", ""},
    {SHAPING_BOUNCE_CAMPAIGN, true, true, SHAPING_BOUNCE_CAMPAIGN, "", "", "a.test", "t", "c"},
    {SHAPING_BOUNCE_CAMPAIGN, true, false, SHAPING_BOUNCE_TENANT, "", "", "a.test", "t", ""},
    {SHAPING_SET_CONFIG, false, false, SHAPING_SET_CONFIG, "ip1->mx.a.test@smtp_client", "ip1",
     "a.test", "", ""},
    {SHAPING_SET_DOMAIN_CONFIG, false, false, SHAPING_SET_DOMAIN_CONFIG, "", "ip1", "a.test", "",
     ""},
};

static void every_action_has_its_scope(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(scopes); i++) {
        struct shaping_rule rule = make("slow", scopes[i].kind, 1);
        use_rules(&rule, 1);
        struct automation_record record = record_of("451 4.7.0 slow down", NOW - 60 * NS_PER_S);
        record.tenant = scopes[i].tenant ? record.tenant : SLICE_NONE;
        record.campaign = scopes[i].campaign ? record.campaign : SLICE_NONE;
        automation_judge(&automation, &record, NOW);
        if (scopes[i].got == SHAPING_ACTIONS) {
            assert_int_equal(told_count, 0);
            assert_int_equal(automation.stats.unscoped, 1);
        } else {
            const struct automation_effect *effect = &told[0].effect;
            assert_int_equal(told_count, 1);
            assert_int_equal(told[0].change, AUTOMATION_BEGUN);
            assert_int_equal(effect->kind, scopes[i].got);
            check(effect->site, scopes[i].site);
            check(effect->source, scopes[i].source);
            check(effect->domain, scopes[i].domain);
            check(effect->tenant, scopes[i].its_tenant);
            check(effect->campaign, scopes[i].its_campaign);
            check(effect->reason, "451 4.7.0 slow down");
            assert_int_equal(effect->rollup, scopes[i].got == SHAPING_SET_CONFIG);
            assert_true(effect->expires_ns == NOW - 60 * NS_PER_S + HOUR);
            assert_int_equal(effect->id, 100);
        }
        patterns_scratch_close(automation.scratch);
        shaping_rule_set_free(set);
        set = NULL;
        automation.scratch = NULL;
    }
}

static void only_rules_of_the_groups_are_asked_and_each_acts_once(void **state)
{
    (void)state;
    static const uint32_t both[] = {0, 2};
    struct shaping_rule first[] = {make("slow", SHAPING_SUSPEND, 1)};
    struct shaping_rule second[] = {make("slow", SHAPING_BOUNCE, 2)};
    struct shaping_rule third[] = {make("slow", SHAPING_SUSPEND, 1),
                                   make("slow(?!er)", SHAPING_SET_CONFIG, 3)};
    const struct shaping_rule_group groups[] = {
        {SLICE("default"), true, {first, 1}},
        {SLICE("p"), true, {second, 1}},
        {SLICE("a.test"), false, {third, 2}},
    };
    use(groups, 3);
    struct automation_record record = record_of("451 slow", NOW);
    record.groups = both;
    record.group_count = 2;
    automation_judge(&automation, &record, NOW);
    assert_int_equal(told_count, 2);
    assert_int_equal(told[0].effect.kind, SHAPING_SUSPEND);
    assert_int_equal(told[1].effect.kind, SHAPING_SET_CONFIG);
    assert_false(told[1].effect.rollup);
    record.response = SLICE("451 slower");
    automation_judge(&automation, &record, NOW);
    assert_int_equal(told_count, 2);
    assert_int_equal(automation.stats.matches, 3);
}

static void at04_a_threshold_counts_for_each_site_apart(void **state)
{
    (void)state;
    struct shaping_rule rule = make("slow", SHAPING_SUSPEND, 1);
    assert_null(rate_parse(SLICE("3/hr"), &rule.threshold));
    use_rules(&rule, 1);
    struct automation_record other = record_of("451 slow", NOW);
    other.site = SLICE("ip2->mx.a.test@smtp_client");
    for (unsigned i = 0; i < 2; i++) {
        judge("451 slow", NOW - NS_PER_S);
        automation_judge(&automation, &other, NOW);
    }
    assert_int_equal(told_count, 0);
    judge("451 slow", NOW);
    assert_int_equal(told_count, 1);
    check(told[0].effect.source, "ip1");
}

static void d10_a_report_counts_once_for_its_reference(void **state)
{
    struct shaping_rule rule = make("slow", SHAPING_BOUNCE, 1);
    struct id_source source;
    (void)state;
    use_rules(&rule, 1);
    automation_begin(&automation, NOW - HOUR);
    id_source_init(&source, 1, 1);
    struct automation_record record = record_of("550 slow", NOW);
    record.has_reference = true;
    record.reference = id_next(&source, NOW - 2 * HOUR);
    automation_judge(&automation, &record, NOW); /* it was sent before the start */
    record.reference = id_next(&source, NOW);
    record.group_count = 0;
    automation_judge(&automation, &record, NOW); /* no rule is asked */
    assert_int_equal(automation.stats.matches, 0);
    record.group_count = 1;
    for (unsigned i = 0; i < 5; i++) {
        automation_judge(&automation, &record, NOW);
    }
    assert_int_equal(automation.stats.matches, 1);
    assert_int_equal(automation.stats.reports, 1);
    assert_int_equal(automation.stats.reports_passed, 5);
}

static void what_would_have_ended_is_skipped_and_counted(void **state)
{
    (void)state;
    struct shaping_rule rule = make("slow", SHAPING_SUSPEND, 1);
    use_rules(&rule, 1);
    judge("451 slow", NOW - HOUR);
    assert_int_equal(told_count, 0);
    assert_int_equal(automation.stats.expired, 1);
    judge("451 slow", NOW - HOUR + 1);
    judge("451 slow", NOW - HOUR + 2);
    judge("451 slow", NOW - HOUR); /* over: it changes nothing */
    assert_int_equal(told_count, 2);
    assert_int_equal(told[1].change, AUTOMATION_EXTENDED);
    assert_true(told[1].effect.expires_ns == NOW + 2);
    automation_expire(&automation, NOW + 1);
    assert_int_equal(told_count, 2);
    automation_expire(&automation, NOW + 2);
    assert_int_equal(told_count, 3);
    assert_int_equal(told[2].change, AUTOMATION_EXPIRED);
}

static void at02_a_record_of_the_future_is_one_of_now(void **state)
{
    (void)state;
    struct shaping_rule rule = make("slow", SHAPING_SUSPEND, 1);
    use_rules(&rule, 1);
    judge("451 slow", UINT64_MAX);
    assert_true(told[0].effect.expires_ns == NOW + HOUR);
}

static void replies_of_our_own_are_no_business_of_rules(void **state)
{
    (void)state;
    static const char *const own[] = {
        "451 4.4.1 Ringpost internal: slow", "451 KumoMTA internal: slow",
        "KumoMTA internal: slow",
    };
    struct shaping_rule rules[] = {make("slow", SHAPING_SUSPEND, 1),
                                   make("slow", SHAPING_BOUNCE, 2)};
    rules[1].match_internal = true;
    use_rules(rules, 2);
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        judge(own[i], NOW + i);
    }
    assert_int_equal(automation.stats.internal, COUNT_OF(own));
    assert_int_equal(told_count, 1);
    assert_int_equal(told[0].effect.kind, SHAPING_BOUNCE);
    judge("451 4.4.1 slow: Ringpost internal: x", NOW);
    assert_int_equal(told[1].effect.kind, SHAPING_SUSPEND);
}

static void judge_domain(const char *domain)
{
    struct automation_record record = record_of("451 slow", NOW);
    record.domain = slice_from_string(domain);
    record.site = slice_from_string(domain);
    automation_judge(&automation, &record, NOW);
}

static void at05_full_tables_refuse_effects_and_forget_the_oldest_counter(void **state)
{
    (void)state;
    static const char *const domains[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    struct shaping_rule rules[] = {make("slow", SHAPING_BOUNCE, 1),
                                   make("slow", SHAPING_SUSPEND, 2)};
    assert_null(rate_parse(SLICE("2/hr"), &rules[1].threshold));
    use_rules(rules, 2);
    for (size_t i = 0; i < COUNT_OF(domains); i++) {
        judge_domain(domains[i]);
    }
    assert_int_equal(told_count, 9);
    assert_int_equal(told[8].change, AUTOMATION_REFUSED);
    assert_int_equal(told[8].effect.id, 0);
    assert_int_equal(automation.stats.refused, 1);
    assert_int_equal(automation.stats.counters_dropped, 5);
    judge_domain("a"); /* forgotten: the first again */
    assert_int_equal(told_count, 9);
    assert_true(automation_cancel(&automation, 102));
    assert_false(automation_cancel(&automation, 102));
    assert_false(automation_cancel(&automation, 0));
    assert_int_equal(told[9].change, AUTOMATION_CANCELLED);
    check(told[9].effect.domain, "c");
    judge_domain("i");
    assert_int_equal(told[10].change, AUTOMATION_BEGUN);
    assert_int_equal(told[10].effect.id, 108);
    judge_domain("i"); /* its second: there is no room for a suspension */
}

static uint8_t row_bytes[2][EFFECTS][AUTOMATION_ROW_BYTES_MAX];
static struct slice rows[2][EFFECTS];

static void rows_take(enum automation_table table, uint32_t count)
{
    for (uint32_t slot = 0; slot < count; slot++) {
        struct buf row;
        buf_init(&row, row_bytes[table][slot], sizeof(row_bytes[table][slot]));
        automation_put_row(&automation, table, slot, &row);
        assert_false(row.overflow);
        rows[table][slot] = buf_slice(&row);
    }
}

static void at08_rows_come_back_and_damaged_ones_do_not(void **state)
{
    (void)state;
    struct shaping_rule rules[] = {make("slow", SHAPING_BOUNCE, 1),
                                   make("slow", SHAPING_SUSPEND, 2)};
    uint32_t slot = 0;
    assert_null(rate_parse(SLICE("2/hr"), &rules[1].threshold));
    use_rules(rules, 2);
    judge("451 slow", NOW);
    assert_true(automation_changed(&automation, AUTOMATION_EFFECTS, &slot));
    slot++;
    assert_false(automation_changed(&automation, AUTOMATION_EFFECTS, &slot));
    rows_take(AUTOMATION_EFFECTS, EFFECTS);
    rows_take(AUTOMATION_COUNTERS, COUNTERS);
    assert_int_equal(rows[AUTOMATION_EFFECTS][1].size, 0);
    struct patterns_scratch *scratch = automation.scratch;
    automation_init(&automation, &heap, EFFECTS, COUNTERS, 1, SEED + 1); /* rows know no seed */
    automation_listen(&automation, note, NULL);
    automation_use(&automation, set, scratch);
    for (unsigned table = 0; table < 2; table++) {
        struct slice row = rows[table][0];
        uint8_t *bytes = row_bytes[table][0];
        for (size_t i = 0; i < row.size; i++) {
            bytes[i] ^= 1;
            assert_false(automation_restore(&automation, table, row, NOW));
            bytes[i] ^= 1;
            assert_false(automation_restore(&automation, table, slice_first(row, i), NOW));
        }
        assert_false(automation_restore(&automation, table, rows[!table][0], NOW));
    }
    told_count = 0;
    assert_false(automation_restore(&automation, AUTOMATION_EFFECTS, rows[0][0], NOW + HOUR));
    assert_true(automation_restore(&automation, AUTOMATION_EFFECTS, rows[0][0], NOW));
    assert_false(automation_restore(&automation, AUTOMATION_EFFECTS, rows[0][0], NOW));
    assert_true(automation_restore(&automation, AUTOMATION_COUNTERS, rows[1][0], NOW));
    assert_int_equal(told_count, 1);
    check(told[0].effect.domain, "a.test");
    assert_int_equal(told[0].effect.id, 100);
    judge("451 slow", NOW); /* the second of two */
    assert_int_equal(told_count, 2);
    assert_int_equal(told[1].effect.kind, SHAPING_SUSPEND);
    assert_int_equal(told[1].effect.id, 101);
}

static uint64_t only_hash(const struct htab *table)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < table->slot_count; i++) {
        hash |= table->slots[i].hash;
    }
    assert_int_equal(table->count, 1);
    return hash;
}

static void who_chooses_names_does_not_choose_their_place_in_the_tables(void **state)
{
    (void)state;
    struct shaping_rule rule = make("slow", SHAPING_BOUNCE, 1);
    uint64_t effects[2];
    uint64_t counters[2];
    assert_null(rate_parse(SLICE("1/hr"), &rule.threshold));
    use_rules(&rule, 1);
    struct patterns_scratch *scratch = automation.scratch;
    for (uint64_t i = 0; i < 2; i++) {
        automation_init(&automation, &heap, EFFECTS, COUNTERS, 1, SEED + i);
        automation_use(&automation, set, scratch);
        judge("451 slow", NOW);
        effects[i] = only_hash(&automation.effects_by_key);
        counters[i] = only_hash(&automation.counters_by_key);
    }
    assert_int_not_equal(effects[0], effects[1]);
    assert_int_not_equal(counters[0], counters[1]);
}

static void an_audit_record_is_one_line_whatever_the_reply_says(void **state)
{
    (void)state;
    uint8_t bytes[2048];
    struct buf line;
    uint32_t cursor = 0;
    struct shaping_rule rule = make("slow", SHAPING_SET_CONFIG, 1);
    use_rules(&rule, 1);
    judge("451 slow\x1b[2J\r\n\"", NOW);
    const struct automation_effect *effect = automation_next(&automation, &cursor);
    assert_non_null(effect);
    assert_null(automation_next(&automation, &cursor));
    buf_init(&line, bytes, sizeof(bytes));
    automation_put_json(&line, automation_change_name(AUTOMATION_BEGUN), effect, &rule);
    check(buf_slice(&line),
          "{\"change\":\"begun\",\"id\":100,\"action\":\"SetConfig\","
          "\"site\":\"ip1->mx.a.test@smtp_client\",\"source\":\"ip1\","
          "\"domain\":\"a.test\",\"name\":\"max_message_rate\",\"value\":\"\\\"1/m\\\"\","
          "\"reason\":\"451 slow\\u001b[2J\\r\\n\\\"\",\"mx_rollup\":true,"
          "\"event_time_ms\":1800000000000,\"expires_ms\":1800003600000,"
          "\"rule\":\"s.toml:7\"}\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_action_has_its_scope),
        TEST(only_rules_of_the_groups_are_asked_and_each_acts_once),
        TEST(at04_a_threshold_counts_for_each_site_apart),
        TEST(d10_a_report_counts_once_for_its_reference),
        TEST(what_would_have_ended_is_skipped_and_counted),
        TEST(at02_a_record_of_the_future_is_one_of_now),
        TEST(replies_of_our_own_are_no_business_of_rules),
        TEST(at05_full_tables_refuse_effects_and_forget_the_oldest_counter),
        TEST(at08_rows_come_back_and_damaged_ones_do_not),
        TEST(who_chooses_names_does_not_choose_their_place_in_the_tables),
        TEST(an_audit_record_is_one_line_whatever_the_reply_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
