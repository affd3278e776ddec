/*
 * Queued mail that gets another queue, on a whole node in virtual time: it is moved whole, once and
 * durably; a crash at any moment finds a recipient in the old queue or in the new one, and in the
 * new one once that was answered. Each that is moved has a record of it, and the same one after a
 * crash.
 *
 * SEED=n COUNT=m build/dev/tests/world_rebind_test repeats or extends the campaign.
 */
#include "smtp/rebind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/queue_of.h"
#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"

/* --- asking ----------------------------------------------------------------------------------- */

struct question {
    struct rebind_request request;
    bool answered;
};

static void answered(struct rebind_request *request)
{
    CONTAINER_OF(request, struct question, request)->answered = true;
}

static bool is_answered(void *context)
{
    return ((const struct question *)context)->answered;
}

static struct question to_campaign(const char *domain, const char *campaign)
{
    return (struct question){
        .request = {
            .criteria = {.domain = slice_from_string(domain)},
            .change = {.sets_campaign = true, .campaign = slice_from_string(campaign)},
            .reason = SLICE("testing"),
            .done = answered,
        }};
}

static void put(struct world *world, struct question *question)
{
    assert_true(rebind_ask(&world->node.control->rebind, &question->request));
}

static enum rebind_status ask(struct world *world, struct question *question)
{
    put(world, question);
    assert_true(sim_run_until(world->sim, is_answered, question, 60 * NS_PER_S));
    return question->request.status;
}

/* --- one stage -------------------------------------------------------------------------------- */

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world, "queues.queue.default.retry_interval=\"1h\"");
    world_set(&stage.world, "queues.tenant.known.max_age=\"10d\"");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static uint32_t rows_of(const char *name)
{
    struct queues *queues = &stage.world.node.mtas[0].queues;
    for (uint32_t i = 0; i < queues_end(queues); i++) {
        struct sched_queue *queue = queues_find(queues, i);
        if (queue != NULL && slice_equal(sched_queue_name(queues, queue),
                                         slice_from_string(name))) {
            return queue->rows;
        }
    }
    return 0;
}

static uint32_t urgent_rows(void)
{
    const struct slab *rows = &stage.world.node.mtas[0].queues.rows;
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows->fresh; i++) {
        count += row_at(rows, i)->state != ROW_FREE && row_at(rows, i)->urgent;
    }
    return count;
}

/* So many messages that were tried once and wait. */
static void mail(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_true(stage_mail(&stage, "a@t.test", BODY));
    }
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    assert_int_equal(rows_of("t.test"), count);
}

static void again(void)
{
    world_stop(&stage.world, 1);
    assert_true(world_start(&stage.world));
    stage.server = stage.world.node.bound[0];
}

static void b01_mail_gets_another_queue_and_keeps_all_else(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(5);
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(question.request.moved, 5);
    assert_int_equal(question.request.left, 0);
    assert_int_equal(rows_of("t.test"), 0);
    assert_int_equal(rows_of("spring:@t.test"), 5);
    again();
    assert_int_equal(rows_of("spring:@t.test"), 5);
    stage.sink.defer = NULL;
    assert_true(sim_run_for(stage.sim, 2 * 3600 * NS_PER_S));
    for (unsigned i = 0; i < 5; i++) {
        assert_true(stage_expect(&stage, i, BODY));
    }
    assert_int_equal(stage.sink.mails, 5);
}

static void b02_a_kill_after_the_answer_changes_nothing(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(3);
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    world_crash(&stage.world, true);
    assert_true(world_start(&stage.world));
    assert_int_equal(rows_of("t.test"), 0);
    assert_int_equal(rows_of("spring:@t.test"), 3);
}

static void b03_a_dry_run_and_what_is_there_already_move_nothing(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(2);
    question.request.dry_run = true;
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(question.request.found.recipients, 2);
    assert_int_equal(rows_of("t.test"), 2);
    question = to_campaign("t.test", "spring");
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    uint64_t moved = world_counter(&stage.world, COUNTER_messages_rewritten);
    question = to_campaign("t.test", "spring");
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(question.request.found.queues, 0);
    assert_int_equal(world_counter(&stage.world, COUNTER_messages_rewritten), moved);
}

