/*
 * Any bytes as a checkpoint's head and as a block. The first byte chooses: with bit 0 set the magic
 * and the checksum are made right first, with bit 1 the whole header, where the next four bytes say
 * where what is in the block ends. So what lies behind them is reached. What is read is written
 * again, and must be read as the same.
 */
#include "shard/spool/checkpoint.h"

#include <stdlib.h>

#include <xxhash.h>

#include "core/check.h"
#include "core/little.h"

#define UUID 0xFEEDFACECAFEBEEFull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct checkpoint_head expected = {
    .version = CHECKPOINT_VERSION, .lane = 3, .generation = 5, .blocks = 9};

static void checksum_set(uint8_t *bytes, size_t size)
{
    memcpy(bytes + 8, "Rpotckp1", 8);
    little_put_u64(bytes, XXH3_64bits_withSeed(bytes + 8, size - 8, UUID));
}

static uint64_t sum_of(struct slice bytes)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        sum += bytes.data[i];
    }
    return sum;
}

/* Into `block`; false when the entry is none that could have been put. */
static bool put_again(struct checkpoint_block *block, const struct checkpoint_entry *entry)
{
    switch (entry->kind) {
    case CHECKPOINT_ROW:
        return checkpoint_put_row(block, &entry->row);
    case CHECKPOINT_QUEUE:
        CHECK(sum_of(entry->queue.name) < UINT64_MAX);
        return checkpoint_put_queue(block, entry->queue.number, entry->queue.name);
    case CHECKPOINT_PIECES:
        CHECK(sum_of(entry->pieces.segments) < UINT64_MAX);
        return checkpoint_put_pieces(block, &entry->pieces);
    case CHECKPOINT_SEGMENT:
        return checkpoint_put_segment(block, &entry->segment);
    case CHECKPOINT_END:
    default:
        return false;
    }
}

static void look_at(struct checkpoint_cursor cursor)
{
    uint8_t *data = malloc(CHECKPOINT_BLOCK_BYTES);
    CHECK(data != NULL);
    struct checkpoint_block block;
    struct checkpoint_entry entry;
    struct checkpoint_cursor again = cursor;
    uint32_t count = 0;
    checkpoint_block_begin(&block, data);
    int step = checkpoint_next(&cursor, &entry);
    for (; step > 0; step = checkpoint_next(&cursor, &entry)) {
        CHECK(put_again(&block, &entry));
        count++;
    }
    checkpoint_block_seal(&block, UUID, expected.lane, expected.generation, 1);
    struct slice bytes = slice_make(data, CHECKPOINT_BLOCK_BYTES);
    CHECK(checkpoint_open(bytes, UUID, &expected, 1, &cursor));
    for (uint32_t i = 0; i < count; i++) {
        struct checkpoint_entry first;
        struct slice before = again.rest;
        CHECK(checkpoint_next(&again, &first) == 1);
        CHECK(checkpoint_next(&cursor, &entry) == 1);
        CHECK(first.kind == entry.kind);
        CHECK(again.rest.size < before.size);
    }
    CHECK(checkpoint_next(&cursor, &entry) == 0);
    CHECK(step == 0 || checkpoint_next(&again, &entry) == -1);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint_head head;
    struct checkpoint_cursor cursor;
    if (size < 5) {
        return 0;
    }
    uint8_t choice = data[0];
    size_t end = little_u32(data + 1) % (CHECKPOINT_BLOCK_BYTES + 1);
    struct slice input = slice_make(data + 5, MIN_OF(size - 5, CHECKPOINT_BLOCK_BYTES));

    /* As it is, no byte more. */
    uint8_t *exact = malloc(input.size + 1);
    CHECK(exact != NULL);
    memcpy(exact, input.data, input.size);
    struct slice bytes = slice_make(exact, input.size);
    CHECK(!checkpoint_head_get(bytes, UUID, &head) || bytes.size >= CHECKPOINT_HEAD_BYTES);
    CHECK(!checkpoint_open(bytes, UUID, &expected, 1, &cursor) ||
          bytes.size == CHECKPOINT_BLOCK_BYTES);
    free(exact);

    uint8_t *block = calloc(1, CHECKPOINT_BLOCK_BYTES);
    CHECK(block != NULL);
    bytes = slice_make(block, CHECKPOINT_BLOCK_BYTES);
    memcpy(block, input.data, input.size);
    if ((choice & 1) != 0) {
        checksum_set(block, CHECKPOINT_HEAD_BYTES);
    }
    if (checkpoint_head_get(bytes, UUID, &head)) {
        uint8_t again[CHECKPOINT_HEAD_BYTES];
        struct checkpoint_head same;
        checkpoint_head_put(again, &head, UUID);
        CHECK(checkpoint_head_get(slice_make(again, sizeof(again)), UUID, &same));
        CHECK(same.rows == head.rows && same.boot == head.boot && same.blocks == head.blocks);
    }
    if ((choice & 1) != 0) {
        checksum_set(block, CHECKPOINT_BLOCK_BYTES);
    }
    if ((choice & 2) != 0) {
        struct checkpoint_block whole = {
            .data = block, .size = (uint32_t)MAX_OF(end, CHECKPOINT_HEADER_BYTES)};
        checkpoint_block_seal(&whole, UUID, expected.lane, expected.generation, 1);
    }
    if (checkpoint_open(bytes, UUID, &expected, 1, &cursor)) {
        look_at(cursor);
    }
    free(block);
    return 0;
}
