#include "shard/queue/queues.h"

#include "core/check.h"

/* Rows that become due in one turn: the rest waits for the next. */
#define DRAIN_ROWS_MAX 2048
/* Likewise, in one tick: empty queues forgotten, queues without a route asked for one. */
#define FORGET_MAX 4096
#define ROUTES_MAX 1024
/* … and found shut by their gates, in one look for a batch; the next look goes on. */
#define PARKS_MAX  1024
#define TICK_NS    (100 * NS_PER_MS)

void ready_queue_init(struct ready_queue *ready, uint64_t now_ns)
{
    *ready = (struct ready_queue){0};
    hold_clock_init(&ready->hold, HOLD_none, now_ns);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        flow_ring_init(&ready->rings[i]);
    }
}

struct sched_queue *queues_at(const struct queues *queues, uint32_t number)
{
    return (struct sched_queue *)slab_at(&queues->sched, number);
}

struct slice sched_queue_name(const struct queues *queues, const struct sched_queue *queue)
{
    return queue_names_text(&queues->names, queue->name);
}

/* Where its flows of a class stand; null: it is not routed. */
static struct flow_ring *ring_of(const struct sched_queue *queue, unsigned class)
{
    return queue->ready != NULL ? &queue->ready->rings[class] : NULL;
}

void sched_queue_weigh(struct sched_queue *queue, uint32_t weight)
{
    CHECK(weight > 0 && weight <= FLOW_WEIGHT_MAX);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        flow_weigh(&queue->flows[i], ring_of(queue, i), weight);
    }
}

uint32_t sched_queue_due(const struct sched_queue *queue)
{
    return queue->flows[QUEUE_BULK].due.count + queue->flows[QUEUE_URGENT].due.count;
}

uint64_t queues_now_ns(const struct queues *queues)
{
    return queues->clock_base_ns + queues->shard->now_ns;
}

int64_t queues_wall_ahead_s(const struct queues *queues)
{
    int64_t ahead_ns = (int64_t)(queues->shard->wall_ns - queues_now_ns(queues));
    int64_t half_ns = ahead_ns < 0 ? -(int64_t)NS_PER_S / 2 : (int64_t)NS_PER_S / 2;
    return (ahead_ns + half_ns) / (int64_t)NS_PER_S;
}

static uint32_t now_s(const struct queues *queues)
{
    return (uint32_t)(queues_now_ns(queues) / NS_PER_S);
}

/* It is in no ring, and its ready queue counts none of its due rows. */
static bool is_out(const struct sched_queue *queue)
{
    return queue->parked || queue->order != QUEUE_RUNS;
}

/* --- what holds a queue back ------------------------------------------------------------------ */

/* Called wherever what it looks at may have changed; only another answer costs more than that. */
static void queue_judge(const struct queues *queues, struct sched_queue *queue)
{
    enum hold_reason reason = HOLD_none;
    bool follows = false;
    if (queue->rows == 0) {
        reason = HOLD_empty;
    } else if (queue->order == QUEUE_SUSPENDED) {
        reason = HOLD_suspended_admin;
    } else if (queue->order == QUEUE_SUSPENDED_RULE) {
        reason = HOLD_suspended_rule;
    } else if (queue->order == QUEUE_DOOMED) {
        reason = HOLD_none;
    } else if (queue->waiting == queue->rows) {
        reason = HOLD_not_due;
    } else if ((queue->parked || queue->ready == NULL) && sched_queue_due(queue) > 0) {
        reason = (enum hold_reason)queue->refusal;
    } else {
        follows = queue->ready != NULL;
    }
    if (queue->follows != follows && follows) {
        hold_clock_follow(&queue->hold, &queue->ready->hold, queues->shard->now_ns);
    } else if (queue->follows != follows) {
        hold_clock_leave(&queue->hold, &queue->ready->hold, reason, queues->shard->now_ns);
    } else if (!follows) {
        hold_clock_set(&queue->hold, reason, queues->shard->now_ns);
    }
    queue->follows = follows;
}

struct hold sched_queue_hold(const struct sched_queue *queue)
{
    const struct hold_clock *own = &queue->hold;
    if (!queue->follows) {
        return (struct hold){.reason = (enum hold_reason)own->reason, .since_ns = own->since_ns};
    }
    const struct hold_clock *lead = &queue->ready->hold;
    return (struct hold){
        .reason = hold_clock_following(lead),
        .since_ns = MAX_OF(own->since_ns, lead->since_ns),
    };
}

