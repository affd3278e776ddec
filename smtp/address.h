/*
 * Reverse-path and forward-path of MAIL and RCPT (RFC 5321 4.1.2, 4.1.3, 4.5.3.1; RFC 6531 3.3).
 * Parses in place, allocates nothing. Pure.
 *
 * A source route ("<@a,@b:user@c>") is accepted and dropped; percent hacks and bang paths are
 * ordinary local parts; the domain is what follows the last unquoted '@' and may be an address
 * literal. "<postmaster>" has an empty domain.
 */
#ifndef RINGPOST_SMTP_ADDRESS_H
#define RINGPOST_SMTP_ADDRESS_H

#include "core/base.h"
#include "core/slice.h"

#define ADDRESS_LOCAL_BYTES_MAX  64
#define ADDRESS_DOMAIN_BYTES_MAX 255
#define ADDRESS_BYTES_MAX        254 /* a path is 256 with its brackets */

struct address {
    struct slice whole;  /* without brackets and source route; empty for "<>" */
    struct slice local;  /* as written, quotes included */
    struct slice domain; /* as written; of a literal with its brackets */
    bool utf8;           /* has non-ASCII bytes: needs SMTPUTF8 */
};

/*
 * A path with its angle brackets at the start of `text`; what follows it is left in `rest_out`.
 * `allow_null` for "<>". False on any fault of syntax or length.
 */
MUST_USE bool address_parse_path(struct slice text, bool allow_null, struct address *address_out,
                                 struct slice *rest_out);

/*
 * An address alone, as JSON and templates have it: without brackets, and nothing before or behind
 * it; the slices are of `text`. `allow_null` for an empty one.
 */
MUST_USE bool address_parse_bare(struct slice text, bool allow_null, struct address *address_out);

/* A domain as after '@': labels of letters, digits, hyphens (and UTF-8), 1 to 63 each. */
bool domain_is_valid(struct slice domain);
/*
 * What a client may call itself in EHLO and HELO: a domain in ASCII or a literal. Underscores are
 * taken too: hosts that send mail are often named so, and RFC 5321 4.1.4 wants them served.
 */
bool domain_is_hello(struct slice hello);
/* "[192.0.2.1]", "[IPv6:…]": a well-formed address literal (RFC 5321 4.1.3). */
bool domain_is_literal(struct slice domain);

#endif
