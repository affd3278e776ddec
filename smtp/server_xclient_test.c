/* Clients that speak for others (XCLIENT), at the SMTP listeners of a node in the simulator. */
#include "smtp/server_conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/kit/stage.h"

#define STRANGER "XCLIENT ADDR=192.0.2.1 PORT=4567\r\n"
#define TRUSTED  "XCLIENT ADDR=10.0.0.77 PORT=4567 DESTADDR=198.51.100.2 DESTPORT=25\r\n"
#define TRY      "EHLO x.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n"

static struct stage stage;

/* STAGE_CLIENT may speak for others, and may relay itself; 10.0.0.0/24 may relay. */
static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world, "smtp_listener.0.allow_xclient=[\"10.0.0.250\"]");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

/* MAIL is answered, and RCPT with this. */
static void expect_rcpt(struct talk *talk, const char *start)
{
    talk_say(talk, TRY);
    assert_true(stage_hears(talk, "250 "));
    assert_true(stage_hears(talk, "250 "));
    assert_true(stage_hears(talk, start));
}

static bool offers_xclient(struct talk *talk)
{
    bool found = false;
    talk_say(talk, "EHLO c.test\r\n");
    for (;;) {
        const char *line = talk_line(talk);
        assert_non_null(line);
        found = found || strcmp(line, "250-XCLIENT ADDR PORT DESTADDR DESTPORT") == 0;
        if (strncmp(line, "250 ", 4) == 0) {
            return found;
        }
    }
}

static void s37_only_who_may_is_told_of_xclient_and_taken_at_his_word(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
    assert_true(stage_hears(&talk, "220 "));
    assert_true(offers_xclient(&talk));
    talk_close(&talk);
    talk_open(&talk, stage.sim, STAGE_CLIENT + 1, &stage.server);
    assert_true(stage_hears(&talk, "220 "));
    assert_false(offers_xclient(&talk));
    talk_say(&talk, STRANGER);
    assert_true(stage_hears(&talk, "550 5.7.0"));
    expect_rcpt(&talk, "250 "); /* it is who it was */
    talk_close(&talk);
}

static void s37_xclient_begins_anew_for_another_client(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    talk_say(&talk, STRANGER);
    assert_true(stage_hears(&talk, "220 "));
    talk_say(&talk, "MAIL FROM:<a@c.test>\r\n");
    assert_true(stage_hears(&talk, "503 5.5.1")); /* EHLO comes first, again */
    expect_rcpt(&talk, "550 5.7.1");
    talk_say(&talk, "RSET\r\n");
    assert_true(stage_hears(&talk, "250 "));
    talk_say(&talk, TRUSTED); /* and for yet another one */
    assert_true(stage_hears(&talk, "220 "));
    expect_rcpt(&talk, "250 ");
    talk_close(&talk);
}

static void s37_xclient_before_ehlo_is_taken_and_in_a_transaction_not(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
    assert_true(stage_hears(&talk, "220 "));
    talk_say(&talk, TRUSTED TRY);
    assert_true(stage_hears(&talk, "220 "));
    for (unsigned i = 0; i < 3; i++) {
        assert_true(stage_hears(&talk, "250 "));
    }
    talk_say(&talk, STRANGER);
    assert_true(stage_hears(&talk, "503 5.5.1"));
    talk_say(&talk, "RCPT TO:<c@t.test>\r\n");
    assert_true(stage_hears(&talk, "250 "));
    talk_close(&talk);
}

static void s37_attributes_that_are_wrong_change_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "ADDR", "ADDR=", "ADDR=x.test", "ADDR=[UNAVAILABLE]", "ADDR=2001:db8::1",
        "ADDR=IPV6:192.0.2.1", "ADDR=192.0.2.1 ADDR=192.0.2.2", "ADDR=192.0.2.1 PORT=65536",
        "ADDR=192.0.2.1 PORT=0", "ADDR=192.0.2.1 NAME=x.test", "ADDR=192.0.2.1 DESTADDR=x",
        "LOGIN=root", "ADDR=192.0.2.1+20",
    };
    struct talk talk;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        talk_say(&talk, "XCLIENT ");
        talk_say(&talk, texts[i]);
        talk_say(&talk, "\r\n");
        assert_true(stage_hears(&talk, "501 5.5.4"));
    }
    talk_say(&talk, "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n");
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "250 "));
    talk_close(&talk);
}

static void s37_the_other_client_counts_for_the_limit_of_hosts(void **state)
{
    (void)state;
    struct talk talks[3];
    world_set(&stage.world, "smtp_listener.0.max_connections_per_host=1");
    stage_start(&stage);
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        assert_true(stage_begin(&stage, &talks[i], STAGE_CLIENT));
    }
    talk_say(&talks[0], STRANGER);
    assert_true(stage_hears(&talks[0], "220 "));
    talk_say(&talks[1], STRANGER);
    assert_true(stage_hears(&talks[1], "421 4.7.0 Too many connections"));
    assert_true(talk_closed(&talks[1], NS_PER_S));
    talk_say(&talks[0], TRUSTED); /* the stranger's place is free again */
    assert_true(stage_hears(&talks[0], "220 "));
    talk_say(&talks[2], STRANGER);
    assert_true(stage_hears(&talks[2], "220 "));
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        talk_close(&talks[i]);
    }
}

static void s37_records_have_both_addresses(void **state)
{
    (void)state;
    struct talk talk;
    unsigned found = 0;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    talk_say(&talk, STRANGER);
    assert_true(stage_hears(&talk, "220 "));
    expect_rcpt(&talk, "550 5.7.1");
    talk_close(&talk);
    assert_true(sim_run_for(stage.sim, 3 * NS_PER_S));
    char *log = world_log(&stage.world);
    for (char *line = log, *end = strchr(log, '\n'); end != NULL; end = strchr(line, '\n')) {
        *end = '\0';
        found += strstr(line, "\"type\":\"Rejection\"") != NULL &&
                 strstr(line, "\"addr\":\"192.0.2.1\"") != NULL &&
                 strstr(line, "\"orig_received_from\":\"10.0.0.250:") != NULL;
        line = end + 1;
    }
    free(log);
    assert_int_equal(found, 1);
}

static void s37_who_a_proxy_says_it_is_may_speak_for_others(void **state)
{
    (void)state;
    struct talk talk;
    world_set(&stage.world, "smtp_listener.0.require_proxy_protocol=[\"10.0.0.250\"]");
    world_set(&stage.world, "smtp_listener.0.allow_xclient=[\"192.0.2.9\"]");
    stage_start(&stage);
    talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
    talk_say(&talk, "PROXY TCP4 192.0.2.9 198.51.100.2 1 25\r\n");
    assert_true(stage_hears(&talk, "220 "));
    assert_true(offers_xclient(&talk));
    talk_say(&talk, TRUSTED);
    assert_true(stage_hears(&talk, "220 "));
    expect_rcpt(&talk, "250 ");
    talk_close(&talk);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(s37_only_who_may_is_told_of_xclient_and_taken_at_his_word),
        TEST(s37_xclient_begins_anew_for_another_client),
        TEST(s37_xclient_before_ehlo_is_taken_and_in_a_transaction_not),
        TEST(s37_attributes_that_are_wrong_change_nothing),
        TEST(s37_the_other_client_counts_for_the_limit_of_hosts),
        TEST(s37_records_have_both_addresses),
        TEST(s37_who_a_proxy_says_it_is_may_speak_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
