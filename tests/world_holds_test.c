/*
 * A whole node in virtual time, its mail held back in every way there is: the queue knows the word
 * for it, since when, and how long it has been so.
 */
#include "shard/queue/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#include "smtp/delivery.h"
#include "smtp/queue_of.h"
#include "tests/kit/stage.h"

#define BODY "Subject: x\r\n\r\ntext\r\n"

static struct mta *mta(struct stage *stage)
{
    return &stage->world.node.mtas[0];
}

/* The only one of t.test, whatever its tenant. */
static struct sched_queue *queue(struct stage *stage)
{
    struct queues *queues = &mta(stage)->queues;
    for (uint32_t i = 0; i < queues_end(queues); i++) {
        struct sched_queue *found = queues_find(queues, i);
        if (found != NULL && slice_equal(queue_name_parse(sched_queue_name(queues, found)).domain,
                                         SLICE("t.test"))) {
            return found;
        }
    }
    fail_msg("there is no such queue");
    return NULL;
}

static uint64_t spent_ms(struct stage *stage, enum hold_reason reason)
{
    return sched_queue_hold_ms(queue(stage), reason, mta(stage)->shard.now_ns);
}

static uint64_t all_ms(struct stage *stage)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        sum += spent_ms(stage, (enum hold_reason)i);
    }
    return sum;
}

/* --- how mail is held back -------------------------------------------------------------------- */

static void sink_defers(struct stage *stage)
{
    stage->sink.defer = "451 4.0.0 later\r\n";
}

static void sink_keeps_silent_after_content(struct stage *stage)
{
    stage->sink.hold = true;
}

static void sink_says_no_word(struct stage *stage)
{
    stage->sink.mute = true;
}

/* Somebody else has the only slot. */
static void slot_is_taken(struct stage *stage)
{
    stage->sink.hold = true;
    assert_true(stage_mail(stage, "b@u.test", BODY));
    assert_true(sim_run_for(stage->sim, NS_PER_S));
}

static void no_connection_is_to_be_had(struct stage *stage)
{
    mta(stage)->delivery.conns.capacity = 0;
}

static void no_transfer_is_to_be_had(struct stage *stage)
{
    mta(stage)->delivery.transfers.capacity = 0;
}

/* It comes due again on a disk that takes no outcome. */
static void disk_refuses(struct stage *stage)
{
    sim_disk_failing_set(stage->world.disk, true, false, false);
}

static void disk_takes_again(struct stage *stage)
{
    sim_disk_failing_set(stage->world.disk, false, false, false);
}

/* As when the configuration has changed: its smart host is no more, and DNS says nothing. */
static void route_is_lost(struct stage *stage)
{
    struct endpoint names = sim_endpoint(8 * 256 + 8, 53);
    sim_reach_set(stage->sim, &names, SIM_REACH_SILENT);
    struct queue_options *options = sched_queue_options(queue(stage));
    options->mx_count = 0;
    queues_unroute(&mta(stage)->queues, queue(stage));
}

static void source_is_missing(struct stage *stage)
{
    struct endpoint source = sim_endpoint(9 * 256 + 1, 0);
    sim_reach_set(stage->sim, &source, SIM_REACH_NONE);
}

typedef void act(struct stage *stage);

struct trial {
    const char *name;
    const char *sets[3];
    act *before;       /* any mail; may be null, as the next two */
    unsigned mails;
    act *after;        /* a second after that */
    enum hold_reason reason;
    unsigned for_s;    /* from then on */
    uint64_t least_ms; /* of the time for that reason */
    uint64_t most_ms;
    bool known_until;
    act *last;
};

