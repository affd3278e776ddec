/*
 * When one message may be sent, by what it says itself in a header field ([queues]
 * scheduling_header; KumoMTA's form): a JSON object of strings, on top of what its queue says.
 *
 *   first_attempt   RFC 3339: no attempt before
 *   dow, tz, start, end   hours in which it is sent alone, as those of queues (core/hours.h)
 *   expires         RFC 3339: from then on it is expired, instead of after max_age
 *
 * All are optional, hours are said together, and null is the same as nothing. Without `expires`
 * max_age counts from the first instant at which it may be sent.
 *
 * Instants are compared with the clock of the queues, as all times of rows; hours are those of the
 * wall clock, and `ahead_s` is how much that shows more. A zone that a later configuration does not
 * know counts with the offset from UTC that it had when the message came. Pure.
 */
#ifndef RINGPOST_SMTP_SCHEDULE_H
#define RINGPOST_SMTP_SCHEDULE_H

#include "core/conf.h"
#include "core/hours.h"

/* A first attempt that is farther away is a mistake. */
#define SCHEDULE_AHEAD_S_MAX (366u * 86400)

struct schedule {
    uint32_t first_s;   /* since 1970; 0: at once */
    uint32_t expires_s; /* 0: as its queue says */
    uint8_t days;       /* as in core/hours.h, like the next two; 0: at any hour */
    uint32_t start_s;
    uint32_t end_s;
    int32_t offset_s;   /* of the zone, when the message came */
    uint8_t zone_bytes;
    uint8_t zone[CONF_ZONE_BYTES_MAX];
};

/* The value of the header field. Null; or the reply that says why it is none. */
const char *schedule_read(struct slice text, const struct conf *conf, uint64_t now_ns,
                          struct schedule *schedule_out);

/* For the metadata: u32 first_s, u32 expires_s, u32 start_s, u32 end_s, i32 offset_s, u8 days, and
 * the name of the zone. */
#define SCHEDULE_FIXED_BYTES 21u
#define SCHEDULE_BYTES_MAX   (SCHEDULE_FIXED_BYTES + CONF_ZONE_BYTES_MAX)
void schedule_put(struct buf *buf, const struct schedule *schedule);
/* False when the bytes are damaged. */
MUST_USE bool schedule_get(struct slice bytes, struct schedule *schedule_out);

/* The first second from `at_s` on at which it may be sent, whenever it expires. */
uint32_t schedule_next_s(const struct schedule *schedule, const struct conf *conf, uint32_t at_s,
                         int64_t ahead_s);
/* When it is due first: then, or at the end of its life. */
uint32_t schedule_first_due_s(const struct schedule *schedule, const struct conf *conf,
                              uint32_t created_s, int64_t ahead_s);
/*
 * From when on its age counts, and how long it may last: in, when it was received and the max_age
 * of its queue.
 */
void schedule_age(const struct schedule *schedule, const struct conf *conf, uint64_t *from_ns,
                  uint64_t *age_max_ns);

#endif
