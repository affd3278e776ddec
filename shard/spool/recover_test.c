/* Starts over what is unusual as a whole: files of different times, or very many rows. */
#include "shard/spool/recover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/spool_rig.h"

#define SEGMENT_BYTES (128 * KIB)
#define SLOTS         16
#define MILLION       1000000u

static const char *slot_path(unsigned slot)
{
    static char path[64];
    snprintf(path, sizeof(path), "spool/lane-000/segment-%06u", slot);
    return path;
}

/* --- a log of an earlier time ----------------------------------------------------------------- */

/* The segment files as they were at a moment. */
struct earlier {
    bool there[SLOTS];
    uint8_t bytes[SLOTS][SEGMENT_BYTES];
};

static void earlier_get(struct rig *rig, struct earlier *earlier)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        int64_t size = sim_disk_get(rig->disk, slot_path(i), 0, earlier->bytes[i], SEGMENT_BYTES);
        earlier->there[i] = size == SEGMENT_BYTES;
    }
}

/* Files that were not there then are as good as new. */
static void earlier_put(struct rig *rig, const struct earlier *earlier)
{
    static const uint8_t zeros[SEGMENT_BYTES];
    for (unsigned i = 0; i < SLOTS; i++) {
        const uint8_t *bytes = earlier->there[i] ? earlier->bytes[i] : zeros;
        if (sim_disk_exists(rig->disk, slot_path(i))) {
            struct slice content = slice_make(bytes, SEGMENT_BYTES);
            assert_int_equal(sim_disk_put(rig->disk, slot_path(i), content), 0);
        }
    }
}

static void has_stopped(void *context)
{
    ((struct rig *)context)->stopped = true;
}

static bool is_stopped(void *context)
{
    return ((struct rig *)context)->stopped;
}

static void stop(struct rig *rig)
{
    spool_stop(rig->spool, has_stopped, rig);
    ring_wake(rig->ring);
    assert_true(sim_run_until(rig->sim, is_stopped, rig, 600 * NS_PER_S));
}

static void b08_a_checkpoint_newer_than_the_log_counts_and_the_log_goes_on_behind_it(void **state)
{
    (void)state;
    static struct earlier earlier;
    struct rig rig;
    rig_open(&rig, 1, 0);
    for (unsigned i = 0; i < 20; i++) {
        ledger_put(&rig.ledger, 3000, 1);
    }
    rig_wait(&rig);
    earlier_get(&rig, &earlier);
    for (unsigned i = 0; i < 60; i++) {
        uint32_t number = ledger_put(&rig.ledger, 8000, 1);
        rig_wait(&rig);
        ledger_deliver(&rig.ledger, number);
        if (i < 10) {
            ledger_deliver(&rig.ledger, i);
        }
    }
    rig_wait(&rig);
    uint32_t newest = rig.ledger.messages[rig.ledger.count - 1].location.segment;
    assert_true(newest > 3);
    stop(&rig);
    rig_crash(&rig, true);
    earlier_put(&rig, &earlier);
    assert_true(rig_start(&rig));
    assert_int_equal(rig.ledger.error, 0);
    assert_int_equal(spool_recovery(rig.spool)->rows, 10);
    assert_int_equal(spool_recovery(rig.spool)->messages, 0);
    /* Neither a number nor a sequence is given again. */
    uint32_t number = ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    assert_true(rig.ledger.messages[number].location.segment > newest);
    rig_crash(&rig, true);
    assert_true(rig_start(&rig));
    assert_true(ledger_live(&rig.ledger, number));
    assert_int_equal(spool_recovery(rig.spool)->damaged_records, 0);
    rig_read_all(&rig);
    rig_close(&rig);
}

/* --- very many -------------------------------------------------------------------------------- */

