/* A stretch of the log read again while the lane is at work. */
#include "shard/spool/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "shard/spool/segment.h"
#include "tests/sim/shards.h"

#define UUID     0x5CA11ull
#define MAIL_MAX 2000
#define SEGMENT  (256 * KIB)

struct mail_item {
    struct spool_write write;
    struct spool_message record;
    struct spool_position group;
    uint8_t envelope[64];
};

struct stage {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_shards shards;
    struct block_pool *pool;
    struct spool *spool;
    struct scan scan;
    bool started;
    bool stopped;
    bool patient;          /* `more` only counts */
    unsigned mores;
    bool ended;
    unsigned next;         /* message that is to come */
    unsigned last;         /* and the first that is not */
    unsigned damages;
    unsigned stored;
    unsigned count;
    struct mail_item mail[MAIL_MAX];
};

static struct stage stage;

/* --- the lane --------------------------------------------------------------------------------- */

static bool ignore_message(void *context, const struct spool_found *found)
{
    (void)context;
    (void)found;
    return true;
}

static void ignore_outcome(void *context, struct spool_location message, struct slice payload)
{
    (void)context;
    (void)message;
    (void)payload;
}

static void finished(void *context, int error, struct slice reason)
{
    (void)context;
    (void)reason;
    assert_int_equal(error, 0);
    stage.started = true;
}

static void state_begin(void *context)
{
    (void)context;
}

static bool state_put(void *context, struct checkpoint_block *block)
{
    (void)context;
    (void)block;
    return false;
}

static uint64_t state_bytes(void *context)
{
    (void)context;
    return 0;
}

static void stored(struct spool_write *write)
{
    struct mail_item *item = CONTAINER_OF(write, struct mail_item, write);
    assert_int_equal(write->status, SPOOL_STORED);
    item->group = spool_answering(stage.spool);
    stage.stored++;
}

static void put_mail(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct mail_item *item = &stage.mail[stage.count];
        assert_true(stage.count < MAIL_MAX);
        int bytes = snprintf((char *)item->envelope, sizeof(item->envelope), "number %u",
                             stage.count++);
        item->write.done = stored;
        item->record = (struct spool_message){
            .recipient_count = 1,
            .envelope = slice_make(item->envelope, (size_t)bytes),
            .body_hash = XXH3_128bits("", 0),
        };
        spool_put_message(stage.spool, &item->write, &item->record);
        assert_true(sim_run_for(stage.sim, 1 + sim_below(stage.sim, 2 * NS_PER_MS)));
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(stage.stored, stage.count);
}

/* --- the reader ------------------------------------------------------------------------------- */

static void take(struct scan *scan)
{
    struct log_item item;
    for (enum log_step step = scan_next(scan, &item); step != LOG_MORE;
         step = scan_next(scan, &item)) {
        stage.ended = step == LOG_END;
        stage.damages += step == LOG_DAMAGE;
        if (stage.ended) {
            return;
        }
        if (step == LOG_RECORD && item.record.kind == RECORD_MESSAGE) {
            struct slice envelope = item.is.message.sections[SECTION_ENVELOPE];
            uint64_t number;
            assert_true(slice_parse_u64(slice_skip(envelope, 7), &number));
            assert_true(number >= stage.next && number < stage.last);
            if (stage.damages == 0) {
                assert_int_equal(number, stage.next);
            }
            stage.next = (unsigned)number + 1;
            assert_memory_equal(&item.location, &stage.mail[number].write.location,
                                sizeof(item.location));
        }
    }
}

static void more(struct scan *scan)
{
    stage.mores++;
    if (!stage.patient) {
        take(scan);
    }
}

static bool is_started(void *context)
{
    (void)context;
    return stage.started;
}

static bool is_stopped(void *context)
{
    (void)context;
    return stage.stopped;
}

static bool is_ended(void *context)
{
    (void)context;
    return stage.ended;
}

static bool is_idle(void *context)
{
    (void)context;
    return scan_idle(&stage.scan);
}