static void b04_class_and_tenant_are_set_and_taken_away(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(2);
    question.request.change.sets_class = true;
    question.request.change.urgent = true;
    question.request.change.sets_tenant = true;
    question.request.change.tenant = SLICE("known");
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(rows_of("spring:known@t.test"), 2);
    assert_int_equal(urgent_rows(), 2);
    again();
    assert_int_equal(rows_of("spring:known@t.test"), 2);
    assert_int_equal(urgent_rows(), 2);
    question = to_campaign("t.test", "");
    question.request.change.sets_tenant = true;
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(rows_of("t.test"), 2);
    assert_int_equal(urgent_rows(), 2);
}

static void b05_what_is_to_be_flushed_is_due_at_once(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(2);
    stage.sink.defer = NULL;
    question.request.flush = true;
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_true(talk_sink_wait(&stage.sink, 2, 60 * NS_PER_S));
}

static void b06_what_makes_no_sense_is_refused(void **state)
{
    struct question rows[] = {
        to_campaign("", "spring"),
        to_campaign("t.test", "spring"),
        to_campaign("t.test", "spring"),
        to_campaign("t.test", "spring"),
    };
    (void)state;
    mail(1);
    rows[1].request.reason = SLICE_NONE;
    rows[2].request.change.sets_campaign = false;
    rows[3].request.change.sets_tenant = true;
    rows[3].request.change.tenant = SLICE("unknown");
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(ask(&stage.world, &rows[i]), REBIND_INVALID);
        assert_non_null(rows[i].request.problem);
    }
    assert_int_equal(rows_of("t.test"), 1);
}

static void b07_what_is_being_sent_stays_and_is_counted(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(2);
    stage.sink.defer = NULL;
    stage.sink.hold = true;
    assert_true(stage_mail(&stage, "a@t.test", BODY));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(question.request.moved, 2);
    assert_int_equal(question.request.left, 1);
    assert_int_equal(rows_of("t.test"), 1);
}

static void b09_what_was_being_sent_is_moved_when_it_waits_again(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(2);
    stage.sink.hold = true;
    assert_true(stage_mail(&stage, "a@t.test", BODY));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    put(&stage.world, &question);
    assert_true(sim_run_for(stage.sim, 300 * NS_PER_MS));
    assert_false(question.answered);
    assert_int_equal(rows_of("spring:@t.test"), 2);
    sim_peer_send(stage.sink.last, slice_from_string(stage.sink.defer));
    assert_true(sim_run_until(stage.sim, is_answered, &question, 60 * NS_PER_S));
    assert_int_equal(question.request.moved, 3);
    assert_int_equal(question.request.left, 0);
    assert_int_equal(rows_of("spring:@t.test"), 3);
}

static void b08_a_stop_answers_everybody(void **state)
{
    struct question questions[3];
    (void)state;
    mail(20);
    for (unsigned i = 0; i < COUNT_OF(questions); i++) {
        questions[i] = to_campaign("t.test", i == 0 ? "spring" : i == 1 ? "summer" : "autumn");
        put(&stage.world, &questions[i]);
    }
    world_stop(&stage.world, 1);
    for (unsigned i = 0; i < COUNT_OF(questions); i++) {
        assert_true(questions[i].answered);
    }
    assert_true(world_start(&stage.world));
    assert_int_equal(rows_of("t.test") + rows_of("spring:@t.test") + rows_of("summer:@t.test") +
                         rows_of("autumn:@t.test"),
                     20);
}

/* --- records ---------------------------------------------------------------------------------- */

#define REBOUND "\"type\":\"AdminRebind\""

static void b10_each_that_is_moved_has_a_record(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(3);
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(stage_told(&stage, REBOUND), 3);
    assert_int_equal(stage_told(&stage, "Rebound from t.test to spring:@t.test: testing"), 3);
    assert_int_equal(stage_told(&stage, "\"queue\":\"spring:@t.test\""), 3);
    question = to_campaign("t.test", "");
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(stage_told(&stage, "Rebound from spring:@t.test to t.test: testing"), 3);
    again();
    assert_int_equal(stage_told(&stage, REBOUND), 6);
}

