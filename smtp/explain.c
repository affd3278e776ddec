#include "smtp/explain.h"

#include "core/check.h"

static void step_run(struct deferred *deferred);

void explain_init(struct explain *explain, struct shard *shard, struct boot_pages *pages,
                  unsigned shards)
{
    *explain = (struct explain){.shard = shard, .shards = shards};
    explain->parts = boot_pages_take(pages, shards * sizeof(struct explain_part));
    list_init(&explain->waiting);
    deferred_init(&explain->step, step_run);
}

void explain_shard_set(struct explain *explain, unsigned index, struct delivery *delivery,
                       struct boot_pages *pages)
{
    explain_part_init(&explain->parts[index], explain, delivery, pages);
}

static void answer(struct explain *explain, struct explain_request *request,
                   enum explain_status status)
{
    request->status = status;
    shard_defer(explain->shard, &explain->step);
    request->done(request);
}

/* All parts are home, `sum` is what they have found. */
static enum explain_status put_answer(struct explain *explain, struct explain_request *request,
                                      const struct explain_found *sum)
{
    bool unread = false;
    bool shows = request->what >= INSPECT_MESSAGE;
    if (sum->queues > 0 && !shows) {
        const struct conf *conf = explain->conf(explain);
        const struct shaping_view view = {conf->shaping, explain->sites(explain),
                                          explain->overrides};
        explain_put_json(request, sum, conf, &view);
        return EXPLAIN_DONE;
    }
    if (sum->queues > 0 && explain_put_shown(explain, request, sum)) {
        return EXPLAIN_DONE;
    }
    for (unsigned i = 0; i < explain->shards; i++) {
        unread = unread || explain->parts[i].inspection.cut_short;
    }
    return unread ? EXPLAIN_NOT_READ : EXPLAIN_UNKNOWN;
}

void explain_part_home(struct explain_part *part)
{
    struct explain *explain = part->explain;
    struct explain_request *request = explain->current;
    if (--explain->out > 0) {
        return;
    }
    struct explain_found *sum = &explain->parts[0].found;
    for (unsigned i = 1; i < explain->shards; i++) {
        explain_found_add(sum, &explain->parts[i].found);
    }
    explain->current = NULL;
    enum explain_status status = put_answer(explain, request, sum);
    CHECK(!request->answer.overflow);
    answer(explain, request, status);
}

static void step_run(struct deferred *deferred)
{
    struct explain *explain = CONTAINER_OF(deferred, struct explain, step);
    struct list *link = explain->current == NULL ? list_pop_front(&explain->waiting) : NULL;
    if (link == NULL) {
        return;
    }
    struct explain_request *request = CONTAINER_OF(link, struct explain_request, link);
    explain->waiting_count--;
    if (explain->stopping) {
        answer(explain, request, EXPLAIN_STOPPING);
        return;
    }
    explain->current = request;
    explain->out = explain->shards;
    for (unsigned i = 0; i < explain->shards; i++) {
        explain_part_send(&explain->parts[i]);
    }
}

bool explain_ask(struct explain *explain, struct explain_request *request)
{
    if (explain->waiting_count == EXPLAIN_REQUESTS_MAX) {
        return false;
    }
    list_init(&request->link);
    list_push_back(&explain->waiting, &request->link);
    explain->waiting_count++;
    shard_defer(explain->shard, &explain->step);
    return true;
}

void explain_stop(struct explain *explain)
{
    explain->stopping = true;
    shard_defer(explain->shard, &explain->step);
}

bool explain_idle(const struct explain *explain)
{
    return explain->current == NULL && list_empty(&explain->waiting);
}

void explain_fini(struct explain *explain)
{
    deferred_cancel(&explain->step);
}
