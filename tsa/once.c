#include "tsa/once.h"

#include "core/check.h"

static bool id_is_at(const void *context, uint64_t value, const void *key)
{
    const struct once *once = context;
    return id_equal(&once->ids[value], key);
}

static uint64_t hash_of(const struct once *once, const struct id *id)
{
    return htab_hash(&once->by_id, slice_make(id->bytes, sizeof(id->bytes)));
}

void once_init(struct once *once, struct heap *heap, uint32_t max, uint64_t seed)
{
    uint32_t slots = htab_slots_for(max);
    CHECK(max > 0);
    *once = (struct once){.ids = heap_take_array(heap, max, sizeof(struct id)), .max = max};
    htab_init_fresh(&once->by_id, heap_take(heap, htab_memory(slots)), slots, seed, id_is_at,
                    once);
}

void once_begin(struct once *once, uint64_t wall_ns)
{
    once->since_ms = wall_ns / NS_PER_MS;
}

static bool is_young(const struct id *id, uint64_t wall_ns)
{
    return id_ms(id) + ONCE_AGE_NS / NS_PER_MS >= wall_ns / NS_PER_MS;
}

/* Those at the front that could not count any more. One that is young keeps what is behind it. */
static void drop_old(struct once *once, uint64_t wall_ns)
{
    uint64_t place;
    while (once->count > 0 && !is_young(&once->ids[once->first], wall_ns)) {
        const struct id *id = &once->ids[once->first];
        CHECK(htab_remove(&once->by_id, hash_of(once, id), id, &place));
        once->first = (once->first + 1) % once->max;
        once->count--;
    }
}

bool once_take(struct once *once, const struct id *id, uint64_t wall_ns)
{
    uint64_t hash = hash_of(once, id);
    uint64_t place;
    if (id_ms(id) < once->since_ms || !is_young(id, wall_ns) ||
        htab_find(&once->by_id, hash, id, &place)) {
        return false;
    }
    drop_old(once, wall_ns);
    if (once->count == once->max) {
        once->refused++;
        return false;
    }
    place = (once->first + once->count) % once->max;
    once->ids[place] = *id;
    once->count++;
    CHECK(htab_insert(&once->by_id, hash, place));
    return true;
}