uint64_t sched_queue_hold_ms(const struct sched_queue *queue, enum hold_reason reason,
                             uint64_t now_ns)
{
    return queue->follows
               ? hold_clock_following_ms(&queue->hold, &queue->ready->hold, reason, now_ns)
               : hold_clock_ms(&queue->hold, reason, now_ns);
}

void queues_refuse(struct queues *queues, struct sched_queue *queue, enum hold_reason reason)
{
    queue->refusal = (uint8_t)reason;
    queue_judge(queues, queue);
}

/* --- names ---------------------------------------------------------------------------------- */

uint32_t queues_end(const struct queues *queues)
{
    return queues->sched.fresh;
}

struct sched_queue *queues_find(const struct queues *queues, uint32_t number)
{
    struct sched_queue *queue = queues_at(queues, number);
    return number < queues->sched.fresh && queue->name.bytes > 0 ? queue : NULL;
}

static bool name_equal(const void *context, uint64_t value, const void *key)
{
    const struct queues *queues = context;
    const struct slice *name = key;
    return slice_equal(sched_queue_name(queues, queues_at(queues, (uint32_t)value)), *name);
}

static void queue_forget(struct queues *queues, struct sched_queue *queue)
{
    CHECK(queue->rows == 0 && sched_queue_due(queue) == 0);
    queues_unroute(queues, queue);
    list_remove(&queue->link);
    if (queue->gate != NULL) {
        queues->user->forget(queues->context, queue);
    }
    queue_names_remove(&queues->names, queue->name);
    queue->name.bytes = 0;
    slab_give(&queues->sched, queue->number);
}

static void forget_idle(struct queues *queues, uint64_t older_than_ns)
{
    for (unsigned i = 0; i < FORGET_MAX && !list_empty(&queues->idle); i++) {
        struct sched_queue *queue = CONTAINER_OF(queues->idle.next, struct sched_queue, link);
        if (queue->hold.since_ns > older_than_ns) {
            return;
        }
        queue_forget(queues, queue);
    }
}

uint32_t queues_name(struct queues *queues, struct slice name)
{
    uint32_t number;
    if (queue_names_find(&queues->names, name, &number)) {
        return number;
    }
    if (name.size > QUEUE_NAME_BYTES_MAX) {
        return QUEUE_NONE;
    }
    number = slab_take(&queues->sched);
    if (number == QUEUE_NONE) {
        return QUEUE_NONE;
    }
    struct sched_queue *queue = queues_at(queues, number);
    if (!queue_names_add(&queues->names, name, number, &queue->name)) {
        slab_give(&queues->sched, number);
        return QUEUE_NONE;
    }
    queue->number = number;
    hold_clock_init(&queue->hold, HOLD_empty, queues->shard->now_ns);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        flow_init(&queue->flows[i]);
    }
    list_init(&queue->link);
    list_push_back(&queues->idle, &queue->link);
    if (queues->user->ordered != NULL) {
        queue->order = (uint8_t)queues->user->ordered(queues->context, name);
    }
    return number;
}

/* --- routes and flows ----------------------------------------------------------------------- */

void queues_unroute(struct queues *queues, struct sched_queue *queue)
{
    struct ready_queue *ready = queue->ready;
    if (ready == NULL) {
        return;
    }
    CHECK(ready->queues > 0);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        flow_leave(&queue->flows[i], ring_of(queue, i));
    }
    ready->due -= is_out(queue) ? 0 : sched_queue_due(queue);
    ready->queues--;
    if (queue->follows) {
        hold_clock_leave(&queue->hold, &ready->hold, HOLD_none, queues->shard->now_ns);
        queue->follows = false;
    }
    queue->ready = NULL;
    queue->parked = false;
    queues_refuse(queues, queue, HOLD_none);
    if (sched_queue_due(queue) > 0 && queue->order == QUEUE_RUNS) {
        list_push_back(&queues->unrouted, &queue->link);
    }
    if (ready->queues == 0) {
        queues->user->unused(queues->context, ready);
    }
}

/* Asks where a queue goes. False: nowhere now, and it waits to be asked again. */
static bool queue_route(struct queues *queues, struct sched_queue *queue)
{
    enum hold_reason reason = HOLD_none;
    struct ready_queue *ready = queues->user->route(queues->context, queue, &reason);
    list_remove(&queue->link);
    if (ready == NULL) {
        list_push_back(&queues->unrouted, &queue->link);
        queues_refuse(queues, queue, reason);
        return false;
    }
    queue->ready = ready;
    ready->queues++;
    ready->due += sched_queue_due(queue);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        flow_attach(&queue->flows[i], &ready->rings[i]);
    }
    queue_judge(queues, queue);
    return true;
}

