/*
 * Rules of automation on a whole node in virtual time: what a server answers to one shard holds all
 * of them back, until it ends by itself or is cancelled; over a kill, too.
 */
#include "smtp/advisor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/kit/stage.h"

#define BODY   "Subject: x\r\n\r\ntext\r\n"
#define SITE   "unspecified->mx_list:[10.0.9.9]:25@smtp_client"
#define TSS04  "421 4.7.0 [TSS04] Messages temporarily deferred\r\n"
#define SHARDS 3

#define FILE_NAME "reload.toml"

static struct stage stage;

/* A rule in the default block; texts as in TOML. */
static void rule(const char *pattern, const char *action, const char *rest)
{
    world_set(&stage.world,
              "shaping.default.automation=[{regex=\"%s\",action=%s,duration=\"10m\"%s}]", pattern,
              action, rest);
}

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    stage.world.shards = SHARDS;
    world_set(&stage.world, "queues.queue.default.retry_interval=\"1m\"");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static struct advisor *advisor(void)
{
    return &stage.world.node.control->advisor;
}

static void run_s(uint64_t seconds)
{
    assert_true(sim_run_for(stage.sim, seconds * NS_PER_S));
}

static unsigned effects(void)
{
    uint32_t cursor = 0;
    unsigned count = 0;
    while (automation_next(&advisor()->automation, &cursor) != NULL) {
        count++;
    }
    return count;
}

static uint64_t counted(enum counter counter)
{
    return world_counter(&stage.world, counter);
}

/* Shards that have mail for this queue, and what holds it back there. */
static unsigned held(const char *name, enum hold_reason reason)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        struct delivery *delivery = &stage.world.node.mtas[i].delivery;
        for (uint32_t number = 0; number < queues_end(delivery->queues); number++) {
            struct sched_queue *queue = queues_find(delivery->queues, number);
            if (queue != NULL && queue->rows > 0 &&
                slice_equal(sched_queue_name(delivery->queues, queue), slice_from_string(name))) {
                assert_string_equal(hold_name(delivery_hold(delivery, queue).reason),
                                    hold_name(reason));
                count++;
            }
        }
    }
    return count;
}

static void mail(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
}

/* --- suspended -------------------------------------------------------------------------------- */

static void one_reply_holds_all_shards_back_until_its_time_is_over(void **state)
{
    (void)state;
    rule("\\\\[TSS04\\\\]", "\"Suspend\"", "");
    stage_start(&stage);
    stage.sink.defer = TSS04;
    mail(1);
    run_s(2);
    assert_int_equal(effects(), 1);
    assert_int_equal(counted(COUNTER_transient_failures), 1);
    assert_int_equal(advisor()->reaction.count, 1);
    assert_true(histogram_percentile(&advisor()->reaction, 500) < 100 * NS_PER_MS);
    stage.sink.defer = NULL;
    mail(30);
    run_s(60);
    assert_int_equal(held("t.test", HOLD_suspended_rule), SHARDS);
    assert_int_equal(stage.sink.mails, 0);
    assert_int_equal(counted(COUNTER_transient_failures), 1);
    run_s(541);
    assert_int_equal(stage.sink.mails, 31);
    assert_int_equal(effects(), 0);
    assert_int_equal(counted(COUNTER_automation_expired), 1);
}

static void what_no_rule_looks_for_travels_nowhere(void **state)
{
    (void)state;
    rule("\\\\[TSS04\\\\]", "\"Suspend\"", "");
    stage_start(&stage);
    mail(10);
    run_s(2);
    assert_int_equal(stage.sink.mails, 10);
    assert_int_equal(counted(COUNTER_advice_scanned), 10);
    assert_int_equal(counted(COUNTER_advice_sent), 0);
    assert_int_equal(effects(), 0);
}

/* Its pattern matches, but it is another domain's; that of the own block does not. */
static void a_rule_of_another_block_is_not_asked(void **state)
{
    (void)state;
    rule("said by nobody", "\"Suspend\"", "");
    world_set(&stage.world, "shaping.\"x.test\".automation=[{regex=\"TSS04\",action=\"Suspend\","
                            "duration=\"10m\"}]");
    stage_start(&stage);
    stage.sink.defer = TSS04;
    mail(3);
    run_s(2);
    assert_int_equal(counted(COUNTER_advice_scanned), 3);
    assert_int_equal(counted(COUNTER_advice_sent), 0);
    assert_int_equal(effects(), 0);
}

