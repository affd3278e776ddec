#include "tsa/tsa_routes.h"

#include "tsa/tsa_publish.h"
#include "tsa/tsa_show.h"
#include "tsa/tsa_subscribe.h"

#define READ(at, function) {.path = at, .methods = HTTP_METHOD_GET, .handle = function}
#define WATCH(at, function)                                                                        \
    {.path = at, .methods = HTTP_METHOD_GET, .websocket = true, .handle = function}
#define TAKE(at, what)                                                                             \
    {.path = at, .methods = HTTP_METHOD_POST, .carries = what, .handle = tsa_publish_handle}

static const struct http_route routes[] = {
    TAKE("/publish_log_v1", HTTP_CARRIES_JSON | HTTP_CARRIES_LINES),
    TAKE("/publish_log_v2", HTTP_CARRIES_LINES),
    WATCH("/subscribe_event_v1", tsa_subscribe_events),
    WATCH("/subscribe_suspension_v1", tsa_subscribe_suspensions),
    WATCH("/subscribe_event_v2", tsa_subscribe_changes),
    READ("/get_config_v1/shaping.toml", tsa_show_config),
    READ("/get_suspension_v1/suspended.json", tsa_show_suspensions),
    READ("/get_bounce_v1/bounced.json", tsa_show_bounces),
    READ("/tsa/status", tsa_show_status),
    READ("/api/check-liveness/v1", tsa_show_liveness),
    READ("/api/check-readiness/v1", tsa_show_readiness),
    READ("/metrics", tsa_show_metrics),
    READ("/metrics.json", tsa_show_metrics_json),
};

const struct http_route *tsa_routes(size_t *count_out)
{
    *count_out = COUNT_OF(routes);
    return routes;
}
