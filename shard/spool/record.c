#include "shard/spool/record.h"

#include "core/check.h"
#include "core/little.h"
#include "shard/spool/spool.h"

#define SEGMENT_MAGIC 0x31676573746F7052ull /* "Rpotseg1" */
#define GROUP_MAGIC   0x31677052u           /* "Rpg1" */
#define RECORD_MAGIC  0x5272u               /* "rR" */

#define TABLE_OFFSET  80u
#define SECTION_ALIGN 8u
#define REBOUND_BYTES 8u /* the event sequence of a MESSAGE that is rebound */

static uint64_t checksum(const uint8_t *data, size_t size, uint64_t uuid)
{
    uint64_t sum = XXH3_64bits_withSeed(data, size, uuid);
    return sum == 0 ? 1 : sum;
}

/* --- SEGMENT and GROUP ------------------------------------------------------------------------ */

void record_segment_put(uint8_t out[RECORD_SEGMENT_BYTES], const struct record_segment *segment)
{
    little_put_u64(out, SEGMENT_MAGIC);
    little_put_u16(out + 8, segment->version);
    little_put_u16(out + 10, segment->lane);
    little_put_u32(out + 12, segment->number);
    little_put_u64(out + 16, segment->uuid);
    little_put_u64(out + 24, segment->wall_ns);
    little_put_u64(out + 32, segment->sequence);
    little_put_u64(out + 40, segment->event_sequence);
    little_put_u32(out + 48, segment->log_first);
    little_put_u32(out + 52, segment->boot);
    little_put_u64(out + 56, checksum(out, 56, 0));
}

bool record_segment_get(struct slice page, struct record_segment *segment_out)
{
    if (page.size < RECORD_SEGMENT_BYTES || little_u64(page.data) != SEGMENT_MAGIC ||
        little_u64(page.data + 56) != checksum(page.data, 56, 0)) {
        return false;
    }
    const uint8_t *at = page.data;
    *segment_out = (struct record_segment){
        .version = little_u16(at + 8),
        .lane = little_u16(at + 10),
        .number = little_u32(at + 12),
        .uuid = little_u64(at + 16),
        .wall_ns = little_u64(at + 24),
        .sequence = little_u64(at + 32),
        .event_sequence = little_u64(at + 40),
        .log_first = little_u32(at + 48),
        .boot = little_u32(at + 52),
    };
    return true;
}

void record_group_put(uint8_t out[RECORD_GROUP_BYTES], const struct record_group *group,
                      uint64_t uuid)
{
    little_put_u32(out, GROUP_MAGIC);
    little_put_u16(out + 4, group->version);
    little_put_u16(out + 6, group->lane);
    little_put_u32(out + 8, group->segment);
    little_put_u32(out + 12, group->bytes);
    little_put_u64(out + 16, group->sequence);
    little_put_u64(out + 24, group->durable_before);
    little_put_u32(out + 32, group->records);
    little_put_u32(out + 36, group->log_first);
    little_put_u64(out + 40, group->void_from);
    little_put_u64(out + 48, group->wall_ns);
    little_put_u64(out + 56, checksum(out, 56, uuid));
}

bool record_group_get(struct slice bytes, uint64_t uuid, struct record_group *group_out)
{
    if (bytes.size < RECORD_GROUP_BYTES || little_u32(bytes.data) != GROUP_MAGIC ||
        little_u64(bytes.data + 56) != checksum(bytes.data, 56, uuid)) {
        return false;
    }
    const uint8_t *at = bytes.data;
    *group_out = (struct record_group){
        .version = little_u16(at + 4),
        .lane = little_u16(at + 6),
        .segment = little_u32(at + 8),
        .bytes = little_u32(at + 12),
        .sequence = little_u64(at + 16),
        .durable_before = little_u64(at + 24),
        .records = little_u32(at + 32),
        .log_first = little_u32(at + 36),
        .void_from = little_u64(at + 40),
        .wall_ns = little_u64(at + 48),
    };
    return group_out->bytes >= RECORD_GROUP_BYTES && group_out->bytes <= RECORD_GROUP_BYTES_MAX;
}

