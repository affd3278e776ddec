#include "smtp/advisor.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/little.h"
#include "tsa/site_hosts.h"

#define TICK_NS NS_PER_S /* while there are effects: clocks jump */

static void heard(void *context, enum automation_change change,
                  const struct automation_effect *effect, const struct shaping_rule *rule);
static void fill(struct admin_rules *rules, struct admin_table *table);
static void obeyed(struct admin_rules *rules);
static struct shaping_overrides *make_overrides(struct overrider *overrider);
static void overrides_done(struct overrider *overrider);
static void tick(struct timer *timer);
static void store_loaded(struct automation_store *store);

void advisor_init(struct advisor *advisor, struct boot_pages *pages, unsigned shards)
{
    automation_init(&advisor->automation, advisor->heap, ADVISOR_EFFECTS_MAX, ADVISOR_COUNTERS_MAX,
                    1, prng_next(&advisor->shard->prng));
    automation_listen(&advisor->automation, heard, advisor);
    advisor->store = (struct automation_store){
        .shard = advisor->shard,
        .automation = &advisor->automation,
        .dir = advisor->dir,
        .file = advisor->database,
        .log = advisor->log,
        .loaded = store_loaded,
    };
    automation_store_init(&advisor->store, pages);
    advisor->rules = (struct admin_rules){.fill = fill, .obeyed = obeyed};
    advisor->admin->rules = &advisor->rules;
    advisor->overrider.make = make_overrides;
    advisor->overrider.done = overrides_done;
    overrider_init(&advisor->overrider, advisor->shard, pages, shards);
    timer_init(&advisor->timer, tick);
    list_init(&advisor->cancels);
    histogram_init(&advisor->reaction);
    histogram_init(&advisor->remote);
}

void advisor_shard_set(struct advisor *advisor, unsigned index, struct delivery *delivery)
{
    overrider_shard_set(&advisor->overrider, index, delivery);
}

void advisor_fini(struct advisor *advisor)
{
    shard_timer_clear(advisor->shard, &advisor->timer);
    automation_store_fini(&advisor->store);
    overrider_fini(&advisor->overrider);
    patterns_scratch_close(advisor->automation.scratch);
    advisor->automation.scratch = NULL;
}

void advisor_use(struct advisor *advisor, const struct shaping_rule_set *rules)
{
    struct patterns_scratch *before = advisor->automation.scratch;
    automation_use(&advisor->automation, rules,
                   rules != NULL ? patterns_scratch_open(rules->patterns) : NULL);
    patterns_scratch_close(before);
}

const struct shaping_rule *advisor_rule(const struct advisor *advisor, uint64_t hash)
{
    const struct shaping_rule_set *set = advisor->automation.rules;
    for (uint32_t i = 0; set != NULL && i < set->rule_count; i++) {
        if (set->rules[i]->hash == hash) {
            return set->rules[i];
        }
    }
    return NULL;
}

/* --- what is told ----------------------------------------------------------------------------- */

static void say(const struct advisor *advisor, const char *change,
                const struct automation_effect *effect, const struct shaping_rule *rule)
{
    const struct {
        const char *key;
        struct slice text;
    } texts[] = {
        {"site", effect->site},     {"source", effect->source},     {"domain", effect->domain},
        {"tenant", effect->tenant}, {"campaign", effect->campaign}, {"option", effect->name},
        {"value", effect->value},
    };
    uint8_t place[512];
    struct buf buf;
    struct logline line;
    logline_begin(&line, "automation");
    logline_string(&line, "change", change);
    logline_u64(&line, "id", effect->id);
    logline_string(&line, "action", shaping_action_name(effect->kind));
    if (effect->remote) {
        logline_string(&line, "from", "subscription");
    }
    for (unsigned i = 0; i < COUNT_OF(texts); i++) {
        if (texts[i].text.size > 0) {
            logline_text(&line, texts[i].key, texts[i].text);
        }
    }
    logline_time(&line, "expires", effect->expires_ns);
    if (rule != NULL) {
        buf_init(&buf, place, sizeof(place));
        buf_printf(&buf, "%s:%u", rule->file, rule->line);
        logline_text(&line, "rule", buf_slice(&buf));
    }
    logline_text(&line, "reason", effect->reason);
    logline_end(&line, &advisor->log);
}

