#include "smtp/reload_part.h"

#include "core/check.h"
#include "smtp/egress.h"
#include "smtp/queue_gate.h"
#include "smtp/queue_of.h"

/* Queues or sites looked at in one turn. */
#define LOOKS_MAX 512u

static void queue_visit(struct reload_part *part, struct sched_queue *queue)
{
    struct delivery *delivery = part->target.delivery;
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
}

static void site_visit(const struct reload_part *part, struct egress *egress)
{
    if (egress->path == NULL) {
        return;
    }
    const struct path_options *path =
        conf_path_block(part->target.delivery->conf, egress->path->block);
    if (path != NULL && path->fingerprint == egress->path->fingerprint) {
        egress_follow(egress, path);
    } else {
        egress_retire(egress);
    }
}

/* True: all of this stage. */
static bool visit_some(struct reload_part *part)
{
    const struct delivery *delivery = part->target.delivery;
    uint32_t end = part->stage == RELOAD_QUEUES ? queues_end(delivery->queues)
                                                : delivery->egresses.fresh;
    for (unsigned i = 0; i < LOOKS_MAX && part->next < end; i++, part->next++) {
        if (part->stage == RELOAD_SITES) {
            if (pool_is_taken(&delivery->egresses, part->next)) {
                site_visit(part, pool_at(&delivery->egresses, part->next));
            }
            continue;
        }
        struct sched_queue *queue = queues_find(delivery->queues, part->next);
        if (queue != NULL) {
            queue_visit(part, queue);
        }
    }
    return part->next >= end;
}

static void part_home(struct shard *shard, struct mail *mail)
{
    struct reload_part *part = CONTAINER_OF(mail, struct reload_part, mail);
    (void)shard;
    part->home(part);
}

static void part_end(struct reload_part *part)
{
    part->mail.arrive = part_home;
    shard_send(part->target.delivery->shard, part->registrar, &part->mail);
}

static void part_step(struct deferred *deferred)
{
    struct reload_part *part = CONTAINER_OF(deferred, struct reload_part, step);
    if (part->target.delivery->stopping) {
        part_end(part); /* nothing begins any more, by whatever options; the old ones stay */
        return;
    }
    if (visit_some(part)) {
        part->next = 0;
        part->stage++;
    }
    if (part->stage == RELOAD_OVER) {
        conf_lease_retire(part->old);
        part_end(part);
        return;
    }
    shard_defer(part->target.delivery->shard, &part->step);
}

static void part_arrive(struct shard *shard, struct mail *mail)
{
    struct reload_part *part = CONTAINER_OF(mail, struct reload_part, mail);
    const struct reload_target *target = &part->target;
    const struct conf *conf = part->lease->conf;
    part->old = target->server->lease;
    target->delivery->conf = conf;
    target->server->intake->conf = conf;
    event_tap_set_conf(target->server->events, conf);
    server_set_conf(target->server, part->lease);
    http_server_set_conf(target->http, conf);
    inject_set_conf(target->inject);
    shard_defer(shard, &part->step);
}

void reload_part_init(struct reload_part *part, const struct reload_target *target,
                      unsigned registrar)
{
    part->target = *target;
    part->registrar = registrar;
    deferred_init(&part->step, part_step);
}

void reload_part_send(struct reload_part *part, struct conf_lease *lease, struct shard *shard)
{
    part->lease = lease;
    part->stage = RELOAD_QUEUES;
    part->next = 0;
    part->mail.arrive = part_arrive;
    shard_send(shard, part->target.delivery->shard->index, &part->mail);
}
