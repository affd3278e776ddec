#include "shard/queue/queues.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/sim/shards.h"

/* A user of queues that routes by the first letter of a name: one ready queue a letter. */
struct world {
    struct sim *sim;
    struct sim_shards shards;
    struct queues queues;
    struct ready_queue ready[2];
    struct ready_window windows[2];
    unsigned routes;
    unsigned works;
    unsigned unused;
    bool no_route;
    bool crossed;      /* the letters stand for each other's ready queues */
    unsigned open;     /* rows that the gate lets through */
    unsigned asked;    /* times the gate was asked */
    unsigned forgotten;
    unsigned doomed;   /* times that a doomed queue had something due */
};

static struct ready_queue *world_route(void *context, struct sched_queue *queue,
                                       enum hold_reason *reason_out)
{
    struct world *world = context;
    if (world->no_route) {
        *reason_out = HOLD_dns;
        return NULL;
    }
    world->routes++;
    bool second = sched_queue_name(&world->queues, queue).data[0] == 'b';
    return &world->ready[second != world->crossed];
}

static void world_work(void *context, struct ready_queue *ready)
{
    (void)ready;
    ((struct world *)context)->works++;
}

static void world_unused(void *context, struct ready_queue *ready)
{
    assert_int_equal(ready->queues, 0);
    ((struct world *)context)->unused++;
}

static unsigned world_admit(void *context, struct sched_queue *queue, unsigned count,
                            enum hold_reason *reason_out)
{
    struct world *world = context;
    *reason_out = HOLD_queue_rate;
    assert_ptr_equal(queue->gate, world);
    world->asked++;
    count = count < world->open ? count : world->open;
    world->open -= count;
    return count;
}

static void world_forget(void *context, struct sched_queue *queue)
{
    struct world *world = context;
    assert_ptr_equal(queue->gate, world);
    world->forgotten++;
}

static enum queue_order world_ordered(void *context, struct slice name)
{
    (void)context;
    return slice_starts_with(name, SLICE("doomed")) ? QUEUE_DOOMED : QUEUE_RUNS;
}

static void world_doomed(void *context)
{
    ((struct world *)context)->doomed++;
}

static const struct queues_user world_user = {
    .route = world_route,
    .work = world_work,
    .unused = world_unused,
    .admit = world_admit,
    .forget = world_forget,
    .ordered = world_ordered,
    .doomed = world_doomed,
};

static int world_open(void **state)
{
    static struct world world;
    world = (struct world){.sim = sim_open(&(struct sim_options){.seed = 1})};
    struct sim_node *node = sim_node_open(world.sim, NULL);
    sim_shards_boot(&world.shards, node, 1, 16, 4096);
    ready_queue_init(&world.ready[0], world.shards.shards[0].now_ns);
    ready_queue_init(&world.ready[1], world.shards.shards[0].now_ns);
    const struct queues_options options = {
        .rows_max = 100000,
        .queues_max = 10000,
        .idle_ns = 60 * NS_PER_S,
        .user = &world_user,
        .context = &world,
    };
    *state = &world;
    return queues_init(&world.queues, &world.shards.shards[0], &options);
}

static int world_close(void **state)
{
    struct world *world = *state;
    queues_fini(&world->queues);
    sim_shards_stop(&world->shards);
    bool failed = sim_failed(world->sim);
    if (failed) {
        print_error("%s\n", sim_failure(world->sim));
    }
    sim_close(world->sim);
    return failed;
}

static uint32_t add(struct world *world, const char *name, uint32_t message, uint16_t recipient)
{
    uint32_t queue = queues_name(&world->queues, slice_from_string(name));
    assert_int_not_equal(queue, QUEUE_NONE);
    uint32_t handle = queues_row_new(&world->queues, queue);
    assert_int_not_equal(handle, ROW_NONE);
    struct row *row = row_at(&world->queues.rows, handle);
    row->segment = message;
    row->recipient = recipient;
    return handle;
}

static unsigned take(struct world *world, unsigned ready, unsigned limit, uint32_t *handles)
{
    return ready_queue_take(&world->queues, &world->ready[ready], &world->windows[ready],
                            UINT32_MAX, limit, handles);
}

/* Of the first, when so many may be hot. */
static unsigned take_within(struct world *world, uint32_t hot_max, uint32_t *handles)
{
    return ready_queue_take(&world->queues, &world->ready[0], &world->windows[0], hot_max, 10,
                            handles);
}

static const struct row *row(struct world *world, uint32_t handle)
{
    return row_at(&world->queues.rows, handle);
}

/* The second one of the row's queue's name. */
static char queue_letter(struct world *world, uint32_t handle)
{
    const struct sched_queue *queue = queues_at(&world->queues, row(world, handle)->queue);
    return (char)sched_queue_name(&world->queues, queue).data[1];
}

