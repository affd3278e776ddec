#include "tsa/event_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "core/json_read.h"
#include "tests/kit/log_rig.h"

#define EVENTS_MAX 7000
/* What stands in the files of a disk, in the order of their names. */
struct found {
    uint32_t numbers[2 * EVENTS_MAX];
    unsigned count;
    unsigned files;
};

static void lines_read(struct found *found, struct json_reader *reader, struct slice text)
{
    while (text.size > 0) {
        size_t size = slice_find(text, '\n');
        uint64_t number;
        assert_true(size < text.size);
        assert_true(json_read(reader, slice_first(text, size)));
        assert_true(json_read_u64(reader, "/size", &number));
        assert_true(found->count < COUNT_OF(found->numbers));
        found->numbers[found->count++] = (uint32_t)number;
        text = slice_skip(text, size + 1);
    }
}

/* Whole frames; a torn one may only stand at the end. */
static void file_read(struct found *found, struct sim_disk *disk, const char *path)
{
    size_t size = (size_t)sim_disk_file_size(disk, path);
    uint8_t *bytes = malloc(size + 1);
    uint8_t *text = malloc(EVENT_LOG_FLUSH_BYTES);
    struct json_reader *reader = json_reader_open();
    assert_int_equal(sim_disk_get(disk, path, 0, bytes, size), size);
    for (size_t at = 0; at < size;) {
        size_t frame = ZSTD_findFrameCompressedSize(bytes + at, size - at);
        if (ZSTD_isError(frame)) {
            break;
        }
        size_t plain = ZSTD_decompress(text, EVENT_LOG_FLUSH_BYTES, bytes + at, frame);
        assert_false(ZSTD_isError(plain));
        lines_read(found, reader, slice_make(text, plain));
        at += frame;
    }
    json_reader_close(reader);
    free(text);
    free(bytes);
    found->files++;
}

static void log_read(struct found *found, struct sim_disk *disk)
{
    static char names[16384];
    *found = (struct found){0};
    unsigned count = sim_disk_list(disk, "state/log", names, sizeof(names));
    const char *name = names;
    for (unsigned i = 0; i < count; i++, name += strlen(name) + 1) {
        char path[256];
        assert_int_equal(strlen(name), 22);
        snprintf(path, sizeof(path), "state/log/%.22s", name);
        file_read(found, disk, path);
    }
}

static struct found found;

static void found_is_exactly(uint32_t count)
{
    assert_int_equal(found.count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(found.numbers[i], i);
    }
}

static void events_reach_the_file_in_order_within_the_flush_interval(void **state)
{
    struct sim_options options = {.seed = 1};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 1 << 30);
    log_rig_put(&rig, 10);
    assert_true(sim_run_for(rig.sim, 400 * NS_PER_MS));
    log_read(&found, rig.disk);
    found_is_exactly(10);
    log_rig_put(&rig, 500);
    assert_true(sim_run_until(rig.sim, log_rig_all_put, &rig, 10 * NS_PER_S));
    log_rig_stop(&rig);
    assert_false(sim_failed(rig.sim));
    log_read(&found, rig.disk);
    found_is_exactly(500);
    assert_int_equal(found.files, 1);
    assert_int_equal(event_log_counts(rig.log)->lines, 500);
    assert_int_equal(rig.said, 0);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

static void a_full_file_ends_and_a_new_one_begins(void **state)
{
    struct sim_options options = {.seed = 2};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 64 * KIB);
    for (uint32_t wanted = 100; wanted <= 500; wanted += 100) {
        log_rig_put(&rig, wanted);
        assert_true(sim_run_for(rig.sim, 600 * NS_PER_MS));
    }
    log_rig_stop(&rig);
    log_read(&found, rig.disk);
    found_is_exactly(500);
    assert_int_equal(found.files, 5);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

