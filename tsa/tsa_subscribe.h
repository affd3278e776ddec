/*
 * Subscribers of automation over WebSockets: what they hear is tsa/hub.h's, one message each.
 *
 *   GET /subscribe_event_v1        HUB_EVENTS, KumoMTA's
 *   GET /subscribe_suspension_v1   HUB_SUSPENSIONS, KumoMTA's older one
 *   GET /subscribe_event_v2        HUB_CHANGES; ?after=SEQ&epoch=EPOCH goes on where it was, and
 *                                  begins with a snapshot where that cannot be. The epoch may be
 *                                  left out
 *
 * What a client says is read and means nothing. Who is too slow hears so (1013), and may come
 * again; who does not read at all is gone when a ping is not answered.
 */
#ifndef RINGPOST_TSA_TSA_SUBSCRIBE_H
#define RINGPOST_TSA_TSA_SUBSCRIBE_H

#include "shard/io/http_exchange.h"

struct tsa;

/* Boot. */
void tsa_subscribe_init(struct tsa *tsa);
/* What a library holds for those that have not ended. */
void tsa_subscribe_fini(struct tsa *tsa);

/* Handlers: tsa/tsa_routes.c. */
void tsa_subscribe_events(struct http_exchange *exchange);
void tsa_subscribe_suspensions(struct http_exchange *exchange);
void tsa_subscribe_changes(struct http_exchange *exchange);

#endif
