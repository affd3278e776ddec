/* Clients of which a proxy says who they are: the PROXY protocol at the SMTP listeners of a node in
 * the simulator. */
#include "smtp/server_conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/stage.h"

#define STRANGER "PROXY TCP4 192.0.2.1 198.51.100.2 4567 25\r\n"
#define TRUSTED  "PROXY TCP4 10.0.0.77 198.51.100.2 4567 25\r\n"

static struct stage stage;

/* 10.0.0.0/24 are proxies, and hosts that may relay. */
static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world, "smtp_listener.0.require_proxy_protocol=[\"10.0.0.0/24\"]");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static void open_with(struct talk *talk, const char *header)
{
    talk_open(talk, stage.sim, STAGE_CLIENT, &stage.server);
    talk_say(talk, header);
}

static uint64_t refused(void)
{
    return world_counter(&stage.world, COUNTER_refused_proxy);
}

/* How many lines of the event log have all of these texts. */
static unsigned lines_logged(const char *type, const char *text, const char *other)
{
    unsigned count = 0;
    assert_true(sim_run_for(stage.sim, 3 * NS_PER_S));
    char *log = world_log(&stage.world);
    for (char *line = log, *end = strchr(log, '\n'); end != NULL; end = strchr(line, '\n')) {
        *end = '\0';
        count += strstr(line, type) != NULL && strstr(line, text) != NULL &&
                 strstr(line, other) != NULL;
        line = end + 1;
    }
    free(log);
    return count;
}

static void p01_a_header_that_nobody_asked_for_is_junk(void **state)
{
    (void)state;
    struct talk talk;
    world_set(&stage.world, "smtp_listener.0.require_proxy_protocol=[]");
    stage_start(&stage);
    open_with(&talk, TRUSTED);
    assert_true(stage_hears(&talk, "220 "));
    assert_true(stage_hears(&talk, "500 5.5.2"));
    talk_close(&talk);
    talk_open(&talk, stage.sim, STAGE_STRANGER, &stage.server);
    talk_say(&talk, TRUSTED);
    assert_true(stage_hears(&talk, "554 5.5.1"));
    assert_true(talk_closed(&talk, NS_PER_S));
    talk_close(&talk);
}

static void p02_who_is_no_proxy_may_send_no_header(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    talk_open(&talk, stage.sim, STAGE_STRANGER, &stage.server);
    assert_true(stage_hears(&talk, "220 "));
    talk_say(&talk, TRUSTED);
    assert_true(stage_hears(&talk, "500 5.5.2"));
    talk_say(&talk, "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n");
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "550 5.7.1"));
    talk_close(&talk);
}

static void p02_a_proxy_without_a_header_is_closed_and_hears_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"EHLO c.test\r\n", "\r\n\r\n\r\n", "PROXY UNKNOWN\n",
                                        "PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\n", "Q"};
    struct talk talk;
    stage_start(&stage);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        open_with(&talk, texts[i]);
        assert_true(talk_closed(&talk, NS_PER_S));
        talk_close(&talk);
        assert_int_equal(refused(), i + 1);
    }
    assert_int_equal(world_counter(&stage.world, COUNTER_rejections), 0);
}

static void p02_a_header_that_does_not_come_in_5_seconds_comes_too_late(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "PROXY TCP4 192.0.2.1 198.51.100.2 4567 25\r"};
    struct talk talk;
    stage_start(&stage);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        open_with(&talk, texts[i]);
        assert_false(talk_closed(&talk, 4900 * NS_PER_MS));
        assert_true(talk_closed(&talk, 200 * NS_PER_MS));
        talk_close(&talk);
        assert_int_equal(refused(), i + 1);
    }
}

static void p02_a_proxy_that_goes_without_a_header_leaves_nothing(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    const uint64_t *used = &stage.world.node.mtas[0].shard.memory.used[ACCOUNT_CONNECTIONS];
    uint64_t before = *used;
    open_with(&talk, "PROXY ");
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_true(*used > before);
    talk_close(&talk);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(*used, before);
}

static void p03_a_header_in_single_bytes_is_one(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
    for (const char *at = TRUSTED; *at != 0; at++) {
        talk_say_bytes(&talk, slice_make(at, 1));
        assert_true(sim_run_for(stage.sim, NS_PER_MS));
    }
    assert_true(stage_hears(&talk, "220 "));
    talk_close(&talk);
}

static void p04_a_local_header_leaves_the_address_as_it_is(void **state)
{
    (void)state;
    static const uint8_t local[] = {'\r', '\n', '\r', '\n', 0,    '\r', '\n', 'Q',
                                    'U',  'I',  'T',  '\n', 0x20, 0,    0,    0};
    struct talk talk;
    stage_start(&stage);
    talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
    talk_say_bytes(&talk, slice_make(local, sizeof(local)));
    assert_true(stage_hears(&talk, "220 "));
    talk_say(&talk, "EHLO c.test\r\n");
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_envelope(&talk, "b@t.test")); /* the proxy is of relay_hosts itself */
    talk_close(&talk);
}

