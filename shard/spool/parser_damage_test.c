/* What becomes of a log that was cut, spoiled, lied in or used before. */
#include "shard/spool/parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/little.h"
#include "core/prng.h"
#include "tests/kit/spool_log.h"

#define UUID        0xFEEDFACECAFEBEEFull
#define LANE        2
#define CHUNK_BYTES (64 * KIB)
#define RECORDS_MAX 32

/* What was read. */
struct found {
    unsigned groups;
    unsigned records;
    unsigned torn;
    uint64_t lost; /* records of damages; 1 for missing groups */
    unsigned altered; /* delivered, though not what was written, and nothing shows it */
    bool newer;
    uint64_t sequences[RECORDS_MAX]; /* of the groups that counted */
};

struct rig {
    struct spool_log log;
    uint8_t *original; /* of the last segment */
    void *memory;
};

static const struct log_parser_options options = {
    .uuid = UUID, .lane = LANE, .chunk_bytes = CHUNK_BYTES, .reads = 1};

static void rig_body(struct rig *rig, uint32_t number, size_t bytes)
{
    uint8_t body[8 * KIB];
    struct slice sections[SECTIONS] = {
        [SECTION_ENVELOPE] = SLICE("envelope"), [SECTION_METADATA] = SLICE("meta"),
        [SECTION_PREPEND] = SLICE("Received: here\r\n"),
        [SECTION_BODY] = slice_make(body, bytes)};
    memset(body, (int)('a' + number % 26), bytes);
    spool_log_message(&rig->log, number, sections);
}

/* Four groups, the third with every kind; each was durable when the next was written. */
static void rig_open(struct rig *rig)
{
    spool_log_init(&rig->log, UUID, LANE, 32 * KIB);
    spool_log_segment(&rig->log, 5, 1);
    for (uint64_t sequence = 1; sequence <= 4; sequence++) {
        spool_log_group(&rig->log, sequence, sequence, 0);
        rig_body(rig, (uint32_t)sequence, 100);
        if (sequence == 3) {
            struct spool_location message = {.segment = 5, .offset_64 = 65};
            spool_log_outcome(&rig->log, message);
            spool_log_void(&rig->log, message);
            spool_log_body(&rig->log, SLICE("a piece of a body"));
            rig_body(rig, 9, 5000);
        }
        spool_log_seal(&rig->log);
    }
    rig->original = malloc(32 * KIB);
    assert_non_null(rig->original);
    memcpy(rig->original, rig->log.segments[0].bytes, 32 * KIB);
    rig->memory = malloc(log_parser_bytes(&options));
    assert_non_null(rig->memory);
}

static void rig_close(struct rig *rig)
{
    spool_log_fini(&rig->log);
    free(rig->original);
    free(rig->memory);
}

static uint8_t *rig_bytes(struct rig *rig)
{
    return rig->log.segments[0].bytes;
}

static void rig_restore(struct rig *rig)
{
    memcpy(rig_bytes(rig), rig->original, 32 * KIB);
}

/* A record says what was written, or its body does not match its hash any more. */
static bool unaltered(const struct rig *rig, const struct log_item *item)
{
    const struct record *record = &item->record;
    const uint8_t *was = rig->original + item->offset;
    XXH128_hash_t hash;
    uint64_t body_bytes = 0; /* what follows is padding */
    if (record->kind == RECORD_MESSAGE) {
        body_bytes = item->is.message.body_bytes;
    } else if (record->kind == RECORD_BODY) {
        assert_true(record_body_get(record, &body_bytes, &hash));
    }
    return memcmp(was, record->head.data, record->head.size) == 0 &&
           (!record_body_matches(record) ||
            memcmp(was + record->head.size, record->tail.data, body_bytes) == 0);
}

static void rig_item(const struct rig *rig, const struct log_item *item, struct found *found)
{
    switch (item->step) {
    case LOG_GROUP:
        found->sequences[found->groups++ % RECORDS_MAX] = item->group->sequence;
        break;
    case LOG_RECORD:
        found->records++;
        found->altered += unaltered(rig, item) ? 0 : 1;
        break;
    case LOG_TORN:
        found->torn++;
        break;
    case LOG_DAMAGE:
        found->lost += MAX_OF(item->records, 1);
        break;
    case LOG_NEWER:
        found->newer = true;
        break;
    case LOG_MORE:
    case LOG_END:
        break;
    }
}

