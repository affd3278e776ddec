#include "core/endpoint.h"

#include <string.h>

static const uint8_t v4_prefix[12] = {[10] = 0xFF, [11] = 0xFF};

bool endpoint_is_v4(const struct endpoint *endpoint)
{
    return memcmp(endpoint->address, v4_prefix, sizeof(v4_prefix)) == 0;
}

bool endpoint_equal_address(const struct endpoint *a, const struct endpoint *b)
{
    return memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && endpoint_equal_address(a, b);
}

bool endpoint_is_loopback(const struct endpoint *endpoint)
{
    static const uint8_t v6_loopback[16] = {[15] = 1};
    if (endpoint_is_v4(endpoint)) {
        return endpoint->address[12] == 127;
    }
    return memcmp(endpoint->address, v6_loopback, sizeof(v6_loopback)) == 0;
}

/* Decimal without leading zeros, at most `max`. */
static bool parse_decimal(struct slice text, uint64_t max, uint64_t *value_out)
{
    if (text.size > 1 && text.data[0] == '0') {
        return false;
    }
    return slice_parse_u64(text, value_out) && *value_out <= max;
}

/* Four decimal bytes; exactly, no shorter forms and no octal. */
static bool parse_v4(struct slice text, uint8_t out[4])
{
    for (unsigned i = 0; i < 4; i++) {
        size_t end = slice_find(text, '.');
        bool last = i == 3;
        uint64_t value = 0;
        if ((end == text.size) != last || !parse_decimal(slice_first(text, end), 255, &value)) {
            return false;
        }
        out[i] = (uint8_t)value;
        text = slice_skip(text, last ? end : end + 1);
    }
    return true;
}

static bool parse_group(struct slice text, uint8_t out[2])
{
    if (text.size < 1 || text.size > 4) {
        return false;
    }
    unsigned value = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = ascii_lower(text.data[i]);
        if (c >= '0' && c <= '9') {
            value = value << 4 | (unsigned)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            value = value << 4 | (unsigned)(c - 'a' + 10);
        } else {
            return false;
        }
    }
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return true;
}

/* Groups with single colons between them, the last perhaps as IPv4; how many bytes, or -1. */
static int parse_groups(struct slice text, uint8_t out[16])
{
    int size = 0;
    while (text.size > 0) {
        size_t end = slice_find(text, ':');
        struct slice group = slice_first(text, end);
        bool last = end == text.size;
        if (last && slice_find(group, '.') < group.size) {
            return size <= 12 && parse_v4(group, out + size) ? size + 4 : -1;
        }
        if (size > 14 || !parse_group(group, out + size)) {
            return -1;
        }
        size += 2;
        if (!last && end + 1 == text.size) {
            return -1;
        }
        text = slice_skip(text, last ? end : end + 1);
    }
    return size;
}

static size_t find_double_colon(struct slice text)
{
    for (size_t i = 0; i + 1 < text.size; i++) {
        if (text.data[i] == ':' && text.data[i + 1] == ':') {
            return i;
        }
    }
    return text.size;
}

/* RFC 4291 2.2. */
static bool parse_v6(struct slice text, uint8_t out[16])
{
    size_t gap = find_double_colon(text);
    if (gap == text.size) {
        return parse_groups(text, out) == 16;
    }
    uint8_t tail[16];
    struct slice left = slice_first(text, gap);
    /* IPv4 may only stand at the very end. */
    if (slice_find(left, '.') < left.size) {
        return false;
    }
    int left_size = parse_groups(left, out);
    int tail_size = parse_groups(slice_skip(text, gap + 2), tail);
    if (left_size < 0 || tail_size < 0 || left_size + tail_size > 14) {
        return false;
    }
    memset(out + left_size, 0, (size_t)(16 - left_size));
    memcpy(out + 16 - tail_size, tail, (size_t)tail_size);
    return true;
}

bool endpoint_parse_address(struct slice text, struct endpoint *endpoint_out)
{
    struct endpoint parsed = {0};
    bool valid;
    if (slice_find(text, ':') < text.size) {
        valid = parse_v6(text, parsed.address);
    } else {
        memcpy(parsed.address, v4_prefix, sizeof(v4_prefix));
        valid = parse_v4(text, parsed.address + 12);
    }
    if (valid) {
        *endpoint_out = parsed;
    }
    return valid;
}

