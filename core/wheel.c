/*
 * The level of a timer is that of the highest 6-bit group in which its tick differs from the
 * wheel's; its slot is that group of its tick. So a level holds only slots that lie ahead of the
 * wheel's own slot in the same turn of that level (the last level goes round), everything in a
 * level comes before everything in the next one, and the next thing to do is the first occupied
 * slot of the first level that has one. When the wheel arrives at a slot of a higher level, its
 * timers are placed again, further down.
 */
#include "core/wheel.h"

#include "core/check.h"

#include <assert.h>

#define SLOT_BITS  6
#define SLOT_MASK  (WHEEL_SLOTS - 1)
#define LAST_LEVEL (WHEEL_LEVELS - 1)
#define LAST_SHIFT (LAST_LEVEL * SLOT_BITS)

static_assert(WHEEL_SLOTS == 1 << SLOT_BITS, "a slot is one group of bits of the tick");

void wheel_init(struct wheel *wheel, uint64_t now_ns)
{
    *wheel = (struct wheel){.tick = now_ns / WHEEL_TICK_NS};
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++) {
            list_init(&wheel->slots[level][slot]);
        }
    }
}

void timer_init(struct timer *timer, timer_fire *fire)
{
    *timer = (struct timer){.fire = fire};
    list_init(&timer->link);
}

bool timer_is_set(const struct timer *timer)
{
    return timer->due_ns != 0;
}

/* The first tick that is not before `due_ns`. */
static uint64_t due_tick(uint64_t due_ns)
{
    return due_ns / WHEEL_TICK_NS + (due_ns % WHEEL_TICK_NS != 0);
}

static void timer_place(struct wheel *wheel, struct timer *timer)
{
    uint64_t tick = MAX_OF(due_tick(timer->due_ns), wheel->tick + 1);
    /* What lies beyond the last level waits in its furthest slot. */
    uint64_t furthest = (((wheel->tick >> LAST_SHIFT) + SLOT_MASK) << LAST_SHIFT);
    tick = MIN_OF(tick, furthest);
    unsigned level = LAST_LEVEL;
    while (level > 0 && tick >> (level * SLOT_BITS) == wheel->tick >> (level * SLOT_BITS)) {
        level--;
    }
    unsigned slot = (unsigned)(tick >> (level * SLOT_BITS)) & SLOT_MASK;
    timer->placed_ns = tick * WHEEL_TICK_NS;
    wheel->occupied[level] |= 1ull << slot;
    list_push_back(&wheel->slots[level][slot], &timer->link);
}

void timer_set(struct wheel *wheel, struct timer *timer, uint64_t due_ns)
{
    due_ns = MAX_OF(due_ns, 1); /* 0 says "not set" */
    if (timer_is_set(timer)) {
        timer->due_ns = due_ns;
        if (due_ns >= timer->placed_ns) {
            return;
        }
        list_remove(&timer->link);
    } else {
        timer->due_ns = due_ns;
        wheel->count++;
    }
    timer_place(wheel, timer);
}

void timer_clear(struct wheel *wheel, struct timer *timer)
{
    if (!timer_is_set(timer)) {
        return;
    }
    list_remove(&timer->link);
    timer->due_ns = 0;
    wheel->count--;
}

struct slot_ref {
    unsigned level;
    unsigned slot;
    uint64_t tick; /* at which the wheel arrives there */
};

/* The occupied slot that the wheel comes to first; false when there is none. */
static bool wheel_next_slot(const struct wheel *wheel, struct slot_ref *next_out)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t occupied = wheel->occupied[level];
        if (occupied == 0) {
            continue;
        }
        unsigned shift = level * SLOT_BITS;
        unsigned own = (unsigned)(wheel->tick >> shift) & SLOT_MASK;
        /* Rotated so that the slot after the wheel's own comes first; its own is never used. */
        unsigned turn = (own + 1) & SLOT_MASK;
        uint64_t ahead = turn == 0 ? occupied : occupied >> turn | occupied << (WHEEL_SLOTS - turn);
        unsigned distance = (unsigned)__builtin_ctzll(ahead) + 1;
        next_out->level = level;
        next_out->slot = (own + distance) & SLOT_MASK;
        next_out->tick = ((wheel->tick >> shift) + distance) << shift;
        return true;
    }
    return false;
}

uint64_t wheel_next_ns(const struct wheel *wheel)
{
    struct slot_ref next;
    if (wheel->count == 0 || !wheel_next_slot(wheel, &next)) {
        return UINT64_MAX;
    }
    return next.tick * WHEEL_TICK_NS;
}

/* Fires or places again every timer of one slot, at which the wheel has arrived. */
static unsigned wheel_empty_slot(struct wheel *wheel, const struct slot_ref *at)
{
    unsigned fired = 0;
    struct list here;
    list_init(&here);
    list_append_all(&here, &wheel->slots[at->level][at->slot]);
    wheel->occupied[at->level] &= ~(1ull << at->slot);
    for (struct list *node = list_pop_front(&here); node != NULL; node = list_pop_front(&here)) {
        struct timer *timer = CONTAINER_OF(node, struct timer, link);
        if (due_tick(timer->due_ns) > wheel->tick) {
            timer_place(wheel, timer);
            continue;
        }
        timer->due_ns = 0;
        wheel->count--;
        fired++;
        timer->fire(timer);
    }
    return fired;
}

unsigned wheel_run(struct wheel *wheel, uint64_t now_ns)
{
    uint64_t target = now_ns / WHEEL_TICK_NS;
    unsigned fired = 0;
    struct slot_ref next;
    while (wheel_next_slot(wheel, &next) && next.tick <= target) {
        CHECK_SLOW(next.tick > wheel->tick);
        wheel->tick = next.tick;
        fired += wheel_empty_slot(wheel, &next);
    }
    wheel->tick = MAX_OF(wheel->tick, target);
    return fired;
}
