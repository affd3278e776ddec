/*
 * Any bytes as an array of rules: rules or errors, never a crash; what is taken compiles or is
 * refused, and keeps its bounds.
 */
#include "core/shaping_rule.h"

#include "core/check.h"
#include "core/conf_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rules(const struct shaping_rules *rules)
{
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct shaping_rule *rule = &rules->rules[i];
        CHECK(rule->pattern_count >= 1 && rule->pattern_count <= SHAPING_RULE_PATTERNS_MAX);
        CHECK(rule->action_count >= 1 && rule->action_count <= SHAPING_RULE_ACTIONS_MAX);
        CHECK(rule->duration_ns >= NS_PER_S);
        CHECK(rule->threshold.count <= UINT32_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heap heap;
    struct conf_messages messages = {0};
    struct conf_load load = {.heap = &heap, .messages = &messages};
    struct shaping_rules rules = {0};
    uint8_t text[4096];
    heap_init(&heap);
    heap_init(&load.scratch);
    buf_init(&messages.text, text, sizeof(text));
    load.root = heap_take(&load.scratch, sizeof(*load.root));
    load.root->kind = TOML_TABLE;
    conf_tree_add(&load, "s.toml", slice_make(data, size));
    const struct conf_value *array = conf_tree_member(load.root, "automation");
    if (array != NULL) {
        conf_apply_automation(&load, array, &rules);
        check_rules(&rules);
        unsigned errors = messages.errors;
        const struct shaping_rule_group group = {SLICE("default"), true, rules};
        struct shaping_rule_set *set = conf_compile_automation(&load, &group, 1);
        CHECK((set == NULL) == (messages.errors > errors));
        shaping_rule_set_free(set);
    }
    heap_fini(&load.scratch);
    heap_fini(&heap);
    return 0;
}
