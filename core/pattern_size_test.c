/* How large patterns are written out, and which ones are refused. */
#include "core/pattern_size.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "core/buf.h"

static void repeats_are_written_out(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t size;
    } cases[] = {
        {"a", 1}, {"abc", 3}, {"a{3}b*", 4}, {"(ab){2}(a|b)", 7}, {"a{2,5}", 5}, {"a{7,}", 8},
        {"(?:a{10}){10}", 100}, {"[a-z]{3}", 3}, {"[]a]{2}", 2}, {"[^]a{9}]{2}", 2},
        {"[[:alpha:]{9}]{2}", 2}, {"\\d{3}", 3}, {"\\x{41}{4}", 4}, {"a{0}", 1}, {"a{,3}", 5},
        {"*", 1}, {"a{x}", 4},
        {"()", 1}, {"(){5}", 5}, {"\\({3}", 3}, {"[\\]{9}]{2}", 2}, {"a+?", 1},
        {"(?<n>ab){2}", 10}, {"(?!a)(?=b)c", 3}, {"\xC3\xA9", 2}, {"(\xC3\xA9)+", 2}, {"^\\bx$", 4},
        {"a{2048}", 2048}, {"((((a{4}){4}){4}){4}){8}", 2048}, {"\\cA{2}", 2},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *why;
        uint32_t size = pattern_size(slice_from_string(cases[i].text), &why);
        if (size != cases[i].size) {
            fail_msg("%s: %u, %s", cases[i].text, size, why);
        }
        assert_null(why);
    }
}

static void what_is_too_large_or_none_of_ours_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *why; /* a part of it */
    } cases[] = {
        {"", "empty"}, {"a{2049}", "written out"}, {"(a{100}){100}", "written out"},
        {"a{99999999999999999999}", "written out"}, {"(((a{9999}){9999}){9999}){9999}", "written"},
        {"(a", "no )"}, {"a)", "no ("}, {"[a", "no ]"}, {"[", "no ]"}, {"a\\", "behind it"},
        {"\\Qa\\E", "\\Q"}, {"(*UTF)a", "verbs"}, {"[\xC3\xA9]", "ASCII"}, {"\xC3\xA9+", "ASCII"},
        {"\xC3\xA9{2}", "ASCII"}, {"((((((((((((((((((((((((((((((((((a", "too deep"},
        {"[a\\", "behind it"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *why;
        assert_int_equal(pattern_size(slice_from_string(cases[i].text), &why), 0);
        if (why == NULL || strstr(why, cases[i].why) == NULL) {
            fail_msg("%s: %s", cases[i].text, why == NULL ? "taken" : why);
        }
    }
    const char *why;
    assert_int_equal(pattern_size(SLICE("a\0b"), &why), 0);
    char longest[PATTERN_BYTES_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(pattern_size(slice_make(longest, PATTERN_BYTES_MAX), &why), 2048);
    assert_int_equal(pattern_size(slice_make(longest, PATTERN_BYTES_MAX + 1), &why), 0);
    assert_non_null(strstr(why, "2,048 bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repeats_are_written_out),
        cmocka_unit_test(what_is_too_large_or_none_of_ours_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
