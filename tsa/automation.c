#include "tsa/automation.h"

#include <string.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/json.h"
#include "core/little.h"

#define ROW_VERSION   1u
#define ROW_HEAD      8u  /* checksum of what follows */
#define ROW_REMOTE    (1ull << 63) /* of an effect, beside its kind */
#define KEY_BYTES_MAX (AUTOMATION_TEXT_BYTES_MAX + 128u)

struct automation_slot {
    struct automation_effect effect; /* id 0: empty */
    struct list free;
    uint64_t hash;
    uint8_t text[AUTOMATION_TEXT_BYTES_MAX];
};

/* Of a rule at a site: only a hash is kept of both. 128 bits do not meet by chance. */
struct automation_counter {
    uint64_t key[2];
    struct list recent;
    struct window window;
};

/* The texts of an effect. The first count for what it is; so does the first of the others. */
#define TEXTS 8u
#define NAMED 6u

static struct slice *text_of(struct automation_effect *effect, unsigned index)
{
    struct slice *const texts[TEXTS] = {
        &effect->site,     &effect->source, &effect->domain, &effect->tenant,
        &effect->campaign, &effect->name,   &effect->value,  &effect->reason,
    };
    return texts[index];
}

/* --- tables ----------------------------------------------------------------------------------- */

static bool same_effect(const struct automation_effect *a, const struct automation_effect *b)
{
    struct automation_effect left = *a;
    struct automation_effect right = *b;
    bool same = left.kind == right.kind && left.rule_hash == right.rule_hash &&
                left.rollup == right.rollup && slice_equal(left.value, right.value);
    for (unsigned i = 0; same && i < NAMED; i++) {
        same = slice_equal(*text_of(&left, i), *text_of(&right, i));
    }
    return same;
}

static bool slot_equal(const void *context, uint64_t value, const void *key)
{
    const struct automation *automation = context;
    return same_effect(&automation->slots[value].effect, key);
}

static bool counter_equal(const void *context, uint64_t value, const void *key)
{
    const struct automation *automation = context;
    return memcmp(automation->counters[value].key, key, 2 * sizeof(uint64_t)) == 0;
}

static uint64_t effect_hash(const struct automation *automation,
                            const struct automation_effect *effect)
{
    struct automation_effect copy = *effect;
    uint8_t bytes[KEY_BYTES_MAX];
    struct buf key;
    buf_init(&key, bytes, sizeof(bytes));
    buf_printf(&key, "%u %llx ", copy.kind, (unsigned long long)copy.rule_hash);
    for (unsigned i = 0; i < NAMED; i++) {
        buf_put(&key, *text_of(&copy, i));
        buf_put_byte(&key, 0);
    }
    return htab_hash(&automation->effects_by_key, buf_slice(&key));
}

/* Apart from the key, which is kept over restarts and so has no secret. */
static uint64_t counter_hash(const struct automation *automation, const uint64_t key[2])
{
    return htab_hash(&automation->counters_by_key, slice_make(key, 2 * sizeof(*key)));
}

static size_t bits_bytes(uint32_t slots)
{
    return (slots / 64 + 1) * sizeof(uint64_t);
}

void automation_init(struct automation *automation, struct heap *heap, uint32_t effects_max,
                     uint32_t counters_max, uint64_t first_id, uint64_t seed)
{
    CHECK(effects_max > 0 && counters_max > 0 && first_id > 0);
    uint32_t effects = htab_slots_for(effects_max);
    uint32_t counters = htab_slots_for(counters_max);
    *automation = (struct automation){
        .effects_max = effects_max,
        .counters_max = counters_max,
        .next_id = first_id,
        .next_expiry_ns = UINT64_MAX,
    };
    automation->slots = heap_take_array(heap, effects_max, sizeof(*automation->slots));
    automation->counters = heap_take_array(heap, counters_max, sizeof(*automation->counters));
    htab_init(&automation->effects_by_key, heap_take(heap, htab_memory(effects)), effects,
              seed, slot_equal, automation);
    htab_init(&automation->counters_by_key, heap_take(heap, htab_memory(counters)), counters,
              seed, counter_equal, automation);
    automation->dirty[AUTOMATION_EFFECTS] = heap_take(heap, bits_bytes(effects_max));
    automation->dirty[AUTOMATION_COUNTERS] = heap_take(heap, bits_bytes(counters_max));
    once_init(&automation->once, heap, ONCE_MAX, seed);
    list_init(&automation->free_slots);
    list_init(&automation->recent);
    for (uint32_t i = 0; i < effects_max; i++) {
        list_push_back(&automation->free_slots, &automation->slots[i].free);
    }
}

