/*
 * What a failed sync has left behind (F-04): the next life can read it, no later sync saves it, a
 * kill or a power cut may undo it. Nothing may follow from it before it is durable.
 */
#include "shard/spool/recover_secure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/spool_rig.h"

#define SEEDS      40
#define SLOTS      8
#define OLD_NUMBER 1000

/* The commit fails at its end: each sector of it is on the platter, or never will be. */
static void sync_fails(struct rig *rig, bool fails)
{
    sim_disk_failing_set(rig->disk, false, fails, false);
}

/* What the life that begins now finds is so for good: the power that goes next changes nothing. */
static void found_for_good(struct rig *rig)
{
    sync_fails(rig, false);
    assert_true(rig_start(rig));
    assert_int_equal(rig->ledger.error, 0);
    uint64_t rows = rig->ledger.rows_hash;
    rig_crash(rig, true);
    assert_true(rig_start(rig));
    assert_string_equal(rig->ledger.complaint, "");
    assert_int_equal(rig->ledger.rows_hash, rows);
    assert_int_equal(spool_recovery(rig->spool)->damaged_records, 0);
}

static void f04_an_outcome_that_a_failed_sync_has_left_is_found_by_every_later_life_or_none(
    void **state)
{
    (void)state;
    unsigned found = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rig rig;
        rig_open(&rig, seed, 0);
        ledger_put(&rig.ledger, 3000, 1);
        rig_wait(&rig);
        sync_fails(&rig, true);
        ledger_deliver(&rig.ledger, 0);
        rig_wait(&rig);
        rig_crash(&rig, false);
        found_for_good(&rig);
        found += !ledger_live(&rig.ledger, 0);
        rig_close(&rig);
    }
    assert_in_range(found, SEEDS / 4, SEEDS - 1);
}

/* Such groups say nothing of each other: none of them is known to be durable. */
static void f04_what_was_written_without_syncs_is_synced_when_there_are_some(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    rig.options.sync = false;
    rig_crash(&rig, false);
    assert_true(rig_start(&rig));
    for (unsigned i = 0; i < 60; i++) {
        ledger_put(&rig.ledger, 8000, 1);
        rig_wait(&rig);
    }
    assert_true(rig.ledger.messages[59].location.segment > 3);
    rig_crash(&rig, false);
    rig.options.sync = true;
    found_for_good(&rig);
    assert_true(ledger_live(&rig.ledger, 0) && ledger_live(&rig.ledger, 59));
    rig_read_all(&rig);
    rig_close(&rig);
}

/* The file that is used next was in use before, and has the header of that time. */
static void next_file_was_used(struct rig *rig)
{
    const struct record_segment old = {
        .version = RECORD_VERSION, .number = OLD_NUMBER, .uuid = RIG_UUID, .sequence = 1};
    uint8_t header[RECORD_SEGMENT_BYTES];
    record_segment_put(header, &old);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        char path[64];
        uint8_t first[8] = {1};
        snprintf(path, sizeof(path), "spool/lane-000/segment-%06u", slot);
        (void)sim_disk_get(rig->disk, path, 0, first, sizeof(first));
        if (memcmp(first, (uint8_t[8]){0}, sizeof(first)) == 0) {
            struct slice bytes = slice_make(header, sizeof(header));
            assert_int_equal(sim_disk_overwrite(rig->disk, path, 0, bytes), 0);
            return;
        }
    }
    assert_true(false);
}

/* The first group of a life begins a segment, and comes in one write with its header. */
static void f04_a_segment_that_a_failed_sync_has_begun_is_there_for_every_later_life_or_none(
    void **state)
{
    (void)state;
    unsigned found = 0;
    for (uint64_t seed = 1; seed <= 2 * SEEDS; seed++) {
        struct rig rig;
        rig_open(&rig, seed, 0);
        next_file_was_used(&rig);
        sync_fails(&rig, true);
        ledger_put(&rig.ledger, 100, 1);
        rig_wait(&rig);
        assert_int_equal(rig.ledger.messages[0].status, SPOOL_FAILED);
        rig_crash(&rig, false);
        found_for_good(&rig);
        if (ledger_live(&rig.ledger, 0)) {
            found++;
            assert_int_equal(rig_load(&rig, 0), SPOOL_LOADED);
            ledger_deliver(&rig.ledger, 0);
            rig_wait(&rig);
        }
        rig_close(&rig);
    }
    assert_in_range(found, SEEDS / 4, 2 * SEEDS - 1);
}

