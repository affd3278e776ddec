/* One lane in the simulator: what it promises, over crashes of every kind. */
#include "shard/spool/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "shard/spool/record.h"
#include "shard/spool/segment.h"
#include "tests/kit/spool_rig.h"

/* --- the ordinary way ------------------------------------------------------------------------- */

static void stored_mail_is_found_again_byte_for_byte(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 100, 4000, 4096, 16384, 50000, 60000};
    struct rig rig;
    rig_open(&rig, 1, 0);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        ledger_put(&rig.ledger, sizes[i], 1);
    }
    rig_wait(&rig);
    assert_int_equal(rig.ledger.stored, COUNT_OF(sizes));
    rig_read_all(&rig);
    rig_crash(&rig, true);
    assert_true(rig_start(&rig));
    assert_int_equal(spool_recovery(rig.spool)->messages, COUNT_OF(sizes));
    assert_int_equal(spool_recovery(rig.spool)->damaged_records, 0);
    assert_int_equal(spool_recovery(rig.spool)->boots_seen, 77);
    rig_read_all(&rig);
    rig_close(&rig);
}

static void puts_of_one_turn_ride_in_one_commit(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    for (unsigned i = 0; i < 10; i++) {
        ledger_put(&rig.ledger, 1000, 1);
    }
    assert_int_equal(rig.ledger.stored, 0);
    rig_wait(&rig);
    assert_int_equal(counters_get(&rig.shard->counters, COUNTER_commits), 1);
    assert_int_equal(counters_get(&rig.shard->counters, COUNTER_commit_records), 10);
    assert_int_equal(spool_commit_ns(rig.spool)->count, 1);
    rig_close(&rig);
}

static void a_group_grows_while_another_is_written(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    sim_disk_latency_set(rig.disk, 3 * NS_PER_S);
    ledger_put(&rig.ledger, 100, 1);
    sim_run_for(rig.sim, 2 * NS_PER_MS);
    for (unsigned i = 0; i < 5; i++) {
        ledger_put(&rig.ledger, 100, 1);
        sim_run_for(rig.sim, NS_PER_MS);
    }
    assert_int_equal(rig.ledger.stored, 0);
    rig_wait(&rig);
    assert_int_equal(counters_get(&rig.shard->counters, COUNTER_commits), 2);
    rig_close(&rig);
}

static void c3_outcomes_wait_five_milliseconds_for_company(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    ledger_put(&rig.ledger, 100, 1);
    ledger_put(&rig.ledger, 100, 1);
    rig_wait(&rig);
    uint64_t before = sim_now_ns(rig.sim);
    ledger_deliver(&rig.ledger, 0);
    sim_run_for(rig.sim, 2 * NS_PER_MS);
    assert_int_equal(rig.ledger.outcomes, 0);
    assert_true(spool_outcome_age_ns(rig.spool) > 0);
    rig_wait(&rig);
    assert_in_range(sim_now_ns(rig.sim) - before, 5 * NS_PER_MS, 6 * NS_PER_MS);
    assert_int_equal(spool_outcome_age_ns(rig.spool), 0);

    /* With mail in the group it does not wait. */
    before = sim_now_ns(rig.sim);
    ledger_deliver(&rig.ledger, 1);
    ledger_put(&rig.ledger, 100, 1);
    rig_wait(&rig);
    assert_in_range(sim_now_ns(rig.sim) - before, 0, 4 * NS_PER_MS);
    rig_close(&rig);
}

static void stop_done(void *context)
{
    ((struct rig *)context)->stopped = true;
}

static bool rig_stopped(void *context)
{
    return ((struct rig *)context)->stopped;
}

static void a_clean_stop_stores_everything_and_closes_the_files(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    for (unsigned i = 0; i < 200; i++) {
        ledger_put(&rig.ledger, 3000, 1);
    }
    spool_stop(rig.spool, stop_done, &rig);
    ring_wake(rig.ring);
    assert_true(sim_run_until(rig.sim, rig_stopped, &rig, 600 * NS_PER_S));
    assert_int_equal(rig.ledger.stored, 200);
    assert_int_equal(sim_node_descriptors(rig.node), 0);
    rig_crash(&rig, true);
    assert_true(rig_start(&rig));
    assert_int_equal(spool_recovery(rig.spool)->rows, 200);
    assert_int_equal(spool_recovery(rig.spool)->messages, 0);
    rig_close(&rig);
}

static void load_done(struct spool_load *load)
{
    (void)load;
}

