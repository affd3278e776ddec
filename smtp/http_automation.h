/*
 * What rules of automation have in force, over HTTP. On the TSA shard.
 *
 *   GET    /api/admin/tsa/v1 → {"effects": [{"change": "in force", "id", "action", "site",
 *          "source", "domain", "tenant", "campaign", "name", "value", "reason", "event_time_ms",
 *          "expires_ms", "rule": "FILE:LINE"}, …], "rules", "records", "matches", "triggered",
 *          "refused"}
 *   DELETE /api/admin/tsa/v1 {"id": N} → 200 {"id": N} when no shard has it any more; 404
 */
#ifndef RINGPOST_SMTP_HTTP_AUTOMATION_H
#define RINGPOST_SMTP_HTTP_AUTOMATION_H

#include "core/pool.h"
#include "shard/boot.h"
#include "shard/io/http_exchange.h"
#include "smtp/advisor.h"

struct http_automation {
    struct advisor *advisor; /* borrowed */
    struct pool cancels;
};

/* Boot. */
void http_automation_init(struct http_automation *http, struct boot_pages *pages,
                          struct advisor *advisor);

/* Handlers: smtp/http_routes.c. */
void http_automation_status(struct http_exchange *exchange);
void http_automation_cancel(struct http_exchange *exchange);

#endif
