/*
 * What DNS is about, apart from messages and servers: names, types, records, and what an answer can
 * come to (RFC 1035, TLSA 6698). Pure.
 *
 * Names are text in lower case without the dot at the end; the root is "". A name with anything
 * but letters, digits, '-', '_' and '.' in it is none.
 */
#ifndef RINGPOST_CORE_DNS_H
#define RINGPOST_CORE_DNS_H

#include "core/endpoint.h"

#define DNS_NAME_BYTES_MAX   253
#define DNS_LABEL_BYTES_MAX  63
#define DNS_STRING_BYTES_MAX 255 /* of TXT */
#define DNS_PORT             53

/* All but SOA can be asked for. */
enum dns_type {
    DNS_A = 1,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_TLSA = 52,
};

/* What there is to know of a name and type. Those after DNS_NO_DATA are trouble, never a no. */
enum dns_status {
    DNS_OK,         /* there are records */
    DNS_NO_NAME,    /* NXDOMAIN, of the name at the end of the aliases */
    DNS_NO_DATA,    /* the name is there, records of this type are not */
    DNS_FAILED,     /* SERVFAIL, REFUSED, a referral to other servers …, of all servers */
    DNS_TIMEOUT,
    DNS_BAD_ANSWER, /* nothing but junk; a loop or too long a chain of aliases */
    DNS_BUSY,       /* not asked: too much is being asked already */
};

struct dns_record {
    uint16_t preference;     /* MX */
    struct slice name;       /* MX, PTR, CNAME; "" is the null MX (RFC 7505) */
    struct endpoint address; /* A, AAAA; port 0 */
    struct slice bytes;      /* TXT: its strings in one; TLSA: usage, selector, matching, data */
};

const char *dns_type_name(enum dns_type type); /* "MX" */
/* "mx", "MX"; false: it is none of these. */
MUST_USE bool dns_type_parse(struct slice text, enum dns_type *type_out);
const char *dns_status_name(enum dns_status status); /* "no such name", "timeout" … for people */

/* A name as text, in any letter case, with or without a dot at the end; false: it is none. */
MUST_USE bool dns_name_normalize(struct slice text, uint8_t out[DNS_NAME_BYTES_MAX],
                                 struct slice *name_out);
/* Is `domain` the name itself or above it? Both are names. */
bool dns_name_covers(struct slice domain, struct slice name);

#endif
