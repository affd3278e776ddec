/* Reports that come as mail to a node in the simulator: what is answered, told and relayed. */
#include "smtp/server_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/envelope.h"
#include "smtp/reference.h"
#include "tests/kit/stage.h"

#define FAILURE                                                                                    \
    "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"              \
    "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.far.test\r\n\r\n"  \
    "Final-Recipient: rfc822; gone@far.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"
#define COMPLAINT                                                                                  \
    "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n"              \
    "--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n"                 \
    "User-Agent: x/1\r\nVersion: 1\r\n"
#define SUCCESS                                                                                    \
    "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"              \
    "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.far.test\r\n\r\n"  \
    "Final-Recipient: rfc822; gone@far.test\r\nAction: delivered\r\nStatus: 2.0.0\r\n"
#define PLAIN "Subject: x\r\n\r\nno report\r\n"
#define END   "--b--\r\n"
#define A64   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define FOLD  A64 A64 A64 A64 "\r\n "
/* More than the first block of a body has. */
#define LONG  FOLD FOLD FOLD FOLD FOLD FOLD FOLD FOLD FOLD FOLD FOLD FOLD "a"

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    /* t.test is where the sink is. */
    world_set(&stage.world, "domains.\"t.test\"={log_oob=\"LogThenRelay\",log_arf=true}");
    world_set(&stage.world, "domains.\"drop.test\"={log_oob=\"LogThenDrop\"}");
    world_set(&stage.world, "domains.\"x.t.test\"={relay_to=true,log_arf=\"LogThenDrop\"}");
    world_set(&stage.world,
              "queues.queue.\"x.t.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static void say(struct talk *talk, const char *line, const char *reply)
{
    talk_say(talk, line);
    assert_true(stage_hears(talk, reply));
}

/* Up to the content; recipients apart by spaces. */
static void envelope(struct talk *talk, unsigned host, const char *recipients)
{
    char line[128];
    assert_true(stage_begin(&stage, talk, host));
    say(talk, "MAIL FROM:<>\r\n", "250 ");
    for (const char *at = recipients; *at != '\0';) {
        size_t size = strcspn(at, " ");
        snprintf(line, sizeof(line), "RCPT TO:<%.*s>\r\n", (int)size, at);
        say(talk, line, "250 ");
        at += size + (at[size] == ' ');
    }
    say(talk, "DATA\r\n", "354 ");
}

static const char *send(unsigned host, const char *recipients, const char *content)
{
    static char heard[256];
    struct talk talk;
    envelope(&talk, host, recipients);
    talk_say(&talk, content);
    talk_say(&talk, ".\r\n");
    snprintf(heard, sizeof(heard), "%s", talk_reply(&talk));
    talk_close(&talk);
    return heard;
}

static void recipients_of_each_domain_are_ruled_by_it(void **state)
{
    (void)state;
    static const struct {
        unsigned host;
        const char *recipients;
        const char *content;
        const char *reply;
        const char *end; /* of it */
        unsigned failures;
        unsigned complaints;
        unsigned relayed;
    } rows[] = {
        {STAGE_STRANGER, "a@drop.test", FAILURE END, "250 2.0.0 OK ids=", "count=1", 1, 0, 0},
        {STAGE_STRANGER, "a@drop.test", COMPLAINT END, "550 5.7.1", "", 0, 0, 0},
        {STAGE_STRANGER, "a@drop.test", PLAIN, "550 5.7.1", "", 0, 0, 0},
        {STAGE_STRANGER, "a@drop.test", SUCCESS END, "250 2.0.0 OK ids=", "count=1", 0, 0, 0},
        {STAGE_STRANGER, "a@t.test", FAILURE END, "250 2.0.0 OK ids=", "count=1", 1, 0, 1},
        {STAGE_STRANGER, "a@t.test", COMPLAINT END, "250 2.0.0 OK ids=", "count=1", 0, 1, 1},
        {STAGE_STRANGER, "a@t.test", SUCCESS END, "250 2.0.0 OK ids=", "count=1", 0, 0, 1},
        {STAGE_STRANGER, "a@t.test", PLAIN, "550 5.7.1", "", 0, 0, 0},
        {STAGE_STRANGER, "a@x.t.test", PLAIN, "250 2.0.0 OK ids=", "count=1", 0, 0, 1},
        {STAGE_STRANGER, "a@x.t.test", FAILURE END, "250 2.0.0 OK ids=", "count=1", 0, 0, 1},
        {STAGE_STRANGER, "a@x.t.test", COMPLAINT END, "250 2.0.0 OK ids=", "count=1", 0, 1, 0},
        {STAGE_STRANGER, "a@drop.test b@t.test c@x.t.test d@drop.test", FAILURE END,
         "250 2.0.0 OK ids=", "count=4", 3, 0, 2},
        {STAGE_STRANGER, "a@x.t.test b@drop.test", PLAIN, "550 5.7.1", "", 0, 0, 0},
        /* relay_hosts may send anything, and are heard as well. */
        {STAGE_CLIENT, "a@t.test b@x.t.test", PLAIN, "250 2.0.0 OK ids=", "count=2", 0, 0, 2},
        {STAGE_CLIENT, "a@t.test", FAILURE END, "250 2.0.0 OK ids=", "count=1", 1, 0, 1},
    };
    unsigned failures = 0;
    unsigned complaints = 0;
    unsigned relayed = 0;
    stage_start(&stage);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *heard = send(rows[i].host, rows[i].recipients, rows[i].content);
        if (strncmp(heard, rows[i].reply, strlen(rows[i].reply)) != 0 ||
            strstr(heard, rows[i].end) == NULL) {
            fail_msg("%zu, %s: %s", i, rows[i].recipients, heard);
        }
        failures += rows[i].failures;
        complaints += rows[i].complaints;
        relayed += rows[i].relayed;
        assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 60 * NS_PER_S));
        assert_int_equal(stage_told(&stage, "\"type\":\"OOB\""), failures);
        assert_int_equal(stage_told(&stage, "\"type\":\"Feedback\""), complaints);
        assert_int_equal(stage_told(&stage, "\"type\":\"Delivery\""), relayed);
    }
    assert_int_equal(world_counter(&stage.world, COUNTER_deliveries), relayed);
    assert_int_equal(stage_told(&stage, "\"type\":\"Rejection\""), 4);
}

