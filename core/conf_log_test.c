/* What records tell of messages, and which are written. */
#include "core/conf_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/event.h"

static char said[4096];

static bool read_text(void *context, const char *path, struct slice *bytes_out,
                      struct buf *reason_out)
{
    (void)path;
    (void)reason_out;
    *bytes_out = slice_from_string(context);
    return true;
}

static struct conf *load(char *text)
{
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .file = "t.toml", .hostname = SLICE("box.test"), .read = read_text, .read_context = text};
    buf_init(&messages.text, said, sizeof(said) - 1);
    struct conf *conf = conf_load(&input, &messages);
    said[messages.text.size] = 0;
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    return conf;
}

static void names_stand_for_themselves_or_for_all_that_begin_like_them(void **state)
{
    (void)state;
    char text[] = "[log]\nmeta = [\"tenant\", \"x_*\"]\nheaders = [\"Subject\", \"X-*\"]\n";
    struct conf *conf = load(text);
    static const struct {
        const char *name;
        bool meta;
        bool header;
    } cases[] = {
        {"tenant", true, false}, {"tenants", false, false}, {"tenan", false, false},
        {"Tenant", false, false}, {"x_", true, false},      {"x_order", true, false},
        {"X_order", false, false}, {"x", false, false},     {"", false, false},
        {"subject", false, true}, {"SUBJECT", false, true}, {"subject-x", false, false},
        {"x-", false, true},      {"x-a", false, true},     {"X-A", false, true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct slice name = slice_from_string(cases[i].name);
        if (conf_names_have(&conf->log.meta, name) != cases[i].meta ||
            conf_names_have_nocase(&conf->log.headers, name) != cases[i].header) {
            fail_msg("\"%s\"", cases[i].name);
        }
    }
    conf_free(conf);
}

static void nothing_is_listed_and_all_is_written_by_default(void **state)
{
    (void)state;
    char text[] = "";
    struct conf *conf = load(text);
    assert_int_equal(conf->log.meta.count, 0);
    assert_int_equal(conf->log.headers.count, 0);
    assert_int_equal(conf->log.muted, 0);
    conf_free(conf);
}

static void any_is_about_the_types_without_a_table(void **state)
{
    (void)state;
    static char texts[][128] = {
        "[log.per_record.Delivery]\nenable = false\n[log.per_record.Rejection]\n",
        "[log.per_record]\nAny = {enable = false}\nBounce = {enable = true}\nXferIn = {}\n",
        "[log.per_record]\nBounce.enable = false\nAny.enable = true\n",
    };
    const uint32_t muted[] = {1u << EVENT_DELIVERY, ~(1u << EVENT_BOUNCE), 1u << EVENT_BOUNCE};
    for (size_t i = 0; i < COUNT_OF(muted); i++) {
        struct conf *conf = load(texts[i]);
        assert_int_equal(conf->log.muted, muted[i]);
        conf_free(conf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_stand_for_themselves_or_for_all_that_begin_like_them),
        cmocka_unit_test(nothing_is_listed_and_all_is_written_by_default),
        cmocka_unit_test(any_is_about_the_types_without_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
