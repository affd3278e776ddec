/* Every path that a server of automation answers, and who answers it. Their context is a
 * struct tsa. */
#ifndef RINGPOST_TSA_TSA_ROUTES_H
#define RINGPOST_TSA_TSA_ROUTES_H

#include "shard/io/http_exchange.h"

const struct http_route *tsa_routes(size_t *count_out);

#endif