bool endpoint_parse(struct slice text, uint16_t default_port, struct endpoint *endpoint_out)
{
    struct slice address;
    struct slice rest;
    if (text.size > 0 && text.data[0] == '[') {
        size_t end = slice_find(text, ']');
        if (end == text.size) {
            return false;
        }
        address = slice_skip(slice_first(text, end), 1);
        rest = slice_skip(text, end + 1);
    } else {
        size_t end = slice_find(text, ':');
        address = slice_first(text, end);
        rest = slice_skip(text, end);
    }
    uint64_t port = default_port;
    if (rest.size > 0) {
        if (rest.data[0] != ':' || !parse_decimal(slice_skip(rest, 1), UINT16_MAX, &port)) {
            return false;
        }
    } else if (default_port == 0) {
        return false;
    }
    if (!endpoint_parse_address(address, endpoint_out)) {
        return false;
    }
    endpoint_out->port = (uint16_t)port;
    return true;
}

static void put_v4(struct buf *buf, const uint8_t bytes[4])
{
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0) {
            buf_put_byte(buf, '.');
        }
        buf_put_u64(buf, bytes[i]);
    }
}

/* Lower case, without leading zeros. */
static void put_group(struct buf *buf, unsigned group)
{
    static const char digits[] = "0123456789abcdef";
    unsigned shift = 12;
    while (shift > 0 && group >> shift == 0) {
        shift -= 4;
    }
    for (; shift > 0; shift -= 4) {
        buf_put_byte(buf, (uint8_t)digits[group >> shift & 15]);
    }
    buf_put_byte(buf, (uint8_t)digits[group & 15]);
}

/* The longest run of zero groups, the first of equals (RFC 5952 4.2.3); size 0 when below two. */
static unsigned longest_zeros(const unsigned groups[8], unsigned *size_out)
{
    unsigned best = 0;
    *size_out = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned end = i;
        while (end < 8 && groups[end] == 0) {
            end++;
        }
        if (end - i >= 2 && end - i > *size_out) {
            best = i;
            *size_out = end - i;
        }
    }
    return best;
}

void endpoint_put_address(struct buf *buf, const struct endpoint *endpoint)
{
    if (endpoint_is_v4(endpoint)) {
        put_v4(buf, endpoint->address + 12);
        return;
    }
    unsigned groups[8];
    for (unsigned i = 0; i < 8; i++) {
        groups[i] = (unsigned)endpoint->address[2 * i] << 8 | endpoint->address[2 * i + 1];
    }
    unsigned zeros_size;
    unsigned zeros = longest_zeros(groups, &zeros_size);
    for (unsigned i = 0; i < 8; i++) {
        if (zeros_size > 0 && i == zeros) {
            buf_put_string(buf, "::");
            i += zeros_size - 1;
            continue;
        }
        if (i > 0 && (zeros_size == 0 || i != zeros + zeros_size)) {
            buf_put_byte(buf, ':');
        }
        put_group(buf, groups[i]);
    }
}

void endpoint_put(struct buf *buf, const struct endpoint *endpoint)
{
    bool brackets = !endpoint_is_v4(endpoint);
    if (brackets) {
        buf_put_byte(buf, '[');
    }
    endpoint_put_address(buf, endpoint);
    if (brackets) {
        buf_put_byte(buf, ']');
    }
    buf_put_byte(buf, ':');
    buf_put_u64(buf, endpoint->port);
}

/* Are the first `bits` bits of both the same? */
static bool prefix_equal(const uint8_t a[16], const uint8_t b[16], unsigned bits)
{
    unsigned whole = bits / 8;
    if (memcmp(a, b, whole) != 0) {
        return false;
    }
    unsigned rest = bits % 8;
    return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

bool network_parse(struct slice text, struct network *network_out)
{
    size_t end = slice_find(text, '/');
    struct slice address = slice_first(text, end);
    bool v6 = slice_find(address, ':') < address.size;
    struct endpoint endpoint;
    if (!endpoint_parse_address(address, &endpoint)) {
        return false;
    }
    uint64_t bits = v6 ? 128 : 32;
    if (end < text.size && !parse_decimal(slice_skip(text, end + 1), bits, &bits)) {
        return false;
    }
    bits += v6 ? 0 : 96;
    for (unsigned i = (unsigned)bits; i < 128; i++) {
        if ((endpoint.address[i / 8] >> (7 - i % 8) & 1) != 0) {
            return false;
        }
    }
    memcpy(network_out->address, endpoint.address, sizeof(network_out->address));
    network_out->bits = (uint8_t)bits;
    return true;
}

bool network_contains(const struct network *network, const struct endpoint *endpoint)
{
    return prefix_equal(network->address, endpoint->address, network->bits);
}

bool networks_contain(const struct network *networks, size_t count,
                      const struct endpoint *endpoint)
{
    for (size_t i = 0; i < count; i++) {
        if (network_contains(&networks[i], endpoint)) {
            return true;
        }
    }
    return false;
}
