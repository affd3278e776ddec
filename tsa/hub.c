#include "tsa/hub.h"

#include <assert.h>
#include <string.h>

#include "core/check.h"

/* Where the parts of a change stand. */
struct hub_change {
    uint32_t at;          /* in the log's bytes: the whole message of HUB_CHANGES */
    uint16_t size;
    uint16_t event;       /* in that, {"ReadyQSuspension":{…}}; 0: it is none for HUB_EVENTS */
    uint16_t event_size;
    uint16_t entry;       /* in that, the object inside */
    uint8_t form;         /* enum effect_form */
};
static_assert(HUB_MESSAGE_BYTES_MAX <= UINT16_MAX, "places in a message have 16 bits");

void hub_init(struct hub *hub, struct heap *heap, const struct automation *automation,
              const struct hub_options *options)
{
    CHECK(options->changes_max > 0 && (options->changes_max & (options->changes_max - 1)) == 0);
    CHECK(options->bytes_max >= 2 * HUB_MESSAGE_BYTES_MAX && options->first > 0);
    *hub = (struct hub){
        .automation = automation,
        .options = *options,
        .changes = heap_take_array(heap, options->changes_max, sizeof(struct hub_change)),
        .bytes = heap_take(heap, options->bytes_max),
        .oldest = options->first,
        .next = options->first,
    };
    list_init(&hub->waiting);
    list_init(&hub->busy);
}

/* --- messages --------------------------------------------------------------------------------- */

static const char *const event_names[] = {
    [EFFECT_READY_SUSPENSION] = "ReadyQSuspension",
    [EFFECT_SCHED_SUSPENSION] = "SchedQSuspension",
    [EFFECT_SCHED_BOUNCE] = "SchedQBounce",
};

static void put_head(struct json *json, const struct hub *hub, uint64_t number, bool snapshot)
{
    uint8_t memory[ID_TEXT_BYTES];
    struct buf epoch;
    buf_init(&epoch, memory, sizeof(memory));
    id_put(&epoch, &hub->options.epoch);
    json_object(json);
    json_key(json, "seq");
    json_u64(json, number);
    json_key(json, "epoch");
    json_string(json, buf_slice(&epoch));
    json_key(json, "snapshot");
    json_bool(json, snapshot);
}

/* …and where its object and the one inside stand. */
static void put_event(struct json *json, const struct automation_effect *effect,
                      struct hub_change *change)
{
    struct buf *buf = json->buf;
    size_t start = buf->size + sizeof(",\"event\":") - 1;
    json_key(json, "event");
    json_object(json);
    json_key(json, event_names[effect_form(effect)]);
    size_t entry = buf->size;
    effect_put_json(json, effect);
    json_object_end(json);
    change->event = (uint16_t)start;
    change->event_size = (uint16_t)(buf->size - start);
    change->entry = (uint16_t)entry;
}

static void put_message(const struct hub *hub, struct buf *buf, uint64_t number,
                        enum automation_change what, const struct automation_effect *effect,
                        struct hub_change *change)
{
    struct json json;
    json_init(&json, buf);
    put_head(&json, hub, number, number == 0);
    json_key(&json, "change");
    json_string(&json, slice_from_string(automation_change_name(what)));
    json_key(&json, "id");
    json_u64(&json, effect->id);
    json_key(&json, "event_ms");
    json_u64(&json, effect->event_ns / NS_PER_MS);
    change->form = (uint8_t)effect_form(effect);
    if (change->form == EFFECT_SETTING) {
        if (effect->site.size > 0) {
            json_key(&json, "site");
            json_string(&json, effect->site);
        }
        json_key(&json, "config");
        effect_put_json(&json, effect);
    } else {
        put_event(&json, effect, change);
    }
    json_object_end(&json);
    CHECK(!buf->overflow);
    change->size = (uint16_t)buf->size;
}

/* --- the log ---------------------------------------------------------------------------------- */

static struct hub_change *change_at(const struct hub *hub, uint64_t number)
{
    return &hub->changes[number & (hub->options.changes_max - 1)];
}

static bool overlaps(const struct hub *hub, uint32_t at, size_t size)
{
    const struct hub_change *oldest = change_at(hub, hub->oldest);
    return hub->oldest < hub->next && oldest->at < at + size && at < oldest->at + oldest->size;
}

/* Room for a change of so many bytes in one piece, at the cost of the oldest ones. */
static uint32_t make_room(struct hub *hub, size_t size)
{
    uint32_t at = hub->at;
    if (at + size > hub->options.bytes_max) {
        /* The oldest ones may stand in the rest that stays empty, before those at the front. */
        while (hub->oldest < hub->next && change_at(hub, hub->oldest)->at >= at) {
            hub->oldest++;
        }
        at = 0;
    }
    while (overlaps(hub, at, size)) {
        hub->oldest++;
    }
    if (hub->next - hub->oldest == hub->options.changes_max) {
        hub->oldest++;
    }
    return at;
}

static void wake(struct hub *hub)
{
    struct list *node;
    while ((node = list_pop_front(&hub->waiting)) != NULL) {
        struct hub_subscriber *subscriber = CONTAINER_OF(node, struct hub_subscriber, link);
        list_push_back(&hub->busy, node);
        subscriber->told(subscriber);
    }
}