/* A queue has due rows: what is due of it stands in the rings of its ready queue, unless something
 * else was ordered. */
static void queue_flow(struct queues *queues, struct sched_queue *queue)
{
    if (queue->order == QUEUE_DOOMED && !list_linked(&queue->link)) {
        list_push_back(&queues->doomed, &queue->link);
        queues->user->doomed(queues->context);
    }
    if (queue->order != QUEUE_RUNS) {
        return;
    }
    if (queue->ready == NULL && !queue_route(queues, queue)) {
        return;
    }
    if (queue->parked) {
        return;
    }
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        if (queue->flows[i].due.count > 0) {
            flow_enter(&queue->flows[i], &queue->ready->rings[i]);
        }
    }
    queues->user->work(queues->context, queue->ready);
}

/* --- rows ----------------------------------------------------------------------------------- */

/* Counts a row on the node. False: there are as many as there may be, and it is not counted. */
static bool limit_take(struct queues_limit *limit, bool always)
{
    if (limit == NULL) {
        return true;
    }
    uint32_t before = atomic_fetch_add_explicit(&limit->used, 1, memory_order_relaxed);
    if (always || before < limit->max) {
        return true;
    }
    atomic_fetch_sub_explicit(&limit->used, 1, memory_order_relaxed);
    return false;
}

static void limit_give(struct queues_limit *limit)
{
    if (limit != NULL) {
        atomic_fetch_sub_explicit(&limit->used, 1, memory_order_relaxed);
    }
}

bool queues_room(const struct queues *queues, uint32_t count)
{
    const struct queues_limit *limit = queues->limit;
    if (limit != NULL) {
        uint32_t used = atomic_load_explicit(&limit->used, memory_order_relaxed);
        if (used >= limit->max || limit->max - used < count) {
            return false;
        }
    }
    if (count <= slab_room(&queues->rows)) {
        return true;
    }
    const struct account *account = &queues->shard->memory;
    return queues->rows.capacity - queues->rows.used >= count &&
           account_used(account) + 2ull * SLAB_CHUNK_BYTES <= account->limit;
}

static void queue_row_come(struct queues *queues, struct sched_queue *queue)
{
    if (queue->rows++ == 0) {
        list_remove(&queue->link); /* it was idle */
    }
    queue_judge(queues, queue);
}

static uint32_t row_new(struct queues *queues, uint32_t queue, bool always)
{
    if (!limit_take(queues->limit, always)) {
        return ROW_NONE;
    }
    uint32_t handle = slab_take(&queues->rows);
    if (handle == ROW_NONE) {
        limit_give(queues->limit);
        return ROW_NONE;
    }
    row_at(&queues->rows, handle)->state = ROW_NEW;
    row_at(&queues->rows, handle)->queue = queue;
    queue_row_come(queues, queues_at(queues, queue));
    return handle;
}

uint32_t queues_row_new(struct queues *queues, uint32_t queue)
{
    return row_new(queues, queue, false);
}

uint32_t queues_row_again(struct queues *queues, uint32_t queue)
{
    return row_new(queues, queue, true);
}

/* A row leaves the delivery, or whoever else has it. */
static void row_cool(struct row *row)
{
    CHECK(row->state == ROW_NEW || row->state == ROW_HOT || row->state == ROW_HELD);
    if (row->state == ROW_HOT) {
        struct ready_window *window = row->window;
        CHECK(window->hot > 0);
        window->hot--;
        window->hot_bulk -= !row->urgent;
    }
    row->state = ROW_NEW;
}

static struct flow *flow_of(struct sched_queue *queue, const struct row *row)
{
    return &queue->flows[row->urgent ? QUEUE_URGENT : QUEUE_BULK];
}

/* A due row leaves its flow; a flow without any leaves the ring, a queue the list, it is in. */
static void row_undue(struct queues *queues, struct row *row, uint32_t handle)
{
    struct sched_queue *queue = queues_at(queues, row->queue);
    struct flow *flow = flow_of(queue, row);
    row_list_remove(&queues->rows, &flow->due, handle);
    if (flow->due.count == 0) {
        flow_leave(flow, ring_of(queue, row->urgent ? QUEUE_URGENT : QUEUE_BULK));
    }
    if (queue->ready != NULL) {
        queue->ready->due -= !is_out(queue);
    }
    if (sched_queue_due(queue) == 0) {
        list_remove(&queue->link);
    }
}

