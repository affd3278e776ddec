#include "shard/queue/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/sim/shards.h"

#define SHARDS    4
#define REGISTRAR SHARDS
#define USERS_MAX 8

/* Four shards with users of one cell, and the registrar. */
struct stage {
    struct sim *sim;
    struct sim_shards shards;
    struct boot_pages pages;
    struct cell_registry registry;
    struct cell_request request;
    struct cell *cell;
    struct actor {
        struct slot_user slots;
        unsigned granted; /* times that it was told */
        unsigned asked;
        void (*meanwhile)(void); /* happens while it is asked */
        bool gives;       /* what it answers: and then it does, at the end of the turn */
        struct deferred giving;
        struct timer timer;
        unsigned wants;   /* slots, all in all */
        unsigned had;
        bool urgent;
    } actors[USERS_MAX];
    unsigned count;
    uint32_t limit;
};

static struct stage stage;

static void cell_came(struct cell_request *request)
{
    stage.cell = request->cell;
}

static void cell_went(struct cell_request *request)
{
    assert_null(request->cell);
}

static void run(void)
{
    assert_true(sim_run_for(stage.sim, NS_PER_S));
}

static int set_up(void **state)
{
    (void)state;
    const struct slice name = SLICE("site");
    stage = (struct stage){.sim = sim_open(&(struct sim_options){.seed = 1})};
    sim_shards_boot(&stage.shards, sim_node_open(stage.sim, NULL), SHARDS + 1, 16, 4096);
    cell_registry_init(&stage.registry, &stage.shards.shards[REGISTRAR], &stage.pages, 2);
    stage.request = (struct cell_request){
        .done = cell_came,
        .registry = &stage.registry,
        .key = cell_key_of(&name, 1),
        .kind = CELL_COUNT,
    };
    cell_ask(&stage.shards.shards[0], REGISTRAR, &stage.request);
    run();
    return stage.cell == NULL;
}

/* Every slot and every mail is home. */
static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i < stage.count; i++) {
        struct slot_user *user = &stage.actors[i].slots;
        slot_rest(user);
        while (user->held > 0) {
            slot_give(user);
        }
        slot_spare(user, false);
    }
    run();
    for (unsigned i = 0; i < stage.count; i++) {
        assert_int_equal(stage.actors[i].slots.held, 0);
        assert_int_equal(stage.actors[i].slots.demand, 0);
        assert_false(slot_mail_out(&stage.actors[i].slots));
    }
    assert_int_equal(stage.cell->used, 0);
    stage.request.done = cell_went;
    cell_return(&stage.shards.shards[0], REGISTRAR, &stage.request);
    run();
    assert_int_equal(stage.registry.slots.used, 0);
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

static void granted(struct slot_user *user)
{
    CONTAINER_OF(user, struct actor, slots)->granted++;
}

static void give_now(struct deferred *deferred)
{
    struct actor *actor = CONTAINER_OF(deferred, struct actor, giving);
    slot_give(&actor->slots);
}

static bool asked(struct slot_user *user)
{
    struct actor *actor = CONTAINER_OF(user, struct actor, slots);
    actor->asked++;
    if (actor->meanwhile != NULL) {
        actor->meanwhile();
    }
    if (actor->gives) {
        slot_spare(user, false);
        shard_defer(user->shard, &actor->giving);
    }
    return actor->gives;
}

/* One more user of the cell, on that shard. */
static struct slot_user *add(unsigned shard, uint32_t limit)
{
    struct actor *actor = &stage.actors[stage.count++];
    actor->slots.granted = granted;
    actor->slots.asked = asked;
    actor->slots.limit = limit;
    deferred_init(&actor->giving, give_now);
    slot_user_init(&actor->slots, &stage.shards.shards[shard], stage.cell);
    return &actor->slots;
}

static unsigned granted_of(const struct slot_user *user)
{
    return CONTAINER_OF(user, struct actor, slots)->granted;
}