/* --- writing records -------------------------------------------------------------------------- */

/*
 * Head of every kind:
 *   0 u64 checksum of what follows, to the head's end, seeded with the UUID; never 0
 *   8 u16 magic, 10 u8 kind, 11 u8 flags, 12 u32 bytes of the head, 16 u32 bytes, padded
 *  20 u32 low half of the group's sequence
 */
static void head_put(uint8_t *out, enum record_kind kind, uint32_t head, uint32_t bytes)
{
    little_put_u16(out + 8, RECORD_MAGIC);
    out[10] = (uint8_t)kind;
    out[11] = kind == RECORD_NOTHING ? RECORD_SKIPPABLE : 0;
    little_put_u32(out + 12, head);
    little_put_u32(out + 16, bytes);
}

void record_seal(uint8_t *out, uint64_t sequence, uint64_t uuid)
{
    little_put_u32(out + 20, (uint32_t)sequence);
    uint32_t head = little_u32(out + 12);
    little_put_u64(out, checksum(out + 8, head - 8, uuid));
}

void record_withdraw(uint8_t *out)
{
    out[10] = RECORD_NOTHING;
    out[11] = RECORD_SKIPPABLE;
}

/* What is moved names its former place where others have their event sequence. */
static uint32_t message_fixed_bytes(uint16_t flags)
{
    return RECORD_MESSAGE_BYTES + ((flags & SPOOL_MESSAGE_REBOUND) != 0 ? REBOUND_BYTES : 0);
}

struct record_message_size record_message_size(const uint64_t sizes[SECTIONS], uint16_t flags)
{
    struct record_message_size size = {0};
    bool parts = (flags & SPOOL_MESSAGE_PARTS) != 0;
    uint64_t at = message_fixed_bytes(flags);
    for (unsigned i = 0; i < SECTIONS; i++) {
        if (i == SECTION_BODY && !parts) {
            continue;
        }
        size.offsets[i] = (uint32_t)at;
        at += align_up(sizes[i], SECTION_ALIGN);
    }
    size.head = at;
    if (!parts) {
        size.offsets[SECTION_BODY] = (uint32_t)at;
        at += align_up(sizes[SECTION_BODY], SECTION_ALIGN);
    }
    size.bytes = at;
    return size;
}

void record_message_put(uint8_t *out, const struct record_message *message,
                        const struct record_message_size *size)
{
    head_put(out, RECORD_MESSAGE, (uint32_t)size->head, (uint32_t)size->bytes);
    little_put_u64(out + 24, message->body_hash.low64);
    little_put_u64(out + 32, message->body_hash.high64);
    if ((message->flags & SPOOL_MESSAGE_MOVED) != 0) {
        little_put_u32(out + 40, message->moved_from.segment);
        little_put_u32(out + 44, message->moved_from.offset_64);
    } else {
        little_put_u64(out + 40, message->event_sequence);
    }
    little_put_u64(out + 48, message->created_ns);
    little_put_u16(out + 56, message->flags);
    little_put_u16(out + 58, message->recipient_count);
    little_put_u16(out + 60, SECTIONS);
    little_put_u16(out + 62, 0);
    memcpy(out + 64, message->id.bytes, 16);
    if ((message->flags & SPOOL_MESSAGE_REBOUND) != 0) {
        little_put_u64(out + RECORD_MESSAGE_BYTES, message->event_sequence);
    }
    for (unsigned i = 0; i < SECTIONS; i++) {
        little_put_u32(out + TABLE_OFFSET + 8 * i, size->offsets[i]);
        little_put_u32(out + TABLE_OFFSET + 8 * i + 4, (uint32_t)message->sections[i].size);
    }
}

