#include "shard/queue/cells.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/sim/shards.h"

#define CELLS_MAX 2
#define REGISTRAR 2

/* Two shards that ask, and the registrar. */
struct stage {
    struct sim *sim;
    struct sim_shards shards;
    struct boot_pages pages;
    struct cell_registry registry;
    struct asker {
        struct cell_request request;
        unsigned done;
    } askers[4];
};

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage = (struct stage){.sim = sim_open(&(struct sim_options){.seed = 1})};
    sim_shards_boot(&stage.shards, sim_node_open(stage.sim, NULL), 3, 16, 4096);
    cell_registry_init(&stage.registry, &stage.shards.shards[REGISTRAR], &stage.pages, CELLS_MAX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cell_registry_fini(&stage.registry);
    sim_shards_stop(&stage.shards);
    boot_pages_give(&stage.pages);
    bool failed = sim_failed(stage.sim);
    if (failed) {
        print_error("%s\n", sim_failure(stage.sim));
    }
    sim_close(stage.sim);
    return failed;
}

static void asker_done(struct cell_request *request)
{
    CONTAINER_OF(request, struct asker, request)->done++;
}

static void run(void)
{
    assert_true(sim_run_for(stage.sim, NS_PER_S));
}

static struct cell *ask_kind(unsigned index, unsigned shard, const char *name,
                             enum cell_kind kind)
{
    struct asker *asker = &stage.askers[index];
    const struct slice part = slice_from_string(name);
    *asker = (struct asker){
        .request =
            {
                .done = asker_done,
                .registry = &stage.registry,
                .key = cell_key_of(&part, 1),
                .kind = (uint8_t)kind,
                .lasting = kind == CELL_RATE,
            },
    };
    cell_ask(&stage.shards.shards[shard], REGISTRAR, &asker->request);
    assert_true(asker->request.in_flight);
    assert_int_equal(asker->done, 0);
    run();
    assert_int_equal(asker->done, 1);
    assert_false(asker->request.in_flight);
    return asker->request.cell;
}

static struct cell *ask(unsigned index, unsigned shard, const char *name)
{
    return ask_kind(index, shard, name, CELL_COUNT);
}

static void give_back(unsigned index, unsigned shard)
{
    cell_return(&stage.shards.shards[shard], REGISTRAR, &stage.askers[index].request);
    run();
    assert_int_equal(stage.askers[index].done, 2);
    assert_null(stage.askers[index].request.cell);
}

static void the_same_name_is_the_same_cell_on_every_shard(void **state)
{
    (void)state;
    struct cell *one = ask(0, 0, "site");
    struct cell *two = ask(1, 1, "site");
    struct cell *other = ask(2, 0, "another");
    assert_non_null(one);
    assert_ptr_equal(one, two);
    assert_ptr_not_equal(one, other);
    assert_int_equal(cell_users(one), 2);
    assert_int_equal(cell_users(other), 1);
    give_back(0, 0);
    give_back(1, 1);
    give_back(2, 0);
}

static void a_cell_given_back_by_all_makes_room_for_another_name(void **state)
{
    (void)state;
    assert_non_null(ask(0, 0, "a"));
    assert_non_null(ask(1, 1, "a"));
    assert_non_null(ask(2, 0, "b"));
    assert_null(ask(3, 1, "c"));
    give_back(0, 0);
    assert_null(ask(3, 1, "c")); /* the other shard still has it */
    give_back(1, 1);
    struct cell *cell = ask(3, 1, "c");
    assert_non_null(cell);
    assert_int_equal(cell->used, 0);
    give_back(3, 1);
    give_back(2, 0);
    assert_int_equal(stage.registry.cells.used, 0);
    assert_int_equal(stage.registry.keys.count, 0);
}

static void slots_of_all_shards_end_at_the_limit(void **state)
{
    (void)state;
    struct cell *one = ask(0, 0, "site");
    struct cell *two = ask(1, 1, "site");
    assert_true(cell_take(one, 3));
    assert_true(cell_take(two, 3));
    assert_true(cell_take(one, 3));
    assert_false(cell_take(two, 3));
    assert_false(cell_take(one, 2)); /* lowered meanwhile */
    cell_give(one);
    assert_true(cell_take(two, 3));
    assert_false(cell_take(two, 0));
    for (unsigned i = 0; i < 3; i++) {
        cell_give(two);
    }
    give_back(0, 0);
    give_back(1, 1);
}

