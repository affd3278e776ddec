#include "tsa/change_text.h"

#include "core/date.h"
#include "core/json_value.h"

void change_text_init(struct change_text *text, struct heap *heap)
{
    text->reader = json_reader_open();
    arena_init(&text->arena, heap_take(heap, CHANGE_VALUES_BYTES), CHANGE_VALUES_BYTES);
}

void change_text_fini(struct change_text *text)
{
    json_reader_close(text->reader);
    text->reader = NULL;
}

/* --- members ---------------------------------------------------------------------------------- */

/* One object on its way; the first fault stays. */
struct reading {
    const struct json_value *object;
    const char *fault;
};

static void refuse(struct reading *reading, const char *fault)
{
    reading->fault = reading->fault != NULL ? reading->fault : fault;
}

/* Empty: it is not there. */
static struct slice take_text(struct reading *reading, struct slice key)
{
    const struct json_value *value = json_value_member(reading->object, key);
    if (value == NULL || value->kind == JSON_NULL) {
        return SLICE_NONE;
    }
    if (value->kind != JSON_STRING) {
        refuse(reading, "a text is none");
        return SLICE_NONE;
    }
    return json_value_text(value);
}

static struct slice need_text(struct reading *reading, struct slice key)
{
    struct slice text = take_text(reading, key);
    if (text.size == 0) {
        refuse(reading, "a text is missing");
    }
    return text;
}

static bool take_bool(struct reading *reading, struct slice key)
{
    const struct json_value *value = json_value_member(reading->object, key);
    if (value != NULL && value->kind != JSON_BOOL) {
        refuse(reading, "a word is neither true nor false");
        return false;
    }
    return value != NULL && value->boolean;
}

/* 0: it is not there. */
static uint64_t take_number(struct reading *reading, struct slice key)
{
    const struct json_value *value = json_value_member(reading->object, key);
    if (value == NULL) {
        return 0;
    }
    if (value->kind != JSON_INTEGER || value->integer < 0) {
        refuse(reading, "a number is none");
        return 0;
    }
    return (uint64_t)value->integer;
}

static uint64_t take_hash(struct reading *reading)
{
    struct slice text = need_text(reading, SLICE("rule_hash"));
    uint64_t hash = 0;
    bool good = text.size <= 16;
    for (size_t i = 0; good && i < text.size; i++) {
        int digit = ascii_hex_value(text.data[i]);
        good = digit >= 0;
        hash = hash << 4 | (uint64_t)(digit & 15);
    }
    if (!good) {
        refuse(reading, "rule_hash is none");
    }
    return hash;
}

/* --- effects ---------------------------------------------------------------------------------- */

static void take_common(struct reading *reading, uint64_t now_ns, struct automation_effect *effect)
{
    effect->rule_hash = take_hash(reading);
    effect->reason = take_text(reading, SLICE("reason"));
    effect->reason = slice_first(effect->reason,
                                 MIN_OF(effect->reason.size, AUTOMATION_REASON_BYTES_MAX));
    if (!date_parse_rfc3339(need_text(reading, SLICE("expires")), &effect->expires_ns)) {
        refuse(reading, "expires is no time");
    }
    effect->expires_ns = MIN_OF(effect->expires_ns, now_ns + CHANGE_EXPIRES_MAX_NS);
}

static void take_ready(struct reading *reading, struct automation_effect *effect)
{
    effect->kind = SHAPING_SUSPEND;
    effect->site = need_text(reading, SLICE("site_name"));
    effect->source = take_text(reading, SLICE("source"));
}

static void take_suspension(struct reading *reading, struct automation_effect *effect)
{
    effect->domain = need_text(reading, SLICE("domain"));
    effect->tenant = need_text(reading, SLICE("tenant"));
    effect->campaign = take_text(reading, SLICE("campaign"));
    effect->kind = effect->campaign.size > 0 ? SHAPING_SUSPEND_CAMPAIGN : SHAPING_SUSPEND_TENANT;
}

static void take_bounce(struct reading *reading, struct automation_effect *effect)
{
    effect->domain = need_text(reading, SLICE("domain"));
    effect->tenant = take_text(reading, SLICE("tenant"));
    effect->campaign = take_text(reading, SLICE("campaign"));
    effect->kind = SHAPING_BOUNCE;
    if (effect->campaign.size > 0) {
        effect->kind = SHAPING_BOUNCE_CAMPAIGN;
    } else if (effect->tenant.size > 0) {
        effect->kind = SHAPING_BOUNCE_TENANT;
    }
    if (effect->campaign.size > 0 && effect->tenant.size == 0) {
        refuse(reading, "a campaign without a tenant");
    }
}

