#include "shard/spool/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/little.h"
#include "core/prng.h"

#define UUID       0xFEEDFACECAFEBEEFull
#define LANE       7
#define GENERATION 12
#define ROWS_MAX   ((CHECKPOINT_BLOCK_BYTES - CHECKPOINT_HEADER_BYTES) / CHECKPOINT_ENTRY_BYTES)

static const struct checkpoint_head sample_head = {
    .version = CHECKPOINT_VERSION,
    .lane = LANE,
    .generation = GENERATION,
    .blocks = 3,
    .rows = 1ull << 40,
    .begin = {.sequence = 1ull << 41, .group = {.segment = 4, .offset_64 = 64}},
    .cursor = {.sequence = 1ull << 42, .group = {.segment = 5, .offset_64 = 128}},
    .event_sequence = 1ull << 43,
    .next_segment = 6,
    .boot = 8,
    .wall_ns = 1790000000000000001ull,
};

static const struct checkpoint_row sample_row = {
    .location = {.segment = 0x01020304, .offset_64 = 0x05060708},
    .recipient = 0x0a0b,
    .attempts = 0x0c0d,
    .queue = 0x11121314,
    .due_s = 0x21222324,
    .created_s = 0x31323334,
    .size_64 = 0x41424344,
    .urgent = 1,
    .scheduled = 1,
};

static const struct checkpoint_segment sample_segment = {
    .number = 0x51525354, .slot = 0x61626364, .lane = 0x7172, .lane_number = 0x8182,
    .rows_total = 0x91929394,
};

/* A block and what was put into it. */
struct rig {
    uint8_t *data;
    struct checkpoint_block block;
};

static int rig_open(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    rig->data = malloc(CHECKPOINT_BLOCK_BYTES);
    assert_non_null(rig->data);
    memset(rig->data, 0xa5, CHECKPOINT_BLOCK_BYTES);
    checkpoint_block_begin(&rig->block, rig->data);
    *state = rig;
    return 0;
}

static int rig_close(void **state)
{
    struct rig *rig = *state;
    free(rig->data);
    free(rig);
    return 0;
}

static struct slice rig_seal(struct rig *rig)
{
    checkpoint_block_seal(&rig->block, UUID, LANE, GENERATION, 2);
    return slice_make(rig->data, CHECKPOINT_BLOCK_BYTES);
}

static bool rig_opens(const struct rig *rig, struct checkpoint_cursor *cursor_out)
{
    struct slice bytes = slice_make(rig->data, CHECKPOINT_BLOCK_BYTES);
    return checkpoint_open(bytes, UUID, &sample_head, 2, cursor_out);
}

/* Entries up to the end, or -1. */
static int count_entries(struct checkpoint_cursor cursor)
{
    struct checkpoint_entry entry;
    int count = 0;
    for (;;) {
        int step = checkpoint_next(&cursor, &entry);
        if (step <= 0) {
            return step < 0 ? -1 : count;
        }
        count++;
    }
}

/* Segment numbers 1000, 1001, … */
static struct slice numbers_make(uint32_t count)
{
    uint8_t *numbers = malloc(4 * (size_t)count);
    assert_non_null(numbers);
    for (uint32_t i = 0; i < count; i++) {
        little_put_u32(numbers + 4 * (size_t)i, 1000 + i);
    }
    return slice_make(numbers, 4 * (size_t)count);
}

static void assert_rows_equal(const struct checkpoint_row *a, const struct checkpoint_row *b)
{
    assert_int_equal(a->location.segment, b->location.segment);
    assert_int_equal(a->location.offset_64, b->location.offset_64);
    assert_int_equal(a->recipient, b->recipient);
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->queue, b->queue);
    assert_int_equal(a->due_s, b->due_s);
    assert_int_equal(a->created_s, b->created_s);
    assert_int_equal(a->size_64, b->size_64);
    assert_int_equal(a->urgent, b->urgent);
    assert_int_equal(a->scheduled, b->scheduled);
}

