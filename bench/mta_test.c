#include "bench/mta.h"

#include <math.h>
#include <string.h>

#include "bench/args.h"
#include "bench/domains.h"
#include "bench/script.h"
#include "core/toml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void values_are_read_from_a_line_by_their_whole_key(void **state)
{
    (void)state;
    static const char line[] =
        "event=stopped turns=12 commits=345 commit_records=6 commit_ms=0.5 text=x";
    assert_float_equal(line_number(line, "commits"), 345, 0);
    assert_float_equal(line_number(line, "commit_records"), 6, 0);
    assert_float_equal(line_number(line, "commit_ms"), 0.5, 0);
    assert_true(isnan(line_number(line, "commit")));
    assert_true(isnan(line_number(line, "ommits")));
    assert_true(isnan(line_number(line, "text")));
    assert_true(isnan(line_number(line, "mallocs")));
}

static void allocations_come_from_the_line_of_a_build_that_counts(void **state)
{
    (void)state;
    struct mta mta = {.stopped = "event=stopped shards=9 enters=500 commits=10 sync=commit",
                      .mallocs = "event=mallocs shards=300"};
    struct run run;
    run_init(&run);
    mta_figures(&mta, 100, &run);
    assert_float_equal(run.enters_per_message, 5, 0);
    assert_true(isfinite(run.mallocs)); /* to cmocka NAN equals everything */
    assert_float_equal(run.mallocs, 300, 0);
    assert_float_equal(run.mallocs_per_message, 3, 0);
    mta.mallocs[0] = 0;
    mta_figures(&mta, 100, &run);
    assert_true(isnan(run.mallocs_per_message));
}

static void the_configuration_is_toml_with_ports_and_limits(void **state)
{
    (void)state;
    struct mta_options options = {.sink_port = 2626, .connections = 50, .shards = 2,
                                  .segment_mib = 16, .congestion = "cubic"};
    char text[2048];
    struct buf buf;
    buf_init(&buf, text, sizeof(text) - 1);
    assert_true(mta_put_configuration(&options, &buf));
    text[buf.size] = 0;
    assert_non_null(strstr(text, "mx_list = [\"[127.0.0.1]:2626\"]"));
    assert_non_null(strstr(text, "connection_limit = 50\n"));
    assert_non_null(strstr(text, "shards = 2\n"));
    assert_non_null(strstr(text, "segment_size = \"16MiB\"\n"));
    assert_non_null(strstr(text, "congestion_control = \"cubic\"\n"));
    assert_null(strstr(text, "retry_interval"));
    struct toml_error error;
    struct toml_tree *tree = toml_parse(buf_slice(&buf), &error);
    assert_non_null(tree);
    toml_free(tree);
    options.congestion = "";
    options.retry_s = 86400;
    buf_reset(&buf);
    assert_true(mta_put_configuration(&options, &buf));
    text[buf.size] = 0;
    assert_null(strstr(text, "congestion_control"));
    assert_non_null(strstr(text, "\nretry_interval = \"86400s\"\n[shaping"));
}

static void names_lead_to_the_sink_by_a_host_of_each_site(void **state)
{
    (void)state;
    struct mta_options options = {.sink_port = 2626, .connections = 5, .shards = 1, .sites = 2,
                                  .segment_mib = 128, .congestion = ""};
    char text[2048];
    uint8_t names[3 * DOMAINS_SITE_BYTES];
    struct buf buf;
    buf_init(&buf, text, sizeof(text) - 1);
    assert_true(mta_put_configuration(&options, &buf));
    text[buf.size] = 0;
    assert_non_null(strstr(text, "*.s1.test. MX 10 mx.s1.test.\nmx.s1.test. A 127.0.0.1\n\"\"\""));
    assert_non_null(strstr(text, "smtp_port = 2626\nprohibited_hosts = []\n[[smtp"));
    assert_null(strstr(text, "mx_list"));
    struct toml_error error;
    struct toml_tree *tree = toml_parse(buf_slice(&buf), &error);
    assert_non_null(tree);
    toml_free(tree);
    buf_init(&buf, names, sizeof(names));
    domains_put_sites(&buf, 3, 2);
    assert_true(slice_equal(buf_slice(&buf), SLICE("d000000.s0.test\nd000001.s1.test\n"
                                                   "d000002.s0.test\n")));
}