static const struct trial trials[] = {
    {.name = "nothing is left", .mails = 1, .reason = HOLD_empty, .for_s = 100,
     .least_ms = 100500, .most_ms = 101100},
    {.name = "deferred", .sets = {"queues.queue.default.retry_interval=1h"},
     .before = sink_defers, .mails = 1, .reason = HOLD_not_due, .for_s = 600,
     .least_ms = 600500, .most_ms = 601100},
    {.name = "additional connection limit",
     .sets = {"shaping.default.additional_connection_limits={all=1}",
              "shaping.\"u.test\".connection_limit=7"},
     .before = slot_is_taken, .mails = 1, .reason = HOLD_connection_limit, .for_s = 300,
     .least_ms = 300500, .most_ms = 301100},
    {.name = "connection rate",
     .sets = {"shaping.default={max_connection_rate=\"1/m\",max_deliveries_per_connection=1}"},
     .mails = 2, .reason = HOLD_connection_rate, .for_s = 50, .least_ms = 50500,
     .most_ms = 51100, .known_until = true},
    {.name = "message rate", .sets = {"shaping.default.max_message_rate=\"1/h\""}, .mails = 2,
     .reason = HOLD_message_rate, .for_s = 600, .least_ms = 600500, .most_ms = 601100,
     .known_until = true},
    {.name = "additional message rate",
     .sets = {"shaping.default.additional_message_rate_throttles={all=\"1/h\"}"}, .mails = 2,
     .reason = HOLD_message_rate, .for_s = 600, .least_ms = 600500, .most_ms = 601100,
     .known_until = true},
    {.name = "rate of the queue", .sets = {"queues.queue.\"t.test\".max_message_rate=\"1/h\""},
     .mails = 2, .reason = HOLD_queue_rate, .for_s = 600, .least_ms = 600500,
     .most_ms = 601100, .known_until = true},
    {.name = "hours of the tenant",
     .sets = {"queues.default_tenant=acme",
              "queues.tenant.acme={dow=\"Thu\",tz=\"UTC\",start=\"11:00\",end=\"12:00\"}"},
     .mails = 1, .reason = HOLD_quiet_hours, .for_s = 600, .least_ms = 600500,
     .most_ms = 601100, .known_until = true},
    {.name = "rate of the tenant",
     .sets = {"queues.default_tenant=acme",
              "queues.tenant.acme.overall_max_message_rate=\"1/h\""},
     .mails = 2, .reason = HOLD_queue_rate, .for_s = 600, .least_ms = 600500,
     .most_ms = 601100, .known_until = true},
    {.name = "rate of selection",
     .sets = {"shaping.default.source_selection_rate=\"1/h\""}, .mails = 2,
     .reason = HOLD_source_rate, .for_s = 600, .least_ms = 600500, .most_ms = 601100,
     .known_until = true},
    {.name = "missing source",
     .sets = {"sources.source.s.source_address=\"10.0.9.1\"", "sources.pool.p.s.weight=1",
              "queues.queue.default.egress_pool=p"},
     .before = source_is_missing, .mails = 1, .reason = HOLD_no_source, .for_s = 60,
     .least_ms = 60500, .most_ms = 61100},
    {.name = "rate of all queues",
     .sets = {"queues.queue.default.overall_max_message_rate=\"1/h\""}, .mails = 2,
     .reason = HOLD_queue_rate, .for_s = 600, .least_ms = 600500, .most_ms = 601100,
     .known_until = true},
    /* Due again after five seconds and a little. */
    {.name = "no route",
     .sets = {"queues.queue.default.retry_interval=5s", "dns.servers=[\"10.0.8.8\"]",
              "dns.timeout=60s"},
     .before = sink_defers, .mails = 1, .after = route_is_lost, .reason = HOLD_dns,
     .for_s = 60, .least_ms = 54000, .most_ms = 57000},
    /* One of five is deferred every five seconds, one connection at a time. */
    {.name = "no server greets",
     .sets = {"shaping.default={connection_limit=1,banner_timeout=\"5s\"}",
              "queues.queue.default.retry_interval=1h"},
     .before = sink_says_no_word, .mails = 5, .reason = HOLD_connect_failing, .for_s = 21,
     .least_ms = 16500, .most_ms = 17500},
    /* The limit has the word for ten seconds, then the server. */
    {.name = "silent server and mail that is due", .sets = {"shaping.default.connection_limit=1"},
     .before = sink_keeps_silent_after_content, .mails = 2, .reason = HOLD_remote_slow,
     .for_s = 60, .least_ms = 50500, .most_ms = 51100},
    {.name = "silent server and nothing else", .before = sink_keeps_silent_after_content,
     .mails = 1, .reason = HOLD_remote_slow, .for_s = 60, .least_ms = 50500, .most_ms = 51100},
    {.name = "full window", .sets = {"shaping.default.max_ready=1"},
     .before = sink_keeps_silent_after_content, .mails = 2, .reason = HOLD_ready_full,
     .for_s = 50, .least_ms = 50500, .most_ms = 51100},
    {.name = "no memory for a connection", .before = no_connection_is_to_be_had, .mails = 1,
     .reason = HOLD_memory, .for_s = 60, .least_ms = 60500, .most_ms = 61100},
    {.name = "no memory for a transfer", .before = no_transfer_is_to_be_had, .mails = 1,
     .reason = HOLD_memory, .for_s = 50, .least_ms = 50500, .most_ms = 51100},
    {.name = "spool", .sets = {"queues.queue.default.retry_interval=5s"},
     .before = sink_defers, .mails = 1, .after = disk_refuses, .reason = HOLD_spool_unhealthy,
     .for_s = 60, .least_ms = 52000, .most_ms = 56000, .last = disk_takes_again},
};

