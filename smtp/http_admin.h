/*
 * What operators ask and order over HTTP, with KumoMTA's paths and JSON: read, handed to
 * smtp/admin.h, smtp/explain.h or smtp/queue_census.h, and answered when these have. On the TSA
 * shard.
 *
 *   POST   /api/admin/{suspend,bounce,flush}/v1   {"domain", "routing_domain", "tenant",
 *          "campaign", "queue_names": [], "everything": true, "reason", "duration", "expires",
 *          "dry_run"} → {"id", "queues", "recipients", "samples": [], …}
 *   POST   /api/admin/rebind/v1   the same without duration and expires, and {"data": {"tenant",
 *          "campaign", "class"}, "always_flush", "suppress_logging", "trigger_rebind_event"}
 *          → {"queues", "recipients", "samples": [], "rebound", "left"}
 *   POST   /api/admin/suspend-ready-q/v1   {"name", "reason", "duration", "expires", "dry_run"}
 *   GET    the first two and the last: a list; DELETE {"id"}: 200, 404
 *   GET    /api/admin/explain/v1?queue=|domain=|id=
 *   GET    /api/admin/inspect-message/v1?id=&want_body=
 *   GET    /api/admin/inspect-sched-q/v1?queue_name=&want_body=&limit=
 *   GET    /api/admin/inspect-ready-q/v1?queue_name=
 *   GET    /api/admin/queues/v1?kind=scheduled|ready&limit= → {"kind", "queues": [{"name", "count",
 *          "due", "state", "reason", "since", "site"}], "exact", "total_queues", "total_count",
 *          "others": {"queues", "count"}, "reasons": {REASON: {"queues", "count"}}, "now"}
 *   POST   /api/admin/reload/v1   → 200 {"applied": true, "changed": [{"key", "old", "new",
 *          "effect": "now" | "restart"}], "errors": [], "notes": []}; 422 with false and errors
 *
 * A duration is a text as in a configuration, or seconds; `expires` RFC 3339. What is wrong is 400
 * with a line that says so, unknown members included; what cannot be stored 500; too many at once,
 * or a stop, 503.
 */
#ifndef RINGPOST_SMTP_HTTP_ADMIN_H
#define RINGPOST_SMTP_HTTP_ADMIN_H

#include "core/pool.h"
#include "shard/io/http_exchange.h"
#include "smtp/admin.h"
#include "smtp/explain.h"
#include "smtp/rebind.h"
#include "smtp/queue_census.h"

#define HTTP_ADMIN_BODY_BYTES (128 * KIB)
#define HTTP_ADMIN_BAD_LIMIT  "limit= is a number from 1 to 1000"

struct http_admin {
    struct admin *admin;        /* borrowed, like the next one */
    struct explain *explain;
    struct rebind *rebind;
    struct queue_census *census;
    struct pool orders;         /* being dealt with */
    struct pool questions;
    struct pool censuses;
    struct pool reloads;
};

/* Boot. */
void http_admin_init(struct http_admin *http, struct boot_pages *pages, struct admin *admin,
                     struct explain *explain, struct rebind *rebind, struct queue_census *census);

/* Handlers: smtp/http_routes.c. */
void http_admin_suspend(struct http_exchange *exchange);
void http_admin_suspend_list(struct http_exchange *exchange);
void http_admin_suspend_cancel(struct http_exchange *exchange);
void http_admin_suspend_ready(struct http_exchange *exchange);
void http_admin_suspend_ready_list(struct http_exchange *exchange);
void http_admin_suspend_ready_cancel(struct http_exchange *exchange);
void http_admin_bounce(struct http_exchange *exchange);
void http_admin_bounce_list(struct http_exchange *exchange);
void http_admin_bounce_cancel(struct http_exchange *exchange);
void http_admin_flush(struct http_exchange *exchange);
void http_admin_rebind(struct http_exchange *exchange);
void http_admin_explain(struct http_exchange *exchange);
void http_admin_inspect_message(struct http_exchange *exchange);
void http_admin_inspect_queue(struct http_exchange *exchange);
void http_admin_inspect_ready(struct http_exchange *exchange);
void http_admin_queues(struct http_exchange *exchange);
void http_admin_reload(struct http_exchange *exchange);

/* --- for its parts --------------------------------------------------------------------------- */

/* The node's; null: it is not ready, and the exchange has been answered. */
struct http_admin *http_admin_of(struct http_exchange *exchange);
void http_inspect_init(struct http_admin *http, struct boot_pages *pages);
void http_queues_init(struct http_admin *http, struct boot_pages *pages);
/* False: the parameter is there, and no number from 1 to `most`. Without it there is no change. */
MUST_USE bool http_admin_take_limit(struct http_exchange *exchange, uint32_t most,
                                    uint32_t *limit_out);
void http_reload_init(struct http_admin *http, struct boot_pages *pages);

#endif
