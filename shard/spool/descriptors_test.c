/* Few files of a lane are open, whatever its log holds. */
#include "shard/spool/descriptors.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "shard/spool/segment.h"
#include "shard/spool/spool.h"
#include "tests/kit/spool_rig.h"

#define KEPT     2
#define MESSAGES 120 /* four a segment */
/* The open segment, spares, both checkpoint files, and what closes meanwhile. */
#define OTHERS   (1 + SEGMENT_SPARES_MAX + 1 + 2 + 1)
/* At the start: both checkpoint files, and one that is open beside those that are kept. */
#define START_OPEN (KEPT + 2 + 1)

static struct rig rig;

static unsigned log_open(void)
{
    const struct segments *segments = spool_segments(rig.spool);
    unsigned open = 0;
    for (uint32_t i = 0; i < segments->log.count; i++) {
        open += segments_at(segments, i)->fd >= 0;
    }
    return open;
}

static uint32_t log_segments(void)
{
    return spool_segments(rig.spool)->log.count;
}

/* A lane with a long log of live messages. */
static void open_long(uint64_t seed, uint64_t swarm)
{
    struct sim_options options = {.seed = seed, .swarm = swarm};
    rig_make(&rig, sim_open(&options));
    rig.options.files_kept = KEPT;
    assert_true(rig_start(&rig));
    sim_run_for(rig.sim, 3 * NS_PER_S);
    for (unsigned i = 0; i < MESSAGES; i++) {
        ledger_put(&rig.ledger, 30000, 1);
        rig_wait(&rig);
    }
    assert_true(log_segments() > 10);
    sim_run_for(rig.sim, NS_PER_S);
}

static void the_log_keeps_few_files_open(void **state)
{
    (void)state;
    open_long(1, 0);
    assert_int_equal(log_open(), KEPT + 1);
    assert_true(sim_node_descriptors(rig.node) <= KEPT + OTHERS);
    rig_read_all(&rig); /* each file in turn */
    sim_run_for(rig.sim, NS_PER_S);
    assert_int_equal(log_open(), KEPT + 1);
    rig_close(&rig);
}

static bool started(void *context)
{
    unsigned *most = context;
    *most = MAX_OF(*most, sim_node_descriptors(rig.node));
    return rig.ledger.finished;
}

/* The most descriptors that a start has open at any moment. */
static unsigned start_again(void)
{
    unsigned most = 0;
    rig_crash(&rig, false);
    rig_boot(&rig);
    assert_true(sim_run_until(rig.sim, started, &most, 600 * NS_PER_S));
    assert_int_equal(rig.ledger.error, 0);
    return most;
}

static void put_without_syncs(void)
{
    rig_crash(&rig, false);
    rig.options.sync = false;
    assert_true(rig_start(&rig));
    for (unsigned i = 0; i < MESSAGES; i++) {
        ledger_put(&rig.ledger, 30000, 1);
        rig_wait(&rig);
    }
    rig.options.sync = true;
}

/* Of a log whose groups are known to be durable, and of one all of which has to be made so. */
static void a_start_opens_one_file_after_another(void **state)
{
    static const bool synced[] = {true, false};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(synced); i++) {
        open_long(1, 0);
        if (!synced[i]) {
            put_without_syncs();
        }
        assert_in_range(start_again(), KEPT, START_OPEN);
        sim_run_for(rig.sim, 3 * NS_PER_S);
        assert_true(log_segments() > 10);
        assert_int_equal(log_open(), KEPT); /* none of them is written yet */
        rig_read_all(&rig);
        rig_close(&rig);
    }
}

/* The lane is given up for one that has nothing yet: numbers of segments stay the same. */
static void give_up_lane(void)
{
    static const uint16_t foreign[] = {0};
    rig.options.lane = 1;
    rig.options.foreign = foreign;
    rig.options.foreign_count = COUNT_OF(foreign);
}

static void f27_a_start_that_adopts_a_lane_opens_few_files_of_it(void **state)
{
    (void)state;
    open_long(1, 0);
    give_up_lane();
    assert_in_range(start_again(), KEPT, START_OPEN);
    assert_int_equal(sim_node_descriptors(rig.node), 0);
    sim_run_for(rig.sim, 3 * NS_PER_S);
    assert_true(log_segments() > 10);
    rig_read_all(&rig);
    assert_true(sim_node_descriptors(rig.node) <= KEPT + OTHERS);
    rig_close(&rig);
}

static bool finished(void *context)
{
    (void)context;
    return rig.ledger.finished;
}

