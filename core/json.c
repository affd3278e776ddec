#include "core/json.h"

#include <math.h>
#include <string.h>

#include "core/check.h"
#include "core/little.h"

#define DEPTH_MAX 32

static const char hex_digits[] = "0123456789abcdef";

/* Bytes that stand in a string as they are: printable ASCII but for quote and backslash. */
static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\';
}

/* Marks bytes of the word that are `byte`; above the lowest one others may be marked, too. */
static uint64_t marks_of(uint64_t word, uint8_t byte)
{
    uint64_t other = word ^ byte * 0x0101010101010101;
    return (other - 0x0101010101010101) & ~other;
}

/* Of eight bytes: how many at their start are plain. */
static size_t plain_of_word(uint64_t word)
{
    uint64_t controls = (word - 0x2020202020202020) & ~word;
    uint64_t marks = word | controls | marks_of(word, '"') | marks_of(word, '\\') |
                     marks_of(word, 0x7F);
    marks &= 0x8080808080808080;
    return marks == 0 ? 8 : (unsigned)__builtin_ctzll(marks) / 8;
}

static size_t plain_length(struct slice text)
{
    size_t size = 0;
    if (text.size < 8) {
        while (size < text.size && is_plain(text.data[size])) {
            size++;
        }
        return size;
    }
    while (size < text.size) {
        size = MIN_OF(size, text.size - 8); /* the last word begins in the one before */
        size_t plain = plain_of_word(little_u64(text.data + size));
        size += plain;
        if (plain < 8) {
            break;
        }
    }
    return size;
}

static void put_escape(struct buf *buf, uint32_t unit)
{
    uint8_t *at = buf_reserve(buf, 6);
    if (at == NULL) {
        return;
    }
    at[0] = '\\';
    at[1] = 'u';
    for (unsigned i = 0; i < 4; i++) {
        at[2 + i] = (uint8_t)hex_digits[(unit >> (12 - 4 * i)) & 15];
    }
}

static void put_ascii(struct buf *buf, uint8_t byte)
{
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof(shorts) - 1; i += 2) {
        if ((uint8_t)shorts[i] == byte) {
            buf_put_byte(buf, '\\');
            buf_put_byte(buf, (uint8_t)shorts[i + 1]);
            return;
        }
    }
    put_escape(buf, byte);
}

/* Bytes of the valid UTF-8 sequence at the start of `text`, whose first byte is >= 0x80; or 0. */
static size_t sequence_length(struct slice text)
{
    for (size_t size = 2; size <= 4 && size <= text.size; size++) {
        if (slice_is_utf8(slice_first(text, size))) {
            return size;
        }
    }
    return 0;
}

static uint32_t sequence_decode(struct slice sequence)
{
    uint32_t point = sequence.data[0] & (0xFFu >> (sequence.size + 1));
    for (size_t i = 1; i < sequence.size; i++) {
        point = point << 6 | (sequence.data[i] & 0x3Fu);
    }
    return point;
}

/* C1 controls, separators of lines and paragraphs, bidirectional controls, byte order mark. */
static bool is_dangerous(uint32_t point)
{
    return (point >= 0x80 && point <= 0x9F) || (point >= 0x200E && point <= 0x200F) ||
           (point >= 0x2028 && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069) ||
           point == 0x061C || point == 0xFEFF;
}

size_t json_plain_bytes(struct slice text)
{
    if (text.data[0] < 0x80) {
        return is_plain(text.data[0]) ? 1 : 0;
    }
    size_t size = sequence_length(text);
    return size > 0 && !is_dangerous(sequence_decode(slice_first(text, size))) ? size : 0;
}

/* Writes one character that is not ASCII, or U+FFFD for one bad byte; returns the bytes used. */
static size_t put_wide(struct buf *buf, struct slice text)
{
    size_t size = sequence_length(text);
    if (size == 0) {
        buf_put(buf, SLICE("\xEF\xBF\xBD"));
        return 1;
    }
    struct slice sequence = slice_first(text, size);
    uint32_t point = sequence_decode(sequence);
    if (is_dangerous(point)) {
        put_escape(buf, point);
    } else {
        buf_put(buf, sequence);
    }
    return size;
}