void automation_listen(struct automation *automation, automation_tell *tell, void *context)
{
    automation->tell = tell;
    automation->context = context;
}

void automation_begin(struct automation *automation, uint64_t wall_ns)
{
    once_begin(&automation->once, wall_ns);
}

void automation_use(struct automation *automation, const struct shaping_rule_set *rules,
                    struct patterns_scratch *scratch)
{
    automation->rules = rules;
    automation->scratch = scratch;
}

/* --- effects ---------------------------------------------------------------------------------- */

static void tell(struct automation *automation, enum automation_change change,
                 const struct automation_effect *effect, const struct shaping_rule *rule)
{
    automation->stats.changes[change]++;
    if (automation->tell != NULL) {
        automation->tell(automation->context, change, effect, rule);
    }
}

static struct automation_slot *effect_find(const struct automation *automation, uint64_t hash,
                                           const struct automation_effect *effect)
{
    uint64_t index;
    bool found = htab_find(&automation->effects_by_key, hash, effect, &index);
    return found ? &automation->slots[index] : NULL;
}

/* Its texts into the slot's own memory; false when they are too long. */
static bool texts_keep(struct automation_slot *slot, const struct automation_effect *effect)
{
    struct buf text;
    slot->effect = *effect;
    buf_init(&text, slot->text, sizeof(slot->text));
    for (unsigned i = 0; i < TEXTS; i++) {
        struct slice *own = text_of(&slot->effect, i);
        struct slice from = i + 1 == TEXTS ? slice_first(*own, MIN_OF(own->size, buf_room(&text)))
                                           : *own;
        size_t start = text.size;
        buf_put(&text, from);
        *own = slice_make(slot->text + start, from.size);
    }
    return !text.overflow;
}

static struct automation_slot *slot_fill(struct automation *automation,
                                         const struct automation_effect *effect, uint64_t hash)
{
    struct list *node = automation->free_slots.next;
    if (list_empty(&automation->free_slots)) {
        return NULL;
    }
    struct automation_slot *slot = CONTAINER_OF(node, struct automation_slot, free);
    if (!texts_keep(slot, effect)) {
        slot->effect = (struct automation_effect){0};
        return NULL;
    }
    list_remove(node);
    slot->hash = hash;
    uint32_t index = (uint32_t)(slot - automation->slots);
    CHECK(htab_insert(&automation->effects_by_key, hash, index));
    automation_change(automation, AUTOMATION_EFFECTS, index);
    automation->next_expiry_ns = MIN_OF(automation->next_expiry_ns, effect->expires_ns);
    return slot;
}

static void slot_end(struct automation *automation, struct automation_slot *slot,
                     enum automation_change change)
{
    uint64_t index;
    CHECK(htab_remove(&automation->effects_by_key, slot->hash, &slot->effect, &index));
    tell(automation, change, &slot->effect, NULL);
    slot->effect = (struct automation_effect){0};
    list_push_back(&automation->free_slots, &slot->free);
    automation_change(automation, AUTOMATION_EFFECTS, (uint32_t)index);
}

