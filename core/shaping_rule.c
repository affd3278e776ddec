#include "core/shaping_rule.h"

#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/conf_limits.h"
#include "core/conf_settings.h"
#include "core/conf_shaping.h"
#include "core/pattern_size.h"

#define DURATION_NS_MAX (366 * 86400 * NS_PER_S)

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data
#define FIELD(text, its_kind, field)                                                               \
    .name = (text), .kind = (its_kind), .offset = offsetof(struct shaping_rule, field)
#define OPTIONS(rows) .options = (rows), .count = COUNT_OF(rows)

static const char *const action_names[SHAPING_ACTIONS] = {
    [SHAPING_SUSPEND] = "Suspend",
    [SHAPING_SUSPEND_TENANT] = "SuspendTenant",
    [SHAPING_SUSPEND_CAMPAIGN] = "SuspendCampaign",
    [SHAPING_BOUNCE] = "Bounce",
    [SHAPING_BOUNCE_TENANT] = "BounceTenant",
    [SHAPING_BOUNCE_CAMPAIGN] = "BounceCampaign",
    [SHAPING_SET_CONFIG] = "SetConfig",
    [SHAPING_SET_DOMAIN_CONFIG] = "SetDomainConfig",
};

const char *shaping_action_name(enum shaping_action_kind kind)
{
    CHECK(kind < SHAPING_ACTIONS);
    return action_names[kind];
}

bool shaping_action_parse(struct slice name, enum shaping_action_kind *kind_out)
{
    for (unsigned i = 0; i < SHAPING_ACTIONS; i++) {
        if (slice_equal(name, slice_from_string(action_names[i]))) {
            *kind_out = (enum shaping_action_kind)i;
            return true;
        }
    }
    return false;
}

/* --- patterns --------------------------------------------------------------------------------- */

/* One or a list: the first, and how many. 0, and it is told, when there are none or too many. */
static size_t one_or_list(struct conf_load *load, const struct conf_value *value, size_t max,
                          const struct conf_value **first_out)
{
    bool list = value->kind == TOML_ARRAY;
    size_t count = list ? value->count : 1;
    if (count == 0 || count > max) {
        conf_error(load, value, "%.*s wants one or a list of 1 to %zu", SHOW(value->key), max);
        return 0;
    }
    *first_out = list ? value->first : value;
    return count;
}

static bool pattern_is_good(struct conf_load *load, const struct conf_value *value)
{
    const char *why = "";
    if (value->kind != TOML_STRING) {
        conf_error(load, value, "regex wants a string, or a list of strings");
        return false;
    }
    if (pattern_size(value->as.text, &why) == 0) {
        conf_error(load, value, "regex: %s", why);
        return false;
    }
    return true;
}

static void apply_regex(struct conf_load *load, const struct conf_option *option,
                        const struct conf_value *value, void *base)
{
    struct shaping_rule *rule = base;
    const struct conf_value *at = NULL;
    (void)option;
    size_t count = one_or_list(load, value, SHAPING_RULE_PATTERNS_MAX, &at);
    struct shaping_pattern *patterns = heap_take_array(load->heap, count + 1, sizeof(*patterns));
    for (size_t i = 0; i < count; i++, at = at->next) {
        if (pattern_is_good(load, at)) {
            patterns[rule->pattern_count++] = (struct shaping_pattern){
                heap_copy(load->heap, at->as.text), at->line, at->column};
        }
    }
    rule->patterns = patterns;
}

/* --- actions ---------------------------------------------------------------------------------- */