static void rows_of_one_message_go_together_up_to_the_limit(void **state)
{
    struct world *world = *state;
    uint32_t handles[BATCH_ROWS_MAX];
    for (uint16_t i = 0; i < 5; i++) {
        queues_row_due(&world->queues, add(world, "a.test", 1, i), false);
    }
    queues_row_due(&world->queues, add(world, "a.test", 2, 0), false);
    assert_int_equal(world->ready[0].due, 6);
    assert_int_equal(take(world, 0, 3, handles), 3);
    assert_int_equal(row(world, handles[2])->recipient, 2);
    queues_row_done(&world->queues, handles[0]);
    queues_row_done(&world->queues, handles[1]);
    queues_row_due(&world->queues, handles[2], true); /* put back: comes first again */
    assert_int_equal(take(world, 0, 100, handles), 3);
    assert_int_equal(row(world, handles[0])->recipient, 2);
    assert_int_equal(row(world, handles[2])->recipient, 4);
    uint32_t last[1];
    assert_int_equal(take(world, 0, 100, last), 1);
    assert_int_equal(row(world, last[0])->segment, 2);
    assert_int_equal(world->windows[0].hot, 4);
    for (unsigned i = 0; i < 3; i++) {
        queues_row_done(&world->queues, handles[i]);
    }
    queues_row_done(&world->queues, last[0]);
    assert_int_equal(world->windows[0].hot, 0);
    assert_int_equal(take(world, 0, 100, handles), 0);
}

static void flows_take_turns(void **state)
{
    struct world *world = *state;
    uint32_t handle;
    char order[10] = "";
    for (uint32_t i = 0; i < 6; i++) {
        queues_row_due(&world->queues, add(world, "a1.test", 10 + i, 0), false);
    }
    for (uint32_t i = 0; i < 3; i++) {
        queues_row_due(&world->queues, add(world, "a2.test", 20 + i, 0), false);
    }
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(take(world, 0, 1, &handle), 1);
        order[i] = queue_letter(world, handle);
        queues_row_done(&world->queues, handle);
    }
    assert_string_equal(order, "121212111");
    assert_int_equal(world->routes, 2);
}

static uint32_t add_urgent(struct world *world, const char *name, uint32_t message)
{
    uint32_t handle = add(world, name, message, 0);
    row_at(&world->queues.rows, handle)->urgent = true;
    return handle;
}

static void q04_an_urgent_row_goes_before_thousands_of_others(void **state)
{
    struct world *world = *state;
    uint32_t handle;
    for (uint32_t i = 0; i < 2000; i++) {
        queues_row_due(&world->queues, add(world, i % 2 == 0 ? "a1.test" : "a2.test", i, 0),
                       false);
    }
    assert_int_equal(take(world, 0, 1, &handle), 1);
    queues_row_done(&world->queues, handle);
    queues_row_due(&world->queues, add_urgent(world, "a1.test", 5000), false); /* its own queue */
    queues_row_due(&world->queues, add_urgent(world, "a3.test", 5001), false);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(take(world, 0, 1, &handle), 1);
        assert_int_equal(row(world, handle)->segment, 5000 + i);
        assert_int_equal(world->windows[0].hot, 1);
        assert_int_equal(world->windows[0].hot_bulk, 0);
        queues_row_done(&world->queues, handle);
    }
    assert_int_equal(take(world, 0, 1, &handle), 1);
    assert_int_equal(row(world, handle)->urgent, 0);
    assert_int_equal(world->windows[0].hot_bulk, 1);
    queues_row_done(&world->queues, handle);
    assert_int_equal(world->ready[0].due, 1998);
}

/* A tenant's hundred messages behind twenty thousand of another have their share at once. */
static void q04_weights_share_what_is_sent(void **state)
{
    struct world *world = *state;
    static const uint32_t weights[] = {1, 50, 100, 250, 1000};
    for (unsigned w = 0; w < COUNT_OF(weights); w++) {
        for (uint32_t i = 0; i < 20000; i++) {
            queues_row_due(&world->queues, add(world, "a1.test", i, 0), false);
        }
        for (uint32_t i = 0; i < 100; i++) {
            queues_row_due(&world->queues, add(world, "a2.test", 30000 + i, 0), false);
        }
        sched_queue_weigh(queues_at(&world->queues, queues_name(&world->queues, SLICE("a2.test"))),
                          weights[w]);
        uint32_t handle;
        uint32_t others = 0;
        uint32_t ours = 0;
        while (ours < 100) {
            assert_int_equal(take(world, 0, 100, &handle), 1);
            (*(queue_letter(world, handle) == '2' ? &ours : &others))++;
            queues_row_done(&world->queues, handle);
        }
        uint32_t expected = 100 * FLOW_WEIGHT / weights[w];
        uint32_t turn = FLOW_WEIGHT / weights[w] + 1; /* of them, between two of ours */
        assert_in_range(others + turn, expected, expected + 2 * turn);
        while (take(world, 0, 100, &handle) == 1) {
            queues_row_done(&world->queues, handle);
        }
        assert_int_equal(world->queues.rows.used, 0);
    }
}

