/* Pools of many sources at many sites, in a whole node in the simulator: who has a ready queue. */
#include "smtp/egress_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>

#include "smtp/egress.h"
#include "tests/kit/stage.h"

#define BODY    "Subject: x\r\n\r\ntext\r\n"
#define SOURCES 200
#define SITES   30
/* An idle connection is closed after a second, and who has nothing to do goes after ten. */
#define REST_S  13

static struct stage stage;
static char sources_text[16 * KIB];
static char pool_text[16 * KIB];
static char dns_text[16 * KIB];

/* `count` sources "s0" … of 10.0.20.0 … in a pool; site0.test … are sites of their own. */
static void stage_pool(unsigned count)
{
    struct buf sources;
    struct buf pool;
    struct buf dns;
    buf_init(&sources, sources_text, sizeof(sources_text));
    buf_init(&pool, pool_text, sizeof(pool_text));
    buf_init(&dns, dns_text, sizeof(dns_text));
    buf_put_string(&sources, "sources.source={");
    buf_put_string(&pool, "sources.pool.p={");
    buf_put_string(&dns, "dns.static=\"");
    for (unsigned i = 0; i < count; i++) {
        buf_printf(&sources, "%ss%u={source_address=\"10.0.20.%u\"}", i > 0 ? "," : "", i, i);
        buf_printf(&pool, "%ss%u={weight=1}", i > 0 ? "," : "", i);
    }
    for (unsigned i = 0; i < SITES; i++) {
        buf_printf(&dns, "site%u.test. MX 1 mx%u.test.\\nmx%u.test. A 10.0.9.9\\n", i, i, i);
    }
    buf_put_string(&sources, "}");
    buf_put_string(&pool, "}");
    buf_put_string(&dns, "\"");
    buf_put_byte(&sources, 0);
    buf_put_byte(&pool, 0);
    buf_put_byte(&dns, 0);
    assert_false(sources.overflow || pool.overflow || dns.overflow);
    stage.world.sets[stage.world.set_count++] = sources_text;
    stage.world.sets[stage.world.set_count++] = pool_text;
    stage.world.sets[stage.world.set_count++] = dns_text;
    world_set(&stage.world, "dns.servers=[]");
    world_set(&stage.world, "queues.queue.default.egress_pool=p");
    world_set(&stage.world, "shaping.default.idle_timeout=1s");
}

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

static const struct delivery *delivery(void)
{
    return &stage.world.node.mtas[0].delivery;
}

static const struct egress_pool *pool_of(uint32_t number)
{
    const struct sched_queue *queue = queues_find(delivery()->queues, number);
    assert_non_null(queue);
    assert_non_null(queue->ready);
    return egress_pool_of(queue->ready);
}

static void mail_to(unsigned site)
{
    char recipient[32];
    snprintf(recipient, sizeof(recipient), "b@site%u.test", site);
    assert_true(stage_mail(&stage, recipient, BODY));
}

static void run_s(uint64_t seconds)
{
    assert_true(sim_run_for(stage.sim, seconds * NS_PER_S));
}

static void drain(uint64_t within_s)
{
    assert_true(sim_run_until(stage.sim, world_drained, &stage.world, within_s * NS_PER_S));
}

static void l12_a_source_has_a_ready_queue_where_it_has_work_and_as_long(void **state)
{
    (void)state;
    stage_pool(SOURCES);
    stage_start(&stage);
    for (unsigned i = 0; i < SITES; i++) {
        mail_to(i);
    }
    drain(10);
    assert_in_range(delivery()->egresses.fresh, 1, SITES); /* there never were more */
    run_s(REST_S);
    assert_int_equal(delivery()->egresses.used, 0);
    assert_int_equal(delivery()->egress_pools.used, SITES); /* they know whose the next turn is */
    const struct egress_pool *pool = pool_of(0);
    assert_string_equal(hold_name((enum hold_reason)pool->ready.hold.reason), "empty");
    for (unsigned i = 1; i < 4; i++) {
        mail_to(0);
        drain(10);
        assert_ptr_equal(pool_of(0), pool);
        assert_non_null(pool->members[pool->options->turns[i]]);
        run_s(REST_S);
        assert_int_equal(delivery()->egresses.used, 0);
        assert_int_equal(pool->open, 0);
        assert_true(pool->listed);
    }
}