void record_body_put(uint8_t *out, uint64_t body_bytes, XXH128_hash_t hash)
{
    uint64_t bytes = RECORD_BODY_BYTES + align_up(body_bytes, SECTION_ALIGN);
    head_put(out, RECORD_BODY, RECORD_BODY_BYTES, (uint32_t)bytes);
    little_put_u64(out + 24, hash.low64);
    little_put_u64(out + 32, hash.high64);
    little_put_u64(out + 40, body_bytes);
    little_put_u64(out + 48, 0);
    little_put_u64(out + 56, 0);
}

uint64_t record_bytes(uint64_t payload_bytes)
{
    return RECORD_HEAD_BYTES + align_up(payload_bytes, SECTION_ALIGN);
}

uint32_t record_put(uint8_t *out, enum record_kind kind, struct slice payload)
{
    uint32_t bytes = (uint32_t)record_bytes(payload.size);
    uint32_t head = (uint32_t)(RECORD_HEAD_BYTES + payload.size);
    little_put_u64(out + bytes - 8, 0);
    head_put(out, kind, head, bytes);
    if (payload.size > 0) {
        memcpy(out + RECORD_HEAD_BYTES, payload.data, payload.size);
    }
    return bytes;
}

uint32_t record_put_void(uint8_t *out, struct spool_location message)
{
    uint8_t payload[8];
    little_put_u32(payload, message.segment);
    little_put_u32(payload + 4, message.offset_64);
    return record_put(out, RECORD_VOID, slice_make(payload, sizeof(payload)));
}

uint32_t record_put_cursor(uint8_t *out, struct spool_position cursor)
{
    uint8_t payload[16];
    little_put_u64(payload, cursor.sequence);
    little_put_u32(payload + 8, cursor.group.segment);
    little_put_u32(payload + 12, cursor.group.offset_64);
    return record_put(out, RECORD_CURSOR, slice_make(payload, sizeof(payload)));
}

void record_event_put(uint8_t out[RECORD_EVENT_BYTES], const struct record_event *event)
{
    little_put_u64(out, event->event_sequence);
    little_put_u64(out + 8, event->wall_ns);
    little_put_u32(out + 16, event->count);
    little_put_u32(out + 20, 0);
}

/* --- reading records -------------------------------------------------------------------------- */

bool record_peek(struct slice bytes, uint32_t *head_out, uint32_t *bytes_out)
{
    if (bytes.size < RECORD_HEAD_BYTES || little_u16(bytes.data + 8) != RECORD_MAGIC) {
        return false;
    }
    *head_out = little_u32(bytes.data + 12);
    *bytes_out = little_u32(bytes.data + 16);
    return *head_out >= RECORD_HEAD_BYTES && *bytes_out >= *head_out && *bytes_out % 8 == 0 &&
           *bytes_out <= RECORD_GROUP_BYTES_MAX;
}

bool record_at(struct slice bytes, uint64_t uuid, struct record *record_out)
{
    uint32_t head;
    uint32_t whole;
    if (!record_peek(bytes, &head, &whole) || head > bytes.size ||
        little_u64(bytes.data) != checksum(bytes.data + 8, head - 8, uuid)) {
        return false;
    }
    size_t present = MIN_OF((size_t)whole, bytes.size);
    *record_out = (struct record){
        .kind = bytes.data[10],
        .flags = bytes.data[11],
        .bytes = whole,
        .head = slice_first(bytes, head),
        .tail = slice_make(bytes.data + head, present - head),
    };
    return true;
}

void record_open(struct record_cursor *cursor, struct slice group, uint64_t uuid,
                 uint64_t sequence)
{
    *cursor = (struct record_cursor){
        .group = group,
        .at = RECORD_GROUP_BYTES,
        .sequence = (uint32_t)sequence,
        .uuid = uuid,
    };
}

/* A record of this group that begins at `at` and ends inside it. */
static bool record_here(const struct record_cursor *cursor, uint32_t at, struct record *record_out)
{
    struct slice rest = slice_skip(cursor->group, at);
    if (!record_at(rest, cursor->uuid, record_out) || record_out->bytes > rest.size) {
        return false;
    }
    record_out->offset = at;
    return little_u32(rest.data + 20) == cursor->sequence;
}

