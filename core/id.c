#include "core/id.h"

#include "core/check.h"

#define COUNTER_BITS 26
#define BOOT_BITS    22
#define SHARD_BITS   10

static void put_big(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    }
}

static uint64_t get_big(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

void id_source_init(struct id_source *source, uint16_t shard, uint32_t boot)
{
    CHECK(shard < 1u << SHARD_BITS);
    CHECK(boot < 1u << BOOT_BITS);
    *source = (struct id_source){.boot = boot, .shard = shard};
}

struct id id_next(struct id_source *source, uint64_t wall_ns)
{
    uint64_t ms = wall_ns / NS_PER_MS;
    if (ms > source->last_ms) {
        source->last_ms = ms;
        source->counter = 0;
    } else if (++source->counter == 1u << COUNTER_BITS) {
        source->last_ms++;
        source->counter = 0;
    }
    uint64_t counter = source->counter;
    uint64_t high = source->last_ms << 16 | 7u << 12 | counter >> 14;
    uint64_t low = 2ull << 62 | (uint64_t)source->boot << 40 | (uint64_t)source->shard << 30 |
                   (counter & 0x3FFF) << 16 | ID_INDEX_MESSAGE;
    struct id id;
    put_big(id.bytes, high, 8);
    put_big(id.bytes + 8, low, 8);
    return id;
}

struct id id_with_index(struct id id, uint16_t index)
{
    put_big(id.bytes + 14, index, 2);
    return id;
}

bool id_equal(const struct id *a, const struct id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

uint16_t id_index(const struct id *id)
{
    return (uint16_t)get_big(id->bytes + 14, 2);
}

uint64_t id_ms(const struct id *id)
{
    return get_big(id->bytes, 6);
}

uint32_t id_boot(const struct id *id)
{
    return (uint32_t)(get_big(id->bytes + 8, 8) >> 40) & ((1u << BOOT_BITS) - 1);
}

void id_put(struct buf *buf, const struct id *id)
{
    buf_put_hex(buf, slice_make(id->bytes, sizeof(id->bytes)));
}

bool id_parse(struct slice text, struct id *id_out)
{
    if (text.size != ID_TEXT_BYTES) {
        return false;
    }
    struct id id;
    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        int high = ascii_hex_value(text.data[2 * i]);
        int low = ascii_hex_value(text.data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        id.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *id_out = id;
    return true;
}

void event_id_put(struct buf *buf, uint64_t spool, uint16_t lane, uint64_t sequence)
{
    CHECK(lane < 1u << 12);
    CHECK(sequence < 1ull << 52);
    uint8_t bytes[16];
    put_big(bytes, spool, 8);
    put_big(bytes + 8, (uint64_t)lane << 52 | sequence, 8);
    buf_put_hex(buf, slice_make(bytes, sizeof(bytes)));
}
