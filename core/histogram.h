/*
 * A log-linear histogram of 64-bit values (nanoseconds, bytes): 16 steps for each power of two, so
 * that a percentile is at most 6.25 % above the true one. Fixed size, no allocation. Pure.
 */
#ifndef RINGPOST_CORE_HISTOGRAM_H
#define RINGPOST_CORE_HISTOGRAM_H

#include "core/base.h"

#define HISTOGRAM_BUCKETS 976 /* 16 below 16, then 16 for each of 60 powers of two */

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value);
/*
 * The value that `per_mille` of a thousand values do not pass (500 the median, 1000 the largest):
 * the upper end of its bucket, never above the largest recorded. 0 when there is none.
 */
uint64_t histogram_percentile(const struct histogram *histogram, unsigned per_mille);
/* How many values are less than 2^power, at most 2^63; exact. */
uint64_t histogram_below(const struct histogram *histogram, unsigned power);
/* Adds all of `from`. */
void histogram_merge(struct histogram *to, const struct histogram *from);

#endif
