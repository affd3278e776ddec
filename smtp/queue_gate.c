#include "smtp/queue_gate.h"

#include "core/check.h"
#include "core/hours.h"
#include "smtp/delivery.h"
#include "smtp/queue_of.h"

/* A wall clock that jumps is noticed after this. */
#define QUIET_LOOK_NS (60 * NS_PER_S)

static void gate_settled(struct cell_set *set);
static void gate_fire(struct timer *timer);

unsigned queue_rates_of(const struct queue_options *options, struct slice name,
                        struct queue_rate rates_out[QUEUE_RATES_MAX])
{
    unsigned count = 0;
    if (options->max_message_rate != NULL) {
        rates_out[count++] = (struct queue_rate){options->max_message_rate, SLICE("queue"), name,
                                                 "max_message_rate"};
    }
    for (unsigned i = 0; i < CONF_OVERALL_MAX && options->overall[i] != NULL; i++) {
        const struct overall_rate *overall = options->overall[i];
        rates_out[count++] = (struct queue_rate){&overall->rate, overall->scope, overall->name,
                                                 "overall_max_message_rate"};
    }
    return count;
}

bool queue_gate_open(struct delivery *delivery, struct sched_queue *queue)
{
    struct queue_rate wanted[QUEUE_RATES_MAX];
    unsigned count =
        queue_rates_of(sched_queue_options(queue), sched_queue_name(delivery->queues, queue),
                       wanted);
    const struct queue_options *options = sched_queue_options(queue);
    if ((count == 0 && options->hours == NULL) || queue->gate != NULL) {
        return true;
    }
    struct queue_gate *gate = pool_take(&delivery->gates);
    if (gate == NULL) {
        return false;
    }
    *gate = (struct queue_gate){
        .delivery = delivery,
        .queue = queue,
        .number = ++delivery->gate_numbers,
        .set = {.requests = gate->requests, .capacity = QUEUE_RATES_MAX, .settled = gate_settled},
    };
    cell_set_init(&gate->set, delivery->shard, delivery->registry, delivery->registrar);
    for (unsigned i = 0; i < count; i++) {
        const struct slice parts[] = {wanted[i].scope, wanted[i].name};
        gate->wanted[i] = *wanted[i].rate;
        (void)cell_set_rate(&gate->set, parts, COUNT_OF(parts), wanted[i].rate);
    }
    rates_init(&gate->rates, gate->lines, QUEUE_RATES_MAX);
    timer_init(&gate->timer, gate_fire);
    list_init(&gate->link);
    list_push_back(&delivery->gate_list, &gate->link);
    queue->gate = gate;
    if (count > 0) {
        cell_set_ask(&gate->set);
    }
    return true;
}

/* Its queue is gone, or the delivery stops: ends when all cells are home. */
static void gate_join(struct queue_gate *gate)
{
    struct delivery *delivery = gate->delivery;
    if (gate->set.in_flight > 0) {
        return;
    }
    if (gate->set.held > 0) {
        cell_set_return(&gate->set);
        return;
    }
    list_remove(&gate->link);
    pool_give(&delivery->gates, gate);
}

static void gate_close(struct queue_gate *gate)
{
    if (gate->queue == NULL) {
        return;
    }
    gate->queue->gate = NULL;
    gate->queue = NULL;
    shard_timer_clear(gate->delivery->shard, &gate->timer);
    rates_clear(&gate->rates);
    gate_join(gate);
}

/* The cells have come; without room for all of them the missing ones are asked for later. */
static void gate_settled(struct cell_set *set)
{
    struct queue_gate *gate = CONTAINER_OF(set, struct queue_gate, set);
    if (gate->queue == NULL) {
        gate_join(gate);
        return;
    }
    if (!cell_set_whole(set)) {
        queues_refuse(gate->delivery->queues, gate->queue, HOLD_memory);
        shard_timer_set(gate->delivery->shard, &gate->timer, NS_PER_S);
        return;
    }
    for (unsigned i = 0; i < set->count; i++) {
        rates_add(&gate->rates, cell_set_at(set, i), &gate->wanted[i]);
    }
    queues_release(gate->delivery->queues, gate->queue);
}

/* Do the hours of its queue keep it shut? Then it looks again when they begin, or before. */
static bool is_quiet(struct queue_gate *gate)
{
    const struct queue_options *options = sched_queue_options(gate->queue);
    struct shard *shard = gate->delivery->shard;
    int64_t wall_s = (int64_t)(shard->wall_ns / NS_PER_S);
    int64_t until_s;
    gate->quiet = false;
    if (options->hours == NULL || (wall_s >= gate->open_from_s && wall_s < gate->open_until_s)) {
        return false;
    }
    if (hours_open(options->hours, wall_s, &until_s)) {
        gate->open_from_s = wall_s;
        gate->open_until_s = until_s;
        return false;
    }
    uint64_t left_ns = (uint64_t)until_s * NS_PER_S - shard->wall_ns;
    gate->quiet = true;
    gate->until_ns = shard->now_ns + left_ns;
    shard_timer_set(shard, &gate->timer, MIN_OF(left_ns, QUIET_LOOK_NS));
    rates_rest(&gate->rates);
    if (gate->queue->parked) { /* for a rate, maybe */
        queues_refuse(gate->delivery->queues, gate->queue, HOLD_quiet_hours);
    }
    return true;
}

