#include "shard/io/http_query.h"

/* The first byte of `text`, decoded; how many bytes it took, 0: it is broken. */
static size_t decode_byte(struct slice text, uint8_t *byte_out)
{
    *byte_out = text.data[0] == '+' ? ' ' : text.data[0];
    if (text.data[0] != '%') {
        return 1;
    }
    int high = text.size > 2 ? ascii_hex_value(text.data[1]) : -1;
    int low = text.size > 2 ? ascii_hex_value(text.data[2]) : -1;
    *byte_out = (uint8_t)(high * 16 + low);
    return high < 0 || low < 0 || *byte_out == '\0' ? 0 : 3;
}

static bool decode(struct slice text, struct buf *out)
{
    while (text.size > 0) {
        uint8_t byte;
        size_t taken = decode_byte(text, &byte);
        if (taken == 0) {
            return false;
        }
        buf_put_byte(out, byte);
        text = slice_skip(text, taken);
    }
    return !out->overflow;
}

/* Is that `name`, once decoded? A broken escape is no part of any name. */
static bool is_name(struct slice text, struct slice name)
{
    size_t at = 0;
    while (text.size > 0) {
        uint8_t byte;
        size_t taken = decode_byte(text, &byte);
        if (taken == 0 || at == name.size || byte != name.data[at]) {
            return false;
        }
        at++;
        text = slice_skip(text, taken);
    }
    return at == name.size;
}

enum http_query http_query_find(struct slice query, struct slice name, struct buf *value_out)
{
    enum http_query result = HTTP_QUERY_NONE;
    while (query.size > 0) {
        size_t end = slice_find(query, '&');
        struct slice pair = slice_first(query, end);
        query = slice_skip(query, MIN_OF(end + 1, query.size));
        size_t equals = slice_find(pair, '=');
        if (!is_name(slice_first(pair, equals), name)) {
            continue;
        }
        struct slice value = slice_skip(pair, MIN_OF(equals + 1, pair.size));
        if (result == HTTP_QUERY_FOUND || !decode(value, value_out)) {
            return HTTP_QUERY_BAD;
        }
        result = HTTP_QUERY_FOUND;
    }
    return result;
}
