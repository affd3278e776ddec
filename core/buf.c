#include "core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/digits.h"

void buf_put_string(struct buf *buf, const char *string)
{
    buf_put(buf, slice_from_string(string));
}

static unsigned decimal_digits(uint64_t value)
{
    unsigned count = 1;
    while (value >= 10000) {
        value /= 10000;
        count += 4;
    }
    return count + (value >= 10) + (value >= 100) + (value >= 1000);
}

void buf_put_padded(struct buf *buf, uint64_t value, unsigned digits)
{
    CHECK(digits <= 20);
    unsigned count = MAX_OF(digits, decimal_digits(value));
    uint8_t *at = buf_reserve(buf, count);
    if (at == NULL) {
        return;
    }
    while (count >= 2) {
        count -= 2;
        digits_put_pair(at + count, (uint32_t)(value % 100));
        value /= 100;
    }
    if (count == 1) {
        at[0] = (uint8_t)('0' + value);
    }
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
    uint8_t *at = buf_reserve(buf, bytes.size * 2);
    if (at != NULL) {
        digits_put_hex(at, bytes.data, bytes.size);
    }
}

void buf_put_hex_upper(struct buf *buf, uint8_t byte)
{
    static const char digits[] = "0123456789ABCDEF";
    buf_put_byte(buf, (uint8_t)digits[byte >> 4]);
    buf_put_byte(buf, (uint8_t)digits[byte & 15]);
}

void buf_put_shown(struct buf *buf, struct slice text, size_t most)
{
    for (size_t i = 0; i < text.size && i < most; i++) {
        bool shown = text.data[i] > ' ' && text.data[i] < 0x7F;
        buf_put_byte(buf, shown ? text.data[i] : '?');
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