static void p05_what_follows_the_header_is_the_clients(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    open_with(&talk, TRUSTED "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.t");
    assert_true(stage_hears(&talk, "220 "));
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "250 "));
    talk_say(&talk, "est>\r\n");
    assert_true(stage_hears(&talk, "250 "));
    talk_close(&talk);
    open_with(&talk, STRANGER "EHLO c.test\r\n"); /* talks before the banner */
    assert_true(stage_hears(&talk, "554 5.5.1"));
    talk_close(&talk);
}

static void p05_a_second_header_is_junk(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    open_with(&talk, TRUSTED STRANGER);
    assert_true(stage_hears(&talk, "220 "));
    assert_true(stage_hears(&talk, "500 5.5.2"));
    talk_close(&talk);
}

static void p07_the_address_of_the_header_decides_who_may_relay(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        const char *hears;
    } rows[] = {{STRANGER, "550 5.7.1"}, {TRUSTED, "250 "}};
    struct talk talk;
    stage_start(&stage);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        open_with(&talk, rows[i].header);
        assert_true(stage_hears(&talk, "220 "));
        talk_say(&talk, "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n");
        assert_true(stage_hears(&talk, "250 "));
        assert_true(stage_hears(&talk, "250 "));
        assert_true(stage_hears(&talk, rows[i].hears));
        talk_close(&talk);
    }
}

static void p07_the_address_of_the_header_counts_for_the_limit_of_hosts(void **state)
{
    (void)state;
    struct talk talks[4];
    world_set(&stage.world, "smtp_listener.0.max_connections_per_host=2");
    stage_start(&stage);
    for (unsigned i = 0; i < 3; i++) {
        open_with(&talks[i], STRANGER);
        assert_true(stage_hears(&talks[i], i < 2 ? "220 " : "421 4.7.0 Too many connections"));
    }
    open_with(&talks[3], "PROXY TCP4 192.0.2.2 198.51.100.2 1 25\r\n"); /* of the same proxy */
    assert_true(stage_hears(&talks[3], "220 "));
    talk_close(&talks[3]);
    talk_close(&talks[0]);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    open_with(&talks[3], STRANGER);
    assert_true(stage_hears(&talks[3], "220 "));
    for (unsigned i = 1; i < COUNT_OF(talks); i++) {
        talk_close(&talks[i]);
    }
}

static void p07_both_addresses_are_logged(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    open_with(&talk, TRUSTED);
    assert_true(stage_hears(&talk, "220 "));
    talk_say(&talk, "EHLO c.test\r\n");
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_envelope(&talk, "b@t.test"));
    talk_say(&talk, "Subject: x\r\n\r\ntext\r\n.\r\n");
    assert_true(stage_hears(&talk, "250 "));
    talk_close(&talk);
    open_with(&talk, STRANGER);
    assert_true(stage_hears(&talk, "220 "));
    talk_say(&talk, "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n");
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "550 5.7.1"));
    talk_close(&talk);
    static const char *const origin = "\"meta\":{\"orig_received_from\":\"10.0.0.250:";
    assert_int_equal(lines_logged("\"type\":\"Reception\"", "\"addr\":\"10.0.0.77\"", origin), 1);
    assert_int_equal(lines_logged("\"type\":\"Rejection\"", "\"addr\":\"192.0.2.1\"", origin), 1);
}

static void a_proxy_at_a_stop_hears_421(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    open_with(&talk, "PROXY TCP4 ");
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    node_stop(&stage.world.node, 1);
    assert_true(stage_hears(&talk, "421 4.3.2"));
    talk_close(&talk);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(p01_a_header_that_nobody_asked_for_is_junk),
        TEST(p02_who_is_no_proxy_may_send_no_header),
        TEST(p02_a_proxy_without_a_header_is_closed_and_hears_nothing),
        TEST(p02_a_header_that_does_not_come_in_5_seconds_comes_too_late),
        TEST(p02_a_proxy_that_goes_without_a_header_leaves_nothing),
        TEST(p03_a_header_in_single_bytes_is_one),
        TEST(p04_a_local_header_leaves_the_address_as_it_is),
        TEST(p05_what_follows_the_header_is_the_clients),
        TEST(p05_a_second_header_is_junk),
        TEST(p07_the_address_of_the_header_decides_who_may_relay),
        TEST(p07_the_address_of_the_header_counts_for_the_limit_of_hosts),
        TEST(p07_both_addresses_are_logged),
        TEST(a_proxy_at_a_stop_hears_421),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