/* F-34: a disk that fails holds the events back, never the shard, and nothing is lost. */
static void f34_a_failing_disk_holds_events_back_and_loses_none(void **state)
{
    struct sim_options options = {.seed = 3};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 1 << 30);
    sim_disk_failing_set(rig.disk, true, true, false);
    /* Two buffers of 4 MiB and four batches hold fewer than these. */
    for (uint32_t wanted = 500; wanted <= EVENTS_MAX; wanted += 500) {
        log_rig_put(&rig, wanted);
        assert_true(sim_run_for(rig.sim, 3 * NS_PER_S));
    }
    assert_true(event_log_counts(rig.log)->failures > 3);
    assert_true(rig.refusals > 0);
    assert_int_equal(rig.said, 1);
    sim_disk_failing_set(rig.disk, false, false, false);
    assert_true(sim_run_until(rig.sim, log_rig_all_put, &rig, 60 * NS_PER_S));
    log_rig_stop(&rig);
    assert_int_equal(rig.said, 2);
    log_read(&found, rig.disk);
    found_is_exactly(EVENTS_MAX);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

static void a_log_that_cannot_write_at_its_stop_says_so_and_stops(void **state)
{
    struct sim_options options = {.seed = 4};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 1 << 30);
    sim_disk_failing_set(rig.disk, true, true, false);
    log_rig_put(&rig, 20);
    assert_true(sim_run_for(rig.sim, 2 * NS_PER_S));
    log_rig_stop(&rig);
    assert_false(sim_failed(rig.sim));
    assert_int_equal(rig.said, 2);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

static void without_a_free_batch_only_rejections_are_dropped(void **state)
{
    struct sim_options options = {.seed = 6};
    struct event rejection = {.type = EVENT_REJECTION, .code = 550};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 1 << 30);
    assert_true(event_feed_room(&rig.feed, 4));
    assert_false(event_feed_room(&rig.feed, 5));
    log_rig_put(&rig, 1000); /* nothing moves meanwhile: four batches are not enough */
    assert_int_equal(rig.refusals, 1);
    assert_false(event_feed_room(&rig.feed, 1));
    event_feed_offer(&rig.feed, &rejection);
    assert_int_equal(rig.feed.dropped, 1);
    assert_true(sim_run_until(rig.sim, log_rig_all_put, &rig, 10 * NS_PER_S));
    event_feed_offer(&rig.feed, &rejection);
    assert_int_equal(rig.feed.dropped, 1);
    log_rig_stop(&rig);
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    assert_int_equal(rig.feed.events, 1001);
    assert_int_equal(event_log_counts(rig.log)->lines, 1001);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

static void after_a_kill_a_new_file_is_begun(void **state)
{
    struct sim_options options = {.seed = 5};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 1 << 30);
    log_rig_put(&rig, 10);
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    sim_node_kill(rig.node);
    heap_fini(&rig.heap);
    log_rig_boot(&rig, 1 << 30);
    log_rig_put(&rig, 20);
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    log_rig_stop(&rig);
    log_read(&found, rig.disk);
    found_is_exactly(20);
    assert_int_equal(found.files, 2);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

/* --- what the lane is told -------------------------------------------------------------------- */

static struct spool_position mark_of_last(struct event_feed *feed)
{
    struct log_rig *rig = CONTAINER_OF(feed, struct log_rig, feed);
    return (struct spool_position){.sequence = rig->put};
}

static bool feed_settled(void *context)
{
    return event_feed_settled(&((struct log_rig *)context)->feed);
}

/* The mark comes back when its events are synced, never earlier: a power cut then loses none. */
static void what_is_told_to_be_durable_survives_a_power_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim_options options = {.seed = seed};
        struct log_rig rig;
        log_rig_init(&rig, sim_open(&options), 256 * KIB);
        rig.feed.mark = mark_of_last;
        for (uint32_t wanted = 100; wanted <= 1000; wanted += 100) {
            log_rig_put(&rig, wanted);
            assert_true(sim_run_for(rig.sim, 1 + sim_below(rig.sim, 300 * NS_PER_MS)));
        }
        uint64_t told = rig.feed.durable.sequence;
        sim_node_power_cut(rig.node);
        log_read(&found, rig.disk);
        assert_true(told > 0);
        if (found.count < told) {
            fail_msg("seed %llu: %u of %llu events", (unsigned long long)seed, found.count,
                     (unsigned long long)told);
        }
        sim_close(rig.sim);
        log_rig_fini(&rig);
    }
}

