/* The clocks of the kernel, in nanoseconds, for commands. */
#ifndef RINGPOST_TOOLS_CLOCK_H
#define RINGPOST_TOOLS_CLOCK_H

#include <time.h>

#include "core/base.h"

static inline uint64_t clock_read_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* The time of day. */
static inline uint64_t clock_wall_ns(void)
{
    return clock_read_ns(CLOCK_REALTIME);
}

/* Goes on evenly, whoever sets the time of day. */
static inline uint64_t clock_steady_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

#endif
