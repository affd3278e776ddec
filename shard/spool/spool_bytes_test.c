/*
 * What a lane makes of files that a power cut, a careless hand or an earlier use has left: every
 * subset of the sectors of the last group, over anything; files lost, swapped, of another lane.
 */
#include "shard/spool/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/spool_rig.h"

#define SEGMENT_BYTES (128 * KIB)
#define PAGE_BYTES    4096u
#define SECTOR_BYTES  512u
#define GROUP_SECTORS (PAGE_BYTES / SECTOR_BYTES)
#define OLD_MESSAGES  40 /* a group each: more than one segment */
#define SEED          5

/* A life begins: recovered when this returns. */
static void lane_start(struct rig *rig)
{
    rig->notes = 0;
    assert_true(rig_start(rig));
}

static void lane_open(struct rig *rig, unsigned lane)
{
    const struct sim_options options = {.seed = SEED};
    rig_make(rig, sim_open(&options));
    rig->options.lane = lane;
    rig->options.checkpoint_bytes = 64 * MIB;
    lane_start(rig);
    assert_int_equal(rig->ledger.error, 0);
    sim_run_for(rig->sim, 3 * NS_PER_S); /* the first segments are made */
}

/* What was damaged on purpose may have been complained of. */
static void lane_close(struct rig *rig)
{
    struct sim *sim = rig->sim;
    rig_free(rig);
    sim_close(sim);
}

/* One message, a group of its own; stored. */
static uint32_t rig_store(struct rig *rig)
{
    uint32_t number = ledger_put(&rig->ledger, 2000, 1);
    rig_wait(rig);
    return number;
}

static void segment_path(unsigned lane, uint32_t slot, char out[64])
{
    snprintf(out, 64, "spool/lane-%03u/segment-%06u", lane, slot);
}

static void file_get(struct rig *rig, uint32_t slot, uint8_t out[SEGMENT_BYTES])
{
    char path[64];
    segment_path(rig->options.lane, slot, path);
    assert_int_equal(sim_disk_get(rig->disk, path, 0, out, SEGMENT_BYTES), SEGMENT_BYTES);
}

static void file_put(struct rig *rig, uint32_t slot, const uint8_t *bytes)
{
    char path[64];
    segment_path(rig->options.lane, slot, path);
    assert_int_equal(sim_disk_put(rig->disk, path, slice_make(bytes, SEGMENT_BYTES)), 0);
}

/* --- the last group --------------------------------------------------------------------------- */

/* Its bytes, when all has come; what stood at its offset in the file of the segment before. */
struct last_group {
    uint32_t slot;
    uint64_t offset;
    uint8_t page[PAGE_BYTES];
    uint8_t recycled[PAGE_BYTES];
};

static void fill(struct rig *rig)
{
    for (unsigned i = 0; i < OLD_MESSAGES; i++) {
        uint32_t number = rig_store(rig);
        if (i % 3 == 0) {
            ledger_deliver(&rig->ledger, number);
            rig_wait(rig);
        }
    }
}

static void last_group_find(struct last_group *last)
{
    static uint8_t file[SEGMENT_BYTES];
    struct rig rig;
    lane_open(&rig, 0);
    fill(&rig);
    const struct ledger_message *message = &rig.ledger.messages[rig_store(&rig)];
    assert_int_equal(message->location.segment, 2);
    last->slot = message->location.segment - 1;
    last->offset = (uint64_t)message->location.offset_64 * 64 / PAGE_BYTES * PAGE_BYTES;
    file_get(&rig, last->slot, file);
    memcpy(last->page, file + last->offset, PAGE_BYTES);
    file_get(&rig, 0, file);
    memcpy(last->recycled, file + last->offset, PAGE_BYTES);
    lane_close(&rig);
}

enum background { OVER_ZEROS, OVER_JUNK, OVER_RECYCLED, BACKGROUNDS };

/* The same life; its last group was being written when the power went, and these sectors came. */
static void b12_case(const struct last_group *last, unsigned sectors, enum background background)
{
    static uint8_t file[SEGMENT_BYTES];
    struct rig rig;
    lane_open(&rig, 0);
    fill(&rig);
    (void)ledger_put(&rig.ledger, 2000, 1);
    rig_crash(&rig, true);
    file_get(&rig, last->slot, file);
    uint8_t *page = file + last->offset;
    for (unsigned i = 0; i < PAGE_BYTES; i++) {
        bool came = (sectors >> (i / SECTOR_BYTES) & 1) != 0;
        uint8_t junk = (uint8_t)sim_below(rig.sim, 256);
        uint8_t old = background == OVER_ZEROS  ? 0
                      : background == OVER_JUNK ? junk
                                                : last->recycled[i];
        page[i] = came ? last->page[i] : old;
    }
    file_put(&rig, last->slot, file);
    for (unsigned life = 0; life < 2; life++) {
        lane_start(&rig);
        assert_string_equal(rig.ledger.complaint, "");
        assert_int_equal(rig.ledger.error, 0);
        assert_int_equal(spool_recovery(rig.spool)->damaged_records, 0);
        assert_int_equal(rig.notes, 0);
        uint32_t number = rig_store(&rig);
        assert_int_equal(rig.ledger.messages[number].state, LEDGER_STORED);
        assert_int_equal(rig.ledger.messages[number].location.segment, last->slot + 2 + life);
        assert_int_equal(rig.ledger.messages[number].location.offset_64, (PAGE_BYTES + 64) / 64);
        rig_crash(&rig, true);
    }
    lane_start(&rig);
    assert_string_equal(rig.ledger.complaint, "");
    assert_int_equal(spool_recovery(rig.spool)->damaged_records, 0);
    lane_close(&rig);
}