void queues_row_hold(struct queues *queues, uint32_t handle)
{
    struct row *row = row_at(&queues->rows, handle);
    struct sched_queue *queue = queues_at(queues, row->queue);
    switch ((enum row_state)row->state) {
    case ROW_WAITING:
        row_wheel_remove(&queues->wheel, handle);
        queue->waiting--;
        break;
    case ROW_DUE:
        row_undue(queues, row, handle);
        break;
    case ROW_HOT:
        row_cool(row);
        break;
    case ROW_NEW:
        break;
    case ROW_FREE:
    case ROW_HELD:
        CHECK(false);
    }
    row->state = ROW_HELD;
    queue_judge(queues, queue);
}

void queues_row_due(struct queues *queues, uint32_t handle, bool first)
{
    struct row *row = row_at(&queues->rows, handle);
    struct sched_queue *queue = queues_at(queues, row->queue);
    struct flow *flow = flow_of(queue, row);
    row_cool(row);
    row->state = ROW_DUE;
    if (first) {
        row_list_push_front(&queues->rows, &flow->due, handle);
    } else {
        row_list_push_back(&queues->rows, &flow->due, handle);
    }
    if (queue->ready != NULL) {
        queue->ready->due += !is_out(queue);
    }
    queue_flow(queues, queue);
    queue_judge(queues, queue);
}

void queues_row_wait(struct queues *queues, uint32_t handle)
{
    struct row *row = row_at(&queues->rows, handle);
    struct sched_queue *queue = queues_at(queues, row->queue);
    if (row->due_s <= now_s(queues) || queue->order == QUEUE_DOOMED) {
        queues_row_due(queues, handle, false);
        return;
    }
    row_cool(row);
    row_wheel_put(&queues->wheel, handle);
    queue->waiting++;
    queue_judge(queues, queue);
}

static void queue_row_gone(struct queues *queues, struct sched_queue *queue)
{
    CHECK(queue->rows > 0);
    if (--queue->rows == 0) {
        list_push_back(&queues->idle, &queue->link);
    }
    queue_judge(queues, queue);
}

void queues_row_move(struct queues *queues, uint32_t handle, uint32_t queue)
{
    struct row *row = row_at(&queues->rows, handle);
    uint32_t from = row->queue;
    CHECK(row->state == ROW_NEW || row->state == ROW_HELD);
    if (from != queue) {
        row->queue = queue;
        queue_row_come(queues, queues_at(queues, queue));
        queue_row_gone(queues, queues_at(queues, from));
    }
}

void queues_row_done(struct queues *queues, uint32_t handle)
{
    struct row *row = row_at(&queues->rows, handle);
    struct sched_queue *queue = queues_at(queues, row->queue);
    row_cool(row);
    row->state = ROW_FREE;
    slab_give(&queues->rows, handle);
    limit_give(queues->limit);
    queue_row_gone(queues, queue);
}

static bool same_message(const struct row *a, const struct row *b)
{
    return a->segment == b->segment && a->offset_64 == b->offset_64;
}

/* Rows of one message at the head of a flow. */
static unsigned batch_size(const struct queues *queues, const struct flow *flow, unsigned limit)
{
    const struct row *first = row_at(&queues->rows, flow->due.first);
    unsigned count = 0;
    uint32_t handle = flow->due.first;
    while (count < limit && handle != ROW_NONE) {
        const struct row *row = row_at(&queues->rows, handle);
        if (!same_message(row, first)) {
            break;
        }
        handle = row->queue_next;
        count++;
    }
    return count;
}

/* The first rows of a flow become hot. */
static void flow_take(struct queues *queues, struct ready_window *window, struct flow *flow,
                      unsigned count, uint32_t *handles_out)
{
    for (unsigned i = 0; i < count; i++) {
        struct row *row = row_at(&queues->rows, flow->due.first);
        handles_out[i] = flow->due.first;
        row_list_remove(&queues->rows, &flow->due, handles_out[i]);
        row->state = ROW_HOT;
        row->window = window;
    }
}

/* It is out now, and was not. */
static void leave_rings(struct sched_queue *queue)
{
    queue->ready->due -= sched_queue_due(queue);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        flow_leave(&queue->flows[i], ring_of(queue, i));
    }
}

