/* Every path that the node answers over HTTP, and who answers it. Handlers of the TSA shard have
 * struct control as their context, those of mail shards struct mta. */
#ifndef RINGPOST_SMTP_HTTP_ROUTES_H
#define RINGPOST_SMTP_HTTP_ROUTES_H

#include "shard/io/http_exchange.h"

const struct http_route *http_routes(size_t *count_out);

#endif
