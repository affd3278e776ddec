/* Rules of automation as read: what they mean, and what is refused, where. */
#include "core/shaping_rule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/conf_tree.h"

struct reading {
    struct heap heap;
    struct conf_load load;
    struct conf_messages messages;
    uint8_t said[8192];
    struct shaping_rules rules;
};

static void read_text(struct reading *reading, const char *text)
{
    memset(reading, 0, sizeof(*reading));
    heap_init(&reading->heap);
    reading->load = (struct conf_load){.heap = &reading->heap, .messages = &reading->messages};
    buf_init(&reading->messages.text, reading->said, sizeof(reading->said) - 1);
    heap_init(&reading->load.scratch);
    reading->load.root = heap_take(&reading->load.scratch, sizeof(*reading->load.root));
    reading->load.root->kind = TOML_TABLE;
    conf_tree_add(&reading->load, "s.toml", slice_from_string(text));
    const struct conf_value *array = conf_tree_member(reading->load.root, "automation");
    assert_non_null(array);
    conf_apply_automation(&reading->load, array, &reading->rules);
}

static void end(struct reading *reading)
{
    heap_fini(&reading->load.scratch);
    heap_fini(&reading->heap);
}

static void check_text(struct slice got, const char *want)
{
    assert_int_equal(got.size, strlen(want));
    assert_memory_equal(got.data, want, got.size);
}

#define RULE "[[automation]]\nregex = 'x'\naction = 'Suspend'\nduration = '1h'\n"

static void a_rule_is_read_with_one_or_lists(void **state)
{
    (void)state;
    struct reading reading;
    read_text(&reading, RULE
              "[[automation]]\n"
              "regex = ['TS04', 'TSS?05']\n"
              "action = ['SuspendTenant', {SetConfig = {name = 'max_message_rate', "
              "value = '1/minute'}}, {SetDomainConfig = {name = 'connection_limit', value = 3}}]\n"
              "trigger = {Threshold = '10/hr'}\n"
              "duration = '90 minutes'\n"
              "match_internal = true\n");
    assert_int_equal(reading.messages.errors, 0);
    assert_int_equal(reading.rules.count, 2);
    const struct shaping_rule *plain = &reading.rules.rules[0];
    const struct shaping_rule *rule = &reading.rules.rules[1];
    assert_int_equal(plain->pattern_count, 1);
    assert_int_equal(plain->actions[0].kind, SHAPING_SUSPEND);
    assert_false(rate_is_set(&plain->threshold));
    assert_false(plain->match_internal);
    assert_int_equal(plain->line, 1);
    assert_string_equal(plain->file, "s.toml");
    assert_int_equal(rule->pattern_count, 2);
    check_text(rule->patterns[1].text, "TSS?05");
    assert_int_equal(rule->action_count, 3);
    assert_int_equal(rule->actions[0].kind, SHAPING_SUSPEND_TENANT);
    assert_int_equal(rule->actions[1].kind, SHAPING_SET_CONFIG);
    check_text(rule->actions[1].name, "max_message_rate");
    check_text(rule->actions[1].value, "\"1/minute\"");
    assert_int_equal(rule->actions[2].kind, SHAPING_SET_DOMAIN_CONFIG);
    check_text(rule->actions[2].value, "3");
    assert_int_equal(rule->threshold.count, 10);
    assert_true(rule->threshold.period_ns == 3600 * NS_PER_S);
    assert_true(rule->duration_ns == 5400 * NS_PER_S);
    assert_true(rule->match_internal);
    assert_int_equal(rule->line, 5);
    end(&reading);
}

static uint64_t hash_of(const char *text)
{
    struct reading reading;
    read_text(&reading, text);
    assert_int_equal(reading.rules.count, 1);
    uint64_t hash = reading.rules.rules[0].hash;
    end(&reading);
    return hash;
}

static void a_hash_is_of_what_a_rule_says_and_not_of_where(void **state)
{
    (void)state;
    static const char *const others[] = {
        "[[automation]]\nregex = 'y'\naction = 'Suspend'\nduration = '1h'\n",
        "[[automation]]\nregex = ['x', 'x']\naction = 'Suspend'\nduration = '1h'\n",
        "[[automation]]\nregex = 'x'\naction = 'Bounce'\nduration = '1h'\n",
        "[[automation]]\nregex = 'x'\naction = 'Suspend'\nduration = '2h'\n",
        RULE "match_internal = true\n",
        RULE "trigger = {Threshold = '2/hr'}\n",
    };
    uint64_t hash = hash_of(RULE);
    assert_true(hash == hash_of("\n\n" RULE "trigger = 'Immediate'\nmatch_internal = false\n"));
    assert_true(hash == 0xB0FC6EED67E88B5Dull); /* kept in state on disk: never another */
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_true(hash != hash_of(others[i]));
    }
}