/* --- docs/spool-format.md --------------------------------------------------------------------- */

static void the_bytes_are_those_of_the_page(void **state)
{
    struct rig *rig = *state;
    static const uint8_t row[] = {
        4, 3, 2, 1, 8, 7, 6, 5, 0x0b, 0x0a, 0x0d, 0x0c, 0x14, 0x13, 0x12, 0x11,
        0x24, 0x23, 0x22, 0x21, 0x34, 0x33, 0x32, 0x31, 0x44, 0x43, 0x42, 0x41, 1, 1, 0, 1,
    };
    static const uint8_t queue[64] = {9, 1, 0, 0, 3, 0, 0, 0, [31] = 2, 'q', 'r', 's'};
    static const uint8_t pieces[64] = {4, 3, 2, 1, 8, 7, 6, 5, 1, [31] = 3, 0xe8, 3, 0, 0};
    static const uint8_t segment[32] = {
        0x54, 0x53, 0x52, 0x51, 0x64, 0x63, 0x62, 0x61, 0x72, 0x71, 0, 0, 0x82, 0x81, 0, 0,
        0x94, 0x93, 0x92, 0x91, [31] = 4,
    };
    static const uint8_t header[] = {
        'R', 'p', 'o', 't', 'c', 'k', 'p', '1', 1, 0, LANE, 0, GENERATION, 0, 0, 0, 2, 0, 0, 0,
        0x00, 0x01, 0, 0, [24 + 31] = 0,
    };
    static const uint8_t number[] = {0xe8, 3, 0, 0};
    struct checkpoint_pieces one = {.location = sample_row.location, .count = 1,
                                    .segments = slice_make(number, sizeof(number))};
    assert_true(checkpoint_put_row(&rig->block, &sample_row));
    assert_true(checkpoint_put_queue(&rig->block, 265, SLICE("qrs")));
    assert_true(checkpoint_put_pieces(&rig->block, &one));
    assert_true(checkpoint_put_segment(&rig->block, &sample_segment));
    rig_seal(rig);
    assert_int_equal(little_u64(rig->data),
                     XXH3_64bits_withSeed(rig->data + 8, CHECKPOINT_BLOCK_BYTES - 8, UUID));
    assert_memory_equal(rig->data + 8, header, sizeof(header));
    assert_memory_equal(rig->data + 64, row, sizeof(row));
    assert_memory_equal(rig->data + 96, queue, sizeof(queue));
    assert_memory_equal(rig->data + 160, pieces, sizeof(pieces));
    assert_memory_equal(rig->data + 224, segment, sizeof(segment));
    for (size_t at = 256; at < CHECKPOINT_BLOCK_BYTES; at++) {
        assert_int_equal(rig->data[at], 0);
    }
}

static void the_head_is_that_of_the_page(void **state)
{
    (void)state;
    uint8_t bytes[CHECKPOINT_HEAD_BYTES];
    memset(bytes, 0xa5, sizeof(bytes));
    checkpoint_head_put(bytes, &sample_head, UUID);
    assert_int_equal(little_u64(bytes), XXH3_64bits_withSeed(bytes + 8, sizeof(bytes) - 8, UUID));
    assert_memory_equal(bytes + 8, "Rpotckp1", 8);
    assert_int_equal(little_u16(bytes + 16), CHECKPOINT_VERSION);
    assert_int_equal(little_u16(bytes + 18), LANE);
    assert_int_equal(little_u32(bytes + 20), GENERATION);
    assert_int_equal(little_u32(bytes + 24), 0);
    assert_int_equal(little_u32(bytes + 28), 136);
    assert_int_equal(little_u32(bytes + 64), 3);
    assert_int_equal(little_u32(bytes + 68), 6);
    assert_int_equal(little_u64(bytes + 72), 1ull << 40);
    assert_int_equal(little_u64(bytes + 80), 1ull << 41);
    assert_int_equal(little_u32(bytes + 88), 4);
    assert_int_equal(little_u32(bytes + 92), 64);
    assert_int_equal(little_u64(bytes + 96), 1ull << 42);
    assert_int_equal(little_u32(bytes + 104), 5);
    assert_int_equal(little_u32(bytes + 108), 128);
    assert_int_equal(little_u64(bytes + 112), 1ull << 43);
    assert_int_equal(little_u64(bytes + 120), 1790000000000000001ull);
    assert_int_equal(little_u32(bytes + 128), 8);
    for (size_t at = 132; at < sizeof(bytes); at++) {
        assert_int_equal(bytes[at], 0);
    }
}

