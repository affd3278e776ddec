#include "proxy/proxy_header.h"

#include <string.h>

#define V1_PREFIX    SLICE("PROXY ")
#define V2_SIGNATURE SLICE("\r\n\r\n\0\r\nQUIT\n")
#define V2_BYTES     16 /* before the addresses */
#define TLV_BYTES    3  /* type and length */

enum {
    TLV_CRC32C = 0x03,
    TLV_SSL = 0x20,
};
#define SSL_BYTES 5 /* before its TLVs */

/* --- version 1 -------------------------------------------------------------------------------- */

/* The word up to the next space, which is taken with it; false: there is no space, or no word. */
static bool word_take(struct slice *rest, struct slice *word_out)
{
    size_t size = slice_find(*rest, ' ');
    if (size == 0 || size == rest->size) {
        return false;
    }
    *word_out = slice_first(*rest, size);
    *rest = slice_skip(*rest, size + 1);
    return true;
}

/* An address of the family that was said. */
static bool v1_address(struct slice text, bool is_v4, struct endpoint *endpoint_out)
{
    bool colons = slice_find(text, ':') < text.size;
    return colons != is_v4 && endpoint_parse_address(text, endpoint_out);
}

/* Decimal, without leading zeros. */
static bool v1_port(struct slice text, uint16_t *port_out)
{
    uint64_t port;
    bool good = text.size > 0 && text.size <= 5 && (text.data[0] != '0' || text.size == 1) &&
                slice_parse_u64(text, &port) && port <= UINT16_MAX;
    *port_out = good ? (uint16_t)port : 0;
    return good;
}

/* The line without CRLF. */
static bool v1_line(struct slice line, struct proxy_header *header)
{
    struct slice rest = slice_skip(line, V1_PREFIX.size);
    struct slice source;
    struct slice destination;
    struct slice port;
    if (slice_equal(rest, SLICE("UNKNOWN")) || slice_starts_with(rest, SLICE("UNKNOWN "))) {
        return true; /* what else it says does not count */
    }
    bool is_v4 = slice_starts_with(rest, SLICE("TCP4 "));
    if (!is_v4 && !slice_starts_with(rest, SLICE("TCP6 "))) {
        return false;
    }
    rest = slice_skip(rest, 5);
    header->has_addresses = true;
    return word_take(&rest, &source) && word_take(&rest, &destination) &&
           word_take(&rest, &port) && v1_address(source, is_v4, &header->source) &&
           v1_address(destination, is_v4, &header->destination) &&
           v1_port(port, &header->source.port) && v1_port(rest, &header->destination.port);
}

static enum proxy_parse v1_parse(struct slice input, struct proxy_header *header)
{
    struct slice seen = slice_first(input, MIN_OF(input.size, (size_t)PROXY_V1_BYTES_MAX));
    size_t end = slice_find(seen, '\r');
    size_t bare = slice_find(seen, '\n');
    if (bare < end || (end < seen.size && end + 1 < seen.size && bare != end + 1)) {
        return PROXY_BAD;
    }
    if (bare == seen.size) {
        return seen.size == PROXY_V1_BYTES_MAX ? PROXY_BAD : PROXY_MORE;
    }
    header->bytes = bare + 1;
    return v1_line(slice_first(seen, end), header) ? PROXY_WHOLE : PROXY_BAD;
}

/* --- version 2 -------------------------------------------------------------------------------- */

static uint16_t big_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t big_u32(const uint8_t *at)
{
    return (uint32_t)big_u16(at) << 16 | big_u16(at + 2);
}

/* CRC-32C of the header, with zeros for the four bytes at `hole`. */
static uint32_t checksum(struct slice header, size_t hole)
{
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < header.size; i++) {
        sum ^= i >= hole && i < hole + 4 ? 0 : header.data[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            sum = sum >> 1 ^ ((sum & 1) != 0 ? 0x82F63B78u : 0);
        }
    }
    return ~sum;
}

/* One TLV off the front of `rest`; false: it does not fit. */
static bool tlv_take(struct slice *rest, uint8_t *type_out, struct slice *value_out)
{
    if (rest->size < TLV_BYTES || rest->size - TLV_BYTES < big_u16(rest->data + 1)) {
        return false;
    }
    size_t size = big_u16(rest->data + 1);
    *type_out = rest->data[0];
    *value_out = slice_first(slice_skip(*rest, TLV_BYTES), size);
    *rest = slice_skip(*rest, TLV_BYTES + size);
    return true;
}