static const struct {
    const char *text;
    const char *said;
} bad[] = {
    {RULE "threshold = 3\n", "s.toml:5:1: error: unknown key \"threshold\""},
    {"[[automation]]\naction = 'Suspend'\nduration = '1h'\n", "s.toml:1:1: error: a rule of "
     "automation wants regex"},
    {"[[automation]]\nregex = 'x'\nduration = '1h'\n", "wants action"},
    {"[[automation]]\nregex = 'x'\naction = 'Suspend'\n", "wants duration"},
    {"[[automation]]\nregex = 'x'\naction = 'Suspend'\nduration = '10 years'\n",
     "s.toml:4:1: error: duration"},
    {"[[automation]]\nregex = 'x'\naction = 'Suspend'\nduration = '3651d'\n",
     "duration is out of range"},
    {"[[automation]]\nregex = 'x'\naction = 'Suspend'\nduration = -5\n", "duration"},
    {"[[automation]]\nregex = 'x'\naction = 'Suspend'\nduration = 0\n", "out of range"},
    {"[[automation]]\nregex = ''\naction = 'Suspend'\nduration = '1h'\n",
     "s.toml:2:1: error: regex: "},
    {"[[automation]]\nregex = ['x',\n'(((a{99}){99}){99})']\naction = 'Suspend'\nduration = '1h'\n",
     "s.toml:3:1: error: regex: "},
    {"[[automation]]\nregex = []\naction = 'Suspend'\nduration = '1h'\n", "a list of 1 to 64"},
    {"[[automation]]\nregex = 3\naction = 'Suspend'\nduration = '1h'\n", "regex wants a string"},
    {"[[automation]]\nregex = 'x'\naction = 'Stop'\nduration = '1h'\n",
     "s.toml:3:1: error: action wants \"Suspend\""},
    {"[[automation]]\nregex = 'x'\naction = 'SetConfig'\nduration = '1h'\n", "action wants"},
    {"[[automation]]\nregex = 'x'\nduration = '1h'\n"
     "action = {SetConfig = {name = 'connection_limt', value = 3}}\n",
     "s.toml:4:24: error: unknown key \"connection_limt\", is \"connection_limit\" meant?"},
    {"[[automation]]\nregex = 'x'\nduration = '1h'\n"
     "action = {SetConfig = {name = 'max_message_rate', value = 'fast'}}\n", "s.toml:4:"},
    {"[[automation]]\nregex = 'x'\nduration = '1h'\n"
     "action = {SetConfig = {name = 'replace_base', value = true}}\n",
     "replace_base is for a block"},
    {"[[automation]]\nregex = 'x'\nduration = '1h'\naction = {SetConfig = {name = 'x'}}\n",
     "SetConfig wants {name="},
    {"[[automation]]\nregex = 'x'\nduration = '1h'\naction = {Suspend = {}}\n", "as a table"},
    {RULE "trigger = 'Later'\n", "s.toml:5:1: error: trigger wants"},
    {RULE "trigger = {Threshold = 'ten'}\n", "s.toml:5:"},
    {RULE "trigger = {Threshold = '5000000000/d'}\n", "s.toml:5:"},
    {"automation = 'x'\n", "automation wants an array"},
    {"automation = ['x']\n", "s.toml:1:"},
};

static void at05_what_is_no_rule_is_refused_with_its_line(void **state)
{
    (void)state;
    struct reading reading;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        read_text(&reading, bad[i].text);
        if (reading.messages.errors == 0 || reading.rules.count != 0 ||
            strstr((const char *)reading.said, bad[i].said) == NULL) {
            fail_msg("%s: %s", bad[i].text, (const char *)reading.said);
        }
        end(&reading);
    }
}

static struct shaping_rule_set *compile(struct reading *reading, uint32_t groups)
{
    struct shaping_rule_group *group =
        heap_take_array(&reading->heap, groups + 1, sizeof(*group));
    for (uint32_t i = 0; i < groups; i++) {
        group[i] = (struct shaping_rule_group){SLICE("default"), true, reading->rules};
    }
    return conf_compile_automation(&reading->load, group, groups);
}

static void rules_of_all_groups_are_numbered_one_after_another(void **state)
{
    (void)state;
    struct reading reading;
    read_text(&reading, RULE "[[automation]]\nregex = ['y', 'z(?!z)']\naction = 'Bounce'\n"
                             "duration = '1h'\n");
    struct shaping_rule_set *set = compile(&reading, 3);
    assert_non_null(set);
    assert_int_equal(set->rule_count, 6);
    assert_int_equal(patterns_count(set->patterns), 9);
    assert_int_equal(set->first_rule[2], 4);
    assert_int_equal(set->first_rule[3], 6);
    assert_int_equal(set->first_pattern[1], 1);
    assert_int_equal(set->first_pattern[2], 3);
    assert_int_equal(set->first_pattern[6], 9);
    assert_ptr_equal(set->rules[3], &reading.rules.rules[1]);
    shaping_rule_set_free(set);
    set = compile(&reading, 0);
    assert_non_null(set);
    assert_int_equal(patterns_count(set->patterns), 0);
    shaping_rule_set_free(set);
    shaping_rule_set_free(NULL);
    end(&reading);
}

static void at05_a_pattern_that_is_not_well_formed_is_told_with_its_line(void **state)
{
    (void)state;
    struct reading reading;
    read_text(&reading, RULE "[[automation]]\nregex = ['y',\n'[z-a]']\naction = 'Bounce'\n"
                             "duration = '1h'\n");
    assert_int_equal(reading.messages.errors, 0);
    assert_null(compile(&reading, 1));
    assert_int_equal(reading.messages.errors, 1);
    assert_non_null(strstr((const char *)reading.said, "s.toml:7:1: error: regex: "));
    end(&reading);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_is_read_with_one_or_lists),
        cmocka_unit_test(a_hash_is_of_what_a_rule_says_and_not_of_where),
        cmocka_unit_test(at05_what_is_no_rule_is_refused_with_its_line),
        cmocka_unit_test(rules_of_all_groups_are_numbered_one_after_another),
        cmocka_unit_test(at05_a_pattern_that_is_not_well_formed_is_told_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
