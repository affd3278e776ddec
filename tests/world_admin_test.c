/*
 * What operators order, on a whole node in virtual time: mail that is suspended stands still, what
 * is bounced ends once and is told once, and neither a restart nor a crash changes what was
 * ordered.
 *
 * SEED=n COUNT=m build/dev/tests/world_admin_test repeats or extends every campaign.
 */
#include "smtp/admin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/queue_of.h"
#include "tests/kit/stage.h"

#define BODY   "Subject: x\r\n\r\ntext\r\n"
#define SITE   "unspecified->mx_list:[10.0.9.9]:25@smtp_client"
#define HOUR_S 3600ull

/* --- asking ----------------------------------------------------------------------------------- */

struct question {
    struct admin_request request;
    bool answered;
};

static void answered(struct admin_request *request)
{
    CONTAINER_OF(request, struct question, request)->answered = true;
}

static bool is_answered(void *context)
{
    return ((const struct question *)context)->answered;
}

static void put(struct world *world, struct question *question)
{
    question->request.done = answered;
    if (question->request.action != ADMIN_DO_CANCEL && question->request.reason.size == 0) {
        question->request.reason = SLICE("testing");
    }
    assert_true(admin_ask(&world->node.control->admin, &question->request));
}

static enum admin_status ask(struct world *world, struct question *question)
{
    put(world, question);
    assert_true(sim_run_until(world->sim, is_answered, question, 60 * NS_PER_S));
    return question->request.status;
}

static struct question domain_question(enum admin_action action, struct slice domain)
{
    return (struct question){.request = {.action = action, .criteria = {.domain = domain}}};
}

/* For an hour. */
static struct id order(struct world *world, enum admin_action action, struct slice domain)
{
    struct question question = domain_question(action, domain);
    question.request.duration_ns = HOUR_S * NS_PER_S;
    assert_int_equal(ask(world, &question), ADMIN_DONE);
    return question.request.id;
}

static enum admin_status cancel(struct world *world, enum admin_kind kind, struct id id)
{
    struct question question = {
        .request = {.action = ADMIN_DO_CANCEL, .kind = kind, .id = id}};
    return ask(world, &question);
}

/* --- looking ---------------------------------------------------------------------------------- */

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world,
              "queues.queue.\"u.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static struct mta *mta(void)
{
    return &stage.world.node.mtas[0];
}

static struct sched_queue *queue(const char *domain)
{
    struct queues *queues = &mta()->queues;
    for (uint32_t i = 0; i < queues_end(queues); i++) {
        struct sched_queue *found = queues_find(queues, i);
        if (found != NULL && slice_equal(sched_queue_name(queues, found),
                                         slice_from_string(domain))) {
            return found;
        }
    }
    fail_msg("there is no such queue");
    return NULL;
}

static const struct row *only_row(void)
{
    const struct slab *rows = &mta()->queues.rows;
    for (uint32_t i = 0; i < rows->fresh; i++) {
        if (row_at(rows, i)->state != ROW_FREE) {
            return row_at(rows, i);
        }
    }
    fail_msg("there is no row");
    return NULL;
}

static void run_s(uint64_t seconds)
{
    assert_true(sim_run_for(stage.sim, seconds * NS_PER_S));
}

/* --- suspended -------------------------------------------------------------------------------- */

static void a01_suspended_mail_stands_still_uncounted_and_untold_until_it_is_let_go(void **state)
{
    (void)state;
    stage_start(&stage);
    struct id id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("T.test"));
    assert_non_null(strstr(stage.world.log_line, "event=admin action=suspend"));
    assert_non_null(strstr(stage.world.log_line, "reason=testing domain=T.test"));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(1800);
    assert_int_equal(stage.sink.mails, 1);
    struct hold hold = delivery_hold(&mta()->delivery, queue("t.test"));
    assert_string_equal(hold_name(hold.reason), "suspended_admin");
    assert_string_equal(hold_state_name(hold.reason), "suspended");
    assert_in_range((hold.until_ns - mta()->shard.now_ns) / NS_PER_S, 1798, 1800);
    assert_true(slice_equal(delivery_hold_detail(&mta()->delivery, queue("t.test")),
                            SLICE("testing")));
    assert_int_equal(only_row()->attempts, 0);
    assert_int_equal(stage_told(&stage, "\"type\":"), 3); /* two Receptions and a Delivery */
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_DONE);
    assert_non_null(strstr(stage.world.log_line, "event=admin action=cancel"));
    run_s(1);
    assert_int_equal(stage.sink.mails, 2);
    assert_int_equal(world_rows(&stage.world), 0);
}

