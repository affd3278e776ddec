/* What automation has is on disk within a second, and comes back; whatever the disk does. */
#include "tsa/automation_store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/shards.h"

#define HOUR     (3600 * NS_PER_S)
#define EFFECTS  300
#define SERIES   2000
#define PATH     "state/automation.db"

static struct sim *sim;
static struct sim_disk *disk;
static struct sim_node *process;
static struct sim_shards shards;
static struct boot_pages pages;
static struct heap heap;
static struct automation automation;
static struct automation_store store;
static struct shaping_rule_set *set;
static bool loaded;
static const char *file;
static char lines[2048];
static size_t lines_size;

static void put_line(void *context, struct slice line)
{
    (void)context;
    assert_true(lines_size + line.size < sizeof(lines));
    memcpy(lines + lines_size, line.data, line.size);
    lines_size += line.size;
    lines[lines_size] = '\0';
}

static unsigned line_count(void)
{
    unsigned count = 0;
    for (const char *at = lines; (at = strchr(at, '\n')) != NULL; at++) {
        count++;
    }
    return count;
}

static void has_loaded(struct automation_store *which)
{
    assert_ptr_equal(which, &store);
    assert_false(loaded);
    loaded = true;
}

/* A process begins; `effects` of its tables. */
static void begin(uint32_t effects)
{
    sim_shards_boot(&shards, process, 1, 16, 4096);
    heap_init(&heap);
    automation_init(&automation, &heap, effects, SERIES, 1, 1);
    automation_use(&automation, set, patterns_scratch_open(set->patterns));
    store = (struct automation_store){
        .shard = &shards.shards[0],
        .automation = &automation,
        .dir = "state",
        .file = file,
        .log = {.put = put_line},
        .loaded = has_loaded,
    };
    automation_store_init(&store, &pages);
    loaded = false;
    lines_size = 0;
    lines[0] = '\0';
    automation_store_load(&store);
}

static void give_back(void)
{
    automation_store_fini(&store);
    patterns_scratch_close(automation.scratch);
    boot_pages_give(&pages);
    heap_fini(&heap);
}

static bool is_loaded(void *context)
{
    (void)context;
    return loaded;
}

static bool is_stopped(void *context)
{
    (void)context;
    return automation_store_stopped(&store);
}

static void begin_and_load(uint32_t effects)
{
    begin(effects);
    assert_true(sim_run_until(sim, is_loaded, NULL, 10 * NS_PER_S));
}

static void run(uint64_t ns)
{
    assert_true(sim_run_for(sim, ns));
}

static void kill_it(void)
{
    sim_node_kill(process);
    sim_shards_drop(&shards);
    give_back();
}

static void stop(void)
{
    automation_store_stop(&store);
    assert_true(sim_run_until(sim, is_stopped, NULL, 60 * NS_PER_S));
    sim_shards_stop(&shards);
    give_back();
}

static int set_up(void **state)
{
    static struct shaping_pattern patterns[2];
    static struct shaping_action action = {.kind = SHAPING_BOUNCE};
    static struct shaping_rule rules[2];
    static struct shaping_rule_group group;
    patterns[0].text = SLICE("slow");
    patterns[1].text = SLICE("wait");
    for (unsigned i = 0; i < 2; i++) {
        rules[i] = (struct shaping_rule){
            .patterns = &patterns[i], .pattern_count = 1, .actions = &action, .action_count = 1,
            .duration_ns = HOUR, .hash = i + 1, .file = "s.toml", .line = i + 1};
    }
    rules[1].threshold = (struct rate){.count = 5, .period_ns = HOUR};
    group = (struct shaping_rule_group){SLICE("default"), true, {rules, 2}};
    (void)state;
    file = NULL;
    set = shaping_rule_set_compile(&group, 1, NULL, NULL);
    assert_non_null(set);
    sim = sim_open(&(struct sim_options){.seed = 1});
    disk = sim_disk_open(sim, 64 * MIB);
    process = sim_node_open(sim, disk);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shaping_rule_set_free(set);
    bool good = !sim_failed(sim);
    sim_close(sim);
    return good ? 0 : 1;
}

/* A reply about domain and site number `number`. */
static void judge(const char *response, unsigned number)
{
    static const uint32_t groups[] = {0};
    char name[32];
    (void)snprintf(name, sizeof(name), "d%u.test", number);
    const struct automation_record record = {
        .wall_ns = shards.shards[0].wall_ns,
        .response = slice_from_string(response),
        .site = slice_from_string(name),
        .source = SLICE("ip1"),
        .domain = slice_from_string(name),
        .groups = groups,
        .group_count = 1,
    };
    automation_judge(&automation, &record, record.wall_ns);
    automation_store_wake(&store);
}

static unsigned effects(void)
{
    uint32_t cursor = 0;
    unsigned count = 0;
    while (automation_next(&automation, &cursor) != NULL) {
        count++;
    }
    return count;
}

static void a_kill_loses_at_most_the_last_second(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    for (unsigned i = 0; i < 20; i++) {
        judge("451 slow", i);
        run(100 * NS_PER_MS);
    }
    kill_it();
    begin_and_load(EFFECTS);
    assert_in_range(effects(), 10, 20);
    unsigned before = effects();
    assert_int_equal(automation.next_id, before + 1);
    judge("451 slow", 100);
    run(NS_PER_S);
    kill_it();
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), before + 1);
    assert_string_equal(lines, "");
    stop();
}

