/*
 * An IP address and a port. IPv4 is kept as its IPv6-mapped form, so that addresses are 16 bytes
 * everywhere. Pure; text forms only, names are never looked up.
 */
#ifndef RINGPOST_CORE_ENDPOINT_H
#define RINGPOST_CORE_ENDPOINT_H

#include "core/buf.h"

#define ENDPOINT_TEXT_MAX 64

struct endpoint {
    uint8_t address[16]; /* network order; IPv4 as ::ffff:a.b.c.d */
    uint16_t port;       /* host order */
};

bool endpoint_is_v4(const struct endpoint *endpoint);
bool endpoint_equal_address(const struct endpoint *a, const struct endpoint *b);
/* … and the ports. */
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
bool endpoint_is_loopback(const struct endpoint *endpoint);

/* "192.0.2.1", "2001:db8::1", without brackets. False on anything else. */
MUST_USE bool endpoint_parse_address(struct slice text, struct endpoint *endpoint_out);
/*
 * "192.0.2.1:25", "[2001:db8::1]:25", "[192.0.2.1]:25"; without a `default_port` (0) the port is
 * needed, else "192.0.2.1", "[2001:db8::1]" will do.
 */
MUST_USE bool endpoint_parse(struct slice text, uint16_t default_port,
                             struct endpoint *endpoint_out);
/* "192.0.2.1" or "2001:db8::1" (RFC 5952). */
void endpoint_put_address(struct buf *buf, const struct endpoint *endpoint);
/* "192.0.2.1:25" or "[2001:db8::1]:25". */
void endpoint_put(struct buf *buf, const struct endpoint *endpoint);

/* A CIDR network: an address and how many of its 128 bits count. */
struct network {
    uint8_t address[16];
    uint8_t bits;
};

/* "10.0.0.0/8", "::1", "192.0.2.1". Host bits set beyond the prefix are refused. */
MUST_USE bool network_parse(struct slice text, struct network *network_out);
bool network_contains(const struct network *network, const struct endpoint *endpoint);
/* Does any of them? */
bool networks_contain(const struct network *networks, size_t count,
                      const struct endpoint *endpoint);

#endif
