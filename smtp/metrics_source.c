#include "smtp/metrics_source.h"

#include "core/check.h"
#include "smtp/egress.h"
#include "smtp/queue_of.h"

#define QUEUES_MAX 512u /* looked at in a turn */

static struct metrics_part *part_of(struct shard_walk *walk)
{
    return CONTAINER_OF(walk, struct metrics_part, walk);
}

/* --- figures ---------------------------------------------------------------------------------- */

static void part_arrive(struct shard_walk *walk)
{
    struct metrics_figures *figures = &part_of(walk)->figures;
    const struct delivery *delivery = walk->delivery;
    figures->memory = delivery->shard->memory;
    figures->times[METRICS_DELIVERY] = delivery->latency;
    figures->times[METRICS_AGE] = delivery->age;
    if (delivery->spool != NULL) {
        figures->times[METRICS_COMMIT] = *spool_commit_ns(delivery->spool);
        figures->times[METRICS_COMMIT_MESSAGES] = *spool_commit_messages(delivery->spool);
    }
    part_of(walk)->providers = (struct provider_sums){0};
}

/* What the queue says itself, else the path on which it is sent; empty: neither says anything. */
static struct slice provider_of(struct delivery *delivery, const struct queue_view *view)
{
    const struct queue_options *options =
        queue_options_of(delivery->queues, view->scheduled->number);
    const struct path_options *path = view->pool != NULL ? view->pool->path : NULL;
    if (options->provider_name.size > 0) {
        return options->provider_name;
    }
    return path != NULL ? path->provider_name : SLICE_NONE;
}

static void queue_visit(struct shard_walk *walk, uint32_t number)
{
    struct queue_view view;
    if (queue_view_scheduled(walk->delivery, number, &view)) {
        provider_sums_add(&part_of(walk)->providers, provider_of(walk->delivery, &view),
                          view.recipients);
    }
}

static enum walk_slice part_slice(struct shard_walk *walk)
{
    uint32_t end = walk_things_end(walk->delivery, WALK_QUEUES);
    return shard_walk_visit(walk, end, QUEUES_MAX, queue_visit) ? WALK_OVER : WALK_GOES_ON;
}

static void figures_add(struct metrics_figures *sum, const struct metrics_figures *part)
{
    sum->memory.limit += part->memory.limit;
    for (unsigned i = 0; i < ACCOUNT_CONSUMERS; i++) {
        sum->memory.used[i] += part->memory.used[i];
    }
    for (unsigned i = 0; i < METRICS_TIMES; i++) {
        histogram_merge(&sum->times[i], &part->times[i]);
    }
}

/* --- queues ----------------------------------------------------------------------------------- */

static struct slice keep(struct buf *names, struct slice name)
{
    struct slice kept = slice_make(names->data + names->size, name.size);
    buf_put(names, name);
    CHECK(!names->overflow);
    return kept;
}

static void queues_keep(struct metrics_queues *queues, const struct census_result *result)
{
    queues->all = *result;
    queues->all.queues = NULL;
    queues->count = result->count;
    buf_init(&queues->names, queues->memory, sizeof(queues->memory));
    for (uint32_t i = 0; i < result->count; i++) {
        queues->queues[i] = (struct metrics_queue){
            .name = keep(&queues->names, result->queues[i].name),
            .count = result->queues[i].count,
            .connections = result->queues[i].connections,
        };
    }
}

static void count(struct metrics_source *source, enum census_kind kind);

static void counted(struct census_request *request, const struct census_result *result)
{
    struct metrics_source *source = CONTAINER_OF(request, struct metrics_source, request);
    bool scheduled = request->kind == CENSUS_SCHEDULED;
    queues_keep(scheduled ? &source->collection.scheduled : &source->collection.ready, result);
    source->stopping = source->stopping || result->stopping;
    if (scheduled && !source->stopping) {
        count(source, CENSUS_READY);
        return;
    }
    source->collected = true;
    shard_defer(source->shard, &source->step);
}

static void count(struct metrics_source *source, enum census_kind kind)
{
    source->request = (struct census_request){.kind = kind, .done = counted};
    CHECK(queue_census_ask(source->census, &source->request));
}