static void without_rules_nothing_is_scanned(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.defer = TSS04;
    mail(3);
    run_s(2);
    assert_int_equal(counted(COUNTER_advice_scanned), 0);
    assert_int_equal(effects(), 0);
}

static void replies_of_our_own_count_for_rules_that_ask_for_them_alone(void **state)
{
    (void)state;
    rule("failed to connect", "\"Suspend\"", "");
    stage_start(&stage);
    const struct endpoint sink = sim_endpoint(STAGE_SINK, 25);
    sim_reach_set(stage.sim, &sink, SIM_REACH_REFUSED);
    mail(2);
    run_s(5);
    assert_true(counted(COUNTER_advice_sent) > 0);
    assert_int_equal(effects(), 0);
    world_stop(&stage.world, 1);
    sim_reach_set(stage.sim, &sink, SIM_REACH);
}

static void a_threshold_counts_over_all_shards(void **state)
{
    (void)state;
    rule("\\\\[TSS04\\\\]", "\"Suspend\"", ",trigger={Threshold=\"6/hr\"}");
    stage_start(&stage);
    stage.sink.defer = TSS04;
    mail(5);
    run_s(2);
    assert_int_equal(counted(COUNTER_automation_matches), 5);
    assert_int_equal(effects(), 0);
    mail(1);
    run_s(2);
    assert_int_equal(effects(), 1);
    assert_int_equal(held("t.test", HOLD_not_due), SHARDS);
    run_s(61);
    assert_int_equal(held("t.test", HOLD_suspended_rule), SHARDS);
}

/* --- bounced ---------------------------------------------------------------------------------- */

static void a_rule_may_bounce_what_is_there_and_what_comes(void **state)
{
    (void)state;
    rule("\\\\[TSS04\\\\]", "\"Bounce\"", "");
    stage_start(&stage);
    stage.sink.defer = TSS04;
    mail(1);
    run_s(2);
    mail(5);
    run_s(5);
    assert_int_equal(world_rows(&stage.world), 0);
    assert_int_equal(counted(COUNTER_admin_bounces), 6);
    assert_int_equal(stage_told(&stage, "bounced with reason: automation: 421 4.7.0 [TSS04]"), 6);
    assert_int_equal(effects(), 1); /* its own bounces, which say the same, are no reply */
    assert_int_equal(counted(COUNTER_automation_matches), 1);
}

/* --- kept, cancelled -------------------------------------------------------------------------- */

static void what_was_in_force_a_second_before_a_kill_is_in_force_again(void **state)
{
    (void)state;
    rule("\\\\[TSS04\\\\]", "\"Suspend\"", "");
    stage_start(&stage);
    stage.sink.defer = TSS04;
    mail(1);
    run_s(2);
    stage.sink.defer = NULL;
    for (unsigned life = 0; life < 3; life++) {
        world_crash(&stage.world, life == 1);
        assert_true(world_start(&stage.world));
        assert_int_equal(effects(), 1);
        run_s(70);
        assert_int_equal(stage.sink.mails, 0);
        assert_int_equal(held("t.test", HOLD_suspended_rule), 1);
    }
    run_s(400);
    assert_int_equal(stage.sink.mails, 1);
}

struct cancel {
    struct advisor_cancel cancel;
    bool done;
};

static void cancelled(struct advisor_cancel *cancel)
{
    CONTAINER_OF(cancel, struct cancel, cancel)->done = true;
}

static bool is_done(void *context)
{
    return ((const struct cancel *)context)->done;
}

static void what_is_cancelled_goes_on_at_once_and_may_begin_again(void **state)
{
    (void)state;
    struct cancel cancel = {.cancel = {.done = cancelled}};
    rule("\\\\[TSS04\\\\]", "\"Suspend\"", "");
    stage_start(&stage);
    stage.sink.defer = TSS04;
    mail(1);
    run_s(2);
    assert_false(advisor_cancel(advisor(), 7, &cancel.cancel));
    assert_true(advisor_cancel(advisor(), 1, &cancel.cancel));
    assert_false(cancel.done);
    assert_true(sim_run_until(stage.sim, is_done, &cancel, 5 * NS_PER_S));
    assert_int_equal(effects(), 0);
    mail(1);
    run_s(2);
    assert_int_equal(effects(), 1);
    assert_int_equal(counted(COUNTER_transient_failures), 2);
    world_crash(&stage.world, false);
    assert_true(world_start(&stage.world));
    assert_int_equal(effects(), 1);
}

