/* A question on a mail shard: every queue that it is about, then their rows, in slices. */
#include "smtp/explain.h"

#include <string.h>

#include "smtp/egress.h"
#include "smtp/egress_source.h"
#include "smtp/queue_gate.h"
#include "smtp/queue_of.h"

/* In one turn. */
#define LOOKS_MAX 1024u
#define ROWS_MAX  4096u

static struct explain_part *part_of(struct shard_walk *walk)
{
    return CONTAINER_OF(walk, struct explain_part, walk);
}

static void text_set(struct explain_text *text, struct slice bytes)
{
    text->bytes = (uint16_t)MIN_OF(bytes.size, sizeof(text->text));
    if (text->bytes > 0) {
        memcpy(text->text, bytes.data, text->bytes);
    }
}

/* --- limits ----------------------------------------------------------------------------------- */

static struct slice text_slice(const struct explain_text *text)
{
    return slice_make(text->text, text->bytes);
}

/* One that nobody uses here may be used on another shard. */
static bool limit_same(const struct explain_limit *a, const struct explain_limit *b)
{
    if (a->cell != NULL && b->cell != NULL) {
        return a->cell == b->cell;
    }
    return slice_equal(slice_from_string(a->kind), slice_from_string(b->kind)) &&
           slice_equal(text_slice(&a->name), text_slice(&b->name));
}

static void limit_add(struct explain_found *found, const struct explain_limit *limit)
{
    unsigned at = 0;
    while (at < found->limit_count && !limit_same(&found->limits[at], limit)) {
        at++;
    }
    if (at == found->limit_count && at < EXPLAIN_LIMITS_MAX) {
        found->limits[found->limit_count++] = *limit;
    } else if (at < found->limit_count && found->limits[at].cell == NULL) {
        found->limits[at] = *limit;
    }
}

/* Whoever asks is told of it, or of as many as there is room for. */
static bool has_limit(const struct explain_found *found, const struct cell *cell)
{
    for (unsigned i = 0; i < found->limit_count; i++) {
        if (cell != NULL && found->limits[i].cell == cell) {
            return true;
        }
    }
    return found->limit_count == EXPLAIN_LIMITS_MAX;
}

static void limit_put(struct explain_found *found, const struct limit_view *view, bool of_queue,
                      uint64_t now_ns)
{
    struct buf text;
    if (has_limit(found, view->cell)) {
        return;
    }
    struct limit_use use = limit_view_use(view, now_ns);
    struct explain_limit limit = {
        .cell = view->cell,
        .kind = view->option,
        .rate = view->rate != NULL,
        .of_queue = of_queue,
        .used = use.used,
        .retry_in_ms = (use.until_ns - MIN_OF(now_ns, use.until_ns)) / NS_PER_MS,
    };
    text_set(&limit.name, view->name);
    buf_init(&text, limit.limit, sizeof(limit.limit));
    limit_view_put(&text, view);
    limit.limit_bytes = (uint8_t)text.size;
    limit_add(found, &limit);
}

static void limits_put(struct explain_part *part, const struct queue_view *view)
{
    uint64_t now_ns = part->walk.delivery->shard->now_ns;
    const struct queue_gate *gate = view->scheduled != NULL ? view->scheduled->gate : NULL;
    struct limit_view limit;
    for (unsigned i = 0; gate != NULL && i < QUEUE_RATES_MAX; i++) {
        if (queue_gate_limit_at(gate, i, &limit)) {
            limit_put(&part->found, &limit, true, now_ns);
        }
    }
    unsigned next = 0;
    const struct egress *egress;
    while ((egress = queue_view_sender(view, &next)) != NULL) {
        for (unsigned i = 0; i < EGRESS_CELLS_MAX; i++) {
            if (limit_view_site(egress, i, &limit)) {
                limit_put(&part->found, &limit, false, now_ns);
            }
        }
    }
}

