#include "shard/queue/cell_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/shards.h"

#define CELLS_MAX 10000
#define FILE_NAME "state/limits"

/* A process of one shard that registers cells, uses some, and keeps them over its lives. */
static struct sim *sim;
static struct sim_disk *disk;
static struct sim_node *process;
static struct stage {
    struct sim_shards shards;
    struct boot_pages pages;
    struct cell_registry registry;
    struct cell_store store;
    struct cell_request request;
    unsigned loaded;
    unsigned stopped;
    unsigned lines;
    char line[512];
} stage;
static struct rate rate;

static void loaded(struct cell_store *store)
{
    (void)store;
    stage.loaded++;
}

static void stopped(struct cell_store *store)
{
    (void)store;
    stage.stopped++;
}

static void put_line(void *context, struct slice line)
{
    (void)context;
    stage.lines++;
    snprintf(stage.line, sizeof(stage.line), "%.*s", (int)line.size, (const char *)line.data);
}

static void request_done(struct cell_request *request)
{
    (void)request;
}

static bool is_loaded(void *context)
{
    (void)context;
    return stage.loaded > 0;
}

/* A life begins: up to where rates may be asked for. */
static void boot(void)
{
    stage = (struct stage){0};
    sim_shards_boot(&stage.shards, process, 1, 16, 4096);
    cell_registry_init(&stage.registry, &stage.shards.shards[0], &stage.pages, CELLS_MAX);
    stage.store.loaded = loaded;
    stage.store.stopped = stopped;
    stage.store.log = (struct log_sink){.put = put_line};
    cell_store_init(&stage.store, &stage.registry, &stage.pages, "state");
    cell_store_load(&stage.store);
    assert_true(sim_run_until(sim, is_loaded, NULL, 30 * NS_PER_S));
}

static void kill_it(void)
{
    sim_node_kill(process);
    sim_shards_drop(&stage.shards);
    boot_pages_give(&stage.pages);
}

static bool is_stopped(void *context)
{
    (void)context;
    return stage.stopped > 0;
}

static void stop(void)
{
    cell_store_stop(&stage.store);
    assert_true(sim_run_until(sim, is_stopped, NULL, 30 * NS_PER_S));
    assert_true(sim_run_for(sim, 3 * NS_PER_S)); /* nothing begins any more */
    cell_registry_fini(&stage.registry);
    sim_shards_stop(&stage.shards);
    boot_pages_give(&stage.pages);
    assert_int_equal(stage.stopped, 1);
}

static int set_up(void **state)
{
    (void)state;
    sim = sim_open(&(struct sim_options){.seed = 1});
    disk = sim_disk_open(sim, 64 * MIB);
    process = sim_node_open(sim, disk);
    assert_int_equal(sim_disk_make_dir(disk, "state"), 0);
    assert_null(rate_parse(SLICE("100/h"), &rate));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bool failed = sim_failed(sim);
    if (failed) {
        print_error("%s\n", sim_failure(sim));
    }
    sim_close(sim);
    return failed;
}

static struct cell *ask(const char *name)
{
    const struct slice part = slice_from_string(name);
    stage.request = (struct cell_request){
        .done = request_done,
        .registry = &stage.registry,
        .kind = CELL_RATE,
        .lasting = true,
        .key = cell_key_of(&part, 1),
        .span_ns = rate_span_ns(&rate),
    };
    cell_ask(&stage.shards.shards[0], 0, &stage.request);
    ring_wake(stage.shards.shards[0].ring);
    assert_true(sim_run_for(sim, 10 * NS_PER_MS));
    assert_non_null(stage.request.cell);
    return stage.request.cell;
}

static void give_back(void)
{
    cell_return(&stage.shards.shards[0], 0, &stage.request);
    ring_wake(stage.shards.shards[0].ring);
    assert_true(sim_run_for(sim, 10 * NS_PER_MS));
}

static uint64_t now(void)
{
    return stage.shards.shards[0].now_ns;
}

static void spend(struct cell *cell, uint64_t count)
{
    struct gcra_grant grant = cell_reserve(cell, &rate, now(), now(), count);
    assert_int_equal(grant.count, count);
}

/* One more, however far away. */
static void spend_any(struct cell *cell)
{
    assert_int_equal(cell_reserve(cell, &rate, now(), RATE_ANY_TIME, 1).count, 1);
}

/* Tokens that may be used at once. */
static uint64_t left(struct cell *cell)
{
    struct gcra_grant grant = cell_reserve(cell, &rate, now(), now(), 1000);
    cell_refund(cell, &rate, grant.count);
    return grant.count;
}

