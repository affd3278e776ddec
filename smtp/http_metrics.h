/*
 * The counts of the node, summed over its threads, for Prometheus (text format 0.0.4) and as JSON.
 * Names are KumoMTA's where they mean the same, else `ringpost_`, a counter's name in
 * `event=stopped`, `_total`. `?prefix=P` asks for those whose names begin so. TSA shard.
 */
#ifndef RINGPOST_SMTP_HTTP_METRICS_H
#define RINGPOST_SMTP_HTTP_METRICS_H

#include "shard/io/http_exchange.h"

void http_metrics_text(struct http_exchange *exchange);
void http_metrics_json(struct http_exchange *exchange);

#endif
