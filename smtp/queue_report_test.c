/* The report of a whole node in the simulator, line by line. */
#include "smtp/queue_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/stage.h"

#define BODY       "Subject: x\r\n\r\ntext\r\n"
#define TEXT_BYTES (4 * MIB)

static struct stage stage;
static struct queue_report report;
static void *memory;
static char *text;
static unsigned lines;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    text = malloc(TEXT_BYTES);
    memory = NULL;
    return text == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    bool good = stage_close(&stage);
    free(memory);
    free(text);
    return good ? 0 : 1;
}

static bool is_done(void *context)
{
    (void)context;
    return queue_report_done(&report);
}

static void ask(void)
{
    free(memory);
    memory = aligned_alloc(64, align_up(queue_report_memory(stage.world.shards), 64));
    assert_non_null(memory);
    queue_report_init(&report, stage.world.shards, memory);
    assert_false(queue_report_done(&report));
    node_report(&stage.world.node, &report);
}

/* All lines into `text`, each of them whole. */
static void read_all(void)
{
    struct slice line;
    size_t size = 0;
    lines = 0;
    while (queue_report_next(&report, &line)) {
        assert_true(line.size > 1 && size + line.size < TEXT_BYTES);
        assert_ptr_equal(memchr(line.data, '\n', line.size), line.data + line.size - 1);
        memcpy(text + size, line.data, line.size);
        size += line.size;
        lines++;
    }
    text[size] = '\0';
    assert_false(queue_report_next(&report, &line));
}

static void get(void)
{
    ask();
    assert_true(sim_run_until(stage.sim, is_done, NULL, 10 * NS_PER_S));
    read_all();
}

static unsigned count(const char *what)
{
    unsigned found = 0;
    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what)) {
        found++;
    }
    return found;
}

static void expect_line(const char *start, const char *then)
{
    const char *at = strstr(text, start);
    if (at == NULL) {
        fail_msg("no \"%s\" in\n%s", start, text);
    }
    const char *found = strstr(at, then);
    if (found == NULL || memchr(at, '\n', (size_t)(found - at)) != NULL) {
        fail_msg("no \"%s\" in the line of\n%s", then, at);
    }
}

static void l08_every_queue_has_a_line_and_the_longest_waiting_stands_first(void **state)
{
    (void)state;
    world_set(&stage.world,
              "queues.queue.\"late.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    world_set(&stage.world,
              "queues.queue.\"gone.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    world_set(&stage.world, "queues.queue.\"t.test\".max_message_rate=\"1/h\"");
    world_set(&stage.world, "queues.queue.\"late.test\".retry_interval=1h");
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@gone.test", BODY));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    stage.sink.defer = "451 4.0.0 later\r\n";
    assert_true(stage_mail(&stage, "b@late.test", BODY));
    assert_true(sim_run_for(stage.sim, 60 * NS_PER_S));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(sim_run_for(stage.sim, 60 * NS_PER_S));
    get();
    assert_int_equal(strncmp(text, "event=report time=", 18), 0);
    expect_line("event=report time=", " shards=1 scheduled=3 ready=1\n");
    expect_line("event=reason kind=scheduled state=waiting reason=not_due", " queues=1 count=1\n");
    expect_line("event=reason kind=scheduled state=waiting reason=queue_rate", " queues=1 count=1");
    expect_line("event=reason kind=scheduled state=empty reason=empty", " queues=1 count=0\n");
    expect_line("event=reason kind=ready state=empty reason=empty", " queues=1 count=0\n");
    assert_int_equal(count("event=reason "), 4);
    const char *start = "event=queue kind=scheduled name=late.test shard=0 state=waiting "
                        "reason=not_due since=20";
    expect_line(start, " count=1 due=0 time_by_reason_ms=none:");
    expect_line(start, ",not_due:12");
    expect_line(start, " site=unspecified->mx_list:[10.0.9.9]:25@smtp_client\n");
    start = "event=queue kind=scheduled name=t.test shard=0 state=waiting reason=queue_rate ";
    expect_line(start, " retry_in_ms=34"); /* 3600 s less those two minutes */
    expect_line(start, ",queue_rate:60");
    expect_line("event=queue kind=scheduled name=gone.test shard=0 state=empty", " count=0 due=0 ");
    expect_line("event=queue kind=ready name=unspecified->mx_list:[10.0.9.9]:25@smtp_client "
                "shard=0 state=empty ", " count=0 due=0 ");
    assert_true(strstr(text, "name=late.test") < strstr(text, "name=t.test"));
    assert_true(strstr(text, "name=t.test") < strstr(text, "name=gone.test"));
    expect_line("event=limit kind=connection_limit name=unspecified->mx_list:", " limit=32 used=");
    expect_line("event=limit kind=max_message_rate name=t.test ", " limit=1/h used=1 retry_in_ms=");
    expect_line("event=report_end", " lines=6 left_out=0\n");
    assert_int_equal(lines, 2 + 4 + 4 + 2 + 1);
}

