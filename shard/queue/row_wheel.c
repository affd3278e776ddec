#include "shard/queue/row_wheel.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/check.h"

#define SLOT_BYTES     ((size_t)ROW_WHEEL_SLOTS * sizeof(uint32_t))
#define OCCUPIED_BYTES ((size_t)ROW_WHEEL_SLOTS / 8)

/* A slot holds handle + 1, so that untouched memory of the mapping reads as empty. */
static uint32_t slot_get(const struct row_wheel *wheel, uint32_t slot)
{
    return wheel->slots[slot] - 1;
}

static void slot_set(struct row_wheel *wheel, uint32_t slot, uint32_t handle)
{
    wheel->slots[slot] = handle + 1;
    uint64_t bit = 1ull << (slot % 64);
    if (handle == ROW_NONE) {
        wheel->occupied[slot / 64] &= ~bit;
    } else {
        wheel->occupied[slot / 64] |= bit;
    }
}

int row_wheel_init(struct row_wheel *wheel, struct slab *rows, uint32_t now_s)
{
    *wheel = (struct row_wheel){.rows = rows, .second = now_s};
    void *memory = mmap(NULL, SLOT_BYTES + OCCUPIED_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    (void)madvise(memory, SLOT_BYTES + OCCUPIED_BYTES, MADV_HUGEPAGE);
    wheel->slots = memory;
    wheel->occupied = (uint64_t *)(void *)((uint8_t *)memory + SLOT_BYTES);
    return 0;
}

void row_wheel_fini(struct row_wheel *wheel)
{
    if (wheel->slots != NULL) {
        munmap(wheel->slots, SLOT_BYTES + OCCUPIED_BYTES);
    }
    *wheel = (struct row_wheel){0};
}

/*
 * Where a row due at `due_s` stands now: never behind the hand, and at least two seconds short of a
 * whole round ahead, so that one placed again while the hand is on its slot lands elsewhere.
 */
static uint32_t slot_of(const struct row_wheel *wheel, uint32_t due_s)
{
    uint32_t second = MAX_OF(due_s, wheel->second);
    second = MIN_OF(second, wheel->second + ROW_WHEEL_SLOTS - 2);
    return second % ROW_WHEEL_SLOTS;
}

void row_wheel_put(struct row_wheel *wheel, uint32_t handle)
{
    struct row *row = row_at(wheel->rows, handle);
    uint32_t slot = slot_of(wheel, row->due_s);
    uint32_t first = slot_get(wheel, slot);
    row->state = ROW_WAITING;
    row->wheel_next = first;
    row->wheel_prev = ROW_NONE;
    /* The first row of a slot has no predecessor; its slot is remembered in the queue links, which
     * a waiting row does not use. */
    row->queue_next = slot;
    if (first != ROW_NONE) {
        row_at(wheel->rows, first)->wheel_prev = handle;
    }
    slot_set(wheel, slot, handle);
    wheel->count++;
}

void row_wheel_remove(struct row_wheel *wheel, uint32_t handle)
{
    struct row *row = row_at(wheel->rows, handle);
    CHECK(row->state == ROW_WAITING && wheel->count > 0);
    if (row->wheel_next != ROW_NONE) {
        row_at(wheel->rows, row->wheel_next)->wheel_prev = row->wheel_prev;
    }
    if (row->wheel_prev != ROW_NONE) {
        row_at(wheel->rows, row->wheel_prev)->wheel_next = row->wheel_next;
    } else {
        CHECK(slot_get(wheel, row->queue_next) == handle);
        slot_set(wheel, row->queue_next, row->wheel_next);
    }
    row->state = ROW_NEW;
    wheel->count--;
}

uint32_t row_wheel_next(struct row_wheel *wheel, uint32_t now_s)
{
    uint32_t moves = 0;
    while (wheel->count > 0 && wheel->second <= now_s && moves < ROW_WHEEL_MOVES) {
        uint32_t slot = wheel->second % ROW_WHEEL_SLOTS;
        uint32_t handle = slot_get(wheel, slot);
        if (handle == ROW_NONE) {
            uint32_t next = row_wheel_due(wheel, now_s - wheel->second);
            wheel->second = next == UINT32_MAX ? now_s + 1 : next;
            continue;
        }
        row_wheel_remove(wheel, handle);
        if (row_at(wheel->rows, handle)->due_s <= now_s) {
            return handle;
        }
        /* It stood at the end of the round: its time is still to come. The hand moves on first, or
         * it would come to stand under it again. */
        wheel->second++;
        row_wheel_put(wheel, handle);
        wheel->second--;
        moves++;
    }
    if (wheel->count == 0 && wheel->second <= now_s) {
        wheel->second = now_s + 1;
    }
    return ROW_NONE;
}

uint32_t row_wheel_due(const struct row_wheel *wheel, uint32_t horizon_s)
{
    uint32_t ahead = 0;
    horizon_s = MIN_OF(horizon_s, ROW_WHEEL_SLOTS - 1);
    while (wheel->count > 0 && ahead <= horizon_s) {
        uint32_t slot = (wheel->second + ahead) % ROW_WHEEL_SLOTS;
        uint64_t bits = wheel->occupied[slot / 64] >> (slot % 64);
        if (bits != 0) {
            ahead += (uint32_t)__builtin_ctzll(bits);
            return ahead <= horizon_s ? wheel->second + ahead : UINT32_MAX;
        }
        ahead += 64 - slot % 64;
    }
    return UINT32_MAX;
}