/* Records for who gets the mail, and for who does not, have ids of their own. */
static void ids_of_records_and_receptions_fit(void **state)
{
    (void)state;
    char told[128];
    char first[33] = "";
    stage_start(&stage);
    const char *heard = send(STAGE_STRANGER, "a@drop.test b@t.test c@drop.test d@t.test",
                             FAILURE END);
    assert_int_equal(sscanf(heard, "250 2.0.0 OK ids=%32[0-9a-f] count=4", first), 1);
    static const struct {
        const char *type;
        const char *index;
    } rows[] = {{"Reception", "0000"}, {"Reception", "0001"}, {"OOB", "0000"},
                {"OOB", "0001"},       {"OOB", "0002"},       {"OOB", "0003"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        snprintf(told, sizeof(told), "\"type\":\"%s\",\"id\":\"%.28s%s\"", rows[i].type, first,
                 rows[i].index);
        assert_int_equal(stage_told(&stage, told), 1);
    }
    assert_int_equal(stage_told(&stage, "\"sender\":\"c@drop.test\""), 1);
}

/* A body that was spilled before its end; what is looked at is its beginning. */
static void a_large_report_is_read_by_its_beginning(void **state)
{
    (void)state;
    struct talk talk;
    char *body = stage_body(900 * KIB);
    stage_start(&stage);
    static const struct {
        const char *head;
        const char *reply;
    } rows[] = {{FAILURE "--b\r\nContent-Type: message/rfc822\r\n\r\n", "250 "},
                {"X-Long: " LONG "\r\n" FAILURE "--b\r\n\r\n", "250 "},
                {"Subject: x\r\n\r\n", "550 5.7.1"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        envelope(&talk, STAGE_STRANGER, "a@drop.test b@t.test");
        talk_say(&talk, rows[i].head);
        talk_say(&talk, body);
        say(&talk, "\r\n.\r\n", rows[i].reply);
        talk_close(&talk);
    }
    free(body);
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 60 * NS_PER_S));
    assert_int_equal(stage_told(&stage, "\"type\":\"OOB\""), 4);
    assert_int_equal(stage_told(&stage, "\"type\":\"Delivery\""), 2);
}

static uint64_t wall_ns(void)
{
    return stage.world.node.mtas[0].shard.wall_ns;
}

