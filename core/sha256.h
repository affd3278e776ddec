/*
 * The keyed hash HMAC of SHA-256 (RFC 2104, FIPS 180-4), for what is to be proof against forgers:
 * references in mail (smtp/reference.h). libcrypto computes it. Pure; nothing is allocated.
 */
#ifndef RINGPOST_CORE_SHA256_H
#define RINGPOST_CORE_SHA256_H

#include "core/slice.h"

#define SHA256_BYTES       32
#define SHA256_BLOCK_BYTES 64

/* `key` is at most SHA256_BLOCK_BYTES. */
void sha256_keyed(struct slice key, struct slice input, uint8_t digest_out[SHA256_BYTES]);

/* Takes as long wherever the first difference stands. */
MUST_USE bool secret_equal(const uint8_t *a, const uint8_t *b, size_t bytes);

#endif
