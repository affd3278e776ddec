/* Connections of clients to a whole node in the simulator: what one hears, and what comes out. */
#include "smtp/server_conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/stage.h"

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

/* --- large bodies ----------------------------------------------------------------------------- */

static void a_large_body_is_spilled_in_pieces_and_comes_out_whole(void **state)
{
    (void)state;
    char *body = stage_body(900 * 1000);
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", body));
    assert_true(stage_expect(&stage, 0, body));
    free(body);
}

static void pieces_of_a_refused_body_are_no_part_of_the_next_message(void **state)
{
    (void)state;
    struct talk talk;
    char *body = stage_body(300 * 1000);
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(stage_envelope(&talk, "b@t.test"));
    talk_say(&talk, body);
    /* The fault, the end, and a new transaction up to its DATA, in one piece. */
    talk_say(&talk, "bare\nline feed\r\n.\r\n"
                    "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\nDATA\r\n");
    assert_true(stage_hears(&talk, "550 5.6.0"));
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "354 "));
    talk_say(&talk, "Subject: small\r\n\r\nsecond\r\n.\r\n");
    assert_true(stage_hears(&talk, "250 2.0.0 OK ids="));
    assert_true(stage_expect(&stage, 0, "Subject: small\r\n\r\nsecond\r\n"));
    talk_close(&talk);
    free(body);
}

/* --- admission -------------------------------------------------------------------------------- */

static void beyond_max_connections_of_the_node_a_client_hears_421_4_3_2(void **state)
{
    (void)state;
    struct talk talks[6];
    unsigned greeted = 0;
    stage.world.shards = 3;
    world_set(&stage.world, "smtp_listener.0.max_connections=4");
    stage_start(&stage);
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        talk_open(&talks[i], stage.sim, STAGE_CLIENT, &stage.server);
        const char *heard = talk_reply(&talks[i]);
        greeted += strncmp(heard, "220 ", 4) == 0;
        if (i >= 4) {
            assert_string_equal(heard, "421 4.3.2 Too many connections");
            assert_true(talk_closed(&talks[i], NS_PER_S));
        }
    }
    assert_int_equal(greeted, 4);
    assert_int_equal(world_counter(&stage.world, COUNTER_rejections), 0);
    talk_close(&talks[0]);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_true(stage_begin(&stage, &talks[0], STAGE_CLIENT)); /* its slot is free again */
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        talk_close(&talks[i]);
    }
}

static void listeners_have_limits_of_their_own(void **state)
{
    (void)state;
    struct talk talks[3];
    struct endpoint second = sim_endpoint(1, 26);
    world_set(&stage.world, "smtp_listener.0.max_connections=1");
    world_set(&stage.world, "smtp_listener.1.listen=10.0.0.1:26");
    world_set(&stage.world, "smtp_listener.1.relay_hosts=[\"10.0.0.0/24\"]");
    world_set(&stage.world, "smtp_listener.1.max_connections=2");
    stage_start(&stage);
    for (unsigned i = 0; i < 2; i++) {
        talk_open(&talks[i], stage.sim, STAGE_CLIENT, &second);
        assert_true(stage_hears(&talks[i], "220 "));
    }
    assert_true(stage_begin(&stage, &talks[2], STAGE_CLIENT));
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        talk_close(&talks[i]);
    }
}

/* --- refusals in the event log ---------------------------------------------------------------- */

/* Rejection records that have both texts. */
static unsigned rejections_logged(const char *text, const char *other)
{
    unsigned count = 0;
    assert_true(sim_run_for(stage.sim, 3 * NS_PER_S)); /* records are written */
    char *log = world_log(&stage.world);
    for (char *line = log, *end = strchr(log, '\n'); end != NULL; end = strchr(line, '\n')) {
        *end = '\0';
        count += strstr(line, "\"type\":\"Rejection\"") != NULL && strstr(line, text) != NULL &&
                 strstr(line, other) != NULL;
        line = end + 1;
    }
    free(log);
    return count;
}

/* --- a spool that fails ----------------------------------------------------------------------- */

/* A whole message on a connection that has said EHLO; what its end is answered with. */
static bool answered_at_the_end(struct talk *talk, const char *start)
{
    if (!stage_envelope(talk, "b@t.test")) {
        return false;
    }
    talk_say(talk, "Subject: x\r\n\r\ntext\r\n.\r\n");
    return stage_hears(talk, start);
}

