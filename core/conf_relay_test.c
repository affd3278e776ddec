/* [domains]: blocks, which of them counts, and what is refused. */
#include "core/conf_relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "core/conf_settings.h"
#include "tests/kit/conf_kit.h"

static char said[8192];

static struct conf *load_files(const char *const *files)
{
    return conf_kit_load(files, NULL, 0, said, sizeof(said));
}

static struct conf *load(const char *text)
{
    const char *const files[] = {"t.toml", text, NULL};
    return load_files(files);
}

static struct conf *load_good(const char *text)
{
    struct conf *conf = load(text);
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    return conf;
}

static struct endpoint endpoint_of(const char *text)
{
    struct endpoint endpoint;
    assert_true(endpoint_parse(slice_from_string(text), 0, &endpoint));
    return endpoint;
}

/* "to", "from" for 10.1.0.5, "-" for a block with neither, "" for no block. */
static const char *says(const struct conf *conf, const char *listen, const char *domain)
{
    struct endpoint at = endpoint_of(listen);
    struct endpoint peer = endpoint_of("10.1.0.5:999");
    const struct relay_options *options = conf_relay(conf, &at, slice_from_string(domain));
    if (options == NULL) {
        return "";
    }
    bool from = networks_contain(options->relay_from, options->relay_from_count, &peer);
    return options->relay_to ? from ? "to from" : "to" : from ? "from" : "-";
}

#define A "127.0.0.1:25"
#define B "[::1]:2525"
#define LISTENERS                                                                                  \
    "[[smtp_listener]]\nlisten = \"" A "\"\n[[smtp_listener]]\nlisten = \"" B "\"\n"

static const char all[] =
    LISTENERS
    "[domains.\"in.test\"]\nrelay_to = true\n"
    "[domains.\"*.in.test\"]\nrelay_to = true\nrelay_from = [\"10.1.0.0/16\"]\n"
    "[domains.\"*.no.in.test\"]\nrelay_to = false\nlog_oob = false\nlog_arf = \"Ignore\"\n"
    "[domains.\"OUT.Test\"]\nrelay_from = [\"10.2.0.0/16\", \"10.1.0.0/24\"]\n"
    "[domains.listener.\"" B "\".\"in.test\"]\nrelay_from = [\"10.1.0.5\"]\n"
    "[domains.listener.\"" B "\".\"*.net.test\"]\nrelay_to = true\n"
    "[domains.listener.\"*\".\"star.test\"]\nrelay_to = true\n"
    "[domains.listener.\"" A "\".\"*\"]\n";

static void the_most_specific_block_counts_as_a_whole(void **state)
{
    (void)state;
    static const struct {
        const char *domain;
        const char *at_a;
        const char *at_b;
    } rows[] = {
        {"in.test", "-", "from"},           {"IN.test.", "-", "from"},
        {"x.in.test", "-", "to from"},      {"y.x.in.test", "-", "to from"},
        {"no.in.test", "-", "to from"},     {"a.no.in.test", "-", "-"},
        {"out.test", "-", "from"},          {"a.out.test", "-", ""},
        {"a.net.test", "-", "to"},          {"net.test", "-", ""},
        {"star.test", "-", "to"},           {"else.test", "-", ""},
        {"xin.test", "-", ""},              {"", "-", ""},
        {"test", "-", ""},                  {".in.test", "-", ""},
        {"*.in.test", "-", "to from"},      {"in.test.evil.test", "-", ""},
    };
    struct conf *conf = load_good(all);
    assert_string_equal(said, "");
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        assert_string_equal(says(conf, A, rows[i].domain), rows[i].at_a);
        assert_string_equal(says(conf, B, rows[i].domain), rows[i].at_b);
        if (strcmp(rows[i].domain, "in.test") != 0 && strcmp(rows[i].domain, "IN.test.") != 0 &&
            strcmp(rows[i].domain, "a.net.test") != 0) {
            assert_string_equal(says(conf, "127.0.0.1:2525", rows[i].domain), rows[i].at_b);
        }
    }
    conf_free(conf);
}