enum record_step record_next(struct record_cursor *cursor, struct record *record_out)
{
    size_t size = cursor->group.size & ~(size_t)7;
    uint32_t at = cursor->at;
    while (at + 8 <= size && little_u64(cursor->group.data + at) == 0) {
        at += 8;
    }
    if (at + 8 > size) {
        cursor->at = at;
        return RECORD_END;
    }
    uint32_t begin = at;
    while (at + 8 <= size && !record_here(cursor, at, record_out)) {
        at += 8;
    }
    if (at > begin) {
        *record_out = (struct record){.offset = begin, .bytes = at - begin};
        cursor->at = at;
        return RECORD_DAMAGED;
    }
    cursor->at = at + record_out->bytes;
    return RECORD_FOUND;
}

/* A section of the head; an empty one may have any offset. */
static bool section_get(const struct record *record, unsigned index, struct slice *section_out)
{
    uint32_t offset = little_u32(record->head.data + TABLE_OFFSET + 8 * index);
    uint32_t size = little_u32(record->head.data + TABLE_OFFSET + 8 * index + 4);
    *section_out = SLICE_NONE;
    if (size == 0) {
        return true;
    }
    if (offset < RECORD_MESSAGE_BYTES || offset > record->head.size ||
        size > record->head.size - offset) {
        return false;
    }
    *section_out = slice_make(record->head.data + offset, size);
    return true;
}

/* A body behind the head; it may not be in memory. */
static bool body_get(const struct record *record, struct record_message *message)
{
    uint32_t offset = little_u32(record->head.data + TABLE_OFFSET + 8 * SECTION_BODY);
    uint32_t size = little_u32(record->head.data + TABLE_OFFSET + 8 * SECTION_BODY + 4);
    if (offset != record->head.size || size > record->bytes - offset) {
        return false;
    }
    bool present = size <= record->tail.size;
    message->sections[SECTION_BODY] = slice_make(present ? record->tail.data : NULL, size);
    message->body_offset = offset;
    message->body_bytes = size;
    return true;
}

static bool parts_get(const struct record *record, struct record_message *message)
{
    struct slice parts;
    if (!section_get(record, SECTION_BODY, &parts) ||
        parts.size % sizeof(struct spool_part) != 0) {
        return false;
    }
    for (size_t at = 0; at < parts.size; at += sizeof(struct spool_part)) {
        message->body_bytes += little_u32(parts.data + at + 8);
    }
    message->sections[SECTION_BODY] = parts;
    return true;
}

bool record_message_get(const struct record *record, struct record_message *message_out)
{
    const uint8_t *at = record->head.data;
    if (record->kind != RECORD_MESSAGE || record->head.size < RECORD_MESSAGE_BYTES ||
        little_u16(at + 60) != SECTIONS) {
        return false;
    }
    struct record_message message = {
        .body_hash = {.low64 = little_u64(at + 24), .high64 = little_u64(at + 32)},
        .event_sequence = little_u64(at + 40),
        .created_ns = little_u64(at + 48),
        .flags = little_u16(at + 56),
        .recipient_count = little_u16(at + 58),
    };
    if ((message.flags & SPOOL_MESSAGE_MOVED) != 0) {
        message.event_sequence = 0;
        message.moved_from = (struct spool_location){.segment = little_u32(at + 40),
                                                     .offset_64 = little_u32(at + 44)};
    }
    if ((message.flags & SPOOL_MESSAGE_REBOUND) != 0) {
        if (record->head.size < message_fixed_bytes(message.flags)) {
            return false;
        }
        message.event_sequence = little_u64(at + RECORD_MESSAGE_BYTES);
    }
    memcpy(message.id.bytes, at + 64, 16);
    for (unsigned i = 0; i < SECTIONS; i++) {
        if (i != SECTION_BODY && !section_get(record, i, &message.sections[i])) {
            return false;
        }
    }
    bool parts = (message.flags & SPOOL_MESSAGE_PARTS) != 0;
    if (!(parts ? parts_get(record, &message) : body_get(record, &message))) {
        return false;
    }
    *message_out = message;
    return message.sections[SECTION_DOTS].size % 4 == 0 &&
           message.sections[SECTION_CUTS].size % 8 == 0;
}