static void b11_an_order_may_ask_for_no_records(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(2);
    question.request.untold = true;
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(rows_of("spring:@t.test"), 2);
    assert_int_equal(stage_told(&stage, REBOUND), 0);
    again();
    assert_int_equal(stage_told(&stage, REBOUND), 0);
    question = to_campaign("t.test", "summer");
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    assert_int_equal(stage_told(&stage, REBOUND), 2);
    question = to_campaign("t.test", "autumn");
    question.request.untold = true;
    assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
    world_crash(&stage.world, true);
    assert_true(world_start(&stage.world));
    assert_int_equal(rows_of("autumn:@t.test"), 2);
    assert_int_equal(stage_told(&stage, REBOUND), 2);
}

/* The text of the log's n-th record of a rebind, up to its line end; the caller frees. */
static char *rebound_line(unsigned number)
{
    char *text = world_log(&stage.world);
    const char *at = text;
    for (unsigned i = 0; i <= number && at != NULL; i++) {
        at = strstr(i == 0 ? at : at + 1, REBOUND);
    }
    char *line = at == NULL ? NULL : strndup(at, strcspn(at, "\n"));
    free(text);
    return line;
}

/* It was answered, and the event log had no time to write; the next life reads it again. */
static void b12_a_kill_before_the_record_is_written_loses_none_and_makes_no_second_one(void **state)
{
    struct question question = to_campaign("t.test", "spring");
    (void)state;
    mail(2);
    for (unsigned life = 0; life < 3; life++) {
        question = to_campaign("t.test", life % 2 == 0 ? "spring" : "");
        assert_int_equal(ask(&stage.world, &question), REBIND_DONE);
        world_crash(&stage.world, true);
        assert_true(world_start(&stage.world));
        assert_true(stage_told(&stage, REBOUND) >= 2 * (life + 1));
    }
    char *lines[16] = {0};
    for (unsigned i = 0; i < COUNT_OF(lines); i++) {
        lines[i] = rebound_line(i);
    }
    unsigned different = 0;
    for (unsigned i = 0; i < COUNT_OF(lines) && lines[i] != NULL; i++) {
        bool seen = false;
        for (unsigned k = 0; k < i; k++) {
            seen = seen || strcmp(lines[k], lines[i]) == 0;
        }
        different += !seen;
    }
    assert_int_equal(different, 6);
    for (unsigned i = 0; i < COUNT_OF(lines); i++) {
        free(lines[i]);
    }
}

/* --- crashes ---------------------------------------------------------------------------------- */

struct load {
    uint64_t moved;
    uint64_t asked;
    uint64_t certain; /* answers for all of a domain, before a crash */
    struct world_tally tally;
};

static void world_make(struct world *world, struct sim *sim)
{
    static const unsigned shards[] = {1, 2, 4};
    world_init(world, sim);
    world_short_timeouts(world);
    world->shards = shards[sim_below(sim, COUNT_OF(shards))];
    world->recipients_max = 5;
    world->domains = WORLD_DOMAINS;
    world->stubborn = 800;
    world->rebinds = true;
    world->large = sim_chance(sim, 300) ? 200 : 0;
    world->mood = (struct sink_mood){.defer = 200, .bounce = 50, .slow = 100,
                                     .slow_ns = 50 * NS_PER_MS};
    world_log_vary(world);
    world_open(world);
}

/* The campaigns of d0.test's rows are numbers, from `least` to `most`. */
static void check_queues(struct world *world, unsigned least, unsigned most)
{
    for (unsigned i = 0; i < world->node.shards; i++) {
        struct queues *queues = &world->node.mtas[i].queues;
        for (uint32_t j = 0; j < queues_end(queues); j++) {
            struct sched_queue *queue = queues_find(queues, j);
            if (queue == NULL || queue->rows == 0) {
                continue;
            }
            struct conf_queue_key key = queue_name_parse(sched_queue_name(queues, queue));
            bool moved = slice_equal(key.domain, SLICE("d0.test"));
            uint64_t number = 0;
            if (key.campaign.size > 0 && !slice_parse_u64(key.campaign, &number)) {
                sim_fail(world->sim, "a campaign that nobody has set");
            }
            if (number > (moved ? most : 0) || (moved && number < least)) {
                sim_fail(world->sim, "a row of d0.test is in campaign %u, not in %u to %u",
                         (unsigned)number, least, most);
            }
        }
    }
}