static void gate_fire(struct timer *timer)
{
    struct queue_gate *gate = CONTAINER_OF(timer, struct queue_gate, timer);
    if (!cell_set_whole(&gate->set)) {
        cell_set_ask(&gate->set);
        return;
    }
    if (gate->quiet && is_quiet(gate)) {
        return;
    }
    gate->until_ns = 0;
    queues_release(gate->delivery->queues, gate->queue);
}

unsigned queue_gate_admit(void *context, struct sched_queue *queue, unsigned count,
                          enum hold_reason *reason_out)
{
    struct delivery *delivery = context;
    struct queue_gate *gate = queue->gate;
    uint64_t now_ns = delivery->shard->now_ns;
    uint64_t until_ns = 0;
    if (!cell_set_whole(&gate->set)) {
        /* They were just asked for, and nothing is wrong yet; or the registry has no room. */
        *reason_out = timer_is_set(&gate->timer) ? HOLD_memory : HOLD_none;
        return 0;
    }
    if (is_quiet(gate)) {
        *reason_out = HOLD_quiet_hours;
        return 0;
    }
    *reason_out = HOLD_queue_rate;
    uint32_t due = MAX_OF(sched_queue_due(queue), count); /* they may be hot already */
    uint32_t ready = rates_ready(&gate->rates, now_ns, due, &until_ns);
    if (ready == 0) {
        gate->until_ns = until_ns;
        shard_timer_set(delivery->shard, &gate->timer, until_ns - now_ns);
        return 0;
    }
    count = MIN_OF(count, ready);
    rates_use(&gate->rates, count);
    if (count == due) {
        rates_rest(&gate->rates);
    }
    return count;
}

void queue_gate_forget(void *context, struct sched_queue *queue)
{
    (void)context;
    gate_close(queue->gate);
}

uint32_t queue_gate_number(const struct sched_queue *queue)
{
    const struct queue_gate *gate = queue->gate;
    return gate != NULL ? gate->number : 0;
}

bool queue_gate_fits(const struct delivery *delivery, const struct sched_queue *queue,
                     const struct queue_options *options)
{
    const struct queue_gate *gate = queue->gate;
    struct queue_rate wanted[QUEUE_RATES_MAX];
    unsigned count =
        queue_rates_of(options, sched_queue_name(delivery->queues, queue), wanted);
    bool needed = count > 0 || options->hours != NULL;
    if (gate == NULL || !needed || gate->set.count != count) {
        return gate == NULL && !needed;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct slice parts[] = {wanted[i].scope, wanted[i].name};
        const struct cell_key key = cell_set_rate_key(parts, COUNT_OF(parts), wanted[i].rate);
        if (!cell_key_equal(&gate->requests[i].key, &key)) {
            return false;
        }
    }
    return true;
}

void queue_gate_renew(struct delivery *delivery, struct sched_queue *queue)
{
    struct queue_gate *gate = queue->gate;
    if (gate == NULL) {
        return;
    }
    gate->open_until_s = gate->open_from_s;
    if (gate->quiet && !is_quiet(gate)) {
        shard_timer_clear(delivery->shard, &gate->timer);
        gate->until_ns = 0;
        queues_release(delivery->queues, queue);
    }
}

void queue_gate_refund(struct sched_queue *queue, uint32_t number, unsigned count)
{
    struct queue_gate *gate = queue->gate;
    if (gate != NULL && gate->number == number) {
        rates_refund(&gate->rates, count);
    }
}

bool queue_gate_limit_at(const struct queue_gate *gate, unsigned i, struct limit_view *view_out)
{
    struct queue_rate rates[QUEUE_RATES_MAX];
    if (gate->queue == NULL || !cell_set_whole(&gate->set) || i >= gate->set.count) {
        return false;
    }
    (void)queue_rates_of(sched_queue_options(gate->queue),
                         sched_queue_name(gate->delivery->queues, gate->queue), rates);
    *view_out = (struct limit_view){
        .option = rates[i].option,
        .name = rates[i].name,
        .cell = cell_set_at(&gate->set, i),
        .rate = &gate->wanted[i],
    };
    return true;
}

void queue_gates_stop(struct delivery *delivery)
{
    struct list *link = delivery->gate_list.next;
    while (link != &delivery->gate_list) {
        struct queue_gate *gate = CONTAINER_OF(link, struct queue_gate, link);
        link = link->next;
        gate_close(gate);
    }
}
