/*
 * The k-th turn of a member (from 0) of weight w in a cycle of n turns has a window: it may come
 * from floor(k * n / w) on and has to come before ceil((k + 1) * n / w). Whoever keeps to these is
 * never a whole turn ahead or behind. Going round evenly in fractions of turns keeps to them, so
 * there is a way to do it in whole ones; and of those whose window is open, taking the one that
 * closes first finds it (unit jobs, whole numbers: earliest deadline first is optimal).
 */
#include "core/turns.h"

#include <assert.h>

#include "core/check.h"

#define NOBODY UINT16_MAX

static_assert(TURNS_MEMBERS_MAX < NOBODY, "an index of a member fits");

struct member {
    uint32_t weight;   /* divided by the common divisor */
    uint32_t turn;     /* k of the next one */
    uint32_t deadline; /* of the next one */
    uint16_t next;     /* whose window opens with the same turn */
};

struct cycle {
    struct member *members;
    uint64_t count;      /* turns */
    uint16_t *opening;   /* by turn: the first of the members whose window opens with it */
    uint16_t *open;      /* a heap by deadline, then index */
    size_t open_count;
};

static uint64_t divisor_of(const uint32_t *weights, size_t member_count)
{
    uint64_t divisor = 0;
    for (size_t i = 0; i < member_count; i++) {
        uint64_t a = weights[i];
        while (a > 0) {
            uint64_t rest = divisor % a;
            divisor = a;
            a = rest;
        }
    }
    return divisor;
}

uint64_t turns_count(const uint32_t *weights, size_t member_count)
{
    uint64_t divisor = divisor_of(weights, member_count);
    uint64_t sum = 0;
    for (size_t i = 0; i < member_count; i++) {
        sum += weights[i];
    }
    return divisor == 0 ? 0 : sum / divisor;
}

/* --- the heap --------------------------------------------------------------------------------- */

static bool comes_first(const struct cycle *cycle, uint16_t a, uint16_t b)
{
    uint32_t first = cycle->members[a].deadline;
    uint32_t second = cycle->members[b].deadline;
    return first != second ? first < second : a < b;
}

static void open_push(struct cycle *cycle, uint16_t index)
{
    size_t at = cycle->open_count++;
    while (at > 0 && comes_first(cycle, index, cycle->open[(at - 1) / 2])) {
        cycle->open[at] = cycle->open[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    cycle->open[at] = index;
}

static uint16_t open_pop(struct cycle *cycle)
{
    uint16_t first = cycle->open[0];
    uint16_t last = cycle->open[--cycle->open_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= cycle->open_count) {
            break;
        }
        if (child + 1 < cycle->open_count &&
            comes_first(cycle, cycle->open[child + 1], cycle->open[child])) {
            child++;
        }
        if (!comes_first(cycle, cycle->open[child], last)) {
            break;
        }
        cycle->open[at] = cycle->open[child];
        at = child;
    }
    cycle->open[at] = last;
    return first;
}

/* --- the cycle -------------------------------------------------------------------------------- */

/* The window of the member's next turn, if it has one; `now` is the first turn it could have. */
static void window_begin(struct cycle *cycle, uint16_t index, uint64_t now)
{
    struct member *member = &cycle->members[index];
    if (member->turn >= member->weight) {
        return;
    }
    uint64_t release = member->turn * cycle->count / member->weight;
    uint64_t end = (member->turn + 1) * cycle->count;
    member->deadline = (uint32_t)((end + member->weight - 1) / member->weight);
    if (release <= now) {
        open_push(cycle, index);
        return;
    }
    member->next = cycle->opening[release];
    cycle->opening[release] = index;
}

void turns_fill(const uint32_t *weights, size_t member_count, struct heap *scratch,
                uint16_t *turns_out)
{
    uint64_t divisor = divisor_of(weights, member_count);
    struct cycle cycle = {
        .members = heap_take_array(scratch, member_count + 1, sizeof(*cycle.members)),
        .count = turns_count(weights, member_count),
        .open = heap_take_array(scratch, member_count + 1, sizeof(*cycle.open)),
    };
    CHECK(member_count <= TURNS_MEMBERS_MAX && cycle.count <= TURNS_MAX);
    cycle.opening = heap_take_array(scratch, (size_t)cycle.count + 1, sizeof(*cycle.opening));
    for (size_t turn = 0; turn < cycle.count; turn++) {
        cycle.opening[turn] = NOBODY;
    }
    for (uint16_t i = 0; i < member_count; i++) {
        cycle.members[i].weight = divisor == 0 ? 0 : (uint32_t)(weights[i] / divisor);
        window_begin(&cycle, i, 0);
    }
    for (uint64_t turn = 0; turn < cycle.count; turn++) {
        uint16_t next;
        for (uint16_t i = cycle.opening[turn]; i != NOBODY; i = next) {
            next = cycle.members[i].next;
            open_push(&cycle, i);
        }
        CHECK(cycle.open_count > 0);
        uint16_t index = open_pop(&cycle);
        CHECK(cycle.members[index].deadline > turn);
        turns_out[turn] = index;
        cycle.members[index].turn++;
        window_begin(&cycle, index, turn + 1);
    }
}