static bool load_home(void *context)
{
    return !((struct spool_load *)context)->in_flight;
}

/* --- segments --------------------------------------------------------------------------------- */

static unsigned rig_files(struct rig *rig)
{
    char names[65536];
    return sim_disk_list(rig->disk, "spool/lane-000", names, sizeof(names));
}

static void s3_segments_are_used_again_and_nothing_comes_back(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    for (unsigned life = 0; life < 6; life++) {
        for (unsigned i = 0; i < 100; i++) {
            uint32_t number = ledger_put(&rig.ledger, 8000, 2);
            rig_wait(&rig);
            ledger_deliver(&rig.ledger, number);
        }
        rig_wait(&rig);
        rig_crash(&rig, true);
        assert_true(rig_start(&rig));
        assert_int_equal(rig.ledger.error, 0);
        assert_int_equal(rig.ledger.rows_hash, 0);
        assert_string_equal(rig.ledger.complaint, "");
    }
    /* 600 messages of 8 KB would be 38 segments; a checkpoint comes after four. */
    assert_in_range(rig_files(&rig), 3, 16);
    rig_close(&rig);
}

static void s3_one_old_live_row_keeps_its_own_segment_alone(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    ledger_put(&rig.ledger, 100, 1);
    rig_wait(&rig);
    for (unsigned life = 0; life < 3; life++) {
        for (unsigned i = 0; i < 150; i++) {
            uint32_t number = ledger_put(&rig.ledger, 8000, 1);
            rig_wait(&rig);
            ledger_deliver(&rig.ledger, number);
            rig_wait(&rig);
        }
        rig_crash(&rig, true);
        assert_true(rig_start(&rig));
        assert_string_equal(rig.ledger.complaint, "");
        assert_true(ledger_live(&rig.ledger, 0));
        assert_int_equal(rig.ledger.messages[0].location.segment, 1);
        assert_int_equal(rig_load(&rig, 0), SPOOL_LOADED);
    }
    assert_in_range(rig_files(&rig), 3, 16);
    rig_close(&rig);
}

static void f02_without_space_mail_is_refused_and_outcomes_are_not(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    sim_disk_size_set(rig.disk, 6 * 128 * KIB);
    for (unsigned i = 0; i < 200 && rig.ledger.refused == 0; i++) {
        ledger_put(&rig.ledger, 8000, 1);
        rig_wait(&rig);
    }
    assert_true(rig.ledger.refused > 0);
    assert_int_equal(rig.ledger.messages[rig.ledger.count - 1].status, SPOOL_FULL);
    assert_int_equal(spool_admission(rig.spool, 8000), SPOOL_FULL);
    uint32_t stored = rig.ledger.stored;
    for (uint32_t i = 0; i < stored; i++) {
        ledger_deliver(&rig.ledger, i);
        rig_wait(&rig);
    }
    assert_int_equal(rig.ledger.outcomes, stored);
    for (unsigned i = 0; i < 3 && spool_admission(rig.spool, 8000) != SPOOL_STORED; i++) {
        spool_cursor_set(rig.spool, spool_position(rig.spool));
        sim_run_for(rig.sim, 3 * NS_PER_S);
    }
    uint32_t number = ledger_put(&rig.ledger, 8000, 1);
    rig_wait(&rig);
    assert_int_equal(rig.ledger.messages[number].status, SPOOL_STORED);
    rig_close(&rig);
}

/* The disk has room for the open segment and the two in reserve; mail comes and goes. */
static void f02_on_the_smallest_disk_mail_goes_on_for_ever(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    sim_run_for(rig.sim, NS_PER_S);
    sim_disk_size_set(rig.disk, 4 * 128 * KIB + 256 * KIB);
    unsigned waits = 0;
    for (unsigned i = 0; i < 1000; i++) {
        for (unsigned n = 0; n < 5 && spool_admission(rig.spool, 1000) != SPOOL_STORED; n++) {
            spool_cursor_set(rig.spool, spool_position(rig.spool));
            sim_run_for(rig.sim, 3 * NS_PER_S);
            waits++;
        }
        uint32_t number = ledger_put(&rig.ledger, 1000, 1);
        rig_wait(&rig);
        assert_int_equal(rig.ledger.messages[number].status, SPOOL_STORED);
        ledger_deliver(&rig.ledger, number);
        rig_wait(&rig);
    }
    assert_true(waits > 0);
    rig_close(&rig);
}