static void a_slot_that_is_given_up_goes_to_who_waits_and_is_never_free(void **state)
{
    (void)state;
    struct slot_user *holder = add(0, 1);
    struct slot_user *waiter = add(1, 1);
    assert_true(slot_take(holder));
    assert_false(slot_take(waiter));
    slot_wait(waiter, SLOT_BULK, 1);
    run();
    assert_int_equal(granted_of(waiter), 0);
    slot_give(holder);
    assert_int_equal(stage.cell->used, 1);
    assert_false(slot_take(holder));
    run();
    assert_int_equal(granted_of(waiter), 1);
    assert_int_equal(waiter->held, 1);
    assert_false(slot_take(holder));
    assert_true(slot_take(waiter));
    assert_int_equal(stage.cell->used, 1);
}

static void who_begins_to_wait_when_a_slot_is_free_has_it_at_once(void **state)
{
    (void)state;
    struct slot_user *holder = add(0, 1);
    struct slot_user *waiter = add(1, 1);
    assert_true(slot_take(holder));
    assert_false(slot_take(waiter));
    slot_give(holder); /* in between */
    slot_wait(waiter, SLOT_BULK, 1);
    assert_int_equal(granted_of(waiter), 1);
    assert_true(slot_take(waiter));
    assert_false(slot_mail_out(waiter));
}

static void one_slot_wakes_one_of_those_who_wait_and_all_have_their_turn(void **state)
{
    (void)state;
    struct slot_user *users[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        users[i] = add(i, 1);
    }
    assert_true(slot_take(users[0]));
    for (unsigned i = 1; i < SHARDS; i++) {
        slot_wait(users[i], SLOT_BULK, 1);
    }
    for (unsigned round = 0; round < 3 * SHARDS; round++) {
        struct slot_user *holder = users[round % SHARDS];
        struct slot_user *next = users[(round + 1) % SHARDS];
        slot_give(holder);
        slot_wait(holder, SLOT_BULK, 1);
        run();
        unsigned all = 0;
        for (unsigned i = 0; i < SHARDS; i++) {
            all += granted_of(users[i]);
        }
        assert_int_equal(all, round + 1);
        assert_true(slot_take(next));
        assert_int_equal(stage.cell->used, 1);
    }
}

static void urgent_mail_has_the_next_slot_and_may_change_its_mind_while_it_waits(void **state)
{
    (void)state;
    struct slot_user *holder = add(0, 1);
    struct slot_user *bulk = add(1, 1);
    struct slot_user *urgent = add(3, 1);
    assert_true(slot_take(holder));
    slot_wait(bulk, SLOT_BULK, 1);
    slot_wait(urgent, SLOT_BULK, 1);
    slot_wait(urgent, SLOT_URGENT, 1);
    slot_give(holder);
    run();
    assert_int_equal(granted_of(urgent), 1);
    assert_int_equal(granted_of(bulk), 0);
    assert_true(slot_take(urgent));
    slot_wait(holder, SLOT_URGENT, 1);
    slot_wait(holder, SLOT_BULK, 1);
    slot_give(urgent); /* the holder is the next in the ring: both are bulk now */
    run();
    assert_int_equal(granted_of(holder), 1);
}

static void who_has_less_than_its_share_comes_before_who_has_more(void **state)
{
    (void)state;
    struct slot_user *holder = add(0, 3);
    struct slot_user *rich = add(1, 3);
    struct slot_user *poor = add(2, 3);
    assert_true(slot_take(holder));
    assert_true(slot_take(rich));
    assert_true(slot_take(rich));
    slot_wait(rich, SLOT_BULK, 100);
    slot_wait(poor, SLOT_BULK, 100);
    slot_give(holder);
    run();
    assert_int_equal(granted_of(poor), 1);
    assert_int_equal(granted_of(rich), 0);
}

static void users_of_one_shard_stand_in_one_line(void **state)
{
    (void)state;
    struct slot_user *first = add(1, 1);
    struct slot_user *second = add(1, 1);
    struct slot_user *third = add(1, 1);
    assert_true(slot_take(first));
    slot_wait(second, SLOT_BULK, 1);
    slot_wait(third, SLOT_URGENT, 1);
    assert_true(slot_must_yield(first, SLOT_BULK, 1)); /* to its neighbour */
    assert_false(slot_must_yield(third, SLOT_URGENT, 1));
    slot_give(first);
    run();
    assert_int_equal(granted_of(second), 0);
    assert_true(slot_take(third));
    slot_give(third);
    run();
    assert_true(slot_take(second));
}

