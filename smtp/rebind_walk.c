/*
 * The work of a rebind on a mail shard: queues that are meant are marked, their rows collected and
 * sorted by place, so that those of one message come together, and each message written again by a
 * job. While jobs are under way the walk rests. Where some could not be moved
 * there is a second pass.
 */
#include "smtp/rebind.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/queue_of.h"

/* In one turn: queues; rows looked at; rows whose jobs begin. */
#define QUEUES_MAX 512u
#define ROWS_MAX   2048u
#define PAUSE_NS   (100 * NS_PER_MS)
/* Between the two passes. */
#define AGAIN_NS   NS_PER_S

enum { PASS_FIRST, PASS_PAUSE, PASS_SECOND };

static struct rebind_part *part_of(struct shard_walk *walk)
{
    return CONTAINER_OF(walk, struct rebind_part, walk);
}

static struct rebind_part *part_of_mover(struct rewrite_mover *mover)
{
    return CONTAINER_OF(mover, struct rebind_part, mover);
}

static struct row *row_of(const struct rebind_part *part, uint32_t handle)
{
    return row_at(&part->mover.queues->rows, handle);
}

/* --- queues ----------------------------------------------------------------------------------- */

/* The key of the queue to which mail of this one goes. */
static struct conf_queue_key new_key(const struct rebind_part *part, struct slice name)
{
    const struct metadata_change *change = &part->request->change;
    struct conf_queue_key key = queue_name_parse(name);
    key.tenant = change->sets_tenant ? change->tenant : key.tenant;
    key.campaign = change->sets_campaign ? change->campaign : key.campaign;
    return key;
}

static bool is_there_already(const struct rebind_part *part, struct slice name)
{
    struct conf_queue_key key = queue_name_parse(name);
    struct conf_queue_key wanted = new_key(part, name);
    return slice_equal(key.tenant, wanted.tenant) && slice_equal(key.campaign, wanted.campaign) &&
           !part->request->change.sets_class;
}

static void visit_queue(struct shard_walk *walk, uint32_t number)
{
    struct rebind_part *part = part_of(walk);
    struct queues *queues = walk->delivery->queues;
    struct sched_queue *queue = queues_find(queues, number);
    if (queue == NULL) {
        return;
    }
    struct slice name = sched_queue_name(queues, queue);
    bool meant = queue->rows > 0 && admin_criteria_match(&part->request->criteria, name) &&
                 !is_there_already(part, name);
    queue->marks &= (uint8_t)~QUEUE_MARK_REBIND;
    if (meant) {
        queue->marks |= QUEUE_MARK_REBIND;
        part->found.queues++;
        part->found.recipients += queue->rows;
        admin_found_sample(&part->found, name);
    }
}

/* --- rows ------------------------------------------------------------------------------------- */

static bool is_meant(const struct rebind_part *part, const struct row *row)
{
    const struct metadata_change *change = &part->request->change;
    const struct sched_queue *queue;
    if (row->state == ROW_FREE || row->state == ROW_NEW) {
        return false; /* what is being stored now has come later */
    }
    queue = queues_at(part->mover.queues, row->queue);
    if ((queue->marks & QUEUE_MARK_REBIND) == 0) {
        return false;
    }
    return change->sets_tenant || change->sets_campaign || row->urgent != change->urgent;
}

static void collect(struct rebind_part *part, uint32_t handle)
{
    const struct row *row = row_of(part, handle);
    if (!is_meant(part, row)) {
        return;
    }
    part->meant++;
    if (rewrite_row_movable(row) && !row->unreadable) {
        part->rows[part->row_count++] = (struct rebind_row){row_location(row), handle};
    }
}

static int by_place(const void *one, const void *other)
{
    const struct rebind_row *a = one;
    const struct rebind_row *b = other;
    if (a->place.segment != b->place.segment) {
        return a->place.segment < b->place.segment ? -1 : 1;
    }
    if (a->place.offset_64 != b->place.offset_64) {
        return a->place.offset_64 < b->place.offset_64 ? -1 : 1;
    }
    return (a->handle > b->handle) - (a->handle < b->handle);
}

static bool all_scanned(const struct rebind_part *part)
{
    return part->scanned >= part->mover.queues->rows.fresh;
}