/* Whatever it wants the file for: to look at it, to read it, or to make durable what it holds. */
static void f23_a_start_that_lacks_descriptors_names_the_file_and_says_why(void **state)
{
    (void)state;
    unsigned failed = 0;
    open_long(1, 0);
    put_without_syncs();
    for (;;) {
        rig_crash(&rig, false);
        rig_boot(&rig);
        sim_run_for(rig.sim, failed * NS_PER_MS);
        sim_fault_set(rig.sim, SIM_FAULT_no_descriptors, 1000);
        assert_true(sim_run_until(rig.sim, finished, NULL, 600 * NS_PER_S));
        sim_fault_set(rig.sim, SIM_FAULT_no_descriptors, 0);
        if (rig.ledger.error == 0) {
            break;
        }
        assert_non_null(strstr(rig.ledger.reason, "lane-000"));
        assert_non_null(strstr(rig.ledger.reason, ": cannot be used: Too many open files"));
        failed++;
    }
    assert_in_range(failed, 20, 1000);
    rig_read_all(&rig);
    rig_close(&rig);
}

/* While the file before the last is still being closed. */
static void f27_a_lane_that_cannot_be_adopted_is_closed_whole_before_the_start_fails(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        open_long(seed, 0);
        rig_crash(&rig, false);
        assert_int_equal(sim_disk_make_dir(rig.disk, "spool/lane-000/segment-000999"), 0);
        give_up_lane();
        sim_fault_set(rig.sim, SIM_FAULT_slow_job, 500);
        rig_boot(&rig);
        assert_true(sim_run_until(rig.sim, finished, NULL, 600 * NS_PER_S));
        assert_int_equal(rig.ledger.error, -EISDIR);
        assert_non_null(strstr(rig.ledger.reason, "lane-000/segment-000999"));
        assert_int_equal(sim_node_descriptors(rig.node), 0);
        sim_run_for(rig.sim, 10 * NS_PER_S);
        rig_close(&rig);
    }
}

static void what_is_being_read_stays_open(void **state)
{
    (void)state;
    open_long(1, 0);
    assert_int_equal(rig_load(&rig, 0), SPOOL_LOADED);
    struct segments *segments = spool_segments(rig.spool);
    struct segment *segment =
        segments_find(segments, rig.ledger.messages[0].location.segment);
    assert_true(segment->fd >= 0);
    segment->pins++;
    rig_read_all(&rig);
    assert_true(segment->fd >= 0);
    segments_unpin(segments, segment);
    rig_read_all(&rig);
    assert_int_equal(segment->fd, -1);
    rig_close(&rig);
}

static bool all_home(void *context)
{
    const struct spool_load *loads = context;
    bool home = true;
    for (unsigned i = 0; i < MESSAGES; i++) {
        home = home && !loads[i].in_flight;
    }
    return home;
}

static void load_done(struct spool_load *load)
{
    (void)load;
}

/* Every one asks at once: for files that are open, closed, being opened, being closed. */
static void loads_of_many_files_at_once_are_all_answered(void **state)
{
    (void)state;
    static struct spool_load loads[MESSAGES];
    open_long(1, 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MESSAGES; i++) {
            loads[i] = (struct spool_load){.done = load_done};
            spool_load(rig.spool, &loads[i], rig.ledger.messages[i * 7 % MESSAGES].location);
        }
        ring_wake(rig.ring);
        assert_true(sim_run_until(rig.sim, all_home, loads, 600 * NS_PER_S));
        for (unsigned i = 0; i < MESSAGES; i++) {
            assert_int_equal(loads[i].status, SPOOL_LOADED);
            spool_load_drop(rig.spool, &loads[i]);
        }
    }
    sim_run_for(rig.sim, NS_PER_S);
    assert_int_equal(log_open(), KEPT + 1);
    assert_true(sim_node_descriptors(rig.node) <= KEPT + OTHERS);
    rig_close(&rig);
}

/* F-23: another part of the process may have used up all descriptors. */
static void f23_a_file_that_cannot_be_opened_now_is_tried_again(void **state)
{
    static const struct {
        uint64_t for_ns;
        enum spool_load_status status;
    } rows[] = {
        {2 * NS_PER_S, SPOOL_LOADED},
        {60 * NS_PER_S, SPOOL_LOAD_ERROR},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        open_long(1, 0);
        struct spool_load load = {.done = load_done};
        sim_disk_read_only_set(rig.disk, true);
        spool_load(rig.spool, &load, rig.ledger.messages[0].location);
        ring_wake(rig.ring);
        sim_run_for(rig.sim, rows[i].for_ns);
        assert_int_equal(load.in_flight, rows[i].status == SPOOL_LOADED);
        sim_disk_read_only_set(rig.disk, false);
        sim_run_for(rig.sim, 5 * NS_PER_S);
        assert_false(load.in_flight);
        assert_int_equal(load.status, rows[i].status);
        spool_load_drop(rig.spool, &load);
        assert_int_equal(rig_load(&rig, 0), SPOOL_LOADED);
        rig_close(&rig);
    }
}

