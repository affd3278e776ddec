#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"

uint8_t *buf_reserve(struct buf *buf, size_t size)
{
    if (buf->overflow || size > buf_room(buf)) {
        buf->overflow = true;
        return NULL;
    }
    uint8_t *at = buf->data + buf->size;
    buf->size += size;
    return at;
}

void buf_put(struct buf *buf, struct slice bytes)
{
    uint8_t *at = buf_reserve(buf, bytes.size);
    if (at != NULL && bytes.size > 0) {
        memcpy(at, bytes.data, bytes.size);
    }
}

void buf_put_string(struct buf *buf, const char *string)
{
    buf_put(buf, slice_from_string(string));
}

void buf_put_byte(struct buf *buf, uint8_t byte)
{
    uint8_t *at = buf_reserve(buf, 1);
    if (at != NULL) {
        *at = byte;
    }
}

void buf_put_padded(struct buf *buf, uint64_t value, unsigned digits)
{
    uint8_t text[20];
    unsigned count = 0;
    do {
        text[sizeof(text) - ++count] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    CHECK(digits <= sizeof(text));
    while (count < digits) {
        text[sizeof(text) - ++count] = '0';
    }
    buf_put(buf, slice_make(text + sizeof(text) - count, count));
}

void buf_put_u64(struct buf *buf, uint64_t value)
{
    buf_put_padded(buf, value, 1);
}

void buf_put_i64(struct buf *buf, int64_t value)
{
    if (value < 0) {
        buf_put_byte(buf, '-');
        buf_put_u64(buf, 0 - (uint64_t)value);
        return;
    }
    buf_put_u64(buf, (uint64_t)value);
}

void buf_put_hex(struct buf *buf, struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *at = buf_reserve(buf, bytes.size * 2);
    if (at == NULL) {
        return;
    }
    for (size_t i = 0; i < bytes.size; i++) {
        at[2 * i] = (uint8_t)digits[bytes.data[i] >> 4];
        at[2 * i + 1] = (uint8_t)digits[bytes.data[i] & 15];
    }
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = buf_room(buf);
    int wanted = buf->overflow ? -1
                               : vsnprintf((char *)buf->data + buf->size, room, format, arguments);
    va_end(arguments);
    /* vsnprintf needs one byte more than it writes, for its NUL. */
    if (wanted < 0 || (size_t)wanted >= room) {
        buf->overflow = true;
        return;
    }
    buf->size += (size_t)wanted;
}
