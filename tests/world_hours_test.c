/*
 * Hours of queues, and what messages say of their time themselves, in a whole node, in virtual
 * time: its clock begins at 08:53:20 UTC on a Thursday.
 */
#include "core/hours.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>

#include "core/check.h"
#include "smtp/delivery.h"
#include "smtp/reload.h"
#include "tests/kit/stage.h"

#define BODY      "Subject: x\r\n\r\ntext\r\n"
#define FILE_NAME "hours.toml"
#define TO_TEN_S  4000

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
    return stage_close(&stage) ? 0 : -1;
}

static void set_hours(const char *domain, const char *dow, const char *start, const char *end)
{
    world_set(&stage.world, "queues.queue.\"%s\".dow=\"%s\"", domain, dow);
    world_set(&stage.world, "queues.queue.\"%s\".tz=\"UTC\"", domain);
    world_set(&stage.world, "queues.queue.\"%s\".start=\"%s\"", domain, start);
    world_set(&stage.world, "queues.queue.\"%s\".end=\"%s\"", domain, end);
}

static void run_s(uint64_t seconds)
{
    assert_true(sim_run_for(stage.sim, seconds * NS_PER_S));
}

static struct delivery *delivery(void)
{
    return &stage.world.node.mtas[0].delivery;
}

static struct hold hold_of(const char *name)
{
    uint32_t number = queues_name(delivery()->queues, slice_from_string(name));
    return delivery_hold(delivery(), queues_at(delivery()->queues, number));
}

/* Seconds from now on. */
static uint64_t opens_in_s(const char *name)
{
    struct hold hold = hold_of(name);
    assert_string_equal(hold_name(hold.reason), "quiet_hours");
    return (hold.until_ns - delivery()->shard->now_ns) / NS_PER_S;
}

static void l14_mail_goes_in_the_hours_of_its_queue_alone(void **state)
{
    (void)state;
    set_hours("t.test", "Thu,Fri", "10:00:00", "11:00:00");
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@u.test", BODY));
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    assert_string_equal(stage.sink.mail[0].recipient, "b@u.test");
    assert_int_equal(delivery()->gates.used, 1); /* who has no hours has no gate */
    run_s(100);
    assert_in_range(opens_in_s("t.test"), 3880, 3900);
    run_s(3790);
    assert_int_equal(stage.sink.mails, 1);
    assert_int_equal(stage.sink.conns, 1); /* that of the other queue */
    assert_true(talk_sink_wait(&stage.sink, 2, 120 * NS_PER_S));
    uint64_t wall_s = delivery()->shard->wall_ns / NS_PER_S;
    assert_in_range(wall_s, 1760000000 + TO_TEN_S, 1760000000 + TO_TEN_S + 1);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(talk_sink_wait(&stage.sink, 3, 10 * NS_PER_S));
    run_s(3600);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(10);
    assert_int_equal(stage.sink.mails, 3);
    assert_in_range(opens_in_s("t.test"), 22 * 3600, 23 * 3600);
}

static void l14_f25_a_clock_that_jumps_opens_and_shuts_within_a_minute(void **state)
{
    (void)state;
    set_hours("t.test", "Thu", "10:00", "11:00");
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(10);
    assert_int_equal(stage.sink.mails, 0);
    sim_wall_jump(stage.sim, 4000 * (int64_t)NS_PER_S);
    assert_true(talk_sink_wait(&stage.sink, 1, 61 * NS_PER_S));
    sim_wall_jump(stage.sim, -4000 * (int64_t)NS_PER_S); /* behind what it has seen as open */
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    run_s(61);
    assert_int_equal(stage.sink.mails, 1);
    assert_in_range(opens_in_s("t.test"), 3700, 3990);
    sim_wall_jump(stage.sim, 8000 * (int64_t)NS_PER_S); /* past all of it */
    run_s(61);
    assert_int_equal(stage.sink.mails, 1);
    assert_true(opens_in_s("t.test") > 6 * 86400);
}