static void do_act(act *action, struct stage *stage)
{
    if (action != NULL) {
        action(stage);
    }
}

static void check(struct stage *stage, const struct trial *trial)
{
    const uint64_t now_ns = mta(stage)->shard.now_ns;
    const struct hold hold = delivery_hold(&mta(stage)->delivery, queue(stage));
    print_message("%s: %s for %llu ms\n", trial->name, hold_name(hold.reason),
                  (unsigned long long)spent_ms(stage, hold.reason));
    assert_string_equal(hold_name(hold.reason), hold_name(trial->reason));
    assert_in_range(spent_ms(stage, trial->reason), trial->least_ms, trial->most_ms);
    /* It has been so without a break. */
    uint64_t since_ms = now_ns / NS_PER_MS - hold.since_ns / NS_PER_MS;
    assert_in_range(spent_ms(stage, trial->reason), since_ms - 1, since_ms + 1);
    if (trial->known_until) {
        assert_true(hold.until_ns > now_ns);
    } else {
        assert_int_equal(hold.until_ns, 0);
    }
    /* And all of the time since the queue was made is some reason's. */
    uint64_t before = all_ms(stage);
    assert_true(sim_run_for(stage->sim, 5 * NS_PER_S));
    uint64_t passed_ms = (mta(stage)->shard.now_ns - now_ns) / NS_PER_MS;
    assert_in_range(all_ms(stage) - before, passed_ms - 1, passed_ms + HOLD_REASONS_COUNT);
}

static void run(const struct trial *trial)
{
    struct stage stage;
    stage_open(&stage, 1);
    for (size_t i = 0; i < COUNT_OF(trial->sets) && trial->sets[i] != NULL; i++) {
        world_set(&stage.world, "%s", trial->sets[i]);
    }
    world_set(&stage.world,
              "queues.queue.\"u.test\".protocol={smtp={mx_list=[\"[10.0.9.9]:25\"]}}");
    stage_start(&stage);
    do_act(trial->before, &stage);
    for (unsigned i = 0; i < trial->mails; i++) {
        assert_true(stage_mail(&stage, "b@t.test", BODY));
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    do_act(trial->after, &stage);
    assert_true(sim_run_for(stage.sim, trial->for_s * NS_PER_S));
    check(&stage, trial);
    do_act(trial->last, &stage);
    assert_true(stage_close(&stage));
}

static void l07_every_reason_is_told_by_its_word_and_its_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(trials); i++) {
        run(&trials[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l07_every_reason_is_told_by_its_word_and_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