/* More than may have a line, and far more than one turn may look at. */
static void l08_a_report_is_bounded_and_made_in_slices(void **state)
{
    (void)state;
    enum { QUEUES = 20000 };
    char name[32];
    world_set(&stage.world, "shaping.default.max_message_rate=\"1/h\"");
    stage_start(&stage);
    struct mta *mta = &stage.world.node.mtas[0];
    for (unsigned i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof(name), "q%05u.test", i);
        assert_int_not_equal(queues_name(&mta->queues, slice_from_string(name)), QUEUE_NONE);
        if (i % 4000 == 3999) {
            assert_true(sim_run_for(stage.sim, NS_PER_S));
        }
    }
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    uint64_t turns = mta->shard.turns;
    get();
    assert_true(mta->shard.turns - turns > QUEUES / 1024 + REPORT_LINES_MAX / 32);
    assert_int_equal(count("event=queue kind=scheduled "), REPORT_LINES_MAX);
    expect_line("event=report_end", " lines=1003 left_out=19001\n");
    /* Who waits, then those that have been empty for longest. */
    const char *first = strstr(text, "event=queue ");
    assert_true(strncmp(first, "event=queue kind=scheduled name=t.test ", 39) == 0);
    assert_non_null(strstr(text, "name=q00000.test"));
    assert_non_null(strstr(text, "name=q00998.test"));
    assert_null(strstr(text, "name=q01000.test"));
    expect_line("event=reason kind=scheduled state=empty", " queues=20000 count=0\n");
}

static void l08_the_lines_of_several_shards_stand_in_one_order(void **state)
{
    (void)state;
    stage.world.shards = 3;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    for (unsigned i = 0; i < 12; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
        assert_true(sim_run_for(stage.sim, NS_PER_S));
    }
    get();
    char last[32] = "";
    unsigned shards = 0;
    for (const char *at = strstr(text, "event=queue kind=scheduled"); at != NULL;
         at = strstr(at + 1, "event=queue kind=scheduled")) {
        const char *since = strstr(at, " since=") + 7;
        assert_true(strncmp(last, since, 24) <= 0);
        memcpy(last, since, 24);
        shards++;
    }
    assert_in_range(shards, 2, 3); /* that have got mail */
    expect_line("event=reason kind=scheduled state=waiting reason=not_due", " count=12\n");
}

