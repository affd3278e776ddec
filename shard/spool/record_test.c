#include "shard/spool/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/little.h"
#include "shard/spool/spool.h"

#define UUID     0xFEEDFACECAFEBEEFull
#define SEQUENCE 41

static const char body_text[] = "Subject: x\r\n\r\n.one line\r\n";

/* A group as the spool writes it, with one record of the kinds in use. */
struct sample {
    _Alignas(64) uint8_t bytes[4096];
    size_t size;
    unsigned records;
    uint32_t offsets[8];
};

static void sample_add(struct sample *sample, uint32_t bytes)
{
    sample->offsets[sample->records++] = (uint32_t)sample->size;
    record_seal(sample->bytes + sample->size, SEQUENCE, UUID);
    sample->size += bytes;
}

static void sample_message(struct sample *sample, uint16_t flags, struct slice body)
{
    uint8_t dots[4] = {14};
    uint8_t cuts[8] = {0, 0, 0, 0, 12};
    struct record_message message = {
        .id = {.bytes = {1, 2, 3, [15] = 0xff}},
        .created_ns = 1790000000000000001ull,
        .event_sequence = 77,
        .flags = flags,
        .recipient_count = 2,
        .body_hash = XXH3_128bits(body.data, body.size),
        .sections = {[SECTION_ENVELOPE] = SLICE("envelope"), [SECTION_METADATA] = SLICE("m"),
                     [SECTION_PREPEND] = SLICE("Received: here\r\n"), [SECTION_BODY] = body,
                     [SECTION_DOTS] = {dots, 4}, [SECTION_CUTS] = {cuts, 8}},
    };
    uint64_t sizes[SECTIONS];
    for (unsigned i = 0; i < SECTIONS; i++) {
        sizes[i] = message.sections[i].size;
    }
    struct record_message_size size = record_message_size(sizes, flags);
    sample->size = align_up(sample->size, RECORD_PLACE_BYTES);
    uint8_t *out = sample->bytes + sample->size;
    record_message_put(out, &message, &size);
    for (unsigned i = 0; i < SECTIONS; i++) {
        memcpy(out + size.offsets[i], message.sections[i].data, sizes[i]);
    }
    sample_add(sample, (uint32_t)size.bytes);
}

static void sample_init(struct sample *sample)
{
    *sample = (struct sample){.size = RECORD_GROUP_BYTES};
    struct slice body = slice_make(body_text, sizeof(body_text) - 1);
    uint8_t *at = sample->bytes + sample->size;
    sample_add(sample, record_put(at, RECORD_OUTCOME, SLICE("thirteen byte")));
    sample_message(sample, SPOOL_MESSAGE_8BIT, body);
    at = sample->bytes + sample->size;
    sample_add(sample, record_put_void(at, (struct spool_location){.segment = 3, .offset_64 = 64}));
    sample->size = align_up(sample->size, RECORD_PLACE_BYTES);
    at = sample->bytes + sample->size;
    record_body_put(at, body.size, XXH3_128bits(body.data, body.size));
    memcpy(at + RECORD_BODY_BYTES, body.data, body.size);
    sample_add(sample, (uint32_t)(RECORD_BODY_BYTES + align_up(body.size, 8)));
    struct spool_part part = {.location = {.segment = 1, .offset_64 = 2}, .size = 300};
    sample_message(sample, SPOOL_MESSAGE_PARTS, slice_make(&part, sizeof(part)));
    struct record_group group = {
        .version = RECORD_VERSION, .lane = 2, .segment = 5, .bytes = (uint32_t)sample->size,
        .sequence = SEQUENCE, .durable_before = SEQUENCE, .records = sample->records,
        .log_first = 4, .void_from = 40, .wall_ns = 99,
    };
    record_group_put(sample->bytes, &group, UUID);
}

/* How many records of the sample are found, all unchanged; damaged stretches in `bad_out`. */
static unsigned sample_count(const struct sample *original, struct slice bytes, unsigned *bad_out)
{
    struct record_cursor cursor;
    struct record record;
    unsigned found = 0;
    *bad_out = 0;
    record_open(&cursor, bytes, UUID, SEQUENCE);
    for (enum record_step step = record_next(&cursor, &record); step != RECORD_END;
         step = record_next(&cursor, &record)) {
        if (step == RECORD_DAMAGED) {
            (*bad_out)++;
            continue;
        }
        if (!record_body_matches(&record)) {
            (*bad_out)++;
            continue;
        }
        assert_memory_equal(record.head.data, original->bytes + record.offset, record.head.size);
        found++;
    }
    return found;
}

