#include "tsa/publish_filter.h"

#include "core/check.h"

void publish_filter_init(struct publish_filter *filter, struct heap *heap)
{
    *filter = (struct publish_filter){0};
    publish_init(&filter->publish, heap);
}

void publish_filter_fini(struct publish_filter *filter)
{
    patterns_scratch_close(filter->scratch);
    filter->scratch = NULL;
    publish_fini(&filter->publish);
}

void publish_filter_use(struct publish_filter *filter, const struct shaping_rule_set *rules)
{
    patterns_scratch_close(filter->scratch);
    filter->rules = rules;
    filter->scratch = rules != NULL ? patterns_scratch_open(rules->patterns) : NULL;
}

/* Lines of the log begin with their type: {"type":"Delivery", */
static struct slice type_of(struct slice line)
{
    const struct slice start = SLICE("{\"type\":\"");
    if (!slice_starts_with(line, start)) {
        return SLICE_NONE;
    }
    struct slice rest = slice_skip(line, start.size);
    return slice_first(rest, slice_find(rest, '"'));
}

/* The longest time for which a rule that matches acts; 0: none does. */
static uint64_t longest_ns(struct publish_filter *filter, struct slice response)
{
    const struct shaping_rule_set *rules = filter->rules;
    bool internal = automation_is_internal(response);
    uint64_t longest = 0;
    patterns_scan(filter->scratch, response);
    for (uint32_t i = 0; i < rules->rule_count; i++) {
        uint32_t end = rules->first_pattern[i + 1];
        bool asked = rules->rules[i]->match_internal || !internal;
        if (asked && patterns_next_below(filter->scratch, rules->first_pattern[i], end) < end) {
            longest = MAX_OF(longest, rules->rules[i]->duration_ns);
        }
    }
    return longest;
}

bool publish_filter_wants(struct publish_filter *filter, struct slice line, uint64_t *expires_out)
{
    struct automation_record record;
    const char *fault;
    *expires_out = 0;
    if (!publish_type_counts(type_of(line))) {
        return false;
    }
    if (filter->rules == NULL) {
        return true;
    }
    if (publish_read(&filter->publish, line, &record, &fault) != PUBLISH_TAKEN) {
        return false;
    }
    uint64_t longest = longest_ns(filter, record.response);
    *expires_out = longest > 0 ? record.wall_ns + MIN_OF(longest, UINT64_MAX - record.wall_ns) : 0;
    return longest > 0;
}
