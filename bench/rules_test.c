/* Replies that are to match a rule match that one alone, and the others none. */
#include "bench/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/kit/conf_kit.h"
#include "core/shaping.h"

#define RULES 60u

static char said[4000];

static void replies_match_as_they_are_to(void **state)
{
    (void)state;
    static char toml[RULES * RULES_TOML_BYTES];
    struct buf text;
    buf_init(&text, toml, sizeof(toml) - 1);
    rules_put_toml(&text, RULES);
    assert_false(text.overflow);
    const char *const files[] = {"t.toml", "[shaping]\nfiles = [\"rules.toml\"]\n",
                                 "rules.toml", toml, NULL};
    struct conf *conf = conf_kit_load(files, NULL, 0, said, sizeof(said));
    assert_non_null(conf);
    const struct shaping_rule_set *set = conf->shaping->rules;
    assert_int_equal(set->rule_count, RULES);
    assert_int_equal(patterns_confirmed(set->patterns), RULES / RULES_CONFIRM_EACH);
    struct patterns_scratch *scratch = patterns_scratch_open(set->patterns);
    for (unsigned i = 0; i < RULES; i++) {
        uint8_t memory[RULES_TEXT_BYTES_MAX];
        buf_init(&text, memory, sizeof(memory));
        rules_put_match(&text, i);
        patterns_scan(scratch, buf_slice(&text));
        assert_int_equal(patterns_next(scratch, 0), i % RULES_CONFIRM_EACH == 0 ? i : RULES);
        assert_int_equal(patterns_next(scratch, i + 1), RULES);
        buf_reset(&text);
        rules_put_miss(&text, i);
        assert_false(text.overflow);
        patterns_scan(scratch, buf_slice(&text));
        assert_int_equal(patterns_next(scratch, 0), RULES);
    }
    patterns_scratch_close(scratch);
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_match_as_they_are_to),
    };
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
