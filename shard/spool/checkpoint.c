#include "shard/spool/checkpoint.h"

#include <xxhash.h>

#include "core/check.h"
#include "core/little.h"

#define BLOCK_MAGIC 0x31706b63746f7052ull /* "Rpotckp1" */

/*
 * Header of every block, block 0 included:
 *    0 u64 checksum of what follows, to the block's end (block 0: to CHECKPOINT_HEAD_BYTES)
 *    8 u64 magic, 16 u16 version, 18 u16 lane, 20 u32 generation, 24 u32 number,
 *   28 u32 bytes from the block's first one to the end of what is in it; zeros to 64
 */
struct header {
    uint16_t version;
    uint16_t lane;
    uint32_t generation;
    uint32_t number;
    uint32_t bytes;
};

/* Behind the header of block 0. */
#define HEAD_PAYLOAD_BYTES 72u

static_assert(CHECKPOINT_PIECES_MAX * 4u + CHECKPOINT_ENTRY_BYTES + CHECKPOINT_HEADER_BYTES <=
                  CHECKPOINT_BLOCK_BYTES,
              "the longest entry fits an empty block");

static uint64_t checksum(const uint8_t *data, size_t size, uint64_t uuid)
{
    return XXH3_64bits_withSeed(data + 8, size - 8, uuid);
}

static void header_put(uint8_t *data, size_t size, const struct header *header, uint64_t uuid)
{
    memset(data, 0, CHECKPOINT_HEADER_BYTES);
    little_put_u64(data + 8, BLOCK_MAGIC);
    little_put_u16(data + 16, header->version);
    little_put_u16(data + 18, header->lane);
    little_put_u32(data + 20, header->generation);
    little_put_u32(data + 24, header->number);
    little_put_u32(data + 28, header->bytes);
    little_put_u64(data, checksum(data, size, uuid));
}

static bool header_get(struct slice bytes, uint64_t uuid, struct header *header_out)
{
    const uint8_t *at = bytes.data;
    if (little_u64(at + 8) != BLOCK_MAGIC ||
        little_u64(at) != checksum(at, bytes.size, uuid)) {
        return false;
    }
    *header_out = (struct header){
        .version = little_u16(at + 16),
        .lane = little_u16(at + 18),
        .generation = little_u32(at + 20),
        .number = little_u32(at + 24),
        .bytes = little_u32(at + 28),
    };
    return header_out->bytes >= CHECKPOINT_HEADER_BYTES && header_out->bytes <= bytes.size;
}

static void location_put(uint8_t *at, struct spool_location location)
{
    little_put_u32(at, location.segment);
    little_put_u32(at + 4, location.offset_64);
}

static struct spool_location location_get(const uint8_t *at)
{
    return (struct spool_location){.segment = little_u32(at), .offset_64 = little_u32(at + 4)};
}

/* --- writing ---------------------------------------------------------------------------------- */

void checkpoint_block_begin(struct checkpoint_block *block, uint8_t *data)
{
    *block = (struct checkpoint_block){.data = data, .size = CHECKPOINT_HEADER_BYTES};
}

/* Room for an entry and `tail` bytes behind it, the last line of 32 zeroed; null: none. */
static uint8_t *entry_take(struct checkpoint_block *block, enum checkpoint_kind kind, size_t tail)
{
    uint64_t bytes = CHECKPOINT_ENTRY_BYTES + align_up(tail, CHECKPOINT_ENTRY_BYTES);
    if (bytes > CHECKPOINT_BLOCK_BYTES - block->size) {
        block->full = true;
        return NULL;
    }
    uint8_t *at = block->data + block->size;
    block->size += (uint32_t)bytes;
    memset(at + bytes - CHECKPOINT_ENTRY_BYTES, 0, CHECKPOINT_ENTRY_BYTES);
    memset(at, 0, CHECKPOINT_ENTRY_BYTES);
    at[CHECKPOINT_ENTRY_BYTES - 1] = (uint8_t)kind;
    return at;
}

/*
 *  0 place, 8 u16 recipient, 10 u16 attempts, 12 u32 queue, 16 u32 due, 20 u32 created,
 * 24 u32 size ÷ 64, 28 u8 urgent, 29 u8 scheduled
 */
bool checkpoint_put_row(struct checkpoint_block *block, const struct checkpoint_row *row)
{
    uint8_t *at = entry_take(block, CHECKPOINT_ROW, 0);
    if (at == NULL) {
        return false;
    }
    location_put(at, row->location);
    little_put_u16(at + 8, row->recipient);
    little_put_u16(at + 10, row->attempts);
    little_put_u32(at + 12, row->queue);
    little_put_u32(at + 16, row->due_s);
    little_put_u32(at + 20, row->created_s);
    little_put_u32(at + 24, row->size_64);
    at[28] = row->urgent;
    at[29] = row->scheduled;
    block->rows++;
    return true;
}

