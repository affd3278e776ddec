#include "smtp/queue_census.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

static void step_run(struct deferred *deferred);

/* --- names ------------------------------------------------------------------------------------ */

static bool row_has_name(const void *context, uint64_t value, const void *key)
{
    const struct queue_census *census = context;
    return slice_equal(census->rows[value].name, *(const struct slice *)key);
}

/* Null: no shard has told of it. */
static struct census_row *row_find(const struct queue_census *census, struct slice name)
{
    uint64_t value;
    bool found = htab_find(&census->names, htab_hash(&census->names, name), &name, &value);
    return found ? &census->rows[value] : NULL;
}

static void row_add(struct queue_census *census, struct slice name, uint64_t count)
{
    struct census_row *row = row_find(census, name);
    if (row == NULL) {
        row = &census->rows[census->row_count];
        *row = (struct census_row){.name = name, .candidate = CENSUS_NONE};
        CHECK(htab_insert(&census->names, htab_hash(&census->names, name), census->row_count++));
    }
    row->count += count;
}

uint32_t queue_census_candidate(const struct queue_census *census, struct slice name)
{
    const struct census_row *row = row_find(census, name);
    return row != NULL ? row->candidate : CENSUS_NONE;
}

struct slice queue_census_candidate_name(const struct queue_census *census, uint32_t candidate)
{
    return census->rows[census->picks[candidate].number].name;
}

bool census_is_exact(const struct census_result *result, uint32_t count)
{
    return result->missed == 0 || (count > 0 && result->queues[count - 1].count >= result->missed);
}

void census_queue_add(struct census_queue *sum, const struct census_queue *part)
{
    struct census_queue whole = *sum;
    if (part->parts == 0) {
        return;
    }
    if (sum->parts == 0 || part->order < sum->order) {
        *sum = *part;
        part = &whole;
    }
    sum->count += part->count;
    sum->due += part->due;
    sum->connections += part->connections;
    sum->parts += part->parts;
}

/* --- the first way ---------------------------------------------------------------------------- */

/* The largest of a shard are in order: none that it has left out is larger than the last. */
static void first_home(struct queue_census *census, const struct census_part *part)
{
    const uint8_t *text = part->name_memory;
    for (uint32_t i = 0; i < part->pick_count; i++) {
        const struct queue_pick *pick = &part->picks[i];
        if (pick->bytes > 0) {
            row_add(census, slice_make(text, pick->bytes), UINT64_MAX - pick->order);
            text += pick->bytes;
        }
    }
    if (part->seen > part->pick_count) {
        census->result.estimated = true;
        census->missed += UINT64_MAX - part->picks[part->pick_count - 1].order;
    }
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        census->result.sums[i].queues += part->sums.sums[i].queues;
        census->result.sums[i].recipients += part->sums.sums[i].recipients;
    }
    census->result.recipients_all += part->sums.recipients_all;
    census->result.connections_all += part->sums.connections_all;
    census->result.queues_all += part->seen;
    distinct_merge(&census->distinct, &part->distinct);
}

/* Those that all shards are asked about: the largest by what was told. */
static void choose(struct queue_census *census)
{
    uint32_t count = 0;
    uint64_t dropped = 0;
    for (uint32_t i = 0; i < census->row_count; i++) {
        const struct queue_pick pick = {.order = UINT64_MAX - census->rows[i].count, .number = i};
        queue_picks_offer(census->picks, &count, CENSUS_NAMES_MAX, &pick);
    }
    for (uint32_t i = 0; i < count; i++) {
        census->rows[census->picks[i].number].candidate = i;
        census->queues[i] = (struct census_queue){0};
    }
    for (uint32_t i = 0; count == CENSUS_NAMES_MAX && i < census->row_count; i++) {
        const struct census_row *row = &census->rows[i];
        dropped = row->candidate == CENSUS_NONE ? MAX_OF(dropped, row->count) : dropped;
    }
    census->candidate_count = count;
    census->missed += dropped;
}

/* With one shard a name is one queue; where every shard has told of all that it has there is no
 * more to guess, either. */
static void count_names(struct queue_census *census)
{
    struct census_result *result = &census->result;
    if (!result->estimated) {
        result->queues_all = census->row_count;
        return;
    }
    result->estimated = census->shards > 1;
    if (result->estimated) {
        uint64_t estimate = distinct_estimate(&census->distinct);
        result->queues_all = MAX_OF(MIN_OF(result->queues_all, estimate), census->row_count);
    }
}

static void ask_again(struct queue_census *census)
{
    choose(census);
    count_names(census);
    census->out = census->shards;
    for (unsigned i = 0; i < census->shards; i++) {
        census_part_send(&census->parts[i], CENSUS_RECOUNTING);
    }
}

/* --- the second way --------------------------------------------------------------------------- */