void json_put_string(struct buf *buf, struct slice text)
{
    buf_put_byte(buf, '"');
    while (text.size > 0) {
        size_t used = plain_length(text);
        buf_put(buf, slice_first(text, used));
        text = slice_skip(text, used);
        if (text.size == 0) {
            break;
        }
        if (text.data[0] < 0x80) {
            put_ascii(buf, text.data[0]);
            used = 1;
        } else {
            used = put_wide(buf, text);
        }
        text = slice_skip(text, used);
    }
    buf_put_byte(buf, '"');
}

void json_init(struct json *json, struct buf *buf)
{
    *json = (struct json){.buf = buf};
}

/* The comma before a value or a key, where one is due. */
static void separate(struct json *json)
{
    if (json->after_key) {
        json->after_key = false;
        return;
    }
    uint32_t bit = json->depth == 0 ? 0 : 1u << (json->depth - 1);
    if ((json->begun & bit) != 0) {
        buf_put_byte(json->buf, ',');
    }
    json->begun |= bit;
}

static void level_begin(struct json *json, uint8_t bracket)
{
    separate(json);
    CHECK(json->depth < DEPTH_MAX);
    json->begun &= ~(1u << json->depth);
    json->depth++;
    buf_put_byte(json->buf, bracket);
}

static void level_end(struct json *json, uint8_t bracket)
{
    CHECK(json->depth > 0);
    CHECK(!json->after_key);
    json->depth--;
    buf_put_byte(json->buf, bracket);
}

void json_object(struct json *json)
{
    level_begin(json, '{');
}

void json_object_end(struct json *json)
{
    level_end(json, '}');
}

void json_array(struct json *json)
{
    level_begin(json, '[');
}

void json_array_end(struct json *json)
{
    level_end(json, ']');
}

void json_key(struct json *json, const char *key)
{
    CHECK(!json->after_key);
    separate(json);
    buf_put_byte(json->buf, '"');
    buf_put_string(json->buf, key);
    buf_put(json->buf, SLICE("\":"));
    json->after_key = true;
}

void json_key_text(struct json *json, struct slice key)
{
    CHECK(!json->after_key);
    separate(json);
    json_put_string(json->buf, key);
    buf_put_byte(json->buf, ':');
    json->after_key = true;
}

void json_string(struct json *json, struct slice text)
{
    separate(json);
    json_put_string(json->buf, text);
}

void json_u64(struct json *json, uint64_t value)
{
    separate(json);
    buf_put_u64(json->buf, value);
}

void json_i64(struct json *json, int64_t value)
{
    separate(json);
    buf_put_i64(json->buf, value);
}

void json_fixed(struct json *json, double value, unsigned decimals)
{
    uint64_t unit = 1;
    CHECK(decimals <= 6);
    separate(json);
    if (!isfinite(value) || value > 1e15 || value < -1e15) {
        buf_put(json->buf, SLICE("null"));
        return;
    }
    for (unsigned i = 0; i < decimals; i++) {
        unit *= 10;
    }
    double magnitude = value < 0 ? -value : value;
    uint64_t whole = (uint64_t)magnitude;
    uint64_t part = (uint64_t)((magnitude - (double)whole) * (double)unit + 0.5);
    if (part >= unit) {
        part = 0;
        whole++;
    }
    if (value < 0 && (whole > 0 || part > 0)) {
        buf_put_byte(json->buf, '-');
    }
    buf_put_u64(json->buf, whole);
    if (decimals > 0) {
        buf_put_byte(json->buf, '.');
        buf_put_padded(json->buf, part, decimals);
    }
}

void json_bool(struct json *json, bool value)
{
    separate(json);
    buf_put(json->buf, value ? SLICE("true") : SLICE("false"));
}

void json_null(struct json *json)
{
    separate(json);
    buf_put(json->buf, SLICE("null"));
}

void json_raw(struct json *json, struct slice value)
{
    separate(json);
    buf_put(json->buf, value);
}
