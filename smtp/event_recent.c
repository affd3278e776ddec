#include "smtp/event_recent.h"

#include <assert.h>
#include <string.h>

/* At the end of its bytes, so that a place is known by where it ends. */
struct entry {
    struct spool_location location;
    struct id id;
    uint64_t created_ns;
    uint64_t size;
    uint32_t envelope_bytes;
    uint32_t metadata_bytes;
};

uint64_t event_recent_memory(void)
{
    return EVENT_RECENT_BYTES + EVENT_RECENT_SLOTS * sizeof(uint64_t);
}

void event_recent_init(struct event_recent *recent, void *memory)
{
    uint8_t *ring = memory;
    *recent = (struct event_recent){
        .ring = ring, .ends = (uint64_t *)(void *)(ring + EVENT_RECENT_BYTES)};
}

static uint64_t *slot_of(const struct event_recent *recent, struct spool_location location)
{
    uint64_t mixed = ((uint64_t)location.segment << 32 | location.offset_64) *
                     0x9E3779B97F4A7C15ull;
    return &recent->ends[mixed >> 50];
}

static_assert(EVENT_RECENT_SLOTS == 1u << (64 - 50), "the hash above gives a slot");

static void slice_copy(uint8_t *to, struct slice bytes)
{
    if (bytes.size > 0) {
        memcpy(to, bytes.data, bytes.size);
    }
}

void event_recent_put(struct event_recent *recent, struct spool_location location,
                      const struct event_facts *facts)
{
    const struct entry entry = {
        .location = location,
        .id = facts->id,
        .created_ns = facts->created_ns,
        .size = facts->size,
        .envelope_bytes = (uint32_t)facts->envelope.size,
        .metadata_bytes = (uint32_t)facts->metadata.size,
    };
    uint64_t need = align_up(facts->envelope.size + facts->metadata.size, 8) + sizeof(entry);
    if (need > EVENT_RECENT_BYTES / 8) {
        return;
    }
    uint64_t left = EVENT_RECENT_BYTES - recent->end % EVENT_RECENT_BYTES;
    recent->end += left < need ? left : 0;
    uint8_t *at = recent->ring + recent->end % EVENT_RECENT_BYTES;
    slice_copy(at, facts->envelope);
    slice_copy(at + facts->envelope.size, facts->metadata);
    memcpy(at + need - sizeof(entry), &entry, sizeof(entry));
    recent->end += need;
    *slot_of(recent, location) = recent->end;
}

bool event_recent_find(const struct event_recent *recent, struct spool_location location,
                       struct event_facts *facts_out)
{
    uint64_t end = *slot_of(recent, location);
    struct entry entry;
    if (end == 0) {
        return false;
    }
    /* Behind a whole number of rings stands the ring's own end. */
    uint64_t at = (end - 1) % EVENT_RECENT_BYTES + 1;
    if (recent->end - end > EVENT_RECENT_BYTES - sizeof(entry)) {
        return false;
    }
    memcpy(&entry, recent->ring + at - sizeof(entry), sizeof(entry));
    uint64_t bytes = align_up((uint64_t)entry.envelope_bytes + entry.metadata_bytes, 8) +
                     sizeof(entry);
    if (memcmp(&entry.location, &location, sizeof(location)) != 0 ||
        recent->end - end > EVENT_RECENT_BYTES - bytes) {
        return false;
    }
    const uint8_t *begin = recent->ring + at - bytes;
    *facts_out = (struct event_facts){
        .id = entry.id,
        .created_ns = entry.created_ns,
        .size = entry.size,
        .envelope = slice_make(begin, entry.envelope_bytes),
        .metadata = slice_make(begin + entry.envelope_bytes, entry.metadata_bytes),
    };
    return true;
}