static int by_count(const void *left, const void *right)
{
    const struct census_queue *a = left;
    const struct census_queue *b = right;
    if (a->count != b->count) {
        return a->count > b->count ? -1 : 1;
    }
    int order = memcmp(a->name.data, b->name.data, MIN_OF(a->name.size, b->name.size));
    return order != 0 ? order : (a->name.size > b->name.size) - (a->name.size < b->name.size);
}

static void second_home(struct queue_census *census, const struct census_part *part)
{
    for (uint32_t i = 0; i < census->candidate_count; i++) {
        census_queue_add(&census->queues[i], &part->found[i]);
    }
}

static void rank(struct queue_census *census)
{
    struct census_result *result = &census->result;
    uint32_t count = 0;
    for (uint32_t i = 0; i < census->candidate_count; i++) {
        if (census->queues[i].parts > 0) {
            census->queues[count++] = census->queues[i];
        }
    }
    qsort(census->queues, count, sizeof(census->queues[0]), by_count);
    result->queues = census->queues;
    result->count = MIN_OF(count, CENSUS_QUEUES_MAX);
    result->missed = census->missed;
    census->counted = true;
    shard_defer(census->shard, &census->step);
}

void census_part_home(struct census_part *part)
{
    struct queue_census *census = part->census;
    bool first = census->candidate_count == CENSUS_NONE;
    if (first) {
        first_home(census, part);
    } else {
        second_home(census, part);
    }
    if (--census->out > 0) {
        return;
    }
    if (first) {
        ask_again(census);
    } else {
        rank(census);
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

static void begin(struct queue_census *census)
{
    census->kind = CONTAINER_OF(census->waiting.next, struct census_request, link)->kind;
    for (unsigned left = census->waiting_count; left > 0; left--) {
        struct list *link = list_pop_front(&census->waiting);
        bool meant = CONTAINER_OF(link, struct census_request, link)->kind == census->kind;
        list_push_back(meant ? &census->current : &census->waiting, link);
        census->waiting_count -= meant;
    }
    htab_init(&census->names, census->slots, census->slot_count, census->names.seed, row_has_name,
              census);
    census->row_count = 0;
    census->candidate_count = CENSUS_NONE;
    census->missed = 0;
    census->result = (struct census_result){0};
    distinct_init(&census->distinct);
    census->counted = false;
    census->out = census->shards;
    for (unsigned i = 0; i < census->shards; i++) {
        census_part_send(&census->parts[i], CENSUS_LOOKING);
    }
}

static void tell(struct list *from, const struct census_result *result)
{
    struct list *link = list_pop_front(from);
    struct census_request *request = CONTAINER_OF(link, struct census_request, link);
    request->done(request, result);
}

/* One answer in a turn: whoever is told may have a lot to write. */
static void step_run(struct deferred *deferred)
{
    static const struct census_result nothing = {.stopping = true};
    struct queue_census *census = CONTAINER_OF(deferred, struct queue_census, step);
    if (!list_empty(&census->current)) {
        if (!census->counted) {
            return; /* comes again when all parts are home */
        }
        tell(&census->current, &census->result);
    } else if (!list_empty(&census->waiting)) {
        if (census->stopping) {
            census->waiting_count--;
            tell(&census->waiting, &nothing);
        } else {
            begin(census);
            return;
        }
    }
    if (!queue_census_idle(census)) {
        shard_defer(census->shard, &census->step);
    }
}

bool queue_census_ask(struct queue_census *census, struct census_request *request)
{
    if (census->waiting_count == CENSUS_REQUESTS_MAX) {
        return false;
    }
    list_init(&request->link);
    list_push_back(&census->waiting, &request->link);
    census->waiting_count++;
    shard_defer(census->shard, &census->step);
    return true;
}

void queue_census_stop(struct queue_census *census)
{
    census->stopping = true;
    shard_defer(census->shard, &census->step);
}

bool queue_census_idle(const struct queue_census *census)
{
    return list_empty(&census->current) && list_empty(&census->waiting);
}

void queue_census_init(struct queue_census *census, struct shard *shard, struct boot_pages *pages,
                       unsigned shards)
{
    uint32_t rows = shards * CENSUS_QUEUES_MAX;
    census->shard = shard;
    census->shards = shards;
    census->parts = boot_pages_take(pages, shards * sizeof(struct census_part));
    census->rows = boot_pages_take(pages, rows * sizeof(struct census_row));
    census->slot_count = htab_slots_for(rows);
    census->slots = boot_pages_take(pages, htab_memory(census->slot_count));
    census->names.seed = prng_next(&shard->prng);
    list_init(&census->waiting);
    list_init(&census->current);
    deferred_init(&census->step, step_run);
}

void queue_census_shard_set(struct queue_census *census, unsigned index,
                            struct delivery *delivery)
{
    census_part_init(&census->parts[index], census, delivery);
}

void queue_census_fini(struct queue_census *census)
{
    deferred_cancel(&census->step);
}
