/*
 * Many patterns at once: the numbers of those that match, in order, whatever they are made of; what
 * is not taken is told; and how fast it is, as a line that is printed.
 */
#include "core/patterns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "core/buf.h"

struct refusals {
    unsigned count;
    uint32_t number; /* of the last one */
    char why[256];
};

static void note_refusal(void *context, uint32_t number, struct slice why)
{
    struct refusals *refusals = context;
    refusals->count++;
    refusals->number = number;
    snprintf(refusals->why, sizeof(refusals->why), "%.*s", (int)why.size, (const char *)why.data);
}

static struct patterns *compile(const char *const *texts, uint32_t count)
{
    struct slice slices[64];
    struct refusals refusals = {0};
    assert_true(count <= COUNT_OF(slices));
    for (uint32_t i = 0; i < count; i++) {
        slices[i] = slice_from_string(texts[i]);
    }
    struct patterns *patterns = patterns_compile(slices, count, note_refusal, &refusals);
    if (patterns == NULL) {
        fail_msg("%u: %s", refusals.number, refusals.why);
    }
    return patterns;
}

/* "0 2 5": the numbers that match. */
static void put_matches(struct patterns_scratch *scratch, uint32_t count, const char *text,
                        struct buf *out)
{
    buf_reset(out);
    patterns_scan(scratch, slice_from_string(text));
    for (uint32_t at = patterns_next(scratch, 0); at < count;
         at = patterns_next(scratch, at + 1)) {
        buf_printf(out, "%s%u", out->size > 0 ? " " : "", at);
    }
}

static void all_that_match_are_found_in_their_order(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "user unknown",                /* 0 */
        "(?i)mailbox",                 /* 1 */
        "^550 5\\.1\\.1\\b",           /* 2 */
        "full$",                       /* 3 */
        "^4\\d\\d (?!4\\.7\\.)",       /* 4: a look-ahead */
        "(\\w)\\1\\1",                 /* 5: a reference back */
        "x*",                          /* 6: matches everything */
        "(?<=quota )exceeded",         /* 7: a look-behind */
        "(?>a+)b",                     /* 8: an atomic group */
        "\xC3\xBC" "berf",             /* 9: bytes */
        "[^ -~]",                      /* 10: a byte that is no printable ASCII */
        "(?P<what>over)quota",         /* 11: a named group */
    };
    static const struct {
        const char *text;
        const char *matches;
    } cases[] = {
        {"550 5.1.1 user unknown", "0 2 6"},
        {"550 5.1.10 user unknown", "0 6"},
        {"452 MAILBOX is full", "1 3 4 6"},
        {"452 4.7.1 MailBox is full, wait", "1 6"},
        {"552 quota exceeded", "6 7"},
        {"552 exceeded quota", "6"},
        {"aaab", "5 6 8"},
        {"aab", "6 8"},
        {"", "6"},
        {"\xC3\xBC" "berf\xC3\xBCllt", "6 9 10"},
        {"\xFF", "6 10"},
        {"user  unknown overquota", "6 11"},
    };
    uint8_t memory[256];
    struct buf found;
    struct patterns *patterns = compile(texts, COUNT_OF(texts));
    struct patterns_scratch *scratch = patterns_scratch_open(patterns);
    assert_int_equal(patterns_count(patterns), COUNT_OF(texts));
    assert_int_equal(patterns_confirmed(patterns), 4);
    buf_init(&found, memory, sizeof(memory));
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
            put_matches(scratch, COUNT_OF(texts), cases[i].text, &found);
            if (!slice_equal(buf_slice(&found), slice_from_string(cases[i].matches))) {
                fail_msg("%s: %.*s", cases[i].text, (int)found.size, (const char *)found.data);
            }
        }
    }
    patterns_scratch_close(scratch);
    patterns_free(patterns);
}

static void a_dot_is_no_end_of_a_line(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "defer.*later",      /* 0 */
        "defer(?s:.*)later", /* 1 */
        "[^x]later",         /* 2 */
        "^later",            /* 3 */
        "(?m)^later",        /* 4 */
        "defer(?! not).*later", /* 5: a look-ahead */
    };
    static const struct {
        const char *text;
        const char *matches;
    } cases[] = {
        {"defer until later", "0 1 2 5"},
        {"defer\nlater", "1 2 4"},
        {"defer\rlater", "0 1 2 5"},
        {"defer it, later\n", "0 1 2 5"},
        {"defer not\nlater", "1 2 4"},
    };
    uint8_t memory[256];
    struct buf found;
    struct patterns *patterns = compile(texts, COUNT_OF(texts));
    struct patterns_scratch *scratch = patterns_scratch_open(patterns);
    buf_init(&found, memory, sizeof(memory));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        put_matches(scratch, COUNT_OF(texts), cases[i].text, &found);
        if (!slice_equal(buf_slice(&found), slice_from_string(cases[i].matches))) {
            fail_msg("%s: %.*s", cases[i].text, (int)found.size, (const char *)found.data);
        }
    }
    patterns_scratch_close(scratch);
    patterns_free(patterns);
}

