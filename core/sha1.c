#include "core/sha1.h"

#define OPENSSL_SUPPRESS_DEPRECATED /* as in sha256.c */
#include <openssl/sha.h>

#include "core/check.h"

void sha1(struct slice input, uint8_t digest_out[SHA1_BYTES])
{
    SHA_CTX hashing;
    CHECK(SHA1_Init(&hashing) == 1 && SHA1_Update(&hashing, input.data, input.size) == 1 &&
          SHA1_Final(digest_out, &hashing) == 1);
}
