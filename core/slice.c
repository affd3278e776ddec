#include "core/slice.h"

#include <string.h>

#include "core/check.h"

struct slice slice_from_string(const char *string)
{
    return slice_make(string, strlen(string));
}

bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

uint8_t ascii_lower(uint8_t byte)
{
    return (uint8_t)(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
}

int ascii_hex_value(uint8_t byte)
{
    byte = ascii_lower(byte);
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

int slice_compare(struct slice a, struct slice b)
{
    size_t shared = MIN_OF(a.size, b.size);
    int compared = shared == 0 ? 0 : memcmp(a.data, b.data, shared);
    return compared != 0 ? compared : (a.size > b.size) - (a.size < b.size);
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
    if (a.size != b.size) {
        return false;
    }
    for (size_t i = 0; i < a.size; i++) {
        if (ascii_lower(a.data[i]) != ascii_lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

bool slice_starts_with(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size && slice_equal(slice_first(s, prefix.size), prefix);
}

bool slice_ends_with(struct slice s, struct slice suffix)
{
    return s.size >= suffix.size && slice_equal(slice_skip(s, s.size - suffix.size), suffix);
}

size_t slice_find(struct slice s, uint8_t byte)
{
    const uint8_t *at = s.size == 0 ? NULL : memchr(s.data, byte, s.size);
    return at == NULL ? s.size : (size_t)(at - s.data);
}

struct slice slice_skip(struct slice s, size_t count)
{
    CHECK(count <= s.size);
    return count == 0 ? s : slice_make(s.data + count, s.size - count);
}

struct slice slice_first(struct slice s, size_t count)
{
    CHECK(count <= s.size);
    return slice_make(s.data, count);
}

struct slice slice_trim(struct slice s)
{
    while (s.size > 0 && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s = slice_skip(s, 1);
    }
    while (s.size > 0 && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t')) {
        s.size--;
    }
    return s;
}

bool slice_parse_u64(struct slice s, uint64_t *value_out)
{
    uint64_t value = 0;
    if (s.size == 0) {
        return false;
    }
    for (size_t i = 0; i < s.size; i++) {
        uint8_t byte = s.data[i];
        if (byte < '0' || byte > '9') {
            return false;
        }
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(byte - '0'), &value)) {
            return false;
        }
    }
    *value_out = value;
    return true;
}

bool slice_is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

/* Bytes of the sequence that `lead` begins; 0 when no sequence may begin with it. */
static size_t utf8_length(uint8_t lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xC2 && lead <= 0xDF) {
        return 2;
    }
    if (lead >= 0xE0 && lead <= 0xEF) {
        return 3;
    }
    return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
}

bool slice_is_utf8(struct slice s)
{
    for (size_t i = 0; i < s.size;) {
        const uint8_t *at = s.data + i;
        size_t length = utf8_length(at[0]);
        if (length == 0 || length > s.size - i) {
            return false;
        }
        for (size_t k = 1; k < length; k++) {
            if ((at[k] & 0xC0) != 0x80) {
                return false;
            }
        }
        /* RFC 3629 4: the second byte has a narrower range after four of the leads. */
        if ((at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xED && at[1] > 0x9F) ||
            (at[0] == 0xF0 && at[1] < 0x90) || (at[0] == 0xF4 && at[1] > 0x8F)) {
            return false;
        }
        i += length;
    }
    return true;
}
