/*
 * Dealing: what is due in an egress pool goes to its members by their turns; see egress_pool.h.
 */
#include "smtp/egress.h"

#include <string.h>

#include "core/check.h"
#include "smtp/admin_local.h"
#include "smtp/egress_source.h"

/* Tickets in one turn: what nobody takes of a long cycle waits for the next. */
#define DRAWS_MAX 4096

static void owed_set(struct egress *egress, int32_t owed)
{
    struct egress_pool *pool = egress->pool;
    pool->dealt -= (uint32_t)MAX_OF(egress->owed, 0);
    pool->dealt += (uint32_t)MAX_OF(owed, 0);
    egress->owed = owed;
    egress->unpaid = MIN_OF(egress->unpaid, (uint32_t)MAX_OF(owed, 0));
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

/* By an operator, or a rule. */
static bool is_suspended(const struct egress_pool *pool, unsigned member)
{
    uint8_t memory[EGRESS_NAME_BYTES_MAX];
    struct buf name;
    if (pool->delivery->admin.table == NULL) {
        return false;
    }
    buf_init(&name, memory, sizeof(memory));
    egress_pool_member_name(pool, member, &name);
    return admin_local_entry_ready(pool->delivery, buf_slice(&name)) != NULL;
}

/* Has a member that has no egress its turns? */
static bool is_open(const struct egress_pool *pool, unsigned member)
{
    const struct pool_member *one = &pool->options->members[member];
    const struct egress_hosts *hosts = &pool->hosts;
    return one->weight > 0 &&
           (hosts->nowhere.code != 0 || egress_hosts_reach(hosts, &one->source->address) != 0) &&
           !egress_source_is_out(pool->delivery, &one->source->address) &&
           !is_suspended(pool, member);
}

/* What is still to be known when the tickets of one turn have been dealt. */
struct dealing {
    uint64_t until_ns; /* when a rate of selection allows the next; 0: none is waited for */
    bool poor;         /* there was no memory for somebody */
};

/* A ticket is this member's, who has no egress. Null: that is all, and `*dealt_out` says whether it
 * has counted. */
static struct egress *deal_first(struct egress_pool *pool, unsigned member,
                                 struct dealing *dealing, bool *dealt_out)
{
    *dealt_out = false;
    if (!is_open(pool, member)) {
        return NULL;
    }
    if (pool->debts[member] < 0) {
        pool->debts[member]++;
        *dealt_out = true;
        return NULL;
    }
    struct egress *egress = egress_pool_fill(pool, member);
    dealing->poor |= egress == NULL;
    return egress;
}

/* A ticket is this member's. False: not now. */
static bool deal_to(struct egress_pool *pool, unsigned member, struct dealing *dealing)
{
    struct egress *egress = pool->members[member];
    uint64_t until_ns = 0;
    bool dealt;
    if (egress == NULL && (egress = deal_first(pool, member, dealing, &dealt)) == NULL) {
        return dealt;
    }
    if (room_of(egress) == 0) {
        return false;
    }
    uint64_t now_ns = egress->delivery->shard->now_ns;
    if (!cell_set_whole(&egress->limits.set)) {
        egress->unpaid++;
    } else if (rates_ready(&egress->limits.selects, now_ns, 1, &until_ns) == 0) {
        dealing->until_ns =
            dealing->until_ns == 0 ? until_ns : MIN_OF(dealing->until_ns, until_ns);
        return false;
    } else {
        rates_use(&egress->limits.selects, 1);
    }
    owed_set(egress, egress->owed + 1);
    egress_kick(egress);
    return true;
}

void egress_pool_part(struct egress *egress)
{
    struct egress_pool *pool = egress->pool;
    if (egress->owed > 0) {
        rates_refund(&egress->limits.selects, (uint32_t)egress->owed - egress->unpaid);
        owed_set(egress, 0); /* it is due no more */
    }
    CHECK(egress->owed >= INT8_MIN);
    pool->members[egress->member] = NULL;
    pool->debts[egress->member] = (int8_t)egress->owed;
    pool->moving -= egress->moves;
    if (egress->refusal_bytes > 0) {
        memcpy(pool->word, egress->refusal, egress->refusal_bytes);
        pool->word_bytes = egress->refusal_bytes;
        pool->word_member = egress->member;
    }
    egress_pool_judge(pool, NULL);
}

void egress_pool_pay(struct egress *egress)
{
    struct rates *selects = &egress->limits.selects;
    uint32_t unpaid = egress->unpaid;
    uint32_t ready = unpaid;
    uint64_t until_ns;
    egress->unpaid = 0;
    while (unpaid > 0 && ready > 0) {
        ready = rates_ready(selects, egress->delivery->shard->now_ns, unpaid, &until_ns);
        rates_use(selects, ready);
        unpaid -= ready;
    }
    if (unpaid > 0) {
        owed_set(egress, egress->owed - (int32_t)unpaid);
    }
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
        bool takes = egress != NULL ? egress_takes_turns(egress) : is_open(pool, i);
        turns |= takes;
        *room_out = takes && (egress == NULL || room_of(egress) > 0);
    }
    return turns ? HOLD_none : HOLD_no_source;
}

/* The registry may have had no room for them. */
static void tickets_ask(struct egress_pool *pool)
{
    if (pool->set.in_flight == 0) {
        cell_set_ask(&pool->set);
    }
}

static void deal_run(struct deferred *deferred)
{
    struct egress_pool *pool = CONTAINER_OF(deferred, struct egress_pool, deal);
    struct shard *shard = pool->delivery->shard;
    struct dealing dealing = {0};
    bool room = false;
    unsigned drawn = 0;
    uint32_t unclaimed = 0;
    if (pool->ready.queues == 0 && pool->open == 0) {
        egress_pool_join(pool);
        return;
    }
    if (!pool->dealing || pool->options == NULL || pool->delivery->stopping) {
        return;
    }
    if (!cell_set_whole(&pool->set)) {
        tickets_ask(pool);
        return;
    }
    take_back(pool);
    pool->refusal = refusal_of(pool, &room);
    while (room && pool->dealt < pool->ready.due && unclaimed < pool->options->turn_count &&
           drawn < DRAWS_MAX) {
        uint64_t ticket = cell_draw(cell_set_at(&pool->set, 0));
        unsigned turn = pool->options->turns[ticket % pool->options->turn_count];
        unclaimed = deal_to(pool, turn, &dealing) ? 0 : unclaimed + 1;
        drawn++;
    }
    if (drawn == DRAWS_MAX) {
        shard_defer(shard, &pool->deal);
    } else if (pool->dealt < pool->ready.due && dealing.until_ns > 0) {
        uint64_t until_ns = dealing.until_ns;
        shard_timer_set(shard, &pool->timer, until_ns - MIN_OF(until_ns, shard->now_ns));
        pool->refusal = HOLD_source_rate;
    } else if (pool->dealt < pool->ready.due && dealing.poor) {
        shard_timer_set(shard, &pool->timer, EGRESS_AGAIN_NS);
        pool->refusal = HOLD_memory;
    }
    pool->refused_until_ns = pool->refusal == HOLD_source_rate ? dealing.until_ns : 0;
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
        return egress->leaves ? 0 : pool->ready.due;
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