static void domains_come_as_often_as_they_weigh(void **state)
{
    (void)state;
    char why[128];
    struct buf reason;
    struct domains domains;
    struct prng prng;
    prng_seed(&prng, 7);
    buf_init(&reason, why, sizeof(why));
    assert_true(domains_read(&domains, SLICE("# two\na.test:9\r\n\nb.test\n"), &reason));
    unsigned a = 0;
    for (unsigned i = 0; i < 10000; i++) {
        a += slice_equal(domains_pick(&domains, &prng), SLICE("a.test"));
    }
    assert_true(a > 8800 && a < 9200);
    domains_fini(&domains);
    static const char *const bad[] = {"", "# none\n", ":3", "a:", "a:x", "a:0"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(domains_read(&domains, slice_from_string(bad[i]), &reason));
    }
}

static void a_million_domains_are_read_and_not_one_more(void **state)
{
    (void)state;
    static char text[2 * DOMAINS_MAX + 1];
    char why[128];
    struct buf reason;
    struct domains domains;
    buf_init(&reason, why, sizeof(why));
    for (size_t i = 0; i < DOMAINS_MAX; i++) {
        memcpy(text + 2 * i, "a\n", 2);
    }
    text[2 * DOMAINS_MAX] = 'b';
    assert_true(domains_read(&domains, slice_make(text, 2 * DOMAINS_MAX), &reason));
    assert_int_equal(domains.count, DOMAINS_MAX);
    domains_fini(&domains);
    assert_false(domains_read(&domains, slice_make(text, sizeof(text)), &reason));
    assert_true(slice_equal(buf_slice(&reason), SLICE("domains: more than 1000000 lines")));
}

static void mail_that_stays_goes_to_numbered_domains_that_one_rule_refuses(void **state)
{
    (void)state;
    char text[5 * DOMAINS_LATER_BYTES];
    char why[128];
    struct buf buf;
    struct buf reason;
    struct domains domains;
    struct script script;
    struct prng prng;
    prng_seed(&prng, 7);
    buf_init(&reason, why, sizeof(why));
    buf_init(&buf, text, sizeof(text));
    domains_put_later(&buf, 5, 1000);
    assert_false(buf.overflow);
    assert_true(domains_read(&domains, buf_slice(&buf), &reason));
    assert_true(script_read(&script, SLICE(DOMAINS_LATER_RULE), &reason));
    assert_int_equal(domains.count, 5);
    assert_true(slice_equal(domains.names[4], SLICE("q000004.g04.later.test")));
    assert_int_equal(domains.weight_end[4], 5000);
    assert_non_null(script_match(&script, STAGE_RCPT, SLICE("r1@q000004.g04.later.test"), &prng));
    assert_null(script_match(&script, STAGE_RCPT, SLICE("r1@sink.test"), &prng));
    assert_null(script_match(&script, STAGE_DOT, SLICE("r1@q000004.g04.later.test"), &prng));
    domains_fini(&domains);
    script_fini(&script);
}

static void options_are_read_in_both_forms_and_wrong_ones_are_named(void **state)
{
    (void)state;
    uint64_t number = 0;
    uint64_t percent = 0;
    const char *text = NULL;
    bool flag = false;
    const struct arg table[] = {
        arg_u64("--n", &number, 10, 200000, "N"),
        arg_percent("--p", &percent, "P%"),
        arg_text("--t", &text, "TEXT"),
        arg_flag("--f", &flag, ""),
    };
    char why[128];
    struct buf reason;
    buf_init(&reason, why, sizeof(why) - 1);
    char *good[] = {"--n", "200,000", "--p=0.5%", "--f", "--t", "a=b"};
    assert_true(args_parse(table, COUNT_OF(table), COUNT_OF(good), good, &reason));
    assert_int_equal(number, 200000);
    assert_int_equal(percent, 5);
    assert_string_equal(text, "a=b");
    assert_true(flag);
    char *bad[][2] = {{"--x", "1"}, {"--n", "1x"}, {"--p", "101"}, {"--f", "--n"}, {"n", "1"},
                      {"--n", "9"}, {"--n", "200001"}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        buf_reset(&reason);
        assert_false(args_parse(table, COUNT_OF(table), 2, bad[i], &reason));
        assert_true(reason.size > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_from_a_line_by_their_whole_key),
        cmocka_unit_test(allocations_come_from_the_line_of_a_build_that_counts),
        cmocka_unit_test(the_configuration_is_toml_with_ports_and_limits),
        cmocka_unit_test(names_lead_to_the_sink_by_a_host_of_each_site),
        cmocka_unit_test(domains_come_as_often_as_they_weigh),
        cmocka_unit_test(a_million_domains_are_read_and_not_one_more),
        cmocka_unit_test(mail_that_stays_goes_to_numbered_domains_that_one_rule_refuses),
        cmocka_unit_test(options_are_read_in_both_forms_and_wrong_ones_are_named),
    };
    return cmocka_run_group_tests_name("mta", tests, NULL, NULL);
}
