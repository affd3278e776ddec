/* Little-endian integers at any address: the byte order of everything we store. Pure. */
#ifndef RINGPOST_CORE_LITTLE_H
#define RINGPOST_CORE_LITTLE_H

#include <assert.h>
#include <string.h>

#include "core/base.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the stored order is the machine's");

static inline uint16_t little_u16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint32_t little_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline uint64_t little_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline void little_put_u16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof(value));
}

static inline void little_put_u32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

static inline void little_put_u64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value));
}

#endif