static void a02_it_ends_by_itself_after_five_minutes_or_when_it_is_to(void **state)
{
    (void)state;
    stage_start(&stage);
    struct question short_one = domain_question(ADMIN_DO_SUSPEND, SLICE("t.test"));
    struct question long_one = domain_question(ADMIN_DO_SUSPEND, SLICE("u.test"));
    assert_int_equal(ask(&stage.world, &short_one), ADMIN_DONE);
    long_one.request.expires_ns = mta()->shard.wall_ns + 600 * NS_PER_S;
    assert_int_equal(ask(&stage.world, &long_one), ADMIN_DONE);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(298);
    assert_int_equal(stage.sink.mails, 0);
    run_s(4);
    assert_int_equal(stage.sink.mails, 1);
    run_s(295);
    assert_int_equal(stage.sink.mails, 1);
    run_s(5);
    assert_int_equal(stage.sink.mails, 2);
    assert_int_equal(admin_count(&stage.world.node.control->admin), 0);
    assert_non_null(strstr(stage.world.log_line, "event=admin action=expire"));
}

/* The queue was there before, and some of its mail waits. */
static void a03_mail_that_comes_due_meanwhile_waits_with_the_rest(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1m");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(2);
    struct id id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    stage.sink.defer = NULL;
    run_s(600);
    assert_int_equal(stage.sink.mails, 0);
    assert_int_equal(only_row()->attempts, 1);
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_DONE);
    run_s(1);
    assert_int_equal(stage.sink.mails, 1);
}

/* Its age goes on: what is too old when it is let go ends then. */
static void a03_mail_does_not_expire_while_it_is_suspended(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1m");
    world_set(&stage.world, "queues.queue.default.max_age=10m");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(2);
    struct id id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    run_s(1800);
    assert_int_equal(world_counter(&stage.world, COUNTER_expirations), 0);
    assert_int_equal(only_row()->attempts, 1);
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_DONE);
    run_s(2);
    assert_int_equal(world_counter(&stage.world, COUNTER_expirations), 1);
    assert_int_equal(world_rows(&stage.world), 0);
    assert_int_equal(stage_told(&stage, "Expiration"), 1);
}

static void a04_what_has_begun_to_be_sent_ends_as_ever(void **state)
{
    (void)state;
    stage_start(&stage);
    stage.sink.hold = true;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(1);
    assert_int_equal(only_row()->state, ROW_HOT);
    struct id id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    assert_int_equal(only_row()->state, ROW_HOT);
    stage.sink.hold = false;
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 taken\r\n"));
    run_s(1);
    assert_int_equal(world_rows(&stage.world), 0);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(60);
    assert_int_equal(world_rows(&stage.world), 1);
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_DONE);
    run_s(1);
    assert_int_equal(world_rows(&stage.world), 0);
}

/* Its message is being read from the disk when the order comes. */
static void a04_what_was_taken_and_not_begun_goes_back(void **state)
{
    (void)state;
    stage_start(&stage);
    struct id id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    messages_shed(&mta()->messages, 0);
    sim_disk_latency_set(stage.world.disk, 2 * NS_PER_S);
    queues_order(&mta()->queues, queue("t.test"), QUEUE_RUNS);
    run_s(1);
    assert_int_equal(only_row()->state, ROW_HOT);
    queues_order(&mta()->queues, queue("t.test"), QUEUE_SUSPENDED);
    run_s(10);
    assert_int_equal(stage.sink.mails, 0);
    assert_int_equal(only_row()->state, ROW_DUE);
    assert_int_equal(only_row()->attempts, 0);
    sim_disk_latency_set(stage.world.disk, 0);
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_DONE);
    run_s(1);
    assert_int_equal(stage.sink.mails, 1);
}

/* One is being sent, the next ones are read already and wait for its connection. */
static void a04_what_was_read_ahead_goes_back(void **state)
{
    (void)state;
    unsigned hot = 0;
    world_set(&stage.world, "shaping.default.connection_limit=1");
    stage_start(&stage);
    struct id id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    for (unsigned i = 0; i < 4; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
    messages_shed(&mta()->messages, 0);
    stage.sink.hold = true;
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_DONE);
    run_s(2);
    assert_true(mta()->delivery.transfers.used > 1);
    id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    run_s(1);
    for (uint32_t i = 0; i < mta()->queues.rows.fresh; i++) {
        const struct row *row = row_at(&mta()->queues.rows, i);
        hot += row->state == ROW_HOT;
        assert_true(row->state == ROW_HOT || row->state == ROW_DUE);
        assert_int_equal(row->attempts, 0);
    }
    assert_int_equal(hot, 1);
    sim_peer_send(stage.sink.last, SLICE("250 2.0.0 taken\r\n"));
    stage.sink.hold = false;
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_DONE);
    run_s(2);
    assert_int_equal(world_rows(&stage.world), 0);
}