/* --- round trips ------------------------------------------------------------------------------ */

static void every_kind_comes_back_as_it_was_put(void **state)
{
    struct rig *rig = *state;
    struct slice numbers = numbers_make(9);
    struct checkpoint_pieces pieces = {
        .location = {.segment = 3, .offset_64 = 4}, .count = 9, .segments = numbers};
    assert_true(checkpoint_put_segment(&rig->block, &sample_segment));
    assert_true(checkpoint_put_pieces(&rig->block, &pieces));
    assert_true(checkpoint_put_queue(&rig->block, 77, SLICE("news:acme@example.com")));
    assert_true(checkpoint_put_row(&rig->block, &sample_row));
    assert_int_equal(rig->block.rows, 1);
    assert_int_equal(rig->block.size, 64 + 32 + (32 + 64) + (32 + 32) + 32);
    rig_seal(rig);

    struct checkpoint_cursor cursor;
    struct checkpoint_entry entry;
    assert_true(rig_opens(rig, &cursor));
    assert_int_equal(checkpoint_next(&cursor, &entry), 1);
    assert_int_equal(entry.kind, CHECKPOINT_SEGMENT);
    assert_int_equal(entry.segment.number, sample_segment.number);
    assert_int_equal(entry.segment.slot, sample_segment.slot);
    assert_int_equal(entry.segment.lane, sample_segment.lane);
    assert_int_equal(entry.segment.lane_number, sample_segment.lane_number);
    assert_int_equal(entry.segment.rows_total, sample_segment.rows_total);
    assert_int_equal(checkpoint_next(&cursor, &entry), 1);
    assert_int_equal(entry.kind, CHECKPOINT_PIECES);
    assert_int_equal(entry.pieces.location.segment, 3);
    assert_int_equal(entry.pieces.location.offset_64, 4);
    assert_int_equal(entry.pieces.count, 9);
    assert_true(slice_equal(entry.pieces.segments, numbers));
    assert_int_equal(checkpoint_next(&cursor, &entry), 1);
    assert_int_equal(entry.kind, CHECKPOINT_QUEUE);
    assert_int_equal(entry.queue.number, 77);
    assert_true(slice_equal(entry.queue.name, SLICE("news:acme@example.com")));
    assert_int_equal(checkpoint_next(&cursor, &entry), 1);
    assert_int_equal(entry.kind, CHECKPOINT_ROW);
    assert_rows_equal(&entry.row, &sample_row);
    assert_int_equal(checkpoint_next(&cursor, &entry), 0);
    assert_int_equal(checkpoint_next(&cursor, &entry), 0);
    free((void *)(uintptr_t)numbers.data);
}

static void names_of_every_length_come_back(void **state)
{
    struct rig *rig = *state;
    uint8_t name[CHECKPOINT_NAME_BYTES_MAX];
    for (size_t i = 0; i < sizeof(name); i++) {
        name[i] = (uint8_t)('a' + i % 26);
    }
    for (uint32_t size = 1; size <= sizeof(name); size++) {
        checkpoint_block_begin(&rig->block, rig->data);
        assert_true(checkpoint_put_queue(&rig->block, size, slice_make(name, size)));
        assert_true(checkpoint_put_row(&rig->block, &sample_row));
        rig_seal(rig);
        struct checkpoint_cursor cursor;
        struct checkpoint_entry entry;
        assert_true(rig_opens(rig, &cursor));
        assert_int_equal(checkpoint_next(&cursor, &entry), 1);
        assert_int_equal(entry.queue.number, size);
        assert_true(slice_equal(entry.queue.name, slice_make(name, size)));
        assert_int_equal(checkpoint_next(&cursor, &entry), 1);
        assert_rows_equal(&entry.row, &sample_row);
        assert_int_equal(checkpoint_next(&cursor, &entry), 0);
    }
}