static void load_body(struct sim *sim, void *context)
{
    struct load *load = context;
    struct world world;
    struct question questions[10];
    char names[COUNT_OF(questions) + 1][8];
    unsigned least = 0;
    world_make(&world, sim);
    bool good = world_start(&world);
    world_mail(&world, 4, 30, 5 * NS_PER_MS);
    good = good && sim_run_until(sim, world_handed_in, &world, 600 * NS_PER_S);
    for (unsigned i = 0; i < COUNT_OF(questions) && good; i++) {
        snprintf(names[i], sizeof(names[i]), "%u", i + 1);
        questions[i] = to_campaign("d0.test", names[i]);
        put(&world, &questions[i]);
        load->asked++;
        good = sim_chance(sim, 500)
                   ? sim_run_for(sim, sim_below(sim, 5 * NS_PER_MS))
                   : sim_run_until(sim, is_answered, &questions[i], 600 * NS_PER_S);
        bool sure = questions[i].answered && questions[i].request.left == 0;
        least = sure ? i + 1 : least;
        load->certain += sure;
        load->moved += questions[i].request.moved;
        if (good && sim_chance(sim, 600)) {
            world_crash(&world, sim_chance(sim, 500));
            good = world_start(&world);
        } else if (good) {
            good = sim_run_until(sim, is_answered, &questions[i], 600 * NS_PER_S);
        }
        if (good) {
            check_queues(&world, least, i + 1);
            world_rows_check(&world);
            good = !sim_failed(sim);
        }
    }
    if (good) {
        uint64_t moved = 0;
        for (unsigned i = 0; i < COUNT_OF(questions); i++) {
            moved += questions[i].answered ? questions[i].request.moved : 0;
        }
        world_finish(&world);
        if (!sim_failed(sim) && world.tally.events_rebound < moved) {
            sim_fail(sim, "%llu were moved and %llu are told", (unsigned long long)moved,
                     (unsigned long long)world.tally.events_rebound);
        }
    }
    world_tally_add(&load->tally, &world.tally);
    world_close(&world);
}

static void b09_a_crash_finds_every_recipient_in_one_queue_and_answered_ones_in_the_new(
    void **state)
{
    struct load load = {0};
    struct sim_campaign campaign = {
        .name = "rebinds and crashes", .count = 40, .body = load_body, .context = &load};
    (void)state;
    assert_int_equal(sim_campaign_run(&campaign), 0);
    world_tally_print(&load.tally);
    printf("asked %llu, certain %llu, moved %llu\n", (unsigned long long)load.asked,
           (unsigned long long)load.certain, (unsigned long long)load.moved);
    assert_true((load.moved > 0 && load.certain > 0) || getenv("SEED") != NULL);
}

int main(void)
{
#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_STAGE(b01_mail_gets_another_queue_and_keeps_all_else),
        ON_STAGE(b02_a_kill_after_the_answer_changes_nothing),
        ON_STAGE(b03_a_dry_run_and_what_is_there_already_move_nothing),
        ON_STAGE(b04_class_and_tenant_are_set_and_taken_away),
        ON_STAGE(b05_what_is_to_be_flushed_is_due_at_once),
        ON_STAGE(b06_what_makes_no_sense_is_refused),
        ON_STAGE(b07_what_is_being_sent_stays_and_is_counted),
        ON_STAGE(b09_what_was_being_sent_is_moved_when_it_waits_again),
        ON_STAGE(b08_a_stop_answers_everybody),
        ON_STAGE(b10_each_that_is_moved_has_a_record),
        ON_STAGE(b11_an_order_may_ask_for_no_records),
        ON_STAGE(b12_a_kill_before_the_record_is_written_loses_none_and_makes_no_second_one),
        cmocka_unit_test(
            b09_a_crash_finds_every_recipient_in_one_queue_and_answered_ones_in_the_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