static void a_window_keeps_an_eighth_for_urgent_rows(void **state)
{
    struct world *world = *state;
    static const struct {
        uint32_t window;
        unsigned bulk;   /* may become hot */
        unsigned urgent; /* and urgent ones beside them */
    } cases[] = {{1, 1, 0}, {2, 1, 1}, {8, 7, 1}, {9, 8, 1}, {16, 14, 2}, {64, 56, 8}};
    for (unsigned c = 0; c < COUNT_OF(cases); c++) {
        uint32_t handles[64];
        unsigned bulk = 0;
        for (uint16_t i = 0; i < 100; i++) {
            queues_row_due(&world->queues, add(world, "a1.test", 1, i), false);
        }
        unsigned count = 1;
        while (count > 0) { /* of one message, but no more than there is room for */
            count = take_within(world, cases[c].window, handles + bulk);
            bulk += count;
        }
        assert_int_equal(bulk, cases[c].bulk);
        unsigned urgent = 0;
        for (uint32_t i = 0; i < 20; i++) {
            queues_row_due(&world->queues, add_urgent(world, "a2.test", 100 + i), false);
        }
        while (take_within(world, cases[c].window, handles + bulk + urgent) == 1) {
            urgent++;
        }
        assert_int_equal(urgent, cases[c].urgent);
        for (unsigned i = 0; i < bulk + urgent; i++) {
            queues_row_done(&world->queues, handles[i]);
        }
        while ((count = take(world, 0, 64, handles)) > 0) {
            for (unsigned i = 0; i < count; i++) {
                queues_row_done(&world->queues, handles[i]);
            }
        }
        assert_int_equal(world->windows[0].hot + world->windows[0].hot_bulk, 0);
        assert_int_equal(world->queues.rows.used, 0);
    }
}

static void deferred_rows_come_due_in_their_second(void **state)
{
    struct world *world = *state;
    uint32_t now_s = (uint32_t)(queues_now_ns(&world->queues) / NS_PER_S);
    uint32_t handle = add(world, "a.test", 1, 0);
    uint32_t taken;
    row_at(&world->queues.rows, handle)->due_s = now_s + 30;
    queues_row_wait(&world->queues, handle);
    assert_true(sim_run_for(world->sim, 28 * NS_PER_S));
    assert_int_equal(take(world, 0, 1, &taken), 0);
    assert_true(sim_run_for(world->sim, 3 * NS_PER_S));
    assert_int_equal(take(world, 0, 1, &taken), 1);
    assert_int_equal(taken, handle);
    row_at(&world->queues.rows, handle)->due_s = now_s; /* past: due at once */
    queues_row_wait(&world->queues, handle);
    assert_int_equal(take(world, 0, 1, &taken), 1);
    queues_row_done(&world->queues, handle);
}

static void unrouted_rows_wait_and_are_asked_again(void **state)
{
    struct world *world = *state;
    uint32_t handle;
    world->no_route = true;
    queues_row_due(&world->queues, add(world, "b.test", 1, 0), false);
    assert_int_equal(take(world, 1, 1, &handle), 0);
    world->no_route = false;
    assert_true(sim_run_for(world->sim, NS_PER_S));
    assert_int_equal(world->ready[1].due, 1);
    assert_int_equal(take(world, 1, 1, &handle), 1);
    queues_row_done(&world->queues, handle);
}

static void what_is_due_in_a_queue_that_loses_its_route_is_routed_again(void **state)
{
    struct world *world = *state;
    uint32_t handle = add(world, "b.test", 1, 0);
    struct sched_queue *queue = queues_at(&world->queues, row(world, handle)->queue);
    queues_row_due(&world->queues, handle, false);
    assert_int_equal(world->ready[1].due, 1);
    queues_unroute(&world->queues, queue);
    assert_int_equal(world->unused, 1);
    assert_int_equal(world->ready[1].due, 0);
    assert_true(sim_run_for(world->sim, NS_PER_S));
    assert_int_equal(world->routes, 2);
    assert_int_equal(take(world, 1, 1, &handle), 1);
    queues_row_done(&world->queues, handle);
}

/* What is hot stays with the ready queue that has it, and comes back to the queue's new one. */
static void a_queue_changes_its_route_while_rows_of_it_are_hot(void **state)
{
    struct world *world = *state;
    struct queues *queues = &world->queues;
    uint32_t handles[4];
    for (uint32_t i = 0; i < COUNT_OF(handles); i++) {
        queues_row_due(queues, add(world, "b.test", i, 0), false);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(take(world, 1, 1, &handles[i]), 1);
    }
    world->crossed = true;
    queues_unroute(queues, queues_at(queues, row(world, handles[0])->queue));
    assert_int_equal(world->unused, 1);
    assert_int_equal(world->ready[1].due, 0);
    assert_int_equal(world->windows[1].hot, 3);
    queues_row_due(queues, handles[0], true); /* without a route */
    assert_true(sim_run_for(world->sim, NS_PER_S));
    queues_row_hold(queues, handles[1]);
    queues_row_done(queues, handles[1]);
    queues_row_done(queues, handles[2]);
    assert_int_equal(world->windows[1].hot + world->windows[1].hot_bulk, 0);
    assert_int_equal(world->ready[0].due, 2);
    assert_int_equal(take(world, 0, 1, &handles[1]), 1);
    assert_int_equal(handles[1], handles[0]);
    assert_int_equal(take(world, 0, 1, &handles[2]), 1);
    assert_int_equal(world->windows[0].hot, 2);
    queues_row_done(queues, handles[1]);
    queues_row_done(queues, handles[2]);
    assert_int_equal(world->windows[0].hot + world->windows[0].hot_bulk, 0);
}