static void what_was_used_is_known_after_a_clean_stop(void **state)
{
    (void)state;
    boot();
    spend(ask("a"), 60);
    give_back();
    spend(ask("b"), 1);
    give_back();
    stop();
    boot();
    assert_int_equal(stage.lines, 0);
    assert_int_equal(left(ask("a")), 40);
    give_back();
    assert_int_equal(left(ask("b")), 99);
    give_back();
    assert_int_equal(left(ask("c")), 100);
    give_back();
    stop();
}

static void time_that_went_by_meanwhile_counts(void **state)
{
    (void)state;
    boot();
    spend(ask("a"), 60);
    give_back();
    stop();
    assert_true(sim_run_for(sim, 361 * NS_PER_S));
    boot();
    assert_in_range(left(ask("a")), 50, 51);
    give_back();
    stop();
    assert_true(sim_run_for(sim, 3600 * NS_PER_S));
    boot();
    assert_int_equal(stage.registry.cells.used, 0);
    stop();
}

static void a_kill_forgets_what_was_used_in_the_last_second(void **state)
{
    (void)state;
    boot();
    struct cell *cell = ask("a");
    spend(cell, 30);
    assert_true(sim_run_for(sim, 1200 * NS_PER_MS));
    spend(cell, 5);
    assert_true(sim_run_for(sim, sim_below(sim, 5 * NS_PER_MS)));
    kill_it();
    boot();
    assert_in_range(left(ask("a")), 65, 70);
    give_back();
    stop();
}

static uint64_t saved_at(void)
{
    uint8_t bytes[8];
    assert_int_equal(sim_disk_get(disk, FILE_NAME, 24, bytes, 8), 8);
    uint64_t at;
    memcpy(&at, bytes, 8);
    return at;
}

static void the_file_is_written_when_something_has_changed_and_not_else(void **state)
{
    (void)state;
    boot();
    assert_true(sim_run_for(sim, 3 * NS_PER_S));
    assert_false(sim_disk_exists(disk, FILE_NAME));
    struct cell *cell = ask("a");
    spend(cell, 3);
    assert_true(sim_run_for(sim, 2 * NS_PER_S));
    uint64_t first = saved_at();
    assert_true(sim_run_for(sim, 20 * NS_PER_S));
    assert_int_equal(saved_at(), first);
    spend(cell, 1);
    assert_true(sim_run_for(sim, 2 * NS_PER_S));
    assert_true(saved_at() > first);
    give_back();
    stop();
}

static void a_wall_clock_that_jumps_gives_an_empty_bucket_at_worst(void **state)
{
    (void)state;
    static const int64_t jumps[] = {-3600, -10ll * 365 * 86400, 10ll * 365 * 86400};
    for (size_t i = 0; i < COUNT_OF(jumps); i++) {
        boot();
        spend(ask("a"), 60);
        give_back();
        stop();
        sim_wall_jump(sim, jumps[i] * (int64_t)NS_PER_S);
        boot();
        struct cell *cell = ask("a");
        if (jumps[i] < 0) {
            assert_int_equal(left(cell), 0);
            assert_true(cell->arrival_ns <= now() + rate_span_ns(&rate));
        } else {
            assert_int_equal(left(cell), 100);
        }
        give_back();
        stop();
        sim_wall_jump(sim, -jumps[i] * (int64_t)NS_PER_S);
        assert_true(sim_run_for(sim, 3700 * NS_PER_S));
    }
}

static void a_file_that_makes_no_sense_is_set_aside_with_one_line(void **state)
{
    (void)state;
    uint8_t good[64];
    boot();
    spend(ask("a"), 60);
    give_back();
    stop();
    assert_int_equal(sim_disk_get(disk, FILE_NAME, 0, good, sizeof(good)), sizeof(good));
    for (size_t i = 0; i < 3 * sizeof(good); i++) {
        uint8_t bad[sizeof(good) + 1] = {0};
        size_t size = i < sizeof(good) ? i : sizeof(good);
        memcpy(bad, good, sizeof(good));
        if (i >= sizeof(good)) {
            bad[i % sizeof(good)] ^= (uint8_t)(1 << i % 8);
        }
        size += i >= 2 * sizeof(good); /* … and a byte more */
        assert_int_equal(sim_disk_put(disk, FILE_NAME, slice_make(bad, size)), 0);
        boot();
        assert_int_equal(stage.lines, 1);
        assert_non_null(strstr(stage.line, "event=limits"));
        char name[64] = "state/limits.damaged";
        if (i > 0) {
            (void)snprintf(name, sizeof(name), "state/limits.damaged-%zu",
                           MIN_OF(i + 1, STATE_FILE_ASIDES_MAX));
        }
        assert_non_null(strstr(stage.line, "set_aside="));
        assert_non_null(strstr(stage.line, name));
        assert_false(sim_disk_exists(disk, FILE_NAME));
        assert_int_equal(sim_disk_file_size(disk, name), (int64_t)size);
        assert_int_equal(left(ask("a")), 100);
        give_back();
        stop();
    }
}