/* It lasts longer: told later, once for many. */
static void note_extended(struct advisor *advisor, uint64_t id)
{
    for (unsigned i = 0; i < advisor->extended_count; i++) {
        if (advisor->extended[i] == id) {
            return;
        }
    }
    if (advisor->extended_count < COUNT_OF(advisor->extended)) {
        advisor->extended[advisor->extended_count++] = id;
    }
}

static enum advisor_way way_of(enum shaping_action_kind kind)
{
    return kind == SHAPING_SET_CONFIG || kind == SHAPING_SET_DOMAIN_CONFIG ? ADVISOR_OVERRIDE
                                                                           : ADVISOR_ORDER;
}

static void note_begun(struct advisor *advisor, const struct automation_effect *effect)
{
    enum advisor_way way = way_of(effect->kind);
    struct advisor_fresh *fresh = &advisor->fresh[way];
    advisor->changed[way] = true;
    if (!advisor->restoring && advisor->reply_ns > 0 &&
        fresh->count < COUNT_OF(fresh->replies)) {
        fresh->replies[fresh->count].ns = advisor->reply_ns;
        fresh->replies[fresh->count++].remote = effect->remote;
    }
}

/* automation_tell */
static void heard(void *context, enum automation_change change,
                  const struct automation_effect *effect, const struct shaping_rule *rule)
{
    struct advisor *advisor = context;
    switch (change) {
    case AUTOMATION_BEGUN:
        note_begun(advisor, effect);
        advisor->full = false;
        break;
    case AUTOMATION_EXTENDED:
        note_extended(advisor, effect->id);
        return;
    case AUTOMATION_REFUSED:
        if (advisor->full) {
            return; /* said once, and counted */
        }
        advisor->full = true;
        break;
    case AUTOMATION_CANCELLED:
    case AUTOMATION_EXPIRED:
        advisor->changed[way_of(effect->kind)] = true;
        break;
    }
    say(advisor, advisor->restoring ? "restored" : automation_change_name(change), effect,
        rule != NULL ? rule : advisor_rule(advisor, effect->rule_hash));
}

static const struct automation_effect *effect_of(const struct advisor *advisor, uint64_t id)
{
    uint32_t cursor = 0;
    const struct automation_effect *effect;
    do {
        effect = automation_next(&advisor->automation, &cursor);
    } while (effect != NULL && effect->id != id);
    return effect;
}

static void tell_extended(struct advisor *advisor)
{
    for (unsigned i = 0; i < advisor->extended_count; i++) {
        const struct automation_effect *effect = effect_of(advisor, advisor->extended[i]);
        if (effect != NULL) {
            advisor->changed[ADVISOR_ORDER] = true;
            say(advisor, automation_change_name(AUTOMATION_EXTENDED), effect,
                advisor_rule(advisor, effect->rule_hash));
        }
    }
    advisor->extended_count = 0;
}

static void count(const struct advisor *advisor)
{
    const struct automation_stats *stats = &advisor->automation.stats;
    struct counters *counters = &advisor->shard->counters;
    counters_set(counters, COUNTER_automation_matches, stats->matches);
    counters_set(counters, COUNTER_automation_reports, stats->reports);
    counters_set(counters, COUNTER_automation_reports_passed, stats->reports_passed);
    counters_set(counters, COUNTER_automation_begun, stats->changes[AUTOMATION_BEGUN]);
    counters_set(counters, COUNTER_automation_refused, stats->refused);
    counters_set(counters, COUNTER_automation_cancelled, stats->changes[AUTOMATION_CANCELLED]);
    counters_set(counters, COUNTER_automation_expired, stats->changes[AUTOMATION_EXPIRED]);
}

