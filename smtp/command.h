/*
 * One SMTP command line as a verb and its argument (RFC 5321 4.1.1). Knows syntax only: whether a
 * command is legal now, or offered at all, is the session's affair. Parses in place. Pure.
 */
#ifndef RINGPOST_SMTP_COMMAND_H
#define RINGPOST_SMTP_COMMAND_H

#include "core/base.h"
#include "core/slice.h"

enum verb {
    VERB_EHLO,
    VERB_HELO,
    VERB_MAIL,
    VERB_RCPT,
    VERB_DATA,
    VERB_BDAT,
    VERB_RSET,
    VERB_NOOP,
    VERB_VRFY,
    VERB_QUIT,
    VERB_XCLIENT,
    VERB_NOT_OFFERED, /* a command of SMTP or of its extensions that we do not have */
    VERB_FOREIGN,     /* another protocol: an HTTP request line, a "Header:" line */
    VERB_UNKNOWN,
    VERB_COUNT,
};

/* What is wrong with a line as a line, in order of rank. */
enum command_fault {
    COMMAND_OK,
    COMMAND_BARE_CR_LF, /* 500 5.5.2 */
    COMMAND_TOO_LONG,   /* 500 5.5.2 */
    COMMAND_BAD_BYTES,  /* 501 5.5.2: a control, invalid UTF-8, non-ASCII outside MAIL and RCPT */
};

struct command {
    enum verb verb;
    struct slice line;     /* all of it, without trailing white space */
    struct slice argument; /* after the verb and its spaces */
};

/*
 * `line` comes without its CRLF; trailing white space is dropped (RFC 5321 4.1.1). With a fault the
 * verb is still found as well as it can be, and the argument must not be used.
 */
enum command_fault command_parse(struct slice line, struct command *command_out);

/*
 * The argument of MAIL or RCPT without its keyword ("FROM:", "TO:", any case); no spaces stand
 * between keyword and path (RFC 5321 4.1.1.2). False when the keyword is not there.
 */
MUST_USE bool command_path(struct slice argument, struct slice keyword, struct slice *path_out);

/*
 * The argument of BDAT (RFC 3030 2): decimal octets, then LAST or nothing. `size_out` is set
 * whenever the size could be read, and `sized_out` says so: the octets follow even when what stands
 * behind the size is wrong. False on any fault.
 */
MUST_USE bool command_chunk(struct slice argument, bool *sized_out, uint64_t *size_out,
                            bool *last_out);

#endif
