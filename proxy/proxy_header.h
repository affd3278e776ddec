/*
 * The PROXY protocol, versions 1 and 2, as a receiver reads it: the header that a proxy sends ahead
 * of its client's bytes, and that says between which addresses these really travel. Pure codec. It
 * is never looked for where nobody said that it comes: whoever calls has decided that.
 *
 * Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 25` CRLF, at most 107 bytes. Version 2: binary,
 * with TLVs behind the addresses: a checksum (CRC-32C) is verified, the parts of PP2_TYPE_SSL have
 * to fit into it, all others are passed over.
 */
#ifndef RINGPOST_PROXY_PROXY_HEADER_H
#define RINGPOST_PROXY_PROXY_HEADER_H

#include "core/endpoint.h"

#define PROXY_V1_BYTES_MAX     107 /* with CRLF */
#define PROXY_HEADER_BYTES_MAX 2048 /* of version 2: addresses and TLVs included */

enum proxy_parse {
    PROXY_MORE,  /* nothing is wrong so far */
    PROXY_WHOLE,
    PROXY_BAD,   /* whatever follows */
};

struct proxy_header {
    size_t bytes;  /* what is behind them is the client's */
    bool has_addresses; /* else (UNKNOWN, LOCAL, AF_UNSPEC) those of the connection itself count */
    struct endpoint source;
    struct endpoint destination;
};

/* `input` is what has come so far, from the first byte on. */
enum proxy_parse proxy_header_parse(struct slice input, struct proxy_header *header_out);

#endif