static void f03_after_a_second_failed_write_in_a_row_clients_hear_421_4_3_0_until_one_succeeds(
    void **state)
{
    (void)state;
    static const char refusal[] = "421 4.3.0 The spool does not accept mail";
    struct talk kept;
    struct talk idle;
    struct talk late;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &kept, STAGE_CLIENT));
    assert_true(stage_begin(&stage, &idle, STAGE_CLIENT));
    assert_true(answered_at_the_end(&idle, "250 2.0.0 OK ids="));
    assert_true(sim_run_for(stage.sim, NS_PER_S)); /* segments are made ahead */
    sim_disk_failing_set(stage.world.disk, true, false, false);
    assert_true(answered_at_the_end(&kept, "451 4.3.0")); /* the first: another segment is tried */
    assert_true(answered_at_the_end(&kept, "451 4.3.0"));
    talk_say(&kept, "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n");
    assert_string_equal(talk_reply(&kept), refusal);
    assert_true(talk_closed(&kept, NS_PER_S));
    talk_open(&late, stage.sim, STAGE_CLIENT, &stage.server);
    assert_string_equal(talk_reply(&late), refusal);
    assert_true(talk_closed(&late, NS_PER_S));
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S)); /* trials fail as well */
    talk_open(&late, stage.sim, STAGE_CLIENT, &stage.server);
    assert_string_equal(talk_reply(&late), refusal);
    assert_int_equal(world_counter(&stage.world, COUNTER_connections_refused), 2);
    /* One for each message that was not stored, for MAIL, and for each connection. */
    assert_int_equal(world_counter(&stage.world, COUNTER_rejections), 2 + 1 + 2);
    sim_disk_failing_set(stage.world.disk, false, false, false);
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    assert_true(answered_at_the_end(&idle, "250 2.0.0 OK ids="));
    assert_true(stage_mail(&stage, "b@t.test", "Subject: y\r\n\r\ntext\r\n"));
    assert_true(talk_sink_wait(&stage.sink, 3, 600 * NS_PER_S));
    assert_int_equal(stage.sink.mails, 3);
    assert_int_equal(rejections_logged("\"code\":421", "\"command\":\"MAIL FROM"), 1);
    assert_int_equal(rejections_logged("\"command\":null", "\"addr\":\"10.0.0.250\""), 2);
    assert_int_equal(rejections_logged("\"code\":451", "\"command\":\"DATA"), 2);
    talk_close(&kept);
    talk_close(&idle);
    talk_close(&late);
}

/* How many of them hear that there is no descriptor; the others hear nothing for a while. */
static unsigned turned_away(struct talk *talks, unsigned count)
{
    unsigned told = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *heard = talk_line_within(&talks[i], NS_PER_S);
        if (heard != NULL && strcmp(heard, "421 4.3.2 Too many open files") == 0) {
            told++;
            assert_true(talk_closed(&talks[i], NS_PER_S));
            talk_close(&talks[i]);
            talks[i].peer = NULL;
        }
    }
    return told;
}

/* The spare one is lost to others after a while: then clients wait. */
static void f23_without_descriptors_clients_hear_421_4_3_2_and_sessions_go_on(void **state)
{
    (void)state;
    struct talk open;
    struct talk talks[60]; /* one in ten of those who are told loses it */
    stage_start(&stage);
    assert_true(stage_begin(&stage, &open, STAGE_CLIENT));
    for (unsigned round = 0; round < 2; round++) {
        sim_fault_set(stage.sim, SIM_FAULT_no_descriptors, 1000);
        for (unsigned i = 0; i < COUNT_OF(talks); i++) {
            talk_open(&talks[i], stage.sim, STAGE_CLIENT, &stage.server);
        }
        unsigned told = turned_away(talks, COUNT_OF(talks));
        assert_in_range(told, 1, COUNT_OF(talks) - 1);
        talk_say(&open, "NOOP\r\n");
        assert_true(stage_hears(&open, "250 "));
        sim_fault_set(stage.sim, SIM_FAULT_no_descriptors, 0);
        for (unsigned i = 0; i < COUNT_OF(talks); i++) {
            if (talks[i].peer != NULL) {
                assert_true(stage_hears(&talks[i], "220 "));
                talk_close(&talks[i]);
            }
        }
    }
    talk_close(&open);
}

