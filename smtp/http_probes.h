/*
 * What orchestrators and load balancers ask. TSA shard.
 *
 *   /api/check-liveness/v1    200 while the process does its work or gets ready for it; 503 once it
 *                             stops, or while a spool stores nothing
 *   /api/check-readiness/v1   200 when mail is taken: it is ready, does not stop, and every spool
 *                             has room
 */
#ifndef RINGPOST_SMTP_HTTP_PROBES_H
#define RINGPOST_SMTP_HTTP_PROBES_H

#include "shard/io/http_exchange.h"

void http_check_liveness(struct http_exchange *exchange);
void http_check_readiness(struct http_exchange *exchange);

#endif