/* More than one tick looks at: each has its turn, and none is asked twice in between. */
static void many_queues_without_a_route_are_asked_in_turns(void **state)
{
    struct world *world = *state;
    char name[32];
    world->no_route = true;
    for (uint32_t i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "d%u.test", i);
        queues_row_due(&world->queues, add(world, name, 1, 0), false);
    }
    assert_true(sim_run_for(world->sim, 10 * NS_PER_S));
    world->no_route = false;
    assert_true(sim_run_for(world->sim, 110 * NS_PER_MS));
    assert_in_range(world->routes, 1, 2999);
    assert_true(sim_run_for(world->sim, NS_PER_S));
    assert_int_equal(world->routes, 3000);
    uint32_t handle;
    while (take(world, 0, 1, &handle) == 1) {
        queues_row_done(&world->queues, handle);
    }
    assert_int_equal(world->queues.rows.used, 0);
}

/* However it stood, a held row starts no attempt and counts nowhere; then it goes on as it was. */
static void a_held_row_is_out_of_the_way_until_it_is_put_back(void **state)
{
    struct world *world = *state;
    struct queues *queues = &world->queues;
    uint32_t now_s = (uint32_t)(queues_now_ns(queues) / NS_PER_S);
    uint32_t waiting = add(world, "a.test", 1, 0);
    row_at(&queues->rows, waiting)->due_s = now_s + 5;
    queues_row_wait(queues, waiting);
    uint32_t due = add(world, "b.test", 2, 0);
    queues_row_due(queues, due, false);
    world->no_route = true;
    uint32_t unrouted = add(world, "a2.test", 3, 0);
    queues_row_due(queues, unrouted, false);
    queues_row_hold(queues, waiting);
    queues_row_hold(queues, due);
    queues_row_hold(queues, unrouted);
    assert_int_equal(queues->wheel.count, 0);
    assert_int_equal(world->ready[1].due, 0);
    world->no_route = false;
    assert_true(sim_run_for(world->sim, 10 * NS_PER_S));
    uint32_t handle;
    assert_int_equal(take(world, 0, 1, &handle), 0);
    assert_int_equal(take(world, 1, 1, &handle), 0);
    assert_int_equal(world->routes, 1);
    queues_row_wait(queues, due);
    queues_row_wait(queues, unrouted);
    queues_row_wait(queues, waiting); /* its time came meanwhile */
    assert_int_equal(take(world, 1, 1, &handle), 1);
    assert_int_equal(handle, due);
    queues_row_hold(queues, due); /* hot: what waits for its outcome */
    assert_int_equal(world->windows[1].hot, 0);
    queues_row_done(queues, due);
    assert_int_equal(row(world, due)->state, ROW_FREE);
    assert_int_equal(take(world, 0, 1, &handle), 1);
    queues_row_done(queues, handle);
    assert_int_equal(take(world, 0, 1, &handle), 1);
    queues_row_done(queues, handle);
    assert_int_equal(queues->rows.used, 0);
}

static void a_held_row_goes_to_another_queue_with_all_that_follows(void **state)
{
    struct world *world = *state;
    struct queues *queues = &world->queues;
    uint32_t handle = add(world, "a.test", 1, 0);
    uint32_t from = row(world, handle)->queue;
    uint32_t to = queues_name(queues, SLICE("b.test"));
    queues_row_due(queues, handle, false);
    queues_row_hold(queues, handle);
    queues_row_move(queues, handle, to);
    queues_row_move(queues, handle, to);
    assert_int_equal(queues_at(queues, from)->rows, 0);
    assert_int_equal(queues_at(queues, to)->rows, 1);
    row_at(&queues->rows, handle)->urgent = true;
    queues_row_wait(queues, handle);
    assert_true(sim_run_for(world->sim, 120 * NS_PER_S)); /* the old one is forgotten */
    assert_null(queues_find(queues, from));
    assert_int_equal(take(world, 0, 1, &handle), 0);
    assert_int_equal(take(world, 1, 1, &handle), 1);
    queues_row_done(queues, handle);
    assert_int_equal(queues->rows.used, 0);
}

static void empty_queues_are_forgotten_and_numbers_reused(void **state)
{
    struct world *world = *state;
    uint32_t handle = add(world, "b.test", 1, 0);
    uint32_t number = row(world, handle)->queue;
    queues_row_due(&world->queues, handle, false);
    assert_int_equal(take(world, 1, 1, &handle), 1);
    assert_true(sim_run_for(world->sim, 120 * NS_PER_S));
    assert_int_equal(world->unused, 0); /* a hot row keeps its queue */
    queues_row_done(&world->queues, handle);
    assert_true(sim_run_for(world->sim, 30 * NS_PER_S));
    assert_int_equal(queues_name(&world->queues, SLICE("b.test")), number);
    assert_true(sim_run_for(world->sim, 120 * NS_PER_S));
    assert_int_equal(world->unused, 1);
    assert_int_equal(world->queues.sched.used, 0);
    assert_int_equal(queue_names_count(&world->queues.names), 0);
}