static void f03_a_device_that_is_gone_is_told_at_once_and_comes_back_alone(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    sim_run_for(rig.sim, NS_PER_S);
    ledger_put(&rig.ledger, 1000, 1);
    rig_wait(&rig);
    sim_disk_failing_set(rig.disk, true, true, false);
    spool_segments(rig.spool)->spares.count = 0; /* those in reserve are used up */
    for (unsigned i = 0; i < 6; i++) {
        uint32_t number = ledger_put(&rig.ledger, 1000, 1);
        sim_run_for(rig.sim, 3 * NS_PER_S);
        assert_false(rig.ledger.messages[number].write.in_flight);
        assert_int_equal(rig.ledger.messages[number].status, SPOOL_FAILED);
    }
    assert_int_equal(spool_admission(rig.spool, 1000), SPOOL_FAILED);
    sim_disk_failing_set(rig.disk, false, false, false);
    sim_run_for(rig.sim, 5 * NS_PER_S);
    assert_int_equal(spool_admission(rig.spool, 1000), SPOOL_STORED);
    uint32_t number = ledger_put(&rig.ledger, 1000, 1);
    rig_wait(&rig);
    assert_int_equal(rig.ledger.messages[number].status, SPOOL_STORED);
    rig_crash(&rig, true);
    assert_true(rig_start(&rig));
    assert_string_equal(rig.ledger.complaint, "");
    assert_true(ledger_live(&rig.ledger, number));
    rig_close(&rig);
}

struct piece {
    struct spool_write write;
    struct chain chain;
};

static void piece_done(struct spool_write *write)
{
    (void)write;
}

static bool write_home(void *context)
{
    return !((struct spool_write *)context)->in_flight;
}

static struct spool_part rig_piece(struct rig *rig, uint8_t fill, uint32_t size)
{
    static uint8_t bytes[40000];
    struct piece piece = {.write = {.done = piece_done}};
    memset(bytes, fill, size);
    chain_init(&piece.chain);
    assert_true(chain_append(&piece.chain, rig->pool, slice_make(bytes, size)));
    spool_put_body(rig->spool, &piece.write, &piece.chain);
    ring_wake(rig->ring);
    assert_true(sim_run_until(rig->sim, write_home, &piece.write, 600 * NS_PER_S));
    assert_int_equal(piece.write.status, SPOOL_STORED);
    chain_clear(&piece.chain, rig->pool);
    return (struct spool_part){.location = piece.write.location, .size = size};
}

static void rig_check_part(struct rig *rig, struct spool_load *load, uint8_t fill, uint32_t at)
{
    spool_load_part(rig->spool, load, &load->parts[at]);
    ring_wake(rig->ring);
    assert_true(sim_run_until(rig->sim, load_home, load, 600 * NS_PER_S));
    assert_int_equal(load->status, SPOOL_LOADED);
    assert_int_equal(load->body.size, load->parts[at].size);
    uint8_t bytes[40000];
    chain_copy_out(&load->body, 0, load->body.size, bytes);
    for (uint32_t i = 0; i < load->body.size; i++) {
        assert_int_equal(bytes[i], fill);
    }
}

/* Mail that comes and goes, enough to use every file again several times. */
static void rig_churn(struct rig *rig)
{
    for (unsigned i = 0; i < 60; i++) {
        uint32_t number = ledger_put(&rig->ledger, 8000, 1);
        rig_wait(rig);
        ledger_deliver(&rig->ledger, number);
        rig_wait(rig);
    }
}

