#include "smtp/inspect.h"

#include <sys/uio.h>

#include "core/check.h"
#include "core/json_member.h"
#include "smtp/body_cursor.h"
#include "smtp/egress.h"
#include "smtp/envelope.h"
#include "smtp/named_values.h"
#include "smtp/schedule.h"

/* Rows looked at in a turn, and iovecs of a body taken at once. */
#define ROWS_MAX   4096u
#define IOVECS_MAX 16u
/* Between the time in an id and that of its message. */
#define APART_S 2

static void slot_message(struct inspect_slot *slot);
static void step_run(struct deferred *deferred);

void inspection_init(struct inspection *inspection, struct delivery *delivery, uint8_t *memory,
                     uint8_t *body)
{
    inspection->delivery = delivery;
    inspection->memory = memory;
    inspection->body = body;
    deferred_init(&inspection->step, step_run);
    for (unsigned i = 0; i < INSPECT_LOADS_MAX; i++) {
        inspection->slots[i].inspection = inspection;
    }
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* What an injection said of its recipient. */
static void put_extra(struct json *json, struct slice list)
{
    struct named_value member;
    if (list.size == 0) {
        return;
    }
    json_key(json, "extra");
    json_object(json);
    while (named_value_next(&list, &member)) {
        json_key_text(json, member.name);
        json_raw(json, member.value);
    }
    json_object_end(json);
}

static void put_meta(struct json *json, const struct message *message)
{
    struct metadata metadata;
    json_key(json, "meta");
    json_object(json);
    if (metadata_parse(message->metadata, &metadata)) {
        json_member_text(json, "reception_protocol", metadata.protocol);
        json_member_endpoint(json, "received_from", &metadata.peer);
        json_member_endpoint(json, "received_via", &metadata.local);
        json_member_text(json, "hello", metadata.hello);
        json_member_text(json, "tenant", metadata.tenant);
        json_member_text(json, "campaign", metadata.campaign);
        json_member_text(json, "class", metadata.urgent ? SLICE("urgent") : SLICE("bulk"));
        put_extra(json, metadata.extra);
    }
    json_object_end(json);
}

static void put_days(struct json *json, uint8_t days)
{
    static const char names[] = "MonTueWedThuFriSatSun";
    uint8_t memory[sizeof(names) + 7];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    for (unsigned i = 0; i < 7; i++) {
        if ((days >> (i + 1) % 7 & 1) != 0) {
            buf_put(&text, text.size > 0 ? SLICE(",") : SLICE_NONE);
            buf_put(&text, slice_make(names + (size_t)i * 3, 3));
        }
    }
    json_member_text(json, "dow", buf_slice(&text));
}

static void put_time_of_day(struct json *json, const char *key, uint32_t seconds)
{
    uint8_t memory[16];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    buf_printf(&text, "%02u:%02u:%02u", seconds / 3600, seconds / 60 % 60, seconds % 60);
    json_member_text(json, key, buf_slice(&text));
}

/* As its header field had it. */
static void put_scheduling(struct json *json, const struct message *message)
{
    struct metadata metadata;
    struct schedule schedule;
    if (!metadata_parse(message->metadata, &metadata) ||
        !schedule_get(metadata.schedule, &schedule)) {
        return;
    }
    json_key(json, "scheduling");
    json_object(json);
    if (schedule.first_s > 0) {
        json_member_time(json, "first_attempt", schedule.first_s * NS_PER_S);
    }
    if (schedule.days != 0) {
        put_days(json, schedule.days);
        json_member_text(json, "tz", slice_make(schedule.zone, schedule.zone_bytes));
        put_time_of_day(json, "start", schedule.start_s);
        put_time_of_day(json, "end", schedule.end_s);
    }
    if (schedule.expires_s > 0) {
        json_member_time(json, "expires", schedule.expires_s * NS_PER_S);
    }
    json_object_end(json);
}

/* What would be sent, as far as it is shown. True: there is more. */
static bool body_copy(struct inspect_slot *slot, struct buf *buf)
{
    struct body_cursor cursor;
    struct iovec iovecs[IOVECS_MAX];
    bool given = false;
    body_cursor_init(&cursor, slot->message, BODY_BDAT);
    for (;;) {
        unsigned count = 0;
        enum body_status step =
            body_cursor_next(&cursor, iovecs, IOVECS_MAX, INSPECT_BODY_BYTES, &count);
        for (unsigned i = 0; i < count; i++) {
            size_t size = MIN_OF(iovecs[i].iov_len, buf_room(buf));
            buf_put(buf, slice_make(iovecs[i].iov_base, size));
            if (size < iovecs[i].iov_len) {
                return true;
            }
        }
        if (step == BODY_END) {
            return false;
        }
        if (step == BODY_NEED_PART) {
            if (given || slot->load.body.size == 0) {
                return true;
            }
            given = true;
            body_cursor_give(&cursor, &slot->load.body);
        }
    }
}

static bool is_bodiless(const struct message *message)
{
    return message->body_bytes > 0 && message->body.size == 0;
}

static void put_body(struct json *json, struct inspect_slot *slot)
{
    struct buf body;
    if (is_bodiless(slot->message) && slot->message->part_count == 0) {
        return; /* it could not be had */
    }
    buf_init(&body, slot->inspection->body, INSPECT_BODY_BYTES);
    bool more = body_copy(slot, &body);
    json_key(json, "data");
    json_string(json, buf_slice(&body));
    json_key(json, "data_cut");
    json_bool(json, more);
}

static const char *row_word(const struct row *row)
{
    switch ((enum row_state)row->state) {
    case ROW_WAITING:
        return "deferred";
    case ROW_DUE:
        return "due";
    case ROW_HOT:
        return "sending";
    case ROW_FREE:
    case ROW_NEW:
    case ROW_HELD:
        break;
    }
    return "storing";
}

static struct slice recipient_of(const struct message *message, uint16_t index,
                                 struct slice *sender_out)
{
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    if (envelope_open(message->envelope, sender_out, &cursor)) {
        while (envelope_next(&cursor, &recipient) == 1) {
            if (recipient.index == index) {
                return recipient.address;
            }
        }
    }
    return SLICE_NONE;
}

static void put_message(struct json *json, struct inspect_slot *slot)
{
    const struct queues *queues = slot->inspection->delivery->queues;
    const struct message *message = slot->message;
    const struct row *row = &slot->row;
    struct slice sender = SLICE_NONE;
    struct slice recipient = recipient_of(message, row->recipient, &sender);
    json_object(json);
    const struct id id = id_with_index(message->id, row->recipient);
    json_member_id(json, "id", &id);
    json_key(json, "message");
    json_object(json);
    json_key(json, "sender");
    json_string(json, sender);
    json_member_text(json, "recipient", recipient);
    put_meta(json, message);
    if (row->state == ROW_WAITING) {
        json_member_time(json, "due", row->due_s * NS_PER_S);
    } else {
        json_member_text(json, "due", SLICE_NONE);
    }
    json_member_u64(json, "num_attempts", row->attempts);
    put_scheduling(json, message);
    json_member_text(json, "queue", sched_queue_name(queues, queues_at(queues, row->queue)));
    json_member_text(json, "state", slice_from_string(row_word(row)));
    json_member_time(json, "created", message->created_ns);
    json_member_u64(json, "size",
                    message_sent_bytes(message->prepend, message->body_bytes, message->cuts));
    if (slot->inspection->order.wants_body) {
        put_body(json, slot);
    }
    json_object_end(json);
    json_object_end(json);
}

/* An object more, unless it does not fit: then it is the last. */
static struct json text_begin(struct inspection *inspection, size_t *before_out)
{
    struct json json;
    *before_out = inspection->text.size;
    json_init(&json, &inspection->text);
    return json;
}

/* There is one more, and it is not shown. */
static void cut(struct inspection *inspection)
{
    inspection->cut_short = true;
    inspection->over = true;
}

static void text_end(struct inspection *inspection, size_t before)
{
    if (inspection->text.overflow) {
        inspection->text.size = before;
        inspection->text.overflow = false;
        cut(inspection);
        return;
    }
    inspection->ends[inspection->shown++] = (uint32_t)inspection->text.size;
    inspection->over = inspection->over || inspection->order.by_id; /* there is one of that id */
}

void inspection_put_site(struct inspection *inspection, const struct egress *egress)
{
    const struct list *lists[] = {&egress->conns, &egress->idle};
    for (unsigned i = 0; i < COUNT_OF(lists); i++) {
        for (const struct list *link = lists[i]->next; link != lists[i] && !inspection->over;
             link = link->next) {
            const struct client_conn *conn = CONTAINER_OF(link, struct client_conn, link);
            size_t before;
            if (inspection->shown == inspection->order.limit) {
                cut(inspection);
                return;
            }
            struct json json = text_begin(inspection, &before);
            json_object(&json);
            json_member_id(&json, "session_id", &conn->id);
            json_member_endpoint(&json, "peer", &conn->peer);
            json_member_text(&json, "state",
                     lists[i] == &egress->idle
                         ? SLICE("idle")
                         : slice_from_string(client_session_doing(&conn->session)));
            json_member_u64(&json, "transactions", conn->transactions);
            json_object_end(&json);
            text_end(inspection, before);
        }
    }
}

/* --- one message ------------------------------------------------------------------------------ */

static void slot_end(struct inspect_slot *slot)
{
    struct inspection *inspection = slot->inspection;
    struct delivery *delivery = inspection->delivery;
    if (slot->message != NULL) {
        message_unref(delivery->messages, slot->message);
        slot->message = NULL;
    }
    spool_load_drop(delivery->spool, &slot->load);
    slot->busy = false;
    inspection->busy--;
    delivery->inspections--;
    shard_defer(delivery->shard, &inspection->step);
}

static void slot_show(struct inspect_slot *slot)
{
    struct inspection *inspection = slot->inspection;
    if (!inspection->over) {
        size_t before;
        struct json json = text_begin(inspection, &before);
        if (inspection->order.wants_text) {
            put_message(&json, slot);
        }
        inspection->found(inspection, &slot->row);
        text_end(inspection, before);
    }
    slot_end(slot);
}

/* A part of its body, or nothing: then it is shown without. */
static void part_loaded(struct spool_load *load)
{
    struct inspect_slot *slot = CONTAINER_OF(load, struct inspect_slot, load);
    slot_show(slot);
}

static void message_loaded(struct spool_load *load)
{
    struct inspect_slot *slot = CONTAINER_OF(load, struct inspect_slot, load);
    struct delivery *delivery = slot->inspection->delivery;
    if (load->status == SPOOL_LOADED) {
        slot->message = message_new(delivery->messages);
    }
    if (slot->message == NULL) {
        /* Damaged, and named in the log; or there is no memory. */
        slot->inspection->cut_short = true;
        slot_end(slot);
        return;
    }
    message_from_load(slot->message, load);
    slot_message(slot);
}

static void slot_load(struct inspect_slot *slot, bool whole)
{
    slot->whole = whole;
    slot->inspection->reads += slot->inspection->order.by_id;
    slot->load = (struct spool_load){.done = message_loaded, .head_only = !whole};
    chain_init(&slot->load.body);
    spool_load(slot->inspection->delivery->spool, &slot->load, row_location(&slot->row));
}

static bool same_place(struct spool_location a, struct spool_location b)
{
    return a.segment == b.segment && a.offset_64 == b.offset_64;
}

static bool has_id(const struct inspection *inspection, const struct message *message)
{
    struct id wanted = id_with_index(inspection->order.id, ID_INDEX_MESSAGE);
    struct id has = id_with_index(message->id, ID_INDEX_MESSAGE);
    return id_equal(&wanted, &has);
}

/* The message is there; its body may not be. */
static void slot_message(struct inspect_slot *slot)
{
    struct inspection *inspection = slot->inspection;
    struct delivery *delivery = inspection->delivery;
    struct message *message = slot->message;
    const struct row *row = row_at(&delivery->queues->rows, slot->handle);
    if (inspection->order.by_id && !has_id(inspection, message)) {
        inspection->missed = row_location(&slot->row);
        slot_end(slot);
        return;
    }
    if (row->state == ROW_FREE || row->recipient != slot->row.recipient ||
        !same_place(row_location(row), row_location(&slot->row))) {
        slot_end(slot); /* it has ended, or moved */
        return;
    }
    slot->row = *row;
    if (!inspection->order.wants_body || !is_bodiless(message)) {
        slot_show(slot);
    } else if (message->part_count > 0) {
        slot->load = (struct spool_load){.done = part_loaded};
        chain_init(&slot->load.body);
        spool_load_part(delivery->spool, &slot->load, &message->parts[0]);
    } else if (slot->whole) {
        slot_show(slot);
    } else {
        message_unref(delivery->messages, message);
        slot->message = NULL;
        slot_load(slot, true);
    }
}

/* --- the walk --------------------------------------------------------------------------------- */

static bool is_near(const struct inspection *inspection, const struct row *row)
{
    const struct delivery *delivery = inspection->delivery;
    uint64_t now_s = queues_now_ns(delivery->queues) / NS_PER_S;
    uint64_t wall_s = delivery->shard->wall_ns / NS_PER_S;
    /* The wall clock may have been set since the message came. */
    uint64_t apart_s = APART_S + (now_s > wall_s ? now_s - wall_s : wall_s - now_s);
    uint64_t id_s = id_ms(&inspection->order.id) / 1000;
    uint64_t created_s = row->created_s;
    return (id_s > created_s ? id_s - created_s : created_s - id_s) <= apart_s;
}

static bool is_meant(const struct inspection *inspection, const struct row *row)
{
    if (row->state == ROW_FREE || row->state == ROW_NEW) {
        return false;
    }
    if (!inspection->order.by_id) {
        return row->queue == inspection->order.queue;
    }
    uint16_t index = id_index(&inspection->order.id);
    return (index == ID_INDEX_MESSAGE || index == row->recipient) && is_near(inspection, row) &&
           !same_place(row_location(row), inspection->missed);
}

static struct inspect_slot *slot_idle(struct inspection *inspection)
{
    for (unsigned i = 0; i < INSPECT_LOADS_MAX; i++) {
        if (!inspection->slots[i].busy) {
            return &inspection->slots[i];
        }
    }
    return NULL;
}

static void slot_begin(struct inspect_slot *slot, uint32_t handle)
{
    struct inspection *inspection = slot->inspection;
    struct delivery *delivery = inspection->delivery;
    slot->busy = true;
    slot->handle = handle;
    slot->row = *row_at(&delivery->queues->rows, handle);
    slot->load = (struct spool_load){0};
    chain_init(&slot->load.body);
    inspection->busy++;
    delivery->inspections++;
    slot->message = messages_find(delivery->messages, row_location(&slot->row));
    if (slot->message != NULL) {
        slot->whole = true;
        slot_message(slot);
        return;
    }
    slot_load(slot, inspection->order.wants_body && !inspection->order.by_id);
}

/* So many are shown, or being read for it. */
static bool is_enough(const struct inspection *inspection)
{
    return !inspection->order.by_id &&
           inspection->shown + inspection->busy >= inspection->order.limit;
}

/* A row that is meant. False: it is looked at again when a read has ended. */
static bool row_take(struct inspection *inspection, uint32_t handle)
{
    struct inspect_slot *slot = slot_idle(inspection);
    if (slot == NULL || (is_enough(inspection) && inspection->busy > 0)) {
        return false;
    }
    if (is_enough(inspection) || inspection->reads == INSPECT_READS_MAX) {
        cut(inspection);
    } else {
        slot_begin(slot, handle);
    }
    return true;
}

static void step_run(struct deferred *deferred)
{
    struct inspection *inspection = CONTAINER_OF(deferred, struct inspection, step);
    struct delivery *delivery = inspection->delivery;
    const struct slab *rows = &delivery->queues->rows;
    uint32_t stop = MIN_OF(rows->fresh, inspection->next + ROWS_MAX);
    inspection->over = inspection->over || delivery->stopping || delivery->spool == NULL;
    while (!inspection->over && inspection->next < stop) {
        uint32_t handle = inspection->next;
        if (is_meant(inspection, row_at(rows, handle)) && !row_take(inspection, handle)) {
            return;
        }
        inspection->next++;
    }
    bool all = inspection->over || inspection->next >= rows->fresh;
    if (inspection->busy == 0 && all) {
        inspection->ended(inspection);
    } else if (!all) {
        shard_defer(delivery->shard, &inspection->step);
    }
}

void inspection_reset(struct inspection *inspection, const struct inspect_order *order)
{
    CHECK(order->limit <= INSPECT_LIMIT_MAX);
    inspection->order = *order;
    inspection->next = 0;
    inspection->shown = 0;
    inspection->reads = 0;
    inspection->over = false;
    inspection->cut_short = false;
    inspection->missed = (struct spool_location){0};
    buf_init(&inspection->text, inspection->memory, INSPECT_TEXT_BYTES);
}

void inspection_start(struct inspection *inspection)
{
    shard_defer(inspection->delivery->shard, &inspection->step);
}