static void a_star_covers_everything_else_and_the_empty_sender(void **state)
{
    (void)state;
    struct conf *conf = load_good("[domains.\"*\"]\nrelay_from = [\"10.1.0.0/16\"]\n"
                                  "[domains.\"a.test\"]\n");
    assert_string_equal(said, "");
    assert_string_equal(says(conf, A, ""), "from");
    assert_string_equal(says(conf, A, "b.test"), "from");
    assert_string_equal(says(conf, A, "[192.0.2.1]"), "from");
    assert_string_equal(says(conf, A, "a.test"), "-");
    conf_free(conf);
    conf = load_good("");
    assert_string_equal(says(conf, A, "a.test"), "");
    conf_free(conf);
}

static void files_are_laid_under_the_section(void **state)
{
    (void)state;
    const char *const files[] = {
        "t.toml", "[domains]\nfiles = [\"a.toml\", \"b.toml\"]\n"
                  "[domains.\"c.test\"]\nrelay_to = false\n",
        "a.toml", "[\"a.test\"]\nrelay_to = true\n[\"b.test\"]\nrelay_to = true\n"
                  "[\"c.test\"]\nrelay_to = true\n",
        "b.toml", "[\"*.x.test\"]\nrelay_to = true\n[\"b.test\"]\nrelay_to = false\n"
                  "[listener.\"127.0.0.1:2025\".\"d.test\"]\nrelay_to = true\n", NULL};
    struct conf *conf = load_files(files);
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    assert_string_equal(said, "");
    assert_string_equal(says(conf, A, "a.test"), "to");
    assert_string_equal(says(conf, A, "b.test"), "-");
    assert_string_equal(says(conf, A, "c.test"), "-");
    assert_string_equal(says(conf, A, "y.x.test"), "to");
    assert_string_equal(says(conf, A, "d.test"), "");
    assert_string_equal(says(conf, "127.0.0.1:2025", "d.test"), "to");
    conf_free(conf);
}

#define D "[domains.\"a.test\"]\n"

static void what_makes_no_sense_or_is_not_built_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *error;
    } rows[] = {
        {D "relay_to = \"yes\"\n", "relay_to wants"},
        {D "relay_too = true\n", "is \"relay_to\" meant?"},
        {D "relay_from = \"10.0.0.0/8\"\n", "relay_from wants"},
        {D "relay_from = [\"10.0.0.1/8\"]\n", "without host bits"},
        {D "relay_from = [\"a.test\"]\n", "relay_from wants networks"},
        {D "relay_from_authz = [\"john\"]\n", "relay_from_authz: not built yet"},
        {D "log_arf = \"yes\"\n", "log_arf wants true, false, or one of"},
        {D "log_arf = 1\n", "log_arf wants true, false, or one of"},
        {D "[domains.\"A.test.\"]\n", "has two blocks"},
        {D "[domains.listener.\"*\".\"a.test\"]\n", "has two blocks"},
        {D "x = {}\n", "unknown key \"x\""},
        {"[domains]\nrelay_to = true\n", "unknown key \"relay_to\""},
        {"domains = 1\n", "domains wants"},
        {"[domains.\"a b\"]\n", "\"a b\" is no domain"},
        {"[domains.\"a.*\"]\n", "\"a.*\" is no domain"},
        {"[domains]\nlistener = 1\n", "listener wants"},
        {"[domains.listener]\n\"127.0.0.1:25\" = 1\n", "127.0.0.1:25 wants"},
        {"[domains.listener.\"127.0.0.1\".\"a.test\"]\n", "is no ADDRESS:PORT"},
        {"[domains.listener.\"[::1]:25\".\"a.test\"]\n"
         "[domains.listener.\"[0::1]:25\".\"b.test\"]\n", "has blocks already"},
        {"[domains]\nfiles = [\"none.toml\"]\n", "cannot read none.toml"},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct conf *conf = load(rows[i].text);
        if (conf != NULL || strstr(said, rows[i].error) == NULL) {
            fail_msg("%s%s", rows[i].text, said);
        }
    }
}