static struct found rig_read(const struct rig *rig, size_t size)
{
    struct found found = {0};
    struct log_parser parser;
    struct log_item item;
    const struct spool_log_segment *segment = &rig->log.segments[0];
    log_parser_init(&parser, &options, rig->memory);
    log_parser_start(&parser, 1, 0);
    log_parser_segment(&parser, segment->number, RECORD_PAGE_BYTES);
    uint8_t *place = log_parser_place(&parser);
    size = MAX_OF(size, (size_t)RECORD_PAGE_BYTES) - RECORD_PAGE_BYTES;
    memset(place, 0, CHUNK_BYTES);
    memcpy(place, segment->bytes + RECORD_PAGE_BYTES, size);
    /* What the file lacks of its last page is zeros. */
    log_parser_take(&parser, (uint32_t)align_up(size, RECORD_PAGE_BYTES));
    while (log_parser_next(&parser, &item) != LOG_MORE && item.step != LOG_NEWER) {
        rig_item(rig, &item, &found);
    }
    if (item.step == LOG_MORE) {
        log_parser_segment_end(&parser);
        log_parser_end(&parser);
        while (log_parser_next(&parser, &item) != LOG_END && item.step != LOG_NEWER) {
            rig_item(rig, &item, &found);
        }
    }
    found.newer = item.step == LOG_NEWER;
    return found;
}

/* Bytes `begin` to `end`: a cut through zeros changes nothing. */
static bool all_zero(const uint8_t *bytes, size_t begin, size_t end)
{
    while (begin < end && bytes[begin] == 0) {
        begin++;
    }
    return begin >= end;
}

/* --- cuts and flips --------------------------------------------------------------------------- */

static void b01_cut_at_any_byte_everything_before_the_cut_is_there(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (size_t cut = 0; cut <= rig.log.segments[0].size; cut++) {
        struct found found = rig_read(&rig, cut);
        unsigned groups = 0;
        unsigned records = 0;
        bool begun = false;
        for (size_t at = RECORD_PAGE_BYTES; at < rig.log.segments[0].size;) {
            struct record_group group;
            assert_true(record_group_get(slice_make(rig.original + at, 64), UUID, &group));
            bool whole = at + group.bytes <= cut || all_zero(rig.original, cut, at + group.bytes);
            begun = begun || (!whole && at + RECORD_GROUP_BYTES <= cut);
            groups += whole ? 1 : 0;
            records += whole ? group.records : 0;
            at += align_up(group.bytes, RECORD_PAGE_BYTES);
        }
        assert_int_equal(found.groups, groups);
        assert_int_equal(found.records, records);
        assert_int_equal(found.altered, 0);
        /* Nobody was told of what was cut through: no damage. */
        assert_int_equal(found.torn, begun ? 1 : 0);
        assert_int_equal(found.lost, 0);
    }
    rig_close(&rig);
}

