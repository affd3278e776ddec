/*
 * Any bytes as a file of a time zone: rules or none, never a crash; and what is taken says at every
 * instant how long it holds, and the same up to there.
 */
#include "core/time_zone.h"

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heap heap;
    struct time_zone zone;
    int64_t at_s = -3000000000;
    heap_init(&heap);
    if (time_zone_read(slice_make(data, size), &heap, &zone)) {
        for (unsigned i = 0; i < 64 && at_s < 5000000000; i++) {
            int64_t until_s;
            int64_t again_s;
            int32_t offset_s = time_zone_offset(&zone, at_s, &until_s);
            CHECK(until_s > at_s && offset_s < 100000 && offset_s > -100000);
            CHECK(time_zone_offset(&zone, until_s - 1, &again_s) == offset_s ||
                  until_s == TIME_ZONE_NEVER);
            CHECK(again_s == until_s || until_s == TIME_ZONE_NEVER);
            at_s = i % 2 == 0 && until_s < TIME_ZONE_NEVER ? until_s : at_s + 90000000;
        }
    }
    heap_fini(&heap);
    return 0;
}