static void many_names_grow_the_table(void **state)
{
    struct world *world = *state;
    char name[32];
    uint32_t numbers[5000];
    for (uint32_t i = 0; i < COUNT_OF(numbers); i++) {
        snprintf(name, sizeof(name), "d%u.test", i);
        numbers[i] = queues_name(&world->queues, slice_from_string(name));
    }
    for (uint32_t i = 0; i < COUNT_OF(numbers); i++) {
        snprintf(name, sizeof(name), "d%u.test", i);
        assert_int_equal(queues_name(&world->queues, slice_from_string(name)), numbers[i]);
    }
    assert_int_equal(world->queues.sched.used, COUNT_OF(numbers));
    char longer[QUEUE_NAME_BYTES_MAX + 1] = {0};
    assert_int_equal(queues_name(&world->queues, slice_make(longer, sizeof(longer))), QUEUE_NONE);
}

/*
 * Each with one recipient: within the bytes that they may cost, and each has its turn. Names are of
 * 40 bytes, options of 100.
 */
static void q05_a_million_queues_of_one_recipient_each(void **state)
{
    enum { COUNT = 1000000 };
    (void)state;
    static struct world world;
    world = (struct world){.sim = sim_open(&(struct sim_options){.seed = 2})};
    sim_shards_boot(&world.shards, sim_node_open(world.sim, NULL), 1, 16, 4096);
    struct account *account = &world.shards.shards[0].memory;
    ready_queue_init(&world.ready[0], world.shards.shards[0].now_ns);
    ready_queue_init(&world.ready[1], world.shards.shards[0].now_ns);
    const struct queues_options options = {.rows_max = COUNT, .queues_max = COUNT,
                                           .idle_ns = NS_PER_S, .options_bytes = 100,
                                           .user = &world_user, .context = &world};
    account->limit = 1024 * MIB;
    uint64_t before = account_used(account);
    assert_int_equal(queues_init(&world.queues, &world.shards.shards[0], &options), 0);
    char name[64];
    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "campaign-%u:tenant@d%07u.example.com", i % 100, i);
        queues_row_due(&world.queues, add(&world, name, i, 0), false);
    }
    uint64_t bytes = account_used(account) - before;
    print_message("%llu bytes a queue with one recipient\n", (unsigned long long)(bytes / COUNT));
    assert_true(bytes <= (uint64_t)COUNT * (64 + 512));
    uint32_t handle;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(take(&world, 0, 100, &handle), 1);
        assert_int_equal(row(&world, handle)->segment, i);
        queues_row_done(&world.queues, handle);
    }
    assert_true(sim_run_for(world.sim, 60 * NS_PER_S)); /* so many ticks, and all are forgotten */
    assert_int_equal(world.queues.sched.used, 0);
    assert_int_equal(queue_names_count(&world.queues.names), 0);
    struct world *closing = &world;
    assert_int_equal(world_close((void **)&closing), 0);
}

static void a_queue_whose_gate_is_shut_stands_aside_until_it_is_released(void **state)
{
    struct world *world = *state;
    uint32_t handles[BATCH_ROWS_MAX];
    uint32_t other[1];
    for (uint16_t i = 0; i < 5; i++) {
        queues_row_due(&world->queues, add(world, "agate.test", 1, i), false);
    }
    queues_row_due(&world->queues, add(world, "aopen.test", 2, 0), false);
    struct sched_queue *queue =
        queues_at(&world->queues, queues_name(&world->queues, SLICE("agate.test")));
    queue->gate = world;
    world->open = 3;
    assert_int_equal(take(world, 0, 100, handles), 3);
    assert_int_equal(world->ready[0].due, 3);
    /* Nothing more goes through: the other queue has its turn, and this one counts for nothing. */
    assert_int_equal(take(world, 0, 100, other), 1);
    assert_int_equal(queue_letter(world, other[0]), 'o');
    assert_int_equal(take(world, 0, 100, handles + 3), 0);
    assert_true(queue->parked);
    assert_int_equal(world->ready[0].due, 0);
    assert_int_equal(sched_queue_due(queue), 2);
    /* Rows come and go meanwhile, and nobody is told of work. */
    unsigned works = world->works;
    uint32_t late = add(world, "agate.test", 3, 0);
    queues_row_due(&world->queues, handles[2], true);
    queues_row_due(&world->queues, late, false);
    queues_row_hold(&world->queues, late);
    assert_int_equal(world->works, works);
    assert_int_equal(world->ready[0].due, 0);
    unsigned asked = world->asked;
    assert_int_equal(take(world, 0, 100, handles + 3), 0);
    assert_int_equal(world->asked, asked);
    world->open = 100;
    queues_release(&world->queues, queue);
    assert_int_equal(world->works, works + 1);
    assert_int_equal(world->ready[0].due, 3);
    assert_int_equal(take(world, 0, 100, handles + 2), 3);
    for (unsigned i = 0; i < 5; i++) {
        queues_row_done(&world->queues, handles[i]);
    }
    queues_row_done(&world->queues, other[0]);
    queues_row_done(&world->queues, late);
    assert_int_equal(world->windows[0].hot, 0);
    assert_true(sim_run_for(world->sim, 120 * NS_PER_S));
    assert_int_equal(world->forgotten, 1);
}