static int set_up(void **state)
{
    (void)state;
    stage = (struct stage){.sim = sim_open(&(struct sim_options){.seed = 1})};
    stage.disk = sim_disk_open(stage.sim, 64 * MIB);
    sim_shards_boot(&stage.shards, sim_node_open(stage.sim, stage.disk), 1, 16, 4096);
    stage.pool = block_pool_open(8 * MIB);
    assert_int_equal(sim_disk_make_dir(stage.disk, "spool"), 0);
    struct shard *shard = &stage.shards.shards[0];
    const struct spool_options options = {
        .path = "spool", .sync = true, .segment_bytes = SEGMENT,
        .group_bytes = 64 * KIB, .deadline_ns = 30 * NS_PER_S, .checkpoint_bytes = 64 * MIB,
        .pool = stage.pool};
    const struct spool_replay replay = {
        .message = ignore_message, .outcome = ignore_outcome, .finished = finished};
    assert_int_equal(spool_start(shard, &options, UUID, &replay, &stage.spool), 0);
    assert_true(sim_run_until(stage.sim, is_started, NULL, 60 * NS_PER_S));
    const struct spool_state rows = {
        .begin = state_begin, .put = state_put, .bytes = state_bytes};
    spool_begin(stage.spool, &rows);
    assert_int_equal(scan_init(&stage.scan, shard, more), 0);
    scan_attach(&stage.scan, spool_segments(stage.spool), UUID);
    return 0;
}

static void stopped(void *context)
{
    (void)context;
    stage.stopped = true;
}

static int tear_down(void **state)
{
    (void)state;
    spool_stop(stage.spool, stopped, NULL);
    bool ended = sim_run_until(stage.sim, is_stopped, NULL, 60 * NS_PER_S);
    spool_close(stage.spool);
    scan_fini(&stage.scan);
    block_pool_close(stage.pool);
    sim_shards_stop(&stage.shards);
    bool failed = sim_failed(stage.sim);
    sim_close(stage.sim);
    return failed || !ended;
}

/* The first message of the group in which this one stands. */
static unsigned first_of_group(unsigned number)
{
    uint64_t sequence = stage.mail[number].group.sequence;
    while (number > 0 && stage.mail[number - 1].group.sequence == sequence) {
        number--;
    }
    return number;
}

/* Messages from `first`, which begins a group, up to `last`, which stands at `to`. */
static void begin(unsigned first, struct spool_position to, unsigned last)
{
    struct spool_position from = stage.mail[first].group;
    stage.next = first;
    stage.last = last;
    stage.ended = false;
    stage.damages = 0;
    scan_start(&stage.scan, from, to, spool_position(stage.spool).sequence);
}

static void end(void)
{
    take(&stage.scan);
    assert_true(stage.ended || sim_run_until(stage.sim, is_ended, NULL, 60 * NS_PER_S));
    scan_cancel(&stage.scan);
    assert_true(scan_idle(&stage.scan));
}

/* --- tests ------------------------------------------------------------------------------------ */

static void every_stretch_gives_exactly_its_groups(void **state)
{
    (void)state;
    put_mail(300); /* more than a segment: a group is a page at least */
    assert_true(stage.mail[299].group.group.segment >= 4);
    for (unsigned i = 0; i < 60; i++) {
        unsigned first = first_of_group((unsigned)sim_below(stage.sim, 300));
        unsigned last = first_of_group(first + (unsigned)sim_below(stage.sim, 300 - first));
        struct spool_position to = stage.mail[last].group;
        begin(first, to, last);
        end();
        assert_int_equal(stage.next, last);
    }
    begin(0, spool_position(stage.spool), 300);
    end();
    assert_int_equal(stage.next, 300);
    assert_int_equal(stage.damages, 0);
}

static void who_does_not_ask_holds_the_reading_back(void **state)
{
    (void)state;
    put_mail(400);
    stage.patient = true;
    begin(0, spool_position(stage.spool), 400);
    take(&stage.scan);
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    assert_true(stage.mores > 0 && stage.mores <= SCAN_READS);
    assert_int_equal(stage.next, 0);
    put_mail(20); /* the lane goes on, and so does the reader */
    stage.patient = false;
    end();
    assert_int_equal(stage.next, 400);
}