static void effect_apply(struct automation *automation, struct automation_effect *effect,
                         const struct shaping_rule *rule)
{
    uint64_t hash = effect_hash(automation, effect);
    struct automation_slot *slot = effect_find(automation, hash, effect);
    if (slot != NULL) {
        if (slot->effect.remote && !effect->remote) {
            slot->effect.remote = false;
            automation_change(automation, AUTOMATION_EFFECTS,
                              (uint32_t)(slot - automation->slots));
        }
        if (effect->expires_ns > slot->effect.expires_ns) {
            slot->effect.expires_ns = effect->expires_ns;
            slot->effect.event_ns = effect->event_ns;
            automation_change(automation, AUTOMATION_EFFECTS,
                              (uint32_t)(slot - automation->slots));
            tell(automation, AUTOMATION_EXTENDED, &slot->effect, rule);
        }
        return;
    }
    effect->id = automation->next_id;
    slot = slot_fill(automation, effect, hash);
    if (slot == NULL) {
        effect->id = 0;
        automation->stats.refused++;
        tell(automation, AUTOMATION_REFUSED, effect, rule);
        return;
    }
    automation->next_id++;
    tell(automation, AUTOMATION_BEGUN, &slot->effect, rule);
}

const struct automation_effect *automation_find(const struct automation *automation,
                                                const struct automation_effect *effect,
                                                uint32_t *slot_out)
{
    const struct automation_slot *slot =
        effect_find(automation, effect_hash(automation, effect), effect);
    *slot_out = slot != NULL ? (uint32_t)(slot - automation->slots) : 0;
    return slot != NULL ? &slot->effect : NULL;
}

const struct automation_effect *automation_impose(struct automation *automation,
                                                  const struct automation_effect *effect,
                                                  uint32_t *slot_out)
{
    struct automation_effect copy = *effect;
    copy.remote = true;
    effect_apply(automation, &copy, NULL);
    return automation_find(automation, effect, slot_out);
}

void automation_expire(struct automation *automation, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;
    if (now_ns < automation->next_expiry_ns) {
        return;
    }
    for (uint32_t i = 0; i < automation->effects_max; i++) {
        struct automation_slot *slot = &automation->slots[i];
        if (slot->effect.id == 0) {
            continue;
        }
        if (slot->effect.expires_ns <= now_ns) {
            slot_end(automation, slot, AUTOMATION_EXPIRED);
        } else {
            next = MIN_OF(next, slot->effect.expires_ns);
        }
    }
    automation->next_expiry_ns = next;
}

bool automation_cancel(struct automation *automation, uint64_t id)
{
    for (uint32_t i = 0; id > 0 && i < automation->effects_max; i++) {
        if (automation->slots[i].effect.id == id) {
            slot_end(automation, &automation->slots[i], AUTOMATION_CANCELLED);
            return true;
        }
    }
    return false;
}

const struct automation_effect *automation_next(const struct automation *automation,
                                                uint32_t *cursor)
{
    while (*cursor < automation->effects_max) {
        const struct automation_effect *effect = &automation->slots[(*cursor)++].effect;
        if (effect->id > 0) {
            return effect;
        }
    }
    return NULL;
}

/* --- records ---------------------------------------------------------------------------------- */

static struct automation_counter *counter_take(struct automation *automation)
{
    if (automation->counters_used < automation->counters_max) {
        return &automation->counters[automation->counters_used++];
    }
    uint64_t index;
    struct automation_counter *oldest =
        CONTAINER_OF(automation->recent.prev, struct automation_counter, recent);
    CHECK(htab_remove(&automation->counters_by_key, counter_hash(automation, oldest->key),
                      oldest->key, &index));
    list_remove(&oldest->recent);
    automation->stats.counters_dropped++;
    return oldest;
}

