/* Reports, read and made, for tests that know other programs for the same (mail_probe.c). */
#ifndef RINGPOST_TESTS_PROBE_PROBE_REPORT_H
#define RINGPOST_TESTS_PROBE_PROBE_REPORT_H

#include "core/json.h"
#include "core/json_value.h"

/* Into an open object: what is read of a message. */
void probe_report(struct slice message, struct buf *scratch, struct json *json);
/* Into an open object: the report that is made of a request; `text` is memory for it. */
void probe_report_make(const struct json_value *request, struct arena *arena, struct buf *text,
                       struct json *json);

#endif
