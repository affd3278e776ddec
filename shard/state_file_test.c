#include "shard/state_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/shards.h"

static struct sim *sim;
static struct sim_disk *disk;
static struct sim_node *process;
static struct sim_shards shards;
static struct state_file file;
static unsigned ends;
static int64_t result;
static uint8_t memory[64];

static void done(struct state_file *ended, int64_t with)
{
    assert_ptr_equal(ended, &file);
    ends++;
    result = with;
}

static bool has_ended(void *context)
{
    (void)context;
    return ends > 0;
}

static int64_t wait(void)
{
    ends = 0;
    assert_true(sim_run_until(sim, has_ended, NULL, 30 * NS_PER_S));
    assert_int_equal(ends, 1);
    return result;
}

static int64_t read_it(size_t capacity)
{
    memset(memory, 0, sizeof(memory));
    state_file_read(&file, memory, capacity);
    return wait();
}

static int64_t replace(const char *text)
{
    state_file_replace(&file, text, strlen(text));
    return wait();
}

static int set_up(void **state)
{
    (void)state;
    sim = sim_open(&(struct sim_options){.seed = 1});
    disk = sim_disk_open(sim, 64 * MIB);
    process = sim_node_open(sim, disk);
    sim_shards_boot(&shards, process, 1, 16, 4096);
    file.done = done;
    state_file_init(&file, &shards.shards[0], "some/state", "thing");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sim_shards_stop(&shards);
    bool good = !sim_failed(sim);
    sim_close(sim);
    return good ? 0 : 1;
}

static void what_is_replaced_is_read_back_and_its_directory_is_made(void **state)
{
    (void)state;
    assert_int_equal(read_it(sizeof(memory)), -ENOENT);
    assert_int_equal(replace("first"), 0);
    assert_int_equal(replace("the second"), 0);
    assert_int_equal(read_it(sizeof(memory)), strlen("the second"));
    assert_memory_equal(memory, "the second", strlen("the second"));
    assert_int_equal(read_it(3), -EFBIG);
}

static void after_a_failure_it_is_what_it_was(void **state)
{
    (void)state;
    assert_int_equal(replace("first"), 0);
    sim_disk_failing_set(disk, true, false, false);
    assert_true(replace("second") < 0);
    sim_disk_failing_set(disk, false, false, false);
    assert_int_equal(read_it(sizeof(memory)), strlen("first"));
}

static bool has_new_name(void *context)
{
    uint8_t text[8];
    int64_t size = sim_disk_get(disk, "some/state/thing", 0, text, sizeof(text));
    return size == (int64_t)strlen(context) && memcmp(text, context, strlen(context)) == 0;
}

static void when_its_name_cannot_be_synced_it_is_unknown_until_it_is_replaced(void **state)
{
    (void)state;
    assert_int_equal(replace("first"), 0);
    assert_false(file.unknown);
    state_file_replace(&file, "second", strlen("second"));
    assert_true(sim_run_until(sim, has_new_name, "second", 30 * NS_PER_S));
    sim_disk_failing_set(disk, false, true, false);
    assert_true(wait() < 0);
    assert_true(file.unknown);
    assert_true(replace("third") < 0); /* which does not come that far */
    assert_true(file.unknown);
    assert_int_equal(read_it(sizeof(memory)), strlen("second"));
    sim_disk_failing_set(disk, false, false, false);
    assert_int_equal(replace("first"), 0);
    assert_false(file.unknown);
}

static void what_makes_no_sense_is_kept_under_another_name(void **state)
{
    (void)state;
    uint8_t kept[8];
    assert_int_equal(replace("first"), 0);
    state_file_set_aside(&file);
    assert_int_equal(wait(), 0);
    assert_int_equal(read_it(sizeof(memory)), -ENOENT);
    assert_int_equal(sim_disk_get(disk, "some/state/thing.damaged", 0, kept, sizeof(kept)),
                     strlen("first"));
}

static void what_was_set_aside_before_is_kept_while_there_are_names(void **state)
{
    (void)state;
    uint8_t kept[8];
    char text[8];
    for (unsigned i = 1; i <= STATE_FILE_ASIDES_MAX + 1; i++) {
        (void)snprintf(text, sizeof(text), "no. %u", i);
        assert_int_equal(replace(text), 0);
        state_file_set_aside(&file);
        assert_int_equal(wait(), 0);
    }
    assert_int_equal(sim_disk_get(disk, "some/state/thing.damaged", 0, kept, sizeof(kept)), 5);
    assert_memory_equal(kept, "no. 1", 5);
    assert_int_equal(sim_disk_get(disk, "some/state/thing.damaged-2", 0, kept, sizeof(kept)), 5);
    assert_memory_equal(kept, "no. 2", 5);
    assert_int_equal(sim_disk_get(disk, "some/state/thing.damaged-9", 0, kept, sizeof(kept)), 6);
    assert_memory_equal(kept, "no. 10", 6); /* in the place of the ninth */
    assert_false(sim_disk_exists(disk, "some/state/thing.damaged-10"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_replaced_is_read_back_and_its_directory_is_made),
        TEST(after_a_failure_it_is_what_it_was),
        TEST(when_its_name_cannot_be_synced_it_is_unknown_until_it_is_replaced),
        TEST(what_makes_no_sense_is_kept_under_another_name),
        TEST(what_was_set_aside_before_is_kept_while_there_are_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