/* A checkpoint with this many rows of messages that nobody has; its bytes. */
static struct slice many_rows(uint32_t rows)
{
    uint32_t blocks_max = rows / 2000 + 2;
    uint8_t *file = calloc(blocks_max, CHECKPOINT_BLOCK_BYTES);
    assert_non_null(file);
    struct checkpoint_head head = {.version = CHECKPOINT_VERSION, .generation = 1, .rows = rows,
                                   .begin = {.sequence = 1, .group = {.segment = 1}},
                                   .next_segment = 1};
    struct checkpoint_block block;
    uint32_t put = 0;
    while (put < rows) {
        head.blocks++;
        assert_true(head.blocks < blocks_max);
        checkpoint_block_begin(&block, file + (size_t)head.blocks * CHECKPOINT_BLOCK_BYTES);
        assert_true(put > 0 || checkpoint_put_queue(&block, 7, SLICE("ledger")));
        struct checkpoint_row row = {.queue = 7};
        do {
            row.location = (struct spool_location){.segment = 1 + put / 1000, .offset_64 = put};
            row.created_s = UINT32_MAX;
        } while (put < rows && checkpoint_put_row(&block, &row) && ++put < rows);
        checkpoint_block_seal(&block, RIG_UUID, 0, 1, head.blocks);
    }
    checkpoint_head_put(file, &head, RIG_UUID);
    return slice_make(file, (size_t)(head.blocks + 1) * CHECKPOINT_BLOCK_BYTES);
}

static void b10_a_million_rows_are_read_eight_blocks_at_a_time_and_not_kept_by_the_spool(
    void **state)
{
    (void)state;
    struct rig rig;
    struct slice file = many_rows(MILLION);
    rig_make(&rig, sim_open(&(struct sim_options){.seed = 1}));
    assert_int_equal(sim_disk_make_dir(rig.disk, "spool/lane-000"), 0);
    assert_int_equal(sim_disk_put(rig.disk, "spool/lane-000/checkpoint-0", file), 0);
    uint64_t begun_ns = sim_now_ns(rig.sim);
    assert_true(rig_start(&rig));
    assert_int_equal(rig.ledger.error, 0);
    assert_int_equal(spool_recovery(rig.spool)->rows, MILLION);
    /* 489 blocks; a read takes 10 to 310 us. */
    assert_in_range(sim_now_ns(rig.sim) - begun_ns, NS_PER_MS, 40 * NS_PER_MS);
    assert_int_equal(account_used(&rig.shard->memory), 0);
    rig.ledger.complaint[0] = '\0'; /* it knows none of them */
    rig_close(&rig);
    free((void *)(uintptr_t)file.data);
}

/* --- files that cannot be read ---------------------------------------------------------------- */

/* A lane with a checkpoint and a log behind it. */
static void open_filled(struct rig *rig)
{
    rig_open(rig, 1, 0);
    for (unsigned i = 0; i < 30; i++) {
        ledger_put(&rig->ledger, 30000, 1);
        rig_wait(rig);
        if (i % 3 == 0) {
            ledger_deliver(&rig->ledger, i);
        }
    }
    rig_wait(rig);
    sim_run_for(rig->sim, 3 * NS_PER_S);
    ledger_put(&rig->ledger, 30000, 1);
    rig_wait(rig);
    assert_true(counters_get(&rig->shard->counters, COUNTER_checkpoints) > 0);
    rig_crash(rig, false);
}

/* What cannot be read is not taken for a file that was never used. */
static void f05_a_start_that_can_read_nothing_fails_and_the_next_one_finds_all(void **state)
{
    (void)state;
    struct rig rig;
    open_filled(&rig);
    sim_disk_failing_set(rig.disk, false, false, true);
    assert_true(rig_start(&rig));
    assert_int_equal(rig.ledger.error, -EIO);
    rig_crash(&rig, false);
    sim_disk_failing_set(rig.disk, false, false, false);
    assert_true(rig_start(&rig));
    assert_int_equal(rig.ledger.error, 0);
    rig_read_all(&rig);
    rig_close(&rig);
}

