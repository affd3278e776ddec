/*
 * Did something happen N times within a period? In constant memory, for any N and period.
 *
 *   N ≤ 16   exact: the times of the last N are kept
 *   above    counted in 32 spans of a 31st of the period each. None is missed that the period
 *            asks for; what counts may be older than the period, by a 31st of it at most
 *
 * Events may come out of order: those older than all that is kept count no more. The period ends
 * with the newest event, so a clock plays no part. Pure; zeroed memory is a new window.
 */
#ifndef RINGPOST_TSA_WINDOW_H
#define RINGPOST_TSA_WINDOW_H

#include "core/base.h"

#define WINDOW_EXACT_MAX 16u
#define WINDOW_SPANS     32u

struct window {
    uint64_t newest_ns; /* event; 0: none yet */
    union {
        uint64_t times[WINDOW_EXACT_MAX]; /* newest first; 0: none */
        uint32_t spans[WINDOW_SPANS];     /* number n of time at index n mod WINDOW_SPANS */
    } as;
};

/* One more, at `event_ns` (> 0). True: there were `count` (≥ 1) of them within `period_ns`. A
 * window is for one count and one period ever. */
bool window_add(struct window *window, uint64_t event_ns, uint32_t count, uint64_t period_ns);

#endif