/* --- to the shards ---------------------------------------------------------------------------- */

/* Something was judged, ended or cancelled: disk, shards and timer follow. */
static void settle(struct advisor *advisor)
{
    uint64_t wall_ns = advisor->shard->wall_ns;
    uint64_t next_ns = advisor->automation.next_expiry_ns;
    count(advisor);
    automation_store_wake(&advisor->store);
    if (advisor->changed[ADVISOR_ORDER]) {
        admin_rules_changed(advisor->admin);
    }
    if (advisor->changed[ADVISOR_OVERRIDE]) {
        overrider_changed(&advisor->overrider);
    }
    memset(advisor->changed, 0, sizeof(advisor->changed));
    if (next_ns != UINT64_MAX && !advisor->stopping) {
        uint64_t left_ns = next_ns > wall_ns ? next_ns - wall_ns : 1;
        shard_timer_set(advisor->shard, &advisor->timer, MIN_OF(left_ns, TICK_NS));
    }
}

static void tick(struct timer *timer)
{
    struct advisor *advisor = CONTAINER_OF(timer, struct advisor, timer);
    tell_extended(advisor);
    automation_expire(&advisor->automation, advisor->shard->wall_ns);
    settle(advisor);
}

/* Its order for admin; false: it is none. */
static bool entry_of(const struct automation_effect *effect, struct admin_entry *entry)
{
    struct admin_criteria *criteria = &entry->criteria;
    switch (effect->kind) {
    case SHAPING_SUSPEND:
        entry->kind = ADMIN_SUSPEND_READY;
        criteria->names = &effect->site;
        criteria->name_count = 1;
        return true;
    case SHAPING_SUSPEND_TENANT:
    case SHAPING_SUSPEND_CAMPAIGN:
        entry->kind = ADMIN_SUSPEND;
        break;
    case SHAPING_BOUNCE:
    case SHAPING_BOUNCE_TENANT:
    case SHAPING_BOUNCE_CAMPAIGN:
        entry->kind = ADMIN_BOUNCE;
        break;
    case SHAPING_SET_CONFIG:
    case SHAPING_SET_DOMAIN_CONFIG:
    case SHAPING_ACTIONS:
        return false;
    }
    criteria->domain = effect->domain;
    criteria->tenant = effect->tenant;
    criteria->campaign = effect->campaign;
    return true;
}

static uint16_t slot_of(struct advisor *advisor, uint32_t index, uint64_t id)
{
    uint16_t slot = (uint16_t)(ADMIN_ENTRIES_MAX + index);
    if (advisor->slot_ids[index] != id) {
        advisor->slot_ids[index] = id;
        admin_slot_begin(advisor->admin, slot);
    }
    return slot;
}

static void fill_one(struct advisor *advisor, const struct automation_effect *effect,
                     uint32_t index, struct admin_table *table)
{
    uint8_t memory[ADMIN_REASON_BYTES_MAX];
    struct buf reason;
    const struct shard *shard = advisor->shard;
    struct admin_entry entry = {
        .effect = effect->id,
        .created_ns = effect->event_ns,
        .expires_ns = effect->expires_ns,
        .until_ns = shard->now_ns + (effect->expires_ns - shard->wall_ns),
    };
    if (!entry_of(effect, &entry)) {
        return;
    }
    buf_init(&reason, memory, sizeof(memory));
    buf_put(&reason, SLICE("automation: "));
    buf_put(&reason, effect->reason);
    entry.reason = buf_slice(&reason);
    little_put_u64(entry.id.bytes + sizeof(entry.id.bytes) - 8, effect->id);
    entry.slot = slot_of(advisor, index, effect->id);
    CHECK(admin_table_add(table, &entry)); /* as much room as there are effects */
}

