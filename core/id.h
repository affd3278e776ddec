/*
 * Ids: 128 bits in the layout of a UUID version 7, shown as 32 hexadecimal digits.
 *
 *   ms 48 | version 4 | counter high 12 |
 *   variant 2 | boot 22 | shard 10 | counter low 14 | index 16
 *
 * One id names one recipient of one message; index 0xFFFF names the message. Ids of one shard grow
 * with time and stay unique through clock jumps, because `boot` is drawn anew at every start and
 * the source never goes back. An event id is spool 64 | lane 12 | sequence 52. Pure.
 */
#ifndef RINGPOST_CORE_ID_H
#define RINGPOST_CORE_ID_H

#include "core/buf.h"

#define ID_TEXT_BYTES    32
#define ID_INDEX_MESSAGE 0xFFFFu
#define ID_BOOTS         (1u << 22)

struct id {
    uint8_t bytes[16]; /* network order: comparing bytes compares time first */
};

struct id_source {
    uint64_t last_ms;
    uint32_t counter; /* 26 bits, begun anew each millisecond */
    uint32_t boot;    /* 22 bits */
    uint16_t shard;
};

void id_source_init(struct id_source *source, uint16_t shard, uint32_t boot);
/* The next message's id, its index being ID_INDEX_MESSAGE. */
struct id id_next(struct id_source *source, uint64_t wall_ns);
struct id id_with_index(struct id id, uint16_t index);
bool id_equal(const struct id *a, const struct id *b);
uint16_t id_index(const struct id *id);
uint64_t id_ms(const struct id *id);
uint32_t id_boot(const struct id *id);
void id_put(struct buf *buf, const struct id *id);
MUST_USE bool id_parse(struct slice text, struct id *id_out);

/* 32 hexadecimal digits. */
void event_id_put(struct buf *buf, uint64_t spool, uint16_t lane, uint64_t sequence);

#endif
