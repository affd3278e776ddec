#include "core/sha256.h"

#include <string.h>

#include "core/check.h"

#define SIZE_BYTES 8 /* of the input in bits, at the end of the last block */
#define INNER_PAD  0x36
#define OUTER_PAD  0x5c

struct hashing {
    uint32_t hash[8];
    uint64_t size;
    uint8_t held[SHA256_BLOCK_BYTES]; /* size % SHA256_BLOCK_BYTES of it */
};

/* FIPS 180-4 4.2.2. */
static const uint32_t rounds[SHA256_BLOCK_BYTES] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t value, unsigned bits)
{
    return value >> bits | value << (32 - bits);
}

static uint32_t load_be(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void expand(uint32_t words[SHA256_BLOCK_BYTES], const uint8_t *block)
{
    for (unsigned i = 0; i < 16; i++) {
        words[i] = load_be(block + 4 * i);
    }
    for (unsigned i = 16; i < SHA256_BLOCK_BYTES; i++) {
        uint32_t low = words[i - 15];
        uint32_t high = words[i - 2];
        low = rotate(low, 7) ^ rotate(low, 18) ^ low >> 3;
        high = rotate(high, 17) ^ rotate(high, 19) ^ high >> 10;
        words[i] = words[i - 16] + low + words[i - 7] + high;
    }
}

static void take_block(uint32_t hash[8], const uint8_t *block)
{
    uint32_t words[SHA256_BLOCK_BYTES];
    uint32_t state[8];
    expand(words, block);
    memcpy(state, hash, sizeof(state));
    for (unsigned i = 0; i < SHA256_BLOCK_BYTES; i++) {
        uint32_t e = state[4];
        uint32_t a = state[0];
        uint32_t one = state[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                       ((e & state[5]) ^ (~e & state[6])) + rounds[i] + words[i];
        uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                       ((a & state[1]) ^ (a & state[2]) ^ (state[1] & state[2]));
        memmove(state + 1, state, 7 * sizeof(*state));
        state[4] += one;
        state[0] = one + two;
    }
    for (unsigned i = 0; i < 8; i++) {
        hash[i] += state[i];
    }
}

static void begin(struct hashing *hashing)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hashing->hash, start, sizeof(start));
    hashing->size = 0;
}

static void take(struct hashing *hashing, struct slice input)
{
    while (input.size > 0) {
        size_t held = hashing->size % SHA256_BLOCK_BYTES;
        size_t size = MIN_OF(input.size, SHA256_BLOCK_BYTES - held);
        memcpy(hashing->held + held, input.data, size);
        hashing->size += size;
        input = slice_skip(input, size);
        if (held + size == SHA256_BLOCK_BYTES) {
            take_block(hashing->hash, hashing->held);
        }
    }
}

static void end(struct hashing *hashing, uint8_t digest_out[SHA256_BYTES])
{
    static const uint8_t mark[SHA256_BLOCK_BYTES] = {0x80};
    uint8_t bits[SIZE_BYTES];
    size_t held = hashing->size % SHA256_BLOCK_BYTES;
    size_t room = SHA256_BLOCK_BYTES - SIZE_BYTES;
    for (unsigned i = 0; i < SIZE_BYTES; i++) {
        bits[i] = (uint8_t)(hashing->size * 8 >> (56 - 8 * i));
    }
    take(hashing, slice_make(mark, held < room ? room - held : room + SHA256_BLOCK_BYTES - held));
    take(hashing, slice_make(bits, sizeof(bits)));
    for (unsigned i = 0; i < SHA256_BYTES; i++) {
        digest_out[i] = (uint8_t)(hashing->hash[i / 4] >> (24 - 8 * (i % 4)));
    }
}

void sha256(struct slice input, uint8_t digest_out[SHA256_BYTES])
{
    struct hashing hashing;
    begin(&hashing);
    take(&hashing, input);
    end(&hashing, digest_out);
}

/* RFC 2104 2: one of the two passes. */
static void take_padded(struct hashing *hashing, struct slice key, uint8_t pad)
{
    uint8_t block[SHA256_BLOCK_BYTES];
    memset(block, pad, sizeof(block));
    for (size_t i = 0; i < key.size; i++) {
        block[i] ^= key.data[i];
    }
    begin(hashing);
    take(hashing, slice_make(block, sizeof(block)));
}

void sha256_keyed(struct slice key, struct slice input, uint8_t digest_out[SHA256_BYTES])
{
    struct hashing hashing;
    CHECK(key.size <= SHA256_BLOCK_BYTES);
    take_padded(&hashing, key, INNER_PAD);
    take(&hashing, input);
    end(&hashing, digest_out);
    take_padded(&hashing, key, OUTER_PAD);
    take(&hashing, slice_make(digest_out, SHA256_BYTES));
    end(&hashing, digest_out);
}

bool secret_equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    volatile uint8_t different = 0;
    for (size_t i = 0; i < bytes; i++) {
        different = (uint8_t)(different | (a[i] ^ b[i]));
    }
    return different == 0;
}
