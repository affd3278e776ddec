/*
 * Records over HTTP, as KumoMTA's servers send them and in batches.
 *
 *   POST /publish_log_v1   application/json: one record; 400 says what is wrong with it.
 *                          application/x-ndjson: a batch, a record each line; 200 whatever is in
 *                          it, and the answer tells of lines that were not taken
 *   POST /publish_log_v2   a batch alone
 *
 * The answer is {"accepted","rejected"} (publish_batch_put_json), and comes when all of it has been
 * judged, in slices of a turn. 429 and Retry-After when there are too many batches at once.
 */
#ifndef RINGPOST_TSA_TSA_PUBLISH_H
#define RINGPOST_TSA_TSA_PUBLISH_H

#include "shard/io/http_exchange.h"

#define TSA_TURN_RECORDS 128u /* of one batch */

struct tsa;

/* Boot. */
void tsa_publish_init(struct tsa *tsa);

/* Handler: tsa/tsa_routes.c. */
void tsa_publish_handle(struct http_exchange *exchange);

#endif