static void b12(enum background background)
{
    struct last_group last;
    last_group_find(&last);
    for (unsigned sectors = 0; sectors < 1u << GROUP_SECTORS; sectors++) {
        b12_case(&last, sectors, background);
    }
}

static void b12_any_sectors_of_the_last_group_over_zeros_are_no_damage(void **state)
{
    (void)state;
    b12(OVER_ZEROS);
}

static void b12_any_sectors_of_the_last_group_over_junk_are_no_damage(void **state)
{
    (void)state;
    b12(OVER_JUNK);
}

static void b12_any_sectors_of_the_last_group_over_an_earlier_use_are_no_damage(void **state)
{
    (void)state;
    b12(OVER_RECYCLED);
}

/* Power goes, or the process; the device still has the write when the next life reads the log. */
static void b12_a_group_that_comes_after_the_log_was_read_hides_nothing(void **state)
{
    (void)state;
    static const uint8_t zeros[PAGE_BYTES];
    struct last_group last;
    last_group_find(&last);
    struct rig rig;
    lane_open(&rig, 0);
    fill(&rig);
    char path[64];
    segment_path(0, last.slot, path);
    uint32_t late = ledger_put(&rig.ledger, 2000, 1);
    rig_crash(&rig, true);
    struct slice page = slice_make(zeros, PAGE_BYTES);
    assert_int_equal(sim_disk_overwrite(rig.disk, path, last.offset, page), 0);
    lane_start(&rig);
    page = slice_make(last.page, PAGE_BYTES);
    assert_int_equal(sim_disk_overwrite(rig.disk, path, last.offset, page), 0);
    uint32_t number = rig_store(&rig);
    rig_crash(&rig, true);
    lane_start(&rig);
    assert_string_equal(rig.ledger.complaint, "");
    assert_true(ledger_live(&rig.ledger, number));
    assert_false(ledger_live(&rig.ledger, late));
    assert_int_equal(spool_recovery(rig.spool)->damaged_records, 0);
    lane_close(&rig);
}

/* --- files ------------------------------------------------------------------------------------ */

static void b07_swapped_files_are_read_by_what_they_hold(void **state)
{
    (void)state;
    static uint8_t files[2][SEGMENT_BYTES];
    struct rig rig;
    lane_open(&rig, 0);
    fill(&rig);
    rig_crash(&rig, true);
    file_get(&rig, 0, files[0]);
    file_get(&rig, 1, files[1]);
    file_put(&rig, 0, files[1]);
    file_put(&rig, 1, files[0]);
    lane_start(&rig);
    assert_string_equal(rig.ledger.complaint, "");
    assert_int_equal(rig.ledger.error, 0);
    assert_int_equal(spool_recovery(rig.spool)->damaged_records, 0);
    lane_close(&rig);
}

static void b07_a_missing_segment_is_named_and_the_others_are_read(void **state)
{
    (void)state;
    static uint8_t zeros[SEGMENT_BYTES];
    struct rig rig;
    lane_open(&rig, 0);
    fill(&rig);
    fill(&rig);
    assert_true(rig.ledger.messages[rig.ledger.count - 1].location.segment >= 3);
    rig_crash(&rig, true);
    file_put(&rig, 1, zeros);
    lane_start(&rig);
    assert_true(rig.notes > 0);
    assert_true(spool_recovery(rig.spool)->damaged_records > 0);
    for (uint32_t i = 0; i < rig.ledger.count; i++) {
        const struct ledger_message *message = &rig.ledger.messages[i];
        if (message->state == LEDGER_STORED && message->location.segment != 2) {
            assert_true(message->found);
        }
    }
    lane_close(&rig);
}

static void b07_a_segment_of_another_lane_is_refused(void **state)
{
    (void)state;
    static uint8_t file[SEGMENT_BYTES];
    struct rig other;
    lane_open(&other, 1);
    (void)rig_store(&other);
    file_get(&other, 0, file);
    lane_close(&other);
    struct rig rig;
    lane_open(&rig, 0);
    (void)rig_store(&rig);
    rig_crash(&rig, true);
    file_put(&rig, 7, file);
    lane_start(&rig);
    assert_true(rig.ledger.error < 0);
    assert_non_null(strstr(rig.ledger.reason, "segment-000007"));
    lane_close(&rig);
}