static void the_head_comes_back_as_it_was_put(void **state)
{
    (void)state;
    uint8_t bytes[CHECKPOINT_HEAD_BYTES];
    memset(bytes, 0xa5, sizeof(bytes));
    checkpoint_head_put(bytes, &sample_head, UUID);
    struct checkpoint_head head;
    assert_true(checkpoint_head_get(slice_make(bytes, sizeof(bytes)), UUID, &head));
    assert_int_equal(head.version, sample_head.version);
    assert_int_equal(head.lane, sample_head.lane);
    assert_int_equal(head.generation, sample_head.generation);
    assert_int_equal(head.blocks, sample_head.blocks);
    assert_int_equal(head.rows, sample_head.rows);
    assert_memory_equal(&head.begin, &sample_head.begin, sizeof(head.begin));
    assert_memory_equal(&head.cursor, &sample_head.cursor, sizeof(head.cursor));
    assert_int_equal(head.event_sequence, sample_head.event_sequence);
    assert_int_equal(head.next_segment, sample_head.next_segment);
    assert_int_equal(head.boot, sample_head.boot);
    assert_int_equal(head.wall_ns, sample_head.wall_ns);
}

/* --- room ------------------------------------------------------------------------------------- */

static void a_full_block_takes_no_more_and_loses_nothing(void **state)
{
    struct rig *rig = *state;
    struct checkpoint_row row = sample_row;
    for (row.due_s = 0; row.due_s < ROWS_MAX; row.due_s++) {
        assert_true(checkpoint_put_row(&rig->block, &row));
    }
    struct slice numbers = numbers_make(1);
    struct checkpoint_pieces pieces = {.count = 1, .segments = numbers};
    struct checkpoint_block before = rig->block;
    assert_int_equal(before.size, CHECKPOINT_BLOCK_BYTES);
    assert_int_equal(before.rows, 2046);
    assert_false(before.full);
    assert_false(checkpoint_put_row(&rig->block, &row));
    assert_true(rig->block.full);
    assert_false(checkpoint_put_segment(&rig->block, &sample_segment));
    assert_false(checkpoint_put_queue(&rig->block, 1, SLICE("q")));
    assert_false(checkpoint_put_pieces(&rig->block, &pieces));
    assert_int_equal(rig->block.size, before.size);
    assert_int_equal(rig->block.rows, before.rows);
    rig_seal(rig);
    struct checkpoint_cursor cursor;
    struct checkpoint_entry entry;
    assert_true(rig_opens(rig, &cursor));
    for (row.due_s = 0; row.due_s < ROWS_MAX; row.due_s++) {
        assert_int_equal(checkpoint_next(&cursor, &entry), 1);
        assert_rows_equal(&entry.row, &row);
    }
    assert_int_equal(checkpoint_next(&cursor, &entry), 0);
    free((void *)(uintptr_t)numbers.data);
}

/* With room for `lines` of 32 bytes left: which entries fit? */
static void what_does_not_fit_changes_nothing(void **state)
{
    struct rig *rig = *state;
    struct slice numbers = numbers_make(9);
    struct checkpoint_pieces pieces = {.count = 9, .segments = numbers};
    for (unsigned lines = 0; lines <= 3; lines++) {
        checkpoint_block_begin(&rig->block, rig->data);
        while (rig->block.size < CHECKPOINT_BLOCK_BYTES - 32 * lines) {
            assert_true(checkpoint_put_row(&rig->block, &sample_row));
        }
        struct checkpoint_block full = rig->block;
        assert_int_equal(checkpoint_put_pieces(&rig->block, &pieces), lines >= 3);
        rig->block = full;
        assert_int_equal(checkpoint_put_queue(&rig->block, 1, SLICE("q")), lines >= 2);
        rig->block = full;
        assert_int_equal(checkpoint_put_segment(&rig->block, &sample_segment), lines >= 1);
        rig->block = full;
        rig_seal(rig);
        struct checkpoint_cursor cursor;
        assert_true(rig_opens(rig, &cursor));
        assert_int_equal(count_entries(cursor), (int)full.rows);
    }
    free((void *)(uintptr_t)numbers.data);
}