bool record_message_sound(const struct record_message *message)
{
    struct slice dots = message->sections[SECTION_DOTS];
    uint64_t next = 0;
    for (size_t at = 0; at + 4 <= dots.size; at += 4) {
        uint32_t dot = little_u32(dots.data + at);
        if (dot < next || dot >= message->body_bytes) {
            return false;
        }
        next = (uint64_t)dot + 1;
    }
    struct slice cuts = message->sections[SECTION_CUTS];
    uint64_t end = 0;
    for (size_t at = 0; at + 8 <= cuts.size; at += 8) {
        uint64_t begin = little_u32(cuts.data + at);
        if (begin < end) {
            return false;
        }
        end = begin + little_u32(cuts.data + at + 4);
        if (end > message->body_bytes) {
            return false;
        }
    }
    return true;
}

bool record_body_get(const struct record *record, uint64_t *body_bytes_out,
                     XXH128_hash_t *hash_out)
{
    if (record->kind != RECORD_BODY || record->head.size != RECORD_BODY_BYTES) {
        return false;
    }
    const uint8_t *at = record->head.data;
    *hash_out = (XXH128_hash_t){.low64 = little_u64(at + 24), .high64 = little_u64(at + 32)};
    *body_bytes_out = little_u64(at + 40);
    return *body_bytes_out <= record->bytes - RECORD_BODY_BYTES;
}

bool record_void_get(const struct record *record, struct spool_location *message_out)
{
    if (record->kind != RECORD_VOID || record->head.size != RECORD_VOID_BYTES) {
        return false;
    }
    const uint8_t *at = record->head.data + RECORD_HEAD_BYTES;
    *message_out = (struct spool_location){.segment = little_u32(at),
                                           .offset_64 = little_u32(at + 4)};
    return true;
}

bool record_cursor_get(const struct record *record, struct spool_position *cursor_out)
{
    if (record->kind != RECORD_CURSOR || record->head.size != RECORD_CURSOR_BYTES) {
        return false;
    }
    const uint8_t *at = record->head.data + RECORD_HEAD_BYTES;
    *cursor_out = (struct spool_position){
        .sequence = little_u64(at),
        .group = {.segment = little_u32(at + 8), .offset_64 = little_u32(at + 12)},
    };
    return true;
}

bool record_event_get(struct slice payload, struct record_event *event_out,
                      struct slice *rest_out)
{
    if (payload.size < RECORD_EVENT_BYTES) {
        return false;
    }
    *event_out = (struct record_event){
        .event_sequence = little_u64(payload.data),
        .wall_ns = little_u64(payload.data + 8),
        .count = little_u32(payload.data + 16),
    };
    *rest_out = slice_skip(payload, RECORD_EVENT_BYTES);
    return true;
}

struct slice record_payload(const struct record *record)
{
    return slice_skip(record->head, RECORD_HEAD_BYTES);
}

bool record_body_matches(const struct record *record)
{
    XXH128_hash_t hash;
    uint64_t size;
    if (record->kind == RECORD_BODY) {
        if (!record_body_get(record, &size, &hash)) {
            return false;
        }
    } else if (record->kind == RECORD_MESSAGE) {
        struct record_message message;
        if (!record_message_get(record, &message)) {
            return false;
        }
        if ((message.flags & SPOOL_MESSAGE_PARTS) != 0) {
            return true;
        }
        size = message.body_bytes;
        hash = message.body_hash;
    } else {
        return true;
    }
    return size <= record->tail.size &&
           XXH128_isEqual(XXH3_128bits(record->tail.data, size), hash) != 0;
}