static struct automation_counter *counter_of(struct automation *automation, const uint64_t key[2])
{
    uint64_t index;
    uint64_t hash = counter_hash(automation, key);
    struct automation_counter *counter;
    if (htab_find(&automation->counters_by_key, hash, key, &index)) {
        counter = &automation->counters[index];
        list_remove(&counter->recent);
    } else {
        counter = counter_take(automation);
        *counter = (struct automation_counter){.key = {key[0], key[1]}};
        index = (uint64_t)(counter - automation->counters);
        CHECK(htab_insert(&automation->counters_by_key, hash, index));
    }
    list_push_front(&automation->recent, &counter->recent);
    automation_change(automation, AUTOMATION_COUNTERS, (uint32_t)index);
    return counter;
}

static bool triggers(struct automation *automation, const struct shaping_rule *rule,
                     struct slice site, uint64_t event_ns)
{
    if (!rate_is_set(&rule->threshold)) {
        return true;
    }
    XXH128_hash_t hash = XXH3_128bits_withSeed(site.data, site.size, rule->hash);
    const uint64_t key[2] = {hash.high64, hash.low64 ^ rule->hash};
    struct automation_counter *counter = counter_of(automation, key);
    return window_add(&counter->window, event_ns, (uint32_t)rule->threshold.count,
                      rule->threshold.period_ns);
}

/* What an action acts on; false: there is no such thing about this record. */
static bool effect_scope(struct automation_effect *effect, const struct automation_record *record)
{
    switch (effect->kind) {
    case SHAPING_SUSPEND:
        effect->site = record->site;
        effect->source = record->source;
        return record->site.size > 0;
    case SHAPING_SUSPEND_CAMPAIGN:
    case SHAPING_BOUNCE_CAMPAIGN:
        effect->campaign = record->campaign;
        if (record->campaign.size == 0) {
            effect->kind = effect->kind == SHAPING_SUSPEND_CAMPAIGN ? SHAPING_SUSPEND_TENANT
                                                                    : SHAPING_BOUNCE_TENANT;
        }
        effect->tenant = record->tenant;
        effect->domain = record->domain;
        return record->tenant.size > 0 && record->domain.size > 0;
    case SHAPING_SUSPEND_TENANT:
    case SHAPING_BOUNCE_TENANT:
        effect->tenant = record->tenant;
        effect->domain = record->domain;
        return record->tenant.size > 0 && record->domain.size > 0;
    case SHAPING_BOUNCE:
        effect->domain = record->domain;
        return record->domain.size > 0;
    case SHAPING_SET_CONFIG:
    case SHAPING_SET_DOMAIN_CONFIG:
        effect->site = effect->rollup ? record->site : SLICE_NONE;
        effect->domain = record->domain;
        effect->source = record->source;
        return record->domain.size > 0 && record->source.size > 0;
    case SHAPING_ACTIONS:
        break;
    }
    CHECK(false);
}

static void rule_act(struct automation *automation, const struct shaping_rule *rule, bool rollup,
                     const struct automation_record *record, uint64_t event_ns)
{
    automation->stats.triggered++;
    for (uint32_t i = 0; i < rule->action_count; i++) {
        const struct shaping_action *action = &rule->actions[i];
        size_t reason = MIN_OF(record->response.size, AUTOMATION_REASON_BYTES_MAX);
        struct automation_effect effect = {
            .kind = action->kind,
            .rollup = action->kind == SHAPING_SET_CONFIG && rollup,
            .rule_hash = rule->hash,
            .event_ns = event_ns,
            .expires_ns = event_ns + rule->duration_ns,
            .name = action->name,
            .value = action->value,
            .reason = slice_first(record->response, reason),
        };
        if (effect_scope(&effect, record)) {
            effect_apply(automation, &effect, rule);
        } else {
            automation->stats.unscoped++;
        }
    }
}

bool automation_is_internal(struct slice response)
{
    for (unsigned words = 0; words < 3; words++) {
        if (slice_starts_with(response, SLICE("Ringpost internal: ")) ||
            slice_starts_with(response, SLICE("KumoMTA internal: "))) {
            return true;
        }
        size_t end = slice_find(response, ' ');
        if (end == response.size || response.data[0] < '0' || response.data[0] > '9') {
            return false;
        }
        response = slice_skip(response, end + 1);
    }
    return false;
}

