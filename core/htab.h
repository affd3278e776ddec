/*
 * Open-addressing hash table from a key to a 64-bit value: an index, a handle, or a pointer. The
 * keys stay with the caller: `equal` compares one with what a value stands for. It never allocates:
 * the slots are memory given at init and at htab_grow, and an insert into a full table is refused.
 * Hashes are seeded (XXH3), so that peers cannot choose keys that collide; removal leaves no
 * tombstones. Pure; one thread.
 */
#ifndef RINGPOST_CORE_HTAB_H
#define RINGPOST_CORE_HTAB_H

#include "core/base.h"
#include "core/slice.h"

struct htab_slot {
    uint64_t hash; /* 0: empty */
    uint64_t value;
};

/* Does `value` stand for `key`? `context` is the table's owner's, `key` what the caller passed. */
typedef bool htab_equal(const void *context, uint64_t value, const void *key);

struct htab {
    struct htab_slot *slots; /* borrowed */
    uint32_t slot_count;     /* a power of two */
    uint32_t count;
    uint64_t seed;
    htab_equal *equal;
    const void *context; /* borrowed */
};

/* Slots for `count` entries; at most 2^30 entries. */
uint32_t htab_slots_for(uint32_t count);
static inline uint64_t htab_memory(uint32_t slot_count)
{
    return (uint64_t)slot_count * sizeof(struct htab_slot);
}

/* `memory` holds `slot_count` slots (from htab_slots_for), is aligned to 8, outlives the table. */
void htab_init(struct htab *table, void *memory, uint32_t slot_count, uint64_t seed,
               htab_equal *equal, const void *context);
/* The same with memory that is zero already: a large table costs pages only as it fills. */
void htab_init_fresh(struct htab *table, void *memory, uint32_t slot_count, uint64_t seed,
                     htab_equal *equal, const void *context);

/* Of a key's bytes, for the other calls; never 0. */
uint64_t htab_hash(const struct htab *table, struct slice key);

MUST_USE bool htab_find(const struct htab *table, uint64_t hash, const void *key,
                        uint64_t *value_out);
/* The key is not in the table (the caller looked). False when the table is full: grow it. */
MUST_USE bool htab_insert(struct htab *table, uint64_t hash, uint64_t value);
/* False when there is no such key. */
bool htab_remove(struct htab *table, uint64_t hash, const void *key, uint64_t *value_out);

/* Moves all entries into new memory (more slots) and returns the old, which is the caller's. */
void *htab_grow(struct htab *table, void *memory, uint32_t slot_count);

/*
 * Moves up to `count` entries of `from` into `to`, which has room and the same seed: growth in
 * steps, for tables that are too large for one. Begin with *cursor = 0; slots before it are empty
 * and stay so as long as nothing is inserted into `from`; removing from both is fine meanwhile.
 * False: `from` is empty.
 */
bool htab_move(struct htab *to, struct htab *from, uint32_t *cursor, uint32_t count);

/*
 * Walks over all values in no order: begin with *cursor = 0. False at the end. An insert, remove or
 * grow in between makes the walk miss or repeat values.
 */
bool htab_next(const struct htab *table, uint32_t *cursor, uint64_t *value_out);

#endif
