#include "smtp/reload_part.h"

#include "core/check.h"
#include "smtp/advice_tap.h"
#include "smtp/egress.h"
#include "smtp/queue_gate.h"
#include "smtp/queue_of.h"

/* Queues or pools looked at in one turn. */
#define LOOKS_MAX 512u

static struct reload_part *part_of(struct shard_walk *walk)
{
    return CONTAINER_OF(walk, struct reload_part, walk);
}

static void queue_visit(struct reload_part *part, struct sched_queue *queue)
{
    struct delivery *delivery = part->walk.delivery;
    struct queues *queues = delivery->queues;
    const struct conf_queue_key key = queue_name_parse(sched_queue_name(queues, queue));
    struct queue_options *options = sched_queue_options(queue);
    struct queue_options next;
    conf_queue(delivery->conf, &key, &next);
    bool fits = queue_gate_fits(delivery, queue, &next);
    *options = next;
    sched_queue_weigh(queue, next.weight);
    if (!fits || !delivery_routed_right(delivery, queue)) {
        queues_unroute(queues, queue);
    }
    if (!fits && queue->gate != NULL) {
        queue_gate_forget(delivery, queue);
    }
    queue_gate_renew(delivery, queue);
}

static void visit(struct shard_walk *walk, uint32_t number)
{
    struct reload_part *part = part_of(walk);
    const struct delivery *delivery = walk->delivery;
    if (part->stage == RELOAD_QUEUES) {
        struct sched_queue *queue = queues_find(delivery->queues, number);
        if (queue != NULL) {
            queue_visit(part, queue);
        }
    } else if (pool_is_taken(&delivery->egress_pools, number)) {
        egress_pool_renew(pool_at(&delivery->egress_pools, number), delivery->conf);
    }
}

static enum walk_slice part_slice(struct shard_walk *walk)
{
    struct reload_part *part = part_of(walk);
    enum walk_things things = part->stage == RELOAD_QUEUES ? WALK_QUEUES : WALK_POOLS;
    if (walk->delivery->stopping) {
        return WALK_OVER; /* nothing begins any more, by whatever options; the old ones stay */
    }
    if (shard_walk_visit(walk, walk_things_end(walk->delivery, things), LOOKS_MAX, visit)) {
        part->stage++;
    }
    if (part->stage != RELOAD_OVER) {
        return WALK_GOES_ON;
    }
    conf_lease_retire(part->old);
    return WALK_OVER;
}

static void part_arrive(struct shard_walk *walk)
{
    struct reload_part *part = part_of(walk);
    const struct reload_target *target = &part->target;
    const struct conf *conf = part->lease->conf;
    part->old = target->server->lease;
    delivery_shape(walk->delivery, conf, NULL, walk->delivery->paths.view.overrides);
    site_book_expire(walk->delivery->site_book);
    target->server->intake->conf = conf;
    event_tap_set_conf(target->server->events, part->lease);
    advice_tap_set_conf(target->advice, part->lease);
    server_set_conf(target->server, part->lease);
    http_server_set_conf(target->http, conf);
    inject_set_conf(target->inject);
}

static void part_home(struct shard_walk *walk)
{
    struct reload_part *part = part_of(walk);
    part->home(part);
}

void reload_part_init(struct reload_part *part, struct delivery *delivery,
                      const struct reload_target *target)
{
    static const struct shard_walk_kind kind = {
        .arrive = part_arrive, .slice = part_slice, .home = part_home};
    shard_walk_init(&part->walk, &kind, delivery);
    part->target = *target;
}

void reload_part_send(struct reload_part *part, struct conf_lease *lease, struct shard *shard)
{
    part->lease = lease;
    part->stage = RELOAD_QUEUES;
    shard_walk_send(&part->walk, shard);
}
