#include "core/sha1.h"

#include <string.h>

#include "core/check.h"

#define BLOCK_BYTES 64
#define BLOCKS_MAX  4

static uint32_t rotate(uint32_t value, unsigned bits)
{
    return value << bits | value >> (32 - bits);
}

static uint32_t load_be(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* RFC 3174 5: f and K of a round. */
static uint32_t mix(unsigned round, const uint32_t state[5])
{
    uint32_t b = state[1];
    uint32_t c = state[2];
    uint32_t d = state[3];
    if (round < 20) {
        return ((b & c) | (~b & d)) + 0x5a827999u;
    }
    if (round < 40) {
        return (b ^ c ^ d) + 0x6ed9eba1u;
    }
    if (round < 60) {
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdcu;
    }
    return (b ^ c ^ d) + 0xca62c1d6u;
}

static void take_block(uint32_t hash[5], const uint8_t *block)
{
    uint32_t words[80];
    uint32_t state[5];
    for (unsigned i = 0; i < 16; i++) {
        words[i] = load_be(block + 4 * i);
    }
    for (unsigned i = 16; i < 80; i++) {
        words[i] = rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
    }
    memcpy(state, hash, sizeof(state));
    for (unsigned i = 0; i < 80; i++) {
        uint32_t next = rotate(state[0], 5) + mix(i, state) + state[4] + words[i];
        state[4] = state[3];
        state[3] = state[2];
        state[2] = rotate(state[1], 30);
        state[1] = state[0];
        state[0] = next;
    }
    for (unsigned i = 0; i < 5; i++) {
        hash[i] += state[i];
    }
}

void sha1(struct slice input, uint8_t digest_out[SHA1_BYTES])
{
    uint32_t hash[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
    uint8_t memory[BLOCK_BYTES * BLOCKS_MAX] = {0};
    size_t blocks = (input.size + 9 + BLOCK_BYTES - 1) / BLOCK_BYTES;
    CHECK(input.size <= SHA1_INPUT_MAX);
    if (input.size > 0) {
        memcpy(memory, input.data, input.size);
    }
    memory[input.size] = 0x80;
    memory[blocks * BLOCK_BYTES - 2] = (uint8_t)(input.size * 8 >> 8);
    memory[blocks * BLOCK_BYTES - 1] = (uint8_t)(input.size * 8);
    for (size_t i = 0; i < blocks; i++) {
        take_block(hash, memory + i * BLOCK_BYTES);
    }
    for (unsigned i = 0; i < SHA1_BYTES; i++) {
        digest_out[i] = (uint8_t)(hash[i / 4] >> (24 - 8 * (i % 4)));
    }
}
