/*
 * Dealing: what is due in an egress pool goes to its members by their turns; see egress_pool.h.
 */
#include "smtp/egress.h"

/* Tickets in one turn: what nobody takes of a long cycle waits for the next. */
#define DRAWS_MAX 4096

static void owed_set(struct egress *egress, int32_t owed)
{
    struct egress_pool *pool = egress->pool;
    pool->dealt -= (uint32_t)MAX_OF(egress->owed, 0);
    pool->dealt += (uint32_t)MAX_OF(owed, 0);
    egress->owed = owed;
}

/* What more it may be owed; 0 while it takes no turns. */
static uint32_t room_of(const struct egress *egress)
{
    if (!egress_takes_turns(egress)) {
        return 0;
    }
    uint64_t used = (uint64_t)egress->window.hot + (uint32_t)MAX_OF(egress->owed, 0);
    uint32_t window = egress_window(egress);
    return window > used ? window - (uint32_t)used : 0;
}

/* A ticket is this member's. False: not now; by a rate of selection, then at the earliest. */
static bool deal_to(struct egress *egress, uint64_t *until_out)
{
    uint64_t until_ns = 0;
    if (room_of(egress) == 0) {
        return false;
    }
    uint64_t now_ns = egress->delivery->shard->now_ns;
    if (rates_ready(&egress->limits.selects, now_ns, 1, &until_ns) == 0) {
        *until_out = *until_out == 0 ? until_ns : MIN_OF(*until_out, until_ns);
        return false;
    }
    rates_use(&egress->limits.selects, 1);
    owed_set(egress, egress->owed + 1);
    egress_kick(egress);
    return true;
}

/* What members are owed that take no turns goes back, and what is not due any more. */
static void take_back(struct egress_pool *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        struct egress *egress = pool->members[i];
        if (egress != NULL && egress->owed > 0 && !egress_takes_turns(egress)) {
            rates_refund(&egress->limits.selects, (uint32_t)egress->owed);
            owed_set(egress, 0);
        }
    }
    for (unsigned i = 0; i < pool->count && pool->dealt > pool->ready.due; i++) {
        struct egress *egress = pool->members[i];
        if (egress != NULL && egress->owed > 0) {
            uint32_t cut = MIN_OF((uint32_t)egress->owed, pool->dealt - pool->ready.due);
            rates_refund(&egress->limits.selects, cut);
            owed_set(egress, egress->owed - (int32_t)cut);
        }
    }
}

/* Why the next one cannot be dealt; none: to somebody it can. */
static enum hold_reason refusal_of(const struct egress_pool *pool, bool *room_out)
{
    bool turns = false;
    *room_out = false;
    for (unsigned i = 0; i < pool->count && !*room_out; i++) {
        const struct egress *egress = pool->members[i];
        turns |= egress != NULL && egress_takes_turns(egress);
        *room_out = egress != NULL && room_of(egress) > 0;
    }
    return turns ? HOLD_none : HOLD_no_source;
}

static void deal_run(struct deferred *deferred)
{
    struct egress_pool *pool = CONTAINER_OF(deferred, struct egress_pool, deal);
    bool room = false;
    uint64_t until_ns = 0;
    unsigned drawn = 0;
    uint32_t unclaimed = 0;
    if (pool->options == NULL || pool->delivery->stopping || !cell_set_whole(&pool->set)) {
        return;
    }
    take_back(pool);
    pool->refusal = refusal_of(pool, &room);
    while (room && pool->dealt < pool->ready.due && unclaimed < pool->options->turn_count &&
           drawn < DRAWS_MAX) {
        uint64_t ticket = cell_draw(cell_set_at(&pool->set, 0));
        unsigned turn = pool->options->turns[ticket % pool->options->turn_count];
        unclaimed = deal_to(pool->members[turn], &until_ns) ? 0 : unclaimed + 1;
        drawn++;
    }
    if (drawn == DRAWS_MAX) {
        shard_defer(pool->delivery->shard, &pool->deal);
    } else if (pool->dealt < pool->ready.due && until_ns > 0) {
        uint64_t now_ns = pool->delivery->shard->now_ns;
        shard_timer_set(pool->delivery->shard, &pool->timer, until_ns - MIN_OF(until_ns, now_ns));
        pool->refusal = HOLD_source_rate;
    }
    pool->refused_until_ns = pool->refusal == HOLD_source_rate ? until_ns : 0;
    egress_pool_judge(pool, NULL);
}

static void pool_fire(struct timer *timer)
{
    egress_pool_kick(CONTAINER_OF(timer, struct egress_pool, timer));
}

void egress_pool_look(const struct egress *egress)
{
    struct egress_pool *pool = egress->pool;
    bool lost = egress->owed > 0 && !egress_takes_turns(egress);
    if (pool->dealing && (lost || pool->ready.due > pool->dealt)) {
        shard_defer(pool->delivery->shard, &pool->deal);
    }
}

uint32_t egress_pool_share(const struct egress *egress)
{
    const struct egress_pool *pool = egress->pool;
    if (!pool->dealing) {
        return pool->ready.due;
    }
    return MIN_OF((uint32_t)MAX_OF(egress->owed, 0), pool->ready.due);
}

void egress_pool_taken(struct egress *egress, uint32_t count)
{
    if (egress->pool->dealing) {
        owed_set(egress, egress->owed - (int32_t)count);
    }
}

void egress_pool_returned(struct egress *egress, uint32_t count)
{
    if (egress->pool->dealing) {
        owed_set(egress, egress->owed + (int32_t)count);
    }
}

void egress_deal_init(struct egress_pool *pool)
{
    deferred_init(&pool->deal, deal_run);
    timer_init(&pool->timer, pool_fire);
}
