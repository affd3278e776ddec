#include "core/sha256.h"

/*
 * The functions of before OpenSSL 3: their contexts stand on the stack, where those that took
 * their place allocate for each message.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

#include "core/check.h"

#define INNER_PAD 0x36
#define OUTER_PAD 0x5c

/* RFC 2104 2: one of the two passes. */
static void pass(struct slice key, uint8_t pad, struct slice input,
                 uint8_t digest_out[SHA256_BYTES])
{
    uint8_t block[SHA256_BLOCK_BYTES];
    SHA256_CTX hashing;
    memset(block, pad, sizeof(block));
    for (size_t i = 0; i < key.size; i++) {
        block[i] ^= key.data[i];
    }
    CHECK(SHA256_Init(&hashing) == 1 && SHA256_Update(&hashing, block, sizeof(block)) == 1 &&
          SHA256_Update(&hashing, input.data, input.size) == 1 &&
          SHA256_Final(digest_out, &hashing) == 1);
    OPENSSL_cleanse(block, sizeof(block));
}

void sha256_keyed(struct slice key, struct slice input, uint8_t digest_out[SHA256_BYTES])
{
    uint8_t inner[SHA256_BYTES];
    CHECK(key.size <= SHA256_BLOCK_BYTES);
    pass(key, INNER_PAD, input, inner);
    pass(key, OUTER_PAD, slice_make(inner, sizeof(inner)), digest_out);
}

bool secret_equal(const uint8_t *a, const uint8_t *b, size_t bytes)
{
    return CRYPTO_memcmp(a, b, bytes) == 0;
}