static void what_was_counted_goes_on(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    for (unsigned i = 0; i < 4; i++) {
        judge("451 wait", 1);
    }
    assert_int_equal(effects(), 0);
    stop();
    begin_and_load(EFFECTS);
    judge("451 wait", 1);
    assert_int_equal(effects(), 1);
    stop();
}

static void a_stop_writes_what_has_just_changed(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    for (unsigned i = 0; i < EFFECTS; i++) {
        judge("451 slow", i);
    }
    for (unsigned i = 0; i < SERIES; i++) {
        judge("451 wait", i); /* more than a batch */
    }
    stop();
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), EFFECTS);
    assert_int_equal(automation.counters_used, SERIES);
    assert_true(automation_cancel(&automation, 7));
    automation_store_wake(&store);
    stop();
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), EFFECTS - 1);
    assert_false(automation_cancel(&automation, 7));
    stop();
}

static void a_stop_before_a_write_is_due_writes_once(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    judge("451 slow", 1); /* would be written in a moment */
    sim_disk_latency_set(disk, NS_PER_S);
    stop();
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), 1);
    stop();
}

static void another_file_has_all_of_it(void **state)
{
    (void)state;
    static const char *const files[] = {"elsewhere/deep/tsa.db", "tsa.db"};
    for (unsigned i = 0; i < COUNT_OF(files); i++) {
        file = files[i];
        begin_and_load(EFFECTS);
        assert_int_equal(effects(), 0);
        judge("451 slow", 1);
        stop();
        begin_and_load(EFFECTS);
        assert_int_equal(effects(), 1);
        stop();
    }
    file = NULL;
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), 0);
    stop();
}

static void rows_beyond_smaller_tables_go(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    for (unsigned i = 0; i < 40; i++) {
        judge("451 slow", i);
    }
    stop();
    begin_and_load(8);
    assert_int_equal(effects(), 8);
    assert_int_equal(store.refused, 32);
    run(2 * NS_PER_S);
    kill_it();
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), 8);
    assert_int_equal(store.refused, 0);
    stop();
}

static void f20_a_disk_without_room_is_said_once_and_written_when_there_is(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    sim_disk_failing_set(disk, true, false, false);
    for (unsigned i = 0; i < 50; i++) {
        judge("451 slow", i);
        run(100 * NS_PER_MS);
    }
    assert_int_equal(line_count(), 1);
    assert_non_null(strstr(lines, "cannot be used"));
    assert_in_range(counters_get(&shards.shards[0].counters, COUNTER_automation_failures), 4, 6);
    sim_disk_failing_set(disk, false, false, false);
    run(2 * NS_PER_S);
    assert_int_equal(line_count(), 2);
    assert_non_null(strstr(lines, "is written again"));
    kill_it();
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), 50);
    stop();
}

static void f20_a_stop_does_not_wait_for_a_disk_that_fails(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    sim_disk_failing_set(disk, true, false, false);
    judge("451 slow", 1);
    stop();
    assert_int_equal(line_count(), 1);
}

static void at08_damage_is_set_aside_and_all_is_written_anew(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    judge("451 slow", 1);
    run(NS_PER_S);
    assert_int_equal(sim_disk_put(disk, PATH, SLICE("no such thing")), 0);
    judge("451 slow", 2);
    run(3 * NS_PER_S);
    assert_true(sim_disk_exists(disk, PATH ".damaged"));
    kill_it();
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), 2);
    stop();
    assert_int_equal(sim_disk_put(disk, PATH, SLICE("no such thing")), 0);
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), 0);
    assert_non_null(strstr(lines, "was damaged"));
    stop();
}

/* It begins with nothing; later what it has replaces what stood there. */
static void at08_a_file_that_cannot_be_opened_holds_up_no_start_for_long(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    judge("451 slow", 1);
    judge("451 slow", 2);
    stop();
    sim_disk_failing_set(disk, false, false, true);
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), 0);
    assert_int_equal(line_count(), 1);
    judge("451 slow", 3);
    sim_disk_failing_set(disk, false, false, false);
    run(3 * NS_PER_S);
    assert_int_equal(line_count(), 2);
    kill_it();
    begin_and_load(EFFECTS);
    assert_int_equal(effects(), 1);
    stop();
}

static void a_disk_that_fails_for_a_moment_at_the_start_costs_nothing(void **state)
{
    (void)state;
    begin_and_load(EFFECTS);
    judge("451 slow", 1);
    stop();
    sim_disk_failing_set(disk, false, false, true);
    begin(EFFECTS);
    run(NS_PER_S / 2);
    assert_false(loaded);
    sim_disk_failing_set(disk, false, false, false);
    assert_true(sim_run_until(sim, is_loaded, NULL, 10 * NS_PER_S));
    assert_int_equal(effects(), 1);
    stop();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_kill_loses_at_most_the_last_second),
        TEST(what_was_counted_goes_on),
        TEST(a_stop_writes_what_has_just_changed),
        TEST(a_stop_before_a_write_is_due_writes_once),
        TEST(another_file_has_all_of_it),
        TEST(rows_beyond_smaller_tables_go),
        TEST(f20_a_disk_without_room_is_said_once_and_written_when_there_is),
        TEST(f20_a_stop_does_not_wait_for_a_disk_that_fails),
        TEST(at08_damage_is_set_aside_and_all_is_written_anew),
        TEST(at08_a_file_that_cannot_be_opened_holds_up_no_start_for_long),
        TEST(a_disk_that_fails_for_a_moment_at_the_start_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