static void a05_a_ready_queue_is_suspended_by_its_name_and_its_queues_say_why(void **state)
{
    (void)state;
    const struct slice name = SLICE(SITE);
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY)); /* its connection stays, idle */
    run_s(1);
    struct question question = {.request = {.action = ADMIN_DO_SUSPEND_READY,
                                            .duration_ns = HOUR_S * NS_PER_S,
                                            .criteria = {.names = &name, .name_count = 1}}};
    assert_int_equal(ask(&stage.world, &question), ADMIN_DONE);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(600);
    assert_int_equal(stage.sink.mails, 1);
    struct hold hold = delivery_hold(&mta()->delivery, queue("u.test"));
    assert_string_equal(hold_name(hold.reason), "suspended_admin");
    assert_in_range((hold.until_ns - mta()->shard.now_ns) / NS_PER_S, 2990, 3000);
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND_READY, question.request.id), ADMIN_DONE);
    run_s(1);
    assert_int_equal(stage.sink.mails, 3);
}

/* --- what rules order ------------------------------------------------------------------------- */

/* Stands in for automation: at most two orders. */
struct ruler {
    struct admin_rules rules;
    struct admin_entry entries[2];
    unsigned count;
    unsigned obeyed;
};

static void ruler_fill(struct admin_rules *rules, struct admin_table *table)
{
    struct ruler *ruler = CONTAINER_OF(rules, struct ruler, rules);
    for (unsigned i = 0; i < ruler->count; i++) {
        assert_true(admin_table_add(table, &ruler->entries[i]));
    }
}

static void ruler_obeyed(struct admin_rules *rules)
{
    CONTAINER_OF(rules, struct ruler, rules)->obeyed++;
}

static struct ruler ruler;

static void rule(unsigned count)
{
    struct admin *admin = &stage.world.node.control->admin;
    ruler.count = count;
    ruler.rules = (struct admin_rules){.fill = ruler_fill, .obeyed = ruler_obeyed};
    admin->rules = &ruler.rules;
    admin_rules_changed(admin);
}

static struct admin_entry ruled(enum admin_kind kind, uint16_t number)
{
    return (struct admin_entry){
        .kind = kind,
        .id = {.bytes = {[15] = (uint8_t)number}},
        .reason = SLICE("automation: 421 4.7.0 [TSS04]"),
        .until_ns = mta()->shard.now_ns + HOUR_S * NS_PER_S,
        .expires_ns = mta()->shard.wall_ns + HOUR_S * NS_PER_S,
        .slot = (uint16_t)(ADMIN_ENTRIES_MAX + number),
        .effect = number,
    };
}

static void at09_what_a_rule_suspends_says_so_and_ends_when_the_rule_says(void **state)
{
    (void)state;
    const struct slice name = SLICE(SITE);
    stage_start(&stage);
    ruler.obeyed = 0;
    ruler.entries[0] = ruled(ADMIN_SUSPEND_READY, 1);
    ruler.entries[0].criteria = (struct admin_criteria){.names = &name, .name_count = 1};
    ruler.entries[1] = ruled(ADMIN_SUSPEND, 2);
    ruler.entries[1].criteria.domain = SLICE("t.test");
    rule(1);
    run_s(1);
    assert_int_equal(ruler.obeyed, 1);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(60);
    struct hold hold = delivery_hold(&mta()->delivery, queue("u.test"));
    assert_string_equal(hold_name(hold.reason), "suspended_rule");
    assert_string_equal(hold_state_name(hold.reason), "suspended");
    assert_true(hold.until_ns > mta()->shard.now_ns);
    assert_true(slice_equal(delivery_hold_detail(&mta()->delivery, queue("u.test")),
                            SLICE("automation: 421 4.7.0 [TSS04]")));
    ruler.entries[0] = ruler.entries[1];
    rule(1);
    run_s(1);
    assert_int_equal(stage.sink.mails, 1);
    assert_string_equal(hold_name(delivery_hold(&mta()->delivery, queue("t.test")).reason),
                        "suspended_rule");
    assert_int_equal(only_row()->attempts, 0);
    rule(0);
    run_s(1);
    assert_int_equal(stage.sink.mails, 2);
    assert_int_equal(ruler.obeyed, 3);
}