/* Shut at night for the hours, by day for the rate, and it is told which. */
static void l14_hours_and_a_rate_hold_together(void **state)
{
    (void)state;
    set_hours("t.test", "Thu", "10:00", "11:00");
    world_set(&stage.world, "queues.queue.\"t.test\".max_message_rate=\"1/10m,max_burst=1\"");
    stage_start(&stage);
    for (unsigned i = 0; i < 9; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
    run_s(3900);
    assert_int_equal(stage.sink.mails, 0);
    assert_string_equal(hold_name(hold_of("t.test").reason), "quiet_hours");
    run_s(200);
    assert_int_equal(stage.sink.mails, 1);
    assert_string_equal(hold_name(hold_of("t.test").reason), "queue_rate");
    run_s(3600);
    assert_int_equal(stage.sink.mails, 6); /* at 10:00, 10:10 … 10:50 */
    assert_string_equal(hold_name(hold_of("t.test").reason), "quiet_hours");
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
    question->answered = true;
    question->status = result->status;
}

static bool is_answered(void *context)
{
    return ((struct question *)context)->answered;
}

static void reload(const char *text)
{
    struct question question = {.request = {.done = answered}};
    CHECK(sim_disk_put(stage.world.disk, FILE_NAME, slice_from_string(text)) == 0);
    list_init(&question.request.link);
    assert_true(reload_ask(&stage.world.node.control->reload, &question.request));
    assert_true(sim_run_until(stage.sim, is_answered, &question, 60 * NS_PER_S));
    assert_int_equal(question.status, RELOAD_APPLIED);
}

#define HOURS(start, end)                                                                          \
    "[queues.queue.default]\ndow = \"Thu\"\ntz = \"UTC\"\nstart = \"" start "\"\nend = \"" end     \
    "\"\n"

static void g07_new_hours_hold_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        const char *after;
        bool goes;
    } rows[] = {
        {HOURS("10:00", "11:00"), HOURS("08:00", "11:00"), true},
        {HOURS("10:00", "11:00"), HOURS("09:30", "11:00"), false},
        {HOURS("10:00", "11:00"), "", true},
        {HOURS("10:00", "11:00") "max_message_rate = \"9/s\"\n",
         "[queues.queue.default]\nmax_message_rate = \"9/s\"\n", true},
        {"", HOURS("10:00", "11:00"), false},
        {HOURS("08:00", "11:00"), HOURS("10:00", "11:00"), false},
        {"[queues.queue.default]\nmax_message_rate = \"9/s\"\n",
         HOURS("10:00", "11:00") "max_message_rate = \"9/s\"\n", false},
    };
    stage.world.conf_file = FILE_NAME;
    stage.world.sets_kept = stage.world.set_count;
    stage_start(&stage);
    unsigned mails = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        reload(rows[i].before);
        assert_true(stage_mail(&stage, "b@t.test", BODY));
        run_s(1);
        reload(rows[i].after);
        run_s(5);
        if (!rows[i].goes) {
            assert_true(stage_mail(&stage, "b@t.test", BODY));
            run_s(5);
            assert_string_equal(hold_name(hold_of("t.test").reason), "quiet_hours");
            reload("");
            mails++;
        }
        assert_true(talk_sink_wait(&stage.sink, ++mails, 5 * NS_PER_S));
    }
    run_s(10);
    assert_int_equal(stage.sink.mails, mails);
}

/* --- schedules of messages -------------------------------------------------------------------- */

#define SCHEDULED(members) "X-When: {" members "}\r\n" BODY
#define OWN_HOURS(start, end)                                                                      \
    "\"dow\":\"Thu\",\"tz\":\"UTC\",\"start\":\"" start "\",\"end\":\"" end "\""
#define AT_TEN "\"first_attempt\":\"2025-10-09T12:00:00+02:00\""

static int set_up_schedules(void **state)
{
    int result = set_up(state);
    world_set(&stage.world, "queues.scheduling_header=\"X-When\"");
    return result;
}

/* Seconds since the node's clock began. */
static uint64_t wall_s(void)
{
    return sim_now_ns(stage.sim) / NS_PER_S;
}

static void run_to_s(uint64_t second)
{
    run_s(second - wall_s());
}

static const struct row *only_row(void)
{
    const struct slab *rows = &delivery()->queues->rows;
    const struct row *found = NULL;
    for (uint32_t i = 0; i < rows->fresh; i++) {
        if (row_at(rows, i)->state != ROW_FREE) {
            assert_null(found);
            found = row_at(rows, i);
        }
    }
    assert_non_null(found);
    return found;
}

static uint64_t counted(enum counter counter)
{
    return world_counter(&stage.world, counter);
}