static void the_segment_that_is_read_stays(void **state)
{
    (void)state;
    put_mail(10);
    stage.patient = true;
    begin(0, spool_position(stage.spool), 10);
    take(&stage.scan);
    struct segment *segment = segments_find(spool_segments(stage.spool), 1);
    assert_non_null(segment);
    assert_int_equal(segment->pins, 1);
    scan_cancel(&stage.scan); /* with reads in flight: the file may not be closed */
    assert_int_equal(segment->pins, 1);
    assert_true(sim_run_until(stage.sim, is_idle, NULL, NS_PER_S));
    assert_int_equal(segment->pins, 0);
    stage.patient = false;
    begin(0, spool_position(stage.spool), 10);
    end();
    assert_int_equal(stage.next, 10);
}

/* F-05: what stood in a page that cannot be read is damage; the rest comes. */
static void f05_a_page_that_cannot_be_read_costs_its_records_only(void **state)
{
    (void)state;
    uint8_t bad[64];
    put_mail(100);
    memset(bad, 0xA5, sizeof(bad));
    uint64_t place = (uint64_t)stage.mail[50].write.location.offset_64 * 64;
    char path[64];
    const struct segment *segment = segments_find(spool_segments(stage.spool),
                                                  stage.mail[50].write.location.segment);
    snprintf(path, sizeof(path), "spool/lane-000/segment-%06u", segment->slot);
    assert_int_equal(sim_disk_overwrite(stage.disk, path, place, slice_make(bad, sizeof(bad))), 0);
    begin(0, spool_position(stage.spool), 100);
    end();
    assert_int_equal(stage.damages, 1);
    assert_int_equal(stage.next, 100);
}

/* F-05: nor does it cost any when the device reads again after a moment. */
static void f05_reads_that_fail_for_a_moment_cost_nothing(void **state)
{
    (void)state;
    put_mail(100);
    begin(0, spool_position(stage.spool), 100);
    sim_disk_failing_set(stage.disk, false, false, true);
    take(&stage.scan);
    assert_true(sim_run_for(stage.sim, 200 * NS_PER_MS));
    assert_int_equal(stage.next, 0);
    sim_disk_failing_set(stage.disk, false, false, false);
    end();
    assert_int_equal(stage.damages, 0);
    assert_int_equal(stage.next, 100);
    stage.patient = true;
    begin(0, spool_position(stage.spool), 100);
    sim_disk_failing_set(stage.disk, false, false, true);
    take(&stage.scan);
    assert_true(sim_run_for(stage.sim, 20 * NS_PER_MS));
    scan_cancel(&stage.scan); /* during a pause */
    assert_true(sim_run_until(stage.sim, is_idle, NULL, NS_PER_S));
    sim_disk_failing_set(stage.disk, false, false, false);
    stage.patient = false;
}

static void reads_that_are_short_or_late_change_nothing(void **state)
{
    (void)state;
    put_mail(200);
    sim_fault_set(stage.sim, SIM_FAULT_short_read, 500);
    sim_fault_set(stage.sim, SIM_FAULT_late_completion, 300);
    sim_fault_set(stage.sim, SIM_FAULT_slow_disk, 100);
    for (unsigned i = 0; i < 10; i++) {
        begin(0, spool_position(stage.spool), 200);
        end();
        assert_int_equal(stage.next, 200);
        assert_int_equal(stage.damages, 0);
    }
    sim_faults_stop(stage.sim);
}

static void a_stretch_of_nothing_ends_at_once(void **state)
{
    (void)state;
    put_mail(5);
    struct spool_position here = spool_position(stage.spool);
    stage.next = 0;
    stage.last = 0;
    scan_start(&stage.scan, here, here, 0);
    end();
    assert_int_equal(stage.next, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_stretch_gives_exactly_its_groups),
        TEST(who_does_not_ask_holds_the_reading_back),
        TEST(the_segment_that_is_read_stays),
        TEST(f05_a_page_that_cannot_be_read_costs_its_records_only),
        TEST(f05_reads_that_fail_for_a_moment_cost_nothing),
        TEST(reads_that_are_short_or_late_change_nothing),
        TEST(a_stretch_of_nothing_ends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
