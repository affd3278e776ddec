/*
 * Hours of queues in a whole node, in virtual time: its clock begins at 08:53:20 UTC on a Thursday.
 */
#include "core/hours.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(l14_mail_goes_in_the_hours_of_its_queue_alone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            l14_f25_a_clock_that_jumps_opens_and_shuts_within_a_minute, set_up, tear_down),
        cmocka_unit_test_setup_teardown(l14_hours_and_a_rate_hold_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(g07_new_hours_hold_at_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