static bool ssl_is_good(struct slice value)
{
    uint8_t type;
    struct slice inner;
    if (value.size < SSL_BYTES) {
        return false;
    }
    value = slice_skip(value, SSL_BYTES);
    while (value.size > 0) {
        if (!tlv_take(&value, &type, &inner)) {
            return false;
        }
    }
    return true;
}

/* All that follows the addresses. `whole` is the header. */
static bool tlvs_are_good(struct slice whole, struct slice rest)
{
    bool summed = false;
    while (rest.size > 0) {
        uint8_t type;
        struct slice value;
        if (!tlv_take(&rest, &type, &value)) {
            return false;
        }
        if (type == TLV_SSL && !ssl_is_good(value)) {
            return false;
        }
        if (type != TLV_CRC32C) {
            continue;
        }
        size_t hole = (size_t)(value.data - whole.data);
        if (summed || value.size != 4 || big_u32(value.data) != checksum(whole, hole)) {
            return false;
        }
        summed = true;
    }
    return true;
}

static void put_v4(const uint8_t *at, struct endpoint *endpoint)
{
    memset(endpoint->address, 0, 10);
    memset(endpoint->address + 10, 0xFF, 2);
    memcpy(endpoint->address + 12, at, 4);
}

/* Addresses by family and protocol, then TLVs. */
static bool v2_body(struct slice whole, struct proxy_header *header)
{
    struct slice body = slice_skip(whole, V2_BYTES);
    const uint8_t *at = body.data;
    size_t bytes;
    switch (whole.data[13]) {
    case 0x00: /* AF_UNSPEC */
        return tlvs_are_good(whole, body);
    case 0x11: /* TCP over IPv4 */
        bytes = 12;
        if (body.size < bytes) {
            return false;
        }
        put_v4(at, &header->source);
        put_v4(at + 4, &header->destination);
        break;
    case 0x21: /* TCP over IPv6 */
        bytes = 36;
        if (body.size < bytes) {
            return false;
        }
        memcpy(header->source.address, at, 16);
        memcpy(header->destination.address, at + 16, 16);
        break;
    default: /* datagrams, UNIX sockets: none of them leads here */
        return false;
    }
    header->has_addresses = true;
    header->source.port = big_u16(at + bytes - 4);
    header->destination.port = big_u16(at + bytes - 2);
    return tlvs_are_good(whole, slice_skip(body, bytes));
}

static enum proxy_parse v2_parse(struct slice input, struct proxy_header *header)
{
    if (input.size > 12 && input.data[12] != 0x20 && input.data[12] != 0x21) {
        return PROXY_BAD; /* another version, or a command that nobody knows */
    }
    if (input.size < V2_BYTES) {
        return PROXY_MORE;
    }
    header->bytes = V2_BYTES + (size_t)big_u16(input.data + 14);
    if (header->bytes > PROXY_HEADER_BYTES_MAX) {
        return PROXY_BAD;
    }
    if (input.size < header->bytes) {
        return PROXY_MORE;
    }
    /* LOCAL: the proxy itself is the client, and the rest is to be passed over. */
    bool local = input.data[12] == 0x20;
    return local || v2_body(slice_first(input, header->bytes), header) ? PROXY_WHOLE : PROXY_BAD;
}

/* --- either ----------------------------------------------------------------------------------- */

/* As far as there is something to compare. */
static bool agrees(struct slice input, struct slice prefix)
{
    size_t size = MIN_OF(input.size, prefix.size);
    return slice_equal(slice_first(input, size), slice_first(prefix, size));
}

enum proxy_parse proxy_header_parse(struct slice input, struct proxy_header *header_out)
{
    *header_out = (struct proxy_header){0};
    enum proxy_parse parse = PROXY_BAD;
    if (agrees(input, V1_PREFIX)) {
        parse = input.size < V1_PREFIX.size ? PROXY_MORE : v1_parse(input, header_out);
    } else if (agrees(input, V2_SIGNATURE)) {
        parse = input.size < V2_SIGNATURE.size ? PROXY_MORE : v2_parse(input, header_out);
    }
    if (parse != PROXY_WHOLE) {
        *header_out = (struct proxy_header){0};
    }
    return parse;
}