static void b02_any_bit_flipped_costs_at_most_its_record_or_group_and_alters_nothing(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    unsigned records = rig_read(&rig, rig.log.segments[0].size).records;
    assert_int_equal(records, 8);
    for (size_t at = RECORD_PAGE_BYTES; at < rig.log.segments[0].size;) {
        struct record_group group;
        assert_true(record_group_get(slice_make(rig.original + at, 64), UUID, &group));
        for (size_t bit = 0; bit < (size_t)group.bytes * 8; bit++) {
            rig_bytes(&rig)[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
            struct found found = rig_read(&rig, rig.log.segments[0].size);
            bool header = bit / 8 < RECORD_GROUP_BYTES;
            bool last = group.sequence == 4;
            assert_int_equal(found.altered, 0);
            assert_in_range(records - found.records, 0, header || last ? group.records : 1);
            /* Whatever is missing is named, unless it may be torn. */
            assert_true(found.records == records || found.lost > 0 || last);
            rig_bytes(&rig)[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        at += align_up(group.bytes, RECORD_PAGE_BYTES);
    }
    rig_close(&rig);
}

/* --- lies ------------------------------------------------------------------------------------- */

/* A GROUP header that checks, with a length of no sense. */
static void b03_a_group_of_impossible_length_costs_itself_alone(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {0, 1, 63, RECORD_GROUP_BYTES_MAX + 1, 0x7FFFFFFF,
                                       0x80000000, UINT32_MAX};
    struct rig rig;
    rig_open(&rig);
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        struct record_group group;
        uint8_t *second = rig_bytes(&rig) + 2 * RECORD_PAGE_BYTES;
        assert_true(record_group_get(slice_make(second, 64), UUID, &group));
        group.bytes = lengths[i];
        record_group_put(second, &group, UUID);
        struct found found = rig_read(&rig, rig.log.segments[0].size);
        assert_int_equal(found.groups, 3);
        assert_int_equal(found.records, 7);
        assert_int_equal(found.lost, 1);
        rig_restore(&rig);
    }
    rig_close(&rig);
}

/* A group as long as the file allows hides what stands in its bytes, and nothing behind. */
static void b03_a_group_longer_than_it_is_hides_what_it_covers(void **state)
{
    (void)state;
    struct rig rig;
    struct record_group group;
    rig_open(&rig);
    uint8_t *first = rig_bytes(&rig) + RECORD_PAGE_BYTES;
    assert_true(record_group_get(slice_make(first, 64), UUID, &group));
    group.bytes = 2 * RECORD_PAGE_BYTES;
    record_group_put(first, &group, UUID);
    struct found found = rig_read(&rig, rig.log.segments[0].size);
    assert_int_equal(found.sequences[0], 1);
    assert_int_equal(found.sequences[1], 3);
    assert_int_equal(found.groups, 3);
    assert_int_equal(found.records, 7);
    assert_int_equal(found.altered, 0);
    assert_true(found.lost > 0);

    group.bytes = RECORD_GROUP_BYTES_MAX;
    record_group_put(first, &group, UUID);
    found = rig_read(&rig, rig.log.segments[0].size);
    /* Its end is not there: it was never written whole. */
    assert_int_equal(found.groups, 0);
    assert_int_equal(found.torn, 1);
    rig_close(&rig);
}

/* The head of a record checks, and its lengths make no sense. */
static void b03_a_record_of_impossible_length_costs_itself_alone(void **state)
{
    (void)state;
    static const struct {
        uint32_t head;
        uint32_t bytes;
    } lengths[] = {{0, 0}, {23, 240}, {240, 0}, {UINT32_MAX, UINT32_MAX}, {24, UINT32_MAX - 7},
                   {24, 25}, {128, RECORD_GROUP_BYTES_MAX + 8}, {128, 0x80000000}, {24, 8192}};
    struct rig rig;
    rig_open(&rig);
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        uint8_t *record = rig_bytes(&rig) + 2 * RECORD_PAGE_BYTES + RECORD_GROUP_BYTES;
        uint32_t head = lengths[i].head;
        little_put_u32(record + 12, head);
        little_put_u32(record + 16, lengths[i].bytes);
        if (head >= RECORD_HEAD_BYTES && head < RECORD_PAGE_BYTES) {
            spool_log_reseal(&rig.log, record, 2);
        }
        struct found found = rig_read(&rig, rig.log.segments[0].size);
        assert_int_equal(found.groups, 4);
        assert_int_equal(found.records, 7);
        assert_int_equal(found.lost, 1);
        rig_restore(&rig);
    }
    rig_close(&rig);
}

/* --- what was there before -------------------------------------------------------------------- */

/* The file held another segment before: its groups stand behind ours, and whole. */
static void b04_groups_of_an_earlier_use_of_the_file_are_not_read(void **state)
{
    (void)state;
    static const struct {
        uint64_t uuid;
        uint32_t number;
        uint64_t sequence;
        uint16_t lane;
    } stale[] = {{UUID, 4, 5, LANE}, {UUID, 4, 2, LANE}, {UUID + 1, 5, 5, LANE},
                 {UUID, 5, 5, LANE + 1}, {UUID, 5, 3, LANE}, {UUID, 5, 4, LANE}};
    for (size_t i = 0; i < COUNT_OF(stale); i++) {
        struct rig rig;
        rig_open(&rig);
        struct spool_log old;
        spool_log_init(&old, stale[i].uuid, stale[i].lane, 32 * KIB);
        spool_log_segment(&old, stale[i].number, 1);
        spool_log_group(&old, stale[i].sequence, stale[i].sequence, 0);
        spool_log_body(&old, SLICE("of long ago"));
        size_t at = spool_log_seal(&old);
        size_t end = rig.log.segments[0].size;
        memcpy(rig_bytes(&rig) + end, old.segments[0].bytes + at, RECORD_PAGE_BYTES);
        struct found found = rig_read(&rig, end + RECORD_PAGE_BYTES);
        assert_int_equal(found.groups, 4);
        assert_int_equal(found.records, 8);
        assert_int_equal(found.lost + found.torn, 0);
        spool_log_fini(&old);
        rig_close(&rig);
    }
}

/* The last group was cut short by a crash; behind the cut stand records of an earlier one. */
static void b04_records_of_an_earlier_use_do_not_complete_a_torn_group(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    size_t end = rig.log.segments[0].size;
    size_t size = rig.log.group.bytes;
    for (size_t cut = RECORD_GROUP_BYTES; cut < size + 64; cut += 8) {
        struct spool_log old;
        spool_log_init(&old, UUID, LANE, 32 * KIB);
        spool_log_segment(&old, 4, 1);
        spool_log_group(&old, 9, 9, 0);
        struct slice sections[SECTIONS] = {[SECTION_BODY] = SLICE("of long ago")};
        spool_log_message(&old, 4, sections);
        spool_log_message(&old, 4, sections);
        size_t at = spool_log_seal(&old);
        struct found before = rig_read(&rig, end);
        memcpy(rig_bytes(&rig) + end - RECORD_PAGE_BYTES + cut, old.segments[0].bytes + at + cut,
               RECORD_PAGE_BYTES - cut);
        struct found found = rig_read(&rig, end);
        assert_int_equal(before.groups, 4);
        assert_int_equal(found.groups, cut < size ? 3 : 4);
        assert_int_equal(found.torn, cut < size ? 1 : 0);
        assert_int_equal(found.altered + found.lost, 0);
        spool_log_fini(&old);
        rig_restore(&rig);
    }
    rig_close(&rig);
}

static void b04_whatever_stands_behind_the_log_is_not_read(void **state)
{
    (void)state;
    struct rig rig;
    struct prng prng;
    rig_open(&rig);
    size_t end = rig.log.segments[0].size;
    prng_seed(&prng, 4);
    for (unsigned round = 0; round < 100; round++) {
        for (size_t at = end; at < 32 * KIB; at++) {
            rig_bytes(&rig)[at] = (uint8_t)prng_next(&prng);
        }
        struct found found = rig_read(&rig, 32 * KIB);
        assert_int_equal(found.records, 8);
        assert_int_equal(found.lost + found.torn, 0);
    }
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(b01_cut_at_any_byte_everything_before_the_cut_is_there),
        cmocka_unit_test(
            b02_any_bit_flipped_costs_at_most_its_record_or_group_and_alters_nothing),
        cmocka_unit_test(b03_a_group_of_impossible_length_costs_itself_alone),
        cmocka_unit_test(b03_a_group_longer_than_it_is_hides_what_it_covers),
        cmocka_unit_test(b03_a_record_of_impossible_length_costs_itself_alone),
        cmocka_unit_test(b04_groups_of_an_earlier_use_of_the_file_are_not_read),
        cmocka_unit_test(b04_records_of_an_earlier_use_do_not_complete_a_torn_group),
        cmocka_unit_test(b04_whatever_stands_behind_the_log_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
