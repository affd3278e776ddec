#include "bench/script.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void read_or_fail(struct script *script, const char *text)
{
    char why[256];
    struct buf reason;
    buf_init(&reason, why, sizeof(why));
    if (!script_read(script, slice_from_string(text), &reason)) {
        fail_msg("%.*s", (int)reason.size, why);
    }
}

static void patterns_match_addresses_and_domains(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *address;
        bool matches;
    } rows[] = {
        {"*", "a@b.test", true},           {"*", "", true},
        {"b.test", "a@b.test", true},      {"B.Test", "a@b.tEST", true},
        {"b.test", "a@c.b.test", false},   {"*.b.test", "a@c.b.test", true},
        {"*.b.test", "a@b.test", false},   {"a@b.test", "a@b.test", true},
        {"a@b.test", "c@b.test", false},   {"a@*", "a@x.test", true},
        {"*@b.test", "x@b.test", true},    {"*@b.test", "", false},
        {"b.test", "", false},             {"b.test", "\"x@c\"@b.test", true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bool matches = script_pattern_matches(slice_from_string(rows[i].pattern),
                                              slice_from_string(rows[i].address));
        if (matches != rows[i].matches) {
            fail_msg("%s and %s", rows[i].pattern, rows[i].address);
        }
    }
}

static void the_first_rule_of_the_stage_counts_and_times_run_out(void **state)
{
    (void)state;
    struct script script;
    struct prng prng;
    prng_seed(&prng, 1);
    read_or_fail(&script, "# comment\n\n"
                          "rcpt a.test times=2 450 4.2.1 busy\r\n"
                          "rcpt a.test delay=20 550-no\\n550 5.1.1 really\n"
                          "data * drop\n"
                          "mail * chance=0% hang\n");
    struct slice address = slice_make("x@a.test", 9);
    for (unsigned i = 0; i < 2; i++) {
        struct script_rule *rule = script_match(&script, STAGE_RCPT, address, &prng);
        assert_non_null(rule);
        assert_true(slice_equal(slice_make(rule->reply, rule->reply_bytes),
                                SLICE("450 4.2.1 busy\r\n")));
    }
    struct script_rule *rule = script_match(&script, STAGE_RCPT, address, &prng);
    assert_non_null(rule);
    assert_int_equal(rule->delay_ms, 20);
    assert_true(slice_equal(slice_make(rule->reply, rule->reply_bytes),
                            SLICE("550-no\r\n550 5.1.1 really\r\n")));
    assert_null(script_match(&script, STAGE_RCPT, slice_make("x@b.test", 9), &prng));
    assert_null(script_match(&script, STAGE_DOT, address, &prng));
    assert_null(script_match(&script, STAGE_MAIL, address, &prng));
    rule = script_match(&script, STAGE_DATA, slice_make("x@b.test\0y@c.test", 18), &prng);
    assert_non_null(rule);
    assert_int_equal(rule->action, ACTION_DROP);
    script_fini(&script);
}

static void a_rule_matches_when_any_recipient_does(void **state)
{
    (void)state;
    struct script script;
    struct prng prng;
    prng_seed(&prng, 1);
    read_or_fail(&script, "dot c.test 554 5.7.1 no\n");
    assert_null(script_match(&script, STAGE_DOT, slice_make("x@a.test\0y@b.test", 18), &prng));
    assert_non_null(script_match(&script, STAGE_DOT, slice_make("x@a.test\0y@c.test", 18), &prng));
    assert_null(script_match(&script, STAGE_DOT, SLICE_NONE, &prng));
    script_fini(&script);
}

static void what_is_wrong_is_named_with_its_line(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\nbody * 550 no\n", "\nrcpt\n", "\nrcpt * times=x 550 no\n", "\nrcpt * maybe\n",
        "\nrcpt * 99 no\n",  "\nrcpt *\n", "\nrcpt * chance=101% drop\n"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        char why[256] = "";
        struct buf reason;
        struct script script;
        buf_init(&reason, why, sizeof(why) - 1);
        assert_false(script_read(&script, slice_from_string(texts[i]), &reason));
        assert_non_null(strstr(why, "script line 2: "));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_addresses_and_domains),
        cmocka_unit_test(the_first_rule_of_the_stage_counts_and_times_run_out),
        cmocka_unit_test(a_rule_matches_when_any_recipient_does),
        cmocka_unit_test(what_is_wrong_is_named_with_its_line),
    };
    return cmocka_run_group_tests_name("script", tests, NULL, NULL);
}
