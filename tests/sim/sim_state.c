#include "tests/sim/sim_state.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/little.h"

#define MAGIC      0x4554415453504D49ull
#define HEAD_BYTES 12u /* of a row: table, slot, size */

bool sim_state_read(struct slice bytes, struct heap *heap, struct state_rows *rows_out)
{
    *rows_out = (struct state_rows){0};
    if (bytes.size == 0) {
        return true;
    }
    if (bytes.size < sizeof(uint64_t) || little_u64(bytes.data) != MAGIC) {
        return false;
    }
    bytes = slice_skip(bytes, sizeof(uint64_t));
    rows_out->rows = heap_take_array(heap, bytes.size / HEAD_BYTES + 1, sizeof(struct state_row));
    while (bytes.size >= HEAD_BYTES) {
        uint32_t size = little_u32(bytes.data + 8);
        struct slice rest = slice_skip(bytes, HEAD_BYTES);
        if (size > rest.size) {
            return false;
        }
        rows_out->rows[rows_out->count++] =
            (struct state_row){little_u32(bytes.data), little_u32(bytes.data + 4),
                               heap_copy(heap, slice_first(rest, size))};
        bytes = slice_skip(rest, size);
    }
    return bytes.size == 0;
}

static int compare(const void *a, const void *b)
{
    const struct state_row *left = a;
    const struct state_row *right = b;
    uint64_t at_left = (uint64_t)left->table << 32 | left->slot;
    uint64_t at_right = (uint64_t)right->table << 32 | right->slot;
    return (at_left > at_right) - (at_left < at_right);
}

static bool stands_in(const struct state_rows *rows, const struct state_row *row)
{
    for (uint32_t i = 0; i < rows->count; i++) {
        if (compare(&rows->rows[i], row) == 0) {
            return true;
        }
    }
    return false;
}

struct slice sim_state_write(const struct state_rows *old, const struct state_rows *rows,
                             struct heap *heap)
{
    struct state_row *all = heap_take_array(heap, old->count + rows->count + 1, sizeof(*all));
    uint32_t count = 0;
    size_t size = sizeof(uint64_t);
    for (uint32_t i = 0; i < old->count; i++) {
        if (!stands_in(rows, &old->rows[i])) {
            all[count++] = old->rows[i];
        }
    }
    for (uint32_t i = 0; i < rows->count; i++) {
        if (rows->rows[i].bytes.size > 0) {
            all[count++] = rows->rows[i];
        }
    }
    qsort(all, count, sizeof(*all), compare);
    for (uint32_t i = 0; i < count; i++) {
        size += HEAD_BYTES + all[i].bytes.size;
    }
    uint8_t *bytes = heap_take(heap, size);
    uint8_t *at = bytes + sizeof(uint64_t);
    little_put_u64(bytes, MAGIC);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(all[i].table < STATE_DB_TABLES_MAX && all[i].slot < STATE_DB_SLOTS_MAX &&
              all[i].bytes.size <= STATE_DB_ROW_BYTES_MAX);
        little_put_u32(at, all[i].table);
        little_put_u32(at + 4, all[i].slot);
        little_put_u32(at + 8, (uint32_t)all[i].bytes.size);
        memcpy(at + HEAD_BYTES, all[i].bytes.data, all[i].bytes.size);
        at += HEAD_BYTES + all[i].bytes.size;
    }
    return slice_make(bytes, size);
}
