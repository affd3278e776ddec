/*
 * Append-only writer over memory that someone else owns. Overflow is sticky: write all you have,
 * then ask once. An append that does not fit is left out whole and sets `overflow`.
 */
#ifndef RINGPOST_CORE_BUF_H
#define RINGPOST_CORE_BUF_H

#include <string.h>

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

/* Reserves `size` bytes and returns where they stand, or null when they do not fit. */
static inline uint8_t *buf_reserve(struct buf *buf, size_t size)
{
    if (buf->overflow || size > buf_room(buf)) {
        buf->overflow = true;
        return NULL;
    }
    uint8_t *at = buf->data + buf->size;
    buf->size += size;
    return at;
}

/* Inline, as what is put is a constant most of the time: its copying is a few moves then. */
static inline void buf_put(struct buf *buf, struct slice bytes)
{
    uint8_t *at = buf_reserve(buf, bytes.size);
    if (at != NULL && bytes.size > 0) {
        memcpy(at, bytes.data, bytes.size);
    }
}

static inline void buf_put_byte(struct buf *buf, uint8_t byte)
{
    uint8_t *at = buf_reserve(buf, 1);
    if (at != NULL) {
        *at = byte;
    }
}

void buf_put_string(struct buf *buf, const char *string);
/* Decimal, without padding. */
void buf_put_u64(struct buf *buf, uint64_t value);
void buf_put_i64(struct buf *buf, int64_t value);
/* Decimal with leading zeros to `digits` places. */
void buf_put_padded(struct buf *buf, uint64_t value, unsigned digits);
/* Lower-case hexadecimal, two digits a byte. */
void buf_put_hex(struct buf *buf, struct slice bytes);
/* Of what a stranger wrote, for a line that people read: up to `most` bytes, '?' for all that is
 * not printable ASCII or is a space. */
void buf_put_shown(struct buf *buf, struct slice text, size_t most);
/* Two upper-case hexadecimal digits, as escapes of mail have them. */
void buf_put_hex_upper(struct buf *buf, uint8_t byte);
/* For cold paths only. */
void buf_printf(struct buf *buf, const char *format, ...) PRINTF(2, 3);

#endif
