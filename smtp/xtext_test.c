#include "smtp/xtext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void s17_xtext_says_printable_ascii_or_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *bytes; /* null: it is none */
    } rows[] = {
        {"", ""},
        {"QQ314159", "QQ314159"},
        {"a+2Bb+3Dc+20d", "a+b=c d"},
        {"!~", "!~"},
        {"a b", NULL},
        {"a=b", NULL},
        {"a+2bb", NULL},
        {"a+2", NULL},
        {"a+", NULL},
        {"+0D+0A", NULL},
        {"x+00", NULL},
        {"+7F", NULL},
        {"+C3+A9", NULL},
        {"\xC3\xA9", NULL},
        {"\t", NULL},
        {"\x7F", NULL},
        {"123456789", NULL}, /* no room */
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[8];
        struct buf buf;
        buf_init(&buf, memory, sizeof(memory));
        bool good = xtext_decode(slice_from_string(rows[i].text), &buf);
        if (good != (rows[i].bytes != NULL) ||
            !slice_equal(buf_slice(&buf), slice_from_string(good ? rows[i].bytes : ""))) {
            fail_msg("%s: '%.*s'", rows[i].text, (int)buf.size, (const char *)buf.data);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s17_xtext_says_printable_ascii_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