static void scan(struct rebind_part *part)
{
    uint32_t end = MIN_OF(part->scanned + ROWS_MAX, part->mover.queues->rows.fresh);
    for (; part->scanned < end && part->row_count < REBIND_ROWS_MAX; part->scanned++) {
        collect(part, part->scanned);
    }
    if (part->row_count == REBIND_ROWS_MAX || all_scanned(part)) {
        qsort(part->rows, part->row_count, sizeof(*part->rows), by_place);
        part->row_next = 0;
        part->stage = REBIND_MOVE;
    }
}

/* --- moving ----------------------------------------------------------------------------------- */

static bool new_metadata(struct rewrite_mover *mover, struct slice before, struct buf *after)
{
    const struct rebind_request *request = part_of_mover(mover)->request;
    metadata_put_changed(after, before, &request->change);
    if (mover->rebinds) {
        metadata_put_rebind(after, before, mover->shard->wall_ns, request->reason);
    }
    return !after->overflow;
}

/* The metadata say so already. A queue for which there is no memory now is found by a restart. */
static void row_rebind(struct rebind_part *part, uint32_t handle)
{
    struct queues *queues = part->mover.queues;
    struct row *row = row_of(part, handle);
    struct slice name = sched_queue_name(queues, queues_at(queues, row->queue));
    struct queue_name_memory old; /* names may move when there is one more */
    memcpy(old.bytes, name.data, name.size);
    struct conf_queue_key key = new_key(part, slice_make(old.bytes, name.size));
    uint32_t number = queue_of(queues, part->walk.delivery->conf, &key);
    if (number != QUEUE_NONE) {
        queues_row_move(queues, handle, number);
    }
    if (part->request->change.sets_class) {
        row->urgent = part->request->change.urgent;
    }
    if (part->request->flush) {
        row->due_s = 0;
    }
    part->moved++;
}

static void tell(const struct rebind_part *part, const struct rewrite_job *job)
{
    const struct spool_message *record = &job->record;
    const struct event_facts facts = {
        .id = record->id,
        .created_ns = record->created_ns,
        .size = message_sent_bytes(record->prepend, record->body_bytes, record->cuts),
        .envelope = record->envelope,
        .metadata = record->metadata,
    };
    const struct event_source source = {
        .rebound = &facts,
        .record = job->write.location,
        .sequence = job->write.event_sequence,
    };
    event_tap_put(part->walk.delivery->events, &source);
}

static void job_moved(struct rewrite_mover *mover, struct rewrite_job *job)
{
    struct rebind_part *part = part_of_mover(mover);
    if (mover->rebinds) {
        tell(part, job);
    }
    for (uint32_t handle = job->rows.first; handle != ROW_NONE;
         handle = row_of(part, handle)->queue_next) {
        row_rebind(part, handle);
    }
    counters_add(&mover->shard->counters, COUNTER_recipients_rebound, job->rows.count);
}

static void job_ended(struct rewrite_mover *mover)
{
    struct rebind_part *part = part_of_mover(mover);
    if (part->stage == REBIND_MOVE) {
        shard_walk_resume(&part->walk);
    }
}

static bool row_stands(const struct rebind_part *part, const struct rebind_row *row)
{
    const struct row *at = row_of(part, row->handle);
    return at->state != ROW_FREE && at->segment == row->place.segment &&
           at->offset_64 == row->place.offset_64 && is_meant(part, at);
}

/* Of the rows of one message, those that can be moved now. */
static void message_begin(struct rebind_part *part, uint32_t first, uint32_t end, uint64_t bytes)
{
    struct rewrite_job *job = NULL;
    for (uint32_t i = first; i < end; i++) {
        const struct rebind_row *row = &part->rows[i];
        if (!row_stands(part, row) || !rewrite_row_movable(row_of(part, row->handle))) {
            continue;
        }
        if (job == NULL) {
            job = rewrite_job_take(&part->mover, row->place, bytes);
        }
        rewrite_job_add(job, row->handle);
    }
    if (job != NULL) {
        rewrite_job_start(job);
    }
}

static uint32_t message_end(const struct rebind_part *part, uint32_t first)
{
    uint32_t end = first + 1;
    while (end < part->row_count &&
           part->rows[end].place.segment == part->rows[first].place.segment &&
           part->rows[end].place.offset_64 == part->rows[first].place.offset_64) {
        end++;
    }
    return end;
}

/*
 * All that was collected is moved. What was being sent when its turn came may wait again a moment
 * later: there is a second pass for that, in which what has come meanwhile is moved, too.
 */