/* Does an egress path take this value? Its own row judges it. */
static bool setting_is_good(struct conf_load *load, const struct conf_value *name,
                            const struct conf_value *value)
{
    if (conf_path_is_of_block(name->as.text)) {
        conf_error(load, name, "%.*s is for a block as a whole, no action sets it",
                   SHOW(name->as.text));
        return false;
    }
    if (!conf_options_have(&conf_path_options, name->as.text)) {
        struct conf_value named = *name;
        named.key = name->as.text;
        conf_unknown(load, &conf_path_options, &named);
        return false;
    }
    unsigned errors = load->messages->errors;
    struct path_options *path = heap_take(&load->scratch, sizeof(*path));
    struct conf_mark mark = {0};
    struct conf_value member = *value;
    member.key = name->as.text;
    member.next = NULL;
    member.mark = &mark;
    struct conf_value table = *value;
    table.kind = TOML_TABLE;
    table.first = table.last = &member;
    table.count = 1;
    conf_options_apply(load, &conf_path_options, &table, path);
    return load->messages->errors == errors;
}

/* {SetConfig={name="max_message_rate", value="1/minute"}} */
static bool read_setting(struct conf_load *load, const struct conf_value *table,
                         struct shaping_action *action)
{
    const struct conf_value *inner = table->first;
    if (table->count != 1 || !shaping_action_parse(inner->key, &action->kind) ||
        action->kind < SHAPING_SET_CONFIG) {
        conf_error(load, table,
                   "action wants one of {SetConfig={…}} and {SetDomainConfig={…}} as a table");
        return false;
    }
    const struct conf_value *name = conf_tree_member(inner, "name");
    const struct conf_value *value = conf_tree_member(inner, "value");
    if (inner->kind != TOML_TABLE || inner->count != 2 || name == NULL || value == NULL ||
        name->kind != TOML_STRING) {
        conf_error(load, inner, "%s wants {name=\"OPTION\", value=VALUE}",
                   shaping_action_name(action->kind));
        return false;
    }
    if (!setting_is_good(load, name, value)) {
        return false;
    }
    action->name = heap_copy(load->heap, name->as.text);
    action->value = heap_copy(load->heap, conf_value_text(load, value));
    return true;
}

static bool read_action(struct conf_load *load, const struct conf_value *value,
                        struct shaping_action *action)
{
    if (value->kind == TOML_TABLE) {
        return read_setting(load, value, action);
    }
    if (value->kind != TOML_STRING || !shaping_action_parse(value->as.text, &action->kind) ||
        action->kind >= SHAPING_SET_CONFIG) {
        conf_error(load, value,
                   "action wants \"Suspend\", \"SuspendTenant\", \"SuspendCampaign\", \"Bounce\", "
                   "\"BounceTenant\", \"BounceCampaign\", {SetConfig={…}} or "
                   "{SetDomainConfig={…}}");
        return false;
    }
    return true;
}

static void apply_action(struct conf_load *load, const struct conf_option *option,
                         const struct conf_value *value, void *base)
{
    struct shaping_rule *rule = base;
    const struct conf_value *at = NULL;
    (void)option;
    size_t count = one_or_list(load, value, SHAPING_RULE_ACTIONS_MAX, &at);
    struct shaping_action *actions = heap_take_array(load->heap, count + 1, sizeof(*actions));
    for (size_t i = 0; i < count; i++, at = at->next) {
        if (read_action(load, at, &actions[rule->action_count])) {
            rule->action_count++;
        }
    }
    rule->actions = actions;
}

/* --- one rule --------------------------------------------------------------------------------- */

static void apply_trigger(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    static const struct conf_option rows[] = {
        {FIELD("Threshold", OPTION_OWN, threshold), .apply = conf_apply_rate},
    };
    static const struct conf_options members = {OPTIONS(rows), RELOADS};
    (void)option;
    if (value->kind == TOML_STRING && slice_equal(value->as.text, SLICE("Immediate"))) {
        return;
    }
    if (value->kind != TOML_TABLE || value->count != 1) {
        conf_error(load, value,
                   "trigger wants \"Immediate\" or { Threshold = \"COUNT/PERIOD\" }");
        return;
    }
    conf_options_apply(load, &members, value, base);
    struct shaping_rule *rule = base;
    if (rule->threshold.count > UINT32_MAX) {
        conf_error(load, value, "Threshold: at most %u", UINT32_MAX);
    }
}

