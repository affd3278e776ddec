#include "tools/verb_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#define WORDS_MAX 128

struct words {
    char *list[WORDS_MAX];
    int count;
    char memory[4096];
};

/* Arguments as main has them. */
static void split(struct words *words, const char *line)
{
    char *rest = words->memory;
    snprintf(words->memory, sizeof(words->memory), "%s", line);
    words->count = 0;
    for (char *word = strsep(&rest, " "); word != NULL; word = strsep(&rest, " ")) {
        words->list[words->count++] = word;
    }
    words->list[words->count] = NULL;
}

static bool reads(struct verb_options *options, const char *line)
{
    static struct words words;
    split(&words, line);
    return verb_options_read(options, OPTIONS_COMMON | OPTIONS_CRITERIA | OPTION_BIT(ID) |
                                          OPTION_BIT(DURATION) | OPTION_BIT(YES) |
                                          OPTION_BIT(LIMIT),
                             true, words.count, words.list);
}

static void what_is_given_is_found_in_any_order(void **state)
{
    struct verb_options options;
    unsigned limit = 0;
    (void)state;
    assert_true(reads(&options, "suspend x.test --domain a.test --queue q1 --yes --queue=q2 "
                                "--limit 7 --duration 2h"));
    assert_string_equal(options.verb, "suspend");
    assert_string_equal(options.positional, "x.test");
    assert_string_equal(options.values[OPTION_DOMAIN], "a.test");
    assert_string_equal(options.values[OPTION_DURATION], "2h");
    assert_int_equal(options.queue_count, 2);
    assert_string_equal(options.queues[0], "q1");
    assert_string_equal(options.queues[1], "q2");
    assert_true(verb_options_given(&options, OPTION_YES));
    assert_false(verb_options_given(&options, OPTION_JSON));
    assert_int_equal(verb_options_count(&options, OPTIONS_CRITERIA), 2);
    assert_true(verb_options_limit(&options, 10, 5, &limit));
    assert_int_equal(limit, 7);
    assert_false(verb_options_limit(&options, 6, 5, &limit));
    assert_true(reads(&options, "suspend"));
    assert_true(verb_options_limit(&options, 10, 5, &limit));
    assert_int_equal(limit, 5);
}

static void what_makes_no_sense_is_refused(void **state)
{
    static const char *const lines[] = {
        "suspend --nonsense",
        "suspend --domain",
        "suspend --domain a --domain b",
        "suspend --domain=",
        "suspend one two",
        "suspend --id 12",
        "suspend --id 0123456789abcdef0123456789abcdeg",
        "suspend --duration 5",
        "suspend --duration 0s",
        "suspend --duration soon",
        "suspend --body", /* of other verbs */
        "suspend --yes=no",
        "suspend --domain \xff.test",
        "suspend \xff",
    };
    struct verb_options options;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        if (reads(&options, lines[i])) {
            fail_msg("taken: %s", lines[i]);
        }
    }
}

static void queues_have_a_maximum(void **state)
{
    char line[2048] = "suspend";
    struct verb_options options;
    (void)state;
    for (unsigned i = 0; i < VERB_QUEUES_MAX; i++) {
        strncat(line, " --queue=q", sizeof(line) - strlen(line) - 1);
    }
    assert_true(reads(&options, line));
    assert_int_equal(options.queue_count, VERB_QUEUES_MAX);
    strncat(line, " --queue=q", sizeof(line) - strlen(line) - 1);
    assert_false(reads(&options, line));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_given_is_found_in_any_order),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(queues_have_a_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