static void an_empty_block_has_room_for_the_longest_entries(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(CHECKPOINT_PIECES_MAX, 16360);
    struct slice numbers = numbers_make(CHECKPOINT_PIECES_MAX);
    struct checkpoint_pieces pieces = {.count = CHECKPOINT_PIECES_MAX, .segments = numbers};
    assert_true(checkpoint_put_pieces(&rig->block, &pieces));
    assert_int_equal(rig->block.size, CHECKPOINT_BLOCK_BYTES);
    rig_seal(rig);
    struct checkpoint_cursor cursor;
    struct checkpoint_entry entry;
    assert_true(rig_opens(rig, &cursor));
    assert_int_equal(checkpoint_next(&cursor, &entry), 1);
    assert_true(slice_equal(entry.pieces.segments, numbers));
    assert_int_equal(checkpoint_next(&cursor, &entry), 0);
    free((void *)(uintptr_t)numbers.data);
}

static void a_block_without_entries_is_a_block(void **state)
{
    struct rig *rig = *state;
    struct checkpoint_cursor cursor;
    rig_seal(rig);
    assert_true(rig_opens(rig, &cursor));
    assert_int_equal(count_entries(cursor), 0);
}

/* --- damage ----------------------------------------------------------------------------------- */

static void a_flip_of_any_byte_is_refused(void **state)
{
    struct rig *rig = *state;
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(checkpoint_put_row(&rig->block, &sample_row));
    }
    rig_seal(rig);
    struct checkpoint_cursor cursor;
    for (size_t at = 0; at < CHECKPOINT_BLOCK_BYTES; at++) {
        uint8_t flip = (uint8_t)(1u << at % 8);
        rig->data[at] ^= flip;
        assert_false(rig_opens(rig, &cursor));
        rig->data[at] ^= flip;
    }
    assert_true(rig_opens(rig, &cursor));

    uint8_t bytes[CHECKPOINT_HEAD_BYTES];
    struct checkpoint_head head;
    checkpoint_head_put(bytes, &sample_head, UUID);
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(checkpoint_head_get(slice_make(bytes, sizeof(bytes)), UUID, &head));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(checkpoint_head_get(slice_make(bytes, sizeof(bytes)), UUID, &head));
}

static void blocks_of_others_are_refused(void **state)
{
    struct rig *rig = *state;
    static const struct {
        const char *name;
        uint64_t uuid;
        uint32_t generation;
        uint32_t number;
        uint16_t lane;
        uint16_t version;
        bool opens;
    } cases[] = {
        {"this one", UUID, GENERATION, 2, LANE, CHECKPOINT_VERSION, true},
        {"of another spool", UUID + 1, GENERATION, 2, LANE, CHECKPOINT_VERSION, false},
        {"of the checkpoint before", UUID, GENERATION - 1, 2, LANE, CHECKPOINT_VERSION, false},
        {"of the checkpoint after", UUID, GENERATION + 1, 2, LANE, CHECKPOINT_VERSION, false},
        {"another one", UUID, GENERATION, 3, LANE, CHECKPOINT_VERSION, false},
        {"the head", UUID, GENERATION, 0, LANE, CHECKPOINT_VERSION, false},
        {"of another lane", UUID, GENERATION, 2, LANE + 1, CHECKPOINT_VERSION, false},
        {"of another version", UUID, GENERATION, 2, LANE, CHECKPOINT_VERSION + 1, false},
    };
    assert_true(checkpoint_put_row(&rig->block, &sample_row));
    struct slice bytes = rig_seal(rig);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct checkpoint_head head = sample_head;
        struct checkpoint_cursor cursor;
        head.lane = cases[i].lane;
        head.generation = cases[i].generation;
        head.version = cases[i].version;
        bool opens = checkpoint_open(bytes, cases[i].uuid, &head, cases[i].number, &cursor);
        if (opens != cases[i].opens) {
            fail_msg("%s", cases[i].name);
        }
    }
}