static enum walk_slice pass_end(struct rebind_part *part)
{
    if (part->stopping) {
        part->stage = REBIND_OVER;
        return WALK_OVER;
    }
    if (!all_scanned(part)) {
        part->stage = REBIND_SCAN;
        return WALK_GOES_ON;
    }
    if (part->pass == PASS_FIRST && part->meant > part->moved) {
        part->pass = PASS_PAUSE;
        shard_timer_set(part->mover.shard, &part->pause, AGAIN_NS);
        return WALK_RESTS;
    }
    if (part->pass == PASS_PAUSE) {
        part->pass = PASS_SECOND;
        part->scanned = 0;
        part->meant = part->moved;
        part->stage = REBIND_SCAN;
        return WALK_GOES_ON;
    }
    part->stage = REBIND_OVER;
    return WALK_OVER;
}

/* Begins what may begin. */
static enum walk_slice move(struct rebind_part *part)
{
    uint32_t looked = 0;
    while (part->row_next < part->row_count && looked < ROWS_MAX && !part->stopping) {
        uint32_t first = part->row_next;
        uint64_t bytes =
            rewrite_job_bytes(row_of(part, part->rows[first].handle)->size_64 * 64ull);
        if (rewrite_mover_full(&part->mover)) {
            return WALK_RESTS;
        }
        if (rewrite_mover_short(&part->mover, bytes)) {
            if (part->mover.in_flight == 0) {
                shard_timer_set(part->mover.shard, &part->pause, PAUSE_NS);
            }
            return WALK_RESTS;
        }
        part->row_next = message_end(part, first);
        looked += part->row_next - first;
        message_begin(part, first, part->row_next, bytes);
    }
    if (part->mover.in_flight > 0) {
        return WALK_RESTS; /* the end of a job comes back here */
    }
    if (part->row_next < part->row_count && !part->stopping) {
        return WALK_GOES_ON;
    }
    part->row_count = 0;
    part->row_next = 0;
    return pass_end(part);
}

static void pause_over(struct timer *timer)
{
    struct rebind_part *part = CONTAINER_OF(timer, struct rebind_part, pause);
    shard_walk_resume(&part->walk);
}

/* --- the walk --------------------------------------------------------------------------------- */

static enum walk_slice slice(struct shard_walk *walk)
{
    struct rebind_part *part = part_of(walk);
    switch (part->stage) {
    case REBIND_QUEUES:
        if (shard_walk_visit(walk, walk_things_end(walk->delivery, WALK_QUEUES), QUEUES_MAX,
                             visit_queue)) {
            bool over = part->found.queues == 0 || part->request->dry_run || part->stopping;
            part->stage = over ? REBIND_OVER : REBIND_SCAN;
        }
        break;
    case REBIND_SCAN:
        scan(part);
        break;
    case REBIND_MOVE:
        return move(part);
    case REBIND_OVER:
        break;
    }
    return part->stage == REBIND_OVER ? WALK_OVER : WALK_GOES_ON;
}

static void arrive(struct shard_walk *walk)
{
    struct rebind_part *part = part_of(walk);
    part->stage = REBIND_QUEUES;
    part->pass = PASS_FIRST;
    part->scanned = 0;
    part->row_count = 0;
    part->row_next = 0;
    part->found = (struct admin_found){0};
    part->meant = 0;
    part->moved = 0;
    part->mover.rebinds = !part->request->untold;
}

static void home(struct shard_walk *walk)
{
    rebind_part_home(part_of(walk));
}

void rebind_part_init(struct rebind_part *part, struct rebind *rebind, struct delivery *delivery,
                      struct boot_pages *pages)
{
    static const struct shard_walk_kind kind = {
        .arrive = arrive, .slice = slice, .home = home};
    static const struct rewrite_user user = {
        .metadata = new_metadata, .moved = job_moved, .ended = job_ended};
    shard_walk_init(&part->walk, &kind, delivery);
    part->rebind = rebind;
    timer_init(&part->pause, pause_over);
    part->rows = boot_pages_take(pages, REBIND_ROWS_MAX * sizeof(*part->rows));
    part->mover.user = &user;
    part->mover.shard = delivery->shard;
    part->mover.queues = delivery->queues;
    part->mover.messages = delivery->messages;
    rewrite_mover_init(&part->mover, pages);
    part->stage = REBIND_OVER;
}

void rebind_part_send(struct rebind_part *part, const struct rebind_request *request)
{
    part->request = request;
    shard_walk_send(&part->walk, part->rebind->shard);
}
