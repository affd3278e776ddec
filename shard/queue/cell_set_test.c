#include "shard/queue/cell_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/shards.h"

#define REGISTRAR 1
#define CELLS_MAX 3

static struct sim *sim;
static struct sim_shards shards;
static struct boot_pages pages;
static struct cell_registry registry;
static struct user {
    struct cell_set set;
    struct cell_request requests[4];
    unsigned settled;
} users[2];

static void settled(struct cell_set *set)
{
    CONTAINER_OF(set, struct user, set)->settled++;
}

static int set_up(void **state)
{
    (void)state;
    sim = sim_open(&(struct sim_options){.seed = 1});
    sim_shards_boot(&shards, sim_node_open(sim, NULL), 2, 16, 4096);
    cell_registry_init(&registry, &shards.shards[REGISTRAR], &pages, CELLS_MAX);
    memset(users, 0, sizeof(users));
    for (unsigned i = 0; i < 2; i++) {
        users[i].set.requests = users[i].requests;
        users[i].set.capacity = COUNT_OF(users[i].requests);
        users[i].set.settled = settled;
        cell_set_init(&users[i].set, &shards.shards[0], &registry, REGISTRAR);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cell_registry_fini(&registry);
    sim_shards_stop(&shards);
    boot_pages_give(&pages);
    memset(&pages, 0, sizeof(pages));
    bool failed = sim_failed(sim);
    sim_close(sim);
    return failed;
}

static void run(void)
{
    assert_true(sim_run_for(sim, 10 * NS_PER_MS));
}

static struct rate rate_of(const char *text)
{
    struct rate rate;
    assert_null(rate_parse(slice_from_string(text), &rate));
    return rate;
}

static void a_set_is_whole_when_all_its_cells_have_come(void **state)
{
    (void)state;
    struct cell_set *set = &users[0].set;
    const struct slice name = SLICE("count");
    const struct cell_key key = cell_key_of(&name, 1);
    const struct rate fast = rate_of("100/s");
    const struct rate slow = rate_of("500/d");
    unsigned count = cell_set_count(set, &key);
    unsigned first = cell_set_rate(set, &name, 1, &fast);
    unsigned second = cell_set_rate(set, &name, 1, &slow);
    assert_false(cell_set_whole(set));
    cell_set_ask(set);
    assert_false(cell_set_whole(set));
    run();
    assert_true(cell_set_whole(set));
    assert_int_equal(users[0].settled, 1);
    assert_int_equal(cell_set_at(set, count)->kind, CELL_COUNT);
    /* Another rate under the same name is another cell; what is short does not last. */
    assert_ptr_not_equal(cell_set_at(set, first), cell_set_at(set, second));
    assert_false(cell_set_at(set, first)->lasting);
    assert_true(cell_set_at(set, second)->lasting);
    assert_int_equal(cell_set_at(set, second)->span_ns, rate_span_ns(&slow));
    cell_set_return(set);
    assert_int_equal(set->held, 0);
    run();
    assert_int_equal(users[0].settled, 2);
    assert_int_equal(registry.cells.used, 0);
}

static void what_found_no_room_is_asked_for_again(void **state)
{
    (void)state;
    const struct rate rate = rate_of("1/s");
    static const char *const names[] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < 2; i++) {
        const struct slice one = slice_from_string(names[i]);
        const struct slice other = slice_from_string(names[i + 2]);
        (void)cell_set_rate(&users[0].set, &one, 1, &rate);
        (void)cell_set_rate(&users[1].set, &other, 1, &rate);
    }
    cell_set_ask(&users[0].set);
    cell_set_ask(&users[1].set);
    run();
    assert_true(cell_set_whole(&users[0].set));
    assert_false(cell_set_whole(&users[1].set));
    assert_int_equal(users[1].set.held, 1);
    cell_set_return(&users[0].set);
    run();
    cell_set_ask(&users[1].set);
    assert_int_equal(users[1].set.in_flight, 1);
    run();
    assert_true(cell_set_whole(&users[1].set));
    cell_set_return(&users[1].set);
    run();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_set_is_whole_when_all_its_cells_have_come),
        TEST(what_found_no_room_is_asked_for_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