static void a_parked_queue_may_lose_its_route_and_is_asked_again_behind_the_next(void **state)
{
    struct world *world = *state;
    uint32_t handles[BATCH_ROWS_MAX];
    uint32_t handle = add(world, "agate.test", 1, 0);
    queues_row_due(&world->queues, handle, false);
    struct sched_queue *queue =
        queues_at(&world->queues, queues_name(&world->queues, SLICE("agate.test")));
    queue->gate = world;
    assert_int_equal(take(world, 0, 100, handles), 0);
    assert_true(queue->parked);
    queues_unroute(&world->queues, queue);
    assert_int_equal(world->ready[0].due, 0);
    assert_int_equal(world->unused, 1);
    assert_true(sim_run_for(world->sim, NS_PER_S));
    assert_int_equal(world->routes, 2);
    assert_int_equal(world->ready[0].due, 1);
    queues_release(&world->queues, queue); /* a late one changes nothing */
    assert_int_equal(world->ready[0].due, 1);
    world->open = 1;
    assert_int_equal(take(world, 0, 100, handles), 1);
    queues_row_done(&world->queues, handles[0]);
}

/* --- what holds a queue back ------------------------------------------------------------------ */

static void expect_hold(struct world *world, const struct sched_queue *queue,
                        enum hold_reason reason)
{
    assert_string_equal(hold_name(sched_queue_hold(queue).reason), hold_name(reason));
    assert_true(sim_run_for(world->sim, NS_PER_S)); /* so it stays */
    assert_string_equal(hold_name(sched_queue_hold(queue).reason), hold_name(reason));
}

static void ready_hold(struct world *world, enum hold_reason reason)
{
    hold_clock_set(&world->ready[0].hold, reason, world->shards.shards[0].now_ns);
}

static void defer(struct world *world, uint32_t handle, uint32_t seconds)
{
    row_at(&world->queues.rows, handle)->due_s =
        (uint32_t)(queues_now_ns(&world->queues) / NS_PER_S) + seconds;
    queues_row_wait(&world->queues, handle);
}

static void l07_a_queue_knows_what_holds_it_back_and_for_how_long(void **state)
{
    struct world *world = *state;
    struct queues *queues = &world->queues;
    uint32_t handles[BATCH_ROWS_MAX];
    uint32_t late[1];
    struct sched_queue *queue = queues_at(queues, queues_name(queues, SLICE("agate.test")));
    const uint64_t start_ns = world->shards.shards[0].now_ns;
    expect_hold(world, queue, HOLD_empty);
    uint32_t first = add(world, "agate.test", 1, 0);
    expect_hold(world, queue, HOLD_none); /* it is being stored */
    world->no_route = true;
    queues_row_due(queues, first, false);
    expect_hold(world, queue, HOLD_dns);
    world->no_route = false;
    ready_hold(world, HOLD_message_rate);
    assert_true(sim_run_for(world->sim, NS_PER_S)); /* the last second without a route, or less */
    uint64_t unrouted_ms = sched_queue_hold_ms(queue, HOLD_dns, world->shards.shards[0].now_ns);
    assert_in_range(unrouted_ms, 900, 1200);
    expect_hold(world, queue, HOLD_message_rate);
    ready_hold(world, HOLD_none);
    queue->gate = world;
    assert_int_equal(take(world, 0, 100, handles), 0);
    ready_hold(world, HOLD_connection_limit); /* for others: this one has not come so far */
    expect_hold(world, queue, HOLD_queue_rate);
    world->open = 1;
    queues_release(queues, queue);
    expect_hold(world, queue, HOLD_connection_limit);
    assert_int_equal(take(world, 0, 100, handles), 1);
    ready_hold(world, HOLD_empty); /* it has nothing due */
    expect_hold(world, queue, HOLD_none);
    queues_row_hold(queues, handles[0]);
    expect_hold(world, queue, HOLD_none); /* its outcome is being stored */
    defer(world, handles[0], 100);
    expect_hold(world, queue, HOLD_not_due);
    late[0] = add(world, "agate.test", 2, 0);
    expect_hold(world, queue, HOLD_none);
    queues_row_done(queues, late[0]);
    expect_hold(world, queue, HOLD_not_due);
    queues_row_hold(queues, handles[0]); /* its message is written again */
    expect_hold(world, queue, HOLD_none);
    defer(world, handles[0], 3);
    expect_hold(world, queue, HOLD_not_due);
    ready_hold(world, HOLD_memory);
    assert_true(sim_run_for(world->sim, 3 * NS_PER_S));
    expect_hold(world, queue, HOLD_memory);
    queues_unroute(queues, queue);
    assert_string_equal(hold_name(sched_queue_hold(queue).reason), "none");
    world->open = 1;
    assert_true(sim_run_for(world->sim, NS_PER_S)); /* it is routed again */
    expect_hold(world, queue, HOLD_memory);
    queues_row_hold(queues, handles[0]);
    queues_row_done(queues, handles[0]);
    expect_hold(world, queue, HOLD_empty);
    uint64_t now_ns = world->shards.shards[0].now_ns;
    uint64_t sum_ms = 0;
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        sum_ms += sched_queue_hold_ms(queue, (enum hold_reason)i, now_ns);
    }
    assert_in_range(sum_ms, (now_ns - start_ns) / NS_PER_MS - HOLD_REASONS_COUNT,
                    (now_ns - start_ns) / NS_PER_MS);
    assert_in_range(sched_queue_hold_ms(queue, HOLD_connection_limit, now_ns), 900, 1100);
    assert_in_range(sched_queue_hold_ms(queue, HOLD_queue_rate, now_ns), 900, 1100);
}