static void reports_are_ignored_relayed_or_dropped(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum conf_report report;
    } rows[] = {
        {"true", CONF_REPORT_RELAY},
        {"false", CONF_REPORT_IGNORE},
        {"\"Ignore\"", CONF_REPORT_IGNORE},
        {"\"LogThenRelay\"", CONF_REPORT_RELAY},
        {"\"LogThenDrop\"", CONF_REPORT_DROP},
    };
    struct endpoint at = endpoint_of(A);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[256];
        snprintf(text, sizeof(text), D "log_oob = %s\n[domains.\"b.test\"]\nlog_arf = %s\n",
                 rows[i].value, rows[i].value);
        struct conf *conf = load_good(text);
        const struct relay_options *a = conf_relay(conf, &at, SLICE("a.test"));
        const struct relay_options *b = conf_relay(conf, &at, SLICE("b.test"));
        assert_int_equal(a->log_oob, rows[i].report);
        assert_int_equal(a->log_arf, CONF_REPORT_IGNORE);
        assert_int_equal(b->log_oob, CONF_REPORT_IGNORE);
        assert_int_equal(b->log_arf, rows[i].report);
        assert_int_equal(conf->relay.logs_reports, rows[i].report != CONF_REPORT_IGNORE);
        conf_free(conf);
    }
}

static void an_open_door_and_a_listener_that_is_none_are_noted(void **state)
{
    (void)state;
    conf_free(load_good("[domains.\"*\"]\nrelay_to = true\n"));
    assert_non_null(strstr(said, "t.toml:1:"));
    assert_non_null(strstr(said, "anybody who can connect may send"));
    conf_free(load_good("[domains.\"*\"]\nlog_arf = true\n"));
    assert_non_null(strstr(said, "anybody who can connect may send reports"));
    conf_free(load_good("[domains.\"*\"]\nlog_arf = \"LogThenDrop\"\n"));
    assert_string_equal(said, "");
    conf_free(load_good("[domains.listener.\"127.0.0.9:25\".\"*\"]\nrelay_from = []\n"));
    assert_non_null(strstr(said, "no [[smtp_listener]] listens on \"127.0.0.9:25\""));
}

static void too_many_listeners_are_refused(void **state)
{
    (void)state;
    static char text[8192];
    int size = 0;
    for (unsigned i = 1; i <= 65; i++) {
        size += snprintf(text + size, sizeof(text) - (size_t)size,
                         "[domains.listener.\"127.0.0.1:%u\".\"a.test\"]\n", i);
    }
    assert_null(load(text));
    assert_non_null(strstr(said, "at most 64 listeners"));
}

/* A listener that goes stays until a restart, and with it what keeps strangers out there. */
static void a_listener_that_is_moved_keeps_its_blocks(void **state)
{
    (void)state;
    static const char open[] = "[domains.\"in.test\"]\nrelay_to = true\n";
    static const char here[] = LISTENERS "[domains.listener.\"" A "\".\"*\"]\n"
                                         "[domains.listener.\"" A "\".\"own.test\"]\n"
                                         "relay_from = [\"10.1.0.0/16\"]\n"
                                         "[domains.listener.\"" B "\".\"*\"]\n";
    static const char moved[] =
        "[[smtp_listener]]\nlisten = \"127.0.0.1:26\"\n[[smtp_listener]]\nlisten = \"" B "\"\n"
        "[domains.listener.\"127.0.0.1:26\".\"*\"]\n"
        "[domains.listener.\"" B "\".\"in.test\"]\nrelay_to = true\n";
    char text[1024];
    struct conf *running = load_good(here);
    snprintf(text, sizeof(text), "%s%s", moved, open);
    struct conf *next = load_good(text);
    conf_keep(next, running);
    conf_free(running);
    assert_string_equal(says(next, A, "in.test"), "-");
    assert_string_equal(says(next, A, "own.test"), "from");
    assert_string_equal(says(next, B, "in.test"), "to"); /* it says something else */
    assert_string_equal(says(next, B, "b.test"), "");
    snprintf(text, sizeof(text), "%s%s", LISTENERS, open);
    struct conf *stays = load_good(text);
    running = load_good(here);
    conf_keep(stays, running);
    assert_string_equal(says(stays, A, "in.test"), "to");
    conf_free(running);
    conf_free(stays);
    conf_free(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_specific_block_counts_as_a_whole),
        cmocka_unit_test(a_star_covers_everything_else_and_the_empty_sender),
        cmocka_unit_test(files_are_laid_under_the_section),
        cmocka_unit_test(what_makes_no_sense_or_is_not_built_is_refused),
        cmocka_unit_test(reports_are_ignored_relayed_or_dropped),
        cmocka_unit_test(an_open_door_and_a_listener_that_is_none_are_noted),
        cmocka_unit_test(too_many_listeners_are_refused),
        cmocka_unit_test(a_listener_that_is_moved_keeps_its_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