static bool is_finished(void *context)
{
    return ((struct rig *)context)->ledger.finished;
}

static bool has_failed_once(void *context)
{
    const struct rig *rig = context;
    return rig->ledger.finished || sim_fault_count(rig->sim, SIM_FAULT_read_error) > 0;
}

static bool first_page_has_failed(void *context)
{
    const struct rig *rig = context;
    return sim_fault_count(rig->sim, SIM_FAULT_read_error) == 1 + 3; /* with the second, alone */
}

/* Of files that were ever used, or may be: each is used again when its time has come. */
static void expect_every_file_in_use(const struct rig *rig)
{
    const struct segments *segments = spool_segments(rig->spool);
    assert_true(segments->count > 0);
    for (uint32_t i = 0; i < segments->count; i++) {
        assert_true(segments->table[i].state != SEGMENT_ASIDE);
        assert_true(segments->table[i].reusable);
    }
}

/* A start whose first read after so long a time fails; false: it had ended before. */
static bool start_with_one_error(uint64_t after_ns)
{
    struct rig rig;
    open_filled(&rig);
    rig_boot(&rig);
    sim_run_for(rig.sim, after_ns);
    sim_fault_set(rig.sim, SIM_FAULT_read_error, 1000);
    assert_true(sim_run_until(rig.sim, has_failed_once, &rig, NS_PER_S));
    bool failed = sim_fault_count(rig.sim, SIM_FAULT_read_error) > 0;
    sim_fault_set(rig.sim, SIM_FAULT_read_error, 0);
    assert_true(sim_run_until(rig.sim, is_finished, &rig, 600 * NS_PER_S));
    assert_int_equal(rig.ledger.error, 0);
    const struct spool_recovery *counts = spool_recovery(rig.spool);
    assert_false(counts->checkpoint_lost);
    assert_int_equal(counts->damaged_records, 0);
    assert_true(counts->rows > 0);
    expect_every_file_in_use(&rig);
    rig_read_all(&rig);
    rig_close(&rig);
    return failed;
}

/* Without a checkpoint the first read is of a segment: its first group says what the page would. */
static void f05_a_first_page_that_cannot_be_read_costs_a_start_nothing(void **state)
{
    (void)state;
    struct rig rig;
    rig_make(&rig, sim_open(&(struct sim_options){.seed = 1}));
    rig.options.checkpoint_bytes = 64 * MIB;
    assert_true(rig_start(&rig));
    ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    rig_crash(&rig, false);
    sim_fault_set(rig.sim, SIM_FAULT_read_error, 1000);
    rig_boot(&rig);
    assert_true(sim_run_until(rig.sim, first_page_has_failed, &rig, NS_PER_S));
    sim_fault_set(rig.sim, SIM_FAULT_read_error, 0);
    assert_true(sim_run_until(rig.sim, is_finished, &rig, 600 * NS_PER_S));
    assert_int_equal(rig.ledger.error, 0);
    assert_int_equal(spool_recovery(rig.spool)->messages, 1);
    rig_read_all(&rig);
    rig_close(&rig);
}

/* Of heads and blocks of checkpoints, first and last pages, and the log. */
static void f05_a_read_that_fails_once_costs_a_start_nothing(void **state)
{
    (void)state;
    unsigned starts = 0;
    while (start_with_one_error(starts * 100 * NS_PER_US)) {
        starts++;
    }
    assert_in_range(starts, 20, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            b08_a_checkpoint_newer_than_the_log_counts_and_the_log_goes_on_behind_it),
        cmocka_unit_test(
            b10_a_million_rows_are_read_eight_blocks_at_a_time_and_not_kept_by_the_spool),
        cmocka_unit_test(f05_a_start_that_can_read_nothing_fails_and_the_next_one_finds_all),
        cmocka_unit_test(f05_a_first_page_that_cannot_be_read_costs_a_start_nothing),
        cmocka_unit_test(f05_a_read_that_fails_once_costs_a_start_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
