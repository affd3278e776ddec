/*
 * A borrowed run of bytes: pointer and size, never NUL-terminated by promise. A slice owns nothing;
 * whoever made the bytes says how long they live.
 */
#ifndef RINGPOST_CORE_SLICE_H
#define RINGPOST_CORE_SLICE_H

#include "core/base.h"

struct slice {
    const uint8_t *data;
    size_t size;
};

#define SLICE_NONE ((struct slice){0})
/* Of a string literal, without its NUL. */
#define SLICE(literal) ((struct slice){(const uint8_t *)("" literal), sizeof(literal) - 1})

static inline struct slice slice_make(const void *data, size_t size)
{
    return (struct slice){(const uint8_t *)data, size};
}

#ifdef __cplusplus
extern "C" {
#endif

struct slice slice_from_string(const char *string);

bool slice_equal(struct slice a, struct slice b);
/* Below, at or above zero, by bytes; what is a beginning of the other comes before it. */
int slice_compare(struct slice a, struct slice b);
/* Equal without regard to ASCII case. */
bool slice_equal_nocase(struct slice a, struct slice b);
bool slice_starts_with(struct slice s, struct slice prefix);
bool slice_ends_with(struct slice s, struct slice suffix);

/* Index of the first `byte`, or s.size when there is none. */
size_t slice_find(struct slice s, uint8_t byte);

/* Without its first `count` bytes, count <= s.size. */
struct slice slice_skip(struct slice s, size_t count);
/* The first `count` bytes, count <= s.size. */
struct slice slice_first(struct slice s, size_t count);
/* Without leading and trailing spaces and tabs. */
struct slice slice_trim(struct slice s);

/* All of `s` as decimal digits, no sign, no spaces. False on anything else and on overflow. */
MUST_USE bool slice_parse_u64(struct slice s, uint64_t *value_out);

/* Strictly valid UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool slice_is_utf8(struct slice s);
/* Every byte is below 0x80. */
bool slice_is_ascii(struct slice s);

uint8_t ascii_lower(uint8_t byte);
/* 0 to 15 of a hexadecimal digit of either case; else -1. */
int ascii_hex_value(uint8_t byte);

#ifdef __cplusplus
}
#endif

#endif
