/* A census on a mail shard: every queue of a kind, the largest told of by name; then those names
 * that the shards have told of, as this shard has them. */
#include "smtp/queue_census.h"

#include "core/check.h"
#include "smtp/egress.h"

static_assert(EGRESS_NAME_BYTES_MAX <= CENSUS_SITE_BYTES &&
                  EGRESS_NAME_BYTES_MAX <= QUEUE_NAME_BYTES_MAX,
              "names of sites have room");

/* In one turn: queues looked at, names written or looked for. */
#define LOOKS_MAX 1024u
#define NAMES_MAX 256u

static struct census_part *part_of(struct shard_walk *walk)
{
    return CONTAINER_OF(walk, struct census_part, walk);
}

static bool view_of(const struct census_part *part, uint32_t number, struct queue_view *view_out)
{
    const struct delivery *delivery = part->walk.delivery;
    return part->census->kind == CENSUS_SCHEDULED
               ? queue_view_scheduled(delivery, number, view_out)
               : queue_view_ready(delivery, number, view_out);
}

/* --- the first way ---------------------------------------------------------------------------- */

static void look(struct shard_walk *walk, uint32_t number)
{
    struct census_part *part = part_of(walk);
    struct queue_view view;
    if (!view_of(part, number, &view)) {
        return;
    }
    const struct queue_pick pick = {.order = UINT64_MAX - view.recipients, .number = number};
    queue_picks_offer(part->picks, &part->pick_count, CENSUS_QUEUES_MAX, &pick);
    distinct_put(&part->distinct, htab_hash(&part->census->names, view.name));
    part->seen++;
    part->sums.recipients_all += view.recipients;
    part->sums.connections_all += view.connections;
    part->sums.sums[view.hold.reason].queues++;
    part->sums.sums[view.hold.reason].recipients += view.recipients;
}

static void name(struct shard_walk *walk, uint32_t place)
{
    struct census_part *part = part_of(walk);
    struct queue_pick *pick = &part->picks[place];
    struct queue_view view;
    if (view_of(part, pick->number, &view)) {
        buf_put(&part->names, view.name);
        pick->bytes = (uint32_t)view.name.size;
    }
}

/* --- the second way --------------------------------------------------------------------------- */

static void found_put(struct census_part *part, uint32_t candidate, const struct queue_view *view)
{
    const struct shard *shard = part->walk.delivery->shard;
    struct census_queue queue = {
        .name = queue_census_candidate_name(part->census, candidate),
        .count = view->recipients,
        .due = view->due,
        .connections = view->connections,
        .parts = 1,
        .order = queue_view_order(view),
        .reason = view->hold.reason,
        .since_ns =
            shard->wall_ns - MIN_OF(shard->wall_ns, shard->now_ns - view->hold.since_ns),
    };
    if (view->scheduled != NULL && view->site.size > 0) {
        queue.site = slice_make(part->sites.data + part->sites.size, view->site.size);
        buf_put(&part->sites, view->site);
    }
    census_queue_add(&part->found[candidate], &queue);
}

static void recount_scheduled(struct shard_walk *walk, uint32_t candidate)
{
    struct census_part *part = part_of(walk);
    const struct queue_names *names = &walk->delivery->queues->names;
    struct queue_view view;
    uint32_t number;
    part->found[candidate] = (struct census_queue){0};
    struct slice name = queue_census_candidate_name(part->census, candidate);
    if (queue_names_find(names, name, &number) &&
        queue_view_scheduled(walk->delivery, number, &view)) {
        found_put(part, candidate, &view);
    }
}

/* Sites are few, and some may have the same name. */
static void recount_ready(struct shard_walk *walk, uint32_t number)
{
    struct census_part *part = part_of(walk);
    struct queue_view view;
    if (queue_view_ready(walk->delivery, number, &view)) {
        uint32_t candidate = queue_census_candidate(part->census, view.name);
        if (candidate != CENSUS_NONE) {
            found_put(part, candidate, &view);
        }
    }
}

static bool recount(struct census_part *part)
{
    if (part->census->kind == CENSUS_SCHEDULED) {
        return shard_walk_visit(&part->walk, part->census->candidate_count, NAMES_MAX,
                                recount_scheduled);
    }
    return shard_walk_visit(&part->walk, walk_things_end(part->walk.delivery, WALK_SITES),
                            LOOKS_MAX, recount_ready);
}

/* --- the walk --------------------------------------------------------------------------------- */

static enum walk_slice part_slice(struct shard_walk *walk)
{
    struct census_part *part = part_of(walk);
    enum walk_things things =
        part->census->kind == CENSUS_SCHEDULED ? WALK_QUEUES : WALK_SITES;
    switch (part->stage) {
    case CENSUS_LOOKING:
        if (shard_walk_visit(walk, walk_things_end(walk->delivery, things), LOOKS_MAX, look)) {
            part->stage = CENSUS_SORTING;
        }
        break;
    case CENSUS_SORTING:
        queue_picks_sort(part->picks, part->pick_count);
        part->stage = CENSUS_NAMING;
        break;
    case CENSUS_NAMING:
        if (shard_walk_visit(walk, part->pick_count, NAMES_MAX, name)) {
            part->stage = CENSUS_OVER;
        }
        break;
    case CENSUS_RECOUNTING:
        if (recount(part)) {
            part->stage = CENSUS_OVER;
        }
        break;
    case CENSUS_OVER:
        break;
    }
    CHECK(!part->names.overflow && !part->sites.overflow);
    return part->stage == CENSUS_OVER ? WALK_OVER : WALK_GOES_ON;
}

static void part_arrive(struct shard_walk *walk)
{
    struct census_part *part = part_of(walk);
    if (part->stage == CENSUS_LOOKING) {
        part->seen = 0;
        part->pick_count = 0;
        part->sums = (struct census_result){0};
        distinct_init(&part->distinct);
        buf_init(&part->names, part->name_memory, sizeof(part->name_memory));
    } else if (part->census->kind == CENSUS_READY) {
        for (uint32_t i = 0; i < part->census->candidate_count; i++) {
            part->found[i] = (struct census_queue){0};
        }
    }
    buf_init(&part->sites, part->site_memory, sizeof(part->site_memory));
}

static void part_home(struct shard_walk *walk)
{
    census_part_home(part_of(walk));
}

void census_part_init(struct census_part *part, struct queue_census *census,
                      struct delivery *delivery)
{
    static const struct shard_walk_kind kind = {
        .arrive = part_arrive, .slice = part_slice, .home = part_home};
    part->census = census;
    shard_walk_init(&part->walk, &kind, delivery);
}

void census_part_send(struct census_part *part, enum census_stage stage)
{
    part->stage = stage;
    shard_walk_send(&part->walk, part->census->shard);
}