/* One record on its way through the rules. */
struct judging {
    const struct automation_record *record;
    uint64_t event_ns;
    uint64_t now_ns;
    bool internal;
    uint32_t count;                         /* of rules that matched */
    uint64_t hashes[AUTOMATION_RULES_MAX]; /* a rule that stands in two groups acts once */
};

static bool is_new(struct automation *automation, struct judging *judging, uint64_t hash)
{
    for (uint32_t i = 0; i < judging->count; i++) {
        if (judging->hashes[i] == hash) {
            return false;
        }
    }
    if (judging->count == AUTOMATION_RULES_MAX) {
        automation->stats.over_rules++;
        return false;
    }
    judging->hashes[judging->count++] = hash;
    return true;
}

static void rule_matched(struct automation *automation, struct judging *judging,
                         const struct shaping_rule *rule, bool rollup)
{
    if ((judging->internal && !rule->match_internal) ||
        !is_new(automation, judging, rule->hash)) {
        return;
    }
    automation->stats.matches++;
    if (judging->event_ns + rule->duration_ns <= judging->now_ns) {
        automation->stats.expired++;
    } else if (triggers(automation, rule, judging->record->site, judging->event_ns)) {
        rule_act(automation, rule, rollup, judging->record, judging->event_ns);
    }
}

/* Patterns stand rule after rule: behind a match the search goes on with the next rule. */
static void group_judge(struct automation *automation, struct judging *judging, uint32_t group)
{
    const struct shaping_rule_set *rules = automation->rules;
    uint32_t rule = rules->first_rule[group];
    uint32_t end = rules->first_rule[group + 1];
    uint32_t last = rules->first_pattern[end];
    uint32_t pattern = rules->first_pattern[rule];
    while ((pattern = patterns_next_below(automation->scratch, pattern, last)) < last) {
        while (rules->first_pattern[rule + 1] <= pattern) {
            rule++;
        }
        rule_matched(automation, judging, rules->rules[rule], rules->groups[group].rollup);
        pattern = rules->first_pattern[rule + 1];
    }
}

static bool report_counts(struct automation *automation, const struct automation_record *record,
                          uint64_t now_ns)
{
    bool counts = once_take(&automation->once, &record->reference, now_ns);
    automation->stats.reports += counts;
    automation->stats.reports_passed += !counts;
    return counts;
}

void automation_judge(struct automation *automation, const struct automation_record *record,
                      uint64_t now_ns)
{
    struct judging judging = {
        .record = record,
        .now_ns = now_ns,
        .event_ns = MIN_OF(record->wall_ns, now_ns),
        .internal = automation_is_internal(record->response),
    };
    automation->stats.records++;
    automation->stats.internal += judging.internal;
    if (automation->rules == NULL || judging.event_ns == 0 ||
        (record->has_reference && record->group_count > 0 &&
         !report_counts(automation, record, now_ns))) {
        return;
    }
    patterns_scan(automation->scratch, record->response);
    for (uint32_t i = 0; i < record->group_count; i++) {
        CHECK(record->groups[i] < automation->rules->group_count);
        group_judge(automation, &judging, record->groups[i]);
    }
}

/* --- shown ------------------------------------------------------------------------------------ */

const char *automation_change_name(enum automation_change change)
{
    static const char *const names[] = {
        [AUTOMATION_BEGUN] = "begun",         [AUTOMATION_EXTENDED] = "extended",
        [AUTOMATION_REFUSED] = "refused",     [AUTOMATION_CANCELLED] = "cancelled",
        [AUTOMATION_EXPIRED] = "expired",
    };
    CHECK(change < COUNT_OF(names));
    return names[change];
}