static void stopped(void *context)
{
    *(bool *)context = true;
}

static bool is_true(void *context)
{
    return *(bool *)context;
}

/* Segments that leave the log while they are closed are opened again before they are used. */
static void closed_segments_are_used_again(void **state)
{
    (void)state;
    open_long(1, 0);
    for (unsigned round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < rig.ledger.count; i++) {
            if (ledger_live(&rig.ledger, i)) {
                ledger_deliver(&rig.ledger, i);
            }
        }
        rig_wait(&rig);
        uint64_t began_ns = sim_now_ns(rig.sim);
        for (unsigned i = 0; i < MESSAGES; i++) {
            ledger_put(&rig.ledger, 30000, 1);
            rig_wait(&rig);
        }
        /* A pause before the next spare is removed does not hold mail up. */
        assert_true(sim_now_ns(rig.sim) - began_ns < 500 * NS_PER_MS);
        sim_run_for(rig.sim, NS_PER_S);
    }
    rig_read_all(&rig);
    assert_in_range(spool_segments(rig.spool)->next_slot, 30, 90);
    assert_true(sim_node_descriptors(rig.node) <= KEPT + OTHERS);
    bool over = false;
    spool_stop(rig.spool, stopped, &over);
    ring_wake(rig.ring);
    assert_true(sim_run_until(rig.sim, is_true, &over, 60 * NS_PER_S));
    assert_int_equal(sim_node_descriptors(rig.node), 0);
    rig_close(&rig);
}

static bool noted(void *context)
{
    return strstr(rig.note, context) != NULL;
}

static void put(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        ledger_put(&rig.ledger, 30000, 1);
        rig_wait(&rig);
    }
}

static uint32_t files_aside(void)
{
    const struct segments *segments = spool_segments(rig.spool);
    uint32_t aside = 0;
    for (uint32_t i = 0; i < segments->count; i++) {
        aside += segments->table[i].state == SEGMENT_ASIDE && !segments->table[i].gone;
    }
    return aside;
}

/* F-23: meanwhile another one is made, at once; later it is used like the rest. */
static void f23_a_closed_segment_that_cannot_be_opened_now_is_used_later(void **state)
{
    static char words[] = "it is tried again";
    (void)state;
    open_long(1, 0);
    for (uint32_t i = 0; i < rig.ledger.count; i++) {
        ledger_deliver(&rig.ledger, i);
    }
    rig_wait(&rig);
    put(MESSAGES / 6); /* so much log that a checkpoint follows */
    sim_run_for(rig.sim, 10 * NS_PER_S);
    ledger_deliver(&rig.ledger, MESSAGES); /* the cursor passes what was delivered before */
    sim_run_for(rig.sim, 60 * NS_PER_S);
    const struct segments *segments = spool_segments(rig.spool);
    uint32_t slots = segments->next_slot;
    assert_int_equal(segments->spares.count, SEGMENT_SPARES_MAX);
    sim_fault_set(rig.sim, SIM_FAULT_no_descriptors, 1000);
    for (unsigned i = 0; i < 4; i++) { /* more than the open segment has room for */
        ledger_put(&rig.ledger, 30000, 1);
    }
    assert_true(sim_run_until(rig.sim, noted, words, NS_PER_S));
    sim_fault_set(rig.sim, SIM_FAULT_no_descriptors, 0);
    uint64_t began_ns = sim_now_ns(rig.sim);
    put(6 * 4);
    assert_true(sim_now_ns(rig.sim) - began_ns < 900 * NS_PER_MS);
    assert_in_range(segments->next_slot, slots + 1, slots + 7);
    sim_run_for(rig.sim, 3 * NS_PER_S);
    slots = segments->next_slot;
    put(MESSAGES / 4);
    assert_int_equal(segments->next_slot, slots);
    assert_int_equal(files_aside(), 0);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_log_keeps_few_files_open),
        cmocka_unit_test(a_start_opens_one_file_after_another),
        cmocka_unit_test(f27_a_start_that_adopts_a_lane_opens_few_files_of_it),
        cmocka_unit_test(
            f27_a_lane_that_cannot_be_adopted_is_closed_whole_before_the_start_fails),
        cmocka_unit_test(f23_a_start_that_lacks_descriptors_names_the_file_and_says_why),
        cmocka_unit_test(what_is_being_read_stays_open),
        cmocka_unit_test(loads_of_many_files_at_once_are_all_answered),
        cmocka_unit_test(f23_a_file_that_cannot_be_opened_now_is_tried_again),
        cmocka_unit_test(closed_segments_are_used_again),
        cmocka_unit_test(f23_a_closed_segment_that_cannot_be_opened_now_is_used_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
