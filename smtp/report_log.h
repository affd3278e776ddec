/*
 * From a report that came as mail to what is logged of it (smtp/report_event.h): of a notification
 * an entry for each recipient that failed, of a complaint the object feedback_report. What
 * strangers write is bounded and cleaned here, once. Pure; nothing is allocated.
 */
#ifndef RINGPOST_SMTP_REPORT_LOG_H
#define RINGPOST_SMTP_REPORT_LOG_H

#include "smtp/report_event.h"

#define REPORT_RECORDS_MAX         1024      /* that one report may lead to */
#define REPORT_ORIGINAL_BYTES_MAX  (8 * KIB) /* of original_message, as JSON */

/*
 * May a message that begins so be a report? What its Content-Type says, as long as the header can
 * be read in these bytes.
 */
bool report_log_may_be(struct slice beginning);

/* report_read, and it says what such a report has to say. False: to us it is none. */
MUST_USE bool report_log_read(struct slice message, bool whole, struct buf *scratch,
                              struct report *report_out);

/* Bytes that `said` of it may take. */
size_t report_log_bytes_max(const struct report *report);
/*
 * `report` is of report_log_read, and `buf` has that room. Puts `said`, and how many entries it
 * has: 1 of a complaint; of a notification at most `entries_max`, what is beyond that is left out.
 * `trace`: what our reference in the original says (smtp/reference.h), an object; empty: nothing.
 */
uint32_t report_log_put(struct buf *buf, const struct report *report, struct slice trace,
                        uint32_t entries_max);

#endif