void automation_put_json(struct buf *buf, const char *change,
                         const struct automation_effect *effect, const struct shaping_rule *rule)
{
    static const char *const keys[TEXTS] = {"site",     "source", "domain", "tenant",
                                            "campaign", "name",   "value",  "reason"};
    struct automation_effect copy = *effect;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    json_key(&json, "change");
    json_string(&json, slice_from_string(change));
    json_key(&json, "id");
    json_u64(&json, effect->id);
    json_key(&json, "action");
    json_string(&json, slice_from_string(shaping_action_name(effect->kind)));
    for (unsigned i = 0; i < TEXTS; i++) {
        if (text_of(&copy, i)->size > 0) {
            json_key(&json, keys[i]);
            json_string(&json, *text_of(&copy, i));
        }
    }
    if (effect->kind == SHAPING_SET_CONFIG) {
        json_key(&json, "mx_rollup");
        json_bool(&json, effect->rollup);
    }
    json_key(&json, "event_time_ms");
    json_u64(&json, effect->event_ns / NS_PER_MS);
    json_key(&json, "expires_ms");
    json_u64(&json, effect->expires_ns / NS_PER_MS);
    if (rule != NULL) {
        uint8_t bytes[512];
        struct buf place;
        buf_init(&place, bytes, sizeof(bytes));
        buf_printf(&place, "%s:%u", rule->file, rule->line);
        json_key(&json, "rule");
        json_string(&json, buf_slice(&place));
    }
    json_object_end(&json);
    buf_put_byte(buf, '\n');
}

/* --- rows ------------------------------------------------------------------------------------- */

static uint32_t slots_of(const struct automation *automation, enum automation_table table)
{
    return table == AUTOMATION_EFFECTS ? automation->effects_max : automation->counters_max;
}

void automation_change(struct automation *automation, enum automation_table table, uint32_t slot)
{
    CHECK(slot < slots_of(automation, table));
    automation->dirty[table][slot / 64] |= 1ull << slot % 64;
}

void automation_change_all(struct automation *automation)
{
    for (uint32_t i = 0; i < automation->effects_max; i++) {
        automation_change(automation, AUTOMATION_EFFECTS, i);
    }
    for (uint32_t i = 0; i < automation->counters_max; i++) {
        automation_change(automation, AUTOMATION_COUNTERS, i);
    }
}

bool automation_changed(struct automation *automation, enum automation_table table,
                        uint32_t *slot)
{
    uint64_t *bits = automation->dirty[table];
    uint32_t at = *slot;
    while (at < slots_of(automation, table)) {
        uint64_t left = bits[at / 64] >> at % 64;
        if (left == 0) {
            at = (at / 64 + 1) * 64;
            continue;
        }
        at += (uint32_t)__builtin_ctzll(left);
        bits[at / 64] &= ~(1ull << at % 64);
        *slot = at;
        return true;
    }
    return false;
}

static void put_number(struct buf *buf, uint64_t number)
{
    uint8_t *at = buf_reserve(buf, sizeof(number));
    if (at != NULL) {
        little_put_u64(at, number);
    }
}

static void put_effect(struct buf *buf, const struct automation_effect *effect)
{
    struct automation_effect copy = *effect;
    put_number(buf, effect->id);
    put_number(buf, (uint64_t)effect->kind << 1 | effect->rollup |
                        (effect->remote ? ROW_REMOTE : 0));
    put_number(buf, effect->rule_hash);
    put_number(buf, effect->event_ns);
    put_number(buf, effect->expires_ns);
    for (unsigned i = 0; i < TEXTS; i++) {
        put_number(buf, text_of(&copy, i)->size);
        buf_put(buf, *text_of(&copy, i));
    }
}

static void put_counter(struct buf *buf, const struct automation_counter *counter)
{
    put_number(buf, counter->key[0]);
    put_number(buf, counter->key[1]);
    put_number(buf, counter->window.newest_ns);
    buf_put(buf, slice_make(&counter->window.as, sizeof(counter->window.as)));
}