static void f23_accepting_rests_between_tries(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    sim_fault_set(stage.sim, SIM_FAULT_no_descriptors, 1000);
    uint64_t before = sim_fault_count(stage.sim, SIM_FAULT_no_descriptors);
    for (unsigned i = 0; i < 40; i++) {
        talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
        assert_true(sim_run_for(stage.sim, NS_PER_S));
        talk_close(&talk);
    }
    /* Ten times a second for one listener, some questions each time. */
    uint64_t asked = sim_fault_count(stage.sim, SIM_FAULT_no_descriptors) - before;
    assert_in_range(asked, 40, 40 * 10 * 4);
    sim_fault_set(stage.sim, SIM_FAULT_no_descriptors, 0);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
}

/* --- who speaks first ------------------------------------------------------------------------- */

static void s05_a_stranger_who_speaks_before_the_banner_is_sent_away(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    talk_open(&talk, stage.sim, STAGE_STRANGER, &stage.server);
    talk_say(&talk, "EHLO c.test\r\n");
    assert_true(stage_hears(&talk, "554 5.5.1"));
    assert_true(talk_closed(&talk, NS_PER_S));
    assert_int_equal(rejections_logged("\"code\":554", "\"addr\":\"10.0.7.1\""), 1);
    talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
    talk_say(&talk, "EHLO c.test\r\n");
    assert_true(stage_hears(&talk, "220 "));
    assert_true(stage_hears(&talk, "250 "));
    talk_close(&talk);
}

static void a_stranger_may_not_relay(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_STRANGER));
    talk_say(&talk, "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n");
    assert_true(stage_hears(&talk, "250 "));
    assert_true(stage_hears(&talk, "550 5.7.1"));
    talk_close(&talk);
}

/* --- replies and time ------------------------------------------------------------------------- */

#define DIALOGUE                                                                                   \
    "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\nRCPT TO:<b@nowhere.test>\r\n"    \
    "DATA\r\nSubject: x\r\n\r\nfirst\r\n.\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<b@t.test>\r\n"      \
    "BDAT 4\r\nX: yBDAT 4 LAST\r\n\r\n\r\nQUIT\r\n"

/* All that the server says, with the ids cut out; up to its close. */
static void hear_all(struct talk *talk, char *text, size_t capacity)
{
    size_t at = 0;
    const char *line;
    while ((line = talk_line(talk)) != NULL) {
        const char *ids = strstr(line, "ids=");
        int size = ids != NULL ? (int)(ids - line) : (int)strlen(line);
        at += (size_t)snprintf(text + at, capacity - at, "%.*s\n", size, line);
        assert_true(at < capacity);
    }
}

/* However the bytes come, and whatever waits behind a message being stored. */
static void replies_are_the_same_however_the_input_is_cut(void **state)
{
    (void)state;
    char whole[4096];
    char cut[4096];
    struct talk talk;
    struct slice all = SLICE(DIALOGUE);
    stage_start(&stage);
    talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
    talk_say_bytes(&talk, all);
    hear_all(&talk, whole, sizeof(whole));
    assert_non_null(strstr(whole, "\n221 "));
    for (unsigned round = 0; round < 20; round++) {
        struct slice rest = all;
        size_t most = round == 0 ? 1 : 40;
        talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
        while (rest.size > 0) {
            size_t size = 1 + sim_below(stage.sim, most);
            size = MIN_OF(size, rest.size);
            talk_say_bytes(&talk, slice_first(rest, size));
            rest = slice_skip(rest, size);
            assert_true(sim_run_for(stage.sim, sim_below(stage.sim, NS_PER_MS)));
        }
        hear_all(&talk, cut, sizeof(cut));
        assert_string_equal(cut, whole);
    }
    assert_true(talk_sink_wait(&stage.sink, 42, 600 * NS_PER_S));
}

static void a_client_gone_before_its_250_has_sent_its_message_all_the_same(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    sim_disk_latency_set(stage.world.disk, 200 * NS_PER_MS);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(stage_envelope(&talk, "b@t.test"));
    talk_say(&talk, "Subject: x\r\n\r\ntext\r\n.\r\n");
    assert_true(sim_run_for(stage.sim, 50 * NS_PER_MS));
    assert_int_equal(intake_open(&stage.world.node.mtas[0].intake), 1);
    sim_peer_reset(talk.peer);
    assert_true(stage_expect(&stage, 0, "Subject: x\r\n\r\ntext\r\n"));
}