static void who_waits_no_more_gets_nothing_and_what_is_on_its_way_goes_on(void **state)
{
    (void)state;
    struct slot_user *holder = add(0, 1);
    struct slot_user *waiter = add(1, 1);
    struct slot_user *next = add(2, 1);
    assert_true(slot_take(holder));
    slot_wait(waiter, SLOT_BULK, 1);
    slot_rest(waiter);
    slot_give(holder);
    assert_int_equal(stage.cell->used, 0);
    run();
    assert_int_equal(granted_of(waiter), 0);

    assert_true(slot_take(holder));
    slot_wait(waiter, SLOT_BULK, 1);
    slot_wait(next, SLOT_BULK, 1);
    slot_give(holder);
    slot_rest(waiter); /* its ticket has been sent */
    assert_true(slot_mail_out(waiter));
    run();
    assert_int_equal(granted_of(waiter), 0);
    assert_false(slot_mail_out(waiter));
    assert_int_equal(granted_of(next), 1);

    slot_wait(waiter, SLOT_BULK, 1);
    slot_rest(next); /* has it, and takes it not */
    run();
    assert_int_equal(granted_of(waiter), 1);
}

static void idle_holders_are_asked_in_turn_and_busy_ones_passed_over(void **state)
{
    (void)state;
    struct slot_user *waiter = add(0, 3);
    struct slot_user *busy = add(1, 3);
    struct slot_user *refuses = add(2, 3);
    struct slot_user *gives = add(3, 3);
    assert_true(slot_take(busy) && slot_take(refuses) && slot_take(gives));
    slot_spare(refuses, true);
    slot_spare(gives, true);
    stage.actors[3].gives = true;
    run();
    slot_wait(waiter, SLOT_BULK, 1);
    run();
    assert_int_equal(stage.actors[1].asked, 0);
    assert_int_equal(stage.actors[2].asked, 1);
    assert_int_equal(stage.actors[3].asked, 1);
    assert_true(slot_take(waiter));
    assert_int_equal(stage.cell->used, 3);
    /* Asked again when it waits again; nobody gives, and the mail comes home. */
    slot_wait(waiter, SLOT_BULK, 1);
    run();
    assert_int_equal(stage.actors[2].asked, 2);
    assert_int_equal(stage.actors[3].asked, 1);
    assert_int_equal(waiter->held, 1);
    slot_give(busy);
    run();
    assert_int_equal(waiter->held, 2);
}

/* The first holder was busy, and is idle now that nobody waits; then somebody waits again. */
static void early_holder_rests(void)
{
    stage.actors[2].meanwhile = NULL;
    slot_rest(&stage.actors[0].slots);
    slot_spare(&stage.actors[1].slots, true);
    stage.actors[1].gives = true;
    slot_wait(&stage.actors[0].slots, SLOT_BULK, 1);
}

static void a_wish_that_comes_while_holders_are_asked_is_asked_for_again(void **state)
{
    (void)state;
    struct slot_user *waiter = add(0, 2);
    struct slot_user *early = add(1, 2);
    struct slot_user *late = add(3, 2);
    assert_true(slot_take(early) && slot_take(late));
    slot_spare(late, true);
    stage.actors[2].meanwhile = early_holder_rests;
    slot_wait(waiter, SLOT_BULK, 1);
    run();
    assert_int_equal(stage.actors[1].asked, 1);
    assert_int_equal(granted_of(waiter), 1);
}

static void users_of_a_lower_limit_wait_for_theirs_and_hold_nobody_up(void **state)
{
    (void)state;
    struct slot_user *holder = add(0, 3);
    struct slot_user *low = add(1, 1);
    struct slot_user *high = add(2, 3);
    struct slot_user *behind = add(1, 3);
    assert_true(slot_take(holder) && slot_take(holder) && slot_take(holder));
    slot_wait(low, SLOT_BULK, 1);
    slot_wait(high, SLOT_BULK, 1);
    slot_wait(behind, SLOT_BULK, 1); /* on the shard of `low`, and before it */
    slot_give(holder);
    slot_give(holder);
    run();
    assert_int_equal(granted_of(low), 0);
    assert_int_equal(granted_of(high) + granted_of(behind), 2);
    slot_give(holder);
    slot_rest(high);
    run();
    assert_int_equal(granted_of(low), 0);
    slot_rest(behind);
    run();
    assert_int_equal(granted_of(low), 1);

    slot_rest(low);
    while (high->held > 0) {
        slot_give(high);
    }
    assert_true(slot_take(holder));
    unsigned before = granted_of(low);
    slot_wait(low, SLOT_BULK, 1);
    slot_give(holder);
    assert_true(slot_take(holder)); /* while the ticket is on its way */
    run();
    assert_int_equal(granted_of(low), before);
    assert_int_equal(stage.cell->used, 1);
}

