#include "shard/queue/slots.h"

#include <string.h>

#include "core/check.h"

#define FLAG_WORDS ((SHARDS_MAX + 63) / 64)
#define NOBODY     UINT32_MAX
/* How far a waiting user is put in order by its limit: those of one cell hardly ever differ. */
#define ORDER_MAX  64
/* Users of one shard that a recall asks. */
#define ASKED_MAX  64

/* A shard's part of a cell. */
struct slot_shard {
    _Alignas(64) _Atomic uint32_t held; /* written by the shard, read by all, like the next two */
    _Atomic uint32_t demand;
    _Atomic uint32_t limit;             /* of the first in line */
    struct slots *slots;
    unsigned index;                     /* of the shard */
    bool flagged;                       /* its flag is up, or the ticket is on its way */
    bool recalling;                     /* the recall is on its way */
    bool recall_again;                  /* and has begun before the flag was raised */
    uint8_t class;                      /* of the flag */
    struct mail ticket;
    struct mail recall;
    struct slot_cargo *cargo;           /* goes with the ticket */
    struct list line[SLOT_CLASSES];     /* slot_user that wait */
    struct list spares;                 /* slot_user that have something to give up */
};

struct slots {
    _Alignas(64) _Atomic uint64_t flags[SLOT_CLASSES][FLAG_WORDS];
    struct cell *cell;
    unsigned shards;
    struct slot_shard of[];
};

static void ticket_arrive(struct shard *receiver, struct mail *mail);
static void recall_arrive(struct shard *receiver, struct mail *mail);

uint64_t slots_memory(unsigned shards)
{
    return sizeof(struct slots) + shards * sizeof(struct slot_shard);
}

void slots_init(struct slots *slots, struct cell *cell, unsigned shards)
{
    memset(slots, 0, slots_memory(shards));
    slots->cell = cell;
    slots->shards = shards;
    for (unsigned i = 0; i < shards; i++) {
        struct slot_shard *part = &slots->of[i];
        part->slots = slots;
        part->index = i;
        part->ticket.arrive = ticket_arrive;
        part->recall.arrive = recall_arrive;
        list_init(&part->line[SLOT_BULK]);
        list_init(&part->line[SLOT_URGENT]);
        list_init(&part->spares);
    }
}

static struct slot_shard *part_of(const struct slot_user *user)
{
    return &user->cell->slots->of[user->shard->index];
}

/* --- flags ------------------------------------------------------------------------------------ */

static bool flag_is_up(const struct slots *slots, enum slot_class class, unsigned index)
{
    uint64_t word = atomic_load_explicit(&slots->flags[class][index / 64], memory_order_seq_cst);
    return (word >> index % 64 & 1) != 0;
}

static void flag_raise(struct slots *slots, enum slot_class class, unsigned index)
{
    atomic_fetch_or_explicit(&slots->flags[class][index / 64], 1ull << index % 64,
                             memory_order_seq_cst);
}

/* False: somebody has taken it down, and that shard's ticket is on its way. */
static bool flag_take(struct slots *slots, enum slot_class class, unsigned index)
{
    uint64_t bit = 1ull << index % 64;
    uint64_t before = atomic_fetch_and_explicit(&slots->flags[class][index / 64], ~bit,
                                                memory_order_seq_cst);
    return (before & bit) != 0;
}

/* Flags of a class; that of shard `except` does not count. */
static bool any_flag(const struct slots *slots, enum slot_class class, unsigned except)
{
    for (unsigned i = 0; i * 64 < slots->shards; i++) {
        uint64_t word = atomic_load_explicit(&slots->flags[class][i], memory_order_seq_cst);
        if (except / 64 == i) {
            word &= ~(1ull << except % 64);
        }
        if (word != 0) {
            return true;
        }
    }
    return false;
}

/* --- whose turn it is ------------------------------------------------------------------------- */

static uint64_t demand_of_all(const struct slots *slots)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < slots->shards; i++) {
        sum += atomic_load_explicit(&slots->of[i].demand, memory_order_relaxed);
    }
    return sum;
}

static uint32_t limit_of(const struct slots *slots, unsigned index)
{
    return atomic_load_explicit(&slots->of[index].limit, memory_order_relaxed);
}

static uint32_t used_of(const struct slots *slots)
{
    return atomic_load_explicit(&slots->cell->used, memory_order_relaxed);
}

/* Has this shard less than its quota? */
static bool is_below(const struct slots *slots, unsigned index, uint64_t sum)
{
    uint64_t held = atomic_load_explicit(&slots->of[index].held, memory_order_relaxed);
    uint64_t demand = atomic_load_explicit(&slots->of[index].demand, memory_order_relaxed);
    return held * sum < limit_of(slots, index) * demand;
}

