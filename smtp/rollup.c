#include "smtp/rollup.h"

#include "core/check.h"

struct rollup_row {
    struct site *site;   /* held; null: not known */
    uint64_t expires_ns; /* then it is asked for again */
};

static void ask_more(struct rollup *rollup);

/* --- tables ----------------------------------------------------------------------------------- */

static struct shaping_sites *table_make(const struct rollup *rollup)
{
    const struct shaping *shaping = rollup->conf->shaping;
    struct heap scratch;
    uint32_t count = 0;
    heap_init(&scratch);
    struct shaping_sited *sited =
        heap_take_array(&scratch, shaping->block_count + 1u, sizeof(*sited));
    for (uint32_t i = 0; i < shaping->block_count; i++) {
        const struct site *site = rollup->rows[i].site;
        if (site != NULL && site->kind == SITE_OK) {
            sited[count++] = (struct shaping_sited){i, site->name};
        }
    }
    struct shaping_sites *sites = shaping_sites_new(shaping, sited, count);
    heap_fini(&scratch);
    return sites;
}

/* The same for every path? */
static bool is_same(const struct rollup *rollup, const struct shaping_sites *sites)
{
    const struct shaping_view now = {.shaping = rollup->conf->shaping, .sites = rollup->sites};
    const struct shaping_view next = {.shaping = rollup->conf->shaping, .sites = sites};
    return rollup->known && shaping_view_digest(&now) == shaping_view_digest(&next);
}

static void distribute(struct rollup *rollup)
{
    rollup->changed = rollup->out > 0;
    if (rollup->out > 0) {
        return;
    }
    struct shaping_sites *next = table_make(rollup);
    if (is_same(rollup, next)) {
        shaping_sites_free(next);
        return;
    }
    rollup->former = rollup->sites;
    rollup->sites = next;
    rollup->known = true;
    rollup->sent_conf = rollup->conf;
    for (unsigned i = 0; i < rollup->shards; i++) {
        rollup->out++;
        shard_walk_send(&rollup->parts[i].walk, rollup->shard);
    }
}

/* On a mail shard: by the configuration that it was made of, else it is for nobody any more. */
static void part_arrive(struct shard_walk *walk)
{
    const struct rollup *rollup = CONTAINER_OF(walk, struct rollup_part, walk)->rollup;
    struct delivery *delivery = walk->delivery;
    if (delivery->conf == rollup->sent_conf && !delivery->stopping) {
        delivery_shape(delivery, delivery->conf, rollup->sites,
                       delivery->paths.view.overrides);
    }
}

static enum walk_slice part_slice(struct shard_walk *walk)
{
    (void)walk;
    return WALK_OVER;
}

static void part_home(struct shard_walk *walk)
{
    struct rollup *rollup = CONTAINER_OF(walk, struct rollup_part, walk)->rollup;
    if (--rollup->out > 0) {
        return;
    }
    shaping_sites_free(rollup->former);
    rollup->former = NULL;
    if (rollup->changed && rollup->conf != NULL && !rollup->stopping) {
        distribute(rollup);
    }
}

/* --- questions -------------------------------------------------------------------------------- */

static void round_over(struct rollup *rollup)
{
    distribute(rollup);
    shard_timer_set(rollup->shard, &rollup->timer, ROLLUP_ROUND_S * NS_PER_S);
}

static void answered(struct site_ask *ask, struct site *site, uint64_t expires_ns)
{
    struct rollup_ask *own = CONTAINER_OF(ask, struct rollup_ask, ask);
    struct rollup *rollup = own->rollup;
    struct rollup_row *row = &rollup->rows[own->block];
    own->out = false;
    rollup->asking--;
    row->expires_ns = expires_ns;
    if (site->kind == SITE_TROUBLE && row->site != NULL) {
        site_release(site);
    } else {
        if (row->site != NULL) {
            site_release(row->site);
        }
        row->site = site;
    }
    ask_more(rollup);
}

static bool is_asked_for(const struct rollup *rollup, uint32_t block)
{
    const struct shaping_block *at = &rollup->conf->shaping->blocks[block];
    const struct rollup_row *row = &rollup->rows[block];
    return at->rollup && at->name.data[0] != '[' &&
           (row->site == NULL || row->expires_ns <= rollup->shard->now_ns);
}

