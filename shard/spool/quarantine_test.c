/* What a lane copies aside of damaged bytes: which, when, how much, and what it does without. */
#include "shard/spool/quarantine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/spool_rig.h"

#define SEGMENT       "spool/lane-000/segment-000000"
#define FOLDER        "spool/" QUARANTINE_FOLDER
#define SEGMENT_BYTES (128 * KIB)
#define MESSAGES      6 /* in groups of their own */
#define DAMAGED       3

static char notes[8192];               /* of this life */
static char names[8192];               /* in the folder, at the last look */
static uint8_t segment[SEGMENT_BYTES]; /* as it was damaged */

static void keep_note(void *context, struct slice line)
{
    (void)context;
    size_t at = strlen(notes);
    snprintf(notes + at, sizeof(notes) - at, "%.*s\n", (int)line.size, (const char *)line.data);
}

static void lane_start(struct rig *rig)
{
    notes[0] = '\0';
    assert_true(rig_start(rig));
    assert_int_equal(rig->ledger.error, 0);
}

/* A lane with a few messages that are stored, all of which a start reads. */
static void lane_make(struct rig *rig, struct sim *sim)
{
    rig_make(rig, sim);
    rig->options.checkpoint_bytes = 64 * MIB;
    rig->options.note = keep_note;
    lane_start(rig);
    (void)sim_run_for(sim, 3 * NS_PER_S); /* the first segments are made */
    for (unsigned i = 0; i < MESSAGES; i++) {
        ledger_put(&rig->ledger, 3000, 1);
        rig_wait(rig);
    }
}

static void lane_open(struct rig *rig, uint64_t seed)
{
    lane_make(rig, sim_open(&(struct sim_options){.seed = seed}));
}

static uint64_t offset_of(const struct rig *rig, uint32_t number)
{
    return (uint64_t)rig->ledger.messages[number].location.offset_64 * 64;
}

/* Damage, with the process dead, that costs this message; its loss is expected. */
static void rig_spoil(struct rig *rig, uint64_t offset, struct slice bytes)
{
    assert_int_equal(sim_disk_overwrite(rig->disk, SEGMENT, offset, bytes), 0);
    assert_int_equal(sim_disk_get(rig->disk, SEGMENT, 0, segment, sizeof(segment)),
                     sizeof(segment));
    rig->ledger.messages[DAMAGED].outcome_put = true;
}

static unsigned rig_look(struct rig *rig)
{
    memset(names, 0, sizeof(names));
    return sim_disk_exists(rig->disk, FOLDER)
               ? sim_disk_list(rig->disk, FOLDER, names, sizeof(names))
               : 0;
}

/* The file has what the segment has there. */
static void assert_copy(struct rig *rig, const char *name, uint64_t offset, uint64_t bytes)
{
    static uint8_t copy[SEGMENT_BYTES];
    char path[256];
    snprintf(path, sizeof(path), FOLDER "/%.200s", name);
    assert_int_equal(sim_disk_get(rig->disk, path, 0, copy, sizeof(copy)), bytes);
    assert_memory_equal(copy, segment + offset, bytes);
}

/* The only copy there is has these bytes of the segment, and says so. */
static void assert_copied(struct rig *rig, uint64_t offset, uint64_t bytes, const char *reason)
{
    char expected[256];
    snprintf(expected, sizeof(expected),
             "lane-000-segment-000001-offset-%010llu-bytes-%llu-%s", (unsigned long long)offset,
             (unsigned long long)bytes, reason);
    assert_int_equal(rig_look(rig), 1);
    assert_string_equal(names, expected);
    assert_copy(rig, names, offset, bytes);
}

/* --- what is found at start ------------------------------------------------------------------- */

static void f28_a_record_that_does_not_check_is_copied_aside_once(void **state)
{
    (void)state;
    struct rig rig;
    lane_open(&rig, 1);
    uint64_t offset = offset_of(&rig, DAMAGED);
    rig_crash(&rig, false);
    rig_spoil(&rig, offset + 70, SLICE("junk"));
    lane_start(&rig);
    assert_int_equal(rig_look(&rig), 0); /* the start does not wait for it … */
    struct segment *damaged = segments_find(spool_segments(rig.spool), 1);
    assert_int_equal(damaged->pins, 1); /* … and the segment does */
    (void)sim_run_for(rig.sim, NS_PER_S);
    assert_int_equal(damaged->pins, 0);
    /* From the record to its end; what follows is padding of the group's page. */
    uint64_t bytes = offset_of(&rig, DAMAGED + 1) - 64 - offset;
    rig_look(&rig);
    struct quarantine_name name;
    assert_true(quarantine_name_parse(slice_from_string(names), &name));
    assert_in_range(name.bytes, 3000, bytes);
    assert_copied(&rig, offset, name.bytes, "record");
    assert_non_null(strstr(notes, "damaged bytes are copied to " FOLDER "/lane-000-"));
    for (unsigned i = 0; i < 2; i++) {
        rig_crash(&rig, false);
        lane_start(&rig);
        (void)sim_run_for(rig.sim, NS_PER_S);
        assert_non_null(strstr(notes, "records are lost"));
        assert_null(strstr(notes, "copied"));
        assert_copied(&rig, offset, name.bytes, "record");
    }
    rig_close(&rig);
}