static void queue_park(const struct queues *queues, struct sched_queue *queue)
{
    queue->parked = true;
    leave_rings(queue);
    queue_judge(queues, queue);
}

void queues_release(struct queues *queues, struct sched_queue *queue)
{
    if (!queue->parked) {
        return;
    }
    queue->parked = false;
    if (!is_out(queue)) {
        queue->ready->due += sched_queue_due(queue);
        queue_flow(queues, queue);
    }
    queue_judge(queues, queue);
}

/* --- orders ----------------------------------------------------------------------------------- */

void queues_order(struct queues *queues, struct sched_queue *queue, enum queue_order order)
{
    bool was_out = is_out(queue);
    if (queue->order == (uint8_t)order) {
        return;
    }
    if (sched_queue_due(queue) > 0) {
        list_remove(&queue->link); /* from those without a route, or the doomed */
    }
    queue->order = (uint8_t)order;
    if (queue->ready != NULL && is_out(queue) && !was_out) {
        leave_rings(queue);
    } else if (queue->ready != NULL && was_out && !is_out(queue)) {
        queue->ready->due += sched_queue_due(queue);
    }
    if (sched_queue_due(queue) > 0) {
        queue_flow(queues, queue);
    }
    queue_judge(queues, queue);
}

struct sched_queue *queues_doomed(const struct queues *queues)
{
    return list_empty(&queues->doomed)
               ? NULL
               : CONTAINER_OF(queues->doomed.next, struct sched_queue, link);
}

unsigned queues_take_doomed(struct queues *queues, struct sched_queue *queue, unsigned limit,
                            uint32_t *handles_out)
{
    struct flow *flow = &queue->flows[QUEUE_URGENT];
    if (flow->due.count == 0) {
        flow = &queue->flows[QUEUE_BULK];
    }
    unsigned count = batch_size(queues, flow, limit);
    for (unsigned i = 0; i < count; i++) {
        handles_out[i] = flow->due.first;
        queues_row_hold(queues, handles_out[i]);
    }
    if (sched_queue_due(queue) > 0) {
        list_remove(&queue->link);
        list_push_back(&queues->doomed, &queue->link);
    }
    return count;
}

/* How many rows of a class may become hot. */
static uint32_t window_room(const struct ready_window *window, uint32_t hot_max,
                            enum queue_class class)
{
    uint32_t reserve = hot_max > 1 ? MAX_OF(hot_max / 8, 1) : 0;
    uint32_t room = hot_max > window->hot ? hot_max - window->hot : 0;
    if (class == QUEUE_URGENT) {
        return room;
    }
    uint32_t bulk = hot_max - reserve;
    return MIN_OF(room, bulk > window->hot_bulk ? bulk - window->hot_bulk : 0);
}

/* How many rows the flow whose turn it is may send; 0: none, or its queue had to be parked. */
static unsigned admit(struct queues *queues, struct flow *flow, unsigned limit)
{
    struct sched_queue *queue =
        queues_at(queues, row_at(&queues->rows, flow->due.first)->queue);
    unsigned count = batch_size(queues, flow, limit);
    if (queue->gate == NULL) {
        return count;
    }
    enum hold_reason reason = HOLD_queue_rate;
    count = queues->user->admit(queues->context, queue, count, &reason);
    if (count == 0) {
        queue->refusal = (uint8_t)reason;
        queue_park(queues, queue);
    }
    return count;
}

/* Whose turn it is, and how many rows of it may become hot; null: nobody's, or none. */
static struct flow *flow_next(struct ready_queue *ready, const struct ready_window *window,
                              uint32_t hot_max, enum queue_class *class_out, uint32_t *room_out)
{
    *class_out = QUEUE_URGENT;
    struct flow *flow = flow_ring_next(&ready->rings[QUEUE_URGENT]);
    if (flow == NULL) {
        *class_out = QUEUE_BULK;
        flow = flow_ring_next(&ready->rings[QUEUE_BULK]);
    }
    *room_out = window_room(window, hot_max, *class_out);
    return *room_out > 0 ? flow : NULL;
}

uint32_t ready_queue_next(struct ready_queue *ready, const struct ready_window *window,
                          uint32_t hot_max)
{
    enum queue_class class;
    uint32_t room;
    const struct flow *flow = flow_next(ready, window, hot_max, &class, &room);
    return flow != NULL ? flow->due.first : ROW_NONE;
}