static void l15_a_message_waits_for_its_first_attempt_and_loses_the_field(void **state)
{
    (void)state;
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", SCHEDULED(AT_TEN)));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    run_s(1);
    assert_string_equal(hold_name(hold_of("t.test").reason), "not_due");
    assert_int_equal(only_row()->due_s, 1760000000 + TO_TEN_S);
    assert_false(messages_keeps(delivery()->messages, row_location(only_row())));
    run_to_s(TO_TEN_S - 1);
    assert_int_equal(stage.sink.mails, 1);
    assert_true(talk_sink_wait(&stage.sink, 2, 2 * NS_PER_S));
    assert_true(stage_expect(&stage, 1, BODY));
    assert_int_equal(counted(COUNTER_schedule_waits), 0);
}

static void l15_a_restart_and_a_crash_keep_the_schedule(void **state)
{
    (void)state;
    stage_start(&stage);
    for (unsigned i = 0; i < 4; i++) {
        if (i == 0) {
            assert_true(stage_mail(&stage, "b@t.test", SCHEDULED(AT_TEN)));
        } else if (i == 2) {
            world_crash(&stage.world, true);
        } else {
            world_stop(&stage.world, 1);
        }
        if (i > 0) {
            assert_true(world_start(&stage.world));
        }
        assert_int_equal(only_row()->due_s, 1760000000 + TO_TEN_S);
        assert_true(only_row()->scheduled);
    }
    run_to_s(TO_TEN_S - 1);
    assert_int_equal(stage.sink.mails, 0);
    assert_true(talk_sink_wait(&stage.sink, 1, 2 * NS_PER_S));
}

/* By the log alone, and what a flush, or a schedule with hours, wants when it is too early. */
static void l15_nothing_is_sent_before_its_time_whatever_says_that_it_is_due(void **state)
{
    (void)state;
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", SCHEDULED(AT_TEN)));
    world_crash(&stage.world, false);
    assert_true(world_start(&stage.world));
    assert_int_equal(only_row()->due_s, 1760000000 + TO_TEN_S);
    struct row *row = row_at(&delivery()->queues->rows, 0);
    assert_ptr_equal(row, only_row());
    for (unsigned i = 1; i <= 2; i++) {
        queues_row_hold(delivery()->queues, 0);
        queues_row_due(delivery()->queues, 0, false);
        run_s(5);
        assert_int_equal(counted(COUNTER_schedule_waits), i);
        assert_int_equal(row->due_s, 1760000000 + TO_TEN_S);
        assert_int_equal(row->attempts, 0);
        assert_int_equal(row->state, ROW_WAITING);
    }
    run_to_s(TO_TEN_S - 1);
    assert_int_equal(stage.sink.mails, 0);
    assert_true(talk_sink_wait(&stage.sink, 1, 2 * NS_PER_S));
    assert_int_equal(counted(COUNTER_transient_failures), 0);
}

static void l15_attempts_are_made_in_its_hours_alone(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.default.retry_interval=\"20m\"");
    world_set(&stage.world, "queues.queue.default.max_retry_interval=\"20m\"");
    world_set(&stage.world, "queues.queue.default.max_age=\"8d\"");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@t.test", SCHEDULED(OWN_HOURS("10:00", "11:00"))));
    assert_int_equal(only_row()->due_s, 1760000000 + TO_TEN_S);
    run_to_s(TO_TEN_S + 3600);
    assert_in_range(only_row()->attempts, 2, 3);
    assert_int_equal(only_row()->due_s, 1760000000 + TO_TEN_S + 7 * 86400);
}

/* Its queue lets it go when its own hours are over; then both do. */
static void l15_the_hours_of_its_queue_hold_too(void **state)
{
    (void)state;
    set_hours("t.test", "Thu", "10:30", "12:00");
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", SCHEDULED(OWN_HOURS("10:00", "10:20"))));
    assert_true(stage_mail(&stage, "c@t.test", SCHEDULED(OWN_HOURS("10:00", "10:40"))));
    run_to_s(TO_TEN_S + 900);
    assert_string_equal(hold_name(hold_of("t.test").reason), "quiet_hours");
    run_to_s(TO_TEN_S + 1900);
    assert_int_equal(stage.sink.mails, 1);
    assert_string_equal(stage.sink.mail[0].recipient, "c@t.test");
    assert_int_equal(counted(COUNTER_schedule_waits), 1);
    assert_int_equal(only_row()->due_s, 1760000000 + TO_TEN_S + 7 * 86400);
    assert_int_equal(only_row()->attempts, 0);
}