/*
 * The shard after `from` in the ring that a slot in hand goes to; at last `from` itself, unless
 * others alone may have it. NOBODY waits, or may have it.
 */
static unsigned pick(const struct slots *slots, enum slot_class class, unsigned from, bool others)
{
    if (!any_flag(slots, class, NOBODY)) {
        return NOBODY;
    }
    uint64_t sum = demand_of_all(slots);
    unsigned other = NOBODY;
    unsigned steps = slots->shards - others;
    for (unsigned step = 1; step <= steps; step++) {
        unsigned index = (from + step) % slots->shards;
        if (!flag_is_up(slots, class, index) || used_of(slots) > limit_of(slots, index)) {
            continue;
        }
        if (is_below(slots, index, sum)) {
            return index;
        }
        other = other == NOBODY ? index : other;
    }
    return other;
}

/* A slot in hand, with cargo or null, goes to whoever waits; false: to nobody. */
static bool hand_over(struct slots *slots, struct shard *shard, struct slot_cargo *cargo)
{
    for (unsigned class = SLOT_CLASSES; class-- > 0;) {
        unsigned to = pick(slots, class, shard->index, cargo != NULL);
        while (to != NOBODY) {
            if (flag_take(slots, class, to)) {
                slots->of[to].cargo = cargo;
                shard_send(shard, to, &slots->of[to].ticket);
                return true;
            }
            to = pick(slots, class, shard->index, cargo != NULL);
        }
    }
    return false;
}

/* The highest limit of those who wait; 0: nobody. */
static uint32_t limit_of_waiting(const struct slots *slots)
{
    uint32_t limit = 0;
    for (unsigned class = 0; class < SLOT_CLASSES; class++) {
        if (!any_flag(slots, class, NOBODY)) {
            continue;
        }
        for (unsigned i = 0; i < slots->shards; i++) {
            limit = flag_is_up(slots, class, i) ? MAX_OF(limit, limit_of(slots, i)) : limit;
        }
    }
    return limit;
}

/* A slot in hand: to whoever waits, or back to the count. */
static void release(struct slots *slots, struct shard *shard)
{
    bool in_hand = true;
    while (in_hand && !hand_over(slots, shard, NULL)) {
        cell_give(slots->cell);
        /* Who has raised a flag since we looked may have found the count full. */
        uint32_t limit = limit_of_waiting(slots);
        in_hand = limit > 0 && cell_take(slots->cell, limit);
    }
}

/* --- recall ----------------------------------------------------------------------------------- */

/* Somebody on this shard gives up what it does not use. */
static bool ask_spares(struct slot_shard *part)
{
    unsigned asked = 0;
    struct list *link = part->spares.next;
    while (link != &part->spares && asked++ < ASKED_MAX) {
        struct slot_user *user = CONTAINER_OF(link, struct slot_user, spare);
        link = link->next;
        if (user->asked(user)) {
            return true;
        }
    }
    return false;
}

static bool anybody_waits(const struct slots *slots)
{
    return any_flag(slots, SLOT_URGENT, NOBODY) || any_flag(slots, SLOT_BULK, NOBODY);
}

/* The next holder after this shard, or home. */
static unsigned recall_next(const struct slot_shard *owner, unsigned from)
{
    const struct slots *slots = owner->slots;
    unsigned to = (from + 1) % slots->shards;
    while (to != owner->index &&
           atomic_load_explicit(&slots->of[to].held, memory_order_relaxed) == 0) {
        to = (to + 1) % slots->shards;
    }
    return to;
}

static void recall_begin(struct slot_shard *part, struct shard *shard)
{
    unsigned to = recall_next(part, part->index);
    if (part->recalling) {
        part->recall_again = true;
    } else if (!ask_spares(part) && to != part->index) {
        part->recalling = true;
        shard_send(shard, to, &part->recall);
    }
}

static void recall_arrive(struct shard *receiver, struct mail *mail)
{
    struct slot_shard *owner = CONTAINER_OF(mail, struct slot_shard, recall);
    struct slots *slots = owner->slots;
    if (receiver->index != owner->index) {
        bool over = !anybody_waits(slots) || ask_spares(&slots->of[receiver->index]);
        shard_send(receiver, over ? owner->index : recall_next(owner, receiver->index), mail);
        return;
    }
    bool again = owner->recall_again && owner->flagged;
    owner->recalling = false;
    owner->recall_again = false;
    if (again) {
        recall_begin(owner, receiver);
    }
}

/* --- cargo ------------------------------------------------------------------------------------ */

