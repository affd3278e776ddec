/*
 * Orders about queues as JSON that is sent, and as one of those that are in force. Pure.
 */
#ifndef RINGPOST_TOOLS_ORDER_TEXT_H
#define RINGPOST_TOOLS_ORDER_TEXT_H

#include "core/buf.h"
#include "core/json_value.h"
#include "tools/verb_options.h"

/* Null: these options say which queues. Else what is wrong with them, without full stop. */
const char *order_criteria_problem(const struct verb_options *options);
/* The same of --set and --data, of which one is wanted. */
const char *order_change_problem(const struct verb_options *options);
/* {"domain":…, "reason":…, "dry_run":…} */
void order_put(struct buf *buf, const struct verb_options *options, bool dry_run);
/* An entry of a list is about what these options say, and about nothing else. */
bool order_matches(const struct verb_options *options, const struct json_value *entry);
/* "domain x.test, tenant a" */
void order_put_criteria(struct buf *buf, const struct json_value *entry);

#endif
