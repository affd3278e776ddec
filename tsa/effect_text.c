#include "tsa/effect_text.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/conf_sources.h"
#include "core/conf_text.h"
#include "core/date.h"
#include "core/endpoint.h"

enum effect_form effect_form(const struct automation_effect *effect)
{
    switch (effect->kind) {
    case SHAPING_SUSPEND:
        return EFFECT_READY_SUSPENSION;
    case SHAPING_SUSPEND_TENANT:
    case SHAPING_SUSPEND_CAMPAIGN:
        return EFFECT_SCHED_SUSPENSION;
    case SHAPING_BOUNCE:
    case SHAPING_BOUNCE_TENANT:
    case SHAPING_BOUNCE_CAMPAIGN:
        return EFFECT_SCHED_BOUNCE;
    case SHAPING_SET_CONFIG:
    case SHAPING_SET_DOMAIN_CONFIG:
        return EFFECT_SETTING;
    case SHAPING_ACTIONS:
        break;
    }
    CHECK(false);
}

/* --- entries ---------------------------------------------------------------------------------- */

/* "2026-11-22T16:49:10Z", with milliseconds where there are some. */
static void put_time(struct buf *buf, uint64_t wall_ns)
{
    struct slice none = SLICE(".000Z");
    date_put_rfc3339(buf, wall_ns);
    if (!buf->overflow && slice_ends_with(buf_slice(buf), none)) {
        buf->size -= none.size;
        buf_put_byte(buf, 'Z');
    }
}

static void member_text(struct json *json, const char *key, struct slice text)
{
    json_key(json, key);
    json_string(json, text);
}

static void member_if_any(struct json *json, const char *key, struct slice text)
{
    if (text.size > 0) {
        member_text(json, key, text);
    }
}

static void member_end(struct json *json, const struct automation_effect *effect)
{
    uint8_t memory[32];
    struct buf time;
    buf_init(&time, memory, sizeof(memory));
    put_time(&time, effect->expires_ns);
    member_text(json, "reason", effect->reason);
    if (effect->kind == SHAPING_SUSPEND) {
        member_text(json, "source", effect->source);
    }
    member_text(json, "expires", buf_slice(&time));
}

static void member_rule(struct json *json, const struct automation_effect *effect)
{
    uint8_t memory[17];
    struct buf hash;
    buf_init(&hash, memory, sizeof(memory));
    buf_printf(&hash, "%016llx", (unsigned long long)effect->rule_hash);
    member_text(json, "rule_hash", buf_slice(&hash));
}

static void members_of_setting(struct json *json, const struct automation_effect *effect)
{
    member_text(json, "domain", effect->domain);
    member_text(json, "source", effect->source);
    member_text(json, "name", effect->name);
    member_text(json, "value", effect->value);
    json_key(json, "mx_rollup");
    json_bool(json, effect->rollup);
}

void effect_put_json(struct json *json, const struct automation_effect *effect)
{
    json_object(json);
    member_rule(json, effect);
    switch (effect_form(effect)) {
    case EFFECT_READY_SUSPENSION:
        member_text(json, "site_name", effect->site);
        break;
    case EFFECT_SCHED_SUSPENSION:
        member_text(json, "tenant", effect->tenant);
        member_text(json, "domain", effect->domain);
        member_if_any(json, "campaign", effect->campaign);
        break;
    case EFFECT_SCHED_BOUNCE:
        member_text(json, "domain", effect->domain);
        member_if_any(json, "tenant", effect->tenant);
        member_if_any(json, "campaign", effect->campaign);
        break;
    case EFFECT_SETTING:
        members_of_setting(json, effect);
        break;
    }
    member_end(json, effect);
    json_object_end(json);
}

/* --- lists ------------------------------------------------------------------------------------ */

static size_t text_bytes(const struct automation_effect *effect)
{
    return effect->site.size + 2 * (effect->source.size + effect->domain.size) +
           effect->tenant.size + effect->campaign.size + effect->name.size + effect->value.size +
           effect->reason.size;
}

static int by_id(const void *a, const void *b)
{
    const struct automation_effect *left = *(const struct automation_effect *const *)a;
    const struct automation_effect *right = *(const struct automation_effect *const *)b;
    return (left->id > right->id) - (left->id < right->id);
}

void effect_list_take(struct effect_list *list, const struct automation *automation,
                      unsigned forms, uint64_t now_ns)
{
    uint32_t cursor = 0;
    const struct automation_effect *effect;
    list->count = 0;
    list->text_bytes = 0;
    while ((effect = automation_next(automation, &cursor)) != NULL) {
        if ((forms & 1u << effect_form(effect)) != 0 && effect->expires_ns > now_ns) {
            list->effects[list->count++] = effect;
            list->text_bytes += text_bytes(effect);
        }
    }
    qsort(list->effects, list->count, sizeof(*list->effects), by_id);
}

size_t effect_list_bytes(const struct effect_list *list)
{
    return 512 + list->count * 512 + list->text_bytes * JSON_STRING_GROWTH;
}

