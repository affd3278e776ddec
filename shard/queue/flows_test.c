#include "shard/queue/flows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define FLOWS_MAX 8

static struct flow_ring ring;
static struct flow flows[FLOWS_MAX];
static uint32_t taken[FLOWS_MAX];

static void open_ring(const uint32_t *weights, unsigned count)
{
    flow_ring_init(&ring);
    memset(taken, 0, sizeof(taken));
    for (unsigned i = 0; i < count; i++) {
        flow_init(&flows[i]);
        flows[i].weight = weights[i];
        flow_attach(&flows[i], &ring);
        flow_enter(&flows[i], &ring);
    }
}

/* The next turn takes a batch that costs this much; which flow had it. */
static unsigned turn(uint32_t cost)
{
    struct flow *flow = flow_ring_next(&ring);
    assert_non_null(flow);
    unsigned i = (unsigned)(flow - flows);
    flow_spend(flow, &ring, cost);
    taken[i]++;
    return i;
}

static void shares_are_exactly_those_of_the_weights(void **state)
{
    (void)state;
    static const struct {
        unsigned count;
        uint32_t weights[4];
        unsigned batches;
        uint32_t taken[4];
    } cases[] = {
        {2, {100, 100}, 200, {100, 100}},
        {2, {100, 300}, 400, {100, 300}},
        {2, {1000, 1}, 1001 * 3, {3000, 3}},
        {3, {100, 250, 50}, 800, {200, 500, 100}},
        {4, {1, 1, 1, 1}, 400, {100, 100, 100, 100}},
        {4, {1, 2, 3, 994}, 10000, {10, 20, 30, 9940}},
        {1, {1}, 1000, {1000}},
    };
    for (unsigned c = 0; c < COUNT_OF(cases); c++) {
        open_ring(cases[c].weights, cases[c].count);
        for (unsigned i = 0; i < cases[c].batches; i++) {
            turn(FLOW_COST);
        }
        for (unsigned i = 0; i < cases[c].count; i++) {
            /* To one batch of what is taken in one turn. */
            uint32_t turn_most = cases[c].weights[i] / FLOW_COST + 1;
            assert_in_range(taken[i] + turn_most, cases[c].taken[i],
                            cases[c].taken[i] + 2 * turn_most);
        }
    }
}

/* Costs differ as much as they can: what counts is what was spent, not how many batches. */
static void what_a_batch_costs_is_paid_back_in_later_rounds(void **state)
{
    (void)state;
    const uint32_t large = flow_batch_cost(100, 20 * MIB / 64);
    assert_int_equal(large, 100 * FLOW_COST + 320 * FLOW_COST);
    open_ring((const uint32_t[]){100, 100, 50}, 3);
    uint32_t spent[3] = {0};
    for (unsigned i = 0; i < 10000; i++) {
        struct flow *flow = flow_ring_next(&ring);
        uint32_t cost = flow == &flows[0] ? large : FLOW_COST;
        spent[flow - flows] += cost;
        flow_spend(flow, &ring, cost);
    }
    assert_in_range(spent[0] - spent[1] + large, 0, 2 * large);
    assert_in_range(spent[1] - 2 * spent[2] + 2 * FLOW_COST, 0, 4 * FLOW_COST);
}

static void every_flow_has_a_turn_before_any_has_its_next_one(void **state)
{
    (void)state;
    open_ring((const uint32_t[]){100, 100, 100, 100}, 4);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(turn(FLOW_COST), i);
        }
    }
    /* A new one is behind those that wait, and before their second turn. */
    flow_init(&flows[4]);
    flow_attach(&flows[4], &ring);
    flow_enter(&flows[4], &ring);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(turn(FLOW_COST), i);
    }
}

static void an_empty_flow_keeps_its_debt_and_no_credit(void **state)
{
    (void)state;
    open_ring((const uint32_t[]){1000, 100}, 2);
    assert_int_equal(turn(FLOW_COST), 0);
    flow_leave(&flows[0], &ring); /* nine more were due to it */
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(turn(FLOW_COST), 1);
    }
    flow_enter(&flows[0], &ring);
    unsigned in_row = 0;
    (void)turn(FLOW_COST);
    while (turn(FLOW_COST) == 0) {
        in_row++;
    }
    assert_in_range(in_row, 9, 10); /* one turn's worth, not fifty */

    open_ring((const uint32_t[]){1000, 100}, 2);
    assert_int_equal(turn(FLOW_COST), 0);
    flow_leave(&flows[0], &ring);
    flow_enter(&flows[0], &ring); /* at once, and still it has to wait for its next turn */
    assert_int_equal(turn(FLOW_COST), 1);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(turn(FLOW_COST), 0);
    }
    assert_int_equal(turn(FLOW_COST), 1);

    open_ring((const uint32_t[]){100, 100}, 2);
    assert_int_equal(turn(50 * FLOW_COST), 0);
    flow_leave(&flows[0], &ring);
    flow_enter(&flows[0], &ring);
    for (unsigned i = 0; i < 49; i++) {
        assert_int_equal(turn(FLOW_COST), 1);
    }
    flow_leave(&flows[0], &ring); /* what passes without it pays the rest */
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(turn(FLOW_COST), 1);
    }
    flow_enter(&flows[0], &ring);
    (void)turn(FLOW_COST);
    (void)turn(FLOW_COST);
    assert_int_equal(taken[0], 2);
}

