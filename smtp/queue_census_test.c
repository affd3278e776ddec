/* Censuses of a whole node in the simulator. */
#include "smtp/queue_census.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <string.h>

#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"
#define SITE "unspecified->mx_list:[10.0.9.9]:25@smtp_client"

enum { ASKED_MAX = 8 };

static struct stage stage;

/* What was told, copied. */
struct asked {
    struct census_request request;
    bool answered;
    struct census_result result;
    struct census_queue queues[CENSUS_QUEUES_MAX];
};
static struct asked asked[ASKED_MAX];
static uint8_t texts[4 * MIB];
static struct buf text;

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    buf_init(&text, texts, sizeof(texts));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return stage_close(&stage) ? 0 : 1;
}

static struct queue_census *census(void)
{
    return &stage.world.node.control->census;
}

static struct slice kept(struct slice bytes)
{
    struct slice copy = slice_make(text.data + text.size, bytes.size);
    buf_put(&text, bytes);
    assert_false(text.overflow);
    return copy;
}

static void answered(struct census_request *request, const struct census_result *result)
{
    struct asked *to = CONTAINER_OF(request, struct asked, request);
    assert_false(to->answered);
    to->answered = true;
    to->result = *result;
    for (uint32_t i = 0; i < result->count; i++) {
        to->queues[i] = result->queues[i];
        to->queues[i].name = kept(result->queues[i].name);
        to->queues[i].site = kept(result->queues[i].site);
    }
    to->result.queues = to->queues;
}

static bool is_answered(void *context)
{
    return ((const struct asked *)context)->answered;
}

static void put(unsigned at, enum census_kind kind)
{
    asked[at].answered = false;
    asked[at].request = (struct census_request){.kind = kind, .done = answered};
    assert_true(queue_census_ask(census(), &asked[at].request));
}

static const struct census_result *ask(enum census_kind kind)
{
    put(0, kind);
    assert_true(sim_run_until(stage.sim, is_answered, &asked[0], 60 * NS_PER_S));
    return &asked[0].result;
}

static void expect_queue(const struct census_result *result, uint32_t at, const char *name,
                         uint64_t count)
{
    assert_true(at < result->count);
    const struct census_queue *queue = &result->queues[at];
    if (!slice_equal(queue->name, slice_from_string(name)) || queue->count != count) {
        fail_msg("at %u: %.*s with %llu, not %s with %llu", at, (int)queue->name.size,
                 (const char *)queue->name.data, (unsigned long long)queue->count, name,
                 (unsigned long long)count);
    }
}

static void a50_parts_of_a_queue_are_one_and_the_largest_comes_first(void **state)
{
    (void)state;
    stage.world.shards = 4;
    stage_start(&stage);
    for (unsigned i = 0; i < 4; i++) {
        stage_rows_put(&stage, i, "spread.test", 3);
    }
    stage_rows_put(&stage, 1, "one.test", 10);
    stage_rows_put(&stage, 2, "b.test", 5);
    stage_rows_put(&stage, 3, "a.test", 5);
    const struct census_result *result = ask(CENSUS_SCHEDULED);
    assert_int_equal(result->count, 4);
    expect_queue(result, 0, "spread.test", 12);
    expect_queue(result, 1, "one.test", 10);
    expect_queue(result, 2, "a.test", 5);
    expect_queue(result, 3, "b.test", 5);
    assert_int_equal(result->queues[0].parts, 4);
    assert_int_equal(result->queues[0].reason, HOLD_not_due);
    assert_int_equal(result->queues[0].due, 0);
    assert_true(result->queues[0].since_ns > 0);
    assert_int_equal(result->queues_all, 4);
    assert_false(result->estimated);
    assert_true(census_is_exact(result, 1) && census_is_exact(result, 4));
    assert_int_equal(result->recipients_all, 32);
    assert_int_equal(result->sums[HOLD_not_due].queues, 7);
    assert_int_equal(result->sums[HOLD_not_due].recipients, 32);
    stage_rows_drop(&stage);
}

static void a50_a_queue_tells_of_the_part_that_has_waited_the_longest(void **state)
{
    (void)state;
    world_set(&stage.world, "queues.queue.\"t.test\".max_message_rate=\"1/h\"");
    stage_start(&stage);
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(stage_mail(&stage, "b@t.test", BODY));
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    const struct census_result *result = ask(CENSUS_SCHEDULED);
    expect_queue(result, 0, "t.test", 1);
    assert_int_equal(result->queues[0].due, 1);
    assert_int_equal(result->queues[0].reason, HOLD_queue_rate);
    assert_true(slice_equal(result->queues[0].site, SLICE(SITE)));
    result = ask(CENSUS_READY);
    expect_queue(result, 0, SITE, 0);
    assert_int_equal(result->queues[0].reason, HOLD_empty);
    assert_int_equal(result->queues[0].site.size, 0);
    assert_int_equal(result->queues_all, 1);
}