/* A report that gone@far.test has failed, and a reference of mail to whomever sent then. */
static void send_returned(const struct reference_key *key, const char *whom, uint64_t sent_ns,
                          const char *before)
{
    static uint8_t text[8192];
    uint8_t envelope_bytes[256];
    struct buf envelope;
    struct buf report;
    struct id_source ids;
    const struct conf_trace trace = {.header_name = SLICE("X-KumoRef")};
    static const struct metadata none;
    id_source_init(&ids, 9, 9);
    buf_init(&envelope, envelope_bytes, sizeof(envelope_bytes));
    envelope_put_sender(&envelope, SLICE("a@t.test"), NULL);
    envelope_put_recipient(&envelope, 0, slice_from_string(whom), NULL);
    const struct reference_facts facts = {
        .id = id_next(&ids, sent_ns),
        .envelope = buf_slice(&envelope),
        .metadata = &none};
    buf_init(&report, text, sizeof(text) - 1);
    buf_put(&report, SLICE(FAILURE "--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"));
    buf_put_string(&report, before);
    reference_put(&report, &trace, key, &facts);
    buf_put(&report, SLICE("Subject: x\r\n" END));
    text[report.size] = '\0';
    assert_int_equal(strncmp(send(STAGE_STRANGER, "a@drop.test", (const char *)text), "250 ", 4),
                     0);
}

static void d10_a_record_says_what_its_reference_is_worth(void **state)
{
    (void)state;
    const struct reference_key other = {.bytes = "another node's"};
    stage_start(&stage);
    const struct reference_key *ours = &stage.world.node.options.key;
    static const struct {
        bool ours;
        uint64_t age_ns;
        const char *before; /* other fields */
        const char *told;
    } rows[] = {
        {true, 3600 * NS_PER_S, "", "\"reference\":{\"state\":\"valid\""},
        {true, 3600 * NS_PER_S, "\r\n", "\"reference\":{\"state\":\"none\"}"},
        {true, REFERENCE_AGE_MAX_S * NS_PER_S + 60 * NS_PER_S, "",
         "\"reference\":{\"state\":\"expired\"}"},
        {false, 0, "", "\"reference\":{\"state\":\"forged\"}"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        send_returned(rows[i].ours ? ours : &other, "gone@far.test", wall_ns() - rows[i].age_ns,
                      rows[i].before);
        assert_int_equal(stage_told(&stage, "\"type\":\"OOB\""), i + 1);
        assert_int_equal(stage_told(&stage, rows[i].told), 1);
    }
}

static void judge_reports(const char *whether)
{
    world_set(&stage.world, "tsa.judge_reports=%s", whether);
    world_set(&stage.world, "shaping.default.automation=[{regex=\"^550 5\\\\.1\\\\.1\","
                            "action=\"Bounce\",duration=\"10m\"}]");
    stage_start(&stage);
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
}

/* Of records that rules were asked about and matched, so far. */
static void expect_matches(unsigned matches)
{
    assert_true(sim_run_for(stage.sim, 100 * NS_PER_MS));
    assert_int_equal(world_counter(&stage.world, COUNTER_automation_matches), matches);
}

static void d10_a_report_of_mail_of_ours_moves_a_rule_once(void **state)
{
    (void)state;
    const struct reference_key other = {.bytes = "another node's"};
    judge_reports("true");
    const struct reference_key *ours = &stage.world.node.options.key;
    assert_int_equal(strncmp(send(STAGE_STRANGER, "a@drop.test", FAILURE END), "250 ", 4), 0);
    send_returned(&other, "gone@far.test", wall_ns(), "");
    send_returned(ours, "gone@other.test", wall_ns(), "");
    /* Of before the start. */
    send_returned(ours, "gone@far.test", wall_ns() - 3600 * NS_PER_S, "");
    expect_matches(0);
    uint64_t sent_ns = wall_ns() - NS_PER_S;
    for (unsigned i = 0; i < 20; i++) {
        send_returned(ours, "gone@far.test", sent_ns, "");
        expect_matches(1);
    }
    send_returned(ours, "gone@far.test", wall_ns(), "");
    expect_matches(2);
    assert_int_equal(world_counter(&stage.world, COUNTER_automation_begun), 1);
    assert_int_equal(world_counter(&stage.world, COUNTER_automation_reports), 2);
    assert_int_equal(world_counter(&stage.world, COUNTER_automation_reports_passed), 20);
    assert_int_equal(stage_told(&stage, "\"reference\":{\"state\":\"valid\""), 22);
}

static void d10_without_being_asked_to_no_report_moves_a_rule(void **state)
{
    (void)state;
    judge_reports("false");
    send_returned(&stage.world.node.options.key, "gone@far.test", wall_ns(), "");
    expect_matches(0);
    assert_int_equal(stage_told(&stage, "\"reference\":{\"state\":\"valid\""), 1);
}

static void f03_a_report_that_is_not_stored_is_refused_and_goes_nowhere(void **state)
{
    (void)state;
    stage_start(&stage);
    sim_disk_failing_set(stage.world.disk, false, true, false);
    const char *heard = send(STAGE_STRANGER, "a@drop.test b@t.test", FAILURE END);
    assert_int_equal(strncmp(heard, "451 4.3.0", 9), 0);
    sim_disk_failing_set(stage.world.disk, false, false, false);
    assert_int_equal(stage_told(&stage, "\"type\":\"OOB\""), 0);
    assert_int_equal(world_counter(&stage.world, COUNTER_reports_logged), 0);
    assert_int_equal(world_rows(&stage.world), 0);
}

/* Its client comes again, and then it is told. */
static void a_report_whose_mail_has_no_room_is_told_when_it_has(void **state)
{
    (void)state;
    struct talk talk;
    world_set(&stage.world, "memory.max_queued=2");
    stage_start(&stage);
    stage.sink.defer = "450 4.2.1 later\r\n";
    envelope(&talk, STAGE_STRANGER, "a@drop.test b@t.test");
    for (unsigned i = 0; i < 2; i++) {
        assert_true(stage_mail(&stage, "b@t.test", PLAIN));
    }
    say(&talk, FAILURE END ".\r\n", "452 4.3.1");
    talk_close(&talk);
    assert_int_equal(stage_told(&stage, "\"type\":\"OOB\""), 0);
    stage.sink.defer = NULL;
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 4000 * NS_PER_S));
    const char *heard = send(STAGE_STRANGER, "a@drop.test b@t.test", FAILURE END);
    assert_int_equal(strncmp(heard, "250 ", 4), 0);
    assert_int_equal(stage_told(&stage, "\"type\":\"OOB\""), 2);
}

