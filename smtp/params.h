/*
 * The parameters of MAIL and RCPT (RFC 5321 4.1.1.11): SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8
 * (RFC 6531), and those of DSN (RFC 3461 4): RET, ENVID, NOTIFY, ORCPT. And the attributes of
 * XCLIENT, which is Postfix's. Parses in place. Pure.
 */
#ifndef RINGPOST_SMTP_PARAMS_H
#define RINGPOST_SMTP_PARAMS_H

#include "core/endpoint.h"
#include "smtp/envelope.h"

#define DSN_ENVID_BYTES_MAX 100 /* RFC 3461 4.4 */
#define DSN_ORCPT_BYTES_MAX 500 /* RFC 3461 4.2 */

enum mail_body {
    MAIL_BODY_7BIT, /* default, RFC 6152 */
    MAIL_BODY_8BITMIME,
};

enum params_fault {
    PARAMS_OK,
    PARAMS_SYNTAX,      /* 501 5.5.4: malformed, twice, or a value that cannot be */
    PARAMS_NOT_OFFERED, /* 555 5.5.4: well-formed, and nothing that we announced */
};

struct mail_params {
    uint64_t size; /* 0 when not given */
    bool size_given;
    enum mail_body body;
    bool body_given;
    bool smtputf8;
    struct envelope_dsn dsn; /* RET, ENVID */
};

/*
 * `text` is what follows the path: empty, or a space and parameters. The first fault from the left
 * is the one reported. `extended` says that the client began with EHLO: after HELO nothing was
 * announced.
 */
enum params_fault params_parse_mail(struct slice text, bool extended,
                                    struct mail_params *params_out);
/*
 * NOTIFY, ORCPT. What an ORCPT of type "utf-8" (RFC 6533 3) has beyond ASCII is the caller's to
 * refuse; of any other type it is xtext that says printable ASCII.
 */
enum params_fault params_parse_rcpt(struct slice text, bool extended,
                                    struct envelope_dsn *dsn_out);

/* What a client that speaks for another says of that one (XCLIENT); what it leaves out, or says is
 * [UNAVAILABLE], is not set. */
struct xclient_params {
    bool has_address;
    bool has_port;
    bool has_local_address;
    bool has_local_port;
    struct endpoint client; /* ADDR, PORT */
    struct endpoint local;  /* DESTADDR, DESTPORT */
};

/*
 * `text` is the argument: ADDR, PORT, DESTADDR and DESTPORT, each once at most and one at least.
 * An address is "192.0.2.1" or "IPV6:2001:db8::1"; that of the client has to be one, or the rights
 * of who speaks would stay.
 */
enum params_fault params_parse_xclient(struct slice text, struct xclient_params *params_out);

#endif