/* Of the first group of the last segment nothing came to the disk but the header before it. */
static void crash_with_torn_last(struct rig *rig)
{
    static const uint8_t zeros[RECORD_PAGE_BYTES];
    char path[512];
    struct segments *segments = spool_segments(rig->spool);
    const struct segment *last = segments_at(segments, segments->log.count - 1);
    snprintf(path, sizeof(path), "%s", segments_slot_path(segments, last->slot));
    rig_crash(rig, false);
    struct slice page = slice_make(zeros, sizeof(zeros));
    assert_int_equal(sim_disk_overwrite(rig->disk, path, RECORD_PAGE_BYTES, page), 0);
}

/* Where writes fail each try is on a segment of its own: the last group that counts need not stand
 * in the last one. */
static void f04_a_group_before_a_torn_segment_is_found_by_every_later_life_or_none(void **state)
{
    (void)state;
    unsigned found = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rig rig;
        rig_open(&rig, seed, 0);
        ledger_put(&rig.ledger, 100, 1);
        rig_wait(&rig);
        sync_fails(&rig, true);
        for (uint32_t i = 1; i <= 2; i++) {
            ledger_put(&rig.ledger, 100, 1);
            rig_wait(&rig);
            assert_int_equal(rig.ledger.messages[i].status, SPOOL_FAILED);
        }
        crash_with_torn_last(&rig);
        found_for_good(&rig);
        found += ledger_live(&rig.ledger, 1);
        assert_false(ledger_live(&rig.ledger, 2));
        rig_read_all(&rig);
        rig_close(&rig);
    }
    assert_in_range(found, SEEDS / 4, SEEDS - 1);
}

static bool block_is_written(void *context)
{
    struct sim_disk *disk = ((struct rig *)context)->disk;
    int64_t size = MAX_OF(sim_disk_file_size(disk, "spool/lane-000/checkpoint-0"),
                          sim_disk_file_size(disk, "spool/lane-000/checkpoint-1"));
    return size > (int64_t)CHECKPOINT_BLOCK_BYTES;
}

static bool writes_no_checkpoint(void *context)
{
    return sim_node_writing(((struct rig *)context)->node, "checkpoint") == 0;
}

static void f04_a_checkpoint_whose_head_was_not_synced_is_there_for_every_later_life_or_none(
    void **state)
{
    (void)state;
    unsigned found = 0;
    for (uint64_t seed = 1; seed <= 4 * SEEDS; seed++) {
        struct rig rig;
        rig_open(&rig, seed, 0);
        rig.options.checkpoint_bytes = 16 * KIB;
        rig_crash(&rig, false);
        assert_true(rig_start(&rig));
        ledger_put(&rig.ledger, 3000, 1);
        rig_wait(&rig);
        for (unsigned i = 0; i < 6; i++) {
            ledger_put(&rig.ledger, 8000, 1);
        }
        /* The block, its sync, the HEAD: one of the last two fails. */
        assert_true(sim_run_until(rig.sim, block_is_written, &rig, 10 * NS_PER_S));
        sim_run_for(rig.sim, sim_below(rig.sim, NS_PER_MS));
        sync_fails(&rig, true);
        sim_run_for(rig.sim, 10 * NS_PER_MS);
        assert_true(writes_no_checkpoint(&rig));
        bool failed = counters_get(&rig.shard->counters, COUNTER_checkpoint_failures) > 0;
        rig_crash(&rig, false);
        sync_fails(&rig, false);
        rig.options.checkpoint_bytes = 64 * MIB;
        assert_true(rig_start(&rig));
        found += failed && spool_recovery(rig.spool)->rows > 0;
        /* Every header from here on says where the newest checkpoint begins. */
        ledger_put(&rig.ledger, 3000, 1);
        rig_wait(&rig);
        rig_crash(&rig, true);
        assert_true(rig_start(&rig));
        assert_string_equal(rig.ledger.complaint, "");
        assert_int_equal(spool_recovery(rig.spool)->damaged_records, 0);
        rig_close(&rig);
    }
    assert_in_range(found, 10, 4 * SEEDS - 1);
}

