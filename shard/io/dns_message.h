/*
 * DNS messages (RFC 1035, EDNS 6891, TLSA 6698): a query as bytes, and what an answer says to it.
 * Decoding is glibc's ns_initparse and ns_parserr, under the checks that they leave out. Pure.
 * Records that have or lead to what is no name here (core/dns.h) are left out and counted.
 */
#ifndef RINGPOST_SHARD_IO_DNS_MESSAGE_H
#define RINGPOST_SHARD_IO_DNS_MESSAGE_H

#include "core/dns.h"

#define DNS_HEAD_BYTES        12
#define DNS_QUERY_BYTES_MAX   300
#define DNS_MESSAGE_BYTES_MAX 65535
#define DNS_ANSWER_BYTES_MAX  (80 * KIB) /* of memory that always will do for what was read */
#define DNS_UDP_BYTES         1232       /* what we say that we take */
#define DNS_RECORDS_MAX       100        /* looked at in a section; more are left out */
#define DNS_ALIASES_MAX       16         /* CNAMEs in a row */

/* One answer; immutable once made. `records`, names and bytes are in memory of its maker. */
struct dns_answer {
    enum dns_status status;
    enum dns_type type;
    bool secure;       /* AD: as read, the bit; further on, that of a server named trusted */
    bool truncated;    /* to be asked again by TCP; nothing else counts then */
    uint32_t ttl_s;    /* smallest of all that led here; a no: of the SOA (RFC 2308 5), else 0 */
    uint16_t rcode;    /* with the part of it that EDNS has */
    unsigned left_out; /* records that were too many or none */
    unsigned count;
    const struct dns_record *records; /* in the order of the message */
    struct slice alias;         /* the name at the end of the CNAMEs; null data: there were none */
};

struct dns_question {
    struct slice name; /* as in core/dns.h; at most DNS_NAME_BYTES_MAX bytes */
    enum dns_type type;
};

/* A query with RD and AD, and with EDNS unless it is `plain`. At most DNS_QUERY_BYTES_MAX bytes. */
void dns_query_put(struct buf *buf, const struct dns_question *question, uint16_t id, bool plain);

/*
 * What `message` says to the question. Records are put into `memory` (DNS_ANSWER_BYTES_MAX always
 * will do; what does not fit is left out). False: it is no answer to it at all (another id, another
 * question, no response bit, broken header): to be ignored as if it had not come. An error without
 * any question counts: its server could not read ours. Records that do not belong to the chain from
 * the question are ignored. When all that do are left out, that is DNS_BAD_ANSWER, never a no.
 */
MUST_USE bool dns_answer_read(struct slice message, const struct dns_question *question,
                              uint16_t id, struct buf *memory, struct dns_answer *answer_out);

#endif