/* The same of a member that has no egress. */
static void resting_limits_put(struct explain_found *found, const struct egress_pool *pool,
                               unsigned member)
{
    const struct path_options *path = egress_pool_member_path(pool, member);
    uint8_t memory[EGRESS_NAME_BYTES_MAX];
    struct limit_view limit;
    struct buf name;
    buf_init(&name, memory, sizeof(memory));
    egress_pool_member_name(pool, member, &name);
    for (unsigned i = 0; path != NULL && egress_limits_of(path, i, &limit); i++) {
        if (limit.name.size == 0) {
            limit.name = buf_slice(&name);
        }
        limit_put(found, &limit, false, 0);
    }
}

/* --- queues ----------------------------------------------------------------------------------- */

static void path_tell(struct explain_found *found, const struct path_options *path)
{
    found->shaped = path != NULL;
    if (found->shaped) {
        path_selection(path, &found->selection, &found->view_digest);
    }
}

static bool is_resting(const struct egress_pool *pool, unsigned member)
{
    return pool->members[member] == NULL && pool->options->members[member].weight > 0;
}

/* Of those who have no egress: their limits, and why one of them sends nothing, or what its site
 * has said last, when nobody else has anything to tell. */
static void resting_tell(struct explain_found *found, const struct egress_pool *pool)
{
    unsigned teller = pool->word_member;
    uint8_t memory[EGRESS_REFUSAL_BYTES_MAX];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    buf_put(&text, slice_make(pool->word, pool->word_bytes));
    for (unsigned i = 0; i < pool->count && found->limit_count < EXPLAIN_LIMITS_MAX; i++) {
        if (is_resting(pool, i)) {
            resting_limits_put(found, pool, i);
        }
    }
    for (unsigned i = 0; i < pool->count && text.size == 0; i++) {
        const struct source_options *source = pool->options->members[i].source;
        if (is_resting(pool, i) && egress_source_is_out(pool->delivery, &source->address)) {
            egress_source_put_out(&text, &source->address);
            teller = i;
        }
    }
    if (found->response.bytes > 0 || (found->source.bytes > 0 && text.size == 0)) {
        return;
    }
    teller = text.size > 0 ? teller : pool->sole;
    text_set(&found->response, buf_slice(&text));
    text_set(&found->source, pool->options->members[teller].source->name);
    path_tell(found, egress_pool_member_path(pool, teller));
}

/* Of those seen in this turn one has waited the longest up to now: what is told of it. Once in a
 * turn, for it takes a look at all orders. */
static void longest_tell(struct explain_part *part)
{
    const struct shard *shard = part->walk.delivery->shard;
    struct explain_found *found = &part->found;
    struct queue_view *view = &part->longest;
    if (!part->longest_is_new) {
        return;
    }
    part->longest_is_new = false;
    queue_view_complete(part->walk.delivery, view);
    found->reason = view->hold.reason;
    found->since_ns = shard->wall_ns - MIN_OF(shard->wall_ns, shard->now_ns - view->hold.since_ns);
    found->until_ns = 0;
    if (view->hold.until_ns > 0) {
        uint64_t left_ns = view->hold.until_ns - MIN_OF(view->hold.until_ns, shard->now_ns);
        found->until_ns = shard->wall_ns + left_ns;
    }
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        found->times_ms[i] = queue_view_ms(view, (enum hold_reason)i, shard->now_ns);
    }
    text_set(&found->name, view->name);
    text_set(&found->detail, view->detail);
    text_set(&found->site, view->site);
    text_set(&found->response, SLICE_NONE);
    text_set(&found->source, SLICE_NONE);
    found->shaped = false;
    unsigned next = 0;
    const struct egress *egress;
    while (found->response.bytes == 0 && (egress = queue_view_sender(view, &next)) != NULL) {
        uint8_t memory[EGRESS_REFUSAL_BYTES_MAX];
        struct buf text;
        buf_init(&text, memory, sizeof(memory));
        text_set(&found->response, egress_last_word(egress, &text));
        text_set(&found->source, egress_source_name(egress));
        path_tell(found, egress->path);
    }
    if (view->pool != NULL && view->pool->options != NULL) {
        resting_tell(found, view->pool);
    }
}

static void view_put(struct explain_part *part, const struct queue_view *view)
{
    struct explain_found *found = &part->found;
    found->recipients += view->recipients;
    found->due += view->due;
    if (found->queues++ == 0 || queue_view_order(view) < found->order) {
        found->order = queue_view_order(view);
        part->longest = *view;
        part->longest_is_new = true;
    }
    limits_put(part, view);
}