static void l15_its_own_expiry_counts_instead_of_max_age(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        uint64_t heals_s; /* the sink takes mail from then on; 0: never */
        bool delivered;
        uint64_t over_s;  /* no later than then */
    } rows[] = {
        {SCHEDULED("\"expires\":\"2025-10-09T10:00:00Z\""), 0, false, TO_TEN_S + 1},
        {SCHEDULED("\"expires\":\"2025-10-09T10:00:00Z\""), TO_TEN_S - 600, true, TO_TEN_S},
        {SCHEDULED("\"expires\":\"2025-10-09T13:00:00Z\""), TO_TEN_S + 3600, true,
         TO_TEN_S + 3 * 3600},
        {SCHEDULED("\"expires\":\"2025-10-09T08:00:00Z\""), 0, false, 60},
        {SCHEDULED("\"expires\":\"2025-10-09T10:00:00Z\"," OWN_HOURS("11:00", "12:00")), 1, false,
         TO_TEN_S + 1},
        {SCHEDULED(AT_TEN), 0, false, TO_TEN_S + 3602}, /* max_age counts from then on */
        {SCHEDULED(OWN_HOURS("12:00", "12:30")), 1, true, TO_TEN_S + 7202},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        stage_open(&stage, 1);
        world_set(&stage.world, "queues.scheduling_header=\"X-When\"");
        world_set(&stage.world, "queues.queue.default.retry_interval=\"5m\"");
        world_set(&stage.world, "queues.queue.default.max_retry_interval=\"5m\"");
        world_set(&stage.world, "queues.queue.default.max_age=\"1h\"");
        stage_start(&stage);
        stage.sink.defer = "451 4.0.0 later\r\n";
        assert_true(stage_mail(&stage, "b@t.test", rows[i].body));
        if (rows[i].heals_s > 0) {
            run_to_s(MAX_OF(rows[i].heals_s, wall_s()));
            assert_int_equal(counted(COUNTER_expirations), 0);
            stage.sink.defer = NULL;
        }
        run_to_s(rows[i].over_s);
        run_s(1);
        assert_int_equal(stage.sink.mails, rows[i].delivered);
        assert_int_equal(counted(COUNTER_expirations), !rows[i].delivered);
        assert_int_equal(world_rows(&stage.world), 0);
        assert_int_equal(stage_told(&stage, "\"code\":551"), !rows[i].delivered);
        assert_true(stage_close(&stage));
    }
}

static void what_is_no_schedule_is_refused_and_stored_nowhere(void **state)
{
    (void)state;
    struct talk talk;
    char text[1024];
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    static const char *const bad[] = {"{\"expires\":\"soon\"}", "tomorrow", ""};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_true(stage_envelope(&talk, "b@t.test"));
        snprintf(text, sizeof(text), "X-When: %s\r\n%s.\r\n", bad[i], BODY);
        talk_say(&talk, text);
        assert_true(stage_hears(&talk, "550 5.6.0 Schedule: "));
    }
    assert_true(stage_envelope(&talk, "b@t.test"));
    snprintf(text, sizeof(text), "X-When: {%600s}\r\n%s.\r\n", "", BODY);
    talk_say(&talk, text);
    assert_true(stage_hears(&talk, "550 5.6.0 Schedule: it is too long"));
    talk_close(&talk);
    assert_int_equal(world_rows(&stage.world), 0);
    assert_int_equal(counted(COUNTER_messages_received), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(l14_mail_goes_in_the_hours_of_its_queue_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            l14_f25_a_clock_that_jumps_opens_and_shuts_within_a_minute, set_up, tear_down),
        cmocka_unit_test_setup_teardown(l14_hours_and_a_rate_hold_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(g07_new_hours_hold_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            l15_a_message_waits_for_its_first_attempt_and_loses_the_field, set_up_schedules,
            tear_down),
        cmocka_unit_test_setup_teardown(l15_a_restart_and_a_crash_keep_the_schedule,
                                        set_up_schedules, tear_down),
        cmocka_unit_test_setup_teardown(
            l15_nothing_is_sent_before_its_time_whatever_says_that_it_is_due, set_up_schedules,
            tear_down),
        cmocka_unit_test_setup_teardown(l15_attempts_are_made_in_its_hours_alone,
                                        set_up_schedules, tear_down),
        cmocka_unit_test_setup_teardown(l15_the_hours_of_its_queue_hold_too, set_up_schedules,
                                        tear_down),
        cmocka_unit_test(l15_its_own_expiry_counts_instead_of_max_age),
        cmocka_unit_test_setup_teardown(what_is_no_schedule_is_refused_and_stored_nowhere,
                                        set_up_schedules, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
