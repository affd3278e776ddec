/*
 * Linear probing at a load of at most five eighths; the hash in a slot is all that growing and
 * removing need. Removal shifts entries back, as in core/htab.
 */
#include "smtp/recovery_index.h"

#include <string.h>

#include "core/check.h"
#include "shard/boot.h"

#define SLOTS_MIN 8192u
#define SLOTS_MAX (1u << 27) /* that are reserved ahead */

struct index_key {
    struct spool_location location;
    uint32_t bucket;
};

static uint32_t key_hash(const struct index_key *key)
{
    uint64_t mixed = (uint64_t)key->location.segment << 32 | key->location.offset_64;
    mixed = (mixed ^ (uint64_t)key->bucket << 52) * 0x9E3779B97F4A7C15ull;
    mixed = (mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93ull;
    return (uint32_t)(mixed >> 32);
}

static struct index_key key_of(const struct row *row)
{
    return (struct index_key){row_location(row), row->recipient / INDEX_BUCKET_ROWS};
}

static bool slot_is(const struct recovery_index *index, const struct index_slot *slot,
                    const struct index_key *key)
{
    struct index_key at = key_of(row_at(index->rows, slot->first - 1));
    return at.location.offset_64 == key->location.offset_64 &&
           at.location.segment == key->location.segment && at.bucket == key->bucket;
}

/* The key's slot, or the empty one where it would stand. */
static struct index_slot *slot_of(const struct recovery_index *index, const struct index_key *key,
                                  uint32_t hash)
{
    uint32_t mask = index->slot_count - 1;
    uint32_t at = hash & mask;
    while (index->slots[at].first != 0 &&
           (index->slots[at].hash != hash || !slot_is(index, &index->slots[at], key))) {
        at = (at + 1) & mask;
    }
    return &index->slots[at];
}

/* As everywhere before a shard serves, the process ends without memory. */
static struct index_slot *slots_take(uint32_t count)
{
    struct index_slot *slots = boot_memory_take_huge(count * sizeof(*slots));
    CHECK(slots != NULL);
    return slots;
}

void recovery_index_init(struct recovery_index *index, const struct slab *rows)
{
    *index = (struct recovery_index){
        .rows = rows,
        .slots = slots_take(SLOTS_MIN),
        .slot_count = SLOTS_MIN,
    };
}

void recovery_index_fini(struct recovery_index *index)
{
    boot_memory_give(index->slots, index->slot_count * sizeof(*index->slots));
    *index = (struct recovery_index){0};
}

static uint32_t slots_usable(uint32_t slot_count)
{
    return slot_count / 8 * 5;
}

static void index_grow(struct recovery_index *index, uint32_t count)
{
    struct index_slot *slots = slots_take(count);
    for (uint32_t i = 0; i < index->slot_count; i++) {
        const struct index_slot *slot = &index->slots[i];
        if (slot->first == 0) {
            continue;
        }
        uint32_t at = slot->hash & (count - 1);
        while (slots[at].first != 0) {
            at = (at + 1) & (count - 1);
        }
        slots[at] = *slot;
    }
    boot_memory_give(index->slots, index->slot_count * sizeof(*slots));
    index->slots = slots;
    index->slot_count = count;
}

void recovery_index_reserve(struct recovery_index *index, uint32_t rows)
{
    uint32_t count = index->slot_count;
    while (slots_usable(count) < index->used + index->queued + rows && count < SLOTS_MAX) {
        count *= 2;
    }
    if (count > index->slot_count) {
        index_grow(index, count);
    }
}

static void table_add(struct recovery_index *index, uint32_t handle, uint32_t hash)
{
    struct row *row = row_at(index->rows, handle);
    struct index_key key = key_of(row);
    struct index_slot *slot = slot_of(index, &key, hash);
    if (slot->first == 0) {
        if (index->used >= slots_usable(index->slot_count)) {
            index_grow(index, index->slot_count * 2);
            slot = slot_of(index, &key, hash);
        }
        index->used++;
        slot->hash = hash;
    }
    row->wheel_next = slot->first - 1; /* ROW_NONE behind the last */
    slot->first = handle + 1;
}

static void queue_flush(struct recovery_index *index)
{
    for (uint32_t i = 0; i < index->queued; i++) {
        table_add(index, index->queue[i].first - 1, index->queue[i].hash);
    }
    index->queued = 0;
}

void recovery_index_add(struct recovery_index *index, uint32_t handle)
{
    if (index->queued == INDEX_QUEUE_ROWS) {
        queue_flush(index);
    }
    struct index_key key = key_of(row_at(index->rows, handle));
    uint32_t hash = key_hash(&key);
    __builtin_prefetch(&index->slots[hash & (index->slot_count - 1)], 1);
    index->queue[index->queued++] = (struct index_slot){hash, handle + 1};
}

/* Entries behind the hole move back towards where they belong. */
static void slot_empty(struct recovery_index *index, struct index_slot *slot)
{
    uint32_t mask = index->slot_count - 1;
    uint32_t hole = (uint32_t)(slot - index->slots);
    for (uint32_t at = (hole + 1) & mask; index->slots[at].first != 0; at = (at + 1) & mask) {
        uint32_t home = index->slots[at].hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            index->slots[hole] = index->slots[at];
            hole = at;
        }
    }
    index->slots[hole] = (struct index_slot){0};
    index->used--;
}

void recovery_index_remove(struct recovery_index *index, uint32_t handle)
{
    const struct row *row = row_at(index->rows, handle);
    struct index_key key = key_of(row);
    queue_flush(index);
    struct index_slot *slot = slot_of(index, &key, key_hash(&key));
    CHECK(slot->first != 0);
    if (slot->first == handle + 1) {
        slot->first = row->wheel_next + 1;
        if (slot->first == 0) {
            slot_empty(index, slot);
        }
        return;
    }
    struct row *before = row_at(index->rows, slot->first - 1);
    while (before->wheel_next != handle) {
        CHECK(before->wheel_next != ROW_NONE);
        before = row_at(index->rows, before->wheel_next);
    }
    before->wheel_next = row->wheel_next;
}

uint32_t recovery_index_any(struct recovery_index *index, struct spool_location location,
                            uint32_t bucket)
{
    struct index_key key = {location, bucket};
    queue_flush(index);
    return slot_of(index, &key, key_hash(&key))->first - 1;
}

uint32_t recovery_index_find(struct recovery_index *index, struct spool_location location,
                             uint16_t recipient)
{
    uint32_t handle = recovery_index_any(index, location, recipient / INDEX_BUCKET_ROWS);
    while (handle != ROW_NONE && row_at(index->rows, handle)->recipient != recipient) {
        handle = row_at(index->rows, handle)->wheel_next;
    }
    return handle;
}