static bool start_is_over(void *context)
{
    return ((struct rig *)context)->ledger.finished;
}

static void f04_a_start_that_cannot_make_the_last_group_durable_fails_and_says_so(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1, 0);
    ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    rig_crash(&rig, false);
    sim_disk_failing_set(rig.disk, true, false, false);
    rig_boot(&rig);
    assert_true(sim_run_until(rig.sim, start_is_over, &rig, 10 * NS_PER_S));
    assert_true(rig.ledger.error < 0);
    assert_non_null(strstr(rig.ledger.reason, "the last group cannot be made durable"));
    rig_crash(&rig, true);
    sim_disk_failing_set(rig.disk, false, false, false);
    assert_true(rig_start(&rig));
    assert_int_equal(rig.ledger.error, 0);
    assert_true(ledger_live(&rig.ledger, 0));
    rig_close(&rig);
}

/* Neither what was found nor the start is lost by errors of the device that pass. */
static void f04_a_start_tries_a_write_that_fails_again(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rig rig;
        rig_open(&rig, seed, 0);
        ledger_put(&rig.ledger, 3000, 1);
        rig_wait(&rig);
        rig_crash(&rig, false);
        sim_disk_failing_set(rig.disk, true, false, false);
        rig_boot(&rig);
        (void)sim_run_until(rig.sim, start_is_over, &rig, NS_PER_S + sim_below(rig.sim, NS_PER_S));
        assert_false(rig.ledger.finished);
        sim_disk_failing_set(rig.disk, false, false, false);
        assert_true(sim_run_until(rig.sim, start_is_over, &rig, 10 * NS_PER_S));
        assert_int_equal(rig.ledger.error, 0);
        rig_crash(&rig, true);
        assert_true(rig_start(&rig));
        assert_string_equal(rig.ledger.complaint, "");
        assert_true(ledger_live(&rig.ledger, 0));
        rig_close(&rig);
    }
}

/* Written again are the same bytes, at the same place. */
static void f04_a_start_changes_no_byte_of_the_log(void **state)
{
    (void)state;
    static uint8_t before[128 * KIB];
    static uint8_t after[sizeof(before)];
    for (unsigned groups = 1; groups < 4; groups++) {
        struct rig rig;
        rig_open(&rig, groups, 0);
        for (unsigned i = 0; i < groups; i++) {
            ledger_put(&rig.ledger, 3000 * groups, 1);
            rig_wait(&rig);
        }
        rig_crash(&rig, true);
        const char *path = "spool/lane-000/segment-000000";
        assert_int_equal(sim_disk_get(rig.disk, path, 0, before, sizeof(before)), sizeof(before));
        assert_true(rig_start(&rig));
        rig_crash(&rig, true);
        assert_int_equal(sim_disk_get(rig.disk, path, 0, after, sizeof(after)), sizeof(after));
        assert_memory_equal(before, after, sizeof(before));
        assert_true(rig_start(&rig));
        rig_close(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            f04_an_outcome_that_a_failed_sync_has_left_is_found_by_every_later_life_or_none),
        cmocka_unit_test(
            f04_a_segment_that_a_failed_sync_has_begun_is_there_for_every_later_life_or_none),
        cmocka_unit_test(
            f04_a_checkpoint_whose_head_was_not_synced_is_there_for_every_later_life_or_none),
        cmocka_unit_test(f04_a_group_before_a_torn_segment_is_found_by_every_later_life_or_none),
        cmocka_unit_test(f04_a_start_tries_a_write_that_fails_again),
        cmocka_unit_test(f04_a_start_that_cannot_make_the_last_group_durable_fails_and_says_so),
        cmocka_unit_test(f04_what_was_written_without_syncs_is_synced_when_there_are_some),
        cmocka_unit_test(f04_a_start_changes_no_byte_of_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
