/*
 * Any bytes, as the value of a header field and as metadata: never read out of bounds; what is read
 * is kept as it is, and has a next instant that is not before the one asked for, and is good.
 */
#include "smtp/schedule.h"

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct schedule *schedule, const struct conf *conf)
{
    const uint32_t at_s = 1760000000;
    uint64_t from_ns = at_s * NS_PER_S;
    uint64_t age_max_ns = NS_PER_S;
    uint32_t next_s = schedule_next_s(schedule, conf, at_s, -5);
    CHECK(next_s >= at_s && next_s >= schedule->first_s);
    CHECK(schedule_next_s(schedule, conf, next_s, -5) == next_s);
    CHECK(schedule_first_due_s(schedule, conf, at_s, -5) <= next_s);
    schedule_age(schedule, conf, &from_ns, &age_max_ns);
    CHECK(schedule->expires_s == 0 || from_ns + age_max_ns == schedule->expires_s * NS_PER_S);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct conf conf; /* it knows UTC */
    struct schedule schedule;
    if (schedule_get(slice_make(data, size), &schedule)) {
        look(&schedule, &conf);
    }
    if (schedule_read(slice_make(data, size), &conf, 1760000000 * NS_PER_S, &schedule) == NULL) {
        uint8_t bytes[SCHEDULE_BYTES_MAX];
        struct buf buf;
        struct schedule again;
        buf_init(&buf, bytes, sizeof(bytes));
        schedule_put(&buf, &schedule);
        CHECK(!buf.overflow && schedule_get(buf_slice(&buf), &again));
        CHECK(again.first_s == schedule.first_s && again.expires_s == schedule.expires_s);
        CHECK(again.days == schedule.days && again.zone_bytes == schedule.zone_bytes);
        look(&again, &conf);
    }
    return 0;
}