/* --- orders ----------------------------------------------------------------------------------- */

static void a_suspended_queue_is_passed_over_and_goes_on_where_it_stood(void **state)
{
    struct world *world = *state;
    struct queues *queues = &world->queues;
    uint32_t handles[BATCH_ROWS_MAX];
    queues_row_due(queues, add(world, "a.test", 1, 0), false);
    struct sched_queue *queue = queues_at(queues, queues_name(queues, SLICE("a.test")));
    queues_order(queues, queue, QUEUE_SUSPENDED);
    assert_int_equal(world->ready[0].due, 0);
    queues_row_due(queues, add(world, "a.test", 2, 0), false);
    queues_row_due(queues, add(world, "aa.test", 3, 0), false);
    assert_int_equal(take(world, 0, 100, handles), 1);
    assert_int_equal(row(world, handles[0])->segment, 3);
    assert_int_equal(take(world, 0, 100, handles), 0);
    expect_hold(world, queue, HOLD_suspended_admin);
    queues_release(queues, queue); /* nobody's gate lets it go */
    assert_int_equal(take(world, 0, 100, handles), 0);
    queues_order(queues, queue, QUEUE_RUNS);
    assert_int_equal(world->ready[0].due, 2);
    assert_int_equal(take(world, 0, 100, handles), 1);
    assert_int_equal(row(world, handles[0])->segment, 1);
}

static void a_suspended_queue_without_a_route_asks_for_none(void **state)
{
    struct world *world = *state;
    struct queues *queues = &world->queues;
    world->no_route = true;
    queues_row_due(queues, add(world, "a.test", 1, 0), false);
    struct sched_queue *queue = queues_at(queues, queues_name(queues, SLICE("a.test")));
    queues_order(queues, queue, QUEUE_SUSPENDED);
    world->no_route = false;
    assert_true(sim_run_for(world->sim, NS_PER_S));
    assert_int_equal(world->routes, 0);
    queues_order(queues, queue, QUEUE_RUNS);
    assert_int_equal(world->routes, 1);
    assert_int_equal(world->ready[0].due, 1);
}

static void what_is_due_of_doomed_queues_is_taken_in_turn_and_held(void **state)
{
    struct world *world = *state;
    struct queues *queues = &world->queues;
    uint32_t handles[BATCH_ROWS_MAX];
    static const char *const names[] = {"doomed1.test", "doomed2.test"};
    for (unsigned i = 0; i < 6; i++) {
        queues_row_due(queues, add(world, names[i % 2], 1 + i / 4, (uint16_t)i), false);
    }
    assert_true(world->doomed > 0);
    assert_int_equal(world->routes, 0);
    static const unsigned counts[] = {2, 2, 1, 1};
    for (unsigned i = 0; i < COUNT_OF(counts); i++) {
        struct sched_queue *queue = queues_doomed(queues);
        assert_non_null(queue);
        assert_true(slice_equal(sched_queue_name(queues, queue),
                                slice_from_string(names[i % 2])));
        assert_int_equal(queues_take_doomed(queues, queue, 100, handles), counts[i]);
        assert_int_equal(row(world, handles[0])->state, ROW_HELD);
        for (unsigned n = 0; n < counts[i]; n++) {
            queues_row_done(queues, handles[n]);
        }
    }
    assert_null(queues_doomed(queues));
}

static void what_comes_back_to_a_doomed_queue_is_due_at_once(void **state)
{
    struct world *world = *state;
    struct queues *queues = &world->queues;
    uint32_t now_s = (uint32_t)(queues_now_ns(queues) / NS_PER_S);
    uint32_t handles[BATCH_ROWS_MAX];
    uint32_t handle = add(world, "doomed.test", 1, 0);
    row_at(&queues->rows, handle)->due_s = now_s + 3600;
    for (unsigned i = 0; i < 2; i++) { /* new, and held */
        queues_row_wait(queues, handle);
        assert_int_equal(row(world, handle)->state, ROW_DUE);
        assert_non_null(queues_doomed(queues));
        assert_int_equal(queues_take_doomed(queues, queues_doomed(queues), 100, handles), 1);
    }
    queues_row_done(queues, handle);
}

/* What its ready queues count is what their running queues have due, whatever happens. */
static void check_due(struct world *world)
{
    const struct queues *queues = &world->queues;
    uint32_t due[2] = {0, 0};
    for (uint32_t i = 0; i < queues_end(queues); i++) {
        const struct sched_queue *queue = queues_find(queues, i);
        if (queue != NULL && queue->ready != NULL && queue->order == QUEUE_RUNS &&
            !queue->parked) {
            due[queue->ready == &world->ready[1]] += sched_queue_due(queue);
        }
        if (queue != NULL && queue->order == QUEUE_DOOMED && sched_queue_due(queue) > 0) {
            assert_true(list_linked(&queue->link) && queues_doomed(queues) != NULL);
        }
    }
    assert_int_equal(world->ready[0].due, due[0]);
    assert_int_equal(world->ready[1].due, due[1]);
}

