/*
 * Hierarchical timer wheel for connections: ticks of 8 ms, four levels of 64 slots (37 hours),
 * later deadlines wait in the last level and are placed again. Re-arming is lazy: a later deadline
 * only changes the stored time, the node moves when it comes up early. O(1) set and clear. Pure:
 * the caller passes the time. One owner.
 */
#ifndef RINGPOST_CORE_WHEEL_H
#define RINGPOST_CORE_WHEEL_H

#include "core/base.h"
#include "core/list.h"

#define WHEEL_TICK_NS (8 * NS_PER_MS)
#define WHEEL_LEVELS  4
#define WHEEL_SLOTS   64

struct timer;
typedef void timer_fire(struct timer *timer);

struct timer {
    struct list link;
    timer_fire *fire;
    uint64_t due_ns;    /* 0 = not set */
    uint64_t placed_ns; /* the time for which the node stands in its slot */
};

struct wheel {
    uint64_t tick; /* last tick that has been run */
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t occupied[WHEEL_LEVELS]; /* bit per slot: may hold a node */
    size_t count;
};

void wheel_init(struct wheel *wheel, uint64_t now_ns);
void timer_init(struct timer *timer, timer_fire *fire);
bool timer_is_set(const struct timer *timer);
/* Fires at the first wheel_run with now >= due_ns, at most one tick late. Sets again if set. */
void timer_set(struct wheel *wheel, struct timer *timer, uint64_t due_ns);
void timer_clear(struct wheel *wheel, struct timer *timer);
/* Fires what is due; a timer is cleared before its callback, which may set or clear any timer. */
unsigned wheel_run(struct wheel *wheel, uint64_t now_ns);
/* When wheel_run has to be called next; UINT64_MAX: nothing is set. May be early, never late. */
uint64_t wheel_next_ns(const struct wheel *wheel);

#endif
