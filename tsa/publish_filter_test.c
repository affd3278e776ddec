/* Which lines of the log are told to others, and until when. */
#include "tsa/publish_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WALL_S 1757000000ull

static struct heap heap;
static struct publish_filter filter;
static struct shaping_rule_set *rules;

static struct shaping_pattern patterns[3] = {
    {.text = {(const uint8_t *)"slow", 4}},
    {.text = {(const uint8_t *)"^451 4", 6}},
    {.text = {(const uint8_t *)"lost", 4}},
};
static struct shaping_action action = {.kind = SHAPING_SUSPEND};
static struct shaping_rule rows[3] = {
    {.patterns = &patterns[0], .pattern_count = 1, .duration_ns = 60 * NS_PER_S},
    {.patterns = &patterns[1], .pattern_count = 1, .duration_ns = 3600 * NS_PER_S},
    {.patterns = &patterns[2], .pattern_count = 1, .duration_ns = 60 * NS_PER_S,
     .match_internal = true},
};

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        rows[i].actions = &action;
        rows[i].action_count = 1;
        rows[i].hash = i + 1;
        rows[i].file = "s.toml";
    }
    static const struct shaping_rule_group group = {
        {(const uint8_t *)"default", 7}, true, {rows, COUNT_OF(rows)}};
    heap_init(&heap);
    publish_filter_init(&filter, &heap);
    rules = shaping_rule_set_compile(&group, 1, NULL, NULL);
    return rules == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    publish_filter_fini(&filter);
    shaping_rule_set_free(rules);
    heap_fini(&heap);
    return 0;
}

/* Seconds from the record on; 0: never; -1: it is not told. */
static int64_t asked(const char *type, const char *content)
{
    char text[512];
    uint64_t expires_ns;
    snprintf(text, sizeof(text),
             "{\"type\":\"%s\",\"timestamp\":%llu,\"recipient\":\"u@b.test\","
             "\"response\":{\"code\":451,\"enhanced_code\":{\"class\":4,\"subject\":7,"
             "\"detail\":1},\"content\":\"%s\"}}\n",
             type, WALL_S, content);
    if (!publish_filter_wants(&filter, slice_from_string(text), &expires_ns)) {
        return -1;
    }
    return expires_ns == 0 ? 0 : (int64_t)(expires_ns / NS_PER_S - WALL_S);
}

static void without_rules_records_go_by_their_type(void **state)
{
    static const struct {
        const char *type;
        int64_t until;
    } types[] = {
        {"Delivery", 0},  {"Bounce", 0},   {"TransientFailure", 0}, {"Expiration", 0},
        {"AdminBounce", 0}, {"OOB", 0},   {"Feedback", -1},        {"Reception", -1},
        {"Rejection", -1}, {"Delayed", -1}, {"XferIn", -1},         {"Deliver", -1},
    };
    uint64_t expires_ns;
    (void)state;
    publish_filter_use(&filter, NULL);
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        assert_int_equal(asked(types[i].type, "x"), types[i].until);
    }
    assert_false(publish_filter_wants(&filter, SLICE("\n"), &expires_ns));
    assert_false(publish_filter_wants(&filter, SLICE("{\"id\":1,\"type\":\"Bounce\"}\n"),
                                      &expires_ns));
}

static void with_rules_those_go_that_one_looks_for_as_long_as_it_acts(void **state)
{
    (void)state;
    rows[1].duration_ns = 3600 * NS_PER_S;
    publish_filter_use(&filter, rules);
    assert_int_equal(asked("TransientFailure", "451 4"), 3600);
    assert_int_equal(asked("TransientFailure", "slow down"), 3600); /* the longest of two */
    assert_int_equal(asked("Reception", "slow down"), -1);
    patterns[1].text = SLICE("never");
    publish_filter_use(&filter, NULL);
    shaping_rule_set_free(rules);
    static const struct shaping_rule_group group = {
        {(const uint8_t *)"default", 7}, true, {rows, COUNT_OF(rows)}};
    rules = shaping_rule_set_compile(&group, 1, NULL, NULL);
    publish_filter_use(&filter, rules);
    assert_int_equal(asked("TransientFailure", "slow down"), 60);
    assert_int_equal(asked("TransientFailure", "come again"), -1);
    /* What we said ourselves is for those rules alone that look at it. */
    assert_int_equal(asked("TransientFailure", "Ringpost internal: slow"), -1);
    assert_int_equal(asked("TransientFailure", "Ringpost internal: lost"), 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_rules_records_go_by_their_type, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(with_rules_those_go_that_one_looks_for_as_long_as_it_acts,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