static const struct conf_option rule_rows[] = {
    {.name = "regex", .kind = OPTION_OWN, .apply = apply_regex},
    {.name = "action", .kind = OPTION_OWN, .apply = apply_action},
    {.name = "trigger", .kind = OPTION_OWN, .apply = apply_trigger},
    {FIELD("duration", OPTION_DURATION, duration_ns), .min = NS_PER_S, .max = DURATION_NS_MAX},
    {FIELD("match_internal", OPTION_BOOL, match_internal)},
};
static const struct conf_options rule_members = {OPTIONS(rule_rows), RELOADS};

/* Texts with their sizes, so that no two rules give the same bytes. */
static void hash_text(XXH3_state_t *state, struct slice text)
{
    uint64_t size = text.size;
    XXH3_64bits_update(state, &size, sizeof(size));
    XXH3_64bits_update(state, text.data, text.size);
}

/* Little endian is the only order we run on; the layout of this is never to change. */
static uint64_t rule_hash(const struct shaping_rule *rule)
{
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    for (uint32_t i = 0; i < rule->pattern_count; i++) {
        hash_text(&state, rule->patterns[i].text);
    }
    for (uint32_t i = 0; i < rule->action_count; i++) {
        hash_text(&state, slice_from_string(shaping_action_name(rule->actions[i].kind)));
        hash_text(&state, rule->actions[i].name);
        hash_text(&state, rule->actions[i].value);
    }
    uint64_t numbers[] = {rule->pattern_count,       rule->action_count,
                          rule->threshold.count,     rule->threshold.period_ns,
                          rule->duration_ns,         rule->match_internal};
    XXH3_64bits_update(&state, numbers, sizeof(numbers));
    return XXH3_64bits_digest(&state);
}

/* False, and it is told, when it is no rule. */
static bool rule_read(struct conf_load *load, const struct conf_value *table,
                      struct shaping_rule *rule)
{
    static const char *const needed[] = {"regex", "action", "duration"};
    unsigned errors = load->messages->errors;
    *rule = (struct shaping_rule){.line = table->line};
    rule->file = (const char *)heap_copy(load->heap, slice_from_string(table->file)).data;
    conf_options_apply(load, &rule_members, table, rule);
    for (size_t i = 0; table->kind == TOML_TABLE && i < COUNT_OF(needed); i++) {
        if (conf_tree_member(table, needed[i]) == NULL) {
            conf_error(load, table, "a rule of automation wants %s", needed[i]);
        }
    }
    rule->hash = rule_hash(rule);
    return load->messages->errors == errors;
}

void conf_apply_automation(struct conf_load *load, const struct conf_value *array,
                           struct shaping_rules *rules)
{
    if (!conf_want(load, array, TOML_ARRAY)) {
        return;
    }
    if (array->count > PATTERNS_MAX - MIN_OF(rules->count, PATTERNS_MAX)) {
        conf_error(load, array, "there are more than %u rules", PATTERNS_MAX);
        return;
    }
    struct shaping_rule *all =
        heap_take_array(load->heap, rules->count + array->count + 1, sizeof(*all));
    uint32_t count = rules->count;
    if (count > 0) {
        memcpy(all, rules->rules, count * sizeof(*all));
    }
    for (const struct conf_value *at = array->first; at != NULL; at = at->next) {
        if (rule_read(load, at, &all[count])) {
            count++;
        }
    }
    *rules = (struct shaping_rules){all, count};
}

/* --- all rules -------------------------------------------------------------------------------- */

struct compiling {
    struct shaping_rule_set *set;
    shaping_rule_refuse *refuse;
    void *context;
};

