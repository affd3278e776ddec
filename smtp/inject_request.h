/*
 * The body of POST /api/inject/v1: from JSON to a struct that says what is to be sent to whom, with
 * the names, kinds and defaults of KumoMTA. Everything is checked that can be without making a
 * message: a key that is not known, a value of another kind, and what is missing are refused with
 * the path of the field ("recipients[3].email"). A recipient whose address SMTP would not take is
 * no reason to refuse the others: it is marked. Pure.
 */
#ifndef RINGPOST_SMTP_INJECT_REQUEST_H
#define RINGPOST_SMTP_INJECT_REQUEST_H

#include "core/arena.h"
#include "core/conf.h"
#include "core/json_value.h"
#include "smtp/compose.h"
#include "smtp/template.h"

#define INJECT_RECIPIENTS_MAX 100000
#define INJECT_PROBLEM_BYTES  256

/* All is borrowed from the document. A slice without data and a null pointer were not given. */

struct inject_recipient {
    struct compose_mailbox mailbox;
    const struct json_value *substitutions; /* objects */
    const struct json_value *metadata;
    bool is_valid; /* SMTP takes the address */
};

/* What becomes of headers that say how a message came and where it goes. */
struct inject_trace {
    bool received_header;
    struct conf_trace supplemental;
    const struct json_value *include_meta_names; /* a list of strings: those of `supplemental` */
};

struct inject_request {
    struct slice envelope_sender; /* without brackets; empty: the null sender */
    const struct inject_recipient *recipients;
    uint32_t recipient_count;
    struct slice raw;       /* a whole message as template; not given: `parts` */
    struct compose parts;   /* texts are templates; without `to`, `id`, `hostname`, `wall_ns` */
    const struct json_value *substitutions; /* an object, or null */
    enum template_dialect dialect;
    bool deferred_spool;
    bool deferred_generation;
    struct inject_trace trace;
};

struct inject_problem {
    char text[INJECT_PROBLEM_BYTES]; /* "path: what", printable ASCII */
};

/* False with the problem. `root` is a document; the lists are made in `arena`. */
MUST_USE bool inject_request_read(const struct json_value *root, struct arena *arena,
                                  struct inject_request *request_out,
                                  struct inject_problem *problem_out);

#endif