/* Neither takes the other's away, nor keeps it over a restart. */
static void at09_rules_and_operators_order_beside_each_other(void **state)
{
    (void)state;
    stage_start(&stage);
    struct admin *admin = &stage.world.node.control->admin;
    ruler.entries[0] = ruled(ADMIN_BOUNCE, 3);
    ruler.entries[0].criteria.domain = SLICE("t.test");
    struct id id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("u.test"));
    rule(1);
    run_s(1);
    assert_int_equal(admin_count(admin), 2);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(5);
    assert_int_equal(stage_told(&stage, "AdminBounce"), 1);
    assert_int_equal(admin_bounced(admin, &ruler.entries[0]), 1);
    struct question question = {.request = {.action = ADMIN_DO_CANCEL, .kind = ADMIN_BOUNCE,
                                            .id = ruler.entries[0].id}};
    assert_int_equal(ask(&stage.world, &question), ADMIN_INVALID);
    assert_non_null(strstr(question.request.problem, "a rule of automation"));
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_DONE);
    assert_int_equal(admin_count(admin), 1);
    (void)order(&stage.world, ADMIN_DO_SUSPEND, SLICE("u.test"));
    assert_int_equal(admin_count(admin), 2);
    world_crash(&stage.world, false);
    assert_true(world_start(&stage.world));
    assert_int_equal(admin_count(&stage.world.node.control->admin), 1);
}

static void a06_what_cannot_be_ordered_changes_nothing(void **state)
{
    (void)state;
    stage_start(&stage);
    const struct slice long_name = {(const uint8_t *)BODY, QUEUE_NAME_BYTES_MAX + 1};
    const struct admin_request bad[] = {
        {.action = ADMIN_DO_SUSPEND},
        {.action = ADMIN_DO_BOUNCE, .criteria = {.everything = true, .domain = SLICE("a.test")}},
        {.action = ADMIN_DO_SUSPEND, .criteria = {.names = &long_name, .name_count = 1}},
        {.action = ADMIN_DO_SUSPEND_READY, .criteria = {.domain = SLICE("a.test")}},
        {.action = ADMIN_DO_SUSPEND, .criteria = {.everything = true}, .expires_ns = 1},
        {.action = ADMIN_DO_SUSPEND,
         .criteria = {.everything = true},
         .duration_ns = ADMIN_DURATION_NS_MAX + 1},
    };
    for (unsigned i = 0; i < COUNT_OF(bad); i++) {
        struct question question = {.request = bad[i]};
        assert_int_equal(ask(&stage.world, &question), ADMIN_INVALID);
        assert_non_null(question.request.problem);
    }
    struct question question = domain_question(ADMIN_DO_SUSPEND, SLICE("t.test"));
    question.request.done = answered;
    assert_true(admin_ask(&stage.world.node.control->admin, &question.request));
    assert_true(sim_run_until(stage.sim, is_answered, &question, NS_PER_S));
    assert_int_equal(question.request.status, ADMIN_INVALID); /* without a reason */
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, question.request.id), ADMIN_UNKNOWN);
    assert_int_equal(admin_count(&stage.world.node.control->admin), 0);
}

static void a07_what_cannot_be_stored_is_not_done(void **state)
{
    (void)state;
    stage_start(&stage);
    struct id id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("u.test"));
    sim_disk_failing_set(stage.world.disk, true, false, false);
    struct question question = domain_question(ADMIN_DO_SUSPEND, SLICE("t.test"));
    assert_int_equal(ask(&stage.world, &question), ADMIN_NOT_STORED);
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_NOT_STORED);
    sim_disk_failing_set(stage.world.disk, false, false, false);
    run_s(5);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(60);
    assert_int_equal(stage.sink.mails, 1);
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, id), ADMIN_DONE);
}

static bool has_file(void *context)
{
    return sim_disk_exists(((struct world *)context)->disk, "var/admin");
}

/* The new file has its name, and that cannot be synced. Twice: until a restart, and before one. */
static void a07_what_is_not_stored_for_sure_is_taken_back(void **state)
{
    (void)state;
    stage_start(&stage);
    struct question question = domain_question(ADMIN_DO_SUSPEND, SLICE("t.test"));
    put(&stage.world, &question);
    assert_true(sim_run_until(stage.sim, has_file, &stage.world, 60 * NS_PER_S));
    sim_disk_failing_set(stage.world.disk, false, true, false);
    assert_true(sim_run_until(stage.sim, is_answered, &question, 60 * NS_PER_S));
    assert_int_equal(question.request.status, ADMIN_NOT_KNOWN);
    assert_int_equal(admin_count(&stage.world.node.control->admin), 0);
    run_s(5); /* tried in vain */
    sim_disk_failing_set(stage.world.disk, false, false, false);
    run_s(2);
    world_crash(&stage.world, false);
    assert_true(world_start(&stage.world));
    assert_int_equal(admin_count(&stage.world.node.control->admin), 0);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(1);
    assert_int_equal(stage.sink.mails, 1);
}