/* It was not answered: it is told, and comes again. */
static void a_client_that_leaves_meanwhile_has_its_report_logged(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    sim_disk_latency_set(stage.world.disk, 2 * NS_PER_S);
    envelope(&talk, STAGE_STRANGER, "b@t.test");
    talk_say(&talk, FAILURE END ".\r\n");
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    sim_peer_reset(talk.peer);
    talk_close(&talk);
    assert_true(sim_run_for(stage.sim, 5 * NS_PER_S));
    sim_disk_latency_set(stage.world.disk, 0);
    assert_int_equal(stage_told(&stage, "\"type\":\"OOB\""), 1);
    assert_int_equal(stage_told(&stage, "\"type\":\"Reception\""), 0);
}

static void more_reports_at_once_than_there_is_room_for_are_refused(void **state)
{
    (void)state;
    static struct talk talks[SERVER_REPORTS_MAX + 1];
    world_set(&stage.world, "smtp_listener.0.max_connections=100");
    stage_start(&stage);
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        envelope(&talks[i], STAGE_CLIENT, "a@drop.test");
    }
    sim_disk_latency_set(stage.world.disk, 2 * NS_PER_S);
    unsigned stored = 0;
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        talk_say(&talks[i], FAILURE END ".\r\n");
    }
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    sim_disk_latency_set(stage.world.disk, 0);
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        const char *heard = talk_reply(&talks[i]);
        bool taken = strncmp(heard, "250 ", 4) == 0;
        assert_true(taken || strncmp(heard, "452 4.3.1", 9) == 0);
        stored += taken;
        talk_close(&talks[i]);
    }
    assert_int_equal(stored, SERVER_REPORTS_MAX);
    assert_int_equal(stage_told(&stage, "\"type\":\"OOB\""), stored);
    assert_int_equal(world_counter(&stage.world, COUNTER_reports_logged), stored);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(recipients_of_each_domain_are_ruled_by_it),
        TEST(ids_of_records_and_receptions_fit),
        TEST(a_large_report_is_read_by_its_beginning),
        TEST(d10_a_record_says_what_its_reference_is_worth),
        TEST(d10_a_report_of_mail_of_ours_moves_a_rule_once),
        TEST(d10_without_being_asked_to_no_report_moves_a_rule),
        TEST(f03_a_report_that_is_not_stored_is_refused_and_goes_nowhere),
        TEST(a_report_whose_mail_has_no_room_is_told_when_it_has),
        TEST(a_client_that_leaves_meanwhile_has_its_report_logged),
        TEST(more_reports_at_once_than_there_is_room_for_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
