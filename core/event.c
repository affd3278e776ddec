#include "core/event.h"

#include <string.h>

#include "core/check.h"
#include "core/date.h"
#include "core/digits.h"
#include "core/json.h"

static const char *const type_names[EVENT_TYPES] = {
    [EVENT_RECEPTION] = "Reception",
    [EVENT_DELIVERY] = "Delivery",
    [EVENT_TRANSIENT_FAILURE] = "TransientFailure",
    [EVENT_BOUNCE] = "Bounce",
    [EVENT_EXPIRATION] = "Expiration",
    [EVENT_ADMIN_BOUNCE] = "AdminBounce",
    [EVENT_ADMIN_REBIND] = "AdminRebind",
    [EVENT_OOB] = "OOB",
    [EVENT_FEEDBACK] = "Feedback",
    [EVENT_REJECTION] = "Rejection",
};

const char *event_type_name(enum event_type type)
{
    CHECK(type < EVENT_TYPES);
    return type_names[type];
}

bool event_type_is_classified(enum event_type type)
{
    switch (type) {
    case EVENT_RECEPTION:
    case EVENT_DELIVERY:
    case EVENT_ADMIN_REBIND:
        return false;
    case EVENT_TRANSIENT_FAILURE:
    case EVENT_BOUNCE:
    case EVENT_EXPIRATION:
    case EVENT_ADMIN_BOUNCE:
    case EVENT_OOB:
    case EVENT_FEEDBACK:
    case EVENT_REJECTION:
        return true;
    case EVENT_TYPES:
        break;
    }
    CHECK(false);
}

bool event_type_parse(struct slice name, enum event_type *type_out)
{
    for (unsigned i = 0; i < EVENT_TYPES; i++) {
        if (slice_equal(name, slice_from_string(type_names[i]))) {
            *type_out = (enum event_type)i;
            return true;
        }
    }
    return false;
}

static bool is_zero(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++) {
        if (at[i] != 0) {
            return false;
        }
    }
    return true;
}

/* A text as a JSON string, cut to its maximum; a character is never split into bad bytes. */
static void put_text(struct buf *buf, struct slice text)
{
    if (text.size > EVENT_TEXT_BYTES_MAX) {
        size_t size = EVENT_TEXT_BYTES_MAX;
        while (size > EVENT_TEXT_BYTES_MAX - 4 && (text.data[size] & 0xC0) == 0x80) {
            size--;
        }
        text = slice_first(text, size);
    }
    json_put_string(buf, text);
}

static void put_text_or_null(struct buf *buf, struct slice text)
{
    if (text.size == 0) {
        buf_put(buf, SLICE("null"));
        return;
    }
    put_text(buf, text);
}

/* 8-4-4-4-12 hexadecimal digits in quotes. */
static void put_uuid(struct buf *buf, const struct id *id)
{
    uint8_t digits[2 * sizeof(id->bytes)];
    uint8_t *at = buf_reserve(buf, sizeof("\"00000000-0000-0000-0000-000000000000\"") - 1);
    if (at == NULL) {
        return;
    }
    digits_put_hex(digits, id->bytes, sizeof(id->bytes));
    memcpy(at + 1, digits, 8);
    memcpy(at + 10, digits + 8, 4);
    memcpy(at + 15, digits + 12, 4);
    memcpy(at + 20, digits + 16, 4);
    memcpy(at + 25, digits + 20, 12);
    at[9] = at[14] = at[19] = at[24] = '-';
    at[0] = at[37] = '"';
}

static void put_envelope(struct buf *buf, const struct event *event)
{
    buf_put(buf, SLICE(",\"sender\":"));
    put_text(buf, event->sender);
    buf_put(buf, SLICE(",\"recipient\":"));
    put_text(buf, event->recipient);
    buf_put(buf, SLICE(",\"queue\":"));
    put_text(buf, event->queue);
    buf_put(buf, SLICE(",\"site\":"));
    put_text(buf, event->site);
    buf_put(buf, SLICE(",\"size\":"));
    buf_put_u64(buf, event->size);
}

static void put_response(struct buf *buf, const struct event *event)
{
    buf_put(buf, SLICE(",\"response\":{\"code\":"));
    buf_put_u64(buf, event->code);
    buf_put(buf, SLICE(",\"enhanced_code\":"));
    if (is_zero(event->enhanced, sizeof(event->enhanced))) {
        buf_put(buf, SLICE("null"));
    } else {
        buf_put(buf, SLICE("{\"class\":"));
        buf_put_u64(buf, event->enhanced[0]);
        buf_put(buf, SLICE(",\"subject\":"));
        buf_put_u64(buf, event->enhanced[1]);
        buf_put(buf, SLICE(",\"detail\":"));
        buf_put_u64(buf, event->enhanced[2]);
        buf_put_byte(buf, '}');
    }
    buf_put(buf, SLICE(",\"content\":"));
    put_text(buf, event->content);
    buf_put(buf, SLICE(",\"command\":"));
    put_text_or_null(buf, event->command);
    buf_put_byte(buf, '}');
}

/* An address needs no escape. */
static void put_peer(struct buf *buf, const struct event *event)
{
    buf_put(buf, SLICE(",\"peer_address\":"));
    if (is_zero(event->peer.address, sizeof(event->peer.address))) {
        buf_put(buf, SLICE("null"));
        return;
    }
    buf_put(buf, SLICE("{\"name\":"));
    put_text(buf, event->peer_name);
    buf_put(buf, SLICE(",\"addr\":\""));
    endpoint_put_address(buf, &event->peer);
    buf_put(buf, SLICE("\"}"));
}