static void refuse_pattern(void *context, uint32_t number, struct slice why)
{
    const struct compiling *compiling = context;
    const struct shaping_rule_set *set = compiling->set;
    for (uint32_t i = 0; i < set->rule_count; i++) {
        if (number >= set->first_pattern[i] && number < set->first_pattern[i + 1]) {
            compiling->refuse(compiling->context, set->rules[i], number - set->first_pattern[i],
                              why);
            return;
        }
    }
    compiling->refuse(compiling->context, NULL, 0, why);
}

/* Numbers the rules of all groups, and their patterns, as they stand; returns the patterns. */
static struct slice *set_number(struct shaping_rule_set *set, struct heap *scratch,
                                uint32_t *count_out)
{
    uint32_t rules = 0;
    uint32_t patterns = 0;
    uint32_t *first_rule =
        heap_take_array(&set->heap, (size_t)set->group_count + 1, sizeof(*first_rule));
    for (uint32_t i = 0; i < set->group_count; i++) {
        first_rule[i] = rules;
        rules += set->groups[i].rules.count;
    }
    first_rule[set->group_count] = set->rule_count = rules;
    set->first_rule = first_rule;
    set->rules = heap_take_array(&set->heap, (size_t)rules + 1, sizeof(struct shaping_rule *));
    uint32_t *first_pattern =
        heap_take_array(&set->heap, (size_t)rules + 1, sizeof(*first_pattern));
    for (uint32_t group = 0; group < set->group_count; group++) {
        for (uint32_t i = 0; i < set->groups[group].rules.count; i++) {
            const struct shaping_rule *rule = &set->groups[group].rules.rules[i];
            set->rules[first_rule[group] + i] = rule;
            first_pattern[first_rule[group] + i] = patterns;
            patterns += rule->pattern_count;
        }
    }
    first_pattern[rules] = patterns;
    set->first_pattern = first_pattern;
    struct slice *texts = heap_take_array(scratch, (size_t)patterns + 1, sizeof(*texts));
    for (uint32_t i = 0; i < rules; i++) {
        for (uint32_t j = 0; j < set->rules[i]->pattern_count; j++) {
            texts[first_pattern[i] + j] = set->rules[i]->patterns[j].text;
        }
    }
    *count_out = patterns;
    return texts;
}

struct shaping_rule_set *shaping_rule_set_compile(const struct shaping_rule_group *groups,
                                                  uint32_t count, shaping_rule_refuse *refuse,
                                                  void *context)
{
    struct heap heap;
    struct heap scratch;
    uint32_t pattern_count;
    heap_init(&heap);
    heap_init(&scratch);
    struct shaping_rule_set *set = heap_take(&heap, sizeof(*set));
    set->heap = heap;
    set->groups = groups;
    set->group_count = count;
    struct slice *texts = set_number(set, &scratch, &pattern_count);
    struct compiling compiling = {set, refuse, context};
    set->patterns = patterns_compile(texts, pattern_count, refuse_pattern, &compiling);
    heap_fini(&scratch);
    if (set->patterns == NULL) {
        shaping_rule_set_free(set);
        return NULL;
    }
    return set;
}

void shaping_rule_set_free(struct shaping_rule_set *set)
{
    if (set != NULL) {
        struct heap heap = set->heap;
        patterns_free(set->patterns);
        heap_fini(&heap);
    }
}

static void refuse_rule(void *context, const struct shaping_rule *rule, uint32_t pattern,
                        struct slice why)
{
    struct conf_load *load = context;
    if (rule == NULL) {
        conf_error(load, NULL, "automation: %.*s", SHOW(why));
        return;
    }
    const struct shaping_pattern *place = &rule->patterns[pattern];
    const struct conf_value at = {
        .file = rule->file, .line = place->line, .column = place->column};
    conf_error(load, &at, "regex: %.*s", SHOW(why));
}

struct shaping_rule_set *conf_compile_automation(struct conf_load *load,
                                                 const struct shaping_rule_group *groups,
                                                 uint32_t count)
{
    return shaping_rule_set_compile(groups, count, refuse_rule, load);
}