static bool is_meant(const struct explain_part *part, struct slice name)
{
    const struct explain_request *request = part->request;
    return request->what == EXPLAIN_DOMAIN
               ? slice_equal_nocase(queue_name_parse(name).domain, request->name)
               : slice_equal(name, request->name);
}

static void queue_visit(struct explain_part *part, uint32_t number)
{
    struct queue_view view;
    if (!queue_view_scheduled(part->walk.delivery, number, &view)) {
        return;
    }
    struct sched_queue *queue = queues_at(part->walk.delivery->queues, number);
    queue->marks &= (uint8_t)~QUEUE_MARK_EXPLAIN;
    if (is_meant(part, view.name)) {
        queue->marks |= QUEUE_MARK_EXPLAIN;
        part->inspection.order.queue = number;
        view_put(part, &view);
    }
}

static void site_visit(struct explain_part *part, uint32_t number)
{
    struct queue_view view;
    if (queue_view_ready(part->walk.delivery, number, &view) && is_meant(part, view.name)) {
        part->found.ready = true;
        view_put(part, &view);
        if (part->request->what == INSPECT_READY) {
            inspection_put_site(&part->inspection, queue_view_egress(part->walk.delivery, number));
        }
    }
}

/* The earlier of two, of which each may be none: 0. */
static uint32_t first_of(uint32_t one_s, uint32_t other_s)
{
    return one_s == 0 || other_s == 0 ? MAX_OF(one_s, other_s) : MIN_OF(one_s, other_s);
}

static void row_put(struct explain_part *part, const struct row *row)
{
    struct explain_found *found = &part->found;
    found->attempts = MAX_OF(found->attempts, row->attempts);
    if (row->state != ROW_WAITING) {
        return;
    }
    found->next_due_s = first_of(found->next_due_s, row->due_s);
    if (row->scheduled && row->attempts == 0) {
        found->scheduled++;
        found->scheduled_s = first_of(found->scheduled_s, row->due_s);
    }
}

static void row_visit(struct explain_part *part, uint32_t handle)
{
    const struct queues *queues = part->walk.delivery->queues;
    const struct row *row = row_at(&queues->rows, handle);
    if (row->state != ROW_FREE &&
        (queues_at(queues, row->queue)->marks & QUEUE_MARK_EXPLAIN) != 0) {
        row_put(part, row);
    }
}

/* --- the walk --------------------------------------------------------------------------------- */

static void visit(struct shard_walk *walk, uint32_t number)
{
    struct explain_part *part = part_of(walk);
    if (part->stage == EXPLAIN_QUEUES) {
        queue_visit(part, number);
    } else if (part->stage == EXPLAIN_SITES) {
        site_visit(part, number);
    } else {
        row_visit(part, number);
    }
}

/* True: all of this stage has been looked at. */
static bool visit_some(struct explain_part *part)
{
    enum walk_things things = part->stage == EXPLAIN_QUEUES  ? WALK_QUEUES
                              : part->stage == EXPLAIN_SITES ? WALK_SITES
                                                             : WALK_ROWS;
    uint32_t end = walk_things_end(part->walk.delivery, things);
    uint32_t count = part->stage == EXPLAIN_ROWS ? ROWS_MAX : LOOKS_MAX;
    bool over = shard_walk_visit(&part->walk, end, count, visit);
    longest_tell(part);
    return over;
}

/* A name that no scheduled queue has may be a site's; a site has no rows of its own. */
static enum explain_stage after_queues(const struct explain_part *part)
{
    bool found = part->found.queues > 0;
    switch (part->request->what) {
    case EXPLAIN_QUEUE:
        return found ? EXPLAIN_ROWS : EXPLAIN_SITES;
    case EXPLAIN_DOMAIN:
        return found ? EXPLAIN_ROWS : EXPLAIN_OVER;
    case INSPECT_QUEUE:
        return found ? EXPLAIN_MESSAGES : EXPLAIN_OVER;
    case EXPLAIN_ID:
    case INSPECT_MESSAGE:
    case INSPECT_READY:
        break;
    }
    return EXPLAIN_OVER;
}

