/*
 * JSON out: appends to a struct buf, without spaces, on one line. Whatever bytes a string holds,
 * the text is valid JSON and safe to show on a terminal: control characters (C0, DEL, C1), line and
 * paragraph separators and bidirectional overrides are escaped, bytes that are not UTF-8 become
 * U+FFFD. Pure; overflow is the buffer's, sticky.
 */
#ifndef RINGPOST_CORE_JSON_H
#define RINGPOST_CORE_JSON_H

#include "core/buf.h"

/* A JSON string takes at most this many times its bytes, and two quotes. */
#define JSON_STRING_GROWTH 6

/* "text" with its quotes. */
void json_put_string(struct buf *buf, struct slice text);
/* Bytes of the first character of `text`, which is not empty, when it stands in a string as it is;
 * else 0: it is escaped, or no UTF-8. */
size_t json_plain_bytes(struct slice text);

/*
 * Values in nested objects and arrays with the commas set right. Depth at most 32; keys belong into
 * objects only, every key is followed by one value.
 */
struct json {
    struct buf *buf;
    uint32_t depth;
    uint32_t begun; /* bit per level: a member or element stands there */
    bool after_key;
};

void json_init(struct json *json, struct buf *buf);
void json_object(struct json *json);
void json_object_end(struct json *json);
void json_array(struct json *json);
void json_array_end(struct json *json);
/* A string literal or other constant of plain ASCII that needs no escape. */
void json_key(struct json *json, const char *key);
/* Any bytes, as in a string. */
void json_key_text(struct json *json, struct slice key);
void json_string(struct json *json, struct slice text);
void json_u64(struct json *json, uint64_t value);
void json_i64(struct json *json, int64_t value);
/* With `decimals` (≤ 6) places, rounded; null when it is not finite or beyond 10^15. */
void json_fixed(struct json *json, double value, unsigned decimals);
void json_bool(struct json *json, bool value);
void json_null(struct json *json);
/* A value that is JSON already. */
void json_raw(struct json *json, struct slice value);

#endif