/* admin_rules.fill */
static void fill(struct admin_rules *rules, struct admin_table *table)
{
    struct advisor *advisor = CONTAINER_OF(rules, struct advisor, rules);
    const struct automation_effect *effect;
    uint32_t cursor = 0;
    while ((effect = automation_next(&advisor->automation, &cursor)) != NULL) {
        if (effect->expires_ns > advisor->shard->wall_ns) {
            fill_one(advisor, effect, cursor - 1, table);
        }
    }
    advisor->fresh[ADVISOR_ORDER].sent = advisor->fresh[ADVISOR_ORDER].count;
}

static struct shaping_override override_of(const struct advisor *advisor, struct heap *heap,
                                           const struct automation_effect *effect)
{
    const struct shaping_rule *rule = advisor_rule(advisor, effect->rule_hash);
    uint8_t memory[512];
    struct buf origin;
    buf_init(&origin, memory, sizeof(memory));
    buf_put(&origin, SLICE("automation"));
    if (rule != NULL) {
        buf_printf(&origin, " %s:%u", rule->file, rule->line);
    }
    return (struct shaping_override){
        .domain = effect->domain,
        .site = site_name_of(effect->site),
        .source = effect->source,
        .rollup = effect->rollup,
        .name = effect->name,
        .value = effect->value,
        .origin = heap_copy(heap, buf_slice(&origin)),
        .expires_ns = effect->expires_ns,
    };
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t left = (*(const struct automation_effect *const *)a)->id;
    uint64_t right = (*(const struct automation_effect *const *)b)->id;
    return (left > right) - (left < right);
}

/* overrider.make: the older ones first, for later ones count before them. */
static struct shaping_overrides *make_overrides(struct overrider *overrider)
{
    struct advisor *advisor = CONTAINER_OF(overrider, struct advisor, overrider);
    const struct automation_effect *effects[ADVISOR_EFFECTS_MAX];
    const struct automation_effect *effect;
    struct shaping_overrides *made = NULL;
    uint32_t cursor = 0;
    uint32_t count = 0;
    struct heap heap;
    while ((effect = automation_next(&advisor->automation, &cursor)) != NULL) {
        if (way_of(effect->kind) == ADVISOR_OVERRIDE) {
            effects[count++] = effect;
        }
    }
    advisor->fresh[ADVISOR_OVERRIDE].sent = advisor->fresh[ADVISOR_OVERRIDE].count;
    if (count == 0) {
        return NULL;
    }
    qsort(effects, count, sizeof(effects[0]), compare_ids);
    heap_init(&heap);
    struct shaping_override *rows = heap_take_array(&heap, count, sizeof(*rows));
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = override_of(advisor, &heap, effects[i]);
    }
    made = shaping_overrides_new(rows, count, NULL, NULL);
    heap_fini(&heap);
    return made;
}

static bool is_over(const struct advisor *advisor, const struct advisor_cancel *cancel)
{
    uint64_t obeyed_by_all = cancel->way == ADVISOR_ORDER ? advisor->admin->rules_obeyed
                                                          : advisor->overrider.obeyed;
    return cancel->change <= obeyed_by_all || advisor->stopping;
}

static void cancels_done(struct advisor *advisor)
{
    struct list waiting;
    list_init(&waiting);
    list_append_all(&waiting, &advisor->cancels);
    for (struct list *link = list_pop_front(&waiting); link != NULL;
         link = list_pop_front(&waiting)) {
        struct advisor_cancel *cancel = CONTAINER_OF(link, struct advisor_cancel, link);
        if (is_over(advisor, cancel)) {
            cancel->done(cancel);
        } else {
            list_push_back(&advisor->cancels, &cancel->link);
        }
    }
}