/* --- checkpoints ------------------------------------------------------------------------------ */

#define CHECKPOINT_BYTES_ALL (512 * KIB)
#define FAR_STEP             (8 * KIB + SECTOR_BYTES)

/* Both files of a lane's checkpoints, as they are at a moment. */
struct checkpoints {
    uint8_t bytes[CHECKPOINT_FILES][CHECKPOINT_BYTES_ALL];
    int64_t size[CHECKPOINT_FILES];
};

static const char *checkpoint_path(unsigned file)
{
    return file == 0 ? "spool/lane-000/checkpoint-0" : "spool/lane-000/checkpoint-1";
}

static void checkpoints_get(struct rig *rig, struct checkpoints *out)
{
    for (unsigned i = 0; i < CHECKPOINT_FILES; i++) {
        out->size[i] = sim_disk_get(rig->disk, checkpoint_path(i), 0, out->bytes[i],
                                    CHECKPOINT_BYTES_ALL);
        assert_in_range(out->size[i], CHECKPOINT_HEAD_BYTES, CHECKPOINT_BYTES_ALL - 1);
    }
}

static void checkpoints_put(struct rig *rig, const struct checkpoints *checkpoints)
{
    for (unsigned i = 0; i < CHECKPOINT_FILES; i++) {
        struct slice bytes = slice_make(checkpoints->bytes[i], (size_t)checkpoints->size[i]);
        assert_int_equal(sim_disk_put(rig->disk, checkpoint_path(i), bytes), 0);
    }
}

/* A lane with two checkpoints behind it. Its log is whole: no event log has let anything go. */
static void checkpoints_open(struct rig *rig)
{
    lane_open(rig, 0);
    rig_crash(rig, true);
    rig->options.checkpoint_bytes = 64 * KIB;
    lane_start(rig);
    sim_run_for(rig->sim, 3 * NS_PER_S);
    fill(rig);
    sim_run_for(rig->sim, NS_PER_S);
    uint64_t before = counters_get(&rig->shard->counters, COUNTER_checkpoints);
    assert_true(before >= 2);
}

/* The log has it all: here nothing of it was used again. */
static void recovered_whole(struct rig *rig, bool aloud)
{
    lane_start(rig);
    assert_string_equal(rig->ledger.complaint, "");
    assert_int_equal(rig->ledger.error, 0);
    assert_true(rig->notes > 0 || !aloud);
}

static void b08_a_damaged_checkpoint_is_named_and_the_log_has_it_all(void **state)
{
    (void)state;
    static struct checkpoints good;
    static struct checkpoints bad;
    struct rig rig;
    checkpoints_open(&rig);
    rig_crash(&rig, true);
    checkpoints_get(&rig, &good);
    for (unsigned which = 1; which < 4; which++) {
        int64_t end = MAX_OF(good.size[0], good.size[1]);
        for (int64_t at = 0; at < end; at += at < 2 * PAGE_BYTES ? SECTOR_BYTES : FAR_STEP) {
            bad = good;
            for (unsigned i = 0; i < CHECKPOINT_FILES; i++) {
                if ((which >> i & 1) != 0 && good.size[i] > 0) {
                    memset(bad.bytes[i] + at % good.size[i], 0x5A, SECTOR_BYTES);
                }
            }
            checkpoints_put(&rig, &bad);
            /* The older one is not missed, nor what no block holds. */
            recovered_whole(&rig, which == 3 && at < (int64_t)CHECKPOINT_HEAD_BYTES);
            rig_crash(&rig, true);
        }
    }
    lane_start(&rig);
    lane_close(&rig);
}

static void b08_an_older_checkpoint_is_named_and_the_log_has_it_all(void **state)
{
    (void)state;
    static struct checkpoints old;
    struct rig rig;
    checkpoints_open(&rig);
    checkpoints_get(&rig, &old);
    fill(&rig);
    sim_run_for(rig.sim, NS_PER_S);
    rig_crash(&rig, true);
    checkpoints_put(&rig, &old);
    recovered_whole(&rig, true);
    lane_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(b12_any_sectors_of_the_last_group_over_zeros_are_no_damage),
        cmocka_unit_test(b12_any_sectors_of_the_last_group_over_junk_are_no_damage),
        cmocka_unit_test(b12_any_sectors_of_the_last_group_over_an_earlier_use_are_no_damage),
        cmocka_unit_test(b12_a_group_that_comes_after_the_log_was_read_hides_nothing),
        cmocka_unit_test(b07_swapped_files_are_read_by_what_they_hold),
        cmocka_unit_test(b07_a_missing_segment_is_named_and_the_others_are_read),
        cmocka_unit_test(b07_a_segment_of_another_lane_is_refused),
        cmocka_unit_test(b08_a_damaged_checkpoint_is_named_and_the_log_has_it_all),
        cmocka_unit_test(b08_an_older_checkpoint_is_named_and_the_log_has_it_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
