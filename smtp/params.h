/*
 * The parameters of MAIL and RCPT (RFC 5321 4.1.1.11): SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8
 * (RFC 6531). RCPT has none that we offer. Parses in place. Pure.
 */
#ifndef RINGPOST_SMTP_PARAMS_H
#define RINGPOST_SMTP_PARAMS_H

#include "core/base.h"
#include "core/slice.h"

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
};

/*
 * `text` is what follows the path: empty, or a space and parameters. The first fault from the left
 * is the one reported. `extended` says that the client began with EHLO: after HELO nothing was
 * announced.
 */
enum params_fault params_parse_mail(struct slice text, bool extended,
                                    struct mail_params *params_out);
enum params_fault params_parse_rcpt(struct slice text);

#endif
