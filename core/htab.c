/*
 * Linear probing at a load of at most three quarters. Removal shifts the entries behind it back
 * towards their home slots, so every entry is always reachable from home over full slots.
 */
#include "core/htab.h"

#include "core/check.h"

#include <xxhash.h>

#include <string.h>

static uint32_t slots_usable(uint32_t slot_count)
{
    return slot_count / 4 * 3;
}

uint32_t htab_slots_for(uint32_t count)
{
    CHECK(count <= 1u << 30);
    uint32_t slot_count = 4;
    while (slots_usable(slot_count) < count) {
        slot_count *= 2;
    }
    return slot_count;
}

void htab_init_fresh(struct htab *table, void *memory, uint32_t slot_count, uint64_t seed,
                     htab_equal *equal, const void *context)
{
    CHECK(slot_count >= 4 && (slot_count & (slot_count - 1)) == 0);
    *table = (struct htab){
        .slots = (struct htab_slot *)memory,
        .slot_count = slot_count,
        .seed = seed,
        .equal = equal,
        .context = context,
    };
}

void htab_init(struct htab *table, void *memory, uint32_t slot_count, uint64_t seed,
               htab_equal *equal, const void *context)
{
    htab_init_fresh(table, memory, slot_count, seed, equal, context);
    memset(table->slots, 0, (size_t)htab_memory(slot_count));
}

uint64_t htab_hash(const struct htab *table, struct slice key)
{
    uint64_t hash = XXH3_64bits_withSeed(key.data, key.size, table->seed);
    return hash == 0 ? 1 : hash;
}

/* The slot of the key; an empty slot when there is none. */
static uint32_t slot_of(const struct htab *table, uint64_t hash, const void *key)
{
    uint32_t mask = table->slot_count - 1;
    uint32_t at = (uint32_t)hash & mask;
    while (table->slots[at].hash != 0) {
        if (table->slots[at].hash == hash &&
            table->equal(table->context, table->slots[at].value, key)) {
            return at;
        }
        at = (at + 1) & mask;
    }
    return at;
}

bool htab_find(const struct htab *table, uint64_t hash, const void *key, uint64_t *value_out)
{
    CHECK(hash != 0);
    const struct htab_slot *slot = &table->slots[slot_of(table, hash, key)];
    *value_out = slot->value;
    return slot->hash != 0;
}

bool htab_insert(struct htab *table, uint64_t hash, uint64_t value)
{
    CHECK(hash != 0);
    if (table->count >= slots_usable(table->slot_count)) {
        return false;
    }
    uint32_t mask = table->slot_count - 1;
    uint32_t at = (uint32_t)hash & mask;
    while (table->slots[at].hash != 0) {
        at = (at + 1) & mask;
    }
    table->slots[at] = (struct htab_slot){.hash = hash, .value = value};
    table->count++;
    return true;
}

/* Takes the entry at `hole` out; those behind it close up. */
static void slot_empty(struct htab *table, uint32_t hole)
{
    uint32_t mask = table->slot_count - 1;
    for (uint32_t at = (hole + 1) & mask; table->slots[at].hash != 0; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)table->slots[at].hash & mask;
        /* It may move back into the hole unless its home lies behind the hole. */
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            table->slots[hole] = table->slots[at];
            hole = at;
        }
    }
    table->slots[hole] = (struct htab_slot){0};
    table->count--;
}

bool htab_remove(struct htab *table, uint64_t hash, const void *key, uint64_t *value_out)
{
    CHECK(hash != 0);
    uint32_t at = slot_of(table, hash, key);
    *value_out = table->slots[at].value;
    if (table->slots[at].hash == 0) {
        return false;
    }
    slot_empty(table, at);
    return true;
}

void *htab_grow(struct htab *table, void *memory, uint32_t slot_count)
{
    struct htab old = *table;
    CHECK(slots_usable(slot_count) >= old.count);
    htab_init(table, memory, slot_count, old.seed, old.equal, old.context);
    for (uint32_t i = 0; i < old.slot_count; i++) {
        if (old.slots[i].hash != 0) {
            bool fits = htab_insert(table, old.slots[i].hash, old.slots[i].value);
            CHECK(fits);
        }
    }
    return old.slots;
}

bool htab_move(struct htab *to, struct htab *from, uint32_t *cursor, uint32_t count)
{
    CHECK(to->seed == from->seed);
    while (from->count > 0 && count > 0) {
        const struct htab_slot slot = from->slots[*cursor];
        if (slot.hash == 0) {
            (*cursor)++;
            continue;
        }
        slot_empty(from, *cursor); /* another one may close up to here */
        bool fits = htab_insert(to, slot.hash, slot.value);
        CHECK(fits);
        count--;
    }
    return from->count > 0;
}

bool htab_next(const struct htab *table, uint32_t *cursor, uint64_t *value_out)
{
    while (*cursor < table->slot_count) {
        const struct htab_slot *slot = &table->slots[(*cursor)++];
        if (slot->hash != 0) {
            *value_out = slot->value;
            return true;
        }
    }
    return false;
}
