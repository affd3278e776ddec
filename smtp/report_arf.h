/*
 * The fields of a complaint (RFC 5965 3), and the JSON that KumoMTA's log has for it. Reports of
 * version 0.1, and those with Received-Date where the standard has Arrival-Date, are read as well;
 * a value that is none of its field's (a version, a date, an address of a host, a number) is left
 * out, and so is what there is too much of. Pure.
 */
#ifndef RINGPOST_SMTP_REPORT_ARF_H
#define RINGPOST_SMTP_REPORT_ARF_H

#include "core/json.h"

#define ARF_FIELDS_MAX      200       /* of a report; what follows them is not looked at */
#define ARF_VALUES_MAX      32        /* of one field that may be repeated */
#define ARF_LISTS_BYTES_MAX (4 * KIB) /* of all values that are put into lists */

/* Values as they stand in the text, borrowed; empty: not there. */
struct arf {
    struct slice fields;
    struct slice feedback_type;
    struct slice user_agent;
    struct slice version;
    struct slice original_envelope_id;
    struct slice original_mail_from;
    struct slice arrival_date;
    struct slice reporting_mta;
    struct slice source_ip;
    struct slice incidents;
};

/* `fields` is report.fields. False without a Feedback-Type: no complaint. */
MUST_USE bool arf_read(struct slice fields, struct arf *arf_out);

/* The first Original-Rcpt-To; false without one. */
MUST_USE bool arf_recipient(const struct arf *arf, struct slice *value_out);

/*
 * Members of KumoMTA's feedback_report, into an object that is open: all but original_message and
 * supplemental_trace, which are of the message that the complaint is about.
 */
void arf_put_members(struct json *json, const struct arf *arf);

#endif