static void take_setting(struct reading *reading, struct automation_effect *effect)
{
    effect->domain = need_text(reading, SLICE("domain"));
    effect->source = need_text(reading, SLICE("source"));
    effect->name = need_text(reading, SLICE("name"));
    effect->value = need_text(reading, SLICE("value"));
    effect->rollup = take_bool(reading, SLICE("mx_rollup"));
    effect->kind = effect->rollup ? SHAPING_SET_CONFIG : SHAPING_SET_DOMAIN_CONFIG;
}

/* Texts go into tables, logs and answers that have no room for a line end or a NUL. */
static void check_texts(struct reading *reading, const struct automation_effect *effect)
{
    const struct slice texts[] = {effect->site,     effect->source, effect->domain, effect->tenant,
                                  effect->campaign, effect->name,   effect->value};
    size_t bytes = 0;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        bytes += texts[i].size;
        for (size_t at = 0; at < texts[i].size; at++) {
            if (texts[i].data[at] < ' ' || texts[i].data[at] == 0x7F) {
                refuse(reading, "a control character");
            }
        }
    }
    if (bytes > AUTOMATION_TEXT_BYTES_MAX - AUTOMATION_REASON_BYTES_MAX) {
        refuse(reading, "texts that are too long");
    }
}

typedef void take_effect(struct reading *reading, struct automation_effect *effect);

static const struct {
    struct slice key;
    take_effect *take;
} events[] = {
    {{(const uint8_t *)"ReadyQSuspension", 16}, take_ready},
    {{(const uint8_t *)"SchedQSuspension", 16}, take_suspension},
    {{(const uint8_t *)"SchedQBounce", 12}, take_bounce},
};

static void read_effect(struct reading *reading, uint64_t now_ns, struct change_message *message)
{
    struct automation_effect *effect = &message->effect;
    const struct json_value *event = json_value_member(reading->object, SLICE("event"));
    const struct json_value *config = json_value_member(reading->object, SLICE("config"));
    take_effect *take = config != NULL ? take_setting : NULL;
    uint64_t event_ms = take_number(reading, SLICE("event_ms"));
    struct reading inner = {.object = config};
    for (size_t i = 0; event != NULL && take == NULL && i < COUNT_OF(events); i++) {
        inner.object = json_value_member(event, events[i].key);
        take = inner.object != NULL ? events[i].take : NULL;
    }
    if (take == NULL || (config != NULL && event != NULL)) {
        refuse(reading, "neither an event nor a setting");
        return;
    }
    take(&inner, effect);
    take_common(&inner, now_ns, effect);
    check_texts(&inner, effect);
    if (effect->kind == SHAPING_SET_CONFIG) {
        effect->site = take_text(reading, SLICE("site"));
        check_texts(&inner, effect);
    }
    effect->event_ns = event_ms > now_ns / NS_PER_MS ? now_ns : event_ms * NS_PER_MS;
    refuse(reading, inner.fault);
}

static void read_change(struct reading *reading, uint64_t now_ns, struct change_message *message)
{
    struct slice change = take_text(reading, SLICE("change"));
    if (message->snapshot && take_bool(reading, SLICE("complete"))) {
        message->what = CHANGE_COMPLETE;
        return;
    }
    if (slice_equal(change, SLICE("cancelled"))) {
        message->what = CHANGE_CANCELLED;
    } else if (slice_equal(change, SLICE("begun")) || slice_equal(change, SLICE("extended"))) {
        message->what = CHANGE_IN_FORCE;
    } else {
        refuse(reading, "change is none");
        return;
    }
    read_effect(reading, now_ns, message);
}

const char *change_read(struct change_text *text, struct slice message, uint64_t now_ns,
                        struct change_message *message_out)
{
    struct json_problem problem;
    *message_out = (struct change_message){0};
    arena_rewind(&text->arena, 0);
    struct reading reading = {
        .object = json_value_read(text->reader, message, &text->arena, &problem)};
    if (reading.object == NULL || reading.object->kind != JSON_OBJECT) {
        return "no JSON object";
    }
    message_out->number = take_number(&reading, SLICE("seq"));
    message_out->snapshot = take_bool(&reading, SLICE("snapshot"));
    if (!id_parse(take_text(&reading, SLICE("epoch")), &message_out->epoch)) {
        refuse(&reading, "epoch is none");
    }
    read_change(&reading, now_ns, message_out);
    bool part = message_out->snapshot && message_out->what != CHANGE_COMPLETE;
    if (reading.fault == NULL && part != (message_out->number == 0)) {
        refuse(&reading, "seq is none");
    }
    return reading.fault;
}