static void above_its_quota_a_shard_yields_at_once_or_after_the_quantum(void **state)
{
    (void)state;
    enum verdict { KEEPS, LATER, NOW };
    static const struct {
        uint32_t limit;
        uint32_t held[3];   /* the first is judged, the last waits */
        uint32_t demand[3];
        enum slot_class mine;
        enum slot_class theirs;
        enum verdict verdict;
    } cases[] = {
        {4, {4, 0, 0}, {100, 0, 100}, SLOT_BULK, SLOT_BULK, NOW},
        {4, {3, 0, 1}, {100, 0, 100}, SLOT_BULK, SLOT_BULK, NOW},
        {4, {2, 0, 2}, {100, 0, 100}, SLOT_BULK, SLOT_BULK, KEEPS},
        {4, {1, 0, 3}, {100, 0, 100}, SLOT_BULK, SLOT_BULK, KEEPS},
        {4, {3, 0, 1}, {300, 0, 100}, SLOT_BULK, SLOT_BULK, KEEPS},
        {4, {4, 0, 0}, {300, 0, 100}, SLOT_BULK, SLOT_BULK, NOW},
        {3, {2, 0, 1}, {100, 0, 100}, SLOT_BULK, SLOT_BULK, LATER},
        {1, {1, 0, 0}, {100, 0, 100}, SLOT_BULK, SLOT_BULK, LATER},
        {2, {1, 1, 0}, {100, 100, 100}, SLOT_BULK, SLOT_BULK, LATER},
        {2, {2, 0, 0}, {1000, 0, 1}, SLOT_BULK, SLOT_BULK, LATER},
        {1, {1, 0, 0}, {0, 0, 1}, SLOT_BULK, SLOT_BULK, NOW},
        {4, {1, 0, 3}, {100, 0, 100}, SLOT_BULK, SLOT_URGENT, NOW},
        {4, {1, 0, 3}, {100, 0, 100}, SLOT_URGENT, SLOT_URGENT, KEEPS},
        {4, {4, 0, 0}, {100, 0, 100}, SLOT_URGENT, SLOT_BULK, NOW},
    };
    for (unsigned c = 0; c < COUNT_OF(cases); c++) {
        struct slot_user *users[3];
        stage.count = 0;
        for (unsigned i = 0; i < 3; i++) {
            stage.actors[i] = (struct actor){0};
            users[i] = add(i, cases[c].limit);
            for (unsigned k = 0; k < cases[c].held[i]; k++) {
                assert_true(slot_take(users[i]));
            }
        }
        assert_true(sim_run_for(stage.sim, 20 * NS_PER_MS));
        assert_false(slot_must_yield(users[0], SLOT_BULK, 100)); /* nobody waits */
        assert_int_equal(users[0]->demand, 0);                   /* … and nothing is told */
        slot_wait(users[2], cases[c].theirs, cases[c].demand[2]);
        bool other = slot_must_yield(users[1], cases[c].theirs, cases[c].demand[1]);
        assert_int_equal(other, cases[c].demand[1] == 0);
        bool now = slot_must_yield(users[0], cases[c].mine, cases[c].demand[0]);
        assert_true(sim_run_for(stage.sim, SLOT_QUANTUM_NS + 100 * NS_PER_MS));
        bool later = slot_must_yield(users[0], cases[c].mine, cases[c].demand[0]);
        if (now != (cases[c].verdict == NOW) || later != (cases[c].verdict != KEEPS)) {
            fail_msg("case %u: %d, %d", c, now, later);
        }
        for (unsigned i = 0; i < 3; i++) {
            slot_rest(users[i]);
        }
        for (unsigned i = 0; i < 3; i++) {
            while (users[i]->held > 0) {
                slot_give(users[i]);
            }
        }
        run();
        assert_int_equal(stage.cell->used, 0);
    }
}

/* --- cargo ------------------------------------------------------------------------------------ */