static void all_obey(struct advisor *advisor, enum advisor_way way)
{
    struct advisor_fresh *fresh = &advisor->fresh[way];
    for (unsigned i = 0; i < fresh->sent; i++) {
        histogram_record(fresh->replies[i].remote ? &advisor->remote : &advisor->reaction,
                         advisor->shard->now_ns - fresh->replies[i].ns);
    }
    fresh->count -= fresh->sent;
    memmove(fresh->replies, fresh->replies + fresh->sent,
            fresh->count * sizeof(fresh->replies[0]));
    fresh->sent = 0;
    cancels_done(advisor);
}

/* admin_rules.obeyed */
static void obeyed(struct admin_rules *rules)
{
    all_obey(CONTAINER_OF(rules, struct advisor, rules), ADVISOR_ORDER);
}

static void overrides_done(struct overrider *overrider)
{
    struct advisor *advisor = CONTAINER_OF(overrider, struct advisor, overrider);
    advisor->shaped(advisor, overrider->current);
    all_obey(advisor, ADVISOR_OVERRIDE);
}

/* --- records ---------------------------------------------------------------------------------- */

void advisor_arrive(struct shard *shard, struct mail *mail)
{
    struct advice_batch *batch = CONTAINER_OF(mail, struct advice_batch, mail);
    struct advisor *advisor = batch->tap->advisor;
    if (batch->rules != advisor->automation.rules) {
        counters_add(&shard->counters, COUNTER_advice_stale, batch->count); /* a reload */
    } else if (!advisor->stopping) {
        for (uint32_t i = 0; i < batch->count; i++) {
            advisor->reply_ns = batch->advice[i].reply_ns;
            automation_judge(&advisor->automation, &batch->advice[i].record, shard->wall_ns);
        }
        settle(advisor);
    }
    advice_batch_give(shard, batch);
}

/* By the wall clocks of two servers, so as exact as these agree. */
void advisor_taking(struct advisor *advisor, uint64_t event_ns)
{
    const struct shard *shard = advisor->shard;
    uint64_t age_ns = shard->wall_ns - MIN_OF(event_ns, shard->wall_ns);
    advisor->reply_ns = event_ns > 0 ? shard->now_ns - MIN_OF(age_ns, shard->now_ns - 1) : 0;
}

void advisor_taken(struct advisor *advisor)
{
    settle(advisor);
}

bool advisor_cancel(struct advisor *advisor, uint64_t id, struct advisor_cancel *cancel)
{
    const struct automation_effect *effect = effect_of(advisor, id);
    if (effect == NULL || advisor->stopping) {
        return false;
    }
    cancel->way = way_of(effect->kind);
    CHECK(automation_cancel(&advisor->automation, id));
    settle(advisor);
    cancel->change = cancel->way == ADVISOR_ORDER ? advisor->admin->rules_changes
                                                  : advisor->overrider.changes;
    list_init(&cancel->link);
    list_push_back(&advisor->cancels, &cancel->link);
    return true;
}

/* --- start and stop --------------------------------------------------------------------------- */

static void store_loaded(struct automation_store *store)
{
    struct advisor *advisor = CONTAINER_OF(store, struct advisor, store);
    advisor->restoring = false;
    advisor->changed[ADVISOR_ORDER] = false; /* admin_load asks for them */
    settle(advisor);
    advisor->loaded(advisor);
}

void advisor_load(struct advisor *advisor)
{
    advisor->restoring = true;
    automation_begin(&advisor->automation, advisor->shard->wall_ns);
    automation_store_load(&advisor->store);
}

void advisor_stop(struct advisor *advisor)
{
    tell_extended(advisor);
    advisor->stopping = true;
    shard_timer_clear(advisor->shard, &advisor->timer);
    automation_store_stop(&advisor->store);
    cancels_done(advisor);
}

bool advisor_idle(const struct advisor *advisor)
{
    return automation_store_stopped(&advisor->store) && overrider_idle(&advisor->overrider);
}
