/*
 * The ring's order is that of the visits: a flow stays first while its turn lasts and goes last
 * after. So when the first one has been seen in this round, all have, and a new round begins.
 */
#include "shard/queue/flows.h"

#include "core/check.h"

/* Flows looked at to find how many rounds may be left out. */
#define SCAN_MAX 1024u
/* 64 KiB in units of 64 bytes. */
#define SIZE_64_A_COST 1024u

void flow_init(struct flow *flow)
{
    *flow = (struct flow){.weight = FLOW_WEIGHT};
    list_init(&flow->link);
    row_list_init(&flow->due);
}

void flow_ring_init(struct flow_ring *ring)
{
    *ring = (struct flow_ring){0};
    list_init(&ring->flows);
}

void flow_attach(struct flow *flow, const struct flow_ring *ring)
{
    flow->credit = 0;
    flow->round = ring->round - 1;
}

void flow_enter(struct flow *flow, struct flow_ring *ring)
{
    if (!list_linked(&flow->link)) {
        list_push_back(&ring->flows, &flow->link);
        ring->weight += flow->weight;
    }
}

void flow_weigh(struct flow *flow, struct flow_ring *ring, uint32_t weight)
{
    if (list_linked(&flow->link)) {
        ring->weight += weight - flow->weight;
    }
    flow->weight = weight;
}

void flow_leave(struct flow *flow, struct flow_ring *ring)
{
    if (list_linked(&flow->link)) {
        ring->weight -= flow->weight;
    }
    list_remove(&flow->link);
    flow->credit = MIN_OF(flow->credit, 0);
}

static struct flow *first_of(const struct flow_ring *ring)
{
    return CONTAINER_OF(ring->flows.next, struct flow, link);
}

/* Credit for the rounds since the last one: those without a turn pay debt and nothing more. */
static void take_credit(struct flow *flow, uint32_t round)
{
    int64_t missed = (int64_t)(uint32_t)(round - flow->round - 1) * flow->weight;
    flow->credit = (int32_t)MIN_OF(flow->credit + missed, 0) + (int32_t)flow->weight;
    flow->round = round;
}

/* How many rounds later than this one the first of the next flows has its turn. */
static uint32_t rounds_until_turn(const struct flow_ring *ring)
{
    uint32_t least = UINT32_MAX;
    const struct list *link = ring->flows.next;
    for (unsigned i = 0; i < SCAN_MAX && link != &ring->flows; i++, link = link->next) {
        const struct flow *flow = CONTAINER_OF(link, struct flow, link);
        uint32_t debt = flow->credit < 0 ? (uint32_t)-flow->credit : 0;
        uint32_t needed = debt / flow->weight + 1; /* rounds after its last */
        uint32_t passed = ring->round - flow->round;
        least = MIN_OF(least, needed > passed ? needed - passed : 0);
    }
    return least;
}

struct flow *flow_ring_next(struct flow_ring *ring)
{
    unsigned visits = 0;
    while (!list_empty(&ring->flows)) {
        struct flow *flow = first_of(ring);
        if (flow->credit > 0 && flow->round == ring->round) {
            return flow;
        }
        if (flow->round == ring->round) {
            uint32_t rounds = ring->served == ring->round ? 1 : rounds_until_turn(ring);
            ring->round += MAX_OF(rounds, 1);
        } else if (++visits == FLOW_VISITS_MAX) {
            visits = 0;
            ring->round += rounds_until_turn(ring);
        }
        take_credit(flow, ring->round);
        if (flow->credit <= 0) {
            list_remove(&flow->link);
            list_push_back(&ring->flows, &flow->link);
        }
    }
    return NULL;
}

void flow_spend(struct flow *flow, struct flow_ring *ring, uint32_t cost)
{
    CHECK(list_linked(&flow->link) && flow->credit > 0);
    flow->credit -= (int32_t)cost;
    ring->served = ring->round;
    if (flow->credit <= 0) {
        list_remove(&flow->link);
        list_push_back(&ring->flows, &flow->link);
    }
}

uint32_t flow_batch_cost(uint32_t recipients, uint32_t size_64)
{
    uint64_t cost = (uint64_t)FLOW_COST * recipients +
                    (uint64_t)size_64 * FLOW_COST / SIZE_64_A_COST;
    return (uint32_t)MIN_OF(cost, (uint64_t)INT32_MAX / 2);
}