static void headers_come_back_as_they_were_put(void **state)
{
    (void)state;
    uint8_t page[RECORD_SEGMENT_BYTES];
    struct record_segment segment = {.version = 1, .lane = 7, .number = 12, .uuid = UUID,
                                     .wall_ns = 5, .sequence = 6, .event_sequence = 8,
                                     .log_first = 9, .boot = 10};
    record_segment_put(page, &segment);
    struct record_segment again;
    assert_true(record_segment_get(slice_make(page, sizeof(page)), &again));
    assert_memory_equal(&again, &segment, sizeof(segment));
    for (size_t bit = 0; bit < sizeof(page) * 8; bit++) {
        page[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(record_segment_get(slice_make(page, sizeof(page)), &again));
        page[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_false(record_segment_get(slice_make(page, sizeof(page) - 1), &again));

    struct sample sample;
    sample_init(&sample);
    struct record_group group;
    assert_true(record_group_get(slice_make(sample.bytes, 64), UUID, &group));
    assert_int_equal(group.sequence, SEQUENCE);
    assert_int_equal(group.segment, 5);
    assert_int_equal(group.void_from, 40);
    assert_int_equal(group.records, 5);
    assert_false(record_group_get(slice_make(sample.bytes, 64), UUID + 1, &group));
    assert_false(record_group_get(slice_make(sample.bytes, 63), UUID, &group));
    for (size_t bit = 0; bit < 64 * 8; bit++) {
        sample.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(record_group_get(slice_make(sample.bytes, 64), UUID, &group));
        sample.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    group.bytes = RECORD_GROUP_BYTES_MAX + 8;
    record_group_put(sample.bytes, &group, UUID);
    assert_false(record_group_get(slice_make(sample.bytes, 64), UUID, &group));
}

static void records_come_back_as_they_were_put(void **state)
{
    (void)state;
    struct sample sample;
    sample_init(&sample);
    struct record_cursor cursor;
    struct record record;
    record_open(&cursor, slice_make(sample.bytes, sample.size), UUID, SEQUENCE);

    assert_int_equal(record_next(&cursor, &record), RECORD_FOUND);
    assert_int_equal(record.kind, RECORD_OUTCOME);
    assert_true(slice_equal(record_payload(&record), SLICE("thirteen byte")));

    assert_int_equal(record_next(&cursor, &record), RECORD_FOUND);
    assert_int_equal(record.offset % RECORD_PLACE_BYTES, 0);
    struct record_message message;
    assert_true(record_message_get(&record, &message));
    assert_int_equal(message.id.bytes[15], 0xff);
    assert_int_equal(message.created_ns, 1790000000000000001ull);
    assert_int_equal(message.event_sequence, 77);
    assert_int_equal(message.flags, SPOOL_MESSAGE_8BIT);
    assert_int_equal(message.recipient_count, 2);
    assert_int_equal(message.body_bytes, sizeof(body_text) - 1);
    assert_true(slice_equal(message.sections[SECTION_BODY], slice_from_string(body_text)));
    assert_true(slice_equal(message.sections[SECTION_ENVELOPE], SLICE("envelope")));
    assert_true(slice_equal(message.sections[SECTION_PREPEND], SLICE("Received: here\r\n")));
    assert_int_equal(little_u32(message.sections[SECTION_DOTS].data), 14);
    assert_true(record_message_sound(&message));
    assert_true(record_body_matches(&record));

    struct spool_location place;
    assert_int_equal(record_next(&cursor, &record), RECORD_FOUND);
    assert_true(record_void_get(&record, &place));
    assert_int_equal(place.segment, 3);
    assert_int_equal(place.offset_64, 64);

    XXH128_hash_t hash;
    uint64_t size;
    assert_int_equal(record_next(&cursor, &record), RECORD_FOUND);
    assert_int_equal(record.offset % RECORD_PLACE_BYTES, 0);
    assert_true(record_body_get(&record, &size, &hash));
    assert_int_equal(size, sizeof(body_text) - 1);
    assert_false(record_message_get(&record, &message));

    assert_int_equal(record_next(&cursor, &record), RECORD_FOUND);
    assert_true(record_message_get(&record, &message));
    assert_int_equal(message.body_bytes, 300);
    assert_int_equal(message.sections[SECTION_BODY].size, sizeof(struct spool_part));
    assert_int_equal(record_next(&cursor, &record), RECORD_END);
    assert_int_equal(record_next(&cursor, &record), RECORD_END);
}

static void the_head_of_an_event_comes_back_with_what_follows_it(void **state)
{
    (void)state;
    uint8_t payload[RECORD_EVENT_BYTES + 5];
    _Alignas(8) uint8_t bytes[RECORD_HEAD_BYTES + sizeof(payload) + 8];
    const struct record_event put = {.event_sequence = 77ull << 40, .wall_ns = 5, .count = 70000};
    struct record_event event;
    struct record record;
    struct slice rest;
    record_event_put(payload, &put);
    memcpy(payload + RECORD_EVENT_BYTES, "words", 5);
    for (size_t size = 0; size <= sizeof(payload); size++) {
        uint32_t whole = record_put(bytes, RECORD_EVENT, slice_make(payload, size));
        record_seal(bytes, SEQUENCE, UUID);
        assert_true(record_at(slice_make(bytes, whole), UUID, &record));
        assert_int_equal(record.flags, 0); /* who does not know it may not pass it over */
        assert_int_equal(record_event_get(record_payload(&record), &event, &rest),
                         size >= RECORD_EVENT_BYTES);
    }
    assert_true(slice_equal(rest, SLICE("words")));
    assert_int_equal(event.event_sequence, put.event_sequence);
    assert_int_equal(event.wall_ns, put.wall_ns);
    assert_int_equal(event.count, put.count);
}

static void b01_a_group_cut_anywhere_gives_the_records_before_the_cut(void **state)
{
    (void)state;
    struct sample sample;
    sample_init(&sample);
    for (size_t size = RECORD_GROUP_BYTES; size <= sample.size; size++) {
        uint8_t *exact = malloc(size);
        assert_non_null(exact);
        memcpy(exact, sample.bytes, size);
        unsigned whole = 0;
        while (whole < sample.records &&
               (whole + 1 < sample.records ? sample.offsets[whole + 1] : sample.size) <= size) {
            whole++;
        }
        unsigned bad;
        unsigned found = sample_count(&sample, slice_make(exact, size), &bad);
        assert_in_range(found, whole, whole + 1); /* padding may be cut off */
        free(exact);
    }
}

static void b02_one_flipped_bit_costs_at_most_the_record_it_hits(void **state)
{
    (void)state;
    struct sample sample;
    sample_init(&sample);
    struct sample copy = sample;
    for (size_t bit = RECORD_GROUP_BYTES * 8; bit < sample.size * 8; bit++) {
        copy.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        unsigned bad;
        unsigned found = sample_count(&sample, slice_make(copy.bytes, sample.size), &bad);
        assert_in_range(found, sample.records - 1, sample.records);
        copy.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void b04_stale_and_foreign_records_are_refused(void **state)
{
    (void)state;
    struct sample sample;
    sample_init(&sample);
    struct record_cursor cursor;
    struct record record;
    record_open(&cursor, slice_make(sample.bytes, sample.size), UUID, SEQUENCE + 1);
    assert_int_equal(record_next(&cursor, &record), RECORD_DAMAGED);
    assert_int_equal(record_next(&cursor, &record), RECORD_END);
    record_open(&cursor, slice_make(sample.bytes, sample.size), UUID + 1, SEQUENCE);
    assert_int_equal(record_next(&cursor, &record), RECORD_DAMAGED);
    assert_int_equal(record_next(&cursor, &record), RECORD_END);
}

static void b03_lengths_are_checked_before_they_are_used(void **state)
{
    (void)state;
    static const struct {
        uint32_t at; /* in the first MESSAGE */
        uint32_t value;
    } rows[] = {
        {12, 0},          {12, 16},         {12, UINT32_MAX}, {16, 0},           {16, UINT32_MAX},
        {16, 0x80000008}, {80, 8},          {80, 0x7FFFFFFF}, {84, 0xFFFFFFFF},  {104, 0},
        {108, 0xFFFF},    {116, 3},         {124, 7},         {60, 0},           {60, 7},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sample sample;
        sample_init(&sample);
        uint8_t *at = sample.bytes + sample.offsets[1];
        uint32_t head = little_u32(at + 12);
        little_put_u32(at + rows[i].at, rows[i].value);
        if (rows[i].at != 12 || rows[i].value < 16) {
            little_put_u64(at, XXH3_64bits_withSeed(at + 8, head - 8, UUID));
        }
        struct record record;
        struct record_message message;
        struct slice bytes = slice_make(at, sample.size - sample.offsets[1]);
        assert_false(record_at(bytes, UUID, &record) && record_message_get(&record, &message));
    }
}

static void b05_dots_and_cuts_outside_the_body_are_not_sound(void **state)
{
    (void)state;
    static const struct {
        uint32_t dots[2];
        uint32_t cuts[4];
        bool sound;
    } rows[] = {
        {{0, 99}, {0, 10, 10, 90}, true},  {{5, 5}, {0, 10, 10, 90}, false},
        {{0, 100}, {0, 10, 10, 90}, false}, {{0, 99}, {0, 10, 9, 1}, false},
        {{0, 99}, {0, 10, 50, 51}, false},  {{0, 99}, {0, 0, UINT32_MAX, UINT32_MAX}, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct record_message message = {
            .body_bytes = 100,
            .sections = {[SECTION_DOTS] = slice_make(rows[i].dots, 8),
                         [SECTION_CUTS] = slice_make(rows[i].cuts, 16)},
        };
        assert_int_equal(record_message_sound(&message), rows[i].sound);
    }
}

static void a_withdrawn_record_is_passed_over(void **state)
{
    (void)state;
    struct sample sample;
    sample_init(&sample);
    uint8_t *at = sample.bytes + sample.offsets[1];
    record_withdraw(at);
    record_seal(at, SEQUENCE, UUID);
    struct record record;
    struct record_message message;
    assert_true(record_at(slice_make(at, sample.size - sample.offsets[1]), UUID, &record));
    assert_int_equal(record.kind, RECORD_NOTHING);
    assert_true((record.flags & RECORD_SKIPPABLE) != 0);
    assert_false(record_message_get(&record, &message));
    assert_true(record_body_matches(&record));
}

/* One without a body; false: it is not taken. */
static bool rebound_get(uint16_t flags, struct record_message *message_out)
{
    static uint8_t bytes[1024];
    struct record record;
    const struct record_message message = {
        .event_sequence = 1ull << 51, .flags = flags, .recipient_count = 3,
        .moved_from = {.segment = 8, .offset_64 = 9},
        .sections = {[SECTION_ENVELOPE] = SLICE("envelope"), [SECTION_METADATA] = SLICE("m")}};
    uint64_t sizes[SECTIONS];
    memset(bytes, 0, sizeof(bytes));
    for (unsigned i = 0; i < SECTIONS; i++) {
        sizes[i] = message.sections[i].size;
    }
    struct record_message_size size = record_message_size(sizes, flags);
    record_message_put(bytes, &message, &size);
    memcpy(bytes + size.offsets[SECTION_ENVELOPE], "envelope", 8);
    memcpy(bytes + size.offsets[SECTION_METADATA], "m", 1);
    record_seal(bytes, SEQUENCE, UUID);
    return record_at(slice_make(bytes, size.bytes), UUID, &record) &&
           record_message_get(&record, message_out);
}

static void a_message_that_is_rebound_has_its_former_place_and_an_event_sequence(void **state)
{
    static const struct {
        uint16_t flags;
        uint64_t event_sequence;
        uint32_t segment;
    } rows[] = {
        {0, 1ull << 51, 0},
        {SPOOL_MESSAGE_MOVED, 0, 8},
        {SPOOL_MESSAGE_MOVED | SPOOL_MESSAGE_REBOUND, 1ull << 51, 8},
    };
    struct record_message message;
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        assert_true(rebound_get(rows[i].flags, &message));
        assert_int_equal(message.event_sequence, rows[i].event_sequence);
        assert_int_equal(message.moved_from.segment, rows[i].segment);
        assert_true(slice_equal(message.sections[SECTION_ENVELOPE], SLICE("envelope")));
        assert_true(slice_equal(message.sections[SECTION_METADATA], SLICE("m")));
    }
}

int main(int argc, char **argv)
{
    /* record_test CORPUS_FILE writes a seed for the fuzz target. */
    if (argc == 2) {
        struct sample sample;
        sample_init(&sample);
        FILE *file = fopen(argv[1], "wb");
        if (file == NULL || fputc(0, file) == EOF ||
            fwrite(sample.bytes, 1, sample.size, file) != sample.size) {
            return 1;
        }
        return fclose(file);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_come_back_as_they_were_put),
        cmocka_unit_test(records_come_back_as_they_were_put),
        cmocka_unit_test(the_head_of_an_event_comes_back_with_what_follows_it),
        cmocka_unit_test(b01_a_group_cut_anywhere_gives_the_records_before_the_cut),
        cmocka_unit_test(b02_one_flipped_bit_costs_at_most_the_record_it_hits),
        cmocka_unit_test(b03_lengths_are_checked_before_they_are_used),
        cmocka_unit_test(b04_stale_and_foreign_records_are_refused),
        cmocka_unit_test(b05_dots_and_cuts_outside_the_body_are_not_sound),
        cmocka_unit_test(a_withdrawn_record_is_passed_over),
        cmocka_unit_test(a_message_that_is_rebound_has_its_former_place_and_an_event_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
