/*
 * What is in force, and how it goes, over HTTP.
 *
 *   GET /get_config_v1/shaping.toml, /get_suspension_v1/suspended.json,
 *       /get_bounce_v1/bounced.json   lists in KumoMTA's forms (tsa/effect_text.h)
 *   GET /tsa/status                   what there is of everything, as JSON
 *   GET /api/check-liveness/v1        200, up to a stop
 *   GET /api/check-readiness/v1       200 when records are taken
 *   GET /metrics, /metrics.json       samples (core/exposition.h)
 */
#ifndef RINGPOST_TSA_TSA_SHOW_H
#define RINGPOST_TSA_TSA_SHOW_H

#include "shard/io/http_exchange.h"

/* Handlers: tsa/tsa_routes.c. */
void tsa_show_config(struct http_exchange *exchange);
void tsa_show_suspensions(struct http_exchange *exchange);
void tsa_show_bounces(struct http_exchange *exchange);
void tsa_show_status(struct http_exchange *exchange);
void tsa_show_liveness(struct http_exchange *exchange);
void tsa_show_readiness(struct http_exchange *exchange);
void tsa_show_metrics(struct http_exchange *exchange);
void tsa_show_metrics_json(struct http_exchange *exchange);

#endif