static void s5_pieces_of_a_live_message_are_never_written_over(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    struct spool_part parts[2];
    parts[0] = rig_piece(&rig, 'a', 40000);
    rig_churn(&rig);
    parts[1] = rig_piece(&rig, 'b', 30000);
    rig_churn(&rig);
    struct ledger_message *whole = &rig.ledger.messages[rig.ledger.count++];
    whole->ledger = &rig.ledger;
    whole->number = rig.ledger.count - 1;
    whole->recipients = 1;
    whole->state = LEDGER_STORED;
    whole->body_bytes = 70000;
    memcpy(whole->envelope, &whole->number, sizeof(whole->number));
    struct spool_message message = {
        .id = whole->id, .flags = SPOOL_MESSAGE_PARTS, .recipient_count = 1,
        .envelope = slice_make(whole->envelope, 16), .parts = parts, .part_count = 2,
        .body_bytes = 70000};
    whole->write.done = piece_done;
    spool_put_message(rig.spool, &whole->write, &message);
    ring_wake(rig.ring);
    assert_true(sim_run_until(rig.sim, write_home, &whole->write, 600 * NS_PER_S));
    assert_int_equal(whole->write.status, SPOOL_STORED);
    spool_part_drop(rig.spool, &parts[0]);
    spool_part_drop(rig.spool, &parts[1]);
    whole->location = whole->write.location;
    for (unsigned life = 0; life < 2; life++) {
        rig_churn(&rig);
        struct spool_load load = {.done = load_done};
        spool_load(rig.spool, &load, whole->location);
        ring_wake(rig.ring);
        assert_true(sim_run_until(rig.sim, load_home, &load, 600 * NS_PER_S));
        assert_int_equal(load.status, SPOOL_LOADED);
        assert_int_equal(load.part_count, 2);
        rig_check_part(&rig, &load, 'a', 0);
        rig_check_part(&rig, &load, 'b', 1);
        spool_load_drop(rig.spool, &load);
        rig_crash(&rig, true);
        assert_true(rig_start(&rig));
        assert_string_equal(rig.ledger.complaint, "");
    }
    unsigned files = rig_files(&rig);
    ledger_deliver(&rig.ledger, whole->number);
    rig_wait(&rig);
    rig_churn(&rig);
    assert_in_range(rig_files(&rig), files, files + 2);
    rig_close(&rig);
}

static void an_abandoned_piece_lets_its_segment_go(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    struct spool_part part = rig_piece(&rig, 'a', 40000);
    spool_part_drop(rig.spool, &part);
    for (unsigned i = 0; i < 4; i++) {
        rig_churn(&rig);
    }
    assert_in_range(rig_files(&rig), 3, 11);
    rig_close(&rig);
}

/* --- checkpoints ------------------------------------------------------------------------------ */

static bool checkpoint_begins(void *context)
{
    return sim_node_writing(((struct rig *)context)->node, "checkpoint") > 0;
}

static bool checkpoint_stands(void *context)
{
    const struct rig *rig = context;
    return counters_get(&rig->shard->counters, COUNTER_checkpoints) >= 2;
}

/* Its rows are not seen by the copy, for they are not stored: the log has to have them. */
static void b08_a_checkpoint_begins_before_the_group_that_is_being_written(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    rig_crash(&rig, false);
    rig.options.checkpoint_bytes = 16 * KIB;
    assert_true(rig_start(&rig));
    sim_run_for(rig.sim, 100 * NS_PER_MS);
    /* The first one is slow: what was stored meanwhile makes the next one due at a tick. */
    sim_disk_latency_set(rig.disk, 400 * NS_PER_MS);
    for (unsigned i = 0; i < 3; i++) {
        ledger_put(&rig.ledger, 9000, 1);
    }
    assert_true(sim_run_until(rig.sim, checkpoint_begins, &rig, 5 * NS_PER_S));
    for (unsigned i = 0; i < 3; i++) {
        ledger_put(&rig.ledger, 9000, 1);
    }
    rig_wait(&rig);
    while (counters_get(&rig.shard->counters, COUNTER_checkpoints) == 0) {
        assert_true(sim_run_for(rig.sim, NS_PER_MS));
    }
    sim_disk_latency_set(rig.disk, 3 * NS_PER_S);
    uint32_t flying = ledger_put(&rig.ledger, 3000, 1);
    sim_run_for(rig.sim, NS_PER_MS);
    sim_disk_latency_set(rig.disk, 0);
    assert_true(sim_run_until(rig.sim, checkpoint_stands, &rig, 2 * NS_PER_S));
    assert_int_equal(rig.ledger.in_flight, 1);
    rig_wait(&rig);
    assert_int_equal(rig.ledger.messages[flying].state, LEDGER_STORED);
    rig_crash(&rig, true);
    assert_true(rig_start(&rig));
    assert_int_equal(spool_recovery(rig.spool)->rows, 6);
    assert_int_equal(spool_recovery(rig.spool)->messages, 1);
    assert_true(ledger_live(&rig.ledger, flying));
    rig_close(&rig);
}

/* --- faults ----------------------------------------------------------------------------------- */

