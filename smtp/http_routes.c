#include "smtp/http_routes.h"

#include "smtp/http_admin.h"
#include "smtp/http_automation.h"
#include "smtp/http_events.h"
#include "smtp/http_console.h"
#include "smtp/http_metrics.h"
#include "smtp/http_probes.h"
#include "smtp/http_trace.h"
#include "smtp/node.h"

static void inject(struct http_exchange *exchange)
{
    inject_handle(&((struct mta *)exchange->context)->inject, exchange);
}

#define PAGE(name) {.path = name, .methods = HTTP_METHOD_GET, .handle = http_console}
#define READ(name, function)                                                                       \
    {.path = "/api/admin/" name "/v1", .methods = HTTP_METHOD_GET, .handle = function}
#define ORDER(name, method, function)                                                              \
    {.path = "/api/admin/" name "/v1", .methods = method, .carries = HTTP_CARRIES_JSON,            \
     .body_bytes_max = HTTP_ADMIN_BODY_BYTES, .handle = function}

#define WATCH(name, function)                                                                      \
    {.path = "/api/admin/" name "/v1", .methods = HTTP_METHOD_GET, .websocket = true,              \
     .handle = function}

static const struct http_route routes[] = {
    PAGE("/"),
    PAGE("/console/charts.js"),
    PAGE("/console/explain.js"),
    PAGE("/console/failures.js"),
    PAGE("/console/figures.js"),
    PAGE("/console/format.js"),
    PAGE("/console/icon.svg"),
    PAGE("/console/main.js"),
    PAGE("/console/page.js"),
    PAGE("/console/poll.js"),
    PAGE("/console/queues.js"),
    PAGE("/console/samples.js"),
    PAGE("/console/style.css"),
    PAGE("/console/uplot.css"),
    PAGE("/console/uplot.js"),
    PAGE("/console/uplot-licence.txt"),
    PAGE("/console/words.js"),
    {.path = "/api/check-liveness/v1", .methods = HTTP_METHOD_GET, .handle = http_check_liveness},
    {.path = "/api/check-readiness/v1", .methods = HTTP_METHOD_GET, .handle = http_check_readiness},
    {
        .path = "/api/inject/v1",
        .methods = HTTP_METHOD_POST,
        .where = HTTP_ON_MAIL_SHARD,
        .carries = HTTP_CARRIES_JSON,
        .handle = inject,
    },
    {.path = "/api/events/v1", .methods = HTTP_METHOD_GET, .handle = http_events_follow},
    {.path = "/metrics", .methods = HTTP_METHOD_GET, .handle = http_metrics_text},
    {.path = "/metrics.json", .methods = HTTP_METHOD_GET, .handle = http_metrics_json},
    ORDER("suspend", HTTP_METHOD_POST, http_admin_suspend),
    ORDER("suspend", HTTP_METHOD_DELETE, http_admin_suspend_cancel),
    READ("suspend", http_admin_suspend_list),
    ORDER("suspend-ready-q", HTTP_METHOD_POST, http_admin_suspend_ready),
    ORDER("suspend-ready-q", HTTP_METHOD_DELETE, http_admin_suspend_ready_cancel),
    READ("suspend-ready-q", http_admin_suspend_ready_list),
    ORDER("bounce", HTTP_METHOD_POST, http_admin_bounce),
    ORDER("bounce", HTTP_METHOD_DELETE, http_admin_bounce_cancel),
    READ("bounce", http_admin_bounce_list),
    ORDER("flush", HTTP_METHOD_POST, http_admin_flush),
    ORDER("reload", HTTP_METHOD_POST, http_admin_reload),
    ORDER("rebind", HTTP_METHOD_POST, http_admin_rebind),
    READ("explain", http_admin_explain),
    READ("inspect-message", http_admin_inspect_message),
    READ("inspect-sched-q", http_admin_inspect_queue),
    READ("inspect-ready-q", http_admin_inspect_ready),
    READ("queues", http_admin_queues),
    READ("tsa", http_automation_status),
    ORDER("tsa", HTTP_METHOD_DELETE, http_automation_cancel),
    WATCH("trace-smtp-server", http_trace_server),
    WATCH("trace-smtp-client", http_trace_client),
};

const struct http_route *http_routes(size_t *count_out)
{
    *count_out = COUNT_OF(routes);
    return routes;
}