/* What ends without a connection is taken a message at a time: who takes more than its turns has so
 * many less afterwards. */
static void l12_what_a_source_owes_of_its_turns_outlives_its_ready_queue(void **state)
{
    (void)state;
    struct talk talk;
    stage_pool(2);
    world_set(&stage.world, "shaping.default.enable_tls=\"Required\"");
    world_set(&stage.world, "queues.queue.default.retry_interval=1h");
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    talk_say(&talk, "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@site0.test>\r\nRCPT TO:<c@site0.test>\r\n"
                    "RCPT TO:<d@site0.test>\r\nDATA\r\n");
    for (unsigned i = 0; i < 4; i++) {
        assert_true(stage_hears(&talk, "250 "));
    }
    assert_true(stage_hears(&talk, "354 "));
    talk_say(&talk, BODY ".\r\n");
    assert_true(stage_hears(&talk, "250 "));
    talk_close(&talk);
    run_s(REST_S);
    const struct egress_pool *pool = pool_of(0);
    assert_int_equal(delivery()->egresses.used, 0);
    assert_int_equal(pool->debts[0], -1); /* two of the three turns were its own */
    assert_int_equal(pool->debts[1], 0);
    for (unsigned i = 0; i < 2; i++) {
        mail_to(0);
        run_s(1);
        assert_int_equal(pool->debts[0], i == 0 ? -1 : 0);
        assert_null(pool->members[0]);
        assert_non_null(pool->members[1]);
    }
    mail_to(0);
    run_s(1);
    assert_non_null(pool->members[0]);
}

/* --- options by source ------------------------------------------------------------------------ */

/* Of the rate at which a source may send there; 0: it may at any. */
static uint64_t rate_of(uint32_t queue, unsigned member)
{
    const struct egress *egress = pool_of(queue)->members[member];
    assert_non_null(egress);
    return egress->path->max_message_rate.count;
}

/* They share a site, and so does a third domain, which has the pool of the second. */
static void l12_two_domains_of_a_site_have_their_own_options_for_a_source(void **state)
{
    (void)state;
    static const char *const recipients[] = {"x@a.test", "x@b.test", "x@c.test"};
    static const uint64_t rates[] = {900, 0, 0};
    stage_pool(2);
    world_set(&stage.world, "dns.static=\"a.test. MX 1 h.r.\\nb.test. MX 1 h.r.\\n"
                            "c.test. MX 1 h.r.\\nh.r. A 10.0.9.9\\n\"");
    world_set(&stage.world, "shaping.\"a.test\".mx_rollup=false");
    world_set(&stage.world, "shaping.\"a.test\".sources.s1.max_message_rate=\"900/s\"");
    stage_start(&stage);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < COUNT_OF(recipients); i++) {
            assert_true(stage_mail(&stage, recipients[i], BODY));
            drain(10);
            for (unsigned member = 0; member < 2; member++) {
                if (pool_of(i)->members[member] != NULL) {
                    assert_int_equal(rate_of(i, member), member == 1 ? rates[i] : 0);
                }
            }
        }
        assert_ptr_equal(pool_of(1), pool_of(2));
        run_s(round % 2 == 0 ? REST_S : 0);
        assert_int_equal(delivery()->egress_pools.used, 2);
    }
}

/* --- who takes no turns ----------------------------------------------------------------------- */

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

static struct id ask(struct question *question)
{
    question->answered = false;
    question->request.done = answered;
    question->request.reason = SLICE("testing");
    assert_true(admin_ask(&stage.world.node.control->admin, &question->request));
    assert_true(sim_run_until(stage.sim, is_answered, question, 60 * NS_PER_S));
    assert_int_equal(question->request.status, ADMIN_DONE);
    return question->request.id;
}

