/*
 * Domains as DNS has them (RFC 5890, RFC 6531 3.2): what is not ASCII becomes A-labels, by libidn2.
 * Allocates for such a domain alone; on the TSA shard. No state.
 */
#ifndef RINGPOST_SMTP_IDNA_H
#define RINGPOST_SMTP_IDNA_H

#include "core/dns.h"

/* Lower case, without a dot at the end. False: no domain of DNS has that name. */
MUST_USE bool idna_to_ascii(struct slice domain, uint8_t out[DNS_NAME_BYTES_MAX],
                            struct slice *name_out);

#endif