static bool has_said_so(void *context)
{
    return strstr(((struct world *)context)->log_line, "nothing is changed") != NULL;
}

/* It fails once: the file is as it was when the asker hears of it. */
static void a07_what_is_taken_back_at_once_is_not_stored(void **state)
{
    (void)state;
    stage_start(&stage);
    struct question question = domain_question(ADMIN_DO_SUSPEND, SLICE("t.test"));
    put(&stage.world, &question);
    assert_true(sim_run_until(stage.sim, has_file, &stage.world, 60 * NS_PER_S));
    sim_disk_failing_set(stage.world.disk, false, true, false);
    assert_true(sim_run_until(stage.sim, has_said_so, &stage.world, 60 * NS_PER_S));
    sim_disk_failing_set(stage.world.disk, false, false, false);
    assert_true(sim_run_until(stage.sim, is_answered, &question, 60 * NS_PER_S));
    assert_int_equal(question.request.status, ADMIN_NOT_STORED);
    world_crash(&stage.world, false);
    assert_true(world_start(&stage.world));
    assert_int_equal(admin_count(&stage.world.node.control->admin), 0);
}

static void a08_a_dry_run_counts_names_five_and_does_nothing(void **state)
{
    (void)state;
    world_set(&stage.world,
              "queues.queue.\"*.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    for (unsigned i = 0; i < 8; i++) {
        char address[32];
        snprintf(address, sizeof(address), "b@t%u.test", i);
        assert_true(stage_mail(&stage, address, BODY));
    }
    struct question question = {
        .request = {.action = ADMIN_DO_BOUNCE, .criteria.everything = true, .dry_run = true}};
    assert_int_equal(ask(&stage.world, &question), ADMIN_DONE);
    assert_int_equal(question.request.found.queues, 8);
    assert_int_equal(question.request.found.recipients, 8);
    assert_int_equal(question.request.found.sample_count, ADMIN_SAMPLES_MAX);
    run_s(10);
    assert_int_equal(world_rows(&stage.world), 8);
    assert_int_equal(admin_count(&stage.world.node.control->admin), 0);
}

static void a09_entries_survive_stops_and_kills_and_are_obeyed_before_mail_moves(void **state)
{
    (void)state;
    stage_start(&stage);
    struct id id = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    for (unsigned i = 0; i < 3; i++) {
        run_s(600);
        if (i == 1) {
            world_stop(&stage.world, 1);
        } else {
            world_crash(&stage.world, i == 2);
        }
        assert_true(world_start(&stage.world));
        assert_int_equal(admin_count(&stage.world.node.control->admin), 1);
    }
    run_s(60);
    assert_int_equal(stage.sink.mails, 1);
    const struct admin_entry *entry = admin_at(&stage.world.node.control->admin, 0);
    assert_memory_equal(&entry->id, &id, sizeof(id));
    assert_true(slice_equal(entry->reason, SLICE("testing")));
    run_s(1800);
    assert_int_equal(stage.sink.mails, 2);
}

static void a10_a_damaged_file_is_set_aside_and_named(void **state)
{
    (void)state;
    stage_start(&stage);
    (void)order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    world_stop(&stage.world, 1);
    uint8_t bytes[256];
    int64_t size = sim_disk_get(stage.world.disk, "var/admin", 0, bytes, sizeof(bytes));
    assert_true(size > 64);
    bytes[30] ^= 1;
    assert_int_equal(
        sim_disk_put(stage.world.disk, "var/admin", slice_make(bytes, (size_t)size)), 0);
    assert_true(world_start(&stage.world));
    assert_int_equal(admin_count(&stage.world.node.control->admin), 0);
    assert_int_equal(sim_disk_get(stage.world.disk, "var/admin.damaged", 0, bytes, sizeof(bytes)),
                     size);
}

/* It is about to be read: not before, for the spool is read as well. */
static bool is_read(void *context)
{
    const struct world *world = context;
    return world->node.control != NULL && world->node.control->admin.reads > 0;
}

static bool has_ended(void *context)
{
    enum node_state state = node_state(&((struct world *)context)->node);
    return state == NODE_READY || state == NODE_FAILED;
}

