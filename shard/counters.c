#include "shard/counters.h"

#include "core/check.h"

const char *counter_name(enum counter counter)
{
    static const char *const names[COUNTERS_COUNT] = {
#define COUNTER_NAME(name) [COUNTER_##name] = #name,
        COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
    };
    CHECK(counter < COUNTERS_COUNT);
    return names[counter];
}