/* A million rounds are not run one by one: each call looks at a bounded number of flows. */
static void rounds_without_a_turn_are_left_out(void **state)
{
    (void)state;
    open_ring((const uint32_t[]){1, 1, 2}, 3);
    uint32_t cost = flow_batch_cost(1, 1024u * MIB / 64);
    for (unsigned i = 0; i < 3; i++) {
        (void)turn(cost);
    }
    uint32_t round = ring.round;
    assert_int_equal(turn(cost), 2); /* twice the weight: half the rounds */
    assert_in_range(ring.round - round, cost / 2 - 2, cost / 2 + 2);
    unsigned next = turn(cost);
    assert_in_range(ring.round - round, cost - 4, cost + 4);
    assert_int_not_equal(next, turn(cost));
}

/* More flows in debt than one call looks at. */
static void thousands_of_flows_in_debt_all_have_their_turn(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static struct flow many[COUNT];
    static uint16_t turns[COUNT];
    flow_ring_init(&ring);
    memset(turns, 0, sizeof(turns));
    for (unsigned i = 0; i < COUNT; i++) {
        flow_init(&many[i]);
        many[i].weight = 1 + i % 7;
        flow_attach(&many[i], &ring);
        flow_enter(&many[i], &ring);
    }
    for (unsigned i = 0; i < 10 * COUNT; i++) {
        struct flow *flow = flow_ring_next(&ring);
        turns[flow - many]++;
        flow_spend(flow, &ring, FLOW_COST * (1 + i % 3));
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_in_range(turns[i], 1, 40);
    }
}

static void an_empty_ring_has_no_turn(void **state)
{
    (void)state;
    flow_ring_init(&ring);
    assert_null(flow_ring_next(&ring));
    open_ring((const uint32_t[]){100}, 1);
    flow_leave(&flows[0], &ring);
    flow_leave(&flows[0], &ring);
    assert_null(flow_ring_next(&ring));
}

/* The number of the round may wrap. */
static void rounds_go_on_behind_the_last_number(void **state)
{
    (void)state;
    flow_ring_init(&ring);
    ring.round = ring.served = UINT32_MAX - 3;
    for (unsigned i = 0; i < 2; i++) {
        taken[i] = 0;
        flow_init(&flows[i]);
        flow_attach(&flows[i], &ring);
        flow_enter(&flows[i], &ring);
    }
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(turn(FLOW_COST), i % 2);
    }
    assert_in_range(ring.round, 5, 8);
}

static void a_ring_knows_the_weight_of_all_that_is_in_it(void **state)
{
    (void)state;
    open_ring((const uint32_t[]){100, 300, 50}, 3);
    assert_int_equal(ring.weight, 450);
    flow_enter(&flows[1], &ring);
    assert_int_equal(ring.weight, 450);
    flow_leave(&flows[1], &ring);
    flow_leave(&flows[1], &ring);
    assert_int_equal(ring.weight, 150);
    flow_weigh(&flows[0], &ring, 700); /* in the ring */
    assert_int_equal(ring.weight, 750);
    flow_weigh(&flows[1], NULL, 10); /* in none */
    assert_int_equal(ring.weight, 750);
    (void)turn(FLOW_COST);
    assert_int_equal(ring.weight, 750);
    flow_enter(&flows[1], &ring);
    assert_int_equal(ring.weight, 760);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_exactly_those_of_the_weights),
        cmocka_unit_test(what_a_batch_costs_is_paid_back_in_later_rounds),
        cmocka_unit_test(every_flow_has_a_turn_before_any_has_its_next_one),
        cmocka_unit_test(an_empty_flow_keeps_its_debt_and_no_credit),
        cmocka_unit_test(rounds_without_a_turn_are_left_out),
        cmocka_unit_test(thousands_of_flows_in_debt_all_have_their_turn),
        cmocka_unit_test(an_empty_ring_has_no_turn),
        cmocka_unit_test(rounds_go_on_behind_the_last_number),
        cmocka_unit_test(a_ring_knows_the_weight_of_all_that_is_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
