/* EVENT records: there when they were answered, in order, until the event log has them. */
#include "shard/spool/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/little.h"
#include "shard/spool/scan.h"
#include "shard/spool/segment.h"
#include "tests/kit/spool_rig.h"

#define TOLD_MAX    512
#define TOLD_BYTES  64
#define TOLD_EVENTS 3 /* of a record */

struct told {
    struct rig *rig;
    struct spool_write write;
    struct slice payload;
    uint64_t sequence;
    bool stored;
    bool refused;
    unsigned seen;
    uint8_t bytes[TOLD_BYTES];
};

/* Over all lives of the process. */
struct tale {
    struct rig rig;
    struct told *told; /* TOLD_MAX */
    unsigned count;
    unsigned in_flight;
    uint64_t sequence_last; /* of all records that were seen */
    bool ended;
};

static struct tale tale;

static void tell_done(struct spool_write *write)
{
    struct told *told = CONTAINER_OF(write, struct told, write);
    tale.in_flight--;
    told->stored = write->status == SPOOL_STORED;
    told->refused = !told->stored;
}

static struct told *tell(void)
{
    struct told *told = &tale.told[tale.count];
    CHECK(tale.count < TOLD_MAX);
    told->rig = &tale.rig;
    told->sequence = spool_event_sequence(tale.rig.spool, TOLD_EVENTS);
    const struct record_event head = {
        .event_sequence = told->sequence, .wall_ns = 7, .count = TOLD_EVENTS};
    record_event_put(told->bytes, &head);
    little_put_u32(told->bytes + RECORD_EVENT_BYTES, tale.count++);
    told->payload = slice_make(told->bytes, RECORD_EVENT_BYTES + 4);
    told->write = (struct spool_write){.done = tell_done};
    tale.in_flight++;
    spool_put_event(tale.rig.spool, &told->write, &told->payload);
    ring_wake(tale.rig.ring);
    return told;
}

static bool all_told(void *context)
{
    (void)context;
    return tale.in_flight == 0;
}

static void tell_wait(void)
{
    CHECK(sim_run_until(tale.rig.sim, all_told, NULL, 60 * NS_PER_S) || tale.in_flight == 0);
}

/* What was not answered may be there or not. */
static void crash(bool power)
{
    rig_crash(&tale.rig, power);
    tale.in_flight = 0;
}

/* --- reading again ---------------------------------------------------------------------------- */

static void take(struct scan *scan)
{
    struct log_item item;
    for (enum log_step step = scan_next(scan, &item); step != LOG_MORE;
         step = scan_next(scan, &item)) {
        if (step == LOG_END) {
            tale.ended = true;
            return;
        }
        if (step != LOG_RECORD || item.record.kind != RECORD_EVENT) {
            continue;
        }
        struct slice payload = record_payload(&item.record);
        CHECK(payload.size == RECORD_EVENT_BYTES + 4);
        uint32_t number = little_u32(payload.data + RECORD_EVENT_BYTES);
        CHECK(number < tale.count && slice_equal(payload, tale.told[number].payload));
        CHECK(item.is.event.event_sequence > tale.sequence_last);
        tale.sequence_last = item.is.event.event_sequence + TOLD_EVENTS - 1;
        tale.told[number].seen++;
    }
}

static bool scan_over(void *context)
{
    (void)context;
    return tale.ended;
}