static void f03_a_failed_write_is_nobodys_mail(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rig rig;
        rig_open(&rig, seed, 0);
        ledger_put(&rig.ledger, 3000, 1);
        rig_wait(&rig);
        /* Some of it reaches the disk, or all, or nothing. */
        sim_disk_failing_set(rig.disk, true, false, false);
        ledger_put(&rig.ledger, 3000, 1);
        rig_wait(&rig);
        assert_int_equal(rig.ledger.messages[1].status, SPOOL_FAILED);
        assert_int_equal(counters_get(&rig.shard->counters, COUNTER_commit_failures), 1);
        assert_true(rig.notes > 0);
        sim_disk_failing_set(rig.disk, false, false, false);
        ledger_put(&rig.ledger, 3000, 1);
        rig_wait(&rig);
        assert_int_equal(rig.ledger.messages[2].status, SPOOL_STORED);
        assert_true(rig.ledger.messages[2].location.segment >
                    rig.ledger.messages[0].location.segment);
        rig_read_all(&rig);
        rig_crash(&rig, seed % 2 == 0);
        assert_true(rig_start(&rig));
        assert_false(ledger_live(&rig.ledger, 1));
        assert_true(ledger_live(&rig.ledger, 0));
        assert_true(ledger_live(&rig.ledger, 2));
        assert_int_equal(spool_recovery(rig.spool)->damaged_records, 0);
        rig_close(&rig);
    }
}

static void f04_a_second_failure_in_a_row_refuses_everything(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    sim_disk_failing_set(rig.disk, true, false, false);
    ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    assert_int_equal(spool_admission(rig.spool, 1), SPOOL_STORED);
    ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    assert_int_equal(spool_admission(rig.spool, 1), SPOOL_FAILED);
    sim_disk_failing_set(rig.disk, false, false, false);
    ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    assert_int_equal(rig.ledger.refused, 3);
    assert_int_equal(rig.ledger.messages[2].status, SPOOL_FAILED);
    rig_close(&rig);
}

/* Of a spool that has never stored anything, for instance. */
static void f03_a_lane_that_can_make_no_segment_says_so_and_comes_back_or_stops(void **state)
{
    (void)state;
    for (unsigned stop = 0; stop < 2; stop++) {
        struct rig rig;
        rig_make(&rig, sim_open(&(struct sim_options){.seed = 1}));
        assert_true(rig_start(&rig));
        sim_disk_failing_set(rig.disk, true, false, false);
        uint64_t before = sim_now_ns(rig.sim);
        ledger_put(&rig.ledger, 3000, 1);
        rig_wait(&rig);
        assert_int_equal(rig.ledger.messages[0].status, SPOOL_FAILED);
        assert_in_range(sim_now_ns(rig.sim) - before, 0, 5 * NS_PER_S);
        assert_int_equal(spool_admission(rig.spool, 1), SPOOL_FAILED);
        if (stop > 0) {
            spool_stop(rig.spool, stop_done, &rig);
            assert_true(sim_run_until(rig.sim, rig_stopped, &rig, 60 * NS_PER_S));
        } else {
            sim_disk_failing_set(rig.disk, false, false, false);
            (void)sim_run_for(rig.sim, 5 * NS_PER_S);
            assert_int_equal(spool_admission(rig.spool, 1), SPOOL_STORED);
            ledger_put(&rig.ledger, 3000, 1);
            rig_wait(&rig);
            assert_int_equal(rig.ledger.messages[1].status, SPOOL_STORED);
        }
        rig_close(&rig);
    }
}

static uint32_t file_number(struct rig *rig, const char *path)
{
    uint8_t page[RECORD_SEGMENT_BYTES];
    struct record_segment header;
    assert_int_equal(sim_disk_get(rig->disk, path, 0, page, sizeof(page)), sizeof(page));
    assert_true(record_segment_get(slice_make(page, sizeof(page)), &header));
    return header.number;
}

static void deliver_live(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->ledger.count; i++) {
        if (ledger_live(&rig->ledger, i)) {
            ledger_deliver(&rig->ledger, i);
        }
    }
    rig_wait(rig);
}

/* Its segment leaves the log as any other does; its file is left alone. */
static void f04_a_file_in_which_a_write_failed_is_not_used_again(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    sim_disk_failing_set(rig.disk, false, true, false);
    ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    sim_disk_failing_set(rig.disk, false, false, false);
    for (unsigned i = 0; i < 400; i++) {
        ledger_put(&rig.ledger, 8000, 1);
        if (i % 10 == 9) {
            rig_wait(&rig);
            deliver_live(&rig);
        }
    }
    assert_null(segments_find(spool_segments(rig.spool), 1));
    assert_int_equal(file_number(&rig, "spool/lane-000/segment-000000"), 1);
    assert_in_range(rig_files(&rig), 4, 20); /* the others are */
    rig_close(&rig);
}