static void part_home(struct shard_walk *walk)
{
    struct metrics_source *source = part_of(walk)->source;
    figures_add(&source->collection.figures, &part_of(walk)->figures);
    provider_sums_merge(&source->collection.providers, &part_of(walk)->providers);
    if (--source->out == 0) {
        count(source, CENSUS_SCHEDULED);
    }
}

/* --- disks ------------------------------------------------------------------------------------ */

static void space_known(struct work_job *job)
{
    struct metrics_space *space = CONTAINER_OF(job, struct metrics_space, job);
    space->known = job->result >= 0;
    space->bytes_free = job->size;
    space->bytes = job->space;
    space->inodes_free = job->inodes_free;
    space->inodes = job->inodes;
}

/* When no worker has room it is asked the next time. */
static void space_ask(struct metrics_source *source, struct metrics_space *space)
{
    if (!space->job.in_flight) {
        space->job = (struct work_job){
            .kind = WORK_SPACE, .path = space->path, .done = space_known};
        (void)!work_submit(source->shard->work, source->shard, &space->job);
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

static void begin(struct metrics_source *source)
{
    list_append_all(&source->current, &source->waiting);
    source->waiting_count = 0;
    source->collected = false;
    source->collection.figures = (struct metrics_figures){0};
    source->collection.providers = (struct provider_sums){0};
    for (unsigned i = 0; i < METRICS_DISKS; i++) {
        space_ask(source, &source->collection.disks[i]);
    }
    source->out = source->shards;
    for (unsigned i = 0; i < source->shards; i++) {
        shard_walk_send(&source->parts[i].walk, source->shard);
    }
}

/* One answer in a turn: whoever is told has a lot to write. */
static void step_run(struct deferred *deferred)
{
    struct metrics_source *source = CONTAINER_OF(deferred, struct metrics_source, step);
    bool current = !list_empty(&source->current);
    if (current && !source->collected) {
        return; /* comes again when it is */
    }
    if (!current && !source->stopping && !list_empty(&source->waiting)) {
        begin(source);
        return;
    }
    struct list *link = list_pop_front(current ? &source->current : &source->waiting);
    if (link != NULL) {
        struct metrics_request *request = CONTAINER_OF(link, struct metrics_request, link);
        source->waiting_count -= !current;
        request->done(request, source->stopping ? NULL : &source->collection);
    }
    if (!list_empty(&source->current) || !list_empty(&source->waiting)) {
        shard_defer(source->shard, &source->step);
    }
}

bool metrics_source_ask(struct metrics_source *source, struct metrics_request *request)
{
    if (source->waiting_count == METRICS_REQUESTS_MAX) {
        return false;
    }
    list_init(&request->link);
    list_push_back(&source->waiting, &request->link);
    source->waiting_count++;
    shard_defer(source->shard, &source->step);
    return true;
}

void metrics_source_stop(struct metrics_source *source)
{
    source->stopping = true;
    shard_defer(source->shard, &source->step);
}

bool metrics_source_idle(const struct metrics_source *source)
{
    bool away = false;
    for (unsigned i = 0; i < METRICS_DISKS; i++) {
        away = away || source->collection.disks[i].job.in_flight;
    }
    return !away && list_empty(&source->current) && list_empty(&source->waiting);
}

void metrics_source_init(struct metrics_source *source, struct shard *shard,
                         struct queue_census *census, struct boot_pages *pages, unsigned shards,
                         const char *const paths[METRICS_DISKS])
{
    source->shard = shard;
    source->census = census;
    source->shards = shards;
    source->parts = boot_pages_take(pages, shards * sizeof(struct metrics_part));
    for (unsigned i = 0; i < METRICS_DISKS; i++) {
        source->collection.disks[i].path = paths[i];
    }
    list_init(&source->waiting);
    list_init(&source->current);
    deferred_init(&source->step, step_run);
}

void metrics_source_shard_set(struct metrics_source *source, unsigned index,
                              struct delivery *delivery)
{
    static const struct shard_walk_kind kind = {
        .arrive = part_arrive, .slice = part_slice, .home = part_home};
    source->parts[index].source = source;
    shard_walk_init(&source->parts[index].walk, &kind, delivery);
}

void metrics_source_fini(struct metrics_source *source)
{
    deferred_cancel(&source->step);
}