static void held_add(struct slot_user *user, int change)
{
    struct slot_shard *part = part_of(user);
    uint32_t held = atomic_load_explicit(&part->held, memory_order_relaxed);
    user->held += (uint32_t)change;
    atomic_store_explicit(&part->held, held + (uint32_t)change, memory_order_relaxed);
}

static void cargo_home(struct shard *receiver, struct mail *mail)
{
    struct slot_cargo *cargo = CONTAINER_OF(mail, struct slot_cargo, mail);
    CHECK(receiver->index == cargo->from);
    if (!cargo->taken) {
        held_add(cargo->giver, 1);
    }
    cargo->home(cargo);
}

static void cargo_return(struct slot_cargo *cargo, struct shard *shard, bool taken)
{
    cargo->taken = taken;
    cargo->mail.arrive = cargo_home;
    shard_send(shard, cargo->from, &cargo->mail);
}

/* A slot in hand that is not wanted here, with its cargo if there is one. */
static void pass_on(struct slots *slots, struct shard *shard, struct slot_cargo *cargo)
{
    if (cargo == NULL) {
        release(slots, shard);
    } else if (!hand_over(slots, shard, cargo)) {
        cargo_return(cargo, shard, false);
    }
}

/* --- the line --------------------------------------------------------------------------------- */

static struct slot_user *line_first(const struct slot_shard *part)
{
    for (unsigned class = SLOT_CLASSES; class-- > 0;) {
        if (!list_empty(&part->line[class])) {
            return CONTAINER_OF(part->line[class].next, struct slot_user, waiting);
        }
    }
    return NULL;
}

/* Makes our flag say what the line says. True: a slot was free after all, and is in hand. */
static bool line_flag(struct slot_shard *part, struct shard *shard)
{
    struct slots *slots = part->slots;
    const struct slot_user *first = line_first(part);
    if (part->flagged) {
        bool right = first != NULL && first->class == part->class &&
                     first->limit == limit_of(slots, part->index);
        if (right || !flag_take(slots, part->class, part->index)) {
            return false;
        }
        part->flagged = false;
    }
    if (first == NULL) {
        return false;
    }
    part->class = first->class;
    part->flagged = true;
    atomic_store_explicit(&part->limit, first->limit, memory_order_relaxed);
    flag_raise(slots, part->class, part->index);
    if (!cell_take(slots->cell, first->limit)) {
        recall_begin(part, shard);
        return false;
    }
    /* A ticket may be on its way as well: then the flag has been taken, and it comes. */
    part->flagged = !flag_take(slots, part->class, part->index);
    return true;
}

/* A slot in hand: kept for the first in line, if its limit is not passed. */
static void line_serve(struct slot_shard *part, struct shard *shard, struct slot_cargo *cargo)
{
    struct slot_user *user = line_first(part);
    if (user == NULL || used_of(part->slots) > user->limit) {
        pass_on(part->slots, shard, cargo);
        return;
    }
    list_remove(&user->waiting);
    user->kept = true;
    user->cargo = cargo;
    user->since_ns = shard->now_ns;
    held_add(user, 1);
    user->granted(user);
}

static void line_run(struct slot_shard *part, struct shard *shard)
{
    while (line_flag(part, shard)) {
        line_serve(part, shard, NULL);
    }
}

static void ticket_arrive(struct shard *receiver, struct mail *mail)
{
    struct slot_shard *part = CONTAINER_OF(mail, struct slot_shard, ticket);
    CHECK(part->index == receiver->index && part->flagged);
    struct slot_cargo *cargo = part->cargo;
    part->flagged = false;
    line_serve(part, receiver, cargo);
    line_run(part, receiver);
}

/* --- users ------------------------------------------------------------------------------------ */

void slot_user_init(struct slot_user *user, struct shard *shard, struct cell *cell)
{
    CHECK(cell->slots != NULL);
    user->cell = cell;
    user->shard = shard;
    list_init(&user->waiting);
    list_init(&user->spare);
    user->demand = 0;
    user->held = 0;
    user->since_ns = 0;
    user->kept = false;
    user->cargo = NULL;
    user->class = SLOT_BULK;
}

bool slot_take(struct slot_user *user)
{
    CHECK(user->cargo == NULL);
    if (user->kept) {
        user->kept = false;
        return true;
    }
    /* Said before it is taken: whoever finds the count full finds all holders. */
    held_add(user, 1);
    if (!cell_take(user->cell, user->limit)) {
        held_add(user, -1);
        return false;
    }
    user->since_ns = user->shard->now_ns;
    return true;
}