unsigned ready_queue_take(struct queues *queues, struct ready_queue *ready,
                          struct ready_window *window, uint32_t hot_max, unsigned limit,
                          uint32_t *handles_out)
{
    for (unsigned i = 0; i < PARKS_MAX; i++) {
        enum queue_class class;
        uint32_t room;
        struct flow *flow = flow_next(ready, window, hot_max, &class, &room);
        if (flow == NULL) {
            return 0;
        }
        unsigned count = admit(queues, flow, MIN_OF(limit, room));
        if (count == 0) {
            continue;
        }
        flow_take(queues, window, flow, count, handles_out);
        ready->due -= count;
        window->hot += count;
        window->hot_bulk += class == QUEUE_BULK ? count : 0;
        flow_spend(flow, &ready->rings[class],
                   flow_batch_cost(count, row_at(&queues->rows, handles_out[0])->size_64));
        if (flow->due.count == 0) {
            flow_leave(flow, &ready->rings[class]);
        }
        return count;
    }
    return 0;
}

/* --- time ----------------------------------------------------------------------------------- */

static void drain_due(struct queues *queues)
{
    uint32_t now = now_s(queues);
    for (unsigned i = 0; i < DRAIN_ROWS_MAX; i++) {
        uint32_t handle = row_wheel_next(&queues->wheel, now);
        if (handle != ROW_NONE) {
            queues_at(queues, row_at(&queues->rows, handle)->queue)->waiting--;
            queues_row_due(queues, handle, false);
        } else if (row_wheel_drained(&queues->wheel, now)) {
            return;
        } else {
            break;
        }
    }
    shard_defer(queues->shard, &queues->drain);
}

static void drain_run(struct deferred *deferred)
{
    drain_due(CONTAINER_OF(deferred, struct queues, drain));
}

void queues_ask_routes(struct queues *queues)
{
    struct list waiting;
    list_init(&waiting);
    for (unsigned i = 0; i < ROUTES_MAX && !list_empty(&queues->unrouted); i++) {
        list_push_back(&waiting, list_pop_front(&queues->unrouted));
    }
    for (struct list *link = list_pop_front(&waiting); link != NULL;
         link = list_pop_front(&waiting)) {
        queue_flow(queues, CONTAINER_OF(link, struct sched_queue, link));
    }
}

static void tick_fire(struct timer *timer)
{
    struct queues *queues = CONTAINER_OF(timer, struct queues, tick);
    uint64_t now = queues->shard->now_ns;
    drain_due(queues);
    queues_ask_routes(queues);
    forget_idle(queues, now > queues->idle_ns ? now - queues->idle_ns : 0);
    shard_timer_set(queues->shard, &queues->tick, TICK_NS);
}

int queues_init(struct queues *queues, struct shard *shard, const struct queues_options *options)
{
    *queues = (struct queues){
        .shard = shard,
        .user = options->user,
        .context = options->context,
        .idle_ns = options->idle_ns,
        .limit = options->limit,
        .clock_base_ns = ring_wall_ns(shard->ring) - ring_monotonic_ns(shard->ring),
    };
    list_init(&queues->idle);
    list_init(&queues->unrouted);
    list_init(&queues->doomed);
    timer_init(&queues->tick, tick_fire);
    deferred_init(&queues->drain, drain_run);
    int error = slab_init(&queues->rows, &shard->memory, ACCOUNT_ROWS, sizeof(struct row),
                          options->rows_max);
    if (error == 0) {
        error = slab_init(&queues->sched, &shard->memory, ACCOUNT_QUEUES,
                          sizeof(struct sched_queue) + align_up(options->options_bytes, 8),
                          options->queues_max);
    }
    if (error == 0) {
        uint32_t start_s = (uint32_t)(ring_wall_ns(shard->ring) / NS_PER_S);
        error = row_wheel_init(&queues->wheel, &queues->rows, start_s);
    }
    if (error == 0) {
        error = queue_names_init(&queues->names, &shard->memory, options->queues_max,
                                 prng_next(&shard->prng), name_equal, queues);
    }
    if (error != 0) {
        queues_fini(queues);
        return error;
    }
    shard_timer_set(shard, &queues->tick, TICK_NS);
    return 0;
}

void queues_fini(struct queues *queues)
{
    shard_timer_clear(queues->shard, &queues->tick);
    deferred_cancel(&queues->drain);
    queue_names_fini(&queues->names);
    row_wheel_fini(&queues->wheel);
    slab_fini(&queues->sched);
    slab_fini(&queues->rows);
}
