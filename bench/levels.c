#include "bench/levels.h"

#include <math.h>

#define HOUR_S 3600.0

static double mean_of(const double *values, unsigned from, unsigned to)
{
    double sum = 0;
    unsigned known = 0;
    for (unsigned i = from; i < to; i++) {
        if (isfinite(values[i])) {
            sum += values[i];
            known++;
        }
    }
    return known > 0 ? sum / known : NAN;
}

/* Least squares. */
static double slope_of(const double *x, const double *y, unsigned from, unsigned to)
{
    double n = 0;
    double sum_x = 0;
    double sum_y = 0;
    for (unsigned i = from; i < to; i++) {
        if (isfinite(y[i])) {
            n++;
            sum_x += x[i];
            sum_y += y[i];
        }
    }
    double above = 0;
    double below = 0;
    for (unsigned i = from; i < to; i++) {
        if (isfinite(y[i])) {
            double away = x[i] - sum_x / n;
            above += away * (y[i] - sum_y / n);
            below += away * away;
        }
    }
    return below > 0 ? above / below : NAN;
}

struct level level_of(const double *seconds, const double *values, unsigned count,
                      const struct level_rule *rule)
{
    struct level level = {
        .first = mean_of(values, 0, count / 3),
        .middle = mean_of(values, count / 3, count - count / 3),
        .last = mean_of(values, count - count / 3, count),
        .per_hour = slope_of(seconds, values, count / 2, count) * HOUR_S,
    };
    level.known = isfinite(level.middle) && isfinite(level.last);
    level.level = level.known && level.last - level.middle <=
                                     fmax(fabs(level.middle) * rule->share, rule->slack);
    return level;
}