static void act_at_random(struct world *world, struct prng *prng)
{
    struct queues *queues = &world->queues;
    uint32_t handles[BATCH_ROWS_MAX];
    char name[] = "a0.test";
    unsigned count = 0;
    name[0] = (char)('a' + prng_below(prng, 2));
    name[1] = (char)('0' + prng_below(prng, 4));
    struct sched_queue *queue =
        queues_at(queues, queues_name(queues, slice_from_string(name)));
    switch (prng_below(prng, 8)) {
    case 0:
    case 1:
        queues_row_due(queues, add(world, name, 1 + (uint32_t)prng_below(prng, 9), 0), false);
        break;
    case 2:
        defer(world, add(world, name, 1, 0), (uint32_t)prng_below(prng, 3));
        break;
    case 3:
        queues_order(queues, queue, (enum queue_order)prng_below(prng, 3));
        break;
    case 4:
        world->open = (unsigned)prng_below(prng, 2);
        queue->gate = prng_chance(prng, 500) ? world : NULL;
        count = take(world, (unsigned)prng_below(prng, 2), 3, handles);
        for (unsigned i = 0; i < count; i++) {
            queues_row_due(queues, handles[i], true);
        }
        break;
    case 5:
        queues_release(queues, queue);
        break;
    case 6:
        world->no_route = prng_chance(prng, 500);
        queues_unroute(queues, queue);
        break;
    default:
        if (queues_doomed(queues) != NULL) {
            count = queues_take_doomed(queues, queues_doomed(queues), 3, handles);
        }
        for (unsigned i = 0; i < count; i++) {
            queues_row_done(queues, handles[i]);
        }
        break;
    }
}

static void orders_routes_and_gates_in_any_order_lose_no_row(void **state)
{
    struct world *world = *state;
    struct prng prng;
    uint32_t handles[BATCH_ROWS_MAX];
    prng_seed(&prng, 11);
    for (unsigned i = 0; i < 20000; i++) {
        act_at_random(world, &prng);
        check_due(world);
        if (i % 64 == 0) {
            assert_true(sim_run_for(world->sim, NS_PER_S / 4));
        }
    }
    /* Let go, all of it comes out. */
    world->no_route = false;
    world->open = UINT32_MAX;
    for (uint32_t i = 0; i < queues_end(&world->queues); i++) {
        queues_order(&world->queues, queues_at(&world->queues, i), QUEUE_RUNS);
        queues_release(&world->queues, queues_at(&world->queues, i));
    }
    assert_true(sim_run_for(world->sim, 5 * NS_PER_S));
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned n = take(world, i, 100, handles); n > 0; n = take(world, i, 100, handles)) {
            while (n > 0) {
                queues_row_done(&world->queues, handles[--n]);
            }
        }
    }
    assert_int_equal(world->queues.rows.used, 0);
}

int main(void)
{
#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_open, world_close)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(rows_of_one_message_go_together_up_to_the_limit),
        WORLD_TEST(flows_take_turns),
        WORLD_TEST(q04_an_urgent_row_goes_before_thousands_of_others),
        WORLD_TEST(q04_weights_share_what_is_sent),
        WORLD_TEST(a_window_keeps_an_eighth_for_urgent_rows),
        WORLD_TEST(deferred_rows_come_due_in_their_second),
        WORLD_TEST(unrouted_rows_wait_and_are_asked_again),
        WORLD_TEST(what_is_due_in_a_queue_that_loses_its_route_is_routed_again),
        WORLD_TEST(a_queue_changes_its_route_while_rows_of_it_are_hot),
        WORLD_TEST(many_queues_without_a_route_are_asked_in_turns),
        WORLD_TEST(a_held_row_is_out_of_the_way_until_it_is_put_back),
        WORLD_TEST(a_held_row_goes_to_another_queue_with_all_that_follows),
        WORLD_TEST(empty_queues_are_forgotten_and_numbers_reused),
        WORLD_TEST(many_names_grow_the_table),
        cmocka_unit_test(q05_a_million_queues_of_one_recipient_each),
        WORLD_TEST(a_queue_whose_gate_is_shut_stands_aside_until_it_is_released),
        WORLD_TEST(l07_a_queue_knows_what_holds_it_back_and_for_how_long),
        WORLD_TEST(a_parked_queue_may_lose_its_route_and_is_asked_again_behind_the_next),
        WORLD_TEST(a_suspended_queue_is_passed_over_and_goes_on_where_it_stood),
        WORLD_TEST(a_suspended_queue_without_a_route_asks_for_none),
        WORLD_TEST(what_is_due_of_doomed_queues_is_taken_in_turn_and_held),
        WORLD_TEST(what_comes_back_to_a_doomed_queue_is_due_at_once),
        WORLD_TEST(orders_routes_and_gates_in_any_order_lose_no_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