static void f28_what_stands_where_a_group_is_missing_is_copied_aside(void **state)
{
    (void)state;
    struct rig rig;
    lane_open(&rig, 2);
    uint64_t offset = offset_of(&rig, DAMAGED) - 64;
    uint64_t end = offset_of(&rig, DAMAGED + 1) - 64;
    rig_crash(&rig, false);
    rig_spoil(&rig, offset + 20, SLICE("junk"));
    lane_start(&rig);
    (void)sim_run_for(rig.sim, NS_PER_S);
    assert_copied(&rig, offset, end - offset, "group");
    rig_close(&rig);
}

static void f28_in_a_full_folder_nothing_is_copied_and_the_lane_goes_on(void **state)
{
    (void)state;
    struct rig rig;
    char path[128];
    lane_open(&rig, 3);
    uint64_t offset = offset_of(&rig, DAMAGED);
    rig_crash(&rig, false);
    rig_spoil(&rig, offset + 70, SLICE("junk"));
    assert_int_equal(sim_disk_make_dir(rig.disk, FOLDER), 0);
    for (unsigned i = 0; i < QUARANTINE_FILES_MAX; i++) {
        snprintf(path, sizeof(path), FOLDER "/%02u", i);
        assert_int_equal(sim_disk_put(rig.disk, path, SLICE("x")), 0);
    }
    lane_start(&rig);
    (void)sim_run_for(rig.sim, NS_PER_S);
    assert_int_equal(rig_look(&rig), QUARANTINE_FILES_MAX);
    assert_non_null(strstr(notes, "no room for a copy"));
    uint32_t number = ledger_put(&rig.ledger, 3000, 1);
    rig_wait(&rig);
    assert_true(ledger_live(&rig.ledger, number));
    rig_close(&rig);
}

static void f28_a_disk_that_takes_no_copy_is_asked_once_a_life(void **state)
{
    (void)state;
    struct rig rig;
    lane_open(&rig, 4);
    uint64_t offset = offset_of(&rig, DAMAGED);
    rig_crash(&rig, false);
    rig_spoil(&rig, offset + 70, SLICE("junk"));
    lane_start(&rig);
    sim_disk_failing_set(rig.disk, true, true, false);
    (void)sim_run_for(rig.sim, 10 * NS_PER_S);
    sim_disk_failing_set(rig.disk, false, false, false);
    const char *told = strstr(notes, "cannot be copied aside: error 5");
    assert_non_null(told);
    assert_null(strstr(told + 1, "cannot be copied aside"));
    assert_null(strstr(notes, "copied to"));
    rig_crash(&rig, false);
    lane_start(&rig);
    (void)sim_run_for(rig.sim, NS_PER_S);
    assert_non_null(strstr(notes, "copied to"));
    rig_close(&rig);
}

/* --- what is found when it is to be sent ------------------------------------------------------ */

static void f05_a_message_that_cannot_be_sent_is_copied_aside_whole(void **state)
{
    (void)state;
    struct rig rig;
    lane_open(&rig, 5);
    uint64_t offset = offset_of(&rig, DAMAGED);
    rig_spoil(&rig, offset + 2000, SLICE("junk"));
    assert_int_equal(rig_load(&rig, DAMAGED), SPOOL_LOAD_DAMAGED);
    assert_int_equal(rig_load(&rig, DAMAGED), SPOOL_LOAD_DAMAGED);
    (void)sim_run_for(rig.sim, NS_PER_S);
    rig_look(&rig);
    struct quarantine_name name;
    assert_true(quarantine_name_parse(slice_from_string(names), &name));
    assert_in_range(name.bytes, 3000, offset_of(&rig, DAMAGED + 1) - 64 - offset);
    assert_copied(&rig, offset, name.bytes, "message");
    sim_disk_failing_set(rig.disk, false, false, true);
    assert_int_equal(rig_load(&rig, 1), SPOOL_LOAD_ERROR); /* nothing to copy */
    sim_disk_failing_set(rig.disk, false, false, false);
    (void)sim_run_for(rig.sim, NS_PER_S);
    assert_int_equal(rig_look(&rig), 1);
    rig_close(&rig);
}

/* --- stops and crashes ------------------------------------------------------------------------ */

static void rig_stopped(void *context)
{
    ((struct rig *)context)->stopped = true;
}

static bool rig_is_stopped(void *context)
{
    return ((struct rig *)context)->stopped;
}