static void numbers_beyond_a_word_are_found_too(void **state)
{
    (void)state;
    struct slice texts[200];
    char names[200][16];
    struct refusals refusals = {0};
    for (unsigned i = 0; i < 200; i++) {
        snprintf(names[i], sizeof(names[i]), "<%u>", i);
        texts[i] = slice_from_string(names[i]);
    }
    struct patterns *patterns = patterns_compile(texts, 200, note_refusal, &refusals);
    assert_non_null(patterns);
    struct patterns_scratch *scratch = patterns_scratch_open(patterns);
    patterns_scan(scratch, SLICE("<199> <64> <128> <63>"));
    assert_int_equal(patterns_next(scratch, 0), 63);
    assert_int_equal(patterns_next(scratch, 64), 64);
    assert_int_equal(patterns_next(scratch, 65), 128);
    assert_int_equal(patterns_next(scratch, 129), 199);
    assert_int_equal(patterns_next(scratch, 200), 200);
    patterns_scan(scratch, SLICE_NONE);
    assert_int_equal(patterns_next(scratch, 0), 200);
    patterns_scratch_close(scratch);
    patterns_free(patterns);
}

static void none_at_all_match_nothing(void **state)
{
    (void)state;
    struct refusals refusals = {0};
    struct patterns *patterns = patterns_compile(NULL, 0, note_refusal, &refusals);
    assert_non_null(patterns);
    struct patterns_scratch *scratch = patterns_scratch_open(patterns);
    patterns_scan(scratch, SLICE("x"));
    assert_int_equal(patterns_next(scratch, 0), 0);
    patterns_scratch_close(scratch);
    patterns_free(patterns);
}

static void each_that_is_not_taken_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"a(b", "no )"},
        {"*a", "at its character"},
        {"(?<=a+)b", "lookbehind"},
        {"a{3000}", "written out"},
        {"(?R)?a", "one pass"},
        {"\\p{Nonsense}", "at its character"},
        {"(?(1)a|b)", "subpattern"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct slice texts[] = {SLICE("fine"), slice_from_string(cases[i].text)};
        struct refusals refusals = {0};
        assert_null(patterns_compile(texts, 2, note_refusal, &refusals));
        assert_int_equal(refusals.count, 1);
        assert_int_equal(refusals.number, 1);
        if (strstr(refusals.why, cases[i].why) == NULL) {
            fail_msg("%s: %s", cases[i].text, refusals.why);
        }
    }
    const struct slice two[] = {SLICE("("), SLICE("fine"), SLICE("[")};
    struct refusals refusals = {0};
    assert_null(patterns_compile(two, 3, note_refusal, &refusals));
    assert_int_equal(refusals.count, 2);
}

static void too_many_and_too_much_are_refused(void **state)
{
    (void)state;
    struct slice *texts = calloc(PATTERNS_MAX + 1, sizeof(*texts));
    struct refusals refusals = {0};
    for (size_t i = 0; i <= PATTERNS_MAX; i++) {
        texts[i] = SLICE("a");
    }
    assert_null(patterns_compile(texts, PATTERNS_MAX + 1, note_refusal, &refusals));
    assert_int_equal(refusals.number, PATTERNS_MAX + 1);
    for (size_t i = 0; i < 65; i++) {
        texts[i] = SLICE("x{2000}y{40}");
    }
    assert_null(patterns_compile(texts, 65, note_refusal, &refusals));
    assert_int_equal(refusals.number, 65);
    assert_non_null(strstr(refusals.why, "together"));
    free(texts);
}

