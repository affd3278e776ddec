/* Event logs in the simulator, read while they are written. */
#include "tsa/event_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/json_read.h"
#include "tests/kit/log_rig.h"

#define EVENTS_MAX 4000u

/* One that takes all it gets, and keeps where each record ended. */
struct follower {
    struct event_reader reader;
    struct event_watch watch;
    struct deferred step;
    bool follows;
    unsigned most; /* records that it takes */
    unsigned count;
    uint32_t numbers[EVENTS_MAX];
    struct event_offset places[EVENTS_MAX];
};

static struct follower follower;
static struct json_reader *json;
static uint8_t *memory;

static int set_up(void **state)
{
    (void)state;
    log_rig_total_bytes = 0;
    json = json_reader_open();
    memory = malloc(EVENT_READER_CHUNK_BYTES + EVENT_LOG_FLUSH_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_reader_close(json);
    free(memory);
    return 0;
}

static void follower_step(struct deferred *deferred)
{
    struct follower *to = CONTAINER_OF(deferred, struct follower, step);
    struct slice line;
    while (to->count < to->most && event_reader_line(&to->reader, &line)) {
        uint64_t number;
        CHECK(json_read(json, slice_first(line, line.size - 1)));
        CHECK(json_read_u64(json, "/size", &number));
        CHECK(to->count < EVENTS_MAX);
        to->numbers[to->count] = (uint32_t)number;
        to->places[to->count++] = to->reader.place;
    }
}

static void follower_ready(struct event_reader *reader)
{
    struct follower *to = CONTAINER_OF(reader, struct follower, reader);
    shard_defer(reader->shard, &to->step);
}

static void follower_news(struct event_watch *watch)
{
    struct follower *to = CONTAINER_OF(watch, struct follower, watch);
    if (to->follows && to->reader.state == EVENT_READER_END) {
        event_reader_more(&to->reader);
    }
}

/* Null: from the beginning. */
static void follow(struct log_rig *rig, const struct event_offset *place, bool follows)
{
    static const struct event_offset start;
    follower = (struct follower){.follows = follows, .most = EVENTS_MAX};
    follower.reader.shard = &rig->shards[LOG];
    follower.reader.ends = event_log_ends(rig->log);
    follower.reader.ready = follower_ready;
    follower.reader.chunk = memory;
    follower.reader.text = memory + EVENT_READER_CHUNK_BYTES;
    follower.watch.news = follower_news;
    deferred_init(&follower.step, follower_step);
    event_ends_watch(event_log_ends(rig->log), &follower.watch);
    event_reader_start(&follower.reader, place != NULL ? place : &start);
}

static void unfollow(void)
{
    list_remove(&follower.watch.link);
    deferred_cancel(&follower.step);
}

static bool is_over(void *context)
{
    (void)context;
    return follower.reader.state != EVENT_READER_READING &&
           follower.reader.state != EVENT_READER_LINES;
}

static bool is_idle(void *context)
{
    (void)context;
    return event_reader_idle(&follower.reader);
}

/* All that there is behind that place. */
static enum event_reader_state read_from(struct log_rig *rig, const struct event_offset *place)
{
    follow(rig, place, false);
    assert_true(sim_run_until(rig->sim, is_over, NULL, 60 * NS_PER_S));
    unfollow();
    return follower.reader.state;
}

static void expect_numbers(uint32_t first, uint32_t end)
{
    assert_int_equal(follower.count, end - first);
    for (uint32_t i = first; i < end; i++) {
        assert_int_equal(follower.numbers[i - first], i);
    }
}

/* Files of some 64 KiB of text. */
static void write_files(struct log_rig *rig, uint32_t events)
{
    for (uint32_t wanted = 100; wanted <= events; wanted += 100) {
        log_rig_put(rig, wanted);
        assert_true(sim_run_for(rig->sim, 600 * NS_PER_MS));
    }
}

static void ev01_records_come_in_order_and_from_any_place_on(void **state)
{
    struct sim_options options = {.seed = 1};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 64 * KIB);
    assert_int_equal(read_from(&rig, NULL), EVENT_READER_END);
    expect_numbers(0, 0);
    write_files(&rig, 500);
    assert_int_equal(read_from(&rig, NULL), EVENT_READER_END);
    expect_numbers(0, 500);
    static struct event_offset places[EVENTS_MAX];
    memcpy(places, follower.places, sizeof(places));
    for (uint32_t i = 0; i < 500; i += 33) {
        uint8_t text[EVENT_OFFSET_TEXT_MAX];
        struct buf buf;
        struct event_offset place;
        buf_init(&buf, text, sizeof(text));
        event_offset_put(&buf, &places[i]);
        assert_true(event_offset_parse(buf_slice(&buf), &place));
        assert_int_equal(read_from(&rig, &place), EVENT_READER_END);
        expect_numbers(i + 1, 500);
    }
    log_rig_stop(&rig);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

static void ev02_who_follows_gets_what_is_durable_and_nothing_twice(void **state)
{
    struct sim_options options = {.seed = 2};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 64 * KIB);
    write_files(&rig, 100);
    struct event_offset now = event_offset_now(event_log_ends(rig.log), &rig.shards[LOG]);
    follow(&rig, &now, true);
    log_rig_put(&rig, 150);
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    expect_numbers(100, 150);
    sim_disk_failing_set(rig.disk, false, true, false); /* written whole, and not synced */
    log_rig_put(&rig, 200);
    assert_true(sim_run_for(rig.sim, 3 * NS_PER_S));
    expect_numbers(100, 150);
    sim_disk_failing_set(rig.disk, false, false, false);
    assert_true(sim_run_for(rig.sim, 3 * NS_PER_S));
    expect_numbers(100, 200);
    write_files(&rig, 600);
    expect_numbers(100, 600);
    unfollow();
    assert_int_equal(read_from(&rig, NULL), EVENT_READER_END);
    expect_numbers(0, 600); /* what stands in two files counts once */
    log_rig_stop(&rig);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

static struct event_reader follower_late;

static void late_ready(struct event_reader *reader)
{
    (void)reader;
}

static void ev03_a_place_whose_file_was_removed_is_gone(void **state)
{
    struct sim_options options = {.seed = 3};
    struct log_rig rig;
    (void)state;
    log_rig_init(&rig, sim_open(&options), 64 * KIB); /* a day is kept */
    write_files(&rig, 300);
    assert_int_equal(read_from(&rig, NULL), EVENT_READER_END);
    struct event_offset old = follower.places[150];
    follower_late = follower.reader; /* stands at the end of the third file, and looks no more */
    assert_true(sim_run_for(rig.sim, 2 * 86400 * NS_PER_S));
    log_rig_put(&rig, 310);
    assert_true(sim_run_for(rig.sim, 90000 * NS_PER_S)); /* a day, from the next file on */
    assert_int_equal(read_from(&rig, &old), EVENT_READER_GONE);
    expect_numbers(0, 0);
    assert_int_equal(follower_late.state, EVENT_READER_END);
    follower_late.ready = late_ready;
    event_reader_more(&follower_late); /* of a file that it had read to the end */
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    assert_int_equal(follower_late.state, EVENT_READER_GONE);
    assert_int_equal(read_from(&rig, NULL), EVENT_READER_END);
    assert_true(follower.count >= 10 && follower.numbers[follower.count - 1] == 309);
    log_rig_stop(&rig);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

/* A frame that a crash cut short, one that is damaged, and a file that is none. */
static void ev04_what_cannot_be_read_is_passed_over_and_never_shown_half(void **state)
{
    struct sim_options options = {.seed = 4};
    struct log_rig rig;
    uint8_t bytes[64];
    char path[64];
    (void)state;
    log_rig_init(&rig, sim_open(&options), 64 * KIB);
    write_files(&rig, 500);
    assert_int_equal(read_from(&rig, NULL), EVENT_READER_END);
    snprintf(path, sizeof(path), "state/log/%s", follower.places[150].file);
    memset(bytes, 'x', sizeof(bytes));
    int64_t size = sim_disk_file_size(rig.disk, path);
    assert_true(size > 200);
    assert_int_equal(sim_disk_overwrite(rig.disk, path, (uint64_t)size / 2,
                                        slice_make(bytes, sizeof(bytes))), 0);
    uint8_t head[16];
    snprintf(path, sizeof(path), "state/log/%s", follower.places[450].file);
    assert_int_equal(sim_disk_get(rig.disk, path, 0, head, sizeof(head)), sizeof(head));
    assert_int_equal(sim_disk_put(rig.disk, "state/log/20000101-000000.000000",
                                  slice_make(head, sizeof(head))), 0);
    unsigned said = rig.said;
    assert_int_equal(read_from(&rig, NULL), EVENT_READER_END);
    assert_true(follower.count >= 300 && follower.count < 500);
    assert_int_equal(follower.numbers[0], 0);
    assert_int_equal(follower.numbers[follower.count - 1], 499);
    assert_int_equal(rig.said, said + 1);
    for (unsigned i = 1; i < follower.count; i++) {
        assert_true(follower.numbers[i] > follower.numbers[i - 1]);
    }
    log_rig_stop(&rig);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

static void ev05_a_place_that_is_none_is_refused(void **state)
{
    static const char *const junk[] = {
        "", "start", "20251009-085323.000000", "20251009-085323.000000-1",
        "20251009-085323.000000--", "20251009-085323.000000-x-1", "20251009-085323.000000-1-x",
        "20251009-085323.000000-0-99999999", "../../../../etc/passwdxx-0-0",
        "20251009-085323.000000-18446744073709551615-0", "20251009-085323.000000-1-1-1",
        "20251009-085323.000000-0-0",
    };
    struct sim_options options = {.seed = 5};
    struct log_rig rig;
    struct event_offset place;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(junk); i++) {
        if (event_offset_parse(slice_from_string(junk[i]), &place)) {
            fail_msg("%s is taken", junk[i]);
        }
    }
    log_rig_init(&rig, sim_open(&options), 64 * KIB);
    write_files(&rig, 100);
    assert_int_equal(read_from(&rig, NULL), EVENT_READER_END);
    struct event_offset inside = follower.places[10];
    inside.text--;
    assert_int_equal(read_from(&rig, &inside), EVENT_READER_NOWHERE);
    inside.text = EVENT_LOG_FLUSH_BYTES;
    assert_int_equal(read_from(&rig, &inside), EVENT_READER_NOWHERE);
    inside.text = 1;
    inside.frame = 3;
    assert_int_equal(read_from(&rig, &inside), EVENT_READER_NOWHERE);
    inside.frame = 1ull << 40;
    assert_int_equal(read_from(&rig, &inside), EVENT_READER_NOWHERE);
    expect_numbers(0, 0);
    assert_int_equal(rig.said, 0);
    log_rig_stop(&rig);
    sim_close(rig.sim);
    log_rig_fini(&rig);
}

/* Whatever fails, who follows and comes again from where he was has every record once. */
static void swarm_body(struct sim *sim, void *context)
{
    struct log_rig rig;
    struct event_offset place = {0};
    uint32_t next = 0;
    (void)context;
    log_rig_init(&rig, sim, 16 * KIB + sim_below(sim, MIB));
    for (uint32_t wanted = 100; wanted <= 1100 && !sim_failed(sim); wanted += 100) {
        bool last = wanted == 1100;
        if (last) {
            sim_faults_stop(sim);
            (void)sim_run_until(sim, log_rig_all_put, &rig, 600 * NS_PER_S);
        } else {
            log_rig_put(&rig, wanted);
        }
        follow(&rig, &place, true);
        follower.most = last ? EVENTS_MAX : 1 + (unsigned)sim_below(sim, 150);
        (void)sim_run_for(sim, last ? 30 * NS_PER_S : 1 + sim_below(sim, NS_PER_S));
        (void)sim_run_until(sim, is_idle, NULL, 60 * NS_PER_S);
        unfollow();
        for (unsigned i = 0; i < follower.count; i++, next++) {
            if (follower.numbers[i] != next) {
                sim_fail(sim, "record %u for %u", follower.numbers[i], next);
            }
            place = follower.places[i];
        }
    }
    if (!sim_failed(sim) && next != 1000) {
        sim_fail(sim, "%u records of 1000", next);
    }
    if (!sim_failed(sim)) {
        log_rig_stop(&rig);
    }
    log_rig_fini(&rig);
}

static void ev06_swarm_of_faults_loses_and_doubles_no_record(void **state)
{
    struct sim_campaign campaign = {
        .name = "event_reader",
        .count = 30,
        .swarm = SIM_FAULT_BIT(write_error) | SIM_FAULT_BIT(no_space) | SIM_FAULT_BIT(slow_disk) |
                 SIM_FAULT_BIT(slow_job) | SIM_FAULT_BIT(job_refused) | SIM_FAULT_BIT(slow_turn) |
                 SIM_FAULT_BIT(sync_error) | SIM_FAULT_BIT(late_completion) |
                 SIM_FAULT_BIT(read_error),
        .body = swarm_body,
    };
    (void)state;
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(ev01_records_come_in_order_and_from_any_place_on),
        TEST(ev02_who_follows_gets_what_is_durable_and_nothing_twice),
        TEST(ev03_a_place_whose_file_was_removed_is_gone),
        TEST(ev04_what_cannot_be_read_is_passed_over_and_never_shown_half),
        TEST(ev05_a_place_that_is_none_is_refused),
        TEST(ev06_swarm_of_faults_loses_and_doubles_no_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