/* A start may find it until a later group voids it: no checkpoint and no cursor passes it. */
static void f04_the_log_ends_before_a_failed_group_until_it_is_voided(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    ledger_put(&rig.ledger, 100, 1);
    rig_wait(&rig);
    struct spool_position before = spool_position(rig.spool);
    sim_disk_failing_set(rig.disk, false, true, false);
    ledger_put(&rig.ledger, 100, 1);
    rig_wait(&rig);
    struct spool_position failed = spool_position(rig.spool);
    assert_int_equal(rig.ledger.messages[1].status, SPOOL_FAILED);
    assert_memory_equal(&failed, &before, sizeof(before));
    sim_disk_failing_set(rig.disk, false, false, false);
    ledger_put(&rig.ledger, 100, 1);
    rig_wait(&rig);
    assert_true(spool_position(rig.spool).sequence > before.sequence + 1);
    rig_close(&rig);
}

static void f05_a_damaged_body_is_never_handed_out(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    ledger_put(&rig.ledger, 9000, 1);
    ledger_put(&rig.ledger, 9000, 1);
    rig_wait(&rig);
    struct spool_location location = rig.ledger.messages[0].location;
    uint64_t at = (uint64_t)location.offset_64 * 64 + 5000;
    uint8_t byte;
    assert_int_equal(sim_disk_get(rig.disk, "spool/lane-000/segment-000000", at, &byte, 1), 1);
    byte ^= 4;
    assert_int_equal(
        sim_disk_overwrite(rig.disk, "spool/lane-000/segment-000000", at, slice_make(&byte, 1)), 0);
    unsigned notes = rig.notes;
    assert_int_equal(rig_load(&rig, 0), SPOOL_LOAD_DAMAGED);
    assert_int_equal(rig.notes, notes + 1);
    assert_int_equal(rig_load(&rig, 1), SPOOL_LOADED);
    sim_disk_failing_set(rig.disk, false, false, true);
    assert_int_equal(rig_load(&rig, 1), SPOOL_LOAD_ERROR);
    sim_disk_failing_set(rig.disk, false, false, false);
    assert_int_equal(rig_load(&rig, 1), SPOOL_LOADED);
    rig_close(&rig);
}

static void f07_a_message_too_late_is_voided(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    sim_disk_latency_set(rig.disk, 40 * NS_PER_S);
    ledger_put(&rig.ledger, 3000, 1);
    sim_run_for(rig.sim, NS_PER_S);
    ledger_put(&rig.ledger, 3000, 1);
    for (unsigned i = 0; i < 40; i++) {
        ledger_put(&rig.ledger, 3000, 1);
    }
    sim_run_for(rig.sim, 36 * NS_PER_S);
    assert_int_equal(rig.ledger.refused, 42);
    assert_int_equal(rig.ledger.messages[0].status, SPOOL_LATE);
    assert_int_equal(rig.ledger.messages[41].status, SPOOL_LATE);
    sim_disk_latency_set(rig.disk, 0);
    sim_run_for(rig.sim, 100 * NS_PER_S);
    ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    rig_crash(&rig, true);
    assert_true(rig_start(&rig));
    assert_int_equal(spool_recovery(rig.spool)->messages, 2);
    for (uint32_t i = 0; i < 42; i++) {
        assert_false(ledger_live(&rig.ledger, i));
    }
    assert_true(ledger_live(&rig.ledger, 42));
    rig_close(&rig);
}

static void f28_damage_is_named_and_the_rest_is_delivered(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    for (unsigned i = 0; i < 6; i++) {
        ledger_put(&rig.ledger, 3000, 1);
        ledger_put(&rig.ledger, 3000, 1);
        rig_wait(&rig);
    }
    rig_crash(&rig, true);
    struct spool_location location = rig.ledger.messages[5].location;
    uint64_t at = (uint64_t)location.offset_64 * 64 + 70;
    assert_int_equal(sim_disk_overwrite(rig.disk, "spool/lane-000/segment-000000", at,
                                        SLICE("junk")), 0);
    rig.ledger.messages[5].outcome_put = true; /* its loss is expected */
    assert_true(rig_start(&rig));
    assert_int_equal(spool_recovery(rig.spool)->messages, 11);
    assert_int_equal(spool_recovery(rig.spool)->damaged_records, 1);
    assert_non_null(strstr(rig.note, "lane 0 segment 1 offset"));
    rig_read_all(&rig);
    rig_close(&rig);
}

