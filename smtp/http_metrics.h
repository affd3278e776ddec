/*
 * GET /metrics and /metrics.json (?prefix=): how the node does, for Prometheus and as KumoMTA's
 * JSON (core/exposition.h). TSA shard. docs/metrics.md has the list.
 *
 * Counters are sums of those of all shards, and answered at any time; what only the shards know is
 * collected (smtp/metrics_source.h) while the node is ready. The number of series is bounded
 * whatever mail comes: 1,000 queues, 1,000 sites, and the rest of each in one.
 */
#ifndef RINGPOST_SMTP_HTTP_METRICS_H
#define RINGPOST_SMTP_HTTP_METRICS_H

#include "core/pool.h"
#include "shard/io/http_exchange.h"
#include "smtp/metrics_source.h"

struct http_metrics {
    struct metrics_source *source; /* borrowed */
    struct pool scrapes;           /* being answered */
};

/* Boot. */
void http_metrics_init(struct http_metrics *metrics, struct boot_pages *pages,
                       struct metrics_source *source);

/* Handlers: smtp/http_routes.c. */
void http_metrics_text(struct http_exchange *exchange);
void http_metrics_json(struct http_exchange *exchange);

#endif
