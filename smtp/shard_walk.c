#include "smtp/shard_walk.h"

static void arrive_home(struct shard *shard, struct mail *mail)
{
    struct shard_walk *walk = CONTAINER_OF(mail, struct shard_walk, mail);
    (void)shard;
    walk->kind->home(walk);
}

static void step(struct deferred *deferred)
{
    struct shard_walk *walk = CONTAINER_OF(deferred, struct shard_walk, step);
    struct shard *shard = walk->delivery->shard;
    switch (walk->kind->slice(walk)) {
    case WALK_GOES_ON:
        shard_defer(shard, &walk->step);
        break;
    case WALK_RESTS:
        break;
    case WALK_OVER:
        walk->mail.arrive = arrive_home;
        shard_send(shard, walk->registrar, &walk->mail);
        break;
    }
}

static void arrive(struct shard *shard, struct mail *mail)
{
    struct shard_walk *walk = CONTAINER_OF(mail, struct shard_walk, mail);
    if (walk->kind->arrive != NULL) {
        walk->kind->arrive(walk);
    }
    shard_defer(shard, &walk->step);
}

void shard_walk_init(struct shard_walk *walk, const struct shard_walk_kind *kind,
                     struct delivery *delivery)
{
    *walk = (struct shard_walk){.kind = kind, .delivery = delivery};
    deferred_init(&walk->step, step);
}

void shard_walk_send(struct shard_walk *walk, struct shard *shard)
{
    walk->registrar = shard->index;
    walk->next = 0;
    walk->mail.arrive = arrive;
    shard_send(shard, walk->delivery->shard->index, &walk->mail);
}

void shard_walk_resume(struct shard_walk *walk)
{
    shard_defer(walk->delivery->shard, &walk->step);
}

uint32_t walk_things_end(const struct delivery *delivery, enum walk_things things)
{
    switch (things) {
    case WALK_QUEUES:
        return queues_end(delivery->queues);
    case WALK_POOLS:
        return delivery->egress_pools.fresh;
    case WALK_SITES:
        return delivery->egresses.fresh;
    case WALK_ROWS:
        return delivery->queues->rows.fresh;
    }
    return 0;
}

bool shard_walk_visit(struct shard_walk *walk, uint32_t end, uint32_t count,
                      void (*visit)(struct shard_walk *walk, uint32_t number))
{
    for (; walk->next < end && count > 0; count--) {
        visit(walk, walk->next++);
    }
    if (walk->next < end) {
        return false;
    }
    walk->next = 0;
    return true;
}