static void blocks_and_heads_are_not_taken_for_each_other(void **state)
{
    struct rig *rig = *state;
    struct checkpoint_head head;
    struct checkpoint_cursor cursor;
    struct slice bytes = rig_seal(rig);
    assert_false(checkpoint_head_get(bytes, UUID, &head));
    checkpoint_head_put(rig->data, &sample_head, UUID);
    assert_true(checkpoint_head_get(bytes, UUID, &head));
    assert_false(checkpoint_open(bytes, UUID, &sample_head, 2, &cursor));
    assert_false(checkpoint_open(bytes, UUID, &sample_head, 0, &cursor));
    assert_false(checkpoint_head_get(bytes, UUID + 1, &head));
    memset(rig->data, 0, CHECKPOINT_BLOCK_BYTES);
    assert_false(checkpoint_head_get(bytes, UUID, &head));
    assert_false(checkpoint_open(bytes, UUID, &sample_head, 2, &cursor));
}

static void what_was_cut_short_is_refused(void **state)
{
    struct rig *rig = *state;
    static const size_t sizes[] = {0, 1, 8, 63, 64, 4095, 4096, CHECKPOINT_BLOCK_BYTES - 1};
    struct checkpoint_cursor cursor;
    struct checkpoint_head head;
    uint8_t bytes[CHECKPOINT_HEAD_BYTES];
    checkpoint_head_put(bytes, &sample_head, UUID);
    struct slice block = rig_seal(rig);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_false(checkpoint_open(slice_first(block, sizes[i]), UUID, &sample_head, 2, &cursor));
        if (sizes[i] < sizeof(bytes)) {
            assert_false(checkpoint_head_get(slice_make(bytes, sizes[i]), UUID, &head));
        }
    }
}