static void the_account_of_all_shards_stands_in_one_line(void **state)
{
    (void)state;
    struct account sum = {0};
    char wanted[64];
    stage.world.shards = 3;
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    stage.sink.defer = "451 4.0.0 later\r\n";
    for (unsigned i = 0; i < 12; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
    assert_true(sim_run_for(stage.sim, 300 * NS_PER_S)); /* no connection is left */
    get();
    for (unsigned i = 0; i < stage.world.shards; i++) {
        const struct account *account = &stage.world.node.mtas[i].shard.memory;
        sum.limit += account->limit;
        for (unsigned consumer = 0; consumer < ACCOUNT_CONSUMERS; consumer++) {
            sum.used[consumer] += account->used[consumer];
        }
    }
    assert_true(sum.used[ACCOUNT_ROWS] > 0);
    assert_int_equal(count("event=memory "), 1);
    snprintf(wanted, sizeof(wanted), "event=memory limit=%" PRIu64 " used=%" PRIu64 " ", sum.limit,
             account_used(&sum));
    expect_line("event=memory ", wanted);
    for (unsigned consumer = 0; consumer < ACCOUNT_CONSUMERS; consumer++) {
        snprintf(wanted, sizeof(wanted), " %s=%" PRIu64, account_consumer_name(consumer),
                 sum.used[consumer]);
        expect_line("event=memory ", wanted);
    }
}

static void l08_a_limit_has_one_line_for_all_shards_and_those_used_up_come_first(void **state)
{
    (void)state;
    static const char *const limits[] = {
        "event=limit kind=additional_connection_limits name=few limit=1 used=1\n",
        "event=limit kind=additional_message_rate_throttles name=slow limit=2/h used=",
        "event=limit kind=max_message_rate name=unspecified->mx_list:[10.0.9.9]:25@smtp_client "
        "limit=100/s used=",
        "event=limit kind=max_connection_rate name=unspecified->mx_list:[10.0.9.9]:25@smtp_client "
        "limit=1000/m used=",
        "event=limit kind=connection_limit name=unspecified->mx_list:[10.0.9.9]:25@smtp_client "
        "limit=9 used=1\n",
        "event=limit kind=overall_max_message_rate name=acme limit=50/h used=",
    };
    stage.world.shards = 2;
    world_set(&stage.world, "queues.default_tenant=acme");
    world_set(&stage.world, "queues.tenant.acme.overall_max_message_rate=\"50/h\"");
    world_set(&stage.world, "shaping.default={connection_limit=9,max_message_rate=\"100/s\","
                            "max_connection_rate=\"1000/m\"}");
    world_set(&stage.world, "shaping.default.additional_connection_limits={few=1}");
    world_set(&stage.world, "shaping.default.additional_message_rate_throttles={slow=\"2/h\"}");
    stage_start(&stage);
    stage.sink.hold = true;
    for (unsigned i = 0; i < 12; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    get();
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        if (count(limits[i]) != 1) {
            fail_msg("not once: %s in\n%s", limits[i], text);
        }
    }
    assert_int_equal(count("event=limit "), COUNT_OF(limits));
    assert_true(strstr(text, "name=few") < strstr(text, "kind=connection_limit"));
    expect_line("event=report_end", " left_out=0\n");
}

static void l08_a_stop_ends_a_report_and_is_not_held_up_by_one(void **state)
{
    (void)state;
    stage.world.shards = 2;
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    ask();
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_US));
    node_stop(&stage.world.node, 1);
    assert_true(sim_run_until(stage.sim, is_done, NULL, 10 * NS_PER_S));
    ask(); /* of one that stops */
    assert_true(sim_run_until(stage.sim, is_done, NULL, 10 * NS_PER_S));
    world_stopped(&stage.world);
    read_all();
    expect_line("event=report_end", " lines=0 left_out=0\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(l08_every_queue_has_a_line_and_the_longest_waiting_stands_first),
        TEST(l08_a_report_is_bounded_and_made_in_slices),
        TEST(l08_the_lines_of_several_shards_stand_in_one_order),
        TEST(the_account_of_all_shards_stands_in_one_line),
        TEST(l08_a_limit_has_one_line_for_all_shards_and_those_used_up_come_first),
        TEST(l08_a_stop_ends_a_report_and_is_not_held_up_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