/* --- reloads ---------------------------------------------------------------------------------- */

struct question {
    struct reload_request request;
    enum reload_status status;
    bool answered;
};

static void answered(struct reload_request *request, const struct reload_result *result)
{
    struct question *question = CONTAINER_OF(request, struct question, request);
    question->status = result->status;
    question->answered = true;
}

static bool is_answered(void *context)
{
    return ((const struct question *)context)->answered;
}

static void reload(const char *text)
{
    struct question question = {.request = {.done = answered}};
    assert_int_equal(sim_disk_put(stage.world.disk, FILE_NAME, slice_from_string(text)), 0);
    list_init(&question.request.link);
    assert_true(reload_ask(&stage.world.node.control->reload, &question.request));
    assert_true(sim_run_until(stage.sim, is_answered, &question, 60 * NS_PER_S));
    assert_int_equal(question.status, RELOAD_APPLIED);
}

static void a_reload_brings_rules_into_force_and_ends_no_effect(void **state)
{
    (void)state;
    stage.world.conf_file = FILE_NAME;
    stage.world.sets_kept = stage.world.set_count;
    stage_start(&stage);
    stage.sink.defer = TSS04;
    mail(1);
    run_s(2);
    assert_int_equal(counted(COUNTER_advice_scanned), 0);
    reload("[[shaping.default.automation]]\n"
           "regex = '\\[TSS04\\]'\naction = \"Suspend\"\nduration = \"10m\"\n");
    run_s(70);
    assert_int_equal(effects(), 1);
    assert_int_equal(counted(COUNTER_advice_sent), 1);
    reload("");
    stage.sink.defer = NULL;
    mail(3);
    run_s(60);
    assert_int_equal(effects(), 1);
    assert_int_equal(stage.sink.mails, 0);
    assert_int_equal(counted(COUNTER_advice_scanned), 1);
    run_s(600);
    assert_int_equal(stage.sink.mails, 4);
}

/* --- options ---------------------------------------------------------------------------------- */

static void an_option_that_a_rule_sets_counts_on_all_shards_until_it_ends(void **state)
{
    (void)state;
    rule("\\\\[TSS04\\\\]",
         "{SetDomainConfig={name=\"max_message_rate\",value=\"1/minute,max_burst=1\"}}", "");
    stage_start(&stage);
    stage.sink.defer = TSS04;
    mail(1);
    run_s(2);
    assert_int_equal(effects(), 1);
    assert_int_equal(advisor()->reaction.count, 1);
    assert_non_null(advisor()->overrider.current);
    stage.sink.defer = NULL;
    mail(12);
    run_s(240);
    assert_in_range(stage.sink.mails, 3, 6);
    run_s(420);
    assert_int_equal(effects(), 0);
    assert_null(advisor()->overrider.current);
    assert_int_equal(stage.sink.mails, 13);
}

int main(void)
{
#define ON_STAGE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_STAGE(one_reply_holds_all_shards_back_until_its_time_is_over),
        ON_STAGE(what_no_rule_looks_for_travels_nowhere),
        ON_STAGE(a_rule_of_another_block_is_not_asked),
        ON_STAGE(without_rules_nothing_is_scanned),
        ON_STAGE(replies_of_our_own_count_for_rules_that_ask_for_them_alone),
        ON_STAGE(a_threshold_counts_over_all_shards),
        ON_STAGE(a_rule_may_bounce_what_is_there_and_what_comes),
        ON_STAGE(what_was_in_force_a_second_before_a_kill_is_in_force_again),
        ON_STAGE(what_is_cancelled_goes_on_at_once_and_may_begin_again),
        ON_STAGE(a_reload_brings_rules_into_force_and_ends_no_effect),
        ON_STAGE(an_option_that_a_rule_sets_counts_on_all_shards_until_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
