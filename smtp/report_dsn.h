/*
 * The fields of a notification of delivery (RFC 3464 2, RFC 6533): about a message, and about each
 * of its recipients. Values are borrowed from the text as they stand; smtp/report_text.h makes of
 * them what is kept.
 *
 * Groups of fields stand apart by empty lines. A field that comes twice counts once, the first
 * time; one that is missing is empty, or unknown; a group with no field of a recipient is passed
 * over. Pure.
 */
#ifndef RINGPOST_SMTP_REPORT_DSN_H
#define RINGPOST_SMTP_REPORT_DSN_H

#include "core/buf.h"

#define DSN_RECIPIENTS_MAX 1024 /* of a report; what follows them is not looked at */

enum dsn_action {
    DSN_UNKNOWN,
    DSN_FAILED,
    DSN_DELAYED,
    DSN_DELIVERED,
    DSN_RELAYED,
    DSN_EXPANDED,
};

/* RFC 3463 2; all 0: unknown. */
struct dsn_status {
    uint8_t class; /* 2, 4, 5 */
    uint16_t subject;
    uint16_t detail;
};

struct dsn_message {
    struct slice reporting_mta;
    struct slice original_envelope_id;
    struct slice arrival_date;
};

struct dsn_recipient {
    enum dsn_action action;
    struct dsn_status status;
    struct slice original_recipient; /* with their types, as are the two below */
    struct slice final_recipient;
    struct slice remote_mta;
    struct slice diagnostic;
};

/* What a diagnostic of type "smtp" says: "550 5.1.1 No such user". */
struct dsn_diagnostic {
    uint16_t code; /* 0: it has none, or is of another type */
    struct slice text; /* behind the code; may have folds */
};

struct dsn_cursor {
    struct slice rest;
    uint32_t count;
};

/* `fields` is report.fields. The cursor stands before the first recipient then. */
void dsn_open(struct slice fields, struct dsn_message *message_out,
              struct dsn_cursor *cursor_out);
MUST_USE bool dsn_next(struct dsn_cursor *cursor, struct dsn_recipient *recipient_out);

/* A digit, and twice one to three, with dots between; then nothing but comments. */
struct dsn_status dsn_status_parse(struct slice value);
struct dsn_diagnostic dsn_diagnostic_parse(struct slice value);
/* "failed" … */
const char *dsn_action_name(enum dsn_action action);

#endif