static void a10_what_cannot_be_read_now_is_read_later_or_the_start_fails(void **state)
{
    (void)state;
    stage_start(&stage);
    (void)order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    for (unsigned i = 0; i < 2; i++) {
        world_stop(&stage.world, 1);
        world_boot(&stage.world);
        assert_true(sim_run_until(stage.sim, is_read, &stage.world, 60 * NS_PER_S));
        sim_disk_failing_set(stage.world.disk, false, false, true);
        run_s(i == 0 ? 2 : ADMIN_READS_MAX + 1);
        sim_disk_failing_set(stage.world.disk, false, false, false);
        assert_true(sim_run_until(stage.sim, has_ended, &stage.world, 60 * NS_PER_S));
        if (i == 0) {
            assert_int_equal(node_state(&stage.world.node), NODE_READY);
            assert_int_equal(admin_count(&stage.world.node.control->admin), 1);
        }
    }
    assert_int_equal(node_state(&stage.world.node), NODE_FAILED);
    assert_string_equal(stage.world.node.reason,
                        "var/admin: Input/output error; what operators have suspended is not "
                        "known without it");
    world_crash(&stage.world, false);
    assert_true(world_start(&stage.world));
    assert_int_equal(admin_count(&stage.world.node.control->admin), 1);
}

/* One shard has more queues to look at than the others, more than in one turn. */
static void a18_the_answer_comes_when_every_shard_has_obeyed(void **state)
{
    (void)state;
    char name[32];
    stage.world.shards = 4;
    stage_start(&stage);
    for (unsigned i = 0; i < 40000; i++) {
        struct queues *queues = &stage.world.node.mtas[2].queues;
        snprintf(name, sizeof(name), "n%u.test", i);
        assert_int_not_equal(queues_name(queues, slice_from_string(name)), QUEUE_NONE);
    }
    struct question question = {
        .request = {.action = ADMIN_DO_SUSPEND, .criteria = {.everything = true}}};
    assert_int_equal(ask(&stage.world, &question), ADMIN_DONE);
    const struct queues *queues = &stage.world.node.mtas[2].queues;
    for (uint32_t i = 0; i < queues_end(queues); i++) {
        assert_int_equal(queues_at(queues, i)->order, QUEUE_SUSPENDED);
    }
}

/* --- bounced and flushed ---------------------------------------------------------------------- */

static void a11_a_bounce_ends_what_waits_what_is_due_and_what_comes_later(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(2);
    struct id suspended = order(&stage.world, ADMIN_DO_SUSPEND, SLICE("t.test"));
    assert_true(stage_mail(&stage, "c@t.test", BODY));
    assert_true(stage_mail(&stage, "c@u.test", BODY));
    run_s(2);
    struct id id = order(&stage.world, ADMIN_DO_BOUNCE, SLICE("t.test"));
    assert_true(stage_mail(&stage, "d@t.test", BODY));
    run_s(1);
    assert_int_equal(world_rows(&stage.world), 1); /* the other domain's */
    assert_int_equal(world_counter(&stage.world, COUNTER_admin_bounces), 3);
    assert_int_equal(stage_told(&stage, "\"type\":\"AdminBounce\""), 3);
    static const char reply[] =
        "\"response\":{\"code\":551,\"enhanced_code\":{\"class\":5,\"subject\":7,"
        "\"detail\":1},\"content\":\"Ringpost internal: Administrator bounced "
        "with reason: testing\",\"command\":null}";
    assert_int_equal(stage_told(&stage, reply), 3);
    const struct admin *admin = &stage.world.node.control->admin;
    assert_int_equal(admin_bounced(admin, admin_at(admin, 1)), 3);
    assert_int_equal(cancel(&stage.world, ADMIN_BOUNCE, id), ADMIN_DONE);
    assert_int_equal(cancel(&stage.world, ADMIN_SUSPEND, suspended), ADMIN_DONE);
    stage.sink.defer = NULL;
    unsigned before = stage.sink.mails;
    assert_true(stage_mail(&stage, "e@t.test", BODY));
    run_s(1);
    assert_int_equal(stage.sink.mails, before + 1);
}

static void a12_what_is_being_sent_is_bounced_only_when_it_comes_back(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    stage.sink.hold = true;
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(1);
    (void)order(&stage.world, ADMIN_DO_BOUNCE, SLICE("t.test"));
    run_s(1);
    assert_int_equal(only_row()->state, ROW_HOT);
    sim_peer_send(stage.sink.last, SLICE("451 4.0.0 later\r\n"));
    run_s(1);
    assert_int_equal(world_rows(&stage.world), 0);
    assert_int_equal(stage_told(&stage, "\"type\":\"TransientFailure\""), 1);
    assert_int_equal(stage_told(&stage, "\"type\":\"AdminBounce\""), 1);
}

/* The bounce is stored, and nothing that it ends is, when the node dies. */
static void a12_what_was_deferred_before_a_restart_is_bounced_when_that_is_over(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    world_set(&stage.world, "spool.recovery_spread=10m");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(2);
    mta()->delivery.stopping = true; /* no batch of it is begun */
    (void)order(&stage.world, ADMIN_DO_BOUNCE, SLICE("t.test"));
    mta()->delivery.stopping = false;
    assert_int_equal(world_counter(&stage.world, COUNTER_admin_bounces), 0);
    world_crash(&stage.world, false);
    assert_true(world_start(&stage.world));
    run_s(2);
    assert_int_equal(world_rows(&stage.world), 0);
    assert_int_equal(world_counter(&stage.world, COUNTER_admin_bounces), 1);
    assert_int_equal(stage_told(&stage, "\"type\":\"AdminBounce\""), 1);
}

