/*
 * What `ringpost top --json` prints: a line of JSON for each reading. Pure.
 *
 *   {"in", "out", "deferred", "bounced": a second, "clients", "servers", "shards", "memory_used",
 *    "memory_limit", "queued", "ready", "spool_free_percent",
 *    "threads": [{"name", "in", "out", "deferred", "bounced", "clients", "busy_percent"}]}
 *
 * What the server does not tell is null. Queues are what `ringpost queues --json` prints.
 */
#ifndef RINGPOST_TOOLS_TOP_JSON_H
#define RINGPOST_TOOLS_TOP_JSON_H

#include "core/json.h"
#include "tools/top_model.h"

#define TOP_JSON_BYTES (64 * KIB)

/* With its line end. */
void top_json_put(struct buf *buf, const struct top_model *model);

#endif