void automation_put_row(const struct automation *automation, enum automation_table table,
                        uint32_t slot, struct buf *buf)
{
    size_t start = buf->size;
    CHECK(slot < slots_of(automation, table));
    if (table == AUTOMATION_EFFECTS ? automation->slots[slot].effect.id == 0
                                    : slot >= automation->counters_used) {
        return;
    }
    put_number(buf, 0);
    put_number(buf, ROW_VERSION);
    if (table == AUTOMATION_EFFECTS) {
        put_effect(buf, &automation->slots[slot].effect);
    } else {
        put_counter(buf, &automation->counters[slot]);
    }
    if (!buf->overflow) {
        uint8_t *head = buf->data + start;
        little_put_u64(head, XXH3_64bits_withSeed(head + ROW_HEAD, buf->size - start - ROW_HEAD,
                                                  (uint64_t)table));
    }
}

/* 0, and the rest is nothing, when there is no more. */
static uint64_t take_number(struct slice *row)
{
    if (row->size < sizeof(uint64_t)) {
        *row = SLICE_NONE;
        return 0;
    }
    uint64_t number = little_u64(row->data);
    *row = slice_skip(*row, sizeof(number));
    return number;
}

static bool restore_effect(struct automation *automation, struct slice row, uint64_t now_ns)
{
    struct automation_effect effect = {.id = take_number(&row)};
    uint64_t kind = take_number(&row);
    effect.remote = (kind & ROW_REMOTE) != 0;
    kind &= ~ROW_REMOTE;
    effect.kind = (enum shaping_action_kind)MIN_OF(kind >> 1, (uint64_t)SHAPING_ACTIONS);
    effect.rollup = (kind & 1) != 0;
    effect.rule_hash = take_number(&row);
    effect.event_ns = take_number(&row);
    effect.expires_ns = take_number(&row);
    for (unsigned i = 0; i < TEXTS; i++) {
        uint64_t size = take_number(&row);
        if (size > row.size) {
            return false;
        }
        *text_of(&effect, i) = slice_first(row, size);
        row = slice_skip(row, size);
    }
    if (effect.id == 0 || effect.id == UINT64_MAX || effect.kind == SHAPING_ACTIONS ||
        row.size > 0) {
        return false;
    }
    automation->next_id = MAX_OF(automation->next_id, effect.id + 1);
    uint64_t hash = effect_hash(automation, &effect);
    if (effect.expires_ns <= now_ns || effect_find(automation, hash, &effect) != NULL) {
        return false;
    }
    struct automation_slot *slot = slot_fill(automation, &effect, hash);
    if (slot != NULL) {
        tell(automation, AUTOMATION_BEGUN, &slot->effect, NULL);
    }
    return slot != NULL;
}

static bool restore_counter(struct automation *automation, struct slice row)
{
    uint64_t index;
    uint64_t key[2] = {take_number(&row)};
    key[1] = take_number(&row);
    struct window window = {.newest_ns = take_number(&row)};
    if (row.size != sizeof(window.as) || automation->counters_used == automation->counters_max ||
        htab_find(&automation->counters_by_key, counter_hash(automation, key), key, &index)) {
        return false;
    }
    memcpy(&window.as, row.data, sizeof(window.as));
    counter_of(automation, key)->window = window;
    return true;
}

bool automation_restore(struct automation *automation, enum automation_table table,
                        struct slice row, uint64_t now_ns)
{
    if (row.size < 2 * sizeof(uint64_t) || row.size > AUTOMATION_ROW_BYTES_MAX) {
        return false;
    }
    struct slice rest = slice_skip(row, ROW_HEAD);
    if (take_number(&row) != XXH3_64bits_withSeed(rest.data, rest.size, (uint64_t)table) ||
        take_number(&row) != ROW_VERSION) {
        return false;
    }
    return table == AUTOMATION_EFFECTS ? restore_effect(automation, row, now_ns)
                                       : restore_counter(automation, row);
}
