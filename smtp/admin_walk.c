#include "smtp/admin_walk.h"

#include <string.h>

#include "smtp/admin_local.h"
#include "smtp/egress.h"

/* Looked at in one turn: queues or sites; rows. */
#define LOOKS_MAX 1024u
#define ROWS_MAX  2048u

void admin_found_sample(struct admin_found *found, struct slice name)
{
    for (unsigned i = 0; i < found->sample_count; i++) {
        const struct admin_sample *sample = &found->samples[i];
        if (slice_equal(slice_make(sample->name, sample->bytes), name)) {
            return;
        }
    }
    if (found->sample_count < ADMIN_SAMPLES_MAX && name.size <= QUEUE_NAME_BYTES_MAX) {
        struct admin_sample *sample = &found->samples[found->sample_count++];
        sample->bytes = (uint16_t)name.size;
        memcpy(sample->name, name.data, name.size);
    }
}

void admin_found_add(struct admin_found *sum, const struct admin_found *part)
{
    sum->queues += part->queues;
    sum->recipients += part->recipients;
    for (unsigned i = 0; i < part->sample_count; i++) {
        const struct admin_sample *sample = &part->samples[i];
        admin_found_sample(sum, slice_make(sample->name, sample->bytes));
    }
}

static struct admin_part *part_of(struct shard_walk *walk)
{
    return CONTAINER_OF(walk, struct admin_part, walk);
}

static void found_put(struct admin_part *part, struct slice name, uint64_t recipients)
{
    if (recipients > 0) {
        part->found.queues++;
        part->found.recipients += recipients;
        admin_found_sample(&part->found, name);
    }
}

/* Things to look at in this turn. */
static uint32_t budget(const struct admin_part *part)
{
    unsigned more = part->entry != NULL ? part->entry->criteria.name_count : 0;
    return MIN_OF(admin_turn_budget(part->table, more), LOOKS_MAX);
}

static bool is_meant(const struct admin_part *part, struct slice name, bool ready)
{
    const struct admin_entry *entry = part->entry;
    return entry != NULL && (entry->kind == ADMIN_SUSPEND_READY) == ready &&
           (ready ? slice_equal(entry->criteria.names[0], name)
                  : admin_criteria_match(&entry->criteria, name));
}

/* What waits in it, or will again, becomes due by the walk over the rows. */
static void queue_mark(struct admin_part *part, struct sched_queue *queue, bool mark)
{
    queue->marks &= (uint8_t)~QUEUE_MARK_ORDER;
    if (mark && queue->rows > sched_queue_due(queue)) {
        queue->marks |= QUEUE_MARK_ORDER;
        part->rows_marked = true;
    }
}

static void queue_visit(struct admin_part *part, struct sched_queue *queue)
{
    struct queues *queues = part->walk.delivery->queues;
    struct slice name = sched_queue_name(queues, queue);
    bool meant = is_meant(part, name, false);
    if (meant) {
        bool waiting = part->task == ADMIN_FLUSH || part->task == ADMIN_COUNT_WAITING;
        found_put(part, name, waiting ? queue->waiting : queue->rows);
    }
    if (part->task == ADMIN_OBEY) {
        enum queue_order order = admin_local_ordered(part->walk.delivery, name);
        queue_mark(part, queue, order == QUEUE_DOOMED);
        queues_order(queues, queue, order);
    } else if (part->task == ADMIN_FLUSH) {
        queue_mark(part, queue, meant);
    }
}

static void site_visit(struct admin_part *part, struct egress *egress)
{
    struct slice name = slice_make(egress->name, egress->name_bytes);
    if (part->task == ADMIN_OBEY) {
        admin_local_site(egress);
        egress_ahead_drop_stopped(egress);
    }
    if (is_meant(part, name, true)) {
        found_put(part, name, egress_fresh(egress) + egress->window.hot);
    }
}

static void row_visit(struct queues *queues, uint32_t handle)
{
    struct row *row = row_at(&queues->rows, handle);
    if ((row->state != ROW_WAITING && row->state != ROW_HELD) ||
        (queues_at(queues, row->queue)->marks & QUEUE_MARK_ORDER) == 0) {
        return;
    }
    if (row->state == ROW_HELD) {
        row->due_s = 0; /* whoever writes its message again puts it back: then it is due */
        return;
    }
    queues_row_hold(queues, handle);
    queues_row_due(queues, handle, false);
}

static void visit(struct shard_walk *walk, uint32_t number)
{
    struct admin_part *part = part_of(walk);
    struct delivery *delivery = walk->delivery;
    if (part->stage == ADMIN_ROWS) {
        row_visit(delivery->queues, number);
    } else if (part->stage == ADMIN_QUEUES) {
        struct sched_queue *queue = queues_find(delivery->queues, number);
        if (queue != NULL) {
            queue_visit(part, queue);
        }
    } else if (pool_is_taken(&delivery->egresses, number)) {
        site_visit(part, pool_at(&delivery->egresses, number));
    }
}

static enum walk_slice part_slice(struct shard_walk *walk)
{
    static const enum walk_things things[] = {
        [ADMIN_QUEUES] = WALK_QUEUES, [ADMIN_SITES] = WALK_SITES, [ADMIN_ROWS] = WALK_ROWS};
    struct admin_part *part = part_of(walk);
    uint32_t end = walk_things_end(walk->delivery, things[part->stage]);
    uint32_t count = part->stage == ADMIN_ROWS ? ROWS_MAX : budget(part);
    if (shard_walk_visit(walk, end, count, visit)) {
        if (part->stage == ADMIN_SITES && part->task == ADMIN_OBEY) {
            egress_pools_deal(walk->delivery); /* others may be suspended who have no egress */
        }
        part->stage++;
    }
    if (part->stage == ADMIN_ROWS && !part->rows_marked) {
        part->stage = ADMIN_OVER;
    }
    return part->stage == ADMIN_OVER ? WALK_OVER : WALK_GOES_ON;
}

static void part_arrive(struct shard_walk *walk)
{
    struct admin_part *part = part_of(walk);
    if (part->task == ADMIN_OBEY) {
        walk->delivery->admin.table = part->table; /* whatever is new finds it from now on */
    }
}

static void part_home(struct shard_walk *walk)
{
    struct admin_part *part = part_of(walk);
    part->home(part);
}

void admin_part_init(struct admin_part *part, struct delivery *delivery)
{
    static const struct shard_walk_kind kind = {
        .arrive = part_arrive, .slice = part_slice, .home = part_home};
    shard_walk_init(&part->walk, &kind, delivery);
}

void admin_part_send(struct admin_part *part, struct shard *shard)
{
    part->stage = part->sites_only ? ADMIN_SITES : ADMIN_QUEUES;
    part->rows_marked = false;
    part->found = (struct admin_found){0};
    shard_walk_send(&part->walk, shard);
}