static void names_of_several_parts_are_never_taken_for_each_other(void **state)
{
    (void)state;
    const struct slice parts[][2] = {
        {SLICE("a"), SLICE("bc")}, {SLICE("ab"), SLICE("c")}, {SLICE("abc"), SLICE("")},
        {SLICE(""), SLICE("abc")}};
    struct cell_key keys[COUNT_OF(parts) + 1];
    const struct slice whole = SLICE("abc");
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        keys[i] = cell_key_of(parts[i], 2);
    }
    keys[COUNT_OF(parts)] = cell_key_of(&whole, 1);
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        for (size_t k = 0; k < i; k++) {
            assert_memory_not_equal(&keys[i], &keys[k], sizeof(keys[i]));
        }
    }
}

static void a_rate_outlives_its_users_until_its_bucket_is_full_again(void **state)
{
    (void)state;
    struct rate rate;
    assert_null(rate_parse(SLICE("6/m"), &rate));
    struct cell *cell = ask_kind(0, 0, "site", CELL_RATE);
    uint64_t now = stage.shards.shards[0].now_ns;
    struct gcra_grant grant = cell_reserve(cell, &rate, now, now, 6);
    assert_int_equal(gcra_ready(&rate, grant.first_ns, grant.count, now), 6);
    give_back(0, 0);
    assert_true(sim_run_for(stage.sim, 30 * NS_PER_S));
    assert_int_equal(stage.registry.cells.used, 1);
    cell = ask_kind(1, 1, "site", CELL_RATE);
    assert_int_equal(cell->arrival_ns, grant.arrival_ns);
    assert_true(sim_run_for(stage.sim, 60 * NS_PER_S));
    assert_int_equal(stage.registry.cells.used, 1); /* somebody has it */
    now = stage.shards.shards[1].now_ns;
    grant = cell_reserve(cell, &rate, now, now, 1);
    give_back(1, 1);
    assert_int_equal(stage.registry.cells.used, 1);
    assert_true(sim_run_for(stage.sim, 12 * NS_PER_S));
    assert_int_equal(stage.registry.cells.used, 0);
    assert_int_equal(stage.registry.keys.count, 0);
}

static unsigned visits;
static unsigned walks;

static void visit(struct cell_registry *registry, const struct cell *cell)
{
    assert_ptr_equal(registry, &stage.registry);
    assert_true(cell->lasting);
    visits++;
}

static void visited(struct cell_registry *registry)
{
    (void)registry;
    walks++;
}

static void a_rate_of_an_earlier_life_is_found_and_looked_at_every_second(void **state)
{
    (void)state;
    const struct slice name = SLICE("site");
    const struct cell_key key = cell_key_of(&name, 1);
    uint64_t full_ns = stage.shards.shards[REGISTRAR].now_ns + 100 * NS_PER_S;
    visits = walks = 0;
    stage.registry.visit = visit;
    stage.registry.visited = visited;
    assert_true(cell_registry_restore(&stage.registry, &key, full_ns, 100 * NS_PER_S));
    assert_false(cell_registry_restore(&stage.registry, &key, full_ns, 100 * NS_PER_S));
    struct cell *cell = ask_kind(0, 0, "site", CELL_RATE);
    assert_int_equal(cell->arrival_ns, full_ns);
    assert_non_null(ask(1, 0, "a count"));
    visits = walks = 0;
    assert_true(sim_run_for(stage.sim, 10 * NS_PER_S));
    assert_in_range(walks, 9, 11);
    assert_int_equal(visits, walks);
    cell_registry_walk(&stage.registry);
    give_back(0, 0);
    give_back(1, 0);
    assert_true(sim_run_for(stage.sim, 100 * NS_PER_S));
    assert_int_equal(stage.registry.cells.used, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_same_name_is_the_same_cell_on_every_shard),
        TEST(a_cell_given_back_by_all_makes_room_for_another_name),
        TEST(slots_of_all_shards_end_at_the_limit),
        TEST(names_of_several_parts_are_never_taken_for_each_other),
        TEST(a_rate_outlives_its_users_until_its_bucket_is_full_again),
        TEST(a_rate_of_an_earlier_life_is_found_and_looked_at_every_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
