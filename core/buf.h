/*
 * Append-only writer over memory that someone else owns. Overflow is sticky: write all you have,
 * then ask once. An append that does not fit is left out whole and sets `overflow`.
 */
#ifndef RINGPOST_CORE_BUF_H
#define RINGPOST_CORE_BUF_H

#include "core/base.h"
#include "core/slice.h"

struct buf {
    uint8_t *data; /* borrowed */
    size_t size;
    size_t capacity;
    bool overflow;
};

static inline void buf_init(struct buf *buf, void *memory, size_t capacity)
{
    *buf = (struct buf){.data = (uint8_t *)memory, .capacity = capacity};
}

static inline void buf_reset(struct buf *buf)
{
    buf->size = 0;
    buf->overflow = false;
}

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_make(buf->data, buf->size);
}

static inline size_t buf_room(const struct buf *buf)
{
    return buf->capacity - buf->size;
}

void buf_put(struct buf *buf, struct slice bytes);
void buf_put_string(struct buf *buf, const char *string);
void buf_put_byte(struct buf *buf, uint8_t byte);
/* Decimal, without padding. */
void buf_put_u64(struct buf *buf, uint64_t value);
void buf_put_i64(struct buf *buf, int64_t value);
/* Decimal with leading zeros to `digits` places. */
void buf_put_padded(struct buf *buf, uint64_t value, unsigned digits);
/* Lower-case hexadecimal, two digits a byte. */
void buf_put_hex(struct buf *buf, struct slice bytes);
/* For cold paths only. */
void buf_printf(struct buf *buf, const char *format, ...) PRINTF(2, 3);

/*
 * Reserves `size` bytes and returns where they stand, or null (and overflow) when they do not fit.
 */
uint8_t *buf_reserve(struct buf *buf, size_t size);

#endif