static void a_mark_waits_while_the_disk_fails_and_comes_when_it_is_well(void **state)
{
    struct sim_options options = {.seed = 31};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 1 << 30);
    rig.feed.mark = mark_of_last;
    sim_disk_failing_set(rig.disk, true, true, false);
    log_rig_put(&rig, 10);
    assert_true(sim_run_for(rig.sim, 5 * NS_PER_S));
    assert_int_equal(rig.feed.durable.sequence, 0);
    assert_false(event_feed_settled(&rig.feed));
    sim_disk_failing_set(rig.disk, false, false, false);
    assert_true(sim_run_until(rig.sim, feed_settled, &rig, 10 * NS_PER_S));
    assert_int_equal(rig.feed.durable.sequence, 10);
    log_rig_stop(&rig);
    log_read(&found, rig.disk);
    found_is_exactly(10);
    assert_int_equal(found.files, 1); /* those that could not be written are gone */
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

static bool feed_lost(void *context)
{
    struct log_rig *rig = context;
    return rig->feed.lost && event_feed_idle(&rig->feed);
}

static void a_log_in_a_hurry_that_cannot_write_tells_its_lanes(void **state)
{
    struct sim_options options = {.seed = 32};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 1 << 30);
    rig.feed.mark = mark_of_last;
    log_rig_put(&rig, 10);
    assert_true(sim_run_until(rig.sim, feed_settled, &rig, 10 * NS_PER_S));
    sim_disk_failing_set(rig.disk, true, true, false);
    log_rig_put(&rig, 20);
    event_log_hurry(rig.log);
    assert_true(sim_run_until(rig.sim, feed_lost, &rig, 10 * NS_PER_S));
    assert_int_equal(rig.feed.durable.sequence, 10);
    log_rig_put(&rig, 3000);
    assert_true(sim_run_until(rig.sim, log_rig_all_put, &rig, 10 * NS_PER_S));
    assert_int_equal(rig.feed.durable.sequence, 10);
    log_rig_stop(&rig);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

/* --- retention -------------------------------------------------------------------------------- */

static unsigned files_of(struct log_rig *rig, char first[32])
{
    static char names[65536];
    unsigned count = sim_disk_list(rig->disk, "state/log", names, sizeof(names));
    snprintf(first, 32, "%.22s", count > 0 ? names : "");
    return count;
}

static void old_files_leave_and_the_open_one_never(void **state)
{
    struct sim_options options = {.seed = 41};
    struct log_rig rig;
    char first[32];
    char later[32];
    (void)state;
    log_rig_init(&rig, sim_open(&options), 64 * KIB); /* a day is kept */
    for (unsigned hour = 0; hour < 60; hour++) {
        log_rig_put(&rig, 100 * (hour + 1));
        assert_true(sim_run_for(rig.sim, 3600 * NS_PER_S));
    }
    unsigned files = files_of(&rig, first);
    assert_true(files >= 24 && files <= 26);
    assert_true(sim_run_for(rig.sim, 100 * 3600 * NS_PER_S));
    assert_int_equal(files_of(&rig, later), 1);
    assert_true(strcmp(later, first) > 0);
    log_rig_put(&rig, 6010); /* it is still written to, or a new one is */
    assert_true(sim_run_for(rig.sim, 10 * NS_PER_S));
    log_rig_stop(&rig);
    assert_false(sim_failed(rig.sim));
    assert_true(counters_get(&rig.shards[LOG].counters, COUNTER_event_files_removed) >= 59);
    log_read(&found, rig.disk);
    assert_true(found.count >= 10);
    assert_int_equal(found.numbers[found.count - 1], 6009);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

static uint64_t bytes_of(struct log_rig *rig)
{
    static char names[65536];
    unsigned count = sim_disk_list(rig->disk, "state/log", names, sizeof(names));
    const char *name = names;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < count; i++, name += strlen(name) + 1) {
        char path[128];
        snprintf(path, sizeof(path), "state/log/%.22s", name);
        bytes += (uint64_t)sim_disk_file_size(rig->disk, path);
    }
    return bytes;
}

