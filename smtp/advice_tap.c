#include "smtp/advice_tap.h"

#include <string.h>

#include "core/check.h"
#include "smtp/advisor.h"

static void flush_run(struct deferred *deferred);

void advice_tap_init(struct advice_tap *tap, struct shard *shard, unsigned to,
                     struct advisor *advisor, struct boot_pages *pages)
{
    struct advice_batch *batches = boot_pages_take(pages, ADVICE_BATCHES * sizeof(*batches));
    *tap = (struct advice_tap){.shard = shard, .advisor = advisor, .to = to};
    list_init(&tap->free);
    deferred_init(&tap->flush, flush_run);
    for (unsigned i = 0; i < ADVICE_BATCHES; i++) {
        batches[i].tap = tap;
        list_push_back(&tap->free, &batches[i].link);
    }
}

void advice_tap_fini(struct advice_tap *tap)
{
    deferred_cancel(&tap->flush);
}

static void send(struct advice_tap *tap)
{
    struct advice_batch *batch = tap->open;
    tap->open = NULL;
    tap->away++;
    batch->mail.arrive = advisor_arrive;
    shard_send(tap->shard, tap->to, &batch->mail);
}

void advice_tap_set_conf(struct advice_tap *tap, const struct conf_lease *lease)
{
    if (tap->open != NULL) {
        send(tap); /* its groups are those of the rules before */
    }
    tap->rules = advice_rules(lease->conf);
    tap->scratch = lease->rules_scratch;
}

/* --- one reply -------------------------------------------------------------------------------- */

bool advice_tap_scan(struct advice_tap *tap, struct slice response)
{
    counters_add(&tap->shard->counters, COUNTER_advice_scanned, 1);
    patterns_scan(tap->scratch, response);
    return patterns_next(tap->scratch, 0) < patterns_count(tap->rules->patterns);
}

bool advice_tap_meets(struct advice_tap *tap, const uint32_t *groups, uint32_t count)
{
    const struct shaping_rule_set *rules = tap->rules;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = rules->first_pattern[rules->first_rule[groups[i]]];
        uint32_t end = rules->first_pattern[rules->first_rule[groups[i] + 1]];
        if (patterns_next_below(tap->scratch, first, end) < end) {
            return true;
        }
    }
    return false;
}

/* --- batches ---------------------------------------------------------------------------------- */

static struct slice *text_of(struct automation_record *record, unsigned i)
{
    struct slice *const texts[] = {&record->response, &record->site,   &record->source,
                                   &record->domain,   &record->tenant, &record->campaign};
    return i < COUNT_OF(texts) ? texts[i] : NULL;
}

/* False: there is no room. */
static bool add(struct advice_batch *batch, const struct advice *advice)
{
    struct advice *to = &batch->advice[batch->count];
    struct buf text = batch->text;
    if (batch->count == ADVICE_RECORDS_MAX ||
        advice->record.group_count > COUNT_OF(batch->groups) - batch->group_count) {
        return false;
    }
    *to = *advice;
    for (unsigned i = 0; text_of(&to->record, i) != NULL; i++) {
        struct slice *own = text_of(&to->record, i);
        size_t at = text.size;
        buf_put(&text, *own);
        *own = slice_make(batch->bytes + at, own->size);
    }
    if (text.overflow) {
        return false;
    }
    uint32_t *groups = batch->groups + batch->group_count;
    memcpy(groups, advice->record.groups, advice->record.group_count * sizeof(*groups));
    to->record.groups = groups;
    batch->group_count += advice->record.group_count;
    batch->text = text;
    batch->count++;
    return true;
}

static bool open(struct advice_tap *tap)
{
    struct list *link = list_pop_front(&tap->free);
    if (link == NULL) {
        return false;
    }
    tap->open = CONTAINER_OF(link, struct advice_batch, link);
    tap->open->rules = tap->rules;
    tap->open->count = 0;
    tap->open->group_count = 0;
    buf_init(&tap->open->text, tap->open->bytes, sizeof(tap->open->bytes));
    return true;
}

void advice_tap_put(struct advice_tap *tap, const struct advice *advice)
{
    CHECK(advice->record.group_count <= ADVICE_GROUPS_MAX);
    bool added = tap->open != NULL && add(tap->open, advice);
    if (!added && tap->open != NULL) {
        send(tap);
    }
    if (!added && !open(tap)) {
        counters_add(&tap->shard->counters, COUNTER_advice_dropped, 1);
        return;
    }
    CHECK(added || add(tap->open, advice)); /* an empty one has room for any */
    counters_add(&tap->shard->counters, COUNTER_advice_sent, 1);
    shard_defer(tap->shard, &tap->flush);
}

/* At the end of the turn, and when one comes home. */
static void flush_run(struct deferred *deferred)
{
    struct advice_tap *tap = CONTAINER_OF(deferred, struct advice_tap, flush);
    if (tap->open != NULL && tap->away == 0) {
        send(tap);
    }
}

static void batch_home(struct shard *shard, struct mail *mail)
{
    struct advice_batch *batch = CONTAINER_OF(mail, struct advice_batch, mail);
    struct advice_tap *tap = batch->tap;
    CHECK(tap->away > 0 && shard == tap->shard);
    tap->away--;
    list_push_back(&tap->free, &batch->link);
    shard_defer(shard, &tap->flush);
}

void advice_batch_give(struct shard *receiver, struct advice_batch *batch)
{
    batch->mail.arrive = batch_home;
    shard_send(receiver, batch->tap->shard->index, &batch->mail);
}

bool advice_tap_idle(const struct advice_tap *tap)
{
    return tap->away == 0 && tap->open == NULL;
}