static void ask_one(struct rollup *rollup, uint32_t block)
{
    struct rollup_ask *own = rollup->asks;
    while (own->out) {
        own++;
    }
    own->ask = (struct site_ask){
        .domain = rollup->conf->shaping->blocks[block].name, .done = answered};
    list_init(&own->ask.link);
    own->rollup = rollup;
    own->block = block;
    own->out = true;
    rollup->asking++;
    site_finder_ask(rollup->finder, &own->ask);
}

/* As many at once as there may be; no answer comes before the end of the turn. */
static void ask_more(struct rollup *rollup)
{
    uint32_t end = rollup->conf->shaping->block_count;
    while (rollup->next < end && rollup->asking < ROLLUP_ASKS_MAX) {
        if (is_asked_for(rollup, rollup->next)) {
            ask_one(rollup, rollup->next);
        }
        rollup->next++;
    }
    if (rollup->next == end && rollup->asking == 0) {
        round_over(rollup);
    }
}

static void round_begin(struct timer *timer)
{
    struct rollup *rollup = CONTAINER_OF(timer, struct rollup, timer);
    rollup->next = 0;
    ask_more(rollup);
}

/* Nothing is known, and nothing asked. */
static void forget(struct rollup *rollup)
{
    shard_timer_clear(rollup->shard, &rollup->timer);
    for (unsigned i = 0; i < ROLLUP_ASKS_MAX; i++) {
        if (rollup->asks[i].out) {
            site_finder_unask(rollup->finder, &rollup->asks[i].ask);
            rollup->asks[i].out = false;
        }
    }
    rollup->asking = 0;
    uint32_t count = rollup->conf == NULL ? 0 : rollup->conf->shaping->block_count;
    for (uint32_t i = 0; i < count; i++) {
        if (rollup->rows[i].site != NULL) {
            site_release(rollup->rows[i].site);
        }
    }
    heap_fini(&rollup->heap);
    heap_init(&rollup->heap);
    rollup->rows = NULL;
    rollup->conf = NULL;
    rollup->known = false;
}

/* --- life ------------------------------------------------------------------------------------- */

void rollup_init(struct rollup *rollup, struct shard *shard, struct boot_pages *pages,
                 struct site_finder *finder, unsigned shards)
{
    rollup->shard = shard;
    rollup->finder = finder;
    rollup->shards = shards;
    rollup->parts = boot_pages_take(pages, shards * sizeof(*rollup->parts));
    heap_init(&rollup->heap);
    timer_init(&rollup->timer, round_begin);
}

void rollup_shard_set(struct rollup *rollup, unsigned index, struct delivery *delivery)
{
    static const struct shard_walk_kind kind = {
        .arrive = part_arrive, .slice = part_slice, .home = part_home};
    struct rollup_part *part = &rollup->parts[index];
    part->rollup = rollup;
    shard_walk_init(&part->walk, &kind, delivery);
}

static bool has_rollup(const struct shaping *shaping)
{
    uint32_t i = 0;
    while (i < shaping->block_count && !shaping->blocks[i].rollup) {
        i++;
    }
    return i < shaping->block_count;
}

void rollup_start(struct rollup *rollup, const struct conf *conf)
{
    rollup->started = true;
    rollup_set(rollup, conf);
}

void rollup_pause(struct rollup *rollup)
{
    forget(rollup);
}

void rollup_set(struct rollup *rollup, const struct conf *conf)
{
    if (rollup->stopping || !rollup->started) {
        return;
    }
    forget(rollup);
    if (has_rollup(conf->shaping)) {
        rollup->conf = conf;
        rollup->rows = heap_take_array(&rollup->heap, conf->shaping->block_count,
                                       sizeof(*rollup->rows));
        rollup->next = 0;
        ask_more(rollup);
    }
}

const struct shaping_sites *rollup_sites(const struct rollup *rollup)
{
    return rollup->known ? rollup->sites : NULL;
}

void rollup_stop(struct rollup *rollup)
{
    rollup->stopping = true;
    forget(rollup);
}

bool rollup_idle(const struct rollup *rollup)
{
    return rollup->out == 0;
}

void rollup_fini(struct rollup *rollup)
{
    shaping_sites_free(rollup->sites);
    shaping_sites_free(rollup->former);
    heap_fini(&rollup->heap);
}
