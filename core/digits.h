/*
 * Digits written where they are to stand: several at a time and without a branch a digit. For the
 * event log, which says of every message a dozen numbers, two dates and four ids. Pure.
 */
#ifndef RINGPOST_CORE_DIGITS_H
#define RINGPOST_CORE_DIGITS_H

#include "core/little.h"

/* Two decimal digits of a value below 100. */
static inline void digits_put_pair(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)('0' + value / 10);
    at[1] = (uint8_t)('0' + value % 10);
}

/* The eight digits of four bytes: spread to a nibble a byte, then each to its character. */
static inline uint64_t digits_hex_of(uint32_t bytes)
{
    uint64_t wide = bytes;
    wide = (wide | wide << 16) & 0x0000FFFF0000FFFF;
    wide = (wide | wide << 8) & 0x00FF00FF00FF00FF;
    uint64_t nibbles = (wide >> 4 & 0x000F000F000F000F) | (wide & 0x000F000F000F000F) << 8;
    uint64_t letters = (nibbles + 0x0606060606060606) >> 4 & 0x0101010101010101;
    return nibbles + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

/* Two lower-case hexadecimal digits for each byte. */
static inline void digits_put_hex(uint8_t *at, const uint8_t *bytes, size_t size)
{
    for (; size >= 4; size -= 4) {
        little_put_u64(at, digits_hex_of(little_u32(bytes)));
        at += 8;
        bytes += 4;
    }
    for (; size > 0; size--) {
        little_put_u16(at, (uint16_t)digits_hex_of(*bytes++));
        at += 2;
    }
}

#endif