/* Everything from the cursor on; what was stored is there once, what was refused is not. */
static void look(void)
{
    struct rig *rig = &tale.rig;
    struct scan scan;
    tale.ended = false;
    tale.sequence_last = 0;
    CHECK(scan_init(&scan, rig->shard, take) == 0);
    scan_attach(&scan, spool_segments(rig->spool), RIG_UUID);
    for (unsigned i = 0; i < tale.count; i++) {
        tale.told[i].seen = 0;
    }
    scan_start(&scan, spool_cursor(rig->spool), spool_position(rig->spool), 0);
    take(&scan);
    if (!tale.ended && !sim_run_until(rig->sim, scan_over, NULL, 60 * NS_PER_S)) {
        sim_fail(rig->sim, "the log was not read to its end");
    }
    scan_cancel(&scan);
    scan_fini(&scan);
    for (unsigned i = 0; i < tale.count; i++) {
        struct told *told = &tale.told[i];
        if (told->seen > 1 || (told->stored && told->seen == 0) ||
            (told->refused && told->seen > 0)) {
            sim_fail(rig->sim, "event %u, %s, is there %u times", i,
                     told->stored    ? "stored"
                     : told->refused ? "refused"
                                     : "unanswered",
                     told->seen);
        }
        /* What was not answered is from now on what it is. */
        told->stored = told->seen > 0;
        told->refused = !told->stored;
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

static int set_up(void **state)
{
    (void)state;
    tale = (struct tale){.told = calloc(TOLD_MAX, sizeof(*tale.told))};
    return tale.told == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    free(tale.told);
    return 0;
}

static void crash_body(struct sim *sim, void *context)
{
    (void)context;
    memset(tale.told, 0, TOLD_MAX * sizeof(*tale.told));
    tale = (struct tale){.told = tale.told};
    rig_make(&tale.rig, sim);
    CHECK(rig_start(&tale.rig));
    for (unsigned life = 0; life < 4 && !sim_failed(sim); life++) {
        for (uint64_t steps = sim_below(sim, 25); steps > 0; steps--) {
            (void)tell();
            if (sim_chance(sim, 300)) {
                ledger_put(&tale.rig.ledger, (uint32_t)sim_below(sim, 6000), 1);
            }
            (void)sim_run_for(sim, sim_below(sim, 2 * NS_PER_MS));
        }
        crash(sim_chance(sim, 700));
        if (!rig_start(&tale.rig) || tale.rig.ledger.error != 0) {
            sim_fail(sim, "recovery: error %d", tale.rig.ledger.error);
            break;
        }
        look();
        if (spool_event_sequence(tale.rig.spool, 0) <= tale.sequence_last) {
            sim_fail(sim, "sequence %llu is given twice",
                     (unsigned long long)tale.sequence_last);
        }
    }
    rig_free(&tale.rig);
}

static void f01_events_that_were_answered_survive_crashes_and_power_cuts(void **state)
{
    (void)state;
    struct sim_campaign campaign = {
        .name = "spool of events", .count = 100, .body = crash_body,
        .swarm = SIM_FAULT_BIT(late_completion) | SIM_FAULT_BIT(short_write) |
                 SIM_FAULT_BIT(short_read) | SIM_FAULT_BIT(interrupted) | SIM_FAULTS_POWER};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* A client waits: the group does not wait for company, and its refusal is no event. */
static void f03_an_event_that_failed_is_refused_and_voided(void **state)
{
    (void)state;
    rig_open(&tale.rig, 1, 0);
    ledger_put(&tale.rig.ledger, 100, 1);
    rig_wait(&tale.rig);
    uint64_t before = sim_now_ns(tale.rig.sim);
    ledger_deliver(&tale.rig.ledger, 0);
    const struct told *first = tell();
    tell_wait();
    assert_true(first->stored);
    assert_in_range(sim_now_ns(tale.rig.sim) - before, 0, 4 * NS_PER_MS);
    sim_disk_failing_set(tale.rig.disk, false, true, false);
    const struct told *second = tell();
    tell_wait();
    assert_true(second->refused);
    assert_int_equal(second->write.status, SPOOL_FAILED);
    sim_disk_failing_set(tale.rig.disk, false, false, false);
    const struct told *third = tell();
    tell_wait();
    assert_true(third->stored);
    look();
    crash(true);
    assert_true(rig_start(&tale.rig));
    look();
    assert_string_equal(sim_failure(tale.rig.sim), "");
    rig_close(&tale.rig);
}

static void f07_an_event_too_late_is_refused(void **state)
{
    (void)state;
    rig_open(&tale.rig, 1, 0);
    sim_disk_latency_set(tale.rig.disk, 100 * NS_PER_S);
    const struct told *flying = tell();
    sim_run_for(tale.rig.sim, NS_PER_S);
    const struct told *open = tell();
    tell_wait();
    assert_true(flying->refused && open->refused);
    assert_int_equal(open->write.status, SPOOL_LATE);
    sim_disk_latency_set(tale.rig.disk, NS_PER_MS);
    sim_run_for(tale.rig.sim, 200 * NS_PER_S);
    const struct told *last = tell();
    tell_wait();
    assert_true(last->stored);
    rig_close(&tale.rig);
}

/* Though no row is in it, and checkpoints have passed it. */
static void s3_a_segment_of_events_stays_until_the_event_log_has_them(void **state)
{
    (void)state;
    rig_open(&tale.rig, 1, 0);
    const struct told *first = tell();
    tell_wait();
    uint32_t segment = first->write.location.segment;
    for (unsigned i = 0; i < 200; i++) {
        ledger_put(&tale.rig.ledger, 8000, 1);
        rig_wait(&tale.rig);
    }
    sim_run_for(tale.rig.sim, 10 * NS_PER_S);
    look();
    assert_int_equal(first->seen, 1);
    assert_non_null(segments_find(spool_segments(tale.rig.spool), segment));
    for (uint32_t i = 0; i < 200; i++) {
        ledger_deliver(&tale.rig.ledger, i);
        rig_wait(&tale.rig);
    }
    spool_cursor_set(tale.rig.spool, spool_position(tale.rig.spool));
    sim_run_for(tale.rig.sim, 10 * NS_PER_S);
    assert_null(segments_find(spool_segments(tale.rig.spool), segment));
    rig_close(&tale.rig);
}

/* Else every start would tell them again. */
static void the_cursor_behind_an_event_is_stored(void **state)
{
    (void)state;
    rig_open(&tale.rig, 1, 0);
    (void)tell();
    tell_wait();
    struct spool_position told = spool_position(tale.rig.spool);
    spool_cursor_set(tale.rig.spool, told);
    sim_run_for(tale.rig.sim, 2 * NS_PER_S);
    crash(true);
    assert_true(rig_start(&tale.rig));
    assert_int_equal(spool_cursor(tale.rig.spool).sequence, told.sequence);
    rig_close(&tale.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            f01_events_that_were_answered_survive_crashes_and_power_cuts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(f03_an_event_that_failed_is_refused_and_voided, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(f07_an_event_too_late_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_cursor_behind_an_event_is_stored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(s3_a_segment_of_events_stays_until_the_event_log_has_them,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
