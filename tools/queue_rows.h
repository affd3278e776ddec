/*
 * The listing of queues (GET /api/admin/queues/v1) for people: a row of a table for each, and a
 * line that sums up. Pure.
 *
 *   {"kind", "queues": [{"name", "count", "due", "state", "reason", "since", "site"}],
 *    "total_queues", "total_count", "others": {"queues", "count"},
 *    "reasons": {"REASON": {"queues", "count"}}, "now"}
 */
#ifndef RINGPOST_TOOLS_QUEUE_ROWS_H
#define RINGPOST_TOOLS_QUEUE_ROWS_H

#include "core/json_value.h"
#include "tools/table.h"

#define QUEUE_ROWS_MAX     1000u /* of one answer */
#define QUEUE_ROWS_COLUMNS 6u
#define QUEUE_ROWS_NARROW  3u    /* columns, where there is no room for all */

extern const struct table_column queue_rows_columns[QUEUE_ROWS_COLUMNS];
extern const struct table_column queue_rows_narrow_columns[QUEUE_ROWS_NARROW];

/* How many queues there are in the answer. */
uint32_t queue_rows_count(const struct json_value *answer);
/* The cells of one of them; `now_ns` by the server's clock. */
void queue_rows_put(struct table *table, const struct json_value *queue, uint64_t now_ns);
void queue_rows_put_narrow(struct table *table, const struct json_value *queue);
/* "45,123 recipients in 12 queues: 40,000 not_due, 5,123 message_rate" */
void queue_rows_put_sum(struct buf *buf, const struct json_value *answer);

#endif
