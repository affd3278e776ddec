#include "core/histogram.h"

#include <assert.h>

#include "core/check.h"

#define STEP_BITS 4
#define STEPS     (1u << STEP_BITS)

static_assert(HISTOGRAM_BUCKETS == STEPS * (64 - STEP_BITS + 1), "a bucket for every value");

static unsigned bucket_of(uint64_t value)
{
    if (value < STEPS) {
        return (unsigned)value;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll(value);
    unsigned step = (unsigned)(value >> (power - STEP_BITS)) & (STEPS - 1);
    return (power - STEP_BITS + 1) * STEPS + step;
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_end(unsigned bucket)
{
    if (bucket < STEPS) {
        return bucket;
    }
    unsigned shift = bucket / STEPS - 1;
    uint64_t begin = (uint64_t)(STEPS + bucket % STEPS) << shift;
    return begin + ((1ull << shift) - 1);
}

void histogram_init(struct histogram *histogram)
{
    *histogram = (struct histogram){0};
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->sum += value;
    histogram->max = MAX_OF(histogram->max, value);
    histogram->buckets[bucket_of(value)]++;
}

uint64_t histogram_percentile(const struct histogram *histogram, unsigned per_mille)
{
    CHECK(per_mille <= 1000);
    uint64_t wanted = MAX_OF((histogram->count * per_mille + 999) / 1000, 1);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted) {
            return MIN_OF(bucket_end(i), histogram->max);
        }
    }
    return histogram->max;
}

uint64_t histogram_below(const struct histogram *histogram, unsigned power)
{
    uint64_t below = 0;
    CHECK(power < 64);
    unsigned end = bucket_of(1ull << power);
    for (unsigned i = 0; i < end; i++) {
        below += histogram->buckets[i];
    }
    return below;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    to->count += from->count;
    to->sum += from->sum;
    to->max = MAX_OF(to->max, from->max);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        to->buckets[i] += from->buckets[i];
    }
}
