/*
 * The messages of a request: its templates are compiled once, then one message is made for each
 * recipient. In templates the recipient's substitutions come first, then `email`, `name` and
 * `to_header` of the recipient, then the substitutions of the request.
 *
 * Templates are all texts of the content: the whole message, or the bodies, the subject and the
 * values of headers. In HTML what is printed is escaped. In the header of a whole message it may
 * hold no line end or other control, and begin no line, so that none makes a header field. Pure.
 */
#ifndef RINGPOST_SMTP_INJECT_MESSAGE_H
#define RINGPOST_SMTP_INJECT_MESSAGE_H

#include "smtp/inject_request.h"

/* The programs of a request; null where there is no text. */
struct inject_templates {
    const struct inject_request *request; /* borrowed */
    const struct template *raw;
    const struct template *text_body;
    const struct template *html_body;
    const struct template *amp_html_body;
    const struct template *subject;
    const struct template **headers; /* one for each */
};

/*
 * False with the problem ("content.subject: line 1, column 4: …"): a template has a fault, or an
 * attachment is not fit for a message.
 */
MUST_USE bool inject_compile(const struct inject_request *request, struct arena *arena,
                             struct inject_templates *templates_out,
                             struct inject_problem *problem_out);

/* What a message is made with. */
struct inject_maker {
    const struct inject_templates *templates; /* borrowed, like all below */
    struct arena *texts;   /* what templates render to: a message; left as it was */
    struct arena *scratch; /* what they compute with; left as it was */
    struct slice id;       /* of the message, as struct compose wants it */
    struct slice hostname;
    uint64_t wall_ns;
    uint64_t steps; /* that templates may take in all; what is left when it ends */
    uint64_t work;  /* bytes worked on are added, whether a message came of it or not */
};

/*
 * Appends the message for a recipient, who must be valid. False with the problem, and `out` as it
 * was. `utf8_out`: an address in its header is not ASCII, so it needs SMTPUTF8.
 */
MUST_USE bool inject_make(struct inject_maker *maker, const struct inject_recipient *recipient,
                          struct buf *out, bool *utf8_out, struct inject_problem *problem_out);

#endif