/* 0 u32 number, 4 u32 bytes of the name that follows */
bool checkpoint_put_queue(struct checkpoint_block *block, uint32_t number, struct slice name)
{
    CHECK(name.size > 0);
    CHECK(name.size <= CHECKPOINT_NAME_BYTES_MAX);
    uint8_t *at = entry_take(block, CHECKPOINT_QUEUE, name.size);
    if (at == NULL) {
        return false;
    }
    little_put_u32(at, number);
    little_put_u32(at + 4, (uint32_t)name.size);
    memcpy(at + CHECKPOINT_ENTRY_BYTES, name.data, name.size);
    return true;
}

/* 0 place, 8 u32 count of the numbers that follow */
bool checkpoint_put_pieces(struct checkpoint_block *block, const struct checkpoint_pieces *pieces)
{
    CHECK(pieces->count > 0);
    CHECK(pieces->count <= CHECKPOINT_PIECES_MAX);
    CHECK(pieces->segments.size == 4 * (size_t)pieces->count);
    uint8_t *at = entry_take(block, CHECKPOINT_PIECES, pieces->segments.size);
    if (at == NULL) {
        return false;
    }
    location_put(at, pieces->location);
    little_put_u32(at + 8, pieces->count);
    memcpy(at + CHECKPOINT_ENTRY_BYTES, pieces->segments.data, pieces->segments.size);
    return true;
}

/* 0 u32 number, 4 u32 slot, 8 u16 lane, 10 zero, 12 u32 number in its lane, 16 u32 rows in all */
bool checkpoint_put_segment(struct checkpoint_block *block,
                            const struct checkpoint_segment *segment)
{
    uint8_t *at = entry_take(block, CHECKPOINT_SEGMENT, 0);
    if (at == NULL) {
        return false;
    }
    little_put_u32(at, segment->number);
    little_put_u32(at + 4, segment->slot);
    little_put_u16(at + 8, segment->lane);
    little_put_u32(at + 12, segment->lane_number);
    little_put_u32(at + 16, segment->rows_total);
    return true;
}

void checkpoint_block_seal(struct checkpoint_block *block, uint64_t uuid, uint16_t lane,
                           uint32_t generation, uint32_t number)
{
    CHECK(number > 0);
    CHECK(block->size >= CHECKPOINT_HEADER_BYTES);
    CHECK(block->size <= CHECKPOINT_BLOCK_BYTES);
    memset(block->data + block->size, 0, CHECKPOINT_BLOCK_BYTES - block->size);
    const struct header header = {
        .version = CHECKPOINT_VERSION,
        .lane = lane,
        .generation = generation,
        .number = number,
        .bytes = block->size,
    };
    header_put(block->data, CHECKPOINT_BLOCK_BYTES, &header, uuid);
}

static void position_put(uint8_t *at, const struct spool_position *position)
{
    little_put_u64(at, position->sequence);
    location_put(at + 8, position->group);
}

static struct spool_position position_get(const uint8_t *at)
{
    return (struct spool_position){.sequence = little_u64(at), .group = location_get(at + 8)};
}

/*
 * Behind the header:
 *  0 u32 blocks, 4 u32 next segment, 8 u64 rows, 16 begin (u64 sequence, place), 32 cursor,
 * 48 u64 event sequence, 56 u64 wall ns, 64 u32 boot, 68 u32 epoch; zeros to the
 * end
 */
void checkpoint_head_put(uint8_t out[CHECKPOINT_HEAD_BYTES], const struct checkpoint_head *head,
                         uint64_t uuid)
{
    memset(out, 0, CHECKPOINT_HEAD_BYTES);
    uint8_t *at = out + CHECKPOINT_HEADER_BYTES;
    little_put_u32(at, head->blocks);
    little_put_u32(at + 4, head->next_segment);
    little_put_u64(at + 8, head->rows);
    position_put(at + 16, &head->begin);
    position_put(at + 32, &head->cursor);
    little_put_u64(at + 48, head->event_sequence);
    little_put_u64(at + 56, head->wall_ns);
    little_put_u32(at + 64, head->boot);
    little_put_u32(at + 68, head->epoch);
    const struct header header = {
        .version = head->version,
        .lane = head->lane,
        .generation = head->generation,
        .number = 0,
        .bytes = CHECKPOINT_HEADER_BYTES + HEAD_PAYLOAD_BYTES,
    };
    header_put(out, CHECKPOINT_HEAD_BYTES, &header, uuid);
}

/* --- reading ---------------------------------------------------------------------------------- */