static void put_source(struct buf *buf, const struct event *event)
{
    buf_put(buf, SLICE(",\"egress_pool\":"));
    put_text_or_null(buf, event->pool);
    buf_put(buf, SLICE(",\"egress_source\":"));
    put_text_or_null(buf, event->source_name);
    buf_put(buf, SLICE(",\"source_address\":"));
    if (is_zero(event->source.address, sizeof(event->source.address))) {
        buf_put(buf, SLICE("null"));
        return;
    }
    buf_put(buf, SLICE("{\"address\":\""));
    endpoint_put(buf, &event->source);
    buf_put(buf, SLICE("\"}"));
}

static void put_times(struct buf *buf, const struct event *event)
{
    uint64_t ms = event->wall_ns / NS_PER_MS;
    uint64_t created_ms = event->created_ns / NS_PER_MS;
    buf_put(buf, SLICE(",\"timestamp\":"));
    buf_put_u64(buf, event->wall_ns / NS_PER_S);
    buf_put(buf, SLICE(",\"timestamp_ms\":"));
    buf_put_u64(buf, ms);
    buf_put(buf, SLICE(",\"event_time\":\""));
    date_put_rfc3339(buf, event->wall_ns);
    buf_put(buf, SLICE("\",\"created\":"));
    buf_put_u64(buf, event->created_ns / NS_PER_S);
    buf_put(buf, SLICE(",\"created_time\":\""));
    date_put_rfc3339(buf, event->created_ns);
    buf_put(buf, SLICE("\",\"queue_age_ms\":"));
    buf_put_u64(buf, ms > created_ms ? ms - created_ms : 0);
}

/* Whether an attempt to deliver stands behind this record. */
static bool is_attempt(enum event_type type)
{
    return type == EVENT_DELIVERY || type == EVENT_TRANSIENT_FAILURE || type == EVENT_BOUNCE;
}

static void put_attempt(struct buf *buf, const struct event *event)
{
    buf_put(buf, SLICE(",\"num_attempts\":"));
    buf_put_u64(buf, event->attempts);
    if (is_attempt(event->type)) {
        buf_put(buf, SLICE(",\"delivery_ms\":"));
        buf_put_u64(buf, event->delivery_ms);
        if (event->uncertain) {
            buf_put(buf, SLICE(",\"uncertain\":true"));
        }
        buf_put(buf, SLICE(",\"delivery_protocol\":\"ESMTP\""));
    } else {
        buf_put(buf, SLICE(",\"delivery_protocol\":null"));
    }
    buf_put(buf, SLICE(",\"reception_protocol\":"));
    put_text_or_null(buf, event->protocol);
    if (event_type_is_classified(event->type)) {
        buf_put(buf, SLICE(",\"bounce_classification\":"));
        put_text(buf, event->classification.size > 0 ? event->classification
                                                     : SLICE("Uncategorized"));
    }
}

static void put_origin(struct buf *buf, const struct event *event)
{
    buf_put(buf, event->urgent ? SLICE(",\"class\":\"urgent\"") : SLICE(",\"class\":\"bulk\""));
    buf_put(buf, SLICE(",\"feedback_report\":"));
    buf_put(buf, event->feedback.size > 0 ? event->feedback : SLICE("null"));
    if (event->reference.size > 0) {
        buf_put(buf, SLICE(",\"reference\":"));
        buf_put(buf, event->reference);
    }
    buf_put(buf, SLICE(",\"meta\":{"));
    if (event->origin.port != 0) {
        buf_put(buf, SLICE("\"orig_received_from\":\""));
        endpoint_put(buf, &event->origin);
        buf_put_byte(buf, '"');
        if (event->meta.size > 0) {
            buf_put_byte(buf, ',');
        }
    }
    buf_put(buf, event->meta);
    buf_put(buf, SLICE("},\"headers\":{"));
    buf_put(buf, event->headers);
    buf_put(buf, SLICE("},\"nodeid\":"));
    put_uuid(buf, &event->node);
    if (!is_zero(event->session.bytes, sizeof(event->session.bytes))) {
        buf_put(buf, SLICE(",\"session_id\":"));
        put_uuid(buf, &event->session);
    }
    if (event->spool != 0) {
        buf_put(buf, SLICE(",\"event_id\":\""));
        event_id_put(buf, event->spool, event->lane, event->sequence);
        buf_put_byte(buf, '"');
    }
}

void event_put_json(struct buf *buf, const struct event *event)
{
    size_t before = buf->size;
    buf_put(buf, SLICE("{\"type\":\""));
    buf_put_string(buf, event_type_name(event->type));
    buf_put(buf, SLICE("\",\"id\":\""));
    if (!is_zero(event->id.bytes, sizeof(event->id.bytes))) {
        id_put(buf, &event->id);
    }
    buf_put_byte(buf, '"');
    put_envelope(buf, event);
    put_response(buf, event);
    put_peer(buf, event);
    put_times(buf, event);
    put_attempt(buf, event);
    put_source(buf, event);
    put_origin(buf, event);
    buf_put(buf, SLICE("}\n"));
    if (buf->overflow) {
        buf->size = before;
    }
}

void event_put_reply(struct buf *buf, const struct event *event)
{
    buf_put_u64(buf, event->code);
    if (event->enhanced[0] != 0) {
        buf_printf(buf, " %u.%u.%u", event->enhanced[0], event->enhanced[1], event->enhanced[2]);
    }
    buf_put_byte(buf, ' ');
    event_put_line(buf, event->content);
}

void event_put_line(struct buf *buf, struct slice text)
{
    size_t start = buf->size;
    buf_put(buf, slice_first(text, MIN_OF(text.size, buf_room(buf))));
    for (size_t i = start; i < buf->size; i++) {
        if (buf->data[i] == '\r' || buf->data[i] == '\n') {
            buf->data[i] = ' ';
        }
    }
}