static void a13_a_message_that_cannot_be_read_is_bounced_as_well(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(2);
    struct row *row = row_at(&mta()->queues.rows, 0);
    row->offset_64 += 1; /* where no message begins */
    (void)order(&stage.world, ADMIN_DO_BOUNCE, SLICE("t.test"));
    run_s(1);
    assert_int_equal(world_counter(&stage.world, COUNTER_admin_bounces), 1);
    assert_int_equal(stage_told(&stage, "\"type\":\"AdminBounce\""), 1);
}

static void a14_a_flush_makes_due_what_waits(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    run_s(2);
    stage.sink.hold = true;
    assert_true(stage_mail(&stage, "b@t.test", BODY)); /* is being sent */
    run_s(1);
    struct sim_peer *held = stage.sink.last;
    stage.sink.hold = false;
    stage.sink.defer = NULL;
    for (unsigned i = 0; i < 2; i++) {
        struct question question = domain_question(ADMIN_DO_FLUSH, SLICE("t.test"));
        question.request.dry_run = i == 0;
        assert_int_equal(ask(&stage.world, &question), ADMIN_DONE);
        assert_int_equal(question.request.found.queues, 1);
        assert_int_equal(question.request.found.recipients, 1);
        run_s(1);
    }
    sim_peer_send(held, SLICE("250 2.0.0 taken\r\n"));
    run_s(2);
    assert_int_equal(world_rows(&stage.world), 1);
    assert_int_equal(only_row()->state, ROW_WAITING);
}

/* Its message is being written again: it is held until it comes back. */
static void a14_a_flush_reaches_what_a_rewrite_holds(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(2);
    stage.sink.defer = NULL;
    queues_row_hold(&mta()->queues, 0);
    struct question question = domain_question(ADMIN_DO_FLUSH, SLICE("t.test"));
    assert_int_equal(ask(&stage.world, &question), ADMIN_DONE);
    assert_int_equal(only_row()->state, ROW_HELD);
    queues_row_wait(&mta()->queues, 0);
    run_s(1);
    assert_int_equal(stage.sink.mails, 1);
}

static void a15_a_stop_answers_everybody(void **state)
{
    (void)state;
    struct question questions[4];
    stage_start(&stage);
    for (unsigned i = 0; i < COUNT_OF(questions); i++) {
        questions[i] = domain_question(ADMIN_DO_SUSPEND, SLICE("t.test"));
        put(&stage.world, &questions[i]);
    }
    world_stop(&stage.world, 1);
    for (unsigned i = 0; i < COUNT_OF(questions); i++) {
        assert_true(questions[i].answered);
        assert_true(questions[i].request.status == ADMIN_DONE ||
                    questions[i].request.status == ADMIN_STOPPING);
    }
    assert_true(world_start(&stage.world));
}

/* --- under load ------------------------------------------------------------------------------- */

struct load {
    unsigned crashes; /* per thousand, after each order */
    struct world_tally tally;
    uint64_t bounced; /* out */
    uint64_t orders;  /* out */
};

static void world_make(struct world *world, struct sim *sim)
{
    static const unsigned shards[] = {1, 2, 4};
    world_init(world, sim);
    world_short_timeouts(world);
    world->shards = shards[sim_below(sim, COUNT_OF(shards))];
    world->recipients_max = 5;
    world->domains = WORLD_DOMAINS;
    world->bounced_domains = 2; /* d1.test */
    world->mood = (struct sink_mood){
        .defer = 200, .bounce = 50, .drop = 20, .slow = 100, .slow_ns = 50 * NS_PER_MS};
    world_log_vary(world);
    world_open(world);
}

/* Whether it is answered before the next crash is chance, too. */
static bool random_order(struct world *world, struct load *load, struct question *question)
{
    static const char *const domains[] = {"d0.test", "d1.test", "d2.test"};
    struct sim *sim = world->sim;
    unsigned domain = (unsigned)sim_below(sim, COUNT_OF(domains));
    bool bounce = domain == 1 && sim_chance(sim, 700);
    *question = domain_question(bounce                 ? ADMIN_DO_BOUNCE
                                : sim_chance(sim, 200) ? ADMIN_DO_FLUSH
                                                       : ADMIN_DO_SUSPEND,
                                slice_from_string(domains[domain]));
    question->request.duration_ns = NS_PER_MS + sim_below(sim, 5 * NS_PER_S);
    put(world, question);
    load->orders++;
    return sim_chance(sim, 500)
               ? sim_run_for(sim, sim_below(sim, 20 * NS_PER_MS))
               : sim_run_until(sim, is_answered, question, 60 * NS_PER_S);
}