static enum explain_stage first_stage(enum explain_what what)
{
    switch (what) {
    case EXPLAIN_QUEUE:
    case EXPLAIN_DOMAIN:
    case INSPECT_QUEUE:
        break;
    case EXPLAIN_ID:
    case INSPECT_MESSAGE:
        return EXPLAIN_MESSAGES;
    case INSPECT_READY:
        return EXPLAIN_SITES;
    }
    return EXPLAIN_QUEUES;
}

/* A message that is meant: of an id, it is what is explained. */
static void message_found(struct inspection *inspection, const struct row *row)
{
    struct explain_part *part = CONTAINER_OF(inspection, struct explain_part, inspection);
    struct queue_view view;
    if (inspection->order.by_id &&
        queue_view_scheduled(part->walk.delivery, row->queue, &view)) {
        view.recipients = 1;
        view.due = row->state == ROW_DUE;
        view_put(part, &view);
        longest_tell(part);
        row_put(part, row);
    }
}

static void part_home(struct shard_walk *walk)
{
    explain_part_home(part_of(walk));
}

static enum walk_slice part_slice(struct shard_walk *walk)
{
    struct explain_part *part = part_of(walk);
    if (part->stage < EXPLAIN_MESSAGES && visit_some(part)) {
        part->stage = part->stage == EXPLAIN_QUEUES ? after_queues(part) : EXPLAIN_OVER;
    }
    if (part->stage == EXPLAIN_MESSAGES) {
        inspection_start(&part->inspection); /* messages_over goes on */
        return WALK_RESTS;
    }
    return part->stage == EXPLAIN_OVER ? WALK_OVER : WALK_GOES_ON;
}

static void messages_over(struct inspection *inspection)
{
    struct explain_part *part = CONTAINER_OF(inspection, struct explain_part, inspection);
    part->stage = EXPLAIN_OVER;
    shard_walk_resume(&part->walk);
}

void explain_part_init(struct explain_part *part, struct explain *explain,
                       struct delivery *delivery, struct boot_pages *pages)
{
    static const struct shard_walk_kind kind = {.slice = part_slice, .home = part_home};
    uint8_t *memory = boot_pages_take(pages, INSPECT_TEXT_BYTES + INSPECT_BODY_BYTES);
    part->explain = explain;
    shard_walk_init(&part->walk, &kind, delivery);
    inspection_init(&part->inspection, delivery, memory, memory + INSPECT_TEXT_BYTES);
    part->inspection.found = message_found;
    part->inspection.ended = messages_over;
}

void explain_part_send(struct explain_part *part)
{
    const struct explain_request *request = part->explain->current;
    const struct inspect_order order = {
        .by_id = first_stage(request->what) == EXPLAIN_MESSAGES,
        .wants_text = request->what >= INSPECT_MESSAGE,
        .wants_body = request->wants_body,
        .id = request->id,
        .limit = first_stage(request->what) == EXPLAIN_MESSAGES
                     ? 1
                     : MAX_OF(MIN_OF(request->limit, INSPECT_LIMIT_MAX), 1),
    };
    inspection_reset(&part->inspection, &order);
    part->request = request;
    part->stage = first_stage(request->what);
    part->longest_is_new = false;
    part->found = (struct explain_found){0};
    shard_walk_send(&part->walk, part->explain->shard);
}

void explain_found_add(struct explain_found *sum, const struct explain_found *found)
{
    struct explain_found whole = *sum;
    if (found->queues == 0) {
        return;
    }
    if (sum->queues == 0 || found->order < sum->order) {
        *sum = *found;
        found = &whole;
    }
    sum->queues += found->queues;
    sum->recipients += found->recipients;
    sum->due += found->due;
    sum->attempts = MAX_OF(sum->attempts, found->attempts);
    sum->next_due_s = first_of(sum->next_due_s, found->next_due_s);
    sum->scheduled += found->scheduled;
    sum->scheduled_s = first_of(sum->scheduled_s, found->scheduled_s);
    for (unsigned i = 0; i < found->limit_count; i++) {
        limit_add(sum, &found->limits[i]);
    }
}
