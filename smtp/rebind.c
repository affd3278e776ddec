#include "smtp/rebind.h"

#include "core/check.h"

static void step_run(struct deferred *deferred);

void rebind_init(struct rebind *rebind, struct shard *shard, struct boot_pages *pages,
                 unsigned shards)
{
    rebind->shard = shard;
    rebind->shards = shards;
    rebind->parts = boot_pages_take(pages, shards * sizeof(*rebind->parts));
    list_init(&rebind->waiting);
    deferred_init(&rebind->step, step_run);
}

void rebind_shard_set(struct rebind *rebind, unsigned index, struct delivery *delivery,
                      struct boot_pages *pages)
{
    rebind->parts[index] = boot_pages_take(pages, sizeof(struct rebind_part));
    rebind_part_init(rebind->parts[index], rebind, delivery, pages);
}

void rebind_shard_start(struct rebind *rebind, unsigned index, struct spool *spool)
{
    rebind->parts[index]->mover.spool = spool;
}

void rebind_shard_stop(struct rebind *rebind, unsigned index)
{
    struct rebind_part *part = rebind->parts[index];
    part->stopping = true;
    part->mover.stopping = true;
    shard_timer_clear(part->mover.shard, &part->pause);
    if (part->stage == REBIND_MOVE) {
        shard_walk_resume(&part->walk);
    }
}

uint32_t rebind_shard_open(const struct rebind *rebind, unsigned index)
{
    return rebind->parts[index]->mover.in_flight;
}

void rebind_shard_fini(struct rebind *rebind, unsigned index)
{
    struct rebind_part *part = rebind->parts[index];
    shard_timer_clear(part->mover.shard, &part->pause);
    deferred_cancel(&part->walk.step);
}

/* --- the log ---------------------------------------------------------------------------------- */

static void put_text(struct logline *line, const char *key, struct slice text, bool always)
{
    if (always || text.size > 0) {
        logline_text(line, key, text);
    }
}

static void log_request(const struct rebind *rebind, const struct rebind_request *request)
{
    const struct admin_criteria *criteria = &request->criteria;
    const struct metadata_change *change = &request->change;
    struct logline line;
    logline_begin(&line, "admin");
    logline_string(&line, "action", "rebind");
    logline_text(&line, "reason", request->reason);
    if (criteria->everything) {
        logline_string(&line, "everything", "true");
    }
    put_text(&line, "domain", criteria->domain, false);
    put_text(&line, "routing_domain", criteria->routing_domain, false);
    put_text(&line, "tenant", criteria->tenant, false);
    put_text(&line, "campaign", criteria->campaign, false);
    put_text(&line, "queue", criteria->name_count > 0 ? criteria->names[0] : SLICE_NONE, false);
    put_text(&line, "new_tenant", change->tenant, change->sets_tenant);
    put_text(&line, "new_campaign", change->campaign, change->sets_campaign);
    if (change->sets_class) {
        logline_string(&line, "new_class", change->urgent ? "urgent" : "bulk");
    }
    logline_u64(&line, "recipients", request->moved);
    logline_u64(&line, "left", request->left);
    logline_end(&line, &rebind->log);
}

/* --- one after the other ---------------------------------------------------------------------- */

static void answer(struct rebind *rebind, struct rebind_request *request,
                   enum rebind_status status)
{
    request->status = status;
    shard_defer(rebind->shard, &rebind->step);
    request->done(request);
}

/* Null: it makes sense. */
static const char *request_problem(struct rebind *rebind, const struct rebind_request *request)
{
    const struct metadata_change *change = &request->change;
    const struct conf *conf = rebind->conf(rebind);
    const struct admin_entry entry = {
        .kind = ADMIN_SUSPEND, /* whose queues are meant */
        .criteria = request->criteria,
        .reason = request->reason,
    };
    const char *problem = admin_entry_problem(&entry);
    if (problem != NULL) {
        return problem;
    }
    if (!change->sets_tenant && !change->sets_campaign && !change->sets_class) {
        return "data has nothing that is to be set: tenant, campaign, class";
    }
    if (change->tenant.size > 0 && (change->tenant.size > CONF_TENANT_BYTES_MAX ||
                                    !conf_tenant_is_valid(change->tenant) ||
                                    !conf_tenant_is_defined(conf, change->tenant))) {
        return "there is no such tenant";
    }
    if (change->campaign.size > 0 && (change->campaign.size > CONF_CAMPAIGN_BYTES_MAX ||
                                      !conf_campaign_is_valid(change->campaign))) {
        return "campaign is none";
    }
    return NULL;
}

void rebind_part_home(struct rebind_part *part)
{
    struct rebind *rebind = part->rebind;
    struct rebind_request *request = rebind->current;
    if (--rebind->out > 0) {
        return;
    }
    request->found = (struct admin_found){0};
    for (unsigned i = 0; i < rebind->shards; i++) {
        admin_found_add(&request->found, &rebind->parts[i]->found);
        request->moved += rebind->parts[i]->moved;
        request->left += rebind->parts[i]->meant - rebind->parts[i]->moved;
    }
    rebind->current = NULL;
    if (!request->dry_run) {
        log_request(rebind, request);
    }
    answer(rebind, request, rebind->stopping ? REBIND_STOPPING : REBIND_DONE);
}

static void step_run(struct deferred *deferred)
{
    struct rebind *rebind = CONTAINER_OF(deferred, struct rebind, step);
    struct list *link = rebind->current == NULL ? list_pop_front(&rebind->waiting) : NULL;
    if (link == NULL) {
        return;
    }
    struct rebind_request *request = CONTAINER_OF(link, struct rebind_request, link);
    rebind->waiting_count--;
    request->moved = 0;
    request->left = 0;
    request->problem = request_problem(rebind, request);
    if (rebind->stopping || request->problem != NULL) {
        answer(rebind, request, rebind->stopping ? REBIND_STOPPING : REBIND_INVALID);
        return;
    }
    rebind->current = request;
    rebind->out = rebind->shards;
    for (unsigned i = 0; i < rebind->shards; i++) {
        rebind_part_send(rebind->parts[i], request);
    }
}

bool rebind_ask(struct rebind *rebind, struct rebind_request *request)
{
    if (rebind->waiting_count == REBIND_REQUESTS_MAX) {
        return false;
    }
    list_init(&request->link);
    list_push_back(&rebind->waiting, &request->link);
    rebind->waiting_count++;
    shard_defer(rebind->shard, &rebind->step);
    return true;
}

void rebind_stop(struct rebind *rebind)
{
    rebind->stopping = true;
    shard_defer(rebind->shard, &rebind->step);
}

bool rebind_idle(const struct rebind *rebind)
{
    return rebind->current == NULL && list_empty(&rebind->waiting);
}

void rebind_fini(struct rebind *rebind)
{
    deferred_cancel(&rebind->step);
}