static void unsound_entries_are_refused(void **state)
{
    struct rig *rig = *state;
    enum { ENTRY = CHECKPOINT_HEADER_BYTES, LAST = CHECKPOINT_BLOCK_BYTES - 32 };
    static const struct {
        const char *name;
        uint32_t at;    /* of the entry */
        uint32_t end;   /* of what is in the block */
        uint8_t kind;
        uint32_t words[3];
        int count;
    } cases[] = {
        {"a row", ENTRY, ENTRY + 32, CHECKPOINT_ROW, {0}, 1},
        {"an end, then a row", ENTRY, ENTRY + 64, CHECKPOINT_END, {0}, -1},
        {"an end as the last entry", ENTRY, ENTRY + 32, CHECKPOINT_END, {0}, -1},
        {"the first kind that is unknown", ENTRY, ENTRY + 32, 5, {0}, -1},
        {"the last kind that is unknown", ENTRY, ENTRY + 32, 255, {0}, -1},
        {"half an entry", ENTRY, ENTRY + 16, CHECKPOINT_ROW, {0}, -1},
        {"an entry and a byte", ENTRY, ENTRY + 33, CHECKPOINT_ROW, {0}, -1},
        {"a name of 720", ENTRY, ENTRY + 32 + 736, CHECKPOINT_QUEUE, {1, 720}, 1},
        {"a name of 721", ENTRY, ENTRY + 32 + 736, CHECKPOINT_QUEUE, {1, 721}, -1},
        {"a name of 4 GiB", ENTRY, ENTRY + 64, CHECKPOINT_QUEUE, {1, UINT32_MAX}, -1},
        {"no name", ENTRY, ENTRY + 64, CHECKPOINT_QUEUE, {1, 0}, -1},
        {"a name that fills the block", LAST - 32, LAST + 32, CHECKPOINT_QUEUE, {1, 32}, 1},
        {"a name past the block", LAST - 32, LAST + 32, CHECKPOINT_QUEUE, {1, 33}, -1},
        {"a name past the entries", ENTRY, ENTRY + 64, CHECKPOINT_QUEUE, {1, 33}, -1},
        {"a name behind the block", LAST, LAST + 32, CHECKPOINT_QUEUE, {1, 1}, -1},
        {"pieces that fill it", ENTRY, LAST + 32, CHECKPOINT_PIECES, {0, 0, 16360}, 1},
        {"one piece more", ENTRY, LAST + 32, CHECKPOINT_PIECES, {0, 0, 16361}, -1},
        {"pieces past the block", LAST - 32, LAST + 32, CHECKPOINT_PIECES, {0, 0, 9}, -1},
        {"pieces up to its end", LAST - 32, LAST + 32, CHECKPOINT_PIECES, {0, 0, 8}, 1},
        {"pieces past the entries", ENTRY, ENTRY + 64, CHECKPOINT_PIECES, {0, 0, 9}, -1},
        {"4 Gi pieces", ENTRY, ENTRY + 64, CHECKPOINT_PIECES, {0, 0, UINT32_MAX}, -1},
        {"pieces that wrap", ENTRY, ENTRY + 64, CHECKPOINT_PIECES, {0, 0, 1u << 30}, -1},
        {"no pieces", ENTRY, ENTRY + 32, CHECKPOINT_PIECES, {0, 0, 0}, -1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        checkpoint_block_begin(&rig->block, rig->data);
        unsigned before = 0;
        while (rig->block.size < cases[i].at) {
            assert_true(checkpoint_put_row(&rig->block, &sample_row));
            before++;
        }
        memset(rig->data + rig->block.size, 0, CHECKPOINT_BLOCK_BYTES - rig->block.size);
        uint8_t *entry = rig->data + cases[i].at;
        for (unsigned word = 0; word < 3; word++) {
            little_put_u32(entry + 4 * word, cases[i].words[word]);
        }
        entry[31] = cases[i].kind;
        if (cases[i].kind == CHECKPOINT_END && cases[i].end > cases[i].at + 32) {
            entry[63] = CHECKPOINT_ROW;
        }
        rig->block.size = cases[i].end;
        rig_seal(rig);
        struct checkpoint_cursor cursor;
        assert_true(rig_opens(rig, &cursor));
        int expected = cases[i].count < 0 ? -1 : cases[i].count + (int)before;
        if (count_entries(cursor) != expected) {
            fail_msg("%s", cases[i].name);
        }
    }
}

/* --- all together ----------------------------------------------------------------------------- */

static uint32_t mix_size(struct prng *prng, uint32_t max)
{
    return 1 + (uint32_t)prng_below(prng, prng_below(prng, 8) == 0 ? max : 40);
}

/* Puts the entry that `prng` draws; what it drew is in entry_out. */
static bool mix_put(struct rig *rig, struct prng *prng, struct slice bytes,
                    struct checkpoint_entry *entry_out)
{
    *entry_out = (struct checkpoint_entry){.kind = CHECKPOINT_ROW};
    uint32_t number = (uint32_t)prng_next(prng);
    switch (prng_below(prng, 8)) {
    case 0:
        entry_out->kind = CHECKPOINT_QUEUE;
        entry_out->queue.number = number;
        entry_out->queue.name = slice_first(bytes, mix_size(prng, CHECKPOINT_NAME_BYTES_MAX));
        return checkpoint_put_queue(&rig->block, number, entry_out->queue.name);
    case 1:
        entry_out->kind = CHECKPOINT_PIECES;
        entry_out->pieces = (struct checkpoint_pieces){.location = {.segment = number},
                                                       .count = mix_size(prng, 3000)};
        entry_out->pieces.segments = slice_first(bytes, 4 * (size_t)entry_out->pieces.count);
        return checkpoint_put_pieces(&rig->block, &entry_out->pieces);
    case 2:
        entry_out->kind = CHECKPOINT_SEGMENT;
        entry_out->segment = sample_segment;
        entry_out->segment.number = number;
        return checkpoint_put_segment(&rig->block, &entry_out->segment);
    default:
        entry_out->row = sample_row;
        entry_out->row.due_s = number;
        return checkpoint_put_row(&rig->block, &entry_out->row);
    }
}

static void mix_assert(const struct checkpoint_entry *entry, const struct checkpoint_entry *wanted)
{
    assert_int_equal(entry->kind, wanted->kind);
    switch (wanted->kind) {
    case CHECKPOINT_QUEUE:
        assert_int_equal(entry->queue.number, wanted->queue.number);
        assert_true(slice_equal(entry->queue.name, wanted->queue.name));
        break;
    case CHECKPOINT_PIECES:
        assert_int_equal(entry->pieces.location.segment, wanted->pieces.location.segment);
        assert_int_equal(entry->pieces.count, wanted->pieces.count);
        assert_true(slice_equal(entry->pieces.segments, wanted->pieces.segments));
        break;
    case CHECKPOINT_SEGMENT:
        assert_int_equal(entry->segment.number, wanted->segment.number);
        assert_int_equal(entry->segment.rows_total, wanted->segment.rows_total);
        break;
    case CHECKPOINT_ROW:
        assert_rows_equal(&entry->row, &wanted->row);
        break;
    case CHECKPOINT_END:
    default:
        fail();
    }
}

static void any_mixture_comes_back_in_its_order(void **state)
{
    struct rig *rig = *state;
    struct slice bytes = numbers_make(3000);
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct prng writing;
        struct prng reading;
        struct checkpoint_entry wanted;
        struct checkpoint_entry entry;
        struct checkpoint_cursor cursor;
        unsigned count = 0;
        prng_seed(&writing, seed);
        prng_seed(&reading, seed);
        checkpoint_block_begin(&rig->block, rig->data);
        while (mix_put(rig, &writing, bytes, &wanted)) {
            count++;
        }
        rig_seal(rig);
        if (!rig_opens(rig, &cursor)) {
            fail_msg("seed %llu", (unsigned long long)seed);
        }
        struct rig again = {.data = malloc(CHECKPOINT_BLOCK_BYTES)};
        assert_non_null(again.data);
        checkpoint_block_begin(&again.block, again.data);
        for (unsigned i = 0; i < count; i++) {
            assert_true(mix_put(&again, &reading, bytes, &wanted));
            assert_int_equal(checkpoint_next(&cursor, &entry), 1);
            mix_assert(&entry, &wanted);
        }
        assert_int_equal(checkpoint_next(&cursor, &entry), 0);
        free(again.data);
    }
    free((void *)(uintptr_t)bytes.data);
}

#define RIG_TEST(name) cmocka_unit_test_setup_teardown(name, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(the_bytes_are_those_of_the_page),
        cmocka_unit_test(the_head_is_that_of_the_page),
        RIG_TEST(every_kind_comes_back_as_it_was_put),
        RIG_TEST(names_of_every_length_come_back),
        cmocka_unit_test(the_head_comes_back_as_it_was_put),
        RIG_TEST(a_full_block_takes_no_more_and_loses_nothing),
        RIG_TEST(what_does_not_fit_changes_nothing),
        RIG_TEST(an_empty_block_has_room_for_the_longest_entries),
        RIG_TEST(a_block_without_entries_is_a_block),
        RIG_TEST(a_flip_of_any_byte_is_refused),
        RIG_TEST(blocks_of_others_are_refused),
        RIG_TEST(blocks_and_heads_are_not_taken_for_each_other),
        RIG_TEST(what_was_cut_short_is_refused),
        RIG_TEST(unsound_entries_are_refused),
        RIG_TEST(any_mixture_comes_back_in_its_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