static void load_body(struct sim *sim, void *context)
{
    struct load *load = context;
    struct world world;
    struct question questions[12];
    world_make(&world, sim);
    bool good = world_start(&world);
    world_mail(&world, 4, 40, 5 * NS_PER_MS);
    for (unsigned i = 0; i < COUNT_OF(questions) && good; i++) {
        good = random_order(&world, load, &questions[i]) &&
               sim_run_for(sim, sim_below(sim, 500 * NS_PER_MS));
        if (good && sim_chance(sim, load->crashes)) {
            load->bounced += world_counter(&world, COUNTER_admin_bounces);
            world_crash(&world, sim_chance(sim, 500));
            good = world_start(&world);
        } else if (good) {
            world_rows_check(&world);
            good = !sim_failed(sim);
        }
    }
    if (good) {
        world_settle(&world);
        load->bounced += world_counter(&world, COUNTER_admin_bounces);
        world_finish(&world);
    }
    world_tally_add(&load->tally, &world.tally);
    world_close(&world);
}

static void load_run(const char *name, struct load *load, unsigned count)
{
    struct sim_campaign campaign = {
        .name = name, .count = count, .body = load_body, .context = load};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&load->tally);
    printf("orders %llu, bounced %llu\n", (unsigned long long)load->orders,
           (unsigned long long)load->bounced);
    assert_true(load->bounced > 0 || getenv("SEED") != NULL);
}

static void a16_orders_under_load_lose_and_double_no_mail(void **state)
{
    (void)state;
    struct load load = {0};
    load_run("orders", &load, 30);
}

static void a17_crashes_in_the_middle_of_orders_lose_and_double_no_mail(void **state)
{
    (void)state;
    struct load load = {.crashes = 300};
    load_run("orders and crashes", &load, 40);
}

int main(void)
{
#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_STAGE(a01_suspended_mail_stands_still_uncounted_and_untold_until_it_is_let_go),
        ON_STAGE(a02_it_ends_by_itself_after_five_minutes_or_when_it_is_to),
        ON_STAGE(a03_mail_that_comes_due_meanwhile_waits_with_the_rest),
        ON_STAGE(a03_mail_does_not_expire_while_it_is_suspended),
        ON_STAGE(a04_what_has_begun_to_be_sent_ends_as_ever),
        ON_STAGE(a04_what_was_taken_and_not_begun_goes_back),
        ON_STAGE(a04_what_was_read_ahead_goes_back),
        ON_STAGE(a05_a_ready_queue_is_suspended_by_its_name_and_its_queues_say_why),
        ON_STAGE(at09_what_a_rule_suspends_says_so_and_ends_when_the_rule_says),
        ON_STAGE(at09_rules_and_operators_order_beside_each_other),
        ON_STAGE(a06_what_cannot_be_ordered_changes_nothing),
        ON_STAGE(a07_what_cannot_be_stored_is_not_done),
        ON_STAGE(a07_what_is_not_stored_for_sure_is_taken_back),
        ON_STAGE(a07_what_is_taken_back_at_once_is_not_stored),
        ON_STAGE(a08_a_dry_run_counts_names_five_and_does_nothing),
        ON_STAGE(a09_entries_survive_stops_and_kills_and_are_obeyed_before_mail_moves),
        ON_STAGE(a10_a_damaged_file_is_set_aside_and_named),
        ON_STAGE(a10_what_cannot_be_read_now_is_read_later_or_the_start_fails),
        ON_STAGE(a18_the_answer_comes_when_every_shard_has_obeyed),
        ON_STAGE(a11_a_bounce_ends_what_waits_what_is_due_and_what_comes_later),
        ON_STAGE(a12_what_is_being_sent_is_bounced_only_when_it_comes_back),
        ON_STAGE(a12_what_was_deferred_before_a_restart_is_bounced_when_that_is_over),
        ON_STAGE(a13_a_message_that_cannot_be_read_is_bounced_as_well),
        ON_STAGE(a14_a_flush_makes_due_what_waits),
        ON_STAGE(a14_a_flush_reaches_what_a_rewrite_holds),
        ON_STAGE(a15_a_stop_answers_everybody),
        cmocka_unit_test(a16_orders_under_load_lose_and_double_no_mail),
        cmocka_unit_test(a17_crashes_in_the_middle_of_orders_lose_and_double_no_mail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
