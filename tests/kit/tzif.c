#include "tests/kit/tzif.h"

static void put_number(struct buf *buf, uint64_t number, unsigned bytes)
{
    while (bytes-- > 0) {
        buf_put_byte(buf, (uint8_t)(number >> 8 * bytes));
    }
}

static void put_kind(struct buf *buf, int32_t offset_s)
{
    put_number(buf, (uint32_t)offset_s, 4);
    put_number(buf, 0, 2); /* no summer time, as far as that is told; the first name */
}

static void put_header(struct buf *buf, size_t changes, size_t kinds)
{
    buf_put(buf, SLICE("TZif2"));
    put_number(buf, 0, 7);
    put_number(buf, 0, 8);
    put_number(buf, 0, 8);
    put_number(buf, 0, 4);
    put_number(buf, changes, 4);
    put_number(buf, kinds, 4);
    put_number(buf, 4, 4);
}

void tzif_put(struct buf *buf, int32_t first_s, const struct time_zone_change *changes,
              size_t count, const char *rule)
{
    put_header(buf, 0, 1); /* whoever reads 32 bits only */
    put_kind(buf, 0);
    buf_put(buf, slice_make("UTC", 4));
    put_header(buf, count, count + 1);
    for (size_t i = 0; i < count; i++) {
        put_number(buf, (uint64_t)changes[i].at_s, 8);
    }
    for (size_t i = 0; i < count; i++) {
        buf_put_byte(buf, (uint8_t)(i + 1));
    }
    put_kind(buf, first_s);
    for (size_t i = 0; i < count; i++) {
        put_kind(buf, changes[i].offset_s);
    }
    buf_put(buf, slice_make("UTC", 4));
    buf_put_byte(buf, '\n');
    buf_put_string(buf, rule);
    buf_put_byte(buf, '\n');
}