/* The ready queue of a source at the site of site0.test, whether it is there or not. */
static struct id suspend(unsigned source, uint64_t for_s)
{
    const struct egress_pool *pool = pool_of(0);
    uint8_t memory[EGRESS_NAME_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    egress_pool_member_name(pool, source, &buf);
    const struct slice name = buf_slice(&buf);
    struct question question = {.request = {.action = ADMIN_DO_SUSPEND_READY,
                                            .duration_ns = for_s * NS_PER_S,
                                            .criteria = {.names = &name, .name_count = 1}}};
    return ask(&question);
}

static void l12_who_is_suspended_is_passed_over_and_has_no_ready_queue(void **state)
{
    (void)state;
    stage_pool(2);
    stage_start(&stage);
    mail_to(0);
    drain(10);
    run_s(REST_S);
    const struct egress_pool *pool = pool_of(0);
    assert_int_equal(pool->open, 0);
    struct id first = suspend(0, 3600);
    for (unsigned i = 0; i < 4; i++) {
        mail_to(0);
        drain(10);
        assert_null(pool->members[0]);
        assert_non_null(pool->members[1]);
    }
    run_s(REST_S);
    (void)suspend(1, 3600);
    mail_to(0);
    run_s(60);
    assert_int_equal(pool->open, 0);
    assert_string_equal(hold_name((enum hold_reason)pool->ready.hold.reason), "no_source");
    struct question question = {
        .request = {.action = ADMIN_DO_CANCEL, .kind = ADMIN_SUSPEND_READY, .id = first}};
    (void)ask(&question);
    drain(1);
    assert_non_null(pool->members[0]);
}

/* Who has begun to be suspended is known as such for as long as that. */
static void l12_a_ready_queue_that_is_suspended_stays(void **state)
{
    (void)state;
    stage_pool(2);
    stage_start(&stage);
    mail_to(0);
    drain(10);
    const struct egress_pool *pool = pool_of(0);
    (void)suspend(0, 300);
    run_s(290);
    assert_non_null(pool->members[0]);
    assert_int_equal(pool->members[0]->suspended, HOLD_suspended_admin);
    run_s(20);
    assert_int_equal(pool->open, 0);
}

static void l12_failures_in_a_row_are_counted_as_long_as_mail_waits(void **state)
{
    (void)state;
    struct endpoint site = sim_endpoint(STAGE_SINK, 25);
    stage_pool(2);
    world_set(&stage.world, "queues.queue.default.retry_interval=40s");
    stage_start(&stage);
    sim_reach_set(stage.sim, &site, SIM_REACH_NONE);
    mail_to(0);
    run_s(2 * REST_S);
    const struct egress_pool *pool = pool_of(0);
    assert_non_null(pool->members[0]);
    assert_int_equal(pool->members[0]->failures, 1);
    sim_reach_set(stage.sim, &site, SIM_REACH);
    drain(600);
}

/* --- memory ----------------------------------------------------------------------------------- */

static void l12_sources_that_rest_make_way_where_there_is_no_room_for_more(void **state)
{
    (void)state;
    stage_pool(SOURCES);
    stage_start(&stage);
    struct delivery *mine = &stage.world.node.mtas[0].delivery;
    mine->egresses.capacity = 4;
    for (unsigned i = 0; i < SITES; i++) {
        mail_to(i);
    }
    drain(SITES / 4 * 3);
    assert_in_range(mine->egresses.fresh, 4, 4);
}

int main(void)
{
#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_STAGE(l12_a_source_has_a_ready_queue_where_it_has_work_and_as_long),
        ON_STAGE(l12_what_a_source_owes_of_its_turns_outlives_its_ready_queue),
        ON_STAGE(l12_two_domains_of_a_site_have_their_own_options_for_a_source),
        ON_STAGE(l12_who_is_suspended_is_passed_over_and_has_no_ready_queue),
        ON_STAGE(l12_a_ready_queue_that_is_suspended_stays),
        ON_STAGE(l12_failures_in_a_row_are_counted_as_long_as_mail_waits),
        ON_STAGE(l12_sources_that_rest_make_way_where_there_is_no_room_for_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