static void a_file_that_cannot_be_written_is_told_once_and_tried_again(void **state)
{
    (void)state;
    boot();
    struct cell *cell = ask("a");
    sim_disk_read_only_set(disk, true);
    for (unsigned i = 0; i < 5; i++) {
        spend(cell, 1);
        assert_true(sim_run_for(sim, 2 * NS_PER_S));
    }
    assert_int_equal(stage.lines, 1);
    assert_non_null(strstr(stage.line, "cannot be written"));
    sim_disk_read_only_set(disk, false);
    assert_true(sim_run_for(sim, 2 * NS_PER_S));
    assert_int_equal(stage.lines, 2);
    assert_non_null(strstr(stage.line, "is written again"));
    kill_it();
    boot();
    assert_in_range(left(ask("a")), 95, 96);
    give_back();
    stop();
}

/* More cells than one slice of the walk; used while they are being saved. */
static void thousands_of_rates_are_kept_while_they_are_used(void **state)
{
    (void)state;
    boot();
    for (unsigned i = 0; i < 9000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "cell-%u", i);
        const struct slice part = slice_from_string(name);
        const struct cell_key key = cell_key_of(&part, 1);
        assert_true(cell_registry_restore(&stage.registry, &key, now() + 40 * rate.interval_ns,
                                          rate_span_ns(&rate)));
    }
    struct cell *cell = ask("cell-8999");
    sim_disk_latency_set(disk, 30 * NS_PER_MS);
    for (unsigned i = 0; i < 20; i++) {
        spend(cell, 1);
        assert_true(sim_run_for(sim, 250 * NS_PER_MS));
    }
    give_back();
    stop();
    boot();
    assert_int_equal(stage.lines, 0);
    assert_int_equal(stage.registry.cells.used, 9000);
    assert_in_range(left(ask("cell-8999")), 40, 41);
    give_back();
    assert_in_range(left(ask("cell-5")), 60, 61);
    give_back();
    stop();
}

/* Writes that end in the middle of a look at the cells. */
static void every_file_has_all_rates(void **state)
{
    (void)state;
    enum { COUNT = 9500 };
    boot();
    for (unsigned i = 0; i < COUNT; i++) {
        const struct cell_key key = {.low = i + 1, .high = 7};
        assert_true(cell_registry_restore(&stage.registry, &key, now() + rate_span_ns(&rate),
                                          rate_span_ns(&rate)));
    }
    struct cell *cell = pool_at(&stage.registry.cells, COUNT - 1);
    sim_fault_set(sim, SIM_FAULT_slow_turn, 300);
    unsigned spoiled = 0;
    for (unsigned i = 0; i < 3000; i++) {
        if (!list_linked(&stage.registry.walk.link)) {
            spend_any(cell);
            stage.store.not_before_ns = 0;
            cell_registry_walk(&stage.registry);
            ring_wake(stage.shards.shards[0].ring);
        }
        assert_true(sim_run_for(sim, sim_below(sim, 3 * NS_PER_MS)));
        spoiled += stage.store.spoiled;
        int64_t size = sim_disk_file_size(disk, FILE_NAME);
        assert_true(size == -ENOENT || size == 32 + 32 * COUNT);
    }
    assert_true(spoiled > 0);
    sim_faults_stop(sim);
    stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_was_used_is_known_after_a_clean_stop),
        TEST(time_that_went_by_meanwhile_counts),
        TEST(a_kill_forgets_what_was_used_in_the_last_second),
        TEST(the_file_is_written_when_something_has_changed_and_not_else),
        TEST(a_wall_clock_that_jumps_gives_an_empty_bucket_at_worst),
        TEST(a_file_that_makes_no_sense_is_set_aside_with_one_line),
        TEST(a_file_that_cannot_be_written_is_told_once_and_tried_again),
        TEST(thousands_of_rates_are_kept_while_they_are_used),
        TEST(every_file_has_all_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