static void b07_files_of_another_spool_are_refused(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    rig_crash(&rig, true);
    static uint8_t file[128 * KIB];
    assert_int_equal(sim_disk_get(rig.disk, "spool/lane-000/segment-000000", 0, file, sizeof(file)),
                     sizeof(file));
    assert_int_equal(sim_disk_put(rig.disk, "spool/lane-000/segment-000009",
                                  slice_make(file, sizeof(file))), 0);
    assert_true(rig_start(&rig));
    assert_true(rig.ledger.error < 0);
    assert_non_null(strstr(rig.ledger.reason, "two files"));
    rig_close(&rig);
}

/* --- crashes ---------------------------------------------------------------------------------- */

struct crash_test {
    bool sync;
    bool refusing; /* the disk may refuse what a start writes: it is tried again */
};

/* Random mail and outcomes until a random moment. */
static void rig_work(struct rig *rig)
{
    struct ledger *ledger = &rig->ledger;
    uint64_t steps = sim_below(rig->sim, 60);
    unsigned deliver = sim_chance(rig->sim, 500) ? 250 : 900;
    for (uint64_t i = 0; i < steps; i++) {
        for (uint64_t n = sim_below(rig->sim, 4); n > 0 && ledger->in_flight < 40; n--) {
            bool large = sim_chance(rig->sim, 100) && rig->options.group_bytes > 50000;
            uint32_t size = (uint32_t)sim_below(rig->sim, large ? 50000 : 6000);
            ledger_put(ledger, size, (uint16_t)(1 + sim_below(rig->sim, 3)));
        }
        for (uint32_t n = 0; n < ledger->count; n++) {
            if (ledger_live(ledger, n) && sim_chance(rig->sim, deliver)) {
                ledger_deliver(ledger, n);
            }
        }
        if (!sim_run_for(rig->sim, sim_below(rig->sim, 3 * NS_PER_MS))) {
            return;
        }
    }
}

/* Replay twice, the second time after a crash in the middle of a replay: the same rows. */
static void rig_recover(struct rig *rig, bool refusing)
{
    if (sim_chance(rig->sim, 300)) {
        rig_boot(rig);
        sim_run_for(rig->sim, sim_below(rig->sim, 10 * NS_PER_MS));
        rig_crash(rig, sim_chance(rig->sim, 500));
    }
    bool good = rig_start(rig);
    for (unsigned i = 0; refusing && i < 20 && rig->ledger.error != 0; i++) {
        rig_crash(rig, sim_chance(rig->sim, 500));
        good = rig_start(rig);
    }
    if (!good || rig->ledger.error != 0) {
        sim_fail(rig->sim, "recovery: error %d %s", rig->ledger.error, rig->ledger.reason);
        return;
    }
    uint64_t rows = rig->ledger.rows_hash;
    if (spool_recovery(rig->spool)->damaged_records > 0) {
        sim_fail(rig->sim, "false alarm: %s", rig->note);
    }
    if (!refusing && sim_chance(rig->sim, 300)) {
        rig_crash(rig, true);
        if (!rig_start(rig) || rig->ledger.rows_hash != rows) {
            sim_fail(rig->sim, "a second replay gives other rows");
        }
    }
}

static void crash_body(struct sim *sim, void *context)
{
    struct crash_test *test = context;
    static struct rig rig;
    rig_make(&rig, sim);
    rig.options.sync = test->sync;
    if (sim_chance(sim, 500)) {
        /* Files are used again every few messages. */
        rig.options.segment_bytes = 32 * KIB;
        rig.options.checkpoint_bytes = 128 * KIB;
        rig.options.group_bytes = 16 * KIB;
    }
    rig_boot(&rig);
    sim_run_for(sim, sim_below(sim, 20 * NS_PER_MS));
    for (unsigned life = 0; life < 5 && !sim_failed(sim); life++) {
        if (rig.ledger.finished && rig.ledger.error == 0) {
            rig_work(&rig);
        }
        rig_crash(&rig, sim_chance(sim, 700));
        rig_recover(&rig, test->refusing);
        if (rig.ledger.complaint[0] != '\0') {
            sim_fail(sim, "%s", rig.ledger.complaint);
        }
        if (life == 4 && !sim_failed(sim)) {
            rig_read_all(&rig);
            if (rig.ledger.complaint[0] != '\0') {
                sim_fail(sim, "%s", rig.ledger.complaint);
            }
        }
    }
    rig_free(&rig);
}

