#include "tests/kit/spool_log.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/little.h"

#define WALL_NS 1790000000000000000ull

void spool_log_init(struct spool_log *log, uint64_t uuid, uint16_t lane, size_t segment_bytes)
{
    *log = (struct spool_log){
        .uuid = uuid, .lane = lane, .segment_bytes = segment_bytes, .event_sequence = 1};
}

void spool_log_fini(struct spool_log *log)
{
    for (unsigned i = 0; i < log->count; i++) {
        free(log->segments[i].bytes);
    }
    log->count = 0;
}

static struct spool_log_segment *log_segment(struct spool_log *log)
{
    CHECK(log->count > 0);
    return &log->segments[log->count - 1];
}

void spool_log_segment(struct spool_log *log, uint32_t number, uint64_t sequence)
{
    CHECK(log->count < SPOOL_LOG_SEGMENTS);
    struct spool_log_segment *segment = &log->segments[log->count++];
    *segment = (struct spool_log_segment){
        .bytes = calloc(1, log->segment_bytes), .size = RECORD_PAGE_BYTES, .number = number};
    CHECK(segment->bytes != NULL);
    struct record_segment header = {
        .version = RECORD_VERSION,
        .lane = log->lane,
        .number = number,
        .uuid = log->uuid,
        .wall_ns = WALL_NS,
        .sequence = sequence,
        .event_sequence = log->event_sequence,
        .log_first = log->segments[0].number,
        .boot = 77,
    };
    record_segment_put(segment->bytes, &header);
}

void spool_log_group(struct spool_log *log, uint64_t sequence, uint64_t durable_before,
                     uint64_t void_from)
{
    struct spool_log_segment *segment = log_segment(log);
    log->group_at = segment->size;
    log->group = (struct record_group){
        .version = RECORD_VERSION,
        .lane = log->lane,
        .segment = segment->number,
        .bytes = RECORD_GROUP_BYTES,
        .sequence = sequence,
        .durable_before = durable_before,
        .log_first = log->segments[0].number,
        .void_from = void_from,
        .wall_ns = WALL_NS,
    };
}

/* Where a record of `bytes` goes; `place`: at a multiple of 64. */
static uint8_t *log_room(struct spool_log *log, bool place, uint64_t bytes)
{
    struct spool_log_segment *segment = log_segment(log);
    if (place) {
        log->group.bytes = (uint32_t)align_up(log->group.bytes, RECORD_PLACE_BYTES);
    }
    CHECK(log->group_at + log->group.bytes + bytes <= log->segment_bytes);
    return segment->bytes + log->group_at + log->group.bytes;
}

static struct spool_location log_added(struct spool_log *log, uint8_t *record, uint64_t bytes)
{
    size_t offset = log->group_at + log->group.bytes;
    record_seal(record, log->group.sequence, log->uuid);
    log->group.bytes += (uint32_t)bytes;
    log->group.records++;
    return (struct spool_location){.segment = log->group.segment,
                                   .offset_64 = (uint32_t)(offset / RECORD_PLACE_BYTES)};
}

struct spool_location spool_log_record(struct spool_log *log, enum record_kind kind,
                                       struct slice payload)
{
    uint8_t *record = log_room(log, false, record_bytes(payload.size));
    return log_added(log, record, record_put(record, kind, payload));
}

struct spool_location spool_log_message(struct spool_log *log, uint32_t number,
                                        const struct slice sections[SECTIONS])
{
    uint64_t sizes[SECTIONS];
    struct record_message message = {
        .id = {.bytes = {1, 2, 3, [15] = 0xff}},
        .created_ns = WALL_NS,
        .event_sequence = log->event_sequence++,
        .recipient_count = 1,
        .body_hash = XXH3_128bits(sections[SECTION_BODY].data, sections[SECTION_BODY].size),
    };
    little_put_u32(message.id.bytes + 4, number);
    for (unsigned i = 0; i < SECTIONS; i++) {
        message.sections[i] = sections[i];
        sizes[i] = sections[i].size;
    }
    struct record_message_size size = record_message_size(sizes, 0);
    uint8_t *record = log_room(log, true, size.bytes);
    record_message_put(record, &message, &size);
    for (unsigned i = 0; i < SECTIONS; i++) {
        if (sizes[i] > 0) {
            memcpy(record + size.offsets[i], sections[i].data, sizes[i]);
        }
    }
    return log_added(log, record, size.bytes);
}

struct spool_location spool_log_body(struct spool_log *log, struct slice body)
{
    uint64_t bytes = RECORD_BODY_BYTES + align_up(body.size, 8);
    uint8_t *record = log_room(log, true, bytes);
    record_body_put(record, body.size, XXH3_128bits(body.data, body.size));
    memcpy(record + RECORD_BODY_BYTES, body.data, body.size);
    return log_added(log, record, bytes);
}

struct spool_location spool_log_outcome(struct spool_log *log, struct spool_location message)
{
    uint8_t bytes[1024];
    struct buf buf;
    struct outcome_writer writer;
    struct outcome outcome = {
        .message = message,
        .event_sequence = log->event_sequence++,
        .wall_ns = WALL_NS,
        .recipient_count = 1,
    };
    struct outcome_recipient recipient = {
        .disposition = DISPOSITION_DELIVERED, .attempts = 1, .code = 250};
    buf_init(&buf, bytes, sizeof(bytes));
    outcome_put(&writer, &buf, &outcome);
    outcome_put_recipient(&writer, &recipient);
    CHECK(!buf.overflow);
    return spool_log_record(log, RECORD_OUTCOME, slice_make(buf.data, buf.size));
}

struct spool_location spool_log_void(struct spool_log *log, struct spool_location message)
{
    uint8_t *record = log_room(log, false, RECORD_VOID_BYTES);
    return log_added(log, record, record_put_void(record, message));
}

size_t spool_log_seal(struct spool_log *log)
{
    struct spool_log_segment *segment = log_segment(log);
    record_group_put(segment->bytes + log->group_at, &log->group, log->uuid);
    segment->size = log->group_at + align_up(log->group.bytes, RECORD_PAGE_BYTES);
    return log->group_at;
}

void spool_log_reseal(const struct spool_log *log, uint8_t *bytes, uint64_t sequence)
{
    record_seal(bytes, sequence, log->uuid);
}