static void a_silent_client_hears_421_4_4_2_after_client_timeout(void **state)
{
    (void)state;
    struct talk talk;
    world_set(&stage.world, "smtp_listener.0.client_timeout=20s");
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_null(talk_line_within(&talk, 19 * NS_PER_S));
    assert_true(stage_hears(&talk, "421 4.4.2"));
    assert_true(talk_closed(&talk, NS_PER_S));
    /* In the middle of content it is the same, and nothing of it is kept. */
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(stage_envelope(&talk, "b@t.test"));
    talk_say(&talk, "Subject: half");
    assert_true(stage_hears(&talk, "421 4.4.2"));
    assert_true(talk_closed(&talk, NS_PER_S));
    assert_int_equal(world_rows(&stage.world), 0);
    assert_int_equal(block_pool_used(stage.world.node.mtas[0].blocks), 0);
}

static void at_a_stop_idle_clients_hear_421_4_3_2_and_content_begun_is_taken(void **state)
{
    (void)state;
    struct talk idle;
    struct talk busy;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &idle, STAGE_CLIENT));
    assert_true(stage_begin(&stage, &busy, STAGE_CLIENT));
    assert_true(stage_envelope(&busy, "b@t.test"));
    talk_say(&busy, "Subject: x\r\n");
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    node_stop(&stage.world.node, 1);
    assert_true(stage_hears(&idle, "421 4.3.2"));
    assert_true(talk_closed(&idle, NS_PER_S));
    talk_say(&busy, "\r\ntext\r\n.\r\n");
    assert_true(stage_hears(&busy, "250 2.0.0 OK ids="));
    assert_true(stage_hears(&busy, "421 4.3.2"));
    assert_true(talk_closed(&busy, NS_PER_S));
}

/* --- what an idle connection costs ------------------------------------------------------------ */

#define IDLE_CONNECTION_BYTES_MAX 4096

static uint64_t connections_memory(void)
{
    const struct mta *mta = &stage.world.node.mtas[0];
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    return mta->shard.memory.used[ACCOUNT_CONNECTIONS];
}

/* Whatever it has been through; half a command, though, has to be kept. */
static void an_idle_connection_costs_4_kib_at_most(void **state)
{
    (void)state;
    static const struct {
        const char *say;
        const char *hears;
        bool idle;
    } steps[] = {
        {"", "220 ", true},
        {"EHLO c.test\r\n", "250 ", true},
        {"MAIL FR", NULL, false},
        {"OM:<a@c.test>\r\n", "250 ", true},
        {"RCPT TO:<b@t.test>\r\nDATA\r\n", "250 ", true},
        {"Subject: x\r\n\r\nbare\nline feed\r\n.\r\n", "354 ", true},
        {"NOOP\r\nNO", "550 5.6.0", false},
        {"OP\r\n", "250 ", true},
    };
    struct talk talk;
    stage_start(&stage);
    uint64_t before = connections_memory();
    talk_open(&talk, stage.sim, STAGE_CLIENT, &stage.server);
    for (unsigned i = 0; i < COUNT_OF(steps); i++) {
        talk_say(&talk, steps[i].say);
        assert_true(steps[i].hears == NULL || stage_hears(&talk, steps[i].hears));
        uint64_t more = connections_memory() - before;
        assert_true(more > sizeof(struct server_conn));
        assert_true(steps[i].idle == (more <= IDLE_CONNECTION_BYTES_MAX));
    }
    talk_close(&talk);
    assert_int_equal(connections_memory(), before);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(beyond_max_connections_of_the_node_a_client_hears_421_4_3_2),
        TEST(listeners_have_limits_of_their_own),
        TEST(f03_after_a_second_failed_write_in_a_row_clients_hear_421_4_3_0_until_one_succeeds),
        TEST(f23_without_descriptors_clients_hear_421_4_3_2_and_sessions_go_on),
        TEST(f23_accepting_rests_between_tries),
        TEST(s05_a_stranger_who_speaks_before_the_banner_is_sent_away),
        TEST(a_stranger_may_not_relay),
        TEST(replies_are_the_same_however_the_input_is_cut),
        TEST(a_client_gone_before_its_250_has_sent_its_message_all_the_same),
        TEST(a_silent_client_hears_421_4_4_2_after_client_timeout),
        TEST(at_a_stop_idle_clients_hear_421_4_3_2_and_content_begun_is_taken),
        TEST(a_large_body_is_spilled_in_pieces_and_comes_out_whole),
        TEST(pieces_of_a_refused_body_are_no_part_of_the_next_message),
        TEST(an_idle_connection_costs_4_kib_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
