/* Whether something that was sampled over time grows without end. Pure. */
#ifndef RINGPOST_BENCH_LEVELS_H
#define RINGPOST_BENCH_LEVELS_H

#include "core/base.h"

/* Growth that still counts as level, of the mean of the last third over that of the middle one. */
struct level_rule {
    double share; /* 0.05: five parts of a hundred */
    double slack; /* or so much, in the unit of the values */
};

/* Unknown values (NAN) are left out; what nothing is known of is NAN. */
struct level {
    double first; /* means of the three thirds of the samples */
    double middle;
    double last;
    double per_hour; /* slope of a line through the last half */
    bool known;      /* there are values in the middle and the last third */
    bool level;
};

/* `values` belong to `seconds`, both by `count`, in order of time. */
struct level level_of(const double *seconds, const double *values, unsigned count,
                      const struct level_rule *rule);

#endif
