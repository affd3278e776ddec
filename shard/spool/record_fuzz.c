/*
 * Any bytes as a group, as a segment page and as a single record. The first byte chooses: with bit
 * 0 set the checksums are made right first, so that what lies behind them is reached.
 */
#include "shard/spool/record.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/little.h"

#define UUID     0xFEEDFACECAFEBEEFull
#define SEQUENCE 41

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Seals what looks like a record at every multiple of 8. */
static void seal_all(uint8_t *group, size_t size)
{
    for (size_t at = RECORD_GROUP_BYTES; at + RECORD_HEAD_BYTES <= size; at += 8) {
        uint32_t head;
        uint32_t bytes;
        if (record_peek(slice_make(group + at, size - at), &head, &bytes) && head <= size - at) {
            record_seal(group + at, SEQUENCE, UUID);
        }
    }
}

static void look_at(const struct record *record)
{
    struct record_message message;
    struct spool_location location;
    XXH128_hash_t hash;
    uint64_t bytes;
    CHECK(record->head.size >= RECORD_HEAD_BYTES);
    CHECK(record->head.size + record->tail.size <= record->bytes);
    if (record_message_get(record, &message)) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < SECTIONS; i++) {
            for (size_t at = 0; message.sections[i].data != NULL && at < message.sections[i].size;
                 at++) {
                sum += message.sections[i].data[at];
            }
        }
        bool sound = record_message_sound(&message);
        CHECK(sum < UINT64_MAX && (sound || !sound));
    }
    if (record_body_get(record, &bytes, &hash)) {
        CHECK(bytes <= record->bytes);
    }
    struct record_event event;
    struct slice rest;
    if (record_event_get(record_payload(record), &event, &rest)) {
        CHECK(rest.size + RECORD_EVENT_BYTES == record_payload(record).size);
    }
    bool matches = record_body_matches(record) && record_void_get(record, &location);
    CHECK(!matches || record->kind == RECORD_VOID);
    CHECK(record_payload(record).size <= record->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record_segment segment;
    struct record_group group;
    struct record record;
    if (size < 1) {
        return 0;
    }
    uint8_t *bytes = malloc(size - 1);
    CHECK(bytes != NULL || size == 1);
    if (size > 1) {
        memcpy(bytes, data + 1, size - 1);
    }
    struct slice all = slice_make(bytes, size - 1);
    if ((data[0] & 1) != 0) {
        seal_all(bytes, all.size);
    }
    bool known = record_segment_get(all, &segment) && segment.version == RECORD_VERSION;
    known = record_group_get(all, UUID, &group) && group.version == RECORD_VERSION && known;
    if (record_at(all, UUID, &record)) {
        look_at(&record);
    }
    struct record_cursor cursor;
    record_open(&cursor, all, UUID, SEQUENCE);
    uint32_t end = RECORD_GROUP_BYTES;
    for (enum record_step step = record_next(&cursor, &record); step != RECORD_END;
         step = record_next(&cursor, &record)) {
        CHECK(record.offset >= end && record.bytes > 0);
        end = record.offset + record.bytes;
        CHECK(end <= all.size);
        if (step == RECORD_FOUND) {
            look_at(&record);
        }
    }
    free(bytes);
    return 0;
}
