/* Strangers at the SMTP listener of a node in the simulator, by [domains]. */
#include "smtp/relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/kit/stage.h"

/* A stranger as STAGE_STRANGER is, but for what out.test and both.test say of 10.0.7.9. */
#define SENDER (7 * 256 + 9)

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world, "queues.queue.default.protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    world_set(&stage.world, "domains.\"in.test\".relay_to=true");
    world_set(&stage.world, "domains.\"*.in.test\".relay_to=true");
    world_set(&stage.world, "domains.\"no.in.test\".relay_to=false");
    world_set(&stage.world, "domains.\"oob.test\".log_oob=LogThenDrop");
    world_set(&stage.world, "domains.\"arf.test\".log_arf=LogThenRelay");
    world_set(&stage.world, "domains.\"out.test\".relay_from=[\"10.0.7.9\"]");
    world_set(&stage.world, "domains.\"both.test\"={relay_to=true,relay_from=[\"10.0.7.9\"]}");
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

static const struct {
    unsigned host;
    const char *sender;
    const char *recipient;
    const char *reply;
} rows[] = {
    /* To domains of ours, of anybody. */
    {STAGE_STRANGER, "<a@c.test>", "<b@in.test>", "250 "},
    {STAGE_STRANGER, "<>", "<b@IN.Test>", "250 "},
    {STAGE_STRANGER, "<a@c.test>", "<b@x.y.in.test>", "250 "},
    {STAGE_STRANGER, "<a@c.test>", "<b%t.test@in.test>", "250 "}, /* in.test's own affair */
    {STAGE_STRANGER, "<a@c.test>", "<\"b@t.test\"@in.test>", "250 "},
    {STAGE_STRANGER, "<a@c.test>", "<t.test!b@in.test>", "250 "},
    {STAGE_STRANGER, "<a@out.test>", "<b@both.test>", "250 "},
    {STAGE_STRANGER, "<>", "<b@oob.test>", "250 "}, /* what it is is seen at its end */
    {STAGE_STRANGER, "<a@c.test>", "<b@arf.test>", "250 "},
    /* To nobody else, however it is written. */
    {STAGE_STRANGER, "<>", "<b@x.oob.test>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<b@t.test>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<b@no.in.test>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<b@xin.test>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<b@in.test.t.test>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<@in.test:b@t.test>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<\"b@in.test\"@t.test>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<b%in.test@t.test>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<b@[10.0.9.9]>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<postmaster>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@in.test>", "<b@t.test>", "550 5.7.1"}, /* ours does not send */
    {STAGE_STRANGER, "<>", "<b@t.test>", "550 5.7.1"},
    {STAGE_STRANGER, "<a@c.test>", "<b@out.test>", "550 5.7.1"}, /* nor is it sent to */
    {STAGE_STRANGER, "<a@c.test>", "<b@in.test@t.test>", "501 5.1.3"},
    /* As a domain of ours, of those who may. */
    {SENDER, "<a@out.test>", "<b@t.test>", "250 "},
    {SENDER, "<a@OUT.test>", "<b@no.in.test>", "250 "},
    {SENDER, "<\"a@c.test\"@out.test>", "<b@t.test>", "250 "},
    {SENDER, "<@c.test:a@out.test>", "<b@t.test>", "250 "},
    {STAGE_STRANGER, "<a@out.test>", "<b@t.test>", "550 5.7.1"},
    {SENDER, "<a@c.test>", "<b@t.test>", "550 5.7.1"},
    {SENDER, "<>", "<b@t.test>", "550 5.7.1"},
    {SENDER, "<\"a@out.test\"@c.test>", "<b@t.test>", "550 5.7.1"},
    {SENDER, "<@out.test:a@c.test>", "<b@t.test>", "550 5.7.1"},
    {SENDER, "<a@x.out.test>", "<b@t.test>", "550 5.7.1"},
    {SENDER, "<a@out.test.c.test>", "<b@t.test>", "550 5.7.1"},
    {SENDER, "<a@in.test>", "<b@t.test>", "550 5.7.1"},
    /* relay_hosts may do everything. */
    {STAGE_CLIENT, "<a@c.test>", "<b@t.test>", "250 "},
    {STAGE_CLIENT, "<a@c.test>", "<b@no.in.test>", "250 "},
};

static void s42_no_mixture_of_sender_and_recipient_makes_an_open_relay(void **state)
{
    (void)state;
    char line[128];
    struct talk talk;
    stage_start(&stage);
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        assert_true(stage_begin(&stage, &talk, rows[i].host));
        snprintf(line, sizeof(line), "MAIL FROM:%s\r\n", rows[i].sender);
        say(&talk, line, "250 ");
        snprintf(line, sizeof(line), "RCPT TO:%s\r\n", rows[i].recipient);
        talk_say(&talk, line);
        const char *heard = talk_reply(&talk);
        if (strncmp(heard, rows[i].reply, strlen(rows[i].reply)) != 0) {
            fail_msg("%u: %s %s: %s", rows[i].host, rows[i].sender, rows[i].recipient, heard);
        }
        talk_close(&talk);
    }
}

/* The same words in another order, in one session. */
static void s42_each_recipient_and_each_transaction_has_its_own_answer(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, SENDER));
    say(&talk, "MAIL FROM:<a@out.test>\r\n", "250 ");
    say(&talk, "RCPT TO:<b@t.test>\r\n", "250 ");
    say(&talk, "RSET\r\n", "250 ");
    say(&talk, "MAIL FROM:<a@c.test>\r\n", "250 ");
    say(&talk, "RCPT TO:<b@t.test>\r\n", "550 5.7.1");
    say(&talk, "DATA\r\n", "503 5.5.1");
    say(&talk, "MAIL FROM:<a@out.test>\r\n", "503 5.5.1"); /* it stays the other one's */
    say(&talk, "RCPT TO:<b@t.test>\r\n", "550 5.7.1");
    say(&talk, "RCPT TO:<b@in.test>\r\n", "250 ");
    say(&talk, "RCPT TO:<c@t.test>\r\n", "550 5.7.1");
    say(&talk, "RCPT TO:<b@both.test>\r\n", "250 ");
    say(&talk, "DATA\r\n", "354 ");
    say(&talk, "Subject: x\r\n\r\nx\r\n.\r\n", "250 2.0.0 OK ids=");
    talk_close(&talk);
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, 60 * NS_PER_S));
    assert_int_equal(world_counter(&stage.world, COUNTER_deliveries), 2);
}

/* Who may relay by [domains] has no other right of relay_hosts. */
static void s42_who_relays_by_domain_is_a_stranger_otherwise(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    talk_open(&talk, stage.sim, SENDER, &stage.server);
    talk_say(&talk, "EHLO early.test\r\n");
    assert_true(stage_hears(&talk, "554 5.5.1"));
    talk_close(&talk);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(s42_no_mixture_of_sender_and_recipient_makes_an_open_relay),
        TEST(s42_each_recipient_and_each_transaction_has_its_own_answer),
        TEST(s42_who_relays_by_domain_is_a_stranger_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