static struct parcel {
    struct slot_cargo cargo;
    unsigned home;
} parcel;

static void parcel_home(struct slot_cargo *cargo)
{
    CONTAINER_OF(cargo, struct parcel, cargo)->home++;
}

static void cargo_goes_with_the_slot_and_comes_home_taken(void **state)
{
    (void)state;
    struct slot_user *giver = add(0, 1);
    struct slot_user *waiter = add(1, 1);
    parcel = (struct parcel){.cargo.home = parcel_home};
    assert_true(slot_take(giver));
    assert_false(slot_pass(giver, &parcel.cargo)); /* nobody waits */
    assert_int_equal(giver->held, 1);
    slot_wait(waiter, SLOT_BULK, 1);
    assert_true(slot_pass(giver, &parcel.cargo));
    assert_int_equal(giver->held, 0);
    run();
    assert_int_equal(granted_of(waiter), 1);
    assert_int_equal(waiter->held, 1);
    assert_ptr_equal(slot_take_cargo(waiter), &parcel.cargo);
    assert_null(slot_take_cargo(waiter));
    slot_unload(waiter, &parcel.cargo, true);
    run();
    assert_int_equal(parcel.home, 1);
    assert_true(parcel.cargo.taken);
    assert_int_equal(giver->held, 0);
    assert_int_equal(waiter->held, 1);
    assert_int_equal(stage.cell->used, 1);
}

/* Refused by one who waits no more, and by one without room for it; each time a slot remains. */
static void cargo_that_nobody_takes_goes_on_to_the_next_and_then_home_with_its_slot(void **state)
{
    (void)state;
    struct slot_user *giver = add(0, 1);
    struct slot_user *first = add(1, 1);
    struct slot_user *second = add(2, 1);
    parcel = (struct parcel){.cargo.home = parcel_home};
    assert_true(slot_take(giver));
    slot_wait(first, SLOT_BULK, 1);
    slot_wait(second, SLOT_BULK, 1);
    assert_true(slot_pass(giver, &parcel.cargo));
    slot_rest(first); /* while it is on its way */
    run();
    assert_int_equal(granted_of(first), 0);
    assert_int_equal(granted_of(second), 1);
    slot_wait(first, SLOT_BULK, 1);
    slot_rest(second); /* has it, and takes it not */
    run();
    assert_int_equal(granted_of(first), 1);
    assert_ptr_equal(slot_take_cargo(first), &parcel.cargo);
    assert_int_equal(parcel.home, 0);
    slot_unload(first, &parcel.cargo, false);
    run();
    assert_int_equal(parcel.home, 1);
    assert_false(parcel.cargo.taken);
    assert_int_equal(first->held, 0);
    assert_int_equal(giver->held, 1);
    assert_int_equal(stage.cell->used, 1);
}

static void cargo_never_goes_to_its_own_shard(void **state)
{
    (void)state;
    struct slot_user *giver = add(0, 1);
    struct slot_user *neighbour = add(0, 1);
    parcel = (struct parcel){.cargo.home = parcel_home};
    assert_true(slot_take(giver));
    slot_wait(neighbour, SLOT_BULK, 1);
    assert_false(slot_pass(giver, &parcel.cargo));
    slot_give(giver);
    run();
    assert_true(slot_take(neighbour));
}

/* --- a crowd ---------------------------------------------------------------------------------- */

static void crowd_try(struct actor *actor);

static void crowd_granted(struct slot_user *user)
{
    struct actor *actor = CONTAINER_OF(user, struct actor, slots);
    actor->granted++;
    shard_defer(user->shard, &actor->giving);
}

static void crowd_run(struct deferred *deferred)
{
    crowd_try(CONTAINER_OF(deferred, struct actor, giving));
}

/* A transaction, or the pause after it, is over. */
static void crowd_fire(struct timer *timer)
{
    struct actor *actor = CONTAINER_OF(timer, struct actor, timer);
    if (actor->slots.held > actor->slots.kept) {
        bool over = actor->had >= actor->wants;
        if (over || sim_chance(stage.sim, 500) ||
            slot_must_yield(&actor->slots, actor->slots.class, 1)) {
            slot_spare(&actor->slots, false);
            slot_give(&actor->slots);
        } else {
            slot_spare(&actor->slots, sim_chance(stage.sim, 500));
        }
    }
    crowd_try(actor);
}

