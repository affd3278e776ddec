#include "smtp/http_routes.h"

#include "smtp/http_metrics.h"
#include "smtp/http_probes.h"

static const struct http_route routes[] = {
    {.path = "/api/check-liveness/v1", .methods = HTTP_METHOD_GET, .handle = http_check_liveness},
    {.path = "/api/check-readiness/v1", .methods = HTTP_METHOD_GET, .handle = http_check_readiness},
    {.path = "/metrics", .methods = HTTP_METHOD_GET, .handle = http_metrics_text},
    {.path = "/metrics.json", .methods = HTTP_METHOD_GET, .handle = http_metrics_json},
};

const struct http_route *http_routes(size_t *count_out)
{
    *count_out = COUNT_OF(routes);
    return routes;
}