static void tell_demand(struct slot_user *user, uint32_t demand)
{
    struct slot_shard *part = part_of(user);
    if (demand != user->demand) {
        uint32_t sum = atomic_load_explicit(&part->demand, memory_order_relaxed);
        atomic_store_explicit(&part->demand, sum + demand - user->demand, memory_order_relaxed);
        user->demand = demand;
    }
}

/* A slot is its user's no longer. */
static void leave(struct slot_user *user)
{
    CHECK(user->held > 0);
    held_add(user, -1);
    if (user->held == 0 && !list_linked(&user->waiting)) {
        tell_demand(user, 0);
    }
}

void slot_give(struct slot_user *user)
{
    leave(user);
    release(user->cell->slots, user->shard);
}

struct slot_cargo *slot_take_cargo(struct slot_user *user)
{
    struct slot_cargo *cargo = user->cargo;
    if (cargo != NULL) {
        user->cargo = NULL;
        user->kept = false;
    }
    return cargo;
}

void slot_unload(struct slot_user *user, struct slot_cargo *cargo, bool taken)
{
    if (!taken) {
        leave(user);
    }
    cargo_return(cargo, user->shard, taken);
}

bool slot_pass(struct slot_user *user, struct slot_cargo *cargo)
{
    cargo->giver = user;
    cargo->from = user->shard->index;
    if (!hand_over(user->cell->slots, user->shard, cargo)) {
        return false;
    }
    leave(user);
    return true;
}

void slot_follow(struct slot_user *user, bool comes)
{
    if (comes) {
        held_add(user, 1);
        user->since_ns = user->shard->now_ns;
    } else {
        leave(user);
    }
}

void slot_wait(struct slot_user *user, enum slot_class class, uint32_t demand)
{
    struct slot_shard *part = part_of(user);
    CHECK(demand > 0);
    tell_demand(user, demand);
    if (user->kept || (list_linked(&user->waiting) && user->class == class)) {
        return;
    }
    list_remove(&user->waiting);
    user->class = (uint8_t)class;
    struct list *line = &part->line[class];
    struct list *after = line->prev;
    for (unsigned i = 0; i < ORDER_MAX && after != line &&
                         CONTAINER_OF(after, struct slot_user, waiting)->limit < user->limit;
         i++) {
        after = after->prev;
    }
    list_insert_after(after, &user->waiting);
    line_run(part, user->shard);
}

void slot_rest(struct slot_user *user)
{
    if (list_linked(&user->waiting)) {
        list_remove(&user->waiting);
        line_run(part_of(user), user->shard);
    }
    if (user->kept) {
        struct slot_cargo *cargo = user->cargo;
        user->kept = false;
        user->cargo = NULL;
        leave(user);
        pass_on(user->cell->slots, user->shard, cargo);
    } else if (user->held == 0) {
        tell_demand(user, 0);
    }
}

void slot_spare(struct slot_user *user, bool spare)
{
    if (spare == list_linked(&user->spare)) {
        return;
    }
    if (spare) {
        list_push_back(&part_of(user)->spares, &user->spare);
    } else {
        list_remove(&user->spare);
    }
}

/* Does anybody else wait in this class, whom a slot of ours would serve? */
static bool others_wait(const struct slot_user *user, enum slot_class class)
{
    const struct slots *slots = user->cell->slots;
    const struct slot_shard *part = part_of(user);
    const struct list *line = &part->line[class];
    const struct list *first = line->next;
    if (first != line && (first != &user->waiting || first->next != line)) {
        return true;
    }
    if (!any_flag(slots, class, part->index)) {
        return false;
    }
    for (unsigned i = 0; i < slots->shards; i++) {
        if (i != part->index && flag_is_up(slots, class, i) &&
            used_of(slots) <= limit_of(slots, i)) {
            return true;
        }
    }
    return false;
}

bool slot_must_yield(struct slot_user *user, enum slot_class class, uint32_t demand)
{
    bool urgent = others_wait(user, SLOT_URGENT);
    if (!urgent && !others_wait(user, SLOT_BULK)) {
        return false;
    }
    tell_demand(user, demand);
    if (demand == 0 || (urgent && class != SLOT_URGENT)) {
        return true;
    }
    uint64_t sum = demand_of_all(user->cell->slots);
    uint64_t quota = (uint64_t)user->limit * demand; /* both sides times the sum */
    if (user->held * sum <= quota) {
        return false;
    }
    return (user->held - 1) * sum >= quota ||
           user->shard->now_ns - user->since_ns >= SLOT_QUANTUM_NS;
}

bool slot_mail_out(const struct slot_user *user)
{
    const struct slot_shard *part = part_of(user);
    return part->flagged || part->recalling;
}
