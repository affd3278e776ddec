#include "smtp/report_event.h"

#include <string.h>

#include "core/check.h"
#include "core/little.h"
#include "shard/spool/record.h"

#define ENTRY_HEAD_BYTES 5 /* code, enhanced code */

_Static_assert(RECORD_EVENT_BYTES + 40 == REPORT_EVENT_HEAD_BYTES, "the head of both layers");

/* --- the payload ------------------------------------------------------------------------------ */

bool report_event_begin(struct buf *buf, const struct report_event *event)
{
    CHECK(buf->size == 0);
    if (buf_room(buf) < REPORT_EVENT_HEAD_BYTES + event->envelope.size + event->metadata.size) {
        return false;
    }
    const struct record_event head = {.wall_ns = event->wall_ns};
    uint8_t *at = buf_reserve(buf, REPORT_EVENT_HEAD_BYTES);
    record_event_put(at, &head);
    at += RECORD_EVENT_BYTES;
    little_put_u32(at, event->kind);
    little_put_u32(at + 4, (uint32_t)event->envelope.size);
    little_put_u32(at + 8, (uint32_t)event->metadata.size);
    little_put_u32(at + 12, 0);
    little_put_u64(at + 16, event->size);
    memcpy(at + 24, event->id.bytes, sizeof(event->id.bytes));
    buf_put(buf, event->envelope);
    buf_put(buf, event->metadata);
    return true;
}

void report_event_end(struct buf *buf, uint64_t sequence, uint32_t count)
{
    uint8_t *at = buf->data + RECORD_EVENT_BYTES;
    size_t before = REPORT_EVENT_HEAD_BYTES + little_u32(at + 4) + little_u32(at + 8);
    CHECK(!buf->overflow && before <= buf->size);
    const struct record_event head = {.event_sequence = sequence,
                                      .wall_ns = little_u64(buf->data + 8),
                                      .count = count};
    record_event_put(buf->data, &head);
    little_put_u32(at + 12, (uint32_t)(buf->size - before));
}

bool report_event_get(struct slice payload, struct report_event *event_out)
{
    struct record_event head;
    struct slice rest;
    *event_out = (struct report_event){0};
    if (payload.size < REPORT_EVENT_HEAD_BYTES || !record_event_get(payload, &head, &rest)) {
        return false;
    }
    struct slice *const sections[] = {&event_out->envelope, &event_out->metadata,
                                      &event_out->said};
    const uint8_t *at = rest.data;
    uint32_t kind = little_u32(at);
    event_out->sequence = head.event_sequence;
    event_out->wall_ns = head.wall_ns;
    event_out->count = head.count;
    event_out->size = little_u64(at + 16);
    memcpy(event_out->id.bytes, at + 24, sizeof(event_out->id.bytes));
    event_out->kind = (enum report_kind)kind;
    rest = slice_skip(payload, REPORT_EVENT_HEAD_BYTES);
    for (size_t i = 0; i < COUNT_OF(sections); i++) {
        uint32_t size = little_u32(at + 4 + 4 * i);
        if (size > rest.size) {
            return false;
        }
        *sections[i] = slice_first(rest, size);
        rest = slice_skip(rest, size);
    }
    return rest.size == 0 && (kind == REPORT_DELIVERY || kind == REPORT_FEEDBACK);
}

/* --- what a notification says ----------------------------------------------------------------- */

static void put_text(struct buf *buf, struct slice text)
{
    text = slice_first(text, MIN_OF(text.size, (size_t)REPORT_TEXT_BYTES_MAX));
    little_put_u16(buf_reserve(buf, 2), (uint16_t)text.size);
    buf_put(buf, text);
}

static bool take_text(struct slice *rest, struct slice *text_out)
{
    if (rest->size < 2) {
        return false;
    }
    size_t size = little_u16(rest->data);
    if (size > REPORT_TEXT_BYTES_MAX || size > rest->size - 2) {
        return false;
    }
    *text_out = slice_make(rest->data + 2, size);
    *rest = slice_skip(*rest, 2 + size);
    return true;
}

bool report_said_begin(struct buf *buf, struct slice reporter)
{
    if (buf_room(buf) < 2 + reporter.size) {
        return false;
    }
    put_text(buf, reporter);
    return true;
}

bool report_said_put(struct buf *buf, const struct report_entry *entry)
{
    if (buf_room(buf) < ENTRY_HEAD_BYTES + 4 + entry->recipient.size + entry->content.size) {
        return false;
    }
    uint8_t *at = buf_reserve(buf, ENTRY_HEAD_BYTES);
    little_put_u16(at, entry->code);
    memcpy(at + 2, entry->enhanced, sizeof(entry->enhanced));
    put_text(buf, entry->recipient);
    put_text(buf, entry->content);
    return true;
}

bool report_said_open(struct slice *said, struct slice *reporter_out)
{
    return take_text(said, reporter_out);
}

int report_said_next(struct slice *said, struct report_entry *entry_out)
{
    if (said->size == 0) {
        return 0;
    }
    if (said->size < ENTRY_HEAD_BYTES) {
        return -1;
    }
    entry_out->code = little_u16(said->data);
    memcpy(entry_out->enhanced, said->data + 2, sizeof(entry_out->enhanced));
    *said = slice_skip(*said, ENTRY_HEAD_BYTES);
    return take_text(said, &entry_out->recipient) && take_text(said, &entry_out->content) ? 1 : -1;
}