static void f01_stored_mail_survives_crashes_and_power_cuts(void **state)
{
    (void)state;
    struct crash_test test = {.sync = true};
    struct sim_campaign campaign = {
        .name = "spool", .count = 200, .body = crash_body, .context = &test,
        .swarm = SIM_FAULT_BIT(late_completion) | SIM_FAULT_BIT(slow_turn) |
                 SIM_FAULT_BIT(short_write) | SIM_FAULT_BIT(short_read) |
                 SIM_FAULT_BIT(interrupted) | SIM_FAULT_BIT(job_refused) |
                 SIM_FAULT_BIT(slow_job) | SIM_FAULT_BIT(wall_jump) | SIM_FAULTS_POWER};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

static void f03_write_errors_lose_nothing_and_bring_nothing_back(void **state)
{
    (void)state;
    struct crash_test test = {.sync = true, .refusing = true};
    struct sim_campaign campaign = {
        .name = "spool with write errors", .count = 100, .body = crash_body, .context = &test,
        .swarm = SIM_FAULT_BIT(write_error) | SIM_FAULT_BIT(short_write) |
                 SIM_FAULT_BIT(late_completion) | SIM_FAULT_BIT(no_space) |
                 SIM_FAULTS_POWER};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/*
 * What a failed sync has left can be read by the next life, may be undone by any later kill or
 * power cut, and is saved by no sync.
 */
static void f04_what_a_failed_sync_has_left_never_vanishes_under_a_later_life(void **state)
{
    (void)state;
    struct crash_test test = {.sync = true, .refusing = true};
    struct sim_campaign campaign = {
        .name = "spool with sync errors", .count = 300, .body = crash_body, .context = &test,
        .swarm = SIM_FAULT_BIT(sync_error) | SIM_FAULT_BIT(short_write) |
                 SIM_FAULT_BIT(interrupted) | SIM_FAULTS_POWER};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* The negative control: the same campaign must see a spool that does not sync lose mail. */
static void f01c_without_sync_a_power_cut_loses_mail(void **state)
{
    (void)state;
    struct crash_test test = {.sync = false};
    struct sim_campaign campaign = {.name = "spool without sync", .count = 40, .quiet = true,
                                    .body = crash_body, .context = &test,
                                    .swarm = SIM_FAULTS_POWER};
    assert_in_range(sim_campaign_run(&campaign), 10, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_mail_is_found_again_byte_for_byte),
        cmocka_unit_test(puts_of_one_turn_ride_in_one_commit),
        cmocka_unit_test(a_group_grows_while_another_is_written),
        cmocka_unit_test(c3_outcomes_wait_five_milliseconds_for_company),
        cmocka_unit_test(a_clean_stop_stores_everything_and_closes_the_files),
        cmocka_unit_test(s3_segments_are_used_again_and_nothing_comes_back),
        cmocka_unit_test(s3_one_old_live_row_keeps_its_own_segment_alone),
        cmocka_unit_test(s5_pieces_of_a_live_message_are_never_written_over),
        cmocka_unit_test(an_abandoned_piece_lets_its_segment_go),
        cmocka_unit_test(f02_without_space_mail_is_refused_and_outcomes_are_not),
        cmocka_unit_test(f02_on_the_smallest_disk_mail_goes_on_for_ever),
        cmocka_unit_test(b08_a_checkpoint_begins_before_the_group_that_is_being_written),
        cmocka_unit_test(f03_a_device_that_is_gone_is_told_at_once_and_comes_back_alone),
        cmocka_unit_test(f03_a_failed_write_is_nobodys_mail),
        cmocka_unit_test(f03_a_lane_that_can_make_no_segment_says_so_and_comes_back_or_stops),
        cmocka_unit_test(f04_a_second_failure_in_a_row_refuses_everything),
        cmocka_unit_test(f04_a_file_in_which_a_write_failed_is_not_used_again),
        cmocka_unit_test(f04_the_log_ends_before_a_failed_group_until_it_is_voided),
        cmocka_unit_test(f05_a_damaged_body_is_never_handed_out),
        cmocka_unit_test(f07_a_message_too_late_is_voided),
        cmocka_unit_test(f28_damage_is_named_and_the_rest_is_delivered),
        cmocka_unit_test(b07_files_of_another_spool_are_refused),
        cmocka_unit_test(f01_stored_mail_survives_crashes_and_power_cuts),
        cmocka_unit_test(f03_write_errors_lose_nothing_and_bring_nothing_back),
        cmocka_unit_test(f04_what_a_failed_sync_has_left_never_vanishes_under_a_later_life),
        cmocka_unit_test(f01c_without_sync_a_power_cut_loses_mail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
