#include "shard/queue/retry.h"

/* How long before expiry the last attempt is made: long enough for a slow peer's whole dialogue,
 * but no more than a tenth of the message's life. */
#define LAST_ATTEMPT_NS (60 * NS_PER_S)

static uint64_t seconds_up(uint64_t ns)
{
    return (ns + NS_PER_S - 1) / NS_PER_S;
}

uint32_t retry_expiry_s(const struct retry_options *options, uint64_t created_ns)
{
    return (uint32_t)seconds_up(created_ns + options->age_max_ns);
}

static uint64_t delay_ns(const struct retry_options *options, unsigned attempts, uint64_t seed)
{
    uint64_t delay = options->interval_ns;
    uint64_t cap = options->interval_max_ns != 0 ? options->interval_max_ns : options->age_max_ns;
    for (unsigned i = 1; i < attempts && delay < cap; i++) {
        delay *= 2;
    }
    delay = MIN_OF(delay, MAX_OF(cap, options->interval_ns));
    uint64_t spread = MIN_OF(options->interval_ns / 20, 60 * NS_PER_S);
    return spread == 0 ? delay : delay - spread / 2 + seed % spread;
}

uint32_t retry_due_s(const struct retry_options *options, uint64_t created_ns, uint64_t now_ns,
                     unsigned attempts, uint64_t seed)
{
    uint64_t due = now_ns + delay_ns(options, attempts, seed);
    uint64_t expiry = created_ns + options->age_max_ns;
    uint64_t last = expiry - MIN_OF(LAST_ATTEMPT_NS, options->age_max_ns / 10);
    if (due > last) {
        due = now_ns < last ? last : expiry;
    }
    return (uint32_t)seconds_up(due);
}