static void put_entries(const struct effect_list *list, struct json *json, enum effect_form form)
{
    json_array(json);
    for (uint32_t i = 0; i < list->count; i++) {
        if (effect_form(list->effects[i]) == form) {
            effect_put_json(json, list->effects[i]);
        }
    }
    json_array_end(json);
}

void effect_list_put_suspensions(const struct effect_list *list, struct buf *buf)
{
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    json_key(&json, "ready_q");
    put_entries(list, &json, EFFECT_READY_SUSPENSION);
    json_key(&json, "sched_q");
    put_entries(list, &json, EFFECT_SCHED_SUSPENSION);
    json_object_end(&json);
}

void effect_list_put_bounces(const struct effect_list *list, struct buf *buf)
{
    struct json json;
    json_init(&json, buf);
    put_entries(list, &json, EFFECT_SCHED_BOUNCE);
}

/* --- the file --------------------------------------------------------------------------------- */

/* Block after block, source after source, option after option; of equals the newest first. */
static int by_place(const void *a, const void *b)
{
    const struct automation_effect *left = *(const struct automation_effect *const *)a;
    const struct automation_effect *right = *(const struct automation_effect *const *)b;
    int compared = slice_compare(left->domain, right->domain);
    compared = compared != 0 ? compared : slice_compare(left->source, right->source);
    compared = compared != 0 ? compared : slice_compare(left->name, right->name);
    if (compared == 0) {
        compared = (left->event_ns < right->event_ns) - (left->event_ns > right->event_ns);
    }
    return compared != 0 ? compared : by_id(b, a);
}

/*
 * Both came from a record, so from a stranger in the end: what is no domain, or has no dot and may
 * mean something else in such a file ("default", "provider"), would spoil all of it.
 */
static bool is_placed(const struct automation_effect *effect)
{
    struct endpoint address;
    struct slice domain = effect->domain;
    bool literal = domain.size > 2 && domain.data[0] == '[' &&
                   domain.data[domain.size - 1] == ']' &&
                   endpoint_parse_address(slice_make(domain.data + 1, domain.size - 2), &address);
    bool named = conf_text_is_host(domain) && slice_find(domain, '.') < domain.size;
    return (literal || named) && conf_source_name_is_valid(effect->source);
}

/* From `first` on, those of one domain; the index behind them. */
static uint32_t block_end(const struct effect_list *list, uint32_t first, bool *rollup_out)
{
    uint32_t end = first;
    *rollup_out = false;
    while (end < list->count &&
           slice_equal(list->effects[end]->domain, list->effects[first]->domain)) {
        *rollup_out = *rollup_out || list->effects[end]->rollup;
        end++;
    }
    return end;
}

/* Takes out what is not placed. */
static void sieve(struct effect_list *list, struct buf *buf)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct automation_effect *effect = list->effects[i];
        if (is_placed(effect)) {
            list->effects[count++] = effect;
            continue;
        }
        buf_put(buf, SLICE("# left out, as no domain and source: "));
        json_put_string(buf, effect->domain);
        buf_put_byte(buf, ' ');
        json_put_string(buf, effect->source);
        buf_put_byte(buf, '\n');
    }
    list->count = count;
}

/* What JSON has for a string, TOML has for one. */
static void put_setting(struct buf *buf, const struct automation_effect *effect)
{
    buf_put(buf, SLICE("# reason: "));
    json_put_string(buf, effect->reason);
    buf_put(buf, SLICE("\n# expires: "));
    put_time(buf, effect->expires_ns);
    buf_put_byte(buf, '\n');
    buf_put(buf, effect->name);
    buf_put(buf, SLICE(" = "));
    buf_put(buf, effect->value);
    buf_put_byte(buf, '\n');
}

static void put_block(const struct effect_list *list, uint32_t first, uint32_t end, bool rollup,
                      struct buf *buf)
{
    const struct automation_effect *last = NULL;
    buf_put(buf, SLICE("\n["));
    json_put_string(buf, list->effects[first]->domain);
    buf_put(buf, SLICE("]\nmx_rollup = "));
    buf_put_string(buf, rollup ? "true\n" : "false\n");
    for (uint32_t i = first; i < end; i++) {
        const struct automation_effect *effect = list->effects[i];
        bool same_source = last != NULL && slice_equal(last->source, effect->source);
        if (same_source && slice_equal(last->name, effect->name)) {
            continue;
        }
        if (!same_source) {
            buf_put(buf, SLICE("\n["));
            json_put_string(buf, effect->domain);
            buf_put(buf, SLICE(".sources."));
            json_put_string(buf, effect->source);
            buf_put(buf, SLICE("]\n"));
        }
        put_setting(buf, effect);
        last = effect;
    }
}

void effect_list_put_file(struct effect_list *list, struct buf *buf)
{
    buf_put(buf, SLICE("# Generated by ringpost-tsad: what automation sets for a while\n"
                       "# Number of entries: "));
    buf_put_u64(buf, list->count);
    buf_put_byte(buf, '\n');
    sieve(list, buf);
    qsort(list->effects, list->count, sizeof(*list->effects), by_place);
    for (uint32_t i = 0; i < list->count;) {
        bool rollup;
        uint32_t end = block_end(list, i, &rollup);
        put_block(list, i, end, rollup, buf);
        i = end;
    }
}