/* The next start reads the log from the checkpoint of the stop on: the damage is behind it. */
static void f28_a_stop_waits_for_what_is_to_be_copied(void **state)
{
    (void)state;
    struct rig rig;
    lane_open(&rig, 6);
    rig_crash(&rig, false);
    for (uint32_t i = 0; i + 1 < MESSAGES; i++) {
        rig_spoil(&rig, offset_of(&rig, i) + 70, SLICE("junk"));
        rig.ledger.messages[i].outcome_put = true;
    }
    lane_start(&rig);
    sim_fault_set(rig.sim, SIM_FAULT_slow_job, 1000);
    spool_stop(rig.spool, rig_stopped, &rig);
    ring_wake(rig.ring);
    assert_true(sim_run_until(rig.sim, rig_is_stopped, &rig, 600 * NS_PER_S));
    assert_int_equal(rig_look(&rig), MESSAGES - 1);
    rig_close(&rig);
}

/* One life after the other, each ended at some moment: in the last one there is a copy, whole. */
static void crash_body(struct sim *sim, void *context)
{
    struct rig rig;
    (void)context;
    lane_make(&rig, sim);
    uint64_t offset = offset_of(&rig, DAMAGED);
    rig_crash(&rig, false);
    rig_spoil(&rig, offset + 70, SLICE("junk"));
    for (unsigned i = 0; i < 5; i++) {
        sim_fault_set(sim, SIM_FAULT_job_refused, 300);
        sim_fault_set(sim, SIM_FAULT_short_read, 500);
        sim_fault_set(sim, SIM_FAULT_interrupted, 300);
        sim_fault_set(sim, SIM_FAULT_write_error, sim_chance(sim, 300) ? 300 : 0);
        rig_boot(&rig);
        (void)sim_run_for(sim, sim_below(sim, 20 * NS_PER_MS));
        rig_crash(&rig, sim_chance(sim, 500));
    }
    sim_faults_stop(sim);
    lane_start(&rig);
    (void)sim_run_for(sim, NS_PER_S);
    unsigned copies = 0;
    (void)rig_look(&rig);
    for (const char *at = names; *at != '\0'; at += strlen(at) + 1) {
        struct quarantine_name name;
        if (quarantine_name_parse(slice_from_string(at), &name)) {
            assert_int_equal(name.offset, offset);
            assert_copy(&rig, at, offset, name.bytes);
            copies++;
        }
    }
    assert_int_equal(copies, 1);
    assert_string_equal(rig.ledger.complaint, "");
    rig_free(&rig);
}

static void f28_over_crashes_and_faults_the_copy_is_there_and_whole(void **state)
{
    (void)state;
    struct sim_campaign campaign = {.name = "quarantine", .count = 20, .body = crash_body};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* --- names ------------------------------------------------------------------------------------ */

static void a_name_says_what_is_in_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"lane-000-segment-000012-offset-0000004096-bytes-512-record", true},
        {"lane-4095-segment-4294967295-offset-18446744073709551615-bytes-1-message", true},
        {"lane-001-segment-000001-offset-0000000000-bytes-0-group", true},
        {"", false},
        {"lane-", false},
        {"lane-000", false},
        {"lane-000-segment-4294967296-offset-0-bytes-1-group", false},
        {"lane-000-segment-1-offset-1-bytes-1", false},
        {"lane-000-segment-1-offset-1-bytes-1-", false},
        {"lane-000-segment-1-offset-1-bytes-1-groups", false},
        {"lane-000-segment-1-offset-x-bytes-1-group", false},
        {"lane-000-segment-000012-offset-0000004096-bytes-512-record.new", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct quarantine_name name;
        uint8_t text[QUARANTINE_NAME_BYTES];
        struct buf buf;
        assert_int_equal(quarantine_name_parse(slice_from_string(rows[i].text), &name),
                         rows[i].good);
        if (rows[i].good) {
            buf_init(&buf, text, sizeof(text));
            quarantine_name_put(&buf, &name);
            assert_true(slice_equal(buf_slice(&buf), slice_from_string(rows[i].text)));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f28_a_record_that_does_not_check_is_copied_aside_once),
        cmocka_unit_test(f28_what_stands_where_a_group_is_missing_is_copied_aside),
        cmocka_unit_test(f28_in_a_full_folder_nothing_is_copied_and_the_lane_goes_on),
        cmocka_unit_test(f28_a_disk_that_takes_no_copy_is_asked_once_a_life),
        cmocka_unit_test(f05_a_message_that_cannot_be_sent_is_copied_aside_whole),
        cmocka_unit_test(f28_a_stop_waits_for_what_is_to_be_copied),
        cmocka_unit_test(f28_over_crashes_and_faults_the_copy_is_there_and_whole),
        cmocka_unit_test(a_name_says_what_is_in_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