/* What would take for ever comes to its limits, and that is no match; the next text is fine. */
static void a_confirmation_has_limits(void **state)
{
    (void)state;
    static const char *const texts[] = {"(?=((a|aa)+)+$)a", "(?!x)((((((a*)b?)*)c?)*)d)*e"};
    char long_text[PATTERNS_TEXT_BYTES_MAX];
    struct patterns *patterns = compile(texts, COUNT_OF(texts));
    struct patterns_scratch *scratch = patterns_scratch_open(patterns);
    memset(long_text, 'a', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = 'b';
    patterns_scan(scratch, slice_make(long_text, sizeof(long_text)));
    assert_int_equal(patterns_next(scratch, 0), 2);
    patterns_scan(scratch, SLICE("aaa"));
    assert_int_equal(patterns_next(scratch, 0), 0);
    patterns_scan(scratch, SLICE("e"));
    assert_int_equal(patterns_next(scratch, 0), 1);
    patterns_scratch_close(scratch);
    patterns_free(patterns);
}

static void what_stands_behind_the_limit_is_not_looked_at(void **state)
{
    (void)state;
    static const char *const texts[] = {"needle", "a$"};
    char text[PATTERNS_TEXT_BYTES_MAX + 10];
    struct patterns *patterns = compile(texts, COUNT_OF(texts));
    struct patterns_scratch *scratch = patterns_scratch_open(patterns);
    memset(text, 'a', sizeof(text));
    memcpy(text + PATTERNS_TEXT_BYTES_MAX - 5, "needle", 6);
    patterns_scan(scratch, slice_make(text, sizeof(text)));
    assert_int_equal(patterns_next(scratch, 0), 2);
    memcpy(text + PATTERNS_TEXT_BYTES_MAX - 7, "needlea", 7);
    patterns_scan(scratch, slice_make(text, sizeof(text)));
    assert_int_equal(patterns_next(scratch, 0), 0);
    assert_int_equal(patterns_next(scratch, 1), 1);
    patterns_scratch_close(scratch);
    patterns_free(patterns);
}

/* --- how fast --------------------------------------------------------------------------------- */

#define RULES   200u
#define RECORDS 200000u

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Rules as operators write them; each tenth has a look-ahead. */
static void make_rules(char rules[RULES][96], struct slice *texts)
{
    for (unsigned i = 0; i < RULES; i++) {
        char *rule = rules[i];
        if (i % 10 == 9) {
            snprintf(rule, 96, "^45\\d (?!4\\.7).*deferred%u", i % 40);
        } else if (i % 4 == 0) {
            snprintf(rule, 96, "^5\\d\\d 5\\.%u\\.%u .*rule%u", i % 7, i % 9, i);
        } else if (i % 4 == 1) {
            snprintf(rule, 96, "(?i)(mailbox|user|account) .*code%u", i);
        } else if (i % 4 == 2) {
            snprintf(rule, 96, "https?://[a-z.]+/help%u\\?id", i);
        } else {
            snprintf(rule, 96, "^4\\d\\d [\\d.]+ .*(try|wait).{0,20}n%u", i);
        }
        texts[i] = slice_from_string(rule);
    }
}

static void the_rate_of_two_hundred_rules_is_printed(void **state)
{
    (void)state;
    static const char *const replies[] = {
        "550 5.1.1 <someone@example.com>: Recipient address rejected: User unknown in table",
        "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints",
        "552 5.2.2 The email account that you tried to reach is over quota. Please direct it to",
        "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents",
        "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using list.test",
        "250 2.0.0 OK 1700000000 a1-20020a05 - gsmtp",
        "451 4.3.0 Temporary system problem. Try again later (1)",
    };
    char rules[RULES][96];
    struct slice texts[RULES];
    struct refusals refusals = {0};
    uint64_t matches = 0;
    make_rules(rules, texts);
    double start = seconds();
    struct patterns *patterns = patterns_compile(texts, RULES, note_refusal, &refusals);
    double compiled = seconds();
    assert_non_null(patterns);
    struct patterns_scratch *scratch = patterns_scratch_open(patterns);
    double opened = seconds();
    for (unsigned i = 0; i < RECORDS; i++) {
        char text[128];
        bool confirmed = i % 25 == 0; /* 4 %: a look-ahead has its say */
        unsigned rule = i / 25 % 4 * 10 + 9;
        int size = confirmed ? snprintf(text, sizeof(text), "451 4.3.0 deferred%u", rule)
                             : snprintf(text, sizeof(text), "%s", replies[i % COUNT_OF(replies)]);
        patterns_scan(scratch, slice_make(text, (size_t)size));
        matches += patterns_next(scratch, 0) < RULES;
    }
    double scanned = seconds();
    printf("patterns: %u rules, %u to be confirmed, compiled in %.0f ms, scratch in %.0f us; %.0f "
           "records/s on one core, %llu of %u match\n", RULES, patterns_confirmed(patterns),
           (compiled - start) * 1e3, (opened - compiled) * 1e6, RECORDS / (scanned - opened),
           (unsigned long long)matches, RECORDS);
    assert_int_equal(patterns_confirmed(patterns), RULES / 10);
    assert_in_range(matches, 1, RECORDS / 20);
    patterns_scratch_close(scratch);
    patterns_free(patterns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_match_are_found_in_their_order),
        cmocka_unit_test(a_dot_is_no_end_of_a_line),
        cmocka_unit_test(numbers_beyond_a_word_are_found_too),
        cmocka_unit_test(none_at_all_match_nothing),
        cmocka_unit_test(each_that_is_not_taken_is_told),
        cmocka_unit_test(too_many_and_too_much_are_refused),
        cmocka_unit_test(a_confirmation_has_limits),
        cmocka_unit_test(what_stands_behind_the_limit_is_not_looked_at),
        cmocka_unit_test(the_rate_of_two_hundred_rules_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