void hub_tell(void *context, enum automation_change change,
              const struct automation_effect *effect, const struct shaping_rule *rule)
{
    struct hub *hub = context;
    struct hub_change row = {0};
    struct buf text;
    (void)rule;
    if (change == AUTOMATION_REFUSED || change == AUTOMATION_EXPIRED) {
        return;
    }
    buf_init(&text, hub->message, sizeof(hub->message));
    put_message(hub, &text, hub->next, change, effect, &row);
    if (change == AUTOMATION_CANCELLED) {
        row.event = 0;
    }
    row.at = make_room(hub, text.size);
    memcpy(hub->bytes + row.at, text.data, text.size);
    hub->at = row.at + (uint32_t)text.size;
    *change_at(hub, hub->next++) = row;
    wake(hub);
}

/* --- subscribers ------------------------------------------------------------------------------ */

static bool is_epoch(const struct hub *hub, struct slice epoch)
{
    struct id id;
    return epoch.size == 0 ||
           (id_parse(epoch, &id) && id_equal(&id, &hub->options.epoch));
}

void hub_subscribe(struct hub *hub, struct hub_subscriber *subscriber, uint64_t after,
                   struct slice epoch)
{
    bool goes_on = subscriber->form == HUB_CHANGES && after > 0 && is_epoch(hub, epoch) &&
                   after < hub->next && after + 1 >= hub->oldest;
    subscriber->snapshot = !goes_on;
    subscriber->complete = false;
    subscriber->cursor = 0;
    subscriber->next = goes_on ? after + 1 : hub->next;
    list_init(&subscriber->link);
    list_push_back(&hub->busy, &subscriber->link);
    hub->subscribers++;
}

void hub_unsubscribe(struct hub *hub, struct hub_subscriber *subscriber)
{
    CHECK(list_linked(&subscriber->link) && hub->subscribers > 0);
    list_remove(&subscriber->link);
    hub->subscribers--;
}

/* Of a subscriber of this form: the part of a message that it gets. Empty: nothing. */
static struct slice shown(struct hub *hub, enum hub_form form, const uint8_t *text,
                          const struct hub_change *change)
{
    struct buf buf;
    struct slice event = slice_make(text + change->event, change->event_size);
    switch (form) {
    case HUB_CHANGES:
        return slice_make(text, change->size);
    case HUB_EVENTS:
        return change->event == 0 ? SLICE_NONE : event;
    case HUB_SUSPENSIONS:
        break;
    }
    if (change->event == 0 || change->form == EFFECT_SCHED_BOUNCE) {
        return SLICE_NONE;
    }
    /* Shorter than what stands there, so that it may stand over it. */
    struct slice key = change->form == EFFECT_READY_SUSPENSION ? SLICE("{\"ReadyQ\":")
                                                                : SLICE("{\"SchedQ\":");
    size_t size = (size_t)(change->event + change->event_size - change->entry);
    buf_init(&buf, hub->message, sizeof(hub->message));
    CHECK(buf_reserve(&buf, key.size + size) != NULL);
    memmove(buf.data + key.size, text + change->entry, size);
    memcpy(buf.data, key.data, key.size);
    return buf_slice(&buf);
}

/* The next part of its snapshot; empty: that was all. */
static struct slice snapshot_next(struct hub *hub, struct hub_subscriber *subscriber)
{
    struct buf text;
    const struct automation_effect *effect;
    subscriber->cursor_next = subscriber->cursor;
    subscriber->complete = false;
    while ((effect = automation_next(hub->automation, &subscriber->cursor_next)) != NULL) {
        struct hub_change change = {0};
        buf_init(&text, hub->message, sizeof(hub->message));
        put_message(hub, &text, 0, AUTOMATION_BEGUN, effect, &change);
        struct slice message = shown(hub, subscriber->form, text.data, &change);
        if (message.size > 0) {
            return message;
        }
    }
    subscriber->complete = true;
    if (subscriber->form != HUB_CHANGES) {
        return SLICE_NONE;
    }
    struct json json;
    buf_init(&text, hub->message, sizeof(hub->message));
    json_init(&json, &text);
    put_head(&json, hub, subscriber->next - 1, true);
    json_key(&json, "complete");
    json_bool(&json, true);
    json_object_end(&json);
    return buf_slice(&text);
}

enum hub_next hub_next(struct hub *hub, struct hub_subscriber *subscriber,
                       struct slice *message_out)
{
    if (subscriber->next < hub->oldest) {
        hub->lost++;
        return HUB_LOST;
    }
    if (subscriber->snapshot) {
        *message_out = snapshot_next(hub, subscriber);
        if (message_out->size > 0) {
            return HUB_MESSAGE;
        }
        subscriber->snapshot = false;
    }
    while (subscriber->next < hub->next) {
        const struct hub_change *change = change_at(hub, subscriber->next);
        *message_out = shown(hub, subscriber->form, hub->bytes + change->at, change);
        if (message_out->size > 0) {
            return HUB_MESSAGE;
        }
        subscriber->next++;
    }
    list_remove(&subscriber->link);
    list_push_back(&hub->waiting, &subscriber->link);
    return HUB_NOTHING;
}

void hub_said(struct hub *hub, struct hub_subscriber *subscriber)
{
    (void)hub;
    if (!subscriber->snapshot) {
        subscriber->next++;
        return;
    }
    subscriber->cursor = subscriber->cursor_next;
    subscriber->snapshot = !subscriber->complete;
}