/* Far more than may be told of, or looked at in a turn. */
static void a50_of_very_many_queues_the_largest_are_found_in_slices(void **state)
{
    (void)state;
    enum { QUEUES = 20000 };
    char name[32];
    stage_start(&stage);
    struct mta *mta = &stage.world.node.mtas[0];
    for (unsigned i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof(name), "q%05u.test", i);
        stage_rows_put(&stage, 0, name, i % 100 == 7 ? 2 : 1);
        if (i % 4000 == 3999) {
            assert_true(sim_run_for(stage.sim, NS_PER_S));
        }
    }
    stage_rows_put(&stage, 0, "q19999.test", 5);
    uint64_t turns = mta->shard.turns;
    const struct census_result *result = ask(CENSUS_SCHEDULED);
    assert_true(mta->shard.turns - turns > QUEUES / 1024 + CENSUS_QUEUES_MAX / 256);
    assert_int_equal(result->count, CENSUS_QUEUES_MAX);
    expect_queue(result, 0, "q19999.test", 6);
    expect_queue(result, 1, "q00007.test", 2);
    expect_queue(result, 200, "q19907.test", 2);
    assert_int_equal(result->queues[201].count, 1);
    assert_int_equal(result->queues_all, QUEUES);
    assert_false(result->estimated);
    assert_true(census_is_exact(result, 201));
    assert_int_equal(result->recipients_all, QUEUES + 200 + 5);
    stage_rows_drop(&stage);
}

/* Each shard has a thousand queues of its own that are larger than its part of one queue. */
static void a50_what_is_large_only_in_sum_may_be_missed_and_that_is_said(void **state)
{
    (void)state;
    char name[32];
    stage.world.shards = 2;
    stage_start(&stage);
    for (unsigned i = 0; i < 2400; i++) {
        snprintf(name, sizeof(name), "q%05u.test", i);
        stage_rows_put(&stage, i % 2, name, i < 10 ? 9 : 2);
        if (i % 500 == 0) {
            assert_true(sim_run_for(stage.sim, NS_PER_S));
        }
    }
    for (unsigned i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "both%05u.test", i);
        stage_rows_put(&stage, 0, name, 1);
        stage_rows_put(&stage, 1, name, 1);
    }
    stage_rows_put(&stage, 0, "spread.test", 1);
    stage_rows_put(&stage, 1, "spread.test", 1);
    const struct census_result *result = ask(CENSUS_SCHEDULED);
    assert_int_equal(result->count, CENSUS_QUEUES_MAX);
    assert_int_equal(result->missed, 4);
    assert_true(census_is_exact(result, 10));
    assert_false(census_is_exact(result, 11));
    assert_true(result->estimated);
    assert_in_range(result->queues_all, 2671, 2731); /* of 2,701; in 3,002 parts */
    assert_int_equal(result->recipients_all, 10 * 9 + 2390 * 2 + 600 + 2);
    stage_rows_put(&stage, 0, "spread.test", 2);
    result = ask(CENSUS_SCHEDULED);
    expect_queue(result, 10, "spread.test", 4); /* with the part that its shard does not tell of */
    stage_rows_drop(&stage);
}

static void a50_those_who_wait_share_a_census_and_a_stop_answers_all(void **state)
{
    (void)state;
    stage.world.shards = 2;
    stage_start(&stage);
    stage_rows_put(&stage, 1, "t.test", 1);
    for (unsigned i = 0; i < ASKED_MAX; i++) {
        put(i, i % 2 == 0 ? CENSUS_SCHEDULED : CENSUS_READY);
    }
    for (unsigned i = 0; i < ASKED_MAX; i++) {
        assert_true(sim_run_until(stage.sim, is_answered, &asked[i], 10 * NS_PER_S));
        assert_int_equal(asked[i].result.count, i % 2 == 0);
    }
    stage_rows_drop(&stage);
    for (unsigned i = 0; i < ASKED_MAX; i++) {
        put(i, i % 2 == 0 ? CENSUS_SCHEDULED : CENSUS_READY);
    }
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_US));
    node_stop(&stage.world.node, 1);
    for (unsigned i = 0; i < ASKED_MAX; i++) {
        assert_true(sim_run_until(stage.sim, is_answered, &asked[i], 10 * NS_PER_S));
    }
    world_stopped(&stage.world);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a50_parts_of_a_queue_are_one_and_the_largest_comes_first),
        TEST(a50_a_queue_tells_of_the_part_that_has_waited_the_longest),
        TEST(a50_of_very_many_queues_the_largest_are_found_in_slices),
        TEST(a50_what_is_large_only_in_sum_may_be_missed_and_that_is_said),
        TEST(a50_those_who_wait_share_a_census_and_a_stop_answers_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