/* One that is idle for a while. */
static bool crowd_asked(struct slot_user *user)
{
    slot_spare(user, false);
    slot_give(user);
    return true;
}

static void crowd_try(struct actor *actor)
{
    struct slot_user *user = &actor->slots;
    if (sim_chance(stage.sim, 50)) {
        slot_rest(user); /* thinks better of it, for a while */
    } else if (actor->had >= actor->wants) {
        slot_rest(user);
        if (user->held == 0) {
            return;
        }
    } else if (user->held > user->kept) {
        actor->had++;
    } else if (slot_take(user)) {
        actor->had++;
    } else {
        actor->urgent = sim_chance(stage.sim, 300);
        slot_wait(user, actor->urgent ? SLOT_URGENT : SLOT_BULK, 1 + actor->urgent);
        if (!sim_chance(stage.sim, 100)) {
            return; /* woken when it has its slot, and by nothing else */
        }
    }
    shard_timer_set(user->shard, &actor->timer, sim_below(stage.sim, 20 * NS_PER_MS));
}

static bool crowd_done(void *context)
{
    (void)context;
    if (stage.cell->used > stage.limit) {
        sim_fail(stage.sim, "%u slots are used, the limit is %u", stage.cell->used, stage.limit);
    }
    for (unsigned i = 0; i < stage.count; i++) {
        if (stage.actors[i].had < stage.actors[i].wants) {
            return false;
        }
    }
    return true;
}

static void a_crowd_is_served_by_nothing_but_hand_overs(void **state)
{
    for (unsigned round = 0; round < 12; round++) {
        if (round > 0) {
            assert_int_equal(set_up(state), 0);
        }
        stage.limit = 1 + round % 3;
        for (unsigned i = 0; i < USERS_MAX; i++) {
            struct slot_user *user = add((unsigned)sim_below(stage.sim, SHARDS), stage.limit);
            user->granted = crowd_granted;
            user->asked = crowd_asked;
            stage.actors[i].wants = 100 + (unsigned)sim_below(stage.sim, 200);
            deferred_init(&stage.actors[i].giving, crowd_run);
            timer_init(&stage.actors[i].timer, crowd_fire);
            shard_timer_set(user->shard, &stage.actors[i].timer, 1 + round * NS_PER_MS);
        }
        if (!sim_run_until(stage.sim, crowd_done, NULL, 600 * NS_PER_S)) {
            for (unsigned i = 0; i < stage.count; i++) {
                const struct actor *actor = &stage.actors[i];
                print_error("%u: had %u of %u, holds %u\n", i, actor->had, actor->wants,
                            actor->slots.held);
            }
            fail_msg("round %u: somebody waits for ever: %s", round, sim_failure(stage.sim));
        }
        for (unsigned i = 0; i < stage.count; i++) {
            shard_timer_clear(stage.actors[i].slots.shard, &stage.actors[i].timer);
        }
        if (round < 11) {
            assert_int_equal(tear_down(state), 0);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_slot_that_is_given_up_goes_to_who_waits_and_is_never_free),
        TEST(who_begins_to_wait_when_a_slot_is_free_has_it_at_once),
        TEST(one_slot_wakes_one_of_those_who_wait_and_all_have_their_turn),
        TEST(urgent_mail_has_the_next_slot_and_may_change_its_mind_while_it_waits),
        TEST(who_has_less_than_its_share_comes_before_who_has_more),
        TEST(users_of_one_shard_stand_in_one_line),
        TEST(who_waits_no_more_gets_nothing_and_what_is_on_its_way_goes_on),
        TEST(idle_holders_are_asked_in_turn_and_busy_ones_passed_over),
        TEST(a_wish_that_comes_while_holders_are_asked_is_asked_for_again),
        TEST(users_of_a_lower_limit_wait_for_theirs_and_hold_nobody_up),
        TEST(above_its_quota_a_shard_yields_at_once_or_after_the_quantum),
        TEST(cargo_goes_with_the_slot_and_comes_home_taken),
        TEST(cargo_that_nobody_takes_goes_on_to_the_next_and_then_home_with_its_slot),
        TEST(cargo_never_goes_to_its_own_shard),
        TEST(a_crowd_is_served_by_nothing_but_hand_overs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
