#include "smtp/overrider.h"

#include "core/check.h"
#include "smtp/delivery.h"

static void step_run(struct deferred *deferred);

void overrider_init(struct overrider *overrider, struct shard *shard, struct boot_pages *pages,
                    unsigned shards)
{
    overrider->shard = shard;
    overrider->shards = shards;
    overrider->parts = boot_pages_take(pages, shards * sizeof(struct override_part));
    deferred_init(&overrider->step, step_run);
}

void overrider_shard_set(struct overrider *overrider, unsigned index, struct delivery *delivery)
{
    overrider->parts[index].overrider = overrider;
    overrider->parts[index].delivery = delivery;
}

void overrider_fini(struct overrider *overrider)
{
    deferred_cancel(&overrider->step);
    shaping_overrides_free(overrider->current);
    shaping_overrides_free(overrider->next);
}

static void part_home(struct shard *shard, struct mail *mail)
{
    struct override_part *part = CONTAINER_OF(mail, struct override_part, mail);
    struct overrider *overrider = part->overrider;
    if (--overrider->out > 0) {
        return;
    }
    shaping_overrides_free(overrider->current);
    overrider->current = overrider->next;
    overrider->next = NULL;
    overrider->obeyed = overrider->sent;
    shard_defer(shard, &overrider->step);
    overrider->done(overrider);
}

/* On the mail shard. */
static void part_arrive(struct shard *shard, struct mail *mail)
{
    struct override_part *part = CONTAINER_OF(mail, struct override_part, mail);
    struct delivery *delivery = part->delivery;
    delivery_shape(delivery, delivery->conf, delivery->paths.view.sites, part->overrides);
    part->mail.arrive = part_home;
    shard_send(shard, part->overrider->shard->index, &part->mail);
}

static void step_run(struct deferred *deferred)
{
    struct overrider *overrider = CONTAINER_OF(deferred, struct overrider, step);
    if (overrider->out > 0 || overrider->changes == overrider->obeyed) {
        return; /* the last part that comes home comes back here */
    }
    overrider->sent = overrider->changes;
    overrider->next = overrider->make(overrider);
    overrider->out = overrider->shards;
    for (unsigned i = 0; i < overrider->shards; i++) {
        struct override_part *part = &overrider->parts[i];
        part->overrides = overrider->next;
        part->mail.arrive = part_arrive;
        shard_send(overrider->shard, i, &part->mail);
    }
}

void overrider_changed(struct overrider *overrider)
{
    overrider->changes++;
    shard_defer(overrider->shard, &overrider->step);
}

bool overrider_idle(const struct overrider *overrider)
{
    return overrider->out == 0;
}
