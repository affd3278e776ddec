#include "smtp/xtext.h"

/* Upper-case digits only. */
static int digit_value(uint8_t byte)
{
    return byte >= 'a' && byte <= 'f' ? -1 : ascii_hex_value(byte);
}

/* The byte at text[*at], which is moved behind it; -1: it is none. */
static int take_byte(struct slice text, size_t *at)
{
    uint8_t byte = text.data[*at];
    *at += 1;
    if (byte < '!' || byte > '~' || byte == '=') {
        return -1;
    }
    if (byte != '+') {
        return byte;
    }
    if (text.size - *at < 2) {
        return -1;
    }
    int high = digit_value(text.data[*at]);
    int low = digit_value(text.data[*at + 1]);
    int value = high < 0 || low < 0 ? -1 : high << 4 | low;
    *at += 2;
    return value >= ' ' && value <= '~' ? value : -1;
}

bool xtext_decode(struct slice text, struct buf *out)
{
    size_t size = out->size;
    for (size_t at = 0; at < text.size;) {
        int byte = take_byte(text, &at);
        if (byte < 0) {
            out->size = size;
            return false;
        }
        buf_put_byte(out, (uint8_t)byte);
    }
    if (out->overflow) {
        out->size = size;
    }
    return !out->overflow;
}