static void the_oldest_files_leave_when_all_are_too_large(void **state)
{
    struct sim_options options = {.seed = 42};
    struct log_rig rig;
    (void)state;
    log_rig_total_bytes = 20 * KIB;
    log_rig_init(&rig, sim_open(&options), 64 * KIB);
    log_rig_total_bytes = 0;
    for (unsigned i = 0; i < 60; i++) {
        log_rig_put(&rig, 100 * (i + 1));
        assert_true(sim_run_for(rig.sim, 10 * NS_PER_S));
    }
    assert_true(sim_run_for(rig.sim, 120 * NS_PER_S));
    assert_true(bytes_of(&rig) <= 20 * KIB);
    assert_true(bytes_of(&rig) >= 10 * KIB);
    log_rig_stop(&rig);
    log_read(&found, rig.disk);
    for (unsigned i = 0; i < found.count; i++) { /* what is left is the end, without a hole */
        assert_int_equal(found.numbers[i], 6000 - found.count + i);
    }
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

/* Under any faults of disk and workers: all there, in order; a repeat only after a torn write. */
static void swarm_body(struct sim *sim, void *context)
{
    struct log_rig rig;
    uint32_t next = 0;
    (void)context;
    log_rig_init(&rig, sim, 16 * KIB + sim_below(sim, MIB));
    for (uint32_t wanted = 100; wanted <= 1000; wanted += 100) {
        log_rig_put(&rig, wanted);
        (void)sim_run_for(sim, 1 + sim_below(sim, NS_PER_S));
    }
    sim_faults_stop(sim);
    if (!sim_failed(sim) && !sim_run_until(sim, log_rig_all_put, &rig, 600 * NS_PER_S)) {
        sim_fail(sim, "events do not drain");
    }
    if (!sim_failed(sim)) {
        (void)sim_run_for(sim, 30 * NS_PER_S);
        log_rig_stop(&rig);
        log_read(&found, rig.disk);
    }
    for (unsigned i = 0; i < found.count && !sim_failed(sim); i++) {
        if (found.numbers[i] > next) {
            sim_fail(sim, "event %u is missing", next);
        }
        next = MAX_OF(next, found.numbers[i] + 1);
    }
    if (!sim_failed(sim) && next != 1000) {
        sim_fail(sim, "the log ends with %u of 1000", next);
    }
    log_rig_fini(&rig);
}

static void swarm_of_disk_and_worker_faults_loses_nothing(void **state)
{
    struct sim_campaign campaign = {
        .name = "event_log",
        .count = 30,
        .swarm = SIM_FAULT_BIT(write_error) | SIM_FAULT_BIT(no_space) | SIM_FAULT_BIT(slow_disk) |
                 SIM_FAULT_BIT(slow_job) | SIM_FAULT_BIT(job_refused) | SIM_FAULT_BIT(slow_turn) |
                 SIM_FAULT_BIT(sync_error) | SIM_FAULT_BIT(late_completion),
        .body = swarm_body,
    };
    (void)state;
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_reach_the_file_in_order_within_the_flush_interval),
        cmocka_unit_test(a_full_file_ends_and_a_new_one_begins),
        cmocka_unit_test(f34_a_failing_disk_holds_events_back_and_loses_none),
        cmocka_unit_test(a_log_that_cannot_write_at_its_stop_says_so_and_stops),
        cmocka_unit_test(without_a_free_batch_only_rejections_are_dropped),
        cmocka_unit_test(after_a_kill_a_new_file_is_begun),
        cmocka_unit_test(what_is_told_to_be_durable_survives_a_power_cut),
        cmocka_unit_test(a_mark_waits_while_the_disk_fails_and_comes_when_it_is_well),
        cmocka_unit_test(a_log_in_a_hurry_that_cannot_write_tells_its_lanes),
        cmocka_unit_test(old_files_leave_and_the_open_one_never),
        cmocka_unit_test(the_oldest_files_leave_when_all_are_too_large),
        cmocka_unit_test(swarm_of_disk_and_worker_faults_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