bool checkpoint_head_get(struct slice bytes, uint64_t uuid, struct checkpoint_head *head_out)
{
    struct header header;
    if (bytes.size < CHECKPOINT_HEAD_BYTES ||
        !header_get(slice_first(bytes, CHECKPOINT_HEAD_BYTES), uuid, &header) ||
        header.number != 0 || header.bytes < CHECKPOINT_HEADER_BYTES + HEAD_PAYLOAD_BYTES) {
        return false;
    }
    const uint8_t *at = bytes.data + CHECKPOINT_HEADER_BYTES;
    *head_out = (struct checkpoint_head){
        .version = header.version,
        .lane = header.lane,
        .generation = header.generation,
        .blocks = little_u32(at),
        .next_segment = little_u32(at + 4),
        .rows = little_u64(at + 8),
        .begin = position_get(at + 16),
        .cursor = position_get(at + 32),
        .event_sequence = little_u64(at + 48),
        .wall_ns = little_u64(at + 56),
        .boot = little_u32(at + 64),
        .epoch = little_u32(at + 68),
    };
    return true;
}

bool checkpoint_open(struct slice block, uint64_t uuid, const struct checkpoint_head *head,
                     uint32_t number, struct checkpoint_cursor *cursor_out)
{
    struct header header;
    if (number == 0 || block.size != CHECKPOINT_BLOCK_BYTES ||
        !header_get(block, uuid, &header) || header.number != number ||
        header.version != head->version || header.lane != head->lane ||
        header.generation != head->generation) {
        return false;
    }
    cursor_out->rest = slice_make(block.data + CHECKPOINT_HEADER_BYTES,
                                  header.bytes - CHECKPOINT_HEADER_BYTES);
    return true;
}

static void row_get(const uint8_t *at, struct checkpoint_row *row_out)
{
    row_out->location = location_get(at);
    row_out->recipient = little_u16(at + 8);
    row_out->attempts = little_u16(at + 10);
    row_out->queue = little_u32(at + 12);
    row_out->due_s = little_u32(at + 16);
    row_out->created_s = little_u32(at + 20);
    row_out->size_64 = little_u32(at + 24);
    row_out->urgent = at[28];
    row_out->scheduled = at[29];
}

static void segment_get(const uint8_t *at, struct checkpoint_segment *segment_out)
{
    segment_out->number = little_u32(at);
    segment_out->slot = little_u32(at + 4);
    segment_out->lane = little_u16(at + 8);
    segment_out->lane_number = little_u32(at + 12);
    segment_out->rows_total = little_u32(at + 16);
}

/* What stands behind the entry: `bytes`, padded. False: it does not. */
static bool tail_get(struct checkpoint_cursor *cursor, size_t bytes, struct slice *tail_out)
{
    size_t padded = align_up(bytes, CHECKPOINT_ENTRY_BYTES);
    if (bytes == 0 || padded > cursor->rest.size) {
        return false;
    }
    *tail_out = slice_first(cursor->rest, bytes);
    cursor->rest = slice_skip(cursor->rest, padded);
    return true;
}

static bool queue_get(struct checkpoint_cursor *cursor, const uint8_t *at,
                      struct checkpoint_entry *entry)
{
    uint32_t bytes = little_u32(at + 4);
    entry->queue.number = little_u32(at);
    return bytes <= CHECKPOINT_NAME_BYTES_MAX && tail_get(cursor, bytes, &entry->queue.name);
}

static bool pieces_get(struct checkpoint_cursor *cursor, const uint8_t *at,
                       struct checkpoint_pieces *pieces)
{
    pieces->location = location_get(at);
    pieces->count = little_u32(at + 8);
    return pieces->count <= CHECKPOINT_PIECES_MAX &&
           tail_get(cursor, 4 * (size_t)pieces->count, &pieces->segments);
}

int checkpoint_next(struct checkpoint_cursor *cursor, struct checkpoint_entry *entry_out)
{
    if (cursor->rest.size == 0) {
        return 0;
    }
    if (cursor->rest.size < CHECKPOINT_ENTRY_BYTES) {
        return -1;
    }
    const uint8_t *at = cursor->rest.data;
    cursor->rest = slice_skip(cursor->rest, CHECKPOINT_ENTRY_BYTES);
    bool sound = true;
    entry_out->kind = at[CHECKPOINT_ENTRY_BYTES - 1];
    switch (entry_out->kind) {
    case CHECKPOINT_ROW:
        row_get(at, &entry_out->row);
        break;
    case CHECKPOINT_QUEUE:
        sound = queue_get(cursor, at, entry_out);
        break;
    case CHECKPOINT_PIECES:
        sound = pieces_get(cursor, at, &entry_out->pieces);
        break;
    case CHECKPOINT_SEGMENT:
        segment_get(at, &entry_out->segment);
        break;
    case CHECKPOINT_END:
    default:
        sound = false;
    }
    return sound ? 1 : -1;
}
