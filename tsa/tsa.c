#include "tsa/tsa.h"

#include "tsa/tsa_publish.h"
#include "tsa/tsa_subscribe.h"

#define CLOCK_NS NS_PER_S

static void tick(struct timer *timer)
{
    struct tsa *tsa = CONTAINER_OF(timer, struct tsa, clock);
    automation_expire(&tsa->automation, tsa->shard->wall_ns);
    shard_timer_set(tsa->shard, timer, CLOCK_NS);
}

static void changed(struct tsa *tsa)
{
    if (tsa->options.changed != NULL) {
        tsa->options.changed(tsa->options.context);
    }
}

static void tell(void *context, enum automation_change change,
                 const struct automation_effect *effect, const struct shaping_rule *rule)
{
    struct tsa *tsa = context;
    hub_tell(&tsa->hub, change, effect, rule);
    changed(tsa);
}

static void hub_boot(struct tsa *tsa)
{
    const struct tsa_options *options = &tsa->options;
    struct hub_options hub = {
        .changes_max = options->changes_max,
        .bytes_max = options->change_bytes_max,
        .first = tsa->shard->wall_ns / NS_PER_US + 1,
    };
    ring_entropy(tsa->shard->ring, hub.epoch.bytes, sizeof(hub.epoch.bytes));
    hub_init(&tsa->hub, &tsa->heap, &tsa->automation, &hub);
    automation_listen(&tsa->automation, tell, tsa);
}

void tsa_init(struct tsa *tsa, const struct tsa_options *options)
{
    *tsa = (struct tsa){.options = *options, .shard = options->shard};
    heap_init(&tsa->heap);
    automation_init(&tsa->automation, &tsa->heap, options->effects_max, options->counters_max, 1,
                    prng_next(&tsa->shard->prng));
    tsa->list.effects =
        heap_take_array(&tsa->heap, options->effects_max, sizeof(*tsa->list.effects));
    publish_init(&tsa->publish, &tsa->heap);
    timer_init(&tsa->clock, tick);
    tsa_publish_init(tsa);
    tsa_subscribe_init(tsa);
}

void tsa_start(struct tsa *tsa)
{
    hub_boot(tsa);
    automation_begin(&tsa->automation, tsa->shard->wall_ns);
    tsa->ready = true;
    tick(&tsa->clock);
}

void tsa_stop(struct tsa *tsa)
{
    tsa->stopping = true;
    shard_timer_clear(tsa->shard, &tsa->clock);
}

void tsa_fini(struct tsa *tsa)
{
    tsa_subscribe_fini(tsa);
    publish_fini(&tsa->publish);
    heap_fini(&tsa->heap);
}

bool tsa_is_open(const struct tsa *tsa)
{
    return tsa->ready && !tsa->stopping;
}

void tsa_judge(struct tsa *tsa, struct automation_record *record)
{
    uint32_t groups[TSA_GROUPS_MAX];
    record->groups = groups;
    record->group_count =
        tsa->options.groups(tsa->options.context, record, groups, TSA_GROUPS_MAX);
    uint64_t matches = tsa->automation.stats.matches;
    automation_judge(&tsa->automation, record, tsa->shard->wall_ns);
    if (tsa->automation.stats.matches != matches) {
        changed(tsa); /* what was counted */
    }
}
